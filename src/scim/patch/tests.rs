//! PATCH as the RFC tells it and as identity providers send it: each body goes through the dialect, the reader
//! and the core, as a request does.

use serde_json::{Value, json};

use super::*;
use crate::model::{DirectoryKind, ResourceType};
use crate::scim::dialect::{Quirk, Quirks, Used, rewrite_patch};
use crate::scim::error::{Error, ScimType};
use crate::scim::resource::Doc;
use crate::scim::schema::Registry;

const ENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

struct Outcome {
    doc: Value,
    patched: Patched,
    used: Used,
}

fn run(kind: ResourceType, quirks: Quirks, doc: &Value, mut body: Value) -> Result<Outcome, Error> {
    let registry = Registry::standard();
    let schema = registry.resource(kind);
    let mut used = Used::NONE;
    rewrite_patch(&mut body, quirks, schema, &mut used);
    let request = parse(body)?;
    let mut doc: Doc = doc.as_object().unwrap().clone();
    let patched = apply(schema, &mut doc, &request, &Options::of(quirks))?;
    let used = used.union(patched.used());
    Ok(Outcome { doc: Value::Object(doc), patched, used })
}

fn body(operations: &Value) -> Value {
    json!({ "schemas": [PATCH_URN], "Operations": operations })
}

/// A user, strictly.
fn strict(doc: &Value, operations: &Value) -> Result<Outcome, Error> {
    run(ResourceType::User, Quirks::NONE, doc, body(operations))
}

fn entra(doc: &Value, operations: &Value) -> Result<Outcome, Error> {
    run(ResourceType::User, Quirks::for_kind(DirectoryKind::Entra), doc, body(operations))
}

fn group(kind: DirectoryKind, operations: &Value) -> Result<Outcome, Error> {
    let doc = json!({"displayName": "Crew", "externalId": "x"});
    run(ResourceType::Group, Quirks::for_kind(kind), &doc, body(operations))
}

fn mira() -> Value {
    json!({"userName": "mira", "active": true, "title": "Engineer",
           "name": {"givenName": "Mira", "familyName": "Vale"},
           "emails": [{"value": "w@x", "type": "work", "primary": true}, {"value": "h@x", "type": "home"}]})
}

fn refused(outcome: Result<Outcome, Error>, kind: ScimType) {
    match outcome {
        Ok(outcome) => panic!("taken: {}", outcome.doc),
        Err(error) => assert_eq!((error.status, error.scim_type), (400, Some(kind)), "{error}"),
    }
}

/// Applies to a user and compares one part of the result.
fn check(outcome: Result<Outcome, Error>, pointer: &str, expected: &Value) {
    let outcome = outcome.unwrap_or_else(|error| panic!("{pointer}: {error}"));
    assert_eq!(outcome.doc.pointer(pointer).unwrap_or(&Value::Null), expected, "{pointer}");
}

fn ent(attribute: &str) -> String {
    format!("/{ENT}/{attribute}")
}

