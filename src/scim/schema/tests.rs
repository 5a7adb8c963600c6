//! The embedded schemas against RFC 7643 §8.7, look-up, and an operator's mistakes.

use serde_json::{Value, json};

use super::*;
use crate::model::ResourceType;

fn names(attributes: &[Attribute]) -> Vec<&str> {
    attributes.iter().map(|attribute| attribute.name.as_str()).collect()
}

#[test]
fn the_embedded_schemas_have_every_attribute_of_the_rfc() {
    let registry = Registry::standard();
    let user = registry.resource(ResourceType::User);
    assert_eq!(
        names(&user.core.attributes),
        [
            "userName",
            "name",
            "displayName",
            "nickName",
            "profileUrl",
            "title",
            "userType",
            "preferredLanguage",
            "locale",
            "timezone",
            "active",
            "password",
            "emails",
            "phoneNumbers",
            "ims",
            "photos",
            "addresses",
            "groups",
            "entitlements",
            "roles",
            "x509Certificates"
        ]
    );
    let enterprise = user.extension(ENTERPRISE_USER_URN).unwrap();
    assert_eq!(
        names(&enterprise.attributes),
        ["employeeNumber", "costCenter", "organization", "division", "department", "manager"]
    );
    assert_eq!(names(&registry.resource(ResourceType::Group).core.attributes), ["displayName", "members"]);
    for schema in registry.schemas() {
        let text = serde_json::to_string(schema).unwrap();
        assert_eq!(&Schema::parse(&text).unwrap(), schema, "an embedded schema passes an operator's checks");
        for attribute in schema.attributes.iter().flat_map(|a| std::iter::once(a).chain(&a.sub_attributes)) {
            assert!(!attribute.description.is_empty(), "{}", attribute.name);
        }
    }
}

#[test]
fn characteristics_are_those_of_the_rfc() {
    let registry = Registry::standard();
    let user = registry.resource(ResourceType::User);
    let found = |name: &str, sub: Option<&str>| user.find(None, name, sub).unwrap().last().clone();
    let user_name = found("userName", None);
    assert!(user_name.required && !user_name.case_exact && user_name.uniqueness == Uniqueness::Server);
    let password = found("password", None);
    assert!(password.mutability == Mutability::WriteOnly && password.returned == Returned::Never);
    assert!(found("groups", None).mutability == Mutability::ReadOnly);
    assert!(found("id", None).returned == Returned::Always && found("id", None).case_exact);
    assert!(found("externalId", None).case_exact);
    assert_eq!(found("meta", Some("lastModified")).data_type, DataType::DateTime);
    assert_eq!(found("active", None).data_type, DataType::Boolean);
    assert_eq!(found("x509Certificates", Some("value")).data_type, DataType::Binary);
    assert_eq!(found("photos", Some("value")).reference_types, ["external"]);
    assert_eq!(found("emails", Some("type")).canonical_values, ["work", "home", "other"]);
    assert!(!user.hides(), "nothing stored of the standard schemas is hidden");
}

#[test]
fn names_and_urns_are_found_in_any_case() {
    let registry = Registry::standard();
    let user = registry.resource(ResourceType::User);
    assert_eq!(user.find(None, "USERNAME", None).unwrap().attribute.name, "userName");
    assert_eq!(
        user.find(Some(&CORE_USER_URN.to_uppercase()), "name", Some("GIVENNAME")).unwrap().last().name,
        "givenName"
    );
    let manager = user.find(Some(&ENTERPRISE_USER_URN.to_uppercase()), "Manager", Some("Value")).unwrap();
    assert_eq!(
        (manager.extension.unwrap().urn.as_str(), manager.last().name.as_str()),
        (ENTERPRISE_USER_URN, "value")
    );
    assert!(user.find(None, "department", None).is_none());
    assert!(user.find(None, "name", Some("x")).is_none());
    assert!(user.find(Some("urn:x"), "userName", None).is_none());
}

#[test]
fn a_urn_is_split_where_a_known_schema_ends() {
    let registry = Registry::standard();
    let user = registry.resource(ResourceType::User);
    let split = |text: &str| user.split_urn(text).map(|(schema, rest)| (schema.urn.clone(), rest.to_owned()));
    let text = format!("{}:name.givenName", CORE_USER_URN.to_uppercase());
    assert_eq!(split(&text), Some((CORE_USER_URN.into(), "name.givenName".into())));
    assert_eq!(split(ENTERPRISE_USER_URN), Some((ENTERPRISE_USER_URN.into(), String::new())));
    assert_eq!(split(&format!("{ENTERPRISE_USER_URN}:")), Some((ENTERPRISE_USER_URN.into(), String::new())));
    for text in [
        "userName",
        "",
        "urn:é",
        &format!("{CORE_USER_URN}x"),
        &format!("{CORE_USER_URN}.x"),
        "urn:other:User:a",
    ] {
        assert_eq!(split(text), None, "{text}");
    }
}

