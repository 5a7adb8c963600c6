//! Attributes no schema knows: kept as they are, never validated, never searched.

use serde_json::{Map, Value};

use super::PatchOp;

/// Merges one unknown key of a path-less value.
pub(super) fn merge(container: &mut Map<String, Value>, key: &str, op: PatchOp, value: &Value) {
    if key.eq_ignore_ascii_case("password") {
        return;
    }
    let key = spelling(container, key);
    let old = container.get(&key).cloned();
    match (old, value) {
        (Some(Value::Object(mut old)), Value::Object(new)) => {
            for (key, value) in new {
                put(&mut old, key, op, value);
            }
            set(container, &key, Value::Object(old));
        }
        _ => put(container, &key, op, value),
    }
}

/// Adds, replaces or removes what an unknown path leads to.
pub(super) fn at(
    container: &mut Map<String, Value>,
    urn: Option<&str>,
    name: &str,
    sub: Option<&str>,
    op: PatchOp,
    value: &Value,
) {
    let mut steps = vec![name];
    steps.extend(sub);
    let steps: Vec<&str> = urn.into_iter().chain(steps).collect();
    walk(container, &steps, op, value);
}

/// At most three steps deep.
fn walk(container: &mut Map<String, Value>, steps: &[&str], op: PatchOp, value: &Value) {
    match steps {
        [] => {}
        [last] if op == PatchOp::Remove => {
            let key = spelling(container, last);
            container.shift_remove(&key);
        }
        [last] => merge(container, last, op, value),
        [first, rest @ ..] => {
            let key = spelling(container, first);
            let mut inner = match container.get(&key) {
                Some(Value::Object(inner)) => inner.clone(),
                // A part of what has no parts: nothing to remove, and a new value takes its place.
                Some(_) if op == PatchOp::Remove => return,
                _ => Map::new(),
            };
            walk(&mut inner, rest, op, value);
            set(container, &key, Value::Object(inner));
        }
    }
}

fn put(container: &mut Map<String, Value>, key: &str, op: PatchOp, value: &Value) {
    let key = spelling(container, key);
    let value = match (op, container.get(&key), value) {
        (PatchOp::Add, Some(Value::Array(old)), Value::Array(new)) => {
            let mut all = old.clone();
            for one in new {
                if !old.contains(one) {
                    all.push(one.clone());
                }
            }
            Value::Array(all)
        }
        _ => value.clone(),
    };
    set(container, &key, value);
}

/// Stores a value, or takes the key away if there is nothing to store.
fn set(container: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty = match &value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    if is_empty {
        container.shift_remove(key);
    } else {
        container.insert(key.to_owned(), value);
    }
}

/// The spelling under which the key is stored already, in any letter case, or else as given.
fn spelling(container: &Map<String, Value>, key: &str) -> String {
    container.keys().find(|known| known.eq_ignore_ascii_case(key)).map_or(key, String::as_str).to_owned()
}
