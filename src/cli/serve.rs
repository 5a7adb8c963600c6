//! `rosterd serve`: run the daemon.

use std::path::Path;

use super::exit::{Error, Exit, Kind};
use crate::config;
use crate::daemon;
use crate::http::listener::ListenError;
use crate::mirror::StoreError;

/// Arguments of `rosterd serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd serve --config ./rosterd.toml\n\n\
    Usually systemd runs it: systemctl enable --now rosterd")]
pub struct Args {}

pub(super) fn run(_args: &Args, config: &Path) -> Result<Exit, Error> {
    daemon::serve(config).map_err(|error| daemon_error(&error))?;
    Ok(Exit::Done)
}

/// The daemon's errors as a command's: each has its exit code.
pub(super) fn daemon_error(error: &daemon::Error) -> Error {
    let (kind, hint) = (kind(error), error.hint());
    let told = Error::new(kind, error.to_string());
    if hint.is_empty() { told } else { told.hint(hint) }
}

fn kind(error: &daemon::Error) -> Kind {
    match error {
        daemon::Error::Config(problems) => config_kind(problems.kind()),
        daemon::Error::Contradiction(_)
        | daemon::Error::Log(_)
        | daemon::Error::Tls(_)
        | daemon::Error::Reconcile(_) => Kind::Config,
        daemon::Error::StateDirectory { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::Permission,
            _ => Kind::MirrorIo,
        },
        daemon::Error::Mirror(error) => store_kind(error),
        daemon::Error::Listen(error) => match error {
            ListenError::InUse(_) | ListenError::Resolve { .. } | ListenError::Io { .. } => Kind::Temporary,
            ListenError::Denied { .. } => Kind::Permission,
            ListenError::Address(_) | ListenError::NotASocket(_) => Kind::Config,
        },
        daemon::Error::System(_) => Kind::Temporary,
        daemon::Error::Dead(_) => Kind::Bug,
    }
}

/// What a config's worst problem stands for.
pub(super) fn config_kind(kind: config::Kind) -> Kind {
    match kind {
        config::Kind::Invalid => Kind::Config,
        config::Kind::MissingFile => Kind::Missing,
        config::Kind::Denied => Kind::Permission,
    }
}

fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::Corrupt(_) | StoreError::Newer { .. } | StoreError::NotOurs(_) => Kind::BadMirror,
        StoreError::Locked | StoreError::Busy | StoreError::Overloaded | StoreError::Closed => {
            Kind::Temporary
        }
        StoreError::Full | StoreError::ReadOnly | StoreError::Io(_) | StoreError::Open(_) => Kind::MirrorIo,
        StoreError::Bug(_) => Kind::Bug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_the_daemon_has_the_code_systemd_goes_by() {
        let code = |error| daemon_error(&error).exit().code();
        assert_eq!(code(daemon::Error::Mirror(StoreError::Locked)), 75);
        assert_eq!(code(daemon::Error::Mirror(StoreError::Newer { found: 9, known: 1 })), 65);
        assert_eq!(code(daemon::Error::Mirror(StoreError::Corrupt("x".into()))), 65);
        assert_eq!(code(daemon::Error::Mirror(StoreError::Io("x".into()))), 74);
        assert_eq!(code(daemon::Error::Listen(ListenError::InUse("x".into()))), 75);
        assert_eq!(code(daemon::Error::Contradiction("x".into())), 78);
        assert_eq!(code(daemon::Error::Dead("x")), 70);
    }
}
