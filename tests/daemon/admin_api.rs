//! The admin API over TCP: who gets in, what each role may do, what every endpoint answers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::api::{self, Api, PASSWORD, basic};
use crate::support::daemon::{Daemon, Scim};
use crate::support::http::{Client, Response};
use crate::support::receiver::Receiver;
use crate::support::wait_until;

fn ask(address: SocketAddr, authorization: Option<&str>, method: &str, path: &str) -> Response {
    let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("Authorization", *value)).collect();
    Client::new(address).send(method, path, &headers, None).unwrap()
}

#[test]
fn only_a_users_password_opens_the_api_and_a_guesser_has_to_wait() {
    let (daemon, listen) = api::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let status = "/api/v1/status";
    let answer = ask(listen, None, "GET", status);
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(answer.header("www-authenticate").is_none(), "a browser would keep the password");
    // A directory's token is nobody here, and a user is nobody at the SCIM listener, which has none of this.
    assert_eq!(ask(listen, Some(&format!("Bearer {}", directory.token)), "GET", status).status, 401);
    let ops = basic("ops", PASSWORD);
    assert_eq!(ask(listen, Some(&ops), "GET", status).status, 200);
    for path in [status, "/", "/metrics", "/api/v1/openapi.json"] {
        assert_ne!(ask(daemon.address, Some(&ops), "GET", path).status, 200, "{path}");
    }
    assert_eq!(ask(daemon.address, Some(&ops), "GET", "/scim/v2/Users").status, 401);
    let wrong = basic("operator", "not the password");
    for n in 0..10 {
        assert_eq!(ask(listen, Some(&wrong), "GET", status).status, 401, "{n}");
    }
    let answer = ask(listen, Some(&wrong), "GET", status);
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    assert!(!daemon.log().contains(PASSWORD) && !daemon.log().contains("not the password"));
}

#[test]
fn a_name_that_points_here_from_elsewhere_is_refused() {
    let (_daemon, listen) = api::start("");
    let ops = basic("ops", PASSWORD);
    for (host, wanted) in [("evil.example.com", 421), ("localhost:8081", 200)] {
        let headers = [("Authorization", ops.as_str()), ("Host", host)];
        let answer = Client::new(listen).send("GET", "/api/v1/status", &headers, None).unwrap();
        assert_eq!(answer.status, wanted, "{host}: {}", answer.text());
    }
}

#[test]
fn each_role_may_do_its_own_and_log_and_chain_bear_the_name() {
    let (daemon, listen) = api::start("");
    let made = json!({"name": "Acme Okta", "kind": "okta"});
    let (mut viewer, mut operator, mut ops) =
        (Api::new(listen, "viewer"), Api::new(listen, "operator"), Api::new(listen, "ops"));
    viewer.post("sync", json!({})).expect(403);
    operator.post("sync", json!({})).expect(200);
    operator.post("directories", made.clone()).expect(403);
    ops.post("directories", made).expect(201);
    let rebaseline = json!({"directory": "acme-okta", "seconds": 3_600});
    viewer.post("rebaselines", rebaseline.clone()).expect(403);
    operator.post("rebaselines", rebaseline).expect(201);
    let history = daemon.cli_json(&["history"]).to_string();
    assert!(history.contains("\"admin:ops\"") && history.contains("\"admin:operator\""), "{history}");
    assert!(!history.contains("admin:viewer"));
    let shown = daemon.cli(&["history"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("by admin:ops"), "{shown:?}");
    let log = daemon.log();
    assert!(log.contains("ops") && log.contains("admin request"), "{log}");
    assert!(daemon.cli(&["verify"]).status.success());
}

#[test]
fn the_log_names_the_client_behind_a_proxy() {
    let (daemon, listen) = api::start("admin: trusted_proxies = [\"127.0.0.1\"]\n");
    let headers = [("Authorization", &*basic("ops", "no password")), ("X-Forwarded-For", "192.0.2.77")];
    assert_eq!(Client::new(listen).send("GET", "/api/v1/status", &headers, None).unwrap().status, 401);
    wait_until("the line", || daemon.log().contains("192.0.2.77"));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("192.0.2.77")).unwrap();
    assert!(line.contains("admin request") && line.contains("status=401"), "{line}");
}

