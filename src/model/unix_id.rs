//! uids and gids: whose a number is, for ever.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{DirectoryId, ResourceId, RoleName, Subject};

/// Whose a number is: a person's uid or a role's gid. Written as `uid DIRECTORY/ID` or `gid ROLE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnixIdOwner {
    /// A uid.
    User(Subject),
    /// A gid.
    Role(RoleName),
}

/// One who needs a number, and which may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixIdWanted {
    /// Who.
    pub owner: UnixIdOwner,
    /// The operator's range; a number given out of another range does not do.
    pub range: RangeInclusive<u32>,
}

impl fmt::Display for UnixIdOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(subject) => write!(f, "uid {}/{}", subject.directory, subject.user),
            Self::Role(role) => write!(f, "gid {role}"),
        }
    }
}

/// Why a text is no owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixIdOwnerError;

impl fmt::Display for UnixIdOwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the owner of a uid or gid: write `uid DIRECTORY/ID` or `gid ROLE`")
    }
}

impl std::error::Error for UnixIdOwnerError {}

impl FromStr for UnixIdOwner {
    type Err = UnixIdOwnerError;

    fn from_str(text: &str) -> Result<Self, UnixIdOwnerError> {
        let parsed = match text.split_once(' ').ok_or(UnixIdOwnerError)? {
            ("uid", who) => who.split_once('/').and_then(|(directory, id)| {
                let directory = DirectoryId::parse(directory).ok()?;
                Some(Self::User(Subject { directory, user: ResourceId::parse(id)? }))
            }),
            ("gid", role) => RoleName::parse(role).ok().map(Self::Role),
            _ => None,
        };
        parsed.ok_or(UnixIdOwnerError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_as_it_was_written() {
        let subject =
            Subject { directory: DirectoryId::parse("acme").unwrap(), user: ResourceId::new(7, &[7; 10]) };
        for owner in [UnixIdOwner::User(subject), UnixIdOwner::Role(RoleName::parse("db-admin").unwrap())] {
            assert_eq!(owner.to_string().parse(), Ok(owner));
        }
        for bad in ["", "uid", "uid acme", "uid acme/7", "gid ", "id acme/x", "gid\ta"] {
            assert!(bad.parse::<UnixIdOwner>().is_err(), "{bad}");
        }
    }
}