#[test]
fn each_operation_and_path_form_of_rfc_7644_3_5_2() {
    let doc = mira();
    for (operation, pointer, expected) in [
        (json!({"op": "add", "path": "nickName", "value": "M"}), "/nickName", json!("M")),
        (json!({"op": "add", "path": "NICKNAME", "value": "M"}), "/nickName", json!("M")),
        (json!({"op": "replace", "path": "title", "value": "Boss"}), "/title", json!("Boss")),
        (json!({"op": "replace", "path": "title", "value": null}), "/title", json!(null)),
        (json!({"op": "remove", "path": "title"}), "/title", json!(null)),
        (json!({"op": "remove", "path": "nickName"}), "/nickName", json!(null)),
        (
            json!({"op": "replace", "path": "name.givenName", "value": "M"}),
            "/name",
            json!({"givenName": "M", "familyName": "Vale"}),
        ),
        (
            json!({"op": "replace", "path": "name", "value": {"givenName": "M"}}),
            "/name",
            json!({"givenName": "M", "familyName": "Vale"}),
        ),
        (json!({"op": "remove", "path": "name.givenName"}), "/name", json!({"familyName": "Vale"})),
        (json!({"op": "add", "value": {"name": {"middleName": "Q"}}}), "/name/givenName", json!("Mira")),
        (
            json!({"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:name.middleName", "value": "Q"}),
            "/name/middleName",
            json!("Q"),
        ),
        (
            json!({"op": "add", "path": format!("{ENT}:department"), "value": "R"}),
            &ent("department"),
            json!("R"),
        ),
        (json!({"op": "add", "path": ENT, "value": {"department": "R"}}), &ent("department"), json!("R")),
        (json!({"op": "add", "value": {ENT: {"department": "R"}}}), &ent("department"), json!("R")),
        (
            json!({"op": "add", "path": format!("{ENT}:manager.value"), "value": "m"}),
            &ent("manager"),
            json!({"value": "m"}),
        ),
        (
            json!({"op": "add", "path": "emails", "value": [{"value": "o@x", "type": "other"}]}),
            "/emails/2",
            json!({"value": "o@x", "type": "other"}),
        ),
        (
            json!({"op": "add", "path": "emails", "value": {"value": "o@x", "primary": true}}),
            "/emails/0/primary",
            json!(false),
        ),
        (
            json!({"op": "replace", "path": "emails", "value": [{"value": "o@x"}]}),
            "/emails",
            json!([{"value": "o@x"}]),
        ),
        (json!({"op": "replace", "path": "emails", "value": []}), "/emails", json!(null)),
        (json!({"op": "remove", "path": "emails"}), "/emails", json!(null)),
        (
            json!({"op": "remove", "path": "emails[type eq \"work\"]"}),
            "/emails",
            json!([{"value": "h@x", "type": "home"}]),
        ),
        (json!({"op": "remove", "path": "emails[type eq \"fax\"]"}), "/emails/1/value", json!("h@x")),
        (
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "n@x"}),
            "/emails/0",
            json!({"value": "n@x", "type": "work", "primary": true}),
        ),
        (
            json!({"op": "replace", "path": "emails[type eq \"home\"]", "value": {"display": "H"}}),
            "/emails/1",
            json!({"value": "h@x", "type": "home", "display": "H"}),
        ),
        (
            json!({"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}),
            "/emails/0/primary",
            json!(false),
        ),
        (json!({"op": "remove", "path": "active"}), "/active", json!(null)),
        (json!({"op": "replace", "path": "active", "value": null}), "/active", json!(false)),
        (json!({"op": "replace", "value": {"active": null}}), "/active", json!(false)),
        (json!({"op": "replace", "value": {"password": "x"}}), "/password", json!(null)),
        (json!({"op": "replace", "path": "password", "value": "x"}), "/password", json!(null)),
        (
            json!({"op": "replace", "value": {"id": "i", "schemas": [], "meta": {}, "groups": [{"value": "g"}]}}),
            "/id",
            json!(null),
        ),
        (json!({"op": "add", "value": {"badge": {"n": 1}}}), "/badge", json!({"n": 1})),
        (json!({"op": "add", "value": {"urn:x:y": {"n": 1}}}), "/urn:x:y", json!({"n": 1})),
    ] {
        check(strict(&doc, &json!([operation.clone()])), pointer, &expected);
        // The same again changes nothing.
        let once = strict(&doc, &json!([operation.clone()])).unwrap().doc;
        let again = strict(&once, &json!([operation.clone()])).unwrap();
        assert!(!again.patched.doc_changed, "{operation}");
    }
}

