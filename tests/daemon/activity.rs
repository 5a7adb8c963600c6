//! The SCIM request log, bodies on request, and what is made of them: a trace that plays again.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::daemon::{BINARY, Daemon, Directory, Scim};
use crate::support::http::Client;
use crate::support::{trace, wait_for, wait_until};

/// Asks the admin API; status and body.
fn ask(daemon: &Daemon, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = ask(daemon, "GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn rows(daemon: &Daemon, query: &str) -> Vec<Value> {
    get(daemon, &format!("activity{query}"))["activity"].as_array().unwrap().clone()
}

/// The newest row, once it is of this route.
fn newest(daemon: &Daemon, route: &str) -> Value {
    wait_for(&format!("a request to {route} in the log"), || {
        rows(daemon, "?limit=1").into_iter().next().filter(|row| row["route"] == route)
    })
}

#[test]
fn requests_appear_with_status_quirks_and_what_they_changed() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "entra");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("mira@corp.test");
    let row = newest(&daemon, "Users");
    assert_eq!((row["method"].as_str(), row["status"].as_u64()), (Some("POST"), Some(201)));
    assert_eq!((row["directory"].as_str(), row["client"].as_str()), (Some("acme"), Some("127.0.0.1")));
    assert!(row["token"].is_string() && row["request_bytes"].as_u64() > Some(50), "{row}");
    let shown = get(&daemon, &format!("activity/{}", row["id"]));
    assert_eq!(shown["changes"][0]["kind"], "user.created", "{shown}");
    assert_eq!(shown["body"], Value::Null, "nobody asked for bodies");

    scim.patch(&format!("/Users/{user}"), json!([{"op": "Replace", "path": "active", "value": "False"}]));
    let row = newest(&daemon, "Users/{id}");
    assert_eq!(row["quirks"], json!(["op-letter-case", "boolean-strings"]));
    assert_eq!(row["path"], format!("/scim/v2/Users/{user}"));

    scim.get("/Users?filter=userName%20eq%20%22mira@corp.test%22&startIndex=1&secret=hunter22");
    let row = newest(&daemon, "Users");
    assert_eq!(row["path"], "/scim/v2/Users?filter=userName eq \"…\"&startIndex=1&…=removed");
    scim.get("/Users?filter=userName%20foo");
    let row = wait_for("the refusal", || rows(&daemon, "?status=4xx").into_iter().next());
    assert_eq!((row["status"].as_u64(), row["scim_type"].as_str()), (Some(400), Some("invalidFilter")));

    let mut stranger = Scim { client: Client::new(daemon.address), token: "rosterd_nobody".to_owned() };
    stranger.get("/Users").expect(401);
    let row = wait_for("the stranger", || rows(&daemon, "?directory=-").into_iter().next());
    assert_eq!((row["status"].as_u64(), row["directory"].is_null()), (Some(401), true));
    assert_eq!(rows(&daemon, "?directory=acme&method=PATCH").len(), 1);
    assert_eq!(ask(&daemon, "GET", "activity?status=high", &Value::Null).0, 400);
    assert_eq!(ask(&daemon, "GET", "activity/1", &Value::Null).0, 404);
}

#[test]
fn the_live_tail_wakes_and_pages_follow_each_other() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    for _ in 0..5 {
        scim.get("/Users");
    }
    wait_until("five rows", || rows(&daemon, "").len() == 5);
    let first = get(&daemon, "activity?limit=2");
    let second = get(&daemon, &format!("activity?limit=2&before={}", first["next"]));
    assert!(second["activity"][0]["id"].as_u64() < first["activity"][1]["id"].as_u64());
    let after = first["newest"].as_u64().unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&daemon, &format!("activity?after={after}&wait=60s")));
        scim.get("/Groups");
        let found = waiting.join().unwrap();
        assert_eq!(found["activity"][0]["route"], "Groups");
    });
    assert!(started.elapsed() < Duration::from_secs(30), "it was woken and did not wait to the end");
    let after = get(&daemon, "activity?limit=1")["newest"].as_u64().unwrap();
    let nothing = get(&daemon, &format!("activity?after={after}&wait=1s"));
    assert_eq!(nothing["activity"], json!([]));
}

