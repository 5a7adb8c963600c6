//! Drafting, merging and rendering, each rule by itself and as the round trip.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim::error::Error;
use crate::scim::json;
use crate::scim::projection::Projection;
use crate::scim::schema::{
    CORE_GROUP_URN, CORE_USER_URN, ENTERPRISE_USER_URN, Extension, Registry, ResourceSchema, Schema,
};

const BADGE_URN: &str = "urn:example:params:scim:schemas:Badge:1.0:User";
const BASE: &str = "https://h.example/scim/v2";

fn registry() -> Registry {
    let badge = json!({
        "id": BADGE_URN,
        "attributes": [
            {"name": "number", "type": "integer", "required": true},
            {"name": "weight", "type": "decimal"},
            {"name": "since", "type": "dateTime"},
            {"name": "chip", "type": "binary"},
            {"name": "serial", "mutability": "immutable"},
            {"name": "pin", "mutability": "writeOnly", "returned": "never"},
            {"name": "note", "returned": "request"},
            {"name": "shade", "returned": "always"},
            {"name": "doors", "multiValued": true},
            {"name": "seen", "mutability": "readOnly"},
            {"name": "lock", "type": "complex", "subAttributes": [
                {"name": "key", "required": true}, {"name": "code", "returned": "never"}]},
        ],
    });
    Registry::with_extensions(vec![Extension {
        resource_type: ResourceType::User,
        schema: Schema::parse(&badge.to_string()).unwrap(),
        required: false,
    }])
    .unwrap()
}

fn create(kind: ResourceType, body: Value) -> Result<Draft, Error> {
    draft(registry().resource(kind), body, Mode::Create, &Rules::default())
}

fn user(body: Value) -> Result<Value, Error> {
    create(ResourceType::User, body).map(|draft| Value::Object(draft.doc))
}

fn refused(body: Value) -> Error {
    user(body).unwrap_err()
}

/// A user whose badge is `badge`, refused.
fn badge_refused(badge: &Value) -> Error {
    refused(json!({"userName": "a", BADGE_URN: badge}))
}

#[test]
fn names_are_taken_in_any_case_and_written_in_the_schemas_spelling() {
    let body = json!({
        "UserName": "a", "NAME": {"givenname": "G"}, "Emails": [{"VALUE": "a@x", "Primary": true}], "EXTERNALID": "e",
        "urn:ietf:params:scim:schemas:extension:ENTERPRISE:2.0:user": {"Department": "R", "MANAGER": {"Value": "1"}},
    });
    assert_eq!(
        user(body).unwrap(),
        json!({
            "userName": "a", "name": {"givenName": "G"}, "emails": [{"value": "a@x", "primary": true}], "externalId": "e",
            ENTERPRISE_USER_URN: {"department": "R", "manager": {"value": "1"}}, "active": true,
        })
    );
}

#[test]
fn what_only_the_server_writes_is_ignored_as_are_schemas_and_password() {
    let body = json!({
        "schemas": "nonsense", "id": 7, "meta": [], "password": {"x": 1}, "Password": 3, "groups": "x", "userName": "a",
        ENTERPRISE_USER_URN: {"manager": {"value": "1", "displayName": "M"}},
        BADGE_URN: {"number": 1, "seen": 3},
    });
    assert_eq!(
        user(body).unwrap(),
        json!({
            "userName": "a", ENTERPRISE_USER_URN: {"manager": {"value": "1"}}, BADGE_URN: {"number": 1}, "active": true
        })
    );
    let group = create(ResourceType::Group, json!({"displayName": "g", "password": "x"})).unwrap();
    assert_eq!(Value::Object(group.doc), json!({"displayName": "g"}));
}

