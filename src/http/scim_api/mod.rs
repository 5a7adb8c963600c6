//! The SCIM API that identity providers speak to.

mod route;

use crate::http::network::Network;

/// How the SCIM API presents itself and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Absolute URL of this server as clients see it, without the base path: `https://scim.example.com`. Key
    /// `server.public_url`; default none: `meta.location` follows the request's own host.
    pub public_url: Option<String>,
    /// Path all SCIM endpoints stand below. Key `server.base_path`, default `/scim/v2`.
    pub base_path: String,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Key `server.trusted_proxies`, default none.
    pub trusted_proxies: Vec<Network>,
    /// Addresses that may speak to the SCIM API at all. Key `server.allow_from`, default empty: everybody.
    pub allow_from: Vec<Network>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            base_path: "/scim/v2".to_owned(),
            trusted_proxies: Vec::new(),
            allow_from: Vec::new(),
        }
    }
}
