//! What wakes a run of a file target, and what comes of it.

use crate::downstream::file;
use crate::mirror::StoreError;
use crate::reconcile::State;
use crate::reconcile::guard::verdict::Guarded;

use super::look::{Evidence, Known};

/// What woke the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The daemon started, or the settings changed.
    Start,
    /// A change, the schedule or a retry.
    Wake,
    /// The file was touched.
    Drift,
    /// A person, who may take over a foreign file.
    Sync {
        /// Take over what lies there.
        adopt: bool,
    },
    /// A person rolled it back.
    Rollback,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) changed: bool,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) renamed: u64,
    pub(crate) error: Option<String>,
    pub(crate) problems: Vec<String>,
    /// What lies at the destination as far as this run knows; what differs later is drift.
    pub(crate) on_disk: Known,
    /// Who seems to have touched it, if somebody did.
    pub(crate) drift: Vec<Evidence>,
    /// What the guard did; `None` if the run did not come that far.
    pub(crate) guarded: Option<Guarded>,
}

impl Outcome {
    pub(crate) fn of(state: State) -> Self {
        Self {
            state,
            changed: false,
            added: 0,
            removed: 0,
            renamed: 0,
            error: None,
            problems: Vec::new(),
            on_disk: Known::new(),
            drift: Vec::new(),
            guarded: None,
        }
    }

    pub(crate) fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::of(State::Failing) }
    }
}

/// A run that ended early.
pub(super) struct Failed {
    pub(super) error: String,
    pub(super) problems: Vec<String>,
    /// A check did not take the bytes; others may pass.
    pub(super) is_rejected: bool,
}

impl Failed {
    pub(super) fn told(error: String, problems: Vec<String>) -> Self {
        Self { error, problems, is_rejected: false }
    }

    pub(super) fn from(error: &file::ApplyError, problems: &[String]) -> Self {
        let is_rejected = error.kind() == file::Kind::Refused;
        // The message ends in the hint already.
        Self { error: error.to_string(), problems: problems.to_vec(), is_rejected }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::told(error.to_string(), Vec::new())
    }
}
