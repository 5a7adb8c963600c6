//! The change log, who held what at a moment, and what came and went between two.

use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Shown};

/// Changes on one page.
const SHOWN: &str = "50";

/// Filters of the log, by the names they have in the query.
const FILTERS: [&str; 6] = ["subject", "group", "kind", "actor", "since", "until"];

/// `GET /history`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let filter = FILTERS.map(|name| (name, call.param(name).unwrap_or_default()));
    let cursor = call.param("after").unwrap_or_default();
    // A name as the console shows it stands for the person.
    let actor = filter.iter().find(|(name, _)| *name == "actor").map_or("", |(_, value)| *value);
    let actor = if actor.is_empty() || actor.contains([':', '*']) || matches!(actor, "daemon" | "config") {
        actor.to_owned()
    } else {
        format!("admin:{actor}")
    };
    let mut query: Vec<(&str, &str)> = filter.iter().copied().filter(|(name, _)| *name != "actor").collect();
    query.extend([("actor", actor.as_str()), ("after", cursor), ("order", "newest"), ("limit", SHOWN)]);
    match call.get("history", &query).await {
        Ok(found) => Ok(Shown::page("History", "history.html", context(&found, &filter, cursor))),
        // A name nobody has, a time nobody can read: the form stays as it was filled in.
        Err(fault) if matches!(fault.status, 400 | 404 | 409) => {
            let context = context(&json!({}), &filter, cursor);
            Ok(Shown::Again { fault, title: "History".to_owned(), template: "history.html", context })
        }
        Err(fault) => Err(fault),
    }
}

/// What the template is given.
pub(in crate::http::console) fn context(found: &Value, filter: &[(&str, &str)], cursor: &str) -> Value {
    let next = found.get("next").and_then(Value::as_u64).map(|next| next.to_string()).unwrap_or_default();
    let mut query: Vec<(&str, &str)> = filter.to_vec();
    let first = view::link("/history", &query);
    query.push(("after", &next));
    let fields: serde_json::Map<String, Value> =
        filter.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let families = [
        ("", "Everything"),
        ("user.*", "Users"),
        ("group.*", "Groups"),
        ("guard.*", "Held removals and decisions"),
        ("target.*", "Targets"),
        ("delivery.*", "Deliveries"),
        ("grant.*", "Grants"),
        ("subject.*", "Shut out and let in"),
        ("directory.*", "Directory services"),
        ("token.*", "Tokens"),
        ("rebaseline.*", "Re-baselines"),
        ("config.*", "Configuration"),
    ];
    let mut kinds: Vec<Value> =
        families.iter().map(|(value, label)| json!({ "value": value, "label": label })).collect();
    let kind = filter.iter().find(|(name, _)| *name == "kind").map_or("", |(_, value)| *value);
    if !families.iter().any(|(value, _)| *value == kind) {
        kinds.push(json!({ "value": kind, "label": kind }));
    }
    json!({
        "changes": view::list(found, "changes").iter().map(view::change).collect::<Vec<_>>(),
        "begins_after": view::number(found, "begins_after"),
        "filter": fields, "kinds": kinds,
        "is_filtered": filter.iter().any(|(_, value)| !value.is_empty()),
        "before": if cursor.is_empty() { "" } else { first.as_str() },
        "after": if next.is_empty() { String::new() } else { view::link("/history", &query) },
    })
}

/// Holders of one role on one page; more are counted.
const HOLDERS_MAX: usize = 500;

/// `GET /access`: who held which role at a moment.
pub(in crate::http::console) async fn access(call: &Call<'_>) -> Result<Shown, Fault> {
    let (at, role) = (call.param("at").unwrap_or_default(), call.param("role").unwrap_or_default());
    let title = "Access at a time";
    match call.get("access", &[("at", at), ("role", role)]).await {
        Ok(found) => Ok(Shown::page(title, "access.html", held(&found, at, role))),
        Err(fault) if matches!(fault.status, 400 | 404 | 409) => {
            let context = held(&json!({}), at, role);
            Ok(Shown::Again { fault, title: title.to_owned(), template: "access.html", context })
        }
        Err(fault) => Err(fault),
    }
}