#[test]
fn what_the_rfc_refuses_is_refused_with_its_keyword() {
    use ScimType::{InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget};
    for (operation, kind) in [
        (json!({"op": "remove"}), NoTarget),
        (json!({"op": "remove", "value": {"title": "x"}}), NoTarget),
        (json!({"op": "replace", "path": "emails[type eq \"fax\"].value", "value": "x"}), NoTarget),
        (json!({"op": "replace", "path": "id", "value": "x"}), Mutability),
        (json!({"op": "replace", "path": "meta.version", "value": "x"}), Mutability),
        (json!({"op": "add", "path": "groups", "value": [{"value": "x"}]}), Mutability),
        (json!({"op": "replace", "path": format!("{ENT}:manager.displayName"), "value": "x"}), Mutability),
        (json!({"op": "remove", "path": "userName"}), Mutability),
        (json!({"op": "replace", "path": "userName", "value": null}), InvalidValue),
        (json!({"op": "replace", "path": "userName", "value": ""}), InvalidValue),
        (json!({"op": "replace", "path": "userName", "value": 1}), InvalidValue),
        (json!({"op": "replace", "path": "active", "value": "True"}), InvalidValue),
        (json!({"op": "replace", "path": "emails", "value": {"value": "x"}}), InvalidValue),
        (json!({"op": "replace", "value": "x"}), InvalidValue),
        (json!({"op": "add", "path": "title"}), InvalidValue),
        (json!({"op": "add", "path": "badge", "value": 1}), InvalidPath),
        (json!({"op": "add", "path": "name.badge", "value": 1}), InvalidPath),
        (json!({"op": "add", "path": "urn:x:y:z", "value": 1}), InvalidPath),
        (json!({"op": "add", "path": "name[givenName eq \"x\"]", "value": {}}), InvalidPath),
        (json!({"op": "add", "path": "a b", "value": 1}), InvalidPath),
        (json!({"op": "add", "path": null, "value": {}}), InvalidPath),
        (json!({"op": "add", "path": "emails[type zz \"x\"]", "value": {}}), ScimType::InvalidFilter),
        (json!({"op": "Add", "path": "title", "value": "x"}), InvalidSyntax),
        (json!({"op": "move", "path": "title", "value": "x"}), InvalidSyntax),
        (json!({"op": "add", "path": "title", "value": "x", "name": "y"}), InvalidSyntax),
        (json!("x"), InvalidSyntax),
    ] {
        refused(strict(&mira(), &json!([operation])), kind);
    }
    refused(run(ResourceType::User, Quirks::NONE, &mira(), json!({"Operations": []})), InvalidSyntax);
    refused(run(ResourceType::User, Quirks::NONE, &mira(), json!([])), InvalidSyntax);
    let many = vec![json!({"op": "remove", "path": "title"}); OPERATIONS_MAX + 1];
    refused(strict(&mira(), &json!(many)), ScimType::TooMany);
    let wide = json!([{"op": "add", "value": {"x": vec![1; VALUES_MAX]}}]);
    refused(strict(&mira(), &wide), ScimType::TooMany);
    assert!(!strict(&mira(), &json!([])).unwrap().patched.doc_changed);
}

#[test]
fn adding_what_is_there_changes_nothing_and_a_known_pair_is_merged() {
    let again = json!([{"op": "add", "path": "emails",
                        "value": [{"type": "work", "primary": true, "value": "w@x"}]}]);
    assert!(!strict(&mira(), &again).unwrap().patched.doc_changed);
    let more =
        json!([{"op": "add", "path": "emails", "value": [{"type": "home", "value": "h@x", "display": "H"}]}]);
    let outcome = strict(&mira(), &more).unwrap();
    assert_eq!(outcome.doc["emails"].as_array().unwrap().len(), 2);
    assert_eq!(outcome.doc["emails"][1]["display"], "H");
}

#[test]
fn several_operations_on_one_attribute_are_applied_in_order() {
    let operations = json!([{"op": "remove", "path": "externalId"}, {"op": "add", "path": "externalId", "value": "a"},
                            {"op": "replace", "path": "externalId", "value": "b"}]);
    check(strict(&mira(), &operations), "/externalId", &json!("b"));
}

