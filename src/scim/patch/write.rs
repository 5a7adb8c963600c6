//! One value into one attribute: add, replace and clear (RFC 7644 §3.5.2.1 to §3.5.2.3), whatever holds it: the
//! resource, an extension, a complex attribute or one element of an array.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{PatchOp, opaque};
use crate::scim::error::Error;
use crate::scim::resource::{Rules, normalise};
use crate::scim::schema::{Attribute, DataType, Mutability};

/// Adds `value` to `attribute`, or replaces it by `value`. `null`, `[]` and what validation calls unassigned clear.
/// # Errors
/// `mutability`: the attribute is `readOnly`, or `immutable` and set otherwise already. `invalidValue`: the value
/// does not fit, or clears a required attribute.
pub(super) fn write(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    op: PatchOp,
    value: Value,
) -> Result<(), Error> {
    match attribute.mutability {
        Mutability::ReadOnly => return Err(read_only(attribute)),
        // A password is neither validated nor stored (RFC 7643 §7 lets the server keep it to itself).
        Mutability::WriteOnly if attribute.name == "password" => return Ok(()),
        Mutability::Immutable => {
            let before = container.get(&attribute.name).cloned();
            put(container, attribute, op, value)?;
            if before.is_some() && before.as_ref() != container.get(&attribute.name) {
                return Err(immutable(attribute));
            }
        }
        Mutability::ReadWrite | Mutability::WriteOnly => put(container, attribute, op, value)?,
    }
    Ok(())
}

/// The value in canonical form, validated as in POST; `None` if it is unassigned.
pub(super) fn checked(attribute: &Attribute, value: Value) -> Result<Option<Value>, Error> {
    normalise(attribute, None, value, &Rules::default())
}

fn put(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    op: PatchOp,
    value: Value,
) -> Result<(), Error> {
    if attribute.multi_valued {
        return put_many(container, attribute, op, value);
    }
    match value {
        Value::Object(value) if attribute.is_complex() => {
            let mut inner = match container.get(&attribute.name) {
                Some(Value::Object(inner)) => inner.clone(),
                _ => Map::new(),
            };
            merge(&mut inner, attribute, op, value)?;
            store(container, attribute, checked(attribute, Value::Object(inner))?)
        }
        value => {
            let value = checked(attribute, value)?;
            store(container, attribute, value)
        }
    }
}

/// Sets or clears; clearing a required attribute by way of a value is a missing required value.
fn store(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    value: Option<Value>,
) -> Result<(), Error> {
    match value {
        Some(Value::String(text)) if text.is_empty() && attribute.required => {
            return Err(required(attribute));
        }
        Some(value) => {
            container.insert(attribute.name.clone(), value);
        }
        None if attribute.required => return Err(required(attribute)),
        None => {
            container.shift_remove(&attribute.name);
        }
    }
    Ok(())
}

/// The refusal of a required attribute that is missing or would be.
pub(super) fn required(attribute: &Attribute) -> Error {
    Error::invalid_value(format!("attribute `{}` is required", attribute.name))
}

/// Merges sub-attributes into a complex value; those not named stay (RFC 7644 §3.5.2.3). Read-only
/// sub-attributes are passed over and unknown ones kept, as in POST.
pub(super) fn merge(
    inner: &mut Map<String, Value>,
    attribute: &Attribute,
    op: PatchOp,
    value: Map<String, Value>,
) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for (key, value) in value {
        let Some(sub) = attribute.sub(&key) else {
            opaque::merge(inner, &key, op, &value);
            continue;
        };
        if !seen.insert(sub.name.as_str()) {
            let name = format!("{}.{}", attribute.name, sub.name);
            return Err(Error::invalid_syntax(format!("`{name}` is given twice in one JSON object")));
        }
        if sub.mutability != Mutability::ReadOnly {
            write(inner, sub, op, value)?;
        }
    }
    Ok(())
}

fn put_many(
    container: &mut Map<String, Value>,
    attribute: &Attribute,
    op: PatchOp,
    value: Value,
) -> Result<(), Error> {
    // RFC 7644 §3.5.2.1 adds "a new value"; §3.5.2.3 replaces the whole, which is an array.
    let value = match value {
        Value::Null | Value::Array(_) => value,
        one if op == PatchOp::Add => Value::Array(vec![one]),
        other => other,
    };
    let value = checked(attribute, value)?;
    match (op, value) {
        (PatchOp::Add, None) => Ok(()),
        (PatchOp::Add, Some(Value::Array(added))) => {
            let mut all = take_array(container, attribute);
            let fresh = append(&mut all, added);
            let most = Rules::default().elements_max;
            if all.len() > most {
                return Err(Error::too_many(format!(
                    "attribute `{}` takes at most {most} elements",
                    attribute.name
                )));
            }
            settle_primary(&mut all, attribute, &fresh);
            container.insert(attribute.name.clone(), Value::Array(all));
            Ok(())
        }
        (_, value) => store(container, attribute, value),
    }
}

