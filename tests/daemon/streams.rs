//! What a stream of events must not do: lose, overtake, say too early, or stand still for ever, where a person, a clock,
//! another target or the configuration comes in between.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::flaky::{Act, Flaky};
use crate::support::receiver::SECRET;
use crate::support::wait_until;

const WAIT: &str = "wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";
const ROLE: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";

fn hook(receiver: &Flaky, events: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [{events}]\n{WAIT}{more}\n",
        receiver.url()
    )
}

fn file(name: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/{name}.json\"\n{WAIT}{more}\n"
    )
}

fn started(config: &str) -> (Daemon, Scim) {
    let (daemon, directory) = begun(config);
    let scim = daemon.scim(&directory);
    (daemon, scim)
}

fn begun(config: &str) -> (Daemon, Directory) {
    let mut daemon = Daemon::prepare(config);
    daemon.secret("hook-secret", SECRET);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    (daemon, directory)
}

fn reload(daemon: &Daemon, config: &str) {
    daemon.write_config(config);
    let done = daemon.cli(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn types(receiver: &Flaky) -> Vec<String> {
    receiver.taken().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
}

/// Every event the target has is done, and it has seen the whole log.
fn settled(daemon: &Daemon) {
    wait_until("it has seen and sent all", || {
        let status = daemon.cli_json(&["status"]);
        let all = status["targets"].as_array().unwrap();
        let app = all.iter().find(|one| one["name"] == "app").unwrap();
        app["applied_seq"] == status["seq"] && app["open"] == 0
    });
}

fn shows(daemon: &Daemon, what: &str) -> Value {
    daemon.target("app")[what].clone()
}

#[test]
fn an_answer_that_comes_after_a_replay_was_asked_for_does_not_take_its_event_out_of_it() {
    let receiver = Flaky::start();
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", ""));
    for n in 0..3 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    settled(&daemon);
    receiver.next([Act::late("204 No Content")]);
    scim.create_user("u3@example.com");
    wait_until("the last one is under way", || receiver.count() == 4);
    let first = receiver.came()[0].id.split('-').nth(1).unwrap().to_owned();
    daemon.cli_json(&["delivery", "replay", "app", "--from", &first]);
    wait_until("all of it is told again", || shows(&daemon, "open") == 4);
    receiver.let_go();
    settled(&daemon);
    let ids = receiver.ids();
    assert_eq!(ids[4..], ids[..4], "the whole of it, in order, the last one too");
    receiver.is_unaltered();
}

#[test]
fn a_word_to_try_again_counts_also_while_an_attempt_is_under_way() {
    let receiver = Flaky::with([Act::answer("503 No"), Act::late("503 Still no")]);
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", ""));
    scim.create_user("alice@example.com");
    wait_until("the second attempt is under way, by its schedule", || receiver.count() == 2);
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    receiver.let_go();
    // By its schedule the third attempt would be five minutes away.
    wait_until("it is taken", || receiver.taken().len() == 1);
    settled(&daemon);
}

#[test]
fn who_asks_to_be_left_alone_is_though_others_answer_what_was_on_its_way() {
    for after in ["204 No Content", "503 Busy"] {
        let receiver = Flaky::with([Act::late(after), Act::answer("429 Slow\r\nRetry-After: 3600")]);
        let (mut daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", "ordering = \"resource\""));
        scim.create_user("alice@example.com");
        wait_until("hers is under way", || receiver.count() == 1);
        scim.create_user("bob@example.com");
        wait_until("his was put off", || shows(&daemon, "traffic")["retried"] == 1);
        receiver.let_go();
        let count = if after.starts_with('2') { "done" } else { "retried" };
        let wanted = if count == "done" { 1 } else { 2 };
        wait_until("hers is answered", || shows(&daemon, "traffic")[count] == wanted);
        scim.create_user("carl@example.com");
        wait_until("his waits", || shows(&daemon, "open").as_u64() >= Some(2));
        daemon.kill();
        daemon.run();
        wait_until("after a start too", || shows(&daemon, "open").as_u64() >= Some(2));
        assert_eq!(receiver.count(), 2, "{after}: nothing else is sent");
        daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
        wait_until("all are taken", || receiver.taken().len() == 3);
    }
}

#[test]
fn a_file_that_was_never_applied_says_nothing_of_what_it_enforces() {
    let receiver = Flaky::start();
    let first = format!("{ROLE}{}", hook(&receiver, "\"access.*\"", ""));
    let (daemon, mut scim) = started(&first);
    let users: Vec<String> = (0..20).map(|n| scim.create_user(&format!("u{n}@example.com"))).collect();
    scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("granted", || types(&receiver).len() == 20);
    settled(&daemon);
    // From now on it speaks for a file that nobody has synced yet.
    let after = hook(&receiver, "\"access.*\"", "after = [\"opa\"]");
    reload(&daemon, &format!("{ROLE}{}{after}", file("opa", "apply = \"manual\"")));
    scim.create_user("later@example.com");
    settled(&daemon);
    assert_eq!(types(&receiver), ["access.granted"; 20], "nobody was revoked");
    daemon.cli_json(&["sync", "opa"]);
    settled(&daemon);
    assert_eq!(types(&receiver).len(), 20);
}

#[test]
fn what_a_file_enforces_is_told_once_its_reader_has_reloaded() {
    let receiver = Flaky::start();
    // The reader of the file takes what is new only while there is a file `up`.
    let reload = "reload = [\"/usr/bin/test\", \"-e\", \"{dir}/up\"]";
    let after = hook(&receiver, "\"access.*\"", "after = [\"opa\"]");
    let (daemon, mut scim) = started(&format!("{ROLE}{}{after}", file("opa", reload)));
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Crew", &[&alice]);
    let written = |is_in: bool| {
        wait_until("the file is written and its reload fails", || {
            let status = daemon.cli_json(&["status"]);
            let file: Value = serde_json::from_str(&daemon.read("out/opa.json")).unwrap_or_default();
            file["roles"][0]["members"].as_array().is_some_and(|all| all.is_empty() != is_in)
                && status["targets"][0]["state"] == "failing"
                && status["targets"][1]["applied_seq"] == status["seq"]
        });
    };
    written(true);
    assert_eq!(types(&receiver).len(), 0, "nobody enforces it yet");
    std::fs::write(daemon.path("up"), "").unwrap();
    daemon.cli_json(&["sync", "opa"]);
    wait_until("granted", || types(&receiver) == ["access.granted"]);
    std::fs::remove_file(daemon.path("up")).unwrap();
    scim.remove_member(&group, &alice);
    written(false);
    assert_eq!(types(&receiver).len(), 1, "its reader may still let her in");
    std::fs::write(daemon.path("up"), "").unwrap();
    daemon.cli_json(&["sync", "opa"]);
    wait_until("revoked", || types(&receiver) == ["access.granted", "access.revoked"]);
}

#[test]
fn what_people_do_about_deliveries_is_no_sync() {
    let receiver = Flaky::start();
    let (mut daemon, directory) = begun(&hook(&receiver, "\"user.*\"", "apply = \"manual\""));
    let mut scim = daemon.scim(&directory);
    daemon.cli_json(&["sync", "app"]);
    scim.create_user("alice@example.com");
    daemon.cli_json(&["sync", "app"]);
    wait_until("hers is told", || types(&receiver).len() == 1);
    scim.create_user("bob@example.com");
    let seen = || {
        let status = daemon.cli_json(&["status"]);
        status["targets"][0]["traffic"]["lag_events"].as_u64() >= Some(1)
    };
    wait_until("his waits", seen);
    let first = receiver.came()[0].id.split('-').nth(1).unwrap().to_owned();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    daemon.cli_json(&["delivery", "replay", "app", "--from", &first]);
    wait_until("what was told is told again", || receiver.count() == 2 && shows(&daemon, "open") == 0);
    assert_eq!(receiver.ids()[0], receiver.ids()[1]);
    // The present state is what a person asks for here; a start in the middle of it does not stop it.
    receiver.next([Act::answer("204 No Content"), Act::answer("503 Busy\r\nRetry-After: 600")]);
    daemon.cli_json(&["delivery", "snapshot", "app"]);
    wait_until("some of it", || receiver.acts_left() == 0);
    daemon.kill();
    daemon.run();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("all of it", || types(&receiver).last().is_some_and(|kind| kind == "snapshot.finished"));
    assert_eq!(
        types(&receiver)[1..],
        ["snapshot.started", "user.snapshot", "user.snapshot", "snapshot.finished"]
    );
    let mut scim = daemon.scim(&directory);
    scim.create_user("carl@example.com");
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    assert_eq!(types(&receiver).len(), 5, "he waits for `sync`");
    daemon.cli_json(&["sync", "app"]);
    wait_until("and is told", || types(&receiver).last().is_some_and(|kind| kind == "user.created"));
}

#[test]
fn under_manual_one_sync_is_enough_for_a_new_target_with_bootstrap() {
    let receiver = Flaky::start();
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", "apply = \"manual\"\nbootstrap = true"));
    scim.create_user("alice@example.com");
    assert_eq!(receiver.count(), 0);
    daemon.cli_json(&["sync", "app"]);
    wait_until("told whole", || {
        types(&receiver) == ["snapshot.started", "user.snapshot", "snapshot.finished"]
    });
}

