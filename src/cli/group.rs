//! `rosterd group`: the groups that identity providers pushed.

use std::path::Path;

use clap::Subcommand;
use serde_json::Value;

use super::admin::{Admin, Need, segment};
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, style};
use super::user::{Page, display_of, more};

/// Arguments of `rosterd group`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd group list --directory acme-okta")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Groups, a page at a time
    #[command(after_help = "Example:\n  rosterd group list --filter 'displayName sw \"Data\"'")]
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        output: Json,
    },
    /// One group with its members
    #[command(after_help = "Example:\n  rosterd group show \"Database Admins\"")]
    Show {
        /// An id, DIRECTORY/ID or displayName; an ambiguous one is an error
        #[arg(value_name = "GROUP")]
        group: String,
        /// Accepted for scripts; a resource is printed as JSON either way
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::List { page, output } => {
            let answer = admin.get(&format!("/api/v1/groups{}", page.query()))?;
            if output.json {
                output::json(&answer);
                return Ok(Exit::Done);
            }
            let mut table = Table::new(&["group", "members", "directory", "id"], "No group matches.");
            for group in output::list(&answer, "groups") {
                let members = match group.get("members_count").and_then(Value::as_u64) {
                    Some(count) => output::thousands(count),
                    None => String::from("-"),
                };
                table.row([
                    Cell::styled(display_of(group), style::BOLD),
                    Cell::from(members),
                    Cell::from(output::text(group, "directory")),
                    Cell::from(output::text(group, "id")),
                ]);
            }
            table.print();
            more(&answer);
            Ok(Exit::Done)
        }
        Verb::Show { group, json: _ } => {
            let answer = admin.get(&format!("/api/v1/groups/{}", segment(group)))?;
            output::json(&answer);
            Ok(Exit::Done)
        }
    }
}