/// What the template is given.
pub(in crate::http::console) fn held(found: &Value, at: &str, role: &str) -> Value {
    let roles: Vec<Value> = view::list(found, "roles")
        .iter()
        .map(|one| {
            let all = view::list(one, "holders");
            json!({
                "role": view::text(one, "role"), "protected": view::truth(one, "protected"), "total": all.len(),
                "holders": all.iter().take(HOLDERS_MAX).map(holder).collect::<Vec<_>>(),
                "more": all.len().saturating_sub(HOLDERS_MAX),
            })
        })
        .collect();
    json!({
        "at": at, "role": role, "seq": view::number(found, "seq"), "moment": view::any(found, "at"), "roles": roles,
        "problems": view::list(found, "problems"),
    })
}

fn holder(of: &Value) -> Value {
    let since = of.get("since").filter(|since| since.is_object()).cloned().unwrap_or_else(|| json!({}));
    let why: Vec<&str> = view::list(of, "why").iter().filter_map(Value::as_str).collect();
    json!({
        "name": if view::text(of, "user_name").is_empty() { view::text(of, "subject") } else { view::text(of, "user_name") },
        "display": view::text(of, "display_name"), "person": view::text(of, "id"),
        "directory": view::text(of, "directory"), "why": why.join("; "),
        "seq": view::any(&since, "seq"), "at": view::any(&since, "at"), "actor": view::text(&since, "actor"),
    })
}

/// Lines of a difference on one page; more are counted.
const LINES_MAX: usize = 500;

/// `GET /diff`: what came and went between two moments.
pub(in crate::http::console) async fn diff(call: &Call<'_>) -> Result<Shown, Fault> {
    let (from, to) = (call.param("from").unwrap_or_default(), call.param("to").unwrap_or_default());
    let title = "What changed between two times";
    if from.is_empty() {
        return Ok(Shown::page(title, "access_diff.html", between(&json!({}), from, to)));
    }
    match call.get("diff", &[("from", from), ("to", to)]).await {
        Ok(found) => Ok(Shown::page(title, "access_diff.html", between(&found, from, to))),
        Err(fault) if matches!(fault.status, 400 | 404 | 409) => {
            let context = between(&json!({}), from, to);
            Ok(Shown::Again { fault, title: title.to_owned(), template: "access_diff.html", context })
        }
        Err(fault) => Err(fault),
    }
}

/// What the template is given.
pub(in crate::http::console) fn between(found: &Value, from: &str, to: &str) -> Value {
    let mut lines: Vec<Value> = Vec::new();
    for (key, sign, word) in [("add", "+", "added"), ("remove", "-", "removed")] {
        lines.extend(view::list(found, key).iter().map(|one| moved(one, sign, word)));
    }
    let total = lines.len();
    lines.truncate(LINES_MAX);
    json!({
        "from": from, "to": to, "asked": !from.is_empty() && found.get("add").is_some(),
        "begin": end(found, "from"), "end": end(found, "to"),
        "added": view::list(found, "add").len(), "removed": view::list(found, "remove").len(),
        "lines": lines, "more": total.saturating_sub(LINES_MAX), "problems": view::list(found, "problems"),
    })
}

fn end(found: &Value, key: &str) -> Value {
    let of = found.get(key).cloned().unwrap_or_else(|| json!({}));
    json!({ "seq": view::number(&of, "seq"), "at": view::any(&of, "at") })
}

fn moved(of: &Value, sign: &str, word: &str) -> Value {
    let cause = of.get("change").filter(|one| one.is_object()).cloned().unwrap_or_else(|| json!({}));
    let why: Vec<&str> = view::list(of, "why").iter().filter_map(Value::as_str).collect();
    json!({
        "sign": sign, "word": word,
        "name": if view::text(of, "subject").is_empty() { view::text(of, "id") } else { view::text(of, "subject") },
        "person": view::person(view::text(of, "id")),
        "label": if view::text(of, "label").is_empty() { view::text(of, "entitlement") } else { view::text(of, "label") },
        "why": why.join("; "), "seq": view::any(&cause, "seq"), "at": view::any(&cause, "at"),
        "actor": view::text(&cause, "actor"),
    })
}
