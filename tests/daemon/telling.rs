//! What is told of files, decisions and gaps, and what a template that fails costs.

use std::os::unix::fs::PermissionsExt as _;

use rosterd::model::Timestamp;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::receiver::{Delivery, Receiver, SECRET};
use crate::support::{edit, wait_until};

const WAIT: &str = "wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";
const ROLE: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";

fn hook(receiver: &Receiver, events: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [{events}]\n{WAIT}{more}\n",
        receiver.url()
    )
}

fn file(drift: &str) -> String {
    format!(
        "[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/access.json\"\n\
         drift = \"{drift}\"\n{WAIT}"
    )
}

fn prepare(config: &str) -> Daemon {
    let daemon = Daemon::prepare(config);
    secret(&daemon, "hook-secret", SECRET);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon
}

fn secret(daemon: &Daemon, name: &str, text: &str) {
    std::fs::write(daemon.path(name), text).unwrap();
    std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn started(config: &str) -> (Daemon, Scim) {
    let mut daemon = prepare(config);
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let scim = daemon.scim(&directory);
    (daemon, scim)
}

fn types(receiver: &Receiver) -> Vec<String> {
    receiver.events().iter().map(|d| d.body["type"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The data of every event of this type.
fn told(receiver: &Receiver, kind: &str) -> Vec<Value> {
    let all = receiver.events().into_iter().filter(|d| d.body["type"] == kind);
    all.map(|d| d.body["data"].clone()).collect()
}

fn settled(daemon: &Daemon) {
    wait_until("every target has seen all", || {
        let status = daemon.cli_json(&["status"]);
        status["targets"].as_array().unwrap().iter().all(|one| one["applied_seq"] == status["seq"])
    });
}

#[test]
fn a_file_that_somebody_edits_is_told_once_for_each_edit() {
    let receiver = Receiver::start();
    let events = "\"target.drifted\"";
    let config = |drift: &str| format!("{ROLE}{}{}", file(drift), hook(&receiver, events, ""));
    let (mut daemon, mut scim) = started(&config("repair"));
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Crew", &[&alice]);
    wait_until("she is in the file", || daemon.read("out/access.json").contains("alice@example.com"));
    settled(&daemon);
    let whole = daemon.read("out/access.json");
    edit(daemon.path("out/access.json"), "{}");
    wait_until("it is told", || !told(&receiver, "target.drifted").is_empty());
    wait_until("it is put right", || daemon.read("out/access.json") == whole);
    let data = told(&receiver, "target.drifted").remove(0);
    assert_eq!((&data["target"], &data["action"]), (&json!("file"), &json!("repaired")), "{data}");
    // sha256("{}")
    assert_eq!(data["found"], "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    assert_eq!(data["expected"].as_str().unwrap().len(), 64);
    assert!(data["path"].as_str().unwrap().ends_with("/out/access.json"));
    std::fs::remove_file(daemon.path("out/access.json")).unwrap();
    wait_until("that too", || told(&receiver, "target.drifted").len() == 2);
    assert_eq!(told(&receiver, "target.drifted")[1]["found"], "missing");
    settled(&daemon);

    // Left as it is, it is told once: whatever happens besides, and after a start too.
    daemon.kill();
    daemon.write_config(&config("report"));
    daemon.run();
    edit(daemon.path("out/access.json"), "[]");
    wait_until("reported", || told(&receiver, "target.drifted").len() == 3);
    assert_eq!(told(&receiver, "target.drifted")[2]["action"], "reported");
    wait_until("drifted", || daemon.target("file")["state"] == "drifted");
    daemon.add_directory("Other", "okta");
    daemon.kill();
    daemon.run();
    daemon.add_directory("Third", "okta");
    settled_webhook(&daemon);
    assert_eq!(told(&receiver, "target.drifted").len(), 3);
    assert_eq!(daemon.read("out/access.json"), "[]");
    edit(daemon.path("out/access.json"), "[1]");
    wait_until("another edit is another drift", || told(&receiver, "target.drifted").len() == 4);
    // The log is whole; the file is not what was written, and nobody was to put it right.
    let verified = daemon.cli(&["verify", "--json"]);
    let verified: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["log_ok"], &verified["ok"]), (&true.into(), &false.into()), "{verified}");
}

fn settled_webhook(daemon: &Daemon) {
    wait_until("the webhook has seen all", || {
        let status = daemon.cli_json(&["status"]);
        daemon.target("app")["applied_seq"] == status["seq"]
    });
}

#[test]
fn what_operators_decide_is_told() {
    let receiver = Receiver::start();
    let events = "\"subject.*\", \"grant.*\", \"rebaseline.*\", \"target.*\", \"directory.*\"";
    let (daemon, mut scim) = started(&format!("{ROLE}{}{}", file("repair"), hook(&receiver, events, "")));
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Crew", &[&alice]);
    wait_until("she is in the file", || daemon.read("out/access.json").contains("alice@example.com"));
    let run = |args: &[&str]| {
        let out = daemon.cli(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run(&["shut", "alice@example.com", "--reason", "stolen laptop"]);
    run(&["open", "alice@example.com"]);
    let grant = ["grant", "alice@example.com", "crew", "--for", "1h", "--reason", "on call"];
    let made = daemon.cli(&grant);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    wait_until("told", || told(&receiver, "grant.created").len() == 1);
    let data = told(&receiver, "grant.created").remove(0);
    assert_eq!((&data["role"], &data["reason"]), (&json!("crew"), &json!("on call")), "{data}");
    assert_eq!(
        (&data["user"]["id"], &data["user"]["userName"]),
        (&json!(alice), &json!("alice@example.com"))
    );
    assert_eq!(data["directory"], "acme");
    let shut = told(&receiver, "subject.shut").remove(0);
    assert_eq!((&shut["user"]["id"], &shut["reason"]), (&json!(alice), &json!("stolen laptop")));
    scim.remove_member(&group, &alice);
    let told_in_order = types(&receiver);
    let wanted = ["directory.added", "subject.shut", "subject.opened", "grant.created"];
    assert_eq!(told_in_order, wanted);
}

#[test]
fn an_event_that_its_template_cannot_write_parks_alone_and_goes_once_the_template_can() {
    let receiver = Receiver::start();
    let more = "template = \"{dir}/body.j2\"";
    let mut daemon = prepare(&hook(&receiver, "\"user.*\"", more));
    // It takes every example; of bob it makes no JSON.
    let good = "{\"text\": {{ text | json }}}\n";
    let bad = "{\"text\": {{ text | json }}{% if \"bob\" in text %} oops{% endif %}}\n";
    std::fs::write(daemon.path("body.j2"), bad).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    for name in ["alice", "bob", "carol"] {
        scim.create_user(&format!("{name}@example.com"));
    }
    wait_until("it is parked", || daemon.target("app")["parked"] == 1);
    let parked = daemon.cli_json(&["delivery", "list", "--state", "parked"]);
    let one = parked["deliveries"][0].clone();
    let why = one["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("body.j2") && why.contains("no JSON"), "{one}");
    let id = one["id"].as_str().unwrap().to_owned();
    wait_until("what was before it arrives", || receiver.events().len() == 1);
    let target = daemon.target("app");
    assert_eq!(target["state"], "failing", "{target}");
    let shown = daemon.cli_json(&["delivery", "show", &id]);
    assert_eq!(shown["tried"][0]["outcome"], "parked", "{shown}");

    daemon.cli_json(&["delivery", "retry", &id]);
    wait_until("parked again", || {
        let shown = daemon.cli_json(&["delivery", "show", &id]);
        shown["tried"].as_array().is_some_and(|tried| tried.len() == 2) && shown["state"] == "parked"
    });
    assert_eq!(receiver.all().len(), 1, "nothing overtakes it");
    std::fs::write(daemon.path("body.j2"), good).unwrap();
    assert!(daemon.cli(&["reload"]).status.success());
    daemon.cli_json(&["delivery", "retry", &id]);
    wait_until("all three arrive", || receiver.events().len() == 3);
    let texts: Vec<String> = receiver.events().iter().map(|d| d.body["text"].to_string()).collect();
    assert!(texts[1].contains("bob") && texts[2].contains("carol"), "{texts:?}");
    assert!(receiver.all().iter().all(|d| d.verified));
}

#[test]
fn a_stream_whose_log_was_pruned_says_so_and_a_snapshot_ends_it() {
    // Nobody listens yet.
    let receiver = Receiver::start();
    let address = receiver.address;
    let config = format!("history = \"1s\"\n{}", hook(&receiver, "\"user.*\"", ""));
    drop(receiver);
    let mut daemon = prepare(&config);
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("early@example.com");
    daemon.stop();
    // While it is away from the config, the log goes on and is pruned.
    daemon.write_config("history = \"1s\"\n");
    daemon.run();
    let mut scim = daemon.scim(&directory);
    for n in 0..5 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    daemon.stop();
    let stopped = std::time::Instant::now();
    wait_until("all is older than that", || stopped.elapsed() > std::time::Duration::from_millis(1_100));
    daemon.run();
    wait_until("the log was pruned", || {
        daemon.cli_json(&["verify"])["begins_after"].as_u64().unwrap_or(0) > 5
    });
    daemon.stop();
    daemon.write_config(&config);
    daemon.run();
    wait_until("it says so", || daemon.target("app")["state"] == "needs_snapshot");
    let told_why = daemon.target("app")["last_error"].to_string();
    assert!(told_why.contains("rosterd delivery snapshot app"), "{told_why}");
    let receiver = Receiver::on(std::net::TcpListener::bind(address).unwrap());
    daemon.cli_json(&["delivery", "snapshot", "app"]);
    wait_until("told whole", || types(&receiver).contains(&"snapshot.finished".into()));
    let count = types(&receiver).iter().filter(|kind| *kind == "user.snapshot").count();
    assert_eq!(count, 6, "{:?}", types(&receiver));
    wait_until("in sync", || daemon.target("app")["state"] == "in_sync");
    daemon.scim(&directory).create_user("later@example.com");
    wait_until("and it goes on", || types(&receiver).last().is_some_and(|kind| kind == "user.created"));
}

#[test]
fn a_replay_since_a_moment_sends_what_came_after_it() {
    let receiver = Receiver::start();
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", ""));
    scim.create_user("alice@example.com");
    wait_until("the first arrived", || receiver.events().len() == 1);
    let first = receiver.all()[0].body["timestamp"].as_str().unwrap().to_owned();
    // Its time in the body has milliseconds: the next one's is another.
    wait_until("the clock goes on", || {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
        Timestamp(i64::try_from(now).unwrap()).to_string() > first
    });
    for name in ["bob", "carol"] {
        scim.create_user(&format!("{name}@example.com"));
    }
    wait_until("all arrived", || receiver.events().len() == 3);
    wait_until("in sync", || daemon.target("app")["state"] == "in_sync");
    let since = receiver.all()[1].body["timestamp"].as_str().unwrap().to_owned();
    daemon.cli_json(&["delivery", "replay", "app", "--since", &since]);
    wait_until("two came again", || receiver.all().len() == 5);
    let ids: Vec<String> = receiver.all().iter().map(|d| d.id.clone()).collect();
    assert_eq!(ids[3..], ids[1..3]);
    settled(&daemon);
    assert_eq!(receiver.all().len(), 5);
}

#[test]
fn what_is_rejected_is_passed_over_and_the_stream_goes_on() {
    let receiver = Receiver::start();
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\", \"group.*\"", ""));
    let users: Vec<String> = (0..60).map(|n| scim.create_user(&format!("u{n:02}@example.com"))).collect();
    let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("all are told", || receiver.events().len() == 121);
    wait_until("settled", || daemon.target("app")["state"] == "in_sync");
    let leavers: Vec<Value> = users[..50].iter().map(|id| json!({ "value": id })).collect();
    let done = scim
        .patch(&format!("/Groups/{group}"), json!([{"op": "remove", "path": "members", "value": leavers}]));
    assert!(done.status < 300, "{}", done.text());
    scim.create_user("later@example.com");
    wait_until("it waits", || daemon.target("app")["state"] == "held");
    let held = daemon.cli_json(&["delivery", "list", "--state", "held"]);
    assert!(!held["deliveries"].as_array().unwrap().is_empty());
    daemon.cli_json(&["reject", "app"]);
    wait_until("it goes on", || {
        receiver.events().iter().any(|d| d.body.to_string().contains("later@example.com"))
    });
    let removed = types(&receiver).iter().filter(|kind| *kind == "group.user_removed").count();
    assert!(removed <= 5, "what was rejected is not told: {removed}");
    let skipped = daemon.cli_json(&["delivery", "list", "--state", "skipped", "--limit", "1000"]);
    assert_eq!(skipped["deliveries"].as_array().unwrap().len() + removed, 50);
}

/// From the moment a change was made to its arrival, the 50th and 99th of 100, in milliseconds.
fn delays(more: &str) -> (u128, u128) {
    let receiver = Receiver::start();
    let (_daemon, mut scim) = started(&format!("{}{more}", hook(&receiver, "\"user.*\"", "")));
    for n in 0..500 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("all arrived", || receiver.events().len() == 500);
    assert_eq!(receiver.all().len(), 500, "each once");
    let mut delays: Vec<u128> = receiver.events().iter().map(delay).collect();
    delays.sort_unstable();
    (delays[249], delays[494])
}

fn delay(one: &Delivery) -> u128 {
    let made = Timestamp::parse_rfc3339(one.body["timestamp"].as_str().unwrap()).unwrap();
    let came = one.came.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    came.saturating_sub(u128::try_from(made.0).unwrap()) / 1_000
}

/// What `docs/performance.md` says of it is measured by this test; it asserts that all arrived once and no time.
#[test]
fn a_live_receiver_beside_dead_ones() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [("silent", silent.local_addr().unwrap()), ("gone", gone.local_addr().unwrap())];
    drop(gone);
    let dead: String = urls
        .iter()
        .map(|(name, address)| {
            format!(
                "[[target]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"http://{address}/\"\n\
                 secret_file = \"{{dir}}/hook-secret\"\nevents = [\"user.*\"]\ntimeout = \"1s\"\n{WAIT}"
            )
        })
        .collect();
    let (alone, beside) = (delays(""), delays(&dead));
    println!("p50 and p99 alone: {} ms, {} ms", alone.0, alone.1);
    println!("p50 and p99 beside two dead receivers: {} ms, {} ms", beside.0, beside.1);
}
