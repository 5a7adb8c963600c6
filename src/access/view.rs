//! What one target should show: names resolved, everything sorted. Every format renders this model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Subject};

use super::{Access, Doc, Entitlement, Facts, Problem, SubjectAttribute};

/// The documented model behind every file: also what a template sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct View {
    /// Every active user the target can name, sorted by name; names are unique.
    pub users: Vec<ViewUser>,
    /// Every group, sorted by name; names are unique.
    pub groups: Vec<ViewGroup>,
    /// Every role of the configuration, sorted by name, also those nobody holds.
    pub roles: Vec<ViewRole>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewUser {
    /// By the target's subject attribute.
    pub name: String,
    /// SCIM `id`.
    pub id: ResourceId,
    /// The directory.
    pub directory: DirectoryId,
    /// SCIM `userName`.
    pub user_name: String,
    /// SCIM `displayName`.
    pub display_name: Option<String>,
    /// The primary e-mail address, or the only one.
    pub email: Option<String>,
    /// SCIM `externalId`.
    pub external_id: Option<String>,
    /// Always true: users that are not active are not shown.
    pub active: bool,
    /// Names of the groups the user is in, directly or through nesting, sorted.
    pub groups: Vec<String>,
    /// Names of the roles the user holds, sorted.
    pub roles: Vec<String>,
}

impl ViewUser {
    /// Who this is.
    pub fn subject(&self) -> Subject {
        Subject { directory: self.directory.clone(), user: self.id }
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewGroup {
    /// SCIM `displayName`.
    pub name: String,
    /// SCIM `id`.
    pub id: ResourceId,
    /// The directory.
    pub directory: DirectoryId,
    /// SCIM `externalId`.
    pub external_id: Option<String>,
    /// Names of the users that are members directly, sorted.
    pub members: Vec<String>,
    /// Names of the groups that are members directly, sorted.
    pub groups: Vec<String>,
    /// Names of all users in it, directly or through nesting, sorted.
    pub all_members: Vec<String>,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRole {
    /// Key `[[role]] name`.
    pub name: RoleName,
    /// Names of the users that hold it, sorted.
    pub members: Vec<String>,
}

/// Why an entitlement stays at a target although access no longer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The guard holds its removal until a person decides.
    Held,
    /// A person rejected its removal.
    Rejected,
    /// Its directory is unknown (nobody has pushed to it), so nothing of it is pruned.
    Unknown,
}

/// One removal that is not carried out, with what is needed to go on rendering it (kept even when the user is deleted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Who keeps it.
    pub subject: Subject,
    /// What is kept.
    pub entitlement: Entitlement,
    /// The subject's name as the target shows it.
    pub name: String,
    /// For a group: its name as the target shows it.
    pub group_name: Option<String>,
    /// Further attributes as last shown (`user_name`, `display_name`, `email`, `external_id`).
    pub attributes: Doc,
    /// The change whose removal this is.
    pub since: Seq,
    /// Why.
    pub verdict: Verdict,
}

/// What [`view`] needs to know of one target.
#[derive(Debug, Clone, Copy)]
pub struct ViewInput<'a> {
    /// How this target names a subject.
    pub attribute: &'a SubjectAttribute,
    /// Removals not carried out at this target.
    pub exceptions: &'a [Exception],
    /// Names as the target shows them now: in a collision the earlier holder keeps its name.
    pub names: &'a BTreeMap<Subject, String>,
}

/// What a target should show for access plus exceptions, and what it cannot show.
pub fn view(facts: &Facts, access: &Access, input: ViewInput<'_>) -> (View, Vec<Problem>) {
    let _ = (facts, access, input);
    (View::default(), Vec::new())
}
