//! The difference between what a target holds and what it should hold, in words an operator can judge. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::access::{
    Access, Doc, Entitlement, Exception, Facts, LeftOut, Role, UNCONFIRMED, Verdict, View, say, shut_text,
};
use crate::downstream::format::{Carried, LeftOut as NotCarried};
use crate::mirror::moving::Moving;
use crate::mirror::target::Holding;
use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Subject, TargetName};

use super::guard::book;

/// One target's plan, as `plan --json` shows it (DESIGN §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The target.
    pub name: TargetName,
    /// SHA-256 over the sorted held removals, in hex; the same while they are the same.
    pub hash: String,
    /// Whether anything is held.
    pub held: bool,
    /// Entitlements that would come.
    pub add: Vec<Line>,
    /// Entitlements that would go.
    pub remove: Vec<Line>,
    /// Entitlements whose removal is held.
    pub held_removals: Vec<Line>,
    /// Entitlements that stay although access no longer has them: a person rejected the removal, or the role is
    /// protected.
    pub kept: Vec<Line>,
    /// Subjects shown under another name.
    pub change: Vec<Rename>,
    /// Entitlements the target should hold.
    pub total: u64,
}

/// One subject and one entitlement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// The subject's name at this target.
    pub subject: String,
    /// The subject, `DIRECTORY/ID`.
    pub id: String,
    /// `role:NAME` or `group:DIRECTORY/ID`.
    pub entitlement: String,
    /// The entitlement's name at this target.
    pub label: String,
    /// Why, in words.
    pub why: String,
}

/// One subject under a new name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rename {
    /// The name so far.
    pub from: String,
    /// The name to come.
    pub to: String,
    /// The subject, `DIRECTORY/ID`.
    pub id: String,
}

/// A subject and what it holds.
pub type Key = (Subject, Entitlement);

/// What a target should hold, by who and what.
pub type Wanted = BTreeMap<Key, Holding>;

/// Attribute under which a holding keeps its group's name.
const LABEL: &str = "label";

/// Attribute under which a kept removal says that only a re-baseline wants it.
const SET_ASIDE: &str = "unconfirmed";

/// `holding`, marked as one that only a re-baseline would remove.
pub fn unconfirmed(holding: &Holding) -> Holding {
    let mut marked = holding.clone();
    marked.attributes.insert(SET_ASIDE.into(), true.into());
    marked
}

/// Whether [`unconfirmed`] marked it.
pub fn is_unconfirmed(attributes: &Doc) -> bool {
    attributes.contains_key(SET_ASIDE)
}

/// Everything a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The snapshot.
    pub facts: &'a Facts,
    /// What follows from it.
    pub access: &'a Access,
    /// The roles it followed from.
    pub roles: &'a [Role],
    /// What the target holds.
    pub holdings: &'a [Holding],
    /// Removals not carried out.
    pub exceptions: &'a [Exception],
}

