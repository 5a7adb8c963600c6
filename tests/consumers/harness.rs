//! What every reader's test shares: finding the reader, a daemon with one target, and the story that each is told.
#![allow(dead_code, reason = "a reader's test takes what it needs")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::names;
use crate::support::daemon::{Daemon, Scim};
use crate::support::{wait_for, wait_until};

pub const ALICE: &str = "alice@example.com";
pub const BOB: &str = "bob@example.com";
pub const RENAMED: &str = "alice.smith@example.com";
pub const ROLE: &str = "admin";

/// Where a program is, or a skip: printed on a laptop, a failure where `CI` is set.
pub fn found<T>(what: &str, install: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{what} is not here; {install}");
        eprintln!("SKIP: {what} is not here; {install}");
    }
    found
}

/// A program on the path, or in the folders that only root's path has.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    self::found(name, "tests/run installs it", found)
}

/// The Python of `target/venv`, if it has these modules.
pub struct Python(PathBuf);

impl Python {
    pub fn with(modules: &[&str]) -> Option<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
        let script = format!("import {}", modules.join(", "));
        let is_here = Command::new(&path)
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let install = "tests/run makes target/venv from tests/consumers/requirements.txt";
        found(&format!("Python with {}", modules.join(", ")), install, is_here.then_some(Self(path)))
    }

    /// A command of its modules: `python -m MODULE`.
    pub fn module(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-I", "-m", name]);
        command
    }

    /// Runs a script on standard input `input` and gives what it printed, which must be JSON.
    pub fn ask(&self, script: &str, input: &Value) -> Value {
        let mut child = Command::new(&self.0)
            .args(["-I", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "the reader failed: {}\n{}",
            String::from_utf8_lossy(&out.stderr),
            String::from_utf8_lossy(&out.stdout)
        );
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stdout)))
    }
}

/// A daemon with one role from the group `sre` and one file target, ready for a story.
pub struct Stage {
    pub daemon: Daemon,
    pub scim: Scim,
    pub file: PathBuf,
    /// Names that this reader cannot be asked about.
    pub cannot_ask: fn(&str) -> bool,
}

impl Stage {
    /// `target` is what the `[[target]]` has besides name, type and path.
    pub fn start(target: &str) -> Self {
        let mut daemon = Daemon::prepare(&format!(
            "[[role]]\nname = \"{ROLE}\"\ngroups = [\"sre\"]\n[[target]]\nname = \"reader\"\ntype = \"file\"\n\
             path = \"{{dir}}/out/policy\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{target}\n"
        ));
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "generic");
        let scim = daemon.scim(&directory);
        let file = daemon.path("out/policy");
        Self { daemon, scim, file, cannot_ask: |_| false }
    }

    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// Waits until the file is another than `before`, and gives it.
    pub fn changed(&self, what: &str, before: &[u8]) -> Vec<u8> {
        wait_for(what, || Some(self.bytes()).filter(|now| now != before && !now.is_empty()))
    }

    /// Waits until the target has caught up with everything pushed so far.
    pub fn settled(&self) {
        wait_until("the target has caught up", || {
            let status = self.daemon.cli_json(&["status"]);
            let target = &status["targets"][0];
            target["applied_seq"] == status["seq"]
        });
    }
}

/// What a reader says: for each name, whether it is let in by the role.
pub type Verdicts<'a> = &'a dyn Fn(&[u8], &[&str]) -> Vec<bool>;

/// Tells the story: alice is in the group, bob is not. After each change the reader is asked about every name.
///
/// `verdicts` gives the reader's answers from a file's bytes; it is never asked about a file that is being written,
/// because there is none.
pub fn story(mut stage: Stage, verdicts: Verdicts<'_>) {
    let ask = |bytes: &[u8]| {
        let answers = verdicts(bytes, &[ALICE, BOB, RENAMED]);
        (answers[0], answers[1], answers[2])
    };
    let alice = stage.scim.create_user(ALICE);
    stage.scim.create_user(BOB);
    let group = stage.scim.create_group("sre", &[&alice]);
    wait_for("alice is let in and bob is not", || {
        (ask(&filled(&stage)?) == (true, false, false)).then_some(())
    });

    rename(&mut stage, &alice, RENAMED);
    let mut seen = Vec::new();
    wait_until("only the new name is let in", || {
        let now = filled(&stage).map(|bytes| ask(&bytes)).unwrap();
        seen.push(now);
        now == (false, false, true)
    });
    // One write: never both names, never neither.
    assert!(seen.iter().all(|now| matches!(now, (true, false, false) | (false, false, true))), "{seen:?}");
    rename(&mut stage, &alice, ALICE);
    wait_until("the old name again", || ask(&stage.bytes()) == (true, false, false));

    let carol = stage.scim.create_user("carol@example.com");
    stage.scim.add_member(&group, &carol);
    wait_until("carol too", || verdicts(&stage.bytes(), &["carol@example.com"]) == [true]);
    let began = Instant::now();
    stage.scim.remove_member(&group, &alice);
    wait_until("alice is refused", || ask(&stage.bytes()) == (false, false, false));
    println!("refused {} ms after the removal was sent", began.elapsed().as_millis());
    assert_eq!(verdicts(&stage.bytes(), &["carol@example.com"]), [true], "carol stays");

    stage.scim.set_active(&carol, false);
    wait_until("nobody is let in", || {
        verdicts(&stage.bytes(), &["carol@example.com", ALICE, BOB]) == [false, false, false]
    });
    bite(stage, &group, &alice, verdicts);
}

