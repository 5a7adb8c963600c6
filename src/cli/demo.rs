//! `rosterd demo`: the whole job on loopback with throwaway state.

use std::path::PathBuf;

use super::exit::{Error, Exit, Kind};
use super::output;
use crate::daemon::demo::{self, DemoError};

/// Arguments of `rosterd demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: does everything work on this machine?\n  rosterd demo --exit\n\n\
    With --exit it ends with 0 only if every file and webhook arrived.")]
pub struct Args {
    /// End after the story instead of serving until Ctrl-C
    #[arg(long)]
    exit: bool,
    /// Keep everything in this new or empty folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Error> {
    let settings = demo::Settings { exit: args.exit, dir: args.dir.clone() };
    demo::run(&settings, &output::line).map_err(|error| {
        let hint = match &error {
            DemoError::Setup(_) => "rosterd demo --dir NEW_FOLDER",
            DemoError::Daemon(_) | DemoError::Answer { .. } | DemoError::Missing(..) => {
                "rosterd demo --dir NEW_FOLDER keeps config, log and files to look at"
            }
        };
        Error::new(Kind::Refused, error.to_string()).hint(hint)
    })?;
    Ok(Exit::Done)
}