/// What `view` shows, as holdings; `left_out` are those the format could not carry.
pub fn wanted(view: &View, left_out: &[NotCarried]) -> Wanted {
    let gone_users: BTreeSet<Subject> = left_out
        .iter()
        .filter_map(|one| match &one.what {
            Carried::User(subject) => Some(subject.clone()),
            Carried::Group(..) | Carried::Role(_) => None,
        })
        .collect();
    let gone_groups: BTreeSet<(DirectoryId, ResourceId)> = left_out
        .iter()
        .filter_map(|one| match &one.what {
            Carried::Group(directory, id) => Some((directory.clone(), *id)),
            Carried::User(_) | Carried::Role(_) => None,
        })
        .collect();
    let gone_roles: BTreeSet<&str> = left_out
        .iter()
        .filter_map(|one| match &one.what {
            Carried::Role(role) => Some(role.as_str()),
            Carried::User(_) | Carried::Group(..) => None,
        })
        .collect();
    let groups: BTreeMap<&str, (DirectoryId, ResourceId)> =
        view.groups.iter().map(|group| (group.name.as_str(), (group.directory.clone(), group.id))).collect();
    let mut wanted = Wanted::new();
    for user in &view.users {
        let subject = user.subject();
        if gone_users.contains(&subject) {
            continue;
        }
        let mut base = Doc::new();
        base.insert("userName".into(), user.user_name.clone().into());
        for (key, value) in
            [("displayName", &user.display_name), ("emails", &user.email), ("externalId", &user.external_id)]
        {
            if let Some(value) = value {
                base.insert(key.into(), value.clone().into());
            }
        }
        let mut put = |entitlement: Entitlement, label: &str| {
            let mut attributes = base.clone();
            attributes.insert(LABEL.into(), label.into());
            let holding = Holding {
                subject: subject.clone(),
                entitlement: entitlement.clone(),
                name: user.name.clone(),
                attributes,
            };
            wanted.insert((subject.clone(), entitlement), holding);
        };
        for role in user.roles.iter().filter(|role| !gone_roles.contains(role.as_str())) {
            if let Ok(name) = RoleName::parse(role) {
                put(Entitlement::Role(name), role);
            }
        }
        for group in &user.groups {
            if let Some((directory, id)) =
                groups.get(group.as_str()).filter(|found| !gone_groups.contains(*found))
            {
                put(Entitlement::Group(directory.clone(), *id), group);
            }
        }
    }
    wanted
}

/// The entitlement's name as the target shows it.
pub fn label(holding: &Holding) -> String {
    let stored = holding.attributes.get(LABEL).and_then(serde_json::Value::as_str);
    stored.map_or_else(|| holding.entitlement.to_string(), str::to_owned)
}

/// Holdings of directories nobody has pushed to: unknown, so they stay (DESIGN §6.7).
pub fn kept_for_unknown(access: &Access, holdings: &[Holding]) -> Vec<Exception> {
    holdings
        .iter()
        .filter(|holding| access.unknown.contains(&holding.subject.directory))
        .map(|holding| exception_of(holding, Verdict::Unknown, access.seq, 0))
        .collect()
}

/// Holdings of people from whom an import under way has taken something: they stay until it is over, unless the guard
/// took its verdict on them before.
pub fn kept_for_import(
    access: &Access,
    moving: &Moving,
    holdings: &[Holding],
    is_judged: &dyn Fn(&Key) -> bool,
) -> Vec<Exception> {
    if moving.people.is_empty() {
        return Vec::new();
    }
    let is_lost = |one: &Holding| {
        !access.held.get(&one.subject).is_some_and(|held| held.contains_key(&one.entitlement))
    };
    holdings
        .iter()
        .filter(|one| moving.people.contains(&one.subject) && is_lost(one) && !is_judged(&key_of(one)))
        .map(|one| exception_of(one, Verdict::Importing, access.seq, 0))
        .collect()
}

/// Who and what.
pub fn key_of(holding: &Holding) -> Key {
    (holding.subject.clone(), holding.entitlement.clone())
}

/// The removal of `holding`, not carried out.
pub fn exception_of(holding: &Holding, verdict: Verdict, since: Seq, batch: u64) -> Exception {
    Exception {
        subject: holding.subject.clone(),
        entitlement: holding.entitlement.clone(),
        name: holding.name.clone(),
        group_name: matches!(holding.entitlement, Entitlement::Group(..)).then(|| label(holding)),
        attributes: holding.attributes.clone(),
        since,
        verdict,
        batch,
    }
}

