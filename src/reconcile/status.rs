//! What a target's state looks like from outside (DESIGN §3).

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::model::{Seq, TargetName, Timestamp};

use super::file::look::Evidence;
use super::guard::book::Decided;
use super::webhook::Circuit;

/// The state of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds access plus exceptions.
    InSync,
    /// A change is waiting to be applied; under `apply = "manual"` until `sync`.
    Pending,
    /// Removals are held.
    Held,
    /// The last run failed; it is tried again.
    Failing,
    /// The file is not what was last written, and `drift = "report"`.
    Drifted,
    /// A file is there that is not ours; `sync TARGET --adopt` takes it over.
    Foreign,
    /// A webhook that answered 410; a change of its settings enables it.
    Disabled,
    /// Rolled back to an earlier version; stays there until `sync`.
    Pinned,
    /// The configuration dropped it; its files stay until `target forget`.
    Orphaned,
    /// No directory has pushed yet, so nothing is known.
    Waiting,
    /// The mirror was restored from a backup; the target is kept whole until a re-baseline or a person's word.
    Unverified,
    /// The log no longer holds what comes next for it; `delivery snapshot` sends the present state.
    NeedsSnapshot,
}

/// One target in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetStatus {
    /// Its name.
    pub name: TargetName,
    /// `file`, `tree`, `set`, `webhook` or `exec`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its state.
    pub state: State,
    /// The change up to which it has been applied.
    pub applied_seq: Seq,
    /// When a run last succeeded.
    #[serde(serialize_with = "rfc3339")]
    pub last_success: Option<Timestamp>,
    /// What went wrong last, if the last run failed.
    pub last_error: Option<String>,
    /// Removals the guard holds.
    pub held_removals: u64,
    /// Webhooks: deliveries not acknowledged yet, parked ones included.
    pub open: u64,
    /// Webhooks: deliveries given up on; the target stops there until `delivery retry` or `skip`.
    pub parked: u64,
    /// Webhooks: how far behind, and what became of attempts; `None` for files.
    pub traffic: Option<Traffic>,
    /// What an operator should know: names left out, unknown groups.
    pub problems: Vec<String>,
    /// Files: who touched what rosterd wrote, the last time that happened.
    pub drift: Vec<Evidence>,
}

/// How a target that is told of events gets on. Counts begin with the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Events not acknowledged; of what is still in the log, changes.
    pub lag_events: u64,
    /// Age of the oldest of them.
    pub lag_seconds: u64,
    /// Whether the receiver is being spared.
    pub circuit: Circuit,
    /// Attempts that were acknowledged.
    pub done: u64,
    /// Attempts that failed and are made again.
    pub retried: u64,
    /// Attempts after which the delivery was parked.
    pub parked: u64,
    /// Attempts answered with 410.
    pub gone: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        let (lag_events, lag_seconds) = (0, 0);
        Self { lag_events, lag_seconds, circuit: Circuit::Closed, done: 0, retried: 0, parked: 0, gone: 0 }
    }
}

/// Where a target's parts write its status and everyone reads it.
#[derive(Debug)]
pub(super) struct Board(Mutex<TargetStatus>);

impl Board {
    pub(super) fn new(status: TargetStatus) -> Self {
        Self(Mutex::new(status))
    }

    pub(super) fn read(&self) -> TargetStatus {
        // A status is plain values: one left by a panic is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut TargetStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What one `sync` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncReport {
    /// The target.
    pub target: TargetName,
    /// Its state afterwards.
    pub state: State,
    /// The change up to which it has been applied.
    pub applied_seq: Seq,
    /// Whether bytes were written or deliveries queued.
    pub changed: bool,
    /// Entitlements added.
    pub added: u64,
    /// Entitlements removed.
    pub removed: u64,
    /// Names changed.
    pub renamed: u64,
    /// What went wrong, if it failed.
    pub error: Option<String>,
}

/// What one `approve` or `reject` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecisionReport {
    /// The target.
    pub target: TargetName,
    /// Removals released, removals rejected, entitlements given back.
    #[serde(flatten)]
    pub decided: Decided,
    /// Removals held still.
    pub held_removals: u64,
    /// The change that records the decision.
    pub seq: Seq,
    /// The target's state after the run that followed; `None` where no daemon runs.
    pub state: Option<State>,
    /// Why that run failed, if it did.
    pub error: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde fixes this signature")]
pub(super) fn rfc3339<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
