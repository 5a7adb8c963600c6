//! `rosterd verify`: do change log, mirror and the bytes of the targets agree?

use std::path::Path;

use serde_json::Value;

use super::admin::{Admin, Need};
use super::exit::{Error, Exit};
use super::output::{self, Json, clean};
use super::progress::{Quiet, Spinner};

/// Arguments of `rosterd verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  rosterd verify && echo unbroken\n\nEnds with 1 when the log does not lead to the mirror, or a target does not hold what was last written there, or \
    not what the mirror gives. Changes that are only waiting to be applied are told and are no fault. Works without \
    a daemon."
)]
pub struct Args {
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let answer = {
        let _spinner = Spinner::new("Verifying", args.quiet.quiet);
        admin.get("/api/v1/verify")?
    };
    let agrees = answer.get("ok").and_then(Value::as_bool).unwrap_or(false);
    if args.output.json {
        output::json(&answer);
    } else {
        told(&answer, agrees);
    }
    Ok(if agrees { Exit::Done } else { Exit::Failed })
}

fn told(answer: &Value, agrees: bool) {
    let changes = output::thousands(output::number(answer, "changes"));
    if output::list(answer, "problems").is_empty() {
        output::line(&format!(
            "Verified: {changes} changes, every chain is unbroken and the mirror is what they say."
        ));
    } else {
        output::line("Not verified:");
    }
    for problem in output::list(answer, "problems").iter().filter_map(Value::as_str) {
        output::line(&format!("  {}", clean(problem)));
    }
    for target in output::list(answer, "targets").iter().filter(|one| output::text(one, "type") != "webhook")
    {
        output::line(&line(target));
    }
    if !agrees && output::list(answer, "problems").is_empty() {
        output::note("Some target does not hold what it should. Try: rosterd status");
    }
}

/// What one target holds, in words.
fn line(target: &Value) -> String {
    let said = match output::text(target, "bytes") {
        "as_due" => "holds what the mirror gives",
        "pending" => "holds what was last written; changes are waiting to be applied",
        "waiting" => "was not written yet",
        "drifted" => "DRIFTED",
        "missing" => "MISSING",
        "foreign" => "FOREIGN",
        "failing" => "FAILING; it holds what was last written",
        "differs" => "DIFFERS",
        _ => "UNKNOWN",
    };
    let why = clean(output::text(target, "why"));
    let why = if why.is_empty() { why } else { format!(": {why}") };
    format!("  {}  {said}{why}", clean(output::text(target, "target")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_told_with_what_is_wrong() {
        let drifted = json!({"target": "opa", "type": "file", "bytes": "drifted", "why": "`/a` is not ours"});
        assert_eq!(line(&drifted), "  opa  DRIFTED: `/a` is not ours");
        let good = json!({"target": "opa", "type": "file", "bytes": "as_due", "why": null});
        assert_eq!(line(&good), "  opa  holds what the mirror gives");
    }
}
