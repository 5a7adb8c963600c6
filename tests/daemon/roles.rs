//! Roles whose groups are renamed, deleted or impersonated; and how long a revocation takes.

use serde_json::{Value, json};

use crate::decisions::metrics;
use crate::support::daemon::{Daemon, Scim};
use crate::support::wait_until;

const ALICE: &str = "alice@example.com";
const MALLORY: &str = "mallory@example.com";

fn config(on_rename: &str, guard: &str) -> String {
    format!(
        "[guard]\n{guard}\n[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n{on_rename}\n[[target]]\nname = \"file\"\n\
         type = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/access.json\"\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n"
    )
}

fn start(config: &str) -> (Daemon, Scim) {
    let mut daemon = Daemon::prepare(config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let scim = daemon.scim(&directory);
    (daemon, scim)
}

fn holders(daemon: &Daemon) -> Vec<String> {
    let file: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
    let roles = file["roles"].as_array().cloned().unwrap_or_default();
    let crew = roles.iter().find(|role| role["name"] == "crew").map(|role| role["members"].clone());
    let members = crew.and_then(|members| members.as_array().cloned()).unwrap_or_default();
    members.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn settle(daemon: &Daemon) {
    wait_until("the target is at the newest change", || {
        let status = daemon.cli_json(&["status"]);
        status["targets"][0]["applied_seq"] == status["seq"]
    });
}

fn rename(scim: &mut Scim, group: &str, name: &str) {
    let done = scim
        .patch(&format!("/Groups/{group}"), json!([{"op": "replace", "path": "displayName", "value": name}]));
    assert!(done.status < 300, "{}", done.text());
}

#[test]
fn a_renamed_group_is_followed_or_let_go_and_its_name_is_not_inherited() {
    for (on_rename, left) in [("", vec![ALICE]), ("on_rename = \"release\"", vec![])] {
        let (mut daemon, mut scim) = start(&config(on_rename, "min_removals = 1000"));
        let (alice, mallory) = (scim.create_user(ALICE), scim.create_user(MALLORY));
        let group = scim.create_group("Crew", &[&alice]);
        wait_until("she is in", || holders(&daemon) == [ALICE]);
        settle(&daemon);
        assert!(daemon.cli_json(&["history", "--limit", "100"]).to_string().contains("role.bound"));

        rename(&mut scim, &group, "Team");
        settle(&daemon);
        assert_eq!(holders(&daemon), left, "{on_rename}");
        let told = daemon.target("file")["problems"].to_string() + &daemon.cli_json(&["status"]).to_string();
        assert!(told.contains("is now called `Team`"), "{told}");
        wait_until("it is warned of", || daemon.log().contains("is now called `Team`"));

        let impostor = scim.create_group("Crew", &[&mallory]);
        settle(&daemon);
        assert_eq!(holders(&daemon), left, "another group took the name");
        daemon.kill();
        daemon.run();
        scim = Scim { client: crate::support::http::Client::new(daemon.address), token: scim.token.clone() };
        settle(&daemon);
        assert_eq!(holders(&daemon), left, "also after a restart");
        let why = daemon.cli(&["explain", MALLORY, "--role", "crew"]);
        let why = String::from_utf8_lossy(&why.stdout).into_owned();
        assert!(why.contains("does not inherit") && why.contains(&impostor), "{why}");

        // Not when the first is gone either; only when a person names it.
        scim.send("DELETE", &format!("/Groups/{group}"), None).expect(204);
        settle(&daemon);
        assert_eq!(holders(&daemon), [""; 0]);
        let named =
            config(on_rename, "min_removals = 1000").replace("\"Crew\"]", &format!("\"id:{impostor}\"]"));
        daemon.write_config(&named);
        daemon.cli_json(&["reload"]);
        wait_until("whom a person named", || holders(&daemon) == [MALLORY]);
        settle(&daemon);
        assert!(daemon.cli_json(&["history", "--limit", "100"]).to_string().contains("role.unbound"));
        let out = daemon.cli(&["verify"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn a_state_of_then_knows_what_its_roles_stood_for() {
    let (daemon, mut scim) = start(&config("", "min_removals = 1000"));
    let (alice, mallory) = (scim.create_user(ALICE), scim.create_user(MALLORY));
    let group = scim.create_group("Crew", &[&alice]);
    wait_until("she is in", || holders(&daemon) == [ALICE]);
    rename(&mut scim, &group, "Team");
    scim.create_group("Crew", &[&mallory]);
    settle(&daemon);
    let then = format!("seq:{}", daemon.cli_json(&["status"])["seq"]);
    scim.send("DELETE", &format!("/Groups/{group}"), None).expect(204);
    settle(&daemon);
    assert_eq!(holders(&daemon), [""; 0]);
    let past = daemon.cli_json(&["access", "--at", &then, "--role", "crew"]).to_string();
    assert!(past.contains(ALICE) && !past.contains(MALLORY), "{past}");
}

#[test]
fn how_long_a_revocation_took_is_a_number_and_who_is_still_in_is_listed() {
    let slow =
        config("", "min_removals = 1000") + "reload = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/broken\"]\n";
    let (daemon, mut scim) = start(&slow);
    let (alice, mallory) = (scim.create_user(ALICE), scim.create_user(MALLORY));
    scim.create_group("Crew", &[&alice, &mallory]);
    wait_until("both are in", || holders(&daemon).len() == 2);
    settle(&daemon);
    let count = |daemon: &Daemon| -> u64 {
        let text = metrics(daemon);
        let line = "rosterd_revocation_seconds_count{target=\"file\"} ";
        let found =
            text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_else(|| panic!("{text}"));
        found.parse().unwrap()
    };
    let before = count(&daemon);
    scim.set_active(&alice, false);
    wait_until("it is counted", || count(&daemon) == before + 1);
    assert!(metrics(&daemon).contains("rosterd_revocation_seconds_bucket{target=\"file\",le=\"+Inf\"}"));
    assert_eq!(daemon.cli_json(&["status"])["unenforced"], json!({"count": 0, "first": []}));
}

#[test]
fn who_is_held_or_behind_a_manual_target_is_listed_as_not_enforced() {
    let both = config("", "min_removals = 1\nmax_removals = [0]\nurgent = 0")
        + "[[target]]\nname = \"manual\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/out/manual.json\"\n\
           apply = \"manual\"\n[target.guard]\nmin_removals = 1000000\n";
    let (daemon, mut scim) = start(&both);
    let alice = scim.create_user(ALICE);
    scim.create_group("Crew", &[&alice]);
    wait_until("she is in", || holders(&daemon) == [ALICE]);
    daemon.cli_json(&["sync"]);
    scim.set_active(&alice, false);
    wait_until("she is held", || daemon.target("file")["held_removals"] == 2);
    let rows = |daemon: &Daemon| daemon.cli_json(&["status"])["unenforced"].clone();
    wait_until("both are listed", || rows(&daemon)["count"] == 2);
    let rows = rows(&daemon);
    let of =
        |why: &str| rows["first"].as_array().unwrap().iter().find(|row| row["why"] == why).unwrap().clone();
    let (held, pending) = (of("held"), of("pending"));
    assert_eq!((held["targets"].clone(), held["entitlements"].clone()), (json!(["file"]), json!(2)));
    assert_eq!((pending["targets"].clone(), pending["entitlements"].clone()), (json!(["manual"]), json!(2)));
    assert!(held["subject"].as_str().unwrap().ends_with(&alice) && held["subject"] == pending["subject"]);
    let screen = String::from_utf8_lossy(&daemon.cli(&["status"]).stdout).into_owned();
    assert!(screen.contains("REVOKED, NOT ENFORCED"), "{screen}");
    daemon.cli_json(&["approve", "--all", "--yes"]);
    wait_until("the rest is the manual one", || daemon.cli_json(&["status"])["unenforced"]["count"] == 1);
}
