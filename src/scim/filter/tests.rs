//! The filter's grammar, its binding and its meaning.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{ResourceType, Timestamp};
use crate::scim::error::ScimType;
use crate::scim::resource::Doc;
use crate::scim::schema::Registry;

fn user() -> Doc {
    let Value::Object(doc) = json!({
        "userName": "Mira@Example.com", "externalId": "Ext-1", "active": true, "title": "",
        "name": {"familyName": "Vale", "givenName": "Mira"},
        "emails": [{"value": "mira@example.com", "type": "work", "primary": true},
                   {"value": "m@home.example", "type": "home"}],
        "roles": [{"value": "admin"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
            {"department": "Research", "manager": {"value": "m-1"}},
    }) else {
        unreachable!()
    };
    doc
}

fn holds(filter: &str) -> bool {
    let registry = Registry::standard();
    let doc = user();
    let resource = Attributes {
        id: "u-1",
        doc: &doc,
        created: Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap(),
        last_modified: Timestamp::parse_rfc3339("2026-02-01T10:00:00.5Z").unwrap(),
        version: 7,
        members: &[],
        groups: &["g-1".to_owned()],
    };
    let parsed = parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    let bound = bind(&parsed, registry.resource(ResourceType::User))
        .unwrap_or_else(|error| panic!("{filter}: {error}"));
    matches(&bound, &resource)
}

fn refusal(filter: &str) -> crate::scim::error::Error {
    let registry = Registry::standard();
    match parse(filter) {
        Err(error) => error,
        Ok(parsed) => bind(&parsed, registry.resource(ResourceType::User))
            .map_or_else(|error| error, |bound| panic!("{filter} was taken: {bound:?}")),
    }
}

#[test]
fn filters_hold_as_rfc_7644_3_4_2_2_says() {
    for (filter, expected) in [
        ("userName eq \"mira@EXAMPLE.com\"", true),
        ("USERNAME EQ \"mira@example.com\"", true),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"MIRA\"", true),
        ("externalId eq \"ext-1\"", false),
        ("externalId eq \"Ext-1\"", true),
        ("id eq \"u-1\"", true),
        ("id eq \"U-1\"", false),
        ("name.familyName co \"AL\"", true),
        ("name.familyName ew \"LE\"", true),
        ("name.familyName gt \"Va\"", true),
        ("name.familyName lt \"Va\"", false),
        ("active eq true", true),
        ("active ne true", false),
        ("title pr", false),
        ("nickName pr", false),
        ("nickName eq null", true),
        ("nickName ne null", false),
        ("userName ne null", true),
        ("nickName ne \"x\"", true),
        ("not (nickName eq \"x\")", true),
        ("name pr", true),
        ("emails pr", true),
        ("emails.primary pr", true),
        ("addresses pr", false),
        ("emails eq \"M@HOME.example\"", true),
        ("emails.type ne \"work\"", true),
        ("roles.type ne \"work\"", false),
        ("emails[type eq \"work\" and value ew \"example.com\"]", true),
        ("emails[type eq \"home\" and value ew \"example.com\"]", false),
        ("emails[not (primary pr)]", true),
        ("emails[not (type pr)]", false),
        ("emails[type ne \"work\" and value co \"home\"]", true),
        ("emails[type ne \"work\" and type ne \"home\"]", false),
        ("emails[type eq \"work\"].value eq \"mira@example.com\"", true),
        ("emails[type eq \"home\"].value eq \"mira@example.com\"", false),
        ("manager eq \"m-1\"", true),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq \"m-1\"", true),
        ("urn:ietf:params:scim:schemas:extension:ENTERPRISE:2.0:user:Department eq \"research\"", true),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr", true),
        ("schemas eq \"urn:ietf:params:scim:schemas:core:2.0:User\"", true),
        ("schemas co \"enterprise\"", true),
        ("schemas eq \"urn:x\"", false),
        ("groups.value eq \"g-1\"", true),
        ("groups eq \"g-2\"", false),
        ("groups[value eq \"g-1\"]", true),
        ("meta.resourceType eq \"User\"", true),
        ("meta.resourceType ne \"User\"", false),
        ("meta.Created lt \"2026-01-01T01:00:00+00:30\"", true),
        ("meta.lastModified ge \"2026-02-01T11:00:00.5+01:00\"", true),
        ("meta.lastModified gt \"2026-02-01T11:00:00.5+01:00\"", false),
        ("meta.version eq \"W/\\\"7\\\"\"", true),
        ("meta.version eq \"W/\\\"8\\\"\"", false),
        ("meta.location eq \"https://x/scim/v2/Users/u-1\"", true),
        ("meta.location eq \"https://x/scim/v2/Groups/u-1\"", false),
        // `and` before `or`.
        ("active eq true or active eq false and title pr", true),
        ("(active eq true or active eq false) and title pr", false),
        ("not(title pr) and active eq true", true),
    ] {
        assert_eq!(holds(filter), expected, "{filter}");
    }
}

