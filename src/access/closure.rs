//! Nested groups flattened, with the path that leads to each member. An identity provider can send a cycle; it is
//! survived and named. No recursion, so that depth costs memory and never the stack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::ResourceId;

use super::GroupFacts;

/// A group's way down to the group that has a user as direct member; both ends included.
pub(super) type GroupPath = Arc<[ResourceId]>;

/// One directory's groups, flattened.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// For each group, every group it reaches (itself first) with the shortest path there, nearest first.
    pub(super) reached: BTreeMap<ResourceId, Vec<(ResourceId, GroupPath)>>,
    /// Direct members of each group, sorted, each once.
    pub(super) users: BTreeMap<ResourceId, BTreeSet<ResourceId>>,
    /// Groups that contain each other: each strongly connected set once, sorted.
    pub(super) cycles: Vec<Vec<ResourceId>>,
}

impl Closure {
    /// Flattens `groups`. The result does not depend on the order of groups or members: children are walked in the
    /// order of their ids, so of several shortest paths the smallest is kept.
    pub(super) fn of(groups: &[GroupFacts]) -> Self {
        let mut children: BTreeMap<ResourceId, BTreeSet<ResourceId>> =
            groups.iter().map(|group| (group.id, BTreeSet::new())).collect();
        let mut users: BTreeMap<ResourceId, BTreeSet<ResourceId>> = BTreeMap::new();
        let known: BTreeSet<ResourceId> = children.keys().copied().collect();
        for group in groups {
            users.entry(group.id).or_default().extend(group.users.iter().copied());
            if let Some(own) = children.get_mut(&group.id) {
                own.extend(group.groups.iter().copied().filter(|id| known.contains(id)));
            }
        }
        let mut reached = BTreeMap::new();
        let mut cyclic = BTreeSet::new();
        for &group in &known {
            let (paths, is_cyclic) = walk(group, &children);
            reached.insert(group, paths);
            if is_cyclic {
                cyclic.insert(group);
            }
        }
        let cycles = cycles(&cyclic, &reached);
        Self { reached, users, cycles }
    }

    /// Every user in `group`, directly or through nesting, with the shortest path to it.
    pub(super) fn members(&self, group: ResourceId) -> BTreeMap<ResourceId, &GroupPath> {
        let mut members = BTreeMap::new();
        for (reached, path) in self.reached.get(&group).into_iter().flatten() {
            for user in self.users.get(reached).into_iter().flatten() {
                members.entry(*user).or_insert(path);
            }
        }
        members
    }
}

/// Breadth first from `start`; says also whether `start` was met again.
fn walk(
    start: ResourceId,
    children: &BTreeMap<ResourceId, BTreeSet<ResourceId>>,
) -> (Vec<(ResourceId, GroupPath)>, bool) {
    let mut seen = BTreeSet::from([start]);
    let mut queue = VecDeque::from([(start, GroupPath::from([start]))]);
    let mut paths = Vec::new();
    let mut is_cyclic = false;
    while let Some((group, path)) = queue.pop_front() {
        for &child in children.get(&group).into_iter().flatten() {
            is_cyclic |= child == start;
            if seen.insert(child) {
                queue.push_back((child, path.iter().copied().chain([child]).collect()));
            }
        }
        paths.push((group, path));
    }
    (paths, is_cyclic)
}

