//! One webhook request: signed (Standard Webhooks), sent once, judged (DESIGN §6.10).
//!
//! It keeps no queue and knows no schedule; `reconcile` owns order, backoff and the record of attempts.

mod address;
mod client;
mod connect;
mod endpoint;
mod judge;
mod proxy;
mod sign;
mod token;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::model::{EventId, Secret, Timestamp};

pub use client::{Client, ClientError};
pub use proxy::Proxy;
pub use sign::{PRIVATE_KEY_PREFIX, SECRET_PREFIX, SecretError, SigningSecret, header};
pub use token::{TokenKey, TokenKeyError};

/// Where and how one webhook target is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://host[:port]/path`; `http://` only to loopback, or with `insecure`. No user name, no fragment.
    pub url: String,
    /// Secrets to sign with, the newest first; several while rotating. 0 to 8: without one there is no signature.
    pub secrets: Vec<SigningSecret>,
    /// Allows plain http to any address. Default false.
    pub insecure: bool,
    /// Time for name look-up, connect and TLS together. Default 5 s, 100 ms to 60 s.
    pub connect_timeout: Duration,
    /// Time for the whole attempt. Default 15 s, 1 s to 5 min.
    pub timeout: Duration,
    /// Certificate authorities trusted besides the machine's own. Default none.
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// Headers besides. None that the client writes itself. Default none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is shown to a receiver that asks for a certificate. Default none.
    pub identity: Option<Identity>,
    /// The `authorization` header of every request. Default none.
    pub authorization: Option<Authorization>,
    /// The proxy that `https` goes through. Default none: the environment's proxy variables are not looked at.
    pub proxy: Option<Proxy>,
    /// Requests under way at once, which is how many connections are kept. Default 1.
    pub concurrency: usize,
}

/// A client certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and those it was issued by.
    pub chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// A certificate chain and the key of its first certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key: Arc::new(key) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

/// What proves who is asking, besides the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// `Bearer` and this token.
    Bearer(Secret),
    /// `Basic` and this `user:password`.
    Basic(Secret),
}

/// One event to send. The body's bytes are the same on every attempt.
#[derive(Debug, Clone)]
pub struct Request {
    /// The `webhook-id`.
    pub id: EventId,
    /// The time of this attempt, in whole seconds in `webhook-timestamp`.
    pub at: Timestamp,
    /// The body exactly as signed.
    pub body: Bytes,
    /// The `content-type` of the body.
    pub content_type: String,
    /// Further headers, which never replace the ones of ours.
    pub headers: Vec<(String, String)>,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status, if an answer began.
    pub status: Option<u16>,
    /// From start to end of the attempt.
    pub latency: Duration,
    /// The address that was spoken to, if it came that far.
    pub address: Option<SocketAddr>,
    /// The first bytes of the answer, at most [`ANSWER_KEPT_BYTES`].
    pub answer: Vec<u8>,
    /// What to do now.
    pub outcome: Outcome,
}

/// What the caller does after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: the receiver has it.
    Acknowledged,
    /// Try again by the schedule, not before `after` if the receiver named a time.
    Retry {
        /// From `Retry-After`, counted from the answer.
        after: Option<Duration>,
        /// For the record and the operator.
        why: String,
    },
    /// 410: the receiver wants no more; the target is disabled.
    Gone,
    /// Trying again cannot help: park it at once.
    Refused {
        /// For the record and the operator.
        why: String,
    },
}

/// Bytes of an answer that are kept in the record.
pub const ANSWER_KEPT_BYTES: usize = 512;

/// Most bytes read of an answer.
pub const ANSWER_READ_BYTES: usize = 64 * 1024;

impl Settings {
    /// A target with every default.
    pub fn new(url: String, secrets: Vec<SigningSecret>) -> Self {
        Self {
            url,
            secrets,
            insecure: false,
            connect_timeout: client::CONNECT_TIMEOUT,
            timeout: client::TIMEOUT,
            extra_ca: Vec::new(),
            identity: None,
            authorization: None,
            proxy: None,
            concurrency: 1,
            headers: Vec::new(),
        }
    }
}