/// Only what of `view` the target held already: what a target shows that cannot be rendered whole, so that
/// revocations land and additions wait (DESIGN §6.4).
pub fn only_held(view: &View, holdings: &[Holding]) -> View {
    // By who and what, never by name: a group that is called something else now is the same group.
    let held: BTreeSet<(&Subject, &Entitlement)> =
        holdings.iter().map(|holding| (&holding.subject, &holding.entitlement)).collect();
    let known: BTreeSet<&Subject> = holdings.iter().map(|holding| &holding.subject).collect();
    let groups: BTreeMap<&str, Entitlement> = view
        .groups
        .iter()
        .map(|group| (group.name.as_str(), Entitlement::Group(group.directory.clone(), group.id)))
        .collect();
    let holds = |subject: &Subject, what: Option<&Entitlement>| {
        what.is_some_and(|what| held.contains(&(subject, what)))
    };
    let mut shown = view.clone();
    shown.users.retain(|user| known.contains(&user.subject()));
    let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for user in &mut shown.users {
        let subject = user.subject();
        user.roles.retain(|role| holds(&subject, RoleName::parse(role).ok().map(Entitlement::Role).as_ref()));
        user.groups.retain(|group| holds(&subject, groups.get(group.as_str())));
        for name in user.roles.iter().map(|role| format!("r{role}")) {
            roles.entry(name).or_default().insert(user.name.clone());
        }
        for name in user.groups.iter().map(|group| format!("g{group}")) {
            roles.entry(name).or_default().insert(user.name.clone());
        }
    }
    let has = |key: String, name: &String| roles.get(&key).is_some_and(|names| names.contains(name));
    for role in &mut shown.roles {
        role.members.retain(|name| has(format!("r{}", role.name), name));
    }
    for group in &mut shown.groups {
        group.members.retain(|name| has(format!("g{}", group.name), name));
        group.all_members.retain(|name| has(format!("g{}", group.name), name));
        // Nesting could bring in who was not there; those who were are named one by one.
        group.groups.clear();
        group.members.clone_from(&group.all_members);
    }
    shown
}

/// The same people and groups under the names and attributes that the target last showed. For a view of which
/// everybody is held ([`only_held`]).
pub fn as_last_shown(view: &View, holdings: &[Holding]) -> View {
    let before: BTreeMap<&Subject, &Holding> = holdings.iter().map(|one| (&one.subject, one)).collect();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut shown = view.clone();
    for user in &mut shown.users {
        let Some(old) = before.get(&user.subject()) else { continue };
        let text = |key: &str| old.attributes.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        names.insert(user.name.clone(), old.name.clone());
        user.name.clone_from(&old.name);
        user.user_name = text("userName").unwrap_or_else(|| user.user_name.clone());
        (user.display_name, user.email, user.external_id) =
            (text("displayName"), text("emails"), text("externalId"));
    }
    let mut held: BTreeMap<&Entitlement, &Holding> = BTreeMap::new();
    for one in holdings {
        held.entry(&one.entitlement).or_insert(one);
    }
    let group = |name: &str, id: &(DirectoryId, ResourceId)| {
        let entitlement = Entitlement::Group(id.0.clone(), id.1);
        held.get(&entitlement).map_or_else(|| name.to_owned(), |one| label(one))
    };
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for one in &mut shown.groups {
        let old = group(&one.name, &(one.directory.clone(), one.id));
        groups.insert(std::mem::replace(&mut one.name, old.clone()), old);
    }
    let rename = |list: &mut Vec<String>, names: &BTreeMap<String, String>| {
        for name in list.iter_mut() {
            if let Some(old) = names.get(name) {
                name.clone_from(old);
            }
        }
        list.sort();
    };
    shown.users.iter_mut().for_each(|user| rename(&mut user.groups, &groups));
    shown.roles.iter_mut().for_each(|role| rename(&mut role.members, &names));
    for group in &mut shown.groups {
        rename(&mut group.members, &names);
        rename(&mut group.all_members, &names);
    }
    shown.users.sort_by(|a, b| a.name.cmp(&b.name));
    shown.groups.sort_by(|a, b| a.name.cmp(&b.name));
    shown
}

