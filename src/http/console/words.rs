//! What the API's values are called on pages: states of directories and targets, changes as sentences.

use serde_json::{Value, json};

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
    let unconfirmed = number(one, "unconfirmed");
    if unconfirmed > 0 {
        let why = format!("{unconfirmed} users were not named again in its re-baseline.");
        return State { key: "unconfirmed", why };
    }
    if one.get("rebaseline").is_some_and(|window| !window.is_null()) {
        return state("rebaseline", "The identity provider is naming everybody again.");
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

/// A change of the log as a sentence, with where to read more: `{"seq","at","text","about","href","by"}`.
pub(super) fn change(one: &Value) -> Value {
    let kind = text(one, "kind");
    let inside = |part: &str| one.pointer(part).and_then(Value::as_str).unwrap_or_default();
    let person = [inside("/after/user_name"), inside("/before/user_name")];
    let person = person.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let about = [text(one, "name"), person, text(one, "object"), text(one, "resource")]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| text(one, "directory"));
    let told = match kind {
        "user.created" => "came",
        "user.updated" | "group.updated" => "was changed",
        "user.deactivated" => "was deactivated",
        "user.reactivated" => "was reactivated",
        "user.deleted" | "group.deleted" => "was deleted",
        "group.created" => "was created",
        "directory.added" => "was added",
        "directory.renamed" => "was renamed",
        "directory.enabled" => "was enabled",
        "directory.disabled" => "was disabled",
        "directory.removed" => "was removed",
        "token.created" => "was made",
        "token.revoked" => "was revoked",
        "config.accepted" => "The configuration was accepted",
        "target.drifted" => "was changed by somebody else",
        "guard.held" => "has removals held",
        "guard.approved" => "had its held removals approved",
        "guard.rejected" => "had its held removals rejected",
        "subject.shut" => "was shut out",
        "subject.opened" => "was let in again",
        "subject.released" => "was let go of",
        "subject.reclaimed" => "was given back",
        "delivery.retried" => "had deliveries tried again",
        "delivery.skipped" => "had a delivery skipped",
        "delivery.replayed" => "had events sent again",
        "delivery.snapshot" => "is sent the present state",
        "role.bound" => "found its group",
        "role.unbound" => "lost its group",
        "grant.created" => "was granted for a time",
        "grant.expired" => "ran out",
        "grant.revoked" => "was ended early",
        "rebaseline.opened" => "began a re-baseline",
        "rebaseline.closed" => "ended a re-baseline",
        "rebaseline.confirmed" => "was named again",
        "history.pruned" => "Old history was pruned",
        "user.forgotten" => "was forgotten",
        "mirror.restored" => "The mirror was restored from a backup",
        "restore.approved" => "follows the restored mirror",
        "target.rolled_back" => "was rolled back",
        "target.unpinned" => "follows again",
        "target.adopted" => "was adopted",
        "target.forgotten" => "was forgotten",
        other => other,
    };
    let (subject, href) = match kind.split('.').next().unwrap_or_default() {
        "user" => ("User", format!("/users/{}", super::template::encoded(text(one, "resource")))),
        "group" => ("Group", format!("/groups/{}", super::template::encoded(text(one, "resource")))),
        "directory" => ("Directory", format!("/directories/{}", super::template::encoded(about))),
        "target" | "guard" | "delivery" => {
            ("Target", format!("/targets/{}", super::template::encoded(about)))
        }
        "restore" => ("Target", format!("/targets/{}", super::template::encoded(about))),
        "token" => ("Token", String::new()),
        "subject" => ("Subject", String::new()),
        "role" => ("Role", String::new()),
        "grant" => ("A role of", "/grants".to_owned()),
        "rebaseline" if kind == "rebaseline.confirmed" => ("User", String::new()),
        "rebaseline" => ("Directory", String::new()),
        _ => ("", String::new()),
    };
    let is_gone = matches!(
        kind,
        "user.deleted" | "user.forgotten" | "group.deleted" | "directory.removed" | "target.forgotten"
    );
    let is_whole = matches!(kind, "config.accepted" | "history.pruned" | "mirror.restored");
    let is_told = told != kind && !is_whole;
    json!({
        "seq": one.get("seq"), "at": one.get("at"), "actor": one.get("actor"), "kind": kind,
        "subject": if is_told { subject } else { "" },
        "about": if is_whole { "" } else { about },
        "text": told, "href": if is_gone { "" } else { &href }, "members": members(one),
    })
}

/// `3 came, 1 went`, for a group's change.
fn members(one: &Value) -> String {
    let rows = list(one, "members");
    let count = |op: &str| rows.iter().filter(|row| text(row, "op") == op).count();
    let total = usize::try_from(number(one, "members_total")).unwrap_or(usize::MAX);
    if rows.is_empty() {
        return String::new();
    }
    if total > rows.len() {
        return format!("{total} memberships");
    }
    match (count("add"), count("remove")) {
        (0, 0) => String::new(),
        (came, 0) => format!("{came} came"),
        (0, went) => format!("{went} went"),
        (came, went) => format!("{came} came, {went} went"),
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_change_is_a_sentence() {
        let made = change(&json!({"seq": 4, "kind": "group.updated", "name": "Ops", "resource": "g1",
            "members": [{"op": "add"}, {"op": "remove"}], "members_total": 2}));
        assert_eq!(
            (made["subject"].as_str(), made["about"].as_str(), made["members"].as_str()),
            (Some("Group"), Some("Ops"), Some("1 came, 1 went"))
        );
        assert_eq!(made["href"], "/groups/g1");
        assert_eq!(change(&json!({"kind": "user.deleted", "name": "dana"}))["href"], "");
        let grant = json!({"kind": "grant.created", "object": "acme/1", "after": {"user_name": "dana"}});
        assert_eq!(change(&grant)["about"], "dana");
        assert_eq!(change(&json!({"kind": "something.new", "object": "x"}))["text"], "something.new");
    }
}
