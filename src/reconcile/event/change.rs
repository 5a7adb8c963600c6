//! Changes as events.

use serde_json::{Map, Value, json};

use crate::mirror::change::{Change, Kind as ChangeKind, MemberChange};
use crate::model::{DirectoryId, ResourceId, ResourceType};

use super::kind::Kind;
use super::names::Names;
use super::{Event, Person, cut};

/// The events of one change, in order and numbered; of a kind that no event tells, none.
///
/// A deleted group or user says deleted: it does not look like everybody leaving.
pub fn of_change(change: &Change, names: &Names<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let is_deletion = matches!(change.kind, ChangeKind::UserDeleted | ChangeKind::GroupDeleted);
    let only_members = change.kind == ChangeKind::GroupUpdated
        && change.before.is_none()
        && change.after.is_none()
        && !change.erased;
    if let Some(kind) = change.kind.as_str().parse::<Kind>().ok().filter(|_| !only_members) {
        events.extend(one(change, kind, names));
    }
    if let Some(directory) = change.directory.as_ref().filter(|_| !is_deletion) {
        events.extend(change.members.iter().map(|row| membership(change, directory, row, names)));
    }
    for (n, event) in events.iter_mut().enumerate() {
        event.n = u32::try_from(n).ok();
    }
    events
}

/// The values of a change as attributes.
#[derive(Debug, Default)]
struct Values {
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
}

impl Values {
    fn of(change: &Change) -> Self {
        let parse = |text: &Option<String>| text.as_ref().and_then(|text| serde_json::from_str(text).ok());
        Self { before: parse(&change.before), after: parse(&change.after) }
    }

    /// The names of all that differs, sorted.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = [&self.before, &self.after]
            .into_iter()
            .flatten()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(CHANGED_MAX);
        names
    }

    /// An attribute as the change knows it, the newer one first.
    fn text(&self, name: &str) -> Option<&str> {
        [&self.after, &self.before].into_iter().flatten().find_map(|values| values.get(name)?.as_str())
    }
}

/// Names of attributes listed in `changed`.
const CHANGED_MAX: usize = 100;

/// People listed in `subjects`.
const SUBJECTS_MAX: usize = 100;

/// The event of the change itself.
fn one(change: &Change, kind: Kind, names: &Names<'_>) -> Option<Event> {
    let values = Values::of(change);
    match kind.family() {
        "user" | "group" => resource(change, kind, values, names),
        "directory" => Some(directory(change, kind, &values)),
        "grant" | "subject" => of_person(change, kind, values, names),
        "rebaseline" => of_directory(change, kind, values),
        _ => decision(change, kind, values),
    }
}

fn resource(change: &Change, kind: Kind, values: Values, names: &Names<'_>) -> Option<Event> {
    let (id, directory) = (change.resource?, change.directory.as_ref()?);
    let is_user = kind.family() == "user";
    let mut data = start(change, Some(directory.as_str()));
    if is_user {
        data.insert("user".into(), user(id, values.text("userName"), names));
    } else {
        data.insert("group".into(), group(id, values.text("displayName"), names));
    }
    add_values(&mut data, kind, &values);
    let person =
        Person { directory: directory.clone(), user: id, before: values.before, after: values.after };
    Some(Event { person: is_user.then_some(person), ..event(change, kind, Some(id.to_string()), data) })
}

/// `changed` where something can differ, and the values on the sides that the type has.
fn add_values(data: &mut Map<String, Value>, kind: Kind, values: &Values) {
    let has = |name: &str| kind.fields().iter().any(|field| field.name == name);
    if has("changed") {
        data.insert("changed".into(), values.names().into());
    }
    for (name, side) in [("before", &values.before), ("after", &values.after)] {
        if let (true, Some(side)) = (has(name), side) {
            data.insert(name.into(), Value::Object(side.clone()));
        }
    }
}

fn directory(change: &Change, kind: Kind, values: &Values) -> Event {
    let id =
        change.directory.as_ref().map(DirectoryId::as_str).or(change.object.as_deref()).unwrap_or_default();
    let mut data = start(change, Some(id));
    add_values(&mut data, kind, values);
    event(change, kind, Some(id.to_owned()), data)
}

/// A decision about a target or a finding about it: the fields of its type, from the change's detail.
fn decision(change: &Change, kind: Kind, mut values: Values) -> Option<Event> {
    let target = change.object.as_deref()?;
    let mut data = start(change, None);
    data.insert("target".into(), target.into());
    add_detail(&mut data, kind, values.after.take().unwrap_or_default());
    Some(event(change, kind, Some(target.to_owned()), data))
}

/// A decision about a user, by the name that the decision was made under.
fn of_person(change: &Change, kind: Kind, values: Values, names: &Names<'_>) -> Option<Event> {
    let (directory, id) = change.object.as_deref()?.split_once('/')?;
    let (directory, id) = (DirectoryId::parse(directory).ok()?, ResourceId::parse(id)?);
    let mut data = start(change, Some(directory.as_str()));
    data.insert("user".into(), user(id, values.text("user_name"), names));
    // What ended is told by the values it had.
    add_detail(&mut data, kind, values.after.or(values.before).unwrap_or_default());
    let person = Person { directory, user: id, before: None, after: None };
    Some(Event { person: Some(person), ..event(change, kind, Some(id.to_string()), data) })
}

