//! `access` on small directories, and its independence from the order of its input.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::access::{Doc, GroupFacts, OnRename};

pub(in crate::access) fn id(n: u8) -> ResourceId {
    ResourceId::new(u64::from(n), &[n; 10])
}

pub(in crate::access) fn user(n: u8, name: &str) -> UserFacts {
    let doc = Doc::from_iter([("userName".to_owned(), name.into())]);
    UserFacts {
        id: id(n),
        active: true,
        user_name: name.into(),
        doc: Arc::new(doc),
        created: Timestamp(0),
        last_modified: Timestamp(0),
    }
}

pub(in crate::access) fn group(n: u8, name: &str, users: &[u8], groups: &[u8]) -> GroupFacts {
    GroupFacts {
        id: id(n),
        display_name: name.into(),
        external_id: Some(format!("ext-{n}")),
        users: users.iter().copied().map(id).collect(),
        groups: groups.iter().copied().map(id).collect(),
    }
}

pub(in crate::access) fn directory(
    name: &str,
    users: Vec<UserFacts>,
    groups: Vec<GroupFacts>,
) -> DirectoryFacts {
    DirectoryFacts {
        id: DirectoryId::parse(name).unwrap(),
        enabled: true,
        pushed: true,
        claims: Vec::new(),
        users,
        groups,
    }
}

pub(in crate::access) fn facts(directories: Vec<DirectoryFacts>) -> Facts {
    Facts { seq: Seq(7), directories, ..Facts::default() }
}

pub(in crate::access) fn role(name: &str, groups: &[&str]) -> Role {
    Role {
        name: RoleName::parse(name).unwrap(),
        groups: groups.iter().map(|rule| rule.parse().unwrap()).collect(),
        users: None,
        directories: None,
        protected: false,
        on_rename: OnRename::Follow,
    }
}

pub(in crate::access) fn subject(directory: &str, n: u8) -> Subject {
    Subject { directory: DirectoryId::parse(directory).unwrap(), user: id(n) }
}

fn as_role(name: &str) -> Entitlement {
    Entitlement::Role(RoleName::parse(name).unwrap())
}

fn run(facts: &Facts, roles: &[Role]) -> Access {
    access(facts, roles, Timestamp(0))
}

#[test]
fn a_nested_member_holds_the_role_and_both_groups_with_their_paths() {
    let facts = facts(vec![directory(
        "acme",
        vec![user(1, "alice"), user(2, "bob")],
        vec![group(10, "engineering", &[1], &[11]), group(11, "sre", &[2], &[])],
    )]);
    let access = run(&facts, &[role("admin", &["engineering"])]);
    let bob = &access.held[&subject("acme", 2)];
    assert_eq!(bob.len(), 3);
    assert_eq!(bob[&as_role("admin")], vec![Reason::Group { path: [id(10), id(11)].into() }]);
    assert!(access.problems.is_empty());
    assert_eq!(access.seq, Seq(7));
}

#[test]
fn inactive_users_hold_nothing() {
    let mut gone = user(1, "alice");
    gone.active = false;
    let facts = facts(vec![directory("acme", vec![gone], vec![group(10, "sre", &[1], &[])])]);
    let access = run(&facts, &[role("admin", &["sre"])]);
    assert!(access.held.is_empty());
    assert_eq!(access.left_out[&subject("acme", 1)], LeftOut::Inactive);
}

#[test]
fn a_display_name_must_be_exactly_one_group_in_each_directory() {
    let facts = facts(vec![
        directory("one", vec![user(1, "a")], vec![group(10, "Admins", &[1], &[])]),
        directory(
            "two",
            vec![user(2, "b")],
            vec![group(20, "Admins", &[2], &[]), group(21, "Admins", &[2], &[])],
        ),
        directory("three", vec![user(3, "c")], vec![group(30, "admins", &[3], &[])]),
    ]);
    let access = run(&facts, &[role("admin", &["Admins"])]);
    assert!(access.holds(&subject("one", 1), &as_role("admin")));
    assert!(!access.holds(&subject("two", 2), &as_role("admin")));
    assert!(!access.holds(&subject("three", 3), &as_role("admin")));
    assert!(
        matches!(&access.problems[0], Problem::UnknownGroup { directory: Some(d), .. } if d.as_str() == "three")
    );
    assert!(matches!(&access.problems[1], Problem::AmbiguousGroup { groups, .. } if groups.len() == 2));
}

#[test]
fn groups_are_named_by_id_and_external_id_too() {
    let facts = facts(vec![directory(
        "acme",
        vec![user(1, "a"), user(2, "b")],
        vec![group(10, "x", &[1], &[]), group(11, "x", &[2], &[])],
    )]);
    let access = run(
        &facts,
        &[
            role("i", &[&format!("id:{}", id(10))]),
            role("e", &["externalId:ext-11", "id:0198b1c5-6f4f-7d5e-8d4a-000000000000"]),
        ],
    );
    assert!(access.holds(&subject("acme", 1), &as_role("i")));
    assert!(access.holds(&subject("acme", 2), &as_role("e")));
    assert!(matches!(access.problems.as_slice(), [Problem::UnknownGroup { directory: None, .. }]));
}

