//! SCIM events as signed Security Event Tokens: the event types of RFC 9967 in the tokens of RFC 8417.
//!
//! They speak of users and groups; what rosterd says besides has no type there and is not sent in this form.

use serde_json::{Map, Value, json};

use crate::downstream::webhook::TokenKey;
use crate::model::EventId;

use super::Event;
use super::body::{self, BodyError, BodySettings};
use super::kind::Kind;

/// The `content-type` of RFC 8935.
pub(super) const CONTENT_TYPE: &str = "application/secevent+jwt";

/// The `typ` of RFC 8417 §2.3.
const TYPE: &str = "secevent+jwt";

/// Longest data in a token: base64 makes a third more of it.
const DATA_BYTES_MAX: usize = 12_000;

const PROV: &str = "urn:ietf:params:scim:event:prov";
const FEED_ADD: &str = "urn:ietf:params:scim:event:feed:add";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Who signs tokens, for whom.
#[derive(Debug, Clone, PartialEq)]
pub struct ScimEvents {
    /// Key `signing_key_file`; `None` only where a config is checked without its secrets.
    pub key: Option<TokenKey>,
    /// Key `issuer`: the claim `iss`.
    pub issuer: String,
    /// Key `audience`: the claim `aud`.
    pub audience: Vec<String>,
}

/// Whether events of this type can be said as SCIM events.
pub fn is_scim_event(kind: Kind) -> bool {
    matches!(kind.family(), "user" | "group")
}

pub(super) fn render(
    event: &Event,
    settings: &BodySettings,
    tokens: &ScimEvents,
    id: EventId,
    previous: Option<EventId>,
) -> Result<Vec<u8>, BodyError> {
    let data = body::data(event, settings, id, previous, DATA_BYTES_MAX);
    let events = events(event.kind, &data, event);
    let Some(subject) = subject(&data) else {
        return Err(BodyError {
            what: format!("`{}` has no form as a SCIM event", event.kind),
            hint: "let `events` name `user.*` and `group.*` only".to_owned(),
        });
    };
    let seconds = event.at.0.div_euclid(1_000_000);
    let claims = json!({
        "iss": tokens.issuer,
        "aud": tokens.audience,
        // Of the event and not of the attempt: the same event is the same token for ever.
        "iat": seconds,
        "toe": seconds,
        "jti": id.to_string(),
        "txn": format!("{}-{}", id.epoch, id.seq),
        "urn:rosterd:previous": previous.map(|id| id.to_string()),
        "sub_id": subject,
        "events": events,
    });
    let failed = |what: String| BodyError { what, hint: "see `signing_key_file`".to_owned() };
    let key = tokens.key.as_ref().ok_or_else(|| failed("there is no key to sign with".to_owned()))?;
    let token = key.sign(TYPE, claims.to_string().as_bytes());
    token.map(String::into_bytes).map_err(|error| failed(error.to_string()))
}

/// The subject identifier of RFC 9967: a relative address, and the `externalId` where it is known.
fn subject(data: &Map<String, Value>) -> Option<Value> {
    // A membership is an attribute of its group.
    let place = ["group", "user"].into_iter().find_map(|name| data.get(name)?.get("ref")?.as_str())?;
    let mut subject = json!({"format": "scim", "uri": place});
    if let (Some(subject), Some(id)) = (subject.as_object_mut(), external_id(data)) {
        subject.insert("externalId".into(), id.into());
    }
    Some(subject)
}

fn external_id(data: &Map<String, Value>) -> Option<&str> {
    ["after", "values", "before"].into_iter().find_map(|side| data.get(side)?.get("externalId")?.as_str())
}

