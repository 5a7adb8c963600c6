//! What the root process does when it is asked for what it is there for; and the place that all its tests share.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Shared;
use crate::downstream::command::Argv;
use crate::downstream::file::{self, Applied, Digest, Expect, FileSpec, OnDisk, Removed, Via};
use crate::downstream::format::{self, Options};
use crate::downstream::installer::bounds::Bounds;
use crate::downstream::installer::client::Installer;
use crate::downstream::installer::member::{Names, Pattern};
use crate::downstream::installer::settings::{Account, Place as Where, Settings, Target};
use crate::downstream::installer::wire::{self, Answer, Ask, Greeting, Line, Request, VERSION};
use crate::model::TargetName;

pub(super) const RULE: &str = "ALL=(root) NOPASSWD: /bin/true";

/// A sudoers file with one person.
pub(super) fn sudoers(user: &str) -> String {
    let (first, rest) = user.split_at(1);
    let escaped = format!("\\x{:02x}{rest}", first.as_bytes()[0]);
    format!(
        "# Written by rosterd; changes here are undone.\nUser_Alias ROSTERD_OPS = {escaped}\nROSTERD_OPS {RULE}\n"
    )
}

/// Waits for a condition, at most 20 seconds.
pub(super) fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An installer of this process with a file target and a tree. It serves from the first request on, so that a test
/// may change its settings before.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) settings: Settings,
    served: OnceLock<PathBuf>,
    generation: u32,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        for folder in ["sudoers.d", "principals", "state"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(dir.path().join(folder), mode).unwrap();
        }
        std::fs::write(dir.path().join("principals/stranger"), "keep\n").unwrap();
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        let names = |allow: &[&str], deny: &[&str]| Names {
            allow: allow.iter().map(|text| pattern(text)).collect(),
            deny: deny.iter().map(|&name| name.into()).collect(),
        };
        let target = |name: &str, place: Where, format: &str, bounds: Bounds| {
            let name = TargetName::parse(name).unwrap();
            Target {
                options: Options::new(name.clone()),
                name,
                remove: matches!(place, Where::Tree { .. }),
                place,
                uid,
                gid,
                mode: 0o440,
                format: format::find(format).unwrap(),
                bounds,
                bytes_max: 1 << 20,
                check: None,
                verify: None,
                reload: None,
                timeout: Duration::from_secs(20),
                keep: 5,
                adopt: false,
            }
        };
        let rules = [("ROSTERD_OPS".to_owned(), RULE.to_owned())].into();
        let sudo = Bounds { rules, people: names(&["al*"], &[]), ..Bounds::default() };
        let ssh = Bounds { people: names(&["*@example.com"], &[]), ..Bounds::default() };
        let tree = Where::Tree {
            folder: dir.path().join("principals"),
            members: names(&["deploy", "app-*"], &["app-evil"]),
        };
        let targets = [
            target("sudo", Where::File(dir.path().join("sudoers.d/rosterd")), "sudoers", sudo),
            target("ssh", tree, "ssh-principals", ssh),
        ];
        let settings = Settings {
            user: Account { name: "us".into(), uid, gid },
            socket: None,
            state: dir.path().join("state"),
            idle: Duration::from_secs(30),
            targets: targets.into_iter().map(|one| (one.name.clone(), one)).collect::<BTreeMap<_, _>>(),
        };
        Self { dir, settings, served: OnceLock::new(), generation: 0 }
    }

    /// A target's settings, to change them; who asks from now on is served by these.
    pub(super) fn target(&mut self, name: &str) -> &mut Target {
        self.served = OnceLock::new();
        self.generation += 1;
        self.settings.targets.get_mut(&TargetName::parse(name).unwrap()).unwrap()
    }

    pub(super) fn move_tree(&mut self, folder: &str) {
        let path = self.dir.path().join(folder);
        let Where::Tree { folder, .. } = &mut self.target("ssh").place else { panic!("a tree") };
        *folder = path;
    }

    pub(super) fn argv(words: &[&str]) -> Argv {
        Argv::parse(words.iter().map(|&word| word.to_owned()).collect()).unwrap()
    }

    pub(super) fn socket(&self) -> &PathBuf {
        self.served.get_or_init(|| {
            let socket = self.dir.path().join(format!("socket{}", self.generation));
            let listener = UnixListener::bind(&socket).unwrap();
            let shared = Shared::new(self.settings.clone());
            // It ends with the process of the tests; each has a socket of its own.
            std::thread::spawn(move || shared.serve(&listener, false).unwrap());
            socket
        })
    }

    /// A connection that has been greeted.
    pub(super) fn connect(&self) -> (UnixStream, Greeting) {
        let stream = UnixStream::connect(self.socket()).unwrap();
        let greeting = Line::new(&stream, Duration::from_secs(20)).receive().unwrap();
        (stream, greeting)
    }

    pub(super) fn greeting(&self) -> Greeting {
        self.connect().1
    }

    /// Sends these bytes and nothing more; what is answered, if anything.
    pub(super) fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let (stream, _) = self.connect();
        // It may hang up before it has read everything.
        let _refused = (&stream).write_all(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        Line::new(&stream, Duration::from_secs(20)).receive().ok()
    }

    /// Sends a request whose fields `change` has altered, with these bytes for `sudo`.
    pub(super) fn raw(&self, change: impl FnOnce(&mut Map<String, Value>), bytes: &[u8]) -> Answer {
        let (stream, greeting) = self.connect();
        let length = u64::try_from(bytes.len()).unwrap();
        let sha256 = Digest::of(bytes).to_string();
        let ask = Ask::Apply { expect: wire::Expect::Anything, length, sha256 };
        let request =
            Request { version: VERSION, session: greeting.session, target: "sudo".into(), member: None, ask };
        let Value::Object(mut request) = serde_json::to_value(request).unwrap() else { panic!("an object") };
        change(&mut request);
        let line = Line::new(&stream, Duration::from_secs(20));
        line.send(&request).unwrap();
        let _refused = line.write(bytes);
        line.receive().unwrap()
    }

    /// Asks as a daemon does, but for what it likes.
    pub(super) fn ask(&self, target: &str, member: Option<&str>, ask: &Ask, bytes: &[u8]) -> Answer {
        let (stream, greeting) = self.connect();
        let request = Request {
            version: VERSION,
            session: greeting.session,
            target: target.into(),
            member: member.map(str::to_owned),
            ask: ask.clone(),
        };
        let line = Line::new(&stream, Duration::from_secs(20));
        line.send(&request).unwrap();
        let _refused = line.write(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        line.receive().unwrap()
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Neither target has a file, and nobody recorded one.
    #[track_caller]
    pub(super) fn nothing_written(&self) {
        assert_eq!(self.names("sudoers.d"), Vec::<String>::new());
        assert_eq!(self.names("principals"), ["stranger"]);
        assert_eq!(self.read("principals/stranger"), "keep\n");
        assert_eq!(self.names("state"), Vec::<String>::new());
    }

    /// The daemon's own view of a destination.
    fn spec(&self, target: &str, member: Option<&str>) -> FileSpec {
        let path = match member {
            Some(member) => self.dir.path().join("principals").join(member),
            None => self.dir.path().join("sudoers.d/rosterd"),
        };
        let state = self.dir.path().join("daemon").join(target).join(member.unwrap_or("file"));
        let mut spec = FileSpec::new(TargetName::parse(target).unwrap(), path, state);
        spec.member = member.map(str::to_owned);
        spec.via = Via::Installer { socket: self.socket().clone() };
        spec
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a parse check")]
fn no_parse(_: &[u8]) -> Result<(), String> {
    Ok(())
}

#[test]
fn a_file_is_written_settled_kept_and_found_unchanged() {
    let place = Place::new();
    let spec = place.spec("sudo", None);
    assert_eq!(file::inspect(&spec).unwrap(), OnDisk::Absent);
    for (label, user) in [(7, "alice"), (8, "alan")] {
        let bytes = sudoers(user);
        let applied = file::apply(&spec, bytes.as_bytes(), Expect::Anything, &no_parse).unwrap();
        let Applied::Swapped(swapped) = applied else { panic!("it was written") };
        assert_eq!(swapped.digest, Digest::of(bytes.as_bytes()));
        assert_eq!(swapped.replaced.is_some(), label == 8);
        file::settle(&spec, &swapped, label).unwrap();
        let again = file::apply(&spec, bytes.as_bytes(), Expect::Anything, &no_parse).unwrap();
        assert_eq!(again, Applied::Unchanged);
        assert_eq!(place.read("sudoers.d/rosterd"), bytes);
    }
    let OnDisk::File(facts) = file::inspect(&spec).unwrap() else { panic!("a file") };
    assert_eq!((facts.digest, facts.mode), (Some(Digest::of(sudoers("alan").as_bytes())), spec.mode));
    assert_eq!(place.names("sudoers.d"), ["rosterd"]);
    let kept: Vec<u64> = file::kept(&spec).unwrap().iter().map(|one| one.label).collect();
    assert_eq!(kept, [7, 8], "the daemon can roll back without reading root's files");
    assert_eq!(std::fs::read_to_string(&file::kept(&spec).unwrap()[0].path).unwrap(), sudoers("alice"));
}

#[test]
fn a_swap_that_was_never_settled_is_told_again() {
    let place = Place::new();
    let spec = place.spec("sudo", None);
    let bytes = sudoers("alice");
    for _ in 0..2 {
        let applied = file::apply(&spec, bytes.as_bytes(), Expect::Anything, &no_parse).unwrap();
        assert!(matches!(applied, Applied::Swapped(_)), "its reload would be lost");
    }
}

#[test]
fn members_of_a_tree_come_and_go_and_an_edited_one_is_kept_before_it_goes() {
    let place = Place::new();
    for member in ["deploy", "app-1"] {
        let spec = place.spec("ssh", Some(member));
        let applied = file::apply(&spec, b"alice@example.com\n", Expect::Absent, &no_parse).unwrap();
        let Applied::Swapped(swapped) = applied else { panic!("it was written") };
        file::settle(&spec, &swapped, 1).unwrap();
    }
    assert_eq!(place.names("principals"), ["app-1", "deploy", "stranger"]);
    let (deploy, app) = (place.spec("ssh", Some("deploy")), place.spec("ssh", Some("app-1")));
    assert_eq!(file::remove(&app, Expect::Anything).unwrap(), Removed::Gone);
    assert_eq!(file::remove(&app, Expect::Anything).unwrap(), Removed::Absent);
    place.write("principals/deploy.new", "edited@example.com\n");
    let there = place.dir.path().join("principals");
    std::fs::rename(there.join("deploy.new"), there.join("deploy")).unwrap();
    assert_eq!(file::remove(&deploy, Expect::Anything).unwrap(), Removed::Gone);
    assert_eq!(place.names("principals"), ["stranger"]);
    let versions = place.names("state/ssh/files/deploy/versions");
    assert!(versions.iter().any(|name| name.contains("-theirs-")), "{versions:?}");
}

#[test]
fn a_failing_verify_puts_the_old_file_back_and_the_daemon_hears_why() {
    let mut place = Place::new();
    let spec = place.spec("sudo", None);
    let old = sudoers("alice");
    let _swapped = file::apply(&spec, old.as_bytes(), Expect::Anything, &no_parse).unwrap();
    place.target("sudo").verify = Some(Place::argv(&["/bin/sh", "-c", "echo not today; exit 4"]));
    let spec = place.spec("sudo", None);
    let error = file::apply(&spec, sudoers("alan").as_bytes(), Expect::Anything, &no_parse).unwrap_err();
    assert_eq!(error.kind(), file::Kind::Refused);
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(error.output().unwrap().text().trim(), "not today");
    // The first swap was never settled, so going back means back to nothing.
    assert_eq!(place.names("sudoers.d"), Vec::<String>::new());
}

#[test]
fn an_edit_since_the_plan_a_foreign_path_and_no_installer_are_told_apart() {
    let place = Place::new();
    let mut spec = place.spec("sudo", None);
    let bytes = sudoers("alice");
    let Applied::Swapped(swapped) = file::apply(&spec, bytes.as_bytes(), Expect::Absent, &no_parse).unwrap()
    else {
        panic!("it was written")
    };
    file::settle(&spec, &swapped, 1).unwrap();
    let error = file::apply(&spec, sudoers("alan").as_bytes(), Expect::Absent, &no_parse).unwrap_err();
    assert!(matches!(error.cause, file::Cause::Changed), "{error}");
    spec.path = "/etc/sudoers.d/other".into();
    let error = file::inspect(&spec).unwrap_err();
    assert!(error.to_string().contains("make the `path` of target `sudo` the same"), "{error}");
    spec.via = Via::Installer { socket: "/nowhere/s".into() };
    let error = file::inspect(&spec).unwrap_err();
    assert!(error.to_string().contains("systemctl enable --now"), "{error}");
    assert_eq!(error.kind(), file::Kind::NeedsOperator);
}

#[test]
fn a_reload_that_fails_stays_owed() {
    let mut place = Place::new();
    let flag = place.dir.path().join("flag");
    let script = format!("test -e {}", flag.display());
    place.target("sudo").reload = Some(Place::argv(&["/bin/sh", "-c", &script]));
    let spec = place.spec("sudo", None);
    let _swapped = file::apply(&spec, sudoers("alice").as_bytes(), Expect::Anything, &no_parse).unwrap();
    assert!(!file::reload(&spec, None).unwrap().unwrap().is_success());
    std::fs::write(&flag, "").unwrap();
    assert!(file::reload(&spec, None).unwrap().unwrap().is_success());
    assert_eq!(file::reload(&spec, None).unwrap(), None);
}

#[test]
fn many_daemons_worth_of_requests_for_one_target_are_served_one_by_one() {
    let place = Place::new();
    let socket = place.socket().clone();
    let asked: Vec<_> = (0..4)
        .map(|n| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let installer = Installer { socket };
                let bytes = sudoers(&format!("al{n}"));
                let length = u64::try_from(bytes.len()).unwrap();
                let sha256 = Digest::of(bytes.as_bytes()).to_string();
                let ask = Ask::Apply { expect: wire::Expect::Anything, length, sha256 };
                let name = TargetName::parse("sudo").unwrap();
                installer.call(&name, None, ask, bytes.as_bytes()).unwrap()
            })
        })
        .collect();
    for one in asked {
        assert!(matches!(one.join().unwrap(), Answer::Swapped { .. }));
    }
    assert!(place.read("sudoers.d/rosterd").contains("ROSTERD_OPS"));
}

