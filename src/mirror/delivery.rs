//! Events on their way to webhooks. A row is made when an event is about to be sent and keeps its body bytes until
//! it is acknowledged, so that every attempt says the same. Order, schedule and backoff are reconcile's.

use crate::model::{Epoch, EventId, Seq, TargetName, Timestamp};

use super::engine::{Param, Row, StoreError};
use super::tx::{ReadTx, WriteTx};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be sent at `next_at`.
    Pending,
    /// Given up on until a person says retry or skip.
    Parked,
    /// Acknowledged.
    Done,
    /// Passed over by a person.
    Skipped,
}

impl State {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Parked => "parked",
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "pending" => Ok(Self::Pending),
            "parked" => Ok(Self::Parked),
            "done" => Ok(Self::Done),
            "skipped" => Ok(Self::Skipped),
            other => Err(StoreError::Bug(format!("delivery state `{other}`"))),
        }
    }
}

/// An event about to be sent for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its id, the `webhook-id` of every attempt.
    pub event: EventId,
    /// Event type, as in `user.created`.
    pub kind: String,
    /// The resource it is about, for ordering by resource.
    pub resource: Option<String>,
    /// The body, sent as it stands.
    pub body: Vec<u8>,
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which webhook.
    pub target: TargetName,
    /// The event and its body.
    pub event: New,
    /// Where it stands.
    pub state: State,
    /// Attempts made.
    pub attempts: u32,
    /// When the row was made.
    pub created_at: Timestamp,
    /// Not to be sent before.
    pub next_at: Timestamp,
    /// When it was acknowledged or skipped.
    pub finished_at: Option<Timestamp>,
    /// HTTP status of the last attempt, if there was an answer.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// How many deliveries of a target stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Waiting to be sent.
    pub pending: u64,
    /// Given up on.
    pub parked: u64,
}

const COLUMNS: &str = "SELECT target, epoch, seq, n, kind, resource, body, state, attempts, created_at, next_at, \
    finished_at, last_status, last_error FROM delivery";

/// Adds events, due at once, in the caller's transaction: together with the cursor and the holdings they follow
/// from. One already there is left as it is.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn add(tx: &mut WriteTx<'_>, target: &TargetName, events: &[New]) -> Result<(), StoreError> {
    let now = Param::Int(tx.now().0);
    for event in events {
        let [a, b, c, d] = key(target, event.event);
        let params = [
            a,
            b,
            c,
            d,
            Param::Text(&event.kind),
            Param::opt_text(event.resource.as_deref()),
            Param::Blob(&event.body),
            now,
        ];
        tx.execute(
            "INSERT INTO delivery (target, epoch, seq, n, kind, resource, body, state, attempts, created_at, \
             next_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', 0, ?8, ?8) ON CONFLICT DO NOTHING",
            &params,
        )?;
    }
    Ok(())
}

/// Open deliveries of a target, pending and parked, in the order they must arrive.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn open(tx: &mut ReadTx<'_>, target: &TargetName, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE target = ?1 AND state IN ('pending', 'parked') ORDER BY epoch, seq, n LIMIT ?2"
    );
    tx.all(&sql, &[Param::Text(target.as_str()), Param::Int(i64::from(limit))], delivery_of)
}

/// Deliveries of a target in any state, newest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>, target: &TargetName, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!("{COLUMNS} WHERE target = ?1 ORDER BY epoch DESC, seq DESC, n DESC LIMIT ?2");
    tx.all(&sql, &[Param::Text(target.as_str()), Param::Int(i64::from(limit))], delivery_of)
}

/// One delivery.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn find(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    event: EventId,
) -> Result<Option<Delivery>, StoreError> {
    let sql = format!("{COLUMNS} WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4");
    tx.first(&sql, &key(target, event), delivery_of)
}

