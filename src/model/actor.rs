//! Who did it, and in which request: written beside every change.

use std::fmt;
use std::str::FromStr;

use super::{AdminName, IdError, RequestId, TokenId};

/// Who caused a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An identity provider, by the token it used.
    Token(TokenId),
    /// A person on the admin socket, by the peer's user id.
    Local(u32),
    /// A person on the console or the admin API, by the name in `[[admin.user]]`.
    Admin(AdminName),
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
            Self::Admin(name) => write!(f, "admin:{name}"),
            Self::Config => f.write_str("config"),
            Self::Daemon => f.write_str("daemon"),
        }
    }
}

/// Why a stored text names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorError(String);

impl fmt::Display for ActorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not somebody who acts: `{}`", self.0)
    }
}

impl std::error::Error for ActorError {}

impl FromStr for Actor {
    type Err = ActorError;

    /// Reads what [`Display`](fmt::Display) writes, in every spelling that was ever stored.
    fn from_str(text: &str) -> Result<Self, ActorError> {
        let wrong = |_: IdError| ActorError(text.to_owned());
        match text.split_once(':') {
            None if text == "config" => Ok(Self::Config),
            None if text == "daemon" => Ok(Self::Daemon),
            Some(("token", id)) => TokenId::parse(id).map(Self::Token).map_err(wrong),
            Some(("uid", uid)) => uid.parse().map(Self::Local).map_err(|_| ActorError(text.to_owned())),
            // `console:` was the spelling before there was an API over TCP.
            Some(("admin" | "console", name)) => AdminName::parse(name).map(Self::Admin).map_err(wrong),
            _ => Err(ActorError(text.to_owned())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_acts_is_written_and_read_back_the_same() {
        let all = [
            Actor::Token(TokenId::parse("tok_3fQ9aZ").unwrap()),
            Actor::Local(1000),
            Actor::Admin(AdminName::parse("ops@example.com").unwrap()),
            Actor::Config,
            Actor::Daemon,
        ];
        for actor in all {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        assert_eq!("console:ops".parse::<Actor>().unwrap().to_string(), "admin:ops");
        for wrong in ["", "admin", "admin:", "admin:a:b", "uid:x", "config:", "Admin:ops", "admin:a b"] {
            assert!(wrong.parse::<Actor>().is_err(), "{wrong}");
        }
    }
}
