//! The installer from outside: the real binary as root with hardly a right, a daemon with none, other users, configs
//! that others can write. What a daemon that was taken over may ask for is tried beside the code
//! (`daemon::installer::attack_tests`).

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::daemon::{BINARY, Daemon, NOBODYS_UID};
use crate::support::installer::{RootPlace, owned};
use crate::support::{edit, wait_until};

const ROLE: &str = "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n";

/// Whether the tests run as root, as CI does; otherwise a printed skip.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "{test} needs root");
    if !is_root {
        println!("SKIP {test}: it needs root");
    }
    is_root
}

fn target(place: &RootPlace) -> String {
    let path = place.path("principals/deploy");
    format!(
        "{}{ROLE}[[target]]\nname = \"ssh\"\ntype = \"file\"\nformat = \"ssh-principals\"\npath = \"{}\"\nvia = \"installer\"\n\
         options = {{ roles = [\"crew\"] }}\n",
        place.daemon_section(),
        path.display()
    )
}

const SSH: &str = "[[target]]\nname = \"ssh\"\ntype = \"file\"\npath = \"{place}/principals/deploy\"\nformat = \"ssh-principals\"\n\
    bounds = { names = [\"*@example.com\"], deny = [\"mallory@example.com\"] }\n";

fn said(out: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn a_daemon_without_rights_keeps_a_file_of_root_true() {
    if !is_root("a_daemon_without_rights_keeps_a_file_of_root_true") {
        return;
    }
    let mut place = RootPlace::new();
    place.folder("principals");
    let file = place.path("principals/deploy");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let mut daemon = Daemon::prepare(&target(&place));
    daemon.unprivileged();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let (alice, bob) = (scim.create_user("alice@example.com"), scim.create_user("bob@example.com"));
    let crew = scim.create_group("Crew", &[&alice]);
    // Nobody installs yet, and the operator is told what to do about it.
    wait_until("the target says what is missing", || {
        daemon.target("ssh")["last_error"]
            .as_str()
            .is_some_and(|why| why.contains("systemctl enable --now rosterd-install.socket"))
    });
    let folders = |daemon: &Daemon| {
        let report = daemon.cli(&["doctor", "--json"]).stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let one = report["checks"].as_array().unwrap().iter().find(|one| one["code"] == "D011").cloned();
        one.unwrap()["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(folders(&daemon), "fail");
    place.start(SSH);
    assert_eq!(folders(&daemon), "ok", "the folder is root's, and nothing is wrong with that");
    assert!(daemon.cli(&["sync"]).status.success(), "{}", daemon.log());
    assert_eq!(read(), "alice@example.com\n");
    assert_eq!(owned(&file), (0, 0, 0o644));
    scim.add_member(&crew, &bob);
    wait_until("bob is in", || read() == "alice@example.com\nbob@example.com\n");

    // By hand, as root: drift, seen in a folder that the daemon cannot write to, and repaired.
    edit(&file, "eve@example.com\n");
    wait_until("it is repaired", || read() == "alice@example.com\nbob@example.com\n");

    // Somebody that root's bounds keep out cannot keep those in who must go.
    let mallory = scim.create_user("mallory@example.com");
    scim.add_member(&crew, &mallory);
    wait_until("the target says why", || {
        daemon.target("ssh")["last_error"].as_str().is_some_and(|why| why.contains("it is in `deny`"))
    });
    scim.remove_member(&crew, &bob);
    wait_until("bob is out all the same", || read() == "alice@example.com\n");
    scim.remove_member(&crew, &mallory);
    wait_until("it is in sync again", || daemon.target("ssh")["state"] == "in_sync");
    let folder = file.parent().unwrap();
    wait_until("the swap is settled", || crate::support::daemon::leftovers(folder).is_empty());
}

#[test]
fn another_user_is_refused_by_the_mode_and_by_the_kernels_word() {
    if !is_root("another_user_is_refused_by_the_mode_and_by_the_kernels_word") {
        return;
    }
    let mut place = RootPlace::new();
    place.folder("principals");
    place.start(SSH);
    assert_eq!(owned(&place.socket()), (0, NOBODYS_UID, 0o660));
    // Root can open the socket and is still not whom the installer answers.
    let mut text = String::new();
    UnixStream::connect(place.socket()).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("user 0 may not ask"), "{text}");
    let connect = |uid: u32, gid: u32| {
        let script =
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(4096))";
        let socket = place.socket();
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(socket).uid(uid).gid(gid).stdin(Stdio::null());
        said(&python.output().unwrap())
    };
    assert!(connect(61_998, 61_998).contains("Permission denied"));
    assert!(connect(61_998, NOBODYS_UID).contains("user 61998 may not ask"));
    assert!(connect(NOBODYS_UID, NOBODYS_UID).contains("session"));
}

#[test]
fn a_config_that_others_can_write_or_that_is_wrong_ends_with_78() {
    if !is_root("a_config_that_others_can_write_or_that_is_wrong_ends_with_78") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let place = RootPlace::new();
    place.write_config(SSH);
    let check = |arguments: &[&str]| {
        let out = place.run(arguments);
        (out.status.code(), said(&out))
    };
    assert_eq!(check(&["--check"]).0, Some(0));
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&place.config(), 0o646);
    for arguments in [[].as_slice(), &["--check"]] {
        let (code, text) = check(arguments);
        assert!(code == Some(78) && text.contains("can be written by others than root"), "{code:?} {text}");
    }
    mode(&place.config(), 0o644);
    std::os::unix::fs::chown(place.config(), Some(NOBODYS_UID), None).unwrap();
    let (code, text) = check(&[]);
    assert!(code == Some(78) && text.contains("chown root:root"), "{code:?} {text}");
    std::os::unix::fs::chown(place.config(), Some(0), None).unwrap();
    mode(&place.path(""), 0o777);
    assert_eq!(check(&[]).0, Some(78));
    mode(&place.path(""), 0o755);
    place.write_config(&SSH.replace("format =", "fromat ="));
    let (code, text) = check(&[]);
    assert!(code == Some(78) && text.contains("did you mean `format`?"), "{code:?} {text}");
    std::fs::remove_file(place.config()).unwrap();
    assert_eq!(check(&[]).0, Some(66));
}

