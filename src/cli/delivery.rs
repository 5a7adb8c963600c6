//! `rosterd delivery`: events on their way to webhooks and programs.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{Admin, Need, Query, segment};
use super::directory::told;
use super::exit::{Error, Exit, Kind};
use super::output::{self, Cell, Json, Table, clean, style};
use super::plan::parse_target;
use crate::model::{Clock as _, SystemClock, TargetName, Timestamp};

/// Arguments of `rosterd delivery`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: what is stuck, why, and try it again\n  rosterd delivery list --state parked\n  \
    rosterd delivery show app/1-42-0\n  rosterd delivery retry app/1-42-0"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// Which deliveries are meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only of this target
    #[arg(long, value_name = "TARGET", value_parser = parse_target)]
    target: Option<TargetName>,
    /// Only in this state: held, pending, parked, done, skipped
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only of this event type, such as `user.created` or `access.*`
    #[arg(long, value_name = "TYPE")]
    kind: Option<String>,
    /// Only of this user or group, by its id
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Only those whose last attempt was answered with this status
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Deliveries, newest first
    #[command(after_help = "Example:\n  rosterd delivery list --target app --state parked --limit 20")]
    List {
        #[command(flatten)]
        which: Which,
        /// At most this many, 1 to 1000
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        output: Json,
    },
    /// One delivery with its body and each attempt
    #[command(after_help = "Example:\n  rosterd delivery show app/1-42-0")]
    Show {
        /// The delivery, as `delivery list` shows it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        output: Json,
    },
    /// Try deliveries again now; with --all also a target that answered 410
    #[command(after_help = "Example: the receiver is mended\n  rosterd delivery retry --all --target app")]
    Retry {
        /// The deliveries, as `delivery list` shows them
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All that wait or are parked, or those that fit the filters
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Json,
    },
    /// Pass over a delivery; its target goes on with the next
    #[command(after_help = "Example:\n  rosterd delivery skip app/1-42-0")]
    Skip {
        /// The delivery, as `delivery list` shows it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        output: Json,
    },
    /// Send a target again what happened from there on, under the same ids
    #[command(after_help = "Example: the receiver lost two hours\n  rosterd delivery replay app --since 2h")]
    Replay {
        /// The target
        #[arg(value_name = "TARGET", value_parser = parse_target)]
        target: TargetName,
        /// From this change on
        #[arg(long, value_name = "SEQ", required_unless_present = "since", conflicts_with = "since")]
        from: Option<u64>,
        /// From this time on: 2026-01-31T12:00:00Z, or as long ago as 90m, 2h, 7d
        #[arg(long, value_name = "TIME", value_parser = parse_since)]
        since: Option<Timestamp>,
        #[command(flatten)]
        output: Json,
    },
    /// Send a target the present state, then what changes
    #[command(after_help = "Example: the receiver starts over\n  rosterd delivery snapshot app")]
    Snapshot {
        /// The target
        #[arg(value_name = "TARGET", value_parser = parse_target)]
        target: TargetName,
        #[command(flatten)]
        output: Json,
    },
}

/// A time, or how long ago.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Ok(at);
    }
    let wrong = || String::from("write a time such as 2026-01-31T12:00:00Z, or a span such as 90m, 2h, 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let count: i64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let ago = count.checked_mul(seconds).and_then(|ago| ago.checked_mul(1_000_000)).ok_or_else(wrong)?;
    if ago < 0 { Err(wrong()) } else { Ok(Timestamp(SystemClock.now().0.saturating_sub(ago))) }
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::List { which, limit, output } => list(&admin, which, *limit, *output),
        Verb::Show { id, output } => show(&admin, id, *output),
        Verb::Retry { ids, all, which, output } => {
            let mut body = json!({ "ids": ids, "all": all });
            if let (true, Some(body)) = (*all, body.as_object_mut()) {
                let status = which.status.map(|status| status.to_string());
                for (key, value) in which.pairs(status.as_deref()) {
                    body.insert(key.to_owned(), value.into());
                }
            }
            let answer = admin.call("POST", "/api/v1/deliveries/retry", Some(&body))?;
            let count = output::thousands(output::number(&answer, "deliveries"));
            Ok(told(*output, &answer, &format!("Trying {count} deliveries again now."), None))
        }
        Verb::Skip { id, output } => {
            let answer = admin.call("POST", "/api/v1/deliveries/skip", Some(&json!({ "id": id })))?;
            let done = format!(
                "Passed over {}; its target goes on. Send it after all: rosterd delivery replay {}",
                clean(id),
                replay_of(id)
            );
            Ok(told(*output, &answer, &done, None))
        }
        Verb::Replay { target, from, since, output } => {
            let since = since.map(|at| at.to_string());
            let body = json!({ "target": target, "from": from, "since": since });
            let answer = admin.call("POST", "/api/v1/deliveries/replay", Some(&body))?;
            let from = output::number(&answer, "from");
            let mut done = format!("Sending {target} again what happened from change {from} on.");
            if let Some(note) = answer.get("note").and_then(Value::as_str) {
                done = format!("{done}\n{}", clean(note));
            }
            Ok(told(*output, &answer, &done, None))
        }
        Verb::Snapshot { target, output } => {
            let body = json!({ "target": target });
            let answer = admin.call("POST", "/api/v1/deliveries/snapshot", Some(&body))?;
            let done = format!(
                "Sending {target} the present state, then what changes. How far: rosterd delivery list --target {target}"
            );
            Ok(told(*output, &answer, &done, None))
        }
    }
}

