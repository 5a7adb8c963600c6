//! Which names no format may carry, and the view without them (shared by every format).

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::access::{View, ViewGroup, ViewRole, ViewUser};
use crate::model::{DirectoryId, ResourceId, RoleName};

use super::escape::Refused;
use super::{Carried, LeftOut};

/// The rule that `name` breaks in every format, if it does.
pub(super) fn unfit(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("the name is empty");
    }
    name.chars().find_map(unfit_char)
}

/// Why a character may stand in no name, whatever the format could carry.
pub(super) fn unfit_char(c: char) -> Option<&'static str> {
    match c {
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Some("the name has a control character"),
        '\u{2028}' | '\u{2029}' => Some("the name has a Unicode line end"),
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some("the name has a control for text direction")
        }
        '\u{feff}' => Some("the name has a byte order mark"),
        _ => None,
    }
}

/// What each kind of text is judged by; `Some` is the rule it breaks.
pub(super) struct Rules<'a> {
    /// Names of users and groups.
    pub(super) name: &'a dyn Fn(&str) -> Option<String>,
    /// Attributes that identify: user name, e-mail, external id.
    pub(super) key: &'a dyn Fn(&str) -> Option<String>,
    /// Attributes for people's eyes: the display name.
    pub(super) label: &'a dyn Fn(&str) -> Option<String>,
}

/// The view without users and groups whose name no format may carry; borrowed where all are fit.
pub(super) fn without_unfit_names(view: &View) -> (Cow<'_, View>, Vec<LeftOut>) {
    let rules = Rules { name: &|name| unfit(name).map(str::to_owned), key: &|_| None, label: &|_| None };
    without(view, &rules)
}

/// The view without users and groups that break a rule; they vanish from every list.
pub(super) fn without<'a>(view: &'a View, rules: &Rules<'_>) -> (Cow<'a, View>, Vec<LeftOut>) {
    let group = |group: &ViewGroup| {
        let key = group.external_id.as_ref();
        let name = (rules.name)(&group.name).map(|why| (group.name.clone(), why));
        name.or_else(|| key.and_then(|text| (rules.key)(text).map(|why| (text.clone(), why))))
    };
    without_if(view, &Judges { user: &|user| broken_by_user(user, rules), group: &group, role: &|_| None })
}

/// The view less everybody whose own name, as `render` would write it, `refuse` does not let pass. `render` gets the
/// kind of thing and its name. For formats in which users, groups and roles are named by one rule.
pub(super) fn without_refused<'a>(
    view: &'a View,
    refuse: &dyn Fn(Kind, &str) -> Option<Refused>,
) -> (Cow<'a, View>, Vec<LeftOut>) {
    let judge = |kind: Kind, name: &str| refuse(kind, name).map(|why| (name.to_owned(), why.to_owned()));
    let judges = Judges {
        user: &|user| judge(Kind::User, &user.name),
        group: &|group| judge(Kind::Group, &group.name),
        role: &|role| judge(Kind::Role, role.as_str()),
    };
    without_if(view, &judges)
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A role.
    Role,
}

/// The text at fault and the rule it breaks.
type Fault = Option<(String, String)>;

/// Who says whether one can be carried.
struct Judges<'a> {
    user: &'a dyn Fn(&ViewUser) -> Fault,
    group: &'a dyn Fn(&ViewGroup) -> Fault,
    role: &'a dyn Fn(&RoleName) -> Fault,
}

/// The view without what the judges refuse.
fn without_if<'a>(view: &'a View, judges: &Judges<'_>) -> (Cow<'a, View>, Vec<LeftOut>) {
    let mut left_out = Vec::new();
    let mut gone = Gone::default();
    for user in &view.users {
        if let Some((text, why)) = (judges.user)(user) {
            gone.users.insert(user.name.as_str());
            left_out.push(LeftOut { what: Carried::User(user.subject()), text, why });
        }
    }
    for group in &view.groups {
        if let Some((text, why)) = (judges.group)(group) {
            gone.groups.insert(group.name.as_str());
            let what = Carried::Group(group.directory.clone(), group.id);
            left_out.push(LeftOut { what, text, why });
        }
    }
    for role in &view.roles {
        if let Some((text, why)) = (judges.role)(&role.name) {
            gone.roles.insert(role.name.as_str());
            left_out.push(LeftOut { what: Carried::Role(role.name.clone()), text, why });
        }
    }
    if left_out.is_empty() {
        return (Cow::Borrowed(view), left_out);
    }
    (Cow::Owned(less(view, &gone)), left_out)
}

fn broken_by_user(user: &ViewUser, rules: &Rules<'_>) -> Fault {
    let keys = [Some(&user.user_name), user.email.as_ref(), user.external_id.as_ref()];
    let fault = (rules.name)(&user.name)
        .map(|why| (&user.name, why))
        .or_else(|| keys.into_iter().flatten().find_map(|text| (rules.key)(text).map(|why| (text, why))))
        .or_else(|| user.display_name.as_ref().and_then(|text| (rules.label)(text).map(|why| (text, why))));
    fault.map(|(text, why)| (text.clone(), why))
}

