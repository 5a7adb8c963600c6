//! The past, from the change log: who was there at a `seq` or a time, what changed, since when, and by what.
//!
//! The log is read in pages, so that memory holds one state and never the log. A state of then is reached from the
//! nearer end: forwards from the base (what pruning left, else nothing), or backwards from the mirror of now.
//!
//! INVARIANTS: a state of then depends on the log and the base only. What was erased stays unknown: a forgotten user
//! is there by id, without a name. Nothing here reads a configuration of now.

mod base;
mod config;
mod facts;
mod forget;
mod lost;
mod names;
mod prune;
mod sum;

mod search;
mod since;
mod standing;
mod state;

pub use base::{Base, base};
pub use config::{ConfigAt, config_at};
pub use facts::{at, facts_at, time_of};

pub use forget::{Forgotten, forget};
pub use lost::{last_loss, lost, lost_by_sync};
pub use names::{gone_by_name, names};
pub use prune::{Pruned, note_pruned, prune};
pub use search::{Entry, Found, Query, search};
pub use since::{Cause, Causes, since};

pub(super) use standing::{Standing, Thing};
pub(super) use state::{amend, part};
pub(super) use sum::{
    MEMBER_COLUMNS, RESOURCE_COLUMNS, ResourceRow, Sum, is_sealed_whole, member_row, resource_row,
    standing_digest,
};

#[cfg(test)]
pub(super) use facts::testing::both_ways;
