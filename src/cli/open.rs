//! `rosterd open`: somebody who was shut is let in again.

use std::path::Path;

use serde_json::json;

use super::admin::{Admin, Need};
use super::directory::told;
use super::exit::{Error, Exit};
use super::output::{self, Json, clean};

/// Arguments of `rosterd open`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: end a `shut`\n  rosterd open alice@example.com\n\n\
    What the identity provider gives counts again; `rosterd shut --list` shows who is shut.")]
pub struct Args {
    /// Who: the name or id that was shut
    #[arg(value_name = "SUBJECT")]
    subject: String,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let answer = admin.call("POST", "/api/v1/open", Some(&json!({ "subject": args.subject })))?;
    let (name, subject) =
        (clean(output::text(&answer, "user_name")), clean(output::text(&answer, "subject")));
    let done = format!("Opened {name} ({subject}): what the identity provider gives counts again.");
    let undo = format!("rosterd shut {subject} --reason \"…\"");
    Ok(told(args.output, &answer, &done, Some(&undo)))
}