#[test]
fn what_nobody_knows_is_kept_as_it_came() {
    let body = json!({
        "userName": "a", "favouriteColor": "blue", "urn:okta:x:1.0:user:custom": {"a": [1, null]}, "": "e",
        "emails": [{"value": "a@x", "verified": true}], ENTERPRISE_USER_URN: {"floor": 3}, "none": null,
    });
    assert_eq!(
        user(body).unwrap(),
        json!({
            "userName": "a", "favouriteColor": "blue", "urn:okta:x:1.0:user:custom": {"a": [1, null]}, "": "e",
            "emails": [{"value": "a@x", "verified": true}], ENTERPRISE_USER_URN: {"floor": 3}, "active": true,
        })
    );
}

#[test]
fn null_and_empty_are_unassigned_at_every_level() {
    let body = json!({
        "userName": "a", "title": null, "emails": [], "addresses": null, "phoneNumbers": [null, {}, {"value": null}],
        "name": {"givenName": null}, "photos": [[]], "roles": {}, ENTERPRISE_USER_URN: {"department": null, "manager": null},
        "nickName": [],
    });
    assert_eq!(user(body).unwrap(), json!({"userName": "a", "active": true}));
}

#[test]
fn an_empty_text_is_a_value() {
    let body = json!({"userName": "a", "displayName": "", "active": false});
    assert_eq!(user(body.clone()).unwrap(), body);
}

#[test]
fn an_empty_external_id_is_none() {
    assert_eq!(
        user(json!({"userName": "a", "externalId": ""})).unwrap(),
        json!({"userName": "a", "active": true})
    );
}

#[test]
fn active_absent_or_null_is_true_in_post_and_open_in_put() {
    for body in [json!({"userName": "a"}), json!({"userName": "a", "active": null})] {
        assert_eq!(user(body.clone()).unwrap()["active"], json!(true));
        let put =
            draft(registry().resource(ResourceType::User), body, Mode::Replace, &Rules::default()).unwrap();
        assert!(!put.doc.contains_key("active"));
    }
    assert_eq!(user(json!({"userName": "a", "active": false})).unwrap()["active"], json!(false));
}

#[test]
fn a_value_of_another_type_is_refused_by_name() {
    for (body, detail) in [
        (json!({"userName": 1}), "attribute `userName` must be a string"),
        (json!({"userName": ["a"]}), "attribute `userName` must be a string"),
        (json!({"active": "True"}), "attribute `active` must be true or false, without quotes"),
        (json!({"active": 1}), "attribute `active` must be true or false, without quotes"),
        (json!({"name": "G"}), "attribute `name` must be an object"),
        (json!({"name": {"givenName": {"x": 1}}}), "attribute `name.givenName` must be a string"),
        (json!({"emails": {"value": "a"}}), "attribute `emails` must be an array"),
        (json!({"emails": ["a"]}), "attribute `emails` must hold objects"),
        (json!({"emails": [{"value": true}]}), "attribute `emails.value` must be a string"),
        (
            json!({"emails": [{"primary": "x"}]}),
            "attribute `emails.primary` must be true or false, without quotes",
        ),
        (json!({"profileUrl": 1}), "attribute `profileUrl` must be a string"),
        (
            json!({"x509Certificates": [{"value": "a b"}]}),
            "attribute `x509Certificates.value` must be Base64 text",
        ),
        (json!({"externalId": 7}), "attribute `externalId` must be a string"),
    ] {
        assert_eq!(refused(body), Error::invalid_value(detail));
    }
    assert_eq!(
        refused(json!({ENTERPRISE_USER_URN: "x"})),
        Error::invalid_value(format!("extension `{ENTERPRISE_USER_URN}` must be an object"))
    );
    assert_eq!(
        refused(json!({ENTERPRISE_USER_URN: {"department": 3}})),
        Error::invalid_value(format!("attribute `{ENTERPRISE_USER_URN}:department` must be a string"))
    );
    assert_eq!(
        refused(json!({ENTERPRISE_USER_URN: {"manager": "x"}})),
        Error::invalid_value(format!("attribute `{ENTERPRISE_USER_URN}:manager` must be an object"))
    );
    assert_eq!(refused(json!([])), Error::invalid_syntax("the request body must be a JSON object"));
    assert_eq!(refused(json!(null)), Error::invalid_syntax("the request body must be a JSON object"));
}

