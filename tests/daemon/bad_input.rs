//! Wrong requests: the exact status, `scimType`, and nothing half-done.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::http::Client;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

#[test]
fn wrong_requests_get_the_error_the_rfc_names_and_change_nothing() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("alice@example.com");
    let group = scim.create_group("Crew", &[&user]);
    let before = daemon.cli_json(&["status"])["seq"].clone();
    let own = format!("/Users/{user}");
    let crew = format!("/Groups/{group}");
    let patch = |operations: &str| {
        format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":{operations}}}"#
        )
    };
    let cases: Vec<(&str, String, String, u16, &str)> = vec![
        ("POST", "/Users".into(), "{".into(), 400, "invalidSyntax"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"],"userName":"a","userName":"b"}}"#), 400, "invalidSyntax"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"]}}"#), 400, "invalidValue"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"],"userName":7}}"#), 400, "invalidValue"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"],"userName":"x","active":"maybe"}}"#), 400, "invalidValue"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"],"userName":"x","name":"Xavier"}}"#), 400, "invalidValue"),
        ("POST", "/Users".into(), format!(r#"{{"schemas":["{USER}"],"userName":"ALICE@example.com"}}"#), 409, "uniqueness"),
        ("POST", "/Groups".into(), r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"G","members":[{"value":"0190b5a4-0000-7000-8000-000000000000"}]}"#.into(), 400, "invalidValue"),
        ("PATCH", own.clone(), patch(r#"[{"op":"replace","path":"id","value":"x"}]"#), 400, "mutability"),
        ("PATCH", own.clone(), patch(r#"[{"op":"replace","path":"no such path","value":"x"}]"#), 400, "invalidPath"),
        ("PATCH", own.clone(), patch(r#"[{"op":"remove"}]"#), 400, "noTarget"),
        ("PATCH", own.clone(), patch(r#"[{"op":"replace","path":"nickName","value":"N"},{"op":"replace","path":"active","value":"maybe"}]"#), 400, "invalidValue"),
        ("PATCH", own.clone(), patch(r#"[{"op":"frobnicate","path":"title","value":"x"}]"#), 400, "invalidSyntax"),
        ("PATCH", crew.clone(), patch(r#"[{"op":"remove","path":"members","value":[{"nobody":"x"}]}]"#), 400, "invalidValue"),
        ("GET", "/Users?filter=userName%20eq".into(), String::new(), 400, "invalidFilter"),
        ("GET", "/Users?filter=noSuchThing%20eq%20%22x%22".into(), String::new(), 400, "invalidFilter"),
        ("GET", format!("/Users?filter={}", "%28".repeat(40)), String::new(), 400, "invalidFilter"),
        ("GET", "/Users/0190b5a4-0000-7000-8000-000000000000".into(), String::new(), 404, ""),
        ("GET", "/Nothing".into(), String::new(), 404, ""),
        ("DELETE", "/Users/nobody".into(), String::new(), 404, ""),
        ("GET", "/Me".into(), String::new(), 501, ""),
    ];
    let bearer = format!("Bearer {}", directory.token);
    for (method, path, body, status, scim_type) in cases {
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/scim+json"));
        }
        let sent = (!body.is_empty()).then_some(body.as_bytes());
        let answer = scim.client.send(method, &format!("/scim/v2{path}"), &headers, sent).unwrap();
        let seen = answer.json();
        assert_eq!(answer.status, status, "{method} {path} {body}: {seen}");
        assert_eq!(seen["status"], status.to_string(), "{method} {path}");
        assert_eq!(seen["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
        assert_eq!(
            seen["scimType"].as_str().unwrap_or_default(),
            scim_type,
            "{method} {path} {body}: {seen}"
        );
        assert!(seen["detail"].as_str().is_some_and(|d| !d.is_empty()), "{method} {path}: no detail");
    }
    assert_eq!(daemon.cli_json(&["status"])["seq"], before, "a refused request must leave no change behind");
}

#[test]
fn a_wrong_token_is_401_in_scim_form_with_a_challenge() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut client = Client::new(daemon.address);
    let mut wrong = directory.token.clone();
    wrong.pop();
    for authorization in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("non-token"),
        Some("Basic YTpi"),
        Some(&*format!("Bearer {wrong}")),
    ] {
        let headers: Vec<(&str, &str)> = authorization.map(|a| ("Authorization", a)).into_iter().collect();
        let answer = client.send("GET", "/scim/v2/Users", &headers, None).unwrap();
        assert_eq!(answer.status, 401, "{authorization:?}");
        assert!(answer.header("WWW-Authenticate").is_some_and(|h| h.starts_with("Bearer")));
        assert_eq!(answer.json()["status"], "401");
    }
    let lower = format!("bearer {}", directory.token);
    client.send("GET", "/scim/v2/Users", &[("Authorization", &lower)], None).unwrap().expect(200);
}

#[test]
fn a_body_over_the_limit_is_413_and_a_wrong_media_type_415() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let bearer = format!("Bearer {}", directory.token);
    let mut client = Client::new(daemon.address);
    let large =
        format!(r#"{{"schemas":["{USER}"],"userName":"x","title":"{}"}}"#, "a".repeat(2 * 1024 * 1024));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/scim+json")];
    let answer = client.send("POST", "/scim/v2/Users", &headers, Some(large.as_bytes())).unwrap();
    assert_eq!((answer.status, answer.json()["status"].clone()), (413, json!("413")));
    let mut client = Client::new(daemon.address);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/xml")];
    client.send("POST", "/scim/v2/Users", &headers, Some(b"<a/>")).unwrap().expect(415);
}
