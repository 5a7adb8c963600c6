//! Log set-up, the one encoder for client text in log lines, nothing that decides.
//!
//! Layer 1: imports nothing of ours. It must not know what is logged, by whom or why; every layer above may
//! call `tracing` directly and wraps text that came from outside in [`escape`].

mod escape;
mod log;
#[cfg(feature = "otlp")]
mod otlp;
pub mod span;

pub use escape::{Escaped, escape};
pub use log::{Format, Handle, LogError, Otlp, Settings, init};
