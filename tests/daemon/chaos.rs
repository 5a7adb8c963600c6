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
/// Events that the receiver takes and dies with, at least.
const TAKEN_TWICE: usize = 6;
const USERS: usize = 200;
const GROUPS: usize = 5;

#[derive(Debug, Default, Clone, PartialEq)]
struct State {
    /// Each user's display name.
    users: BTreeMap<String, String>,
    members: BTreeMap<String, BTreeSet<String>>,
}

/// One event as it has to come, known from what was asked and from nothing that the sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    epoch: u64,
    seq: u64,
    kind: &'static str,
    group: String,
    user: String,
    /// The display name that it tells.
    name: String,
}

/// What the directory holds and every event that led there, by the rules of the log: an operation that changes
/// something is the next change and event 0 of it, one that changes nothing is none.
#[derive(Debug, Default)]
struct Model {
    state: State,
    epoch: u64,
    seq: u64,
    events: Vec<Expected>,
}

impl Model {
    fn tell(&mut self, kind: &'static str, group: &str, user: &str, name: &str) {
        self.seq += 1;
        let text = str::to_owned;
        let (epoch, seq) = (self.epoch, self.seq);
        self.events.push(Expected {
            epoch,
            seq,
            kind,
            group: text(group),
            user: text(user),
            name: text(name),
        });
    }

    fn user(&mut self, id: &str, name: &str) {
        self.state.users.insert(id.to_owned(), name.to_owned());
        self.tell("user.created", "", id, name);
    }

    fn group(&mut self, id: &str) {
        self.state.members.insert(id.to_owned(), BTreeSet::new());
        self.tell("group.created", id, "", "");
    }

    /// One operation of a bulk request.
    fn operation(&mut self, random: &mut Random, users: &[String], groups: &[String], number: u64) -> Value {
        let pick = |random: &mut Random, all: &[String]| all[random.below(all.len() as u64) as usize].clone();
        let user = pick(random, users);
        let (path, operations) = match random.below(3) {
            0 => {
                let name = format!("name {number}");
                self.state.users.insert(user.clone(), name.clone());
                self.tell("user.updated", "", &user, &name);
                let done = json!([{"op": "replace", "path": "displayName", "value": name}]);
                (format!("/Users/{user}"), done)
            }
            kind => {
                let group = pick(random, groups);
                let members = self.state.members.get_mut(&group).unwrap();
                let (word, differs, done) = if kind == 1 {
                    let done = json!([{"op": "add", "path": "members", "value": [{"value": user}]}]);
                    ("group.user_added", members.insert(user.clone()), done)
                } else {
                    let done = json!([{"op": "remove", "path": format!("members[value eq \"{user}\"]")}]);
                    ("group.user_removed", members.remove(&user), done)
                };
                if differs {
                    self.tell(word, &group, &user, "");
                }
                (format!("/Groups/{group}"), done)
            }
        };
        json!({"method": "PATCH", "path": path, "data":
            {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}})
    }
}

/// Holds what arrived against what had to arrive: each event once and in order, or again with the same bytes when the
/// sender goes back and then on from there; each as it was asked for and naming the one before it.
fn check(expected: &[Expected], log: &[(String, Vec<u8>)]) -> Result<(), String> {
    let id = |one: &Expected| format!("{}-{}-0", one.epoch, one.seq);
    let places: BTreeMap<String, usize> = expected.iter().enumerate().map(|(n, one)| (id(one), n)).collect();
    let mut bodies: Vec<&[u8]> = Vec::new();
    let mut last = None;
    for (came, body) in log {
        let Some(&place) = places.get(came) else { return Err(format!("{came} tells what nobody did")) };
        let next = last.map_or(0, |last: usize| last + 1);
        if place > next {
            return Err(format!("{came} came where {} was due", id(&expected[next])));
        }
        last = Some(place);
        if let Some(first) = bodies.get(place) {
            if *first != body.as_slice() {
                return Err(format!("{came} came again with another body"));
            }
            continue;
        }
        bodies.push(body);
        let one = &expected[place];
        let event: Value = serde_json::from_slice(body).map_err(|error| format!("{came}: {error}"))?;
        let data = &event["data"];
        let previous = match place.checked_sub(1) {
            Some(before) => json!([expected[before].epoch, expected[before].seq, 0]),
            None => Value::Null,
        };
        if data["previous"] != previous {
            return Err(format!("{came} follows {} and should {previous}", data["previous"]));
        }
        let text =
            |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let told = Expected {
            epoch: data["epoch"].as_u64().unwrap_or_default(),
            seq: data["seq"].as_u64().unwrap_or_default(),
            kind: one.kind,
            group: text("/group/id"),
            user: text("/user/id"),
            name: if one.group.is_empty() { text("/after/displayName") } else { String::new() },
        };
        if event["type"] != one.kind || data["n"] != 0 || told != *one {
            return Err(format!("{came} says {event} instead of {one:?}"));
        }
    }
    match expected.get(bodies.len()) {
        Some(missing) => Err(format!("{} never came", id(missing))),
        None => Ok(()),
    }
}

