//! A directory whose identity provider's requests fail says so, to whom it concerns and to nobody else; and nobody
//! without a token of it can make it say so.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::http::{Client, Response};
use crate::support::{wait_for, wait_until};

fn health(daemon: &Daemon, id: &str) -> Value {
    daemon.cli_json(&["directory", "show", id])["health"].clone()
}

/// The directory's health, once it is in this state.
fn once(daemon: &Daemon, id: &str, state: &str) -> Value {
    wait_for(&format!("{id} is {state}"), || Some(health(daemon, id)).filter(|one| one["state"] == state))
}

fn speaks(daemon: &Daemon, token: &str) -> Scim {
    Scim { client: Client::new(daemon.address), token: token.to_owned() }
}

fn user(name: &str) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name})
}

fn token_of(daemon: &Daemon, directory: &Directory) -> String {
    let tokens = daemon.cli_json(&["token", "list"]);
    let found =
        tokens["tokens"].as_array().unwrap().iter().find(|one| one["directory"] == directory.id.as_str());
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

/// What may be told of an answer to whoever sends a request: all but its date and name.
fn told(response: &Response) -> (u16, String, Vec<(String, String)>) {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str()));
    (response.status, response.text(), headers)
}

/// Asks the admin socket; status and body.
fn ask(daemon: &Daemon, path: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn metric(daemon: &Daemon, line: &str) -> Option<String> {
    let (_, text) = ask(daemon, "/metrics");
    text.lines().find_map(|one| one.strip_prefix(line).map(|value| value.trim().to_owned()))
}

#[test]
fn a_revoked_token_that_is_used_on_is_told_until_another_works() {
    let mut daemon = Daemon::start("");
    let acme = daemon.add_directory("Acme", "okta");
    let other = daemon.add_directory("Other", "okta");
    let mut scim = daemon.scim(&acme);
    scim.create_user("alice@example.com");
    daemon.scim(&other).create_user("bob@example.com");
    assert_eq!(health(&daemon, "acme")["state"], "ok");
    let token = token_of(&daemon, &acme);
    daemon.cli_json(&["token", "revoke", &token]);
    let refused = scim.get("/Users");
    assert_eq!(refused.status, 401);
    // Who presents it is told what whoever makes one up is told.
    assert_eq!(told(&refused), told(&speaks(&daemon, &"y".repeat(44)).get("/Users")), "an oracle");
    let failing = once(&daemon, "acme", "failing");
    assert_eq!(
        (&failing["kind"], &failing["last_hour"]["refused"]),
        (&json!("refused"), &json!(1)),
        "{failing}"
    );
    assert_eq!(
        (&failing["newest"]["token"], &failing["newest"]["refused"]),
        (&json!(token), &json!("revoked"))
    );
    assert_eq!(failing["newest"]["client"], "127.0.0.1");
    assert!(failing["what"].as_str().unwrap().contains(&token), "{failing}");
    assert!(failing["hint"].as_str().unwrap().contains("rosterd token new acme"), "{failing}");
    assert_eq!(health(&daemon, "other")["state"], "ok", "it is nobody else's");

    let text = |args: &[&str]| String::from_utf8(daemon.cli(args).stdout).unwrap();
    assert!(text(&["directory", "list"]).contains("failing"), "{}", text(&["directory", "list"]));
    for args in [&["status"][..], &["directory", "show", "acme"], &["doctor"]] {
        assert!(text(args).contains("which was revoked at"), "{args:?}: {}", text(args));
    }
    let doctor: Value = serde_json::from_slice(&daemon.cli(&["doctor", "--json"]).stdout).unwrap();
    let found = doctor["checks"].as_array().unwrap().iter().find(|one| one["level"] == "fail").unwrap();
    assert!(found["code"] == "D014" && found["what"].as_str().unwrap().contains("`acme`"), "{doctor}");
    assert_eq!(metric(&daemon, "rosterd_directory_failing{directory=\"acme\"}").as_deref(), Some("1"));
    assert_eq!(metric(&daemon, "rosterd_directory_failing{directory=\"other\"}").as_deref(), Some("0"));
    let count = "rosterd_directory_failures{directory=\"acme\",kind=\"refused\"}";
    assert_eq!(metric(&daemon, count).as_deref(), Some("1"));

    // It outlives the process, and the request is found under its directory.
    daemon.stop();
    let asleep = health(&daemon, "acme");
    assert_eq!((&asleep["state"], &asleep["since"]), (&json!("failing"), &failing["since"]));
    daemon.run();
    assert_eq!(health(&daemon, "acme")["since"], failing["since"]);

    let new = daemon.cli_json(&["token", "new", "acme"]);
    speaks(&daemon, new["token"].as_str().unwrap()).get("/Users").expect(200);
    once(&daemon, "acme", "ok");
    // From now on the old one is a left-over: worth a look, and no failure of the identity provider.
    speaks(&daemon, &acme.token).get("/Users").expect(401);
    let left = once(&daemon, "acme", "errors");
    assert_eq!((&left["kind"], &left["newest"]["token"]), (&json!("old_token"), &json!(token)), "{left}");
    assert_eq!(metric(&daemon, "rosterd_directory_failing{directory=\"acme\"}").as_deref(), Some("0"));
}

#[test]
fn a_token_that_expires_is_told_of_as_expired() {
    let daemon = Daemon::start("");
    daemon.add_directory("Acme", "okta");
    let made = daemon.cli_json(&["token", "new", "acme", "--expires", "1s"]);
    let mut scim = speaks(&daemon, made["token"].as_str().unwrap());
    wait_until("it has ended", || scim.get("/Users").status == 401);
    let failing = once(&daemon, "acme", "failing");
    assert_eq!(failing["newest"]["refused"], "expired", "{failing}");
    assert!(failing["what"].as_str().unwrap().contains("which expired at"), "{failing}");
}

#[test]
fn requests_that_a_wrong_mapping_spoils_are_told_with_the_attribute() {
    let daemon = Daemon::start("");
    let acme = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&acme);
    let alice = scim.create_user("alice@example.com");
    scim.send("POST", "/Users", Some(&user("alice@example.com"))).expect(409);
    let first = once(&daemon, "acme", "failing");
    scim.send("POST", "/Users", Some(&user("alice@example.com"))).expect(409);
    let failing = wait_for("both are counted", || {
        Some(health(&daemon, "acme")).filter(|one| one["last_hour"]["rejected"] == 2)
    });
    assert_eq!((&failing["state"], &failing["kind"]), (&json!("failing"), &json!("rejected")), "{failing}");
    let newest = &failing["newest"];
    assert_eq!((&newest["status"], &newest["scim_type"]), (&json!(409), &json!("uniqueness")), "{failing}");
    assert!(failing["what"].as_str().unwrap().contains("`userName`"), "{failing}");
    assert!(!failing.to_string().contains("alice"), "nobody is named: {failing}");
    assert_eq!(failing["since"], first["newest"]["at"], "since the first of them: {failing}");
    assert_ne!(newest["id"], first["newest"]["id"], "and the newest is told: {failing}");
    // It is found in the log of requests under the id that is told.
    let id = newest["id"].to_string();
    let row = wait_for("the row", || {
        let (status, body) = ask(&daemon, &format!("/api/v1/activity/{id}"));
        (status == 200).then(|| serde_json::from_str::<Value>(&body).unwrap())
    });
    assert_eq!((&row["status"], &row["directory"]), (&json!(409), &json!("acme")), "{row}");
    // A look-up mends no push; another push does, and what was goes on being told for an hour.
    scim.get(&format!("/Users/{alice}")).expect(200);
    scim.get("/Users/0190b5a4-0000-7000-8000-000000000000").expect(404);
    assert_eq!(health(&daemon, "acme")["state"], "failing");
    scim.create_user("bob@example.com");
    assert_eq!(once(&daemon, "acme", "errors")["last_hour"]["rejected"], 2);
    // So does one operation of many.
    let bulk = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": user("carol@example.com")},
        {"method": "POST", "path": "/Users", "bulkId": "b", "data": {"schemas": []}}]});
    scim.send("POST", "/Bulk", Some(&bulk)).expect(200);
    let failing = once(&daemon, "acme", "failing");
    assert_eq!((&failing["newest"]["route"], &failing["last_hour"]["rejected"]), (&json!("Bulk"), &json!(3)));
    // A base URL that is wrong is told of too: the token says whose request it was.
    let request =
        scim.client.send("GET", "/scim/Users", &[("Authorization", &format!("Bearer {}", acme.token))], None);
    request.unwrap().expect(404);
    let found = wait_for("the wrong address", || {
        Some(health(&daemon, "acme")).filter(|one| one["newest"]["route"] == "unknown")
    });
    assert!(found["hint"].as_str().unwrap().contains("base URL"), "{found}");
}