#[test]
fn an_operators_attributes_are_checked_by_their_type() {
    let good = json!({
        "number": 3, "weight": 1.5, "since": "2026-01-31T08:00:00+01:00", "chip": "AAEC/w==", "doors": ["a", "b"],
        "lock": {"key": "k"},
    });
    assert_eq!(user(json!({"userName": "a", BADGE_URN: good.clone()})).unwrap()[BADGE_URN], good);
    for (badge, rule) in [
        (json!({"number": 1.5}), "number` must be a whole number"),
        (json!({"number": "1"}), "number` must be a whole number"),
        (json!({"number": 1, "weight": "1"}), "weight` must be a number"),
        (
            json!({"number": 1, "since": "2026-01-31"}),
            "since` must be a date and time such as 2026-01-31T08:00:00Z",
        ),
        (json!({"number": 1, "since": "x"}), "since` must be a date and time such as 2026-01-31T08:00:00Z"),
        (json!({"number": 1, "doors": [1]}), "doors` must hold strings"),
        (json!({"number": 1, "doors": "a"}), "doors` must be an array"),
        (json!({"number": 1, "lock": {"code": "1"}}), "lock.key` is required"),
        (json!({"doors": ["a"]}), "number` is required"),
    ] {
        assert_eq!(badge_refused(&badge), Error::invalid_value(format!("attribute `{BADGE_URN}:{rule}")));
    }
    for since in ["2026-01-31T08:00:00Z", "2026-01-31T08:00:00.123456-08:00", "2026-01-31T08:00:00"] {
        assert!(user(json!({"userName": "a", BADGE_URN: {"number": 1, "since": since}})).is_ok(), "{since}");
    }
}

#[test]
fn a_required_attribute_may_be_neither_absent_nor_empty() {
    for body in [json!({}), json!({"userName": null}), json!({"userName": ""}), json!({"userName": []})] {
        assert_eq!(refused(body), Error::invalid_value("attribute `userName` is required"));
    }
    assert_eq!(
        create(ResourceType::Group, json!({"externalId": "x"})).unwrap_err(),
        Error::invalid_value("attribute `displayName` is required")
    );
}

#[test]
fn a_required_extension_may_not_be_absent() {
    let schema = Schema::parse(&json!({"id": BADGE_URN, "attributes": [{"name": "a"}]}).to_string()).unwrap();
    let extension = Extension { resource_type: ResourceType::Group, schema, required: true };
    let registry = Registry::with_extensions(vec![extension]).unwrap();
    let group = registry.resource(ResourceType::Group);
    let body = json!({"displayName": "g"});
    assert_eq!(
        draft(group, body, Mode::Create, &Rules::default()).unwrap_err(),
        Error::invalid_value(format!("extension `{BADGE_URN}` is required"))
    );
}

#[test]
fn a_put_may_leave_out_what_is_required_but_hidden() {
    let pin = json!({"name": "pin", "required": true, "mutability": "writeOnly", "returned": "never"});
    let schema = Schema::parse(&json!({"id": BADGE_URN, "attributes": [pin]}).to_string()).unwrap();
    let extension = Extension { resource_type: ResourceType::User, schema, required: true };
    let registry = Registry::with_extensions(vec![extension]).unwrap();
    let user = registry.resource(ResourceType::User);
    let body = json!({"userName": "a"});
    assert!(draft(user, body.clone(), Mode::Create, &Rules::default()).is_err());
    let mut put = draft(user, body, Mode::Replace, &Rules::default()).unwrap();
    assert_eq!(
        merge_put(user, &Doc::new(), &mut put.clone()).unwrap_err(),
        Error::invalid_value(format!("extension `{BADGE_URN}` is required"))
    );
    let old = json!({"userName": "a", BADGE_URN: {"pin": "1"}});
    merge_put(user, old.as_object().unwrap(), &mut put).unwrap();
    assert_eq!(Value::Object(put.doc), old);
}

