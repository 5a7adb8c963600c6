//! `openfga-tuples`: relationship tuples for OpenFGA, a user a line of membership, nested groups flattened.
//!
//! Loading tuples only adds. So the form `changes` has both halves, as requests that OpenFGA's Write takes one by one:
//! what was in the file before and is not any more is deleted, and goes on being deleted until a `reload` has succeeded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::access::View;

use super::escape::{self, Refused};
use super::fit::Kind;
use super::relations::{self, Relation, Store};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json as whole, lines};

const NAME: &str = "openfga-tuples";

const WORDS: [OptionDoc; 5] = relations::words("1 to 50 of letters, digits, _ and -", is_word);

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "OpenFGA: tuples of users with their groups and roles, and which to delete",
    content_type: "application/json",
    options: &[
        OptionDoc {
            name: "encode",
            kind: OptionKind::Choice(&["none", "base64url"]),
            default: "\"none\"",
            description: "How ids are written; with `none`, names with blanks, `:`, `#` and the name `*` are left out.",
        },
        OptionDoc {
            name: "form",
            kind: OptionKind::Choice(&["changes", "json", "jsonl", "csv"]),
            default: "\"changes\"",
            description: "Write requests, a line each, deletes first; or the tuples alone, which only add, as one JSON list, JSON Lines, or CSV as `fga tuple write` reads it.",
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

const CSV_HEADER: &str =
    "user_type,user_id,user_relation,relation,object_type,object_id,condition_name,condition_context";

/// Bytes that OpenFGA takes: of an object (type, colon and id), and of a user.
const OBJECT_BYTES_MAX: usize = 256;
const USER_BYTES_MAX: usize = 512;

/// Tuples that one Write takes.
const WRITE_MAX: usize = 100;

fn is_word(text: &str) -> bool {
    (1..=50).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn id(options: &Options, kind: Kind, name: &str) -> Result<String, Refused> {
    let is_encoded = options.text("encode", "none") == "base64url";
    let id = if is_encoded { escape::base64url(name) } else { name.to_owned() };
    if !is_encoded && name == "*" {
        return Err("`*` means everybody to OpenFGA");
    }
    if !is_encoded && name.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '#')) {
        return Err("the name has a blank, `:` or `#`, which OpenFGA takes in no id");
    }
    let max = if kind == Kind::User { USER_BYTES_MAX } else { OBJECT_BYTES_MAX };
    if relations::full(options, kind, &id).len() > max {
        return Err("the name is longer than OpenFGA takes");
    }
    Ok(id)
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let (tuples, left_out) = relations::wanted(view, options, &STORE)?;
    let bytes = match options.text("form", "changes") {
        "json" => lines::json_pretty(NAME, &tuples.iter().map(to_json).collect::<Vec<_>>())?,
        "jsonl" => {
            let mut bytes = Vec::new();
            for tuple in &tuples {
                bytes.append(&mut lines::json_line(NAME, &to_json(tuple))?);
            }
            bytes
        }
        "csv" => csv(&tuples).into_bytes(),
        _ => {
            let deletes = relations::deletes(options, &tuples);
            relations::requests(NAME, (&tuples, &deletes), WRITE_MAX, &request)?
        }
    };
    Ok(Rendered { bytes, left_out })
}

/// One Write. A delete of what is gone, or a write of what is there, is no error, so that a request can be repeated.
fn request(is_delete: bool, tuples: &[&Relation]) -> Value {
    let keys: Vec<Value> = tuples.iter().map(|tuple| to_json(tuple)).collect();
    if is_delete {
        json!({ "deletes": { "tuple_keys": keys, "on_missing": "ignore" } })
    } else {
        json!({ "writes": { "tuple_keys": keys, "on_duplicate": "ignore" } })
    }
}

fn to_json(tuple: &Relation) -> Value {
    json!({ "user": tuple.user, "relation": tuple.relation, "object": tuple.object })
}

fn csv(tuples: &BTreeSet<Relation>) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for tuple in tuples {
        let cell = |text: &str| escape::csv(text).unwrap_or_default();
        let parts = (tuple.user.split_once(':'), tuple.object.split_once(':'));
        if let (Some((user_type, user)), Some((object_type, object))) = parts {
            let (user, object) = (cell(user), cell(object));
            let _infallible =
                writeln!(text, "{user_type},{user},,{},{object_type},{object},,", tuple.relation);
        }
    }
    text
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    match options.text("form", "changes") {
        "csv" if text.lines().next() == Some(CSV_HEADER) => super::csv_check::check(text),
        "csv" => Err("the header is missing".into()),
        "jsonl" => lines::numbered(text).try_for_each(|(n, line)| {
            let tuple = crate::scim::json::parse(line.as_bytes()).map_err(|error| error.detail);
            tuple.and_then(|tuple| tuple_of(&tuple)).map(|_| ()).map_err(|why| format!("line {n}: {why}"))
        }),
        "json" => {
            let document = lines::json(bytes)?;
            let list = document.as_array().ok_or("not a list of tuples")?;
            list.iter().try_for_each(|tuple| tuple_of(tuple).map(|_| ()))
        }
        _ => relations::check_requests(text, WRITE_MAX, &|request| {
            let (is_delete, half) = match (request.get("deletes"), request.get("writes")) {
                (Some(half), None) if half["on_missing"] == "ignore" => (true, half),
                (None, Some(half)) if half["on_duplicate"] == "ignore" => (false, half),
                _ => return Err("not a Write that can be repeated".into()),
            };
            let keys = half.get("tuple_keys").and_then(Value::as_array).ok_or("no tuples")?;
            keys.iter().map(|tuple| Ok((is_delete, tuple_of(tuple)?))).collect()
        }),
    }
}

