//! Accepted configurations: what of them can alter what a target should hold is a change of its own.

use serde_json::{Value, json};

use crate::model::Seq;

use super::change::{self, CONFIG_CHAIN, Entry, Kind};
use super::engine::{Param, StoreError};
use super::tx::{ReadTx, WriteTx};

/// Records an accepted configuration if it differs from the last one. `body` holds the roles, the directory order
/// and the subject keys, in an order of its own that does not change by itself.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn accept(tx: &mut WriteTx<'_>, body: &Value) -> Result<Option<Seq>, StoreError> {
    let last = latest(tx)?;
    if last.as_ref().is_some_and(|(_, old)| old == body) {
        return Ok(None);
    }
    let before = last.map(|(_, old)| old.to_string());
    let after = body.to_string();
    let entry = Entry {
        chain: CONFIG_CHAIN,
        kind: Kind::ConfigAccepted.as_str(),
        before: before.as_deref(),
        after: Some(&after),
        ..Entry::default()
    };
    let seq = change::append(tx, &entry)?;
    let number = i64::try_from(seq.0).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO config_version (seq, body) VALUES (?1, ?2)",
        &[Param::Int(number), Param::Text(&after)],
    )?;
    Ok(Some(seq))
}

/// The configuration accepted last, and when.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn latest(tx: &mut ReadTx<'_>) -> Result<Option<(Seq, Value)>, StoreError> {
    tx.first("SELECT seq, body FROM config_version ORDER BY seq DESC LIMIT 1", &[], |row| {
        let body = serde_json::from_str(row.text(1)?).unwrap_or_else(|_| json!(null));
        Ok((Seq(u64::try_from(row.int(0)?).unwrap_or(0)), body))
    })
}
