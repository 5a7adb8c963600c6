//! Streams of signed events that readers fetch (RFC 8936): where each stands, and what it was handed and has not
//! acknowledged. What a stream holds and in which order is reconcile's.

use std::collections::BTreeSet;

use crate::model::{Epoch, EventId, ResourceId, Seq, Timestamp};

use super::engine::{Param, Row, StoreError};
use super::tx::{ReadTx, WriteTx};

/// A place in the log: behind an event, or behind all of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The life of the mirror it belongs to.
    pub epoch: Epoch,
    /// The change.
    pub seq: Seq,
    /// The event of that change; `None` for behind all of them.
    pub n: Option<u32>,
}

/// Where a reader's stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Behind what was handed out last.
    pub place: Place,
    /// The event handed out last, which the next one names as the one before it.
    pub last: Option<EventId>,
    /// Tokens handed out, each counted once.
    pub handed: u64,
    /// Tokens acknowledged.
    pub acknowledged: u64,
    /// Tokens the reader refused.
    pub refused: u64,
    /// The last refusal, as JSON.
    pub last_refusal: Option<String>,
    /// When the reader last asked and something changed by it.
    pub polled_at: Timestamp,
}

impl Stream {
    /// A stream that begins behind `place`.
    pub fn at(place: Place, now: Timestamp) -> Self {
        let (handed, acknowledged, refused) = (0, 0, 0);
        Self { place, last: None, handed, acknowledged, refused, last_refusal: None, polled_at: now }
    }
}

/// A token that was handed out and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its event, whose id is the `jti`.
    pub event: EventId,
    /// The user or group it speaks of.
    pub resource: Option<String>,
    /// The token, handed again as it stands.
    pub token: String,
}

const COLUMNS: &str = "SELECT reader, epoch, seq, n, last, handed, acknowledged, refused, last_refusal, polled_at FROM set_stream";

fn stream_of(row: &dyn Row) -> Result<(String, Stream), StoreError> {
    let count = |at| row.int(at).map(|n| u64::try_from(n).unwrap_or(0));
    let place = Place {
        epoch: Epoch(u32::try_from(row.int(1)?).unwrap_or(0)),
        seq: Seq(count(2)?),
        n: row.opt_int(3)?.and_then(|n| u32::try_from(n).ok()),
    };
    let stream = Stream {
        place,
        last: row.opt_text(4)?.and_then(EventId::parse),
        handed: count(5)?,
        acknowledged: count(6)?,
        refused: count(7)?,
        last_refusal: row.opt_text(8)?.map(str::to_owned),
        polled_at: Timestamp(row.int(9)?),
    };
    Ok((row.text(0)?.to_owned(), stream))
}

/// Every stream by its reader, sorted.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>) -> Result<Vec<(String, Stream)>, StoreError> {
    tx.all(&format!("{COLUMNS} ORDER BY reader"), &[], stream_of)
}

/// A reader's stream, if it has begun.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn find(tx: &mut ReadTx<'_>, reader: &str) -> Result<Option<Stream>, StoreError> {
    let found = tx.first(&format!("{COLUMNS} WHERE reader = ?1"), &[Param::Text(reader)], stream_of)?;
    Ok(found.map(|(_, stream)| stream))
}

/// Stores where a stream stands.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn save(tx: &mut WriteTx<'_>, reader: &str, stream: &Stream) -> Result<(), StoreError> {
    let last = stream.last.map(|id| id.to_string());
    let count = |n: u64| Param::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let params = [
        Param::Text(reader),
        Param::Int(i64::from(stream.place.epoch.0)),
        count(stream.place.seq.0),
        Param::opt_int(stream.place.n.map(i64::from)),
        Param::opt_text(last.as_deref()),
        count(stream.handed),
        count(stream.acknowledged),
        count(stream.refused),
        Param::opt_text(stream.last_refusal.as_deref()),
        Param::Int(stream.polled_at.0),
    ];
    let sql = "INSERT INTO set_stream (reader, epoch, seq, n, last, handed, acknowledged, refused, last_refusal, polled_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (reader) DO UPDATE SET \
               epoch = excluded.epoch, seq = excluded.seq, n = excluded.n, last = excluded.last, \
               handed = excluded.handed, acknowledged = excluded.acknowledged, refused = excluded.refused, \
               last_refusal = excluded.last_refusal, polled_at = excluded.polled_at";
    tx.execute(sql, &params).map(drop)
}

/// What a reader was handed and has not acknowledged, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn waiting(tx: &mut ReadTx<'_>, reader: &str, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    let sql = "SELECT epoch, seq, n, resource, token FROM set_waiting WHERE reader = ?1 \
               ORDER BY epoch, seq, n LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.all(sql, &[Param::Text(reader), Param::Int(limit)], |row| {
        let event = event_of(row)?;
        let resource = row.opt_text(3)?.map(str::to_owned);
        Ok(Waiting { event, resource, token: row.text(4)?.to_owned() })
    })
}

/// The events of those.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn events(tx: &mut ReadTx<'_>, reader: &str) -> Result<BTreeSet<EventId>, StoreError> {
    let sql = "SELECT epoch, seq, n FROM set_waiting WHERE reader = ?1";
    Ok(tx.all(sql, &[Param::Text(reader)], event_of)?.into_iter().collect())
}

fn event_of(row: &dyn Row) -> Result<EventId, StoreError> {
    Ok(EventId {
        epoch: Epoch(u32::try_from(row.int(0)?).unwrap_or(0)),
        seq: Seq(u64::try_from(row.int(1)?).unwrap_or(0)),
        n: u32::try_from(row.int(2)?).unwrap_or(0),
    })
}

/// How many those are.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn count(tx: &mut ReadTx<'_>, reader: &str) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM set_waiting WHERE reader = ?1";
    let found = tx.first(sql, &[Param::Text(reader)], |row| row.int(0))?;
    Ok(found.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// A reader that was handed a token about this user or group and has not acknowledged it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn holder(tx: &mut ReadTx<'_>, resource: &ResourceId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT reader FROM set_waiting WHERE resource = ?1 LIMIT 1";
    tx.first(sql, &[Param::Text(&resource.to_string())], |row| Ok(row.text(0)?.to_owned()))
}

/// Keeps what is about to be handed out.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn hand(tx: &mut WriteTx<'_>, reader: &str, tokens: &[Waiting]) -> Result<(), StoreError> {
    let now = Param::Int(tx.now().0);
    let sql = "INSERT INTO set_waiting (reader, epoch, seq, n, resource, token, handed_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    for one in tokens {
        let [reader, epoch, seq, n] = key(reader, one.event);
        let resource = Param::opt_text(one.resource.as_deref());
        tx.execute(sql, &[reader, epoch, seq, n, resource, Param::Text(&one.token), now])?;
    }
    Ok(())
}

/// Forgets one that the reader is done with. False if it was not waiting.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn done(tx: &mut WriteTx<'_>, reader: &str, event: EventId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM set_waiting WHERE reader = ?1 AND epoch = ?2 AND seq = ?3 AND n = ?4";
    Ok(tx.execute(sql, &key(reader, event))? > 0)
}

/// Forgets all that a reader was handed.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn clear(tx: &mut WriteTx<'_>, reader: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM set_waiting WHERE reader = ?1", &[Param::Text(reader)]).map(drop)
}

fn key(reader: &str, event: EventId) -> [Param<'_>; 4] {
    [
        Param::Text(reader),
        Param::Int(i64::from(event.epoch.0)),
        Param::Int(i64::try_from(event.seq.0).unwrap_or(i64::MAX)),
        Param::Int(i64::from(event.n)),
    ]
}
