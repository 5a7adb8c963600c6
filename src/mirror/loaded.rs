//! What a reader to which a file only adds may hold: what the file last told it to hold, and to drop.
//!
//! Written before the file is, so that whatever crashes when, nothing that could have been loaded is forgotten.

use std::collections::BTreeSet;

use crate::model::TargetName;

use super::engine::{Param, StoreError};
use super::tx::{ReadTx, WriteTx};

/// Relations, as the format writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The file tells its reader to hold these.
    pub held: BTreeSet<String>,
    /// The file tells its reader to drop these.
    pub gone: BTreeSet<String>,
}

/// What the file of `target` says.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn of(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Loaded, StoreError> {
    let sql = "SELECT relation, gone FROM loaded WHERE target = ?1 ORDER BY relation";
    let rows =
        tx.all(sql, &[Param::Text(target.as_str())], |row| Ok((row.text(0)?.to_owned(), row.int(1)? == 1)))?;
    let mut loaded = Loaded::default();
    for (relation, is_gone) in rows {
        if is_gone {
            loaded.gone.insert(relation)
        } else {
            loaded.held.insert(relation)
        };
    }
    Ok(loaded)
}

/// Makes it say `after` instead of `before`, by differences.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn save(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    before: &Loaded,
    after: &Loaded,
) -> Result<(), StoreError> {
    let all = before.held.union(&before.gone);
    for relation in all.filter(|one| !after.held.contains(*one) && !after.gone.contains(*one)) {
        let sql = "DELETE FROM loaded WHERE target = ?1 AND relation = ?2";
        tx.execute(sql, &[Param::Text(target.as_str()), Param::Text(relation)])?;
    }
    for (is_gone, new, old) in [(0, &after.held, &before.held), (1, &after.gone, &before.gone)] {
        for relation in new.difference(old) {
            tx.execute(
                "INSERT INTO loaded (target, relation, gone) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (target, relation) DO UPDATE SET gone = excluded.gone",
                &[Param::Text(target.as_str()), Param::Text(relation), Param::Int(is_gone)],
            )?;
        }
    }
    Ok(())
}
