//! `rosterd reject`: keep what the guard holds.

use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean};
use super::plan::parse_target;
use crate::model::TargetName;

/// Arguments of `rosterd reject`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: the identity provider was misconfigured; give back what went before it was noticed, too\n  \
    rosterd reject opa --window --reason 'a wrong assignment'\n\n\
    Example: only what I looked at\n  rosterd reject opa --plan 3f9a…\n\n\
    A rejected removal stays rejected until the identity provider grants that access again, or until \
    `rosterd approve TARGET --subject S`."
)]
pub struct Args {
    /// The target
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    target: TargetName,
    /// Only what the plan with this hash held, as `rosterd plan` shows it; what came to be held since waits
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Give back, too, what the guard's window let through before the hold began
    #[arg(long)]
    window: bool,
    /// Why, for the history: up to 500 characters
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let order =
        json!({ "target": args.target, "plan": args.plan, "window": args.window, "reason": args.reason });
    let report = admin.call("POST", "/api/v1/reject", Some(&order))?;
    if args.output.json {
        output::json(&report);
    } else {
        output::line(&said(&report));
    }
    Ok(Exit::Done)
}

/// What the reject did, and how to undo it.
fn said(report: &Value) -> String {
    let target = clean(output::text(report, "target"));
    let count = |key| output::thousands(output::number(report, key));
    let given_back = match output::number(report, "given_back") {
        0 => String::new(),
        _ => format!(", {} given back", count("given_back")),
    };
    let failed = match output::text(report, "error") {
        "" => String::new(),
        error => format!("; the target is {}: {}", output::text(report, "state"), clean(error)),
    };
    format!(
        "{target}: {} removals rejected{given_back}{failed}\n\
         They stay until the identity provider grants them again. To let somebody go: rosterd approve {target} --subject S",
        count("rejected")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_says_what_stays_and_how_to_undo_it() {
        let report = json!({"target": "opa", "rejected": 240, "given_back": 12, "state": "in_sync"});
        assert_eq!(said(&report).lines().next(), Some("opa: 240 removals rejected, 12 given back"));
    }
}