#[test]
fn it_runs_as_root_or_not_at_all() {
    if !is_root("it_runs_as_root_or_not_at_all") {
        return;
    }
    let place = RootPlace::new();
    place.write_config(SSH);
    std::fs::set_permissions(place.config(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["installer", "--config"]).arg(place.config()).uid(NOBODYS_UID).gid(NOBODYS_UID);
    let out = command.stdin(Stdio::null()).output();
    // Where the build folder is closed to others there is nothing to run.
    let Ok(out) = out else { return };
    assert_eq!(out.status.code(), Some(77), "{}", said(&out));
}

#[test]
fn systemd_passes_the_socket_and_an_idle_installer_ends() {
    if !is_root("systemd_passes_the_socket_and_an_idle_installer_ends") {
        return;
    }
    let place = RootPlace::new();
    place.folder("principals");
    place.write_config(&SSH.replacen("[[target]]", "idle = \"1s\"\n[[target]]", 1));
    let socket = place.path("passed.sock");
    let activate = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&socket)
        .args([BINARY, "installer", "--config"])
        .arg(place.config())
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(place.path("activate.log")).unwrap())
        .spawn();
    let Ok(mut process) = activate else {
        assert!(std::env::var_os("CI").is_none(), "systemd-socket-activate is missing; install systemd");
        println!("SKIP: systemd-socket-activate is missing");
        return;
    };
    let mut text = String::new();
    wait_until("it greets", || {
        UnixStream::connect(&socket).is_ok_and(|mut stream| stream.read_to_string(&mut text).is_ok())
    });
    assert!(text.contains("may not ask"), "{text}");
    let mut status = None;
    wait_until("it ends when nobody asks", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn check_says_when_a_target_needs_the_installer() {
    if !is_root("check_says_when_a_target_needs_the_installer") {
        return;
    }
    let place = RootPlace::new();
    let folder = place.folder("principals");
    let config = target(&place);
    let daemon = Daemon::prepare(&config.replace("via = \"installer\"\n", ""));
    std::os::unix::fs::chown(daemon.path("state"), Some(NOBODYS_UID), Some(NOBODYS_UID)).unwrap();
    let check = || {
        let out = daemon.cli(&["check"]);
        (out.status.code(), said(&out))
    };
    let (code, text) = check();
    assert_eq!(code, Some(0), "{text}");
    let wanted = format!("user {NOBODYS_UID} may not write to `{}`", folder.display());
    assert!(text.contains(&wanted) && text.contains("set `via = \"installer\"`"), "{text}");
    daemon.write_config(&config);
    assert!(!check().1.contains("may not write"));
    daemon.write_config(&format!("{config}mode = \"0640\"\n"));
    let (code, text) = check();
    assert!(code == Some(78) && text.contains("/etc/rosterd/installer.toml"), "{text}");
}

#[test]
fn the_examples_of_root_are_valid() {
    if !is_root("the_examples_of_root_are_valid") {
        return;
    }
    let place = RootPlace::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/installer");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        // This machine has no such user.
        std::fs::write(place.config(), text.replace("\"rosterd\"", "\"61999\"")).unwrap();
        let out = place.run(&["--check"]);
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        count += 1;
    }
    assert!(count >= 3);
}
