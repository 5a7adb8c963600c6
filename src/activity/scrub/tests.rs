use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scrubber() -> Scrubber {
    Scrubber::inventing([7; 16])
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
        Value::Object(all) => all.iter().for_each(|(key, one)| {
            found.push(key.clone());
            texts(one, found);
        }),
        _ => {}
    }
}

#[test]
fn a_user_keeps_its_form_and_loses_its_person() {
    let original = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "dana@corp.test",
        "name": {"givenName": "Dana", "familyName": "Sample"}, "displayName": "Dana SAMPLE",
        "emails": [{"primary": "True", "value": "Dana@Corp.test", "type": "work"}],
        "phoneNumbers": [{"value": "+1 555 010-0101", "type": "mobile"}],
        "externalId": "0a21f0f2-1111-4222-8333-444455556666", "active": true, "password": "hunter22-secret",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"employeeNumber": "E-4711", "department": "Müllerei"},
        "locale": "de-CH", "x": 4711, "title": "", "nickName": null,
    });
    let mut scrubber = scrubber();
    let made = scrubber.body(original.to_string().as_bytes()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&made), keys(&original), "keys and their order");
    assert_eq!(made["schemas"], original["schemas"]);
    assert_eq!(made["emails"][0]["primary"], "True");
    assert_eq!(made["emails"][0]["type"], "work");
    assert_eq!(made["active"], true);
    assert_eq!(made["title"], "");
    assert_eq!(made["password"], REMOVED);
    let name = made["userName"].as_str().unwrap();
    assert!(name.ends_with(".example.com"), "{name}");
    assert_eq!(made["emails"][0]["value"].as_str().unwrap().to_lowercase(), name, "one person, one address");
    let (given, family) =
        (made["name"]["givenName"].as_str().unwrap(), made["name"]["familyName"].as_str().unwrap());
    assert_eq!(made["displayName"], format!("{given} {}", family.to_uppercase()));
    assert!(given.len() == 4 && given.starts_with(char::is_uppercase), "{given}");
    let phone = made["phoneNumbers"][0]["value"].as_str().unwrap();
    assert!(phone.starts_with('+') && phone.len() == "+1 555 010-0101".len(), "{phone}");
    assert!(uuid::Uuid::try_parse(made["externalId"].as_str().unwrap()).is_ok());
    assert!(made["x"].is_number() && made["x"] != 4711);
    let text = made.to_string().to_lowercase();
    for gone in ["dana", "sample", "corp", "555", "0101", "0a21f0f2", "hunter", "4711", "müllerei", "de-ch"]
    {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(scrubber.tally()["secret"], 1);
}

