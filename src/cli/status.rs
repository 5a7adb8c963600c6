//! `rosterd status`: one screen of state.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need};
use super::exit::{Error, Exit};
use super::output::{self, Cell, Json, Table, clean, style};
use crate::model::{Clock as _, SystemClock};

/// Problems on one screen; `--json` has all.
const PROBLEMS_SHOWN: usize = 12;

/// Arguments of `rosterd status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd status --json | jq -r '.targets[] | select(.state != \"in_sync\") | .name'"
)]
pub struct Args {
    /// Only whether the daemon can take a write now: ends with 0, else with 1, or 69 where none answers. For health
    /// checks.
    #[arg(long, conflicts_with = "json")]
    ready: bool,

    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    if args.ready {
        let (is_ready, said) = Admin::open(config, Need::Daemon)?.readiness()?;
        output::line(&clean(&said));
        return Ok(if is_ready { Exit::Done } else { Exit::Failed });
    }
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let answer = admin.get("/api/v1/status")?;
    if args.output.json {
        output::json(&answer);
    } else {
        output::line(&render(&answer));
    }
    Ok(Exit::Done)
}

fn render(status: &Value) -> String {
    let mut out = vec![
        format!(
            "{}rosterd {}{}  epoch {}  seq {}",
            style::BOLD,
            clean(output::text(status, "version")),
            style::RESET,
            output::number(status, "epoch"),
            output::thousands(output::number(status, "seq"))
        ),
        String::new(),
        super::directory::table(output::list(status, "directories")).render(),
        String::new(),
        targets(output::list(status, "targets")).render(),
    ];
    for target in output::list(status, "targets") {
        if output::number(target, "held_removals") > 0 {
            let name = clean(output::text(target, "name"));
            let held = output::thousands(output::number(target, "held_removals"));
            out.push(String::new());
            out.push(format!(
                "{}{name}: the guard holds {held} removals{}; see rosterd plan {name}, then rosterd approve {name} or \
                 rosterd reject {name}",
                style::RED,
                style::RESET
            ));
        }
    }
    out.extend(streams(status));
    out.extend(unenforced(status));
    out.extend(decisions(status));
    let problems = problems(status);
    if !problems.is_empty() {
        out.push(String::new());
        out.push(format!("{}Problems{}", style::BOLD, style::RESET));
        out.extend(problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("  {}", clean(problem))));
        if let Some(more) = problems.len().checked_sub(PROBLEMS_SHOWN).filter(|more| *more > 0) {
            out.push(format!("  … and {more} more: rosterd status --json"));
        }
    }
    out.join("\n")
}

/// Readers that fetch signed events, and how far each is.
fn streams(status: &Value) -> Vec<String> {
    let rows = output::list(status, "streams");
    if rows.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&["reader", "state", "unacknowledged", "behind", "refused", "last poll"], "");
    for row in rows {
        let refused = output::number(row, "refused");
        let counted = |key: &str| Cell::from(output::thousands(output::number(row, key)));
        table.row([
            Cell::styled(output::text(row, "reader"), style::BOLD),
            state_cell(output::text(row, "state")),
            counted("unacknowledged"),
            counted("lag_events"),
            if refused > 0 { Cell::styled(output::thousands(refused), style::RED) } else { Cell::from("-") },
            Cell::from(output::ago(output::text(row, "last_poll"), SystemClock.now())),
        ]);
    }
    vec![String::new(), table.render()]
}

/// Revocations shown on one screen; `--json` has more.
const LATE_SHOWN: usize = 5;

/// Who should be out and is still in somewhere.
fn unenforced(status: &Value) -> Vec<String> {
    let late = status.get("unenforced").unwrap_or(&Value::Null);
    let count = output::number(late, "count");
    if count == 0 {
        return Vec::new();
    }
    let mut table = Table::new(&["revoked, not enforced", "entitlements", "since", "why", "targets"], "");
    for row in output::list(late, "first").iter().take(LATE_SHOWN) {
        let who = match output::text(row, "subject") {
            "" => output::text(row, "change"),
            subject => subject,
        };
        let targets: Vec<&str> = output::list(row, "targets").iter().filter_map(Value::as_str).collect();
        table.row([
            Cell::styled(who, style::RED),
            Cell::from(output::thousands(output::number(row, "entitlements"))),
            Cell::from(output::ago(output::text(row, "since"), SystemClock.now())),
            Cell::from(output::text(row, "why")),
            Cell::from(targets.join(", ")),
        ]);
    }
    let mut out = vec![String::new(), table.render()];
    if let Some(more) = count.checked_sub(LATE_SHOWN as u64).filter(|more| *more > 0) {
        out.push(format!("… and {} more: rosterd status --json", output::thousands(more)));
    }
    out
}