/// The state that a receiver ends up with, from the events alone.
fn rebuild(log: &[(String, Vec<u8>)]) -> State {
    let mut state = State::default();
    let mut seen = BTreeSet::new();
    for (_, body) in log.iter().filter(|(id, _)| seen.insert(id)) {
        let event: Value = serde_json::from_slice(body).unwrap();
        let data = &event["data"];
        let text =
            |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (user, group) = (text("/user/id"), text("/group/id"));
        match event["type"].as_str().unwrap() {
            "user.created" | "user.updated" => {
                if let Some(name) = data.pointer("/after/displayName").and_then(Value::as_str) {
                    state.users.insert(user, name.to_owned());
                }
            }
            "group.created" => drop(state.members.insert(group, BTreeSet::new())),
            "group.user_added" => assert!(state.members.get_mut(&group).unwrap().insert(user)),
            "group.user_removed" => assert!(state.members.get_mut(&group).unwrap().remove(&user)),
            other => panic!("unexpected {other}"),
        }
    }
    state
}

#[test]
fn the_check_sees_a_loss_a_swap_another_body_and_a_chain_that_was_mended_over_a_loss() {
    let mut random = Random::new(seed());
    let (users, groups) = (["u1".to_owned(), "u2".to_owned(), "u3".to_owned()], ["g1".to_owned()]);
    let mut model = Model { epoch: 1, seq: 40, ..Model::default() };
    users.iter().for_each(|id| model.user(id, "as created"));
    model.group("g1");
    for number in 0..80 {
        model.operation(&mut random, &users, &groups, number);
    }
    let body = |one: &Expected, previous: Option<&Expected>| {
        let previous = previous.map(|one| json!([one.epoch, one.seq, 0]));
        let body = json!({"type": one.kind, "data": {"epoch": one.epoch, "seq": one.seq, "n": 0, "previous": previous,
            "group": {"id": one.group}, "user": {"id": one.user}, "after": {"displayName": one.name}}});
        (format!("1-{}-0", one.seq), body.to_string().into_bytes())
    };
    // What a sender tells that knows only these events: its own chain has no gap.
    let told = |events: &[Expected]| -> Vec<(String, Vec<u8>)> {
        events.iter().enumerate().map(|(n, one)| body(one, n.checked_sub(1).map(|n| &events[n]))).collect()
    };
    let whole = told(&model.events);
    assert_eq!(check(&model.events, &whole), Ok(()));
    let again: Vec<_> = whole[..30].iter().chain(&whole[10..]).cloned().collect();
    assert_eq!(check(&model.events, &again), Ok(()), "gone back once and on from there");

    let without = |lost: &dyn Fn(u64) -> bool| -> Vec<Expected> {
        model.events.iter().filter(|one| !lost(one.seq)).cloned().collect()
    };
    let every_seventh = without(&|seq| seq % 7 == 0);
    check(&model.events, &told(&every_seventh)).unwrap_err();
    for one in &model.events {
        check(&model.events, &told(&without(&|seq| seq == one.seq))).unwrap_err();
    }
    for n in 1..whole.len() {
        let mut swapped = whole.clone();
        swapped.swap(n - 1, n);
        check(&model.events, &swapped).unwrap_err();
    }
    let mut other = again;
    other[31].1.push(b' ');
    check(&model.events, &other).unwrap_err();
    let mut skipping: Vec<_> = whole[..30].iter().chain(&whole[10..12]).cloned().collect();
    skipping.extend_from_slice(&whole[13..]);
    check(&model.events, &skipping).unwrap_err();
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

/// The log's epoch and newest change.
fn place(daemon: &Daemon) -> (u64, u64) {
    let status = daemon.cli_json(&["status"]);
    (status["epoch"].as_u64().unwrap(), status["seq"].as_u64().unwrap())
}

fn nudge(daemon: &Daemon) {
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
}

/// Changes without pause.
struct Load {
    random: Random,
    users: Vec<String>,
    groups: Vec<String>,
    number: u64,
}

impl Load {
    /// One bulk request; answers the newest change of the log.
    fn push(&mut self, daemon: &Daemon, scim: &mut Scim, model: &mut Model) -> u64 {
        // What people do about deliveries is in the log as well.
        (_, model.seq) = place(daemon);
        let operations: Vec<Value> = (0..BULK)
            .map(|_| {
                self.number += 1;
                model.operation(&mut self.random, &self.users, &self.groups, self.number)
            })
            .collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
        let done = scim.send("POST", "/Bulk", Some(&body)).expect(200).json();
        let is_done = |one: &Value| one["status"].as_str().unwrap() < "300";
        assert!(done["Operations"].as_array().unwrap().iter().all(is_done), "{done}");
        let asked = place(daemon).1;
        assert_eq!(asked, model.seq, "the log does not hold what was asked");
        asked
    }
}

#[test]
fn every_event_arrives_whatever_is_killed_when() {
    let wanted: u64 = std::env::var("CHAOS_CHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let random = Random::new(seed());
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
    let mut model = Model::default();
    (model.epoch, model.seq) = place(&daemon);
    let name = |n: usize| format!("u{n}@example.com");
    let users: Vec<String> = (0..USERS).map(|n| scim.create_user(&name(n))).collect();
    users.iter().enumerate().for_each(|(n, id)| model.user(id, &name(n)));
    let groups: Vec<String> = (0..GROUPS).map(|n| scim.create_group(&format!("G{n}"), &[])).collect();
    groups.iter().for_each(|id| model.group(id));

    let (mut daemon_kills, mut receiver_kills, mut asked, mut unanswered) = (0, 0, 0, 0);
    let mut load = Load { random, users, groups, number: 0 };
    let every = (wanted / 12).max(BULK);
    let began = Instant::now();
    // However it falls out, so many events are taken and not answered, and have to come again as they were.
    while asked < wanted || unanswered < TAKEN_TWICE {
        let until = (asked + every / 2 + load.random.below(every)).min(wanted);
        while asked < until {
            asked = load.push(&daemon, &mut scim, &mut model);
        }
        // Each dies alone or with the other, in the middle of what it does.
        let which = if asked < wanted { load.random.below(3) } else { 1 + load.random.below(2) };
        if which != 0 {
            if asked < wanted && load.random.below(3) == 0 {
                receiver.kill();
            } else {
                nudge(&daemon);
                receiver.mute();
                asked = load.push(&daemon, &mut scim, &mut model);
                unanswered += usize::from(receiver.kill_unanswered());
            }
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
    let log: Vec<(String, Vec<u8>)> = receiver.came().into_iter().map(|one| (one.id, one.body)).collect();
    if let Err(wrong) = check(&model.events, &log) {
        panic!("{wrong}");
    }
    assert_eq!(mirrored(&mut scim), model.state, "the mirror is what was asked for");
    assert_eq!(rebuild(&log), model.state, "and so is what the events make");
    let ids: BTreeSet<&String> = log.iter().map(|(id, _)| id).collect();
    println!(
        "{asked} changes in {made:?}, {} events after {:?}, {} of them twice, daemon killed {daemon_kills} times, receiver {receiver_kills} times, {unanswered} of them with an event in hand",
        ids.len(),
        began.elapsed(),
        log.len() - ids.len()
    );
    assert!(log.len() - ids.len() >= unanswered, "what was taken and not answered comes again");
    assert_eq!(daemon.stop(), Some(0));
}