#[test]
fn what_matched_matches_still() {
    let mut scrubber = scrubber();
    let body = scrubber.body(br#"{"userName":"dana.r@corp.test","displayName":"Dana Sample"}"#).unwrap();
    let name = body["userName"].as_str().unwrap().to_owned();
    let target = scrubber
        .wire("/Users", Some("filter=userName%20eq%20%22dana.r%40corp.test%22&startIndex=1&count=100"));
    let encoded = name.replace('@', "%40");
    assert_eq!(target, format!("/Users?filter=userName%20eq%20%22{encoded}%22&startIndex=1&count=100"));
    let upper = scrubber.wire("/Users", Some("filter=userName+eq+%22DANA.R@CORP.TEST%22"));
    assert_eq!(
        upper,
        format!("/Users?filter=userName+eq+%22{}%22", name.to_uppercase()),
        "a plus, a bare @, capitals"
    );
    let patch = scrubber
        .body(br#"{"Operations":[{"op":"Replace","path":"emails[type eq \"work\" and value eq \"dana.r@corp.test\"].value","value":"x@corp.test"}]}"#)
        .unwrap();
    let path = patch["Operations"][0]["path"].as_str().unwrap();
    assert_eq!(path, format!("emails[type eq \"work\" and value eq \"{name}\"].value"));
    assert_eq!(patch["Operations"][0]["op"], "Replace");
}

#[test]
fn secrets_go_wherever_a_patch_names_them() {
    let mut scrubber = scrubber();
    for body in [
        r#"{"Operations":[{"op":"replace","path":"password","value":"s3cr3t-word"}]}"#,
        r#"{"Operations":[{"op":"replace","value":{"password":"s3cr3t-word"}}]}"#,
        r#"{"Operations":[{"op":"replace","path":"urn:x:User:apiToken","value":{"a":"s3cr3t-word"}}]}"#,
        r#"{"password": {"value": ["s3cr3t-word"]}}"#,
    ] {
        let made = scrubber.body(body.as_bytes()).unwrap().to_string();
        assert!(!made.contains("s3cr3t") && made.contains(REMOVED), "{made}");
    }
}

#[test]
fn under_the_key_of_an_errors_keyword_nothing_stays_but_a_keyword() {
    let mut scrubber = Scrubber::inventing([3; 16]);
    let made = scrubber.body(br#"[{"scimType":"uniqueness"},{"scimType":"Alexandra"}]"#).unwrap();
    assert_eq!(made[0]["scimType"], "uniqueness");
    assert!(!made.to_string().contains("Alexandra"), "{made}");
}

#[test]
fn our_own_ids_stay_and_others_do_not() {
    let ours = "0197a3b0-1234-7abc-8def-0123456789ab";
    let mut scrubber = scrubber();
    assert_eq!(scrubber.wire(&format!("/Users/{ours}"), None), format!("/Users/{ours}"));
    let theirs = "0a21f0f2-1111-4222-8333-444455556666";
    assert!(!scrubber.wire(&format!("/Users/{theirs}"), None).contains(theirs));
    let body = scrubber
        .body(format!(r#"{{"externalId":"{ours}","members":[{{"value":"{ours}"}}]}}"#).as_bytes())
        .unwrap();
    assert_ne!(body["externalId"], ours, "an external id is the identity provider's, whatever its form");
    assert_eq!(body["members"][0]["value"], ours);
}

#[test]
fn broken_bodies_stay_as_broken() {
    let mut scrubber = scrubber();
    let made = scrubber.body(br#"{"userName": "dana", "active": tru"#).unwrap();
    let text = made.as_str().unwrap();
    assert!(text.starts_with(r#"{"userName": ""#) && text.ends_with("tru") == text.contains("tru"), "{text}");
    assert!(!text.contains("dana"), "{text}");
    assert!(serde_json::from_str::<Value>(text).is_err());
    let twice = scrubber.body(br#"{"userName":"dana","userName":"erin"}"#).unwrap();
    assert_eq!(twice.as_str().unwrap().matches("userName").count(), 2, "a key given twice stays given twice");
    assert_eq!(scrubber.body(b""), None);
    assert!(scrubber.body(b"\"dana\"").unwrap().as_str().unwrap().starts_with('"'));
}

#[test]
fn a_list_shows_ids_and_paging_and_no_value() {
    let mut hidden = Scrubber::eliding();
    let shown = |hidden: &mut Scrubber, path: &str, query: &str| hidden.shown(path, Some(query));
    assert_eq!(
        shown(
            &mut hidden,
            "/scim/v2/Users",
            "filter=userName+eq+%22dana%22+and+active+eq+true&startIndex=1&count=2"
        ),
        "/scim/v2/Users?filter=userName eq \"…\" and active eq true&startIndex=1&count=2"
    );
    assert_eq!(shown(&mut hidden, "/Users/dana@corp.test", "token=abc&dana"), "/Users/…?…=removed&…");
    assert_eq!(
        shown(&mut hidden, "/Users", "filter=dana%20smith&attributes=userName,emails.value&sortBy=d%40x"),
        "/Users?filter=… …&attributes=userName,emails.value&sortBy=…"
    );
    assert_eq!(hidden.shown("/scim/v2/scim/v2/Users", None), "/scim/v2/scim/v2/Users");
    assert_eq!(shown(&mut hidden, "/Users", "aadOptscim062020&filter=x"), "/Users?aadOptscim062020&filter=…");
}

#[test]
fn two_people_never_become_one() {
    let mut scrubber = scrubber();
    let made: BTreeSet<String> = (0..3_000).map(|n| scrubber.value("username", &format!("u{n}"))).collect();
    assert_eq!(made.len(), 3_000);
}

#[test]
fn a_variable_of_the_trace_cannot_be_smuggled_in() {
    let mut scrubber = scrubber();
    let made = scrubber.body(br#"{"title":"${token}","${token}":1}"#).unwrap().to_string();
    assert!(!made.contains("${"), "{made}");
}

/// A word that is nobody's by chance: long enough that no made-up one is the same.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z]{9,14}",
        "[a-z]{9,12}\\.[a-z]{9,12}@[a-z]{9,12}\\.test",
        "[0-9]{11,14}",
        "[A-Za-zäöüß漢字]{9,12} [A-Z][a-z]{9,12}",
        "https://[a-z]{9,12}\\.test/[a-z]{9,12}\\?[a-z]{9}=[a-z]{9,12}",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        "W/\"[a-z]{9,12}\"",
        "[a-z]{9,12}/[A-Z]{9,12}#[a-z]{9}",
        "\\{\"id\":\"[a-z]{9,12}\"\\}",
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("userName".to_owned()),
        Just("password".to_owned()),
        Just("value".to_owned()),
        Just("schemas".to_owned()),
        Just("type".to_owned()),
        Just("path".to_owned()),
        Just("op".to_owned()),
        Just("Operations".to_owned()),
        Just("$ref".to_owned()),
        Just("locale".to_owned()),
        Just("meta".to_owned()),
        Just("version".to_owned()),
        Just("externalId".to_owned()),
        Just("status".to_owned()),
        Just("method".to_owned()),
        Just("bulkId".to_owned()),
        Just("x509Certificates".to_owned()),
        Just("scimType".to_owned()),
        Just("resourceType".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![word().prop_map(Value::from), (10_000_000_000_u64..99_999_999_999).prop_map(Value::from)];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn numbers_of(value: &Value, numbers: &mut Vec<String>) {
    match value {
        Value::Number(number) => numbers.push(number.to_string()),
        Value::Array(all) => all.iter().for_each(|one| numbers_of(one, numbers)),
        Value::Object(all) => all.values().for_each(|one| numbers_of(one, numbers)),
        _ => {}
    }
}

/// What of an original must not be found: every run of letters and digits long enough to say something.
fn telling(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    texts(value, &mut found);
    let mut numbers = Vec::new();
    numbers_of(value, &mut numbers);
    found.extend(numbers);
    let known: BTreeSet<&str> =
        ["userName", "password", "Operations", "externalId", "x509Certificates", "resourceType", "scimType"]
            .into_iter()
            .collect();
    let pieces = found.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    pieces.filter(|word| word.chars().count() >= 8 && !known.contains(word)).map(str::to_lowercase).collect()
}

proptest! {
    #[test]
    fn no_value_survives_a_body(original in document()) {
        let mut scrubber = Scrubber::inventing([3; 16]);
        let made = scrubber.body(original.to_string().as_bytes()).unwrap();
        let text = made.to_string().to_lowercase();
        for word in telling(&original) {
            prop_assert!(!text.contains(&word), "{word} in {text}");
        }
        let again = scrubber.body(original.to_string().as_bytes()).unwrap();
        prop_assert_eq!(made, again, "the same becomes the same");
    }

    #[test]
    fn no_value_survives_a_broken_body(original in document(), cut in 1_usize..40) {
        let whole = original.to_string();
        let broken: String = whole.chars().take(whole.chars().count().saturating_sub(cut)).collect();
        prop_assume!(!broken.is_empty());
        let made = Scrubber::inventing([3; 16]).body(broken.as_bytes()).unwrap().to_string().to_lowercase();
        for word in telling(&original) {
            prop_assert!(!made.contains(&word), "{word} in {made}");
        }
    }

    #[test]
    fn no_value_survives_a_target(words in prop::collection::vec(word(), 1..4), form in 0_usize..7) {
        let text = words.join(" ");
        let quoted = Value::from(text.as_str()).to_string();
        let filter = match form {
            0 => format!("userName eq {quoted}"),
            1 => format!("emails[type eq \"work\" and value eq {quoted}].value co {quoted}"),
            2 => text.clone(),
            3 => format!("userName eq {text}"),
            4 => format!("not (displayName sw \"{text}"),
            5 => format!("{quoted} eq {text}"),
            _ => format!("a pr and {text})(["),
        };
        // An attribute's name is what stands in its place; a word there cannot be told from one.
        prop_assume!(form != 5 || !text.chars().all(char::is_alphanumeric));
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let query = format!("filter={}&{}={}&startIndex=1", encode(&filter), encode(&text), encode(&text));
        let path = format!("/scim/v2/Users/{}", encode(&text));
        for mut scrubber in [Scrubber::inventing([3; 16]), Scrubber::eliding()] {
            for made in [scrubber.shown(&path, Some(&query)), scrubber.wire(&path, Some(&query))] {
                let plain = percent_encoding::percent_decode_str(&made).decode_utf8_lossy().to_lowercase();
                for word in telling(&Value::from(text.as_str())) {
                    prop_assert!(!plain.contains(&word), "{word} in {plain}");
                }
            }
        }
    }
}

#[test]
fn a_secret_that_is_no_text_goes_as_well() {
    let mut scrubber = scrubber();
    let made = scrubber
        .body(br#"{"password":12345678,"token":true,"secret":[1234,{"a":"b"}],"apiKey":null}"#)
        .unwrap();
    let wanted = serde_json::json!({"password": "removed", "token": "removed", "secret": ["removed", "removed"], "apiKey": null});
    assert_eq!(made, wanted);
}
