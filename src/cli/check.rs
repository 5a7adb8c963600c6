//! `rosterd check`: validate the config and everything it names, without touching anything.

use std::path::Path;

use serde_json::json;

use super::exit::{Error, Exit};
use super::output::{self, Json, style};
use crate::config::{self, Loaded, Problems, Secrets};

/// Arguments of `rosterd check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd check --config ./rosterd.toml\n\n\
    Ends with 78 when the config is wrong; every mistake is named at once, with line, key and what was probably meant.")]
pub struct Args {
    /// Say nothing when all is well
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let checked = config::load(config, Secrets::Optional);
    if args.output.json {
        let (warnings, problems) = match &checked {
            Ok(loaded) => (json!(loaded.warnings), json!([])),
            Err(problems) => (json!([]), json!(problems)),
        };
        output::json(&json!({ "ok": checked.is_ok(), "problems": problems, "warnings": warnings }));
        return Ok(checked.map_or_else(|problems| problems_error(&problems).exit(), |_| Exit::Done));
    }
    match checked {
        Ok(loaded) => {
            passed(&loaded, args.quiet, config);
            Ok(Exit::Done)
        }
        Err(problems) => Err(problems_error(&problems)),
    }
}

fn passed(loaded: &Loaded, quiet: bool, config: &Path) {
    for warning in &loaded.warnings {
        output::note(&format!("{}warning:{} {warning}", style::YELLOW, style::RESET));
    }
    if !quiet {
        output::line(&format!("{} is valid.", config.display()));
    }
}

/// Every problem of a config as one error; the first kind that must be mended decides the exit code.
fn problems_error(problems: &Problems) -> Error {
    super::serve::daemon_error(&problems.clone().into())
}
