//! What a webhook says: changes and differences of access as events.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::access::Facts;
use crate::mirror::change::{Change, Kind};
use crate::mirror::target::Holding;
use crate::model::{DirectoryId, EventId, ResourceId, ResourceType, Seq, Timestamp};

/// Which events a webhook gets. Key `events`: names, or a prefix and `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter(Vec<String>);

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilterError {
    /// The pattern at fault.
    pub pattern: String,
}

impl fmt::Display for EventFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` matches no event; known: {}", self.pattern, KINDS.join(" "))
    }
}

impl std::error::Error for EventFilterError {}

/// Every event there is, sorted.
pub const KINDS: &[&str] = &[
    "access.granted",
    "access.revoked",
    "directory.added",
    "directory.disabled",
    "directory.enabled",
    "directory.removed",
    "directory.renamed",
    "group.created",
    "group.deleted",
    "group.group_added",
    "group.group_removed",
    "group.updated",
    "group.user_added",
    "group.user_removed",
    "user.created",
    "user.deactivated",
    "user.deleted",
    "user.reactivated",
    "user.updated",
];

impl EventFilter {
    /// The filter of these patterns: `*`, `user.*`, `access.granted`. Every pattern must match an event.
    ///
    /// # Errors
    /// The first pattern that matches none.
    pub fn parse(patterns: Vec<String>) -> Result<Self, EventFilterError> {
        for pattern in &patterns {
            if !KINDS.iter().any(|kind| is_match(pattern, kind)) {
                return Err(EventFilterError { pattern: pattern.clone() });
            }
        }
        Ok(Self(patterns))
    }

    /// Whether events of this kind are wanted.
    pub fn wants(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| is_match(pattern, kind))
    }

    /// Whether anything about access is wanted.
    pub fn wants_access(&self) -> bool {
        self.wants("access.granted") || self.wants("access.revoked")
    }
}

fn is_match(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && kind.starts_with(prefix),
        None => pattern == kind,
    }
}

/// What an event may name besides the change itself: names by id, as of the snapshot it is made from.
#[derive(Debug, Default)]
pub struct Names {
    users: BTreeMap<(DirectoryId, ResourceId), String>,
    groups: BTreeMap<(DirectoryId, ResourceId), String>,
}

impl Names {
    /// The names in `facts`.
    pub fn of(facts: &Facts) -> Self {
        let mut names = Self::default();
        for directory in &facts.directories {
            let key = |id: ResourceId| (directory.id.clone(), id);
            names.users.extend(directory.users.iter().map(|user| (key(user.id), user.user_name.clone())));
            names
                .groups
                .extend(directory.groups.iter().map(|group| (key(group.id), group.display_name.clone())));
        }
        names
    }
}

/// One event before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its type.
    pub kind: &'static str,
    /// The resource it is about.
    pub resource: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// The change it belongs to.
    pub seq: Seq,
    /// What it says, without its place in the order.
    pub data: Map<String, Value>,
}

/// Longest body; beyond it, values that changed are left out and `"thin": true` says so.
const BODY_BYTES_MAX: usize = 20_000;

impl Event {
    /// The body, with the event's place in the order and the one before it of this target, so that a gap shows.
    pub fn body(&self, id: EventId, previous: Option<EventId>) -> Vec<u8> {
        let full = self.render(id, previous, false);
        if full.len() <= BODY_BYTES_MAX { full } else { self.render(id, previous, true) }
    }

    fn render(&self, id: EventId, previous: Option<EventId>, is_thin: bool) -> Vec<u8> {
        let mut data = Map::new();
        data.insert("epoch".into(), id.epoch.0.into());
        data.insert("seq".into(), id.seq.0.into());
        data.insert("n".into(), id.n.into());
        let previous = previous.map_or(Value::Null, |id| json!([id.epoch.0, id.seq.0, id.n]));
        data.insert("previous".into(), previous);
        for (key, value) in &self.data {
            if !(is_thin && matches!(key.as_str(), "before" | "after")) {
                data.insert(key.clone(), value.clone());
            }
        }
        if is_thin {
            data.insert("thin".into(), true.into());
        }
        let body = json!({"type": self.kind, "timestamp": self.at.to_string(), "data": data});
        body.to_string().into_bytes()
    }
}

/// The events of one change, in order; those `filter` does not want are left out.
///
/// A deleted group or user says deleted: it does not look like everybody leaving.
pub fn of_change(change: &Change, names: &Names, filter: &EventFilter) -> Vec<Event> {
    let mut events = Vec::new();
    let kind = KINDS.iter().copied().find(|kind| *kind == change.kind.as_str());
    let data = |extra: Vec<(&str, Value)>| -> Map<String, Value> {
        let mut data = Map::new();
        let directory = change.directory.as_ref().map(ToString::to_string).or_else(|| change.object.clone());
        data.insert("directory".into(), directory.into());
        data.extend(extra.into_iter().map(|(key, value)| (key.to_owned(), value)));
        data
    };
    let mut push = |kind: &'static str, resource: Option<String>, data: Map<String, Value>| {
        if filter.wants(kind) {
            events.push(Event { kind, resource, at: change.at, seq: change.seq, data });
        }
    };
    let is_deletion = matches!(change.kind, Kind::UserDeleted | Kind::GroupDeleted);
    let only_members = change.kind == Kind::GroupUpdated && change.before.is_none() && change.after.is_none();
    if let Some(kind) = kind.filter(|_| !only_members) {
        let resource = change.resource.map(|id| id.to_string());
        let mut extra: Vec<(&str, Value)> = Vec::new();
        if let (Some(id), Some(directory)) = (change.resource, &change.directory) {
            let what = if kind.starts_with("user.") { "user" } else { "group" };
            extra.push((what, named(change, names, directory, id, what == "user")));
        }
        for (key, text) in [("before", &change.before), ("after", &change.after)] {
            if let Some(value) = text.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
                extra.push((key, value));
            }
        }
        push(kind, resource, data(extra));
    }
    if let Some(directory) = change.directory.as_ref().filter(|_| !is_deletion) {
        for member in &change.members {
            let is_user = member.member_type == ResourceType::User;
            let kind = match (is_user, member.added) {
                (true, true) => "group.user_added",
                (true, false) => "group.user_removed",
                (false, true) => "group.group_added",
                (false, false) => "group.group_removed",
            };
            let what = if is_user { "user" } else { "member" };
            let extra = vec![
                ("group", named(change, names, directory, member.group, false)),
                (what, named(change, names, directory, member.member, is_user)),
            ];
            push(kind, Some(member.group.to_string()), data(extra));
        }
    }
    events
}

/// A resource by id and name; the name from the change itself where it carries one.
fn named(change: &Change, names: &Names, directory: &DirectoryId, id: ResourceId, is_user: bool) -> Value {
    let (attribute, known) =
        if is_user { ("userName", &names.users) } else { ("displayName", &names.groups) };
    let own = || {
        let texts =
            if change.resource == Some(id) { [&change.after, &change.before] } else { [&None, &None] };
        texts.into_iter().flatten().find_map(|text| {
            let doc: Value = serde_json::from_str(text).ok()?;
            doc.get(attribute)?.as_str().map(str::to_owned)
        })
    };
    let name = known.get(&(directory.clone(), id)).cloned().or_else(own);
    json!({"id": id, attribute: name})
}

/// `access.granted` or `access.revoked` for one entitlement.
pub fn of_access(holding: &Holding, label: &str, why: &str, granted: bool, seq: Seq, at: Timestamp) -> Event {
    let mut data = Map::new();
    data.insert("directory".into(), holding.subject.directory.to_string().into());
    data.insert("subject".into(), json!({"id": holding.subject.user, "name": holding.name}));
    data.insert("entitlement".into(), holding.entitlement.to_string().into());
    data.insert("label".into(), label.into());
    data.insert("why".into(), why.into());
    let kind = if granted { "access.granted" } else { "access.revoked" };
    Event { kind, resource: Some(holding.subject.user.to_string()), at, seq, data }
}

/// Whether this change may take access away; unknown kinds and whatever a filter could look at count as such.
pub fn takes_away(change: &Change, any_filter: bool) -> bool {
    match change.kind {
        Kind::UserReactivated => any_filter,
        // A new userName may fall outside the claims or to another owner.
        Kind::UserUpdated => any_filter || change.after.as_ref().is_none_or(|text| text.contains("userName")),
        Kind::GroupUpdated => change.before.is_some() || change.members.iter().any(|member| !member.added),
        Kind::UserCreated
        | Kind::GroupCreated
        | Kind::DirectoryAdded
        | Kind::DirectoryRenamed
        | Kind::DirectoryEnabled
        | Kind::DirectoryDisabled
        | Kind::TokenCreated
        | Kind::TokenRevoked
        | Kind::GuardHeld
        | Kind::GuardRejected
        | Kind::SubjectOpened
        | Kind::GrantCreated
        | Kind::RebaselineOpened
        | Kind::UserConfirmed => false,
        _ => true,
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
