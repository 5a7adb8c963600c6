//! Members of groups and groups of users, as clients name them and as answers show them.

use std::collections::HashSet;

use serde_json::Value;

use crate::model::{ResourceId, ResourceType};
use crate::scim::error::Error;

/// A member as a client names it. The mirror resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRef {
    /// The id as sent; not yet known to be one of ours.
    pub value: String,
    /// The type, where the client says so.
    pub kind: Option<ResourceType>,
}

/// A member as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberOut {
    /// The member's id.
    pub id: ResourceId,
    /// The member's type.
    pub kind: ResourceType,
    /// What a person calls it: a user's displayName or else userName, a group's displayName. Empty: left out.
    pub display: String,
}

/// A group a user is in, as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRef {
    /// The group's id.
    pub id: ResourceId,
    /// The group's displayName.
    pub display: String,
    /// True if the user is a member itself, false if only through another group.
    pub direct: bool,
}

/// Reads the value of `members`: an array of objects. The first mention of an id counts, later ones of the same id
/// add nothing. Only `value`, `$ref` and `type` are looked at; other keys are the client's own affair.
///
/// # Errors
/// `invalidValue` for what is not an array of objects, or a member that names nobody. `null` and `[]` are no
/// members.
pub fn members(value: Value) -> Result<Vec<MemberRef>, Error> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => {
            return Err(Error::invalid_value("attribute `members` must be an array of objects with `value`"));
        }
    };
    let mut found = Vec::with_capacity(items.len());
    let mut seen = HashSet::with_capacity(items.len());
    for item in items {
        if item.is_null() {
            continue;
        }
        let member = member(item)?;
        if seen.insert(member.value.clone()) {
            found.push(member);
        }
    }
    Ok(found)
}

fn member(item: Value) -> Result<MemberRef, Error> {
    let Value::Object(object) = item else {
        return Err(Error::invalid_value("each element of `members` must be an object with `value`"));
    };
    let (mut id, mut reference, mut kind) = (None, None, None);
    for (key, value) in object {
        let Value::String(text) = value else {
            if key.eq_ignore_ascii_case("value") && !value.is_null() {
                return Err(Error::invalid_value("attribute `members.value` must be a string"));
            }
            continue;
        };
        if key.eq_ignore_ascii_case("value") {
            if id.replace(text).is_some() {
                return Err(Error::invalid_syntax("`members.value` is given twice in one JSON object"));
            }
        } else if key.eq_ignore_ascii_case("$ref") {
            reference = Some(text);
        } else if key.eq_ignore_ascii_case("type") {
            // Not an error where it is neither: the mirror knows what the id is.
            kind = [ResourceType::User, ResourceType::Group]
                .into_iter()
                .find(|kind| kind.as_str().eq_ignore_ascii_case(&text));
        }
    }
    let from_reference = || {
        reference.as_deref().and_then(|uri| uri.trim_end_matches('/').rsplit('/').next()).map(str::to_owned)
    };
    match id.filter(|id| !id.is_empty()).or_else(from_reference).filter(|id| !id.is_empty()) {
        Some(value) => Ok(MemberRef { value, kind }),
        None => Err(Error::invalid_value("each element of `members` must have a `value`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(value: &str) -> MemberRef {
        MemberRef { value: value.to_owned(), kind: None }
    }

    #[test]
    fn members_are_read_with_any_other_keys_beside() {
        let value = json!([{"$ref": null, "value": "a", "displayName": "x"}, {"Value": "b", "type": "group"},
                           {"$ref": "https://h/scim/v2/Users/c"}, {"value": "d", "type": "direct"}]);
        let found = members(value).unwrap();
        assert_eq!(
            found,
            [
                user("a"),
                MemberRef { value: "b".into(), kind: Some(ResourceType::Group) },
                user("c"),
                user("d")
            ]
        );
    }

    #[test]
    fn a_member_given_twice_is_one_member() {
        let value = json!([{"value": "a", "display": "x"}, {"value": "a", "display": "y"}, {"value": "b"}]);
        assert_eq!(members(value).unwrap(), [user("a"), user("b")]);
    }

    #[test]
    fn null_and_the_empty_list_are_no_members() {
        assert_eq!(members(json!(null)).unwrap(), []);
        assert_eq!(members(json!([])).unwrap(), []);
    }

    #[test]
    fn a_member_that_names_nobody_is_refused() {
        for value in [json!([{}]), json!([{"value": ""}]), json!([{"value": null}]), json!([{"$ref": "/"}])] {
            assert_eq!(
                members(value).unwrap_err(),
                Error::invalid_value("each element of `members` must have a `value`")
            );
        }
        assert_eq!(
            members(json!([{"value": 1}])).unwrap_err(),
            Error::invalid_value("attribute `members.value` must be a string")
        );
        assert_eq!(
            members(json!(["a"])).unwrap_err(),
            Error::invalid_value("each element of `members` must be an object with `value`")
        );
        assert_eq!(
            members(json!({"value": "a"})).unwrap_err(),
            Error::invalid_value("attribute `members` must be an array of objects with `value`")
        );
    }
}
