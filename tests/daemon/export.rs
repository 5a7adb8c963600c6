//! `rosterd export`: present access in any format, with a daemon and without.

use serde_json::Value;

use crate::support::daemon::Daemon;

const ROLE: &str = "[[role]]\nname = \"admin\"\ngroups = [\"sre\"]\n";

fn exported(daemon: &Daemon, args: &[&str]) -> Vec<u8> {
    let mut all = vec!["export"];
    all.extend(args);
    let out = daemon.cli(&all);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn present_access_is_exported_by_the_daemon_and_without_one() {
    let mut daemon = Daemon::start(ROLE);
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let bob = scim.create_user("bob@example.com");
    scim.create_group("sre", &[&bob]);
    let casbin = exported(&daemon, &["casbin"]);
    let text = String::from_utf8(casbin.clone()).unwrap();
    assert!(
        text.ends_with("\ng, user:bob@example.com, group:sre\ng, user:bob@example.com, role:admin\n"),
        "{text}"
    );
    let by_id = String::from_utf8(exported(&daemon, &["csv", "--subject", "id"])).unwrap();
    assert!(by_id.contains(&format!("{bob},role,admin,{bob},acme")), "{by_id}");
    let sets = exported(&daemon, &["opa-data", "--option", "sets=true", "--option", "root=acme"]);
    let sets: Value = serde_json::from_slice(&sets).unwrap();
    assert_eq!(sets["acme"]["roles"]["admin"]["bob@example.com"], true);
    let bundle = daemon.path("bundle.tar.gz");
    let said = exported(&daemon, &["opa-bundle", "--out", bundle.to_str().unwrap()]);
    assert!(said.is_empty() && std::fs::read(&bundle).unwrap().starts_with(b"\x1f\x8b"));

    let wrong = daemon.cli(&["export", "opa-data", "--option", "colour=1"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert_eq!(daemon.cli(&["export", "opa"]).status.code(), Some(64));
    assert_eq!(daemon.cli(&["export", "json", "--out", "/no/such/folder/x"]).status.code(), Some(66));

    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(exported(&daemon, &["casbin"]), casbin, "the same without a daemon");
}

#[test]
fn every_format_is_listed_with_an_example() {
    let daemon = Daemon::prepare(ROLE);
    let all = String::from_utf8(exported(&daemon, &["--list"])).unwrap();
    for name in ["border0-policy", "casbin", "json", "opa-bundle", "template", "yaml"] {
        assert!(all.contains(&format!("{name}  ")), "no {name}");
    }
    let one: Value = serde_json::from_slice(&exported(&daemon, &["--list", "casbin", "--json"])).unwrap();
    let [format] = one["formats"].as_array().unwrap().as_slice() else { panic!("one") };
    assert!(format["example"].as_str().unwrap().contains("g, user:bob@example.com, role:admin"));
    assert_eq!(format["options"][0]["name"], "domain");
}

#[test]
fn numbers_are_shown_as_targets_would_give_them_and_none_is_given() {
    let mut daemon = Daemon::start(ROLE);
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let bob = scim.create_user("bob");
    scim.create_group("sre", &[&bob]);
    let ids = ["--option", "gids=[60000,60499]"];
    let names = ["--option", "names={\"admin\":\"crew\"}"];
    let group = [&["extrausers"][..], &ids, &names].concat();
    assert_eq!(String::from_utf8(exported(&daemon, &group)).unwrap(), "crew:x:60000:bob\n");
    let records = [&["userdb", "--option", "uids=[60500,64999]"][..], &ids, &names].concat();
    let text = String::from_utf8(exported(&daemon, &records)).unwrap();
    for part in ["== bob.user\n", "\"uid\": 60500", "== crew.group\n", "== bob:crew.membership\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!daemon.path("state/unix-ids.log").exists(), "an export gives nobody a number");
    daemon.stop();
    assert_eq!(String::from_utf8(exported(&daemon, &records)).unwrap(), text, "without a daemon too");
}
