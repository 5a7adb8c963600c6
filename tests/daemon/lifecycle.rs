//! From a push to the policy file: roles, nesting, leaving, renaming, drift, schedule, `sync`.

use serde_json::Value;

use crate::support::daemon::{Daemon, Scim, leftovers};
use crate::support::{edit, wait_until};

const FILE: &str = r#"
[[role]]
name = "db-admin"
groups = ["Database Admins"]

[[role]]
name = "contractor"
users = 'userType eq "Contractor"'

[[target]]
name = "file"
type = "file"
format = "json"
path = "{dir}/out/access.json"
wait = { revoke = "10ms", min = "20ms", max = "300ms" }
"#;

fn start(extra: &str) -> Daemon {
    let mut daemon = Daemon::prepare(extra);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    daemon
}

/// A directory of this kind, and who may push into it.
fn pushing(daemon: &Daemon, kind: &str) -> Scim {
    daemon.scim(&daemon.add_directory("Acme", kind))
}

/// Alice is the one database administrator; her id.
fn with_alice(daemon: &Daemon) -> (Scim, String) {
    let mut scim = pushing(daemon, "generic");
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Database Admins", &[&alice]);
    (scim, alice)
}

/// Names that hold a role, as the policy file has it.
fn holders(daemon: &Daemon, role: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
    let roles = &document["roles"];
    let members = match roles {
        Value::Array(list) => list.iter().find(|r| r["name"] == role).map(|r| r["members"].clone()),
        other => Some(other[role].clone()),
    };
    let mut names: Vec<String> = match members {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Object(map)) => map.keys().cloned().collect(),
        _ => Vec::new(),
    };
    names.sort();
    names
}

#[test]
fn a_membership_becomes_a_role_in_the_file_and_leaving_takes_it_away() {
    let daemon = start(FILE);
    let mut scim = pushing(&daemon, "okta");
    let alice = scim.create_user("alice@example.com");
    let bob = scim.create_user("bob@example.com");
    let group = scim.create_group("Database Admins", &[&alice, &bob]);
    wait_until("both hold the role", || {
        holders(&daemon, "db-admin") == ["alice@example.com", "bob@example.com"]
    });
    scim.remove_member(&group, &alice);
    wait_until("alice is out", || holders(&daemon, "db-admin") == ["bob@example.com"]);
    scim.set_active(&bob, false);
    wait_until("inactive bob is out", || {
        holders(&daemon, "db-admin").is_empty() && !daemon.read("out/access.json").contains("bob@")
    });
    scim.set_active(&bob, true);
    wait_until("bob is back with his groups", || holders(&daemon, "db-admin") == ["bob@example.com"]);
    scim.send("DELETE", &format!("/Users/{bob}"), None).expect(204);
    wait_until("deleted bob is out", || holders(&daemon, "db-admin").is_empty());
    // The way back beside the file goes a moment after the file itself is seen.
    wait_until("nothing of the writing is left over", || leftovers(&daemon.path("out")).is_empty());
}

#[test]
fn nested_groups_and_cycles_of_groups_are_flattened() {
    let daemon = start(FILE);
    let mut scim = pushing(&daemon, "generic");
    let carol = scim.create_user("carol@example.com");
    let inner = scim.create_group("Inner", &[&carol]);
    let outer = scim.create_group("Database Admins", &[&inner]);
    wait_until("carol holds the role through the inner group", || {
        holders(&daemon, "db-admin") == ["carol@example.com"]
    });
    scim.add_member(&inner, &outer);
    let dave = scim.create_user("dave@example.com");
    scim.add_member(&inner, &dave);
    wait_until("a cycle of groups is survived", || {
        holders(&daemon, "db-admin") == ["carol@example.com", "dave@example.com"]
    });
}

#[test]
fn a_scim_filter_grants_a_role() {
    let daemon = start(FILE);
    let mut scim = pushing(&daemon, "generic");
    let erin = scim.create_user("erin@example.com");
    scim.patch(
        &format!("/Users/{erin}"),
        serde_json::json!([{"op": "add", "path": "userType", "value": "Contractor"}]),
    );
    wait_until("erin is a contractor", || holders(&daemon, "contractor") == ["erin@example.com"]);
    scim.patch(
        &format!("/Users/{erin}"),
        serde_json::json!([{"op": "replace", "path": "userType", "value": "Employee"}]),
    );
    wait_until("erin is one no longer", || holders(&daemon, "contractor").is_empty());
}