/// A decision about a whole directory.
fn of_directory(change: &Change, kind: Kind, mut values: Values) -> Option<Event> {
    let id = change.object.as_deref()?;
    let mut detail = values.after.take().unwrap_or_default();
    if kind == Kind::RebaselineConfirmed {
        let users = detail.get("users").and_then(Value::as_array).map_or(0, Vec::len);
        detail.insert("confirmed".into(), users.into());
    }
    let mut data = start(change, Some(id));
    add_detail(&mut data, kind, detail);
    Some(event(change, kind, Some(id.to_owned()), data))
}

/// The fields of the type that the change's detail has and the event has not yet.
fn add_detail(data: &mut Map<String, Value>, kind: Kind, mut detail: Map<String, Value>) {
    for field in kind.fields() {
        let Some(value) = detail.remove(field.name).filter(|value| !value.is_null()) else { continue };
        data.entry(field.name).or_insert_with(|| shortened(value));
    }
}

/// Bytes that the texts of one list may take: two such lists and all else fit into a body.
const LIST_BYTES_MAX: usize = 8_000;

fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) => cut(&text).into(),
        Value::Array(mut all) => {
            let mut bytes = 0_usize;
            all.truncate(SUBJECTS_MAX);
            all.retain(|one| {
                bytes = bytes.saturating_add(one.to_string().len());
                bytes <= LIST_BYTES_MAX
            });
            all.into()
        }
        other => other,
    }
}

/// One membership that came or went.
fn membership(change: &Change, directory: &DirectoryId, row: &MemberChange, names: &Names<'_>) -> Event {
    let is_user = row.member_type == ResourceType::User;
    let kind = match (is_user, row.added) {
        (true, true) => Kind::GroupUserAdded,
        (true, false) => Kind::GroupUserRemoved,
        (false, true) => Kind::GroupGroupAdded,
        (false, false) => Kind::GroupGroupRemoved,
    };
    let values = if change.resource == Some(row.group) { Values::of(change) } else { Values::default() };
    let mut data = start(change, Some(directory.as_str()));
    data.insert("group".into(), group(row.group, values.text("displayName"), names));
    if is_user {
        data.insert("user".into(), user(row.member, None, names));
    } else {
        data.insert("member".into(), group(row.member, None, names));
    }
    let person = Person { directory: directory.clone(), user: row.member, before: None, after: None };
    let base = event(change, kind, Some(row.group.to_string()), data);
    Event { person: is_user.then_some(person), ..base }
}

fn event(change: &Change, kind: Kind, resource: Option<String>, data: Map<String, Value>) -> Event {
    Event { kind, seq: change.seq, n: None, resource, at: change.at, person: None, data }
}

/// What every event of a change says: where, who, in which request.
fn start(change: &Change, directory: Option<&str>) -> Map<String, Value> {
    let mut data = Map::new();
    if let Some(directory) = directory {
        data.insert("directory".into(), directory.into());
    }
    data.insert("actor".into(), cut(&change.actor).into());
    if let Some(request) = &change.request {
        data.insert("request".into(), cut(request).into());
    }
    data
}

/// A user by id and name: the change's own word for it, or today's.
pub(super) fn user(id: ResourceId, own: Option<&str>, names: &Names<'_>) -> Value {
    let name = own.or_else(|| names.user(id).map(|user| user.user_name.as_str())).map(cut);
    json!({"id": id, "ref": format!("/Users/{id}"), "userName": name})
}

/// A group by id and name: the change's own word for it, or today's.
pub(super) fn group(id: ResourceId, own: Option<&str>, names: &Names<'_>) -> Value {
    let name = own.or_else(|| names.group(id).map(|group| group.display_name.as_str())).map(cut);
    json!({"id": id, "ref": format!("/Groups/{id}"), "displayName": name})
}

/// Whether this change may take access away; unknown kinds and whatever a filter could look at count as such.
pub fn takes_away(change: &Change, any_filter: bool) -> bool {
    match change.kind {
        ChangeKind::UserReactivated => any_filter,
        // A new userName may fall outside the claims or to another owner.
        ChangeKind::UserUpdated => {
            any_filter || change.after.as_ref().is_none_or(|text| text.contains("userName"))
        }
        ChangeKind::GroupUpdated => {
            change.before.is_some() || change.members.iter().any(|member| !member.added)
        }
        ChangeKind::UserCreated
        | ChangeKind::GroupCreated
        | ChangeKind::DirectoryAdded
        | ChangeKind::DirectoryRenamed
        | ChangeKind::DirectoryEnabled
        | ChangeKind::DirectoryDisabled
        | ChangeKind::TokenCreated
        | ChangeKind::TokenRevoked
        | ChangeKind::TargetDrifted
        | ChangeKind::GuardHeld
        | ChangeKind::GuardRejected
        | ChangeKind::RoleBound
        | ChangeKind::RoleUnbound
        | ChangeKind::DeliveryRetried
        | ChangeKind::DeliverySkipped
        | ChangeKind::DeliveryReplayed
        | ChangeKind::DeliverySnapshot
        | ChangeKind::SubjectOpened
        | ChangeKind::GrantCreated
        | ChangeKind::RebaselineOpened
        | ChangeKind::UserConfirmed => false,
        _ => true,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
