//! What `access` wants to know. `mirror` fills it; nothing here knows where it comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{DirectoryId, GrantId, ResourceId, RoleName, Seq, Subject, Timestamp};
use crate::scim::filter::fold;
pub use crate::scim::resource::Doc;

use super::Bindings;

/// Everything the identity providers last said, at one `seq`.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The change up to which these facts hold.
    pub seq: Seq,
    /// The directories in precedence order: the first one owns a subject that several bring (DESIGN §6.5).
    pub directories: Vec<DirectoryFacts>,
    /// Names that a directory has let go of by `subject release`.
    pub released: BTreeSet<Release>,
    /// Who is out of everything until `open`.
    pub shut: BTreeSet<Shut>,
    /// Time-boxed grants, with those that ended lately.
    pub grants: Vec<Grant>,
    /// Users that their identity provider did not name again before a re-baseline closed.
    pub unconfirmed: BTreeSet<Subject>,
    /// Which group each displayName rule of a role resolved to first.
    pub bindings: Bindings,
}

impl Facts {
    /// The directory with this id.
    pub fn directory(&self, id: &DirectoryId) -> Option<&DirectoryFacts> {
        self.directories.iter().find(|directory| directory.id == *id)
    }

    /// The decision that shuts this user out: by id, or by the `userName` in the same directory, so that being deleted
    /// and made anew, or renamed, lets nobody back in.
    pub fn shut(&self, subject: &Subject, user_name: Option<&str>) -> Option<&Shut> {
        if self.shut.is_empty() {
            return None;
        }
        let key = user_name.map(fold);
        self.shut.iter().find(|one| {
            one.subject == *subject
                || (one.subject.directory == subject.directory && key.as_ref() == Some(&one.user_name_key))
        })
    }
}

/// A decision that a subject is out of every target, whatever the identity provider says, until `open`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shut {
    /// Who.
    pub subject: Subject,
    /// The folded `userName` at that time.
    pub user_name_key: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// The change that decided it.
    pub seq: Seq,
}

/// A role on top of what the identity provider says, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Who.
    pub subject: Subject,
    /// What.
    pub role: RoleName,
    /// From then on it gives nothing.
    pub until: Timestamp,
    /// Why, in the operator's words.
    pub reason: String,
    /// The change that ended it: expired or revoked.
    pub ended: Option<Seq>,
}

impl Grant {
    /// Whether it gives the role at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.until
    }
}

/// A decision that `directory` no longer owns the subject of this name, so that the next directory may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The directory that let go.
    pub directory: DirectoryId,
    /// The folded `userName`.
    pub user_name_key: String,
}

/// One directory's part.
#[derive(Debug, Clone)]
pub struct DirectoryFacts {
    /// Its id.
    pub id: DirectoryId,
    /// False: it answers 503, and everything it said before still counts.
    pub enabled: bool,
    /// False: nobody has pushed to it yet. It is unknown, not empty, and prunes nothing (DESIGN §6.7).
    pub pushed: bool,
    /// Patterns with `*` that a `userName` must match, folded; empty means any.
    pub claims: Vec<String>,
    /// Its users, active or not, in the order of their ids.
    pub users: Vec<UserFacts>,
    /// Its groups, in the order of their ids.
    pub groups: Vec<GroupFacts>,
}

/// One user.
#[derive(Debug, Clone)]
pub struct UserFacts {
    /// SCIM `id`.
    pub id: ResourceId,
    /// SCIM `active`. An inactive user holds nothing.
    pub active: bool,
    /// SCIM `userName` as the identity provider spells it.
    pub user_name: String,
    /// The canonical document, for filters and for the target's subject attribute.
    pub doc: Arc<Doc>,
    /// SCIM `meta.created`.
    pub created: Timestamp,
    /// SCIM `meta.lastModified`.
    pub last_modified: Timestamp,
}

/// One group.
#[derive(Debug, Clone)]
pub struct GroupFacts {
    /// SCIM `id`.
    pub id: ResourceId,
    /// SCIM `displayName`.
    pub display_name: String,
    /// SCIM `externalId`.
    pub external_id: Option<String>,
    /// Users that are members directly.
    pub users: Vec<ResourceId>,
    /// Groups that are members directly.
    pub groups: Vec<ResourceId>,
}
