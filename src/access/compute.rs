//! The function itself: entitlements with their reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{DirectoryId, GrantId, ResourceId, RoleName, Seq, Subject, Timestamp};
use crate::scim::filter::fold;

use super::closure::Closure;
use super::resolve::{Bindings, resolve};
use super::{DirectoryFacts, Entitlement, Facts, Grant, Problem, Release, Role, UserFacts};

/// Why a subject holds an entitlement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The role names the first group; the last one has the user as direct member; between them the nesting.
    Group {
        /// From the role's group down.
        path: Arc<[ResourceId]>,
    },
    /// The role's filter is true for the user.
    Filter,
    /// For a group entitlement: from that group down to the one that has the user as direct member.
    Member {
        /// From the entitlement's group down.
        path: Arc<[ResourceId]>,
    },
    /// A time-boxed grant of the role.
    Grant {
        /// Which.
        id: GrantId,
    },
}

/// Why a user counts for nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// Shut out by an operator.
    Shut,
    /// Not active.
    Inactive,
    /// Not named again by the identity provider before a re-baseline closed.
    Unconfirmed,
    /// The name is outside the directory's claims.
    Unclaimed,
    /// The name belongs to this subject of an earlier directory.
    Owned(Subject),
}

/// Who holds what, at one `seq`.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The change up to which it holds.
    pub seq: Seq,
    /// Each subject that holds anything, with every entitlement and its reasons (sorted, at least one).
    pub held: BTreeMap<Subject, BTreeMap<Entitlement, Vec<Reason>>>,
    /// Users that count for nothing, and why.
    pub left_out: BTreeMap<Subject, LeftOut>,
    /// The groups each role resolved to.
    pub role_groups: BTreeMap<RoleName, BTreeSet<(DirectoryId, ResourceId)>>,
    /// What each displayName rule stands for from now on: what differs from the facts' own is to be remembered, what is
    /// not here any more is to be forgotten.
    pub bindings: Bindings,
    /// Directories nobody has pushed to: unknown, so nothing of theirs may be pruned.
    pub unknown: BTreeSet<DirectoryId>,
    /// What an operator should know, sorted.
    pub problems: Vec<Problem>,
    /// When the next grant ends; from then on this is no longer true.
    pub next_expiry: Option<Timestamp>,
}

impl Access {
    /// Whether `subject` holds `entitlement`.
    pub fn holds(&self, subject: &Subject, entitlement: &Entitlement) -> bool {
        self.held.get(subject).is_some_and(|held| held.contains_key(entitlement))
    }
}

/// Who holds what, given `facts` and `roles`, at the moment `now` (for grants that expire).
pub fn access(facts: &Facts, roles: &[Role], now: Timestamp) -> Access {
    let live = || facts.grants.iter().filter(|grant| grant.is_live(now));
    let next_expiry = live().map(|grant| grant.until).min();
    let mut result = Access { seq: facts.seq, next_expiry, ..Access::default() };
    result.unknown = facts
        .directories
        .iter()
        .filter(|directory| !directory.pushed)
        .map(|found| found.id.clone())
        .collect();
    leave_out(facts, &mut result);
    for role in roles {
        let groups = resolve(facts, role, &mut result);
        result.role_groups.insert(role.name.clone(), groups);
    }
    for directory in &facts.directories {
        in_directory(directory, roles, &mut result);
    }
    for grant in live() {
        apply_grant(facts, roles, grant, &mut result);
    }
    for entitlements in result.held.values_mut() {
        for reasons in entitlements.values_mut() {
            reasons.sort();
            reasons.dedup();
        }
    }
    result.problems.sort();
    result.problems.dedup();
    result
}

/// Adds what a grant gives. Who is left out, gone or beyond the role's directories gets nothing from it either.
fn apply_grant(facts: &Facts, roles: &[Role], grant: &Grant, result: &mut Access) {
    let subject = &grant.subject;
    let gives = roles.iter().any(|role| role.name == grant.role && role.reaches(&subject.directory));
    let exists = facts
        .directory(&subject.directory)
        .is_some_and(|directory| directory.users.iter().any(|user| user.id == subject.user));
    if gives && exists && !result.left_out.contains_key(subject) {
        let held = result.held.entry(subject.clone()).or_default();
        let reasons = held.entry(Entitlement::Role(grant.role.clone())).or_default();
        reasons.push(Reason::Grant { id: grant.id });
    }
}