#[test]
fn a_role_reaches_only_its_directories() {
    let facts = facts(vec![
        directory("one", vec![user(1, "a")], vec![group(10, "sre", &[1], &[])]),
        directory("two", vec![user(2, "b")], vec![group(20, "sre", &[2], &[])]),
    ]);
    let mut only = role("admin", &["sre"]);
    only.directories = Some(vec![DirectoryId::parse("two").unwrap(), DirectoryId::parse("nope").unwrap()]);
    let access = run(&facts, &[only]);
    assert!(!access.holds(&subject("one", 1), &as_role("admin")));
    assert!(access.holds(&subject("two", 2), &as_role("admin")));
    assert!(matches!(access.problems.as_slice(), [Problem::UnknownDirectory { .. }]));
}

#[test]
fn the_directory_that_stands_first_owns_a_name_also_while_inactive_until_released() {
    let mut first = user(1, "Alice@x");
    first.active = false;
    let mut facts = facts(vec![
        directory("one", vec![first], vec![]),
        directory("two", vec![user(2, "alice@X")], vec![group(20, "sre", &[2], &[])]),
    ]);
    let access = run(&facts, &[]);
    assert!(access.held.is_empty());
    assert_eq!(access.left_out[&subject("two", 2)], LeftOut::Owned(subject("one", 1)));
    assert!(matches!(access.problems.as_slice(), [Problem::Owned { .. }]));

    facts
        .released
        .insert(Release { directory: DirectoryId::parse("one").unwrap(), user_name_key: "alice@x".into() });
    let access = run(&facts, &[]);
    assert!(access.held.contains_key(&subject("two", 2)));
    assert_eq!(access.left_out[&subject("one", 1)], LeftOut::Owned(subject("two", 2)));
}

#[test]
fn names_outside_the_claims_are_left_out_and_do_not_own() {
    let mut claimed = directory("one", vec![user(1, "eve@other"), user(3, "Bob@Acme.example.com")], vec![]);
    claimed.claims = vec!["*@acme.example.com".into()];
    let facts =
        facts(vec![claimed, directory("two", vec![user(2, "eve@other")], vec![group(20, "g", &[2], &[])])]);
    let access = run(&facts, &[]);
    assert_eq!(access.left_out.len(), 1);
    assert_eq!(access.left_out[&subject("one", 1)], LeftOut::Unclaimed);
    assert!(access.held.contains_key(&subject("two", 2)));
}

#[test]
fn a_directory_nobody_pushed_to_is_unknown_and_no_problem() {
    let mut silent = directory("one", vec![], vec![]);
    silent.pushed = false;
    let access = run(&facts(vec![silent]), &[role("admin", &["sre", "externalId:7"])]);
    assert_eq!(access.unknown.len(), 1);
    assert!(access.problems.is_empty());
}

#[test]
fn stars_stand_for_any_run_of_characters() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*c", "ab", false),
        ("*@x", "a@x", true),
        ("*@x", "a@xx", false),
        ("a*b*c", "a1b2b3c", true),
        ("ab*ba", "aba", false),
        ("abc", "abc", true),
    ] {
        assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_the_order_of_its_input(
        edges in proptest::collection::vec((0u8..5, 0u8..5), 0..10),
        members in proptest::collection::vec((0u8..5, 0u8..6), 0..14),
        inactive in proptest::collection::vec(any::<bool>(), 6),
        seed in any::<u64>(),
    ) {
        let pick = |pairs: &[(u8, u8)], n: u8, base: u8| -> Vec<u8> {
            pairs.iter().filter(|(from, _)| *from == n).map(|(_, to)| base + *to).collect()
        };
        let build = |name: &str| {
            let users = (0..6u8).map(|n| {
                let mut user = user(100 + n, &format!("user{}", n % 5));
                user.active = !inactive[usize::from(n)];
                user
            });
            let groups =
                (0..5u8).map(|n| group(n, &format!("g{}", n % 4), &pick(&members, n, 100), &pick(&edges, n, 0)));
            directory(name, users.collect(), groups.collect())
        };
        let facts = facts(vec![build("one"), build("two")]);
        let roles = [role("a", &["g1", "g0"]), role("b", &["g3"])];
        let mut mixed = facts.clone();
        let turn = |len: usize| usize::try_from(seed % 97).unwrap() % len.max(1);
        for directory in &mut mixed.directories {
            let by = turn(directory.users.len());
            directory.users.rotate_left(by);
            let by = turn(directory.groups.len());
            directory.groups.rotate_left(by);
            directory.groups.reverse();
            for group in &mut directory.groups {
                group.users.reverse();
                group.groups.reverse();
            }
        }
        let (a, b) = (run(&facts, &roles), run(&mixed, &roles));
        prop_assert_eq!(&a.held, &b.held);
        prop_assert_eq!(&a.problems, &b.problems);
        for (subject, held) in &a.held {
            prop_assert!(!a.left_out.contains_key(subject));
            prop_assert!(held.values().all(|reasons| !reasons.is_empty()));
        }
    }
}

