//! What a target held at each of its kept versions: for `target rollback`.
//!
//! A version costs what changed since the one before: beside version n stands what differs in the one after it. From
//! the present holding backwards, each such step undone gives the holding of an older version.

use std::collections::BTreeMap;

use crate::access::{Doc, Entitlement};
use crate::model::{ChangeId, DirectoryId, Epoch, Seq, Subject, TargetName, Timestamp};

use super::change::id_of;
use super::engine::{Param, Row, StoreError};
use super::target::Holding;
use super::tx::{ReadTx, WriteTx};

/// One kept version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Number, growing.
    pub n: u64,
    /// The change whose state it shows.
    pub change: ChangeId,
    /// When it was put in place.
    pub at: Timestamp,
    /// SHA-256 of what was written, in hex.
    pub digest: String,
    /// Entitlements it shows.
    pub total: u64,
}

/// The kept versions, oldest first; the last is the present one.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn all(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<Version>, StoreError> {
    let sql = "SELECT n, epoch, seq, at, digest, total FROM version WHERE target = ?1 ORDER BY n";
    tx.all(sql, &[Param::Text(target.as_str())], |row| {
        Ok(Version {
            n: unsigned(row.int(0)?),
            change: ChangeId {
                epoch: Epoch(u32::try_from(row.int(1)?).unwrap_or(0)),
                seq: Seq(unsigned(row.int(2)?)),
            },
            at: Timestamp(row.int(3)?),
            digest: row.text(4)?.to_owned(),
            total: unsigned(row.int(5)?),
        })
    })
}

/// Notes beside the newest version what is about to change: `gone` and `put` against `before`. Call it in the
/// transaction that changes the holding, before [`add`].
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn note(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    before: &[Holding],
    gone: &[(Subject, Entitlement)],
    put: &[Holding],
) -> Result<(), StoreError> {
    let Some(n) = newest(tx, target)? else { return Ok(()) };
    let held: BTreeMap<(&Subject, &Entitlement), &Holding> =
        before.iter().map(|one| ((&one.subject, &one.entitlement), one)).collect();
    let gone = gone.iter().map(|(subject, entitlement)| (subject, entitlement));
    for (subject, entitlement) in gone.chain(put.iter().map(|one| (&one.subject, &one.entitlement))) {
        let was = held.get(&(subject, entitlement));
        let attributes = was
            .map(|one| serde_json::to_string(&one.attributes))
            .transpose()
            .map_err(|error| StoreError::Bug(format!("a version cannot be written: {error}")))?;
        let word = entitlement.to_string();
        let params = [
            Param::Text(target.as_str()),
            Param::Int(n),
            Param::Text(subject.directory.as_str()),
            Param::Blob(subject.user.as_bytes()),
            Param::Text(&word),
            Param::opt_text(was.map(|one| one.name.as_str())),
            Param::opt_text(attributes.as_deref()),
        ];
        // What was noted first is what version n held.
        tx.execute(
            "INSERT INTO version_undo (target, n, dir_id, user_id, entitlement, name, attributes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (target, n, dir_id, user_id, entitlement) DO NOTHING",
            &params,
        )?;
    }
    Ok(())
}

/// Adds a version and keeps, besides it, the `keep` before it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn add(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    version: &Version,
    keep: usize,
) -> Result<(), StoreError> {
    let n = newest(tx, target)?.unwrap_or(0).saturating_add(1);
    let params = [
        Param::Text(target.as_str()),
        Param::Int(n),
        Param::Int(i64::from(version.change.epoch.0)),
        Param::Int(signed(version.change.seq.0)),
        Param::Int(version.at.0),
        Param::Text(&version.digest),
        Param::Int(signed(version.total)),
    ];
    tx.execute(
        "INSERT INTO version (target, n, epoch, seq, at, digest, total) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &params,
    )?;
    let oldest = n.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    for sql in [
        "DELETE FROM version WHERE target = ?1 AND n < ?2",
        "DELETE FROM version_undo WHERE target = ?1 AND n < ?2",
    ] {
        tx.execute(sql, &[Param::Text(target.as_str()), Param::Int(oldest)])?;
    }
    Ok(())
}

/// What the target held at version `n`, given what it holds now.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn holdings(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    now: Vec<Holding>,
    n: u64,
) -> Result<Vec<Holding>, StoreError> {
    let mut held: BTreeMap<(Subject, Entitlement), Holding> =
        now.into_iter().map(|one| ((one.subject.clone(), one.entitlement.clone()), one)).collect();
    let sql = "SELECT dir_id, user_id, entitlement, name, attributes FROM version_undo \
               WHERE target = ?1 AND n >= ?2 ORDER BY n DESC";
    let steps = tx.all(sql, &[Param::Text(target.as_str()), Param::Int(signed(n))], step)?;
    for (subject, entitlement, was) in steps {
        match was {
            None => held.remove(&(subject, entitlement)),
            Some((name, attributes)) => {
                let holding =
                    Holding { subject: subject.clone(), entitlement: entitlement.clone(), name, attributes };
                held.insert((subject, entitlement), holding)
            }
        };
    }
    Ok(held.into_values().collect())
}

type Step = (Subject, Entitlement, Option<(String, Doc)>);

fn step(row: &dyn Row) -> Result<Step, StoreError> {
    let directory = DirectoryId::parse(row.text(0)?).map_err(|error| StoreError::Bug(error.to_string()))?;
    let subject = Subject { directory, user: id_of(row.blob(1)?)? };
    let entitlement =
        row.text(2)?.parse().map_err(|_| StoreError::Bug("a stored entitlement cannot be read".into()))?;
    let attributes: Doc =
        row.opt_text(4)?.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Ok((subject, entitlement, row.opt_text(3)?.map(|name| (name.to_owned(), attributes))))
}

fn newest(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT n FROM version WHERE target = ?1 ORDER BY n DESC LIMIT 1";
    tx.first(sql, &[Param::Text(target.as_str())], |row| row.int(0))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
