//! One webhook request: signed (Standard Webhooks), sent once, judged (DESIGN §6.10).
//!
//! It keeps no queue and knows no schedule; `reconcile` owns order, backoff and the record of attempts.

mod address;
mod client;
mod connect;
mod endpoint;
mod judge;
mod sign;
mod token;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use crate::model::{EventId, Timestamp};

pub use client::{Client, ClientError};
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
    /// The `content-type` of the body. Default `application/json`.
    pub content_type: String,
    /// Headers besides, such as an `authorization`. None that the client writes itself. Default none.
    pub headers: Vec<(HeaderName, HeaderValue)>,
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
            content_type: "application/json".into(),
            headers: Vec::new(),
        }
    }
}
