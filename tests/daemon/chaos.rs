//! Changes without pause while the receiver and the daemon are killed at random: every event arrives, in order,
//! doubled only under the same id, and the state rebuilt from them is the mirror's. `CHAOS_CHANGES` sets how many.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::flaky::Flaky;
use crate::support::receiver::SECRET;
use crate::support::{Random, seed};

/// Operations in one bulk request.
const BULK: u64 = 50;
const USERS: usize = 200;
const GROUPS: usize = 5;

#[derive(Debug, Default, PartialEq)]
struct State {
    /// Each user's display name.
    users: BTreeMap<String, String>,
    members: BTreeMap<String, BTreeSet<String>>,
}

fn operation(random: &mut Random, users: &[String], groups: &[String], number: u64) -> Value {
    let pick = |random: &mut Random, all: &[String]| all[random.below(all.len() as u64) as usize].clone();
    let user = pick(random, users);
    let (path, operations) = match random.below(3) {
        0 => (
            format!("/Users/{user}"),
            json!([{"op": "replace", "path": "displayName", "value": format!("name {number}")}]),
        ),
        1 => (
            format!("/Groups/{}", pick(random, groups)),
            json!([{"op": "add", "path": "members", "value": [{"value": user}]}]),
        ),
        _ => (
            format!("/Groups/{}", pick(random, groups)),
            json!([{"op": "remove", "path": format!("members[value eq \"{user}\"]")}]),
        ),
    };
    json!({"method": "PATCH", "path": path, "data":
        {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}})
}

fn rebuild(log: &[(String, Vec<u8>)]) -> State {
    let mut state = State::default();
    let mut bodies: BTreeMap<(u64, u64), &[u8]> = BTreeMap::new();
    let mut newest: Option<(u64, u64)> = None;
    let mut previous = Value::Null;
    for (id, body) in log {
        let mut parts = id.split('-').skip(1).map(|part| part.parse::<u64>().unwrap());
        let place = (parts.next().unwrap(), parts.next().unwrap());
        if let Some(before) = bodies.insert(place, body) {
            assert_eq!(before, body.as_slice(), "{id} came twice with two bodies");
            continue;
        }
        assert!(newest.is_none_or(|newest| newest < place), "{id} came out of order");
        newest = Some(place);
        let event: Value = serde_json::from_slice(body).unwrap();
        let data = &event["data"];
        assert_eq!(data["previous"], previous, "a gap before {id}");
        previous = json!([data["epoch"], data["seq"], data["n"]]);
        let text =
            |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap() {
            "user.created" | "user.updated" => {
                if let Some(name) = data.pointer("/after/displayName").and_then(Value::as_str) {
                    state.users.insert(text("/user/id"), name.to_owned());
                }
            }
            "group.created" => drop(state.members.insert(text("/group/id"), BTreeSet::new())),
            "group.user_added" => {
                assert!(
                    state.members.get_mut(&text("/group/id")).unwrap().insert(text("/user/id")),
                    "{id} says nothing"
                );
            }
            "group.user_removed" => {
                assert!(
                    state.members.get_mut(&text("/group/id")).unwrap().remove(&text("/user/id")),
                    "{id} says nothing"
                );
            }
            other => panic!("unexpected {other}"),
        }
    }
    state
}

fn mirrored(scim: &mut Scim) -> State {
    let mut state = State::default();
    let users = scim.get("/Users?count=1000").expect(200).json();
    for user in users["Resources"].as_array().unwrap() {
        let text = |key: &str| user[key].as_str().unwrap().to_owned();
        state.users.insert(text("id"), text("displayName"));
    }
    let groups = scim.get("/Groups?count=1000").expect(200).json();
    for group in groups["Resources"].as_array().unwrap() {
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let ids = members.iter().map(|one| one["value"].as_str().unwrap().to_owned());
        state.members.insert(group["id"].as_str().unwrap().to_owned(), ids.collect());
    }
    state
}

fn seq(daemon: &Daemon) -> u64 {
    daemon.cli_json(&["status"])["seq"].as_u64().unwrap()
}

fn nudge(daemon: &Daemon) {
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
}

#[test]
fn every_event_arrives_whatever_is_killed_when() {
    let wanted: u64 = std::env::var("CHAOS_CHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let mut random = Random::new(seed());
    let mut receiver = Flaky::start();
    let mut daemon = Daemon::prepare(&format!(
        "[guard]\nmax_removals = [\"100%\"]\nmin_removals = 1000000\n[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\n\
         secret_file = \"{{dir}}/hook-secret\"\nevents = [\"user.*\", \"group.*\"]\n\
         wait = {{ revoke = \"1ms\", min = \"5ms\", max = \"50ms\" }}\n",
        receiver.url()
    ));
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory: Directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let users: Vec<String> = (0..USERS).map(|n| scim.create_user(&format!("u{n}@example.com"))).collect();
    let groups: Vec<String> = (0..GROUPS).map(|n| scim.create_group(&format!("G{n}"), &[])).collect();

    let (mut number, mut daemon_kills, mut receiver_kills, mut asked) = (0, 0, 0, 0);
    let every = (wanted / 12).max(BULK);
    let began = Instant::now();
    while asked < wanted {
        let until = (asked + every / 2 + random.below(every)).min(wanted);
        while asked < until {
            let operations: Vec<Value> = (0..BULK)
                .map(|_| {
                    number += 1;
                    operation(&mut random, &users, &groups, number)
                })
                .collect();
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
            let done = scim.send("POST", "/Bulk", Some(&body)).expect(200).json();
            assert!(
                done["Operations"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|one| one["status"].as_str().unwrap() < "300"),
                "{done}"
            );
            asked = seq(&daemon);
        }
        // Each dies alone or with the other, in the middle of what it does.
        let which = random.below(3);
        if which != 0 {
            receiver.kill();
            receiver_kills += 1;
        }
        if which != 1 {
            daemon.kill();
            daemon_kills += 1;
            daemon.run();
            scim = daemon.scim(&directory);
        }
        if which != 0 {
            receiver.revive();
        }
        nudge(&daemon);
    }
    let made = began.elapsed();
    // Progress, not time, decides: it may take as long as events still arrive.
    let (mut count, mut moved) = (receiver.count(), Instant::now());
    loop {
        let all = daemon.cli_json(&["status"]);
        let status = &all["targets"][0];
        if status["applied_seq"] == all["seq"] && status["open"] == 0 && status["state"] == "in_sync" {
            break;
        }
        if receiver.count() != count {
            (count, moved) = (receiver.count(), Instant::now());
        } else if moved.elapsed() > Duration::from_secs(60) {
            panic!("nothing arrives any more: {status}");
        } else if moved.elapsed() > Duration::from_secs(6) {
            nudge(&daemon);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let state = mirrored(&mut scim);
    let log = receiver.log.lock().unwrap().clone();
    assert_eq!(rebuild(&log), state);
    let ids: BTreeSet<&String> = log.iter().map(|(id, _)| id).collect();
    println!(
        "{asked} changes in {made:?}, {} events after {:?}, {} of them twice, daemon killed {daemon_kills} times, receiver {receiver_kills} times",
        ids.len(),
        began.elapsed(),
        log.len() - ids.len()
    );
    assert_eq!(daemon.stop(), Some(0));
}
