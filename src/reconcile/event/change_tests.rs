//! Which events changes make.

use super::*;
use crate::access::{DirectoryFacts, Facts, UserFacts};
use crate::model::{Epoch, EventId, Seq, Timestamp};
use crate::reconcile::event::body::{self, BodySettings, Payload};
use crate::reconcile::event::{BODY_BYTES_MAX, EventFilter};

fn id(n: u8) -> ResourceId {
    ResourceId::new(u64::from(n), &[n; 10])
}

fn acme() -> DirectoryId {
    DirectoryId::parse("acme").unwrap()
}

fn change(kind: ChangeKind) -> Change {
    Change {
        seq: Seq(7),
        directory: Some(acme()),
        at: Timestamp(0),
        kind,
        resource: Some(id(1)),
        object: None,
        actor: "token:t".into(),
        request: None,
        version: Some(1),
        before: None,
        after: None,
        members: vec![],
        erased: false,
    }
}

fn member(added: bool, kind: ResourceType) -> MemberChange {
    MemberChange { added, group: id(1), member: id(2), member_type: kind }
}

fn told(change: &Change, patterns: &[&str]) -> Vec<(&'static str, Option<u32>)> {
    let filter = EventFilter::parse(patterns.iter().map(|&text| text.to_owned()).collect()).unwrap();
    let names = Names::default();
    let events = of_change(change, &names);
    events.iter().filter(|one| filter.passes(one, &names)).map(|one| (one.kind.as_str(), one.n)).collect()
}

