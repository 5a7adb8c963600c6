//! The demo's daemon: `serve` of this same program as a child process, ready when it says so.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::DemoError;
use super::place::Place;

/// Longest wait for `READY=1`.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for the end after SIGTERM: the drain and a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// The running child. It dies with this value.
#[derive(Debug)]
pub(in crate::daemon) struct Supervised {
    child: Child,
    took: Duration,
}

impl Supervised {
    /// Starts the daemon and waits until it is ready.
    pub(in crate::daemon) async fn start(place: &Place) -> Result<Self, DemoError> {
        let setup = |what: &str, cause: &dyn std::fmt::Display| DemoError::Setup(format!("{what}: {cause}"));
        let started = Instant::now();
        let socket = UnixDatagram::bind(place.notify_socket())
            .map_err(|cause| setup("cannot listen for the daemon's readiness", &cause))?;
        let program = std::env::current_exe().map_err(|cause| setup("cannot find this program", &cause))?;
        let log = std::fs::File::create(place.log()).map_err(|cause| setup("cannot make the log", &cause))?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(place.config())
            .env("NOTIFY_SOCKET", place.notify_socket())
            .env_remove("WATCHDOG_USEC")
            .env_remove("LISTEN_FDS")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo, which then ends its daemon in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| setup("cannot start the daemon", &cause))?;
        let ready = tokio::time::timeout(START_PATIENCE, ready(&socket));
        tokio::select! {
            said = ready => match said {
                Ok(()) => Ok(Self { child, took: started.elapsed() }),
                Err(_) => Err(DemoError::Missing("the daemon's READY=1", START_PATIENCE)),
            },
            ended = child.wait() => {
                let how = ended.map_or_else(|cause| cause.to_string(), |status| status.to_string());
                Err(DemoError::Daemon(format!("{how}\n{}", place.log_tail())))
            }
        }
    }

    /// How long the start took.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// The daemon's process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Ends the daemon in order and says whether it went well.
    pub(in crate::daemon) async fn stop(&mut self) -> Result<(), DemoError> {
        let pid =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // A child that is gone already is found out by the wait below.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(DemoError::Daemon(status.to_string())),
            Ok(Err(cause)) => Err(DemoError::Setup(format!("cannot wait for the daemon: {cause}"))),
            Err(_) => Err(DemoError::Missing("the daemon's end", STOP_PATIENCE)),
        }
    }

    /// Waits until the daemon ends by itself, which it should not.
    pub(super) async fn wait(&mut self) -> Result<(), DemoError> {
        match self.child.wait().await {
            Ok(status) => Err(DemoError::Daemon(status.to_string())),
            Err(cause) => Err(DemoError::Setup(format!("cannot wait for the daemon: {cause}"))),
        }
    }
}

async fn ready(socket: &UnixDatagram) {
    let mut message = vec![0; 4096];
    loop {
        if let Ok(count) = socket.recv(&mut message).await {
            let said = String::from_utf8_lossy(message.get(..count).unwrap_or_default()).into_owned();
            if said.lines().any(|line| line == "READY=1") {
                return;
            }
        }
    }
}

/// Resolves when somebody wants the demo to end.
pub(super) fn interrupted() -> Result<impl Future<Output = ()>, DemoError> {
    let listen =
        |kind| signal(kind).map_err(|cause| DemoError::Setup(format!("cannot catch signals: {cause}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
