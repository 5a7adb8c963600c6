//! Backup, restore and what a restored mirror may not do to targets.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Directory};
use crate::support::receiver::{Receiver, SECRET};
use crate::support::wait_until;

const ROLE: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n\
    [[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/out/file.json\"\n\
    wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";

fn start(config: &str) -> Daemon {
    let mut daemon = Daemon::prepare(config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    daemon
}

fn crew(daemon: &Daemon) -> Vec<String> {
    let file: Value = serde_json::from_str(&daemon.read("out/file.json")).unwrap_or(Value::Null);
    let roles = file["roles"].as_array().cloned().unwrap_or_default();
    let found = roles.iter().find(|one| one["name"] == "crew").map(|one| one["members"].clone());
    let members = found.and_then(|members| members.as_array().cloned()).unwrap_or_default();
    members.iter().map(|name| name.as_str().unwrap().split('@').next().unwrap().to_owned()).collect()
}

fn run(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    let out = daemon.cli(args);
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

/// Backed up with alice, carol and dave in the crew; then alice was fired and bob came; then restored and started.
struct Story {
    daemon: Daemon,
    directory: Directory,
    alice: String,
    carol: String,
    group: String,
    before: String,
}

fn restored() -> Story {
    let mut daemon = start(ROLE);
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let mut user = |name: &str| scim.create_user(&format!("{name}@example.com"));
    let (alice, carol, dave) = (user("alice"), user("carol"), user("dave"));
    let group = scim.create_group("Crew", &[&alice, &carol, &dave]);
    wait_until("three are in", || crew(&daemon) == ["alice", "carol", "dave"]);

    let file = daemon.path("copy.db").display().to_string();
    let taken = daemon.cli_json(&["backup", &file]);
    assert_eq!(taken["epoch"], 1);
    scim.set_active(&alice, false);
    let bob = scim.create_user("bob@example.com");
    scim.add_member(&group, &bob);
    wait_until("alice is out, bob is in", || crew(&daemon) == ["bob", "carol", "dave"]);
    let before = daemon.read("out/file.json");

    let (code, said) = run(&daemon, &["restore", &file, "--yes"]);
    assert_eq!(code, Some(75), "{said}");
    assert_eq!(daemon.stop(), Some(0));
    let done = daemon.cli_json(&["restore", &file, "--yes"]);
    assert_eq!((&done["epoch"], &done["targets"]), (&json!(2), &json!(["file"])));
    assert!(std::fs::metadata(done["kept"].as_str().unwrap()).unwrap().is_file());
    assert_eq!(daemon.target("file")["state"], "unverified");
    daemon.run();
    wait_until("the target is unverified", || daemon.target("file")["state"] == "unverified");
    assert_eq!(daemon.cli_json(&["status"])["epoch"], 2);
    Story { daemon, directory, alice, carol, group, before }
}

#[test]
fn after_a_restore_a_file_is_kept_whole_until_a_person_says_otherwise() {
    let Story { mut daemon, directory, alice, group, before, .. } = restored();
    let mut scim = daemon.scim(&directory);
    // Neither what comes nor what goes is applied, not even when asked for.
    let erin = scim.create_user("erin@example.com");
    scim.add_member(&group, &erin);
    scim.set_active(&alice, false);
    assert_eq!(daemon.cli_json(&["sync", "file"])["targets"][0]["state"], "unverified");
    assert_eq!(daemon.read("out/file.json"), before);
    daemon.kill();
    daemon.run();
    assert_eq!(daemon.cli_json(&["sync", "file"])["targets"][0]["state"], "unverified");
    assert_eq!(daemon.read("out/file.json"), before);

    let (code, said) = run(&daemon, &["approve", "--all", "--restored"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("erin@example.com"), "{said}");
    let (code, said) = run(&daemon, &["approve", "--all", "--restored", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    wait_until("it follows the mirror", || crew(&daemon) == ["carol", "dave", "erin"]);
    wait_until("and says so", || daemon.target("file")["state"] == "in_sync");
    let history = daemon.cli_json(&["history", "--limit", "1000"]).to_string();
    assert!(history.contains("mirror.restored") && history.contains("restore.approved"), "{history}");
    assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
    assert_eq!(run(&daemon, &["approve", "--all", "--restored", "--yes"]).0, Some(0));
}

#[test]
fn after_a_restore_a_rebaseline_brings_nobody_back_and_loses_nobody() {
    let Story { daemon, directory, carol, group, before, .. } = restored();
    let (code, said) = run(&daemon, &["directory", "rebaseline", &directory.id, "--within", "5s"]);
    assert_eq!(code, Some(0), "{said}");
    let mut scim = daemon.scim(&directory);
    scim.get(&format!("/Users/{carol}")).expect(200);
    let bob = scim.create_user("bob@example.com");
    scim.add_member(&group, &bob);
    assert_eq!(daemon.cli_json(&["sync", "file"])["targets"][0]["state"], "unverified");
    assert_eq!(daemon.read("out/file.json"), before);
    // Dave was not named but stands in the file: held. Alice was not named and does not.
    wait_until("the window closed", || daemon.target("file")["state"] == "held");
    assert_eq!(crew(&daemon), ["bob", "carol", "dave"]);
    let plan = daemon.cli_json(&["plan", "file"])["targets"][0].clone();
    let held = plan["held_removals"].to_string();
    assert!(held.contains("dave@example.com") && !held.contains("alice@example.com"), "{held}");
    let hash = plan["hash"].as_str().unwrap();
    daemon.cli_json(&["approve", "file", "--plan", hash]);
    wait_until("dave is out", || crew(&daemon) == ["bob", "carol"]);
}

#[test]
fn after_a_restore_whom_the_file_shows_does_not_go_unheld_though_the_backup_never_saw_the_file_so() {
    let manual = ROLE.replace("wait = ", "apply = \"manual\"\nwait = ");
    let mut daemon = start(&manual);
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (carol, dave) = (scim.create_user("carol@example.com"), scim.create_user("dave@example.com"));
    let group = scim.create_group("Crew", &[&carol]);
    daemon.cli_json(&["sync", "file"]);
    assert_eq!(crew(&daemon), ["carol"]);
    // The mirror knows dave as one of the crew, and not yet that the file shows him.
    scim.add_member(&group, &dave);
    let file = daemon.path("copy.db").display().to_string();
    daemon.cli_json(&["backup", &file]);
    daemon.cli_json(&["sync", "file"]);
    assert_eq!(crew(&daemon), ["carol", "dave"]);
    assert_eq!(daemon.stop(), Some(0));
    daemon.cli_json(&["restore", &file, "--yes"]);
    daemon.write_config(ROLE);
    daemon.run();
    let (code, said) = run(&daemon, &["directory", "rebaseline", &directory.id, "--within", "5s"]);
    assert_eq!(code, Some(0), "{said}");
    scim.get(&format!("/Users/{carol}")).expect(200);
    wait_until("the window closed", || daemon.target("file")["state"] == "held");
    assert_eq!(crew(&daemon), ["carol", "dave"]);
    let (code, said) = run(&daemon, &["approve", "file", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    wait_until("dave is out", || crew(&daemon) == ["carol"]);
}

#[test]
fn a_backup_is_private_whole_and_never_overwrites() {
    let mut daemon = start(ROLE);
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let file = daemon.path("copy.db").display().to_string();
    // While a client writes, a copy is of one moment and ends.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                scim.create_user(&format!("user{n}@example.com"));
                n += 1;
            }
        });
        let taken = daemon.cli_json(&["backup", &file]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(taken["bytes"], std::fs::metadata(&file).unwrap().len());
    });
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, said) = run(&daemon, &["backup", &file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(run(&daemon, &["backup", &file, "--force"]).0, Some(0));
    assert_eq!(crate::support::daemon::leftovers(daemon.dir.path()), Vec::<String>::new());

    // What is not a backup of ours is refused and leaves the mirror alone.
    let before = std::fs::read(daemon.path("state/mirror.db")).unwrap();
    let bad = daemon.path("bad.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let len = bytes.len();
    bytes[len / 2..].fill(0xaa);
    std::fs::write(&bad, &bytes).unwrap();
    let bad = bad.display().to_string();
    assert_eq!(run(&daemon, &["restore", &bad, "--yes"]).0, Some(65));
    let none = daemon.path("none.db").display().to_string();
    assert_eq!(run(&daemon, &["restore", &none, "--yes"]).0, Some(66));
    assert_eq!(run(&daemon, &["restore", &file]).0, Some(64), "nobody was asked");
    assert_eq!(std::fs::read(daemon.path("state/mirror.db")).unwrap(), before);
    // Each restore begins an epoch of its own, also from one and the same backup.
    assert_eq!(daemon.cli_json(&["restore", &file, "--yes"])["epoch"], 2);
    assert_eq!(daemon.cli_json(&["restore", &file, "--yes"])["epoch"], 3);
    daemon.run();
    assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
}

#[test]
fn a_log_altered_by_hand_is_no_backup() {
    let mut daemon = start(ROLE);
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    let file = daemon.path("copy.db").display().to_string();
    daemon.cli_json(&["backup", &file]);
    let sql = "UPDATE change_value SET after = replace(after, 'alice', 'mally')";
    rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    daemon.stop();
    let (code, said) = run(&daemon, &["restore", &file, "--yes"]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("disagree"), "{said}");
}

#[test]
fn after_a_restore_a_webhook_waits_and_its_ids_never_repeat() {
    let receiver = Receiver::start();
    let mut daemon = Daemon::prepare(&format!(
        "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}\"\n\
         secret_file = \"{{dir}}/hook-secret\"\nevents = [\"access.*\", \"user.*\"]\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
        receiver.url()
    ));
    let secret = daemon.path("hook-secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    let carol = scim.create_user("carol@example.com");
    scim.create_group("Crew", &[&alice, &carol]);
    let count = |kind: &str| receiver.events().iter().filter(|one| one.body["type"] == kind).count();
    wait_until("both were granted", || count("access.granted") == 2);
    let file = daemon.path("copy.db").display().to_string();
    daemon.cli_json(&["backup", &file]);
    scim.set_active(&alice, false);
    wait_until("alice was revoked", || count("access.revoked") == 1);
    scim.create_user("bob@example.com");
    wait_until("bob was told", || count("user.created") == 3);
    daemon.stop();
    let ids = |epoch: &str| -> Vec<String> {
        receiver.events().into_iter().map(|one| one.id).filter(|id| id.starts_with(epoch)).collect()
    };
    let first = ids("1-");
    daemon.cli_json(&["restore", &file, "--yes"]);
    daemon.run();
    wait_until("it is unverified", || daemon.target("hook")["state"] == "unverified");
    let mut scim = daemon.scim(&directory);
    scim.set_active(&alice, false);
    scim.create_user("erin@example.com");
    assert_eq!(daemon.cli_json(&["sync", "hook"])["targets"][0]["state"], "unverified");
    assert_eq!(ids("2-"), Vec::<String>::new());
    daemon.cli_json(&["approve", "hook", "--restored", "--yes"]);
    wait_until("alice is revoked again, carol granted", || {
        count("access.revoked") == 2 && count("access.granted") == 3 && count("user.created") == 4
    });
    assert_eq!(ids("1-"), first);
    assert!(ids("2-").len() >= 3);
}
