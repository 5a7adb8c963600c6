//! What is wrong in facts and roles, as data: shown in `status`, never a failure.

use std::fmt;

use crate::model::{DirectoryId, ResourceId, RoleName, Subject};

/// One thing an operator should know. Its text names what, where and what to do; users appear as ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A role names a group that a directory does not have; it gives nobody there.
    UnknownGroup {
        /// The role.
        role: RoleName,
        /// Where it was looked for; `None`: in every directory the role reaches.
        directory: Option<DirectoryId>,
        /// The rule as written.
        rule: String,
    },
    /// Several groups of one directory carry the name; it gives nobody there.
    AmbiguousGroup {
        /// The role.
        role: RoleName,
        /// The directory.
        directory: DirectoryId,
        /// The rule as written.
        rule: String,
        /// The groups that match.
        groups: Vec<ResourceId>,
    },
    /// The group that a displayName rule stands for is called something else now.
    RenamedGroup {
        /// The role.
        role: RoleName,
        /// The directory.
        directory: DirectoryId,
        /// The rule as written.
        rule: String,
        /// The group.
        group: ResourceId,
        /// Its name now.
        now: String,
        /// True: it gives the role on; false: it gives nobody the role.
        follows: bool,
    },
    /// Other groups took the name that a displayName rule names; they do not inherit.
    NotInherited {
        /// The role.
        role: RoleName,
        /// The directory.
        directory: DirectoryId,
        /// The rule as written.
        rule: String,
        /// The group that the rule stands for, which may be gone.
        bound: ResourceId,
        /// Those that have the name now.
        groups: Vec<ResourceId>,
    },
    /// A role names a directory that does not exist.
    UnknownDirectory {
        /// The role.
        role: RoleName,
        /// The directory it names.
        directory: DirectoryId,
    },
    /// Groups contain each other; each member counts for all of them.
    Cycle {
        /// The directory.
        directory: DirectoryId,
        /// The groups on the cycle, sorted.
        groups: Vec<ResourceId>,
    },
    /// A user's name is outside the directory's `claims`; left out.
    Unclaimed {
        /// The user.
        subject: Subject,
    },
    /// A directory that stands earlier owns the name; this one is left out until `subject release`.
    Owned {
        /// The user left out.
        subject: Subject,
        /// The user that keeps the name.
        owner: Subject,
    },
    /// A user has no value, or no single value, in the target's subject attribute; left out of that target.
    NoName {
        /// The user.
        subject: Subject,
        /// The attribute.
        attribute: String,
        /// True: several values and none primary.
        ambiguous: bool,
    },
    /// A name holds a character that no target may carry; left out.
    BadName {
        /// The user, or the directory and group.
        subject: Subject,
        /// True: the id is a group's.
        group: bool,
    },
    /// Two subjects, or two groups, have one name; the earlier holder keeps it.
    Collision {
        /// The one left out.
        subject: Subject,
        /// The one that keeps the name.
        holder: Subject,
        /// True: both ids are groups'.
        group: bool,
        /// In what the reader takes them for one, if not to the letter.
        how: Option<&'static str>,
    },
    /// A user would have a name that the target's `map` gives to somebody else; left out.
    Mapped {
        /// The one left out.
        subject: Subject,
        /// Whom the map gives the name to: the map's key.
        key: String,
    },
}

impl Problem {
    /// The role that a group rule of it concerns.
    pub fn role_of_group(&self) -> Option<&RoleName> {
        match self {
            Self::UnknownGroup { role, .. }
            | Self::AmbiguousGroup { role, .. }
            | Self::RenamedGroup { role, .. }
            | Self::NotInherited { role, .. } => Some(role),
            _ => None,
        }
    }

    /// Whether a group changed its name, or a name its group.
    pub fn is_rename(&self) -> bool {
        matches!(self, Self::RenamedGroup { .. } | Self::NotInherited { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownGroup { role, directory: Some(directory), rule } => {
                write!(
                    f,
                    "role `{role}` names group `{rule}`, which directory `{directory}` does not have; it gives nobody there"
                )
            }
            Self::UnknownGroup { role, directory: None, rule } => {
                write!(f, "role `{role}` names group `{rule}`, which no directory has; it gives nobody")
            }
            Self::AmbiguousGroup { role, directory, rule, groups } => {
                write!(
                    f,
                    "role `{role}` names group `{rule}`, which {} groups of directory `{directory}` carry; it gives nobody there, name one by `id:`",
                    groups.len()
                )
            }
            Self::UnknownDirectory { role, directory } => {
                write!(f, "role `{role}` names directory `{directory}`, which does not exist")
            }
            Self::Cycle { directory, groups } => {
                write!(f, "groups of directory `{directory}` contain each other: ")?;
                for (n, group) in groups.iter().take(5).enumerate() {
                    write!(f, "{}{group}", if n == 0 { "" } else { ", " })?;
                }
                if groups.len() > 5 {
                    write!(f, " and {} more", groups.len().saturating_sub(5))
                } else {
                    Ok(())
                }
            }
            Self::RenamedGroup { role, directory, rule, group, now, follows } => {
                let does =
                    if *follows { "still gives the role" } else { "gives nobody the role (`on_rename`)" };
                write!(
                    f,
                    "role `{role}`: group `{rule}` of directory `{directory}` is now called `{now}` and {does}; write \
                     `id:{group}` or the new name into the role"
                )
            }
            Self::NotInherited { role, directory, rule, bound, groups } => {
                let ids: Vec<String> = groups.iter().take(3).map(|group| format!("`id:{group}`")).collect();
                write!(
                    f,
                    "role `{role}`: another group of directory `{directory}` is called `{rule}` now and does not \
                     inherit what {bound} was given; if it shall, name it by {} or its `externalId:`",
                    ids.join(" or ")
                )
            }
            Self::Unclaimed { subject } => {
                write!(f, "user {subject} is outside the `claims` of its directory; left out")
            }
            Self::Owned { subject, owner } => {
                write!(
                    f,
                    "user {subject} has the name of {owner}, whose directory stands first; left out until `subject release`"
                )
            }
            Self::NoName { subject, attribute, ambiguous: false } => {
                write!(f, "user {subject} has no `{attribute}`; left out")
            }
            Self::NoName { subject, attribute, ambiguous: true } => {
                write!(f, "user {subject} has several `{attribute}` and none is primary; left out")
            }
            Self::BadName { subject, group } => {
                let what = if *group { "group" } else { "user" };
                write!(
                    f,
                    "the name of {what} {subject} is empty or holds a control or direction character; left out"
                )
            }
            Self::Collision { subject, holder, group, how } => {
                let what = if *group { "group" } else { "user" };
                write!(f, "{what} {subject} has the same name as {holder}")?;
                how.map_or(Ok(()), |how| write!(f, " {how}"))?;
                f.write_str(", which held it before; left out")
            }
            Self::Mapped { subject, .. } => {
                write!(f, "user {subject} has a name that the target's `map` gives to another; left out")
            }
        }
    }
}
