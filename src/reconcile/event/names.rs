//! What an event may say besides the change itself: users and groups by id, as of the snapshot it is made from.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::access::{Facts, GroupFacts, UserFacts};
use crate::model::ResourceId;

/// Users and groups by id. Indexed when first asked, so that a run without events costs nothing.
#[derive(Default)]
pub struct Names<'a> {
    facts: Option<&'a Facts>,
    users: OnceCell<HashMap<ResourceId, &'a UserFacts>>,
    groups: OnceCell<HashMap<ResourceId, &'a GroupFacts>>,
    memberships: OnceCell<HashMap<ResourceId, Vec<String>>>,
}

impl<'a> Names<'a> {
    /// The names in `facts`.
    pub fn of(facts: &'a Facts) -> Self {
        Self { facts: Some(facts), ..Self::default() }
    }

    /// The user, if it is still there.
    pub fn user(&self, id: ResourceId) -> Option<&'a UserFacts> {
        let users = self.users.get_or_init(|| {
            let all = self.facts.into_iter().flat_map(|facts| &facts.directories);
            all.flat_map(|directory| &directory.users).map(|user| (user.id, user)).collect()
        });
        users.get(&id).copied()
    }

    /// The group, if it is still there.
    pub fn group(&self, id: ResourceId) -> Option<&'a GroupFacts> {
        let groups = self.groups.get_or_init(|| {
            let all = self.facts.into_iter().flat_map(|facts| &facts.directories);
            all.flat_map(|directory| &directory.groups).map(|group| (group.id, group)).collect()
        });
        groups.get(&id).copied()
    }

    /// Ids of the groups that a user is in directly, for filters that ask.
    pub(super) fn groups_of(&self, user: ResourceId) -> &[String] {
        let memberships = self.memberships.get_or_init(|| {
            let mut found: HashMap<ResourceId, Vec<String>> = HashMap::new();
            let all = self.facts.into_iter().flat_map(|facts| &facts.directories);
            for group in all.flat_map(|directory| &directory.groups) {
                for member in &group.users {
                    found.entry(*member).or_default().push(group.id.to_string());
                }
            }
            found
        });
        memberships.get(&user).map_or(&[], Vec::as_slice)
    }
}
