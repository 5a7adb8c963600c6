//! What webhooks say about changes.

use super::*;
use crate::access::Entitlement;
use crate::mirror::change::MemberChange;
use crate::model::{Epoch, RoleName, Subject};

fn id(n: u8) -> ResourceId {
    ResourceId::new(u64::from(n), &[n; 10])
}

fn change(kind: Kind) -> Change {
    Change {
        seq: Seq(7),
        directory: Some(DirectoryId::parse("acme").unwrap()),
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

fn kinds(change: &Change, patterns: &[&str]) -> Vec<&'static str> {
    let filter = EventFilter::parse(patterns.iter().map(|&text| text.to_owned()).collect()).unwrap();
    of_change(change, &Names::default(), &filter).iter().map(|event| event.kind).collect()
}

#[test]
fn patterns_are_names_or_a_prefix_and_a_star() {
    let filter = EventFilter::parse(vec!["access.*".into(), "user.created".into()]).unwrap();
    assert!(filter.wants("access.granted") && filter.wants("user.created") && filter.wants_access());
    assert!(!filter.wants("user.deleted"));
    assert!(EventFilter::parse(vec!["*".into()]).unwrap().wants("group.user_added"));
    for bad in ["user", "us*", "user.creatd", ""] {
        assert!(EventFilter::parse(vec![bad.into()]).is_err(), "{bad}");
    }
    assert!(KINDS.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn members_are_said_one_by_one_and_a_deleted_group_says_deleted() {
    let mut updated = change(Kind::GroupUpdated);
    updated.members = vec![
        member(true, ResourceType::User),
        member(false, ResourceType::User),
        member(true, ResourceType::Group),
        member(false, ResourceType::Group),
    ];
    let expected = ["group.user_added", "group.user_removed", "group.group_added", "group.group_removed"];
    assert_eq!(kinds(&updated, &["*"]), expected);
    assert_eq!(kinds(&updated, &["group.user_added"]), ["group.user_added"]);
    updated.after = Some(r#"{"displayName":"x"}"#.into());
    assert_eq!(kinds(&updated, &["*"]).len(), 5);
    let mut deleted = change(Kind::GroupDeleted);
    deleted.members = vec![member(false, ResourceType::User)];
    assert_eq!(kinds(&deleted, &["*"]), ["group.deleted"]);
}

#[test]
fn bodies_carry_their_place_and_stay_under_the_bound() {
    let mut created = change(Kind::UserCreated);
    created.after = Some(format!(r#"{{"userName":"alice","title":"{}"}}"#, "x".repeat(30_000)));
    let filter = EventFilter::parse(vec!["*".into()]).unwrap();
    let event = of_change(&created, &Names::default(), &filter).remove(0);
    let place = |n| EventId { epoch: Epoch(1), seq: Seq(7), n };
    let body: Value = serde_json::from_slice(&event.body(place(1), Some(place(0)))).unwrap();
    assert_eq!(body["type"], "user.created");
    assert_eq!(body["timestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(body["data"]["previous"], json!([1, 7, 0]));
    assert_eq!(body["data"]["n"], 1);
    assert_eq!(body["data"]["thin"], true);
    assert_eq!(body["data"]["user"]["userName"], "alice");
    assert!(body["data"].get("after").is_none());
    created.after = Some(r#"{"userName":"bob"}"#.into());
    let event = of_change(&created, &Names::default(), &filter).remove(0);
    let body: Value = serde_json::from_slice(&event.body(place(0), None)).unwrap();
    assert_eq!(body["data"]["previous"], Value::Null);
    assert_eq!(body["data"]["after"]["userName"], "bob");
}

#[test]
fn access_events_name_subject_entitlement_and_reason() {
    let holding = Holding {
        subject: Subject { directory: DirectoryId::parse("acme").unwrap(), user: id(3) },
        entitlement: Entitlement::Role(RoleName::parse("admin").unwrap()),
        name: "alice".into(),
        attributes: Map::new(),
    };
    let event = of_access(&holding, "admin", "member of \"sre\"", true, Seq(9), Timestamp(0));
    assert_eq!(event.kind, "access.granted");
    assert_eq!(event.data["entitlement"], "role:admin");
    assert_eq!(event.data["subject"]["name"], "alice");
}

#[test]
fn what_may_take_access_away_is_known_cheaply() {
    assert!(takes_away(&change(Kind::UserDeactivated), false));
    assert!(takes_away(&change(Kind::UserDeleted), false));
    assert!(takes_away(&change(Kind::DirectoryRemoved), false));
    assert!(takes_away(&change(Kind::ConfigAccepted), false));
    assert!(takes_away(&change(Kind::Other("decision".into())), false));
    assert!(!takes_away(&change(Kind::UserCreated), true));
    let mut updated = change(Kind::UserUpdated);
    updated.after = Some(r#"{"title":"x"}"#.into());
    assert!(!takes_away(&updated, false));
    assert!(takes_away(&updated, true));
    updated.after = Some(r#"{"userName":"x"}"#.into());
    assert!(takes_away(&updated, false));
    let mut group = change(Kind::GroupUpdated);
    group.members = vec![member(true, ResourceType::User)];
    assert!(!takes_away(&group, false));
    group.members.push(member(false, ResourceType::User));
    assert!(takes_away(&group, false));
}
