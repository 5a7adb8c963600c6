//! The scripted accident: the identity provider takes away far too much. What the guard lets through, what people are
//! told, and how it ends.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::company::{Company, user_name};
use crate::support::daemon::{Daemon, Scim};
use crate::support::receiver::{Receiver, SECRET};
use crate::support::wait_until;

const PEOPLE: usize = 200;
const GONE: usize = 120;

/// Ten per cent of what the target holds, and the urgent budget of one hold.
const LOST_MAX: usize = PEOPLE / 10 + 5;

impl Company {
    /// The identity provider deactivates them one request after the other.
    fn accident(&mut self) {
        for n in 0..GONE {
            self.scim.set_active(&self.users[n].clone(), false);
        }
        self.settle();
        assert_eq!(self.daemon.target("file")["state"], "held");
    }

    fn held(&self) -> u64 {
        self.daemon.target("file")["held_removals"].as_u64().unwrap()
    }

    fn hash(&self) -> String {
        let plan = self.daemon.cli_json(&["plan", "file"]);
        assert_eq!(plan["targets"][0]["held"], true);
        plan["targets"][0]["hash"].as_str().unwrap().to_owned()
    }

    /// Lines of the daemon's log that tell of a hold.
    fn told(&self) -> usize {
        self.daemon
            .log()
            .lines()
            .filter(|line| line.contains("removals are held until a person decides"))
            .count()
    }
}

