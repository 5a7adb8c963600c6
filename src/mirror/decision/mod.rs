//! What the guard and the people behind it decided: changes in the chain of config and decisions, and the tables that
//! say what of it counts now.

pub mod binding;
pub mod grant;
pub mod rebaseline;
pub mod subject;

use serde_json::Value;

use crate::model::{DirectoryId, Seq, Subject, TargetName};

use super::Refusal;
use super::change::{self, CONFIG_CHAIN, Entry, Kind, id_of};
use super::engine::{Param, Row, StoreError};
use super::tx::{ReadTx, WriteTx};

/// Longest reason.
const REASON_CHARS_MAX: usize = 500;

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
    append(tx, kind, target.as_str(), None, Some(detail))
}

/// Appends that an import ended; `detail` says how far it came. It alters nothing by itself: it wakes the targets, which
/// from now on judge what the import took away, and tells the history.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn imported(tx: &mut WriteTx<'_>, import: &str, detail: &Value) -> Result<Seq, StoreError> {
    append(tx, &Kind::ImportFinished, import, None, Some(detail))
}

/// Appends a decision about a subject, named `DIRECTORY/ID` as its object: a change of the resource itself it is not.
fn about(
    tx: &mut WriteTx<'_>,
    kind: &Kind,
    subject: &Subject,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<Seq, StoreError> {
    append(tx, kind, &subject.to_string(), before, after)
}

fn append(
    tx: &mut WriteTx<'_>,
    kind: &Kind,
    object: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<Seq, StoreError> {
    let (before, after) = (before.map(Value::to_string), after.map(Value::to_string));
    let entry = Entry {
        chain: CONFIG_CHAIN,
        kind: kind.as_str(),
        object: Some(object),
        before: before.as_deref(),
        after: after.as_deref(),
        ..Entry::default()
    };
    change::append(tx, &entry)
}

/// Targets that still show something of a subject.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn unfinished(tx: &mut ReadTx<'_>, subject: &Subject) -> Result<Vec<String>, StoreError> {
    let params = [Param::Text(subject.directory.as_str()), Param::Blob(subject.user.as_bytes())];
    let sql = "SELECT DISTINCT target FROM holding WHERE dir_id = ?1 AND user_id = ?2 ORDER BY target";
    tx.all(sql, &params, |row| Ok(row.text(0)?.to_owned()))
}

/// A decision without a reason is one nobody can judge later.
fn check_reason(reason: &str) -> Result<(), Refusal> {
    let chars = reason.trim().chars().count();
    let good = (1..=REASON_CHARS_MAX).contains(&chars) && !reason.chars().any(char::is_control);
    if good { Ok(()) } else { Err(Refusal::Invalid("a reason has 1 to 500 characters on one line".into())) }
}

/// The subject in columns `first` and the one behind.
fn subject_of(row: &dyn Row, first: usize) -> Result<Subject, StoreError> {
    let directory = DirectoryId::parse(row.text(first)?).map_err(|e| StoreError::Bug(e.to_string()))?;
    Ok(Subject { directory, user: id_of(row.blob(first + 1)?)? })
}

fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn seq_of(number: i64) -> Seq {
    Seq(u64::try_from(number).unwrap_or(0))
}
