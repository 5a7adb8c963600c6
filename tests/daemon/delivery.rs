//! What people see of deliveries and do about them, and what a stream does when its receiver misbehaves.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::flaky::Flaky;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{wait_for, wait_until};

const WAIT: &str = "wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";

fn hook(name: &str, url: &str, events: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [{events}]\n{WAIT}{more}\n"
    )
}

fn prepare(config: &str) -> Daemon {
    let daemon = Daemon::prepare(config);
    let secret = daemon.path("hook-secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon
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

fn deliveries(daemon: &Daemon, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["delivery", "list", "--limit", "1000"];
    all.extend(args);
    daemon.cli_json(&all)["deliveries"].as_array().unwrap().clone()
}

fn kinds(daemon: &Daemon) -> Vec<String> {
    let history = daemon.cli_json(&["history", "--limit", "1000"]);
    let all = history["changes"].as_array().unwrap();
    all.iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_parked_event_stops_its_target_until_it_is_retried_or_skipped() {
    let receiver = Receiver::start();
    receiver.answer_next(&["400 No", "422 Still no"]);
    let (daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\"", ""));
    scim.create_user("alice@example.com");
    scim.create_user("bob@example.com");
    wait_until("parked", || daemon.target("app")["parked"] == 1);
    wait_until("and told so", || daemon.target("app")["state"] == "failing");
    let parked = deliveries(&daemon, &["--state", "parked"]);
    let id = text(&parked[0]["id"]).to_owned();
    assert_eq!((&parked[0]["kind"], &parked[0]["last_status"]), (&json!("user.created"), &json!(400)));
    assert_eq!(receiver.all().len(), 1, "nothing overtakes it");

    daemon.cli_json(&["delivery", "retry", &id]);
    wait_until("parked again", || receiver.all().len() == 2 && daemon.target("app")["parked"] == 1);
    let shown = daemon.cli_json(&["delivery", "show", &id]);
    let tried = shown["tried"].as_array().unwrap();
    assert_eq!(tried.len(), 2, "{shown}");
    assert_eq!((&tried[0]["status"], &tried[0]["outcome"]), (&json!(422), &json!("parked")));
    assert!(text(&shown["body"]).contains("alice@example.com"));

    daemon.cli_json(&["delivery", "skip", &id]);
    wait_until("the next one arrives", || receiver.events().len() == 1);
    assert!(receiver.events()[0].body.to_string().contains("bob@example.com"));
    wait_until("in sync", || daemon.target("app")["state"] == "in_sync");
    let told = kinds(&daemon);
    assert!(told.contains(&"delivery.retried".into()) && told.contains(&"delivery.skipped".into()));
    assert_eq!(daemon.cli(&["delivery", "skip", &id]).status.code(), Some(1), "it is not open any more");
    assert_eq!(daemon.cli(&["verify"]).status.code(), Some(0));
}

#[test]
fn with_ordering_by_resource_a_parked_event_stops_its_resource_only() {
    let receiver = Receiver::start();
    receiver.answer_next(&["400 No"]);
    let config = hook("app", &receiver.url(), "\"user.*\"", "ordering = \"resource\"");
    let (daemon, mut scim) = started(&config);
    let alice = scim.create_user("alice@example.com");
    wait_until("parked", || daemon.target("app")["parked"] == 1);
    scim.set_active(&alice, false);
    for n in 0..20 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("the others arrive", || receiver.events().len() == 20);
    assert!(receiver.events().iter().all(|d| d.body["type"] == "user.created"));
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("hers follow", || receiver.events().len() == 22);
    let hers: Vec<String> = receiver
        .events()
        .iter()
        .filter(|d| d.body.to_string().contains(&alice))
        .map(|d| text(&d.body["type"]).to_owned())
        .collect();
    assert_eq!(hers, ["user.created", "user.deactivated"]);
}

#[test]
fn a_receiver_that_answers_410_is_left_alone_until_somebody_says_retry() {
    let receiver = Receiver::start();
    receiver.answer_next(&["410 Gone"]);
    let (mut daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\"", ""));
    scim.create_user("alice@example.com");
    wait_until("disabled", || daemon.target("app")["state"] == "disabled");
    scim.create_user("bob@example.com");
    daemon.kill();
    daemon.run();
    wait_until("still disabled", || daemon.target("app")["state"] == "disabled");
    assert_eq!(receiver.all().len(), 1);
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("both arrive", || types(&receiver) == ["user.created", "user.created"]);
}

#[test]
fn retry_after_is_obeyed_in_seconds_and_as_a_date_and_a_cut_off_answer_is_no_answer() {
    let receiver = Receiver::start();
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(3_600));
    receiver.answer_next(&["429 Slow\r\nRetry-After: 7200"]);
    let (daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\"", ""));
    scim.create_user("alice@example.com");
    let next_at = |id: &str| text(&daemon.cli_json(&["delivery", "show", id])["next_at"]).to_owned();
    let open = wait_for("it failed once", || {
        deliveries(&daemon, &["--state", "pending"]).into_iter().find(|one| one["attempts"] == 1)
    });
    let id = text(&open["id"]).to_owned();
    let seconds = next_at(&id);
    receiver.answer_next(&[&format!("503 Later\r\nRetry-After: {date}")]);
    daemon.cli_json(&["delivery", "retry", &id]);
    wait_until("it failed again", || receiver.all().len() == 2 && !next_at(&id).is_empty());
    wait_until("put off by the date", || next_at(&id) < seconds && *next_at(&id) > *text(&open["at"]));
    receiver.answer_next(&["200 Cut\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n50\r\nhalf"]);
    daemon.cli_json(&["delivery", "retry", &id]);
    wait_until("three attempts", || receiver.all().len() == 3);
    wait_until("the cut off one failed", || {
        let shown = daemon.cli_json(&["delivery", "show", &id]);
        shown["tried"].as_array().is_some_and(|tried| tried.len() == 3 && tried[0]["outcome"] == "retry")
    });
    let all = receiver.all();
    assert!(all.iter().all(|d| d.verified && d.id == all[0].id && d.raw == all[0].raw));
}