fn code(output: &std::process::Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn an_accident_is_held_told_once_and_approved() {
    let mut company = Company::new("file", PEOPLE);
    company.accident();
    let lost = PEOPLE - company.holders().len();
    assert!(lost <= LOST_MAX, "{lost} lost access before anybody was asked");
    let held = company.held();
    assert_eq!(held as usize, (GONE - lost) * 2, "each holds a role and a group");

    assert_eq!(company.told(), 1, "one clear message");
    let told = || company.daemon.read("told");
    wait_until("notify ran", || told().ends_with("}\n"));
    assert_eq!(told().lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(told().trim()).unwrap()["target"], "file");
    assert!(company.daemon.log().contains("rosterd approve file --plan "));

    let daemon = &company.daemon;
    assert_eq!(code(&daemon.cli(&["plan", "--exit-code"])), Some(3));
    assert_eq!(code(&daemon.cli(&["sync", "file"])), Some(3));
    let asked = daemon.cli(&["approve", "file"]);
    assert_eq!(code(&asked), Some(3), "nobody can be asked without a terminal");
    assert!(String::from_utf8_lossy(&asked.stderr).contains("--yes"));
    assert_eq!(code(&daemon.cli(&["approve", "file", "--plan", "00ff"])), Some(1));
    assert_eq!(company.held(), held, "nothing of that released anything");

    let done = daemon.cli(&["approve", "file", "--plan", &company.hash()]);
    assert_eq!(code(&done), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    company.settle();
    let expected: BTreeSet<String> = (GONE..PEOPLE).map(user_name).collect();
    assert_eq!(company.holders(), expected);
    assert_eq!((company.daemon.target("file")["state"].clone(), company.held()), ("in_sync".into(), 0));
    let history = company.daemon.cli_json(&["history", "--limit", "1000"]);
    let kinds: Vec<&str> =
        history["changes"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"guard.held") && kinds.contains(&"guard.approved"), "{kinds:?}");
    assert_eq!(code(&company.daemon.cli(&["verify"])), Some(0));
}

#[test]
fn an_accident_rejected_with_its_window_leaves_the_file_as_it_was() {
    let mut company = Company::new("file", PEOPLE);
    let before = company.daemon.read("out/access.json");
    company.accident();
    let lost = PEOPLE - company.holders().len();
    let report = company.daemon.cli_json(&["reject", "file", "--window"]);
    let (rejected, given_back) =
        (report["rejected"].as_u64().unwrap(), report["given_back"].as_u64().unwrap());
    // What was urgent went during the hold, after a person could have been asked.
    let urgent = GONE - (rejected + given_back) as usize / 2;
    assert!(urgent <= 5 && urgent <= lost, "{report}");
    company.settle();
    assert_eq!(company.holders().len(), PEOPLE - urgent);
    assert_eq!(company.daemon.target("file")["state"], "in_sync");
    // The identity provider is mended: everything is granted again, and the rejects end.
    for n in 0..GONE {
        company.scim.set_active(&company.users[n].clone(), true);
    }
    company.settle();
    assert_eq!(company.daemon.read("out/access.json"), before);
    let plan = company.daemon.cli_json(&["plan", "file"]);
    assert_eq!(plan["targets"][0]["kept"], serde_json::json!([]));
}

#[test]
fn during_a_hold_single_removals_pass_additions_flow_and_kill_9_changes_nothing() {
    let mut company = Company::new("file", PEOPLE);
    company.accident();
    let plan = company.hash();
    // The tail of the burst may have used the budget; a decision about it begins the next hold afresh.
    company.daemon.cli_json(&["approve", "file", "--plan", &plan]);
    company.settle();
    let members = company.group.clone();
    let path = format!("/Groups/{members}");
    let leavers: Vec<Value> =
        company.users[GONE..GONE + 60].iter().map(|id| serde_json::json!({ "value": id })).collect();
    let done =
        company.scim.patch(&path, serde_json::json!([{"op": "remove", "path": "members", "value": leavers}]));
    assert!(done.status < 300, "{}", done.text());
    company.settle();
    assert_eq!(company.held(), 120);
    let shown = company.holders();
    assert_eq!(shown.len(), 80);

    let single = company.users[190].clone();
    company.scim.set_active(&single, false);
    wait_until("a single deactivation passes", || !company.holders().contains(&user_name(190)));
    let new = company.scim.create_user("new@example.com");
    company.scim.add_member(&members, &new);
    wait_until("an addition flows", || company.holders().contains("new@example.com"));

    let hash = company.hash();
    company.daemon.kill();
    company.daemon.run();
    company.settle();
    assert_eq!((company.held(), company.hash()), (120, hash));
    assert!((GONE..GONE + 60).all(|n| company.holders().contains(&user_name(n))));

    let name = user_name(GONE + 7);
    let out = company.daemon.cli_json(&["approve", "file", "--subject", &name]);
    assert_eq!(out["targets"][0]["released"], 2);
    company.settle();
    assert!(!company.holders().contains(&name) && company.holders().contains(&user_name(GONE + 8)));

    // Decided while no daemon runs, applied when it does.
    company.daemon.kill();
    let report = company.daemon.cli_json(&["approve", "--all", "--yes"]);
    assert_eq!(report["targets"][0]["released"], 118);
    company.daemon.run();
    wait_until("all are out", || company.holders().len() == 20);
    assert_eq!(company.held(), 0);
}

/// A few people who all hold the role `crew`; `guard` is the config's section.
fn few(guard: &str, role: &str, people: usize) -> (Daemon, Scim, Vec<String>, String) {
    let config = format!(
        "{guard}\n[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n{role}\n[[target]]\nname = \"file\"\n\
        type = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/access.json\"\n\
        wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n"
    );
    let mut daemon = Daemon::prepare(&config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let users: Vec<String> = (0..people).map(|n| scim.create_user(&user_name(n))).collect();
    let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    let is_whole = || {
        let file: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
        file["roles"][0]["members"].as_array().is_some_and(|members| members.len() == people)
    };
    wait_until("all hold the role", is_whole);
    (daemon, scim, users, group)
}

fn held_in(daemon: &Daemon) -> u64 {
    daemon.target("file")["held_removals"].as_u64().unwrap()
}

fn is_in(daemon: &Daemon, name: &str) -> bool {
    let file: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
    file["users"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|user| user["userName"] == name || user["name"] == name)
}

/// The guard that holds whatever is taken away.
const ALL_HELD: &str = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";

#[test]
fn held_removals_are_a_metric_of_the_admin_socket() {
    let (daemon, mut scim, users, _) = few(ALL_HELD, "", 3);
    let metrics = || crate::decisions::metrics(&daemon);
    assert!(metrics().contains("\nrosterd_target_held_removals{target=\"file\"} 0\n"), "{}", metrics());
    scim.set_active(&users[0], false);
    wait_until("held", || held_in(&daemon) == 2);
    assert!(metrics().contains("\nrosterd_target_held_removals{target=\"file\"} 2\n"), "{}", metrics());
}

#[test]
fn a_hold_is_told_of_once_by_a_signed_webhook_that_is_tried_again() {
    let receiver = Receiver::start();
    receiver.answer_next(&["503 Not now"]);
    let notify = format!(
        "{ALL_HELD}notify = {{ url = \"{}\", secret_file = \"{{dir}}/hook-secret\" }}\n",
        receiver.url()
    );
    let (daemon, mut scim, users, _) = few(&notify, "", 3);
    scim.set_active(&users[0], false);
    wait_until("it was tried again", || receiver.all().len() == 2);
    scim.set_active(&users[1], false);
    wait_until("more is held", || held_in(&daemon) == 4);
    let told = receiver.all();
    assert_eq!(told.len(), 2, "the same hold was told of once more");
    assert!(told.iter().all(|one| one.verified && one.id == told[0].id && one.raw == told[0].raw));
    assert_eq!((told[0].answered, told[1].answered), (503, 204));
    assert_eq!((&told[1].body["type"], &told[1].body["target"]), (&"guard.held".into(), &"file".into()));
}

#[test]
fn a_user_made_anew_under_a_hold_does_not_take_the_held_name_until_somebody_decides() {
    let (daemon, mut scim, users, group) = few(ALL_HELD, "", 3);
    scim.send("DELETE", &format!("/Users/{}", users[0]), None).expect(204);
    wait_until("held", || held_in(&daemon) == 2);
    let anew = scim.create_user(&user_name(0));
    scim.add_member(&group, &anew);
    wait_until("the new one is reported as a collision", || {
        daemon.target("file")["problems"].to_string().contains(&anew)
    });
    assert!(daemon.read("out/access.json").contains(&users[0]), "the name belongs to the held one");
    assert!(!daemon.read("out/access.json").contains(&anew));
    assert_eq!(held_in(&daemon), 2);
    daemon.cli_json(&["approve", "--all", "--yes"]);
    wait_until("the new one has the name", || daemon.read("out/access.json").contains(&anew));
    assert!(!daemon.read("out/access.json").contains(&users[0]));
}

/// Lets the hold that stands have begun so much earlier: nobody can wait for the real thing, and no clock is ours.
fn age_hold(daemon: &Daemon, seconds: i64) {
    let mirror = rusqlite::Connection::open(daemon.path("state/mirror.db")).unwrap();
    let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let state = mirror.query_row("SELECT state FROM target WHERE name = 'file'", [], read).unwrap();
    let (before, rest) = state.split_once("\"began\":").expect("no hold stands");
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
    let began: i64 = rest[..digits].parse().unwrap();
    let state = format!("{before}\"began\":{}{}", began - seconds * 1_000_000, &rest[digits..]);
    let changed = mirror.execute("UPDATE target SET state = ?1 WHERE name = 'file'", [state]).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn after_the_longest_hold_removals_are_kept_or_applied_as_configured() {
    for (then, is_kept) in [("keep", true), ("apply", false)] {
        let guard = format!("{ALL_HELD}max_hold = \"1m\"\nmax_hold_then = \"{then}\"\n");
        let (mut daemon, mut scim, users, _) = few(&guard, "", 3);
        scim.set_active(&users[0], false);
        wait_until("held", || held_in(&daemon) == 2);
        daemon.kill();
        daemon.run();
        assert!(is_in(&daemon, &user_name(0)), "not before its time");
        daemon.kill();
        age_hold(&daemon, 61);
        daemon.run();
        daemon.cli(&["sync", "file"]);
        assert_eq!(is_in(&daemon, &user_name(0)), is_kept, "{then}");
        assert_eq!(held_in(&daemon), if is_kept { 2 } else { 0 }, "{then}");
        let history = daemon.cli_json(&["history", "--limit", "1000"]).to_string();
        assert_eq!(history.contains("guard.approved"), !is_kept, "{then}");
    }
}

#[test]
fn a_protected_role_outlives_the_identity_providers_word_but_not_the_persons_activity() {
    let (daemon, mut scim, users, group) = few("", "protected = true", 3);
    scim.remove_member(&group, &users[0]);
    wait_until("kept", || {
        daemon.cli_json(&["plan", "file"])["targets"][0]["kept"].as_array().unwrap().len() == 1
    });
    assert!(is_in(&daemon, &user_name(0)));
    assert_eq!(held_in(&daemon), 0, "protected is not held");
    scim.set_active(&users[0], false);
    wait_until("an inactive user holds nothing, protected or not", || !is_in(&daemon, &user_name(0)));
}

#[test]
fn a_foreign_file_is_left_alone_until_it_is_adopted() {
    let config = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"file\"\ntype = \"file\"\n\
        format = \"json\"\npath = \"{dir}/out/access.json\"\nwait = { min = \"20ms\", max = \"300ms\" }\n";
    let mut daemon = Daemon::prepare(config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    std::fs::write(daemon.path("out/access.json"), "written by hand\n").unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user(&user_name(0));
    scim.create_group("Crew", &[&alice]);
    wait_until("it is called foreign", || daemon.target("file")["state"] == "foreign");
    assert_eq!(daemon.read("out/access.json"), "written by hand\n");
    assert!(daemon.target("file")["last_error"].to_string().contains("--adopt"));
    daemon.cli_json(&["sync", "file", "--adopt"]);
    assert!(is_in(&daemon, &user_name(0)));
}
