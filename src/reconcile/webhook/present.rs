//! The present state as the events of a snapshot. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::access::{DirectoryFacts, GroupFacts, UserFacts};
use crate::mirror::target::Holding;
use crate::model::{DirectoryId, ResourceId, Seq, Timestamp};
use crate::reconcile::event::{Event, Kind, Names, of_access};
use crate::reconcile::guard::book::is_role;
use crate::reconcile::plan::{self, Wanted};
use crate::reconcile::settings::WebhookSettings;
use crate::reconcile::snapshot::Snapshot;

use super::bootstrap::Line;

/// Members named in one part of a group: as many as fit into a body with room to spare.
const MEMBERS_MAX: usize = 300;

/// The kinds a snapshot may hold between its markers, sorted.
const KINDS: [Kind; 4] =
    [Kind::AccessSnapshot, Kind::DirectorySnapshot, Kind::GroupSnapshot, Kind::UserSnapshot];

/// The events of a snapshot in their order, each with the holding it makes the target have.
pub(super) fn lines<'a>(
    webhook: &'a WebhookSettings,
    snapshot: &'a Snapshot,
    wanted: &'a Wanted,
    seq: Seq,
    at: Timestamp,
) -> impl Iterator<Item = Line> + 'a {
    let names = Names::of(&snapshot.facts);
    let scope: Vec<&str> =
        KINDS.iter().filter(|kind| webhook.events.wants(**kind)).map(|kind| kind.as_str()).collect();
    let marker = move |kind: Kind, counts: &Value| {
        let data = [("scope", json!(scope)), ("counts", counts.clone())];
        Line::of(Some(made(kind, seq, at, None, data)), None)
    };
    let counts = counts(webhook, snapshot, wanted);
    let (first, last) = (marker(Kind::SnapshotStarted, &counts), marker(Kind::SnapshotFinished, &counts));
    let facts = &snapshot.facts;
    let directories = facts.directories.iter().map(move |one| directory(one, seq, at));
    let users = facts
        .directories
        .iter()
        .flat_map(move |of| of.users.iter().map(move |one| user(&of.id, one, seq, at)));
    let groups = facts
        .directories
        .iter()
        .flat_map(move |of| of.groups.iter().flat_map(move |one| group(&of.id, one, seq, at)));
    let resources = directories.chain(users).chain(groups);
    let resources = resources.filter(move |event| webhook.events.passes(event, &names));
    let names = Names::of(&snapshot.facts);
    let held = wanted.values().map(move |holding| {
        let event = is_role(&holding.entitlement).then(|| access(holding, seq, at));
        Line::of(event.filter(|event| webhook.events.passes(event, &names)), Some(holding))
    });
    let resources = resources.map(|event| Line::of(Some(event), None));
    std::iter::once(first).chain(resources).chain(held).chain(std::iter::once(last))
}

fn counts(webhook: &WebhookSettings, snapshot: &Snapshot, wanted: &Wanted) -> Value {
    let all = &snapshot.facts.directories;
    let sizes: BTreeMap<&str, usize> = BTreeMap::from([
        ("access", wanted.values().filter(|one| is_role(&one.entitlement)).count()),
        ("directories", all.len()),
        ("groups", all.iter().map(|one| one.groups.len()).sum()),
        ("users", all.iter().map(|one| one.users.len()).sum()),
    ]);
    let is_said = |name: &str| {
        webhook.events.wants(match name {
            "access" => Kind::AccessSnapshot,
            "directories" => Kind::DirectorySnapshot,
            "groups" => Kind::GroupSnapshot,
            _ => Kind::UserSnapshot,
        })
    };
    sizes
        .into_iter()
        .filter(|(name, _)| is_said(name))
        .map(|(name, n)| (name.to_owned(), n.into()))
        .collect::<Map<_, Value>>()
        .into()
}

fn made<const N: usize>(
    kind: Kind,
    seq: Seq,
    at: Timestamp,
    resource: Option<String>,
    data: [(&str, Value); N],
) -> Event {
    let data = data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Event { kind, seq, n: None, resource, at, person: None, data }
}

fn directory(one: &DirectoryFacts, seq: Seq, at: Timestamp) -> Event {
    let id = one.id.to_string();
    let data = [("directory", json!(id)), ("enabled", json!(one.enabled))];
    made(Kind::DirectorySnapshot, seq, at, Some(id.clone()), data)
}

fn user(directory: &DirectoryId, one: &UserFacts, seq: Seq, at: Timestamp) -> Event {
    let id = one.id.to_string();
    let who = json!({"id": id, "ref": format!("/Users/{id}"), "userName": one.user_name});
    let data = [
        ("directory", json!(directory)),
        ("user", who),
        ("active", json!(one.active)),
        ("values", Value::Object((*one.doc).clone())),
    ];
    let person = crate::reconcile::event::Person {
        directory: directory.clone(),
        user: one.id,
        before: None,
        after: None,
    };
    Event { person: Some(person), ..made(Kind::UserSnapshot, seq, at, Some(id.clone()), data) }
}

/// A group in as many parts as its members need.
fn group(directory: &DirectoryId, one: &GroupFacts, seq: Seq, at: Timestamp) -> Vec<Event> {
    let id = one.id.to_string();
    let members: Vec<(bool, ResourceId)> = one
        .users
        .iter()
        .map(|user| (true, *user))
        .chain(one.groups.iter().map(|group| (false, *group)))
        .collect();
    let parts = members.len().div_ceil(MEMBERS_MAX).max(1);
    let of = |part: &[(bool, ResourceId)], is_user: bool| -> Value {
        part.iter().filter(|one| one.0 == is_user).map(|one| one.1.to_string()).collect::<Vec<_>>().into()
    };
    (0..parts)
        .map(|n| {
            let part = members.chunks(MEMBERS_MAX).nth(n).unwrap_or(&[]);
            let who = json!({"id": id, "ref": format!("/Groups/{id}"), "displayName": one.display_name});
            let data = [
                ("directory", json!(directory)),
                ("group", who),
                ("users", of(part, true)),
                ("groups", of(part, false)),
                ("members", json!(members.len())),
                ("part", json!(n + 1)),
                ("parts", json!(parts)),
            ];
            let mut event = made(Kind::GroupSnapshot, seq, at, Some(id.clone()), data);
            if n == 0 {
                let mut values = Map::new();
                values.insert("displayName".into(), one.display_name.clone().into());
                if let Some(external) = &one.external_id {
                    values.insert("externalId".into(), external.clone().into());
                }
                event.data.insert("values".into(), values.into());
            }
            event
        })
        .collect()
}

fn access(holding: &Holding, seq: Seq, at: Timestamp) -> Event {
    let event =
        of_access(holding, &plan::label(holding), "it is so at the time of the snapshot", true, seq, at);
    Event { kind: Kind::AccessSnapshot, ..event }
}