#[test]
fn a_rename_changes_the_name_in_one_write() {
    let daemon = start(FILE);
    let mut scim = pushing(&daemon, "generic");
    let old = scim.create_user("old@example.com");
    scim.create_group("Database Admins", &[&old]);
    wait_until("the old name", || holders(&daemon, "db-admin") == ["old@example.com"]);
    scim.patch(
        &format!("/Users/{old}"),
        serde_json::json!([{"op": "replace", "path": "userName", "value": "new@example.com"}]),
    );
    wait_until("the new name alone", || {
        let now = holders(&daemon, "db-admin");
        assert_eq!(now.len(), 1, "never both, never none");
        now == ["new@example.com"]
    });
}

#[test]
fn a_file_edited_by_hand_is_put_right() {
    let daemon = start(FILE);
    with_alice(&daemon);
    wait_until("the file", || holders(&daemon, "db-admin") == ["alice@example.com"]);
    let right = daemon.read("out/access.json");
    wait_until("in sync", || daemon.target("file")["state"] == "in_sync");
    edit(daemon.path("out/access.json"), "{\"roles\": {\"db-admin\": [\"mallory\"]}}\n");
    wait_until("the edit is undone", || daemon.read("out/access.json") == right);
    std::fs::remove_file(daemon.path("out/access.json")).unwrap();
    wait_until("the removal is undone", || daemon.read("out/access.json") == right);
}

#[test]
fn the_same_access_leaves_the_file_untouched() {
    use std::os::unix::fs::MetadataExt;
    let daemon = start(FILE);
    let (mut scim, alice) = with_alice(&daemon);
    wait_until("the file", || holders(&daemon, "db-admin") == ["alice@example.com"]);
    wait_until("in sync", || daemon.target("file")["state"] == "in_sync");
    let before = std::fs::metadata(daemon.path("out/access.json")).unwrap().ino();
    assert!(daemon.cli(&["sync", "file"]).status.success());
    // The nickname is in no policy file: a change of the mirror that is none of the target.
    scim.patch(
        &format!("/Users/{alice}"),
        serde_json::json!([{"op": "add", "path": "nickName", "value": "Al"}]),
    );
    assert!(daemon.cli(&["sync", "file"]).status.success());
    assert_eq!(std::fs::metadata(daemon.path("out/access.json")).unwrap().ino(), before);
}

#[test]
fn a_template_renders_the_same_access() {
    let mut daemon = Daemon::prepare(
        "[[role]]\nname = \"db-admin\"\ngroups = [\"Database Admins\"]\n[[target]]\nname = \"t\"\ntype = \"file\"\ntemplate = \"policy.j2\"\npath = \"{dir}/policy.txt\"\nwait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n",
    );
    std::fs::write(daemon.path("policy.j2"), "{% for role in roles %}{{ role.name }}:{% for m in role.members %} {{ m }}{% endfor %}\n{% endfor %}").unwrap();
    daemon.run();
    with_alice(&daemon);
    wait_until("the rendered line", || daemon.read("policy.txt") == "db-admin: alice@example.com\n");
}

#[test]
fn a_file_that_is_not_ours_is_left_until_it_is_adopted() {
    let mut daemon = Daemon::prepare(FILE);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    std::fs::write(daemon.path("out/access.json"), "somebody else's\n").unwrap();
    daemon.run();
    with_alice(&daemon);
    wait_until("the target is foreign", || daemon.target("file")["state"] == "foreign");
    assert_eq!(daemon.read("out/access.json"), "somebody else's\n");
    assert!(daemon.cli(&["sync", "file", "--adopt"]).status.success());
    wait_until("adopted", || holders(&daemon, "db-admin") == ["alice@example.com"]);
}

#[test]
fn an_unwritable_path_fails_its_own_target_only_and_heals() {
    let daemon = start(&format!(
        "{FILE}\n[[target]]\nname = \"broken\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/missing/access.json\"\n"
    ));
    with_alice(&daemon);
    wait_until("the good target follows", || holders(&daemon, "db-admin") == ["alice@example.com"]);
    wait_until("the broken one says so", || daemon.target("broken")["state"] == "failing");
    let error = daemon.target("broken")["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("missing"), "{error}");
    std::fs::create_dir(daemon.path("missing")).unwrap();
    let synced = daemon.cli(&["sync", "broken"]);
    assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
    assert!(daemon.read("missing/access.json").contains("alice@example.com"));
}
