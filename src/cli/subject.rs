//! `rosterd subject`: which directory a name belongs to.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::admin::{Admin, Need};
use super::directory::told;
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, clean, style};
use crate::model::{Clock as _, SystemClock};

/// Arguments of `rosterd subject`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd subject release acme-okta/01890a5d-ac96-774b-bcce-b302099a8057 --reason \"moved\""
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a subject's directory let go of its name, so that the next directory that has it owns it
    #[command(after_help = "Example: alice moved from acme-okta to acme-entra\n  \
        rosterd subject release acme-okta/01890a5d-ac96-774b-bcce-b302099a8057 --reason \"moved\"\n\n\
        A name belongs to the directory that stands first, also while the user is inactive there. Name the subject by \
        DIRECTORY/ID, since both directories know the name.")]
    Release {
        /// Whose name: DIRECTORY/ID, or a name that only one directory has
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT", required_unless_present = "undo")]
        reason: Option<String>,
        /// Give the name back
        #[arg(long, conflicts_with = "reason")]
        undo: bool,
        #[command(flatten)]
        output: Json,
    },
    /// Names that directories have let go of
    #[command(after_help = "Example:\n  rosterd subject released --json")]
    Released {
        #[command(flatten)]
        output: Json,
    },
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::Release { subject, reason, undo, output } => {
            let order = if *undo {
                json!({ "subject": subject, "undo": true })
            } else {
                json!({ "subject": subject, "reason": reason })
            };
            let answer = admin.call("POST", "/api/v1/release", Some(&order))?;
            let id = clean(output::text(&answer, "subject"));
            let (directory, name) = (output::text(&answer, "directory"), output::text(&answer, "user_name"));
            let (directory, name) = (clean(directory), clean(name));
            let (done, undo) = if *undo {
                let undo = format!("rosterd subject release {id} --reason \"…\"");
                (format!("Directory {directory} has {name} again."), undo)
            } else {
                let undo = format!("rosterd subject release {id} --undo");
                (
                    format!(
                        "Directory {directory} let go of {name}: the next directory that has it owns it."
                    ),
                    undo,
                )
            };
            Ok(told(*output, &answer, &done, Some(&undo)))
        }
        Verb::Released { output } => {
            let answer = admin.get("/api/v1/release")?;
            if output.json {
                output::json(&answer);
                return Ok(Exit::Done);
            }
            let now = SystemClock.now();
            let mut table =
                Table::new(&["name", "released by", "since", "by", "reason"], "No name was released.");
            for one in output::list(&answer, "released") {
                table.row([
                    Cell::styled(output::text(one, "user_name"), style::BOLD),
                    Cell::from(output::text(one, "directory")),
                    Cell::from(output::ago(output::text(one, "at"), now)),
                    Cell::from(output::text(one, "actor")),
                    Cell::from(output::text(one, "reason")),
                ]);
            }
            table.print();
            Ok(Exit::Done)
        }
    }
}
