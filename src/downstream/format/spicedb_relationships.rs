//! `spicedb-relationships`: relationships for SpiceDB, nested groups flattened. An id takes few characters there (no
//! `@`, no `.`), so names are written in base64url unless told otherwise.
//!
//! Loading relationships only adds. So the form `changes` has both halves, as requests that `WriteRelationships` takes
//! one by one: TOUCH for what is, and DELETE for what was in the file before, until a `reload` has succeeded.

use serde_json::{Value, json};

use crate::access::View;

use super::escape::{self, Refused};
use super::fit::Kind;
use super::relations::{self, Relation, Store};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json as whole, lines};

const NAME: &str = "spicedb-relationships";

const WORDS: [OptionDoc; 5] =
    relations::words("3 to 64 of a-z, 0-9 and _, a letter first and no _ last", is_word);

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "SpiceDB: relationships of users with their groups and roles, and which to delete",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "encode",
            kind: OptionKind::Choice(&["base64url", "none"]),
            default: "\"base64url\"",
            description: "How ids are written; with `none`, names of other characters than letters, digits and /_|-=+ are left out.",
        },
        OptionDoc {
            name: "form",
            kind: OptionKind::Choice(&["changes", "lines", "yaml"]),
            default: "\"changes\"",
            description: "Write requests, a line each, deletes first; or the relationships alone, which only add, one a line or as the `relationships` of a validation file.",
        },
        WORDS[0],
        WORDS[1],
        WORDS[2],
        WORDS[3],
        WORDS[4],
    ],
    render: super::Render::One(render),
    check,
    example: whole::placeholder_options,
    relations: |view, options| relations::remembered(view, options, &STORE),
    ..super::PLAIN
};

const STORE: Store = Store { format: NAME, id };

/// Longest id.
const ID_BYTES_MAX: usize = 1024;

/// Updates that one WriteRelationships takes.
const WRITE_MAX: usize = 1000;

fn is_word(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '|' | '-' | '=' | '+'))
}

fn id(options: &Options, _kind: Kind, name: &str) -> Result<String, Refused> {
    let is_encoded = options.text("encode", "base64url") == "base64url";
    let id = if is_encoded { escape::base64url(name) } else { name.to_owned() };
    match (is_id(&id), is_encoded) {
        (true, _) => Ok(id),
        (false, true) => Err("the name is longer than SpiceDB takes"),
        (false, false) => Err("the name has a character that SpiceDB takes in no id, or is too long"),
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let (found, left_out) = relations::wanted(view, options, &STORE)?;
    let form = options.text("form", "changes");
    if form == "changes" {
        let deletes = relations::deletes(options, &found);
        let bytes = relations::requests(NAME, (&found, &deletes), WRITE_MAX, &request)?;
        return Ok(Rendered { bytes, left_out });
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let text = match (form, found.is_empty()) {
        // A blank line is no relationship, and an empty file could be one that was cut short.
        ("lines", true) => "\n".to_owned(),
        ("lines", false) => found.join("\n") + "\n",
        (_, true) => "relationships: \"\"\n".to_owned(),
        (_, false) => format!("relationships: |-\n  {}\n", found.join("\n  ")),
    };
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

/// One WriteRelationships. Neither a TOUCH of what is there nor a DELETE of what is gone is an error.
fn request(is_delete: bool, relations: &[&Relation]) -> Value {
    let operation = if is_delete { "OPERATION_DELETE" } else { "OPERATION_TOUCH" };
    let object = |text: &str| {
        let (kind, id) = text.split_once(':').unwrap_or_default();
        json!({ "objectType": kind, "objectId": id })
    };
    let update = |one: &&Relation| {
        json!({ "operation": operation, "relationship": {
            "resource": object(&one.object),
            "relation": one.relation,
            "subject": { "object": object(&one.user) },
        } })
    };
    json!({ "updates": relations.iter().map(update).collect::<Vec<_>>() })
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    let (indent, skipped) = match options.text("form", "changes") {
        "changes" => return relations::check_requests(text, WRITE_MAX, &updates_of),
        "lines" => ("", 0),
        _ if text == "relationships: \"\"\n" => return Ok(()),
        _ if text.starts_with("relationships: |-\n") => ("  ", 1),
        _ => return Err("`relationships` is missing".into()),
    };
    if indent.is_empty() && text == "\n" {
        return Ok(());
    }
    for (n, line) in lines::numbered(text).skip(skipped) {
        let relation = line.strip_prefix(indent).and_then(Relation::parse);
        if !relation.is_some_and(|one| is_relationship(&one)) {
            return Err(format!("line {n} is not `type:id#relation@type:id`"));
        }
    }
    Ok(())
}

fn updates_of(request: &Value) -> Result<Vec<(bool, Relation)>, String> {
    let updates = request.get("updates").and_then(Value::as_array).ok_or("no updates")?;
    let update = |update: &Value| {
        let is_delete = match update["operation"].as_str() {
            Some("OPERATION_DELETE") => true,
            Some("OPERATION_TOUCH") => false,
            _ => return Err("an update that cannot be repeated".to_owned()),
        };
        let object = |object: &Value| {
            let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            format!("{}:{}", text("objectType"), text("objectId"))
        };
        let one = &update["relationship"];
        let relation = Relation {
            object: object(&one["resource"]),
            relation: one["relation"].as_str().unwrap_or_default().to_owned(),
            user: object(one.pointer("/subject/object").unwrap_or(&serde_json::Value::Null)),
        };
        if is_relationship(&relation) {
            Ok((is_delete, relation))
        } else {
            Err(format!("`{relation}` is not `type:id#relation@type:id`"))
        }
    };
    updates.iter().map(update).collect()
}

/// SpiceDB's grammar, as far as it is used here.
fn is_relationship(one: &Relation) -> bool {
    let is_object = |text: &str| text.split_once(':').is_some_and(|(kind, id)| is_word(kind) && is_id(id));
    is_object(&one.object) && is_word(&one.relation) && is_object(&one.user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::testing::{named, options, outcome};
    use std::collections::BTreeSet;

    /// Everything that the store would hold after a file, from nothing.
    fn touched(text: &str) -> BTreeSet<String> {
        let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let updates = requests.flat_map(|request| updates_of(&request).unwrap());
        updates.filter(|(is_delete, _)| !is_delete).map(|(_, one)| one.to_string()).collect()
    }

    #[test]
    fn what_is_is_touched_and_what_was_is_deleted() {
        let mut with = options(&json!({}));
        let relations = FORMAT.relations(&named("bob"), &with).unwrap();
        let gone = format!("role:{}#assignee@user:{}", escape::base64url("admin"), escape::base64url("carl"));
        with.deletes = [gone.clone()].into();
        let (text, _) = outcome(NAME, &named("bob"), &with);
        assert_eq!(touched(&text), relations);
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let [(true, one)] = &updates_of(&first).unwrap()[..] else { panic!("{first}") };
        assert_eq!(one.to_string(), gone);
    }
}
