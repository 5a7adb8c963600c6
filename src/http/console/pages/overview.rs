//! The first page: how things stand, what wants a person, what came last.

use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::template::plural_of;
use crate::http::console::words::{self, list, number, text};

/// Most changes shown.
const CHANGES_SHOWN: &str = "5";

/// Most people named who were revoked and are still in.
const UNENFORCED_SHOWN: usize = 3;

/// `GET /`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Overview", "overview.html", state(call).await?))
}

/// `GET /overview/now`: the part of it that changes.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::Fragment { template: "overview_now.html", context: state(call).await? })
}

async fn state(call: &Call<'_>) -> Result<Value, Fault> {
    let status = call.get("status", &[]).await?;
    let history = call.get("history", &[("order", "newest"), ("limit", CHANGES_SHOWN)]).await?;
    let directories: Vec<Value> =
        list(&status, "directories").iter().map(|one| directory(call, one)).collect();
    let seq = number(&status, "seq");
    let targets: Vec<Value> = list(&status, "targets").iter().map(|one| target(one, seq)).collect();
    let sum = |rows: &[Value], key: &str| rows.iter().map(|one| number(one, key)).sum::<u64>();
    let late = status.get("unenforced").cloned().unwrap_or_default();
    let named: Vec<Value> = list(&late, "first").iter().take(UNENFORCED_SHOWN).cloned().collect();
    Ok(json!({
        "verdict": verdict(&status, &directories, &targets),
        "directories": directories,
        "targets": targets,
        "users": sum(&directories, "users"),
        "groups": sum(&directories, "groups"),
        "seq": seq,
        "in_sync": targets.iter().filter(|one| text(one, "tone") == "good").count(),
        "shut": list(&status, "shut").len(),
        "grants": list(&status, "grants").len(),
        "late": { "count": number(&late, "count"), "first": named },
        "problems": status.get("problems"),
        "changes": list(&history, "changes").iter().map(view::change).collect::<Vec<_>>(),
        "steps": steps(&directories, &targets),
    }))
}

fn directory(call: &Call<'_>, one: &Value) -> Value {
    let state = words::directory(one, call.now());
    json!({
        "id": one.get("id"), "name": one.get("name"), "kind": one.get("kind"),
        "state": state.key, "why": state.why,
        "users": number(one, "users"), "groups": number(one, "groups"), "last_push": one.get("last_push"),
    })
}

fn target(one: &Value, seq: u64) -> Value {
    let state = text(one, "state");
    json!({
        "name": one.get("name"), "type": one.get("type"), "state": state, "tone": words::tone(state),
        "lag": words::lag(one, seq), "held": number(one, "held_removals"), "parked": number(one, "parked"),
        "last_success": one.get("last_success"), "last_error": one.get("last_error"),
        "problems": list(one, "problems").len(),
    })
}

/// The one sentence that somebody who opens the page wants: `{"tone","text"}`.
fn verdict(status: &Value, directories: &[Value], targets: &[Value]) -> Value {
    let told = |tone: &str, text: String| json!({ "tone": tone, "text": text });
    if status.get("ready").and_then(Value::as_bool) == Some(false) {
        let why = text(status, "not_ready_because");
        return told("bad", format!("The daemon takes no changes: {why}"));
    }
    if directories.is_empty() || targets.is_empty() {
        return told("idle", "Not set up yet".to_owned());
    }
    let count = |rows: &[Value], states: &[&str], key: &str| {
        rows.iter().filter(|one| states.contains(&text(one, key))).count() as u64
    };
    let late = status.pointer("/unenforced/count").and_then(Value::as_u64).unwrap_or(0);
    let failing = count(targets, &["bad"], "tone");
    let odd = count(targets, &["warn"], "tone");
    let refused = count(directories, &["failing"], "state");
    let quiet = count(directories, &["errors", "stale", "disabled", "unconfirmed"], "state");
    let busy = count(targets, &["busy"], "tone");
    let mut parts = Vec::new();
    let mut add = |number: u64, noun: &str, one: &str, more: &str| {
        if number > 0 {
            parts.push(format!("{} {}", plural_of(number, noun), if number == 1 { one } else { more }));
        }
    };
    add(failing, "target", "fails", "fail");
    add(refused, "directory service", "fails", "fail");
    add(late, "revocation", "is not enforced yet", "are not enforced yet");
    add(odd, "target", "wants a look", "want a look");
    add(quiet, "directory service", "wants a look", "want a look");
    if !parts.is_empty() {
        return told(if failing + refused > 0 { "bad" } else { "warn" }, parts.join(", "));
    }
    if busy > 0 {
        return told("busy", format!("{} being brought up to date", plural_of(busy, "target")));
    }
    told("good", "Everything is as it should be".to_owned())
}

/// What an empty install does next; nothing once all of it is done.
fn steps(directories: &[Value], targets: &[Value]) -> Value {
    let has_directory = !directories.is_empty();
    let has_pushed = directories.iter().any(|one| text(one, "state") != "waiting");
    let has_target = !targets.is_empty();
    if has_directory && has_pushed && has_target {
        return Value::Null;
    }
    let waiting = directories.iter().find(|one| text(one, "state") == "waiting");
    json!({
        "directory": has_directory, "pushed": has_directory && has_pushed, "target": has_target,
        "waiting": waiting.map_or("", |one| text(one, "id")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(directories: &Value, targets: &Value, late: u64) -> (String, String) {
        let status = json!({"ready": true, "unenforced": {"count": late}});
        let rows = |value: &Value| value.as_array().cloned().unwrap();
        let told = verdict(&status, &rows(directories), &rows(targets));
        (text(&told, "tone").to_owned(), text(&told, "text").to_owned())
    }

    #[test]
    fn the_worst_comes_first() {
        let (well, quiet) = (json!([{"state": "healthy"}]), json!([{"state": "stale"}]));
        let targets = json!([{"tone": "good"}, {"tone": "bad"}, {"tone": "warn"}]);
        assert_eq!(said(&well, &json!([{"tone": "good"}]), 0).0, "good");
        assert_eq!(
            said(&quiet, &targets, 2),
            (
                "bad".into(),
                "1 target fails, 2 revocations are not enforced yet, 1 target wants a look, 1 directory service wants a look"
                    .into()
            )
        );
        assert_eq!(
            said(&json!([{"state": "failing"}]), &json!([{"tone": "good"}]), 0),
            ("bad".into(), "1 directory service fails".into())
        );
        assert_eq!(said(&well, &json!([{"tone": "busy"}]), 0).0, "busy");
        assert_eq!(said(&well, &json!([]), 0).0, "idle");
        let unready = json!({"ready": false, "not_ready_because": "disk full"});
        assert_eq!(verdict(&unready, &[], &[])["tone"], "bad");
    }

    #[test]
    fn an_empty_install_is_told_what_comes_next_and_a_full_one_nothing() {
        let next = steps(&[json!({"id": "acme", "state": "waiting"})], &[]);
        assert_eq!((next["directory"].as_bool(), next["pushed"].as_bool()), (Some(true), Some(false)));
        assert_eq!(next["waiting"], "acme");
        assert!(steps(&[json!({"state": "healthy"})], &[json!({})]).is_null());
    }
}