fn shut_of(directory: &str, n: u8, name: &str) -> crate::access::Shut {
    crate::access::Shut {
        subject: subject(directory, n),
        user_name_key: fold(name),
        reason: "stolen".into(),
        seq: Seq(5),
    }
}

fn grant_of(n: u64, who: Subject, until: i64, ended: Option<u64>) -> Grant {
    Grant {
        id: GrantId(n),
        subject: who,
        role: RoleName::parse("dba").unwrap(),
        until: Timestamp(until),
        reason: "incident".into(),
        ended: ended.map(Seq),
    }
}

#[test]
fn a_shut_name_stays_out_under_a_new_id_a_new_name_and_in_the_next_directory() {
    let roles = [role("crew", &["Crew"])];
    let build = |own: Vec<UserFacts>| {
        facts(vec![
            directory("one", own, vec![group(1, "Crew", &[10, 11], &[])]),
            directory("two", vec![user(20, "a@example.com")], vec![group(2, "Crew", &[20], &[])]),
        ])
    };
    // The same id under another name, the same name under another id, and nobody at all: the namesake gains nothing.
    for own in [vec![user(10, "renamed@example.com")], vec![user(11, "A@example.com")], vec![]] {
        let mut facts = build(own);
        facts.shut.insert(shut_of("one", 10, "a@example.com"));
        assert_eq!(run(&facts, &roles).held, BTreeMap::new());
        // Also when the whole directory is gone.
        facts.directories.remove(0);
        assert_eq!(run(&facts, &roles).held, BTreeMap::new());
        facts.shut.clear();
        assert!(run(&facts, &roles).holds(&subject("two", 20), &as_role("crew")));
    }
}

#[test]
fn a_grant_counts_until_its_moment_and_only_for_who_counts() {
    let mut roles = [role("dba", &[])];
    let mut facts = facts(vec![directory("one", vec![user(1, "a"), user(2, "b")], vec![])]);
    facts.grants = vec![
        grant_of(3, subject("one", 1), 100, None),
        grant_of(4, subject("one", 2), 200, Some(9)),
        grant_of(5, subject("one", 77), 300, None),
    ];
    let at = |facts: &Facts, roles: &[Role], now| access(facts, roles, Timestamp(now));
    let early = at(&facts, &roles, 99);
    assert_eq!(early.held[&subject("one", 1)][&as_role("dba")], [Reason::Grant { id: GrantId(3) }]);
    assert!(!early.held.contains_key(&subject("one", 2)), "it was ended");
    assert!(!early.held.contains_key(&subject("one", 77)), "no such user");
    assert_eq!(early.next_expiry, Some(Timestamp(100)));
    let late = at(&facts, &roles, 100);
    assert!(late.held.is_empty());
    assert_eq!(late.next_expiry, Some(Timestamp(300)));
    roles[0].directories = Some(vec![DirectoryId::parse("other").unwrap()]);
    assert!(at(&facts, &roles, 99).held.is_empty(), "beyond the role's directories");
}

proptest! {
    #[test]
    fn who_is_shut_inactive_or_unconfirmed_holds_nothing_and_an_ended_grant_gives_nothing(
        inactive in proptest::collection::vec(any::<bool>(), 6),
        shut in proptest::collection::btree_set(0u8..6, 0..4),
        unconfirmed in proptest::collection::btree_set(0u8..6, 0..4),
        grants in proptest::collection::vec((0u8..6, 0i64..20, any::<bool>()), 0..8),
        now in 0i64..20,
    ) {
        let users = (0..6u8).map(|n| UserFacts { active: !inactive[usize::from(n)], ..user(n, &format!("u{n}")) });
        let mut facts = facts(vec![directory("one", users.collect(), vec![group(9, "Crew", &[0, 1, 2], &[])])]);
        facts.shut = shut.iter().map(|n| shut_of("one", *n, &format!("u{n}"))).collect();
        facts.unconfirmed = unconfirmed.iter().map(|n| subject("one", *n)).collect();
        facts.grants = (1..).zip(&grants)
            .map(|(id, (n, until, ended))| grant_of(id, subject("one", *n), *until, ended.then_some(4)))
            .collect();
        let roles = [role("crew", &["Crew"]), role("dba", &[])];
        let found = access(&facts, &roles, Timestamp(now));
        for n in 0..6u8 {
            let who = subject("one", n);
            let out = inactive[usize::from(n)] || shut.contains(&n) || unconfirmed.contains(&n);
            prop_assert_eq!(found.holds(&who, &as_role("crew")), !out && n < 3);
            let granted = grants.iter().any(|(whom, until, ended)| *whom == n && !ended && now < *until);
            prop_assert_eq!(found.holds(&who, &as_role("dba")), !out && granted);
        }
        let next = grants.iter().filter(|(_, until, ended)| !ended && now < *until).map(|(_, until, _)| *until).min();
        prop_assert_eq!(found.next_expiry, next.map(Timestamp));
    }
}
