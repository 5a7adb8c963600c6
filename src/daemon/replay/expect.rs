//! What a step expects of an answer, and what was otherwise.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::way::Answer;

/// Longest value that a difference quotes, in characters.
const SHOWN_MAX: usize = 160;

/// Values by name, put in for `${name}`.
pub(super) type Variables = BTreeMap<String, Value>;

/// Replaces every `${name}`; a text that is nothing else keeps the value's type, `encode` says how it is written.
pub(super) fn substitute(node: &Value, variables: &Variables) -> Result<Value, String> {
    Ok(match node {
        Value::String(text) => match whole(text) {
            Some(name) => lookup(name, variables)?.clone(),
            None => Value::String(text_with(text, variables, str::to_owned)?),
        },
        Value::Array(all) => all.iter().map(|one| substitute(one, variables)).collect::<Result<_, _>>()?,
        Value::Object(all) => {
            let pairs = all.iter().map(|(key, value)| {
                Ok((text_with(key, variables, str::to_owned)?, substitute(value, variables)?))
            });
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn whole(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|name| !name.contains(['$', '{', '}']))
}

fn lookup<'a>(name: &str, variables: &'a Variables) -> Result<&'a Value, String> {
    variables.get(name).ok_or_else(|| format!("unresolved ${{{name}}}: the step that saves it failed"))
}

/// `text` with each `${name}` replaced by its value, written by `encode`.
pub(super) fn text_with(
    text: &str,
    variables: &Variables,
    encode: impl Fn(&str) -> String,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("${") {
        let Some((name, after)) = tail.split_once('}') else { break };
        out.push_str(before);
        let value = lookup(name, variables)?;
        out.push_str(&value.as_str().map_or_else(|| encode(&value.to_string()), &encode));
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Everything that is otherwise than `step` expects.
pub(super) fn check(step: &Value, answer: &Answer, variables: &Variables) -> Result<Vec<String>, String> {
    let Some(expect) = step.get("expect") else { return Ok(Vec::new()) };
    if let Some(problem) = status(expect, answer) {
        return Ok(vec![problem]);
    }
    let mut problems = Vec::new();
    let headers = substitute(expect.get("header").unwrap_or(&Value::Null), variables)?;
    for (name, pattern) in headers.as_object().into_iter().flatten() {
        let pattern = pattern.as_str().unwrap_or_default();
        let found = answer.header(name);
        if !found.is_some_and(|found| is_match(pattern, found)) {
            problems.push(format!("header {name}: expected /{pattern}/, got {}", found.unwrap_or("none")));
        }
    }
    // No body: the next GET is what shows the outcome.
    if answer.status == 204 {
        return Ok(problems);
    }
    let wanted = substitute(expect.get("json").unwrap_or(&Value::Null), variables)?;
    for (pointer, wanted) in wanted.as_object().into_iter().flatten() {
        let found = answer.body.pointer(pointer);
        if !matches(wanted, found) {
            problems.push(format!("{pointer}: expected {}, got {}", shown(Some(wanted)), shown(found)));
        }
    }
    let absent = substitute(expect.get("absent").unwrap_or(&Value::Null), variables)?;
    for pointer in absent.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let found = answer.body.pointer(pointer);
        if !is_unassigned(found) {
            problems.push(format!("{pointer}: expected nothing, got {}", shown(found)));
        }
    }
    Ok(problems)
}

fn status(expect: &Value, answer: &Answer) -> Option<String> {
    let wanted: Vec<u64> = match expect.get("status") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_u64).collect(),
        Some(one) => one.as_u64().into_iter().collect(),
        None => Vec::new(),
    };
    if wanted.is_empty() || wanted.contains(&u64::from(answer.status)) {
        return None;
    }
    let wanted: Vec<String> = wanted.iter().map(u64::to_string).collect();
    Some(format!("status: expected {}, got {}", wanted.join(" or "), answer.brief()))
}

