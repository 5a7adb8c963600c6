//! `rosterd shut`: somebody is out of every target.

use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need};
use super::directory::told;
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, clean, style};
use crate::model::{Clock as _, SystemClock};

/// Arguments of `rosterd shut`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: out everywhere at once, whatever the identity provider says\n  \
    rosterd shut alice@example.com --reason \"laptop stolen, ticket 4711\"\n\n\
    Past `wait`, the guard, protected roles and `apply = \"manual\"`; until `rosterd open`. A user who is renamed, or \
    deleted and made anew under the same userName in the same directory, stays out.")]
pub struct Args {
    /// Who: a userName, an e-mail address, an id or DIRECTORY/ID
    #[arg(value_name = "SUBJECT", required_unless_present = "list")]
    subject: Option<String>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    reason: Option<String>,
    /// Show who is shut, and change nothing
    #[arg(long, conflicts_with_all = ["subject", "reason"])]
    list: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    if args.list {
        return list(&admin, args.output);
    }
    let order = json!({ "subject": args.subject, "reason": args.reason });
    let answer = admin.call("POST", "/api/v1/shut", Some(&order))?;
    let subject = clean(output::text(&answer, "subject"));
    Ok(told(args.output, &answer, &said(&answer), Some(&format!("rosterd open {subject}"))))
}

fn said(answer: &Value) -> String {
    let name = clean(output::text(answer, "user_name"));
    let behind: Vec<String> =
        output::list(answer, "still_in").iter().filter_map(Value::as_str).map(clean).collect();
    let done = format!("Shut {name} ({}) out of every target.", clean(output::text(answer, "subject")));
    if behind.is_empty() {
        return done;
    }
    format!("{done}\nNot out yet: {}; rosterd status says why.", behind.join(", "))
}

fn list(admin: &Admin, output: Json) -> Result<Exit, Error> {
    let answer = admin.get("/api/v1/shut")?;
    if output.json {
        output::json(&answer);
    } else {
        table(output::list(&answer, "shut")).print();
    }
    Ok(Exit::Done)
}

/// Who is shut, as `shut --list` and `status` show it.
pub(super) fn table(shut: &[Value]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(&["shut", "since", "by", "reason", "subject"], "Nobody is shut.");
    for one in shut {
        table.row([
            Cell::styled(output::text(one, "user_name"), style::RED),
            Cell::from(output::ago(output::text(one, "at"), now)),
            Cell::from(output::text(one, "actor")),
            Cell::from(output::text(one, "reason")),
            Cell::from(output::text(one, "subject")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_says_who_is_out_and_where_not_yet() {
        let mut answer = json!({"subject": "acme/1", "user_name": "a@example.com", "still_in": []});
        assert_eq!(said(&answer), "Shut a@example.com (acme/1) out of every target.");
        answer["still_in"] = json!(["opa"]);
        assert!(said(&answer).ends_with("Not out yet: opa; rosterd status says why."));
    }
}