#[test]
fn bounds_hold_and_a_restart_keeps_the_log() {
    let mut daemon = Daemon::start("[log]\nrequests = 20\n");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    for _ in 0..60 {
        scim.get("/Users");
    }
    scim.get("/Schemas");
    newest(&daemon, "Schemas");
    assert_eq!(rows(&daemon, "?limit=500").len(), 20);
    // What strangers ask takes a quarter at most.
    let mut stranger = Scim { client: Client::new(daemon.address), token: "x".to_owned() };
    for _ in 0..30 {
        let status = stranger.get("/Users").status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    wait_until("strangers are in", || rows(&daemon, "?directory=-&limit=500").len() >= 5);
    assert!(rows(&daemon, "?directory=acme&limit=500").len() >= 15);
    let before = rows(&daemon, "?limit=500");
    assert_eq!(daemon.stop(), Some(0));
    daemon.run();
    assert_eq!(rows(&daemon, "?limit=500"), before, "a restart keeps them");
    daemon.write_config("[log]\nrequests = 0\n");
    assert!(daemon.cli(&["reload"]).status.success());
    wait_until("none is kept", || {
        rows(&daemon, "").is_empty() && !daemon.path("state/activity.jsonl").exists()
    });
    assert_eq!(ask(&daemon, "POST", "activity/bodies", &json!({"directory": "acme"})).0, 503);
}

#[test]
fn bodies_are_kept_when_asked_for_a_time_and_without_a_secret_or_a_person() {
    let mut daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let create = |scim: &mut Scim, name: &str| {
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("{name}@corp.test"),
            "displayName": format!("{name} Zimmermann"), "password": "hunter22-secret", "active": true});
        scim.send("POST", "/Users", Some(&body)).expect(201)
    };
    create(&mut scim, "aleksandra");
    assert_eq!(newest(&daemon, "Users")["has_bodies"], false);
    let (status, made) = ask(&daemon, "POST", "activity/bodies", &json!({"directory": "acme", "for": "1h"}));
    assert_eq!((status, made["running"].as_bool()), (201, Some(true)), "{made}");
    create(&mut scim, "bartholomew");
    let row =
        wait_for("the row", || rows(&daemon, "?limit=1").into_iter().find(|row| row["has_bodies"] == true));
    let shown = get(&daemon, &format!("activity/{}", row["id"]));
    assert_eq!(shown["body"]["password"], "removed");
    assert_eq!(shown["body"]["userName"], shown["answer"]["userName"], "made up alike on both sides");
    assert_eq!(ask(&daemon, "DELETE", "activity/bodies/acme", &Value::Null).1["stopped"], true);
    create(&mut scim, "caroline-louise");
    wait_until("three rows", || rows(&daemon, "").len() == 3);
    assert_eq!(rows(&daemon, "?limit=1")[0]["has_bodies"], false);
    // A second: it ends by itself.
    ask(&daemon, "POST", "activity/bodies", &json!({"directory": "acme", "for": "1s"}));
    wait_until("it ended", || get(&daemon, "activity/bodies")["recordings"][0]["running"] == false);
    for (wrong, status) in [
        (json!({"directory": "acme", "for": "2d"}), 400),
        (json!({"directory": "none"}), 404),
        (json!({}), 400),
    ] {
        assert_eq!(ask(&daemon, "POST", "activity/bodies", &wrong).0, status, "{wrong}");
    }
    assert_eq!(daemon.stop(), Some(0));
    let bytes = daemon.read("state/activity.jsonl").to_lowercase();
    assert!(bytes.contains("\"password\":\"removed\""), "the file has the body: {bytes}");
    let secret = directory.token.to_lowercase();
    for gone in [
        secret.as_str(),
        "hunter22",
        "aleksandra",
        "bartholomew",
        "caroline",
        "zimmermann",
        "corp.test",
        "bearer",
    ] {
        assert!(!bytes.contains(gone), "{gone} in {bytes}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(daemon.path("state/activity.jsonl")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_log_that_cannot_be_written_fails_no_request() {
    let mut daemon = Daemon::prepare("");
    // A folder in the file's place: every write fails, also root's.
    std::fs::create_dir_all(daemon.path("state/activity.jsonl")).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    for n in 0..20 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("they are in memory", || rows(&daemon, "?limit=500").len() == 20);
    wait_until("the failure is told", || daemon.log().contains("the log of requests cannot be written"));
    assert!(Client::new(daemon.address).send("GET", "/readyz", &[], None).unwrap().status == 200);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_disk_that_hangs_holds_no_request_up_and_the_metric_counts_what_was_left_out() {
    let mut daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    // To open a pipe waits until somebody reads it: so hangs a network disk.
    let log = daemon.path("state/activity.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    let mut scim = daemon.scim(&directory);
    let dropped = || {
        let line = super::certificates::metric(&daemon, "rosterd_activity_dropped_total")?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    // More than wait for the thread, and what it had taken before it hung.
    for _ in 0..200 {
        for _ in 0..100 {
            scim.get("/ServiceProviderConfig").expect(200);
        }
        if dropped().is_some_and(|count| count > 0) {
            break;
        }
    }
    assert!(dropped().is_some_and(|count| count > 0), "the metric counts");
    scim.create_user("alice@example.com");
    assert!(daemon.cli(&["status"]).status.success());
    // The disk is back: the daemon ends without haste.
    let reader = std::thread::spawn(move || std::fs::read(log));
    assert_eq!(daemon.stop(), Some(0));
    assert!(!reader.join().unwrap().unwrap().is_empty());
}

fn load(name: &str) -> Value {
    let path = format!("{}/tests/traces/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn capture(daemon: &Daemon, directory: &Directory, out: &str) -> Child {
    let running = Command::new(BINARY)
        .args([
            "capture",
            "--directory",
            &directory.id,
            "--for",
            "10m",
            "--out",
            daemon.path(out).to_str().unwrap(),
        ])
        .arg("--config")
        .arg(daemon.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("bodies are kept", || {
        let recordings = get(daemon, "activity/bodies")["recordings"].clone();
        recordings
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["directory"] == directory.id && one["running"] == true)
    });
    running
}

fn end(daemon: &Daemon, running: Child, scim: &mut Scim) {
    // Rows come in order: once this one is in, all before it are.
    scim.get("/ServiceProviderConfig");
    newest(daemon, "ServiceProviderConfig");
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    let ended = running.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(
        get(daemon, "activity/bodies")["recordings"][0]["running"],
        false,
        "nothing is kept any longer"
    );
}

fn round_trip(kind: &str, name: &str, persons: &[&str]) {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", kind);
    let mut scim = daemon.scim(&directory);
    let mut client = Client::new(daemon.address);
    let running = capture(&daemon, &directory, "trace.json");
    let (passed, failed) = trace::play(&mut client, &directory.token, &load(name), "b4c5d6e7", |_, _| {});
    assert!(failed.is_empty(), "{failed:#?}");
    end(&daemon, running, &mut scim);
    let text = daemon.read("trace.json");
    let captured: Value = serde_json::from_str(&text).unwrap();
    assert!(
        captured["captured"]["requests"].as_u64().unwrap() as usize > passed / 2,
        "{}",
        captured["captured"]
    );
    assert_eq!(captured["idp"], kind);
    let folded = text.to_lowercase();
    for person in persons {
        assert!(!folded.contains(person), "{person} is in the trace");
    }
    assert!(!text.contains(&directory.token) && !folded.contains("b4c5d6e7"));

    // Against a throwaway daemon, and twice against one that runs: it takes away what it made.
    let replayed = daemon.cli_json(&["replay", daemon.path("trace.json").to_str().unwrap()]);
    assert_eq!(replayed["failed"], 0, "{replayed:#}");
    assert!(replayed["passed"].as_u64().unwrap() as usize > passed / 2);
    let other = daemon.add_directory("Other", kind);
    let file = daemon.path("trace.json");
    for _ in 0..2 {
        let done = daemon.cli_json(&["replay", file.to_str().unwrap(), "--directory", &other.id, "--yes"]);
        assert_eq!(done["failed"], 0, "{done:#}");
    }
    let tokens = daemon.cli_json(&["token", "list", "--directory", &other.id]);
    let spare = tokens["tokens"].as_array().unwrap().iter().filter(|one| one["note"] == "rosterd replay");
    assert!(spare.clone().count() == 2 && spare.clone().all(|one| one["revoked"].is_string()), "{tokens}");
}

#[test]
fn a_captured_okta_conversation_plays_again() {
    round_trip("okta", "okta", &["dana", "sample", "erin", "okta crew", "1mz050nq"]);
}

#[test]
fn a_captured_entra_conversation_plays_again() {
    round_trip("entra", "entra", &["mira", "vale@", "harbour", "newport"]);
}

#[test]
fn who_was_there_before_is_made_first() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (old, gone) = (scim.create_user("olderson@corp.test"), scim.create_user("goner@corp.test"));
    let group = scim.create_group("Oldtimers", &[&old, &gone]);
    let running = capture(&daemon, &directory, "trace.json");
    scim.get("/Users?filter=userName%20eq%20%22OLDERSON@corp.test%22").expect(200);
    scim.set_active(&old, false);
    let new = scim.create_user("newman@corp.test");
    scim.add_member(&group, &new);
    scim.remove_member(&group, &gone);
    scim.get("/Users/0197a3b0-1234-7abc-8def-0123456789ab").expect(404);
    end(&daemon, running, &mut scim);
    let replayed = daemon.cli_json(&["replay", daemon.path("trace.json").to_str().unwrap()]);
    assert_eq!(replayed["failed"], 0, "{replayed:#}\n{}", daemon.read("trace.json"));
}

#[test]
fn replay_says_what_is_otherwise_and_ends_with_1() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let file = daemon.path("trace.json");
    let trace = json!({"name": "one", "idp": "okta", "steps": [
        {"name": "fine", "request": {"method": "GET", "path": "/Users", "body": null}, "expect": {"status": [200]}},
        {"name": "otherwise", "request": {"method": "GET", "path": "/Users", "body": null}, "expect": {"status": [200], "json": {"/totalResults": 5}}}]});
    std::fs::write(&file, trace.to_string()).unwrap();
    std::fs::write(daemon.path("token"), format!("{}\n", directory.token)).unwrap();
    let out = daemon.cli(&[
        "replay",
        file.to_str().unwrap(),
        "--url",
        &directory.base_url,
        "--token-file",
        daemon.path("token").to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(
        text.contains("FAIL #2 otherwise") && text.contains("/totalResults: expected 5, got 0"),
        "{text}"
    );
    assert!(text.ends_with("1 passed, 1 failed\n"), "{text}");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(daemon.cli(&["replay", file.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(daemon.cli(&["replay", "/no/such/file"]).status.code(), Some(66));
    let unheard = daemon.cli(&["capture", "--directory", "acme", "--for", "1s", "--json"]);
    assert_eq!(unheard.status.code(), Some(1), "nothing came: {}", String::from_utf8_lossy(&unheard.stderr));
    assert_eq!(daemon.cli(&["capture", "--directory", "nobody"]).status.code(), Some(1));
}

#[test]
fn a_trace_cannot_have_the_token_shown() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let file = daemon.path("trace.json");
    let trace = json!({"name": "one", "idp": "okta", "steps": [
        {"name": "show it", "request": {"method": "GET", "path": "/Users?x=${token}", "body": null}, "expect": {"status": [404]}},
        {"name": "keep it", "request": {"method": "POST", "path": "/Users", "body": {"userName": "${token}"}}, "expect": {"status": [404]}}]});
    std::fs::write(&file, trace.to_string()).unwrap();
    std::fs::write(daemon.path("token"), &directory.token).unwrap();
    let token = daemon.path("token");
    let url = ["--url", &directory.base_url, "--token-file", token.to_str().unwrap()];
    for more in ["--verbose", "--json"] {
        let mut args = vec!["replay", file.to_str().unwrap(), more];
        args.extend(url);
        let out = daemon.cli(&args);
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(!text.contains(&directory.token) && text.contains("unresolved ${token}"), "{text}");
    }
    assert_eq!(daemon.scim(&directory).get("/Users").expect(200).json()["totalResults"], 0);
}
