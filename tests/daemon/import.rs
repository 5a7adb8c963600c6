//! Moving in: files of every format into a directory, as one plan, through the real binary.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, Daemon, Directory};
use crate::support::{wait_for, wait_until};

const CONFIG: &str = r#"
[[role]]
name = "db-admin"
groups = ["Database Admins"]
[[target]]
name = "file"
type = "file"
format = "json"
path = "{dir}/out/access.json"
wait = { revoke = "0s", min = "0s", max = "0s" }
"#;

fn start() -> (Daemon, Directory) {
    let mut daemon = Daemon::prepare(CONFIG);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "generic");
    (daemon, directory)
}

fn sample(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name).display().to_string()
}

fn run(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String, String) {
    let out = daemon.cli(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

fn import(daemon: &Daemon, directory: &Directory, file: &str, more: &[&str]) -> Value {
    let mut args = vec!["import", file, "--directory", &directory.id, "--yes"];
    args.extend(more);
    daemon.cli_json(&args)
}

/// Who holds the role, by the target's file.
fn admins(daemon: &Daemon) -> Vec<String> {
    let file: Value = serde_json::from_str(&daemon.read("out/access.json")).unwrap_or(Value::Null);
    let roles = file["roles"].as_array().cloned().unwrap_or_default();
    let found = roles.iter().find(|one| one["name"] == "db-admin").map(|one| one["members"].clone());
    let members = found.and_then(|members| members.as_array().cloned()).unwrap_or_default();
    members.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn settle(daemon: &Daemon) {
    wait_until("the target is at the newest change", || {
        let status = daemon.cli_json(&["status"]);
        status["targets"][0]["applied_seq"] == status["seq"]
    });
}

fn write(daemon: &Daemon, name: &str, text: &str) -> String {
    let path = daemon.path(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn users(daemon: &Daemon) -> Vec<Value> {
    daemon.cli_json(&["user", "list"])["users"].as_array().unwrap().clone()
}

fn shown(daemon: &Daemon, name: &str) -> Value {
    daemon.cli_json(&["user", "show", name])
}

#[test]
fn every_format_moves_the_same_company_in_and_a_second_run_changes_nothing() {
    /// A file, further words of the command, names that must be there, users and groups.
    type Case = (&'static str, &'static [&'static str], &'static [&'static str], u64, u64);
    let cases: [Case; 6] = [
        ("company.json", &[], &["ada@example.com", "bob@example.com"], 3, 2),
        ("company.jsonl", &[], &["ada@example.com", "bob@example.com"], 3, 2),
        ("openldap.ldif", &[], &["ada", "bob"], 3, 3),
        ("active-directory.ldif", &[], &["ada@example.com"], 2, 1),
        ("company.csv", &[], &["ada@example.com", "bob@example.com"], 3, 2),
        ("staff.csv", &["--map", "staff.toml"], &["ada@example.com"], 2, 2),
    ];
    for (file, more, holders, users, groups) in cases {
        let (daemon, directory) = start();
        let more: Vec<String> = more
            .iter()
            .map(|one| if one.ends_with("toml") { sample(one) } else { (*one).to_owned() })
            .collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let done = import(&daemon, &directory, &sample(file), &more);
        assert_eq!(
            (&done["create"]["users"], &done["create"]["groups"]),
            (&json!(users), &json!(groups)),
            "{file}: {done}"
        );
        assert_eq!((&done["applied"], &done["done"]["created"]), (&json!(true), &json!(users + groups)));
        wait_until(&format!("{file}: the target follows"), || admins(&daemon) == holders);

        let before = daemon.cli_json(&["status"])["seq"].clone();
        let again = import(&daemon, &directory, &sample(file), &more);
        assert_eq!((&again["changes"], &again["applied"]), (&json!(0), &json!(false)), "{file}: {again}");
        assert_eq!(again["leave"]["users"], json!(users));
        assert_eq!(daemon.cli_json(&["status"])["seq"], before, "{file}: a second run changes nothing");
        assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
    }
}

#[test]
fn attributes_arrive_where_they_belong_and_history_names_the_import() {
    let (daemon, directory) = start();
    let done = import(&daemon, &directory, &sample("openldap.ldif"), &[]);
    let ada = shown(&daemon, "ada");
    let text = ada.to_string();
    for part in [
        "Lovelace",
        "+1 555 0100",
        "\"employeeNumber\":\"701\"",
        "\"department\":\"Data\"",
        "7e1c8f2a-6a9a-103c-8a61-0b7d0a3c0001",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("Ada de Lovelace") && !text.contains("SSHA"), "{text}");
    let carol = shown(&daemon, "carol").to_string();
    assert!(carol.contains("\"active\":false") && carol.contains("Carol Sørensen"), "{carol}");

    let id = done["id"].as_str().unwrap();
    assert!(id.starts_with("import-"));
    let history = daemon.cli_json(&["history", "--subject", "ada"]);
    let made = history["changes"].as_array().unwrap().first().unwrap().clone();
    assert_eq!((&made["kind"], &made["request"]), (&json!("user.created"), &json!(id)), "{made}");
    assert_eq!(made["actor"], json!(format!("uid:{}", rustix::process::getuid().as_raw())));
}

#[test]
fn a_mapping_sets_paths_constants_and_groups() {
    let (daemon, directory) = start();
    import(&daemon, &directory, &sample("staff.csv"), &["--map", &sample("staff.toml")]);
    let ada = shown(&daemon, "ada@example.com").to_string();
    for part in [
        "\"externalId\":\"701\"",
        "\"employeeNumber\":\"701\"",
        "\"givenName\":\"Ada\"",
        "\"userType\":\"Employee\"",
        "\"organization\":\"Example\"",
        "\"value\":\"dba\"",
        "\"value\":\"lead\"",
    ] {
        assert!(ada.contains(part), "{part} is not in {ada}");
    }
    let wrong = write(&daemon, "wrong.toml", "[columns]\n\"E-Mail\" = \"usr name\"\n");
    let (code, _, err) =
        run(&daemon, &["import", &sample("staff.csv"), "--directory", "acme", "--map", &wrong]);
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("column `E-Mail`: `usr name` is no attribute path"), "{err}");
    let wrong = write(&daemon, "absent.toml", "[columns]\n\"Mail\" = \"userName\"\n");
    let (code, _, err) =
        run(&daemon, &["import", &sample("staff.csv"), "--directory", "acme", "--map", &wrong]);
    assert_eq!(code, Some(1));
    assert!(err.contains("line 1: the mapping names a column `Mail`"), "{err}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let (daemon, directory) = start();
    let before = daemon.cli_json(&["status"]);
    let (code, out, err) =
        run(&daemon, &["import", &sample("company.json"), "--directory", &directory.id, "--dry-run"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("create      3 users, 2 groups") && out.contains("Nothing was changed."), "{out}");
    assert!(out.contains("ada@example.com") && out.contains("line 7"), "{out}");
    assert_eq!(daemon.cli_json(&["status"])["seq"], before["seq"]);
    // Without --yes and without a terminal nobody can say yes.
    let (code, _, err) = run(&daemon, &["import", &sample("company.json"), "--directory", &directory.id]);
    assert_eq!(code, Some(64), "{err}");
    assert_eq!(daemon.cli_json(&["status"])["seq"], before["seq"]);
}

#[test]
fn every_mistake_is_told_with_its_line_and_nothing_is_written() {
    let (daemon, directory) = start();
    let before = daemon.cli_json(&["status"])["seq"].clone();
    let file = write(
        &daemon,
        "bad.jsonl",
        concat!(
            "{\"userName\":\"good@example.com\"}\n",
            "{\"userName\":7}\n",
            "not json\n",
            "{\"userName\":\"a@example.com\",\"userName\":\"b@example.com\"}\n",
            "{\"schemas\":[\"urn:ietf:params:scim:schemas:core:2.0:User\"],\"displayName\":\"nobody\"}\n",
            "{\"userName\":\"GOOD@example.com\"}\n",
            "{\"displayName\":\"G\",\"members\":[{\"value\":\"stranger@example.com\"}]}\n",
            "{\"displayName\":\"neither\"}\n",
        ),
    );
    let (code, out, err) = run(&daemon, &["import", &file, "--directory", &directory.id, "--yes"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    for told in [
        "line 2, userName: attribute `userName` must be a string",
        "line 3: the resource is not valid JSON",
        "line 4: `userName` is given twice",
        "line 5, userName:",
        "line 6, userName: this userName was given before, at line 1",
        "line 7, members: member `stranger@example.com` is nobody of the file and nobody of the directory",
        "line 8, schemas: this is neither a User nor a Group",
        "7 mistakes in",
    ] {
        assert!(err.contains(told), "{told} is not in {err}");
    }
    let answer = daemon.cli(&["import", &file, "--directory", &directory.id, "--yes", "--json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["problem_count"], &answer["applied"]), (&json!(7), &json!(false)));
    assert_eq!(answer["problems"][0]["at"], "line 2", "{answer}");
    assert_eq!(daemon.cli_json(&["status"])["seq"], before);

    let many: String = (0..150).map(|_| "{}\n").collect();
    let file = write(&daemon, "many.jsonl", &many);
    let (_, _, err) = run(&daemon, &["import", &file, "--directory", &directory.id, "--yes"]);
    assert!(err.contains("… and 50 more.") && err.contains("150 mistakes"), "{err}");
    assert_eq!(err.lines().filter(|line| line.contains("neither a User")).count(), 100);
}

#[test]
fn exit_codes_say_what_was_wrong() {
    let (daemon, directory) = start();
    let id = directory.id.as_str();
    let code = |args: &[&str]| run(&daemon, args).0;
    assert_eq!(code(&["import", "/nowhere.csv", "--directory", id]), Some(66));
    assert_eq!(
        code(&["import", &sample("staff.csv"), "--directory", id, "--map", "/nowhere.toml"]),
        Some(66)
    );
    assert_eq!(code(&["import", &sample("company.json"), "--directory", "none", "--yes"]), Some(1));
    assert_eq!(code(&["import", &sample("company.json"), "--directory", id, "--format", "xml"]), Some(64));
    assert_eq!(
        code(&["import", &sample("company.json"), "--directory", id, "--map", &sample("staff.toml")]),
        Some(64)
    );
    let empty = write(&daemon, "empty.csv", "");
    assert_eq!(code(&["import", &empty, "--directory", id, "--yes"]), Some(1));
    daemon.cli_json(&["directory", "disable", id]);
    let (refused, _, err) = run(&daemon, &["import", &sample("company.json"), "--directory", id, "--yes"]);
    assert_eq!(refused, Some(1));
    assert!(err.contains("is disabled"), "{err}");
}

#[test]
fn a_mirror_that_is_none_is_65_and_a_daemon_that_is_down_is_no_hindrance() {
    let (mut daemon, directory) = start();
    daemon.stop();
    let (code, out, err) =
        run(&daemon, &["import", &sample("company.csv"), "--directory", &directory.id, "--yes"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("5 created") && err.contains("No daemon answers"), "{out}{err}");
    assert!(err.contains("columns left out: `Shoe Size`"), "{err}");
    daemon.run();
    wait_until("the target follows", || admins(&daemon) == ["ada@example.com", "bob@example.com"]);
    daemon.stop();
    for name in ["state/mirror.db-wal", "state/mirror.db-shm"] {
        let _ = std::fs::remove_file(daemon.path(name));
    }
    std::fs::write(daemon.path("state/mirror.db"), "this is no database at all".repeat(1_000)).unwrap();
    let (code, _, err) =
        run(&daemon, &["import", &sample("company.csv"), "--directory", &directory.id, "--yes"]);
    assert_eq!(code, Some(65), "{err}");
}

/// So many people, all of them database admins.
fn crowd(range: std::ops::Range<u32>) -> String {
    let mut text = "userName,externalId,groups\n".to_owned();
    for n in range {
        text.push_str(&format!("user{n}@example.com,x{n},Database Admins\n"));
    }
    text
}

#[test]
fn a_targets_file_only_grows_while_people_are_moved_in() {
    let (daemon, directory) = start();
    import(&daemon, &directory, &write(&daemon, "few.csv", &crowd(0..20)), &[]);
    wait_until("the first are in", || admins(&daemon).len() == 20);

    let (path, stop) = (daemon.path("out/access.json"), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !ended.load(Ordering::SeqCst) {
            let text = std::fs::read_to_string(&path).unwrap();
            seen.push(text.matches("@example.com").count());
        }
        seen
    });
    let done = import(&daemon, &directory, &write(&daemon, "more.csv", &crowd(0..600)), &[]);
    assert_eq!((&done["create"]["users"], &done["leave"]["users"]), (&json!(580), &json!(20)));
    assert_eq!((&done["update"]["groups"], &done["memberships"]["add"]), (&json!(1), &json!(580)));
    wait_until("all are in", || admins(&daemon).len() == 600);
    stop.store(true, Ordering::SeqCst);
    let seen = watcher.join().unwrap();
    assert!(seen.is_sorted(), "a reader saw the file with {seen:?} names");
    let ends = (seen.first(), seen.last());
    assert!(ends.0 < ends.1, "a reader saw the file with {seen:?} names");
}

#[test]
fn the_guard_holds_what_replace_takes_away() {
    let (daemon, directory) = start();
    import(&daemon, &directory, &write(&daemon, "all.csv", &crowd(0..40)), &[]);
    wait_until("all are in", || admins(&daemon).len() == 40);
    // Without --replace who is not named stays.
    let half = write(&daemon, "half.csv", &crowd(0..20));
    let done = import(&daemon, &directory, &half, &[]);
    assert_eq!((&done["changes"], &done["applied"]), (&json!(0), &json!(false)));

    let done = import(&daemon, &directory, &half, &["--replace"]);
    assert_eq!((&done["deactivate"]["users"], &done["memberships"]["remove"]), (&json!(20), &json!(20)));
    assert_eq!(done["done"]["deactivated"], json!(20));
    wait_for("the guard holds", || (daemon.target("file")["held_removals"] == json!(40)).then_some(()));
    assert_eq!(admins(&daemon).len(), 40, "nobody lost anything");
    assert_eq!(users(&daemon).iter().filter(|user| user["active"] == false).count(), 20);
    let (code, _, err) = run(&daemon, &["approve", "file", "--yes"]);
    assert_eq!(code, Some(0), "{err}");
    wait_until("they are out", || admins(&daemon).len() == 20);
    // Run again it changes nothing.
    let again = import(&daemon, &directory, &half, &["--replace"]);
    assert_eq!(again["changes"], json!(0), "{again}");
}

#[test]
fn replace_deletes_groups_that_are_not_named_but_no_type_the_file_is_silent_on() {
    let (daemon, directory) = start();
    import(&daemon, &directory, &sample("company.jsonl"), &[]);
    let only_users = write(&daemon, "users.jsonl", "{\"userName\":\"ada@example.com\"}\n");
    let plan =
        daemon.cli_json(&["import", &only_users, "--directory", &directory.id, "--replace", "--dry-run"]);
    assert_eq!((&plan["deactivate"]["users"], &plan["delete"]["groups"]), (&json!(1), &json!(0)), "{plan}");
    let one_group = write(&daemon, "group.jsonl", "{\"displayName\":\"On Call\",\"members\":[]}\n");
    let done = import(&daemon, &directory, &one_group, &["--replace"]);
    assert_eq!((&done["delete"]["groups"], &done["memberships"]["remove"]), (&json!(1), &json!(2)), "{done}");
    let groups = daemon.cli_json(&["group", "list"]);
    assert_eq!(groups["groups"].as_array().unwrap().len(), 1, "{groups}");
}

#[test]
fn who_is_there_already_is_found_and_keeps_what_the_file_does_not_say() {
    let (daemon, directory) = start();
    let mut scim = daemon.scim(&directory);
    let ada = scim.create_user("ada@example.com");
    scim.create_user("bob@example.com");
    scim.create_group("Database Admins", &[&ada]);
    let file = write(
        &daemon,
        "some.jsonl",
        "{\"externalId\":\"x-ada@example.com\",\"userName\":\"ada.l@example.com\",\"title\":\"Countess\"}\n\
         {\"displayName\":\"Database Admins\",\"members\":[{\"value\":\"bob@example.com\"}]}\n",
    );
    let done = import(&daemon, &directory, &file, &[]);
    let steps = done["steps"].as_array().unwrap();
    assert_eq!(steps[0]["id"], json!(ada), "{done}");
    assert_eq!(steps[0]["attributes"], json!(["title", "userName"]), "{done}");
    assert_eq!(
        (&steps[1]["act"], &steps[1]["join"], &steps[1]["leave"]),
        (&json!("update"), &json!(1), &json!(0))
    );
    let text = shown(&daemon, "ada.l@example.com").to_string();
    assert!(text.contains("Countess") && text.contains("\"type\":\"work\""), "{text}");
    settle(&daemon);
    wait_until("both are in", || admins(&daemon) == ["ada.l@example.com", "bob@example.com"]);
    // null takes an attribute away.
    let file = write(&daemon, "null.jsonl", "{\"userName\":\"ada.l@example.com\",\"title\":null}\n");
    let done = import(&daemon, &directory, &file, &[]);
    assert_eq!(done["steps"][0]["attributes"], json!(["title"]), "{done}");
    // One by externalId and another by userName is nobody.
    let file = write(
        &daemon,
        "two.jsonl",
        "{\"externalId\":\"x-ada@example.com\",\"userName\":\"bob@example.com\"}\n",
    );
    let (code, _, err) = run(&daemon, &["import", &file, "--directory", &directory.id, "--yes"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("line 1, userName: its externalId is that of user"), "{err}");
}

#[test]
fn hostile_files_are_refused_or_taken_but_break_nothing() {
    let (daemon, directory) = start();
    let deep =
        format!("{{\"userName\":\"a@example.com\",\"x\":{}{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    let cycle = "{\"displayName\":\"A\",\"members\":[{\"value\":\"B\"}]}\n\
        {\"displayName\":\"B\",\"members\":[{\"value\":\"C\"}]}\n{\"displayName\":\"C\",\"members\":[{\"value\":\"A\"}]}\n";
    let long = format!("{{\"userName\":\"{}\"}}\n", "a".repeat(10 << 20));
    let cases: [(&str, &[u8], &str); 6] = [
        ("deep.jsonl", deep.as_bytes(), "line 1"),
        ("deep.json", deep.as_bytes(), "line 1"),
        ("long.jsonl", long.as_bytes(), "line 1: the record is larger than 2 MiB"),
        (
            "nul.jsonl",
            b"{\"userName\":\"a\\u0000b\"}\n",
            "line 1: attribute `userName` holds the character U+0000",
        ),
        ("nul.csv", b"userName\na\0b\n", "line 2, userName: the cell holds the character U+0000"),
        ("latin1.csv", b"userName,name\nada,S\xf8ren\n", "line 2: this is not UTF-8"),
    ];
    for (name, bytes, told) in cases {
        let path = daemon.path(name);
        std::fs::write(&path, bytes).unwrap();
        let path = path.display().to_string();
        let (code, _, err) = run(&daemon, &["import", &path, "--directory", &directory.id, "--yes"]);
        assert_eq!(code, Some(1), "{name}: {err}");
        assert!(
            err.contains(told),
            "{name}: {told} is not in {}",
            err.chars().take(2_000).collect::<String>()
        );
    }
    let done = import(&daemon, &directory, &write(&daemon, "cycle.jsonl", cycle), &[]);
    assert_eq!((&done["done"]["created"], &done["memberships"]["add"]), (&json!(3), &json!(3)), "{done}");
    let again = import(&daemon, &directory, &daemon.path("cycle.jsonl").display().to_string(), &[]);
    assert_eq!(again["changes"], json!(0), "{again}");
    let formula = write(&daemon, "formula.csv", "userName,name\neve@example.com,\"=HYPERLINK(\"\"x\"\")\"\n");
    let done = import(&daemon, &directory, &formula, &[]);
    assert!(done["notes"][0].as_str().unwrap().contains("line 2, `name`: looks like a formula"), "{done}");
    // DNs that lead nowhere or to each other.
    let loops = "dn: cn=A,dc=x\nobjectClass: groupOfNames\ncn: LA\nmember: cn=B,dc=x\nmember: cn=A,dc=x\n\n\
        dn: cn=B,dc=x\nobjectClass: groupOfNames\ncn: LB\nmember: CN=a , DC=x\nmember: cn=gone,dc=x\n";
    let loops = write(&daemon, "loops.ldif", loops);
    let (code, _, err) = run(&daemon, &["import", &loops, "--directory", &directory.id, "--yes"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("member `cn=gone,dc=x` is nobody"), "{err}");
    let done = import(&daemon, &directory, &loops, &["--skip-unknown"]);
    assert_eq!((&done["create"]["groups"], &done["memberships"]["add"]), (&json!(2), &json!(2)), "{done}");
    assert_eq!(daemon.cli_json(&["verify"])["ok"], true);
}

#[test]
fn a_large_group_goes_over_the_socket_in_parts() {
    let (daemon, directory) = start();
    let mut text = String::new();
    let members: Vec<Value> = (0..6_000).map(|n| json!({ "value": format!("user{n}") })).collect();
    for n in 0..6_000 {
        text.push_str(&format!("{{\"userName\":\"user{n}\"}}\n"));
    }
    text.push_str(&json!({ "displayName": "Everybody", "members": members }).to_string());
    let done = import(&daemon, &directory, &write(&daemon, "large.jsonl", &text), &[]);
    assert_eq!((&done["done"]["created"], &done["memberships"]["add"]), (&json!(6_001), &json!(6_000)));
    let group = daemon.cli_json(&["group", "list"]);
    assert_eq!(group["groups"][0]["members_count"], json!(6_000), "{group}");
}

/// A daemon's socket that answers the command after a while: `ready` says when.
fn slow_daemon(answer: &'static str, mut ready: impl FnMut() -> bool + Send + 'static) -> tempfile::TempDir {
    use std::io::{Read as _, Write as _};
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    std::fs::write(dir.path().join("rosterd.toml"), "[admin]\nsocket = \"admin.sock\"\n").unwrap();
    std::thread::spawn(move || {
        loop {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut read = vec![0; 4096];
            if stream.read(&mut read).unwrap_or(0) > 0 {
                wait_until("the answer is wanted", &mut ready);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                stream.write_all(format!("{head}{answer}").as_bytes()).unwrap();
                return;
            }
        }
    });
    dir
}

const VERIFIED: &str = r#"{"ok":true,"changes":7,"problems":[],"targets":[]}"#;

/// Runs `rosterd verify` on a terminal and gives what the terminal saw.
fn on_a_terminal(
    more: &str,
    ready: impl FnMut(&str) -> bool + Send + 'static,
    environment: (&str, &str),
) -> String {
    let seen = tempfile::NamedTempFile::new().unwrap();
    let path = seen.path().to_owned();
    let mut ready = ready;
    let dir = slow_daemon(VERIFIED, move || ready(&std::fs::read_to_string(&path).unwrap_or_default()));
    let config = dir.path().join("rosterd.toml");
    let command = format!("{BINARY} verify {more} --config {}", config.display());
    let status = std::process::Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &command])
        .arg(seen.path())
        .env("TERM", "xterm")
        .env(environment.0, environment.1)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read_to_string(seen.path()).unwrap()
}

/// Says yes once the command has been waiting longer than it would be silent.
fn after_a_while() -> impl FnMut() -> bool + Send {
    let began = std::time::Instant::now();
    move || began.elapsed() > std::time::Duration::from_millis(1_800)
}

#[test]
fn progress_is_shown_on_a_terminal_only_and_not_when_quiet() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "`script` is missing");
        println!("skipped: there is no `script`");
        return;
    }
    // The answer comes once the terminal shows that somebody waits for it; else the test would wait in vain.
    let seen = on_a_terminal("", |text| text.contains("Verifying"), ("NO_COLOR", "1"));
    assert!(seen.contains("Verified: 7 changes"), "{seen}");
    assert!(!seen.contains("\u{1b}[3"), "no colour was wanted: {seen:?}");
    let mut late = after_a_while();
    let quiet = on_a_terminal("--quiet", move |_| late(), ("NO_COLOR", "1"));
    assert!(quiet.contains("Verified") && !quiet.contains("Verifying"), "{quiet:?}");
    let mut late = after_a_while();
    let dumb = on_a_terminal("", move |_| late(), ("TERM", "dumb"));
    assert!(!dumb.contains("Verifying"), "{dumb:?}");

    let dir = slow_daemon(VERIFIED, after_a_while());
    let out = std::process::Command::new(BINARY)
        .args(["verify", "--config"])
        .arg(dir.path().join("rosterd.toml"))
        .output()
        .unwrap();
    assert!(out.status.success());
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "a pipe hears nothing of it");
}
