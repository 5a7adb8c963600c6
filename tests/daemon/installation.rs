//! `doctor`, `completions`, `man`: what an operator has besides the daemon.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;

const TARGET: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n\
    [[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/out/file.json\"\n";

fn levels(report: &Value, code: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|one| one["code"] == code);
    checks.map(|one| one["level"].as_str().unwrap().to_owned()).collect()
}

fn doctor(daemon: &Daemon, args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["doctor", "--json"];
    all.extend(args);
    let out = daemon.cli(&all);
    let report = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code(), report)
}

#[test]
fn a_sound_installation_has_nothing_failing_and_each_fault_its_code() {
    use std::os::unix::fs::PermissionsExt as _;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = Daemon::prepare(TARGET);
    std::fs::create_dir_all(daemon.path("out")).unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("out", 0o755);
    mode("state", 0o700);
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let alice = scim.create_user("alice@example.com");
    scim.create_group("Crew", &[&alice]);
    let (code, report) = doctor(&daemon, &["--deep"]);
    let failing: Vec<&Value> =
        report["checks"].as_array().unwrap().iter().filter(|one| one["level"] == "fail").collect();
    assert_eq!((code, failing), (Some(0), Vec::new()), "{report}");
    for code in
        ["D001", "D002", "D003", "D004", "D005", "D006", "D008", "D009", "D011", "D012", "D014", "D015"]
    {
        assert_eq!(levels(&report, code), ["ok"], "{code}: {report}");
    }

    // One fault after the other, each under its own code.
    std::fs::set_permissions(daemon.path("out"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (code, report) = doctor(&daemon, &["--offline"]);
    assert_eq!((code, levels(&report, "D011")), (Some(1), vec!["fail".to_owned()]));
    std::fs::set_permissions(daemon.path("out"), std::fs::Permissions::from_mode(0o755)).unwrap();
    daemon.write_config(&format!(
        "{TARGET}[[target]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://{dead}/\"\nsecret_file = \"secret\"\nevents = [\"access.*\"]\n"
    ));
    let secret = daemon.path("secret");
    std::fs::write(&secret, crate::support::receiver::SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, report) = doctor(&daemon, &[]);
    assert_eq!(
        (code, levels(&report, "D016"), levels(&report, "D003")),
        (Some(1), vec!["fail".into()], vec!["ok".into()])
    );
    assert_eq!(levels(&doctor(&daemon, &["--offline"]).1, "D016"), Vec::<String>::new());
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(doctor(&daemon, &["--offline"]).0, Some(1), "a secret everybody may read");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.stop();
    let (code, report) = doctor(&daemon, &["--offline"]);
    assert_eq!((code, levels(&report, "D012")), (Some(1), vec!["fail".to_owned()]));
    std::fs::write(daemon.path("state/mirror.db"), vec![7_u8; 9000]).unwrap();
    let (code, report) = doctor(&daemon, &["--offline"]);
    assert_eq!((code, levels(&report, "D005")), (Some(1), vec!["fail".to_owned()]));
}

#[test]
fn the_page_of_doctor_has_every_code_and_no_other() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md")).unwrap();
    let told: Vec<(String, String)> = page
        .lines()
        .filter(|line| line.starts_with("| D0"))
        .map(|line| {
            let mut cells = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned());
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let codes: Vec<(String, String)> =
        rosterd::daemon::doctor::CODES.iter().map(|(code, what)| ((*code).into(), (*what).into())).collect();
    assert_eq!(told, codes);
}

/// Gives `text` to a program that is there; a missing one is a failure where CI is set.
fn feed(program: &str, args: &[&str], text: &[u8]) -> Option<(bool, String)> {
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        assert!(std::env::var_os("CI").is_none(), "{program} is not there");
        println!("skipped: {program} is not there");
        return None;
    };
    child.stdin.take().unwrap().write_all(text).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    Some((out.status.success(), said))
}

fn printed(args: &[&str]) -> Vec<u8> {
    let out = Command::new(crate::support::daemon::BINARY).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn completions_are_what_the_shells_can_read() {
    for (shell, program) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let text = printed(&["completions", shell]);
        assert!(String::from_utf8_lossy(&text).contains("rebaseline"), "{shell}: every command");
        if let Some((fine, said)) = feed(program, &["-n"], &text) {
            assert!(fine, "{shell}: {said}");
        }
    }
    assert!(!printed(&["completions", "powershell"]).is_empty());
    assert!(!printed(&["completions", "elvish"]).is_empty());
    let wrong = Command::new(crate::support::daemon::BINARY).args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}

#[test]
fn the_manual_page_renders_and_has_every_command() {
    let page = printed(&["man"]);
    let text = String::from_utf8_lossy(&page).into_owned();
    for part in ["ROSTERD DIRECTORY REBASELINE", "ROSTERD BACKUP", "EXIT STATUS"] {
        assert!(text.contains(part), "{part}");
    }
    if let Some((fine, said)) = feed("groff", &["-man", "-Tutf8", "-ww", "-z"], &page) {
        assert!(fine && said.is_empty(), "{said}");
    }
}
