//! What becomes of deliveries.

use crate::model::{EventId, Seq, TargetName, Timestamp};

use super::attempt::{self, Attempt};
use super::read::{Filter, NEWEST_FIRST, OPEN, ORDER, event_of, seq_of, seq_param};
use super::{New, State, key};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::WriteTx;

/// Adds events, due at once, in the caller's transaction: together with the cursor and the holdings they follow
/// from. One already there keeps its body and stands as it did, or, with `again`, is to be sent once more.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn add(tx: &mut WriteTx<'_>, target: &TargetName, events: &[New], again: bool) -> Result<(), StoreError> {
    let now = Param::Int(tx.now().0);
    let conflict = if again {
        "(target, epoch, seq, n) DO UPDATE SET state = excluded.state, attempts = 0, next_at = excluded.next_at, \
         finished_at = excluded.finished_at, batch = NULL"
    } else {
        "DO NOTHING"
    };
    let sql = format!(
        "INSERT INTO delivery (target, epoch, seq, n, turn, kind, resource, body, content_type, headers, happened_at, \
         state, attempts, created_at, next_at, finished_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, ?13, ?14) ON CONFLICT {conflict}"
    );
    for event in events {
        let [a, b, c, d] = key(target, event.event);
        let headers = serde_json::to_string(&event.headers)
            .map_err(|error| StoreError::Bug(format!("headers of an event: {error}")))?;
        let params = [
            a,
            b,
            c,
            d,
            seq_param(event.turn),
            Param::Text(&event.kind),
            Param::opt_text(event.resource.as_deref()),
            Param::Blob(&event.body),
            Param::Text(&event.content_type),
            Param::Text(&headers),
            Param::Int(event.at.0),
            Param::Text(event.state.as_str()),
            now,
            if event.state == State::Skipped { now } else { Param::Null },
        ];
        tx.execute(&sql, &params)?;
    }
    Ok(())
}

/// What came of sending one event, or one batch of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The events, in order; their last names the attempt.
    pub events: Vec<EventId>,
    /// Where they stand after it.
    pub after: State,
    /// Not to be sent before.
    pub next_at: Timestamp,
    /// The attempt.
    pub attempt: Attempt,
}

/// Records attempts and where the deliveries stand after them. One that a person finished meanwhile stays finished.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn record(tx: &mut WriteTx<'_>, target: &TargetName, sent: &[Sent]) -> Result<(), StoreError> {
    let now = tx.now().0;
    let sql = format!(
        "UPDATE delivery SET state = ?5, attempts = attempts + 1, next_at = ?6, finished_at = ?7, \
         last_status = ?8, last_error = ?9 WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4 AND {OPEN}"
    );
    for one in sent {
        let finished = matches!(one.after, State::Done | State::Skipped).then_some(now);
        for event in &one.events {
            let [a, b, c, d] = key(target, *event);
            let params = [
                a,
                b,
                c,
                d,
                Param::Text(one.after.as_str()),
                Param::Int(one.next_at.0),
                Param::opt_int(finished),
                Param::opt_int(one.attempt.status.map(i64::from)),
                Param::opt_text(one.attempt.error.as_deref()),
            ];
            tx.execute(&sql, &params)?;
        }
        if let Some(last) = one.events.last() {
            attempt::note(tx, target, *last, &one.attempt)?;
        }
    }
    Ok(())
}

/// Records attempts that alter nothing about where their deliveries stand: a person had them sent again meanwhile.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn note(tx: &mut WriteTx<'_>, target: &TargetName, sent: &[Sent]) -> Result<(), StoreError> {
    for one in sent {
        if let Some(last) = one.events.last() {
            attempt::note(tx, target, *last, &one.attempt)?;
        }
    }
    Ok(())
}

/// Gives an event that was kept without one its body, before it is sent for the first time.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn set_body(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    event: EventId,
    body: &[u8],
    content_type: &str,
) -> Result<(), StoreError> {
    let [a, b, c, d] = key(target, event);
    let sql = "UPDATE delivery SET body = ?5, content_type = ?6 WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4";
    tx.execute(sql, &[a, b, c, d, Param::Blob(body), Param::Text(content_type)]).map(|_| ())
}

/// Binds pending events into one batch, before it is sent for the first time: the same events make up each attempt.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn assign_batch(tx: &mut WriteTx<'_>, target: &TargetName, events: &[EventId]) -> Result<(), StoreError> {
    let Some(last) = events.last().map(ToString::to_string) else { return Ok(()) };
    for event in events {
        let [a, b, c, d] = key(target, *event);
        let sql = format!(
            "UPDATE delivery SET batch = ?5 WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4 AND {OPEN}"
        );
        tx.execute(&sql, &[a, b, c, d, Param::Text(&last)])?;
    }
    Ok(())
}

/// Lets a held delivery go on as `to`. False if it is not held.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn release(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    event: EventId,
    to: State,
) -> Result<bool, StoreError> {
    let [a, b, c, d] = key(target, event);
    let now = tx.now().0;
    let finished = (to == State::Skipped).then_some(now);
    let sql = "UPDATE delivery SET state = ?5, next_at = ?6, finished_at = ?7 WHERE target = ?1 AND epoch = ?2 \
               AND seq = ?3 AND n = ?4 AND state = 'held'";
    let params = [a, b, c, d, Param::Text(to.as_str()), Param::Int(now), Param::opt_int(finished)];
    tx.execute(sql, &params).map(|touched| touched > 0)
}