#[test]
fn a_name_given_twice_in_different_case_is_refused() {
    for (body, name) in [
        (json!({"userName": "a", "USERNAME": "b"}), "userName"),
        (json!({"userName": "a", "name": {"givenName": "x", "GivenName": "y"}}), "name.givenName"),
        (json!({"userName": "a", ENTERPRISE_USER_URN: {"department": "x", "Department": "y"}}), "department"),
    ] {
        assert_eq!(
            refused(body),
            Error::invalid_syntax(format!("attribute `{name}` is given twice, in different letter case"))
        );
    }
    assert_eq!(
        create(ResourceType::Group, json!({"displayName": "g", "members": [], "Members": []})).unwrap_err(),
        Error::invalid_syntax("attribute `members` is given twice, in different letter case")
    );
}

#[test]
fn usual_values_are_suggestions() {
    let body = json!({"userName": "a", "emails": [{"value": "x", "type": "business"}], "active": true});
    assert_eq!(user(body.clone()).unwrap(), body);
}

#[test]
fn the_last_element_that_says_so_is_primary() {
    let body = json!({"userName": "a", "emails": [
        {"value": "1", "primary": true}, {"value": "2", "primary": true}, {"value": "3", "primary": false}]});
    assert_eq!(
        user(body).unwrap()["emails"],
        json!([{"value": "1", "primary": false}, {"value": "2", "primary": true}, {"value": "3", "primary": false}])
    );
}

#[test]
fn too_many_elements_are_refused() {
    let rules = Rules { elements_max: 2 };
    let body = json!({"userName": "a", "roles": [{"value": "1"}, {"value": "2"}, {"value": "3"}]});
    assert_eq!(
        draft(registry().resource(ResourceType::User), body, Mode::Create, &rules).unwrap_err(),
        Error::too_many("attribute `roles` takes at most 2 elements")
    );
}

#[test]
fn members_are_told_apart_from_no_mention_of_them() {
    let group = |body| create(ResourceType::Group, body).unwrap();
    assert_eq!(group(json!({"displayName": "g"})).members, None);
    assert_eq!(group(json!({"displayName": "g", "members": []})).members, Some(vec![]));
    assert_eq!(group(json!({"displayName": "g", "members": null})).members, Some(vec![]));
    let filled =
        group(json!({"displayName": "g", "Members": [{"value": "1", "display": "x", "type": "User"}]}));
    assert_eq!(filled.members, Some(vec![MemberRef { value: "1".into(), kind: Some(ResourceType::User) }]));
    assert!(!filled.doc.contains_key("members"));
}

fn put(old: Value, body: Value) -> Result<Value, Error> {
    let registry = registry();
    let schema = registry.resource(ResourceType::User);
    let Value::Object(old) = old else { panic!("no object") };
    let mut draft = draft(schema, body, Mode::Replace, &Rules::default())?;
    merge_put(schema, &old, &mut draft)?;
    Ok(Value::Object(draft.doc))
}

#[test]
fn put_keeps_active_if_it_is_not_mentioned_and_clears_the_rest() {
    let old =
        json!({"userName": "a", "title": "t", "active": false, ENTERPRISE_USER_URN: {"department": "R"}});
    assert_eq!(
        put(old.clone(), json!({"userName": "b"})).unwrap(),
        json!({"userName": "b", "active": false})
    );
    assert_eq!(
        put(old, json!({"userName": "b", "active": true})).unwrap(),
        json!({"userName": "b", "active": true})
    );
}

