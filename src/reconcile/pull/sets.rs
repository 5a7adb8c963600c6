//! Signed event tokens for readers that fetch them (RFC 8936): handed in order, again until they are acknowledged, the
//! same bytes each time.
//!
//! Besides its place each stream keeps what it was handed and has not acknowledged, and nothing else: what comes next
//! is made from the log when the reader asks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::mirror::set_stream::{self, Place, Stream, Waiting};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx};
use crate::model::{Epoch, EventId, Origin, Seq, Timestamp};
use crate::reconcile::event::cut;

use super::{Cursor, Pull, PullError, Wanted, made, start};

/// Most tokens that a reader may have without acknowledging them; past them it gets only these again.
pub const UNACKNOWLEDGED_MAX: usize = 1_000;

/// Why a reader refused a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The registered code, such as `invalid_key`.
    pub err: String,
    /// The reader's words.
    pub description: String,
}

/// What a reader says of what it was handed before. Ids that are not waiting mean nothing.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Taken for good.
    pub acknowledged: Vec<EventId>,
    /// Refused: not handed again either, counted and shown.
    pub refused: BTreeMap<EventId, Refusal>,
}

/// What one poll is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Event and token, in order.
    pub tokens: Vec<(EventId, String)>,
    /// Whether more is there already.
    pub more: bool,
}

impl Pull {
    /// Notes what the reader is done with; answers how many of it were waiting.
    ///
    /// # Errors
    /// [`StoreError`] from the engine.
    pub async fn settle(&self, reader: &str, mut settled: Settled) -> Result<u64, StoreError> {
        let reader = reader.to_owned();
        let name = reader.clone();
        let read = self.mirror.read_long::<_, StoreError, _>(move |tx| set_stream::events(tx, &name)).await;
        let waiting = read?;
        // A body has room for tens of thousands of ids; everybody's writes would wait for each of them.
        settled.acknowledged.retain(|event| waiting.contains(event));
        settled.refused.retain(|event, _| waiting.contains(event));
        if settled.acknowledged.is_empty() && settled.refused.is_empty() {
            return Ok(0);
        }
        let done = move |tx: &mut WriteTx<'_>| settle(tx, &reader, &settled);
        self.mirror.write(Origin::daemon(), done).await
    }

    /// What the reader has not acknowledged yet and what comes after it, at most `wanted.limit` in all. What is new
    /// is kept before it is handed out.
    ///
    /// # Errors
    /// [`PullError`]; [`PullError::Gone`] too for a stream that has not begun where the log has lost its beginning.
    pub async fn hand(&self, reader: &str, wanted: Wanted) -> Result<Handed, PullError> {
        let epoch = self.mirror.epoch();
        loop {
            let (name, asked) = (reader.to_owned(), wanted.clone());
            let look = move |tx: &mut ReadTx<'_>| look(tx, epoch, &name, &asked);
            let Look { before, after, new, mut handed } = self.mirror.read_long(look).await?;
            let is_still = before.as_ref().is_some_and(|stream| stream.place == after.place);
            if new.is_empty() && is_still {
                return Ok(handed);
            }
            let (name, kept) = (reader.to_owned(), new.clone());
            let place = before.map(|stream| stream.place);
            let keep = move |tx: &mut WriteTx<'_>| keep(tx, &name, place, after, &kept);
            if self.mirror.write::<_, StoreError, _>(Origin::daemon(), keep).await? {
                handed.tokens.extend(new.into_iter().map(|one| (one.event, one.token)));
                return Ok(handed);
            }
            // Another poll of the same reader was faster; what it was handed is waiting now.
        }
    }

    /// Whether there is anything that [`Pull::hand`] would hand out. Keeps nothing.
    ///
    /// # Errors
    /// As [`Pull::hand`].
    pub async fn has_more(&self, reader: &str, wanted: Wanted) -> Result<bool, PullError> {
        let (epoch, name) = (self.mirror.epoch(), reader.to_owned());
        let seen = self.mirror.read_long(move |tx: &mut ReadTx<'_>| look(tx, epoch, &name, &wanted)).await?;
        Ok(seen.handed.more || !seen.handed.tokens.is_empty() || !seen.new.is_empty())
    }

    /// Lets the stream begin behind `cursor`; what waited is forgotten.
    ///
    /// # Errors
    /// [`PullError::Gone`]: what follows is not in the log.
    pub async fn begin(&self, reader: &str, cursor: Option<Cursor>) -> Result<Cursor, PullError> {
        let (epoch, name) = (self.mirror.epoch(), reader.to_owned());
        let begin = move |tx: &mut WriteTx<'_>| {
            let oldest = start(tx, epoch)?;
            let cursor = cursor.unwrap_or(oldest);
            let is_there = cursor.epoch() == epoch && cursor.read_from() >= oldest.read_from();
            if !is_there || cursor.read_from() > tx.seq()? {
                return Err(PullError::Gone { oldest });
            }
            let now = tx.now();
            let mut stream = set_stream::find(tx, &name)?.unwrap_or_else(|| Stream::at(place(cursor), now));
            (stream.place, stream.last, stream.polled_at) = (place(cursor), None, now);
            set_stream::clear(tx, &name)?;
            set_stream::save(tx, &name, &stream)?;
            Ok(cursor)
        };
        self.mirror.write(Origin::daemon(), begin).await
    }
}

fn place(cursor: Cursor) -> Place {
    Place { epoch: cursor.epoch, seq: cursor.seq, n: cursor.n }
}

fn cursor(place: Place) -> Cursor {
    Cursor { epoch: place.epoch, seq: place.seq, n: place.n }
}