/// The strongly connected sets among the groups that reach themselves.
fn cycles(
    cyclic: &BTreeSet<ResourceId>,
    reached: &BTreeMap<ResourceId, Vec<(ResourceId, GroupPath)>>,
) -> Vec<Vec<ResourceId>> {
    let below = |group: &ResourceId| -> BTreeSet<ResourceId> {
        reached.get(group).into_iter().flatten().map(|(id, _)| *id).collect()
    };
    let mut done = BTreeSet::new();
    let mut cycles = Vec::new();
    for group in cyclic {
        if done.contains(group) {
            continue;
        }
        let set: Vec<ResourceId> = below(group)
            .into_iter()
            .filter(|other| other == group || (cyclic.contains(other) && below(other).contains(group)))
            .collect();
        done.extend(set.iter().copied());
        cycles.push(set);
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> ResourceId {
        ResourceId::new(1_700_000_000_000, &[n; 10])
    }

    fn group(n: u8, users: &[u8], groups: &[u8]) -> GroupFacts {
        GroupFacts {
            id: id(n),
            display_name: format!("g{n}"),
            external_id: None,
            users: users.iter().copied().map(id).collect(),
            groups: groups.iter().copied().map(id).collect(),
        }
    }

    #[test]
    fn members_of_nested_groups_carry_the_shortest_path() {
        let closure = Closure::of(&[group(1, &[], &[2, 3]), group(2, &[], &[3]), group(3, &[100], &[])]);
        let members = closure.members(id(1));
        assert_eq!(members[&id(100)].to_vec(), vec![id(1), id(3)]);
        assert!(closure.cycles.is_empty());
    }

    #[test]
    fn a_cycle_is_survived_and_named_once() {
        let closure = Closure::of(&[
            group(1, &[100], &[2]),
            group(2, &[101], &[1, 3]),
            group(3, &[102], &[3, 9]),
            group(4, &[], &[1]),
        ]);
        assert_eq!(closure.cycles, vec![vec![id(1), id(2)], vec![id(3)]]);
        let in_one: Vec<_> = closure.members(id(1)).into_keys().collect();
        assert_eq!(in_one, vec![id(100), id(101), id(102)]);
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let at = |n: u32| ResourceId::new(u64::from(n), &[1; 10]);
        let groups: Vec<GroupFacts> = (0..400)
            .map(|n| GroupFacts {
                id: at(n),
                display_name: String::new(),
                external_id: None,
                users: if n == 399 { vec![id(7)] } else { vec![] },
                groups: vec![at(n + 1)],
            })
            .collect();
        assert_eq!(Closure::of(&groups).members(at(0))[&id(7)].len(), 400);
    }

    /// The slow reference: repeat one step of nesting until nothing is added.
    fn reference(groups: &[GroupFacts]) -> BTreeMap<ResourceId, BTreeSet<ResourceId>> {
        let mut all: BTreeMap<ResourceId, BTreeSet<ResourceId>> =
            groups.iter().map(|g| (g.id, g.users.iter().copied().collect())).collect();
        loop {
            let before = all.clone();
            for g in groups {
                for child in &g.groups {
                    let more = before.get(child).cloned().unwrap_or_default();
                    all.get_mut(&g.id).unwrap().extend(more);
                }
            }
            if all == before {
                return all;
            }
        }
    }

    proptest! {
        #[test]
        fn the_closure_equals_the_slow_reference(
            edges in proptest::collection::vec((0u8..8, 0u8..8), 0..24),
            members in proptest::collection::vec((0u8..8, 100u8..112), 0..24),
        ) {
            let pick = |pairs: &[(u8, u8)], n: u8| -> Vec<u8> {
                pairs.iter().filter(|(from, _)| *from == n).map(|(_, to)| *to).collect()
            };
            let groups: Vec<GroupFacts> =
                (0..8).map(|n| group(n, &pick(&members, n), &pick(&edges, n))).collect();
            let closure = Closure::of(&groups);
            for (group, expected) in reference(&groups) {
                let got: BTreeSet<ResourceId> = closure.members(group).into_keys().collect();
                prop_assert_eq!(got, expected);
                for (user, path) in closure.members(group) {
                    prop_assert_eq!(path[0], group);
                    prop_assert!(closure.users[path.last().unwrap()].contains(&user));
                    for pair in path.windows(2) {
                        prop_assert!(groups.iter().any(|g| g.id == pair[0] && g.groups.contains(&pair[1])));
                    }
                }
            }
        }
    }
}
