//! What one target should show: names resolved, everything sorted. Every format renders this model.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Subject};

use super::name::{Fold, Named, is_carriable, text_of};
use super::{Access, Doc, Entitlement, Facts, Problem, SubjectAttribute, UserFacts};

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
    /// The values of the target's `attributes`, by the name the config gives them; what the user lacks, or no target
    /// could carry, is missing. None at all where the target names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
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
    /// Its role is `protected`: sync never takes it from an active user.
    Protected,
    /// Its directory is unknown (nobody has pushed to it), so nothing of it is pruned.
    Unknown,
    /// An import that is under way takes it away; the guard judges it with the rest, once the import is over.
    Importing,
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
    /// Held removals: which judgement held it; grows each time removals of this target are held, else 0.
    pub batch: u64,
}

/// What [`view`] needs to know of one target.
#[derive(Debug, Clone, Copy)]
pub struct ViewInput<'a> {
    /// How this target names a subject.
    pub attribute: &'a SubjectAttribute,
    /// Key `attributes`: what a user shows besides.
    pub attributes: &'a [SubjectAttribute],
    /// Removals not carried out at this target.
    pub exceptions: &'a [Exception],
    /// Names as the target shows them now: in a collision the earlier holder keeps its name.
    pub names: &'a BTreeMap<Subject, String>,
    /// Key `map`: what somebody is called here, by the name the attribute gives. Nobody else gets such a name.
    pub map: &'a BTreeMap<String, String>,
    /// How the target's reader compares names; `None`: by their bytes.
    pub fold: Option<Fold>,
}

/// What a target should show for access plus exceptions, and what it cannot show.
pub fn view(facts: &Facts, access: &Access, input: ViewInput<'_>) -> (View, Vec<Problem>) {
    let mut problems = Vec::new();
    let users = name_users(facts, access, input, &mut problems);
    let groups = name_groups(facts, input, &mut problems);
    let mut shown = Shown::default();
    for (subject, held) in &access.held {
        for entitlement in held.keys() {
            shown.add(subject, entitlement, &users, &groups);
        }
    }
    for exception in input.exceptions {
        shown.add(&exception.subject, &exception.entitlement, &users, &groups);
    }
    for role in access.role_groups.keys() {
        shown.roles.entry(role.clone()).or_default();
    }
    let view = View {
        users: show_users(facts, access, input, &users, &shown),
        groups: show_groups(facts, input, &users, &groups, &shown),
        roles: shown
            .roles
            .into_iter()
            .map(|(name, members)| ViewRole { name, members: members.into_iter().collect() })
            .collect(),
    };
    problems.sort();
    problems.dedup();
    (view, problems)
}

type GroupKey = (DirectoryId, ResourceId);

/// Entitlements by name, in both directions.
#[derive(Default)]
struct Shown {
    user_groups: BTreeMap<Subject, BTreeSet<String>>,
    user_roles: BTreeMap<Subject, BTreeSet<String>>,
    group_users: BTreeMap<GroupKey, BTreeSet<String>>,
    roles: BTreeMap<RoleName, BTreeSet<String>>,
}

impl Shown {
    fn add(
        &mut self,
        subject: &Subject,
        entitlement: &Entitlement,
        users: &BTreeMap<Subject, String>,
        groups: &BTreeMap<GroupKey, String>,
    ) {
        let Some(name) = users.get(subject) else { return };
        match entitlement {
            Entitlement::Role(role) => {
                self.user_roles.entry(subject.clone()).or_default().insert(role.to_string());
                self.roles.entry(role.clone()).or_default().insert(name.clone());
            }
            Entitlement::Group(directory, id) => {
                let key = (directory.clone(), *id);
                let Some(group) = groups.get(&key) else { return };
                self.user_groups.entry(subject.clone()).or_default().insert(group.clone());
                self.group_users.entry(key).or_default().insert(name.clone());
            }
        }
    }
}

/// One who would bear a name. Sorts by who keeps it: the earlier holder, then the directory that stands first, then
/// the older id. Last is the name as it is written, where the reader goes by another form of it.
type Claim<K> = (bool, usize, K, Option<String>);

/// Gives each name to the first of its claimants and reports the others.
fn settle<K: Ord + Clone>(
    claims: BTreeMap<String, BTreeSet<Claim<K>>>,
    mut lost: impl FnMut(&K, &K),
) -> BTreeMap<K, String> {
    let mut named = BTreeMap::new();
    for (key, claimants) in claims {
        let mut claimants = claimants.into_iter().map(|(.., who, name)| (who, name));
        let Some((holder, name)) = claimants.next() else { continue };
        for (other, _) in claimants {
            lost(&other, &holder);
        }
        named.insert(holder, name.unwrap_or(key));
    }
    named
}

