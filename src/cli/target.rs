//! `rosterd target`: what each target is and keeps, rollback, and forgetting one that the config dropped.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{Admin, Need, segment};
use super::directory::told;
use super::exit::{Error, Exit};
use super::output::{self, Json, Table, clean};
use super::plan::parse_target;
use super::status;
use crate::model::TargetName;

/// Arguments of `rosterd target`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: go back to what a target held before the last change\n  rosterd target show opa\n  \
    rosterd target rollback opa"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All targets, those included that the config dropped and nobody forgot
    #[command(after_help = "Example:\n  rosterd target list --json")]
    List {
        #[command(flatten)]
        output: Json,
    },
    /// One target: its files, kept versions, last runs, and who touched what it wrote
    #[command(after_help = "Example:\n  rosterd target show opa")]
    Show {
        /// The target
        #[arg(value_name = "NAME", value_parser = parse_target)]
        name: TargetName,
        #[command(flatten)]
        output: Json,
    },
    /// Put it back to an earlier version, less what was revoked since, and pin it there until `sync`
    #[command(
        after_help = "Example: to the version before the last change\n  rosterd target rollback opa\n\n\
        Example: to a certain one of those that `target show` lists\n  rosterd target rollback opa --to 1204\n\n\
        What was revoked since never comes back. Revocations go on being applied while it is pinned; additions wait."
    )]
    Rollback {
        /// The target
        #[arg(value_name = "NAME", value_parser = parse_target)]
        name: TargetName,
        /// The change whose version it is; without it, the version before the present one
        #[arg(long, value_name = "SEQ")]
        to: Option<u64>,
        #[command(flatten)]
        output: Json,
    },
    /// Forget a target that the config no longer names; there is no undo
    #[command(
        after_help = "Example: and remove the files that rosterd wrote there\n  rosterd target forget opa --delete\n\n\
        A file that somebody touched since stays in any case."
    )]
    Forget {
        /// The target
        #[arg(value_name = "NAME", value_parser = parse_target)]
        name: TargetName,
        /// Remove its files too, as far as they are still what rosterd wrote
        #[arg(long)]
        delete: bool,
        #[command(flatten)]
        output: Json,
    },
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let path = |name: &TargetName, verb: &str| format!("/api/v1/targets/{}{verb}", segment(name.as_str()));
    match &args.verb {
        Verb::List { output } => {
            let answer = admin.get("/api/v1/targets")?;
            if output.json {
                output::json(&answer);
            } else {
                output::line(&status::targets(output::list(&answer, "targets")).render());
            }
            Ok(Exit::Done)
        }
        Verb::Show { name, output } => {
            let answer = admin.get(&path(name, ""))?;
            if output.json {
                output::json(&answer);
            } else {
                output::line(&render(&answer));
            }
            Ok(Exit::Done)
        }
        Verb::Rollback { name, to, output } => {
            let answer = admin.call("POST", &path(name, "/rollback"), Some(&json!({ "to": to })))?;
            let exit = told(*output, &answer, &rolled_back(&answer), Some(&format!("rosterd sync {name}")));
            Ok(if output::text(&answer, "error").is_empty() { exit } else { Exit::Failed })
        }
        Verb::Forget { name, delete, output } => {
            let answer = admin.call("POST", &path(name, "/forget"), Some(&json!({ "delete": delete })))?;
            Ok(told(*output, &answer, &forgotten(&answer), None))
        }
    }
}

fn rolled_back(report: &Value) -> String {
    let name = clean(output::text(report, "target"));
    let after = match (output::text(report, "state"), output::text(report, "error")) {
        ("", _) => "applied as soon as the daemon runs".to_owned(),
        (_, "") => format!(
            "{} entitlements came back, {} were taken away",
            output::number(report, "added"),
            output::number(report, "removed")
        ),
        (state, error) => format!("but it is {state}: {}", clean(error)),
    };
    format!(
        "{name} is pinned to what it held at change {}, less what was revoked since; {after}.",
        output::number(report, "to_seq")
    )
}

