//! Attributes no schema knows: kept as they are, never validated, never searched.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::PatchOp;

/// Objects with more members than this are searched for a key in its exact spelling only, so that a body full of
/// unknown keys costs no more than its size.
const SEARCHED_MAX: usize = 256;

/// Merges one unknown key of a path-less value. An unknown `password` is a password all the same.
pub(super) fn merge(container: &mut Map<String, Value>, key: &str, op: PatchOp, value: &Value) {
    if key.eq_ignore_ascii_case("password") {
        return;
    }
    let key = spelling(container, key);
    match (container.get_mut(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (key, value) in new {
                let key = spelling(old, key);
                put(old, &key, op, value);
            }
            if old.is_empty() {
                container.shift_remove(&key);
            }
        }
        _ => put(container, &key, op, value),
    }
}

/// Adds, replaces or removes what an unknown path leads to; `steps` are at most a URN, a name and a part.
pub(super) fn at(container: &mut Map<String, Value>, steps: &[String], op: PatchOp, value: &Value) {
    let Some((first, rest)) = steps.split_first() else { return };
    if rest.is_empty() && op != PatchOp::Remove {
        return merge(container, first, op, value);
    }
    let key = spelling(container, first);
    if rest.is_empty() {
        container.shift_remove(&key);
        return;
    }
    if op == PatchOp::Remove && !container.get(&key).is_some_and(Value::is_object) {
        return;
    }
    let slot = container.entry(key.clone()).or_insert(Value::Null);
    if !slot.is_object() {
        // A part of what had no parts: the new value takes its place.
        *slot = Value::Object(Map::new());
    }
    if let Value::Object(inner) = slot {
        at(inner, rest, op, value);
        if inner.is_empty() {
            container.shift_remove(&key);
        }
    }
}

/// Stores a value, or takes the key away if there is nothing to store. Arrays take in what they lack.
fn put(container: &mut Map<String, Value>, key: &str, op: PatchOp, value: &Value) {
    if let (PatchOp::Add, Some(Value::Array(old)), Value::Array(new)) = (op, container.get_mut(key), value) {
        let mut known: HashSet<String> = old.iter().map(Value::to_string).collect();
        old.extend(new.iter().filter(|one| known.insert(one.to_string())).cloned());
        return;
    }
    let is_empty = match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    if is_empty {
        container.shift_remove(key);
    } else {
        container.insert(key.to_owned(), value.clone());
    }
}

/// The spelling under which the key is stored already, in any letter case, or else as given.
fn spelling(container: &Map<String, Value>, key: &str) -> String {
    if container.len() > SEARCHED_MAX || container.contains_key(key) {
        return key.to_owned();
    }
    container.keys().find(|known| known.eq_ignore_ascii_case(key)).map_or(key, String::as_str).to_owned()
}
