//! Readers that fetch signed event tokens (RFC 8936): handed again until acknowledged, the same bytes over kills, each
//! reader for itself, and what a reader hears that stayed away too long.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory};
use crate::support::http::{Client, Response};
use crate::support::{Random, seed, wait_until};

const HR: &str = "a-token-of-hr-0123456789abcdefghijkl";
const CRM: &str = "a-token-of-crm-0123456789abcdefghijk";
const PLAIN: &str = "a-token-of-plain-0123456789abcdefghi";

struct Stage {
    daemon: Daemon,
    address: SocketAddr,
    directory: Directory,
}

fn secret(daemon: &Daemon, name: &str, text: &str) {
    std::fs::write(daemon.path(name), text).unwrap();
    std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn reader(name: &str, sets: &str) -> String {
    format!(
        "[[reader]]\nname = \"{name}\"\ntoken_file = \"{name}-token\"\nevents = true\n[reader.sets]\n\
         issuer = \"https://scim.example.com\"\naudience = \"https://{name}.example.com\"\n\
         signing_key_file = \"{name}.pem\"\n{sets}\n"
    )
}

impl Stage {
    fn start(history: &str) -> Self {
        Self::with(history, &format!("{}{}", reader("hr", ""), reader("crm", "")))
    }

    fn with(history: &str, readers: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut daemon = Daemon::prepare(&format!(
            "{history}\n[publish]\nlisten = \"{address}\"\n{readers}\
             [[reader]]\nname = \"plain\"\ntoken_file = \"plain-token\"\nevents = true\n"
        ));
        for (name, token) in [("hr", HR), ("crm", CRM), ("plain", PLAIN)] {
            secret(&daemon, &format!("{name}-token"), token);
            // An ECDSA key: it never signs the same bytes twice.
            secret(&daemon, &format!("{name}.pem"), &rcgen::KeyPair::generate().unwrap().serialize_pem());
        }
        daemon.run();
        let directory = daemon.add_directory("Acme", "generic");
        Self { daemon, address, directory }
    }

    fn ask(&self, method: &str, token: &str, path: &str, body: &str, more: &[(&str, &str)]) -> Response {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !body.is_empty() && more.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend_from_slice(more);
        let body = (!body.is_empty()).then_some(body.as_bytes());
        Client::new(self.address).send(method, path, &headers, body).unwrap()
    }

    fn poll(&self, token: &str, asked: Value) -> Polled {
        let mut asked = asked;
        asked["returnImmediately"] = true.into();
        Polled::of(&self.ask("POST", token, "/events/poll", &asked.to_string(), &[]).expect(200))
    }

    fn stream(&self, reader: &str) -> Value {
        let status = self.daemon.cli_json(&["status"]);
        let found = status["streams"].as_array().unwrap().iter().find(|one| one["reader"] == reader).cloned();
        found.unwrap_or_else(|| panic!("no stream of {reader} in {status}"))
    }
}

/// What a poll was answered with, in the order in which the tokens stood there.
#[derive(Debug, Clone, PartialEq)]
struct Polled {
    sets: Vec<(String, String)>,
    more: bool,
}

impl Polled {
    fn of(answer: &Response) -> Self {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let told = answer.json();
        let text = answer.text();
        let mut sets: Vec<(String, String)> = told["sets"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, token)| (id.clone(), token.as_str().unwrap().to_owned()))
            .collect();
        sets.sort_by_key(|(id, _)| text.find(&format!("\"{id}\":")));
        Self { sets, more: told["moreAvailable"].as_bool().unwrap() }
    }

    fn ids(&self) -> Vec<&str> {
        self.sets.iter().map(|(id, _)| id.as_str()).collect()
    }
}

fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

