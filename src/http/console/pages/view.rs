//! From the API's JSON to what templates of targets, deliveries and history see: every field is there, whatever an
//! older or half-started part of the program left out, so that no page fails for a missing name.

use serde_json::{Map, Value, json};

pub(super) use crate::http::console::words::{list, number, text};

/// `true`, and nothing else.
pub(super) fn truth(of: &Value, key: &str) -> bool {
    of.get(key).and_then(Value::as_bool) == Some(true)
}

/// A member as it is, or null.
pub(super) fn any(of: &Value, key: &str) -> Value {
    of.get(key).cloned().unwrap_or(Value::Null)
}

/// The last part of `DIRECTORY/ID`, by which a person's page is found.
pub(super) fn person(subject: &str) -> &str {
    subject.rsplit('/').next().unwrap_or_default()
}

/// A text of at most `max` characters, with an ellipsis if it was longer.
pub(super) fn short(text: &str, max: usize) -> String {
    let mut cut: String = text.chars().take(max).collect();
    if text.chars().nth(max).is_some() {
        cut.push('…');
    }
    cut
}

/// The first line of a text, bounded.
pub(super) fn first_line(text: &str) -> String {
    short(text.lines().next().unwrap_or_default(), 240)
}

/// `90` is `1 min 30 s`; the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut words = Vec::new();
    for (size, unit) in parts {
        let count = left / size;
        left %= size;
        if count > 0 {
            words.push(format!("{count} {unit}"));
        }
    }
    if words.is_empty() {
        return "0 s".to_owned();
    }
    words.truncate(2);
    words.join(" ")
}

/// `/path?a=b&c=d` of what is not empty.
pub(super) fn link(path: &str, query: &[(&str, &str)]) -> String {
    let parts: Vec<String> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", crate::http::console::template::encoded(value)))
        .collect();
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}

/// What a state means and what to do about it.
pub(super) fn advice(state: &str) -> &'static str {
    match state {
        "in_sync" => "It holds what your directory services give, and nothing else.",
        "pending" => "A change is waiting to be applied. Under apply = \"manual\" it waits for Sync.",
        "held" => "The guard holds removals back until a person decides. Everything else goes on.",
        "failing" => "The last run failed and is tried again by itself. Mend what the error names.",
        "drifted" => {
            "Somebody changed the file, and drift = \"report\" leaves that as it is. Sync writes it again."
        }
        "foreign" => "A file is there that rosterd never wrote. Look at it, then adopt it or move it away.",
        "disabled" => "The receiver answered 410 Gone. Mend it, then resume.",
        "pinned" => {
            "It was rolled back and stays there: removals are applied, additions wait until it is let go."
        }
        "orphaned" => "The configuration no longer names it; what it wrote stays until it is forgotten.",
        "waiting" => {
            "No directory service has pushed anything yet, so nothing is known and nothing is written."
        }
        "unverified" => {
            "The mirror came from a backup. It is kept whole until a full push, or until a person lets it follow."
        }
        "needs_snapshot" => "The log no longer holds what comes next for it. Send it the present state.",
        _ => "",
    }
}

/// One target of `status`.
pub(super) fn target(of: &Value) -> Value {
    let kind = text(of, "type");
    let is_file = matches!(kind, "file" | "tree" | "set");
    let traffic =
        of.get("traffic").filter(|traffic| traffic.is_object()).cloned().unwrap_or_else(|| json!({}));
    let state = text(of, "state");
    json!({
        "name": text(of, "name"),
        "type": kind,
        "is_file": is_file,
        "format": text(of, "format"),
        "place": if text(of, "path").is_empty() { text(of, "place") } else { text(of, "path") },
        "state": state,
        "advice": advice(state),
        "applied_seq": number(of, "applied_seq"),
        "lag_changes": number(of, "lag_changes"),
        "lag_seconds": number(of, "lag_seconds"),
        "lag_text": span(number(of, "lag_seconds")),
        "last_success": any(of, "last_success"),
        "last_error": text(of, "last_error"),
        "error_line": first_line(text(of, "last_error")),
        "held_removals": number(of, "held_removals"),
        "problems": list(of, "problems"),
        "apply": text(of, "apply"),
        "on_drift": text(of, "on_drift"),
        "schedule": text(of, "schedule"),
        "ordering": text(of, "ordering"),
        "via_installer": truth(of, "via_installer"),
        "published": truth(of, "published"),
        "circuit": text(&traffic, "circuit"),
        "open": number(of, "open"),
        "parked": number(of, "parked"),
        "sent": number(&traffic, "done"),
        "retried": number(&traffic, "retried"),
    })
}

