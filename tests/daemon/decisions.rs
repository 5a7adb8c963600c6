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

/// What `explain` says; an absence ends with 1.
fn explained(daemon: &Daemon, subject: &str, role: &str) -> Value {
    let out = daemon.cli(&["explain", subject, "--role", role, "--json"]);
    serde_json::from_slice(&out.stdout).unwrap()
}

fn is_verified(daemon: &Daemon) {
    let out = daemon.cli(&["verify"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
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
    for name in ["auto", "hang"] {
        wait_until("the addition is in", || holders(&daemon, name, "crew").len() == 3);
        wait_until("and nothing is under way", || daemon.target(name)["state"] == "in_sync");
    }
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
    wait_until("the rest still waits for a sync", || daemon.target("manual")["state"] == "pending");
    assert_eq!(exit(&daemon, &["shut", ALICE, "--reason", "again"]).0, Some(1), "shut already");

    // Visible everywhere.
    let status = daemon.cli_json(&["status"]);
    assert_eq!(status["shut"][0]["user_name"], ALICE);
    assert_eq!(status["shut"][0]["reason"], "stolen laptop");
    let explained = explained(&daemon, ALICE, "crew");
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
    is_verified(&daemon);
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
    // The file is what `shut` waits for; what `status` says of the run comes a moment later.
    wait_until("nothing is held any more", || daemon.target("auto")["held_removals"] == 0);

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
    is_verified(&daemon);
}

#[test]
fn where_a_grant_ends_and_the_identity_provider_takes_the_role_who_spoke_last_decides() {
    let guard = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";
    let role = CREW.replace("protected = true", "");
    let daemon = start(&format!("{guard}{role}{}", target("late", "on_change = false")));
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (ann, bob) = (scim.create_user("ann@example.com"), scim.create_user("bob@example.com"));
    let crew = scim.create_group("Crew", &[&ann, &bob]);
    let grant = |who: &str| {
        let made = daemon.cli_json(&["grant", who, "crew", "--for", "1h", "--reason", "on call"]);
        made["id"].to_string()
    };
    let (of_ann, of_bob) = (grant("ann@example.com"), grant("bob@example.com"));
    daemon.cli_json(&["sync", "late"]);
    assert_eq!(holders(&daemon, "late", "crew"), ["ann@example.com", "bob@example.com"]);

    // Between two runs: a person speaks last of Ann, the identity provider last of Bob.
    scim.remove_member(&crew, &ann);
    daemon.cli_json(&["grant", "revoke", &of_ann]);
    daemon.cli_json(&["grant", "revoke", &of_bob]);
    scim.remove_member(&crew, &bob);
    daemon.cli(&["sync", "late"]);
    assert_eq!(holders(&daemon, "late", "crew"), ["bob@example.com"]);
    let planned = daemon.cli_json(&["plan", "late"]);
    let held = planned["targets"][0]["held_removals"].as_array().unwrap().clone();
    let roles: Vec<&Value> = held.iter().filter(|row| row["entitlement"] == "role:crew").collect();
    assert_eq!(roles.len(), 1, "{planned}");
    assert_eq!(roles[0]["subject"], "bob@example.com");
    is_verified(&daemon);
}

#[test]
fn a_re_baseline_holds_who_was_not_named_again_and_nobody_else() {
    let role = CREW.replace("protected = true", "");
    let mut daemon = start(&format!("{role}{}", target("auto", "")));
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let names = ["put", "read", "found", "changed", "lost", "late", "gone"];
    let mail = |name: &str| format!("{name}@example.com");
    let users: Vec<String> = names.iter().map(|name| scim.create_user(&mail(name))).collect();
    let id = |name: &str| users[names.iter().position(|one| *one == name).unwrap()].clone();
    scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("all are in", || holders(&daemon, "auto", "crew").len() == names.len());

    // Disabled: refused, kept, loud.
    daemon.cli_json(&["directory", "disable", &directory.id]);
    let refused = scim.get("/Users");
    assert_eq!((refused.status, refused.header("Retry-After").is_some()), (503, true));
    assert_eq!(refused.json()["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
    assert_eq!(holders(&daemon, "auto", "crew").len(), names.len(), "access is kept");
    assert_eq!(daemon.cli_json(&["status"])["directories"][0]["enabled"], false);
    assert!(
        metrics(&daemon).contains(&format!("rosterd_directory_enabled{{directory=\"{}\"}} 0", directory.id))
    );
    let screen = String::from_utf8_lossy(&daemon.cli(&["status"]).stdout).into_owned();
    assert!(screen.contains("is disabled"), "{screen}");

    daemon.cli_json(&["directory", "enable", &directory.id, "--within", "6s"]);
    let window =
        |daemon: &Daemon| daemon.cli_json(&["directory", "show", &directory.id])["rebaseline"].clone();
    assert_eq!(window(&daemon)["waiting"], names.len());
    // A page of a list names nobody; these do, though none but one changes anything.
    scim.get("/Users?startIndex=1&count=100").expect(200);
    let whole = scim.get(&format!("/Users/{}", id("put"))).expect(200).json();
    scim.send("PUT", &format!("/Users/{}", id("put")), Some(&whole)).expect(200);
    scim.get(&format!("/Users/{}", id("read"))).expect(200);
    scim.get(&format!("/Users?filter=userName%20eq%20%22{}%22", mail("found"))).expect(200);
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Changed"}]);
    assert!(scim.patch(&format!("/Users/{}", id("changed")), rename).status < 300);
    wait_until("four were named", || window(&daemon)["waiting"] == 3);
    // What was named survives a restart within the window, and so does the window.
    daemon.kill();
    daemon.run();
    assert!(window(&daemon).is_object());

    wait_until("the window closed", || window(&daemon).is_null());
    wait_until("three are held", || daemon.target("auto")["held_removals"] == 6);
    assert_eq!(holders(&daemon, "auto", "crew").len(), names.len(), "nobody lost anything");
    let shown = daemon.cli_json(&["directory", "show", &directory.id]);
    let mut listed: Vec<&str> = shown["unconfirmed_users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["user_name"].as_str().unwrap())
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, ["gone@example.com", "late@example.com", "lost@example.com"]);
    assert_eq!(count(&daemon, "rebaseline.closed"), 1);
    let why = daemon.cli_json(&["plan", "auto"])["targets"][0]["held_removals"][0]["why"].clone();
    assert!(why.as_str().unwrap().contains("did not name"), "{why}");

    // Named late: in again, and no longer held. Deactivated: out, since somebody asked for it.
    let mut scim = daemon.scim(&directory);
    scim.get(&format!("/Users/{}", id("late"))).expect(200);
    wait_until("late is confirmed", || daemon.target("auto")["held_removals"] == 4);
    scim.set_active(&id("gone"), false);
    wait_until("a deactivation is not held with them", || {
        daemon.target("auto")["held_removals"] == 2
            && !holders(&daemon, "auto", "crew").contains(&mail("gone"))
    });

    let plan = daemon.cli_json(&["plan", "auto"])["targets"][0]["hash"].as_str().unwrap().to_owned();
    daemon.cli_json(&["approve", "auto", "--plan", &plan]);
    wait_until("lost is out", || !holders(&daemon, "auto", "crew").contains(&mail("lost")));
    assert_eq!(holders(&daemon, "auto", "crew").len(), 5);
    // The identity provider names it after all.
    scim.get(&format!("/Users/{}", id("lost"))).expect(200);
    wait_until("lost is in again", || holders(&daemon, "auto", "crew").contains(&mail("lost")));
    is_verified(&daemon);
}

#[test]
fn a_removed_directory_goes_through_the_guard_and_held_people_stay_in_the_file() {
    let role = CREW.replace("protected = true", "");
    let mut daemon = start(&format!("{role}{}", target("auto", "")));
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let users: Vec<String> = (0..8).map(|n| scim.create_user(&format!("user{n}@example.com"))).collect();
    scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("all are in", || holders(&daemon, "auto", "crew").len() == 8);
    let before = daemon.read("out/auto.json");
    daemon.cli_json(&["directory", "remove", &directory.id, "--yes"]);
    wait_until("held", || daemon.target("auto")["held_removals"] == 16);
    assert_eq!(holders(&daemon, "auto", "crew").len(), 8);
    assert_eq!(daemon.cli_json(&["status"])["directories"], json!([]));
    daemon.kill();
    std::fs::remove_file(daemon.path("out/auto.json")).unwrap();
    daemon.run();
    wait_until("rendered from what was kept", || holders(&daemon, "auto", "crew").len() == 8);
    assert!(before.contains("user0@example.com"));
    let plan = daemon.cli_json(&["plan", "auto"])["targets"][0]["hash"].as_str().unwrap().to_owned();
    daemon.cli_json(&["approve", "auto", "--plan", &plan]);
    wait_until("all are out", || holders(&daemon, "auto", "crew").is_empty());
    is_verified(&daemon);
}

#[test]
fn a_silent_identity_provider_is_warned_of_and_loses_nobody_anything() {
    let configured =
        "[[directory]]\nid = \"acme\"\nname = \"Acme\"\nkind = \"okta\"\nexpect_every = \"2s\"\n";
    let role = CREW.replace("protected = true", "");
    let daemon = start(&[configured, &role, &target("auto", "")].concat());
    let token = daemon.cli_json(&["token", "new", "acme"])["token"].as_str().unwrap().to_owned();
    let client = crate::support::http::Client::new(daemon.address);
    let mut scim = Scim { client, token };
    let alice = scim.create_user(ALICE);
    scim.create_group("Crew", &[&alice]);
    wait_until("she is in", || holders(&daemon, "auto", "crew") == [ALICE]);
    let silent = || daemon.cli_json(&["status"])["directories"][0]["silent"].clone();
    assert_eq!(silent(), false);
    wait_until("it is silent", || silent() == true);
    wait_until("the log says so", || daemon.log().contains("the identity provider is silent"));
    assert!(metrics(&daemon).contains("\nrosterd_directory_silent{directory=\"acme\"} 1\n"));
    assert_eq!(holders(&daemon, "auto", "crew"), [ALICE], "nothing is taken away");
    // A look-up is enough to be heard.
    wait_until("it is heard again", || {
        scim.get("/Users?count=1").expect(200);
        silent() == false && daemon.log().contains("heard again")
    });
}

const TWO: &str =
    "[[directory]]\nid = \"first\"\nkind = \"okta\"\n[[directory]]\nid = \"second\"\nkind = \"okta\"\n";

fn two(daemon: &Daemon) -> (Scim, Scim) {
    let scim = |id: &str| {
        let token = daemon.cli_json(&["token", "new", id])["token"].as_str().unwrap().to_owned();
        Scim { client: crate::support::http::Client::new(daemon.address), token }
    };
    (scim("first"), scim("second"))
}

#[test]
fn a_name_belongs_to_the_directory_that_stands_first_until_it_is_released() {
    let role = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\ndirectories = [\"first\", \"second\"]\n";
    let daemon = start(&[TWO, role, &target("auto", "")].concat());
    let (mut first, mut second) = two(&daemon);
    // The second is quicker; the first still owns the name.
    let other = second.create_user(ALICE);
    second.create_group("Crew", &[&other]);
    wait_until("the second gave it", || holders(&daemon, "auto", "crew") == [ALICE]);
    let own = first.create_user("ALICE@example.com");
    let crew = first.create_group("Crew", &[]);
    wait_until("the name is the first's, who gives nothing", || holders(&daemon, "auto", "crew").is_empty());
    wait_until("the other is reported", || {
        let problems = daemon.target("auto")["problems"].to_string();
        problems.contains("subject release") && problems.contains(&other)
    });
    let other_id = format!("second/{other}");
    let why = explained(&daemon, &other_id, "crew")["roles"][0]["why"][0].clone();
    assert!(why.as_str().unwrap().contains("belongs to"), "{why}");
    // Also while inactive there: a dismissal in one must not open the door in the other.
    first.set_active(&own, false);
    first.add_member(&crew, &own);
    let settled = || daemon.target("auto")["applied_seq"] == daemon.cli_json(&["status"])["seq"];
    wait_until("settled", settled);
    assert_eq!(holders(&daemon, "auto", "crew"), [""; 0]);

    let own_id = format!("first/{own}");
    assert_eq!(
        exit(&daemon, &["subject", "release", ALICE, "--reason", "x"]).0,
        Some(1),
        "both know the name"
    );
    assert_eq!(exit(&daemon, &["subject", "release", &own_id]).0, Some(64), "without a reason");
    daemon.cli_json(&["subject", "release", &own_id, "--reason", "moved to the second"]);
    wait_until("the second owns it now", || holders(&daemon, "auto", "crew") == [ALICE]);
    assert_eq!(count(&daemon, "subject.released"), 1);
    assert_eq!(daemon.cli_json(&["subject", "released"])["released"][0]["directory"], "first");
    first.set_active(&own, true);
    wait_until("settled", settled);
    let file: Value = serde_json::from_str(&daemon.read("out/auto.json")).unwrap();
    assert_eq!(file["users"][0]["directory"], "second", "{file}");
    daemon.cli_json(&["subject", "release", &own_id, "--undo"]);
    wait_until("the first owns it again", || daemon.read("out/auto.json").contains("\"first\""));
    is_verified(&daemon);
}

#[test]
fn who_is_outside_the_claims_is_left_out_and_reported() {
    let claims = "[[directory]]\nid = \"first\"\nkind = \"okta\"\nclaims = [\"*@example.com\"]\n";
    let role = CREW.replace("protected = true", "");
    let daemon = start(&[claims, &role, &target("auto", "")].concat());
    let token = daemon.cli_json(&["token", "new", "first"])["token"].as_str().unwrap().to_owned();
    let mut scim = Scim { client: crate::support::http::Client::new(daemon.address), token };
    let (inside, outside) =
        (scim.create_user("Alice@Example.com"), scim.create_user("root@other.example.org"));
    scim.create_group("Crew", &[&inside, &outside]);
    wait_until("she is in", || holders(&daemon, "auto", "crew") == ["Alice@Example.com"]);
    assert!(!daemon.read("out/auto.json").contains("root@other"));
    wait_until("the other is reported", || {
        let problems = daemon.target("auto")["problems"].to_string();
        problems.contains("outside the `claims`") && problems.contains(&outside)
    });
}

#[test]
fn another_order_of_directories_is_a_change_and_goes_through_the_guard() {
    let role = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\ndirectories = [\"first\", \"second\"]\n";
    let rest = [role, &target("auto", "")].concat();
    let daemon = start(&[TWO, &rest].concat());
    let (mut first, mut second) = two(&daemon);
    let names: Vec<String> = (0..8).map(|n| format!("user{n}@example.com")).collect();
    let users: Vec<String> = names.iter().map(|name| first.create_user(name)).collect();
    first.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
    // The same people in the second directory, where nothing gives them the role.
    for name in &names {
        second.create_user(name);
    }
    second.create_group("Crew", &[]);
    wait_until("all are in", || holders(&daemon, "auto", "crew").len() == 8);
    let accepted = count(&daemon, "config.accepted");
    let swapped =
        "[[directory]]\nid = \"second\"\nkind = \"okta\"\n[[directory]]\nid = \"first\"\nkind = \"okta\"\n";
    daemon.write_config(&[swapped, &rest].concat());
    daemon.cli_json(&["reload"]);
    wait_until("held", || daemon.target("auto")["held_removals"].as_u64() >= Some(8));
    assert_eq!(count(&daemon, "config.accepted"), accepted + 1);
    assert_eq!(holders(&daemon, "auto", "crew").len(), 8, "nobody lost the role");
}

/// One person of the random test, as far as the role goes.
#[derive(Debug, Clone, Copy, Default)]
struct Person {
    member: bool,
    inactive: bool,
    shut: bool,
    grant: Option<u64>,
    /// A removal by the identity provider, which the guard holds.
    kept: bool,
}

impl Person {
    fn holds(self) -> bool {
        !self.shut && !self.inactive && (self.member || self.grant.is_some())
    }

    fn is_shown(self) -> bool {
        self.holds() || (self.kept && !self.shut)
    }

    /// What the identity provider does: what it takes away is held, what it gives ends a hold.
    fn by_sync(&mut self, change: impl FnOnce(&mut Self)) {
        let was = self.is_shown();
        change(self);
        self.kept = was && !self.holds();
    }

    /// What a person does, or the end a person set: it goes at once.
    fn by_word(&mut self, change: impl FnOnce(&mut Self)) {
        let held_by_role = self.holds();
        change(self);
        self.kept = self.kept && !self.shut && !self.holds() && !held_by_role;
    }
}

#[test]
fn random_decisions_and_traffic_under_a_guard_that_holds_everything() {
    let mut random = crate::support::Random::new(crate::support::seed());
    let guard = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";
    let role = CREW.replace("protected = true", "");
    let mut daemon =
        start(&format!("{guard}{role}{}{}", target("auto", ""), target("cron", "on_change = false")));
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let name = |n: usize| format!("user{n}@example.com");
    let users: Vec<String> = (0..5).map(|n| scim.create_user(&name(n))).collect();
    let group = scim.create_group("Crew", &[&users[0], &users[1], &users[2]]);
    let mut people = [Person::default(); 5];
    for person in &mut people[..3] {
        person.member = true;
    }
    // Who leaves before the first run was never in the file, and nothing is held of it.
    wait_until("the first run", || holders(&daemon, "auto", "crew").len() == 3);
    for step in 0..45 {
        let n = usize::try_from(random.below(5)).unwrap();
        let person = &mut people[n];
        let what = random.below(14);
        match what {
            0..3 => {
                person.by_sync(|one| one.member = !one.member);
                if person.member {
                    scim.add_member(&group, &users[n])
                } else {
                    scim.remove_member(&group, &users[n])
                }
            }
            3..6 => {
                person.by_sync(|one| one.inactive = !one.inactive);
                scim.set_active(&users[n], !person.inactive);
            }
            6..8 if person.shut => {
                person.by_word(|one| one.shut = false);
                daemon.cli_json(&["open", &name(n)]);
            }
            6..8 => {
                person.by_word(|one| one.shut = true);
                daemon.cli_json(&["shut", &name(n), "--reason", "random"]);
            }
            8..10 => match person.grant {
                Some(id) => {
                    person.by_word(|one| one.grant = None);
                    daemon.cli_json(&["grant", "revoke", &id.to_string()]);
                }
                None => {
                    let made =
                        daemon.cli_json(&["grant", &name(n), "crew", "--for", "1h", "--reason", "random"]);
                    person.by_word(|one| one.grant = made["id"].as_u64());
                }
            },
            10..13 => {
                // One that ends by itself, before anything else happens.
                let ended = count(&daemon, "grant.expired");
                daemon.cli_json(&["grant", &name(n), "crew", "--for", "1s", "--reason", "random"]);
                if !person.shut && !person.inactive {
                    person.kept = false;
                }
                wait_until("it ended", || count(&daemon, "grant.expired") == ended + 1);
            }
            _ => {
                daemon.kill();
                daemon.run();
                scim = daemon.scim(&directory);
            }
        }
        let expected: Vec<String> = (0..5).filter(|n| people[*n].is_shown()).map(name).collect();
        let now = || holders(&daemon, "auto", "crew");
        wait_until(&format!("step {step} ({what} on {n}): {expected:?} of {people:?}"), || now() == expected);
        let late = holders(&daemon, "cron", "crew");
        assert!(
            (0..5).all(|n| !people[n].shut || what != 6 || !late.contains(&name(n))),
            "step {step}: {late:?}"
        );
    }
    is_verified(&daemon);
}
