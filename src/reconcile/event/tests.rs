//! Every event is what its schema says, and all events together are the mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::body::{self, BodyFormat, BodySettings, Payload};
use super::*;
use crate::access::Facts;
use crate::mirror::change::{self, Change};
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::resource;
use crate::mirror::{Error as MirrorError, Mirror, ReadTx, Settings as MirrorSettings, WriteTx, facts};
use crate::model::{DirectoryKind, ManualClock, Origin, ResourceType};
use crate::scim::etag::Precondition;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Draft, MemberRef};

/// The schemas, with nothing allowed that they do not name: what we send must be in them.
struct Schemas(BTreeMap<&'static str, jsonschema::Validator>);

impl Schemas {
    fn new() -> Self {
        let one = |kind: &Kind| {
            let mut strict = schema(Some(*kind));
            close(&mut strict);
            (kind.as_str(), jsonschema::options().should_validate_formats(true).build(&strict).unwrap())
        };
        Self(KINDS.iter().map(one).collect())
    }

    fn check(&self, body: &Value) {
        let schema = &self.0[body["type"].as_str().unwrap()];
        let errors: Vec<String> =
            schema.iter_errors(body).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}\n{body:#}");
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            if parts.contains_key("properties") {
                parts.insert("additionalProperties".into(), false.into());
            }
            parts.values_mut().for_each(close);
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}

fn standard(event: &Event, payload: Payload, id: EventId, previous: Option<EventId>) -> Value {
    let settings = BodySettings { payload, ..BodySettings::default() };
    let body = body::render(event, &settings, id, previous).unwrap();
    assert!(body.bytes.len() < BODY_BYTES_MAX);
    serde_json::from_slice(&body.bytes).unwrap()
}

#[test]
fn an_example_of_every_type_is_what_its_schema_says() {
    let schemas = Schemas::new();
    let all = jsonschema::validator_for(&schema(None)).unwrap();
    for kind in KINDS {
        for (bare, previous) in [(false, Some(EXAMPLE_PREVIOUS)), (true, None)] {
            for payload in [Payload::Full, Payload::Thin] {
                let body = standard(&example(*kind, bare), payload, EXAMPLE_ID, previous);
                schemas.check(&body);
                assert!(all.is_valid(&body), "{body:#}");
            }
        }
    }
    let mut wrong = standard(&example(Kind::UserCreated, false), Payload::Full, EXAMPLE_ID, None);
    wrong["data"]["seq"] = "7".into();
    assert!(!all.is_valid(&wrong));
}

/// What a client or an operator does.
#[derive(Debug, Clone)]
enum Act {
    AddUser(u8),
    AddGroup(u8, Vec<u8>),
    Set(u8, u8, u8),
    Active(u8, bool),
    Members(u8, u8, Vec<u8>),
    Delete(u8),
    Again,
    Rename(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let some = || proptest::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        4 => any::<u8>().prop_map(Act::AddUser),
        3 => (any::<u8>(), some()).prop_map(|(n, members)| Act::AddGroup(n, members)),
        3 => (any::<u8>(), 0u8..4, 0u8..4).prop_map(|(n, name, value)| Act::Set(n, name, value)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, active)| Act::Active(n, active)),
        6 => (any::<u8>(), 0u8..3, some()).prop_map(|(n, how, members)| Act::Members(n, how, members)),
        2 => any::<u8>().prop_map(Act::Delete),
        1 => Just(Act::Again),
        1 => (0u8..3).prop_map(Act::Rename),
    ]
}

/// A real mirror that acts happen to.
struct World {
    _folder: tempfile::TempDir,
    mirror: Mirror,
    acme: DirectoryRef,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000_000)));
        let mirror = Mirror::open(&MirrorSettings::at(folder.path().join("mirror.db")), clock).unwrap();
        let acme = add(&mirror);
        Self { _folder: folder, mirror, acme }
    }

    fn facts(&self) -> Facts {
        self.mirror.read(|tx: &mut ReadTx<'_>| facts::load(tx, &[])).unwrap()
    }

    fn ids(&self) -> Vec<(ResourceId, ResourceType)> {
        let facts = self.facts();
        let mut all = Vec::new();
        for directory in &facts.directories {
            all.extend(directory.users.iter().map(|user| (user.id, ResourceType::User)));
            all.extend(directory.groups.iter().map(|group| (group.id, ResourceType::Group)));
        }
        all.sort_by_key(|(id, _)| *id);
        all
    }

    fn pick(&self, n: u8, kind: Option<ResourceType>) -> Option<(ResourceId, ResourceType)> {
        let fit: Vec<_> =
            self.ids().into_iter().filter(|(_, one)| kind.is_none_or(|kind| kind == *one)).collect();
        fit.get(usize::from(n).checked_rem(fit.len())?).copied()
    }

    fn refs(&self, members: &[u8]) -> Vec<MemberRef> {
        let found = members.iter().filter_map(|n| self.pick(*n, None));
        found.map(|(id, _)| MemberRef { value: id.to_string(), kind: None }).collect()
    }

    /// What is refused changes nothing, which is part of what is shown.
    fn act(&mut self, act: &Act) {
        let acme = self.acme.clone();
        match act {
            Act::AddUser(n) => {
                let doc = object(&json!({"userName": format!("u{n}"), "active": n % 3 != 0, "title": "t"}));
                self.write(move |tx| {
                    resource::create(tx, &acme, ResourceType::User, Draft { doc, members: None }).map(|_| ())
                });
            }
            Act::AddGroup(n, members) => {
                let draft = Draft {
                    doc: object(&json!({"displayName": format!("g{n}"), "externalId": format!("x{n}")})),
                    members: Some(self.refs(members)),
                };
                self.write(move |tx| resource::create(tx, &acme, ResourceType::Group, draft).map(|_| ()));
            }
            Act::Set(n, name, value) => {
                let Some((id, kind)) = self.pick(*n, None) else { return };
                let name = ["title", "nickName", "displayName", "externalId"][usize::from(*name)];
                let value = format!(
                    "{value}{}",
                    if kind == ResourceType::Group { id.to_string() } else { String::new() }
                );
                self.edit(id, kind, move |doc| {
                    if value.starts_with('0') && name != "displayName" {
                        doc.remove(name);
                    } else {
                        doc.insert(name.into(), value.into());
                    }
                });
            }
            Act::Active(n, active) => {
                let Some((id, kind)) = self.pick(*n, Some(ResourceType::User)) else { return };
                let active = *active;
                self.edit(id, kind, move |doc| {
                    doc.insert("active".into(), active.into());
                });
            }
            Act::Members(n, how, members) => {
                let Some((id, _)) = self.pick(*n, Some(ResourceType::Group)) else { return };
                let refs = self.refs(members);
                let edit = match how {
                    0 => MemberEdit::Add(refs),
                    1 => MemberEdit::Remove(refs.into_iter().map(|one| one.value).collect()),
                    _ => MemberEdit::Replace(refs),
                };
                self.write(move |tx| {
                    let patched = Patched { members: vec![edit], ..Patched::default() };
                    resource::patch(tx, &acme, ResourceType::Group, &id, &Precondition::default(), |_| {
                        Ok(patched)
                    })
                    .map(|_| ())
                });
            }
            Act::Delete(n) => {
                let Some((id, kind)) = self.pick(*n, None) else { return };
                self.write(move |tx| resource::delete(tx, &acme, kind, &id, &Precondition::default()));
            }
            Act::Again => {
                let id = acme.id.clone();
                self.write(move |tx| directory::remove(tx, &id));
                self.acme = add(&self.mirror);
            }
            Act::Rename(n) => {
                let name = format!("Acme {n}");
                self.write(move |tx| directory::rename(tx, &acme.id, &name).map(|_| ()));
            }
        }
    }

    fn edit(
        &self,
        id: ResourceId,
        kind: ResourceType,
        edit: impl FnOnce(&mut Map<String, Value>) + Send + 'static,
    ) {
        let acme = self.acme.clone();
        self.write(move |tx| {
            resource::patch(tx, &acme, kind, &id, &Precondition::default(), |doc| {
                edit(doc);
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
            .map(|_| ())
        });
    }

    fn write(&self, f: impl FnOnce(&mut WriteTx<'_>) -> Result<(), MirrorError> + Send + 'static) {
        let _refused = self.mirror.write_blocking(Origin::daemon(), f);
    }

    fn changes(&self) -> Vec<Change> {
        self.mirror.read(|tx: &mut ReadTx<'_>| change::after(tx, Seq::ZERO, 100_000)).unwrap()
    }
}

fn add(mirror: &Mirror) -> DirectoryRef {
    let id = DirectoryId::parse("acme").unwrap();
    let added: Result<_, MirrorError> = mirror
        .write_blocking(Origin::daemon(), move |tx| directory::add(tx, &id, "Acme", DirectoryKind::Generic));
    added.unwrap().reference
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// What a receiver builds up from bodies alone.
#[derive(Debug, Default, PartialEq)]
struct Built {
    users: BTreeMap<String, Map<String, Value>>,
    groups: BTreeMap<String, Map<String, Value>>,
    members: BTreeSet<(String, String)>,
}

impl Built {
    fn hear(&mut self, body: &Value) {
        let data = &body["data"];
        let id = |name: &str| data[name]["id"].as_str().unwrap().to_owned();
        let (family, word) = body["type"].as_str().unwrap().split_once('.').unwrap();
        match (family, word) {
            ("user", "created") => {
                assert!(self.users.insert(id("user"), object(&data["after"])).is_none());
            }
            ("group", "created") => {
                assert!(self.groups.insert(id("group"), object(&data["after"])).is_none());
            }
            ("user", "deleted") => {
                assert!(self.users.remove(&id("user")).is_some());
                self.members.retain(|(_, member)| *member != id("user"));
            }
            ("group", "deleted") => {
                assert!(self.groups.remove(&id("group")).is_some());
                self.members.retain(|(group, member)| *group != id("group") && *member != id("group"));
            }
            ("user", "updated" | "deactivated" | "reactivated") => {
                apply(self.users.get_mut(&id("user")).unwrap(), data);
                if word != "updated" {
                    assert_eq!(data["after"]["active"], word == "reactivated");
                }
            }
            ("group", "updated") => apply(self.groups.get_mut(&id("group")).unwrap(), data),
            ("group", "user_added") => assert!(self.members.insert((id("group"), id("user")))),
            ("group", "group_added") => assert!(self.members.insert((id("group"), id("member")))),
            ("group", "user_removed") => assert!(self.members.remove(&(id("group"), id("user")))),
            ("group", "group_removed") => assert!(self.members.remove(&(id("group"), id("member")))),
            ("directory", "removed") => *self = Self::default(),
            ("directory", _) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn apply(doc: &mut Map<String, Value>, data: &Value) {
    for name in data["changed"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert_eq!(doc.get(name), data["before"].get(name), "`before` is what was there");
        match data["after"].get(name) {
            Some(value) => doc.insert(name.to_owned(), value.clone()),
            None => doc.remove(name),
        };
    }
}

/// What the mirror holds, in the receiver's words.
fn held(world: &World) -> Built {
    let mut built = Built::default();
    for directory in &world.facts().directories {
        for user in &directory.users {
            built.users.insert(user.id.to_string(), (*user.doc).clone());
        }
        for group in &directory.groups {
            let of = |tx: &mut ReadTx<'_>| resource::find(tx, &world.acme, ResourceType::Group, &group.id);
            let stored = world.mirror.read(of).unwrap().unwrap();
            built.groups.insert(group.id.to_string(), serde_json::from_str(&stored.doc_text).unwrap());
            for member in group.users.iter().chain(&group.groups) {
                built.members.insert((group.id.to_string(), member.to_string()));
            }
        }
    }
    built
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn events_from_the_start_rebuild_the_mirror_and_each_is_what_its_schema_says(
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let schemas = Schemas::new();
        let mut world = World::new();
        for one in &acts {
            world.act(one);
        }
        let facts = world.facts();
        let names = Names::of(&facts);
        let some = EventFilter::parse(vec!["group.user_removed".into(), "user.*".into()]).unwrap();
        let mut built = Built::default();
        let mut previous = None;
        for change in world.changes() {
            let events = of_change(&change, &names);
            let later: Vec<_> = of_change(&change, &Names::default()).iter().map(|one| (one.kind, one.n)).collect();
            prop_assert_eq!(events.iter().map(|one| (one.kind, one.n)).collect::<Vec<_>>(), later);
            for (n, event) in (0..).zip(&events) {
                let id = event.id(Epoch(1), previous);
                prop_assert_eq!((id.seq, id.n), (change.seq, n));
                let body = standard(event, Payload::Full, id, previous);
                schemas.check(&body);
                schemas.check(&standard(event, Payload::Thin, id, previous));
                built.hear(&body);
                prop_assert!(!some.passes(event, &names) || event.n == Some(n));
                previous = Some(id);
            }
        }
        prop_assert_eq!(built, held(&world));
    }
}

#[test]
fn what_no_change_makes_is_numbered_behind_what_a_change_makes() {
    let event = Event { n: None, ..example(Kind::AccessGranted, false) };
    let of_change = EventId { epoch: Epoch(1), seq: event.seq, n: 4 };
    let first = event.id(Epoch(1), Some(of_change));
    assert_eq!(first.n, DERIVED_N_FIRST);
    assert_eq!(event.id(Epoch(1), Some(first)).n, DERIVED_N_FIRST + 1);
    assert_eq!(event.id(Epoch(2), Some(first)).n, DERIVED_N_FIRST);
    assert_eq!(event.id(Epoch(1), None).n, DERIVED_N_FIRST);
}

#[test]
fn a_cloud_event_has_what_the_specification_requires() {
    let settings = BodySettings {
        format: BodyFormat::CloudEvents { source: "https://scim.example.com".into() },
        ..BodySettings::default()
    };
    for kind in KINDS {
        let event = example(*kind, false);
        let body = body::render(&event, &settings, EXAMPLE_ID, None).unwrap();
        assert_eq!(body.content_type, "application/cloudevents+json");
        let told: Value = serde_json::from_slice(&body.bytes).unwrap();
        assert_eq!((&told["specversion"], &told["id"]), (&json!("1.0"), &json!("1-4711-0")));
        assert_eq!(told["type"], format!("rosterd.{kind}.v1"));
        assert_eq!(told["data"]["seq"], 4711);
        assert!(told["subject"].as_str().is_some_and(|subject| !subject.is_empty()));
        // CloudEvents 1.0 §3.1: attribute names are lower-case letters and digits.
        for name in told.as_object().unwrap().keys() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
        }
    }
}

fn template(source: &str, content_type: &str) -> BodySettings {
    let template = BodyTemplate::compile("body.j2", source.into(), content_type.into()).unwrap();
    BodySettings { format: BodyFormat::Template(template), ..BodySettings::default() }
}

#[test]
fn a_template_writes_the_body_and_what_it_names_must_exist() {
    let settings =
        template(r#"{"text": {{ text | json }}, "who": {{ data.user.userName | json }}}"#, CONTENT_TYPE);
    let body = body::render(&example(Kind::UserCreated, false), &settings, EXAMPLE_ID, None).unwrap();
    let told: Value = serde_json::from_slice(&body.bytes).unwrap();
    assert_eq!(told, json!({"text": "user alice@example.com came", "who": "alice@example.com"}));
    let error = body::render(&example(Kind::GroupCreated, false), &settings, EXAMPLE_ID, None).unwrap_err();
    assert!(error.to_string().contains("line 1") && error.hint.contains("events schema"), "{error}");
    assert!(try_examples(&settings, [Kind::UserCreated, Kind::UserDeleted].into_iter()).is_ok());
    let (kind, _) = try_examples(&settings, [Kind::UserCreated, Kind::GroupDeleted].into_iter()).unwrap_err();
    assert_eq!(kind, Kind::GroupDeleted);
}

#[test]
fn a_template_sees_every_field_of_a_type_and_its_json_must_be_json() {
    let settings = template("{{ data.request }} {{ data.omitted }} {{ id }}", "text/plain");
    for bare in [false, true] {
        let body = body::render(&example(Kind::UserCreated, bare), &settings, EXAMPLE_ID, None).unwrap();
        let text = String::from_utf8(body.bytes).unwrap();
        assert!(text.trim_end().to_lowercase().ends_with("none 1-4711-0"), "{text:?}");
    }
    let settings = template("{\"a\": {{ text }}}", CONTENT_TYPE);
    let error = body::render(&example(Kind::UserCreated, false), &settings, EXAMPLE_ID, None).unwrap_err();
    assert!(error.to_string().contains("no JSON for `user.created`"), "{error}");
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    let error =
        body::render(&example(Kind::UserCreated, false), &template(endless, "text/plain"), EXAMPLE_ID, None);
    assert!(error.is_err());
    assert!(BodyTemplate::compile("b", "{% if %}".into(), "text/plain".into()).is_err());
}

#[test]
fn a_name_stays_a_text_in_a_template_of_json() {
    let mut event = example(Kind::AccessGranted, false);
    event
        .data
        .insert("subject".into(), json!({"id": "x", "ref": "y", "name": "\"}, {\"a\": \"<!channel>\n"}));
    let settings = template(r#"{"who": {{ data.subject.name | json }}}"#, CONTENT_TYPE);
    let body = body::render(&event, &settings, EXAMPLE_ID, None).unwrap();
    let told: Value = serde_json::from_slice(&body.bytes).unwrap();
    assert_eq!(told, json!({"who": "\"}, {\"a\": \"<!channel>\n"}));
}