/// A line of a plan: what would become of one person and one entitlement.
fn plan_line(sign: &str, word: &str, of: &Value) -> Value {
    let label = match text(of, "label") {
        "" => text(of, "entitlement"),
        label => label,
    };
    json!({
        "sign": sign, "word": word, "subject": text(of, "subject"), "person": person(text(of, "id")),
        "id": text(of, "id"), "label": label, "why": text(of, "why"),
    })
}

/// Lines of a plan on one page; more are counted.
pub(super) const PLAN_LINES_MAX: usize = 200;

/// One target's plan: counts, and its first lines.
pub(super) fn plan(of: &Value) -> Value {
    let mut lines: Vec<Value> = Vec::new();
    for (key, sign, word) in [("add", "+", "added"), ("remove", "-", "removed")] {
        lines.extend(list(of, key).iter().map(|one| plan_line(sign, word, one)));
    }
    for one in list(of, "change") {
        lines.push(json!({
            "sign": "~", "word": "renamed", "subject": text(one, "from"), "person": person(text(one, "id")),
            "id": text(one, "id"), "label": format!("→ {}", text(one, "to")), "why": "its name changed",
        }));
    }
    lines.extend(list(of, "kept").iter().map(|one| plan_line(" ", "kept", one)));
    let total = lines.len();
    lines.truncate(PLAN_LINES_MAX);
    json!({
        "add": list(of, "add").len(), "remove": list(of, "remove").len(), "change": list(of, "change").len(),
        "kept": list(of, "kept").len(), "held": list(of, "held_removals").len(), "hash": text(of, "hash"),
        "total": number(of, "total"), "more": total.saturating_sub(lines.len()), "lines": lines,
    })
}

/// The only target of an answer of `plan`.
pub(super) fn only_plan(answer: &Value) -> Value {
    plan(list(answer, "targets").first().unwrap_or(&Value::Null))
}

/// One change of the log.
pub(super) fn change(of: &Value) -> Value {
    // A decision names its subject by id; the name it had then stands among its values.
    let then =
        ["after", "before"].into_iter().filter_map(|key| of.get(key)).map(|part| text(part, "user_name"));
    let names = ["name", "object", "resource"].into_iter().map(|key| text(of, key));
    let kind = text(of, "kind");
    let bound = bound(kind, text(of, "object"));
    let what = then.chain(names).find(|one| !one.is_empty());
    let what = bound.as_deref().or(what);
    let resource = text(of, "resource");
    let href = match kind.split('.').next().unwrap_or_default() {
        "user" if !resource.is_empty() => format!("/users/{resource}"),
        "group" if !resource.is_empty() => format!("/groups/{resource}"),
        "guard" | "target" | "delivery" => format!("/targets/{}", enc(text(of, "object"))),
        "subject" | "grant" => format!("/users/{}", enc(person(text(of, "object")))),
        "directory" => match (text(of, "directory"), text(of, "object")) {
            ("", "") => String::new(),
            ("", id) | (id, _) => format!("/directories/{}", enc(id)),
        },
        _ => String::new(),
    };
    let members: Vec<Value> = list(of, "members").iter().take(MEMBERS_MAX).map(member).collect();
    let total = number(of, "members_total").max(list(of, "members").len() as u64);
    json!({
        "seq": number(of, "seq"), "at": any(of, "at"), "kind": kind, "words": words(kind),
        "what": what.unwrap_or_default(), "href": href, "directory": text(of, "directory"),
        "actor": text(of, "actor"), "request": text(of, "request"), "erased": truth(of, "erased"),
        "values": values(of), "members": members,
        "members_more": total.saturating_sub(MEMBERS_MAX as u64), "members_total": total,
        "few": (1..=3).contains(&total), "reason": reason(of),
        "is_short": kind.ends_with(".updated") && (1..=VALUES_IN_LINE_MAX).contains(&values(of).len()),
    })
}

/// So many altered values stand in the line itself.
const VALUES_IN_LINE_MAX: usize = 3;

/// A role and the group it found, of `ROLE/DIRECTORY/GROUP`.
fn bound(kind: &str, object: &str) -> Option<String> {
    let mut parts = object.splitn(3, '/');
    let (role, directory, group) = (parts.next()?, parts.next()?, parts.next()?);
    kind.starts_with("role.").then(|| format!("{role}: {group} in {directory}"))
}

fn enc(text: &str) -> String {
    crate::http::console::template::encoded(text)
}

/// Why somebody decided so, where they said.
fn reason(of: &Value) -> &str {
    of.get("after").map_or("", |after| text(after, "reason"))
}

