//! What a target shows, on small directories.

use super::*;
use crate::access::compute::tests::{directory, facts, group, id, role, subject, user};
use crate::model::Timestamp;

fn show(
    facts: &Facts,
    attribute: &str,
    exceptions: &[Exception],
    names: &BTreeMap<Subject, String>,
) -> (View, Vec<Problem>) {
    let access = crate::access::access(facts, &[role("admin", &["sre"])], Timestamp(0));
    let attribute = attribute.parse().unwrap();
    let map = BTreeMap::new();
    let input =
        ViewInput { attribute: &attribute, attributes: &[], exceptions, names, map: &map, fold: None };
    view(facts, &access, input)
}

fn world() -> Facts {
    facts(vec![directory(
        "acme",
        vec![user(1, "alice@example.com"), user(2, "bob@example.com")],
        vec![group(10, "engineering", &[1], &[11]), group(11, "sre", &[2], &[10])],
    )])
}

fn names(of: &[ViewUser]) -> Vec<&str> {
    of.iter().map(|user| user.name.as_str()).collect()
}

#[test]
fn the_view_is_sorted_flattened_and_whole() {
    let (view, problems) = show(&world(), "userName.local", &[], &BTreeMap::new());
    assert!(problems.is_empty());
    assert_eq!(names(&view.users), ["alice", "bob"]);
    assert_eq!(view.users[1].groups, ["engineering", "sre"]);
    assert_eq!(view.users[1].roles, ["admin"]);
    assert_eq!(view.groups[0].name, "engineering");
    assert_eq!(view.groups[0].members, ["alice"]);
    assert_eq!(view.groups[0].groups, ["sre"]);
    assert_eq!(view.groups[0].all_members, ["alice", "bob"]);
    assert_eq!(view.roles[0].members, ["alice", "bob"]);
}

#[test]
fn a_role_nobody_holds_is_still_shown() {
    let (view, _) = show(&facts(vec![directory("acme", vec![], vec![])]), "userName", &[], &BTreeMap::new());
    assert_eq!(view.roles, vec![ViewRole { name: RoleName::parse("admin").unwrap(), members: vec![] }]);
}

#[test]
fn a_user_without_a_carriable_name_is_left_out_and_reported() {
    let facts = facts(vec![directory("acme", vec![user(1, "bob\r"), user(2, "ok")], vec![])]);
    let (view, problems) = show(&facts, "userName", &[], &BTreeMap::new());
    assert_eq!(names(&view.users), ["ok"]);
    assert_eq!(problems, vec![Problem::BadName { subject: subject("acme", 1), group: false }]);
    let (view, problems) = show(&facts, "email", &[], &BTreeMap::new());
    assert!(view.users.is_empty());
    assert_eq!(problems.len(), 2);
}

#[test]
fn in_a_collision_the_earlier_holder_keeps_the_name() {
    let facts = facts(vec![directory("acme", vec![user(1, "ann@a"), user(2, "ann@b")], vec![])]);
    let (view, problems) = show(&facts, "userName.local", &[], &BTreeMap::new());
    assert_eq!((view.users.len(), view.users[0].id), (1, id(1)));
    assert_eq!(problems.len(), 1);
    let held = BTreeMap::from([(subject("acme", 2), "ann".to_owned())]);
    let (view, problems) = show(&facts, "userName.local", &[], &held);
    assert_eq!(view.users[0].id, id(2));
    assert!(matches!(&problems[0], Problem::Collision { subject: s, .. } if s.user == id(1)));
}

#[test]
fn groups_of_equal_name_are_shown_once() {
    let facts = facts(vec![
        directory("one", vec![user(1, "a")], vec![group(10, "sre", &[1], &[])]),
        directory("two", vec![user(2, "b")], vec![group(20, "sre", &[2], &[])]),
    ]);
    let (view, problems) = show(&facts, "userName", &[], &BTreeMap::new());
    assert_eq!(view.groups.len(), 1);
    assert_eq!(view.groups[0].all_members, ["a"]);
    assert!(matches!(problems.as_slice(), [Problem::Collision { group: true, .. }]));
}

#[test]
fn an_exception_keeps_what_a_deleted_user_held_and_nothing_more() {
    let kept = |entitlement, group_name: Option<&str>| Exception {
        subject: subject("acme", 9),
        entitlement,
        name: "zoe".into(),
        group_name: group_name.map(str::to_owned),
        attributes: Doc::from_iter([("displayName".to_owned(), "Zoe".into())]),
        since: Seq(3),
        verdict: Verdict::Held,
        batch: 0,
    };
    let acme = DirectoryId::parse("acme").unwrap();
    let exceptions = [
        kept(Entitlement::Role(RoleName::parse("admin").unwrap()), None),
        kept(Entitlement::Group(acme.clone(), id(11)), Some("sre")),
        kept(Entitlement::Group(acme, id(77)), Some("gone")),
    ];
    let (view, problems) = show(&world(), "userName.local", &exceptions, &BTreeMap::new());
    assert!(problems.is_empty());
    let zoe = view.users.iter().find(|user| user.name == "zoe").unwrap();
    assert_eq!(
        (zoe.groups.clone(), zoe.roles.clone()),
        (vec!["gone".into(), "sre".into()], vec!["admin".into()])
    );
    assert_eq!(zoe.display_name.as_deref(), Some("Zoe"));
    assert_eq!(view.groups.iter().find(|group| group.name == "gone").unwrap().members, ["zoe"]);
    assert_eq!(view.groups.iter().find(|group| group.name == "sre").unwrap().members, ["bob", "zoe"]);
}

#[test]
fn same_access_gives_the_same_view() {
    let mut mixed = world();
    for directory in &mut mixed.directories {
        directory.users.reverse();
        directory.groups.reverse();
    }
    let none = BTreeMap::new();
    assert_eq!(show(&world(), "id", &[], &none), show(&mixed, "id", &[], &none));
}