/// The grammar of OpenFGA's own checks.
fn tuple_of(tuple: &Value) -> Result<Relation, String> {
    let text = |key: &str| tuple.get(key).and_then(Value::as_str).ok_or(format!("a tuple without `{key}`"));
    let (user, relation, object) = (text("user")?, text("relation")?, text("object")?);
    for (full, max) in [(user, USER_BYTES_MAX), (object, OBJECT_BYTES_MAX)] {
        let (kind, id) = full.split_once(':').ok_or(format!("`{full}` has no type"))?;
        let is_bad = |c: char| c.is_whitespace() || matches!(c, ':' | '#');
        if !is_word(kind) || id.is_empty() || id == "*" || id.contains(is_bad) || full.len() > max {
            return Err(format!("`{full}` is not `type:id` as OpenFGA takes it"));
        }
    }
    if !is_word(relation) {
        return Err(format!("`{relation}` is not a relation"));
    }
    Ok(Relation { user: user.into(), relation: relation.into(), object: object.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::testing::{named, options, outcome};

    #[test]
    fn what_goes_comes_first_and_never_with_what_is() {
        let mut with = options(&json!({}));
        let relations = FORMAT.relations(&named("bob"), &with).unwrap();
        assert!(relations.contains("role:admin#assignee@user:bob"), "{relations:?}");
        with.deletes = ["role:admin#assignee@user:carl", "role:admin#assignee@user:bob", "nonsense"]
            .map(str::to_owned)
            .into();
        let (text, _) = outcome(NAME, &named("bob"), &with);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let keys = &lines[0]["deletes"]["tuple_keys"];
        assert_eq!(keys, &json!([{"user": "user:carl", "relation": "assignee", "object": "role:admin"}]));
        assert_eq!(lines[1]["writes"]["tuple_keys"].as_array().unwrap().len(), relations.len());
    }

    #[test]
    fn no_request_is_longer_than_openfga_takes() {
        let mut with = options(&json!({}));
        with.deletes = (0..250).map(|n| format!("role:r#assignee@user:u{n:03}")).collect();
        let (text, _) = outcome(NAME, &View::default(), &with);
        let sizes: Vec<usize> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|request| request["deletes"]["tuple_keys"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn only_the_form_with_both_halves_is_remembered() {
        assert!(FORMAT.relations(&named("bob"), &options(&json!({"form": "json"}))).is_none());
        assert_eq!(FORMAT.relations(&View::default(), &options(&json!({}))), Some(BTreeSet::new()));
    }
}