#[test]
fn entra_default_dialect() {
    let doc = mira();
    for (operations, pointer, expected) in [
        (json!([{"op": "Replace", "path": "active", "value": "False"}]), "/active", json!(false)),
        (json!([{"op": "Add", "path": "name.givenName", "value": "X"}]), "/name/givenName", json!("X")),
        (
            json!([{"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+1"}]),
            "/phoneNumbers",
            json!([{"type": "mobile", "value": "+1"}]),
        ),
        (
            json!([{"op": "Add", "path": "addresses[type eq \"work\"].streetAddress", "value": "1 Harbour Way"},
                   {"op": "Add", "path": "addresses[type eq \"work\"].locality", "value": "Newport"},
                   {"op": "Add", "path": "addresses[type eq \"home\"].Formatted", "value": "F"}]),
            "/addresses",
            json!([{"type": "work", "streetAddress": "1 Harbour Way", "locality": "Newport"},
                   {"type": "home", "formatted": "F"}]),
        ),
        (
            json!([{"op": "Replace", "path": "emails[type eq \"work\"].Value", "value": "n@x"}]),
            "/emails/0/value",
            json!("n@x"),
        ),
        (
            json!([{"op": "Add", "path": "roles[primary eq \"True\"].value", "value": "v"},
                   {"op": "Add", "path": "roles[primary eq \"True\"].display", "value": "d"},
                   {"op": "Add", "path": "roles[primary eq \"True\"].type", "value": "t"}]),
            "/roles",
            json!([{"primary": true, "value": "v", "display": "d", "type": "t"}]),
        ),
        (
            json!([{"op": "Add", "path": "roles", "value": [{"value": "{\"id\":1}"}]}]),
            "/roles/0/value",
            json!("{\"id\":1}"),
        ),
        (
            json!([{"op": "replace", "path": "roles",
                    "value": [{"primary": "False", "value": "a"}, {"primary": "True", "value": "b"}]}]),
            "/roles",
            json!([{"primary": false, "value": "a"}, {"primary": true, "value": "b"}]),
        ),
        (
            json!([{"op": "Remove", "path": "emails[type eq \"work\"].value", "value": "w@x"}]),
            "/emails",
            json!([{"value": "h@x", "type": "home"}]),
        ),
        (
            json!([{"op": "Replace", "path": "emails[type eq \"home\"].primary", "value": "True"}]),
            "/emails/0/primary",
            json!(false),
        ),
        (
            json!([{"op": "Add", "path": format!("{ENT}:department"), "value": "R"}]),
            &ent("department"),
            json!("R"),
        ),
        (
            json!([{"op": "Add", "path": format!("{ENT}.department"), "value": "R"}]),
            &ent("department"),
            json!("R"),
        ),
        (
            json!([{"op": "Add", "path": "title", "value": [{"$ref": null, "value": "X"}]}]),
            "/title",
            json!("X"),
        ),
        (
            json!([{"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:custom:2.0:User:tag", "value": "t"}]),
            "/urn:ietf:params:scim:schemas:extension:custom:2.0:User/tag",
            json!("t"),
        ),
        (json!([{"op": "Replace", "path": "title", "value": ""}]), "/title", json!("")),
        (
            json!([{"op": "Replace", "path": "title", "value": ""}, {"op": "Replace", "path": "title", "value": null}]),
            "/title",
            json!(null),
        ),
        (
            json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": ""}]),
            "/emails/1",
            json!(null),
        ),
        (json!([]), "/title", json!("Engineer")),
    ] {
        check(entra(&doc, &operations), pointer, &expected);
    }
    refused(
        entra(&doc, &json!([{"op": "Replace", "path": "active", "value": "yes"}])),
        ScimType::InvalidValue,
    );
}

#[test]
fn entra_writes_and_clears_the_manager_in_every_form() {
    let mut doc = mira();
    let path = format!("{ENT}:manager");
    for value in
        [json!("m"), json!({"value": "m"}), json!([{"$ref": "x", "value": "m"}]), json!({"Value": "m"})]
    {
        check(
            entra(&doc, &json!([{"op": "Replace", "path": path, "value": value}])),
            &ent("manager/value"),
            &json!("m"),
        );
    }
    check(
        entra(&doc, &json!([{"op": "Add", "path": "manager", "value": [{"value": "m"}]}])),
        &ent("manager/value"),
        &json!("m"),
    );
    doc[ENT] = json!({"department": "R", "manager": {"value": "old"}});
    for value in [json!(""), json!({"value": ""}), json!(null), json!({"value": null})] {
        let outcome = entra(&doc, &json!([{"op": "Replace", "path": path, "value": value}])).unwrap();
        assert_eq!(outcome.doc[ENT], json!({"department": "R"}), "{value}");
    }
    check(entra(&doc, &json!([{"op": "Remove", "path": path}])), &ent("manager"), &json!(null));
}

#[test]
fn entra_with_its_flag_sends_flat_keys() {
    let value = json!({"displayName": "Miri", "name.givenName": "Miri", "active": true,
        format!("{ENT}:employeeNumber"): "E-2", format!("{ENT}:manager.value"): "m",
        "emails[type eq \"work\"].value": "n@x", "name": {"familyName": "O"}});
    let outcome = entra(&mira(), &json!([{"op": "replace", "value": value}])).unwrap();
    assert_eq!(outcome.doc["name"], json!({"givenName": "Miri", "familyName": "O"}));
    assert_eq!(outcome.doc[ENT], json!({"employeeNumber": "E-2", "manager": {"value": "m"}}));
    assert_eq!(outcome.doc["emails"][0]["value"], "n@x");
    assert!(outcome.used.has(Quirk::FlatKeys));
    assert!(outcome.doc.as_object().unwrap().keys().all(|key| !key.contains('.') || key == ENT));
    // One that is nothing but flat keys.
    check(
        entra(&mira(), &json!([{"op": "replace", "value": {"name.givenName": "X"}}])),
        "/name/givenName",
        &json!("X"),
    );
}

