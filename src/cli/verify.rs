//! `rosterd verify`: do change log and mirror agree?

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean};

/// Arguments of `rosterd verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd verify && echo unbroken\n\nEnds with 1 when something does not agree."
)]
pub struct Args {
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let answer = admin.get("/api/v1/verify")?;
    let agrees = answer.get("ok").and_then(Value::as_bool).unwrap_or(false);
    if args.output.json {
        output::json(&answer);
    } else if agrees {
        let changes = output::thousands(output::number(&answer, "changes"));
        output::line(&format!(
            "Verified: {changes} changes, every chain is unbroken and the mirror is what they say."
        ));
    } else {
        output::line("Not verified:");
        for problem in output::list(&answer, "problems").iter().filter_map(Value::as_str) {
            output::line(&format!("  {}", clean(problem)));
        }
    }
    Ok(if agrees { Exit::Done } else { Exit::Failed })
}
