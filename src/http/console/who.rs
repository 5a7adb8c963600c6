//! Who is at the other end.

use std::net::IpAddr;

/// Where a request comes from, a trusted proxy's word already taken into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// The browser's address; `None` behind a unix socket.
    pub address: Option<IpAddr>,
    /// True if the browser speaks TLS, with us or with a trusted proxy.
    pub is_secure: bool,
}
