//! The admin listener on TCP: the API for whoever signs in, metrics, health, and the console in front of people.
//!
//! A request passes, in this order: framing, the `Host` it asks for, `allow_from`, then who asks. A name that nobody
//! here goes by is refused before anything else: a page of another site that had its name point here speaks as that.
//! Directory tokens and readers' tokens are nobody here; users are nobody elsewhere.
//!
//! INVARIANT: nothing below `/api/v1` is answered without a user's password or a session of the console that proved
//! its own page to be the one that asks.

mod hosts;
mod site;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;

use crate::http::network::Network;

pub use hosts::Hosts;
pub(crate) use site::{Session, Site, Visit};
pub use tcp::AdminTcp;

/// Whom the listener serves; replaced by a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Key `admin.trusted_proxies`, default none.
    pub trusted_proxies: Vec<Network>,
    /// Addresses that may speak to it at all. Key `admin.allow_from`, default empty: everybody.
    pub allow_from: Vec<Network>,
    /// The names it goes by.
    pub hosts: Hosts,
}