#[test]
fn tokens_come_again_as_they_were_until_they_are_acknowledged_each_reader_for_itself() {
    let mut stage = Stage::start("");
    let mut scim = stage.daemon.scim(&stage.directory);
    for n in 0..5 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    let first = stage.poll(HR, json!({"maxEvents": 3}));
    assert_eq!((first.sets.len(), first.more), (3, true));
    // Handed out and never acknowledged, then the daemon dies.
    stage.daemon.kill();
    stage.daemon.run();
    assert_eq!(stage.poll(HR, json!({"maxEvents": 3})), first, "the same bytes");
    let ids = first.ids();
    let second = stage.poll(HR, json!({"maxEvents": 10, "ack": [ids[1], "7-7-7", "nobody's"]}));
    assert_eq!(second.sets[..2], [first.sets[0].clone(), first.sets[2].clone()], "acknowledged out of order");
    assert_eq!((second.sets.len(), second.more), (4, false));
    assert_eq!(stage.stream("hr")["unacknowledged"], 4);

    // Only to acknowledge.
    let done: Vec<&str> = second.ids()[..3].to_vec();
    let none = stage.poll(HR, json!({"maxEvents": 0, "ack": done}));
    assert_eq!((none.sets.len(), none.more), (0, true), "one is not acknowledged");
    let last = second.sets[3].clone();
    stage.daemon.kill();
    stage.daemon.run();
    assert_eq!(
        stage.poll(HR, json!({})).sets,
        std::slice::from_ref(&last),
        "what was acknowledged stays so over a kill"
    );
    let refused = json!({last.0.clone(): {"err": "invalid_key", "description": "never heard of it"}});
    assert_eq!(
        stage.poll(HR, json!({"setErrs": refused})).sets.len(),
        0,
        "what is refused is not sent again"
    );
    let stream = stage.stream("hr");
    let counts =
        ["handed", "acknowledged", "refused", "unacknowledged"].map(|name| stream[name].as_u64().unwrap());
    assert_eq!(counts, [5, 4, 1, 0], "{stream}");
    let none = stage.poll(HR, json!({"maxEvents": 0}));
    assert_eq!((none.sets.len(), none.more), (0, false));
    assert_eq!(stream["last_refusal"]["jti"], last.0.as_str());
    assert_eq!(stream["last_refusal"]["err"], "invalid_key");
    assert!(stage.daemon.log().contains("never heard of it"), "and logged");
    let metrics = crate::decisions::metrics(&stage.daemon);
    for line in
        ["rosterd_sets_refused_total{reader=\"hr\"} 1", "rosterd_sets_unacknowledged{reader=\"hr\"} 0"]
    {
        assert!(metrics.lines().any(|one| one == line), "{line} is not in {metrics}");
    }

    // The other reader has its own place, key and audience.
    let other = stage.poll(CRM, json!({}));
    assert_eq!(other.ids()[..3], ids[..3]);
    assert_eq!(other.sets.len(), 5);
    let mut previous = Value::Null;
    for ((id, token), (_, of_hr)) in other.sets.iter().zip(&first.sets) {
        let told = claims(token);
        assert_eq!((&told["jti"], &told["urn:rosterd:previous"]), (&json!(id), &previous));
        assert_eq!(told["aud"], json!(["https://crm.example.com"]));
        assert_eq!(claims(of_hr)["aud"], json!(["https://hr.example.com"]));
        assert_eq!(claims(of_hr)["urn:rosterd:previous"], previous);
        previous = id.as_str().into();
    }
    assert_eq!(stage.daemon.stop(), Some(0));
}

