//! Where a target stands beside its cursor: what is being sent again, and a snapshot on its way.

use serde::{Deserialize, Serialize};

use crate::mirror::StoreError;
use crate::mirror::target::State as Saved;
use crate::model::{EventId, Seq};
use crate::reconcile::record;

/// The key of the record it is kept under.
const KEY: &str = "progress";

/// What a target's cursor alone does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// Events are being sent again up to where the target was before.
    pub(crate) replay: Option<Replay>,
    /// The present state is being sent.
    pub(crate) snapshot: Option<Bootstrap>,
}

/// Events sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Where the cursor was when it was asked for.
    pub(crate) to: Seq,
    /// The event told last of what is sent again.
    pub(crate) previous: Option<EventId>,
    /// Whether anything was sent again so far.
    #[serde(default)]
    pub(crate) is_begun: bool,
}

/// The present state on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    /// The change that asked for it: its events are numbered in it.
    pub(crate) request: Seq,
    /// Set once the state is kept in the spool: how far of it is told, in bytes.
    #[serde(default)]
    pub(crate) offset: Option<u64>,
}

impl Progress {
    pub(crate) fn of(saved: &Saved) -> Self {
        let stored = saved.record.extra.get(KEY).cloned();
        stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default()
    }

    pub(crate) fn save(&self, saved: &mut Saved) -> Result<(), StoreError> {
        let value = (*self != Self::default()).then(|| serde_json::to_value(self)).transpose();
        let value = value.map_err(|error| StoreError::Bug(format!("progress: {error}")))?;
        record::set_extra(saved, KEY, value);
        Ok(())
    }

    /// The change up to which deliveries may be sent now.
    pub(crate) fn limit(&self, saved: &Saved) -> Seq {
        if self.replay.is_some() { saved.cursor } else { Seq(u64::MAX) }
    }
}
