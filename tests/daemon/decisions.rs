//! What people decide: `shut` and `open`, grants for a time, re-baselines, silence, and whose name it is.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::wait_until;

/// One file target; more keys of it follow.
fn target(name: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/{name}.json\"\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    )
}

fn start(config: &str) -> Daemon {
    let mut daemon = Daemon::prepare(config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    daemon
}

/// Who holds `role` in the file of a target, sorted.
fn holders(daemon: &Daemon, target: &str, role: &str) -> Vec<String> {
    let file: Value =
        serde_json::from_str(&daemon.read(&format!("out/{target}.json"))).unwrap_or(Value::Null);
    let roles = file["roles"].as_array().cloned().unwrap_or_default();
    let found = roles.iter().find(|one| one["name"] == role).map(|one| one["members"].clone());
    let members = found.and_then(|members| members.as_array().cloned()).unwrap_or_default();
    members.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn kinds(daemon: &Daemon) -> Vec<String> {
    let history = daemon.cli_json(&["history", "--limit", "1000"]);
    history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap().to_owned())
        .collect()
}

fn count(daemon: &Daemon, kind: &str) -> usize {
    kinds(daemon).iter().filter(|found| *found == kind).count()
}

/// `/metrics` over the real admin socket.
pub fn metrics(daemon: &Daemon) -> String {
    let mut socket = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: rosterd\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

fn exit(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    let out = daemon.cli(args);
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn delete(scim: &mut Scim, id: &str) {
    scim.send("DELETE", &format!("/Users/{id}"), None).expect(204);
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";
const CREW: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\nprotected = true\n";

#[test]
fn a_shut_takes_everybody_out_of_every_target_and_nothing_but_open_lets_them_in() {
    let hang = target("hang", "reload = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/hang || sleep 60\"]");
    let config = [
        CREW,
        &hang,
        &target("auto", ""),
        &target("manual", "apply = \"manual\""),
        &target("cron", "on_change = false"),
    ];
    let mut daemon = start(&config.concat());
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user(ALICE), scim.create_user(BOB));
    let group = scim.create_group("Crew", &[&alice, &bob]);
    for name in ["manual", "cron", "auto", "hang"] {
        daemon.cli_json(&["sync", name]);
        assert_eq!(holders(&daemon, name, "crew"), [ALICE, BOB], "{name}");
    }
    // What is not applied under `manual` waits on; only what the shut takes away goes.
    let carol = scim.create_user("carol@example.com");
    scim.add_member(&group, &carol);
    wait_until("the addition is in", || holders(&daemon, "auto", "crew").len() == 3);
    std::fs::write(daemon.path("hang"), "").unwrap();

    let (code, told) = exit(&daemon, &["shut", ALICE]);
    assert_eq!(code, Some(64), "{told}");
    assert_eq!(exit(&daemon, &["shut", "nobody@example.com", "--reason", "x"]).0, Some(1));
    let done = daemon.cli_json(&["shut", ALICE, "--reason", "stolen laptop"]);
    assert_eq!((done["user_name"].clone(), done["reason"].clone()), (ALICE.into(), "stolen laptop".into()));
    assert_eq!(done["still_in"], json!([]), "all targets followed");
    for (name, left) in [("auto", 2), ("hang", 2), ("manual", 1), ("cron", 2)] {
        wait_until("the shut lands", || {
            let now = holders(&daemon, name, "crew");
            !now.contains(&ALICE.to_owned()) && now.len() == left
        });
    }
    assert_eq!(daemon.target("manual")["state"], "pending", "the rest still waits for a sync");
    assert_eq!(exit(&daemon, &["shut", ALICE, "--reason", "again"]).0, Some(1), "shut already");

    // Visible everywhere.
    let status = daemon.cli_json(&["status"]);
    assert_eq!(status["shut"][0]["user_name"], ALICE);
    assert_eq!(status["shut"][0]["reason"], "stolen laptop");
    let explained = daemon.cli_json(&["explain", ALICE, "--role", "crew"]);
    assert!(explained["roles"][0]["why"][0].as_str().unwrap().contains("stolen laptop"), "{explained}");
    assert_eq!(daemon.cli_json(&["user", "show", ALICE])["shut"]["reason"], "stolen laptop");
    assert_eq!(count(&daemon, "subject.shut"), 1);
    assert!(metrics(&daemon).contains("\nrosterd_shut_subjects 1\n"));

    // Nothing the identity provider does lets her in, and no restart.
    daemon.kill();
    std::fs::remove_file(daemon.path("hang")).unwrap();
    daemon.run();
    let mut scim = daemon.scim(&directory);
    scim.set_active(&alice, false);
    scim.set_active(&alice, true);
    scim.remove_member(&group, &alice);
    scim.add_member(&group, &alice);
    delete(&mut scim, &alice);
    let anew = scim.create_user(ALICE);
    scim.add_member(&group, &anew);
    let renamed = json!([{"op": "replace", "path": "displayName", "value": "A"}]);
    assert!(scim.patch(&format!("/Users/{anew}"), renamed).status < 300);
    wait_until("the targets are at the newest change", || {
        let status = daemon.cli_json(&["status"]);
        daemon.target("auto")["applied_seq"] == status["seq"]
    });
    assert_eq!(holders(&daemon, "auto", "crew"), [BOB, "carol@example.com"]);
    daemon.cli_json(&["sync"]);
    for name in ["auto", "hang", "manual", "cron"] {
        assert_eq!(holders(&daemon, name, "crew"), [BOB, "carol@example.com"], "{name}");
    }

    let opened = daemon.cli_json(&["open", ALICE]);
    assert_eq!(opened["user_name"], ALICE);
    wait_until("she is in again", || holders(&daemon, "auto", "crew").contains(&ALICE.to_owned()));
    assert_eq!(exit(&daemon, &["open", ALICE]).0, Some(1));
    assert_eq!(daemon.cli_json(&["status"])["shut"], json!([]));

    // Decided while no daemon runs, enforced when one does.
    daemon.kill();
    daemon.cli_json(&["shut", BOB, "--reason", "left"]);
    assert!(holders(&daemon, "auto", "crew").contains(&BOB.to_owned()));
    daemon.run();
    for name in ["auto", "hang", "manual", "cron"] {
        wait_until("he is out", || !holders(&daemon, name, "crew").contains(&BOB.to_owned()));
    }
    assert_eq!(exit(&daemon, &["verify"]).0, Some(0));
}

#[test]
fn a_shut_takes_out_who_is_held_even_when_the_user_is_gone_and_an_ambiguous_name_is_refused() {
    let guard = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";
    let role = CREW.replace("protected = true", "");
    let daemon = start(&[guard, &role, &target("auto", "")].concat());
    let (one, two) = (daemon.add_directory("One", "okta"), daemon.add_directory("Two", "okta"));
    let (mut first, mut second) = (daemon.scim(&one), daemon.scim(&two));
    let (alice, bob) = (first.create_user(ALICE), first.create_user(BOB));
    let _group = first.create_group("Crew", &[&alice, &bob]);
    let double = second.create_user(BOB);
    wait_until("both are in", || holders(&daemon, "auto", "crew") == [ALICE, BOB]);
    delete(&mut first, &alice);
    wait_until("her removal is held", || daemon.target("auto")["held_removals"] == 2);
    assert_eq!(holders(&daemon, "auto", "crew"), [ALICE, BOB]);

    let done = daemon.cli_json(&["shut", ALICE, "--reason", "gone for good"]);
    assert_eq!(
        (done["still_in"].clone(), holders(&daemon, "auto", "crew")),
        (json!([]), vec![BOB.to_owned()])
    );
    assert_eq!(daemon.target("auto")["held_removals"], 0);

    let (code, told) = exit(&daemon, &["shut", BOB, "--reason", "x"]);
    assert_eq!(code, Some(1));
    for id in [format!("{}/{bob}", one.id), format!("{}/{double}", two.id)] {
        assert!(told.contains(&id), "{told}");
    }
    daemon.cli_json(&["shut", &format!("{}/{bob}", one.id), "--reason", "x"]);
    // The namesake of the other directory does not take his place, not even when he is deleted.
    delete(&mut first, &bob);
    let group = second.create_group("Crew", &[&double]);
    second.remove_member(&group, &double);
    second.add_member(&group, &double);
    wait_until("the target has seen it", || {
        daemon.target("auto")["applied_seq"] == daemon.cli_json(&["status"])["seq"]
    });
    assert_eq!(holders(&daemon, "auto", "crew"), [""; 0]);
}

#[test]
fn a_grant_gives_a_role_for_a_time_and_ends_by_itself_past_the_guard() {
    // The guard holds whatever an identity provider takes away.
    let guard = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";
    let dba = "[[role]]\nname = \"dba\"\ngroups = [\"DBA\"]\nprotected = true\n";
    let mut daemon = start(&[guard, dba, &target("auto", ""), &target("cron", "on_change = false")].concat());
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user(ALICE), scim.create_user(BOB));
    scim.create_group("DBA", &[]);

    let unknown = exit(&daemon, &["grant", ALICE, "root", "--for", "1h", "--reason", "x"]);
    assert!(unknown.0 == Some(1) && unknown.1.contains("dba"), "{unknown:?}");
    assert_eq!(exit(&daemon, &["grant", ALICE, "dba", "--for", "1h"]).0, Some(64));
    assert_eq!(exit(&daemon, &["grant", ALICE, "dba", "--for", "0s", "--reason", "x"]).0, Some(1));
    let long = daemon.cli_json(&["grant", ALICE, "dba", "--for", "4h", "--reason", "incident 4711"]);
    let short = daemon.cli_json(&["grant", BOB, "dba", "--for", "3s", "--reason", "quick look"]);
    wait_until("both hold it", || holders(&daemon, "auto", "dba") == [ALICE, BOB]);
    daemon.cli_json(&["sync", "cron"]);

    let why = daemon.cli_json(&["explain", ALICE, "--role", "dba"])["roles"][0]["why"][0].clone();
    assert!(why.as_str().unwrap().contains("incident 4711"), "{why}");
    assert_eq!(daemon.cli_json(&["status"])["grants"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.cli_json(&["user", "show", ALICE])["grants"][0]["id"], long["id"]);
    assert!(metrics(&daemon).contains("\nrosterd_grants "));

    // Nothing is asked of the daemon from here on.
    wait_until("it ended by itself in the file", || holders(&daemon, "auto", "dba") == [ALICE]);
    wait_until("and where changes do not wake", || holders(&daemon, "cron", "dba") == [ALICE]);
    assert_eq!(daemon.target("auto")["held_removals"], 0, "a planned end is not held");
    assert_eq!(count(&daemon, "grant.expired"), 1);
    let history = daemon.cli_json(&["history", "--limit", "1000"]);
    let all = history["changes"].as_array().unwrap();
    let expired = all.iter().find(|one| one["kind"] == "grant.expired").unwrap();
    assert_eq!(expired["actor"], "daemon", "{expired}");
    let grants = daemon.cli_json(&["grant", "list", "--all"]);
    assert!(
        grants["grants"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["id"] == short["id"] && !one["ended"].is_null())
    );

    // Who is inactive gets nothing from a grant, who is active again does until it ends.
    scim.set_active(&alice, false);
    wait_until("held, as any deactivation here", || daemon.target("auto")["held_removals"] == 1);
    let plan = daemon.cli_json(&["plan", "auto"])["targets"][0]["hash"].as_str().unwrap().to_owned();
    daemon.cli_json(&["approve", "auto", "--plan", &plan]);
    wait_until("out", || holders(&daemon, "auto", "dba").is_empty());
    scim.set_active(&alice, true);
    wait_until("in", || holders(&daemon, "auto", "dba") == [ALICE]);
    let id = long["id"].to_string();
    daemon.cli_json(&["grant", "revoke", &id]);
    wait_until("revoked", || holders(&daemon, "auto", "dba").is_empty());
    assert_eq!(daemon.target("auto")["held_removals"], 0);
    assert_eq!(exit(&daemon, &["grant", "revoke", &id]).0, Some(1));

    // One that ends while no daemon runs is over when it starts, and its end is told once.
    daemon.cli_json(&["grant", BOB, "dba", "--for", "2s", "--reason", "again"]);
    wait_until("in", || holders(&daemon, "auto", "dba") == [BOB]);
    let _ = bob;
    daemon.kill();
    std::thread::sleep(std::time::Duration::from_secs(2));
    daemon.run();
    wait_until("over", || holders(&daemon, "auto", "dba").is_empty());
    wait_until("told", || count(&daemon, "grant.expired") == 2);
    assert_eq!(exit(&daemon, &["verify"]).0, Some(0));
}
