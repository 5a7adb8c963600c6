//! What is told ahead of older events: under `apply = "manual"` a shut does not wait for the sync that they wait for.
//! The chain of `previous` and the order of arrival stay one, whatever the receiver and the daemon do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::api::{self, Api};
use crate::support::daemon::{Daemon, Scim};
use crate::support::flaky::Flaky;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{Random, seed, wait_until};

/// A daemon with a stream that mixes what waits for a sync with what does not.
fn started(url: &str, more: &str) -> (Daemon, Scim, Api) {
    let (mut daemon, listen) = api::prepare(&format!(
        "[guard]\nmax_removals = [\"100%\"]\nmin_removals = 1000000\n[[role]]\nname = \"db-admin\"\ngroups = [\"Admins\"]\n\
         [[target]]\nname = \"hook\"\ntype = \"webhook\"\napply = \"manual\"\nurl = \"{url}\"\n\
         secret_file = \"{{dir}}/hook-secret\"\nevents = [\"access.*\", \"user.*\", \"group.*\", \"subject.*\"]\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    ));
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    sync(&daemon);
    let directory = daemon.add_directory("Acme", "okta");
    let scim = daemon.scim(&directory);
    let api = Api::new(listen, "viewer");
    (daemon, scim, api)
}

fn open(daemon: &Daemon) -> u64 {
    daemon.target("hook")["open"].as_u64().unwrap()
}

fn retry(daemon: &Daemon) {
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "hook"]);
}