/// The array an attribute holds; what is put back must go in at the same place.
pub(super) fn take_array(container: &mut Map<String, Value>, attribute: &Attribute) -> Vec<Value> {
    match container.get_mut(&attribute.name) {
        Some(Value::Array(all)) => std::mem::take(all),
        _ => Vec::new(),
    }
}

/// Adds what is not there yet and returns where the added values stand. One that has `value` and `type` of one
/// that is there is merged into it: RFC 7643 §2.4 wants each such pair once.
fn append(all: &mut Vec<Value>, added: Vec<Value>) -> Vec<usize> {
    let mut whole: HashMap<String, usize> = HashMap::new();
    let mut pairs: HashMap<(String, String), usize> = HashMap::new();
    for (at, element) in all.iter().enumerate() {
        whole.entry(spelled(element)).or_insert(at);
        if let Some(pair) = pair(element) {
            pairs.entry(pair).or_insert(at);
        }
    }
    let mut fresh = Vec::new();
    for element in added {
        if let Some(at) = whole.get(&spelled(&element)) {
            fresh.push(*at);
            continue;
        }
        let twin = pair(&element).and_then(|pair| pairs.get(&pair).copied());
        if let (Some(at), Value::Object(new)) = (twin, &element)
            && let Some(Value::Object(old)) = all.get_mut(at)
        {
            old.extend(new.clone());
            fresh.push(at);
            continue;
        }
        let at = all.len();
        whole.insert(spelled(&element), at);
        if let Some(pair) = pair(&element) {
            pairs.insert(pair, at);
        }
        all.push(element);
        fresh.push(at);
    }
    fresh
}

fn pair(element: &Value) -> Option<(String, String)> {
    let text = |key| element.get(key).and_then(Value::as_str);
    Some((text("value")?.to_owned(), text("type").unwrap_or_default().to_owned()))
}

/// One text for equal elements, whatever the order of their members. Elements do not nest deeper.
fn spelled(element: &Value) -> String {
    match element {
        Value::Object(object) => {
            let mut parts: Vec<String> =
                object.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
            parts.sort();
            parts.join(",")
        }
        other => other.to_string(),
    }
}

/// Keeps `primary` unique (RFC 7643 §2.4): the last of the touched elements that is primary takes it from all
/// others, as the last of a list does in POST.
pub(super) fn settle_primary(all: &mut [Value], attribute: &Attribute, touched: &[usize]) {
    if attribute.sub("primary").is_none_or(|sub| sub.data_type != DataType::Boolean) {
        return;
    }
    let is_primary = |element: &Value| element.get("primary") == Some(&Value::Bool(true));
    let chosen = touched.iter().rev().find(|at| all.get(**at).is_some_and(is_primary));
    let Some(chosen) = chosen else { return };
    for (at, element) in all.iter_mut().enumerate() {
        if at != *chosen
            && is_primary(element)
            && let Some(element) = element.as_object_mut()
        {
            element.insert("primary".to_owned(), Value::Bool(false));
        }
    }
}

/// Removes an attribute (RFC 7644 §3.5.2.2). What is not there changes nothing.
/// # Errors
/// `mutability`: the attribute is `readOnly`, required, or `immutable` and set.
pub(super) fn clear(container: &mut Map<String, Value>, attribute: &Attribute) -> Result<(), Error> {
    match attribute.mutability {
        Mutability::ReadOnly => return Err(read_only(attribute)),
        Mutability::WriteOnly if attribute.name == "password" => return Ok(()),
        Mutability::Immutable if container.contains_key(&attribute.name) => return Err(immutable(attribute)),
        _ => {}
    }
    if attribute.required {
        // RFC 7644 §3.5.2.2: a required attribute that would be removed is `mutability`.
        return Err(Error::mutability(format!(
            "attribute `{}` is required and cannot be removed",
            attribute.name
        )));
    }
    container.shift_remove(&attribute.name);
    Ok(())
}

/// The refusal of RFC 7644 §3.5.2 for an attribute that clients cannot write.
pub(super) fn read_only(attribute: &Attribute) -> Error {
    Error::mutability(format!("attribute `{}` is readOnly", attribute.name))
}

/// The refusal of another value for what may be set once.
pub(super) fn immutable(attribute: &Attribute) -> Error {
    Error::mutability(format!("attribute `{}` is immutable and has a value already", attribute.name))
}
