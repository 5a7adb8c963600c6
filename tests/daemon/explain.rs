//! Why a target differs from access, whether its bytes are what the mirror gives, and that nothing is left of who is
//! forgotten.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{edit, wait_until};

fn target(name: &str, format: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"{format}\"\npath = \"{{dir}}/out/{name}\"\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    )
}

fn start(config: &str) -> Daemon {
    use std::os::unix::fs::PermissionsExt;
    let mut daemon = Daemon::prepare(config);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    let secret = daemon.path("hook-secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    daemon
}

fn role(daemon: &Daemon, subject: &str, role: &str) -> Value {
    let out = daemon.cli(&["explain", subject, "--role", role, "--json"]);
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    answer["roles"][0].clone()
}

/// What one target makes of it: whether it carries the role, and the reasons in one text.
fn at(daemon: &Daemon, subject: &str, name: &str, target: &str) -> (bool, String) {
    let role = role(daemon, subject, name);
    let all = role["targets"].as_array().unwrap();
    let found = all.iter().find(|one| one["target"] == target).unwrap();
    (found["carries"] == true, found["why"].to_string())
}

fn is_said(daemon: &Daemon, (subject, role, target): (&str, &str, &str), carries: bool, words: &str) {
    let said = || {
        let (found, why) = at(daemon, subject, role, target);
        found == carries && why.contains(words)
    };
    wait_until(&format!("{subject} at {target}: {words}"), said);
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

#[test]
fn whatever_makes_a_target_differ_from_access_is_told() {
    let guard = "[guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n";
    let directory = "[[directory]]\nid = \"acme\"\nkind = \"okta\"\nclaims = [\"*@example.com\"]\n";
    let roles = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[role]]\nname = \"glass\"\ngroups = [\"Glass\"]\nprotected = true\n";
    let broken = target("broken", "json", "").replace("/out/broken", "/missing/broken");
    let config = [
        guard,
        directory,
        roles,
        &target("auto", "json", ""),
        &target("manual", "json", "apply = \"manual\""),
        &target("cron", "json", "on_change = false"),
        &target("groups", "apache-groups", ""),
        &broken,
    ];
    let daemon = start(&config.concat());
    let token = daemon.cli_json(&["token", "new", "acme"])["token"].as_str().unwrap().to_owned();
    let mut scim =
        crate::support::daemon::Scim { client: crate::support::http::Client::new(daemon.address), token };
    let (alice, bob) = (scim.create_user(ALICE), scim.create_user(BOB));
    let odd = scim.create_user("odd name:x@example.com");
    let outside = scim.create_user("eve@other.example.org");
    let crew = scim.create_group("Crew", &[&alice, &bob, &odd, &outside]);
    let glass = scim.create_group("Glass", &[&bob]);
    is_said(&daemon, (ALICE, "crew", "auto"), true, "");
    is_said(&daemon, (BOB, "glass", "auto"), true, "");

    is_said(&daemon, (ALICE, "crew", "manual"), false, "apply = \\\"manual\\\"");
    is_said(&daemon, (ALICE, "crew", "cron"), false, "the target is at change");
    is_said(&daemon, (ALICE, "crew", "broken"), false, "the target is failing");
    is_said(&daemon, ("odd name:x@example.com", "crew", "groups"), false, "cannot carry");
    let why = role(&daemon, &outside, "crew")["why"].to_string();
    assert!(why.contains("claims"), "{why}");

    scim.remove_member(&crew, &alice);
    is_said(&daemon, (ALICE, "crew", "auto"), true, "the guard holds the removal");
    let lost = role(&daemon, ALICE, "crew");
    assert_eq!(lost["lost"]["kind"], "group.updated", "{lost}");
    daemon.cli_json(&["reject", "auto"]);
    is_said(&daemon, (ALICE, "crew", "auto"), true, "a person rejected the removal");
    scim.remove_member(&glass, &bob);
    is_said(&daemon, (BOB, "glass", "auto"), true, "the role is `protected`");

    daemon.cli_json(&["grant", BOB, "glass", "--for", "1h", "--reason", "incident 4711"]);
    let given = role(&daemon, BOB, "glass")["why"].to_string();
    assert!(given.contains("incident 4711"), "{given}");
    daemon.cli_json(&["shut", BOB, "--reason", "laptop stolen"]);
    let why = role(&daemon, BOB, "crew")["why"].to_string();
    assert!(why.contains("laptop stolen"), "{why}");
    is_said(&daemon, (BOB, "crew", "auto"), false, "");
}

#[test]
fn a_webhook_is_explained_by_what_it_was_told() {
    let receiver = Receiver::start();
    let hook = format!(
        "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}\"\n\
         secret_file = \"{{dir}}/hook-secret\"\nevents = [\"access.*\"]\n\
         wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
        receiver.url()
    );
    let daemon = start(&hook);
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user(ALICE);
    let crew = scim.create_group("Crew", &[&alice]);
    is_said(&daemon, (ALICE, "crew", "hook"), true, "told `access.granted`");
    is_said(&daemon, (ALICE, "crew", "hook"), true, "acknowledged");
    scim.remove_member(&crew, &alice);
    is_said(&daemon, (ALICE, "crew", "hook"), false, "told `access.revoked`");
}

#[test]
fn verify_finds_drift_and_tells_what_is_only_pending_with_and_without_a_daemon() {
    let roles = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";
    let manual = target("manual", "json", "apply = \"manual\"");
    let mut daemon = start(&[roles, &target("auto", "json", "drift = \"report\""), &manual].concat());
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user(ALICE);
    scim.create_group("Crew", &[&alice]);
    wait_until("she is in", || daemon.read("out/auto").contains(ALICE));
    let bytes = |daemon: &Daemon, target: &str| {
        let out = daemon.cli(&["verify", "--json"]);
        let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
        let all = answer["targets"].as_array().unwrap().clone();
        let found = all.iter().find(|one| one["target"] == target).unwrap();
        (found["bytes"].as_str().unwrap().to_owned(), out.status.code())
    };
    let settled =
        |daemon: &Daemon| daemon.target("auto")["applied_seq"] == daemon.cli_json(&["status"])["seq"];
    wait_until("settled", || settled(&daemon));
    assert_eq!(bytes(&daemon, "auto"), ("as_due".to_owned(), Some(0)));
    assert_eq!(bytes(&daemon, "manual"), ("pending".to_owned(), Some(0)), "yet to come is no fault");

    let good = daemon.read("out/auto");
    edit(daemon.path("out/auto"), "edited\n");
    assert_eq!(bytes(&daemon, "auto"), ("drifted".to_owned(), Some(1)));
    let told = String::from_utf8(daemon.cli(&["verify"]).stdout).unwrap();
    assert!(told.contains("DRIFTED") && told.contains("every chain is unbroken"), "{told}");
    daemon.kill();
    assert_eq!(bytes(&daemon, "auto"), ("drifted".to_owned(), Some(1)), "no daemon runs");
    std::fs::remove_file(daemon.path("out/auto")).unwrap();
    assert_eq!(bytes(&daemon, "auto"), ("missing".to_owned(), Some(1)));
    std::fs::write(daemon.path("out/auto"), good).unwrap();
    assert_eq!(bytes(&daemon, "auto"), ("as_due".to_owned(), Some(0)));
}

#[test]
fn nothing_is_left_of_who_is_forgotten_not_even_in_decisions() {
    let roles = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";
    let mut daemon = start(&[roles, &target("auto", "json", "")].concat());
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user("Alice.Unmistakable@example.com"), scim.create_user(BOB));
    scim.create_group("Crew", &[&alice, &bob]);
    let id = format!("{}/{alice}", directory.id);
    daemon.cli_json(&["shut", &id, "--reason", "of alice.unmistakable@example.com"]);
    daemon.cli_json(&["open", &id]);
    daemon.cli_json(&["grant", &id, "crew", "--for", "4h", "--reason", "incident"]);
    let history = daemon.cli_json(&["history", "--subject", &id]).to_string();
    for kind in ["subject.shut", "subject.opened", "grant.created"] {
        assert!(history.contains(kind), "{kind}: {history}");
    }
    scim.send("DELETE", &format!("/Users/{alice}"), None).expect(204);
    wait_until("she is out", || daemon.target("auto")["applied_seq"] == daemon.cli_json(&["status"])["seq"]);
    daemon.cli_json(&["user", "forget", &alice, "--yes"]);
    let answer = daemon.cli_json(&["verify"]);
    assert_eq!(answer["log_ok"], true, "{answer}");
    daemon.stop();
    let mirror = std::fs::read(daemon.path("state/mirror.db")).unwrap().to_ascii_lowercase();
    let holds = |text: &str| mirror.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(BOB), "what is looked into is the mirror");
    assert!(!holds("alice.unmistakable"));
}
