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
        for reason in reasons(role) {
            out.push(format!("      {}", clean(&reason)));
        }
    }
    out.join("\n")
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
}