#[test]
fn a_created_element_is_only_made_from_equalities() {
    for path in [
        "emails[type ne \"fax\" and type ne \"work\" and type ne \"home\"].value",
        "emails[type sw \"f\"].value",
    ] {
        refused(entra(&mira(), &json!([{"op": "Add", "path": path, "value": "x"}])), ScimType::NoTarget);
    }
    let outcome =
        entra(&mira(), &json!([{"op": "Add", "path": "emails[type eq \"fax\"].value", "value": ""}]));
    assert!(!outcome.unwrap().patched.doc_changed);
    let outcome = entra(
        &mira(),
        &json!([{"op": "Replace", "path": "emails[type eq \"fax\"]", "value": {"value": "f", "primary": true}}]),
    )
    .unwrap();
    assert_eq!(outcome.doc["emails"][2], json!({"type": "fax", "value": "f", "primary": true}));
    assert_eq!(outcome.doc["emails"][0]["primary"], json!(false));
    assert!(outcome.used.has(Quirk::CreateFromFilter));
}

fn member(value: &str) -> MemberRef {
    MemberRef { value: value.to_owned(), kind: None }
}

#[test]
fn members_become_row_edits_in_order() {
    use DirectoryKind::{Authentik, Entra, Generic, Jumpcloud, Okta};
    let a = || vec![member("a")];
    for (kind, operations, expected) in [
        (
            Entra,
            json!([{"op": "Add", "path": "members", "name": "addMember",
                    "value": [{"$ref": null, "value": "a"}, {"value": "b"}, {"value": "a", "displayName": "x"}]}]),
            vec![MemberEdit::Add(vec![member("a"), member("b")])],
        ),
        (
            Entra,
            json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": "a"}]}]),
            vec![MemberEdit::Remove(vec!["a".into()])],
        ),
        (Entra, json!([{"op": "Remove", "path": "members"}]), vec![MemberEdit::Replace(vec![])]),
        (
            Okta,
            json!([{"op": "remove", "path": "members[value eq \"a\"]"},
                   {"op": "add", "path": "members", "value": [{"value": "b", "display": "x"}]}]),
            vec![MemberEdit::Remove(vec!["a".into()]), MemberEdit::Add(vec![member("b")])],
        ),
        (
            Okta,
            json!([{"op": "replace", "path": "members", "value": [{"value": "a"}]}]),
            vec![MemberEdit::Replace(a())],
        ),
        (Okta, json!([{"op": "replace", "path": "members", "value": []}]), vec![MemberEdit::Replace(vec![])]),
        (
            Okta,
            json!([{"op": "replace", "value": {"members": [{"value": "a"}]}}]),
            vec![MemberEdit::Replace(a())],
        ),
        (Generic, json!([{"op": "add", "value": {"members": [{"value": "a"}]}}]), vec![MemberEdit::Add(a())]),
        (
            Jumpcloud,
            json!([{"op": "remove", "path": "members", "value": [{"value": "a"}]}]),
            vec![MemberEdit::Remove(vec!["a".into()])],
        ),
        (
            Generic,
            json!([{"op": "remove", "path": "members", "value": ["a", "b"]}]),
            vec![MemberEdit::Remove(vec!["a".into(), "b".into()])],
        ),
        (
            Generic,
            json!([{"op": "remove", "value": {"members": [{"value": "a"}]}}]),
            vec![MemberEdit::Remove(vec!["a".into()])],
        ),
        (
            Generic,
            json!([{"op": "remove", "path": "members[value eq \"a\" or value eq \"b\"]"}]),
            vec![MemberEdit::Remove(vec!["a".into(), "b".into()])],
        ),
        (
            Authentik,
            json!([{"op": "replace", "path": null,
                    "value": {"id": "g", "schemas": ["x"], "externalId": "x", "displayName": "Crew"}}]),
            vec![],
        ),
        (Generic, json!([{"op": "replace", "value": {"displayName": "Crew", "members": null}}]), vec![]),
    ] {
        let outcome = group(kind, &operations).unwrap_or_else(|error| panic!("{operations}: {error}"));
        assert_eq!(outcome.patched.members, expected, "{operations}");
        assert!(!outcome.patched.doc_changed, "{operations}");
        assert!(outcome.doc.get("members").is_none());
    }
    let outcome = group(Generic, &json!([{"op": "remove", "path": "members[type eq \"Group\"]"}])).unwrap();
    assert!(matches!(outcome.patched.members.as_slice(), [MemberEdit::RemoveMatching(_)]));
}