#[test]
fn a_reader_that_is_away_for_thousands_of_changes_gets_each_once_acknowledged_in_order_over_kills() {
    let mut stage = Stage::start("");
    let mut random = Random::new(seed());
    let mut scim = stage.daemon.scim(&stage.directory);
    let user = scim.create_user("alice@example.com");
    let group = scim.create_group("Crew", &[]);
    stage.poll(HR, json!({"maxEvents": 1}));
    let mut number = 0;
    for _ in 0..30 {
        let operations: Vec<Value> = (0..100)
            .map(|_| {
                number += 1;
                let (path, done) = match number % 3 {
                    0 => (
                        format!("/Users/{user}"),
                        json!([{"op": "replace", "path": "displayName", "value": format!("n{number}")}]),
                    ),
                    1 => (
                        format!("/Groups/{group}"),
                        json!([{"op": "add", "path": "members", "value": [{"value": user}]}]),
                    ),
                    _ => (
                        format!("/Groups/{group}"),
                        json!([{"op": "remove", "path": format!("members[value eq \"{user}\"]")}]),
                    ),
                };
                json!({"method": "PATCH", "path": path, "data":
                    {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": done}})
            })
            .collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
        scim.send("POST", "/Bulk", Some(&body)).expect(200);
    }
    // What the log says, asked for in the other way.
    let mut expected = Vec::new();
    let mut after = String::from("1-0");
    loop {
        let path = format!("/events?events=user.*,group.*&limit=1000&after={after}");
        let page = stage.ask("GET", HR, &path, "", &[]).expect(200).json();
        expected.extend(
            page["events"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()),
        );
        after = page["next"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert!(expected.len() > 2_900, "{}", expected.len());

    let (mut taken, mut first_bytes): (Vec<String>, BTreeMap<String, String>) = Default::default();
    let (mut acknowledged, mut again) = (BTreeSet::new(), 0);
    let mut ack: Vec<String> = Vec::new();
    loop {
        let told = stage.poll(HR, json!({"maxEvents": 1 + random.below(400), "ack": ack}));
        acknowledged.extend(std::mem::take(&mut ack));
        if told.sets.is_empty() {
            assert!(!told.more);
            break;
        }
        for (id, token) in &told.sets {
            assert!(!acknowledged.contains(id), "{id} came after it was acknowledged");
            if let Some(first) = first_bytes.insert(id.clone(), token.clone()) {
                assert_eq!(first, *token, "{id} came again with other bytes");
                again += 1;
            } else {
                assert_eq!(claims(token)["urn:rosterd:previous"], json!(taken.last()), "a gap before {id}");
                taken.push(id.clone());
            }
        }
        // Some are acknowledged, from anywhere in between; at times everything dies first.
        ack = told.ids().into_iter().filter(|_| random.below(4) != 0).map(str::to_owned).collect();
        if random.below(6) == 0 {
            stage.daemon.kill();
            stage.daemon.run();
        }
    }
    assert_eq!(taken, expected);
    assert!(again > 0, "nothing was ever handed twice");
    println!("{} tokens, {again} handed again", taken.len());
}

#[test]
fn a_poll_waits_for_news_and_ends_with_its_token_and_with_the_daemon() {
    let mut stage = Stage::start("");
    let mut scim = stage.daemon.scim(&stage.directory);
    let address = stage.address;
    let wait = |token: &str| {
        let bearer = format!("Bearer {token}");
        std::thread::spawn(move || {
            let headers = [("Authorization", bearer.as_str()), ("Prefer", "wait=300")];
            Client::new(address).send("POST", "/events/poll", &headers, None).unwrap()
        })
    };
    let is_waiting = |stage: &Stage, count: usize| {
        wait_until("it waits", || {
            crate::decisions::metrics(&stage.daemon).contains(&format!("rosterd_publish_waiting {count}\n"))
        });
    };
    let waiting = wait(HR);
    is_waiting(&stage, 1);
    scim.create_user("alice@example.com");
    let told = Polled::of(&waiting.join().unwrap().expect(200));
    assert_eq!(told.sets.len(), 1);
    let made = stage.daemon.cli_json(&["token", "new", "--reader", "crm"]);
    stage.poll(CRM, json!({"ack": told.ids()}));
    stage.poll(CRM, json!({"ack": told.ids()}));
    let waiting = wait(made["token"].as_str().unwrap());
    is_waiting(&stage, 1);
    stage.daemon.cli_json(&["token", "revoke", made["id"].as_str().unwrap()]);
    scim.create_user("bob@example.com");
    waiting.join().unwrap().expect(401);
    stage.poll(HR, json!({"ack": told.ids()}));
    let rest = stage.poll(HR, json!({}));
    stage.poll(HR, json!({"ack": rest.ids()}));
    let waiting = wait(HR);
    is_waiting(&stage, 1);
    let began = Instant::now();
    assert_eq!(stage.daemon.stop(), Some(0));
    let told = Polled::of(&waiting.join().unwrap().expect(200));
    assert!(told.sets.is_empty() && began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_stream_whose_log_was_pruned_says_so_and_begins_anew_behind_a_snapshot() {
    let mut stage = Stage::start("history = \"1s\"");
    let mut scim = stage.daemon.scim(&stage.directory);
    scim.create_user("early@example.com");
    let early = stage.poll(HR, json!({}));
    stage.poll(HR, json!({"ack": early.ids()}));
    for n in 0..5 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    stage.daemon.stop();
    let stopped = Instant::now();
    wait_until("all is older than that", || stopped.elapsed() > Duration::from_millis(1_100));
    stage.daemon.run();
    wait_until("the log was pruned", || {
        stage.daemon.cli_json(&["verify"])["begins_after"].as_u64().unwrap_or(0) > 5
    });
    let poll = |token| stage.ask("POST", token, "/events/poll", "{\"returnImmediately\":true}", &[]);
    let told = poll(HR).expect(410).json();
    assert_eq!(told["state"], "needs_snapshot");
    assert_eq!(stage.stream("hr")["state"], "needs_snapshot");
    // One that never began has missed the beginning all the same.
    poll(CRM).expect(410);
    let snapshot = stage.ask("GET", HR, told["snapshot"].as_str().unwrap(), "", &[]).expect(200).json();
    let users = snapshot["events"].as_array().unwrap().iter().filter(|one| one["type"] == "user.snapshot");
    assert_eq!(users.count(), 6);
    let start = |token, after: &str| {
        let body = json!({ "after": after }).to_string();
        stage.ask("POST", token, told["start"].as_str().unwrap(), &body, &[])
    };
    start(HR, "1-1").expect(410);
    start(HR, "2-1").expect(410);
    start(HR, "never").expect(400);
    start(HR, snapshot["next"].as_str().unwrap()).expect(200);
    assert_eq!(stage.poll(HR, json!({})).sets.len(), 0);
    let mut scim = stage.daemon.scim(&stage.directory);
    let later = scim.create_user("later@example.com");
    let told = stage.poll(HR, json!({}));
    assert_eq!(claims(&told.sets[0].1)["sub_id"]["uri"], format!("/Users/{later}"));
    assert_eq!(claims(&told.sets[0].1)["urn:rosterd:previous"], Value::Null, "a beginning");
    start(CRM, "newest").expect(200);
    assert_eq!(stage.poll(CRM, json!({})).sets.len(), 0);
    start(CRM, "oldest").expect(200);
    assert_eq!(stage.poll(CRM, json!({})).ids(), told.ids());
}

#[test]
fn filters_and_thin_tokens_are_the_readers_own_and_only_who_has_sets_may_poll() {
    let hr = reader("hr", "payload = \"thin\"\nfilter = 'userName sw \"a\"'\nevents = [\"user.*\"]");
    let stage = Stage::with("", &format!("{hr}{}", reader("crm", "events = [\"group.user_added\"]")));
    let mut scim = stage.daemon.scim(&stage.directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_user("bob@example.com");
    scim.create_group("Crew", &[&alice]);
    let told = stage.poll(HR, json!({}));
    assert_eq!(told.sets.len(), 1);
    let events = claims(&told.sets[0].1)["events"].clone();
    let notice = &events["urn:ietf:params:scim:event:prov:create:notice"];
    assert!(notice["attributes"].as_array().unwrap().contains(&json!("userName")), "{events}");
    assert!(!events.to_string().contains("alice"), "{events}");
    let told = stage.poll(CRM, json!({}));
    assert_eq!(told.sets.len(), 1);
    assert!(claims(&told.sets[0].1)["events"]["urn:ietf:params:scim:event:prov:patch:full"].is_object());

    let ask = |method, token, body, more: &[(&str, &str)]| {
        stage.ask(method, token, "/events/poll", body, more).status
    };
    assert_eq!(ask("POST", PLAIN, "{}", &[]), 404, "events, but no tokens");
    assert_eq!(ask("POST", &stage.directory.token, "{}", &[]), 401);
    assert_eq!(ask("GET", HR, "", &[]), 405);
    assert_eq!(ask("POST", HR, "{}", &[("Content-Type", "text/plain")]), 415);
    assert_eq!(ask("POST", HR, "[]", &[]), 400);
    assert_eq!(ask("POST", HR, &format!("{{\"ack\":[\"{}\"]}}", "x".repeat(300_000)), &[]), 413);
    let wrong = stage.ask("POST", HR, "/events/poll", "{\"maxEvents\":-1}", &[]).expect(400).json();
    assert_eq!(wrong["err"], "invalid_request");
    // A person whose tokens are still out is not forgotten behind the reader's back.
    assert_eq!(scim.send("DELETE", &format!("/Users/{alice}"), None).status, 204);
    let out = stage.daemon.cli(&["user", "forget", &alice, "--yes"]);
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("reader `hr`"), "{said}");
}

#[test]
fn sets_without_events_or_with_what_has_no_token_are_refused_by_check() {
    let sets = |events: &str, more: &str| {
        format!(
            "[[reader]]\nname = \"hr\"\nevents = {events}\nsets = {{ issuer = \"https://scim.example.com\", \
             audience = [\"a\"], signing_key_file = \"hr.pem\"{more} }}\n"
        )
    };
    for (text, said) in [
        (sets("false", ""), "set `events = true` beside it"),
        (sets("true", ", events = [\"access.*\"]"), "has no form as a SCIM event"),
        (sets("true", ", url = \"x\""), "unknown key"),
        ("[[reader]]\nname = \"hr\"\nevents = true\nsets = { issuer = \"i\" }\n".to_owned(), "audience"),
    ] {
        let daemon = Daemon::prepare(&text);
        secret(&daemon, "hr.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
        let out = daemon.cli(&["check"]);
        assert_eq!(out.status.code(), Some(78), "{text}");
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(told.contains(said), "{said} is not in {told}");
    }
    let daemon = Daemon::prepare(&sets("true", ""));
    secret(&daemon, "hr.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    let out = daemon.cli(&["check"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