/// The users the target can name: the eligible ones, and those that only exceptions keep.
fn name_users(
    facts: &Facts,
    access: &Access,
    input: ViewInput<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Subject, String> {
    let mut claims: BTreeMap<String, BTreeSet<Claim<Subject>>> = BTreeMap::new();
    let mut claim = |is_new: bool, order: usize, subject: Subject, name: String| {
        let key = Fold::of(input.fold, &name);
        let written = (key != name).then_some(name);
        claims.entry(key).or_default().insert((is_new, order, subject, written));
    };
    let mut living: BTreeSet<Subject> = BTreeSet::new();
    // Who still has access and would lose it by a new name alone keeps the old name with it.
    let frozen: BTreeMap<&Subject, &String> = input
        .exceptions
        .iter()
        .filter(|one| access.holds(&one.subject, &one.entitlement))
        .map(|one| (&one.subject, &one.name))
        .collect();
    let mapped: BTreeMap<String, &String> =
        input.map.iter().map(|(key, name)| (Fold::of(input.fold, name), key)).collect();
    for (order, directory) in facts.directories.iter().enumerate() {
        for user in &directory.users {
            let subject = Subject { directory: directory.id.clone(), user: user.id };
            if access.left_out.contains_key(&subject) {
                continue;
            }
            let name = match frozen.get(&subject) {
                Some(name) => Ok(Named::One((*name).clone())),
                None => own_name(user, input, &mapped),
            };
            match name {
                Err(key) => problems.push(Problem::Mapped { subject, key }),
                Ok(Named::One(name)) if is_carriable(&name) => {
                    let held = input.names.get(&subject).map(|held| Fold::of(input.fold, held));
                    let is_new = held != Some(Fold::of(input.fold, &name));
                    living.insert(subject.clone());
                    claim(is_new, order, subject, name);
                }
                Ok(Named::One(_)) => problems.push(Problem::BadName { subject, group: false }),
                Ok(other) => problems.push(Problem::NoName {
                    subject,
                    attribute: input.attribute.to_string(),
                    ambiguous: other == Named::Ambiguous,
                }),
            }
        }
    }
    for exception in input.exceptions.iter().filter(|exception| !living.contains(&exception.subject)) {
        claim(false, 0, exception.subject.clone(), exception.name.clone());
    }
    let how = input.fold.map(|fold| fold.how);
    settle(claims, |subject, holder| {
        problems.push(Problem::Collision {
            subject: subject.clone(),
            holder: holder.clone(),
            group: false,
            how,
        });
    })
}

/// What a user is called here; an error is the key of the map whose name it would take.
fn own_name(
    user: &UserFacts,
    input: ViewInput<'_>,
    mapped: &BTreeMap<String, &String>,
) -> Result<Named, String> {
    let Named::One(name) = input.attribute.of(user) else { return Ok(input.attribute.of(user)) };
    if let Some(local) = input.map.get(&name) {
        return Ok(Named::One(local.clone()));
    }
    if mapped.is_empty() {
        return Ok(Named::One(name));
    }
    mapped.get(&Fold::of(input.fold, &name)).map_or(Ok(Named::One(name)), |key| Err((*key).clone()))
}

/// The groups the target can name: those of the directories, and deleted ones that only exceptions keep.
fn name_groups(
    facts: &Facts,
    input: ViewInput<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<GroupKey, String> {
    let mut claims: BTreeMap<String, BTreeSet<Claim<GroupKey>>> = BTreeMap::new();
    let mut living: BTreeSet<GroupKey> = BTreeSet::new();
    for (order, directory) in facts.directories.iter().enumerate() {
        for group in &directory.groups {
            let key = (directory.id.clone(), group.id);
            if is_carriable(&group.display_name) {
                living.insert(key.clone());
                claims.entry(group.display_name.clone()).or_default().insert((true, order, key, None));
            } else {
                problems.push(Problem::BadName { subject: subject_of(&key), group: true });
            }
        }
    }
    for exception in input.exceptions {
        if let (Entitlement::Group(directory, id), Some(name)) =
            (&exception.entitlement, &exception.group_name)
        {
            let key = (directory.clone(), *id);
            if !living.contains(&key) {
                claims.entry(name.clone()).or_default().insert((false, 0, key, None));
            }
        }
    }
    settle(claims, |key, holder| {
        let (subject, holder) = (subject_of(key), subject_of(holder));
        problems.push(Problem::Collision { subject, holder, group: true, how: None });
    })
}

/// A group in the shape problems name things by.
fn subject_of((directory, id): &GroupKey) -> Subject {
    Subject { directory: directory.clone(), user: *id }
}

/// A text attribute by its name.
type Text<'a> = &'a dyn Fn(&str) -> Option<String>;

fn show_users(
    facts: &Facts,
    access: &Access,
    input: ViewInput<'_>,
    users: &BTreeMap<Subject, String>,
    shown: &Shown,
) -> Vec<ViewUser> {
    let list = |map: &BTreeMap<Subject, BTreeSet<String>>, subject: &Subject| -> Vec<String> {
        map.get(subject).into_iter().flatten().cloned().collect()
    };
    let mut rows: BTreeMap<String, ViewUser> = BTreeMap::new();
    let attributes = |user: Option<&UserFacts>| {
        let of = |attribute: &SubjectAttribute| match attribute.of(user?) {
            Named::One(value) if is_carriable(&value) => Some((attribute.to_string(), value)),
            _ => None,
        };
        (!input.attributes.is_empty()).then(|| input.attributes.iter().filter_map(of).collect())
    };
    let mut show = |subject: &Subject, user_name: &str, user: Option<&UserFacts>, text: Text<'_>| {
        let Some(name) = users.get(subject) else { return };
        rows.entry(name.clone()).or_insert_with(|| ViewUser {
            name: name.clone(),
            id: subject.user,
            directory: subject.directory.clone(),
            user_name: user_name.to_owned(),
            display_name: text("displayName"),
            email: text("emails"),
            external_id: text("externalId"),
            active: true,
            groups: list(&shown.user_groups, subject),
            roles: list(&shown.user_roles, subject),
            attributes: attributes(user),
        });
    };
    for directory in &facts.directories {
        for user in &directory.users {
            let subject = Subject { directory: directory.id.clone(), user: user.id };
            if !access.left_out.contains_key(&subject) {
                show(&subject, &user.user_name, Some(user), &|name| text_of(&user.doc, name));
            }
        }
    }
    for exception in input.exceptions {
        let text = |name: &str| text_of(&exception.attributes, name);
        let user_name = text("userName").unwrap_or_else(|| exception.name.clone());
        show(&exception.subject, &user_name, None, &text);
    }
    rows.into_values().collect()
}

/// One group being put together.
#[derive(Default)]
struct GroupRow {
    external_id: Option<String>,
    members: BTreeSet<String>,
    nested: BTreeSet<String>,
}

fn show_groups(
    facts: &Facts,
    input: ViewInput<'_>,
    users: &BTreeMap<Subject, String>,
    groups: &BTreeMap<GroupKey, String>,
    shown: &Shown,
) -> Vec<ViewGroup> {
    let mut rows: BTreeMap<GroupKey, GroupRow> =
        groups.keys().map(|key| (key.clone(), GroupRow::default())).collect();
    for directory in &facts.directories {
        for group in &directory.groups {
            let Some(row) = rows.get_mut(&(directory.id.clone(), group.id)) else { continue };
            row.external_id.clone_from(&group.external_id);
            let subject = |user: &ResourceId| Subject { directory: directory.id.clone(), user: *user };
            // A user kept by an exception alone is a member only where that exception says so.
            let held = shown.group_users.get(&(directory.id.clone(), group.id));
            let members = group.users.iter().filter_map(|user| users.get(&subject(user)));
            row.members.extend(members.filter(|name| held.is_some_and(|held| held.contains(*name))).cloned());
            row.nested.extend(
                group.groups.iter().filter_map(|id| groups.get(&(directory.id.clone(), *id))).cloned(),
            );
        }
    }
    // What an exception keeps is shown as direct membership, so that no format has to know how it once nested.
    for exception in input.exceptions {
        if let Entitlement::Group(directory, id) = &exception.entitlement
            && let Some(row) = rows.get_mut(&(directory.clone(), *id))
            && let Some(name) = users.get(&exception.subject)
        {
            row.members.insert(name.clone());
        }
    }
    let mut list: Vec<ViewGroup> = rows
        .into_iter()
        .filter_map(|((directory, id), GroupRow { external_id, members, nested })| {
            let key = (directory, id);
            let name = groups.get(&key)?.clone();
            let all_members = shown.group_users.get(&key).into_iter().flatten().cloned().collect();
            Some(ViewGroup {
                name,
                id: key.1,
                directory: key.0,
                external_id,
                members: members.into_iter().collect(),
                groups: nested.into_iter().collect(),
                all_members,
            })
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
