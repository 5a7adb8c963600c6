//! Who did it, and in which request: written beside every change.

use std::fmt;

use super::{RequestId, TokenId};

/// Who caused a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An identity provider, by the token it used.
    Token(TokenId),
    /// A person on the admin socket, by the peer's user id.
    Local(u32),
    /// A person on the console, by login name.
    Console(String),
    /// The accepted configuration.
    Config,
    /// The daemon by itself: an expiry, a schedule.
    Daemon,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Local(uid) => write!(f, "uid:{uid}"),
            Self::Console(name) => write!(f, "console:{name}"),
            Self::Config => f.write_str("config"),
            Self::Daemon => f.write_str("daemon"),
        }
    }
}

/// Who caused a change, and which request carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// The request, where there was one.
    pub request: Option<RequestId>,
}

impl Origin {
    /// The daemon by itself, outside any request.
    pub fn daemon() -> Self {
        Self { actor: Actor::Daemon, request: None }
    }
}