/// How many deliveries of a target are open.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn counts(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let sql = "SELECT state, count(*) FROM delivery WHERE target = ?1 AND state IN ('pending', 'parked') \
               GROUP BY state";
    tx.query(sql, &[Param::Text(target.as_str())], &mut |row| {
        let count = u64::try_from(row.int(1)?).unwrap_or(0);
        match row.text(0)? {
            "parked" => counts.parked = count,
            _ => counts.pending = count,
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Records one attempt and where the delivery stands after it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn record_attempt(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    event: EventId,
    after: State,
    next_at: Timestamp,
    status: Option<u16>,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let finished = matches!(after, State::Done | State::Skipped).then_some(tx.now().0);
    let [a, b, c, d] = key(target, event);
    let params = [
        a,
        b,
        c,
        d,
        Param::Text(after.as_str()),
        Param::Int(next_at.0),
        Param::opt_int(finished),
        Param::opt_int(status.map(i64::from)),
        Param::opt_text(error),
    ];
    tx.execute(
        "UPDATE delivery SET state = ?5, attempts = attempts + 1, next_at = ?6, finished_at = ?7, \
         last_status = ?8, last_error = ?9 WHERE target = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4",
        &params,
    )
    .map(|_| ())
}

/// Makes parked deliveries due now, one or all of a target. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn retry(tx: &mut WriteTx<'_>, target: &TargetName, event: Option<EventId>) -> Result<u64, StoreError> {
    let now = Param::Int(tx.now().0);
    let set = "UPDATE delivery SET state = 'pending', attempts = 0, next_at = ?2 WHERE target = ?1 \
               AND state IN ('pending', 'parked')";
    match event {
        None => tx.execute(set, &[Param::Text(target.as_str()), now]),
        Some(event) => {
            let [a, b, c, d] = key(target, event);
            let sql = format!("{set} AND epoch = ?3 AND seq = ?4 AND n = ?5");
            tx.execute(&sql, &[a, now, b, c, d])
        }
    }
}

/// Passes over one open delivery. False if it is not open.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn skip(tx: &mut WriteTx<'_>, target: &TargetName, event: EventId) -> Result<bool, StoreError> {
    let [a, b, c, d] = key(target, event);
    let now = Param::Int(tx.now().0);
    let sql = "UPDATE delivery SET state = 'skipped', finished_at = ?5 WHERE target = ?1 AND epoch = ?2 \
               AND seq = ?3 AND n = ?4 AND state IN ('pending', 'parked')";
    tx.execute(sql, &[a, b, c, d, now]).map(|touched| touched > 0)
}

/// Drops finished deliveries that ended before `before`. Answers how many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn prune(tx: &mut WriteTx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    let sql = "DELETE FROM delivery WHERE state IN ('done', 'skipped') AND finished_at < ?1";
    tx.execute(sql, &[Param::Int(before.0)])
}

fn key(target: &TargetName, event: EventId) -> [Param<'_>; 4] {
    [
        Param::Text(target.as_str()),
        Param::Int(i64::from(event.epoch.0)),
        Param::Int(i64::try_from(event.seq.0).unwrap_or(i64::MAX)),
        Param::Int(i64::from(event.n)),
    ]
}

fn delivery_of(row: &dyn Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        target: TargetName::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?,
        event: New {
            event: EventId {
                epoch: Epoch(u32::try_from(row.int(1)?).unwrap_or(0)),
                seq: Seq(u64::try_from(row.int(2)?).unwrap_or(0)),
                n: u32::try_from(row.int(3)?).unwrap_or(0),
            },
            kind: row.text(4)?.to_owned(),
            resource: row.opt_text(5)?.map(str::to_owned),
            body: row.blob(6)?.to_vec(),
        },
        state: State::from_word(row.text(7)?)?,
        attempts: u32::try_from(row.int(8)?).unwrap_or(u32::MAX),
        created_at: Timestamp(row.int(9)?),
        next_at: Timestamp(row.int(10)?),
        finished_at: row.opt_int(11)?.map(Timestamp),
        last_status: row.opt_int(12)?.and_then(|status| u16::try_from(status).ok()),
        last_error: row.opt_text(13)?.map(str::to_owned),
    })
}