#[test]
fn what_is_set_aside_comes_back_or_goes_for_good() {
    let place = Place::new();
    let spec = place.spec("ssh", Some("deploy"));
    let put = |text: &str| {
        let Applied::Swapped(swapped) =
            file::apply(&spec, text.as_bytes(), Expect::Anything, &no_parse).unwrap()
        else {
            panic!("it was written")
        };
        swapped
    };
    file::settle(&spec, &put("alice@example.com\n"), 1).unwrap();
    assert_eq!(file::set_aside(&spec, Expect::Anything).unwrap(), Removed::Gone);
    assert!(!place.names("principals").contains(&"deploy".to_owned()));
    file::revert(&spec).unwrap();
    assert_eq!(place.read("principals/deploy"), "alice@example.com\n");
    let _unsettled = put("bob@example.com\n");
    file::revert(&spec).unwrap();
    assert_eq!(place.read("principals/deploy"), "alice@example.com\n");
    file::set_aside(&spec, Expect::Anything).unwrap();
    file::drop_aside(&spec).unwrap();
    assert_eq!(place.names("principals"), ["stranger"]);
    place.write("principals/deploy", "operator@example.com\n");
    assert!(file::remove(&spec, Expect::Anything).is_err(), "what came after is a stranger's");
}

#[test]
fn symlinks_lead_from_member_to_member_and_nowhere_else() {
    let place = Place::new();
    let spec = place.spec("ssh", Some("app-1"));
    assert!(file::put_link(&spec, "deploy").unwrap());
    assert!(!file::put_link(&spec, "deploy").unwrap());
    assert_eq!(file::read_link(&spec).unwrap(), Some("deploy".into()));
    for to in ["/etc/shadow", "../sudoers.d/rosterd", "stranger", "root", ""] {
        assert!(file::put_link(&spec, to).is_err(), "{to}");
    }
    assert_eq!(file::read_link(&spec).unwrap(), Some("deploy".into()));
    assert_eq!(file::remove_link(&spec).unwrap(), Removed::Gone);
    assert_eq!(file::remove_link(&spec).unwrap(), Removed::Absent);
    std::os::unix::fs::symlink("stranger", place.dir.path().join("principals/app-1")).unwrap();
    assert!(file::put_link(&spec, "deploy").is_err() && file::remove_link(&spec).is_err());
    let spec = place.spec("sudo", None);
    assert!(file::put_link(&spec, "deploy").is_err());
}
