//! What the pages of users and of groups share: the search, attributes, history.
//!
//! What a page costs: a search by beginning reads a bounded part of four indexes and the rows of one page; a filter that
//! an index answers (`userName eq`, `emails eq`, `externalId eq`, `displayName eq`) as well. Any other filter looks at one
//! document after the other until a page is full, so one that hardly anybody satisfies reads the whole directory: it is
//! the person's own wish then, on the readers' threads, where it delays no push. Nothing is counted.

use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault};
use crate::http::console::template::encoded;

/// Lines of one page.
const LINES: &str = "50";

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Users,
    Groups,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Groups => "groups",
        }
    }

    /// Filters to click on.
    fn examples(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Users => &[
                ("userName eq \"dana@example.com\"", "one by name, by an index"),
                ("emails.value sw \"dana\"", "an e-mail address that begins so"),
                ("userType eq \"Contractor\" and active eq true", "two conditions"),
                ("not (title pr)", "those without a title"),
                ("meta.lastModified gt \"2026-01-01T00:00:00Z\"", "changed since"),
            ],
            Self::Groups => &[
                ("displayName sw \"Eng\"", "a name that begins so"),
                ("displayName co \"admin\"", "a name with this in it"),
                ("not (members pr)", "groups without members"),
                ("externalId pr", "those with an externalId"),
            ],
        }
    }
}

/// The list with its search, and what was wrong with the filter, beside its field.
pub(super) async fn search(call: &Call<'_>, kind: Kind) -> Result<Value, Fault> {
    let asked = |name: &str| call.param(name).unwrap_or_default();
    let (text, filter, directory) = (asked("q"), asked("filter"), asked("directory"));
    let state = match (kind, asked("state")) {
        (Kind::Users, "active") => "true",
        (Kind::Users, "inactive") => "false",
        _ => "",
    };
    let known = call.get("directories", &[]).await?;
    // A filter says all by itself.
    let text = if filter.is_empty() { text } else { "" };
    let query = [
        ("q", text),
        ("filter", filter),
        ("directory", directory),
        ("active", state),
        ("cursor", asked("cursor")),
        ("count", LINES),
    ];
    let (found, wrong) = match call.get(kind.word(), &query).await {
        Ok(found) => (found, Value::Null),
        Err(fault) if fault.status == 400 && !filter.is_empty() => (
            json!({ kind.word(): [], "next_cursor": null }),
            json!({ "message": fault.message, "hint": fault.hint }),
        ),
        Err(fault) => return Err(fault),
    };
    let path = format!("/{}", kind.word());
    let with = |more: &[(&str, &str)]| {
        let pairs = [("q", text), ("filter", filter), ("directory", directory), ("state", asked("state"))];
        let pairs: Vec<String> = pairs
            .iter()
            .chain(more)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        if pairs.is_empty() { path.clone() } else { format!("{path}?{}", pairs.join("&")) }
    };
    let next = found.get("next_cursor").and_then(Value::as_str).map(|cursor| with(&[("cursor", cursor)]));
    let examples: Vec<Value> = kind
        .examples()
        .iter()
        .map(|(filter, what)| {
            json!({ "filter": filter, "what": what, "href": format!("{path}?filter={}", encoded(filter)) })
        })
        .collect();
    Ok(json!({
        "lines": found.get(kind.word()),
        "q": text, "filter": filter, "directory": directory, "state": asked("state"),
        "directories": known.get("directories"),
        "wrong": wrong,
        "first": if asked("cursor").is_empty() { Value::Null } else { with(&[]).into() },
        "next": next,
        "is_narrowed": !(text.is_empty() && filter.is_empty() && directory.is_empty() && asked("state").is_empty()),
        "examples": examples,
    }))
}

/// A document as lines of name and values, by schema: the core one first, each extension under its name.
pub(super) fn attributes(document: &Value) -> Vec<Value> {
    let mut core = Vec::new();
    let mut parts = Vec::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("schemas" | "id" | "meta" | "members" | "groups", _) => {}
            (urn, Value::Object(inside)) if urn.starts_with("urn:") => {
                let mut rows = Vec::new();
                for (name, value) in inside {
                    row(&mut rows, name, value);
                }
                parts.push(json!({ "title": urn, "rows": rows }));
            }
            (name, value) => row(&mut core, name, value),
        }
    }
    let mut all = vec![json!({ "title": "", "rows": core })];
    all.extend(parts);
    all
}

