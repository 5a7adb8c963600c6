//! Events on their way to webhooks. A row is made when an event is about to be sent and keeps its body bytes until
//! it is acknowledged, so that every attempt says the same. Order, schedule and backoff are reconcile's.
//!
//! INVARIANT: wherever deliveries have an order it is the one they are told in: epoch, turn, seq, n.

mod attempt;
mod read;
mod write;

use crate::model::{EventId, Seq, TargetName, Timestamp};

use super::engine::{Param, StoreError};

pub use attempt::{ATTEMPTS_KEPT, Attempt, attempts};
pub use read::{
    Filter, Head, before, counts, find, first_change_since, first_turn, heads, held, last_about, last_of,
    list, oldest, oldest_kept, open, open_to, these,
};
pub use write::{
    Sent, add, assign_batch, note, prune, record, release, reopen, retry, retry_matching, set_body, skip,
    supersede,
};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes away what the guard holds; it and all behind it wait for a person.
    Held,
    /// To be sent at `next_at`.
    Pending,
    /// Given up on until a person says retry or skip.
    Parked,
    /// Acknowledged.
    Done,
    /// Passed over by a person, or because a snapshot says it anew.
    Skipped,
}

impl State {
    /// Every state, by its word.
    pub const ALL: [Self; 5] = [Self::Held, Self::Pending, Self::Parked, Self::Done, Self::Skipped];

    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Parked => "parked",
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        Self::parse(word).ok_or_else(|| StoreError::Bug(format!("delivery state `{word}`")))
    }
}

/// An event about to be sent for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its id, the `webhook-id` of every attempt.
    pub event: EventId,
    /// The change in whose turn it is told, behind everything of that change: its own, or an earlier one where it is
    /// told ahead of what happened before it.
    pub turn: Seq,
    /// Event type, as in `user.created`.
    pub kind: String,
    /// The resource it is about, for ordering by resource.
    pub resource: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// The body, sent as it stands.
    pub body: Vec<u8>,
    /// The `content-type` of the body.
    pub content_type: String,
    /// Further headers it is sent with.
    pub headers: Vec<(String, String)>,
    /// `Pending`, or `Held` or `Skipped` by the guard's verdict.
    pub state: State,
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which webhook.
    pub target: TargetName,
    /// The event and its body; its `state` is where it stands now.
    pub event: New,
    /// The batch it was sent in, by the id of the batch's last event.
    pub batch: Option<EventId>,
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
    /// Waiting for a person's word about held removals.
    pub held: u64,
    /// Waiting to be sent.
    pub pending: u64,
    /// Given up on.
    pub parked: u64,
}

impl Counts {
    /// All that is not finished.
    pub fn open(self) -> u64 {
        self.held.saturating_add(self.pending).saturating_add(self.parked)
    }
}

fn key(target: &TargetName, event: EventId) -> [Param<'_>; 4] {
    [
        Param::Text(target.as_str()),
        Param::Int(i64::from(event.epoch.0)),
        Param::Int(i64::try_from(event.seq.0).unwrap_or(i64::MAX)),
        Param::Int(i64::from(event.n)),
    ]
}
