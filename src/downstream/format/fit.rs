//! Which names no format may carry, and the view without them (shared by every format).

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::access::{View, ViewGroup, ViewRole, ViewUser};
use crate::model::{DirectoryId, ResourceId, RoleName};

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

/// The view without users and groups whose name no format may carry; borrowed where all are fit.
pub(super) fn without_unfit_names(view: &View) -> (Cow<'_, View>, Vec<LeftOut>) {
    without(view, &|name| unfit(name).map(str::to_owned), &|_| None)
}

/// The view without users and groups whose name `name_rule` refuses, and users one of whose other attributes
/// `attribute_rule` refuses. They vanish from every list.
pub(super) fn without<'a>(
    view: &'a View,
    name_rule: &dyn Fn(&str) -> Option<String>,
    attribute_rule: &dyn Fn(&str) -> Option<String>,
) -> (Cow<'a, View>, Vec<LeftOut>) {
    let mut left_out = Vec::new();
    let mut users = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for user in &view.users {
        let attributes = [
            Some(&user.user_name),
            user.display_name.as_ref(),
            user.email.as_ref(),
            user.external_id.as_ref(),
        ];
        let refused = name_rule(&user.name).map(|why| (&user.name, why)).or_else(|| {
            attributes.into_iter().flatten().find_map(|text| attribute_rule(text).map(|why| (text, why)))
        });
        if let Some((text, why)) = refused {
            users.insert(user.name.as_str());
            left_out.push(LeftOut { what: Carried::User(user.subject()), text: text.clone(), why });
        }
    }
    for group in &view.groups {
        let refused = name_rule(&group.name).map(|why| (&group.name, why)).or_else(|| {
            group.external_id.as_ref().and_then(|text| attribute_rule(text).map(|why| (text, why)))
        });
        if let Some((text, why)) = refused {
            groups.insert(group.name.as_str());
            let what = Carried::Group(group.directory.clone(), group.id);
            left_out.push(LeftOut { what, text: text.clone(), why });
        }
    }
    if left_out.is_empty() {
        return (Cow::Borrowed(view), left_out);
    }
    (Cow::Owned(less(view, &users, &groups)), left_out)
}

fn less(view: &View, users: &BTreeSet<&str>, groups: &BTreeSet<&str>) -> View {
    let keep = |names: &[String], gone: &BTreeSet<&str>| -> Vec<String> {
        names.iter().filter(|name| !gone.contains(name.as_str())).cloned().collect()
    };
    View {
        users: view
            .users
            .iter()
            .filter(|user| !users.contains(user.name.as_str()))
            .map(|user| ViewUser { groups: keep(&user.groups, groups), ..user.clone() })
            .collect(),
        groups: view
            .groups
            .iter()
            .filter(|group| !groups.contains(group.name.as_str()))
            .map(|group| ViewGroup {
                members: keep(&group.members, users),
                groups: keep(&group.groups, groups),
                all_members: keep(&group.all_members, users),
                ..group.clone()
            })
            .collect(),
        roles: view
            .roles
            .iter()
            .map(|role| ViewRole { members: keep(&role.members, users), ..role.clone() })
            .collect(),
    }
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
