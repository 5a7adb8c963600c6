//! One running process: start order, what systemd hears, signals, reload, drain; and the demo.
//!
//! Layer 7: it wires the layers below together and holds no business rule. Commands ([`crate::cli`]) stand above
//! and only start it, or ask it over the admin socket ([`client`]).

pub mod client;
pub mod demo;
pub mod local;
pub mod notify;
pub mod owner;
pub mod watchdog;

/// Stub.
#[derive(Debug)]
pub enum Error {
    /// Stub.
    Config(crate::config::Problems),
}