/// Names that vanish.
#[derive(Default)]
struct Gone<'a> {
    users: BTreeSet<&'a str>,
    groups: BTreeSet<&'a str>,
    roles: BTreeSet<&'a str>,
}

fn less(view: &View, gone: &Gone<'_>) -> View {
    let keep = |names: &[String], gone: &BTreeSet<&str>| -> Vec<String> {
        names.iter().filter(|name| !gone.contains(name.as_str())).cloned().collect()
    };
    View {
        users: view
            .users
            .iter()
            .filter(|user| !gone.users.contains(user.name.as_str()))
            .map(|user| ViewUser {
                groups: keep(&user.groups, &gone.groups),
                roles: keep(&user.roles, &gone.roles),
                ..user.clone()
            })
            .collect(),
        groups: view
            .groups
            .iter()
            .filter(|group| !gone.groups.contains(group.name.as_str()))
            .map(|group| ViewGroup {
                members: keep(&group.members, &gone.users),
                groups: keep(&group.groups, &gone.groups),
                all_members: keep(&group.all_members, &gone.users),
                ..group.clone()
            })
            .collect(),
        roles: view
            .roles
            .iter()
            .filter(|role| !gone.roles.contains(role.name.as_str()))
            .map(|role| ViewRole { members: keep(&role.members, &gone.users), ..role.clone() })
            .collect(),
    }
}

/// The same people under what stands before the `@`, as with `subject = "userName.local"`.
pub(super) fn with_local_names(view: &View) -> View {
    let local = |name: &String| name.split_once('@').map_or(name.as_str(), |(local, _)| local).to_owned();
    let all = |names: &[String]| names.iter().map(local).collect();
    View {
        users: view.users.iter().map(|user| ViewUser { name: local(&user.name), ..user.clone() }).collect(),
        groups: view
            .groups
            .iter()
            .map(|group| ViewGroup {
                members: all(&group.members),
                all_members: all(&group.all_members),
                ..group.clone()
            })
            .collect(),
        roles: view
            .roles
            .iter()
            .map(|role| ViewRole { members: all(&role.members), ..role.clone() })
            .collect(),
    }
}

/// One person, who holds all of `roles`.
pub(super) fn only_one(name: &str, roles: &BTreeSet<String>) -> View {
    let mut view = example_view();
    view.groups.clear();
    let roles: Vec<RoleName> = roles.iter().filter_map(|role| RoleName::parse(role).ok()).collect();
    let held: Vec<String> = roles.iter().map(ToString::to_string).collect();
    view.users.truncate(1);
    for user in &mut view.users {
        name.clone_into(&mut user.name);
        (user.groups, user.roles) = (Vec::new(), held.clone());
    }
    let members = vec![name.to_owned()];
    view.roles = roles.into_iter().map(|role| ViewRole { name: role, members: members.clone() }).collect();
    view
}

/// The data set of the documentation: alice in engineering, bob in engineering through sre, sre holds role admin.
pub fn example_view() -> View {
    let Ok(directory) = DirectoryId::parse("acme-okta") else { return View::default() };
    let Ok(admin) = RoleName::parse("admin") else { return View::default() };
    let user = |n: u8, name: &str, shown: &str, groups: &[&str], roles: &[&str]| ViewUser {
        name: name.into(),
        id: ResourceId::new(1_700_000_000_000, &[n; 10]),
        directory: directory.clone(),
        user_name: name.into(),
        display_name: Some(shown.into()),
        email: Some(name.into()),
        external_id: None,
        active: true,
        groups: groups.iter().map(|&group| group.into()).collect(),
        roles: roles.iter().map(|&role| role.into()).collect(),
        attributes: None,
    };
    let group = |n: u8, name: &str, members: &[&str], groups: &[&str], all: &[&str]| ViewGroup {
        name: name.into(),
        id: ResourceId::new(1_700_000_000_000, &[n; 10]),
        directory: directory.clone(),
        external_id: None,
        members: members.iter().map(|&member| member.into()).collect(),
        groups: groups.iter().map(|&group| group.into()).collect(),
        all_members: all.iter().map(|&member| member.into()).collect(),
    };
    let (alice, bob) = ("alice@example.com", "bob@example.com");
    View {
        users: vec![
            user(1, alice, "Alice Example", &["engineering"], &[]),
            user(2, bob, "Bob Example", &["engineering", "sre"], &["admin"]),
        ],
        groups: vec![
            group(3, "engineering", &[alice], &["sre"], &[alice, bob]),
            group(4, "sre", &[bob], &[], &[bob]),
        ],
        roles: vec![ViewRole { name: admin, members: vec![bob.into()] }],
    }
}
