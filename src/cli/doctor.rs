//! `rosterd doctor`: look an installation over.

use std::path::Path;

use serde_json::json;

use super::admin::{Admin, Need};
use super::exit::Exit;
use super::output::{self, Json, clean_lines, style};
use crate::daemon::doctor::{self, Depth, Finding, Level, Said};

/// Arguments of `rosterd doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sudo rosterd doctor\n\n\
    One line for each thing looked at; codes never change their meaning (docs/doctor.md). Ends with 1 when something fails.")]
pub struct Args {
    /// Connect nowhere: neither to webhooks nor to `public_url`
    #[arg(long)]
    offline: bool,
    /// Read the whole mirror too
    #[arg(long)]
    deep: bool,
    /// Only what is not as it should be
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Exit {
    // The daemon is asked first: afterwards this process may be its user, who may ask for little.
    let said = match Admin::open(config, Need::Daemon) {
        Ok(admin) => Said {
            status: admin.get("/api/v1/status").map_err(|error| error.to_string()),
            tokens: admin.get("/api/v1/tokens").ok(),
        },
        Err(error) => Said { status: Err(error.to_string()), tokens: None },
    };
    let found = doctor::examine(config, Depth { offline: args.offline, deep: args.deep }, &said);
    let worst = found.iter().map(|one| one.level).max().unwrap_or(Level::Ok);
    if args.output.json {
        output::json(&json!({ "ok": worst != Level::Fail, "checks": found }));
    } else {
        print(&found, args.quiet);
    }
    if worst == Level::Fail { Exit::Failed } else { Exit::Done }
}

fn print(found: &[Finding], quiet: bool) {
    let count = |level: Level| found.iter().filter(|one| one.level == level).count();
    for one in found.iter().filter(|one| !quiet || one.level != Level::Ok) {
        let (word, colour) = match one.level {
            Level::Ok => ("ok  ", style::GREEN),
            Level::Warn => ("warn", style::YELLOW),
            Level::Fail => ("fail", style::RED),
        };
        output::line(&format!("{} {colour}{word}{} {}", one.code, style::RESET, clean_lines(&one.what)));
        if !one.hint.is_empty() {
            output::line(&format!("          {}Try:{} {}", style::DIM, style::RESET, clean_lines(&one.hint)));
        }
    }
    if !quiet {
        output::line(&format!(
            "{} ok, {} to look at, {} failing.",
            count(Level::Ok),
            count(Level::Warn),
            count(Level::Fail)
        ));
    }
}