fn row(rows: &mut Vec<Value>, name: &str, value: &Value) {
    match value {
        Value::Object(inside) => {
            for (sub, value) in inside {
                row(rows, &format!("{name}.{sub}"), value);
            }
        }
        Value::Array(all) => {
            let values: Vec<Value> = all.iter().map(element).collect();
            rows.push(json!({ "name": name, "values": values }));
        }
        other => rows.push(json!({ "name": name, "values": [{ "text": plain(other), "notes": [] }] })),
    }
}

/// One of several values: what it is, and its type or that it is the primary one.
fn element(value: &Value) -> Value {
    let Some(inside) = value.as_object() else { return json!({ "text": plain(value), "notes": [] }) };
    let said = inside.get("value").or_else(|| inside.get("formatted")).or_else(|| inside.get("display"));
    let Some(said) = said else { return json!({ "text": plain(value), "notes": [] }) };
    let mut notes: Vec<String> =
        inside.get("type").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
    if inside.get("primary").and_then(Value::as_bool) == Some(true) {
        notes.push("primary".to_owned());
    }
    json!({ "text": plain(said), "notes": notes })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    }
}

/// One page of the history of a user (`subject`) or a group (`group`), named `DIRECTORY/ID`, newest first.
pub(super) async fn history(call: &Call<'_>, whose: &str, id: &str, limit: &str) -> Result<Value, Fault> {
    let behind = call.param("after").unwrap_or_default();
    let query = [(whose, id), ("order", "newest"), ("limit", limit), ("after", behind)];
    let found = call.get("history", &query).await?;
    let changes = found.get("changes").and_then(Value::as_array);
    let own = id.rsplit('/').next().unwrap_or(id);
    let lines: Vec<Value> = changes.into_iter().flatten().map(|change| happened(change, own)).collect();
    Ok(json!({ "changes": lines, "next": found.get("next"), "begins_after": found.get("begins_after") }))
}

/// A change as the history has it, and who came and went.
fn happened(change: &Value, id: &str) -> Value {
    let mut line = view::change(change);
    let members: Vec<Value> = change
        .get("members")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| {
            // On a person's page the group is what matters, on a group's page the member.
            let is_group = row.get("group").and_then(Value::as_str) == Some(id);
            let (other, name, path) =
                if is_group { ("member", "member_name", "users") } else { ("group", "group_name", "groups") };
            let is_nested = is_group && row.get("type").and_then(Value::as_str) == Some("Group");
            json!({
                "op": row.get("op"), "id": row.get(other), "name": row.get(name),
                "path": if is_nested { "groups" } else { path },
            })
        })
        .collect();
    if let Some(line) = line.as_object_mut() {
        let total = line.get("members_total").and_then(Value::as_u64).unwrap_or(0);
        let more = total.saturating_sub(u64::try_from(members.len()).unwrap_or(u64::MAX));
        line.insert("came_and_went".to_owned(), members.into());
        line.insert("more".to_owned(), more.into());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_lines_by_schema() {
        let document = json!({
            "schemas": ["x"], "userName": "dana", "active": true, "name": {"givenName": "Dana"},
            "emails": [{"value": "d@example.com", "type": "work", "primary": true}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "IT", "manager": {"value": "7"}},
        });
        let all = attributes(&document);
        let names = |at: usize| -> Vec<&str> {
            all[at]["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
        };
        assert_eq!(names(0), ["userName", "active", "name.givenName", "emails"]);
        assert_eq!(names(1), ["department", "manager.value"]);
        let mail = &all[0]["rows"][3]["values"][0];
        assert_eq!(*mail, json!({"text": "d@example.com", "notes": ["work", "primary"]}));
    }

    #[test]
    fn a_change_tells_who_came() {
        let change = json!({
            "before": {"displayName": "A", "title": "x"}, "after": {"displayName": "B", "title": "x", "locale": "de"},
            "members": [{"op": "add", "group": "g", "group_name": "Crew", "member": "u", "member_name": "Dana", "type": "User"}],
            "members_total": 3,
        });
        let seen = happened(&change, "u");
        assert_eq!(
            seen["came_and_went"],
            json!([{"op": "add", "id": "g", "name": "Crew", "path": "groups"}])
        );
        assert_eq!(seen["more"], 2);
        assert_eq!(happened(&change, "g")["came_and_went"][0]["path"], "users");
    }
}
