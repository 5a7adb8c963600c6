//! `rosterd history`: the change log.

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean, style};

/// Arguments of `rosterd history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: everything about one person since yesterday\n  \
    rosterd history --subject dana@example.com --since '1d ago'\n\n\
    Without --since, --until and --after the newest changes are shown; the order is always that of time.\n\
    Times: 2026-11-20T14:00:00Z, 2026-11-20, '2h ago', -2h.")]
pub struct Args {
    /// Changes of this user and memberships of theirs: an id, DIRECTORY/ID, userName or e-mail address
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Changes of this group and its members; with --subject, when the one came into the other and left
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this kind, or a family such as `guard.*`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only what this actor did: `admin:ops`, `uid:0`, `token:…`, `daemon`, `config`
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Changes behind this seq: where the last page ended
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// At most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let is_newest = args.since.is_none() && args.until.is_none() && args.after.is_none();
    let query = Query::default()
        .with("subject", args.subject.as_deref())
        .with("group", args.group.as_deref())
        .with("kind", args.kind.as_deref())
        .with("actor", args.actor.as_deref())
        .with("since", args.since.as_deref())
        .with("until", args.until.as_deref())
        .with("after", args.after.map(|after| after.to_string()).as_deref())
        .with("limit", Some(&args.limit.to_string()))
        .with("order", is_newest.then_some("newest"));
    let mut answer = admin.get(&format!("/api/v1/history{query}"))?;
    if is_newest && let Some(changes) = answer.get_mut("changes").and_then(Value::as_array_mut) {
        changes.reverse();
    }
    if args.output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let changes = output::list(&answer, "changes");
    if changes.is_empty() {
        output::line("No such change.");
    }
    for change in changes {
        output::line(&shown(change));
    }
    if let Some(next) = answer.get("next").and_then(Value::as_u64) {
        output::note(&if is_newest {
            format!("Older ones are there, before change {next}. Try: --until or --after 0")
        } else {
            format!("More follow. Try: --after {next}")
        });
    }
    Ok(Exit::Done)
}

/// A heading, then what changed, then who came and went.
fn shown(change: &Value) -> String {
    let text = |key: &str| clean(output::text(change, key));
    let what = [text("name"), text("resource"), text("object")].into_iter().find(|one| !one.is_empty());
    let mut by = format!("by {}", text("actor"));
    if !text("request").is_empty() {
        by = format!("{by}, request {}", text("request"));
    }
    let place = text("directory");
    let place = if place.is_empty() { String::new() } else { format!("  in {place}") };
    let mut lines = vec![format!(
        "{}  {}#{}{}  {}  {}{place}  {}{by}{}",
        text("at"),
        style::BOLD,
        output::number(change, "seq"),
        style::RESET,
        text("kind"),
        what.unwrap_or_default(),
        style::DIM,
        style::RESET
    )];
    if change.get("erased").and_then(Value::as_bool) == Some(true) {
        lines.push("    values erased".to_owned());
    }
    lines.extend(values(change));
    lines.extend(members(change));
    lines.join("\n")
}

/// `title: "A" → "B"`, one line for each attribute.
fn values(change: &Value) -> Vec<String> {
    let part = |key: &str| change.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after) = (part("before"), part("after"));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let value =
        |value: Option<&Value>| value.map_or_else(|| "–".to_owned(), |value| short(&value.to_string()));
    let line = |name: &&String| {
        format!("    {}: {} → {}", clean(name), value(before.get(*name)), value(after.get(*name)))
    };
    names.iter().map(line).collect()
}

/// Longest value shown; `--json` has all of it.
const VALUE_MAX: usize = 120;

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(VALUE_MAX).collect();
    if text.chars().nth(VALUE_MAX).is_some() {
        shown.push('…');
    }
    clean(&shown)
}

/// Members shown of one change; `--json` has more.
const MEMBERS_MAX: usize = 20;

fn members(change: &Value) -> Vec<String> {
    let rows = output::list(change, "members");
    let name = |row: &Value, key: &str| match output::text(row, &format!("{key}_name")) {
        "" => clean(output::text(row, key)),
        name => clean(name),
    };
    let line = |row: &Value| {
        let (sign, colour, verb) = match output::text(row, "op") {
            "add" => ('+', style::GREEN, "into"),
            _ => ('-', style::RED, "out of"),
        };
        format!("    {colour}{sign}{} {} {verb} {}", style::RESET, name(row, "member"), name(row, "group"))
    };
    let mut lines: Vec<String> = rows.iter().take(MEMBERS_MAX).map(line).collect();
    let total = output::number(change, "members_total");
    let told = u64::try_from(lines.len()).unwrap_or(0);
    if total > told {
        lines.push(format!("    and {} more", output::thousands(total - told)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_told_with_values_and_members() {
        let change = json!({"seq": 7, "at": "2026-11-20T00:00:00.000Z", "kind": "group.updated", "directory": "acme",
            "name": "Ops", "resource": "1", "actor": "token:tok_x", "request": "r1", "erased": false,
            "before": {"displayName": "Op"}, "after": {"displayName": "Ops", "externalId": "e"}, "members_total": 30,
            "members": [{"op": "add", "member": "2", "member_name": "dana", "group": "1", "group_name": "Ops"}]});
        let plain = anstream::adapter::strip_str(&shown(&change)).to_string();
        assert_eq!(
            plain,
            "2026-11-20T00:00:00.000Z  #7  group.updated  Ops  in acme  by token:tok_x, request r1\n    \
             displayName: \"Op\" → \"Ops\"\n    externalId: – → \"e\"\n    + dana into Ops\n    and 29 more"
        );
    }
}
