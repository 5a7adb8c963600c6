//! When a target runs: after a change (debounced), by the clock, and again after a failure.

pub mod backoff;
pub mod cron;
pub mod schedule;
