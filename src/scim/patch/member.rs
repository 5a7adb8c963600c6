//! Operations on the members of a group. They come out as edits of rows and never touch the document.

use serde_json::{Value, json};

use super::{MemberEdit, Options, PatchOp};
use crate::scim::error::Error;
use crate::scim::filter::{Bound, CompareOp, Literal};
use crate::scim::resource::{MemberRef, members};

fn whole_only() -> Error {
    // RFC 7643 §4.2: the parts of a member are immutable.
    Error::mutability("the parts of a member are immutable; add and remove whole members")
}

/// `add`, `replace` and `remove` with path `members`, or `members` as a key of a path-less value.
/// # Errors
/// `invalidValue`: the value is not a list of members, or is to name members to remove and names nobody.
pub(super) fn all(op: PatchOp, value: Option<&Value>, options: Options) -> Result<Option<MemberEdit>, Error> {
    match (op, value) {
        (PatchOp::Remove, Some(value)) if options.members_remove_by_value => {
            Ok(Some(MemberEdit::Remove(named(value)?)))
        }
        (PatchOp::Remove, _) => Ok(Some(MemberEdit::Replace(Vec::new()))),
        (PatchOp::Add, value) => {
            let list = match value {
                Some(one @ Value::Object(_)) => members(json!([one]))?,
                other => members(other.cloned().unwrap_or_default())?,
            };
            Ok(if list.is_empty() { None } else { Some(MemberEdit::Add(list)) })
        }
        (PatchOp::Replace, value) => {
            Ok(Some(MemberEdit::Replace(members(value.cloned().unwrap_or_default())?)))
        }
    }
}

/// Operations with path `members[filter]`.
/// # Errors
/// `mutability`: anything but removing members, or adding one by its id.
pub(super) fn chosen(
    op: PatchOp,
    filter: Bound,
    sub: Option<&str>,
    options: Options,
    created: &mut bool,
) -> Result<MemberEdit, Error> {
    if sub.is_some() {
        return Err(whole_only());
    }
    match (op, ids(&filter)) {
        (PatchOp::Remove, Some(ids)) => Ok(MemberEdit::Remove(ids)),
        (PatchOp::Remove, None) => Ok(MemberEdit::RemoveMatching(filter)),
        (PatchOp::Add, Some(ids)) if options.create_from_filter && ids.len() == 1 => {
            *created = true;
            Ok(MemberEdit::Add(ids.into_iter().map(|value| MemberRef { value, kind: None }).collect()))
        }
        _ => Err(whole_only()),
    }
}

/// Operations with path `members.sub`.
pub(super) fn part() -> Error {
    whole_only()
}

/// The ids, if the filter is `value eq "…"`, or several of these joined by `or`.
fn ids(filter: &Bound) -> Option<Vec<String>> {
    match filter {
        Bound::Compare { path, op: CompareOp::Eq, value: Literal::String(id) }
            if path.sub.as_deref() == Some("value") =>
        {
            Some(vec![id.clone()])
        }
        Bound::Or(parts) => {
            let each: Option<Vec<Vec<String>>> = parts.iter().map(ids).collect();
            each.map(|each| each.concat())
        }
        _ => None,
    }
}

/// The ids a value names, in the forms seen on the wire: a list of members or of ids, one of either, or an object
/// with such a list under `members`. Never an empty list: a request that names nobody must not empty the group.
fn named(value: &Value) -> Result<Vec<String>, Error> {
    let wrapped = |one: &Value| match one {
        Value::String(id) => json!({ "value": id }),
        other => other.clone(),
    };
    let list = match value {
        Value::Array(all) => all.iter().map(wrapped).collect(),
        Value::Object(object) => match object.iter().find(|(key, _)| key.eq_ignore_ascii_case("members")) {
            Some((_, Value::Array(all))) => all.iter().map(wrapped).collect(),
            Some((_, one)) => vec![wrapped(one)],
            None => vec![value.clone()],
        },
        Value::String(_) => vec![wrapped(value)],
        _ => Vec::new(),
    };
    let list = members(Value::Array(list))?;
    if list.is_empty() {
        return Err(Error::invalid_value("the value of `remove` with path `members` names no member"));
    }
    Ok(list.into_iter().map(|member| member.value).collect())
}