/// Finds the users that count for nothing: outside the claims, owned by an earlier directory, shut, unconfirmed, or
/// inactive.
///
/// A name belongs to the directory that stands first and claims it, also while the user is inactive there: else a
/// dismissal in one directory would open the door to a namesake in another (DESIGN §6.5).
fn leave_out(facts: &Facts, result: &mut Access) {
    // A shut name stays taken when its user, or the whole directory, is gone: a namesake must not slip in.
    let lost = facts.shut.iter().filter(|one| facts.directory(&one.subject.directory).is_none());
    let mut owners: BTreeMap<String, Subject> =
        lost.map(|one| (one.user_name_key.clone(), one.subject.clone())).collect();
    // Directories that released a name come last for it.
    for released in [false, true] {
        for directory in &facts.directories {
            let mut users: Vec<&UserFacts> = directory.users.iter().collect();
            users.sort_by_key(|user| user.id);
            for user in users {
                let key = fold(&user.user_name);
                let release = Release { directory: directory.id.clone(), user_name_key: key };
                if facts.released.contains(&release) != released {
                    continue;
                }
                let subject = Subject { directory: directory.id.clone(), user: user.id };
                let key = release.user_name_key;
                if !is_claimed(&directory.claims, &key) {
                    result.problems.push(Problem::Unclaimed { subject: subject.clone() });
                    result.left_out.insert(subject, LeftOut::Unclaimed);
                } else if let Some(owner) = owners.get(&key) {
                    result.problems.push(Problem::Owned { subject: subject.clone(), owner: owner.clone() });
                    result.left_out.insert(subject, LeftOut::Owned(owner.clone()));
                } else {
                    owners.insert(key, subject.clone());
                    if let Some(why) = own_fault(facts, &subject, user) {
                        result.left_out.insert(subject, why);
                    }
                }
            }
            for shut in facts.shut.iter().filter(|shut| shut.subject.directory == directory.id && !released) {
                owners.entry(shut.user_name_key.clone()).or_insert_with(|| shut.subject.clone());
            }
        }
    }
}

/// Why the owner of a name counts for nothing, if so.
fn own_fault(facts: &Facts, subject: &Subject, user: &UserFacts) -> Option<LeftOut> {
    if facts.shut(subject, Some(&user.user_name)).is_some() {
        Some(LeftOut::Shut)
    } else if !user.active {
        Some(LeftOut::Inactive)
    } else {
        facts.unconfirmed.contains(subject).then_some(LeftOut::Unconfirmed)
    }
}

/// Whether the folded name matches one of the patterns, or there are none.
fn is_claimed(claims: &[String], key: &str) -> bool {
    claims.is_empty() || claims.iter().any(|pattern| glob(&fold(pattern), key))
}

/// Matches `text` against `pattern`, in which `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Adds what the users of one directory hold.
fn in_directory(directory: &DirectoryFacts, roles: &[Role], result: &mut Access) {
    let closure = Closure::of(&directory.groups);
    for groups in &closure.cycles {
        result.problems.push(Problem::Cycle { directory: directory.id.clone(), groups: groups.clone() });
    }
    let eligible: BTreeSet<ResourceId> = directory
        .users
        .iter()
        .map(|user| Subject { directory: directory.id.clone(), user: user.id })
        .filter(|subject| !result.left_out.contains_key(subject))
        .map(|subject| subject.user)
        .collect();
    let Access { held: all, role_groups, .. } = result;
    let mut hold = |user: ResourceId, entitlement: &Entitlement, reason: Reason| {
        let subject = Subject { directory: directory.id.clone(), user };
        let held = all.entry(subject).or_default();
        held.entry(entitlement.clone()).or_default().push(reason);
    };
    // `groups.value` in a filter asks for these; nobody pays for them who has no filter.
    let any_filter = roles.iter().any(|role| role.users.is_some());
    let mut groups_of: BTreeMap<ResourceId, Vec<String>> = BTreeMap::new();
    for group in closure.reached.keys() {
        let entitlement = Entitlement::Group(directory.id.clone(), *group);
        for (user, path) in closure.members(*group) {
            if eligible.contains(&user) {
                if any_filter {
                    groups_of.entry(user).or_default().push(group.to_string());
                }
                hold(user, &entitlement, Reason::Member { path: Arc::clone(path) });
            }
        }
    }
    for role in roles.iter().filter(|role| role.reaches(&directory.id)) {
        let entitlement = Entitlement::Role(role.name.clone());
        let groups = role_groups.get(&role.name).into_iter().flatten();
        for (_, group) in groups.filter(|(home, _)| *home == directory.id) {
            for (user, path) in closure.members(*group) {
                if eligible.contains(&user) {
                    hold(user, &entitlement, Reason::Group { path: Arc::clone(path) });
                }
            }
        }
        let Some(filter) = &role.users else { continue };
        for user in directory.users.iter().filter(|user| eligible.contains(&user.id)) {
            let groups = groups_of.get(&user.id).map_or(&[][..], Vec::as_slice);
            if filter.is_true_for(user, groups) {
                hold(user.id, &entitlement, Reason::Filter);
            }
        }
    }
}

#[cfg(test)]
#[path = "compute_tests.rs"]
pub(super) mod tests;