#[test]
fn a_snapshot_tells_nothing_that_is_held() {
    let receiver = Flaky::start();
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\", \"group.*\"", ""));
    let users: Vec<String> = (0..60).map(|n| scim.create_user(&format!("u{n:02}@example.com"))).collect();
    let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    settled(&daemon);
    let leavers: Vec<Value> = users[..50].iter().map(|id| json!({ "value": id })).collect();
    let gone = json!([{"op": "remove", "path": "members", "value": leavers}]);
    assert!(scim.patch(&format!("/Groups/{group}"), gone).status < 300);
    wait_until("it waits", || shows(&daemon, "state") == "held" && shows(&daemon, "held_removals") != 0);
    let before = receiver.count();
    daemon.cli_json(&["delivery", "snapshot", "app"]);
    scim.create_user("later@example.com");
    daemon.cli(&["sync", "app"]);
    assert_eq!(shows(&daemon, "state"), "held");
    let held = daemon.cli_json(&["delivery", "list", "--state", "held"]);
    assert_ne!(held["deliveries"], json!([]), "what was to be told waits, and is not passed over");
    assert_eq!(receiver.count(), before, "the state without them is not told either");
    let plan = daemon.cli_json(&["plan", "app"]);
    daemon.cli_json(&["approve", "app", "--plan", plan["targets"][0]["hash"].as_str().unwrap()]);
    wait_until("told whole", || types(&receiver).last().is_some_and(|kind| kind == "snapshot.finished"));
    let crew = receiver.taken().into_iter().find(|one| one["type"] == "group.snapshot").unwrap();
    assert_eq!(crew["data"]["members"], 10);
    settled(&daemon);
    assert_eq!(shows(&daemon, "state"), "in_sync");
}

