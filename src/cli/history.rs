//! `rosterd history`: the change log, oldest first.

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, style};

/// Arguments of `rosterd history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd history --after 1200 --limit 50 --json")]
pub struct Args {
    /// Changes behind this seq
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let query = Query::default()
        .with("after", Some(&args.after.to_string()))
        .with("limit", Some(&args.limit.to_string()));
    let answer = admin.get(&format!("/api/v1/changes{query}"))?;
    if args.output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["seq", "at", "change", "directory", "resource", "by"], "No change yet.");
    for change in output::list(&answer, "changes") {
        let resource = match output::text(change, "resource") {
            "" => output::text(change, "object"),
            id => id,
        };
        table.row([
            Cell::styled(output::number(change, "seq").to_string(), style::BOLD),
            Cell::from(output::text(change, "at")),
            Cell::from(output::text(change, "kind")),
            Cell::from(output::text(change, "directory")),
            Cell::from(resource),
            Cell::from(change.get("actor").and_then(Value::as_str).unwrap_or_default()),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}
