//! `jsonl`: the access model as JSON Lines, one object a line, each saying what it is in `kind`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::{View, ViewGroup, ViewRole, ViewUser};

use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json, lines};

const NAME: &str = "jsonl";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "users, groups and roles as JSON Lines, one object a line",
    content_type: "application/jsonl",
    options: &[OptionDoc {
        name: "rows",
        kind: OptionKind::Choice(&["all", "users", "groups", "roles"]),
        default: "\"all\"",
        description: "Which objects are written.",
    }],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    ..super::PLAIN
};

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let rows = options.text("rows", "all");
    let mut bytes = Vec::new();
    if matches!(rows, "all" | "users") {
        write(&mut bytes, "user", &view.users)?;
    }
    if matches!(rows, "all" | "groups") {
        write(&mut bytes, "group", &view.groups)?;
    }
    if matches!(rows, "all" | "roles") {
        write(&mut bytes, "role", &view.roles)?;
    }
    Ok(Rendered { bytes, left_out: Vec::new() })
}

fn write<T: Serialize>(bytes: &mut Vec<u8>, kind: &str, rows: &[T]) -> Result<(), RenderError> {
    for row in rows {
        let mut line = Map::new();
        line.insert("kind".into(), kind.into());
        if let Ok(Value::Object(fields)) = serde_json::to_value(row).map(json::sorted) {
            line.extend(fields);
        }
        bytes.append(&mut lines::json_line(NAME, &line)?);
    }
    Ok(())
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    for (n, line) in lines::numbered(lines::text(bytes)?) {
        let wrong = |what: String| format!("line {n}: {what}");
        let value = crate::scim::json::parse(line.as_bytes()).map_err(|error| wrong(error.detail))?;
        let read = match value.get("kind").and_then(Value::as_str) {
            Some("user") => serde_json::from_value::<ViewUser>(value).map(|_| ()),
            Some("group") => serde_json::from_value::<ViewGroup>(value).map(|_| ()),
            Some("role") => serde_json::from_value::<ViewRole>(value).map(|_| ()),
            _ => return Err(wrong("no `kind` of user, group or role".into())),
        };
        read.map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}
