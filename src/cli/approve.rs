//! `rosterd approve`: let removals go that the guard holds.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Json, clean};
use super::plan::{self, parse_target};
use crate::model::TargetName;

/// Arguments of `rosterd approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: look at what is held, then let exactly that go\n  \
    rosterd plan opa\n  rosterd approve opa --plan 3f9a…\n\n\
    Example: one person really left, the rest has to wait\n  rosterd approve opa --subject erin@example.com\n\n\
    Example: after `rosterd restore`, follow the mirror again\n  rosterd approve --all --restored\n\n\
    Without --plan and --subject it shows what is held and asks. Ends with 3 when nobody can be asked.")]
pub struct Args {
    /// The target
    #[arg(value_name = "TARGET", value_parser = parse_target, required_unless_present = "all")]
    target: Option<TargetName>,
    /// Every target that holds something
    #[arg(long, conflicts_with_all = ["target", "plan", "subjects"])]
    all: bool,
    /// Only the removals of the plan with this hash; what was held later stays held
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Only this person, by the name at the target, userName or DIRECTORY/ID; may be repeated. Also ends a reject, and
    /// takes a protected role away
    #[arg(long = "subject", value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// Follow a mirror that was restored from a backup: the target becomes what access says
    #[arg(long, conflicts_with_all = ["plan", "subjects"])]
    restored: bool,
    /// Why, for the history: up to 500 characters
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let orders = match &args.target {
        Some(target) if args.plan.is_some() || !args.subjects.is_empty() => {
            vec![json!({ "target": target, "plan": args.plan, "subjects": args.subjects })]
        }
        _ if args.restored => unverified(args, &admin)?,
        _ => shown(args, &admin)?,
    };
    let mut reports = Vec::new();
    for mut order in orders {
        if let (Some(reason), Some(order)) = (&args.reason, order.as_object_mut()) {
            order.insert("reason".to_owned(), reason.as_str().into());
        }
        reports.push(admin.call("POST", "/api/v1/approve", Some(&order))?);
    }
    if args.output.json {
        output::json(&json!({ "targets": reports }));
        return Ok(Exit::Done);
    }
    for report in &reports {
        output::line(&if args.restored { followed(report) } else { said(report) });
    }
    if reports.is_empty() {
        output::line(if args.restored { "No target is unverified." } else { "Nothing is held." });
    }
    Ok(Exit::Done)
}

/// Shows what unverified targets would become, asks, and says what to order.
fn unverified(args: &Args, admin: &Admin) -> Result<Vec<Value>, Error> {
    let status = admin.get("/api/v1/status")?;
    let is_meant = |name: &str| args.target.as_ref().is_none_or(|target| target.as_str() == name);
    let names: Vec<&str> = output::list(&status, "targets")
        .iter()
        .filter(|target| output::text(target, "state") == "unverified")
        .map(|target| output::text(target, "name"))
        .filter(|name| is_meant(name))
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if !args.yes {
        let mut plans = Vec::new();
        for name in &names {
            let query = Query::default().with("target", Some(name));
            let answer = admin.get(&format!("/api/v1/plan{query}"))?;
            plans.extend(output::list(&answer, "targets").iter().cloned());
        }
        output::note(&plan::render(&json!({ "targets": plans })));
        output::note(
            "The plan is against what the backup remembers; whoever came or left since is not in it.",
        );
        if !std::io::stdin().is_terminal() {
            let message = format!("{} targets stay unverified: nobody can be asked here", names.len());
            return Err(Error::new(Kind::Held, message).hint("--yes"));
        }
        output::confirm(&format!("Let {} follow the restored mirror?", names.join(", ")))?;
    }
    Ok(names.iter().map(|name| json!({ "target": name, "restored": true })).collect())
}

/// What came of it.
fn followed(report: &Value) -> String {
    let target = clean(output::text(report, "target"));
    match (output::text(report, "state"), output::text(report, "error")) {
        ("", _) => format!("{target}: follows the restored mirror as soon as the daemon runs"),
        (state, "") => format!("{target}: follows the restored mirror, now {state}"),
        (state, error) => format!("{target}: is {state}: {}", clean(error)),
    }
}

/// Shows what is held, asks, and says what to order: each target by the hash of what was shown.
fn shown(args: &Args, admin: &Admin) -> Result<Vec<Value>, Error> {
    let query = Query::default().with("target", args.target.as_ref().map(TargetName::as_str));
    let answer = admin.get(&format!("/api/v1/plan{query}"))?;
    let held: Vec<Value> = output::list(&answer, "targets")
        .iter()
        .filter(|target| !output::list(target, "held_removals").is_empty())
        .cloned()
        .collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    if !args.yes {
        let count: usize = held.iter().map(|one| output::list(one, "held_removals").len()).sum();
        output::note(&plan::render(&json!({ "targets": held })));
        if !std::io::stdin().is_terminal() {
            return Err(Error::new(
                Kind::Held,
                format!("{count} removals stay held: nobody can be asked here"),
            )
            .hint("--plan HASH as shown above, or --yes"));
        }
        output::confirm(&format!("Let these {count} removals go?"))?;
    }
    Ok(held
        .iter()
        .map(|one| json!({ "target": output::text(one, "name"), "plan": output::text(one, "hash") }))
        .collect())
}

/// What one approval did, and what is left.
fn said(report: &Value) -> String {
    let target = clean(output::text(report, "target"));
    let count = |key| output::thousands(output::number(report, key));
    let held = match output::number(report, "held_removals") {
        0 => String::new(),
        _ => format!("; {} are held still, see `rosterd plan {target}`", count("held_removals")),
    };
    let after = match (output::text(report, "state"), output::text(report, "error")) {
        ("", _) => "; applied as soon as the daemon runs".to_owned(),
        (_, "") => String::new(),
        (state, error) => format!("; the target is {state}: {}", clean(error)),
    };
    format!(
        "{target}: {} removals let go{held}{after}\n\
         To undo it, grant the access again at the identity provider.",
        count("released")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_says_what_went_and_what_is_held_still() {
        let report =
            json!({"target": "opa", "released": 1240, "held_removals": 3, "state": "held", "error": null});
        assert_eq!(
            said(&report),
            "opa: 1,240 removals let go; 3 are held still, see `rosterd plan opa`\n\
             To undo it, grant the access again at the identity provider."
        );
        let offline =
            json!({"target": "opa", "released": 1, "held_removals": 0, "state": null, "error": null});
        assert!(said(&offline).contains("as soon as the daemon runs"));
    }
}