fn settle(tx: &mut WriteTx<'_>, reader: &str, settled: &Settled) -> Result<u64, StoreError> {
    let Some(mut stream) = set_stream::find(tx, reader)? else { return Ok(0) };
    let (mut acknowledged, mut refused) = (0_u64, 0_u64);
    for (event, why) in &settled.refused {
        if !set_stream::done(tx, reader, *event)? {
            continue;
        }
        refused = refused.saturating_add(1);
        let (err, description) = (cut(&why.err), cut(&why.description));
        tracing::warn!(reader, jti = %event, err, description, "a reader refused an event token");
        let at = tx.now().to_string();
        let told = json!({"jti": event.to_string(), "err": err, "description": description, "at": at});
        stream.last_refusal = Some(told.to_string());
    }
    for event in &settled.acknowledged {
        acknowledged = acknowledged.saturating_add(u64::from(set_stream::done(tx, reader, *event)?));
    }
    stream.acknowledged = stream.acknowledged.saturating_add(acknowledged);
    stream.refused = stream.refused.saturating_add(refused);
    stream.polled_at = tx.now();
    set_stream::save(tx, reader, &stream)?;
    Ok(acknowledged.saturating_add(refused))
}

/// What one look at the mirror shows.
struct Look {
    before: Option<Stream>,
    after: Stream,
    new: Vec<Waiting>,
    handed: Handed,
}

fn look(tx: &mut ReadTx<'_>, epoch: Epoch, reader: &str, wanted: &Wanted) -> Result<Look, PullError> {
    let before = set_stream::find(tx, reader)?;
    let waits = usize::try_from(set_stream::count(tx, reader)?).unwrap_or(usize::MAX);
    let from = match &before {
        Some(stream) => cursor(stream.place),
        None => beginning(tx, epoch)?,
    };
    if from.epoch() != epoch {
        return Err(PullError::Gone { oldest: start(tx, epoch)? });
    }
    let waiting = set_stream::waiting(tx, reader, wanted.limit)?;
    let tokens: Vec<_> = waiting.into_iter().map(|one| (one.event, one.token)).collect();
    let room = wanted.limit.min(UNACKNOWLEDGED_MAX).saturating_sub(waits);
    let mut after = before.clone().unwrap_or_else(|| Stream::at(place(from), tx.now()));
    let mut handed = Handed { more: waits > tokens.len(), tokens };
    let mut new = Vec::new();
    if room > 0 {
        let asked = Wanted { limit: room, ..wanted.clone() };
        let page = made(tx, epoch, Some(from), after.last, &asked)?;
        for one in page.events {
            let token = String::from_utf8(one.bytes)
                .map_err(|error| StoreError::Bug(format!("event {}: {error}", one.id)))?;
            after.last = Some(one.id);
            new.push(Waiting { event: one.id, resource: one.resource, token });
        }
        after.place = place(page.next);
        after.handed = after.handed.saturating_add(new.len() as u64);
        handed.more |= page.more;
    } else {
        handed.more |= from.read_from() < tx.seq()?;
    }
    Ok(Look { before, after, new, handed })
}

/// Where a stream begins that nobody began: at the beginning of everything, if the log still has it.
fn beginning(tx: &mut ReadTx<'_>, epoch: Epoch) -> Result<Cursor, PullError> {
    let oldest = start(tx, epoch)?;
    if oldest.read_from() == Seq::ZERO { Ok(oldest) } else { Err(PullError::Gone { oldest }) }
}

/// Stores what is about to be handed out. False, and nothing stored, if the stream moved meanwhile.
fn keep(
    tx: &mut WriteTx<'_>,
    reader: &str,
    place: Option<Place>,
    mut after: Stream,
    new: &[Waiting],
) -> Result<bool, StoreError> {
    let found = set_stream::find(tx, reader)?;
    if found.as_ref().map(|stream| stream.place) != place {
        return Ok(false);
    }
    if let Some(found) = found {
        // What was settled in between stays counted.
        (after.acknowledged, after.refused) = (found.acknowledged, found.refused);
        after.last_refusal = found.last_refusal;
    }
    after.polled_at = tx.now();
    set_stream::hand(tx, reader, new)?;
    set_stream::save(tx, reader, &after)?;
    Ok(true)
}

/// How the streams of readers stand, for `status`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn streams(mirror: &Mirror) -> Result<Value, StoreError> {
    let epoch = mirror.epoch();
    mirror.read(|tx: &mut ReadTx<'_>| {
        let (newest, oldest) = (tx.seq()?, start(tx, epoch)?.read_from());
        let mut rows = Vec::new();
        for (reader, stream) in set_stream::list(tx)? {
            let waiting = set_stream::count(tx, &reader)?;
            let at = cursor(stream.place);
            let is_lost = at.epoch() != epoch || at.read_from() < oldest;
            let behind = newest.0.saturating_sub(stream.place.seq.0);
            let refusal = stream.last_refusal.as_deref().and_then(|text| serde_json::from_str(text).ok());
            rows.push(json!({
                "reader": reader,
                "state": if is_lost { "needs_snapshot" } else if waiting > 0 || behind > 0 { "pending" } else { "in_sync" },
                "next": at.to_string(),
                "lag_events": waiting.saturating_add(behind),
                "unacknowledged": waiting,
                "handed": stream.handed,
                "acknowledged": stream.acknowledged,
                "refused": stream.refused,
                "last_refusal": refusal.unwrap_or(Value::Null),
                "last_poll": Timestamp::to_string(&stream.polled_at),
            }));
        }
        Ok(rows.into())
    })
}