/// The claim `events`: one or two types and what each carries.
fn events(kind: Kind, data: &Map<String, Value>, event: &Event) -> Value {
    let prov = |word: &str| format!("{PROV}:{word}");
    let mut events = Map::new();
    match kind {
        Kind::UserCreated | Kind::GroupCreated => whole(&mut events, "create", data, "after", event),
        Kind::UserSnapshot => {
            events.insert(FEED_ADD.into(), json!({}));
            whole(&mut events, "put", data, "values", event);
        }
        Kind::GroupSnapshot => snapshot_of_group(&mut events, data, event),
        Kind::UserUpdated | Kind::GroupUpdated => patch(&mut events, data, &[]),
        Kind::UserDeactivated | Kind::UserReactivated => {
            let word = if kind == Kind::UserDeactivated { "deactivate" } else { "activate" };
            events.insert(prov(word), json!({}));
            patch(&mut events, data, &["active"]);
        }
        Kind::UserDeleted | Kind::GroupDeleted => {
            events.insert(prov("delete"), json!({}));
        }
        Kind::GroupUserAdded | Kind::GroupGroupAdded => members_added(&mut events, data, &ids(data)),
        Kind::GroupUserRemoved | Kind::GroupGroupRemoved => {
            let gone: Vec<Value> = ids(data)
                .iter()
                .map(|id| json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")}))
                .collect();
            operations(&mut events, data, &gone, &["members"]);
        }
        _ => {}
    }
    Value::Object(events)
}

/// Whether values may be said: they are whole, and the target wants them.
fn is_full(data: &Map<String, Value>, side: &str) -> bool {
    data.contains_key(side) && data.get("omitted").is_none()
}

/// `create` or `put`: the resource, or the names of its attributes where it cannot be said whole.
fn whole(events: &mut Map<String, Value>, word: &str, data: &Map<String, Value>, side: &str, event: &Event) {
    if is_full(data, side) {
        events.insert(format!("{PROV}:{word}:full"), json!({"data": resource(data, side)}));
        return;
    }
    let names: Vec<&String> =
        event.data.get(side).and_then(Value::as_object).into_iter().flat_map(Map::keys).collect();
    events.insert(format!("{PROV}:{word}:notice"), json!({"attributes": names}));
}

/// The document with its `schemas` and `id`, which the mirror keeps beside it.
fn resource(data: &Map<String, Value>, side: &str) -> Map<String, Value> {
    let mut document = Map::new();
    let values = data.get(side).and_then(Value::as_object);
    let (core, one) = match data.get("user") {
        Some(user) => ("urn:ietf:params:scim:schemas:core:2.0:User", Some(user)),
        None => ("urn:ietf:params:scim:schemas:core:2.0:Group", data.get("group")),
    };
    let extensions = values.into_iter().flat_map(Map::keys).filter(|name| name.starts_with("urn:"));
    let schemas: Vec<&str> = std::iter::once(core).chain(extensions.map(String::as_str)).collect();
    document.insert("schemas".into(), schemas.into());
    document.insert("id".into(), one.and_then(|one| one.get("id")).cloned().unwrap_or(Value::Null));
    document.extend(values.cloned().unwrap_or_default());
    document
}

/// What differs, as the operations of a PATCH; nothing if nothing else than `told` differs.
fn patch(events: &mut Map<String, Value>, data: &Map<String, Value>, told: &[&str]) {
    let names = data.get("changed").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<&str> = names.filter(|name| !told.contains(name)).collect();
    if names.is_empty() {
        return;
    }
    let after = data.get("after").and_then(Value::as_object);
    let done = names.iter().map(|name| match after.and_then(|after| after.get(*name)) {
        Some(value) => json!({"op": "replace", "path": name, "value": value}),
        None => json!({"op": "remove", "path": name}),
    });
    let done: Vec<Value> = done.collect();
    operations(events, data, &done, &names);
}

fn operations(events: &mut Map<String, Value>, data: &Map<String, Value>, done: &[Value], names: &[&str]) {
    // Memberships are ids and fit always; values may be missing because they are not wanted or too long.
    let is_membership = names == ["members"] && data.get("changed").is_none();
    if is_membership || is_full(data, "after") || is_full(data, "before") {
        let data = json!({"schemas": [PATCH_OP], "Operations": done});
        events.insert(format!("{PROV}:patch:full"), json!({"data": data}));
    } else {
        events.insert(format!("{PROV}:patch:notice"), json!({"attributes": names}));
    }
}

/// The members that a membership event speaks of.
fn ids(data: &Map<String, Value>) -> Vec<String> {
    let one = data.get("user").or_else(|| data.get("member"));
    one.and_then(|one| one.get("id")?.as_str()).map(str::to_owned).into_iter().collect()
}

fn members_added(events: &mut Map<String, Value>, data: &Map<String, Value>, ids: &[String]) {
    let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    let add = vec![json!({"op": "add", "path": "members", "value": members})];
    operations(events, data, &add, &["members"]);
}

/// The first part of a group replaces it, each further one adds its members.
fn snapshot_of_group(events: &mut Map<String, Value>, data: &Map<String, Value>, event: &Event) {
    let parts = ["users", "groups"].into_iter().filter_map(|name| data.get(name)?.as_array());
    let ids: Vec<String> = parts.flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if data.get("part").and_then(Value::as_u64) != Some(1) {
        return members_added(events, data, &ids);
    }
    events.insert(FEED_ADD.into(), json!({}));
    if is_full(data, "values") {
        let mut document = resource(data, "values");
        let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
        document.insert("members".into(), members.into());
        events.insert(format!("{PROV}:put:full"), json!({"data": document}));
    } else {
        whole(events, "put", data, "values", event);
        members_added(events, data, &ids);
    }
}
