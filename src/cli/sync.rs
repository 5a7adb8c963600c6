//! `rosterd sync`: bring targets up to date now.

use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Cell, Json, Table, clean, style};
use super::plan::parse_target;
use crate::model::TargetName;

/// Arguments of `rosterd sync`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: take over a file that was there before rosterd\n  rosterd plan opa\n  rosterd sync opa --adopt\n\n\
    Ends with 1 when a target failed and with 3 when the guard holds removals."
)]
pub struct Args {
    /// Only this target; all of them when not given
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    target: Option<TargetName>,
    /// Replace a destination that is not rosterd's; needs TARGET
    #[arg(long, requires = "target")]
    adopt: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::Daemon)?;
    let body = json!({ "target": args.target, "adopt": args.adopt });
    let answer = admin.call("POST", "/api/v1/sync", Some(&body))?;
    let targets = output::list(&answer, "targets");
    if args.output.json {
        output::json(&answer);
    } else {
        let mut table = Table::new(&["target", "state", "did"], "No target is configured.");
        for target in targets {
            table.row([
                Cell::styled(output::text(target, "target"), style::BOLD),
                super::status::state_cell(output::text(target, "state")),
                Cell::from(did(target)),
            ]);
        }
        table.print();
    }
    let state_is = |state: &str| targets.iter().any(|target| output::text(target, "state") == state);
    if state_is("failing") || state_is("foreign") {
        let failed: Vec<String> = targets
            .iter()
            .filter(|target| matches!(output::text(target, "state"), "failing" | "foreign"))
            .map(|target| clean(output::text(target, "target")))
            .collect();
        return Err(Error::new(Kind::Refused, format!("not in sync: {}", failed.join(", ")))
            .hint("rosterd status shows what is wrong; a foreign file is taken over by `rosterd sync TARGET --adopt`"));
    }
    if state_is("held") && !args.output.json {
        output::note("The guard holds removals: rosterd plan shows them, rosterd approve or reject decides.");
    }
    Ok(if state_is("held") { Exit::Held } else { Exit::Done })
}

/// What happened, in a few words.
fn did(target: &Value) -> String {
    let error = output::text(target, "error");
    if !error.is_empty() {
        return error.to_owned();
    }
    if target.get("changed").and_then(Value::as_bool) != Some(true) {
        return String::from("nothing to do");
    }
    let count = |key| output::thousands(output::number(target, key));
    format!("{} added, {} removed, {} renamed", count("added"), count("removed"), count("renamed"))
}
