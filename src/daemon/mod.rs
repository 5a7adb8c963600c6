//! One running process: start order, what systemd hears, signals, reload, drain; and the demo.
//!
//! Layer 7: it wires the layers below together and holds no business rule. Commands ([`crate::cli`]) stand above
//! and only start it, or ask it over the admin socket ([`client`]).

mod accept;
pub mod client;
mod config_watch;
pub mod demo;
pub mod doctor;
mod error;
pub mod installer;
pub mod keeping;
pub mod local;
pub mod notify;
pub mod owner;
pub mod replay;
mod run;
mod service;
mod targets;
mod upkeep;
pub mod watchdog;
mod wire;

pub use error::Error;
pub use run::serve;
