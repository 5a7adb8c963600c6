//! Trees, sets, rollback, orphans, drift and shared reloads, as an operator meets them.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::Value;

use crate::support::daemon::{Daemon, Scim, leftovers};
use crate::support::{edit, wait_for, wait_until};

const ROLES: &str = r#"
[[role]]
name = "deploy"
groups = ["Deployers"]
[[role]]
name = "admin"
groups = ["Admins"]
"#;

const WAIT: &str = r#"wait = { revoke = "10ms", min = "20ms", max = "300ms" }"#;

struct Company {
    daemon: Daemon,
    scim: Scim,
    alice: String,
    bob: String,
    deployers: String,
}

impl Company {
    /// Alice and bob may deploy; nobody is an admin.
    fn new(targets: &str) -> Self {
        let mut daemon = Daemon::prepare(&format!("{ROLES}{targets}"));
        for folder in ["out", "out/principals", "out/groups"] {
            std::fs::create_dir_all(daemon.path(folder)).unwrap();
            std::fs::set_permissions(daemon.path(folder), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let alice = scim.create_user("alice@example.com");
        let bob = scim.create_user("bob@example.com");
        let deployers = scim.create_group("Deployers", &[&alice, &bob]);
        Self { daemon, scim, alice, bob, deployers }
    }

    fn state(&self, target: &str) -> String {
        self.daemon.target(target)["state"].as_str().unwrap().to_owned()
    }

    fn show(&self, target: &str) -> Value {
        self.daemon.cli_json(&["target", "show", target])
    }

    fn is(&self, file: &str, content: &str) {
        wait_until(&format!("`{file}` holds {content:?}"), || self.daemon.read(file) == content);
    }
}

fn names(daemon: &Daemon, folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(daemon.path(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn principals() -> String {
    format!(
        "[[target]]\nname = \"principals\"\ntype = \"tree\"\neach = \"role\"\nformat = \"ssh-principals\"\n\
         path = \"{{dir}}/out/principals/{{name}}\"\n{WAIT}\n"
    )
}

#[test]
fn a_tree_of_principals_follows_and_leaves_strangers_alone() {
    let mut company = Company::new(&principals());
    std::fs::write(company.daemon.path("out/principals/root"), "carol\n").unwrap();
    company.is("out/principals/deploy", "alice@example.com\nbob@example.com\n");
    company.is("out/principals/admin", "");
    let untouched = std::fs::metadata(company.daemon.path("out/principals/admin")).unwrap();

    let (group, bob) = (company.deployers.clone(), company.bob.clone());
    company.scim.remove_member(&group, &bob);
    company.is("out/principals/deploy", "alice@example.com\n");
    let after = std::fs::metadata(company.daemon.path("out/principals/admin")).unwrap();
    assert_eq!(
        (untouched.ino(), untouched.mtime_nsec()),
        (after.ino(), after.mtime_nsec()),
        "rewritten in vain"
    );

    // The role goes from the config: its file goes, the stranger's stays.
    let config = format!("[[role]]\nname = \"admin\"\ngroups = [\"Admins\"]\n{}", principals());
    company.daemon.write_config(&config);
    assert!(company.daemon.cli(&["reload"]).status.success());
    wait_until("the role's file is gone", || !company.daemon.path("out/principals/deploy").exists());
    let wanted: BTreeSet<String> = ["admin", "root"].map(String::from).into();
    wait_until("only these are left", || names(&company.daemon, "out/principals") == wanted);
    assert_eq!(company.daemon.read("out/principals/root"), "carol\n");
    assert_eq!(leftovers(&company.daemon.path("out/principals")), Vec::<String>::new());
}

#[test]
fn a_strangers_file_under_one_of_its_names_waits_for_adopt() {
    let mut daemon = Daemon::prepare(&format!("{ROLES}{}", principals()));
    std::fs::create_dir_all(daemon.path("out/principals")).unwrap();
    std::fs::set_permissions(daemon.path("out/principals"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(daemon.path("out/principals/deploy"), "mallory\n").unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Deployers", &[&alice]);
    wait_until("foreign", || daemon.target("principals")["state"] == "foreign");
    wait_until("the others are written", || daemon.path("out/principals/admin").exists());
    assert_eq!(daemon.read("out/principals/deploy"), "mallory\n");
    let synced = daemon.cli(&["sync", "principals", "--adopt"]);
    assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
    assert_eq!(daemon.read("out/principals/deploy"), "alice@example.com\n");
    assert_eq!(daemon.target("principals")["state"], "in_sync");
    let log = daemon.cli_json(&["history"]).to_string();
    assert!(log.contains("target.adopted"), "{log}");
}

#[test]
fn files_of_groups_have_safe_names_and_the_earlier_holder_keeps_its_own() {
    let target = format!(
        "[[target]]\nname = \"groups\"\ntype = \"tree\"\neach = \"group\"\nformat = \"json\"\n\
         path = \"{{dir}}/out/groups/{{name}}.json\"\n{WAIT}\n"
    );
    let mut company = Company::new(&target);
    wait_until("the first group", || company.daemon.path("out/groups/deployers.json").exists());
    let alice = company.alice.clone();
    company.scim.create_group("deployers!", &[&alice]);
    let odd = company.scim.create_group("../../Evil/Group", &[&alice]);
    let wanted: BTreeSet<String> = ["deployers.json", "evil-group.json"].map(String::from).into();
    wait_until("the odd group", || names(&company.daemon, "out/groups") == wanted);
    wait_until("the collision is reported", || {
        company.daemon.target("groups")["problems"].to_string().contains("its file would be `deployers.json`")
    });
    let kept: Value = serde_json::from_str(&company.daemon.read("out/groups/deployers.json")).unwrap();
    assert_eq!(kept["groups"][0]["name"], "Deployers");
    assert_eq!(company.scim.send("DELETE", &format!("/Groups/{odd}"), None).status, 204);
    wait_until("its file goes with it", || !company.daemon.path("out/groups/evil-group.json").exists());
}

fn set(verify: &str) -> String {
    format!(
        "[[target]]\nname = \"web\"\ntype = \"set\"\npath = \"{{dir}}/out/web\"\n{WAIT}\n{verify}\
         [[target.file]]\nname = \"map.conf\"\nformat = \"nginx-map\"\n\
         [[target.file]]\nname = \"acl/deploy\"\nformat = \"ssh-principals\"\noptions = {{ roles = [\"deploy\"] }}\n"
    )
}

#[test]
fn a_set_switches_all_its_files_at_once_and_back_if_verify_refuses() {
    let verify = "verify = [\"/bin/sh\", \"-c\", \"! grep -q mallory {dir}/out/web/acl/deploy\"]\n";
    let mut company = Company::new(&set(verify));
    company.is("out/web/acl/deploy", "alice@example.com\nbob@example.com\n");
    let first = std::fs::read_link(company.daemon.path("out/web")).unwrap();
    let bob = company.bob.clone();
    company.scim.remove_member(&company.deployers.clone(), &bob);
    company.is("out/web/acl/deploy", "alice@example.com\n");
    let second = std::fs::read_link(company.daemon.path("out/web")).unwrap();
    assert_ne!(first, second);
    assert!(!company.daemon.read("out/web/map.conf").contains("bob"), "one generation");
    assert!(
        std::fs::read_to_string(company.daemon.path("out").join(&first).join("acl/deploy"))
            .unwrap()
            .contains("bob"),
        "a reader that has the old folder open still finds all of it"
    );

    let mallory = company.scim.create_user("mallory@example.com");
    company.scim.add_member(&company.deployers.clone(), &mallory);
    wait_until("refused", || company.state("web") == "failing");
    assert_eq!(std::fs::read_link(company.daemon.path("out/web")).unwrap(), second);
    company.scim.remove_member(&company.deployers.clone(), &mallory);
    wait_until("in sync again", || company.state("web") == "in_sync");

    // A touched file is repaired by a new generation, with what is known of who did it.
    edit(company.daemon.path("out/web/acl/deploy"), "eve\n");
    assert!(company.daemon.cli(&["sync", "web"]).status.success());
    assert_eq!(company.daemon.read("out/web/acl/deploy"), "alice@example.com\n");
    assert_eq!(company.show("web")["drift"][0]["what"], "changed");

    // The symlink taken away: noticed by itself.
    std::fs::remove_file(company.daemon.path("out/web")).unwrap();
    company.is("out/web/acl/deploy", "alice@example.com\n");
}

#[test]
fn a_set_never_replaces_what_is_not_its_own_symlink() {
    let mut daemon = Daemon::prepare(&format!("{ROLES}{}", set("")));
    std::fs::create_dir_all(daemon.path("out/web")).unwrap();
    std::fs::write(daemon.path("out/web/precious"), "x").unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    scim.create_user("alice@example.com");
    wait_until("foreign", || daemon.target("web")["state"] == "foreign");
    assert!(!daemon.cli(&["sync", "web", "--adopt"]).status.success());
    assert_eq!(daemon.read("out/web/precious"), "x");
}

fn plain(name: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"ssh-principals\"\noptions = {{ roles = [\"deploy\"] }}\n\
         path = \"{{dir}}/out/{name}\"\n{WAIT}\n{more}\n"
    )
}

#[test]
fn a_rollback_pins_and_never_gives_back_what_was_revoked_since() {
    let mut company = Company::new(&plain("ops", ""));
    company.is("out/ops", "alice@example.com\nbob@example.com\n");
    // The file is there a moment before that is recorded. Two people, each with the role and in the group.
    let both = wait_for("the version is recorded", || {
        let last = company.show("ops")["versions"].as_array()?.last()?.clone();
        (last["total"] == 4).then(|| last["seq"].as_u64().unwrap())
    });
    let carol = company.scim.create_user("carol@example.com");
    let group = company.deployers.clone();
    company.scim.add_member(&group, &carol);
    company.is("out/ops", "alice@example.com\nbob@example.com\ncarol@example.com\n");
    let bob = company.bob.clone();
    company.scim.remove_member(&group, &bob);
    company.is("out/ops", "alice@example.com\ncarol@example.com\n");

    // Back to when bob was in and carol was not: bob was revoked since and stays out.
    let report = company.daemon.cli_json(&["target", "rollback", "ops", "--to", &both.to_string()]);
    assert_eq!((&report["state"], &report["to_seq"]), (&Value::from("pinned"), &Value::from(both)));
    assert_eq!(company.daemon.read("out/ops"), "alice@example.com\n");
    assert!(company.daemon.cli_json(&["history"]).to_string().contains("target.rolled_back"));

    // Pinned: additions wait, also for who comes back; a restart changes nothing; revocations land.
    company.scim.add_member(&group, &bob);
    company.daemon.stop();
    company.daemon.run();
    wait_until("still pinned", || company.state("ops") == "pinned");
    assert_eq!(company.daemon.read("out/ops"), "alice@example.com\n");
    let alice = company.alice.clone();
    company.scim.set_active(&alice, false);
    company.is("out/ops", "");
    assert_eq!(company.state("ops"), "pinned");

    assert!(company.daemon.cli(&["sync", "ops"]).status.success());
    company.is("out/ops", "bob@example.com\ncarol@example.com\n");
    assert_eq!(company.state("ops"), "in_sync");
    let unknown = company.daemon.cli(&["target", "rollback", "ops", "--to", "999999"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", String::from_utf8_lossy(&unknown.stderr));
}

#[test]
fn what_the_config_drops_is_orphaned_until_it_is_forgotten() {
    let both = format!("{}{}", plain("ops", ""), principals());
    let mut company = Company::new(&both);
    company.is("out/ops", "alice@example.com\nbob@example.com\n");
    company.is("out/principals/deploy", "alice@example.com\nbob@example.com\n");
    let refused = company.daemon.cli(&["target", "forget", "ops"]);
    assert_eq!(refused.status.code(), Some(1), "still configured");
    company.daemon.write_config(ROLES);
    assert!(company.daemon.cli(&["reload"]).status.success());
    assert_eq!(company.state("ops"), "orphaned");
    assert_eq!(company.daemon.target("principals")["type"], "tree");

    let kept = company.daemon.path("state/targets/ops");
    assert!(kept.exists(), "versions are kept below the state directory");
    assert!(company.daemon.cli(&["target", "forget", "ops"]).status.success());
    assert!(!kept.exists(), "kept versions name people, too");
    assert!(company.daemon.path("out/ops").exists(), "without --delete it stays");
    edit(company.daemon.path("out/principals/admin"), "touched\n");
    std::fs::write(company.daemon.path("out/principals/other"), "a stranger's\n").unwrap();
    company.daemon.stop();
    // Without a daemon too.
    let report = company.daemon.cli_json(&["target", "forget", "principals", "--delete"]);
    assert_eq!(report["deleted"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(names(&company.daemon, "out/principals"), ["admin", "other"].map(String::from).into());
    let left = company.daemon.cli_json(&["target", "list"]);
    assert_eq!(left["targets"], serde_json::json!([]));
}

#[test]
fn an_edit_that_falls_into_a_run_is_told_and_put_right() {
    // Its check, which runs between the look and the swap, plays the one who edits.
    let script = "if [ -e {dir}/armed ]; then rm {dir}/armed; echo mallory > {dir}/out/ops; fi";
    let mut company = Company::new(&plain("ops", &format!("check = [\"/bin/sh\", \"-c\", \"{script}\"]")));
    company.is("out/ops", "alice@example.com\nbob@example.com\n");
    std::fs::write(company.daemon.path("armed"), "").unwrap();
    let (group, bob) = (company.deployers.clone(), company.bob.clone());
    company.scim.remove_member(&group, &bob);
    company.is("out/ops", "alice@example.com\n");
    let told = wait_for("it is told", || {
        let history = company.daemon.cli_json(&["history", "--limit", "1000"]);
        history["changes"].as_array()?.iter().find(|one| one["kind"] == "target.drifted").cloned()
    });
    assert_eq!(told["after"]["action"], "repaired", "{told}");
    assert_eq!(company.show("ops")["state"], "in_sync");
}

#[test]
fn drift_is_shown_with_evidence_and_repaired_or_left() {
    let both = format!("{}{}", plain("ops", ""), plain("watched", "drift = \"report\""));
    let company = Company::new(&both);
    let good = "alice@example.com\nbob@example.com\n";
    company.is("out/ops", good);
    company.is("out/watched", good);
    edit(company.daemon.path("out/ops"), "mallory\n");
    wait_until("evidence", || company.show("ops")["drift"][0]["what"] == "changed");
    company.is("out/ops", good);
    let shown = company.show("ops");
    let seen = &shown["drift"][0];
    assert_eq!(seen["repaired"], true);
    assert_eq!(seen["uid"].as_u64(), Some(u64::from(rustix::process::geteuid().as_raw())));
    assert_eq!(seen["bytes"], 8);
    assert!(seen["modified"].as_str().unwrap().starts_with("20"), "{seen}");
    std::fs::remove_file(company.daemon.path("out/ops")).unwrap();
    wait_until("deleted", || company.show("ops")["drift"][0]["what"] == "deleted");
    company.is("out/ops", good);

    edit(company.daemon.path("out/watched"), "");
    wait_until("drifted", || company.state("watched") == "drifted");
    assert_eq!(company.daemon.read("out/watched"), "");
    let seen = &company.daemon.target("watched")["drift"][0];
    assert_eq!((&seen["what"], &seen["repaired"]), (&Value::from("truncated"), &Value::from(false)));
    assert!(company.daemon.log().contains("somebody touched what rosterd wrote"));
    assert!(company.daemon.cli(&["sync", "watched"]).status.success());
    company.is("out/watched", good);
}

#[test]
fn targets_that_share_a_reload_share_one_running_of_it() {
    let reload = "reload = [\"/bin/sh\", \"-c\", \"echo x >> {dir}/reloads\"]";
    // They gather among those who have heard of the change: on a busy machine that takes more than 10 ms.
    let patient = |name| plain(name, reload).replace("revoke = \"10ms\"", "revoke = \"300ms\"");
    let all: String = ["one", "two", "three"].map(patient).concat();
    let mut company = Company::new(&all);
    let good = "alice@example.com\nbob@example.com\n";
    let names = ["one", "two", "three"];
    for name in names {
        company.is(&format!("out/{name}"), good);
        wait_until("in sync", || company.state(name) == "in_sync");
    }
    let before = company.daemon.read("reloads").lines().count();
    let bob = company.bob.clone();
    company.scim.remove_member(&company.deployers.clone(), &bob);
    for name in names {
        company.is(&format!("out/{name}"), "alice@example.com\n");
    }
    let seq = company.daemon.cli_json(&["status"])["seq"].clone();
    wait_until("all at the change", || {
        names.iter().all(|name| {
            let shown = company.show(name);
            shown["applied_seq"] == seq && shown["reload_pending"] == false && shown["state"] == "in_sync"
        })
    });
    assert_eq!(company.daemon.read("reloads").lines().count(), before + 1);
}
