//! Every type of event there is, with what it carries: one table, from which the JSON Schema and the documentation
//! are made.

use std::fmt;
use std::str::FromStr;

use super::field::{Field, Shape};

macro_rules! kinds {
    ($($name:ident = $word:literal, $when:literal, [$($field:expr),* $(,)?];)*) => {
        /// The type of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $when] $name,)*
        }

        /// Every type, sorted by name.
        pub const KINDS: &[Kind] = &[$(Kind::$name,)*];

        impl Kind {
            /// The word in `type`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// When it is said, as one sentence.
            pub fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)* }
            }

            /// What `data` carries besides the event's place in the order.
            pub fn fields(self) -> &'static [Field] {
                match self { $(Self::$name => const { &[$($field,)*] },)* }
            }
        }
    };
}

const DIRECTORY: Field = Field::always("directory", Shape::Text, "Id of the directory.");
const USER: Field = Field::always("user", Shape::User, "The user.");
const GROUP: Field = Field::always("group", Shape::Group, "The group.");
const TARGET: Field = Field::always("target", Shape::Text, "Name of the target.");
const ACTOR: Field =
    Field::maybe("actor", Shape::Text, "Who did it: `token:ID`, `uid:N`, `daemon` and so on.");
const REQUEST: Field = Field::maybe("request", Shape::Text, "Id of the request that did it, as in the log.");
const CHANGED: Field = Field::always("changed", Shape::Texts, "Names of the attributes that differ, sorted.");
const BEFORE: Field =
    Field::full("before", Shape::Values, "Those attributes as they were; absent ones are absent.");
const AFTER: Field = Field::full("after", Shape::Values, "Those attributes as they are now.");
const WHOLE: Field = Field::full("after", Shape::Values, "The whole resource as it came.");
const GONE: Field = Field::full("before", Shape::Values, "The whole resource as it was last.");
const OMITTED: Field = Field::maybe(
    "omitted",
    Shape::Omitted,
    "Values too long for an event; read them from the user or group.",
);
const SUBJECT: Field =
    Field::always("subject", Shape::Subject, "Who holds it, by the target's own name for people.");
const ENTITLEMENT: Field = Field::always("entitlement", Shape::Text, "`role:NAME`.");
const ROLE: Field = Field::always("role", Shape::Text, "The role's name.");
const LABEL: Field = Field::full("label", Shape::Text, "What the role is called at this target.");
const WHY: Field = Field::full("why", Shape::Text, "The reason, as `rosterd explain` gives it.");
const MEMBER_USER: Field = Field::always("user", Shape::User, "The member.");
const MEMBER_GROUP: Field = Field::always("member", Shape::Group, "The group that is the member.");
const DIRECTORY_NAME: Field = Field::full("name", Shape::Text, "Its display name.");
const HELD: Field = Field::always("held", Shape::Count, "Removals of this target that are held now.");
const COUNTS: Field = Field::always("counts", Shape::Counts, "How many of each the snapshot holds.");
const REASON: Field = Field::full("reason", Shape::Text, "Why, in the words of who did it.");
const GRANT: Field = Field::always("grant", Shape::Count, "Number of the grant.");
const UNTIL: Field = Field::always("until", Shape::Text, "When the grant ends by itself, in UTC.");
const SCOPE: Field =
    Field::always("scope", Shape::Texts, "Which snapshot events come between the markers, sorted.");

