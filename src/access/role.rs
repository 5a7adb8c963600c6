//! What an operator grants: a `[[role]]` of the configuration, already checked.

use std::fmt;
use std::str::FromStr;

use crate::model::{DirectoryId, ResourceId, RoleName};
use crate::scim::filter::{Attributes, Bound, matches};

use super::UserFacts;

/// A name, and who holds it.
#[derive(Debug, Clone)]
pub struct Role {
    /// Key `name`.
    pub name: RoleName,
    /// Key `groups`: being in any one of them, directly or through nesting, gives the role. Default none.
    pub groups: Vec<GroupRule>,
    /// Key `users`: a SCIM filter over users. Default none.
    pub users: Option<UserFilter>,
    /// Key `directories`: the only ones that can give it. `None`: any.
    pub directories: Option<Vec<DirectoryId>>,
    /// Key `protected`: sync never takes it away by itself. Default false.
    pub protected: bool,
    /// Key `on_rename`: what happens when a group that `groups` names by displayName is renamed. Default `follow`.
    pub on_rename: OnRename,
}

/// What a displayName rule does when the group it stands for is called something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRename {
    /// It gives the role on, and warns.
    #[default]
    Follow,
    /// It gives nobody the role until the group has its name again.
    Release,
}

impl OnRename {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Release => "release",
        }
    }
}

impl Role {
    /// Whether `directory` may give this role.
    pub fn reaches(&self, directory: &DirectoryId) -> bool {
        self.directories.as_ref().is_none_or(|list| list.contains(directory))
    }
}

/// How a role names a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupRule {
    /// By `displayName`, exactly: must be one group in each directory, else it gives nobody there.
    DisplayName(String),
    /// By SCIM id, written `id:…`.
    Id(ResourceId),
    /// By `externalId`, written `externalId:…`, exactly.
    ExternalId(String),
}

impl fmt::Display for GroupRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisplayName(name) => f.write_str(name),
            Self::Id(id) => write!(f, "id:{id}"),
            Self::ExternalId(id) => write!(f, "externalId:{id}"),
        }
    }
}

/// Why a text cannot name a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleError(&'static str);

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for RoleError {}

impl FromStr for GroupRule {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        if let Some(id) = text.strip_prefix("id:") {
            let id = ResourceId::parse(id);
            return id.map(Self::Id).ok_or(RoleError(
                "`id:` wants the group's SCIM id, a lower-case UUID; see `rosterd group list`",
            ));
        }
        match text.strip_prefix("externalId:") {
            Some("") => Err(RoleError("`externalId:` wants the group's externalId behind the colon")),
            Some(id) => Ok(Self::ExternalId(id.to_owned())),
            None if text.is_empty() => Err(RoleError("a group name must not be empty")),
            None => Ok(Self::DisplayName(text.to_owned())),
        }
    }
}

/// A SCIM filter over users, with its text for explanations.
#[derive(Debug, Clone)]
pub struct UserFilter {
    /// As the operator wrote it.
    pub text: String,
    /// Checked against the schema of users.
    pub bound: Bound,
}

impl UserFilter {
    /// Whether `user` matches. `groups` are the ids of the groups the user is in, directly or through nesting.
    ///
    /// `meta.version` counts as 0 here: a role must not depend on how often a user was written.
    pub fn is_true_for(&self, user: &UserFacts, groups: &[String]) -> bool {
        let resource = Attributes {
            id: &user.id.to_string(),
            doc: &user.doc,
            created: user.created,
            last_modified: user.last_modified,
            version: 0,
            members: &[],
            groups,
        };
        matches(&self.bound, &resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_rules_print_and_parse_back() {
        for text in ["Database Admins", "id:01890a5d-ac96-774b-bcce-b302099a8057", "externalId:00g:1"] {
            assert_eq!(text.parse::<GroupRule>().unwrap().to_string(), text);
        }
        for bad in ["", "id:", "id:7", "externalId:"] {
            assert!(bad.parse::<GroupRule>().is_err(), "{bad}");
        }
    }
}