/// Whether it is in sync after that depends on the receiver.
fn sync(daemon: &Daemon) {
    let code = daemon.cli(&["sync", "hook"]).status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

fn shut(daemon: &Daemon, user: &str) {
    daemon.cli_json(&["shut", user, "--reason", "stolen laptop"]);
}

/// The ids of what the target was told, in the order that `delivery list` shows, with their turns.
fn listed(daemon: &Daemon) -> Vec<(String, u64)> {
    let all = daemon.cli_json(&["delivery", "list", "--target", "hook", "--limit", "1000"]);
    let mut all: Vec<(String, u64)> = all["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["event"].as_str().unwrap().to_owned(), one["turn"].as_u64().unwrap()))
        .collect();
    all.reverse();
    all
}

fn seq_of(id: &str) -> u64 {
    id.split('-').nth(1).unwrap().parse().unwrap()
}

fn place(value: &Value) -> Option<String> {
    let parts: Vec<String> = value.as_array()?.iter().map(ToString::to_string).collect();
    Some(parts.join("-"))
}

/// The events in the order they came first. Each names the one that came before it, or nothing where a snapshot
/// begins; one that comes again has the same bytes, and what follows it follows it as before.
fn chained(log: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut known: Vec<(String, Vec<u8>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut last: Option<usize> = None;
    for (id, body) in log {
        let next = last.map_or(0, |last| last + 1);
        if let Some(&at) = places.get(id) {
            assert!(at <= next, "{id} came where {} was due", known[next].0);
            assert_eq!(&known[at].1, body, "{id} came again with another body");
            last = Some(at);
            continue;
        }
        assert_eq!(next, known.len(), "{id} came where {} was due", known.get(next).map_or("", |one| &one.0));
        let event: Value = serde_json::from_slice(body).unwrap();
        let previous = place(&event["data"]["previous"]);
        let wanted = known.last().filter(|_| event["type"] != "snapshot.started").map(|(id, _)| id.clone());
        assert_eq!(previous, wanted, "{id}: {event}");
        places.insert(id.clone(), known.len());
        last = Some(known.len());
        known.push((id.clone(), body.clone()));
    }
    known.into_iter().map(|(id, _)| id).collect()
}

fn log_of(receiver: &Flaky) -> Vec<(String, Vec<u8>)> {
    receiver.came().into_iter().map(|one| (one.id, one.body)).collect()
}

fn kind(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body).unwrap()["type"].as_str().unwrap().to_owned()
}

#[test]
fn a_shut_told_while_the_receiver_is_away_arrives_where_the_chain_has_it() {
    let mut receiver = Flaky::start();
    let (mut daemon, mut scim, mut api) = started(&receiver.url(), "");
    let users = ["alice", "bob", "carol"].map(|name| scim.create_user(&format!("{name}@example.com")));
    let group = scim.create_group("Admins", &[&users[0], &users[1]]);
    sync(&daemon);
    wait_until("all is told", || open(&daemon) == 0);
    let before = receiver.count();

    receiver.kill();
    scim.add_member(&group, &users[2]);
    let waiting = daemon.cli_json(&["status"])["seq"].as_u64().unwrap();
    shut(&daemon, "alice@example.com");
    wait_until("the shut is on its way", || open(&daemon) == 1);
    let (early, turn) = listed(&daemon).pop().unwrap();
    assert!(seq_of(&early) > waiting && turn < waiting, "{early} in the turn of {turn}");
    let applied = daemon.target("hook")["applied_seq"].as_u64().unwrap();
    assert!(applied < waiting, "{applied}: what waits is not told yet");
    daemon.kill();
    daemon.run();
    scim.remove_member(&group, &users[1]);
    sync(&daemon);
    scim.create_user("dave@example.com");
    shut(&daemon, "carol@example.com");
    wait_until("the rest is on its way", || open(&daemon) > 4);
    daemon.kill();
    daemon.run();
    receiver.revive();
    retry(&daemon);
    wait_until("all arrived", || open(&daemon) == 0);
    sync(&daemon);
    wait_until("the last ones too", || open(&daemon) == 0);

    let order = chained(&log_of(&receiver));
    assert_eq!(order[before], early, "what was told first came first");
    assert!(!order.is_sorted_by_key(|id| seq_of(id)), "nothing was told ahead: {order:?}");
    let told = listed(&daemon);
    assert!(told.is_sorted_by_key(|one| one.1), "{told:?}");
    assert_eq!(
        told.into_iter().map(|one| one.0).collect::<Vec<_>>(),
        order,
        "`delivery list` shows that order"
    );
    let (whole, mut paged) = (daemon.cli_json(&["delivery", "list", "--limit", "1000"]), Vec::new());
    let mut path = "deliveries?limit=1".to_owned();
    loop {
        let page = api.get(&path);
        paged.extend(page["deliveries"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("deliveries?limit=1&before={next}");
    }
    assert_eq!(json!(paged), whole["deliveries"], "page by page it is the same");

    // From what waited for the sync on: what was told ahead of it comes ahead of it again. What has not been told yet
    // is told behind all that.
    let first = receiver.count();
    let report = daemon.cli_json(&["delivery", "replay", "hook", "--from", &waiting.to_string()]);
    assert_eq!(report["from"], turn, "{report}");
    scim.create_user("erin@example.com");
    sync(&daemon);
    wait_until("all came again", || open(&daemon) == 0);
    scim.create_user("frank@example.com");
    sync(&daemon);
    wait_until("and what is new", || open(&daemon) == 0);
    let log = log_of(&receiver);
    let again: Vec<&String> = log[first..].iter().map(|(id, _)| id).collect();
    let from = order.iter().position(|id| seq_of(id) >= turn).unwrap();
    assert_eq!(again[..order.len() - from], order[from..].iter().collect::<Vec<_>>());
    assert_eq!(chained(&log).len(), order.len() + 2);
    assert_eq!(daemon.cli(&["verify"]).status.code(), Some(0));
}

#[test]
fn a_shut_that_is_parked_stops_what_is_told_after_it_and_one_that_is_skipped_leaves_its_gap() {
    let receiver = Receiver::start();
    let (mut daemon, mut scim, _) = started(&receiver.url(), "");
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Admins", &[&alice]);
    sync(&daemon);
    wait_until("all is told", || open(&daemon) == 0);
    let before = receiver.all().len();
    receiver.answer_next(&["400 No", "400 No"]);
    scim.create_user("bob@example.com");
    shut(&daemon, "alice@example.com");
    wait_until("parked", || daemon.target("hook")["parked"] == 1);
    let early = listed(&daemon).pop().unwrap().0;
    sync(&daemon);
    daemon.kill();
    daemon.run();
    daemon.cli_json(&["delivery", "retry", &format!("hook/{early}")]);
    wait_until("parked again", || receiver.all().len() == before + 2 && daemon.target("hook")["parked"] == 1);
    assert!(receiver.all()[before..].iter().all(|one| one.id == early), "nothing overtakes it");
    daemon.cli_json(&["delivery", "skip", &format!("hook/{early}")]);
    wait_until("the rest arrives", || open(&daemon) == 0);
    let rest = receiver.events().split_off(before);
    let previous: Vec<Option<String>> = rest.iter().map(|one| place(&one.body["data"]["previous"])).collect();
    assert_eq!(previous[0].as_ref(), Some(&early), "what follows says that it is missing");
    assert!(
        rest.len() > 1 && previous[1..].iter().zip(&rest).all(|(named, one)| named.as_ref() == Some(&one.id))
    );
    // Sent after all.
    let seq = seq_of(&early).to_string();
    daemon.cli_json(&["delivery", "replay", "hook", "--from", &seq]);
    sync(&daemon);
    wait_until("it comes after all", || receiver.events().iter().any(|one| one.id == early));
    wait_until("with all behind it", || open(&daemon) == 0);
    let all: Vec<String> = receiver.all().into_iter().map(|one| one.id).collect();
    let at = all.iter().rposition(|id| *id == early).unwrap();
    assert_eq!(all[at + 1..], rest.iter().map(|one| one.id.clone()).collect::<Vec<_>>());
}

#[test]
fn what_people_do_about_deliveries_tells_nothing_that_waits_for_a_sync() {
    let receiver = Receiver::start();
    let (daemon, mut scim, _) = started(&receiver.url(), "");
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Admins", &[&alice]);
    sync(&daemon);
    wait_until("all is told", || open(&daemon) == 0);
    let from = daemon.cli_json(&["status"])["seq"].to_string();
    let told = receiver.events().len();
    scim.create_user("bob@example.com");
    let is_told = |what: &str| receiver.events().iter().any(|one| one.body.to_string().contains(what));
    retry(&daemon);
    daemon.cli_json(&["delivery", "replay", "hook", "--from", &from]);
    wait_until("it came again", || receiver.all().len() > told && open(&daemon) == 0);
    // The first thing behind all that.
    shut(&daemon, "alice@example.com");
    wait_until("the shut is told", || is_told("access.revoked") && open(&daemon) == 0);
    retry(&daemon);
    assert!(!is_told("bob@example.com"), "he waits for a sync");
    sync(&daemon);
    wait_until("now he is told", || is_told("bob@example.com") && open(&daemon) == 0);
    let all: Vec<_> = receiver.all().into_iter().map(|one| (one.id, one.raw)).collect();
    chained(&all);
}

#[test]
fn batches_keep_the_order_of_telling_and_stay_what_they_are_over_a_shut() {
    let mut receiver = Flaky::start();
    let (mut daemon, mut scim, _) =
        started(&receiver.url(), "batch = { max_events = 3, max_wait = \"50ms\" }");
    let users: Vec<String> = (0..4).map(|n| scim.create_user(&format!("u{n}@example.com"))).collect();
    scim.create_group("Admins", &users.iter().map(String::as_str).collect::<Vec<_>>());
    sync(&daemon);
    wait_until("all is told", || open(&daemon) == 0);
    receiver.kill();
    for n in 0..3 {
        scim.create_user(&format!("v{n}@example.com"));
        shut(&daemon, &format!("u{n}@example.com"));
        wait_until("a batch was tried", || {
            let all = daemon.cli_json(&["delivery", "list", "--state", "pending"]);
            all["deliveries"].as_array().unwrap().iter().any(|one| one["attempts"] != 0)
        });
    }
    sync(&daemon);
    daemon.kill();
    daemon.run();
    receiver.revive();
    retry(&daemon);
    wait_until("all arrived", || open(&daemon) == 0);
    let mut seen = BTreeSet::new();
    let (mut last, mut events) = (Value::Null, Vec::new());
    for (id, body) in log_of(&receiver).into_iter().filter(|(id, _)| seen.insert(id.clone())) {
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["data"]["previous"], last, "{body}");
        last = body["data"]["last"].clone();
        assert_eq!(place(&last), Some(id));
        for one in body["data"]["events"].as_array().unwrap() {
            let data = &one["data"];
            let id = place(&json!([data["epoch"], data["seq"], data["n"]])).unwrap();
            events.push((id, one.to_string().into_bytes()));
        }
    }
    let order = chained(&events);
    assert!(!order.is_sorted_by_key(|id| seq_of(id)), "nothing was told ahead: {order:?}");
    assert_eq!(listed(&daemon).into_iter().map(|one| one.0).collect::<Vec<_>>(), order);
}

#[test]
fn with_ordering_by_resource_each_of_them_arrives_as_it_was_told() {
    let mut receiver = Flaky::start();
    let (daemon, mut scim, _) = started(&receiver.url(), "ordering = \"resource\"");
    let alice = scim.create_user("alice@example.com");
    let group = scim.create_group("Admins", &[&alice]);
    sync(&daemon);
    wait_until("all is told", || open(&daemon) == 0);
    receiver.kill();
    let before = receiver.count();
    for n in 0..4 {
        let name = json!([{"op": "replace", "path": "displayName", "value": format!("Alice {n}")}]);
        assert!(scim.patch(&format!("/Users/{alice}"), name).status < 300);
        scim.create_user(&format!("u{n}@example.com"));
    }
    shut(&daemon, "alice@example.com");
    wait_until("the shut is on its way", || open(&daemon) == 1);
    scim.remove_member(&group, &alice);
    sync(&daemon);
    receiver.revive();
    retry(&daemon);
    wait_until("all arrived", || open(&daemon) == 0);
    let log = log_of(&receiver);
    let hers: Vec<String> = log[before..]
        .iter()
        .filter(|(_, body)| {
            let event: Value = serde_json::from_slice(body).unwrap();
            let data = &event["data"];
            data["user"]["id"] == alice.as_str() && event["type"] == "user.updated"
                || event["type"].as_str().unwrap().starts_with("access.")
        })
        .map(|(_, body)| kind(body))
        .collect();
    let updated = ["user.updated"; 4];
    assert_eq!(hers, [&["access.revoked"][..], &updated[..]].concat());
    // The chain is that of the target: put in its order it has no gap, and that is the order of the list.
    let by_id: BTreeMap<String, Vec<u8>> = log.iter().cloned().collect();
    let told: Vec<(String, Vec<u8>)> =
        listed(&daemon).into_iter().map(|(id, _)| (id.clone(), by_id[&id].clone())).collect();
    assert_eq!(chained(&told).len(), by_id.len());
}

/// What a receiver holds that follows `access.*`.
fn holders(log: &[(String, Vec<u8>)]) -> BTreeSet<String> {
    let mut holders = BTreeSet::new();
    for (_, body) in log {
        let event: Value = serde_json::from_slice(body).unwrap();
        let name = event["data"]["subject"]["name"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap() {
            "snapshot.started" => holders.clear(),
            "access.granted" | "access.snapshot" => drop(holders.insert(name)),
            "access.revoked" => drop(holders.remove(&name)),
            _ => {}
        }
    }
    holders
}

/// Whatever is done in whatever order, with replays or with snapshots in between.
fn at_random(random: &mut Random, with_snapshots: bool) {
    let mut receiver = Flaky::start();
    let (mut daemon, mut scim, _) = started(&receiver.url(), "");
    let name = |n: usize| format!("u{n}@example.com");
    let users: Vec<String> = (0..6).map(|n| scim.create_user(&name(n))).collect();
    let group = scim.create_group("Admins", &[]);
    let (mut members, mut outside) = (BTreeSet::new(), BTreeSet::new());
    let mut is_away = false;
    for step in 0..50 {
        let n = random.below(users.len() as u64) as usize;
        match random.below(12) {
            0..3 => {
                if members.remove(&n) {
                    scim.remove_member(&group, &users[n]);
                } else {
                    scim.add_member(&group, &users[n]);
                    members.insert(n);
                }
            }
            3 => {
                let value =
                    json!([{"op": "replace", "path": "displayName", "value": format!("step {step}")}]);
                assert!(scim.patch(&format!("/Users/{}", users[n]), value).status < 300);
            }
            4..6 => {
                if outside.remove(&n) {
                    daemon.cli_json(&["open", &name(n)]);
                } else {
                    shut(&daemon, &name(n));
                    outside.insert(n);
                }
            }
            6..8 => sync(&daemon),
            8 => {
                daemon.kill();
                daemon.run();
            }
            9 if is_away => {
                receiver.revive();
                retry(&daemon);
                is_away = false;
            }
            9 => {
                receiver.kill();
                is_away = true;
            }
            10 if with_snapshots => drop(daemon.cli_json(&["delivery", "snapshot", "hook"])),
            10 => {
                let newest = daemon.cli_json(&["status"])["seq"].as_u64().unwrap();
                let from = (1 + random.below(newest)).to_string();
                // Where nothing was told from there on there is nothing to send again.
                let code = daemon.cli(&["delivery", "replay", "hook", "--from", &from]).status.code();
                assert!(matches!(code, Some(0 | 1)), "{code:?}");
            }
            _ => retry(&daemon),
        }
    }
    if is_away {
        receiver.revive();
    }
    sync(&daemon);
    retry(&daemon);
    wait_until("all arrived", || open(&daemon) == 0);
    // What was asked for while the last sync ran is told by another.
    sync(&daemon);
    wait_until("all arrived", || open(&daemon) == 0);
    let log = log_of(&receiver);
    let order = chained(&log);
    let wanted: BTreeSet<String> = members.difference(&outside).map(|n| name(*n)).collect();
    assert_eq!(holders(&log), wanted);
    if !with_snapshots {
        assert_eq!(listed(&daemon).into_iter().map(|one| one.0).collect::<Vec<_>>(), order);
    }
}

#[test]
fn the_chain_holds_whatever_is_done_in_whatever_order() {
    let mut random = Random::new(seed());
    for with_snapshots in [false, true, false, true] {
        at_random(&mut random, with_snapshots);
    }
}
