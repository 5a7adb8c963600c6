//! An import is written in pieces: what is asked meanwhile is answered between two of them, what changes meanwhile is kept,
//! and one that was killed is finished by a second run.
//!
//! Nothing here looks at the clock. The files are large enough for some tens of pieces, whatever the machine: a piece has
//! 256 records at most.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::{wait_for, wait_until};

const CONFIG: &str = r#"
[[role]]
name = "db-admin"
groups = ["Database Admins", "Data Platform"]
[[target]]
name = "file"
type = "file"
format = "json"
path = "{dir}/out/access.json"
wait = { revoke = "0s", min = "0s", max = "0s" }
"#;

/// So many people make for some twenty pieces.
const MANY: usize = 5_000;

fn start() -> (Daemon, Directory) {
    start_with("")
}

fn start_with(more: &str) -> (Daemon, Directory) {
    let mut daemon = Daemon::prepare(&format!("{CONFIG}{more}"));
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "generic");
    (daemon, directory)
}

fn write(daemon: &Daemon, name: &str, text: &str) -> String {
    let path = daemon.path(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// So many people.
fn people(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("{{\"userName\":\"user{n}@example.com\",\"externalId\":\"x{n}\"}}\n")).collect()
}

/// A group of them.
fn group(name: &str, range: std::ops::Range<usize>) -> String {
    let members: Vec<Value> = range.map(|n| json!({ "value": format!("x{n}") })).collect();
    format!("{}\n", json!({ "displayName": name, "members": members }))
}

/// The command, its exit code, its answer and what it said.
fn import(daemon: &Daemon, directory: &Directory, file: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let mut args = vec!["import", file, "--directory", &directory.id, "--yes", "--json"];
    args.extend(more);
    let out = daemon.cli(&args);
    let answer = serde_json::from_slice(&out.stdout).unwrap_or(Value::Null);
    (out.status.code(), answer, String::from_utf8_lossy(&out.stderr).into_owned())
}

fn users(scim: &mut Scim) -> u64 {
    scim.get("/Users?count=1&attributes=id").json()["totalResults"].as_u64().unwrap()
}

/// The changes that name a user, oldest first.
fn changes_of(daemon: &Daemon, user: &str) -> Vec<u64> {
    let history = daemon.cli_json(&["history", "--subject", user, "--limit", "1000"]);
    history["changes"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect()
}

/// Who holds the role, by the target's file; nobody while there is none.
fn admins(daemon: &Daemon) -> BTreeSet<String> {
    let file: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
    let roles = file["roles"].as_array().cloned().unwrap_or_default();
    let found = roles.iter().find(|one| one["name"] == "db-admin").map(|one| one["members"].clone());
    let members = found.and_then(|members| members.as_array().cloned()).unwrap_or_default();
    members.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn requests_of_the_identity_provider_are_answered_between_two_pieces() {
    let (daemon, directory) = start();
    let mut scim = daemon.scim(&directory);
    let leaver = scim.create_user("leaver@example.com");
    let file = write(&daemon, "many.jsonl", &people(0..MANY));
    let is_over = AtomicBool::new(false);
    let (code, answer, err) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut active = true;
            while !is_over.load(Ordering::SeqCst) {
                active = !active;
                scim.set_active(&leaver, active);
            }
        });
        let ended = import(&daemon, &directory, &file, &[]);
        is_over.store(true, Ordering::SeqCst);
        asking.join().unwrap();
        ended
    });
    assert_eq!(code, Some(0), "{err}");
    let done = &answer["done"];
    assert_eq!(
        (&done["finished"], &done["created"], &done["conflicts"]),
        (&json!(true), &json!(MANY), &json!([]))
    );
    let (first, last) = (
        changes_of(&daemon, "user0@example.com")[0],
        changes_of(&daemon, &format!("user{}@example.com", MANY - 1))[0],
    );
    let mut between = 0;
    let mut after = first;
    loop {
        let args = ["history", "--kind", "user.*", "--after", &after.to_string(), "--limit", "1000"];
        let page = daemon.cli_json(&args)["changes"].as_array().unwrap().clone();
        let Some(newest) = page.last().and_then(|one| one["seq"].as_u64()) else { break };
        let is_asked = |one: &&Value| one["kind"] != "user.created" && one["seq"].as_u64().unwrap() < last;
        between += page.iter().filter(is_asked).count();
        after = newest;
    }
    assert!(between > 0, "no request was answered between change {first} and change {last}");
    assert_eq!(done["seq"].as_u64().unwrap(), {
        let told = daemon.cli_json(&["history", "--kind", "import.finished"]);
        assert_eq!(told["changes"][0]["object"], answer["id"], "{told}");
        told["changes"][0]["seq"].as_u64().unwrap()
    });
    assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
}

