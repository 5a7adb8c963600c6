//! Telling events: which deliveries a target gets and in what order, sending them, and what people do about them.

mod batch;
mod bootstrap;
mod difference;
mod pick;
mod present;
mod progress;
mod tell;
mod transport;
mod waiting;

pub(super) mod circuit;
pub(super) mod deliver;
pub(super) mod run;

pub mod command;
pub mod events;

pub use circuit::Circuit;
pub(super) use transport::Transport;
