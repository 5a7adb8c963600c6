//! `rosterd approve` and `rosterd reject`: a person's word on held removals.

use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need, Query};
use super::args::Json;
use super::exit::{Error, Exit, Kind};
use super::output;
use super::plan::{parse_target, render};
use crate::model::TargetName;

/// Arguments of `rosterd approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd plan opa\n  rosterd approve opa --plan 3f9a27c1\n\n\
    Without --plan it shows what is held and asks.")]
pub struct ApproveArgs {
    /// The target whose held removals may go ahead
    #[arg(value_name = "TARGET", value_parser = parse_target, required_unless_present = "all")]
    target: Option<TargetName>,
    /// Every target
    #[arg(long, conflicts_with = "target")]
    all: bool,
    /// Only what was held under this hash, as `plan` shows it
    #[arg(long, value_name = "HASH", requires = "target")]
    plan: Option<String>,
    /// Only these subjects; may be given several times
    #[arg(long, value_name = "S")]
    subject: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Json,
}

/// Arguments of `rosterd reject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd reject opa --yes\n\n\
    Those people keep what they hold until the identity provider grants it anew or you decide otherwise.")]
pub struct RejectArgs {
    /// The target whose held removals are refused
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    target: TargetName,
    /// Only what was held under this hash, as `plan` shows it
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Only these subjects; may be given several times
    #[arg(long, value_name = "S")]
    subject: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn approve(args: &ApproveArgs, config: &Path) -> Result<Exit, Error> {
    let word = Word { path: "/api/v1/approve", question: "Let these removals go ahead?", done: "Approved" };
    let choice = Choice { target: args.target.as_ref(), plan: args.plan.as_deref(), subjects: &args.subject };
    decide(&word, &choice, args.yes, args.output, config)
}

pub(super) fn reject(args: &RejectArgs, config: &Path) -> Result<Exit, Error> {
    let word = Word { path: "/api/v1/reject", question: "Keep all of them in?", done: "Rejected" };
    let choice = Choice { target: Some(&args.target), plan: args.plan.as_deref(), subjects: &args.subject };
    decide(&word, &choice, args.yes, args.output, config)
}

struct Word {
    path: &'static str,
    question: &'static str,
    done: &'static str,
}

struct Choice<'a> {
    target: Option<&'a TargetName>,
    plan: Option<&'a str>,
    subjects: &'a [String],
}

fn decide(word: &Word, choice: &Choice<'_>, yes: bool, output: Json, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::Daemon)?;
    let query = Query::default().with("target", choice.target.map(TargetName::as_str));
    let plan = admin.get(&format!("/api/v1/plan{query}"))?;
    let held: usize =
        output::list(&plan, "targets").iter().map(|target| output::list(target, "held_removals").len()).sum();
    if held == 0 {
        return Err(Error::new(Kind::Refused, "no removal is held").hint("rosterd plan"));
    }
    if choice.plan.is_none() && !yes {
        output::note(&render(&plan));
        output::confirm(word.question)?;
    }
    let body = json!({ "target": choice.target, "plan": choice.plan, "subjects": choice.subjects });
    let answer = admin.call("POST", word.path, Some(&body))?;
    if output.json {
        output::json(&answer);
    } else {
        let count = answer.get("removals").and_then(Value::as_u64).unwrap_or(held as u64);
        output::line(&format!("{} {count} removals. See: rosterd status", word.done));
    }
    Ok(Exit::Done)
}