#[test]
fn what_is_not_understood_is_invalid_filter_and_never_repeated() {
    let deep = format!("{}userName pr{}", "(".repeat(33), ")".repeat(33));
    let long = format!("userName eq \"{}\"", "x".repeat(5_000));
    let many = vec!["userName pr"; 65].join(" or ");
    let garbage = format!("{}zzz", "not(".repeat(31));
    for filter in [
        "",
        "userName",
        "userName zz \"zzz\"",
        "userName eq",
        "userName eq zzz",
        "userName eq \"zzz",
        "userName eq \"zzz\" userName pr",
        "userName eq \"zzz\" and",
        "(userName eq \"zzz\"",
        "userName eq \"zzz\")",
        "emails[type eq \"zzz\"",
        "emails[emails[type eq \"zzz\"]]",
        "userName eq 'zzz'",
        "zzz eq \"1\"",
        "userName.zzz eq \"1\"",
        "urn:zzz:attr eq \"1\"",
        "password eq \"zzz\"",
        "password pr",
        "name eq \"zzz\"",
        "addresses eq \"zzz\"",
        "active eq \"True\"",
        "active gt true",
        "active co \"zzz\"",
        "userName eq 1",
        "userName gt null",
        "meta.created co \"zzz\"",
        "meta.created eq \"zzz\"",
        "meta eq \"zzz\"",
        "meta.location co \"zzz\"",
        "groups.display eq \"zzz\"",
        "userName eq \"\\ud800\"",
        &deep,
        &long,
        &many,
        &garbage,
    ] {
        let error = refusal(filter);
        assert_eq!((error.status, error.scim_type), (400, Some(ScimType::InvalidFilter)), "{filter}");
        assert!(!error.detail.contains("zzz"), "{}", error.detail);
    }
}

#[test]
fn limits_are_inclusive() {
    let deep = format!("{}userName pr{}", "(".repeat(32), ")".repeat(32));
    assert!(holds(&deep));
    assert!(holds(&vec!["userName pr"; 64].join(" and ")));
    assert!(holds(&format!("userName pr{}", " ".repeat(4_096 - 11))));
}

#[test]
fn folding_has_no_context() {
    assert_eq!(fold("ΟΔΟΣ"), fold("οδος"));
    assert_eq!(fold("Straße İ"), "straße i\u{307}");
    assert_eq!(fold(&fold("ΣΊΣΥΦΟΣ")), fold("ΣΊΣΥΦΟΣ"));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z][a-zA-Z0-9_-]{0,8}", Just("$ref".to_owned()), Just("not".to_owned())]
}

fn attr_path() -> impl Strategy<Value = AttrPath> {
    let urn = proptest::option::of("urn:[a-z]{1,6}:[a-z0-9.]{1,6}:[A-Z][a-z]{1,6}");
    (urn, name(), proptest::option::of(name())).prop_map(|(urn, name, sub)| AttrPath { urn, name, sub })
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(|n| Literal::Number(n.into())),
        (-1_000_000i32..1_000_000)
            .prop_map(|n| Literal::Number(serde_json::Number::from_f64(f64::from(n) / 64.0).unwrap())),
        ".{0,12}".prop_map(Literal::String),
    ]
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    proptest::sample::select(CompareOp::ALL.to_vec())
}

fn leaf() -> impl Strategy<Value = Filter> {
    prop_oneof![
        (attr_path(), compare_op(), literal()).prop_map(|(path, op, value)| Filter::Compare {
            path,
            op,
            value
        }),
        attr_path().prop_map(Filter::Present),
    ]
}

fn tree(leaf: BoxedStrategy<Filter>) -> BoxedStrategy<Filter> {
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
    .boxed()
}

fn filter() -> BoxedStrategy<Filter> {
    let tail = proptest::option::of((name(), compare_op(), literal()));
    let value_path = (attr_path(), tree(leaf().boxed()), tail)
        .prop_map(|(attr, filter, tail)| Filter::ValuePath { attr, filter: Box::new(filter), tail });
    tree(prop_oneof![3 => leaf(), 1 => value_path].boxed())
}

proptest! {
    #[test]
    fn a_printed_filter_reads_back_as_it_was(filter in filter()) {
        let printed = filter.to_string();
        match parse(&printed) {
            Ok(read) => prop_assert_eq!(read, filter),
            // Only a limit may be in the way.
            Err(error) => prop_assert!(error.detail.contains("than"), "{}: {}", printed, error),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ ()\\[\\]\"\\\\a-z.:$0-9]{0,60}|.{0,40}") {
        let registry = Registry::standard();
        if let Ok(filter) = parse(&text) {
            let _ = bind(&filter, registry.resource(ResourceType::User));
            prop_assert_eq!(parse(&filter.to_string()), Ok(filter));
        }
    }
}
