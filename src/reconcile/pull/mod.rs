//! Events for who asks: the change log behind a cursor, as the events it makes, and the present state to begin with.
//!
//! Nothing is kept of who asked. An event has the same number whenever it is read; users and groups that a change
//! only names by id are called as they are called when it is read.

mod cursor;
mod sets;
mod snapshot;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::mirror::change::{self, Change};
use crate::mirror::{Mirror, ReadTx, StoreError, named};
use crate::model::{Epoch, EventId, ResourceId, Seq};

use super::event::body::{self, BodySettings};
use super::event::{Event, EventFilter, Names, of_change};
use super::snapshot::Source;

pub use cursor::{Cursor, CursorError};
pub use sets::{Handed, Refusal, Settled, UNACKNOWLEDGED_MAX, streams};
pub use snapshot::Picture;

/// Changes read at once.
const CHANGES_MAX: u32 = 200;

/// Bytes of bodies in one page, about.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// An event as it is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its number.
    pub id: EventId,
    /// Its type.
    pub kind: &'static str,
    /// `id`, `version`, `type`, `timestamp` and `data`.
    pub body: Map<String, Value>,
}

/// The events behind a cursor.
#[derive(Debug, Clone)]
pub struct Page {
    /// In order.
    pub events: Vec<Told>,
    /// Where the next page begins: also past changes that make no event, or none that was asked for.
    pub next: Cursor,
    /// Whether more is there already.
    pub more: bool,
}

/// Why there is no page.
#[derive(Debug)]
pub enum PullError {
    /// What follows the cursor is not in the log: it was pruned, or the mirror was restored since.
    Gone {
        /// Where the log begins: the change before its first one.
        oldest: Cursor,
    },
    /// The mirror cannot be read, or an event not be written.
    Store(StoreError),
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { oldest } => {
                write!(f, "what follows the cursor is no longer in the log, which begins after {oldest}")
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PullError {}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What one reader asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which events.
    pub filter: EventFilter,
    /// How their bodies look.
    pub body: BodySettings,
    /// Most events of one page.
    pub limit: usize,
}

/// Reads events for readers. Clones share it.
#[derive(Clone)]
pub struct Pull {
    mirror: Mirror,
    source: Arc<Source>,
}

impl fmt::Debug for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull").finish_non_exhaustive()
    }
}

impl Pull {
    pub(crate) fn new(mirror: Mirror, source: Arc<Source>) -> Self {
        Self { mirror, source }
    }

    /// The cursor behind everything there is now.
    pub fn newest(&self) -> Cursor {
        Cursor::behind(self.mirror.epoch(), *self.mirror.changes().borrow())
    }

    /// The events behind `cursor`, without waiting. `None` begins where the log does.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn page(&self, cursor: Option<Cursor>, wanted: Wanted) -> Result<Page, PullError> {
        let epoch = self.mirror.epoch();
        self.mirror.read_long(move |tx: &mut ReadTx<'_>| page(tx, epoch, cursor, &wanted)).await
    }

    /// The present state, to begin with.
    ///
    /// # Errors
    /// [`PullError::Store`].
    pub async fn picture(&self, wanted: Wanted) -> Result<Picture, PullError> {
        let snapshot = self.source.newest().await?;
        Ok(Picture::new(snapshot, self.mirror.epoch(), self.mirror.now(), wanted))
    }
}

fn page(
    tx: &mut ReadTx<'_>,
    epoch: Epoch,
    cursor: Option<Cursor>,
    wanted: &Wanted,
) -> Result<Page, PullError> {
    let made = made(tx, epoch, cursor, None, wanted)?;
    let events: Result<Vec<Told>, StoreError> = made.events.iter().map(Made::told).collect();
    Ok(Page { events: events?, next: made.next, more: made.more })
}

/// An event and its body.
struct Made {
    id: EventId,
    kind: &'static str,
    resource: Option<String>,
    bytes: Vec<u8>,
}