#[test]
fn put_keeps_what_the_client_could_not_see_and_refuses_to_change_what_is_fixed() {
    let old = json!({"userName": "a", BADGE_URN: {"number": 1, "serial": "S", "pin": "1234", "note": "n", "shade": "red"}});
    assert_eq!(
        put(old.clone(), json!({"userName": "a", BADGE_URN: {"number": 2, "note": "m"}})).unwrap(),
        json!({"userName": "a", BADGE_URN: {"number": 2, "note": "m", "serial": "S", "pin": "1234"}})
    );
    assert_eq!(
        put(old, json!({"userName": "a", BADGE_URN: {"number": 2, "serial": "T"}})).unwrap_err(),
        Error::mutability(format!("attribute `{BADGE_URN}:serial` is immutable and already has a value"))
    );
    let fresh = json!({"userName": "a", BADGE_URN: {"number": 1, "serial": "S"}});
    assert_eq!(put(json!({"userName": "a"}), fresh.clone()).unwrap(), fresh);
}

fn id(n: u8) -> ResourceId {
    ResourceId::new(1_700_000_000_000, &[n; 10])
}

fn shown(schema: &ResourceSchema, doc: &Value, projection: &Projection) -> Value {
    let meta = Meta {
        resource_type: schema.resource_type,
        created: Timestamp(1_700_000_000_123_456),
        last_modified: Timestamp(1_700_000_001_000_000),
        version: 3,
    };
    let groups = [GroupRef { id: id(2), display: "Crew \"N\"".into(), direct: false }];
    let members = [MemberOut { id: id(3), kind: ResourceType::User, display: String::new() }];
    let is_user = schema.resource_type == ResourceType::User;
    let mut out = Vec::new();
    let resource = Resource {
        schema,
        id: &id(1),
        doc: &doc.to_string(),
        meta: &meta,
        base: BASE,
        groups: is_user.then_some(&groups),
        members: (!is_user).then_some(&members),
    };
    render(&mut out, &resource, projection);
    json::parse(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn only(names: &str) -> Projection {
    Projection::new(Some(names), None).unwrap()
}

fn without(names: &str) -> Projection {
    Projection::new(None, Some(names)).unwrap()
}

#[test]
fn a_whole_user_is_schemas_id_document_groups_and_meta() {
    let registry = Registry::standard();
    let doc = json!({"userName": "a", ENTERPRISE_USER_URN: {"department": "R"}, "urn:x:y:z": {"urn:q": 1}});
    let found = shown(registry.resource(ResourceType::User), &doc, &Projection::Whole);
    let expected = json!({
        "schemas": [CORE_USER_URN, ENTERPRISE_USER_URN],
        "id": id(1).to_string(),
        "userName": "a",
        ENTERPRISE_USER_URN: {"department": "R"},
        "urn:x:y:z": {"urn:q": 1},
        "groups": [{"value": id(2).to_string(), "$ref": format!("{BASE}/Groups/{}", id(2)), "type": "indirect",
                    "display": "Crew \"N\""}],
        "meta": {"resourceType": "User", "created": "2023-11-14T22:13:20.123Z", "lastModified": "2023-11-14T22:13:21.000Z",
                 "location": format!("{BASE}/Users/{}", id(1)), "version": "W/\"3\""},
    });
    assert_eq!(found, expected);
    let order: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(order, ["schemas", "id", "userName", ENTERPRISE_USER_URN, "urn:x:y:z", "groups", "meta"]);
}

#[test]
fn a_group_shows_its_members_unless_they_are_excluded() {
    let registry = Registry::standard();
    let schema = registry.resource(ResourceType::Group);
    let doc = json!({"displayName": "g"});
    let whole = shown(schema, &doc, &Projection::Whole);
    assert_eq!(
        whole["members"],
        json!([{"value": id(3).to_string(), "$ref": format!("{BASE}/Users/{}", id(3)), "type": "User"}])
    );
    let lean = shown(schema, &doc, &without("MEMBERS"));
    assert_eq!(
        lean.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["schemas", "id", "displayName", "meta"]
    );
    assert_eq!(lean["schemas"], json!([CORE_GROUP_URN]));
    let values = shown(schema, &doc, &only("members.value"));
    assert_eq!(
        values,
        json!({"schemas": [CORE_GROUP_URN], "id": id(1).to_string(), "members": [{"value": id(3).to_string()}]})
    );
}

#[test]
fn attributes_and_excluded_attributes_reach_every_part() {
    let registry = Registry::standard();
    let schema = registry.resource(ResourceType::User);
    let doc = json!({
        "userName": "a", "name": {"givenName": "G", "familyName": "F"}, "emails": [{"value": "v", "type": "work"}],
        ENTERPRISE_USER_URN: {"department": "R", "manager": {"value": "1"}}, "odd": 1,
    });
    let custom = json!({"userName": "a", "urn:okta:x:1.0:user:custom": {"a": 1}});
    let part = shown(schema, &custom, &only("URN:okta:x:1.0:user:custom"));
    assert_eq!(part.as_object().unwrap().keys().next_back().unwrap(), "urn:okta:x:1.0:user:custom");
    let keys = |projection: Projection| -> Vec<String> {
        shown(schema, &doc, &projection).as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(only("UserName,odd,unknown")), ["schemas", "id", "userName", "odd"]);
    assert_eq!(keys(only("id")), ["schemas", "id"]);
    assert_eq!(
        keys(without("id,schemas,userName,name,emails,groups,meta,odd")),
        ["schemas", "id", ENTERPRISE_USER_URN]
    );
    assert_eq!(keys(only(CORE_USER_URN)).len(), 8);
    let part = shown(schema, &doc, &only("name.givenName,emails.type,meta.version,groups.display"));
    assert_eq!(part["name"], json!({"givenName": "G"}));
    assert_eq!(part["emails"], json!([{"type": "work"}]));
    assert_eq!(part["meta"], json!({"version": "W/\"3\""}));
    assert_eq!(part["groups"], json!([{"display": "Crew \"N\""}]));
    assert_eq!(part["schemas"], json!([CORE_USER_URN]));
    let urn = format!("{CORE_USER_URN}:name.familyName,{ENTERPRISE_USER_URN}:manager");
    let part = shown(schema, &doc, &only(&urn));
    assert_eq!(part["name"], json!({"familyName": "F"}));
    assert_eq!(part[ENTERPRISE_USER_URN], json!({"manager": {"value": "1"}}));
    assert_eq!(part["schemas"], json!([CORE_USER_URN, ENTERPRISE_USER_URN]));
    let rest = shown(schema, &doc, &without("name.familyName,meta.location"));
    assert_eq!(rest["name"], json!({"givenName": "G"}));
    assert_eq!(rest["meta"].as_object().unwrap().len(), 4);
}

#[test]
fn returned_rules_over_what_the_client_asks_for() {
    let registry = registry();
    let schema = registry.resource(ResourceType::User);
    let doc = json!({"userName": "a", BADGE_URN: {
        "number": 1, "pin": "1234", "note": "n", "shade": "red", "lock": {"key": "k", "code": "c"}}});
    let badge = |projection: Projection| shown(schema, &doc, &projection).get(BADGE_URN).cloned();
    assert_eq!(badge(Projection::Whole), Some(json!({"number": 1, "shade": "red", "lock": {"key": "k"}})));
    assert_eq!(badge(only("userName")), Some(json!({"shade": "red"})));
    assert_eq!(
        badge(only(&format!("{BADGE_URN}:note,{BADGE_URN}:pin"))),
        Some(json!({"note": "n", "shade": "red"}))
    );
    assert_eq!(badge(only(BADGE_URN)), Some(json!({"number": 1, "shade": "red", "lock": {"key": "k"}})));
    assert_eq!(badge(without(BADGE_URN)), Some(json!({"shade": "red"})));
    assert_eq!(badge(only(&format!("{BADGE_URN}:lock.code"))), Some(json!({"shade": "red"})));
}

/// Text with what JSON and URNs make difficult.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \"\\\\{}\\[\\],:@.é😀/]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z\"\\\\{}:,.é]{1,10}"
}

fn opaque() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name(), inner, 0..4)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

