//! Why the daemon did not start, or ended by itself.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::{self, Problems};
use crate::http::listener::ListenError;
use crate::http::tls::TlsError;
use crate::mirror::{self, StoreError};
use crate::{reconcile, telemetry};

/// What a caller treats differently: each has an exit code of its own.
#[derive(Debug)]
pub enum Error {
    /// The config is wrong, or names what is not there.
    Config(Problems),
    /// The config is right by itself and contradicts what the mirror holds.
    Contradiction(String),
    /// Logging cannot be set up.
    Log(telemetry::LogError),
    /// The state directory cannot be used.
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mirror cannot be opened, or failed while running.
    Mirror(StoreError),
    /// A listener cannot be bound.
    Listen(ListenError),
    /// Certificate or key cannot be used.
    Tls(TlsError),
    /// A target cannot be set up.
    Reconcile(reconcile::Error),
    /// The system refuses threads, signals or timers.
    System(io::Error),
    /// A part that must never end has ended: a bug. The process ends, and systemd starts it again.
    Dead(&'static str),
}

impl Error {
    /// What a person can do about it, where something is known.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(problems) if problems.kind() == config::Kind::Invalid => {
                "mend the lines named above, then: rosterd check"
            }
            Self::Contradiction(_) => "mend the config, then: rosterd check",
            Self::StateDirectory { .. } => "check that `[mirror] path` lies in a folder of the daemon's user",
            Self::Mirror(error) => error.hint(),
            Self::System(_) => {
                "check the limits of the service: `systemctl show rosterd -p TasksMax,LimitNOFILE`"
            }
            Self::Config(_)
            | Self::Log(_)
            | Self::Listen(_)
            | Self::Tls(_)
            | Self::Reconcile(_)
            | Self::Dead(_) => "",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(f),
            Self::Contradiction(what) => f.write_str(what),
            Self::Log(error) => error.fmt(f),
            Self::StateDirectory { path, source } => {
                write!(f, "cannot use the state directory {}: {source}", path.display())
            }
            Self::Mirror(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Reconcile(error) => error.fmt(f),
            Self::System(error) => write!(f, "the system refuses: {error}"),
            Self::Dead(part) => write!(f, "internal error: {part} has ended"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Mirror(error)
    }
}

impl From<mirror::Error> for Error {
    fn from(error: mirror::Error) -> Self {
        match error {
            mirror::Error::Store(error) => Self::Mirror(error),
            other => Self::Contradiction(other.to_string()),
        }
    }
}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<reconcile::Error> for Error {
    fn from(error: reconcile::Error) -> Self {
        match error {
            reconcile::Error::Store(error) => Self::Mirror(error),
            other => Self::Reconcile(other),
        }
    }
}

impl From<telemetry::LogError> for Error {
    fn from(error: telemetry::LogError) -> Self {
        Self::Log(error)
    }
}
