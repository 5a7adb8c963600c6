//! What happens to a role when its group is renamed, deleted, made anew, or loses its name to another.

use proptest::prelude::*;

use super::*;
use crate::access::compute::tests::{directory, facts, group, id, role, subject, user};
use crate::access::{Entitlement, access};
use crate::model::{RoleName, Timestamp};

fn crew(on_rename: OnRename) -> Role {
    Role { on_rename, ..role("crew", &["Crew"]) }
}

/// Alice is in group 10, Mallory in group 11.
fn company(groups: Vec<GroupFacts>) -> Facts {
    facts(vec![directory("acme", vec![user(1, "alice"), user(2, "mallory")], groups)])
}

/// What the mirror keeps of a run is what the next one starts from.
fn settle(facts: &mut Facts, role: &Role) -> Access {
    let found = access(facts, std::slice::from_ref(role), Timestamp(0));
    facts.bindings.clone_from(&found.bindings);
    found
}

fn holders(found: &Access) -> Vec<u8> {
    let crew = Entitlement::Role(RoleName::parse("crew").unwrap());
    (1..=2).filter(|n| found.holds(&subject("acme", *n), &crew)).collect()
}

fn words(found: &Access) -> String {
    found.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn bare(n: u8, name: &str, users: &[u8]) -> GroupFacts {
    GroupFacts { external_id: None, ..group(n, name, users, &[]) }
}

#[test]
fn a_rename_is_followed_or_let_go_and_told() {
    for (on_rename, expected) in [(OnRename::Follow, vec![1]), (OnRename::Release, vec![])] {
        let crew = crew(on_rename);
        let mut facts = company(vec![group(10, "Crew", &[1], &[])]);
        let first = settle(&mut facts, &crew);
        assert_eq!((holders(&first), words(&first)), (vec![1], String::new()));
        facts.directories[0].groups[0].display_name = "Team".into();
        let renamed = settle(&mut facts, &crew);
        assert_eq!(holders(&renamed), expected);
        assert!(words(&renamed).contains("Team") && words(&renamed).contains("id:"), "{}", words(&renamed));
        facts.directories[0].groups[0].display_name = "Crew".into();
        let back = settle(&mut facts, &crew);
        assert_eq!((holders(&back), words(&back)), (vec![1], String::new()), "its own name again");
    }
}

#[test]
fn a_new_group_that_takes_an_old_name_does_not_inherit() {
    for (on_rename, expected) in [(OnRename::Follow, vec![1]), (OnRename::Release, vec![])] {
        let crew = crew(on_rename);
        let mut facts = company(vec![group(10, "Crew", &[1], &[])]);
        settle(&mut facts, &crew);
        facts.directories[0].groups = vec![group(10, "Team", &[1], &[]), group(11, "Crew", &[2], &[])];
        let taken = settle(&mut facts, &crew);
        assert_eq!(holders(&taken), expected);
        assert!(words(&taken).contains("does not inherit"), "{}", words(&taken));
        // Nor when the first is gone.
        facts.directories[0].groups.remove(0);
        let gone = settle(&mut facts, &crew);
        assert_eq!(holders(&gone), Vec::<u8>::new());
        assert!(words(&gone).contains("does not inherit"), "{}", words(&gone));
    }
}

#[test]
fn the_same_external_id_is_the_same_group() {
    let crew = crew(OnRename::Follow);
    let mut facts = company(vec![group(10, "Crew", &[1], &[])]);
    settle(&mut facts, &crew);
    let anew = GroupFacts { external_id: Some("ext-10".into()), ..group(12, "Crew", &[1], &[]) };
    facts.directories[0].groups = vec![anew];
    assert_eq!(holders(&settle(&mut facts, &crew)), vec![1]);
    assert_eq!(facts.bindings.values().next().unwrap().group, id(12), "and bound to its new id");
    // Without one nobody can tell, so nobody gets it.
    let mut facts = company(vec![bare(10, "Crew", &[1])]);
    settle(&mut facts, &crew);
    facts.directories[0].groups = vec![bare(12, "Crew", &[1])];
    assert_eq!(holders(&settle(&mut facts, &crew)), Vec::<u8>::new());
}

#[test]
fn two_groups_of_the_name_still_give_nobody() {
    let crew = crew(OnRename::Follow);
    let mut facts = company(vec![group(10, "Crew", &[1], &[])]);
    settle(&mut facts, &crew);
    facts.directories[0].groups.push(group(11, "Crew", &[2], &[]));
    assert_eq!(holders(&settle(&mut facts, &crew)), Vec::<u8>::new());
    facts.directories[0].groups.remove(1);
    assert_eq!(holders(&settle(&mut facts, &crew)), vec![1]);
}

#[test]
fn a_binding_ends_when_the_rule_leaves_the_config() {
    let mut facts = company(vec![group(10, "Crew", &[1], &[])]);
    settle(&mut facts, &crew(OnRename::Follow));
    assert_eq!(facts.bindings.len(), 1);
    settle(&mut facts, &role("crew", &["Others"]));
    assert!(facts.bindings.is_empty());
    facts.directories[0].groups = vec![group(11, "Crew", &[2], &[])];
    assert_eq!(holders(&settle(&mut facts, &crew(OnRename::Follow))), vec![2], "a rule anew looks anew");
}

/// What an identity provider may do to its groups.
#[derive(Debug, Clone)]
enum Step {
    Rename(usize, bool),
    Delete(usize),
    Create(bool, Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..6, any::<bool>()).prop_map(|(at, crew)| Step::Rename(at, crew)),
        (0usize..6).prop_map(Step::Delete),
        (any::<bool>(), proptest::option::of(0u8..3))
            .prop_map(|(crew, external)| Step::Create(crew, external)),
    ]
}

