//! The installer as installed: a root process of the same binary with hardly a right but root's name, its own config in
//! a folder of root, and a daemon without any rights that asks it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::daemon::{BINARY, NOBODYS_UID};
use super::wait_until;

/// A folder of root, below which no folder belongs to anybody else: where destinations of root lie.
pub struct RootPlace {
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl RootPlace {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rosterd-test-").tempdir_in("/run").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { dir, process: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder as a package makes it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// What the daemon's config says of the installer.
    pub fn daemon_section(&self) -> String {
        format!("[installer]\nsocket = \"{}\"\n", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.path("install.sock")
    }

    pub fn config(&self) -> PathBuf {
        self.path("installer.toml")
    }

    /// Writes `installer.toml`; `{place}` in it becomes this folder.
    pub fn write_config(&self, targets: &str) {
        let place = self.dir.path().display().to_string();
        let head = format!(
            "user = \"{NOBODYS_UID}\"\nsocket = \"{}\"\nstate = \"{place}/install-state\"\n",
            self.socket().display()
        );
        std::fs::write(self.config(), head + &targets.replace("{place}", &place)).unwrap();
        std::fs::set_permissions(self.config(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Root without its powers, as the unit has it: `CapabilityBoundingSet=CAP_CHOWN`, `NoNewPrivileges=yes`.
    fn bounded() -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps", "-all", "--bounding-set", "-all,+chown", "--no-new-privs", BINARY]);
        command
    }

    /// Starts the installer and waits until it listens.
    pub fn start(&mut self, targets: &str) {
        self.write_config(targets);
        let log = std::fs::File::create(self.path("installer.log")).unwrap();
        let process = Self::bounded()
            .args(["installer", "--config"])
            .arg(self.config())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        wait_until("the installer listens", || {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            std::os::unix::net::UnixStream::connect(self.socket()).is_ok()
        });
    }

    /// Runs it to its end; for what it refuses to begin with.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Self::bounded()
            .arg("installer")
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("installer.log")).unwrap_or_default()
    }
}

impl Drop for RootPlace {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the installer's log\n{}", self.log());
        }
    }
}

/// Owner, group and permission bits.
pub fn owned(path: &Path) -> (u32, u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    let facts = std::fs::metadata(path).unwrap();
    (facts.uid(), facts.gid(), facts.mode() & 0o7777)
}