fn element() -> impl Strategy<Value = Value> {
    (text(), proptest::option::of(text()), proptest::option::of(any::<bool>()))
        .prop_map(|(value, kind, primary)| json!({"value": value, "type": kind, "primary": primary}))
}

fn any_user() -> impl Strategy<Value = Value> {
    (
        "[a-z]{1,8}",
        proptest::option::of(text()),
        proptest::option::of(any::<bool>()),
        proptest::collection::vec(element(), 0..4),
        (proptest::option::of(text()), proptest::option::of(text())),
        (proptest::option::of(text()), proptest::option::of(text())),
        proptest::collection::btree_map(name(), opaque(), 0..4),
    )
        .prop_map(|(user_name, title, active, emails, names, enterprise, unknown)| {
            let mut body = json!({
                "USERNAME": user_name, "title": title, "active": active, "emails": emails,
                "name": {"givenName": names.0, "FamilyName": names.1},
                ENTERPRISE_USER_URN: {"department": enterprise.0, "manager": {"value": enterprise.1}},
            });
            let known = Registry::standard();
            let schema = known.resource(ResourceType::User);
            for (name, value) in unknown {
                if schema.attribute(&name).is_none() && !name.eq_ignore_ascii_case("password") {
                    body[name] = value;
                }
            }
            body
        })
}