/// `TARGET --from SEQ` of a delivery's id.
fn replay_of(id: &str) -> String {
    let (target, event) = id.split_once('/').unwrap_or((id, ""));
    format!("{} --from {}", clean(target), clean(event.split('-').nth(1).unwrap_or("SEQ")))
}

impl Which {
    fn pairs<'a>(&'a self, status: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let all = [
            ("target", self.target.as_ref().map(TargetName::as_str)),
            ("state", self.state.as_deref()),
            ("kind", self.kind.as_deref()),
            ("resource", self.resource.as_deref()),
            ("status", status),
        ];
        all.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect()
    }
}

fn list(admin: &Admin, which: &Which, limit: u32, output: Json) -> Result<Exit, Error> {
    let status = which.status.map(|status| status.to_string());
    let mut query = Query::default().with("limit", Some(&limit.to_string()));
    for (key, value) in which.pairs(status.as_deref()) {
        query = query.with(key, Some(value));
    }
    let answer = admin.get(&format!("/api/v1/deliveries{query}"))?;
    if output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(
        &["delivery", "event", "about", "state", "attempts", "status", "error"],
        "No delivery fits.",
    );
    for one in output::list(&answer, "deliveries") {
        let state = output::text(one, "state");
        let colour = match state {
            "done" => style::GREEN,
            "parked" | "held" => style::RED,
            "skipped" => style::DIM,
            _ => style::YELLOW,
        };
        let status = one.get("last_status").and_then(Value::as_u64).map(|status| status.to_string());
        table.row([
            Cell::styled(output::text(one, "id"), style::BOLD),
            Cell::from(output::text(one, "kind")),
            Cell::from(match output::text(one, "resource_name") {
                "" => output::text(one, "resource"),
                name => name,
            }),
            Cell::styled(state, colour),
            Cell::from(output::number(one, "attempts").to_string().as_str()),
            Cell::from(status.unwrap_or_default().as_str()),
            Cell::from(output::text(one, "last_error")),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

fn show(admin: &Admin, id: &str, output: Json) -> Result<Exit, Error> {
    let Some((target, event)) = id.split_once('/') else {
        return Err(Error::new(Kind::Refused, format!("`{}` is no delivery", clean(id)))
            .hint("its id looks like app/1-42-0: rosterd delivery list"));
    };
    let answer = admin.get(&format!("/api/v1/deliveries/{}/{}", segment(target), segment(event)))?;
    if output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    for key in [
        "id",
        "kind",
        "resource",
        "resource_name",
        "at",
        "state",
        "batch",
        "next_at",
        "finished_at",
        "last_error",
    ] {
        let text = output::text(&answer, key);
        if !text.is_empty() {
            output::line(&format!("{}{key}{}  {}", style::BOLD, style::RESET, clean(text)));
        }
    }
    let mut table = Table::new(&["attempt", "status", "ms", "outcome", "error", "answer"], "Not tried yet.");
    for one in output::list(&answer, "tried") {
        let status = one.get("status").and_then(Value::as_u64).map(|status| status.to_string());
        table.row([
            Cell::from(output::text(one, "at")),
            Cell::from(status.unwrap_or_default().as_str()),
            Cell::from(output::number(one, "latency_ms").to_string().as_str()),
            Cell::from(output::text(one, "outcome")),
            Cell::from(output::text(one, "error")),
            Cell::from(output::text(one, "answer")),
        ]);
    }
    table.print();
    output::line(&clean(output::text(&answer, "body")));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_span() {
        assert_eq!(parse_since("1970-01-01T00:00:01Z").unwrap(), Timestamp(1_000_000));
        let ago = SystemClock.now().since(parse_since("2h").unwrap()).as_secs();
        assert!((7_190..7_260).contains(&ago), "{ago}");
        for bad in ["", "2", "h", "-2h", "soon", "99999999999999999d"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_skipped_one_can_be_sent_after_all() {
        assert_eq!(replay_of("app/1-42-0"), "app --from 42");
    }
}
