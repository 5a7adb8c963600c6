//! Which groups a role names. A displayName rule remembers the group it resolved to first, so that a name that wanders
//! to another group takes nothing along.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{DirectoryId, ResourceId, RoleName};

use super::{Access, DirectoryFacts, Facts, GroupFacts, GroupRule, OnRename, Problem, Role};

/// One displayName rule in one directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BindingKey {
    /// The role.
    pub role: RoleName,
    /// The directory.
    pub directory: DirectoryId,
    /// The name as written in the rule.
    pub rule: String,
}

/// The group that a rule stands for, whatever it is called now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its SCIM id.
    pub group: ResourceId,
    /// Its `externalId`, by which it is known again when it was deleted and made anew.
    pub external_id: Option<String>,
}

/// What displayName rules stand for.
pub type Bindings = BTreeMap<BindingKey, Bound>;

/// The groups a role names, over all directories it reaches.
pub(super) fn resolve(
    facts: &Facts,
    role: &Role,
    result: &mut Access,
) -> BTreeSet<(DirectoryId, ResourceId)> {
    let mut found = BTreeSet::new();
    for directory in role.directories.iter().flatten() {
        if facts.directory(directory).is_none() {
            let (role, directory) = (role.name.clone(), directory.clone());
            result.problems.push(Problem::UnknownDirectory { role, directory });
        }
    }
    let reached: Vec<&DirectoryFacts> =
        facts.directories.iter().filter(|directory| role.reaches(&directory.id)).collect();
    for rule in &role.groups {
        let mut is_anywhere = false;
        for directory in &reached {
            let named = if let GroupRule::DisplayName(name) = rule {
                by_name(facts, role, directory, name, result)
            } else {
                let groups = matching(directory, |group| is_named(rule, group));
                is_anywhere |= !groups.is_empty();
                only(&groups, role, directory, rule, &mut result.problems)
            };
            found.extend(named.map(|group| (directory.id.clone(), group)));
        }
        let is_known = reached.iter().all(|directory| directory.pushed);
        if !is_anywhere && is_known && !matches!(rule, GroupRule::DisplayName(_)) {
            result.problems.push(Problem::UnknownGroup {
                role: role.name.clone(),
                directory: None,
                rule: rule.to_string(),
            });
        }
    }
    found
}

/// What a displayName rule stands for in one directory. The binding is kept also while its group is gone: whoever takes
/// the name later does not inherit what it gave.
fn by_name(
    facts: &Facts,
    role: &Role,
    directory: &DirectoryFacts,
    name: &str,
    result: &mut Access,
) -> Option<ResourceId> {
    let rule = GroupRule::DisplayName(name.to_owned());
    let key = BindingKey { role: role.name.clone(), directory: directory.id.clone(), rule: name.to_owned() };
    let called = matching(directory, |group| is_named(&rule, group));
    let unknown = || Problem::UnknownGroup {
        role: role.name.clone(),
        directory: Some(directory.id.clone()),
        rule: name.to_owned(),
    };
    let not_inherited = |bound: ResourceId, groups: Vec<ResourceId>| Problem::NotInherited {
        role: role.name.clone(),
        directory: directory.id.clone(),
        rule: name.to_owned(),
        bound,
        groups,
    };
    let Some(bound) = facts.bindings.get(&key) else {
        if called.is_empty() && directory.pushed {
            result.problems.push(unknown());
        }
        let found = only(&called, role, directory, &rule, &mut result.problems)?;
        let external_id = directory.groups.iter().find(|group| group.id == found)?.external_id.clone();
        result.bindings.insert(key, Bound { group: found, external_id });
        return Some(found);
    };
    let Some(group) = same_group(directory, bound) else {
        result.bindings.insert(key, bound.clone());
        let problem = if called.is_empty() { unknown() } else { not_inherited(bound.group, called) };
        result.problems.push(problem);
        return None;
    };
    result.bindings.insert(key, Bound { group: group.id, external_id: group.external_id.clone() });
    if group.display_name == name {
        return only(&called, role, directory, &rule, &mut result.problems);
    }
    if !called.is_empty() {
        result.problems.push(not_inherited(group.id, called));
    }
    result.problems.push(Problem::RenamedGroup {
        role: role.name.clone(),
        directory: directory.id.clone(),
        rule: name.to_owned(),
        group: group.id,
        now: group.display_name.clone(),
        follows: role.on_rename == OnRename::Follow,
    });
    (role.on_rename == OnRename::Follow).then_some(group.id)
}

/// The bound group: by its id, or made anew with the same `externalId`.
fn same_group<'a>(directory: &'a DirectoryFacts, bound: &Bound) -> Option<&'a GroupFacts> {
    if let Some(group) = directory.groups.iter().find(|group| group.id == bound.group) {
        return Some(group);
    }
    let external_id = bound.external_id.as_ref()?;
    let mut anew = directory.groups.iter().filter(|group| group.external_id.as_ref() == Some(external_id));
    let first = anew.next()?;
    anew.next().is_none().then_some(first)
}

/// The one group, if it is exactly one.
fn only(
    groups: &[ResourceId],
    role: &Role,
    directory: &DirectoryFacts,
    rule: &GroupRule,
    problems: &mut Vec<Problem>,
) -> Option<ResourceId> {
    match groups {
        [] => None,
        [only] => Some(*only),
        _ => {
            problems.push(Problem::AmbiguousGroup {
                role: role.name.clone(),
                directory: directory.id.clone(),
                rule: rule.to_string(),
                groups: groups.to_vec(),
            });
            None
        }
    }
}

fn matching(directory: &DirectoryFacts, is_meant: impl Fn(&GroupFacts) -> bool) -> Vec<ResourceId> {
    let mut groups: Vec<ResourceId> =
        directory.groups.iter().filter(|group| is_meant(group)).map(|group| group.id).collect();
    groups.sort();
    groups
}

fn is_named(rule: &GroupRule, group: &GroupFacts) -> bool {
    match rule {
        GroupRule::DisplayName(name) => group.display_name == *name,
        GroupRule::Id(id) => group.id == *id,
        GroupRule::ExternalId(id) => group.external_id.as_ref() == Some(id),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