#[test]
fn removing_members_by_a_value_that_names_nobody_never_empties_the_group() {
    for value in
        [json!([]), json!({}), json!(""), json!(null), json!([{"display": "x"}]), json!([null]), json!(1)]
    {
        for kind in DirectoryKind::ALL {
            refused(
                group(kind, &json!([{"op": "remove", "path": "members", "value": value}])),
                ScimType::InvalidValue,
            );
        }
    }
    // The RFC alone.
    let doc = json!({"displayName": "Crew"});
    let operations = json!([{"op": "remove", "path": "members", "value": [{"value": "a"}]}]);
    let outcome = run(ResourceType::Group, Quirks::NONE, &doc, body(&operations)).unwrap();
    assert_eq!(outcome.patched.members, [MemberEdit::Replace(vec![])]);
}

#[test]
fn members_are_only_added_and_removed_whole() {
    for operation in [
        json!({"op": "replace", "path": "members[value eq \"a\"].value", "value": "b"}),
        json!({"op": "replace", "path": "members[value eq \"a\"]", "value": {"value": "b"}}),
        json!({"op": "remove", "path": "members.value"}),
        json!({"op": "remove", "path": "displayName"}),
    ] {
        refused(group(DirectoryKind::Generic, &json!([operation])), ScimType::Mutability);
    }
    refused(
        group(DirectoryKind::Generic, &json!([{"op": "replace", "path": "members", "value": ""}])),
        ScimType::InvalidValue,
    );
}

#[test]
fn authentik_leaves_schemas_out_and_okta_repeats_the_id() {
    let quirks = Quirks::for_kind(DirectoryKind::Authentik);
    let doc = json!({"displayName": "Crew"});
    let request = json!({"Operations": [{"op": "replace", "value": {"id": "g", "displayName": "Crew II"}}]});
    let outcome = run(ResourceType::Group, quirks, &doc, request).unwrap();
    assert_eq!(outcome.doc["displayName"], "Crew II");
    assert_eq!(outcome.used.iter().collect::<Vec<_>>(), [Quirk::PatchSchemas]);
    let operations = json!([{"op": "replace", "value": {"id": "g", "displayName": "Crew East"}}]);
    let outcome = group(DirectoryKind::Okta, &operations).unwrap();
    assert_eq!((outcome.doc["displayName"].as_str(), outcome.patched.members.len()), (Some("Crew East"), 0));
    assert!(outcome.used.is_empty());
}

#[test]
fn okta_and_jumpcloud_need_no_quirk_for_users() {
    for kind in [DirectoryKind::Okta, DirectoryKind::Jumpcloud] {
        let operations = json!([{"op": "replace", "value": {"active": false}},
                                {"op": "replace", "path": "name.givenName", "value": "T"},
                                {"op": "replace", "value": {"password": "secret"}}]);
        let outcome = run(ResourceType::User, Quirks::for_kind(kind), &mira(), body(&operations)).unwrap();
        assert_eq!((&outcome.doc["active"], &outcome.doc["name"]["givenName"]), (&json!(false), &json!("T")));
        assert!(outcome.used.is_empty() && outcome.doc.get("password").is_none());
    }
}

#[test]
fn unknown_paths_are_kept_and_removed_again() {
    let urn = "urn:x:custom:2.0:User";
    for (operation, expected) in [
        (json!({"op": "Add", "path": "badge", "value": {"n": 1}}), json!({"badge": {"n": 1}})),
        (json!({"op": "Add", "path": "badge.n", "value": 1}), json!({"badge": {"n": 1}})),
        (json!({"op": "Add", "path": format!("{urn}:tag"), "value": "t"}), json!({urn: {"tag": "t"}})),
        (json!({"op": "Add", "path": urn, "value": {"tag": "t"}}), json!({urn: {"tag": "t"}})),
        (json!({"op": "Add", "path": format!("{ENT}:odd"), "value": "t"}), json!({ENT: {"odd": "t"}})),
    ] {
        let outcome = entra(&json!({}), &json!([operation])).unwrap();
        assert_eq!(outcome.doc, expected, "{operation}");
        assert!(outcome.used.has(Quirk::UnknownPaths));
        let mut removal = operation;
        removal["op"] = json!("remove");
        assert_eq!(entra(&outcome.doc, &json!([removal])).unwrap().doc, json!({}));
    }
    let twice =
        json!([{"op": "add", "value": {"tags": ["a"]}}, {"op": "add", "value": {"TAGS": ["b", "a"]}}]);
    assert_eq!(entra(&json!({}), &twice).unwrap().doc, json!({"tags": ["a", "b"]}));
}

