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
mod lost;
mod names;

mod search;
mod since;
mod standing;
mod state;

pub use base::{Base, base};
pub use config::{ConfigAt, config_at};
pub use facts::{at, facts_at, time_of};

pub use lost::lost;
pub use names::{gone_by_name, names};
pub use search::{Entry, Found, Query, search};
pub use since::{Cause, Causes, since};

#[cfg(test)]
pub(super) use facts::testing::both_ways;
