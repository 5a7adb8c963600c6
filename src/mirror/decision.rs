//! What the guard and the people behind it decided: changes in the chain of config and decisions.

use serde_json::Value;

use crate::model::{Seq, TargetName};

use super::change::{self, CONFIG_CHAIN, Entry, Kind};
use super::engine::StoreError;
use super::tx::WriteTx;

/// Appends a decision about `target`; `detail` says what it covers.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn record(
    tx: &mut WriteTx<'_>,
    kind: &Kind,
    target: &TargetName,
    detail: &Value,
) -> Result<Seq, StoreError> {
    let after = detail.to_string();
    let entry = Entry {
        chain: CONFIG_CHAIN,
        kind: kind.as_str(),
        object: Some(target.as_str()),
        after: Some(&after),
        ..Entry::default()
    };
    change::append(tx, &entry)
}
