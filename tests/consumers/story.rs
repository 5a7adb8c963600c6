//! The story that every reader of a file goes through: a SCIM push lets alice in and not bob; names that bite change
//! nobody else's answer; a rename lets the new name in and the old one out in one write; removal takes effect by
//! itself; without the last holder nobody gets in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::names;
use crate::support::daemon::{Daemon, Scim};
use crate::support::installer::{RootPlace, owned};
use crate::support::{wait_for, wait_until};

/// The role that every story is about, given by the group `Crew`. Names that bite come and go in crowds, which the guard
/// would hold; it has tests of its own.
pub const ROLE: &str = "[guard]\nmin_removals = 1000\n[[role]]\nname = \"admin\"\ngroups = [\"Crew\"]\n";

/// Whom the reader lets in; `None` where its parts disagree or it does not answer yet.
pub type Asks<'a> = dyn FnMut(&str) -> Option<bool> + 'a;

pub struct Story<'a> {
    daemon: &'a Daemon,
    scim: Scim,
    file: PathBuf,
    domain: &'static str,
    alice: String,
    bob: String,
    crew: String,
    is_exact: bool,
}

impl<'a> Story<'a> {
    /// The reader can be asked about any name that a header can carry: each that bites is one user's or is reported.
    pub fn exactly(mut self) -> Self {
        self.is_exact = true;
        self
    }

    /// Pushes alice, who is in the crew, and bob, who is not, and waits for the file.
    pub fn open(daemon: &'a Daemon, file: &str, domain: &'static str) -> Self {
        let directory = daemon.add_directory("Acme", "generic");
        let mut scim = daemon.scim(&directory);
        let alice = scim.create_user(&format!("alice{domain}"));
        let bob = scim.create_user(&format!("bob{domain}"));
        let crew = scim.create_group("Crew", &[&alice]);
        let file = daemon.path(file);
        wait_until("the file has alice", || {
            std::fs::read(&file).is_ok_and(|bytes| bytes.windows(3).any(|part| part == b"lic"))
        });
        Self { daemon, scim, file, domain, alice, bob, crew, is_exact: false }
    }

    /// The whole story.
    pub fn play(mut self, asks: &mut Asks<'_>) {
        let name = |who: &str| format!("{who}{}", self.domain);
        let (alice, alicia, bob) = (name("alice"), name("alicia"), name("bob"));
        becomes(asks, &alice, true);
        becomes(asks, &bob, false);
        self.names_that_bite(asks, &alice, &bob);
        self.rename(asks, &alice, &alicia);

        let before = Instant::now();
        self.scim.remove_member(&self.crew, &self.alice);
        becomes(asks, &alicia, false);
        println!("refused {:?} after the removal began", before.elapsed());

        self.scim.add_member(&self.crew, &self.bob);
        becomes(asks, &bob, true);
        becomes(asks, &alicia, false);
        self.scim.set_active(&self.bob, false);
        becomes(asks, &bob, false);
        for who in [&alice, &alicia, &bob] {
            becomes(asks, who, false);
        }
    }

    /// Each dangerous name joins the crew: alice stays in, bob stays out. Then they leave again.
    fn names_that_bite(&mut self, asks: &mut Asks<'_>, alice: &str, bob: &str) {
        let (mut taken, mut names) = (Vec::new(), Vec::new());
        let all = names::all();
        for name in all.iter().map(String::as_str) {
            let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name});
            let answer = self.scim.send("POST", "/Users", Some(&body));
            if answer.status == 201 {
                taken.push(answer.json()["id"].as_str().unwrap().to_owned());
                names.push(name);
            }
        }
        assert!(taken.len() > 40, "SCIM itself refused too many names: {}", taken.len());
        let values: Vec<_> = taken.iter().map(|id| serde_json::json!({"value": id})).collect();
        let joined = self.scim.patch(
            &format!("/Groups/{}", self.crew),
            serde_json::json!([{"op": "add", "path": "members", "value": values}]),
        );
        assert!((200..300).contains(&joined.status), "{}", joined.text());
        self.sync();
        becomes(asks, alice, true);
        becomes(asks, bob, false);
        becomes(asks, "nobody-at-all", false);
        if self.is_exact {
            self.in_or_reported(asks, &taken, &names);
        }
        for id in taken {
            assert_eq!(self.scim.send("DELETE", &format!("/Users/{id}"), None).status, 204);
        }
        self.sync();
        becomes(asks, alice, true);
        becomes(asks, bob, false);
    }

    /// Whoever has a name that bites is let in by that name, or is reported as left out; nobody silently.
    fn in_or_reported(&self, asks: &mut Asks<'_>, ids: &[String], names: &[&str]) {
        let told = self.daemon.cli_json(&["status"])["targets"][0]["problems"].to_string();
        let mut let_in = 0;
        for (id, name) in ids.iter().zip(names) {
            let is_told = told.contains(id.as_str());
            let can_be_asked = !name.contains(char::is_control) && name.trim() == *name;
            if can_be_asked {
                // A reader that was told to load the file anew may answer from the old one for a moment.
                becomes(asks, name, !is_told);
                let_in += usize::from(!is_told);
            }
        }
        assert!(let_in > 10, "only {let_in} names that bite were let in");
        // What a reader might make of them.
        for nobody in ["x", "a", "b", "carl", "bob,carl", "wheel", "sudo", "include", "localhost"] {
            let of_that_name = names.iter().zip(ids).find(|(name, _)| **name == nobody);
            becomes(asks, nobody, of_that_name.is_some_and(|(_, id)| !told.contains(id.as_str())));
        }
    }

    /// Applies what is pending and waits for it.
    pub fn sync(&self) {
        let out = self.daemon.cli(&["sync"]);
        assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), self.daemon.log());
    }

    /// Alice takes another name: the file goes from the one to the other in one step.
    fn rename(&mut self, asks: &mut Asks<'_>, alice: &str, alicia: &str) {
        let watch = Watch::start(&self.file);
        let renamed = self.scim.patch(
            &format!("/Users/{}", self.alice),
            serde_json::json!([{"op": "replace", "path": "userName", "value": alicia}]),
        );
        assert!((200..300).contains(&renamed.status), "{}", renamed.text());
        becomes(asks, alicia, true);
        becomes(asks, alice, false);
        let seen = watch.stop();
        assert!(seen.len() <= 2, "{} states of the file in one rename: {seen:?}", seen.len());
    }
}

