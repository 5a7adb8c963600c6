//! `rosterd explain`: why somebody holds, or does not hold, each role.

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean, style};

/// Arguments of `rosterd explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd explain dana@example.com --role db-admin\n\n\
    With --role the exit code is the answer: 0 holds it, 1 does not.")]
pub struct Args {
    /// An id, DIRECTORY/ID, userName or e-mail address; an ambiguous one is an error
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Only this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let query = Query::default().with("subject", Some(&args.subject)).with("role", args.role.as_deref());
    let answer = admin.get(&format!("/api/v1/explain{query}"))?;
    if args.output.json {
        output::json(&answer);
    } else {
        output::line(&render(&answer));
    }
    let holds = output::list(&answer, "roles").iter().any(holds);
    Ok(if args.role.is_some() && !holds { Exit::Failed } else { Exit::Done })
}

fn holds(role: &Value) -> bool {
    role.get("holds").or_else(|| role.get("held")).and_then(Value::as_bool).unwrap_or(false)
}

fn render(answer: &Value) -> String {
    let mut out = Vec::new();
    let name = match output::text(answer, "user_name") {
        "" => output::text(answer, "subject"),
        name => name,
    };
    let active = answer.get("active").and_then(Value::as_bool).unwrap_or(true);
    let state = if active { "" } else { "  inactive: holds nothing" };
    out.push(format!(
        "{}{}{}  {}{state}",
        style::BOLD,
        clean(name),
        style::RESET,
        clean(output::text(answer, "subject"))
    ));
    let roles = output::list(answer, "roles");
    if roles.is_empty() {
        out.push(String::from("  no role is configured"));
    }
    for role in roles {
        let (sign, colour) = if holds(role) { ('✓', style::GREEN) } else { ('✗', style::DIM) };
        out.push(format!("  {colour}{sign}{} {}", style::RESET, clean(output::text(role, "role"))));
        let told = output::list(role, "reasons");
        for reason in told {
            out.push(format!("      {}", clean(output::text(reason, "why"))));
            out.extend(by(reason.get("since"), "since"));
        }
        if told.is_empty() {
            out.extend(reasons(role).iter().map(|reason| format!("      {}", clean(reason))));
            out.extend(by(role.get("lost"), "taken away"));
        }
        out.extend(output::list(role, "targets").iter().flat_map(at_target));
    }
    out.join("\n")
}

/// `since 2026-…  #17 group.updated, token:tok_x, request r1`.
fn by(cause: Option<&Value>, word: &str) -> Option<String> {
    let cause = cause.filter(|cause| cause.is_object())?;
    let told = clean(&super::access::cause(cause));
    Some(format!("      {}{word} {}  {told}{}", style::DIM, clean(output::text(cause, "at")), style::RESET))
}

/// What one target makes of it: the line in its file, and why it is not as it should be.
fn at_target(target: &Value) -> Vec<String> {
    let carries = target.get("carries").and_then(Value::as_bool).unwrap_or(false);
    let (sign, colour) = if carries { ('●', style::GREEN) } else { ('○', style::DIM) };
    let mut head = format!(
        "      {colour}{sign}{} {} ({})",
        style::RESET,
        clean(output::text(target, "target")),
        clean(output::text(target, "state"))
    );
    let path = clean(output::text(target, "path"));
    if carries && !path.is_empty() {
        let place =
            target.get("line").and_then(Value::as_u64).map_or(path.clone(), |line| format!("{path}:{line}"));
        head = format!("{head}  {place}  {}", clean(output::text(target, "text")));
    }
    let mut lines = vec![head.trim_end().to_owned()];
    for why in output::list(target, "why").iter().filter_map(Value::as_str) {
        lines.push(format!("        {}", clean(why)));
    }
    lines
}

fn reasons(role: &Value) -> Vec<String> {
    match role.get("why").or_else(|| role.get("reasons")) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|reason| reason.as_str().map_or_else(|| reason.to_string(), str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_role_stands_with_its_reason() {
        let answer = json!({"subject": "acme/1", "user_name": "dana", "active": true, "roles": [
            {"role": "db-admin", "holds": true, "why": ["member of Database Admins"]},
            {"role": "ops", "holds": false, "why": ["not a member of Operators"]}]});
        let plain = anstream::adapter::strip_str(&render(&answer)).to_string();
        assert_eq!(
            plain,
            "dana  acme/1\n  ✓ db-admin\n      member of Database Admins\n  ✗ ops\n      not a member of Operators"
        );
    }

    #[test]
    fn the_chain_is_told_with_its_change_and_its_targets() {
        let cause = json!({"seq": 7, "at": "2026-11-20T00:00:00.000Z", "kind": "group.updated",
                           "actor": "token:tok_x", "request": "r1"});
        let answer = json!({"subject": "acme/1", "user_name": "dana", "active": true, "roles": [
            {"role": "ops", "holds": true, "why": ["w"], "since": cause,
             "reasons": [{"why": "member of \"Ops\"", "path": [], "since": cause}],
             "targets": [
                {"target": "opa", "state": "in_sync", "carries": true, "path": "/srv/a.json", "line": 4,
                 "text": "\"dana\"", "why": []},
                {"target": "pg", "state": "held", "carries": false, "path": null, "line": null, "text": null,
                 "why": ["the target is failing: no"]}]}]});
        let plain = anstream::adapter::strip_str(&render(&answer)).to_string();
        assert_eq!(
            plain,
            "dana  acme/1\n  ✓ ops\n      member of \"Ops\"\n      since 2026-11-20T00:00:00.000Z  #7 group.updated, \
             token:tok_x, request r1\n      ● opa (in_sync)  /srv/a.json:4  \"dana\"\n      ○ pg (held)\n        \
             the target is failing: no"
        );
    }
}
