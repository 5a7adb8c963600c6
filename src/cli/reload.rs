//! `rosterd reload`: the daemon reads its config again, and this command waits for the result.

use std::path::Path;

use super::admin::{Admin, Need};
use super::exit::{Error, Exit};
use super::output::{self, Json, style};

/// Arguments of `rosterd reload`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd check && rosterd reload\n\nA bad config is refused and the old one stays; the exit code is then 78."
)]
pub struct Args {
    /// Wait for the result. It always does; the unit file says so to be clear
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::Daemon)?;
    let answer = admin.call("POST", "/api/v1/reload", None)?;
    if args.output.json {
        output::json(&answer);
    } else {
        output::line(
            "The config was read again and is in force. Undo: restore the file and reload once more.",
        );
        let kinds =
            [("adds", '+', style::GREEN), ("removes", '-', style::RED), ("restarts", '!', style::YELLOW)];
        for (key, sign, colour) in kinds {
            for text in output::list(&answer, key).iter().filter_map(serde_json::Value::as_str) {
                output::line(&format!("  {colour}{sign}{} {}", style::RESET, output::clean(text)));
            }
        }
        if !output::list(&answer, "restarts").is_empty() {
            output::line("What is marked ! counts from the next start: systemctl restart rosterd");
        }
        for notice in output::list(&answer, "notices").iter().filter_map(serde_json::Value::as_str) {
            output::note(&output::clean_lines(notice));
        }
    }
    Ok(Exit::Done)
}