#[test]
fn members_are_said_one_by_one_and_a_filter_never_renumbers() {
    let mut updated = change(ChangeKind::GroupUpdated);
    updated.members = vec![
        member(true, ResourceType::User),
        member(false, ResourceType::User),
        member(true, ResourceType::Group),
        member(false, ResourceType::Group),
    ];
    let expected = ["group.user_added", "group.user_removed", "group.group_added", "group.group_removed"];
    let expected: Vec<_> = expected.into_iter().zip((0..).map(Some)).collect();
    assert_eq!(told(&updated, &["*"]), expected);
    assert_eq!(told(&updated, &["group.group_added"]), [("group.group_added", Some(2))]);
    updated.after = Some(r#"{"displayName":"x"}"#.into());
    assert_eq!(told(&updated, &["*"]).len(), 5);
    assert_eq!(told(&updated, &["group.user_added"]), [("group.user_added", Some(1))]);
}

#[test]
fn a_deleted_group_or_user_says_deleted_only() {
    for (kind, word) in
        [(ChangeKind::GroupDeleted, "group.deleted"), (ChangeKind::UserDeleted, "user.deleted")]
    {
        let mut deleted = change(kind);
        deleted.members = vec![member(false, ResourceType::User)];
        assert_eq!(told(&deleted, &["*"]), [(word, Some(0))]);
    }
}

#[test]
fn tokens_and_kinds_of_another_version_make_no_event() {
    for kind in [ChangeKind::TokenCreated, ChangeKind::ConfigAccepted, ChangeKind::Other("x.y".into())] {
        assert_eq!(told(&change(kind), &["*"]), []);
    }
}

#[test]
fn decisions_and_findings_say_the_target_and_their_detail() {
    let mut held = change(ChangeKind::GuardHeld);
    (held.directory, held.resource, held.object) = (None, None, Some("opa".into()));
    held.after = Some(r#"{"plan":"abc","newly_held":3,"held":7,"secret":"x"}"#.into());
    let event = of_change(&held, &Names::default()).remove(0);
    assert_eq!((event.resource.as_deref(), event.text("plan")), (Some("opa"), Some("abc")));
    assert_eq!(event.data["held"], 7);
    assert!(!event.data.contains_key("secret"));
    let mut drifted = held.clone();
    drifted.kind = ChangeKind::TargetDrifted;
    drifted.after = Some(r#"{"path":"/srv/x","found":"missing"}"#.into());
    let event = of_change(&drifted, &Names::default()).remove(0);
    assert_eq!((event.kind, event.text("found")), (Kind::TargetDrifted, Some("missing")));
}

fn body_of(event: &Event, payload: Payload) -> Value {
    let place = |n| EventId { epoch: Epoch(1), seq: Seq(7), n };
    let settings = BodySettings { payload, ..BodySettings::default() };
    let body = body::render(event, &settings, place(1), Some(place(0))).unwrap();
    assert!(body.bytes.len() < BODY_BYTES_MAX, "{}", body.bytes.len());
    serde_json::from_slice(&body.bytes).unwrap()
}

#[test]
fn a_body_carries_its_place_and_long_values_become_references() {
    let mut created = change(ChangeKind::UserCreated);
    created.after = Some(format!(r#"{{"userName":"alice","title":"{}","x":"y"}}"#, "é".repeat(30_000)));
    let event = of_change(&created, &Names::default()).remove(0);
    let body = body_of(&event, Payload::Full);
    assert_eq!((&body["type"], &body["version"]), (&json!("user.created"), &json!(1)));
    assert_eq!(body["timestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(body["data"]["previous"], json!([1, 7, 0]));
    assert_eq!(body["data"]["n"], 1);
    assert_eq!(body["data"]["user"]["userName"], "alice");
    assert_eq!(body["data"]["user"]["ref"], format!("/Users/{}", id(1)));
    assert_eq!(body["data"]["after"], json!({"userName": "alice", "x": "y"}));
    assert_eq!(body["data"]["omitted"], json!([{"value": "after.title", "bytes": 60_002}]));
}

#[test]
fn many_long_values_and_long_names_still_fit() {
    let mut created = change(ChangeKind::UserCreated);
    let long: Vec<String> =
        (0..3_000).map(|n| format!(r#""{n}{}":"{}""#, "k".repeat(100), "v".repeat(50))).collect();
    created.after = Some(format!(r#"{{"userName":"{}",{}}}"#, "u".repeat(50_000), long.join(",")));
    let event = of_change(&created, &Names::default()).remove(0);
    let body = body_of(&event, Payload::Full);
    assert!(body["data"].get("after").is_none());
    assert_eq!(body["data"]["omitted"][0]["value"], "after");
    body_of(&event, Payload::Thin);
}

#[test]
fn a_thin_body_says_ids_and_the_names_of_what_changed() {
    let mut updated = change(ChangeKind::UserUpdated);
    updated.before = Some(r#"{"title":"a"}"#.into());
    updated.after = Some(r#"{"title":"b","nickName":"c"}"#.into());
    let event = of_change(&updated, &Names::default()).remove(0);
    let thin = body_of(&event, Payload::Thin);
    assert_eq!(thin["data"]["changed"], json!(["nickName", "title"]));
    assert_eq!(thin["data"]["user"], json!({"id": id(1), "ref": format!("/Users/{}", id(1))}));
    assert!(thin["data"].get("after").is_none() && thin["data"].get("before").is_none());
    let full = body_of(&event, Payload::Full);
    assert_eq!(full["data"]["before"], json!({"title": "a"}));
}

#[test]
fn what_a_schema_never_returns_is_in_no_body() {
    let mut updated = change(ChangeKind::UserUpdated);
    updated.after =
        Some(r#"{"pin":"1234","urn:x":{"secret":"1234","y":"z"},"list":[{"secret":"1234"}]}"#.into());
    let event = of_change(&updated, &Names::default()).remove(0);
    let hidden = |path: &[&str]| body::Hidden(path.iter().map(|&name| name.to_owned()).collect());
    let settings = BodySettings {
        hidden: vec![hidden(&["PIN"]), hidden(&["urn:x", "secret"]), hidden(&["list", "Secret"])],
        ..BodySettings::default()
    };
    let place = EventId { epoch: Epoch(1), seq: Seq(7), n: 0 };
    let body = body::render(&event, &settings, place, None).unwrap();
    let body: Value = serde_json::from_slice(&body.bytes).unwrap();
    assert!(!body.to_string().contains("1234"));
    assert_eq!(body["data"]["changed"], json!(["list", "urn:x"]));
    assert_eq!(body["data"]["previous"], Value::Null);
}

fn facts(title: &str) -> Facts {
    let doc = json!({"userName": "alice", "title": title, "active": true});
    let user = UserFacts {
        id: id(1),
        active: true,
        user_name: "alice".into(),
        doc: std::sync::Arc::new(doc.as_object().cloned().unwrap()),
        created: Timestamp(0),
        last_modified: Timestamp(0),
    };
    Facts {
        directories: vec![DirectoryFacts {
            id: acme(),
            enabled: true,
            pushed: true,
            claims: vec![],
            users: vec![user],
            groups: vec![],
        }],
        ..Facts::default()
    }
}

fn of_users(text: &str) -> EventFilter {
    use crate::scim::filter;
    let registry = crate::scim::schema::Registry::standard();
    let schema = registry.resource(ResourceType::User);
    let bound = filter::bind(&filter::parse(text).unwrap(), schema).unwrap();
    let users = crate::access::UserFilter { text: text.into(), bound };
    EventFilter::parse(vec!["*".into()]).unwrap().of_users(Some(users))
}

#[test]
fn a_user_filter_sees_the_user_now_and_on_both_sides_of_the_change() {
    let filter = of_users(r#"title eq "chef""#);
    let passes = |change: &Change, facts: &Facts| {
        let names = Names::of(facts);
        of_change(change, &names).iter().map(|event| filter.passes(event, &names)).collect::<Vec<_>>()
    };
    let mut updated = change(ChangeKind::UserUpdated);
    updated.before = Some(r#"{"title":"chef"}"#.into());
    updated.after = Some(r#"{"title":"cook"}"#.into());
    assert_eq!(passes(&updated, &facts("cook")), [true], "who leaves is told");
    updated.before = Some(r#"{"title":"waiter"}"#.into());
    assert_eq!(passes(&updated, &facts("cook")), [false]);
    assert_eq!(passes(&updated, &facts("chef")), [true]);
    let mut deleted = change(ChangeKind::UserDeleted);
    deleted.before = Some(r#"{"title":"cook"}"#.into());
    assert_eq!(passes(&deleted, &Facts::default()), [false]);
    let mut group = change(ChangeKind::GroupUpdated);
    group.members = vec![member(true, ResourceType::User), member(false, ResourceType::User)];
    assert_eq!(passes(&group, &facts("chef")), [false, true], "of somebody unknown only losses are told");
    group.members = vec![member(true, ResourceType::Group)];
    assert_eq!(passes(&group, &facts("chef")), [true]);
}

#[test]
fn what_may_take_access_away_is_known_cheaply() {
    assert!(takes_away(&change(ChangeKind::UserDeactivated), false));
    assert!(takes_away(&change(ChangeKind::UserDeleted), false));
    assert!(takes_away(&change(ChangeKind::DirectoryRemoved), false));
    assert!(takes_away(&change(ChangeKind::ConfigAccepted), false));
    assert!(takes_away(&change(ChangeKind::Other("decision".into())), false));
    assert!(!takes_away(&change(ChangeKind::UserCreated), true));
    assert!(!takes_away(&change(ChangeKind::TargetDrifted), true));
    let mut updated = change(ChangeKind::UserUpdated);
    updated.after = Some(r#"{"title":"x"}"#.into());
    assert!(!takes_away(&updated, false));
    assert!(takes_away(&updated, true));
    updated.after = Some(r#"{"userName":"x"}"#.into());
    assert!(takes_away(&updated, false));
    let mut group = change(ChangeKind::GroupUpdated);
    group.members = vec![member(true, ResourceType::User)];
    assert!(!takes_away(&group, false));
    group.members.push(member(false, ResourceType::User));
    assert!(takes_away(&group, false));
}
