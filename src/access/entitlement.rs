//! What a subject can hold at a target: a role, or being in a group.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::model::{DirectoryId, ResourceId, RoleName};

/// A role held, or (transitive) membership in a group. Printed `role:NAME` or `group:DIRECTORY/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entitlement {
    /// A `[[role]]`.
    Role(RoleName),
    /// A group of one directory, directly or through nesting.
    Group(DirectoryId, ResourceId),
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Group(directory, id) => write!(f, "group:{directory}/{id}"),
        }
    }
}

impl Serialize for Entitlement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not an entitlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntitlementError;

impl fmt::Display for EntitlementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an entitlement: write `role:NAME` or `group:DIRECTORY/ID`")
    }
}

impl std::error::Error for EntitlementError {}

impl FromStr for Entitlement {
    type Err = EntitlementError;

    fn from_str(text: &str) -> Result<Self, EntitlementError> {
        if let Some(name) = text.strip_prefix("role:") {
            return RoleName::parse(name).map(Self::Role).map_err(|_| EntitlementError);
        }
        let (directory, id) =
            text.strip_prefix("group:").and_then(|rest| rest.split_once('/')).ok_or(EntitlementError)?;
        let directory = DirectoryId::parse(directory).map_err(|_| EntitlementError)?;
        Ok(Self::Group(directory, ResourceId::parse(id).ok_or(EntitlementError)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_print_and_parse_back() {
        let id = ResourceId::new(1_700_000_000_000, &[3; 10]);
        for entitlement in [
            Entitlement::Role(RoleName::parse("db:admin").unwrap()),
            Entitlement::Group(DirectoryId::parse("acme-okta").unwrap(), id),
        ] {
            assert_eq!(entitlement.to_string().parse(), Ok(entitlement));
        }
        for bad in ["", "role:", "role:a b", "group:acme", "group:acme/x", "user:a"] {
            assert_eq!(bad.parse::<Entitlement>(), Err(EntitlementError), "{bad}");
        }
    }
}