#[test]
fn strangers_paint_nothing_and_cost_nothing() {
    let daemon = Daemon::start("");
    let acme = daemon.add_directory("Acme", "okta");
    daemon.add_directory("Waiting", "okta");
    daemon.scim(&acme).create_user("alice@example.com");
    let before = daemon.cli_json(&["status"])["seq"].clone();
    let commits = metric(&daemon, "rosterd_mirror_commands_total");
    let mut stranger = speaks(&daemon, "");
    for n in 0..60 {
        stranger.token = format!("guess-{n:040}");
        let answer = stranger.send("POST", "/Users", Some(&user("mallory@example.com")));
        assert!([401, 429].contains(&answer.status), "{}", answer.status);
    }
    // His requests are counted for all, since nobody can say whom they were for.
    let status = wait_for("all are counted", || {
        Some(daemon.cli_json(&["status"])).filter(|one| one["unknown_tokens"]["last_hour"] == 60)
    });
    assert_eq!(status["unknown_tokens"]["client"], "127.0.0.1");
    for one in status["directories"].as_array().unwrap() {
        assert_eq!(one["health"]["state"], "ok", "{one}");
        assert_eq!(
            one["health"]["last_hour"],
            json!({"refused": 0, "rejected": 0, "failed": 0, "old_token": 0})
        );
    }
    assert_eq!(status["seq"], before);
    assert_eq!(metric(&daemon, "rosterd_mirror_commands_total"), commits, "nothing of it is written");
    // A directory nothing has come for yet is where somebody looks who pasted it wrongly.
    let shown = String::from_utf8(daemon.cli(&["directory", "show", "waiting"]).stdout).unwrap();
    assert!(shown.contains("60 requests") && shown.contains("copy the token again"), "{shown}");
    let shown = String::from_utf8(daemon.cli(&["directory", "show", "acme"]).stdout).unwrap();
    assert!(!shown.contains("nobody knows"), "{shown}");
}

#[test]
fn what_an_operator_disabled_is_no_failure_and_without_a_log_failures_are_told_too() {
    let daemon = Daemon::start("[log]\nrequests = 0\n");
    let acme = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&acme);
    daemon.cli_json(&["directory", "disable", "acme"]);
    scim.get("/Users").expect(503);
    daemon.cli_json(&["directory", "enable", "acme"]);
    scim.send("POST", "/Users", Some(&json!({"schemas": []}))).expect(400);
    let failing = once(&daemon, "acme", "failing");
    assert_eq!(failing["last_hour"], json!({"refused": 0, "rejected": 1, "failed": 0, "old_token": 0}));
    assert!(!daemon.path("state/activity.jsonl").exists());
}