#[test]
fn users_and_passwords_change_with_a_reload_and_a_bad_file_changes_nothing() {
    let (daemon, listen) = api::start("");
    let (old, new) = (basic("ops", PASSWORD), basic("ops", "another long password"));
    assert_eq!(ask(listen, Some(&old), "GET", "/api/v1/status").status, 200);
    daemon.secret("password", "short");
    let out = daemon.cli(&["reload"]);
    assert_eq!(out.status.code(), Some(78), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("fewer than 12 characters"));
    assert_eq!(ask(listen, Some(&old), "GET", "/api/v1/status").status, 200);
    daemon.secret("password", "another long password");
    assert!(daemon.cli(&["reload"]).status.success());
    assert_eq!(
        ask(listen, Some(&old), "GET", "/api/v1/status").status,
        401,
        "what was remembered is forgotten"
    );
    assert_eq!(ask(listen, Some(&new), "GET", "/api/v1/status").status, 200);
    let one = format!(
        "admin: listen = \"{listen}\"\n[[admin.user]]\nname = \"ops\"\npassword_file = \"{{dir}}/password\"\nrole = \"view\"\n"
    );
    daemon.write_config(&one);
    assert!(daemon.cli(&["reload"]).status.success());
    assert_eq!(
        ask(listen, Some(&basic("viewer", "another long password")), "GET", "/api/v1/status").status,
        401
    );
    assert_eq!(ask(listen, Some(&new), "POST", "/api/v1/reload").status, 403);
}

#[test]
fn check_refuses_passwords_in_plain_beyond_this_machine() {
    let daemon = Daemon::prepare("");
    daemon.secret("password", PASSWORD);
    let user = "[[admin.user]]\nname = \"ops\"\npassword_file = \"{dir}/password\"\nrole = \"admin\"\n";
    for (more, code, says) in [
        ("", 78, "insecure = true"),
        ("admin: insecure = true\n", 0, ""),
        ("admin: trusted_proxies = [\"192.0.2.1\"]\n", 0, ""),
    ] {
        daemon.write_config(&format!("admin: listen = \"0.0.0.0:8081\"\n{more}{user}"));
        let out = daemon.cli(&["check"]);
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{more}: {told}");
        assert!(told.contains(says), "{told}");
    }
    daemon.write_config("admin: listen = \"127.0.0.1:8081\"\n");
    let out = daemon.cli(&["check"]);
    assert_eq!(out.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&out.stderr).contains("nobody may sign in"));
}

#[test]
fn the_listener_speaks_tls_with_its_own_certificate() {
    let listen = api::free();
    let mut daemon = Daemon::prepare(&format!(
        "admin: tls = {{ cert = \"{{dir}}/cert.pem\", key = \"{{dir}}/key.pem\" }}\n\
         admin: public_url = \"https://roster.example.com\"\n{}",
        api::users(listen)
    ));
    daemon.secret("password", PASSWORD);
    let made = rcgen::generate_simple_self_signed(["roster.example.com".to_owned()]).unwrap();
    std::fs::write(daemon.path("cert.pem"), made.cert.pem()).unwrap();
    daemon.secret("key.pem", &made.signing_key.serialize_pem());
    daemon.run();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = "roster.example.com".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(listen).unwrap());
    let head = format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: roster.example.com\r\nConnection: close\r\nAuthorization: {}\r\n\r\n",
        basic("viewer", PASSWORD)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    // A connection closed without a farewell of TLS has still answered.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut plain = TcpStream::connect(listen).unwrap();
    plain.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "nothing is told in plain");
}

