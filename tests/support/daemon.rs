//! The real binary: `serve` in a temporary directory, ready when its notify socket says so, ended by its own id.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{Client, Response};
use super::wait_until;

pub const BINARY: &str = env!("CARGO_BIN_EXE_rosterd");

/// A directory made by the `directory add` command.
#[derive(Debug, Clone)]
pub struct Directory {
    pub id: String,
    pub token: String,
    pub base_url: String,
}

pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    process: Option<Child>,
    notify: UnixDatagram,
    notes: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<u32>,
    held: Option<TcpListener>,
}

/// A user that owns nothing else on any machine.
pub const NOBODYS_UID: u32 = 61_999;

impl Daemon {
    /// Starts with `extra` appended to a minimal config; `{dir}` in it becomes the test's own directory.
    pub fn start(extra: &str) -> Self {
        let mut daemon = Self::prepare(extra);
        daemon.run();
        daemon
    }

    /// Everything but the start.
    pub fn prepare(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify.sock")).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let daemon = Self {
            dir,
            address,
            process: None,
            notify,
            notes: Vec::new(),
            environment: Vec::new(),
            user: None,
            held: None,
        };
        daemon.write_config(extra);
        daemon
    }

    /// Opens the SCIM socket here, as a service manager does, and passes it to every process started from now on.
    pub fn hold_socket(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = listener.local_addr().unwrap();
        self.held = Some(listener);
    }

    /// The command that starts the program: by a shell that puts a held socket at descriptor 3 and its own id, which
    /// the program keeps, into the environment (sd_listen_fds(3)).
    fn starter(&self) -> Command {
        let Some(held) = &self.held else {
            let mut command = Command::new(self.program());
            command.stdin(Stdio::null());
            return command;
        };
        let mut command = Command::new("sh");
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=scim exec \"$0\" \"$@\" 3<&0 </dev/null";
        command.args(["-c", &format!("export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; {script}")]);
        command.arg(self.program());
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(held.try_clone().unwrap())));
        command
    }

    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The process runs as [`NOBODYS_UID`], who owns the test's directory and has no rights besides. Needs root.
    pub fn unprivileged(&mut self) {
        self.user = Some(NOBODYS_UID);
    }

    /// The binary, or a second name of it where a user without rights can run it.
    fn program(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let is_open = |folder: &Path| {
            std::fs::metadata(folder).is_ok_and(|facts| facts.permissions().mode() & 0o001 != 0)
        };
        if self.user.is_none() || Path::new(BINARY).ancestors().all(is_open) {
            return BINARY.into();
        }
        let own = self.path("rosterd");
        if !own.exists() && std::fs::hard_link(BINARY, &own).is_err() {
            std::fs::copy(BINARY, &own).unwrap();
        }
        own
    }

    /// Lines that begin with `admin: ` go into the section `[admin]`.
    pub fn write_config(&self, extra: &str) {
        let dir = self.dir.path().display();
        let (admin, extra): (Vec<&str>, Vec<&str>) =
            extra.split_inclusive('\n').partition(|line| line.starts_with("admin: "));
        let admin: String = admin.iter().filter_map(|line| line.strip_prefix("admin: ")).collect();
        let text = format!(
            "[server]\nlisten = [\"{}\"]\n[admin]\nsocket = \"{dir}/admin.sock\"\n{admin}[mirror]\npath = \"{dir}/state/mirror.db\"\n{}",
            self.address,
            extra.concat()
        )
        .replace("{dir}", &dir.to_string());
        std::fs::create_dir_all(self.dir.path().join("state")).unwrap();
        std::fs::write(self.config(), text).unwrap();
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("rosterd.toml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Starts the process and waits for READY=1.
    pub fn run(&mut self) {
        self.spawn();
        self.wait_note("READY=1");
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none());
        self.notes.clear();
        // What a life before said, such as READY=1 after a reload, must not be taken for this one's.
        while self.notify.recv(&mut [0; 4096]).is_ok() {}
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let mut command = self.starter();
        if let Some(uid) = self.user {
            use std::os::unix::process::CommandExt as _;
            give(self.dir.path(), uid);
            // Without the groups of root, too: the standard library drops them with the user.
            command.uid(uid).gid(uid);
        }
        let process = command
            .args(["serve", "--config"])
            .arg(self.config())
            .env("NOTIFY_SOCKET", self.path("notify.sock"))
            .env_remove("JOURNAL_STREAM")
            .envs(self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Waits until one of the messages to the service manager has this line.
    pub fn wait_note(&mut self, line: &str) -> String {
        let mut buffer = [0; 4096];
        for _ in 0..600 {
            if let Some(at) = self.notes.iter().position(|n| n.lines().any(|l| l.starts_with(line))) {
                return self.notes.remove(at);
            }
            if let Ok(n) = self.notify.recv(&mut buffer) {
                self.notes.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().unwrap()) {
                panic!("the daemon ended with {status} while {line} was awaited:\n{}", self.log());
            }
        }
        panic!("no {line} within 30 s; notes {:?}\n{}", self.notes, self.log());
    }

    /// The next message to the service manager that nobody waited for yet, if one comes soon.
    pub fn next_note(&mut self) -> Option<String> {
        if !self.notes.is_empty() {
            return Some(self.notes.remove(0));
        }
        let mut buffer = [0; 4096];
        let length = self.notify.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("the daemon is not running"))
    }

    /// Takes what the process tells its supervisor from now on and forgets it: nobody else would.
    pub fn forget_notes(&self) {
        let (socket, path) = (self.notify.try_clone().unwrap(), self.path("notify.sock"));
        std::thread::spawn(move || {
            while path.exists() {
                // Nothing came within the time this waits.
                let _ = socket.recv(&mut [0; 4096]);
            }
        });
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the daemon is not running").id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the daemon is not running");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM, then its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    pub fn wait_exit(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("the daemon is not running");
        let mut status = None;
        wait_until("the daemon ends", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|s| s.code())
    }

    /// Runs a command of the same binary against this daemon's config.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(args)
            .arg("--config")
            .arg(self.config())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed and print JSON.
    pub fn cli_json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.push("--json");
        let out = self.cli(&all);
        assert!(out.status.success(), "{args:?}: {}\n{}", String::from_utf8_lossy(&out.stderr), self.log());
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stdout)))
    }

    pub fn add_directory(&self, name: &str, kind: &str) -> Directory {
        let made = self.cli_json(&["directory", "add", name, "--kind", kind]);
        let text = |key: &str| made[key].as_str().unwrap_or_else(|| panic!("no {key} in {made}")).to_owned();
        Directory { id: text("id"), token: text("token"), base_url: text("base_url") }
    }

    pub fn scim(&self, directory: &Directory) -> Scim {
        Scim { client: Client::new(self.address), token: directory.token.clone() }
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The target's row of `status --json`.
    pub fn target(&self, name: &str) -> Value {
        let status = self.cli_json(&["status"]);
        let found = status["targets"].as_array().unwrap().iter().find(|t| t["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no target {name} in {status}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// Gives a folder and all in it to a user; everybody may look into it.
fn give(folder: &Path, uid: u32) {
    std::os::unix::fs::chown(folder, Some(uid), Some(uid)).unwrap();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "rosterd") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            give(&path, uid);
        } else {
            std::os::unix::fs::lchown(&path, Some(uid), Some(uid)).unwrap();
        }
    }
}

/// A SCIM client with one directory's token.
pub struct Scim {
    pub client: Client,
    pub token: String,
}

impl Scim {
    pub fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Response {
        self.try_send(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    pub fn try_send(&mut self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Response> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/scim+json"),
            ("Content-Type", "application/scim+json"),
        ];
        let bytes = body.map(|b| b.to_string().into_bytes());
        let headers = if bytes.is_some() { &headers[..] } else { &headers[..2] };
        self.client.send(method, &format!("/scim/v2{path}"), headers, bytes.as_deref())
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, None)
    }

    /// Creates a user and gives its id.
    pub fn create_user(&mut self, user_name: &str) -> String {
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": user_name,
            "displayName": user_name, "externalId": format!("x-{user_name}"), "emails": [{"value": user_name, "type": "work", "primary": true}], "active": true});
        id_of(&self.send("POST", "/Users", Some(&body)).expect(201))
    }

    pub fn create_group(&mut self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|m| serde_json::json!({"value": m})).collect();
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members});
        id_of(&self.send("POST", "/Groups", Some(&body)).expect(201))
    }

    pub fn patch(&mut self, path: &str, operations: Value) -> Response {
        let body = serde_json::json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.send("PATCH", path, Some(&body))
    }

    pub fn add_member(&mut self, group: &str, member: &str) {
        let done = self.patch(
            &format!("/Groups/{group}"),
            serde_json::json!([{"op": "add", "path": "members", "value": [{"value": member}]}]),
        );
        assert!((200..300).contains(&done.status), "{}", done.text());
    }

    pub fn remove_member(&mut self, group: &str, member: &str) {
        let path = format!("members[value eq \"{member}\"]");
        let done =
            self.patch(&format!("/Groups/{group}"), serde_json::json!([{"op": "remove", "path": path}]));
        assert!((200..300).contains(&done.status), "{}", done.text());
    }

    pub fn set_active(&mut self, user: &str, active: bool) {
        let done = self.patch(
            &format!("/Users/{user}"),
            serde_json::json!([{"op": "replace", "value": {"active": active}}]),
        );
        assert!((200..300).contains(&done.status), "{}", done.text());
    }
}

pub fn id_of(response: &Response) -> String {
    response.json()["id"].as_str().unwrap().to_owned()
}

/// True where a file exists and is not a leftover of a write in progress.
pub fn leftovers(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with(".rosterd-")).collect()
}