kinds! {
    AccessGranted = "access.granted", "A subject holds a role that it did not hold.",
        [DIRECTORY, SUBJECT, ENTITLEMENT, ROLE, LABEL, WHY];
    AccessRevoked = "access.revoked", "A subject no longer holds a role.",
        [DIRECTORY, SUBJECT, ENTITLEMENT, ROLE, LABEL, WHY];
    AccessSnapshot = "access.snapshot", "In a snapshot: a subject holds a role.",
        [DIRECTORY, SUBJECT, ENTITLEMENT, ROLE, LABEL, WHY];
    DirectoryAdded = "directory.added", "A directory was added.",
        [DIRECTORY, ACTOR, REQUEST, WHOLE];
    DirectoryDisabled = "directory.disabled", "A directory answers 503 until it is enabled; what it said still counts.",
        [DIRECTORY, ACTOR, REQUEST];
    DirectoryEnabled = "directory.enabled", "A directory answers again.",
        [DIRECTORY, ACTOR, REQUEST];
    DirectoryRemoved = "directory.removed", "A directory went, with its users, groups and tokens; none of these is said one by one.",
        [DIRECTORY, ACTOR, REQUEST, GONE];
    DirectoryRenamed = "directory.renamed", "A directory's display name changed.",
        [DIRECTORY, ACTOR, REQUEST, CHANGED, BEFORE, AFTER];
    DirectorySnapshot = "directory.snapshot", "In a snapshot: a directory.",
        [DIRECTORY, DIRECTORY_NAME, Field::always("enabled", Shape::Flag, "Whether it answers.")];
    GrantCreated = "grant.created", "An operator gave a user a role for a time.",
        [DIRECTORY, USER, GRANT, ROLE, UNTIL, REASON, ACTOR, REQUEST];
    GrantExpired = "grant.expired", "A grant's time ran out.",
        [DIRECTORY, USER, GRANT, ROLE, UNTIL, REASON, ACTOR, REQUEST];
    GrantRevoked = "grant.revoked", "An operator ended a grant before its time.",
        [DIRECTORY, USER, GRANT, ROLE, UNTIL, REASON, ACTOR, REQUEST];
    GroupCreated = "group.created", "A group came; its members follow as `group.user_added` and `group.group_added`.",
        [DIRECTORY, GROUP, ACTOR, REQUEST, WHOLE, OMITTED];
    GroupDeleted = "group.deleted", "A group went, and with it its memberships both ways; those are not said one by one.",
        [DIRECTORY, GROUP, ACTOR, REQUEST, GONE, OMITTED];
    GroupGroupAdded = "group.group_added", "A group became a member of a group.",
        [DIRECTORY, GROUP, MEMBER_GROUP, ACTOR, REQUEST];
    GroupGroupRemoved = "group.group_removed", "A group is no longer a member of a group, both of which are still there.",
        [DIRECTORY, GROUP, MEMBER_GROUP, ACTOR, REQUEST];
    GroupSnapshot = "group.snapshot", "In a snapshot: a group and members of it, in as many parts as it takes.",
        [DIRECTORY, GROUP,
         Field::full("values", Shape::Values, "The whole group; in its first part only."),
         Field::always("users", Shape::Texts, "Ids of users that are members, of this part."),
         Field::always("groups", Shape::Texts, "Ids of groups that are members, of this part."),
         Field::always("members", Shape::Count, "Members of the whole group."),
         Field::always("part", Shape::Count, "Which part this is, from 1."),
         Field::always("parts", Shape::Count, "How many parts there are."),
         OMITTED];
    GroupUpdated = "group.updated", "A group's attributes changed; its members are said by events of their own.",
        [DIRECTORY, GROUP, ACTOR, REQUEST, CHANGED, BEFORE, AFTER, OMITTED];
    GroupUserAdded = "group.user_added", "A user became a direct member of a group.",
        [DIRECTORY, GROUP, MEMBER_USER, ACTOR, REQUEST];
    GroupUserRemoved = "group.user_removed", "A user is no longer a direct member of a group, both of which are still there.",
        [DIRECTORY, GROUP, MEMBER_USER, ACTOR, REQUEST];
    GuardApproved = "guard.approved", "Held removals of a target were let go: by a person, or because `max_hold` ran out.",
        [TARGET, ACTOR, REQUEST,
         Field::maybe("plan", Shape::Text, "Hash of the plan, where one was named."),
         Field::maybe("subjects", Shape::Texts, "People let out one by one, as DIRECTORY/ID."),
         Field::always("released", Shape::Count, "Removals that may go now."),
         Field::maybe("why", Shape::Text, "Why, where nobody asked for it.")];
    GuardHeld = "guard.held", "The guard began to hold removals of a target, or holds more.",
        [TARGET, ACTOR,
         Field::always("plan", Shape::Text, "Hash of what is held, for `rosterd approve`."),
         Field::always("newly_held", Shape::Count, "Removals that are held since now."),
         HELD];
    GuardRejected = "guard.rejected", "A person keeps in what the guard held.",
        [TARGET, ACTOR, REQUEST,
         Field::maybe("window", Shape::Flag, "Whether what the window let through before is given back."),
         Field::always("rejected", Shape::Count, "Removals that will not happen."),
         Field::maybe("given_back", Shape::Count, "Removals that are taken back.")];
    RebaselineClosed = "rebaseline.closed", "The time of a re-baseline ran out; who was not named is unconfirmed.",
        [DIRECTORY, ACTOR,
         Field::always("unconfirmed", Shape::Count, "Users that were not named.")];
    RebaselineConfirmed = "rebaseline.confirmed", "An identity provider named users again that were unconfirmed.",
        [DIRECTORY, ACTOR, REQUEST,
         Field::always("users", Shape::Texts, "Ids of these users, the first hundred."),
         Field::always("confirmed", Shape::Count, "How many they are.")];
    RebaselineOpened = "rebaseline.opened", "From now on the directory's identity provider has to name everybody again.",
        [DIRECTORY, ACTOR, REQUEST,
         Field::always("ends", Shape::Text, "When its time runs out, in UTC.")];
    SnapshotFinished = "snapshot.finished", "A snapshot is told whole; what follows is told as it happens.",
        [SCOPE, COUNTS];
    SnapshotStarted = "snapshot.started", "A snapshot begins: forget what you hold, and build it up from what follows.",
        [SCOPE, COUNTS];
    SubjectOpened = "subject.opened", "An operator let a user in again who was shut out.",
        [DIRECTORY, USER, REASON, ACTOR, REQUEST];
    SubjectReclaimed = "subject.reclaimed", "An operator gave a directory back a name that it had let go of.",
        [DIRECTORY, USER, ACTOR, REQUEST];
    SubjectReleased = "subject.released", "An operator made a directory let go of a user's name; the next directory may have it.",
        [DIRECTORY, USER, REASON, ACTOR, REQUEST];
    SubjectShut = "subject.shut", "An operator shut a user out of every target, past guard and wait.",
        [DIRECTORY, USER, REASON, ACTOR, REQUEST];
    TargetAdopted = "target.adopted", "A target took over files that it had not written.",
        [TARGET, ACTOR, REQUEST,
         Field::maybe("paths", Shape::Texts, "The files, as many as fit.")];
    TargetDrifted = "target.drifted", "A target's file was found not to be what rosterd last wrote there.",
        [TARGET, ACTOR,
         Field::maybe("path", Shape::Text, "The file."),
         Field::maybe("found", Shape::Text, "What was found there: the SHA-256 of the bytes in hex, `missing`, or what is there instead of a file, as in `symlink`."),
         Field::maybe("expected", Shape::Text, "SHA-256 of what rosterd wrote, in hex, where it is known."),
         Field::maybe("action", Shape::Text, "`repaired` or `reported`, as the target's `drift` says.")];
    TargetForgotten = "target.forgotten", "A target that the configuration dropped was forgotten.",
        [TARGET, ACTOR, REQUEST,
         Field::maybe("deleted", Shape::Texts, "Its files that were deleted, as many as fit."),
         Field::maybe("left", Shape::Texts, "Its files that were left, as many as fit.")];
    TargetRolledBack = "target.rolled_back", "A target was put back to an earlier version, less what was revoked since, and stays there.",
        [TARGET, ACTOR, REQUEST,
         Field::always("version", Shape::Count, "Number of the version."),
         Field::always("to_seq", Shape::Count, "The change that this version shows."),
         Field::maybe("digest", Shape::Text, "SHA-256 of the version as it was, in hex.")];
    TargetUnpinned = "target.unpinned", "A target that was put back follows access again.",
        [TARGET, ACTOR, REQUEST,
         Field::always("version", Shape::Count, "Number of the version it showed.")];
    UserCreated = "user.created", "A user came.",
        [DIRECTORY, USER, ACTOR, REQUEST, WHOLE, OMITTED];
    UserDeactivated = "user.deactivated", "A user's `active` became false, whatever else changed with it.",
        [DIRECTORY, USER, ACTOR, REQUEST, CHANGED, BEFORE, AFTER, OMITTED];
    UserDeleted = "user.deleted", "A user went, and with it its memberships; those are not said one by one.",
        [DIRECTORY, USER, ACTOR, REQUEST, GONE, OMITTED];
    UserReactivated = "user.reactivated", "A user's `active` became true, whatever else changed with it.",
        [DIRECTORY, USER, ACTOR, REQUEST, CHANGED, BEFORE, AFTER, OMITTED];
    UserSnapshot = "user.snapshot", "In a snapshot: a user, active or not.",
        [DIRECTORY, USER,
         Field::always("active", Shape::Flag, "Whether the user is active."),
         Field::full("values", Shape::Values, "The whole user."),
         OMITTED];
    UserUpdated = "user.updated", "A user's attributes changed, `active` aside.",
        [DIRECTORY, USER, ACTOR, REQUEST, CHANGED, BEFORE, AFTER, OMITTED];
}

impl Kind {
    /// Whether it says something about access rather than about one change.
    pub fn is_access(self) -> bool {
        matches!(self, Self::AccessGranted | Self::AccessRevoked | Self::AccessSnapshot)
    }

    /// Whether it belongs to a snapshot: said only between a start and an end, to whoever asked for it.
    pub fn is_snapshot(self) -> bool {
        matches!(
            self,
            Self::AccessSnapshot
                | Self::DirectorySnapshot
                | Self::GroupSnapshot
                | Self::UserSnapshot
                | Self::SnapshotStarted
                | Self::SnapshotFinished
        )
    }

    /// The part of its name before the point.
    pub fn family(self) -> &'static str {
        self.as_str().split_once('.').map_or("", |(family, _)| family)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no event's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no type of event; known: ", self.0)?;
        let words: Vec<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
        f.write_str(&words.join(" "))
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        KINDS.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_word_parses_back() {
        assert!(KINDS.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
        for kind in KINDS {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert!(kind.when().ends_with('.'), "{kind}");
        }
        assert!("user.creatd".parse::<Kind>().is_err());
    }
}