/// The events behind a cursor with their bodies; `previous` is the one before them, if it is not the cursor's.
fn made(
    tx: &mut ReadTx<'_>,
    epoch: Epoch,
    cursor: Option<Cursor>,
    previous: Option<EventId>,
    wanted: &Wanted,
) -> Result<Bodies, PullError> {
    let cursor = match cursor {
        Some(cursor) => cursor,
        None => start(tx, epoch)?,
    };
    let newest = tx.seq()?;
    // The change of a cursor within one is read again, for the rest of its events.
    let from = cursor.read_from();
    let changes = change::after(tx, from, CHANGES_MAX)?;
    let follows = changes.first().map_or(from == newest, |first| first.seq == from.next());
    if cursor.epoch() != epoch || !follows {
        return Err(PullError::Gone { oldest: start(tx, epoch)? });
    }
    let mut page = Bodies { events: Vec::new(), next: cursor, more: false };
    let mut bytes = 0_usize;
    let mut previous = previous.or(cursor.event());
    for change in &changes {
        let done = cursor.event().filter(|last| last.seq == change.seq).map(|last| last.n);
        let room = room(wanted, &page);
        let facts = named::resources(tx, &ids(change, done, room))?;
        let names = Names::of(&facts);
        for event in of_change(change, &names) {
            let id = event.id(epoch, previous);
            if done.is_some_and(|done| id.n <= done) || !wanted.filter.passes(&event, &names) {
                continue;
            }
            if page.events.len() >= wanted.limit || bytes >= PAGE_BYTES_MAX {
                page.more = true;
                return Ok(page);
            }
            let made = render(&event, &wanted.body, id, previous)?;
            bytes = bytes.saturating_add(made.bytes.len());
            page.events.push(made);
            previous = Some(id);
            page.next = Cursor::at(id);
        }
        page.next = Cursor::behind(epoch, change.seq);
    }
    page.more = changes.last().is_some_and(|last| last.seq < newest);
    Ok(page)
}

/// How many members of a change may still be named in this page; all of them, where a filter may skip some.
fn room(wanted: &Wanted, page: &Bodies) -> usize {
    use super::event::Kind::{GroupGroupAdded, GroupGroupRemoved, GroupUserAdded, GroupUserRemoved};
    let memberships = [GroupGroupAdded, GroupGroupRemoved, GroupUserAdded, GroupUserRemoved];
    if memberships.into_iter().all(|kind| wanted.filter.wants(kind)) {
        wanted.limit.saturating_sub(page.events.len())
    } else {
        usize::MAX
    }
}

/// The change before the first one that the log holds.
fn start(tx: &mut ReadTx<'_>, epoch: Epoch) -> Result<Cursor, StoreError> {
    let first = change::after(tx, Seq::ZERO, 1)?.first().map(|first| first.seq);
    let before = match first {
        Some(first) => Seq(first.0.saturating_sub(1)),
        None => tx.seq()?,
    };
    Ok(Cursor::behind(epoch, before))
}

/// Whom the events of one page name: of a change with many members only those whose turn it is.
fn ids(change: &Change, done: Option<u32>, room: usize) -> BTreeSet<ResourceId> {
    // The first event may be the change's own, so that a member's place is its event's or one less.
    let first = done.map_or(0, |done| usize::try_from(done).unwrap_or(usize::MAX));
    let members = change.members.iter().skip(first.saturating_sub(1)).take(room.saturating_add(2));
    let mut ids: BTreeSet<ResourceId> = members.flat_map(|one| [one.group, one.member]).collect();
    ids.extend(change.resource);
    ids
}

/// Made events, and where the next ones begin.
struct Bodies {
    events: Vec<Made>,
    next: Cursor,
    more: bool,
}

fn render(
    event: &Event,
    settings: &BodySettings,
    id: EventId,
    previous: Option<EventId>,
) -> Result<Made, StoreError> {
    let made = body::render(event, settings, id, previous).map_err(|error| bug(id, &error))?;
    let resource = event.resource.clone();
    Ok(Made { id, kind: event.kind.as_str(), resource, bytes: made.bytes })
}

fn bug(id: EventId, error: &dyn fmt::Display) -> StoreError {
    StoreError::Bug(format!("event {id}: {error}"))
}

impl Made {
    /// As readers of JSON get it.
    fn told(&self) -> Result<Told, StoreError> {
        let mut body = Map::new();
        body.insert("id".to_owned(), self.id.to_string().into());
        let rest: Map<String, Value> =
            serde_json::from_slice(&self.bytes).map_err(|error| bug(self.id, &error))?;
        body.extend(rest);
        Ok(Told { id: self.id, kind: self.kind, body })
    }
}