#[test]
fn an_operators_schema_is_found_and_discovered_like_any_other() {
    let urn = "urn:example:params:scim:schemas:Badge:1.0:User";
    let text = json!({"id": urn, "name": "Badge", "attributes": [{"name": "number", "type": "integer"}]})
        .to_string();
    let extension = Extension {
        resource_type: ResourceType::User,
        schema: Schema::parse(&text).unwrap(),
        required: true,
    };
    let registry = Registry::with_extensions(vec![extension]).unwrap();
    let user = registry.resource(ResourceType::User);
    assert_eq!(user.find(Some(urn), "NUMBER", None).unwrap().last().data_type, DataType::Integer);
    assert_eq!(user.required_extensions().collect::<Vec<_>>(), [urn]);
    let document = resource_type(user, "https://h/scim/v2");
    assert_eq!(
        document["schemaExtensions"],
        json!([{"schema": ENTERPRISE_USER_URN, "required": false}, {"schema": urn, "required": true}])
    );
    let document = schema(&registry, &urn.to_uppercase(), "https://h/scim/v2").unwrap();
    assert_eq!(
        document["attributes"],
        json!([{"name": "number", "type": "integer", "multiValued": false, "description": "", "required": false,
                "caseExact": false, "mutability": "readWrite", "returned": "default", "uniqueness": "none"}])
    );
    assert_eq!(document["meta"]["location"], json!(format!("https://h/scim/v2/Schemas/{urn}")));
}

#[test]
fn an_operators_mistakes_are_refused_by_name() {
    let refused = |schema: Value| Schema::parse(&schema.to_string()).unwrap_err().to_string();
    let attribute = |attribute: Value| refused(json!({"id": "urn:example:x", "attributes": [attribute]}));
    assert_eq!(
        refused(json!({"id": "badge", "attributes": []})),
        "`badge` is not a schema URN; write one such as `urn:example:params:scim:schemas:Badge:1.0:User`"
    );
    assert!(
        refused(json!({"id": "urn:example:x"}))
            .starts_with("not a schema as in RFC 7643 section 7: missing field")
    );
    assert_eq!(
        attribute(json!({"name": "a b"})),
        "schema `urn:example:x`, attribute `a b`: a name is a letter, then letters, digits, `-` and `_`, at most 64 (RFC 7643 section 2.1)"
    );
    assert!(attribute(json!({"name": "a", "multivalued": true})).contains("unknown field `multivalued`"));
    assert_eq!(
        attribute(json!({"name": "a", "type": "complex"})),
        "schema `urn:example:x`, attribute `a`: type complex needs subAttributes"
    );
    assert_eq!(
        attribute(json!({"name": "a", "type": "complex", "subAttributes": [
            {"name": "b", "type": "complex", "subAttributes": [{"name": "c"}]}]})),
        "schema `urn:example:x`, attribute `a.b`: a sub-attribute cannot be complex (RFC 7643 section 2.3.8)"
    );
    assert_eq!(
        attribute(json!({"name": "a", "mutability": "writeOnly"})),
        "schema `urn:example:x`, attribute `a`: writeOnly needs returned `never` (RFC 7643 section 7)"
    );
    assert_eq!(
        attribute(json!({"name": "a", "mutability": "readOnly", "required": true})),
        "schema `urn:example:x`, attribute `a`: required and readOnly together: no client could ever set it"
    );
    assert_eq!(
        refused(json!({"id": "urn:example:x", "attributes": [{"name": "a"}, {"name": "A"}]})),
        "schema `urn:example:x`, attribute `A`: defined twice"
    );
    let twice = Extension {
        resource_type: ResourceType::User,
        schema: Schema {
            urn: ENTERPRISE_USER_URN.to_uppercase().replacen("URN", "urn", 1),
            name: String::new(),
            description: String::new(),
            attributes: Vec::new(),
        },
        required: false,
    };
    assert!(matches!(Registry::with_extensions(vec![twice]), Err(SchemaError::Twice { .. })));
}

#[test]
fn the_configuration_names_everything_a_client_may_look_for() {
    let document = service_provider_config(&Capabilities::default(), "https://h/scim/v2");
    for feature in ["patch", "bulk", "filter", "changePassword", "sort", "etag"] {
        assert!(document[feature]["supported"].is_boolean(), "{feature}");
    }
    assert_eq!(document["bulk"]["maxOperations"], json!(1000));
    assert_eq!(document["bulk"]["maxPayloadSize"], json!(16_777_216));
    assert_eq!(document["filter"]["maxResults"], json!(1000));
    assert_eq!(document["pagination"]["cursor"], json!(true));
    assert_eq!(document["authenticationSchemes"][0]["type"], json!("oauthbearertoken"));
    assert!(document.get("documentationUri").is_none());
    let more = Capabilities {
        documentation_uri: Some("https://h/docs".into()),
        cursor_timeout_secs: Some(60),
        ..Capabilities::default()
    };
    let document = service_provider_config(&more, "https://h/scim/v2");
    assert_eq!(document["documentationUri"], json!("https://h/docs"));
    assert_eq!(document["pagination"]["cursorTimeout"], json!(60));
}

#[test]
fn discovery_lists_both_types_and_all_schemas() {
    let registry = Registry::standard();
    let ids = |documents: Vec<Value>| -> Vec<String> {
        documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(resource_types(&registry, "b")), ["User", "Group"]);
    assert_eq!(ids(schemas(&registry, "b")), [CORE_USER_URN, CORE_GROUP_URN, ENTERPRISE_USER_URN]);
    assert_eq!(schema(&registry, "urn:none", "b"), None);
    let group = resource_type(registry.resource(ResourceType::Group), "b");
    assert_eq!(group["endpoint"], json!("/Groups"));
    assert_eq!(group["schemaExtensions"], json!([]));
}
