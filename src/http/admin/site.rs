//! What the listener asks of the console.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use hyper::http::request::Parts;

use crate::http::admin_api::{AdminRole, Caller};
use crate::http::answer::Answer;

/// One request for the console.
pub(crate) struct Visit<'a> {
    /// Its head.
    pub(crate) head: &'a Parts,
    /// Its body, read within the limits.
    pub(crate) body: Bytes,
    /// Where it comes from, past trusted proxies; `None` behind a unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Whether the browser speaks TLS, to us or to a trusted proxy.
    pub(crate) secure: bool,
}

/// Whose session a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Session {
    /// No session, or one that has ended.
    None,
    /// A session of somebody with this role, but the request changes something and lacks the session's token in
    /// `X-CSRF-Token`.
    Unproven(AdminRole),
    /// Somebody who is signed in.
    Of(Caller),
}

/// The console.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers whatever is neither the API nor metrics nor health.
    fn answer<'a>(&'a self, visit: Visit<'a>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    /// Who is signed in, for `/api/v1`, `/metrics` and `/readyz`.
    fn session(&self, head: &Parts, address: Option<IpAddr>) -> Session;
}
