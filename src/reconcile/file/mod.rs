//! File targets: one run of one, and the watch on what lies at its destination.

pub(super) mod drift;
mod restored;
pub(super) mod run;
