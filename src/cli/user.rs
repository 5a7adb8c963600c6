//! `rosterd user`: the users that identity providers pushed.

use std::path::Path;

use clap::Subcommand;
use serde_json::Value;

use super::admin::{Admin, Need, Query, segment};
use super::directory::parse_id;
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, style};
use crate::model::DirectoryId;

/// Arguments of `rosterd user`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd user list --filter 'active eq false'")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Users, a page at a time
    #[command(
        after_help = "Example:\n  rosterd user list --directory acme-okta --filter 'userName sw \"a\"'"
    )]
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        output: Json,
    },
    /// One user, as the mirror holds it
    #[command(after_help = "Example:\n  rosterd user show dana@example.com")]
    Show {
        /// An id, DIRECTORY/ID, userName or e-mail address; an ambiguous one is an error
        #[arg(value_name = "USER")]
        user: String,
        /// Accepted for scripts; a resource is printed as JSON either way
        #[arg(long)]
        json: bool,
    },
    /// Erase what is kept of a user who is gone: values in the log, records that name them; the log still verifies
    #[command(after_help = "Example:\n  rosterd user forget dana@example.com\n\n\
        Ids stay, and which change did what; it cannot be undone. Backups and kept versions of files are not touched.")]
    Forget {
        /// An id, or the userName the user had when it went
        #[arg(value_name = "USER")]
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Json,
    },
}

/// What a list shows: shared by users and groups.
#[derive(Debug, clap::Args)]
pub(super) struct Page {
    /// Only this directory's
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    directory: Option<DirectoryId>,
    /// A SCIM filter (RFC 7644 §3.4.2.2)
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: Option<u32>,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Page {
    pub(super) fn query(&self) -> String {
        Query::default()
            .with("directory", self.directory.as_ref().map(DirectoryId::as_str))
            .with("filter", self.filter.as_deref())
            .with("count", self.count.map(|count| count.to_string()).as_deref())
            .with("cursor", self.cursor.as_deref())
            .to_string()
    }
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::List { page, output } => {
            let answer = admin.get(&format!("/api/v1/users{}", page.query()))?;
            if output.json {
                output::json(&answer);
                return Ok(Exit::Done);
            }
            let mut table = Table::new(&["user", "state", "directory", "id", "name"], "No user matches.");
            for user in output::list(&answer, "users") {
                table.row([
                    Cell::styled(name_of(user), style::BOLD),
                    active(user),
                    Cell::from(output::text(user, "directory")),
                    Cell::from(output::text(user, "id")),
                    Cell::from(display_of(user)),
                ]);
            }
            table.print();
            more(&answer);
            Ok(Exit::Done)
        }
        Verb::Forget { user, yes, output } => {
            if !yes {
                output::confirm(&format!("Erase for ever what is kept of `{}`?", output::clean(user)))?;
            }
            let answer = admin.call("POST", &format!("/api/v1/forget/{}", segment(user)), None)?;
            if output.json {
                output::json(&answer);
            } else {
                output::line(&format!(
                    "Forgotten: user {}, the values of {} changes, {} deliveries, details of {} runs. Nothing undoes it.",
                    output::text(&answer, "id"),
                    output::number(&answer, "changes"),
                    output::number(&answer, "deliveries"),
                    output::number(&answer, "runs")
                ));
            }
            Ok(Exit::Done)
        }
        Verb::Show { user, json: _ } => {
            let answer = admin.get(&format!("/api/v1/users/{}", segment(user)))?;
            // A SCIM resource is JSON; a table would only lose parts of it.
            output::json(&answer);
            Ok(Exit::Done)
        }
    }
}

/// Says how to get the next page, where there is one.
pub(super) fn more(answer: &Value) {
    let cursor = output::text(answer, "next_cursor");
    if !cursor.is_empty() {
        output::note(&format!("More follow. Try: --cursor {cursor}"));
    }
}

fn name_of(user: &Value) -> &str {
    match output::text(user, "user_name") {
        "" => output::text(user, "userName"),
        name => name,
    }
}

/// The display name, whichever way it is spelled.
pub(super) fn display_of(resource: &Value) -> &str {
    match output::text(resource, "display_name") {
        "" => output::text(resource, "displayName"),
        name => name,
    }
}

fn active(user: &Value) -> Cell {
    match user.get("active").and_then(Value::as_bool) {
        Some(false) => Cell::styled("inactive", style::YELLOW),
        Some(true) | None => Cell::styled("active", style::GREEN),
    }
}
