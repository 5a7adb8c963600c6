//! The root process (`rosterd installer`): puts files of root in place for a daemon that is nobody (DESIGN §6.9).
//!
//! It trusts the daemon with one thing, *who* is listed, and with that only within the bounds of its own config. It
//! opens no network connection, reads nothing the daemon can write but the socket, and ends when nobody has asked for
//! a while; systemd starts it again for the next connection. The protocol stands in
//! [`crate::downstream::installer`]; the order of writing is `downstream::file`'s.
//!
//! - `session`: one connection, judged before a byte of it is obeyed
//! - `act`: what was asked, done by `downstream::file`
//! - `owned`: the record of what this process wrote, without which nothing is replaced or removed

mod act;
mod owned;
mod session;

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::notify;
use crate::config::{self, Problems};
use crate::downstream::installer::settings::Settings;
use crate::model::TargetName;
use crate::telemetry;

/// Connections served at once; one target is only ever written by one of them.
const CONNECTIONS_MAX: usize = 8;

/// Why the installer does not run.
#[derive(Debug)]
pub enum Error {
    /// Its config is wrong, or others can write it.
    Config(Problems),
    /// It was not started by root.
    NotRoot,
    /// The log cannot be set up.
    Log(telemetry::LogError),
    /// There is no socket, or it cannot be used.
    Socket(String),
    /// The state directory cannot be used.
    State(PathBuf, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => write!(f, "{problems}"),
            Self::NotRoot => f.write_str(
                "the installer writes files of root and must run as root; systemd starts it: systemctl enable --now \
                 rosterd-install.socket",
            ),
            Self::Log(error) => write!(f, "{error}"),
            Self::Socket(why) => write!(f, "cannot listen: {why}"),
            Self::State(path, why) => write!(f, "cannot use the state directory `{}`: {why}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// Reads the config and says what it holds, without touching anything.
///
/// # Errors
/// What is wrong with it.
pub fn check(config: &Path) -> Result<Settings, Error> {
    config::load_installer(config).map_err(Error::Config)
}

/// Serves until nobody has asked for `idle`, or for ever on a socket of its own.
///
/// # Errors
/// It cannot begin; what goes wrong later is an answer.
pub fn run(config: &Path) -> Result<(), Error> {
    let settings = check(config)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let _log = telemetry::init(&telemetry::Settings::default()).map_err(Error::Log)?;
    private_folder(&settings.state).map_err(|why| Error::State(settings.state.clone(), why))?;
    let (listener, is_activated) = listener(&settings)?;
    notify::ready(&format!("serving {} targets to user {}", settings.targets.len(), settings.user.uid));
    tracing::info!(targets = settings.targets.len(), user = settings.user.uid, "the installer serves");
    Shared::new(settings).serve(&listener, is_activated)
}

/// Makes the state directory, root's alone; refuses one in which somebody else could forge the record.
fn private_folder(path: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| error.to_string())?;
    for folder in path.ancestors() {
        let facts = std::fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
        let is_sticky = facts.mode() & 0o1000 != 0 && folder != path;
        let is_open = facts.mode() & 0o002 != 0 || (facts.mode() & 0o020 != 0 && facts.gid() != 0);
        if facts.uid() != 0 || !facts.is_dir() || (is_open && !is_sticky) {
            return Err(format!("`{}` is not a folder that only root can write to", folder.display()));
        }
    }
    Ok(())
}

/// The socket that systemd passes, else one of our own; true for systemd's.
fn listener(settings: &Settings) -> Result<(UnixListener, bool), Error> {
    let socket = |error: io::Error| Error::Socket(error.to_string());
    let mut passed = listenfd::ListenFd::from_env();
    if let Some(listener) = passed.take_unix_listener(0).map_err(socket)? {
        return Ok((listener, true));
    }
    let Some(path) = &settings.socket else {
        return Err(Error::Socket(
            "systemd passed no socket and the config names none; run: systemctl enable --now rosterd-install.socket"
                .to_owned(),
        ));
    };
    let named = |error: io::Error| Error::Socket(format!("`{}`: {error}", path.display()));
    if UnixStream::connect(path).is_ok() {
        return Err(Error::Socket(format!("`{}`: another installer listens there", path.display())));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    chown(path, Some(0), Some(settings.user.gid)).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(named)?;
    Ok((listener, false))
}

/// What all connections go by.
struct Shared {
    settings: Settings,
    /// One writer at a time for each target.
    locks: BTreeMap<TargetName, Mutex<()>>,
    open: AtomicUsize,
}

impl Shared {
    fn new(settings: Settings) -> Arc<Self> {
        let locks = settings.targets.keys().map(|name| (name.clone(), Mutex::default())).collect();
        Arc::new(Self { settings, locks, open: AtomicUsize::new(0) })
    }

    fn serve(self: &Arc<Self>, listener: &UnixListener, ends_when_idle: bool) -> Result<(), Error> {
        let failed = |error: io::Error| Error::Socket(error.to_string());
        listener.set_nonblocking(true).map_err(failed)?;
        let idle = ends_when_idle.then(|| Timespec {
            tv_sec: i64::try_from(self.settings.idle.as_secs()).unwrap_or(30),
            tv_nsec: 0,
        });
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            match rustix::event::poll(&mut fds, idle.as_ref()) {
                // A connection that comes just now waits in the socket, which systemd holds, for the next process.
                Ok(0) if self.open.load(Ordering::SeqCst) == 0 => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            match listener.accept() {
                Ok((stream, _)) => self.take(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither ends the installer.
                    tracing::warn!(%error, "a connection could not be accepted");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: UnixStream) {
        // The listener does not wait for anybody; a connection does, up to its time limit.
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let is_full = self.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX;
        let shared = self.clone();
        let served = std::thread::Builder::new().name("connection".into()).spawn(move || {
            let _open = Open(&shared.open);
            session::serve(&shared.settings, &shared.locks, &stream, is_full);
        });
        if let Err(error) = served {
            self.open.fetch_sub(1, Ordering::SeqCst);
            tracing::warn!(%error, "a connection could not be served");
        }
    }
}

/// Counts a connection out, also when serving it panics.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