/// What of the holdings goes and what comes or is shown differently.
pub fn difference(holdings: &[Holding], wanted: &Wanted) -> (Vec<Key>, Vec<Holding>) {
    let before: BTreeMap<Key, &Holding> =
        holdings.iter().map(|one| ((one.subject.clone(), one.entitlement.clone()), one)).collect();
    let gone = before.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
    let put = wanted.iter().filter(|(key, holding)| before.get(key) != Some(holding));
    (gone, put.map(|(_, holding)| holding.clone()).collect())
}

/// The plan that leads from the holdings to `wanted`.
pub fn plan(target: &TargetName, inputs: Inputs<'_>, wanted: &Wanted) -> Plan {
    let before: BTreeMap<Key, &Holding> =
        inputs.holdings.iter().map(|one| ((one.subject.clone(), one.entitlement.clone()), one)).collect();
    let line = |holding: &Holding, why: String| Line {
        subject: holding.name.clone(),
        id: holding.subject.to_string(),
        entitlement: holding.entitlement.to_string(),
        label: label(holding),
        why,
    };
    let mut add: Vec<Line> = Vec::new();
    let mut change: BTreeSet<Rename> = BTreeSet::new();
    for (key, holding) in wanted {
        match before.get(key) {
            None => add.push(line(holding, why_add(inputs, key))),
            Some(old) if old.name != holding.name => {
                change.insert(Rename {
                    from: old.name.clone(),
                    to: holding.name.clone(),
                    id: holding.subject.to_string(),
                });
            }
            Some(_) => {}
        }
    }
    let mut remove: Vec<Line> = before
        .iter()
        .filter(|(key, _)| !wanted.contains_key(key))
        .map(|(key, holding)| line(holding, why_remove(inputs, key)))
        .collect();
    let excepted = |is_meant: &dyn Fn(Verdict) -> bool| {
        let meant = inputs.exceptions.iter().filter(|one| is_meant(one.verdict));
        let mut lines: Vec<Line> = meant.map(|one| exception_line(inputs, one)).collect();
        lines.sort();
        lines
    };
    let held_removals = excepted(&|verdict| verdict == Verdict::Held);
    let kept = excepted(&|verdict| matches!(verdict, Verdict::Rejected | Verdict::Protected));
    add.sort();
    remove.sort();
    Plan {
        name: target.clone(),
        hash: book::hash(held_removals.iter().map(|line| (line.id.clone(), line.entitlement.clone()))),
        held: !held_removals.is_empty(),
        add,
        remove,
        held_removals,
        kept,
        change: change.into_iter().collect(),
        total: wanted.len() as u64,
    }
}

fn exception_line(inputs: Inputs<'_>, exception: &Exception) -> Line {
    let role = || match &exception.entitlement {
        Entitlement::Role(name) => name.to_string(),
        Entitlement::Group(..) => exception.entitlement.to_string(),
    };
    let key = (exception.subject.clone(), exception.entitlement.clone());
    let why = why_remove(inputs, &key);
    Line {
        subject: exception.name.clone(),
        id: exception.subject.to_string(),
        entitlement: exception.entitlement.to_string(),
        label: exception.group_name.clone().unwrap_or_else(role),
        why: match exception.verdict {
            Verdict::Rejected => format!("{why}; its removal was rejected"),
            Verdict::Protected => format!("{why}; the role is protected"),
            Verdict::Held | Verdict::Unknown | Verdict::Importing => why,
        },
    }
}

/// Why `subject` holds it, in words.
pub fn why_add(inputs: Inputs<'_>, (subject, entitlement): &Key) -> String {
    let kept =
        inputs.exceptions.iter().find(|one| one.subject == *subject && one.entitlement == *entitlement);
    let reasons = inputs.access.held.get(subject).and_then(|held| held.get(entitlement));
    let role = match entitlement {
        Entitlement::Role(name) => inputs.roles.iter().find(|role| role.name == *name),
        Entitlement::Group(..) => None,
    };
    let words: Vec<String> =
        reasons.into_iter().flatten().map(|reason| say(inputs.facts, subject, role, reason)).collect();
    match (words.is_empty(), kept) {
        (false, _) => words.join("; "),
        (true, Some(_)) => "its removal is not carried out".to_owned(),
        (true, None) => "named now".to_owned(),
    }
}

