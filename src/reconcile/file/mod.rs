//! File targets: one run of one, and the watch on what lies at its destination.

pub(super) mod drift;
mod fewer;
mod less;
pub(super) mod look;
pub(super) mod make;
mod mask;
pub(super) mod outcome;
pub(super) mod parts;
pub(super) mod pin;
pub(super) mod present;
pub(super) mod reload;
mod render;
mod restored;
pub(super) mod run;
mod set;
mod show;
mod single;
pub(super) mod tree;
pub(crate) mod unix_ids;
pub(super) mod wish;

#[cfg(test)]
mod revoked_tests;