/// RFC 7643 §2.5: absent, null and the empty array all say the same.
fn is_unassigned(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

fn matches(wanted: &Value, found: Option<&Value>) -> bool {
    match wanted.as_object().filter(|all| all.keys().any(|key| is_operator(key))) {
        Some(operators) => operators.iter().all(|(name, operand)| operator(name, operand, found)),
        None => found == Some(wanted),
    }
}

fn is_operator(key: &str) -> bool {
    matches!(key, "$count" | "$regex" | "$contains")
}

fn operator(name: &str, operand: &Value, found: Option<&Value>) -> bool {
    match name {
        "$count" => {
            let count = if is_unassigned(found) {
                Some(0)
            } else {
                found.and_then(Value::as_array).map(|all| all.len() as u64)
            };
            count == operand.as_u64()
        }
        "$regex" => {
            let pattern = operand.as_str().unwrap_or_default();
            match found {
                None | Some(Value::Null) => false,
                Some(Value::String(text)) => is_match(pattern, text),
                Some(other) => is_match(pattern, &other.to_string()),
            }
        }
        "$contains" => match found {
            Some(Value::String(text)) => operand.as_str().is_some_and(|part| text.contains(part)),
            Some(Value::Array(all)) => all.iter().any(|one| has_part(operand, Some(one))),
            _ => false,
        },
        _ => false,
    }
}

/// Whether every member that `wanted` names is in `found` with a matching value.
fn has_part(wanted: &Value, found: Option<&Value>) -> bool {
    match wanted.as_object().filter(|all| !all.keys().any(|key| is_operator(key))) {
        Some(members) => {
            members.iter().all(|(key, one)| has_part(one, found.and_then(|found| found.get(key))))
        }
        None => matches(wanted, found),
    }
}

fn is_match(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, headers: vec![("content-type".into(), "application/scim+json".into())], body }
    }

    fn problems(expect: &Value, answer: &Answer) -> Vec<String> {
        let variables = Variables::from([("u".to_owned(), json!("7"))]);
        check(&json!({ "expect": expect }), answer, &variables).unwrap()
    }

    #[test]
    fn each_way_of_expecting_holds_and_fails() {
        let found = answer(200, json!({"id": "7", "n": 1, "list": [{"a": 1, "b": "x"}], "none": []}));
        let good = json!({"status": [200, 204], "header": {"Content-Type": "^application/"}, "absent": ["/no", "/none"],
            "json": {"/id": "${u}", "/n": 1, "/list": {"$count": 1, "$contains": {"a": 1}}, "/none": {"$count": 0}, "/list/0/b": {"$regex": "^x$"}}});
        assert_eq!(problems(&good, &found), Vec::<String>::new());
        for bad in [
            json!({"status": 201}),
            json!({"header": {"Location": "."}}),
            json!({"absent": ["/id"]}),
            json!({"json": {"/n": "1"}}),
            json!({"json": {"/n": true}}),
            json!({"json": {"/list": {"$count": 2}}}),
            json!({"json": {"/list": {"$contains": {"a": 2}}}}),
            json!({"json": {"/gone": {"$regex": "."}}}),
        ] {
            assert_eq!(problems(&bad, &found).len(), 1, "{bad}");
        }
        assert_eq!(problems(&json!({"json": {"/id": 1}}), &answer(204, Value::Null)), Vec::<String>::new());
    }

    #[test]
    fn a_variable_alone_keeps_its_type_and_a_missing_one_is_told() {
        let variables = Variables::from([("n".to_owned(), json!(5))]);
        assert_eq!(
            substitute(&json!({"a": "${n}", "b": "x${n}"}), &variables),
            Ok(json!({"a": 5, "b": "x5"}))
        );
        assert!(substitute(&json!("${gone}"), &variables).unwrap_err().contains("gone"));
        assert_eq!(text_with("/a/${n}?$", &variables, |text| format!("<{text}>")).unwrap(), "/a/<5>?$");
    }
}