#[test]
fn batches_carry_several_events_and_stay_the_same_over_a_crash() {
    let receiver = Receiver::start();
    receiver.answer_next(&["503 Busy\r\nRetry-After: 600"]);
    let batch = "batch = { max_events = 5, max_wait = \"100ms\" }";
    let (mut daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\"", batch));
    for n in 0..12 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("the first batch failed", || {
        deliveries(&daemon, &["--state", "pending"]).iter().any(|one| one["attempts"] == 1)
    });
    daemon.kill();
    daemon.run();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    let events = || -> Vec<Value> {
        let all = receiver.events();
        all.iter().flat_map(|d| d.body["data"]["events"].as_array().unwrap().clone()).collect()
    };
    wait_until("all events arrived", || events().len() == 12);
    let all = receiver.all();
    assert_eq!((&all[0].id, &all[0].raw), (&all[1].id, &all[1].raw), "the same batch again");
    let mut last = Value::Null;
    for one in receiver.events() {
        let data = &one.body["data"];
        assert_eq!((&one.body["type"], &data["previous"]), (&json!("batch"), &last));
        last = data["last"].clone();
        let id: Vec<String> = last.as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(one.id, id.join("-"));
    }
    let seqs: Vec<u64> = events().iter().map(|one| one["data"]["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && seqs.len() == 12);
}

#[test]
fn a_snapshot_tells_the_present_state_between_its_marks_and_goes_on_in_order() {
    let receiver = Receiver::start();
    let role = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";
    let (mut daemon, mut scim) = started(role);
    let users: Vec<String> = (0..30).map(|n| scim.create_user(&format!("u{n}@example.com"))).collect();
    let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    daemon.kill();
    let all = "\"user.*\", \"group.*\", \"access.*\"";
    daemon.write_config(&format!("{role}{}", hook("app", &receiver.url(), all, "bootstrap = true")));
    daemon.run();
    wait_until("told whole", || types(&receiver).contains(&"snapshot.finished".into()));
    let told = types(&receiver);
    let count = |kind: &str| told.iter().filter(|one| *one == kind).count();
    assert_eq!((count("user.snapshot"), count("access.snapshot")), (30, 30), "{told:?}");
    assert_eq!(
        (told.first().unwrap(), told.last().unwrap()),
        (&"snapshot.started".into(), &"snapshot.finished".into())
    );
    let events = receiver.events();
    assert_eq!(events[0].body["data"]["previous"], Value::Null);
    for pair in events.windows(2) {
        let id = |d: &crate::support::receiver::Delivery| {
            d.id.split('-').map(|n| json!(n.parse::<u64>().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(pair[1].body["data"]["previous"], json!(id(&pair[0])), "no gap");
    }
    scim.remove_member(&group, &users[3]);
    wait_until("what changes follows", || {
        types(&receiver).last().is_some_and(|kind| kind == "access.revoked")
    });
    let after: Vec<String> = types(&receiver).split_off(told.len());
    assert_eq!(after, ["group.user_removed", "access.revoked"]);

    // Asked for, and killed in the middle of it.
    receiver.answer_next(&["204 No Content"; 5]);
    receiver.answer_next(&["503 Busy\r\nRetry-After: 600"]);
    let before = receiver.events().len();
    daemon.cli_json(&["delivery", "snapshot", "app"]);
    wait_until("some of it", || receiver.all().iter().any(|d| d.answered == 503));
    daemon.kill();
    daemon.run();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("whole again", || {
        types(&receiver).iter().filter(|one| *one == "snapshot.finished").count() == 2
    });
    let again: Vec<String> = types(&receiver).split_off(before);
    assert_eq!(again.iter().filter(|one| *one == "snapshot.started").count(), 1, "it did not begin anew");
    assert_eq!(again.iter().filter(|one| *one == "access.snapshot").count(), 29);
    assert_eq!(again.iter().filter(|one| *one == "user.snapshot").count(), 30);
}

#[test]
fn a_replay_sends_the_same_events_under_the_same_ids() {
    let receiver = Receiver::start();
    let (daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\"", ""));
    for n in 0..10 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("all arrived", || receiver.events().len() == 10);
    let first = receiver.all();
    let from = first[4].id.split('-').nth(1).unwrap().to_owned();
    wait_until("in sync", || daemon.target("app")["state"] == "in_sync");
    let report = daemon.cli_json(&["delivery", "replay", "app", "--from", &from]);
    assert_eq!(report["from"].to_string(), from);
    wait_until("six came again", || receiver.all().len() == 16);
    let again: Vec<(String, Vec<u8>)> =
        receiver.all()[10..].iter().map(|d| (d.id.clone(), d.raw.clone())).collect();
    let wanted: Vec<(String, Vec<u8>)> = first[4..].iter().map(|d| (d.id.clone(), d.raw.clone())).collect();
    assert_eq!(again, wanted);
    scim.create_user("later@example.com");
    wait_until("and then what is new", || receiver.events().len() == 11);
    let last = receiver.events()[10].body["data"]["previous"].clone();
    assert_eq!(last[1].to_string(), first[9].id.split('-').nth(1).unwrap());
    assert_eq!(daemon.cli(&["delivery", "replay", "app", "--from", "999999"]).status.code(), Some(1));
}

#[test]
fn a_stream_of_users_and_groups_waits_at_the_first_held_removal() {
    let receiver = Receiver::start();
    let (daemon, mut scim) = started(&hook("app", &receiver.url(), "\"user.*\", \"group.*\"", ""));
    let users: Vec<String> = (0..60).map(|n| scim.create_user(&format!("u{n:02}@example.com"))).collect();
    let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("all are told", || receiver.events().len() == 121);
    wait_until("settled", || daemon.target("app")["state"] == "in_sync");
    // Everybody but ten leaves in one request.
    let leavers: Vec<Value> = users[..50].iter().map(|id| json!({ "value": id })).collect();
    let done = scim
        .patch(&format!("/Groups/{group}"), json!([{"op": "remove", "path": "members", "value": leavers}]));
    assert!(done.status < 300, "{}", done.text());
    scim.create_user("later@example.com");
    wait_until("it waits", || daemon.target("app")["state"] == "held");
    wait_until("held rows are shown", || !deliveries(&daemon, &["--state", "held"]).is_empty());
    let removed = || types(&receiver).iter().filter(|kind| *kind == "group.user_removed").count();
    assert!(removed() <= 5, "only what is urgent passed: {}", removed());
    assert!(!receiver.events().iter().any(|d| d.body.to_string().contains("later@example.com")));
    let plan = daemon.cli_json(&["plan", "app"]);
    let hash = text(&plan["targets"][0]["hash"]).to_owned();
    daemon.cli_json(&["approve", "app", "--plan", &hash]);
    wait_until("it goes on", || {
        removed() == 50 && receiver.events().iter().any(|d| d.body.to_string().contains("later@example.com"))
    });
    let order: Vec<u64> = receiver.events().iter().map(|d| d.body["data"]["seq"].as_u64().unwrap()).collect();
    assert!(order.is_sorted());
}

#[test]
fn access_says_what_the_file_it_comes_after_enforces() {
    let receiver = Receiver::start();
    let file = format!(
        "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\n\
         path = \"{{dir}}/out/access.json\"\napply = \"manual\"\n{WAIT}"
    );
    let hook = hook("app", &receiver.url(), "\"access.*\"", "after = [\"file\"]");
    let (daemon, mut scim) = started(&format!("{file}{hook}"));
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Crew", &[&alice]);
    let settled = || {
        let status = daemon.cli_json(&["status"]);
        status["targets"][1]["applied_seq"] == status["seq"]
    };
    wait_until("the webhook has seen it", settled);
    assert!(receiver.all().is_empty(), "the file does not let her in yet");
    daemon.cli_json(&["sync", "file"]);
    wait_until("now it does", || types(&receiver) == ["access.granted"]);
    scim.remove_member(&group, &alice);
    wait_until("the webhook has seen it", settled);
    assert_eq!(types(&receiver), ["access.granted"], "the file still lets her in");
    daemon.cli_json(&["sync", "file"]);
    wait_until("now it does not", || types(&receiver) == ["access.granted", "access.revoked"]);
}

#[test]
fn a_program_takes_events_in_order_and_is_tried_again() {
    let config = format!(
        "[[target]]\nname = \"prog\"\ntype = \"exec\"\nevents = [\"user.*\"]\n{WAIT}\
         argv = [\"/bin/sh\", \"-c\", \"test -e {{dir}}/up || exit 75; (echo; echo $1; cat) >> {{dir}}/took; echo thanks\", \"sh\", \"{{id}}\"]\n"
    );
    let (daemon, mut scim) = started(&config);
    scim.create_user("alice@example.com");
    scim.create_user("bob@example.com");
    wait_until("it failed", || daemon.target("prog")["state"] == "failing");
    std::fs::write(daemon.path("up"), "").unwrap();
    daemon.cli_json(&["delivery", "retry", "--all"]);
    wait_until("both are taken", || daemon.read("took").matches("user.created").count() == 2);
    let took = daemon.read("took");
    assert!(took.find("alice").unwrap() < took.find("bob").unwrap());
    assert_eq!(daemon.target("prog")["type"], "exec");
    // What the program wrote is there a moment before its end is recorded.
    wait_until("both are done", || deliveries(&daemon, &["--state", "done"]).len() == 2);
    let done = deliveries(&daemon, &["--state", "done"]);
    let shown = daemon.cli_json(&["delivery", "show", text(&done[0]["id"])]);
    assert_eq!(shown["tried"][0]["answer"], "thanks\n");
    assert!(took.contains(text(&done[0]["event"])), "the id is an argument");
}

#[test]
fn a_dead_receiver_does_not_touch_a_live_one() {
    let (live, mut dead) = (Flaky::start(), Flaky::start());
    let events = "\"user.*\"";
    let config =
        format!("{}{}", hook("dead", &dead.url(), events, ""), hook("live", &live.url(), events, ""));
    dead.kill();
    let (daemon, mut scim) = started(&config);
    for n in 0..200 {
        scim.create_user(&format!("u{n}@example.com"));
    }
    wait_until("the live one has all", || live.count() == 200);
    let number = |id: &String| id.split('-').nth(1).unwrap().parse().unwrap();
    let order: Vec<u64> = live.ids().iter().map(number).collect();
    assert!(order.is_sorted() && order.len() == 200);
    assert_eq!(daemon.target("live")["traffic"]["retried"], 0);
    let state = daemon.target("dead");
    assert_eq!((&state["state"], &state["traffic"]["done"]), (&json!("failing"), &json!(0)));
    // What waits for it is looked at once a second only.
    wait_until("all wait for it", || daemon.target("dead")["traffic"]["lag_events"] == 200);
    dead.revive();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "dead"]);
    wait_until("the dead one catches up", || dead.count() == 200);
}