/// Members shown of one change.
const MEMBERS_MAX: usize = 50;

fn member(of: &Value) -> Value {
    let name = |key: &str| match text(of, &format!("{key}_name")) {
        "" => text(of, key).to_owned(),
        name => name.to_owned(),
    };
    json!({
        "added": text(of, "op") == "add", "member": name("member"), "group": name("group"),
        "member_id": text(of, "member"), "group_id": text(of, "group"),
        "is_user": !text(of, "type").eq_ignore_ascii_case("group"),
    })
}

/// Longest value shown.
const VALUE_CHARS_MAX: usize = 600;

/// Each attribute before and after.
fn values(of: &Value) -> Vec<Value> {
    let part = |key: &str| of.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after): (Map<String, Value>, Map<String, Value>) = (part("before"), part("after"));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |value: Option<&Value>| match value {
        None => String::new(),
        Some(Value::String(text)) => short(text, VALUE_CHARS_MAX),
        Some(value) => short(&value.to_string(), VALUE_CHARS_MAX),
    };
    names
        .into_iter()
        .map(|name| json!({ "name": name, "before": shown(before.get(name)), "after": shown(after.get(name)) }))
        .collect()
}

/// What a kind of change means.
pub(super) fn words(kind: &str) -> &'static str {
    match kind {
        "user.created" => "User created",
        "user.updated" => "User changed",
        "user.deactivated" => "User deactivated",
        "user.reactivated" => "User reactivated",
        "user.deleted" => "User deleted",
        "group.created" => "Group created",
        "group.updated" => "Group changed",
        "group.deleted" => "Group deleted",
        "directory.added" => "Directory service added",
        "directory.renamed" => "Directory service renamed",
        "directory.enabled" => "Directory service enabled",
        "directory.disabled" => "Directory service disabled",
        "directory.removed" => "Directory service removed",
        "token.created" => "Token made",
        "token.revoked" => "Token revoked",
        "config.accepted" => "Configuration accepted",
        "target.drifted" => "File changed by somebody else",
        "target.rolled_back" => "Rolled back",
        "target.unpinned" => "Follows again after a rollback",
        "target.adopted" => "File adopted",
        "target.forgotten" => "Target forgotten",
        "import.finished" => "Import ended",
        "guard.held" => "Removals held",
        "guard.approved" => "Held removals approved",
        "guard.rejected" => "Held removals rejected",
        "delivery.retried" => "Deliveries tried again",
        "delivery.skipped" => "Delivery skipped",
        "delivery.replayed" => "Events sent again",
        "delivery.snapshot" => "Present state sent",
        "subject.shut" => "Shut out",
        "subject.opened" => "Let in again",
        "subject.released" => "Name released",
        "subject.reclaimed" => "Name given back",
        "role.bound" => "Role bound to a group",
        "role.unbound" => "Role unbound",
        "grant.created" => "Granted for a time",
        "grant.expired" => "Grant ran out",
        "grant.revoked" => "Grant ended early",
        "rebaseline.opened" => "Re-baseline begun",
        "rebaseline.closed" => "Re-baseline ended",
        "rebaseline.confirmed" => "User named again in a re-baseline",
        "history.pruned" => "Oldest part of the log pruned",
        "user.forgotten" => "Values of a user erased",
        "mirror.restored" => "Mirror restored from a backup",
        "restore.approved" => "Follows the restored mirror",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(90), "1 min 30 s");
        assert_eq!(span(90_061), "1 d 1 h");
    }

    #[test]
    fn an_empty_object_is_a_whole_target() {
        let shown = target(&json!({}));
        assert_eq!((&shown["state"], &shown["held_removals"]), (&json!(""), &json!(0)));
    }

    #[test]
    fn a_plan_counts_what_it_does_not_show() {
        let many: Vec<Value> = (0..1_000).map(|n| json!({"subject": format!("u{n}"), "id": "a/b"})).collect();
        let shown = plan(&json!({ "add": many }));
        assert_eq!((shown["add"].as_u64(), shown["more"].as_u64()), (Some(1_000), Some(800)));
    }

    #[test]
    fn every_kind_of_change_has_words() {
        for kind in crate::mirror::change::KINDS {
            assert!(!words(kind).is_empty(), "{kind}");
        }
    }

    #[test]
    fn a_change_leads_to_whom_it_is_about() {
        let shown = change(&json!({"kind": "guard.held", "object": "opa", "members": null}));
        assert_eq!(shown["href"], "/targets/opa");
        let shown = change(&json!({"kind": "subject.shut", "object": "acme/42"}));
        assert_eq!(shown["href"], "/users/42");
    }
}
