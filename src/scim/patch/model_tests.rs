//! Properties: PATCH does what a slow, obvious model does, keeps documents canonical, and survives anything.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::model::{DirectoryKind, ResourceType};
use crate::scim::dialect::{Quirks, Used, rewrite_filter, rewrite_patch, rewrite_resource};
use crate::scim::resource::{Doc, Rules, normalise};
use crate::scim::schema::Registry;

const SIMPLE: [&str; 4] = ["title", "nickName", "displayName", "externalId"];

/// One operation on a simple attribute: its place among [`SIMPLE`], the operation, the value.
fn simple_op() -> impl Strategy<Value = (usize, u8, Option<String>)> {
    (0..SIMPLE.len(), 0u8..4, proptest::option::of("[a-c]{1,2}"))
}

/// One operation on members: add, remove one, replace, remove by value, empty.
fn member_op() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0u8..5, proptest::collection::vec(0u8..6, 1..4))
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop_oneof![
            Just(""),
            Just("True"),
            Just("false"),
            Just("work"),
            Just("add"),
            Just("Remove"),
            Just("members"),
            Just("emails[type eq \"work\"].value"),
            Just("emails[primary eq \"True\"]"),
            Just("name.givenName"),
            Just("manager"),
            Just("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
            Just("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User.manager"),
            Just("active"),
            Just("members[value eq \"a\"]"),
            Just("urn:x:y:z.w"),
            Just("roles[display sw \"a\"].type"),
            Just("meta.created"),
            Just("[x]"),
        ]
        .prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("op"),
        Just("Path"),
        Just("value"),
        Just("Operations"),
        Just("schemas"),
        Just("members"),
        Just("emails"),
        Just("type"),
        Just("primary"),
        Just("name"),
        Just("name.familyName"),
        Just("active"),
        Just("manager"),
        Just("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
        Just("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"),
        Just("x509Certificates"),
        Just("urn:scim:schemas:extension:enterprise:1.0"),
        Just("userName"),
        Just("odd"),
        Just("password"),
        Just("emails[type eq \"home\"].value"),
        Just("ims"),
        Just("id"),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|all| Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn operation() -> impl Strategy<Value = Value> {
    let op = prop_oneof![Just("add"), Just("Replace"), Just("remove")];
    let path = prop_oneof![
        2 => Just(Value::Null),
        1 => Just(json!("emails")), 1 => Just(json!("emails[type eq \"work\"]")),
        1 => Just(json!("emails[type eq \"work\"].value")), 1 => Just(json!("emails.primary")),
        1 => Just(json!("roles[primary eq \"True\"].value")), 1 => Just(json!("name")),
        1 => Just(json!("name.givenName")), 1 => Just(json!("manager")), 1 => Just(json!("odd.part")),
        1 => Just(json!("active")), 1 => Just(json!("members")), 1 => Just(json!("ims[value pr]")),
        1 => Just(json!("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User")),
    ];
    (op, path, json_value()).prop_map(|(op, path, value)| json!({"op": op, "path": path, "value": value}))
}

fn text_of(id: u8) -> String {
    char::from(b'a' + id).to_string()
}

/// The model of member edits: a plain list.
fn replay(members: &mut Vec<String>, edits: &[MemberEdit]) {
    let join = |members: &mut Vec<String>, refs: &[MemberRef]| {
        for one in refs {
            if !members.contains(&one.value) {
                members.push(one.value.clone());
            }
        }
    };
    for edit in edits {
        match edit {
            MemberEdit::Add(refs) => join(members, refs),
            MemberEdit::Remove(ids) => members.retain(|id| !ids.contains(id)),
            MemberEdit::Replace(refs) => {
                members.clear();
                join(members, refs);
            }
            MemberEdit::RemoveMatching(_) => unreachable!("the model sends none"),
        }
    }
}

fn patch(kind: ResourceType, doc: &mut Doc, mut body: Value) -> Result<Patched, crate::scim::error::Error> {
    let registry = Registry::standard();
    let schema = registry.resource(kind);
    let quirks = Quirks::for_kind(DirectoryKind::Generic);
    rewrite_patch(&mut body, quirks, schema, &mut Used::NONE.clone());
    apply(schema, doc, &parse(body)?, &Options::of(quirks))
}

proptest! {
    #[test]
    fn simple_attributes_end_as_in_the_model(operations in proptest::collection::vec(simple_op(), 0..12)) {
        let mut model = Map::from_iter([("userName".to_owned(), json!("u")), ("title".to_owned(), json!("a"))]);
        let start = model.clone();
        let mut doc = model.clone();
        let mut sent = Vec::new();
        for (at, form, value) in operations {
            let name = SIMPLE[at];
            let value = value.map_or(Value::Null, Value::from);
            sent.push(match form {
                0 => json!({"op": "remove", "path": name}),
                1 => json!({"op": "add", "path": name, "value": value}),
                2 => json!({"op": "replace", "path": name.to_uppercase(), "value": value}),
                _ => json!({"op": "replace", "value": {name: value}}),
            });
            if form == 0 || value.is_null() {
                model.remove(name);
            } else {
                model.insert(name.to_owned(), value);
            }
        }
        let patched = patch(ResourceType::User, &mut doc, json!({"schemas": [PATCH_URN], "Operations": sent})).unwrap();
        prop_assert_eq!(patched.doc_changed, model != start);
        prop_assert_eq!(doc, model);
    }

    #[test]
    fn members_end_as_in_the_model(operations in proptest::collection::vec(member_op(), 0..12)) {
        let mut model: Vec<String> = vec!["a".to_owned()];
        let mut sent = Vec::new();
        for (form, ids) in operations {
            let ids: Vec<String> = ids.into_iter().map(text_of).collect();
            let value: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
            match form {
                0 => sent.push(json!({"op": "add", "path": "members", "value": value})),
                1 => sent.push(json!({"op": "remove", "path": format!("members[value eq \"{}\"]", ids[0])})),
                2 => sent.push(json!({"op": "replace", "path": "members", "value": value})),
                3 => sent.push(json!({"op": "Remove", "path": "members", "value": value})),
                _ => sent.push(json!({"op": "remove", "path": "members"})),
            }
            match form {
                1 => model.retain(|id| *id != ids[0]),
                3 => model.retain(|id| !ids.contains(id)),
                2 | 4 => model.clear(),
                _ => {}
            }
            if form == 0 || form == 2 {
                for id in ids {
                    if !model.contains(&id) {
                        model.push(id);
                    }
                }
            }
        }
        let mut doc = Map::from_iter([("displayName".to_owned(), json!("g"))]);
        let patched = patch(ResourceType::Group, &mut doc, json!({"schemas": [PATCH_URN], "Operations": sent})).unwrap();
        prop_assert!(!patched.doc_changed);
        let mut members = vec!["a".to_owned()];
        replay(&mut members, &patched.members);
        prop_assert_eq!(members, model);
    }

    #[test]
    fn a_patched_document_is_canonical(
        first in proptest::collection::vec(operation(), 0..4),
        second in proptest::collection::vec(operation(), 0..3),
    ) {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        let mut doc = Map::from_iter([("userName".to_owned(), json!("u")), ("active".to_owned(), json!(true))]);
        for operations in [first, second] {
            let mut next = doc.clone();
            if patch(ResourceType::User, &mut next, json!({"Operations": operations})).is_ok() {
                doc = next;
            }
        }
        prop_assert!(doc.get("userName").is_some_and(Value::is_string));
        prop_assert!(doc.get("active").is_none_or(Value::is_boolean));
        for name in ["id", "schemas", "meta", "password", "groups"] {
            prop_assert!(!doc.contains_key(name), "{}", name);
        }
        for attribute in &schema.core.attributes {
            let Some(value) = doc.get(&attribute.name) else { continue };
            let again = normalise(attribute, None, value.clone(), &Rules::default()).unwrap();
            prop_assert_eq!(again.as_ref(), Some(value), "{}", attribute.name);
            let primaries = value.as_array().into_iter().flatten().filter(|one| one["primary"] == true).count();
            prop_assert!(primaries <= 1);
        }
        for extension in &schema.extensions {
            let Some(inner) = doc.get(&extension.urn) else { continue };
            let inner = inner.as_object().unwrap();
            prop_assert!(!inner.is_empty());
            for attribute in &extension.attributes {
                let Some(value) = inner.get(&attribute.name) else { continue };
                let again = normalise(attribute, None, value.clone(), &Rules::default()).unwrap();
                prop_assert_eq!(again.as_ref(), Some(value), "{}", attribute.name);
            }
        }
    }

    #[test]
    fn nothing_sent_makes_a_request_panic(body in json_value(), doc in json_value(), all in any::<bool>()) {
        let registry = Registry::standard();
        let quirks = if all { Quirks::for_kind(DirectoryKind::Generic) } else { Quirks::NONE };
        for kind in [ResourceType::User, ResourceType::Group] {
            let schema = registry.resource(kind);
            let mut resource = body.clone();
            rewrite_resource(&mut resource, quirks, schema, &mut Used::NONE.clone());
            for body in [body.clone(), json!({"schemas": [PATCH_URN], "Operations": [body.clone()]})] {
                let mut body = body;
                rewrite_patch(&mut body, quirks, schema, &mut Used::NONE.clone());
                let Ok(request) = parse(body) else { continue };
                let mut doc = doc.as_object().cloned().unwrap_or_default();
                let _ = apply(schema, &mut doc, &request, &Options::of(quirks));
            }
        }
    }

    #[test]
    fn a_rewritten_filter_still_binds_or_is_refused(text in "(manager|emails\\[type eq \"x\"\\]\\.value|active) (eq|ne) \"(True|x)\"") {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        for quirks in [Quirks::NONE, Quirks::for_kind(DirectoryKind::Entra)] {
            let mut filter = crate::scim::filter::parse(&text).unwrap();
            if rewrite_filter(&mut filter, quirks, schema, &mut Used::NONE.clone()).is_ok() {
                let bound = crate::scim::filter::bind(&filter, schema);
                prop_assert_eq!(bound.is_ok(), quirks != Quirks::NONE && text != "active eq \"x\"" && text != "active ne \"x\"");
            }
        }
    }
}
