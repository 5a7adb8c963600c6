//! The files of a tree that rosterd wrote, by their names in it. What is not here is a stranger's.

use crate::model::TargetName;

use super::engine::{Param, StoreError};
use super::tx::{ReadTx, WriteTx};

/// One file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Its name beneath the tree's folder.
    pub name: String,
    /// Who bears that name; in a collision the earlier one keeps it.
    pub holder: String,
    /// SHA-256 of the bytes last recorded in place, in hex.
    pub written: Option<String>,
    /// What was about to be done when this was saved.
    pub intended: Option<Intended>,
}

/// What is about to be done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intended {
    /// Bytes of this SHA-256, in hex, are put in place.
    Put(String),
    /// It is removed.
    Remove,
}

/// All files of a target, by name.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn all(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<Owned>, StoreError> {
    let sql = "SELECT name, holder, written, intended FROM owned WHERE target = ?1 ORDER BY name";
    tx.all(sql, &[Param::Text(target.as_str())], |row| {
        Ok(Owned {
            name: row.text(0)?.to_owned(),
            holder: row.text(1)?.to_owned(),
            written: row.opt_text(2)?.map(str::to_owned),
            intended: row.opt_text(3)?.map(|word| match word {
                "" => Intended::Remove,
                digest => Intended::Put(digest.to_owned()),
            }),
        })
    })
}

/// Saves what is known of these files.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn put(tx: &mut WriteTx<'_>, target: &TargetName, files: &[Owned]) -> Result<(), StoreError> {
    for file in files {
        let intended = file.intended.as_ref().map(|intended| match intended {
            Intended::Put(digest) => digest.as_str(),
            Intended::Remove => "",
        });
        let params = [
            Param::Text(target.as_str()),
            Param::Text(&file.name),
            Param::Text(&file.holder),
            Param::opt_text(file.written.as_deref()),
            Param::opt_text(intended),
        ];
        tx.execute(
            "INSERT INTO owned (target, name, holder, written, intended) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (target, name) DO UPDATE SET holder = excluded.holder, written = excluded.written, \
             intended = excluded.intended",
            &params,
        )?;
    }
    Ok(())
}

/// Forgets these files: they are gone, or no longer ours.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn drop_names(tx: &mut WriteTx<'_>, target: &TargetName, names: &[String]) -> Result<(), StoreError> {
    for name in names {
        let params = [Param::Text(target.as_str()), Param::Text(name)];
        tx.execute("DELETE FROM owned WHERE target = ?1 AND name = ?2", &params)?;
    }
    Ok(())
}