proptest! {
    #[test]
    fn membership_of_a_group_that_was_never_bound_never_grants(
        steps in proptest::collection::vec(step(), 1..30),
        follow in any::<bool>(),
    ) {
        let crew = crew(if follow { OnRename::Follow } else { OnRename::Release });
        let mut facts = company(Vec::new());
        let mut bound: Option<Bound> = None;
        for (n, step) in (20u8..).zip(steps) {
            let groups = &mut facts.directories[0].groups;
            let name = |crew: bool| if crew { "Crew".to_owned() } else { format!("other {n}") };
            match step {
                Step::Rename(at, crew) => {
                    if let Some(group) = groups.get_mut(at) {
                        group.display_name = name(crew);
                    }
                }
                Step::Delete(at) => {
                    if at < groups.len() {
                        groups.remove(at);
                    }
                }
                Step::Create(crew, external) => {
                    let external_id = external.map(|n| format!("x{n}"));
                    groups.push(GroupFacts { external_id, ..group(n, &name(crew), &[1], &[]) });
                }
            }
            let groups = groups.clone();
            let found = settle(&mut facts, &crew);
            let given: Vec<ResourceId> =
                found.role_groups[&crew.name].iter().map(|(_, group)| *group).collect();
            prop_assert!(given.len() <= 1);
            // The reference: the first group that was alone in bearing the name, and who carries on its externalId.
            let called: Vec<&GroupFacts> = groups.iter().filter(|group| group.display_name == "Crew").collect();
            bound = match bound {
                None => match called.as_slice() {
                    [one] => Some(Bound { group: one.id, external_id: one.external_id.clone() }),
                    _ => None,
                },
                Some(old) => {
                    let heirs: Vec<&GroupFacts> = groups
                        .iter()
                        .filter(|group| group.external_id.is_some() && group.external_id == old.external_id)
                        .collect();
                    match (groups.iter().any(|group| group.id == old.group), heirs.as_slice()) {
                        (false, [heir]) => Some(Bound { group: heir.id, ..old }),
                        _ => Some(old),
                    }
                }
            };
            if let Some(group) = given.first() {
                prop_assert_eq!(Some(*group), bound.as_ref().map(|bound| bound.group));
                let name = &groups.iter().find(|one| one.id == *group).unwrap().display_name;
                prop_assert!(follow || name == "Crew");
            }
            let is_alive = |bound: &Bound| groups.iter().any(|group| group.id == bound.group);
            if follow && bound.as_ref().is_some_and(is_alive) && called.len() <= 1 {
                prop_assert_eq!(given.len(), 1, "who is still in the bound group keeps the role");
            }
        }
    }
}
