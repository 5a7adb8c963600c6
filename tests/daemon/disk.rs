//! A full disk: writes are refused with a way back, reads go on, nothing is half-written, and room heals it.

use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::http::Client;
use crate::support::wait_until;

fn mount(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
}

/// Unmounts at the end, also of a failed test.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_503_not_ready_and_heals_by_itself() {
    let mut daemon = Daemon::prepare("");
    let state = daemon.path("state");
    let path = state.to_str().unwrap().to_owned();
    if !mount(&["-t", "tmpfs", "-o", "size=12m", "tmpfs", &path]) {
        assert!(std::env::var_os("CI").is_none(), "a small file system cannot be mounted; run as root");
        println!("SKIP: mounting a small file system needs root");
        return;
    }
    let _mounted = Mounted(state);
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let mut answered = 0;
    let full = loop {
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("u{answered}@example.com"), "title": "x".repeat(4_000)});
        let answer = scim.send("POST", "/Users", Some(&body));
        if answer.status != 201 {
            break answer;
        }
        answered += 1;
        assert!(answered < 10_000, "the disk never filled");
    };
    assert_eq!(full.status, 503, "{}", full.text());
    assert!(full.header("Retry-After").is_some());
    assert_eq!(full.json()["status"], "503");
    assert!(daemon.log().contains("full"), "the log names the cause");
    let ready = || Client::new(daemon.address).send("GET", "/readyz", &[], None).unwrap().status;
    wait_until("it says that it is not ready", || ready() == 503);
    let listed = scim.get("/Users?count=1").expect(200).json();
    assert_eq!(listed["totalResults"], answered, "every answered write is there and no other");
    assert!(mount(&["-o", "remount,size=60m", &path]));
    wait_until("it is ready again", || ready() == 200);
    scim.create_user("healed@example.com");
    assert!(daemon.cli(&["verify"]).status.success());
}