#[test]
fn an_operator_schema_has_its_characteristics_enforced() {
    use crate::scim::schema::{Extension, Schema};
    let urn = "urn:example:params:scim:schemas:Badge:1.0:User";
    let text = json!({"id": urn, "name": "Badge", "attributes": [
        {"name": "number", "type": "integer", "required": true},
        {"name": "issued", "type": "dateTime", "mutability": "immutable"},
        {"name": "seen", "mutability": "readOnly"},
        {"name": "pin", "mutability": "writeOnly", "returned": "never"},
        {"name": "doors", "multiValued": true, "caseExact": true}]});
    let schema = Schema::parse(&text.to_string()).unwrap();
    let extension = Extension { resource_type: ResourceType::User, schema, required: false };
    let registry = Registry::with_extensions(vec![extension]).unwrap();
    let run = |doc: Value, operations: Value| {
        let mut doc = doc.as_object().unwrap().clone();
        let request = parse(body(&operations))?;
        apply(registry.resource(ResourceType::User), &mut doc, &request, &Options::default())?;
        Ok::<_, Error>(Value::Object(doc).pointer(&format!("/{urn}")).cloned().unwrap_or_default())
    };
    let held = || json!({urn: {"number": 1, "issued": "2026-01-01T00:00:00Z", "doors": ["a", "B"]}});
    let at = |attribute: &str| format!("{urn}:{attribute}");
    let kind = |outcome: Result<Value, Error>| outcome.unwrap_err().scim_type.unwrap();
    let add = |attribute: &str, value: Value| json!([{"op": "add", "path": at(attribute), "value": value}]);
    assert_eq!(kind(run(json!({}), add("doors", json!(["x"])))), ScimType::InvalidValue);
    assert_eq!(kind(run(held(), add("number", json!("1")))), ScimType::InvalidValue);
    assert_eq!(kind(run(held(), json!([{"op": "remove", "path": at("number")}]))), ScimType::Mutability);
    assert_eq!(kind(run(held(), add("issued", json!("2027-01-01T00:00:00Z")))), ScimType::Mutability);
    assert!(run(held(), add("issued", json!("2026-01-01T00:00:00Z"))).is_ok());
    assert_eq!(kind(run(held(), json!([{"op": "remove", "path": at("issued")}]))), ScimType::Mutability);
    assert_eq!(kind(run(held(), add("seen", json!("x")))), ScimType::Mutability);
    assert_eq!(run(held(), add("pin", json!("1"))).unwrap()["pin"], "1");
    assert_eq!(run(held(), add("doors", json!(["B", "c"]))).unwrap()["doors"], json!(["a", "B", "c"]));
    let filtered = |op: &str| json!([{"op": op, "path": at("doors[value eq \"B\"]"), "value": "z"}]);
    assert_eq!(run(held(), filtered("remove")).unwrap()["doors"], json!(["a"]));
    assert_eq!(run(held(), filtered("replace")).unwrap()["doors"], json!(["a", "z"]));
    assert_eq!(
        run(json!({urn: {"number": 1}}), json!([{"op": "remove", "path": urn}])).unwrap(),
        Value::Null
    );
}

#[test]
fn many_operations_on_a_long_array_are_refused() {
    let emails: Vec<Value> = (0..1_000).map(|n| json!({"value": format!("{n}@x")})).collect();
    let one = json!({"op": "replace", "path": "emails[value eq \"1@x\"].display", "value": "d"});
    let doc = json!({"userName": "u", "emails": emails});
    assert!(strict(&doc, &json!(vec![one.clone(); 200])).is_ok());
    refused(strict(&doc, &json!(vec![one; 201])), ScimType::TooMany);
}
