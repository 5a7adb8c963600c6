//! `rosterd serve`: run the daemon.

use std::path::Path;

use super::exit::{Error, Exit, Kind};

/// Arguments of `rosterd serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd serve --config ./rosterd.toml\n\nUsually systemd runs it: systemctl enable --now rosterd"
)]
pub struct Args {}

pub(super) fn run(_args: &Args, _config: &Path) -> Result<Exit, Error> {
    Ok(Exit::Done)
}

pub(super) fn daemon_error(error: crate::daemon::Error) -> Error {
    Error::new(Kind::Config, format!("{error:?}"))
}
