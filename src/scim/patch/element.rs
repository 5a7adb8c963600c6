//! Value paths: operations on chosen elements of a multi-valued attribute (`emails[type eq "work"].value`).

use serde_json::{Map, Value};

use super::write::{checked, clear, merge, settle_primary, take_array, write};
use super::{Options, PatchOp};
use crate::scim::error::Error;
use crate::scim::filter::{Bound, CompareOp, Literal, element_matches};
use crate::scim::schema::{Attribute, Mutability};

/// Which part of which elements.
#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    /// The multi-valued attribute.
    pub(super) attribute: &'a Attribute,
    /// The elements; `None` are all.
    pub(super) filter: Option<&'a Bound>,
    /// The part; `None` is the whole element.
    pub(super) sub: Option<&'a Attribute>,
}

impl Selection<'_> {
    fn hits(&self, all: &[Value]) -> Vec<usize> {
        let chosen = |element: &Value| self.filter.is_none_or(|filter| element_matches(filter, element));
        all.iter().enumerate().filter(|(_, element)| chosen(element)).map(|(at, _)| at).collect()
    }
}

/// Adds or replaces; returns true if an element had to be created.
/// # Errors
/// `noTarget`: no element matches, and none is to be or can be created. Else as [`write()`].
pub(super) fn set(
    container: &mut Map<String, Value>,
    selection: Selection<'_>,
    op: PatchOp,
    value: &Value,
    options: Options,
) -> Result<bool, Error> {
    let attribute = selection.attribute;
    let mut all = take_array(container, attribute);
    let mut hits = selection.hits(&all);
    let created = hits.is_empty();
    if created {
        let no_target =
            || Error::no_target(format!("no element of `{}` matches the filter of the path", attribute.name));
        if !options.create_from_filter {
            return Err(no_target());
        }
        if is_empty(value) {
            // Clearing a part of what is not there: it is clear already, and nothing is worth creating.
            restore(container, attribute, all);
            return Ok(false);
        }
        hits.push(all.len());
        let element = match selection.filter {
            Some(filter) => described(filter).ok_or_else(no_target)?,
            None => Map::new(),
        };
        all.push(Value::Object(element));
    }
    // An empty text lets the old value go, and with it an element that was nothing else.
    let value = if is_empty(value) { &Value::Null } else { value };
    for at in &hits {
        if let Some(element) = all.get_mut(*at) {
            change(element, selection, op, value.clone(), created)?;
        }
    }
    settle_primary(&mut all, attribute, &hits);
    all.retain(|element| !is_hollow(element, is_empty(value)));
    restore(container, attribute, all);
    Ok(created)
}

/// Removes elements, or a part of each.
/// # Errors
/// As [`clear()`].
pub(super) fn remove(container: &mut Map<String, Value>, selection: Selection<'_>) -> Result<(), Error> {
    let attribute = selection.attribute;
    if attribute.mutability == Mutability::Immutable {
        return clear(container, attribute);
    }
    let mut all = take_array(container, attribute);
    let hits = selection.hits(&all);
    if let Some(sub) = selection.sub {
        for at in hits {
            if let Some(Value::Object(element)) = all.get_mut(at) {
                clear(element, sub)?;
            }
        }
        all.retain(|element| !is_hollow(element, true));
    } else {
        let mut at = 0;
        let mut gone = hits.iter().peekable();
        all.retain(|_| {
            let keep = gone.next_if_eq(&&at).is_none();
            at += 1;
            keep
        });
    }
    if all.is_empty() && attribute.required {
        return Err(Error::mutability(format!(
            "attribute `{}` is required and cannot be removed",
            attribute.name
        )));
    }
    restore(container, attribute, all);
    Ok(())
}

fn restore(container: &mut Map<String, Value>, attribute: &Attribute, all: Vec<Value>) {
    if all.is_empty() {
        container.shift_remove(&attribute.name);
    } else {
        container.insert(attribute.name.clone(), Value::Array(all));
    }
}

/// Changes one element and validates what became of it.
fn change(
    element: &mut Value,
    selection: Selection<'_>,
    op: PatchOp,
    value: Value,
    created: bool,
) -> Result<(), Error> {
    let single = Attribute { multi_valued: false, ..selection.attribute.clone() };
    match (element, selection.sub, value) {
        (Value::Object(element), Some(sub), value) => {
            write(element, sub, op, value)?;
            *element = normalised(&single, element)?;
        }
        (Value::Object(element), None, Value::Object(value)) if single.is_complex() => {
            merge(element, &single, op, value)?;
            *element = normalised(&single, element)?;
        }
        (element, None, value) if !single.is_complex() && !created => {
            *element = checked(&single, value)?.unwrap_or(Value::Null);
        }
        _ => {
            return Err(Error::invalid_value(format!(
                "an element of `{}` needs a value of its own kind",
                single.name
            )));
        }
    }
    Ok(())
}

fn normalised(single: &Attribute, element: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    match checked(single, Value::Object(element.clone()))? {
        Some(Value::Object(element)) => Ok(element),
        _ => Ok(Map::new()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// An element that holds nothing; after something was taken out of it, also one left with nothing but a label
/// (`type`, `primary`), which says nothing by itself.
fn is_hollow(element: &Value, cleared: bool) -> bool {
    match element {
        Value::Null => true,
        Value::Object(element) => {
            element.is_empty()
                || (cleared && element.keys().all(|key| matches!(key.as_str(), "type" | "primary")))
        }
        _ => false,
    }
}

/// The element that the `eq` comparisons of a filter describe, if it consists of nothing else.
fn described(filter: &Bound) -> Option<Map<String, Value>> {
    let mut element = Map::new();
    let mut parts = vec![filter];
    while let Some(part) = parts.pop() {
        match part {
            Bound::And(all) => parts.extend(all),
            Bound::Compare { path, op: CompareOp::Eq, value } => {
                let value = match value {
                    Literal::Bool(value) => Value::Bool(*value),
                    Literal::Number(value) => Value::Number(value.clone()),
                    Literal::String(value) => Value::String(value.clone()),
                    Literal::Instant(value) => Value::String(value.to_string()),
                    Literal::Null => return None,
                };
                if element.insert(path.sub.clone()?, value).is_some() {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(element)
}