#[test]
fn a_batch_stays_what_it_was_when_the_configuration_changes() {
    let receiver = Flaky::with([Act::answer("503 Busy")]);
    let batch = |events: u32| format!("batch = {{ max_events = {events}, max_wait = \"1s\" }}");
    let (daemon, mut scim) = started(&hook(&receiver, "\"user.*\"", &batch(6)));
    for n in 0..6 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("the batch failed", || receiver.count() == 1 && shows(&daemon, "state") == "failing");
    for (more, last) in [(batch(2), "503 Busy"), (String::new(), "204 No Content")] {
        reload(&daemon, &hook(&receiver, "\"user.*\"", &more));
        receiver.next([Act::answer(last)]);
        let before = receiver.count();
        daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
        wait_until("it came again", || receiver.count() > before);
    }
    settled(&daemon);
    assert_eq!(receiver.count(), 3);
    receiver.is_unaltered();
    assert_eq!(receiver.ids().iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert_eq!(receiver.taken().len(), 6);
}

#[test]
fn what_was_told_in_another_form_goes_as_it_was_and_in_no_batch() {
    let receiver = Flaky::with([Act::answer("503 Busy")]);
    let (daemon, mut scim) =
        started(&hook(&receiver, "\"user.*\"", "format = \"cloudevents\"\nsource = \"/rosterd\""));
    for n in 0..3 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("three wait", || shows(&daemon, "open") == 3 && shows(&daemon, "state") == "failing");
    reload(&daemon, &hook(&receiver, "\"user.*\"", "batch = { max_events = 10, max_wait = \"20ms\" }"));
    scim.create_user("u3@example.com");
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    settled(&daemon);
    let bodies: Vec<Value> =
        receiver.came().iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    assert!(bodies[..4].iter().all(|body| body["specversion"] == "1.0"), "{bodies:?}");
    assert_eq!((&bodies[4]["type"], bodies.len()), (&json!("batch"), 5));
    receiver.is_unaltered();
}

#[test]
fn a_name_that_was_a_files_begins_as_a_new_target() {
    let receiver = Flaky::start();
    let (daemon, mut scim) = started(&format!("{ROLE}{}", file("app", "")));
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Crew", &[&alice]);
    wait_until("she is in the file", || daemon.read("out/app.json").contains("alice@example.com"));
    reload(&daemon, &format!("{ROLE}{}", hook(&receiver, "\"user.*\", \"access.*\"", "")));
    wait_until("who has access is told", || types(&receiver) == ["access.granted"]);
    scim.create_user("bob@example.com");
    settled(&daemon);
    assert_eq!(types(&receiver), ["access.granted", "user.created"], "and nothing of what went before");
    assert!(daemon.read("out/app.json").contains("alice@example.com"), "the file stays");
}
