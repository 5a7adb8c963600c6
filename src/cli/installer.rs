//! `rosterd installer`: the root process for destinations that belong to root.

use std::path::{Path, PathBuf};

use super::args::CONFIG_DEFAULT;
use super::exit::{Error, Exit, Kind};
use super::output;
use super::serve::config_kind;
use crate::daemon::installer;

/// Where its config is, unless `--config` says otherwise.
const INSTALLER_CONFIG_DEFAULT: &str = "/etc/rosterd/installer.toml";

/// Arguments of `rosterd installer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd installer --check --config /etc/rosterd/installer.toml\n\n\
    systemd runs it when the daemon asks: systemctl enable --now rosterd-install.socket\n\
    Without --config it obeys /etc/rosterd/installer.toml, not rosterd.toml. That file must belong to root and be writable for nobody else, \
    and takes from the daemon nothing but a target's name, a file's name in a tree, and bytes. See docs/installer.md.")]
pub struct Args {
    /// Only read the config and say what is wrong with it
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    // The daemon's own config is never the installer's, so its default stands for ours.
    let config = if config == Path::new(CONFIG_DEFAULT) {
        PathBuf::from(INSTALLER_CONFIG_DEFAULT)
    } else {
        config.to_owned()
    };
    if args.check {
        let settings = installer::check(&config).map_err(|error| told(&error))?;
        output::line(&format!("{} is valid: {} targets.", config.display(), settings.targets.len()));
        return Ok(Exit::Done);
    }
    installer::run(&config).map_err(|error| told(&error))?;
    Ok(Exit::Done)
}

fn told(error: &installer::Error) -> Error {
    let kind = match error {
        installer::Error::Config(problems) => config_kind(problems.kind()),
        installer::Error::NotRoot => Kind::Permission,
        installer::Error::Log(_) | installer::Error::State(..) => Kind::Config,
        installer::Error::Socket(_) => Kind::Temporary,
    };
    Error::new(kind, error.to_string())
}
