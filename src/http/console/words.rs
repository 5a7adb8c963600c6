//! What the API's values are called on pages: states of directories and targets.

use serde_json::Value;

use crate::model::Timestamp;

/// Silence that is worth a look where `expect_every` says nothing; as `doctor` has it.
const SILENCE_DAYS: u64 = 7;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// A state for [`badge`](../templates/parts.html) and what it means, empty where nothing is to be said.
pub(super) struct State {
    /// The badge's key.
    pub(super) key: &'static str,
    /// A sentence for people, or nothing.
    pub(super) why: String,
}

/// How a directory does.
pub(super) fn directory(one: &Value, now: Timestamp) -> State {
    let state = |key, why: &str| State { key, why: why.to_owned() };
    if !is(one, "enabled") {
        return state("disabled", "Its requests are refused; the access it gave is frozen.");
    }
    let health = one.get("health").unwrap_or(&Value::Null);
    if text(health, "state") == "failing" {
        return State { key: "failing", why: trouble(health, now) };
    }
    let unconfirmed = number(one, "unconfirmed");
    if unconfirmed > 0 {
        let why = format!("{unconfirmed} users were not named again in its re-baseline.");
        return State { key: "unconfirmed", why };
    }
    if one.get("rebaseline").is_some_and(|window| !window.is_null()) {
        return state("rebaseline", "The identity provider is naming everybody again.");
    }
    if text(health, "state") == "errors" {
        return State { key: "errors", why: trouble(health, now) };
    }
    if text(one, "last_push").is_empty() && number(one, "users") == 0 && number(one, "groups") == 0 {
        return state("waiting", "Nothing has been pushed yet.");
    }
    if is(one, "silent") {
        return state("stale", "Quiet for longer than `expect_every`: who left since may still be in.");
    }
    let heard = Timestamp::parse_rfc3339(text(one, "last_heard"));
    match heard.map(|at| now.since(at).as_secs() / 86_400) {
        Some(days) if days >= SILENCE_DAYS => {
            let why = format!("Not heard of for {days} days: who left since may still be in.");
            State { key: "stale", why }
        }
        _ => state("healthy", ""),
    }
}

/// What of a directory's requests fails, since when and how often.
fn trouble(health: &Value, now: Timestamp) -> String {
    let since = Timestamp::parse_rfc3339(text(health, "since")).map(|at| now.since(at).as_secs());
    let since = since.map(|seconds| format!("since {} ago", span(seconds))).unwrap_or_default();
    let count = failures(health);
    let count = if count > 0 { format!(", {count} in the last hour") } else { String::new() };
    let what = text(health, "what");
    let first: String = what.chars().take(1).flat_map(char::to_uppercase).collect();
    format!("{first}{} ({since}{count}).", what.chars().skip(1).collect::<String>())
}

/// Failures of the last hour of the kind that is told.
pub(super) fn failures(health: &Value) -> u64 {
    health.get("last_hour").map_or(0, |counts| number(counts, text(health, "kind")))
}

/// How far behind a target is, in words; empty if it is not.
pub(super) fn lag(target: &Value, seq: u64) -> String {
    if let Some(traffic) = target.get("traffic").filter(|traffic| !traffic.is_null()) {
        let (events, seconds) = (number(traffic, "lag_events"), number(traffic, "lag_seconds"));
        return match events {
            0 => String::new(),
            1 => format!("1 event, {}", span(seconds)),
            _ => format!("{events} events, {}", span(seconds)),
        };
    }
    let behind = seq.saturating_sub(number(target, "applied_seq"));
    match (text(target, "state"), behind) {
        ("in_sync", _) | (_, 0) => String::new(),
        (_, 1) => "1 change".to_owned(),
        _ => format!("{behind} changes"),
    }
}

/// `40 s`, `5 min`, `3 h`, `2 d`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Whether a target's state needs nobody: `good` is as it should be, `busy` passes by itself, the rest wants a look.
pub(super) fn tone(state: &str) -> &'static str {
    match state {
        "in_sync" => "good",
        "pending" | "waiting" => "busy",
        "failing" => "bad",
        _ => "warn",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(days: i64) -> (Timestamp, String) {
        let now = Timestamp::parse_rfc3339("2026-11-22T12:00:00Z").unwrap();
        (now, Timestamp(now.0 - days * 86_400_000_000).to_string())
    }

    #[test]
    fn directories_are_told_apart() {
        let (now, today) = at(0);
        let old = at(9).1;
        let key = |value: Value| directory(&value, now).key;
        let one = |more: Value| {
            let mut value = json!({"enabled": true, "users": 3, "groups": 1, "last_push": today,
                "last_heard": today, "silent": false, "unconfirmed": 0, "rebaseline": null});
            for (name, more) in more.as_object().unwrap() {
                value[name] = more.clone();
            }
            value
        };
        assert_eq!(key(one(json!({}))), "healthy");
        assert_eq!(key(one(json!({"enabled": false}))), "disabled");
        assert_eq!(key(one(json!({"silent": true}))), "stale");
        assert_eq!(key(one(json!({"last_heard": old}))), "stale");
        assert_eq!(key(one(json!({"unconfirmed": 4}))), "unconfirmed");
        let health = |state: &str| {
            json!({"health": {"state": state, "kind": "rejected", "since": today, "last_hour": {"rejected": 3},
                "what": "`POST Users` is answered 409"}})
        };
        assert_eq!(key(one(health("ok"))), "healthy");
        assert_eq!(key(one(health("errors"))), "errors");
        let failing = directory(&one(health("failing")), now);
        assert_eq!(failing.key, "failing");
        assert_eq!(failing.why, "`POST Users` is answered 409 (since 0 s ago, 3 in the last hour).");
        assert_eq!(key(one(json!({"rebaseline": {"ends": today}}))), "rebaseline");
        assert_eq!(key(one(json!({"users": 0, "groups": 0, "last_push": null}))), "waiting");
    }

    #[test]
    fn lag_is_told_in_events_for_receivers_and_in_changes_for_files() {
        let file = json!({"state": "failing", "applied_seq": 7, "traffic": null});
        assert_eq!(lag(&file, 9), "2 changes");
        assert_eq!(lag(&json!({"state": "in_sync", "applied_seq": 7, "traffic": null}), 9), "");
        let webhook = json!({"state": "failing", "traffic": {"lag_events": 3, "lag_seconds": 300}});
        assert_eq!(lag(&webhook, 9), "3 events, 5 min");
    }
}
