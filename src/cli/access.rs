//! `rosterd access`: who holds which role, since when and by what.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, clean, style};
use super::review;

/// Arguments of `rosterd access`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: who could reach the database on the day of the incident, as a page to print\n  \
    rosterd access --at 2026-11-20T14:00:00Z --role db-admin --review html > review.html\n\n\
    Times: 2026-11-20T14:00:00Z, 2026-11-20, '2h ago', -2h; or a position of the log: seq:1204."
)]
pub struct Args {
    /// As it was then; without it, now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// Only this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// An access review in this form, on standard output
    #[arg(long, value_name = "FORM", conflicts_with = "json")]
    review: Option<Form>,
    #[command(flatten)]
    output: Json,
}

/// What a review is written as.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// One line for each holder of each role
    Csv,
    /// What --json prints
    Json,
    /// One page that needs nothing else, for a browser or a printer
    Html,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let query = Query::default().with("at", args.at.as_deref()).with("role", args.role.as_deref());
    let answer = admin.get(&format!("/api/v1/access{query}"))?;
    for problem in output::list(&answer, "problems").iter().filter_map(Value::as_str) {
        output::note(&clean(problem));
    }
    match args.review {
        Some(Form::Csv) => output::raw(&review::csv(&answer)),
        Some(Form::Html) => output::raw(&review::html(&answer)),
        Some(Form::Json) => output::json(&answer),
        None if args.output.json => output::json(&answer),
        None => table(&answer).print(),
    }
    Ok(Exit::Done)
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new(&["role", "user", "directory", "since", "by", "why"], "Nobody holds a role.");
    for role in output::list(answer, "roles") {
        for holder in output::list(role, "holders") {
            table.row([
                Cell::styled(output::text(role, "role"), style::BOLD),
                Cell::from(output::text(holder, "user_name")),
                Cell::from(output::text(holder, "directory")),
                Cell::from(since(holder).as_str()),
                Cell::from(by(holder).as_str()),
                Cell::from(why(holder).as_str()),
            ]);
        }
    }
    table
}

/// When it began, or that it is older than the log.
pub(super) fn since(holder: &Value) -> String {
    match holder.get("since") {
        Some(Value::Object(since)) => since.get("at").and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => "before the log".to_owned(),
    }
}

/// Which change and who made it.
pub(super) fn by(holder: &Value) -> String {
    holder.get("since").map(cause).unwrap_or_default()
}

/// `#17 group.updated, token:tok_x`.
pub(super) fn cause(cause: &Value) -> String {
    if !cause.is_object() {
        return String::new();
    }
    let request = output::text(cause, "request");
    let request = if request.is_empty() { String::new() } else { format!(", request {request}") };
    format!(
        "#{} {}, {}{request}",
        output::number(cause, "seq"),
        output::text(cause, "kind"),
        output::text(cause, "actor")
    )
}

/// All reasons in one cell.
pub(super) fn why(holder: &Value) -> String {
    let all: Vec<&str> = output::list(holder, "why").iter().filter_map(Value::as_str).collect();
    all.join("; ")
}
