//! Reads a PATCH request strictly (RFC 7644 §3.5.2).

use serde_json::{Map, Value};

use super::{OPERATIONS_MAX, Operation, PATCH_URN, PatchOp, PatchRequest, VALUES_MAX};
use crate::scim::error::Error;
use crate::scim::path::Path;

/// Reads the body of a PATCH request, after [`crate::scim::dialect::rewrite_patch()`]. Keys in any letter case,
/// operations in lower case only.
/// # Errors
/// `invalidSyntax`: not of the form of RFC 7644 §3.5.2. `invalidPath`, `invalidFilter`: a path is not well formed.
/// `invalidValue`: an operation lacks the value it needs. `noTarget`: `remove` without path. `tooMany`: over
/// [`OPERATIONS_MAX`] operations or [`VALUES_MAX`] values.
pub fn parse(body: Value) -> Result<PatchRequest, Error> {
    let Value::Object(body) = body else {
        return Err(Error::invalid_syntax(
            "a PATCH request is a JSON object with `schemas` and `Operations`",
        ));
    };
    let [schemas, operations] = keys(body, ["schemas", "operations"])?;
    let named = schemas.as_ref().and_then(Value::as_array).is_some_and(|all| {
        all.iter().filter_map(Value::as_str).any(|urn| urn.eq_ignore_ascii_case(PATCH_URN))
    });
    if !named {
        return Err(Error::invalid_syntax(format!("`schemas` of a PATCH request must hold `{PATCH_URN}`")));
    }
    let Some(Value::Array(operations)) = operations else {
        return Err(Error::invalid_syntax("`Operations` of a PATCH request must be an array"));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(Error::too_many(format!("a PATCH request may hold {OPERATIONS_MAX} operations")));
    }
    let mut budget = VALUES_MAX;
    for one in &operations {
        spend(one, &mut budget)?;
    }
    Ok(PatchRequest { operations: operations.into_iter().map(operation).collect::<Result<_, _>>()? })
}

/// Counts values. Recursion is bounded by the depth the JSON reader takes.
fn spend(value: &Value, budget: &mut usize) -> Result<(), Error> {
    *budget = budget
        .checked_sub(1)
        .ok_or_else(|| Error::too_many(format!("a PATCH request may hold {VALUES_MAX} values")))?;
    match value {
        Value::Array(all) => all.iter().try_for_each(|one| spend(one, budget)),
        Value::Object(all) => all.values().try_for_each(|one| spend(one, budget)),
        _ => Ok(()),
    }
}

/// Takes the named members out of an object, in any letter case.
fn keys<const N: usize>(object: Map<String, Value>, names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let mut found = [const { None }; N];
    for (key, value) in object {
        let slot = names.iter().zip(&mut found).find(|(name, _)| name.eq_ignore_ascii_case(&key));
        match slot {
            Some((_, slot @ None)) => *slot = Some(value),
            Some((name, Some(_))) => {
                return Err(Error::invalid_syntax(format!("`{name}` is given twice in the PATCH request")));
            }
            None => {
                return Err(Error::invalid_syntax(
                    "the PATCH request has a member RFC 7644 section 3.5.2 does not know",
                ));
            }
        }
    }
    Ok(found)
}

fn operation(value: Value) -> Result<Operation, Error> {
    let Value::Object(object) = value else {
        return Err(Error::invalid_syntax("each of `Operations` must be an object"));
    };
    let [op, path, value] = keys(object, ["op", "path", "value"])?;
    let op = match op.as_ref().and_then(Value::as_str) {
        Some("add") => PatchOp::Add,
        Some("remove") => PatchOp::Remove,
        Some("replace") => PatchOp::Replace,
        _ => return Err(Error::invalid_syntax("`op` must be one of add, remove, replace, in lower case")),
    };
    let path = match path {
        None => None,
        Some(Value::String(text)) => Some(Path::parse(&text)?),
        Some(_) => return Err(Error::invalid_path("`path` must be a string")),
    };
    if op == PatchOp::Remove && path.is_none() {
        // RFC 7644 §3.5.2.2: "If "path" is unspecified, the operation fails … "noTarget"."
        return Err(Error::no_target("`remove` needs a path"));
    }
    if op != PatchOp::Remove && value.is_none() {
        return Err(Error::invalid_value("`add` and `replace` need a value"));
    }
    Ok(Operation { op, path, value })
}