/// Every dangerous name joins the group, and a group of each such name gets bob: nobody else's answer changes.
fn bite(mut stage: Stage, group: &str, alice: &str, verdicts: Verdicts<'_>) {
    stage.scim.add_member(group, alice);
    wait_until("alice is back", || verdicts(&stage.bytes(), &[ALICE, BOB]) == [true, false]);
    let bob = find_user(&mut stage, BOB);
    let strangers = [ALICE, BOB, "root", "mallory", "everybody", "x", "a", "y", "bob", "smith"];
    let all = names::all();
    let mut joined: Vec<(&str, String)> = Vec::new();
    for name in all.iter().map(String::as_str) {
        // The server may refuse a name, or have it already in other letters; what it takes has to be harmless.
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "active": true,
            "emails": [{"value": name, "primary": true}]});
        let made = stage.scim.send("POST", "/Users", Some(&body));
        if made.status == 201 && name != "root" {
            let id = made.json()["id"].as_str().unwrap().to_owned();
            stage.scim.add_member(group, &id);
            joined.push((name, id));
        }
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name,
            "externalId": format!("x-{}", name.escape_unicode()), "members": [{"value": bob}]});
        let made = stage.scim.send("POST", "/Groups", Some(&body));
        assert!(matches!(made.status, 201 | 400), "{name:?}: {}", made.text());
    }
    stage.settled();
    let answers = verdicts(&stage.bytes(), &strangers);
    for (name, lets_in) in strangers.iter().zip(answers) {
        if joined.iter().any(|(joined, _)| joined == name) {
            continue;
        }
        assert_eq!(
            lets_in,
            *name == ALICE,
            "{name} after every dangerous name\n{}",
            stage.daemon.target("reader")
        );
    }
    in_or_reported(&stage, &joined, verdicts);
    // And the target still follows.
    stage.scim.remove_member(group, alice);
    let deadline = Instant::now() + Duration::from_secs(20);
    while verdicts(&stage.bytes(), &[ALICE]) != [false] {
        assert!(Instant::now() < deadline, "alice is still let in: {}", stage.daemon.target("reader"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whoever has a name that bites is let in by that name, or is reported as left out; nobody silently.
fn in_or_reported(stage: &Stage, joined: &[(&str, String)], verdicts: Verdicts<'_>) {
    let told = stage.daemon.target("reader")["problems"].to_string();
    let joined: Vec<&(&str, String)> = joined.iter().filter(|(name, _)| !(stage.cannot_ask)(name)).collect();
    assert!(joined.len() > 20, "only {} names can be asked about", joined.len());
    let names: Vec<&str> = joined.iter().map(|(name, _)| *name).collect();
    let answers = verdicts(&stage.bytes(), &names);
    for ((name, id), lets_in) in joined.iter().zip(&answers) {
        assert_eq!(*lets_in, !told.contains(id.as_str()), "{name:?} ({id}): {told}");
    }
    assert!(answers.contains(&true), "no dangerous name got in, so none was tried");
}

fn filled(stage: &Stage) -> Option<Vec<u8>> {
    Some(stage.bytes()).filter(|bytes| !bytes.is_empty())
}

fn rename(stage: &mut Stage, user: &str, name: &str) {
    let done = stage.scim.patch(
        &format!("/Users/{user}"),
        serde_json::json!([{"op": "replace", "value": {"userName": name}},
            {"op": "replace", "path": "emails", "value": [{"value": name, "primary": true}]}]),
    );
    assert!((200..300).contains(&done.status), "{}", done.text());
}

fn find_user(stage: &mut Stage, name: &str) -> String {
    let found = stage.scim.get(&format!("/Users?filter=userName%20eq%20%22{name}%22")).expect(200).json();
    found["Resources"][0]["id"].as_str().unwrap().to_owned()
}