/// What people decided, and what of it wants an eye: directories that do not answer, who is shut, grants.
fn decisions(status: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let mut red = |text: String| {
        out.push(String::new());
        out.push(format!("{}{text}{}", style::RED, style::RESET));
    };
    for directory in output::list(status, "directories") {
        let id = clean(output::text(directory, "id"));
        if directory.get("enabled") == Some(&Value::Bool(false)) {
            red(format!(
                "{id} is disabled: its requests are refused and access is frozen; see rosterd directory enable {id}"
            ));
        }
        if let Some((what, hint)) = super::directory::trouble(directory) {
            red(format!("{id}: {what}; {hint}"));
        }
        if directory.get("silent") == Some(&Value::Bool(true)) {
            let heard = output::ago(output::text(directory, "last_heard"), SystemClock.now());
            red(format!("{id} is silent, last heard {heard}: who left since may still be in"));
        }
        if output::number(directory, "unconfirmed") > 0 {
            let count = output::thousands(output::number(directory, "unconfirmed"));
            red(format!("{id}: {count} users were not named again; see rosterd directory show {id}"));
        }
    }
    for (key, table) in
        [("shut", super::shut::table as fn(&[Value]) -> Table), ("grants", super::grant::table)]
    {
        let rows = output::list(status, key);
        if !rows.is_empty() {
            out.push(String::new());
            out.push(table(rows).render());
        }
    }
    out
}

/// What is wrong, each once: what concerns everything, then what targets report, with their names.
fn problems(status: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        output::list(value, "problems").iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let mut found = texts(status);
    let mut of_targets: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for target in output::list(status, "targets") {
        for problem in texts(target).into_iter().filter(|problem| !found.contains(problem)) {
            of_targets.entry(problem).or_default().push(output::text(target, "name"));
        }
    }
    found.extend(of_targets.into_iter().map(|(problem, names)| format!("{}: {problem}", names.join(", "))));
    found
}

/// The table of targets.
pub(super) fn targets(targets: &[Value]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(
        &["target", "type", "state", "applied", "last success", "held", "last error"],
        "No target yet. Try: a [[target]] in the config, then rosterd reload",
    );
    for target in targets {
        let held = output::number(target, "held_removals");
        table.row([
            Cell::styled(output::text(target, "name"), style::BOLD),
            Cell::from(output::text(target, "type")),
            state_cell(output::text(target, "state")),
            Cell::from(output::thousands(output::number(target, "applied_seq"))),
            match output::text(target, "last_success") {
                "" => Cell::styled("never", style::DIM),
                at => Cell::from(output::ago(at, now)),
            },
            if held > 0 { Cell::styled(output::thousands(held), style::RED) } else { Cell::from("-") },
            match output::text(target, "last_error") {
                "" => Cell::styled("-", style::DIM),
                error => Cell::styled(error, style::RED),
            },
        ]);
    }
    table
}

/// A target's state in its colour: green is as it should be, yellow will pass, red wants a person.
pub(super) fn state_cell(state: &str) -> Cell {
    let colour = match state {
        "in_sync" => style::GREEN,
        "pending" | "waiting" | "unverified" | "pinned" | "disabled" => style::YELLOW,
        _ => style::RED,
    };
    Cell::styled(state, colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_screen_shows_directories_targets_and_problems() {
        let status = json!({"version": "0.1.0", "epoch": 1, "seq": 12410,
            "directories": [{"id": "acme", "name": "Acme", "kind": "okta", "enabled": true, "users": 3, "groups": 1, "last_push": null}],
            "targets": [{"name": "opa", "type": "file", "state": "failing", "applied_seq": 3, "last_success": null,
                "last_error": "disk full", "held_removals": 0, "problems": ["two users are called `bob`"]}],
            "problems": ["role `x`: no group `Y`"]});
        let plain = anstream::adapter::strip_str(&render(&status)).to_string();
        assert!(plain.starts_with("rosterd 0.1.0  epoch 1  seq 12,410\n\nDIRECTORY"), "{plain}");
        assert!(plain.contains("opa     file  failing  3        never         -     disk full"), "{plain}");
        assert!(
            plain.ends_with("Problems\n  role `x`: no group `Y`\n  opa: two users are called `bob`"),
            "{plain}"
        );
    }
}