fn forgotten(report: &Value) -> String {
    let name = clean(output::text(report, "target"));
    let shown = |key: &str, word: &str| {
        let paths = output::list(report, key).iter().filter_map(Value::as_str);
        paths.fold(String::new(), |text, path| text + "\n  " + word + " " + &clean(path))
    };
    format!("Forgot target {name}.{}{}", shown("deleted", "removed"), shown("left", "stays "))
}

/// Files shown of a tree.
const FILES_SHOWN: usize = 10;

fn render(target: &Value) -> String {
    let text = |key: &str| clean(output::text(target, key));
    let mut out = vec![
        status::targets(std::slice::from_ref(target)).render(),
        String::new(),
        format!("path   {}", text("path")),
        format!("holds  {} entitlements", output::thousands(output::number(target, "holds"))),
    ];
    if output::number(target, "pinned_to") > 0 {
        let (seq, name) = (output::number(target, "pinned_to"), text("name"));
        out.push(format!("pinned to change {seq}; rosterd sync {name} ends that"));
    }
    let files = output::list(target, "files");
    if !files.is_empty() {
        out.push(format!("files  {}", output::thousands(files.len() as u64)));
        out.extend(
            files.iter().take(FILES_SHOWN).filter_map(Value::as_str).map(|one| format!("  {}", clean(one))),
        );
    }
    for one in output::list(target, "drift") {
        let get = |key: &str| clean(output::text(one, key));
        let uid = one.get("uid").and_then(Value::as_u64).map(|uid| format!(", owner {uid} {}", get("user")));
        let at = match get("modified") {
            at if at.is_empty() => String::new(),
            at => format!(", last written {at}"),
        };
        let done = if one.get("repaired").and_then(Value::as_bool) == Some(true) {
            "repaired"
        } else {
            "left as it is"
        };
        let uid = uid.unwrap_or_default();
        out.push(format!(
            "drift  {} {} (noticed {}{}{at}; {done})",
            get("path"),
            get("what"),
            get("noticed"),
            uid.trim_end()
        ));
    }
    let mut versions =
        Table::new(&["version", "put in place", "entitlements", "sha-256"], "No version kept yet.");
    for one in output::list(target, "versions").iter().rev() {
        versions.row(
            [
                output::number(one, "seq").to_string(),
                clean(output::text(one, "at")),
                output::thousands(output::number(one, "total")),
                output::text(one, "digest").chars().take(16).collect::<String>(),
            ]
            .map(output::Cell::from),
        );
    }
    let mut runs = Table::new(&["run", "change", "outcome", "added", "removed", "error"], "No run yet.");
    for one in output::list(target, "runs") {
        runs.row(
            [
                clean(output::text(one, "at")),
                output::number(one, "seq").to_string(),
                clean(output::text(one, "outcome")),
                output::number(one, "added").to_string(),
                output::number(one, "removed").to_string(),
                clean(output::text(one, "error")),
            ]
            .map(output::Cell::from),
        );
    }
    out.extend([String::new(), versions.render(), String::new(), runs.render()]);
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_versions_and_who_touched_it() {
        let target = json!({"name": "opa", "type": "file", "state": "pinned", "applied_seq": 7, "held_removals": 0,
            "path": "/srv/x.json", "holds": 3, "pinned_to": 4, "files": [],
            "versions": [{"seq": 4, "at": "2026-01-01T00:00:00Z", "digest": "ab", "total": 3}],
            "drift": [{"path": "/srv/x.json", "what": "changed", "uid": 0, "user": "root", "modified": "m",
                "noticed": "n", "repaired": true}],
            "runs": []});
        let shown = anstream::adapter::strip_str(&render(&target)).to_string();
        for wanted in [
            "pinned to change 4",
            "/srv/x.json changed (noticed n, owner 0 root, last written m; repaired)",
            "VERSION",
        ] {
            assert!(shown.contains(wanted), "{wanted}: {shown}");
        }
    }

    #[test]
    fn forgetting_says_what_stays() {
        let report = json!({"target": "opa", "deleted": ["/a"], "left": ["/b"]});
        assert_eq!(forgotten(&report), "Forgot target opa.\n  removed /a\n  stays  /b");
    }
}
