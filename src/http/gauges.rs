//! Gauges of standing things (targets, tokens, the disk, the process) as lines of the text format. Labels are names
//! that operators gave, and words from the code.

use std::fmt::Write as _;

use serde_json::Value;

use crate::activity::Activity;
use crate::mirror::token::Token;
use crate::model::Timestamp;

/// A metric's name, help and rows.
struct Gauge {
    text: String,
    name: &'static str,
}

impl Gauge {
    fn new(name: &'static str, help: &str) -> Self {
        Self { text: format!("# HELP {name} {help}.\n# TYPE {name} gauge\n"), name }
    }

    fn row(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing into a String does not fail.
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}

/// What `status` says of each target.
pub(super) fn of_targets(status: &Value) -> String {
    let mut state = Gauge::new("rosterd_target_state", "1 for the state the target is in");
    let mut seq = Gauge::new("rosterd_target_applied_seq", "Change up to which it has been applied");
    let mut success =
        Gauge::new("rosterd_target_last_success_timestamp_seconds", "When a run last succeeded");
    for row in status.as_array().into_iter().flatten() {
        let text = |key: &str| row.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        state.row(&[("target", name), ("state", text("state").unwrap_or_default())], 1);
        seq.row(&[("target", name)], row.get("applied_seq").and_then(Value::as_u64).unwrap_or_default());
        if let Some(at) = text("last_success").and_then(Timestamp::parse_rfc3339) {
            success.row(&[("target", name)], at.unix_seconds());
        }
    }
    state.text + &seq.text + &success.text
}

/// What the log of requests counts.
pub(super) fn of_activity(activity: &Activity) -> String {
    let counts = activity.counts();
    let gauge = counts.len().saturating_sub(1);
    let mut text = String::new();
    for (n, (name, help, value)) in counts.into_iter().enumerate() {
        let (kind, end) = if n == gauge { ("gauge", "") } else { ("counter", "_total") };
        // Writing into a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{end} {value}");
    }
    text
}

/// When tokens end that can still be used.
pub(super) fn of_tokens(tokens: &[Token], now: Timestamp) -> String {
    let mut expires = Gauge::new("rosterd_token_expires_timestamp_seconds", "When a live token ends");
    for token in tokens {
        let Some(at) = token.expires_at.filter(|at| token.revoked_at.is_none() && *at > now) else {
            continue;
        };
        let directory = token.directory.as_ref().map(ToString::to_string).unwrap_or_default();
        let reader = token.reader.as_deref().unwrap_or_default();
        let id = token.id.to_string();
        expires.row(&[("token", &id), ("directory", &directory), ("reader", reader)], at.unix_seconds());
    }
    expires.text
}

/// What concerns the process: readiness, the state directory's disk, start and version.
pub(super) fn of_process(is_ready: bool, disk: Option<(u64, u64)>, started: Timestamp) -> String {
    let mut ready = Gauge::new("rosterd_ready", "1 while writes can succeed, as /readyz says");
    ready.row(&[], u8::from(is_ready));
    let mut free =
        Gauge::new("rosterd_disk_free_bytes", "Space the daemon may still use where the mirror lies");
    let mut size = Gauge::new("rosterd_disk_size_bytes", "Size of the file system where the mirror lies");
    if let Some((bytes_free, bytes)) = disk {
        free.row(&[], bytes_free);
        size.row(&[], bytes);
    }
    let mut start = Gauge::new("process_start_time_seconds", "When the daemon started");
    start.row(&[], started.unix_seconds());
    let mut build = Gauge::new("rosterd_build_info", "1, with the version");
    build.row(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    ready.text + &free.text + &size.text + &start.text + &build.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_shows_its_state_its_change_and_its_last_success() {
        let text = of_targets(&json!([
            {"name": "opa", "state": "drifted", "applied_seq": 7, "last_success": "2026-11-22T06:44:16.612Z"},
            {"name": "app", "state": "waiting", "applied_seq": 0, "last_success": null}]));
        for line in [
            "rosterd_target_state{target=\"opa\",state=\"drifted\"} 1",
            "rosterd_target_applied_seq{target=\"opa\"} 7",
            "rosterd_target_last_success_timestamp_seconds{target=\"opa\"} 1795329856",
            "rosterd_target_state{target=\"app\",state=\"waiting\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(!text.contains("last_success_timestamp_seconds{target=\"app\"}"), "{text}");
    }

    #[test]
    fn the_disk_is_left_out_where_nobody_could_ask_it() {
        let text = of_process(true, Some((5, 9)), Timestamp(1_000_000));
        assert!(
            text.contains("\nrosterd_disk_free_bytes 5\n") && text.contains("\nrosterd_ready 1\n"),
            "{text}"
        );
        assert!(text.contains("\nprocess_start_time_seconds 1\n"), "{text}");
        assert!(!of_process(false, None, Timestamp(0)).contains("\nrosterd_disk_free_bytes "));
    }
}
