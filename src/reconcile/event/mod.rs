//! What is said to webhooks and readers: which events a change makes, and how their bodies look.
//!
//! Pure: changes, facts and settings in, events and bytes out. Storing, ordering and sending are `reconcile::webhook`'s.
//!
//! INVARIANTS: the same change makes the same events with the same `n`, whoever asks and whatever a filter wants;
//! filters drop events and never renumber. What a schema never returns is in no body. A body is under
//! [`BODY_BYTES_MAX`]. Every body of the standard form is valid against the schema of its type.

mod access;
mod change;
mod cloud;
mod example;
mod field;
mod filter;
mod kept;
mod keys;
mod kind;
mod names;
mod schema;
mod set;
mod summary;
mod template;

pub mod body;

use serde_json::{Map, Value};

use crate::model::{DirectoryId, Epoch, EventId, ResourceId, Seq, Timestamp};

pub use access::of_access;
pub use change::{of_change, takes_away};
pub use example::{EXAMPLE_ID, EXAMPLE_PREVIOUS, example};
pub use field::{Field, Presence, Shape};
pub use filter::{EventFilter, EventFilterError};
pub use kept::{is_unwritten, keep, write as write_kept};
pub use keys::public_keys;
pub use kind::{KINDS, Kind, UnknownKind};
pub use names::Names;
pub use schema::schema;
pub use set::{ScimEvents, is_scim_event};
pub use summary::summary;
pub use template::{BodyTemplate, CONTENT_TYPE, try_examples};

/// Longest body, in bytes. Standard Webhooks asks for less than 20 kB.
pub const BODY_BYTES_MAX: usize = 20_000;

/// The version in a body's `version`. Fields are only added to it; whatever else changes makes the next one.
pub const VERSION: u32 = 1;

/// The first `n` of events that no single change makes: differences of access, and snapshots. Those of a change count
/// from 0, so the two never meet.
pub const DERIVED_N_FIRST: u32 = 1_000_000_000;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its type.
    pub kind: Kind,
    /// The change it belongs to.
    pub seq: Seq,
    /// Its place in that change; `None` for what no single change makes, which whoever stores it numbers from
    /// [`DERIVED_N_FIRST`].
    pub n: Option<u32>,
    /// The key that events of one resource share: the id of a user or group, or the name of a target or directory.
    pub resource: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// The user it is about, for filters.
    pub person: Option<Person>,
    /// What it says, whole, without its place in the order.
    pub data: Map<String, Value>,
}

impl Event {
    /// Its number: its own, or where it has none the one after what was said last of the same change.
    pub fn id(&self, epoch: Epoch, previous: Option<EventId>) -> EventId {
        let n = self.n.unwrap_or_else(|| {
            let last = previous.filter(|last| last.epoch == epoch && last.seq == self.seq).map(|last| last.n);
            last.map_or(DERIVED_N_FIRST, |n| n.saturating_add(1).max(DERIVED_N_FIRST))
        });
        EventId { epoch, seq: self.seq, n }
    }
}

/// The user that an event is about, and what the change itself knows of the user.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// The directory.
    pub directory: DirectoryId,
    /// The user's id.
    pub user: ResourceId,
    /// Attributes as they were, where the change says so.
    pub before: Option<Map<String, Value>>,
    /// Attributes as they became, where the change says so.
    pub after: Option<Map<String, Value>>,
}

/// Longest text of a name or a reason in an event.
const TEXT_BYTES_MAX: usize = 1_000;

/// A text that fits into an event: cut, with `…` at its end, where it is longer than any name should be.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end =
        text.char_indices().map(|(at, _)| at).take_while(|at| *at <= TEXT_BYTES_MAX).last().unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests;
