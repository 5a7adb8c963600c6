//! Bodies of POST and PUT as identity providers send them, and filters.

use serde_json::{Value, json};

use super::*;
use crate::model::{DirectoryKind, ResourceType};
use crate::scim::filter::{bind, parse};
use crate::scim::resource::{Doc, Mode, Rules, draft};
use crate::scim::schema::Registry;

const ENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn create(kind: DirectoryKind, mut body: Value) -> (Doc, Vec<Quirk>) {
    let registry = Registry::standard();
    let schema = registry.resource(ResourceType::User);
    let mut used = Used::NONE;
    rewrite_resource(&mut body, Quirks::for_kind(kind), schema, &mut used);
    let drafted = draft(schema, body, Mode::Create, &Rules::default()).unwrap();
    (drafted.doc, used.iter().collect())
}

#[test]
fn entra_creates_with_strings_for_booleans_and_managers() {
    let (doc, used) = create(
        DirectoryKind::Entra,
        json!({"schemas": [ENT], "externalId": "x", "userName": "mira", "active": "False", "addresses": null,
               "meta": {"resourceType": "User"}, "phoneNumbers": null, "title": null,
               "roles": [{"primary": "True", "type": "WindowsAzureActiveDirectoryRole", "value": "r"}],
               "urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User": {"tag": "t"},
               ENT: {"department": null, "Manager": "m"}}),
    );
    assert_eq!(doc["active"], false);
    assert_eq!(doc["roles"][0]["primary"], true);
    assert_eq!(doc[ENT], json!({"manager": {"value": "m"}}));
    assert_eq!(
        doc["urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User"],
        json!({"tag": "t"})
    );
    assert_eq!(used, [Quirk::BooleanStrings, Quirk::ManagerAsString]);
}

#[test]
fn onelogin_sends_old_urns_and_one_object_for_emails() {
    let (doc, used) = create(
        DirectoryKind::Onelogin,
        json!({"schemas": ["urn:scim:schemas:core:1.0", "urn:scim:schemas:extension:enterprise:1.0"],
               "userName": "olive", "emails": {"value": "o@x", "type": "work", "primary": true},
               "urn:scim:schemas:extension:enterprise:1.0": {"department": "R"}}),
    );
    assert_eq!(doc["emails"], json!([{"value": "o@x", "type": "work", "primary": true}]));
    assert_eq!(doc[ENT], json!({"department": "R"}));
    assert_eq!(used, [Quirk::SingleObject, Quirk::LegacyUrns]);
}

#[test]
fn jumpcloud_and_okta_create_without_a_quirk() {
    let body = json!({"active": true, "addresses": [{"country": "", "locality": "", "type": "work"}], "displayName": "",
        "emails": [{"primary": true, "type": "work", "value": "jc@x"}], "externalId": "65f0", "locale": "",
        "name": {"familyName": "User", "givenName": "Test"}, "phoneNumbers": [{"type": "work", "value": "tel:+1"}],
        "password": "1mz050nq", "groups": [], "schemas": [ENT], "userName": "jc"});
    for kind in [DirectoryKind::Jumpcloud, DirectoryKind::Okta] {
        let (doc, used) = create(kind, body.clone());
        assert_eq!(used, []);
        assert!(!doc.contains_key("password") && !doc.contains_key("groups"));
    }
}

#[test]
fn an_empty_text_for_what_is_no_text_is_no_value() {
    let (doc, used) = create(
        DirectoryKind::Entra,
        json!({"userName": "u", "roles": "", "name": "", "title": "", "manager": "m", ENT: ""}),
    );
    assert!(!doc.contains_key("roles") && !doc.contains_key("name"));
    assert_eq!((&doc["title"], doc.get(ENT)), (&json!(""), None));
    assert_eq!(used, [Quirk::EmptyString, Quirk::ManagerWithoutUrn]);
}

#[test]
fn without_quirks_nothing_is_touched() {
    let registry = Registry::standard();
    let body = json!({"active": "True", "emails": {"value": "x"}, "title": ["x"], "manager": "m", "name": "",
        "urn:scim:schemas:extension:enterprise:1.0": {}, ENT: {"manager": ["m"]},
        "Operations": [{"op": "Add", "path": null, "x": 1, "value": {"name.givenName": ["x"], "active": "True"}},
                       {"op": "Add", "path": "emails[primary eq \"True\"]", "value": [{"value": "x"}]},
                       {"op": "remove", "value": {"members": []}}]});
    for kind in [ResourceType::User, ResourceType::Group] {
        let mut used = Used::NONE;
        let (mut resource, mut patch) = (body.clone(), body.clone());
        rewrite_resource(&mut resource, Quirks::NONE, registry.resource(kind), &mut used);
        rewrite_patch(&mut patch, Quirks::NONE, registry.resource(kind), &mut used);
        assert_eq!((&resource, &patch), (&body, &body));
        assert!(used.is_empty());
    }
}

#[test]
fn filters_of_entra_are_rewritten_and_counted() {
    let registry = Registry::standard();
    let schema = registry.resource(ResourceType::User);
    for (text, quirk, rewritten) in [
        ("active eq \"True\"", Quirk::BooleanStrings, "active eq true"),
        ("not (emails[primary eq \"FALSE\"])", Quirk::BooleanStrings, "not (emails[primary eq false])"),
        (
            "id eq \"x\" and manager eq \"y\"",
            Quirk::ManagerWithoutUrn,
            "id eq \"x\" and urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq \"y\"",
        ),
        (
            "emails[type eq \"work\"].value eq \"x\"",
            Quirk::ValuePathComparison,
            "emails[type eq \"work\"].value eq \"x\"",
        ),
    ] {
        let mut used = Used::NONE;
        let mut filter = parse(text).unwrap();
        rewrite_filter(&mut filter, Quirks::for_kind(DirectoryKind::Entra), schema, &mut used).unwrap();
        assert_eq!(filter.to_string(), rewritten);
        assert_eq!(used.iter().collect::<Vec<_>>(), [quirk]);
        bind(&filter, schema).unwrap();
        // The RFC alone knows none of them.
        let mut filter = parse(text).unwrap();
        let strict = rewrite_filter(&mut filter, Quirks::NONE, schema, &mut used);
        assert!(strict.and_then(|()| bind(&filter, schema)).is_err(), "{text}");
    }
}