proptest! {
    #[test]
    fn put_of_what_get_returned_changes_nothing(body in any_user()) {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        let first = draft(schema, body, Mode::Create, &Rules::default()).unwrap();
        let doc = Value::Object(first.doc.clone());
        let mut second = draft(schema, shown(schema, &doc, &Projection::Whole), Mode::Replace, &Rules::default()).unwrap();
        merge_put(schema, &first.doc, &mut second).unwrap();
        prop_assert_eq!(&second, &first);
        // In the same order too, so that the stored text is the same.
        prop_assert_eq!(Value::Object(second.doc).to_string(), doc.to_string());
    }

    #[test]
    fn every_known_value_that_came_in_goes_out(body in any_user()) {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        let drafted = draft(schema, body.clone(), Mode::Create, &Rules::default()).unwrap();
        let out = shown(schema, &Value::Object(drafted.doc), &Projection::Whole);
        prop_assert_eq!(&out["userName"], &body["USERNAME"]);
        prop_assert_eq!(out.get("title").unwrap_or(&Value::Null), &body["title"]);
        prop_assert_eq!(out.pointer("/name/familyName").unwrap_or(&Value::Null), &body["name"]["FamilyName"]);
        // Of identical elements one is kept.
        let mut emails: Vec<&Value> = Vec::new();
        for email in body["emails"].as_array().unwrap() {
            if !emails.contains(&email) {
                emails.push(email);
            }
        }
        prop_assert_eq!(out.get("emails").map_or(0, |emails| emails.as_array().unwrap().len()), emails.len());
        for (at, email) in emails.iter().enumerate() {
            prop_assert_eq!(&out["emails"][at]["value"], &email["value"]);
        }
        prop_assert_eq!(&out[ENTERPRISE_USER_URN]["department"], &body[ENTERPRISE_USER_URN]["department"]);
    }

    #[test]
    fn no_body_and_no_projection_makes_it_panic(
        body in prop_oneof![opaque(), any_user()], names in prop_oneof![text(), "[a-zA-Z.,:]{0,20}"]
    ) {
        let registry = registry();
        for kind in [ResourceType::User, ResourceType::Group] {
            let schema = registry.resource(kind);
            let projections = [Projection::new(Some(&names), None), Projection::new(None, Some(&names))];
            if let Ok(drafted) = draft(schema, body.clone(), Mode::Replace, &Rules::default()) {
                for projection in projections.into_iter().flatten() {
                    shown(schema, &Value::Object(drafted.doc.clone()), &projection);
                }
            }
        }
    }
}
