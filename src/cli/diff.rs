//! `rosterd diff`: what came and went between two moments.

use std::path::Path;

use serde_json::Value;

use super::access::{cause, why};
use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean, style};

/// Arguments of `rosterd diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: who lost or got what over the weekend\n  \
    rosterd diff --from 2026-11-20T18:00:00Z --to 2026-11-23T08:00:00Z\n\n\
    Times: 2026-11-20T14:00:00Z, 2026-11-20, '2h ago', -2h; or a position of the log: seq:1204.")]
pub struct Args {
    /// The earlier moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// The later moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "now")]
    to: String,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let query = Query::default().with("from", Some(&args.from)).with("to", Some(&args.to));
    let answer = admin.get(&format!("/api/v1/diff{query}"))?;
    for problem in output::list(&answer, "problems").iter().filter_map(Value::as_str) {
        output::note(&clean(problem));
    }
    if args.output.json {
        output::json(&answer);
    } else {
        output::line(&render(&answer));
    }
    Ok(Exit::Done)
}

fn render(answer: &Value) -> String {
    let (add, remove) = (output::list(answer, "add"), output::list(answer, "remove"));
    let mut out: Vec<String> = add.iter().map(|line| shown('+', style::GREEN, line)).collect();
    out.extend(remove.iter().map(|line| shown('-', style::RED, line)));
    let seq = |end: &str| answer.get(end).map_or(0, |end| output::number(end, "seq"));
    out.push(format!(
        "{} came, {} went between change {} and change {}.",
        add.len(),
        remove.len(),
        seq("from"),
        seq("to")
    ));
    out.join("\n")
}

fn shown(sign: char, colour: &str, line: &Value) -> String {
    let entitlement = output::text(line, "entitlement");
    let kind = entitlement.split_once(':').map_or("", |(kind, _)| kind);
    let by = line.get("change").map(cause).unwrap_or_default();
    let by = if by.is_empty() {
        String::new()
    } else {
        format!("  {}[{}]{}", style::DIM, clean(&by), style::RESET)
    };
    format!(
        "{colour}{sign}{} {}  {kind} {}  ({}){}",
        style::RESET,
        clean(output::text(line, "subject")),
        clean(output::text(line, "label")),
        clean(&why(line)),
        by
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_who_what_why_and_by_which_change() {
        let answer = json!({"from": {"seq": 3}, "to": {"seq": 9}, "remove": [], "add": [
            {"subject": "dana", "entitlement": "role:ops", "label": "ops", "why": ["member of \"Ops\""],
             "change": {"seq": 7, "kind": "group.updated", "actor": "token:tok_x", "request": "r1"}}]});
        let plain = anstream::adapter::strip_str(&render(&answer)).to_string();
        assert_eq!(
            plain,
            "+ dana  role ops  (member of \"Ops\")  [#7 group.updated, token:tok_x, request r1]\n\
             1 came, 0 went between change 3 and change 9."
        );
    }
}
