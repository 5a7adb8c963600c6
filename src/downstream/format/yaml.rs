//! `yaml`: the access model of `json` as block YAML. Every string stands in double quotes with JSON escapes, so that
//! no YAML 1.1 reader turns `no` or `12:30` into something else; anchors and tags never occur.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::access::View;

use super::{Format, Options, RenderError, Rendered, escape, json, lines};

pub(super) const FORMAT: Format = Format {
    name: "yaml",
    summary: "the whole access model (users, groups, roles) as YAML",
    content_type: "application/yaml",
    options: &[],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    ..super::PLAIN
};

fn render(view: &View, _options: &Options) -> Result<Rendered, RenderError> {
    let model = serde_json::to_value(view).map(json::sorted).map_err(|error| RenderError {
        name: "yaml".into(),
        line: None,
        what: error.to_string(),
        hint: "this is a fault of rosterd; please report it",
    })?;
    let mut text = String::new();
    if let Value::Object(map) = &model {
        mapping(&mut text, map, 0);
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out: Vec::new() })
}

/// `key: value` lines, each after `indent` blanks.
fn mapping(text: &mut String, map: &Map<String, Value>, indent: usize) {
    for (key, value) in map {
        entry(text, key, value, indent);
    }
}

fn entry(text: &mut String, key: &str, value: &Value, indent: usize) {
    let _infallible = write!(text, "{:indent$}{key}:", "");
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                element(text, item, indent.saturating_add(2));
            }
        }
        other => {
            let _infallible = writeln!(text, " {}", scalar(other));
        }
    }
}

fn element(text: &mut String, item: &Value, indent: usize) {
    let Value::Object(map) = item else {
        let _infallible = writeln!(text, "{:indent$}- {}", "", scalar(item));
        return;
    };
    let mut block = String::new();
    mapping(&mut block, map, indent.saturating_add(2));
    // The first key stands beside the dash.
    let rest = block.get(indent.saturating_add(2)..).unwrap_or_default();
    let _infallible = write!(text, "{:indent$}- {rest}", "");
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => escape::quoted(text),
        other => escape::json_text(&other.to_string()),
    }
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    let mut model = Map::new();
    let mut list = String::new();
    for (n, line) in lines::numbered(text) {
        read_line(&mut model, &mut list, line)
            .ok_or_else(|| format!("line {n} is not as this format writes it"))?;
    }
    let view: View = serde_json::from_value(Value::Object(model)).map_err(|error| error.to_string())?;
    let is_sorted = view.users.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name));
    if is_sorted { Ok(()) } else { Err("two users have one name, or users are not sorted".into()) }
}

/// Reads one line of the very subset that is written: `model` is what was read so far, `list` the list of names that
/// the last line opened within the last element.
fn read_line(model: &mut Map<String, Value>, list: &mut String, line: &str) -> Option<()> {
    let body = line.trim_start_matches(' ');
    match line.len().checked_sub(body.len())? {
        0 => {
            let (key, value) = body.split_once(':')?;
            let value = if value.is_empty() { Value::Array(Vec::new()) } else { parse(value)? };
            model.insert(key.to_owned(), value).is_none().then_some(())
        }
        indent @ (2 | 4) => {
            let section = model.values_mut().next_back()?.as_array_mut()?;
            let field = if indent == 2 {
                section.push(Value::Object(Map::new()));
                body.strip_prefix("- ")?
            } else {
                body
            };
            let (key, value) = field.split_once(':')?;
            list.clear();
            let value = if value.is_empty() {
                key.clone_into(list);
                Value::Array(Vec::new())
            } else {
                parse(value)?
            };
            section.last_mut()?.as_object_mut()?.insert(key.to_owned(), value).is_none().then_some(())
        }
        6 => {
            let element = model.values_mut().next_back()?.as_array_mut()?.last_mut()?;
            let names = element.as_object_mut()?.get_mut(list.as_str())?.as_array_mut()?;
            names.push(parse(body.strip_prefix('-')?)?);
            Some(())
        }
        _ => None,
    }
}

fn parse(scalar: &str) -> Option<Value> {
    serde_json::from_str(scalar.strip_prefix(' ')?).ok()
}