/// Why `subject` no longer holds it, in words.
pub fn why_remove(inputs: Inputs<'_>, (subject, entitlement): &Key) -> String {
    let Some(directory) = inputs.facts.directory(&subject.directory) else {
        return format!("directory `{}` is gone", subject.directory);
    };
    if !directory.users.iter().any(|user| user.id == subject.user) {
        return "the user was deleted".to_owned();
    }
    match inputs.access.left_out.get(subject) {
        Some(LeftOut::Shut) => return shut_text(inputs.facts, subject),
        Some(LeftOut::Inactive) => return "the user is not active".to_owned(),
        Some(LeftOut::Unconfirmed) => return UNCONFIRMED.to_owned(),
        Some(LeftOut::Unclaimed) => return "the name is outside the claims of its directory".to_owned(),
        Some(LeftOut::Owned(owner)) => return format!("the name belongs to {owner}"),
        None => {}
    }
    if inputs.access.holds(subject, entitlement) {
        return "the name can no longer be shown here".to_owned();
    }
    match entitlement {
        Entitlement::Role(name) if !inputs.roles.iter().any(|role| role.name == *name) => {
            "the role is no longer configured".to_owned()
        }
        Entitlement::Role(_) => "no group and no filter of the role gives it any more".to_owned(),
        Entitlement::Group(home, id) => {
            let exists = inputs
                .facts
                .directory(home)
                .is_some_and(|found| found.groups.iter().any(|group| group.id == *id));
            if exists { "no longer a member".to_owned() } else { "the group was deleted".to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ViewGroup, ViewRole, ViewUser};
    use proptest::prelude::*;

    fn id(n: u8) -> ResourceId {
        ResourceId::new(u64::from(n), &[n; 10])
    }

    fn acme() -> DirectoryId {
        DirectoryId::parse("acme").unwrap()
    }

    fn user(n: u8, name: &str, groups: &[&str], roles: &[&str]) -> ViewUser {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        ViewUser {
            name: name.into(),
            id: id(n),
            directory: acme(),
            user_name: name.into(),
            display_name: None,
            email: None,
            external_id: None,
            active: true,
            groups: texts(groups),
            roles: texts(roles),
            attributes: None,
        }
    }

    fn view(users: Vec<ViewUser>) -> View {
        let names = |pick: &dyn Fn(&ViewUser) -> bool| -> Vec<String> {
            users.iter().filter(|user| pick(user)).map(|user| user.name.clone()).collect()
        };
        let in_sre = names(&|user| user.groups.contains(&"sre".to_owned()));
        View {
            groups: vec![ViewGroup {
                name: "sre".into(),
                id: id(200),
                directory: acme(),
                external_id: None,
                members: in_sre.clone(),
                groups: vec![],
                all_members: in_sre,
            }],
            roles: vec![ViewRole {
                name: RoleName::parse("admin").unwrap(),
                members: names(&|user| user.roles.contains(&"admin".to_owned())),
            }],
            users,
        }
    }

    fn plan_of(holdings: &[Holding], wanted: &Wanted) -> Plan {
        let (facts, access) = (Facts::default(), Access::default());
        let inputs = Inputs { facts: &facts, access: &access, roles: &[], holdings, exceptions: &[] };
        plan(&TargetName::parse("opa").unwrap(), inputs, wanted)
    }

    fn holdings(of: &View) -> Vec<Holding> {
        wanted(of, &[]).into_values().collect()
    }

    #[test]
    fn what_comes_goes_and_is_renamed_is_told_apart() {
        let before = view(vec![user(1, "alice", &["sre"], &["admin"]), user(2, "bob", &["sre"], &[])]);
        let after = view(vec![user(1, "alicia", &["sre"], &[]), user(3, "carl", &[], &["admin"])]);
        let plan = plan_of(&holdings(&before), &wanted(&after, &[]));
        let keys = |lines: &[Line]| -> Vec<(String, String)> {
            lines.iter().map(|line| (line.subject.clone(), line.label.clone())).collect()
        };
        assert_eq!(keys(&plan.add), [("carl".into(), "admin".into())]);
        assert_eq!(keys(&plan.remove), [("alice".into(), "admin".into()), ("bob".into(), "sre".into())]);
        assert_eq!((plan.change[0].from.as_str(), plan.change[0].to.as_str()), ("alice", "alicia"));
        assert_eq!((plan.total, plan.held), (2, false));
    }

    #[test]
    fn who_the_format_cannot_carry_is_not_held() {
        let view = view(vec![user(1, "a", &["sre"], &["admin"]), user(2, "b", &["sre"], &[])]);
        let out = |what| NotCarried { what, text: String::new(), why: String::new() };
        let subject = Subject { directory: acme(), user: id(1) };
        assert_eq!(wanted(&view, &[out(Carried::User(subject))]).len(), 1);
        assert_eq!(wanted(&view, &[out(Carried::Group(acme(), id(200)))]).len(), 1);
    }

    #[test]
    fn holdings_of_an_unknown_directory_stay() {
        let before = view(vec![user(1, "alice", &["sre"], &["admin"])]);
        let access = Access { unknown: BTreeSet::from([acme()]), ..Access::default() };
        let kept = kept_for_unknown(&access, &holdings(&before));
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().any(|one| one.group_name.as_deref() == Some("sre")));
        assert!(kept_for_unknown(&Access::default(), &holdings(&before)).is_empty());
    }

    #[test]
    fn a_target_that_cannot_be_rendered_whole_loses_the_revoked_and_gains_nothing() {
        let before = view(vec![user(1, "alice", &["sre"], &["admin"]), user(2, "bob", &["sre"], &[])]);
        let after = view(vec![user(1, "alice", &["sre"], &[]), user(3, "carl", &["sre"], &["admin"])]);
        let shown = only_held(&after, &holdings(&before));
        assert_eq!(shown.users.len(), 1);
        assert_eq!(shown.groups[0].all_members, ["alice"]);
        assert!(shown.roles[0].members.is_empty());
    }

    proptest! {
        #[test]
        fn applying_a_difference_gives_what_was_wanted(
            before in proptest::collection::btree_map(0u8..8, (any::<bool>(), any::<bool>(), 0u8..3), 0..8),
            after in proptest::collection::btree_map(0u8..8, (any::<bool>(), any::<bool>(), 0u8..3), 0..8),
        ) {
            let build = |of: &BTreeMap<u8, (bool, bool, u8)>| {
                view(of.iter().map(|(n, (sre, admin, name))| {
                    let groups: &[&str] = if *sre { &["sre"] } else { &[] };
                    let roles: &[&str] = if *admin { &["admin"] } else { &[] };
                    user(*n, &format!("u{n}-{name}"), groups, roles)
                }).collect())
            };
            let old = holdings(&build(&before));
            let new = wanted(&build(&after), &[]);
            let (gone, put) = difference(&old, &new);
            let mut result: Wanted = old
                .iter()
                .map(|one| ((one.subject.clone(), one.entitlement.clone()), one.clone()))
                .collect();
            result.retain(|key, _| !gone.contains(key));
            result.extend(put.into_iter().map(|one| ((one.subject.clone(), one.entitlement.clone()), one)));
            prop_assert_eq!(&result, &new);
            let plan = plan_of(&old, &new);
            prop_assert_eq!(plan.remove.len(), gone.len());
            prop_assert_eq!(plan.total, new.len() as u64);
        }
    }
}
