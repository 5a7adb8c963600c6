//! File targets: one run of one, and the watch on what lies at its destination.

pub(super) mod drift;
pub(super) mod look;
pub(super) mod parts;
pub(super) mod pin;
pub(super) mod reload;
pub(super) mod run;
mod set;
pub(super) mod tree;