/// Makes one open delivery due now, and with it the batch it belongs to; one that is held stays held. Answers how
/// many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn retry(tx: &mut WriteTx<'_>, target: &TargetName, event: EventId) -> Result<u64, StoreError> {
    let [a, b, c, d] = key(target, event);
    let now = Param::Int(tx.now().0);
    let sql = "UPDATE delivery SET state = 'pending', attempts = 0, next_at = ?5 WHERE target = ?1 \
               AND state IN ('pending', 'parked') AND ((epoch = ?2 AND seq = ?3 AND n = ?4) OR batch = \
               (SELECT batch FROM delivery WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4))";
    tx.execute(sql, &[a, b, c, d, now])
}

/// Makes every parked or waiting delivery that fits due now, and with it the batch it belongs to. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn retry_matching(tx: &mut WriteTx<'_>, filter: &Filter) -> Result<u64, StoreError> {
    let now = tx.now().0;
    let (condition, mut params) = filter.condition();
    params.push(Param::Int(now));
    let sql = format!(
        "UPDATE delivery SET state = 'pending', attempts = 0, next_at = ?{} \
         WHERE state IN ('pending', 'parked') AND (({condition}) OR (batch IS NOT NULL AND (target, batch) IN \
         (SELECT target, batch FROM delivery WHERE state IN ('pending', 'parked') AND {condition})))",
        params.len()
    );
    tx.execute(&sql, &params)
}

/// Passes over one open delivery, and with it the batch it belongs to. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn skip(tx: &mut WriteTx<'_>, target: &TargetName, event: EventId) -> Result<u64, StoreError> {
    let [a, b, c, d] = key(target, event);
    let now = Param::Int(tx.now().0);
    let sql = format!(
        "UPDATE delivery SET state = 'skipped', finished_at = ?5 WHERE target = ?1 AND {OPEN} \
         AND ((epoch = ?2 AND seq = ?3 AND n = ?4) OR batch = \
         (SELECT batch FROM delivery WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4))"
    );
    tx.execute(&sql, &[a, b, c, d, now])
}

/// Passes over everything open of a target, because a snapshot says it anew. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn supersede(tx: &mut WriteTx<'_>, target: &TargetName) -> Result<u64, StoreError> {
    let now = Param::Int(tx.now().0);
    let sql = format!(
        "UPDATE delivery SET state = 'skipped', finished_at = ?2, last_error = 'a snapshot says it anew' \
         WHERE target = ?1 AND {OPEN}"
    );
    tx.execute(&sql, &[Param::Text(target.as_str()), now])
}

/// Has what is kept of what a target was told in the turns after `after` up to `to` sent once more. Answers all that
/// is told there with its turns, finished or not, in order.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn reopen(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    after: Seq,
    to: Seq,
) -> Result<Vec<(Seq, EventId)>, StoreError> {
    let epoch = Param::Int(i64::from(tx.epoch().0));
    let (name, now) = (Param::Text(target.as_str()), Param::Int(tx.now().0));
    let range = "target = ?1 AND epoch = ?2 AND turn > ?3 AND turn <= ?4";
    let params = [name, epoch, seq_param(after), seq_param(to)];
    let sql = format!("SELECT epoch, seq, n, turn FROM delivery WHERE {range} ORDER BY {ORDER}");
    let found = tx.all(&sql, &params, |row| Ok((seq_of(row, 3)?, event_of(row, 0)?)))?;
    let sql = format!(
        "UPDATE delivery SET state = 'pending', attempts = 0, next_at = ?5, finished_at = NULL, batch = NULL \
         WHERE {range} AND state IN ('done', 'skipped')"
    );
    let [a, b, c, d] = params;
    tx.execute(&sql, &[a, b, c, d, now])?;
    Ok(found)
}

/// Drops finished deliveries of a target with their attempts: those that ended before `before`, and all but the
/// newest `keep`. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn prune(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    before: Timestamp,
    keep: u32,
) -> Result<u64, StoreError> {
    let name = Param::Text(target.as_str());
    let done = "state IN ('done', 'skipped')";
    let edge = format!(
        "SELECT epoch, seq, n, turn FROM delivery WHERE target = ?1 AND {done} \
         ORDER BY {NEWEST_FIRST} LIMIT 1 OFFSET ?2"
    );
    let keep = Param::Int(i64::from(keep));
    let edge = tx.first(&edge, &[name, keep], |row| Ok((seq_of(row, 3)?, event_of(row, 0)?)))?;
    let mut gone = 0_u64;
    if let Some((turn, edge)) = edge {
        let [a, b, c, d] = key(target, edge);
        let sql =
            format!("DELETE FROM delivery WHERE target = ?1 AND {done} AND ({ORDER}) <= (?2, ?5, ?3, ?4)");
        gone = tx.execute(&sql, &[a, b, c, d, seq_param(turn)])?;
    }
    let sql = format!("DELETE FROM delivery WHERE target = ?1 AND {done} AND finished_at < ?2");
    gone = gone.saturating_add(tx.execute(&sql, &[name, Param::Int(before.0)])?);
    if gone > 0 {
        let sql = "DELETE FROM delivery_attempt WHERE target = ?1 AND NOT EXISTS (SELECT 1 FROM delivery d \
                   WHERE d.target = delivery_attempt.target AND d.epoch = delivery_attempt.epoch \
                   AND d.seq = delivery_attempt.seq AND d.n = delivery_attempt.n)";
        tx.execute(sql, &[name])?;
    }
    Ok(gone)
}
