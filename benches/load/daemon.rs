//! The release daemon under load: its own state directory, port, directory and token.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{Load, Request, user_body};

/// The build that is measured: this one, or with `LOAD_BINARY` another one, to hold this one against.
fn binary() -> String {
    std::env::var("LOAD_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rosterd").to_owned())
}

/// Where state directories are made: the build's own disk, since `/tmp` may be memory.
pub fn state_base() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf();
    std::fs::create_dir_all(&base).unwrap();
    base
}

pub struct Daemon {
    process: Child,
    address: SocketAddr,
    token: String,
    state: tempfile::TempDir,
}

impl Daemon {
    pub fn start() -> Self {
        Self::with("", "")
    }

    /// With `more` in the config, and a `hook-secret` beside it.
    pub fn with(more: &str, secret: &str) -> Self {
        let state = tempfile::tempdir_in(state_base()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = state.path().join("rosterd.toml");
        let text = format!(
            "[server]\nlisten = [\"{address}\"]\n[server.limits]\nconnections_per_address_max = 256\n[admin]\nsocket = \"{0}/admin.sock\"\n[mirror]\npath = \"{0}/mirror.db\"\n[log]\nlevel = \"error\"\n{more}",
            state.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let hook = state.path().join("hook-secret");
        std::fs::write(&hook, secret).unwrap();
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut process = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "the daemon ended");
            assert!(Instant::now() < deadline, "the daemon did not listen within 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        let out = Command::new(binary())
            .args(["directory", "add", "Bench", "--kind", "generic", "--json", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let made: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let token = made["token"].as_str().unwrap().to_owned();
        Self { process, address, token, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn state(&self) -> &Path {
        self.state.path()
    }

    pub fn config(&self) -> PathBuf {
        self.state.path().join("rosterd.toml")
    }

    #[expect(clippy::unused_self, reason = "all daemons are of one build")]
    pub fn binary(&self) -> String {
        binary()
    }

    pub fn token(&self) -> String {
        self.token.clone()
    }

    /// Creates users `from..from + n` and gives their ids, in order.
    pub async fn create_users(&self, prefix: &str, from: usize, n: usize) -> Vec<String> {
        let load = Load::new(self.address, 64);
        let out = load
            .run_keeping_bodies(n, |i| {
                Request::post("/scim/v2/Users", &self.token, user_body(prefix, from + i))
            })
            .await;
        out.expect_status(201);
        let mut bodies = out.bodies;
        bodies.sort_by_key(|(i, _)| *i);
        bodies.iter().map(|(_, body)| id_of(body)).collect()
    }

    /// Creates a group and fills it, 1,000 members a request.
    pub async fn create_group(&self, name: &str, members: &[String]) -> String {
        let load = Load::new(self.address, 1);
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"{name}"}}"#
        );
        let id = id_of(&load.once(Request::post("/scim/v2/Groups", &self.token, body)).await);
        for chunk in members.chunks(1_000) {
            let values: Vec<_> = chunk.iter().map(|m| format!(r#"{{"value":"{m}"}}"#)).collect();
            let body = format!(
                r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"add","path":"members","value":[{}]}}]}}"#,
                values.join(",")
            );
            load.run(1, |_| Request::patch(&format!("/scim/v2/Groups/{id}"), &self.token, body.clone()))
                .await
                .expect_success();
        }
        id
    }

    /// Attaches strace to count syncs, or `None` where it cannot.
    pub fn trace_syncs(&self) -> Option<SyncCount> {
        let log = state_base().join(format!("syncs-{}.txt", std::process::id()));
        let mut strace = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&log)
            .args(["-p", &self.process.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let tracer = format!("TracerPid:\t{}", strace.id());
        let deadline = Instant::now() + Duration::from_secs(5);
        let status = format!("/proc/{}/status", self.process.id());
        while !std::fs::read_to_string(&status).unwrap_or_default().contains(&tracer) {
            if strace.try_wait().ok()?.is_some() || Instant::now() > deadline {
                let _ = strace.kill();
                let _ = strace.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(SyncCount { strace, log })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct SyncCount {
    strace: Child,
    log: PathBuf,
}

impl SyncCount {
    pub fn finish(mut self) -> usize {
        let _ = Command::new("kill").args(["-INT", &self.strace.id().to_string()]).status();
        let _ = self.strace.wait();
        let text = std::fs::read_to_string(&self.log).unwrap();
        let _ = std::fs::remove_file(&self.log);
        text.lines()
            .filter(|l| (l.contains("fsync(") || l.contains("fdatasync(")) && !l.contains("unfinished"))
            .count()
            + text.lines().filter(|l| l.contains("sync(") && l.contains("unfinished")).count()
    }
}

fn id_of(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap();
    value["id"].as_str().unwrap().to_owned()
}
