//! Users, groups and memberships at one `seq`, moved along the log in either direction. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::mirror::change::{Change, Kind};
use crate::mirror::resource::is_active;
use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim::resource::Doc;

/// One user or group.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mirror) struct Item {
    /// The chain of its directory.
    pub(in crate::mirror) chain: i64,
    pub(in crate::mirror) kind: ResourceType,
    /// A group always is.
    pub(in crate::mirror) active: bool,
    pub(in crate::mirror) created: Timestamp,
    pub(in crate::mirror) modified: Timestamp,
    /// `None`: its values were erased.
    pub(in crate::mirror) doc: Option<Doc>,
}

/// Everything that identity providers said, at one `seq`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) items: HashMap<ResourceId, Item>,
    /// Direct members by group; an empty set is not kept.
    pub(super) members: HashMap<ResourceId, HashSet<ResourceId>>,
    /// Resources whose times have to be looked up, after going backwards.
    pub(super) untimed: HashSet<ResourceId>,
    /// Users whose `active` has to be looked up, for the same reason.
    pub(super) uncertain: HashSet<ResourceId>,
}

/// The object of a stored text; an empty one if there is none.
pub(in crate::mirror) fn part(text: Option<&str>) -> Doc {
    match text.map(serde_json::from_str::<Value>) {
        Some(Ok(Value::Object(part))) => part,
        _ => Doc::new(),
    }
}

/// Takes `doc` over a change: what it took away goes, what it brought comes.
pub(in crate::mirror) fn amend(doc: &mut Doc, gone: Option<&str>, come: Option<&str>) {
    for (name, _) in part(gone) {
        doc.shift_remove(&name);
    }
    doc.extend(part(come));
}

/// What kind of resource a change is about.
pub(in crate::mirror) fn resource_type(kind: &Kind) -> ResourceType {
    match kind {
        Kind::GroupCreated | Kind::GroupUpdated | Kind::GroupDeleted => ResourceType::Group,
        _ => ResourceType::User,
    }
}

impl State {
    /// Moves over `change` as it happened.
    pub(super) fn apply(&mut self, chain: i64, change: &Change) {
        if change.kind == Kind::DirectoryRemoved {
            self.drop_chain(chain);
        }
        let Some(id) = change.resource else { return };
        for member in &change.members {
            self.join(member.group, member.member, member.added);
        }
        match change.kind {
            Kind::UserDeleted | Kind::GroupDeleted => {
                self.items.remove(&id);
            }
            Kind::UserCreated | Kind::GroupCreated => {
                let kind = resource_type(&change.kind);
                let doc = (!change.erased).then(|| part(change.after.as_deref()));
                let active = kind == ResourceType::Group || doc.as_ref().is_none_or(is_active);
                let item = Item { chain, kind, active, created: change.at, modified: change.at, doc };
                self.items.insert(id, item);
            }
            _ => {
                let Some(item) = self.items.get_mut(&id) else { return };
                item.modified = change.at;
                if change.erased {
                    item.doc = None;
                }
                if let Some(doc) = &mut item.doc {
                    amend(doc, change.before.as_deref(), change.after.as_deref());
                }
                item.active = match change.kind {
                    Kind::UserDeactivated => false,
                    Kind::UserReactivated => true,
                    _ => item.active,
                };
            }
        }
    }

    /// Moves back over `change`. The removal of a directory cannot be moved back over: the log does not repeat what
    /// it held.
    pub(super) fn undo(&mut self, chain: i64, change: &Change) {
        let Some(id) = change.resource else { return };
        for member in &change.members {
            self.join(member.group, member.member, !member.added);
        }
        match change.kind {
            Kind::UserCreated | Kind::GroupCreated => {
                self.items.remove(&id);
            }
            Kind::UserDeleted | Kind::GroupDeleted => {
                let kind = resource_type(&change.kind);
                let doc = (!change.erased).then(|| part(change.before.as_deref()));
                if doc.is_none() && kind == ResourceType::User {
                    self.uncertain.insert(id);
                }
                let active = kind == ResourceType::Group || doc.as_ref().is_some_and(is_active);
                let (created, modified) = (Timestamp(0), Timestamp(0));
                self.items.insert(id, Item { chain, kind, active, created, modified, doc });
                self.untimed.insert(id);
            }
            _ => {
                let Some(item) = self.items.get_mut(&id) else { return };
                self.untimed.insert(id);
                if let Some(doc) = &mut item.doc {
                    amend(doc, change.after.as_deref(), change.before.as_deref());
                }
                item.active = match change.kind {
                    Kind::UserDeactivated => true,
                    Kind::UserReactivated => false,
                    _ => item.active,
                };
            }
        }
    }

    fn join(&mut self, group: ResourceId, member: ResourceId, added: bool) {
        if added {
            self.members.entry(group).or_default().insert(member);
        } else if let Some(members) = self.members.get_mut(&group) {
            members.remove(&member);
            if members.is_empty() {
                self.members.remove(&group);
            }
        }
    }

    fn drop_chain(&mut self, chain: i64) {
        self.items.retain(|_, item| item.chain != chain);
        let items = &self.items;
        self.members.retain(|group, _| items.contains_key(group));
    }
}
