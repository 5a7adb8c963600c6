//! Commands: exit codes, JSON others build on, messages an operator can act on.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::daemon::{BINARY, Daemon};

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn check_accepts_the_default_and_every_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = vec![root.join("rosterd.toml")];
    files.extend(
        std::fs::read_dir(root.join("examples"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "toml")),
    );
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let out = run(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(0), "{}: {}", file.display(), text(&out));
    }
}

#[test]
fn check_names_file_line_key_and_the_nearest_right_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("typo.toml");
    std::fs::write(
        &file,
        "[server]\nlisen = [\"127.0.0.1:0\"]\n\n[[target]]\nname = \"x\"\ntipe = \"file\"\n",
    )
    .unwrap();
    let out = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78), "{}", text(&out));
    let said = text(&out);
    for wanted in ["typo.toml:2", "lisen", "listen", "typo.toml:6", "tipe", "type"] {
        assert!(said.contains(wanted), "{wanted} is missing in:\n{said}");
    }
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    assert_eq!(run(&["check", "--config", missing.to_str().unwrap()]).status.code(), Some(66));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(run(&["directory", "add"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    let daemon = Daemon::prepare("");
    assert_eq!(daemon.cli(&["sync"]).status.code(), Some(69), "no daemon runs");
    assert_eq!(daemon.cli(&["reload"]).status.code(), Some(69));
}

#[test]
fn a_second_daemon_on_the_same_mirror_ends_with_75() {
    let daemon = Daemon::start("");
    let out = daemon.cli(&["serve"]);
    assert_eq!(out.status.code(), Some(75), "{}", text(&out));
}

#[test]
fn a_newer_or_foreign_mirror_ends_with_65() {
    let daemon = Daemon::prepare("");
    let path = daemon.path("state/mirror.db");
    std::fs::write(
        &path,
        "this is not a database, just a text of some length that somebody put here by mistake",
    )
    .unwrap();
    let out = daemon.cli(&["serve"]);
    assert_eq!(out.status.code(), Some(65), "{}", text(&out));
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is not"), "the file was touched");
}

#[test]
fn directory_add_works_without_a_daemon_and_serve_finds_it() {
    let mut daemon = Daemon::prepare("");
    let directory = daemon.add_directory("Acme Okta", "okta");
    assert_eq!(directory.id, "acme-okta");
    assert!(directory.token.starts_with("rosterd_") && directory.token.len() == 44, "{}", directory.token);
    assert!(directory.base_url.ends_with("/scim/v2"), "{}", directory.base_url);
    daemon.run();
    daemon.scim(&directory).get("/Users").expect(200);
    let status = daemon.cli_json(&["status"]);
    for key in ["version", "epoch", "seq", "directories", "targets"] {
        assert!(!status[key].is_null(), "no {key} in {status}");
    }
    assert_eq!(status["directories"][0]["id"], "acme-okta");
    assert_eq!(status["targets"], serde_json::json!([]));
}

#[test]
fn plan_shows_what_a_manual_target_waits_for_and_explain_says_why() {
    let daemon = Daemon::start(
        "[[role]]\nname = \"db-admin\"\ngroups = [\"Admins\"]\n[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/access.json\"\napply = \"manual\"\n",
    );
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_user("bob@example.com");
    scim.create_group("Admins", &[&alice]);
    let plan = daemon.cli_json(&["plan", "file"]);
    let target = &plan["targets"][0];
    assert_eq!(target["name"], "file");
    assert!(
        target["add"]
            .as_array()
            .unwrap()
            .iter()
            .any(|a| a["entitlement"].as_str().unwrap().contains("db-admin")),
        "{plan}"
    );
    assert_eq!(daemon.cli(&["plan", "file", "--exit-code"]).status.code(), Some(2));
    assert_eq!(daemon.read("access.json"), "", "a manual target applies nothing by itself");
    assert!(daemon.cli(&["sync", "file"]).status.success());
    assert!(daemon.read("access.json").contains("alice@example.com"));
    assert_eq!(daemon.cli(&["plan", "file", "--exit-code"]).status.code(), Some(0));
    let why = daemon.cli(&["explain", "alice@example.com", "--role", "db-admin"]);
    assert_eq!(why.status.code(), Some(0), "{}", text(&why));
    assert!(text(&why).contains("Admins"), "{}", text(&why));
    let why_not = daemon.cli(&["explain", "bob@example.com", "--role", "db-admin"]);
    assert_eq!(why_not.status.code(), Some(1), "{}", text(&why_not));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        "serve",
        "demo",
        "check",
        "reload",
        "status",
        "directory",
        "token",
        "user",
        "group",
        "plan",
        "sync",
        "explain",
    ] {
        let out = run(&[command, "--help"]);
        assert_eq!(out.status.code(), Some(0), "{command}");
        assert!(text(&out).contains("rosterd "), "{command}: no example");
        assert!(text(&out).to_lowercase().contains("example"), "{command}: no example");
    }
}

#[test]
fn check_names_template_line_event_and_schedule_in_one_go() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.j2"), "ok\n{% for u in users %}\n{{ u.name\n").unwrap();
    std::fs::write(
        dir.path().join("rosterd.toml"),
        "[[target]]\nname = \"t\"\ntype = \"file\"\ntemplate = \"bad.j2\"\npath = \"/srv/x\"\nschedule = \"61 * * * *\"\n\
         [[target]]\nname = \"h\"\ntype = \"webhook\"\nurl = \"http://example.com/x\"\nsecret_file = \"none\"\nevents = [\"acces.*\"]\n",
    )
    .unwrap();
    let out = run(&["check", "--config", dir.path().join("rosterd.toml").to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78), "{}", text(&out));
    for wanted in
        ["`bad.j2` at line 3", "rosterd.toml:4", "rosterd.toml:6", "`61`", "plain http", "`acces.*`"]
    {
        assert!(text(&out).contains(wanted), "{wanted} is missing in:\n{}", text(&out));
    }
}
