//! Dialects: what identity providers write differently from the RFC, each habit a named [`Quirk`].
//!
//! A quirk is on by the kind of the directory, or by name in its configuration. It rewrites a request into what
//! the strict core reads, and says so in [`Used`], which the metrics count. The core knows no identity provider.
//! Where the document itself is needed, the quirk is an option of the core ([`super::patch::Options`]).

mod patch;
mod quirk;
mod resource;
#[cfg(test)]
mod tests;
mod urn;
mod value;

pub use patch::rewrite_patch;
pub use quirk::{Quirk, Quirks, UnknownQuirk};
pub use resource::{rewrite_filter, rewrite_resource};

/// Which quirks a request really needed.
pub type Used = Quirks;
