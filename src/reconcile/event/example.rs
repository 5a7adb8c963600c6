//! One made-up event of each type: for the documentation, and to try templates on before anything happens.

use serde_json::{Map, Value, json};

use crate::model::{Epoch, EventId, ResourceId, Seq, Timestamp};

use super::Event;
use super::field::{Field, Presence, Shape};
use super::kind::Kind;

/// Number of every example.
pub const EXAMPLE_ID: EventId = EventId { epoch: Epoch(1), seq: Seq(4711), n: 0 };

/// Number of the event before an example.
pub const EXAMPLE_PREVIOUS: EventId = EventId { epoch: Epoch(1), seq: Seq(4709), n: 2 };

/// 2026-05-04T09:30:00Z.
const AT: Timestamp = Timestamp(1_777_887_000_000_000);

/// A made-up event with every field, or, `bare`, with those only that are always there.
pub fn example(kind: Kind, bare: bool) -> Event {
    let mut data = Map::new();
    for field in kind.fields() {
        let is_wanted = match field.presence {
            Presence::Always | Presence::Full => true,
            Presence::Maybe => !bare,
        };
        // Nothing was too long in an example.
        if is_wanted && field.shape != Shape::Omitted {
            data.insert(field.name.into(), value(kind, field));
        }
    }
    Event {
        kind,
        seq: EXAMPLE_ID.seq,
        n: Some(EXAMPLE_ID.n),
        resource: Some(user_id().to_string()),
        at: AT,
        person: None,
        data,
    }
}

fn user_id() -> ResourceId {
    ResourceId::new(1_777_887_000_000, &[0x1c, 0x3a, 0x55, 0x90, 0x71, 0xee, 0x02, 0x6d, 0x14, 0x8b])
}

fn group_id(n: u8) -> ResourceId {
    ResourceId::new(1_777_800_000_000, &[n, 0x3a, 0x55, 0x90, 0x71, 0xee, 0x02, 0x6d, 0x14, 0x8b])
}

fn value(kind: Kind, field: &Field) -> Value {
    match field.shape {
        Shape::Text => text(field.name).into(),
        Shape::Texts => texts(kind, field.name),
        Shape::Count => count(field.name).into(),
        Shape::Flag => (field.name != "window").into(),
        Shape::Values => values(kind, field.name),
        Shape::User => {
            json!({"id": user_id(), "ref": format!("/Users/{}", user_id()), "userName": "alice@example.com"})
        }
        Shape::Subject => {
            json!({"id": user_id(), "ref": format!("/Users/{}", user_id()), "name": "alice@example.com"})
        }
        Shape::Group => {
            let (id, name) = if field.name == "member" {
                (group_id(2), "Night Shift")
            } else {
                (group_id(1), "Database Admins")
            };
            json!({"id": id, "ref": format!("/Groups/{id}"), "displayName": name})
        }
        Shape::Omitted => json!([]),
        Shape::Counts => json!({"directories": 1, "users": 250, "groups": 12, "access": 31}),
    }
}

fn text(name: &str) -> &'static str {
    match name {
        "directory" => "acme-okta",
        "actor" => "token:3f0a7c21",
        "request" => "01K2Q7ZV4M",
        "entitlement" => "role:db-admin",
        "role" | "label" => "db-admin",
        "why" => "member of \"Database Admins\"",
        "name" => "Acme Okta",
        "target" => "opa",
        "reason" => "on call this week",
        "until" | "ends" => "2026-05-11T09:30:00.000Z",
        "plan" | "expected" | "digest" => "9f86d081884c7d659a2feaa0c55ad015",
        "path" => "/srv/rosterd/access.json",
        "found" => "missing",
        "action" => "repaired",
        _ => "",
    }
}

fn texts(kind: Kind, name: &str) -> Value {
    match (name, kind) {
        ("changed", Kind::DirectoryRenamed) => json!(["name"]),
        ("changed", Kind::GroupUpdated) => json!(["displayName"]),
        ("changed", Kind::UserDeactivated | Kind::UserReactivated) => json!(["active"]),
        ("changed", _) => json!(["title"]),
        ("subjects", _) => json!([format!("acme-okta/{}", user_id())]),
        ("paths" | "deleted" | "left", _) => json!(["/srv/rosterd/access.json"]),
        ("users", _) => json!([user_id()]),
        ("groups", _) => json!([group_id(2)]),
        ("scope", _) => json!(["access", "directory", "group", "user"]),
        _ => json!([]),
    }
}

fn count(name: &str) -> u64 {
    match name {
        "held" | "released" | "rejected" | "unconfirmed" => 12,
        "grant" => EXAMPLE_ID.seq.0,
        "to_seq" => 4_600,
        "newly_held" | "members" => 2,
        "given_back" => 0,
        _ => 1,
    }
}

fn values(kind: Kind, side: &str) -> Value {
    let is_before = side == "before";
    match kind {
        Kind::DirectoryRenamed if is_before => json!({"name": "Acme"}),
        Kind::DirectoryRenamed => json!({"name": "Acme Okta"}),
        _ if kind.family() == "directory" => json!({"id": "acme-okta", "name": "Acme Okta", "kind": "okta"}),
        Kind::GroupUpdated if is_before => json!({"displayName": "DBA"}),
        Kind::GroupUpdated => json!({"displayName": "Database Admins"}),
        _ if kind.family() == "group" => json!({"displayName": "Database Admins", "externalId": "00g1dba"}),
        Kind::UserUpdated if is_before => json!({"title": "Engineer"}),
        Kind::UserUpdated => json!({"title": "Senior Engineer"}),
        Kind::UserDeactivated | Kind::UserReactivated => {
            json!({"active": is_before == (kind == Kind::UserDeactivated)})
        }
        _ => json!({
            "userName": "alice@example.com",
            "externalId": "00u1alice",
            "active": true,
            "name": {"givenName": "Alice", "familyName": "Archer"},
            "emails": [{"value": "alice@example.com", "primary": true}],
        }),
    }
}
