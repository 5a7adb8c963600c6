//! Webhook targets: which events a change makes, the run that stores them as deliveries, and the sender.

pub(super) mod deliver;
pub(super) mod run;

pub mod events;