/// A daemon with a file and a webhook, and five people who hold a role.
struct Town {
    daemon: Daemon,
    listen: SocketAddr,
    api: Api,
    scim: Scim,
    crew: String,
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

impl Town {
    fn start(receiver: &Receiver) -> Self {
        let (mut daemon, listen) =
            api::prepare(&format!("{}{}{}", Self::SETTINGS, Self::FILE, Self::webhook(receiver)));
        daemon.secret("hook-secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
        daemon.run();
        let directory = daemon.add_directory("Acme", "generic");
        let mut scim = daemon.scim(&directory);
        let people: Vec<String> = [ALICE, BOB, "c@example.com", "d@example.com", "e@example.com"]
            .map(|name| scim.create_user(name))
            .into();
        let members: Vec<&str> = people.iter().map(String::as_str).collect();
        let crew = scim.create_group("Crew", &members);
        let mut town = Self { api: Api::new(listen, "ops"), daemon, listen, scim, crew };
        town.wait("opa", "in_sync");
        town.wait("app", "in_sync");
        wait_until("all are in", || town.daemon.read("access.json").contains("e@example.com"));
        town
    }

    const SETTINGS: &str = "[[role]]\nname = \"db-admin\"\ngroups = [\"Crew\"]\n[[reader]]\nname = \"fleet\"\n\
        [guard]\nmax_removals = 1\nmin_removals = 2\nurgent = 0\n";

    const FILE: &str = "[[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\n\
        path = \"{dir}/access.json\"\nwait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";

    fn webhook(receiver: &Receiver) -> String {
        format!(
            "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
             events = [\"user.*\", \"group.*\"]\n\
             wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
            receiver.url()
        )
    }

    fn wait(&mut self, target: &str, state: &str) {
        wait_until(&format!("{target} is {state}"), || {
            let all = self.api.get("targets");
            all["targets"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["name"] == target && one["state"] == state)
        });
    }

    fn refuses(&mut self, status: u16, method: &str, path: &str, body: Value) {
        let body = (!body.is_null()).then_some(body);
        let told = self.api.send(method, path, body.as_ref()).expect(status).json();
        assert!(!told["error"]["message"].as_str().unwrap().is_empty(), "{told}");
    }
}

#[test]
fn every_endpoint_answers_as_the_document_says() {
    let receiver = Receiver::start();
    let mut town = Town::start(&receiver);
    reads(&mut town);
    activity(&mut town);
    decides(&mut town);
    delivers(&mut town, &receiver);
    directories_and_tokens(&mut town);
    targets(&mut town, &receiver);
    imports(&mut town);
    removes(&mut town);
    let Town { daemon, api, .. } = town;
    let done: BTreeSet<(String, String)> = api
        .seen
        .iter()
        .filter(|(_, _, status)| *status < 300)
        .map(|(method, path, _)| (method.clone(), path.clone()))
        .collect();
    let missed: Vec<_> = api.operations().difference(&done).cloned().collect();
    assert!(missed.is_empty(), "never seen to succeed: {missed:#?}");
    assert!(daemon.cli(&["verify"]).status.success());
}

fn imports(town: &mut Town) {
    let wanted = json!({"directory": "acme", "file": "people.jsonl", "replace": false, "skip_unknown": true});
    let begun = |town: &mut Town| {
        let made = town.api.post("imports", wanted.clone()).expect(201).json();
        made["id"].as_str().unwrap().to_owned()
    };
    let id = begun(town);
    let page = json!({"records": [
        {"at": "line 1", "kind": "User", "body": {"userName": "moved@example.com", "title": "new"}},
        {"at": "line 2", "kind": "Group", "body": {"displayName": "Moved"}, "members": [{"name": "moved@example.com"}]},
        {"at": "line 3", "kind": "User", "body": {"userName": "bob@example.com", "title": "changed"}},
    ]});
    town.api.post(&format!("imports/{id}/records"), page).expect(200);
    let plan = town.api.get(&format!("imports/{id}"));
    assert_eq!((&plan["changes"], &plan["problem_count"]), (&json!(3), &json!(0)), "{plan}");
    assert_eq!(town.api.get(&format!("imports/{id}?limit=1"))["steps"].as_array().unwrap().len(), 1);
    town.api.post(&format!("imports/{id}/apply"), json!({"hash": "another"})).expect(409);
    town.api.get(&format!("imports/{id}"));
    town.api.get(&format!("imports/{id}/progress"));
    let done =
        town.api.post(&format!("imports/{id}/apply"), json!({"hash": plan["hash"]})).expect(200).json();
    assert_eq!((&done["created"], &done["updated"]), (&json!(2), &json!(1)), "{done}");
    town.api.post(&format!("imports/{id}/apply"), json!({"hash": plan["hash"]})).expect(404);
    let id = begun(town);
    let page = json!({"problems": [{"at": "line 1", "attribute": "", "message": "broken"}], "notes": ["left out: 1"]});
    town.api.post(&format!("imports/{id}/records"), page).expect(200);
    let plan = town.api.get(&format!("imports/{id}"));
    assert_eq!(plan["problems"][0]["message"], "broken", "{plan}");
    town.api.post(&format!("imports/{id}/apply"), json!({"hash": plan["hash"]})).expect(400);
    town.api.send("DELETE", &format!("imports/{id}"), None).expect(200);
    town.api.send("DELETE", &format!("imports/{id}"), None).expect(404);
}

fn reads(town: &mut Town) {
    let crew = town.crew.clone();
    for path in town.api.plain_reads() {
        town.api.get(&path.replace("{name}", "opa"));
    }
    let subject = format!("explain?subject={ALICE}");
    for path in [
        "status",
        "plan",
        "plan?target=opa",
        "targets",
        "targets/opa",
        "targets/app",
        "targets/opa/held",
        "targets/opa/file",
        "directories",
        "directories/acme",
        "tokens",
        "tokens?directory=acme",
        "users",
        "users?count=1",
        "users/alice@example.com",
        "groups",
        "groups/Crew",
        "shut",
        "release",
        "grants",
        "history",
        "history?order=newest&limit=2",
        "history?kind=user.*&actor=daemon",
        "history?object=opa",
        "history?subject=bob@example.com",
        "access",
        "access?at=seq:4",
        "diff?from=seq:1",
        "changes?limit=500",
        "verify",
        "export?format=json",
        "export?format=opa-bundle",
        "events/keys",
        "openapi.json",
        "deliveries",
        &subject,
        "explain?subject=bob@example.com&role=db-admin",
        &format!("groups/{crew}"),
    ] {
        town.api.get(path);
    }
    for (status, path) in [
        (404, "targets/none"),
        (404, "targets/none/held"),
        (404, "targets/opa/file?member=none"),
        (404, "targets/app/file"),
        (404, "directories/none"),
        (404, "users/nobody"),
        (404, "groups/none"),
        (404, "export?format=none"),
        (404, "deliveries/app/1-999999-0"),
        (404, "explain?subject=nobody"),
        (404, "tokens?directory=none"),
        (404, "plan?target=none"),
        (404, "access?role=none"),
        (400, "explain"),
        (400, "diff"),
        (400, "export"),
        (400, "users?filter=nonsense"),
        (400, "history?since=gestern"),
        (400, "deliveries?status=x"),
        (400, "targets/NO%20NAME"),
        (400, "changes?after=-1"),
    ] {
        town.refuses(status, "GET", path, Value::Null);
    }
    town.refuses(404, "GET", "no/such/thing", Value::Null);
    town.refuses(405, "PUT", "status", Value::Null);
}

fn activity(town: &mut Town) {
    town.refuses(404, "GET", "activity/trace?directory=acme", Value::Null);
    town.api.post("activity/bodies", json!({"directory": "acme", "for": "1h"})).expect(201);
    town.scim.get("/Users?startIndex=1&count=1").expect(200);
    wait_until("the request is in the log with its body", || {
        town.api.get("activity?limit=1")["activity"][0]["has_bodies"] == true
    });
    let newest = town.api.get("activity")["newest"].as_u64().unwrap();
    let shown = town.api.get(&format!("activity/{newest}"));
    assert!(shown["answer"]["Resources"].is_array(), "{shown}");
    town.api.get("activity/bodies");
    town.api.get("activity/trace?directory=acme");
    town.api.send("DELETE", "activity/bodies/acme", None).expect(200);
    town.refuses(400, "GET", "activity?status=high", Value::Null);
    town.refuses(404, "GET", "activity/7", Value::Null);
}

fn decides(town: &mut Town) {
    let shut = json!({"subject": ALICE, "reason": "laptop stolen"});
    let done = town.api.post("shut", shut.clone()).expect(201).json();
    assert_eq!(done["actor"], "admin:ops");
    assert_eq!(town.api.get("shut")["shut"][0]["user_name"], ALICE);
    town.api.get("users/alice@example.com");
    town.refuses(409, "POST", "shut", shut);
    town.api.post("open", json!({"subject": ALICE})).expect(200);
    town.refuses(404, "POST", "open", json!({"subject": ALICE}));
    town.api.post("release", json!({"subject": BOB, "reason": "moved"})).expect(200);
    assert_eq!(town.api.get("release")["released"].as_array().unwrap().len(), 1);
    town.api.post("release", json!({"subject": BOB, "undo": true})).expect(200);
    let zoe = town.scim.create_user("zoe@example.com");
    let grant = json!({"subject": zoe, "role": "db-admin", "seconds": 3_600, "reason": "incident"});
    let made = town.api.post("grants", grant).expect(201).json();
    assert_eq!(town.api.get("grants")["grants"][0]["id"], made["id"]);
    town.api.get(&format!("explain?subject={zoe}"));
    town.api.send("DELETE", &format!("grants/{}", made["id"]), None).expect(200);
    assert_eq!(town.api.get("grants?all=true")["grants"].as_array().unwrap().len(), 1);
    town.refuses(
        404,
        "POST",
        "grants",
        json!({"subject": zoe, "role": "none", "seconds": 60, "reason": "x"}),
    );
    town.refuses(400, "POST", "grants", json!({"subject": zoe}));
    town.refuses(404, "POST", "shut", json!({"subject": "nobody", "reason": "x"}));
    town.refuses(400, "POST", "shut", json!({"who": "x"}));
}

fn delivers(town: &mut Town, receiver: &Receiver) {
    town.wait("app", "in_sync");
    let id = town.api.get("deliveries?limit=1")["deliveries"][0]["id"].as_str().unwrap().to_owned();
    assert!(!town.api.get(&format!("deliveries/{id}"))["tried"].as_array().unwrap().is_empty());
    town.api.post("deliveries/retry", json!({"all": true, "target": "app"})).expect(200);
    town.refuses(404, "POST", "deliveries/retry", json!({"ids": [id]}));
    town.refuses(400, "POST", "deliveries/retry", json!({}));
    receiver.answer_next(&["500 Oops"]);
    town.scim.create_user("late@example.com");
    let mut open = None;
    wait_until("a delivery waits", || {
        let all = town.api.get("deliveries?state=pending")["deliveries"].clone();
        open = all[0]["id"].as_str().map(str::to_owned);
        open.is_some() && all[0]["attempts"].as_u64() > Some(0)
    });
    town.api.get(&format!("deliveries/{}", open.as_ref().unwrap()));
    town.api.post("deliveries/skip", json!({"id": open})).expect(200);
    town.refuses(404, "POST", "deliveries/skip", json!({"id": open}));
    town.refuses(404, "POST", "deliveries/dance", json!({}));
    town.api.post("deliveries/replay", json!({"target": "app", "from": 1})).expect(200);
    town.refuses(409, "POST", "deliveries/replay", json!({"target": "opa", "from": 1}));
    town.wait("app", "in_sync");
    town.api.post("deliveries/snapshot", json!({"target": "app"})).expect(200);
}

fn directories_and_tokens(town: &mut Town) {
    let made = town.api.post("directories", json!({"name": "Second", "kind": "entra"})).expect(201).json();
    assert!(made["token"].as_str().unwrap().starts_with("rosterd_"));
    town.refuses(409, "POST", "directories", json!({"id": "second", "name": "Other", "kind": "okta"}));
    town.refuses(400, "POST", "directories", json!({"name": "Third", "kind": "none"}));
    town.api
        .send("PATCH", "directories/second", Some(&json!({"name": "Zweite", "enabled": false})))
        .expect(200);
    town.refuses(400, "PATCH", "directories/second", json!({}));
    town.refuses(404, "PATCH", "directories/none", json!({"name": "x"}));
    town.api.post("rebaselines", json!({"directory": "acme", "seconds": 3_600})).expect(201);
    for seconds in [0, 400 * 86_400, u64::MAX] {
        town.refuses(400, "POST", "rebaselines", json!({"directory": "acme", "seconds": seconds}));
    }
    town.api.get("directories/acme");
    let token = town.api.post("tokens", json!({"directory": "acme", "note": "rotation"})).expect(201).json();
    town.api.post("tokens", json!({"reader": "fleet", "expires": "2999-01-01T00:00:00Z"})).expect(201);
    town.refuses(400, "POST", "tokens", json!({"directory": "acme", "expires": "soon"}));
    town.refuses(404, "POST", "tokens", json!({"reader": "none"}));
    town.api.send("DELETE", &format!("tokens/{}", token["id"].as_str().unwrap()), None).expect(200);
    town.refuses(404, "DELETE", "tokens/tok_none", Value::Null);
}

fn targets(town: &mut Town, receiver: &Receiver) {
    let synced = town.api.post("sync", json!({"target": "opa"})).expect(200).json();
    assert_eq!(synced["targets"][0]["error"], Value::Null);
    town.refuses(400, "POST", "sync", json!({"adopt": true}));
    town.refuses(409, "POST", "approve", json!({"target": "opa", "restored": true}));
    town.refuses(400, "POST", "approve", json!({}));
    let crew = format!("/Groups/{}", town.crew);
    town.scim.patch(&crew, json!([{"op": "replace", "path": "members", "value": []}]));
    town.wait("opa", "held");
    let plan = town.api.get("plan?target=opa");
    assert_eq!(plan["targets"][0]["held_removals"].as_array().unwrap().len(), 10, "{plan}");
    let held = town.api.get("targets/opa/held?limit=2&q=example");
    assert_eq!((&held["hash"], &held["removals"]), (&plan["targets"][0]["hash"], &json!(10)), "{held}");
    assert_eq!(held["persons"].as_array().unwrap().len(), 2);
    town.refuses(409, "POST", "approve", json!({"target": "opa", "plan": "0000"}));
    town.refuses(400, "POST", "approve", json!({"target": "opa", "plan": "0000", "reason": "a\nb"}));
    town.api.post("approve", json!({"target": "opa", "subjects": [ALICE]})).expect(200);
    let rejected = town.api.post("reject", json!({"target": "opa"})).expect(200).json();
    assert_eq!(rejected["rejected"], 8, "{rejected}");
    town.api.get(&format!("explain?subject={BOB}"));
    town.api.get("verify");
    town.api.post("targets/opa/rollback", json!({})).expect(200);
    assert!(town.api.get("targets/opa")["pinned_to"].is_u64());
    town.refuses(409, "POST", "targets/opa/rollback", json!({"to": 999_999}));
    town.refuses(409, "POST", "targets/app/rollback", json!({}));
    town.refuses(409, "POST", "targets/opa/forget", json!({}));
    let without = format!("{}{}{}", api::users(town.listen), Town::SETTINGS, Town::webhook(receiver));
    town.daemon.write_config(&without);
    let reloaded = town.api.post("reload", json!({})).expect(200).json();
    assert!(!reloaded["removes"].as_array().unwrap().is_empty(), "{reloaded}");
    town.api.get("status");
    town.api.post("targets/opa/forget", json!({"delete": false})).expect(200);
    town.daemon.write_config(&format!("{without}[[target]]\nname = 1\n"));
    town.refuses(400, "POST", "reload", json!({}));
    town.daemon.write_config(&without);
}

fn removes(town: &mut Town) {
    let gone = town.scim.create_user("gone@example.com");
    town.refuses(409, "POST", &format!("forget/{gone}"), json!({}));
    town.scim.send("DELETE", &format!("/Users/{gone}"), None).expect(204);
    town.api.post(&format!("forget/{gone}"), json!({})).expect(200);
    town.api.get("history?order=newest&limit=50");
    town.api.get("changes?limit=1000");
    town.api.send("DELETE", "directories/second", None).expect(200);
    town.refuses(404, "DELETE", "directories/second", Value::Null);
}