#[test]
fn an_import_that_was_killed_is_finished_by_a_second_run() {
    let (mut daemon, directory) = start();
    let text = people(0..MANY) + &group("Database Admins", 0..MANY) + &group("Everybody", 0..MANY);
    let file = write(&daemon, "many.jsonl", &text);
    let mut command = std::process::Command::new(crate::support::daemon::BINARY)
        .args(["import", &file, "--directory", &directory.id, "--yes", "--config"])
        .arg(daemon.config())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut scim = daemon.scim(&directory);
    wait_until("a piece is in", || users(&mut scim) > 0);
    daemon.kill();
    assert!(!command.wait().unwrap().success(), "the command cannot know how far it came");
    daemon.run();
    let mut scim = daemon.scim(&directory);
    let left = users(&mut scim);
    assert!(left > 0, "what was answered for is there");

    let (code, answer, err) = import(&daemon, &directory, &file, &["--replace"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(answer["leave"]["users"].as_u64().unwrap(), left, "pieces are whole: {answer}");
    assert_eq!(answer["done"]["finished"], true);
    assert_eq!(users(&mut scim), MANY as u64);
    // All of it is there, and nothing else.
    let (_, again, _) = import(&daemon, &directory, &file, &["--replace"]);
    assert_eq!((&again["changes"], &again["applied"]), (&json!(0), &json!(false)), "{again}");
    let groups = daemon.cli_json(&["group", "list"]);
    let counts: Vec<&Value> =
        groups["groups"].as_array().unwrap().iter().map(|one| &one["members_count"]).collect();
    assert_eq!(counts, [&json!(MANY), &json!(MANY)]);
    assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
    wait_until("the target has everybody", || admins(&daemon).len() == MANY);
}

#[test]
fn what_the_identity_provider_changes_meanwhile_is_told_with_its_line_and_kept() {
    let (daemon, directory) = start();
    let mut scim = daemon.scim(&directory);
    let ada = scim.create_user("ada@example.com");
    // The last line of many: the change below comes long before its turn.
    let text = people(0..MANY) + "{\"userName\":\"ada@example.com\",\"title\":\"by the file\"}\n";
    let file = write(&daemon, "many.jsonl", &text);
    let (code, answer, err) = std::thread::scope(|scope| {
        let running = scope.spawn(|| import(&daemon, &directory, &file, &["--replace"]));
        wait_until("a piece is in", || users(&mut scim) > 1);
        let change = json!([{"op": "replace", "value": {"title": "by the identity provider"}}]);
        assert_eq!(scim.patch(&format!("/Users/{ada}"), change).status, 200);
        running.join().unwrap()
    });
    assert_eq!(code, Some(1), "{err}");
    let told = format!("line {}, ada@example.com: somebody else changed it meanwhile (change ", MANY + 1);
    assert!(err.contains(&told) && err.contains("the import is not finished"), "{err}");
    let done = &answer["done"];
    assert_eq!(
        (&done["finished"], &done["created"], &done["updated"]),
        (&json!(false), &json!(MANY), &json!(0))
    );
    assert_eq!(scim.get(&format!("/Users/{ada}")).json()["title"], "by the identity provider");
    let ended = daemon.cli_json(&["history", "--kind", "import.finished"])["changes"][0].clone();
    assert_eq!(
        (&ended["after"]["finished"], &ended["after"]["conflicts"]),
        (&json!(false), &json!(1)),
        "{ended}"
    );
    // A new run sees what there is now, and asks about it anew.
    let (code, answer, err) = import(&daemon, &directory, &file, &[]);
    assert_eq!((code, &answer["changes"]), (Some(0), &json!(1)), "{err}");
    assert_eq!(scim.get(&format!("/Users/{ada}")).json()["title"], "by the file");
}

/// Reads the target's file over and over until told to stop, and hands each different one over.
fn watched<T>(daemon: &Daemon, look: impl Fn(&BTreeSet<String>) + Sync, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut before = String::new();
            while !is_over.load(Ordering::SeqCst) {
                let text = daemon.read("out/access.json");
                if text != before {
                    look(&admins(daemon));
                    before = text;
                }
            }
        });
        // Also where the work ends in a panic.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn who_moves_from_one_group_to_another_is_never_without() {
    const COUNT: usize = 600;
    // A guard that lets everything through: it is not what keeps them in.
    let (daemon, directory) = start_with("[guard]\nmin_removals = 100000\n");
    let before = people(0..COUNT) + &group("Database Admins", 0..COUNT) + &group("Data Platform", 0..0);
    let (code, _, err) = import(&daemon, &directory, &write(&daemon, "before.jsonl", &before), &[]);
    assert_eq!(code, Some(0), "{err}");
    wait_until("all are in", || admins(&daemon).len() == COUNT);
    let after = people(0..COUNT) + &group("Database Admins", 0..0) + &group("Data Platform", 0..COUNT);
    let file = write(&daemon, "after.jsonl", &after);
    let look = |found: &BTreeSet<String>| assert_eq!(found.len(), COUNT, "somebody was without");
    watched(&daemon, look, || {
        let (code, answer, err) = import(&daemon, &directory, &file, &["--replace"]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(answer["memberships"], json!({"add": COUNT, "remove": COUNT}));
        wait_until("the target follows", || {
            let status = daemon.cli_json(&["status"]);
            status["targets"][0]["applied_seq"] == status["seq"]
        });
    });
    assert_eq!(admins(&daemon).len(), COUNT);
}

#[test]
fn the_guard_judges_all_pieces_as_one_plan() {
    const COUNT: usize = 1_500;
    let (daemon, directory) = start();
    let all = people(0..COUNT) + &group("Database Admins", 0..COUNT);
    let (code, _, err) = import(&daemon, &directory, &write(&daemon, "all.jsonl", &all), &[]);
    assert_eq!(code, Some(0), "{err}");
    wait_until("all are in", || admins(&daemon).len() == COUNT);
    // Two thirds go, piece by piece; each of the first pieces alone would pass the guard.
    let some = people(0..500) + &group("Database Admins", 0..500);
    let file = write(&daemon, "some.jsonl", &some);
    let look = |found: &BTreeSet<String>| assert_eq!(found.len(), COUNT, "the guard let a part through");
    watched(&daemon, look, || {
        let (code, answer, err) = import(&daemon, &directory, &file, &["--replace"]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(answer["done"]["deactivated"], json!(1_000));
        // The role and the group of each.
        wait_for("the guard holds", || {
            (daemon.target("file")["held_removals"] == json!(2_000)).then_some(())
        });
    });
    let out = daemon.cli(&["approve", "file", "--yes"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait_until("they are out", || admins(&daemon).len() == 500);
}
