//! File targets: one run of one, and the watch on what lies at its destination.

pub(super) mod drift;
pub(super) mod make;
pub(super) mod run;
pub(crate) mod unix_ids;