/// A daemon without any rights and the installer, as `config/examples` has them, each place moved beneath a folder of
/// root, and the names of the story in the place of the example's. The daemon is still to be run.
pub fn as_installed(place: &mut RootPlace, example: &str, changed: &[(&str, &str)]) -> Daemon {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let read = |name: String| std::fs::read_to_string(folder.join(name)).unwrap();
    let (daemons, roots) = (read(format!("{example}.toml")), read(format!("installer/{example}.toml")));
    let daemons = &daemons[daemons.find("[[role]]").unwrap()..];
    let roots = &roots[roots.find("[[target]]").unwrap()..];
    let here = place.path("").display().to_string();
    let here = here.trim_end_matches('/');
    let change = |text: &str| {
        let mut text = text.replace("\"Operations\"", "\"Crew\"").replace("acme.example.com", "example.com");
        // The names of the story are accounts as they stand.
        text = text.replace("userName.local", "userName");
        for (from, to) in changed {
            text = text.replace(from, &to.replace("{place}", here));
        }
        text
    };
    let (roots, daemons) = (change(roots), change(daemons));
    for (from, _) in changed {
        assert!(!roots.contains(from) && !daemons.contains(from), "{from}");
    }
    place.start(&roots);
    unprivileged(place, &daemons)
}

/// A daemon without any rights that knows the installer of `place`; still to be run.
pub fn unprivileged(place: &RootPlace, config: &str) -> Daemon {
    let section = place.daemon_section();
    let mut daemon = Daemon::prepare(&format!("[guard]\nmin_removals = 1000\n{section}{config}"));
    daemon.unprivileged();
    daemon
}

/// What a reader of root's files wants: root's, with this mode, and nothing of ours left beside it.
pub fn is_roots(file: &Path, mode: u32) {
    assert_eq!(owned(file), (0, 0, mode), "{}", file.display());
    let folder = file.parent().unwrap();
    wait_until("the swap is settled", || crate::support::daemon::leftovers(folder).is_empty());
}

/// Waits until the reader answers so.
pub fn becomes(asks: &mut Asks<'_>, who: &str, expected: bool) {
    wait_until(&format!("{who} is {}", if expected { "let in" } else { "refused" }), || {
        asks(who) == Some(expected)
    });
}

/// Notes every content that a file goes through.
struct Watch {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<BTreeSet<Vec<u8>>>,
}

impl Watch {
    fn start(file: &Path) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (file, stop) = (file.to_owned(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                seen.insert(std::fs::read(&file).expect("the file is always there"));
                std::thread::yield_now();
            }
            seen
        });
        Self { done, thread }
    }

    fn stop(self) -> BTreeSet<Vec<u8>> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A reader's process, ended by its own id.
pub struct Server(Child);

impl Server {
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM first: masters then end their workers themselves.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let ended = (0..400).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            matches!(self.0.try_wait(), Ok(Some(_)))
        });
        if !ended {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Whether the programs are there. Missing ones fail in CI and skip, in print, on a laptop.
pub fn has(test: &str, programs: &[&str]) -> bool {
    let dirs = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib:/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu";
    let is_there = |program: &&&str| dirs.split(':').any(|dir| Path::new(dir).join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    missing.is_empty() || skip(test, &format!("not installed: {missing:?}"))
}

/// Whether this runs as root, which the reader demands of who owns its files.
pub fn is_root(test: &str) -> bool {
    rustix::process::geteuid().is_root() || skip(test, "it needs root")
}

fn skip(test: &str, why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
    println!("SKIP {test}: {why}");
    false
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Lets readers that run as somebody else reach the test's directory.
pub fn open_to_all(dir: &Path) {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// What an HTTP server on loopback says to this header; `None` while it does not answer.
pub fn http_status(port: u16, headers: &[(&str, &str)]) -> Option<u16> {
    let mut client = crate::support::http::Client::new(([127, 0, 0, 1], port).into());
    client.send("GET", "/", headers, None).ok().map(|answer| answer.status)
}

/// Waits until a port takes connections.
pub fn wait_port(port: u16) {
    wait_for("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
}
