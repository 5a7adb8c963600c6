//! What a restore from a backup leaves to be confirmed (DESIGN §6.8): every target is unverified until each
//! identity provider has named everybody again, or until a person says so.

use serde_json::json;

use crate::model::{DirectoryId, Epoch, Seq};

use super::change::{self, CONFIG_CHAIN, Entry, Kind};
use super::engine::{Param, StoreError};
use super::target::{self, State};
use super::tx::{ReadTx, WriteTx};

/// Where a target's record says it.
const KEY: &str = "restored";

/// What is said of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Nothing may come or go.
    Unverified,
    /// A person said that it shall follow the mirror; the next run makes it so.
    Approved,
}

/// What `saved` says.
pub fn flag(saved: &State) -> Option<Flag> {
    match saved.record.extra.get(KEY)?.as_str()? {
        "approved" => Some(Flag::Approved),
        _ => Some(Flag::Unverified),
    }
}

/// Says `flag` of a target, or that nothing is left to confirm.
pub fn set(saved: &mut State, flag: Option<Flag>) {
    if !saved.record.extra.is_object() {
        saved.record.extra = json!({});
    }
    let Some(extra) = saved.record.extra.as_object_mut() else { return };
    match flag {
        None => extra.remove(KEY),
        Some(Flag::Unverified) => extra.insert(KEY.to_owned(), "unverified".into()),
        Some(Flag::Approved) => extra.insert(KEY.to_owned(), "approved".into()),
    };
}

/// Makes this mirror, a backup that is about to be put in place, the beginning of `epoch`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn begin(tx: &mut WriteTx<'_>, epoch: Epoch) -> Result<Seq, StoreError> {
    let before = json!({ "epoch": tx.epoch() }).to_string();
    let after = json!({ "epoch": epoch }).to_string();
    let entry = Entry {
        chain: CONFIG_CHAIN,
        kind: Kind::MirrorRestored.as_str(),
        object: Some("mirror"),
        before: Some(&before),
        after: Some(&after),
        ..Entry::default()
    };
    let seq = change::append(tx, &entry)?;
    tx.execute("UPDATE counter SET value = ?1 WHERE name = 'epoch'", &[Param::Int(i64::from(epoch.0))])?;
    tx.execute("DELETE FROM restored", &[])?;
    let since = Param::Int(i64::try_from(seq.0).unwrap_or(i64::MAX));
    // A directory without anybody in it has nobody to confirm.
    let sql = "INSERT INTO restored (dir, since_seq) SELECT DISTINCT dir, ?1 FROM resource WHERE type = 1";
    tx.execute(sql, &[since])?;
    for (name, mut saved) in target::states(tx)? {
        set(&mut saved, Some(Flag::Unverified));
        "unverified".clone_into(&mut saved.record.state);
        target::save_state(tx, &name, &saved)?;
    }
    Ok(seq)
}

/// A re-baseline of the directory closed: it counts if it was opened after the restore.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(in crate::mirror) fn confirmed(tx: &mut WriteTx<'_>, key: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM restored WHERE dir = ?1 \
               AND since_seq < (SELECT began_seq FROM rebaseline WHERE rebaseline.dir = restored.dir)";
    tx.execute(sql, &[Param::Int(key)]).map(|_| ())
}

/// Directories that have not named everybody since the restore.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn waiting(tx: &mut ReadTx<'_>) -> Result<Vec<DirectoryId>, StoreError> {
    let sql = "SELECT d.id FROM restored r JOIN directory d ON d.key = r.dir ORDER BY d.key";
    tx.all(sql, &[], |row| DirectoryId::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string())))
}
