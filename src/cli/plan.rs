//! `rosterd plan`: what each target would change now.

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean, style};
use crate::model::TargetName;

/// Arguments of `rosterd plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: is anything left to do, in a script?\n  rosterd plan --exit-code\n\n\
    With --exit-code: 0 nothing to do, 2 changes pending, 3 removals held by the guard.")]
pub struct Args {
    /// Only this target
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    target: Option<TargetName>,
    /// End with 2 when changes are pending, with 3 when removals are held
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn parse_target(text: &str) -> Result<TargetName, String> {
    TargetName::parse(text).map_err(|rule| rule.to_string())
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let query = Query::default().with("target", args.target.as_ref().map(TargetName::as_str));
    let answer = admin.get(&format!("/api/v1/plan{query}"))?;
    if args.output.json {
        output::json(&answer);
    } else {
        output::line(&render(&answer));
    }
    let sums = sums(&answer);
    Ok(match (args.exit_code, sums.held > 0, sums.pending() > 0) {
        (true, true, _) => Exit::Held,
        (true, false, true) => Exit::Pending,
        _ => Exit::Done,
    })
}

/// Lines of one sign that are shown of one target; `--json` shows all.
const LINES_MAX: usize = 40;

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    add: usize,
    change: usize,
    remove: usize,
    held: usize,
}

impl Sums {
    fn pending(&self) -> usize {
        self.add + self.change + self.remove
    }
}

fn sums(plan: &Value) -> Sums {
    output::list(plan, "targets").iter().fold(Sums::default(), |sums, target| Sums {
        add: sums.add + output::list(target, "add").len(),
        change: sums.change + output::list(target, "change").len(),
        remove: sums.remove + output::list(target, "remove").len(),
        held: sums.held + output::list(target, "held_removals").len(),
    })
}

/// The plan as lines: a heading per target, then what is added, changed, removed and held.
pub(super) fn render(plan: &Value) -> String {
    let mut out = Vec::new();
    let targets = output::list(plan, "targets");
    for target in targets {
        let held = output::list(target, "held_removals");
        out.push(format!("{}{}{}", style::BOLD, clean(output::text(target, "name")), style::RESET));
        let kinds = [("add", '+', style::GREEN), ("change", '~', style::YELLOW), ("remove", '-', style::RED)];
        for (key, sign, colour) in kinds {
            out.extend(entries(output::list(target, key), sign, colour));
        }
        out.extend(entries(output::list(target, "kept"), '=', style::DIM));
        out.extend(entries(held, '!', style::RED));
        if !held.is_empty() {
            // The hash covers the held removals; a decision on them names it.
            let hash = clean(output::text(target, "hash"));
            out.push(format!("  {} removals are held by the guard, as plan {hash}", held.len()));
            let name = clean(output::text(target, "name"));
            out.push(format!(
                "  let them go: rosterd approve {name} --plan {hash}   keep them: rosterd reject {name} --plan {hash}"
            ));
        }
        if ["add", "change", "remove", "held_removals"].iter().all(|key| output::list(target, key).is_empty())
        {
            out.push(String::from("  nothing to do"));
        }
    }
    if targets.is_empty() {
        out.push(String::from(
            "No target is configured. Try: a [[target]] in the config, then rosterd reload",
        ));
    }
    let sums = sums(plan);
    let held = if sums.held > 0 { format!(", {} held", sums.held) } else { String::new() };
    out.push(format!(
        "Plan: {} to add, {} to change, {} to remove{held}.",
        sums.add, sums.change, sums.remove
    ));
    out.join("\n")
}

/// Lines of one sign; of a long list the first ones and a count.
fn entries(list: &[Value], sign: char, colour: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        list.iter().take(LINES_MAX).map(|entry| entry_line(sign, colour, entry)).collect();
    if let Some(more) = list.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        lines.push(format!("  {colour}{sign}{} … and {} more", style::RESET, output::thousands(more as u64)));
    }
    lines
}

fn entry_line(sign: char, colour: &str, entry: &Value) -> String {
    let (from, to) = (output::text(entry, "from"), output::text(entry, "to"));
    if !from.is_empty() {
        return format!("  {colour}{sign}{} {} → {}", style::RESET, clean(from), clean(to));
    }
    // The label is the entitlement as the target shows it; an older daemon sends none.
    let entitlement = match output::text(entry, "label") {
        "" => output::text(entry, "entitlement"),
        label => label,
    };
    format!(
        "  {colour}{sign}{} {}  {}  {}{}{}",
        style::RESET,
        clean(output::text(entry, "subject")),
        clean(entitlement),
        style::DIM,
        clean(output::text(entry, "why")),
        style::RESET
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_reads_as_signed_lines_with_a_sum() {
        let plan = json!({"targets": [{"name": "opa", "hash": "3f9a", "held": true, "total": 9,
            "add": [{"subject": "dana@example.com", "entitlement": "role:db-admin", "label": "role db-admin", "why": "member of Database Admins"}],
            "remove": [], "change": [{"from": "kim", "to": "kim.lee", "id": "acme/3"}],
            "held_removals": [{"subject": "erin", "entitlement": "role:db-admin", "why": "gone"}]}]});
        let plain = anstream::adapter::strip_str(&render(&plan)).to_string();
        assert_eq!(
            plain,
            "opa\n  + dana@example.com  role db-admin  member of Database Admins\n  ~ kim → kim.lee\n  \
             ! erin  role:db-admin  gone\n  1 removals are held by the guard, as plan 3f9a\n  let them go: rosterd approve opa --plan 3f9a   keep them: rosterd reject opa --plan 3f9a\n\
             Plan: 1 to add, 1 to change, 0 to remove, 1 held."
        );
    }

    #[test]
    fn no_target_is_no_error() {
        let plain = render(&json!({"targets": []}));
        assert!(plain.starts_with("No target is configured."));
        assert!(plain.ends_with("Plan: 0 to add, 0 to change, 0 to remove."));
    }
}
