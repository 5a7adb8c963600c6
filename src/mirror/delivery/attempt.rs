//! The record of attempts: one row per request made, bounded per delivery and gone with it.

use std::time::Duration;

use crate::model::{EventId, TargetName, Timestamp};

use super::key;
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::{ReadTx, WriteTx};

/// Attempts kept of one delivery; the schedule makes eight, a person may ask for more.
pub const ATTEMPTS_KEPT: u32 = 20;

/// The outcome of an attempt that ends its delivery.
const DONE: &str = "done";

/// One request made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was made.
    pub at: Timestamp,
    /// The status, if an answer began.
    pub status: Option<u16>,
    /// From start to end.
    pub latency: Duration,
    /// What came of it: `done`, `retry`, `parked` or `gone`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: Vec<u8>,
}

/// Attempts of one delivery, newest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn attempts(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    event: EventId,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT at, status, latency_us, outcome, error, answer FROM delivery_attempt \
               WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4 ORDER BY at DESC";
    tx.all(sql, &key(target, event), |row| {
        Ok(Attempt {
            at: Timestamp(row.int(0)?),
            status: row.opt_int(1)?.and_then(|status| u16::try_from(status).ok()),
            latency: Duration::from_micros(u64::try_from(row.int(2)?).unwrap_or(0)),
            outcome: row.text(3)?.to_owned(),
            error: row.opt_text(4)?.map(str::to_owned),
            answer: row.blob(5)?.to_vec(),
        })
    })
}

/// Adds one, and drops the oldest past [`ATTEMPTS_KEPT`], however often a person had it tried anew.
pub(super) fn note(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    event: EventId,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    let [a, b, c, d] = key(target, event);
    let latency = i64::try_from(attempt.latency.as_micros()).unwrap_or(i64::MAX);
    let params = [
        a,
        b,
        c,
        d,
        Param::Int(attempt.at.0),
        Param::opt_int(attempt.status.map(i64::from)),
        Param::Int(latency),
        Param::Text(&attempt.outcome),
        Param::opt_text(attempt.error.as_deref()),
        Param::Blob(&attempt.answer),
    ];
    tx.execute(
        "INSERT INTO delivery_attempt (target, epoch, seq, n, at, status, latency_us, outcome, error, answer) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        &params,
    )?;
    // What is taken the first time, as nearly all is, has none before it.
    if attempt.outcome != DONE {
        let sql = "DELETE FROM delivery_attempt WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4 \
                   AND at <= (SELECT at FROM delivery_attempt WHERE target = ?1 AND epoch = ?2 AND seq = ?3 \
                   AND n = ?4 ORDER BY at DESC LIMIT 1 OFFSET ?5)";
        tx.execute(sql, &[a, b, c, d, Param::Int(i64::from(ATTEMPTS_KEPT))])?;
    }
    Ok(())
}
