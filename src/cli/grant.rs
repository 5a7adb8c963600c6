//! `rosterd grant`: a role for a time.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{Admin, Need};
use super::directory::told;
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, clean, style};
use crate::config::parse_duration;
use crate::model::{Clock as _, GrantId, RoleName, SystemClock};

/// Arguments of `rosterd grant`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example: four hours of db-admin\n  \
    rosterd grant alice@example.com db-admin --for 4h --reason \"incident 4711\"\n\n\
    On top of what the identity provider says; it ends by itself. Who is inactive or shut gets nothing from it."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Who: a userName, an e-mail address, an id or DIRECTORY/ID
    #[arg(value_name = "SUBJECT", required = true)]
    subject: Option<String>,
    /// A role of the config
    #[arg(value_name = "ROLE", required = true, value_parser = parse_role)]
    role: Option<RoleName>,
    /// How long: 30m, 4h, 7d; a second to a year
    #[arg(long = "for", value_name = "SPAN", required = true, value_parser = parse_duration)]
    span: Option<Duration>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", required = true)]
    reason: Option<String>,
    #[command(flatten)]
    output: Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Grants that run
    #[command(after_help = "Example:\n  rosterd grant list --all")]
    List {
        /// Those too that ended within 30 days
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Json,
    },
    /// End a grant before its time
    #[command(after_help = "Example:\n  rosterd grant revoke 4711")]
    Revoke {
        /// The grant's id, as `grant list` shows it
        #[arg(value_parser = parse_grant)]
        id: GrantId,
        #[command(flatten)]
        output: Json,
    },
}

fn parse_role(text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).map_err(|rule| rule.to_string())
}

fn parse_grant(text: &str) -> Result<GrantId, String> {
    text.parse().map_err(|rule: crate::model::IdError| rule.to_string())
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        None => give(&admin, args),
        Some(Verb::List { all, output }) => {
            let answer = admin.get(if *all { "/api/v1/grants?all=true" } else { "/api/v1/grants" })?;
            if output.json {
                output::json(&answer);
            } else {
                table(output::list(&answer, "grants")).print();
            }
            Ok(Exit::Done)
        }
        Some(Verb::Revoke { id, output }) => {
            let answer = admin.call("DELETE", &format!("/api/v1/grants/{id}"), None)?;
            let (name, role) = (output::text(&answer, "user_name"), output::text(&answer, "role"));
            let done = format!("Ended grant {id}: {} no longer has {} by it.", clean(name), clean(role));
            let undo = format!("rosterd grant {} {} --for … --reason …", clean(name), clean(role));
            Ok(told(*output, &answer, &done, Some(&undo)))
        }
    }
}

fn give(admin: &Admin, args: &Args) -> Result<Exit, Error> {
    let seconds = args.span.unwrap_or_default().as_secs();
    let order =
        json!({ "subject": args.subject, "role": args.role, "seconds": seconds, "reason": args.reason });
    let answer = admin.call("POST", "/api/v1/grants", Some(&order))?;
    let done = format!(
        "Granted {} to {} until {} (grant {}).",
        clean(output::text(&answer, "role")),
        clean(output::text(&answer, "user_name")),
        output::text(&answer, "until"),
        output::number(&answer, "id")
    );
    let undo = format!("rosterd grant revoke {}", output::number(&answer, "id"));
    Ok(told(args.output, &answer, &done, Some(&undo)))
}

/// Grants, as `grant list` and `status` show them.
pub(super) fn table(grants: &[Value]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(
        &["grant", "who", "role", "until", "given", "by", "reason"],
        "No grant runs. Try: rosterd grant alice@example.com db-admin --for 4h --reason \"…\"",
    );
    for one in grants {
        let until = match output::text(one, "ended") {
            "" => Cell::styled(output::text(one, "until"), style::YELLOW),
            ended => Cell::styled(format!("ended {}", output::ago(ended, now)), style::DIM),
        };
        table.row([
            Cell::from(output::number(one, "id").to_string()),
            Cell::styled(output::text(one, "user_name"), style::BOLD),
            Cell::from(output::text(one, "role")),
            until,
            Cell::from(output::ago(output::text(one, "at"), now)),
            Cell::from(output::text(one, "actor")),
            Cell::from(output::text(one, "reason")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_that_ended_says_so() {
        let grants = [
            json!({"id": 7, "user_name": "a@example.com", "role": "dba", "until": "2030-01-01T00:00:00Z", "ended": null}),
            json!({"id": 6, "user_name": "b@example.com", "role": "dba", "until": "x", "ended": "2020-01-01T00:00:00.000Z"}),
        ];
        let text = table(&grants).render();
        assert!(text.contains("2030-01-01T00:00:00Z") && text.contains("ended "), "{text}");
    }
}
