//! `rosterd token`: the bearer tokens of directories and readers.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{Admin, Need, segment};
use super::directory::{parse_id, told};
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, style};
use crate::model::{Clock as _, DirectoryId, SystemClock, TokenId};

/// Arguments of `rosterd token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: rotate a token without a gap\n  rosterd token new acme-okta\n  \
    (put it into the identity provider, then)\n  rosterd token list --directory acme-okta\n  rosterd token revoke TOKEN_ID")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make another token for a directory, or one for a reader; prints it once
    #[command(after_help = "Examples:\n  rosterd token new acme-okta --expires 90d --note \"rotation\"\n  \
        rosterd token new --reader opa-fleet --expires 90d")]
    New {
        /// The directory it is for
        #[arg(value_name = "DIRECTORY", value_parser = parse_id, required_unless_present = "reader")]
        directory: Option<DirectoryId>,
        /// Instead: the `[[reader]]` it is for; what it may read stands in the config
        #[arg(long, value_name = "NAME", conflicts_with = "directory")]
        reader: Option<String>,
        /// When it ends by itself: 90d, 12h, 30m. Never, unless given
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        expires: Option<Duration>,
        /// What it is for, shown in lists
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// All tokens, without their text
    #[command(after_help = "Example:\n  rosterd token list --directory acme-okta")]
    List {
        /// Only this directory's
        #[arg(long, value_parser = parse_id, conflicts_with = "reader")]
        directory: Option<DirectoryId>,
        /// Only this reader's
        #[arg(long, value_name = "NAME")]
        reader: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// End a token; its next request is refused
    #[command(after_help = "Example:\n  rosterd token revoke tok_4fQ9aZ")]
    Revoke {
        /// The token's id, as `token list` shows it
        #[arg(value_name = "TOKEN_ID", value_parser = parse_token)]
        id: TokenId,
        #[command(flatten)]
        output: Json,
    },
}

fn parse_token(text: &str) -> Result<TokenId, String> {
    TokenId::parse(text).map_err(|rule| rule.to_string())
}

/// A span such as `90d`, `12h`, `30m`, `45s`, longer than nothing and at most ten years.
fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || String::from("a span is a whole number and one of s, m, h, d, w, such as 90d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let count: u64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let span = count.saturating_mul(seconds);
    if (1..=315_360_000).contains(&span) {
        Ok(Duration::from_secs(span))
    } else {
        Err(String::from("a token lives at least a second and at most ten years"))
    }
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::New { directory, reader, expires, note, output } => {
            let holder = (directory.as_ref(), reader.as_deref());
            new(&admin, holder, *expires, note.as_deref(), *output)
        }
        Verb::List { directory, reader, output } => {
            list(&admin, directory.as_ref(), reader.as_deref(), *output)
        }
        Verb::Revoke { id, output } => {
            let answer = admin.call("DELETE", &format!("/api/v1/tokens/{}", segment(id.as_str())), None)?;
            let done =
                format!("Revoked token {id}: its next request is refused. There is no undo; make another.");
            Ok(told(*output, &answer, &done, None))
        }
    }
}

fn new(
    admin: &Admin,
    (directory, reader): (Option<&DirectoryId>, Option<&str>),
    expires: Option<Duration>,
    note: Option<&str>,
    output: Json,
) -> Result<Exit, Error> {
    let expires = expires.map(|span| SystemClock.now().plus(span).to_string());
    let body = json!({ "directory": directory, "reader": reader, "expires": expires, "note": note });
    let answer = admin.call("POST", "/api/v1/tokens", Some(&body))?;
    let id = output::text(&answer, "id");
    if output.json {
        let promised: serde_json::Map<String, Value> = ["id", "directory", "reader", "token", "expires"]
            .into_iter()
            .map(|key| (key.to_owned(), answer.get(key).cloned().unwrap_or(Value::Null)))
            .collect();
        output::json(&Value::Object(promised));
        return Ok(Exit::Done);
    }
    output::line(&match (directory, reader) {
        (Some(directory), _) => format!("Made token {id} for directory {directory}."),
        (None, reader) => format!("Made token {id} for reader {}.", reader.unwrap_or_default()),
    });
    output::line("");
    output::line(&format!("  {}", output::text(&answer, "token")));
    output::line("");
    output::line(&match answer.get("expires").and_then(Value::as_str) {
        Some(moment) => format!("It is shown this once and ends at {moment}."),
        None => String::from("It is shown this once and does not expire."),
    });
    output::line(&format!("{}Undo: rosterd token revoke {id}{}", style::DIM, style::RESET));
    Ok(Exit::Done)
}

fn list(
    admin: &Admin,
    directory: Option<&DirectoryId>,
    reader: Option<&str>,
    output: Json,
) -> Result<Exit, Error> {
    let query = match (directory, reader) {
        (Some(id), _) => format!("?directory={}", segment(id.as_str())),
        (None, Some(name)) => format!("?reader={}", segment(name)),
        (None, None) => String::new(),
    };
    let answer = admin.get(&format!("/api/v1/tokens{query}"))?;
    if output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    let mut table = Table::new(
        &["token", "directory", "reader", "state", "created", "last used", "expires", "note"],
        "No token yet. Try: rosterd token new DIRECTORY",
    );
    for token in output::list(&answer, "tokens") {
        let moment = |key: &str, never: &'static str| match output::text(token, key) {
            "" => Cell::styled(never, style::DIM),
            at => Cell::from(output::ago(at, now)),
        };
        let expires = output::text(token, "expires");
        table.row([
            Cell::styled(output::text(token, "id"), style::BOLD),
            Cell::from(output::text(token, "directory")),
            Cell::from(output::text(token, "reader")),
            state(token, now),
            moment("created", "-"),
            moment("last_used", "never"),
            if expires.is_empty() { Cell::styled("never", style::DIM) } else { Cell::from(expires) },
            Cell::from(output::text(token, "note")),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

fn state(token: &Value, now: crate::model::Timestamp) -> Cell {
    let past = |key: &str| {
        crate::model::Timestamp::parse_rfc3339(output::text(token, key)).is_some_and(|at| at <= now)
    };
    if past("revoked") {
        Cell::styled("revoked", style::RED)
    } else if past("expires") {
        Cell::styled("expired", style::RED)
    } else {
        Cell::styled("live", style::GREEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_a_limit() {
        assert_eq!(parse_span("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(parse_span("12h"), Ok(Duration::from_hours(12)));
        for bad in ["", "90", "d", "1.5h", "-3d", "0s", "99999w", "1y", "9ä"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
