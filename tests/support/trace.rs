//! Plays a recorded conversation of an identity provider against a daemon and checks every answer.
//!
//! The format: a list of steps, each a request exactly as it goes on the wire and what to expect of the answer:
//! `status`, `json` (pointer → value; `{"$count"}`, `{"$regex"}`, `{"$contains"}`), `absent`, `header`, `save`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::http::{Client, Response};

/// Replaces `${name}`; in a path the text put in is percent-encoded.
fn substitute(text: &str, variables: &BTreeMap<String, String>, encode: bool) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        let end = tail.find('}').ok_or("unclosed ${")?;
        let name = &tail[2..end];
        let value = variables.get(name).ok_or_else(|| format!("unresolved ${{{name}}}"))?;
        out.push_str(before);
        if encode {
            out.extend(value.bytes().map(|b| {
                if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                    (b as char).to_string()
                } else {
                    format!("%{b:02X}")
                }
            }));
        } else {
            out.push_str(value);
        }
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn substitute_all(value: &Value, variables: &BTreeMap<String, String>) -> Result<Value, String> {
    Ok(match value {
        Value::String(s) => Value::String(substitute(s, variables, false)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|i| substitute_all(i, variables)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let mut out = serde_json::Map::new();
            for (k, v) in map {
                out.insert(substitute(k, variables, false)?, substitute_all(v, variables)?);
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}

fn matches(wanted: &Value, actual: Option<&Value>) -> bool {
    let Some(operators) = wanted.as_object().filter(|m| m.keys().any(|k| k.starts_with('$'))) else {
        return actual == Some(wanted);
    };
    operators.iter().all(|(operator, operand)| match operator.as_str() {
        "$count" => {
            actual.and_then(Value::as_array).map_or(0, Vec::len) as u64
                == operand.as_u64().unwrap_or(u64::MAX)
        }
        "$regex" => {
            let text = match actual {
                Some(Value::String(s)) => s.clone(),
                Some(other) => other.to_string(),
                None => return false,
            };
            regex::Regex::new(operand.as_str().unwrap()).unwrap().is_match(&text)
        }
        "$contains" => match actual {
            Some(Value::String(s)) => operand.as_str().is_some_and(|o| s.contains(o)),
            Some(Value::Array(items)) => items.iter().any(|item| match (item, operand) {
                (Value::Object(item), Value::Object(part)) => {
                    part.iter().all(|(k, v)| item.get(k) == Some(v))
                }
                _ => item == operand,
            }),
            _ => false,
        },
        other => panic!("unknown operator {other}"),
    })
}

fn check(
    expect: &Value,
    answer: &Response,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let wanted: Vec<u64> = match &expect["status"] {
        Value::Array(list) => list.iter().filter_map(Value::as_u64).collect(),
        other => other.as_u64().into_iter().collect(),
    };
    if !wanted.is_empty() && !wanted.contains(&u64::from(answer.status)) {
        return Ok(vec![format!("status: wanted {wanted:?}, got {} {}", answer.status, answer.text())]);
    }
    for (name, pattern) in expect["header"].as_object().into_iter().flatten() {
        let pattern = substitute(pattern.as_str().unwrap(), variables, false)?;
        let value = answer.header(name).unwrap_or_default();
        if !regex::Regex::new(&pattern).unwrap().is_match(value) {
            problems.push(format!("header {name}: wanted /{pattern}/, got {value:?}"));
        }
    }
    if answer.status == 204 {
        return Ok(problems);
    }
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    for (pointer, value) in substitute_all(&expect["json"], variables)?.as_object().into_iter().flatten() {
        if !matches(value, body.pointer(pointer)) {
            problems.push(format!("{pointer}: wanted {value}, got {:?}", body.pointer(pointer)));
        }
    }
    for pointer in expect["absent"].as_array().into_iter().flatten() {
        let found = body.pointer(pointer.as_str().unwrap());
        if !matches!(found, None | Some(Value::Null))
            && found.and_then(Value::as_array).is_none_or(|a| !a.is_empty())
        {
            problems.push(format!("{pointer}: wanted nothing, got {found:?}"));
        }
    }
    Ok(problems)
}

/// Plays one trace; gives the number of steps that passed and what was wrong with the others.
pub fn play(
    client: &mut Client,
    token: &str,
    trace: &Value,
    run: &str,
    mut after_step: impl FnMut(usize, &BTreeMap<String, String>),
) -> (usize, Vec<String>) {
    let mut variables =
        BTreeMap::from([("run".to_owned(), run.to_owned()), ("token".to_owned(), token.to_owned())]);
    let (mut passed, mut failed) = (0, Vec::new());
    for (number, step) in trace["steps"].as_array().unwrap().iter().enumerate() {
        match play_step(client, token, step, &mut variables) {
            Ok(problems) if problems.is_empty() => passed += 1,
            Ok(problems) => failed.push(format!("#{} {}: {}", number + 1, step["name"], problems.join("; "))),
            Err(problem) => failed.push(format!("#{} {}: {problem}", number + 1, step["name"])),
        }
        after_step(number, &variables);
    }
    (passed, failed)
}

fn play_step(
    client: &mut Client,
    token: &str,
    step: &Value,
    variables: &mut BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let request = &step["request"];
    let path = substitute(request["path"].as_str().unwrap(), variables, true)?;
    let body = match substitute_all(&request["body"], variables)? {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    let mut headers = vec![
        ("Authorization".to_owned(), format!("Bearer {token}")),
        ("Accept".to_owned(), "application/scim+json".to_owned()),
    ];
    if body.is_some() {
        headers.push(("Content-Type".to_owned(), "application/scim+json".to_owned()));
    }
    for (name, value) in substitute_all(&request["headers"], variables)?.as_object().into_iter().flatten() {
        headers.retain(|(k, _)| !k.eq_ignore_ascii_case(name));
        if let Some(value) = value.as_str() {
            headers.push((name.clone(), value.to_owned()));
        }
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let method = request["method"].as_str().unwrap();
    let answer = client
        .send(method, &format!("/scim/v2{path}"), &headers, body.as_deref())
        .map_err(|e| e.to_string())?;
    let problems = check(&step["expect"], &answer, variables)?;
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    for (name, pointer) in step["save"].as_object().into_iter().flatten() {
        if let Some(value) = json.pointer(pointer.as_str().unwrap()).filter(|_| answer.status < 300) {
            variables.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    Ok(problems)
}
