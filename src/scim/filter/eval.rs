//! What a [`Bound`] filter means. The mirror's SQL must say the same; a property test compares the two.
//!
//! - Two-valued logic: every part holds or does not. `And([])` holds, `Or([])` does not.
//! - A path has *values*: none if the attribute is not there, is null or is of another type than the schema
//!   says; one for a single value; for an array one per element, or per element that has the sub-attribute.
//! - `Compare` holds if **some** value compares so. Hence it never holds of an absent attribute. `ne` on a
//!   single value was bound as *not eq* and thus **holds** of an absent one; `ne` on an array
//!   (RFC 7644 §3.4.2.2: any value may match) holds if some value differs, and not if there is none.
//! - Strings compare as sequences of code points, both sides through [`fold()`] first unless the path is
//!   `case_exact`. Numbers compare as numbers, dateTimes as instants to the microsecond whatever their offset;
//!   a stored text that is no RFC 3339 dateTime is no value.
//! - `Present` holds if some value is there and is not null, `""`, `[]` or `{}`.
//! - `Element` holds if **one** element satisfies the whole inner filter; inside, a path's only possible value
//!   is that element's sub-attribute (or the element itself, if the path has no sub-attribute).

use serde_json::Value;

use super::{Bound, BoundPath, CompareOp, Literal};
use crate::model::{ResourceType, Timestamp};
use crate::scim::resource::Doc;
use crate::scim::schema::DataType;

/// What a filter is asked about: one resource. `members` and `groups` may be empty where the filter is known
/// not to ask for them.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// `id`.
    pub id: &'a str,
    /// The canonical document.
    pub doc: &'a Doc,
    /// `meta.created`.
    pub created: Timestamp,
    /// `meta.lastModified`.
    pub last_modified: Timestamp,
    /// `meta.version`, the counter.
    pub version: u64,
    /// `members` of a Group: ids and types.
    pub members: &'a [(String, ResourceType)],
    /// `groups` of a User: ids, direct and indirect.
    pub groups: &'a [String],
}

/// The one folding for attributes with `caseExact` false: each character to lower case by itself (no context,
/// so that a folded part stays part of the folded whole), final sigma as sigma. No normalisation, no trimming.
pub fn fold(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// Whether the resource satisfies the filter.
pub fn matches(bound: &Bound, resource: &Attributes<'_>) -> bool {
    match bound {
        Bound::And(all) => all.iter().all(|one| matches(one, resource)),
        Bound::Or(all) => all.iter().any(|one| matches(one, resource)),
        Bound::Not(inner) => !matches(inner, resource),
        Bound::Const(outcome) => *outcome,
        Bound::Compare { path, op, value } => {
            with_values(path, resource, &mut |found| found.compares(*op, value, path.case_exact))
        }
        Bound::Present(path) => with_values(path, resource, &mut |found| found.is_present()),
        Bound::Element { path, filter } => match (&path.extension, path.attribute.as_str()) {
            (None, "members") => resource.members.iter().any(|(id, kind)| {
                element_holds(filter, &|sub| match sub {
                    Some("value") => Some(Found::Text(id)),
                    Some("type") => Some(Found::Text(kind.as_str())),
                    _ => None,
                })
            }),
            (None, "groups") => resource
                .groups
                .iter()
                .any(|id| element_holds(filter, &|sub| (sub == Some("value")).then_some(Found::Text(id)))),
            _ => elements(stored(path, resource.doc)).iter().any(|element| element_matches(filter, element)),
        },
    }
}

/// Whether one element of a multi-valued attribute satisfies a filter bound with
/// [`super::bind_element()`].
pub(in crate::scim) fn element_matches(filter: &Bound, element: &Value) -> bool {
    element_holds(filter, &|sub| {
        match sub {
            Some(sub) => element.get(sub),
            None => Some(element),
        }
        .map(Found::Json)
    })
}

fn element_holds<'v>(filter: &Bound, value: &dyn Fn(Option<&str>) -> Option<Found<'v>>) -> bool {
    match filter {
        Bound::And(all) => all.iter().all(|one| element_holds(one, value)),
        Bound::Or(all) => all.iter().any(|one| element_holds(one, value)),
        Bound::Not(inner) => !element_holds(inner, value),
        Bound::Const(outcome) => *outcome,
        Bound::Compare { path, op, value: wanted } => value(path.sub.as_deref())
            .is_some_and(|found| found.typed(path.data_type) && found.compares(*op, wanted, path.case_exact)),
        Bound::Present(path) => value(path.sub.as_deref()).is_some_and(Found::is_present),
        Bound::Element { .. } => false,
    }
}

/// One value of a path.
#[derive(Clone, Copy)]
enum Found<'v> {
    Json(&'v Value),
    Text(&'v str),
    Instant(Timestamp),
    Counter(u64),
}

impl Found<'_> {
    fn is_present(self) -> bool {
        match self {
            Self::Json(Value::Null) => false,
            Self::Json(Value::String(text)) => !text.is_empty(),
            Self::Json(Value::Array(all)) => !all.is_empty(),
            Self::Json(Value::Object(all)) => !all.is_empty(),
            _ => true,
        }
    }

    /// False for a stored value that is not of the schema's type.
    fn typed(self, data_type: DataType) -> bool {
        match self {
            Self::Json(value) => match data_type {
                DataType::Boolean => value.is_boolean(),
                DataType::Integer | DataType::Decimal => value.is_number(),
                DataType::Complex => value.is_object(),
                _ => value.is_string(),
            },
            _ => true,
        }
    }

    fn compares(self, op: CompareOp, wanted: &Literal, case_exact: bool) -> bool {
        match (self, wanted) {
            (Self::Json(Value::String(text)), Literal::Instant(wanted)) => {
                Timestamp::parse_rfc3339(text).is_some_and(|found| ordered(Some(found.cmp(wanted)), op))
            }
            (Self::Instant(found), Literal::Instant(wanted)) => ordered(Some(found.cmp(wanted)), op),
            (Self::Json(Value::Bool(found)), Literal::Bool(wanted)) => ordered(Some(found.cmp(wanted)), op),
            (Self::Json(Value::Number(found)), Literal::Number(wanted)) => {
                ordered(compare_numbers(found, wanted), op)
            }
            (Self::Counter(found), Literal::Number(wanted)) => {
                ordered(compare_numbers(&found.into(), wanted), op)
            }
            (Self::Json(Value::String(text)), Literal::String(wanted)) => {
                compare_text(text, op, wanted, case_exact)
            }
            (Self::Text(text), Literal::String(wanted)) => compare_text(text, op, wanted, case_exact),
            _ => false,
        }
    }
}

fn compare_numbers(a: &serde_json::Number, b: &serde_json::Number) -> Option<std::cmp::Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn ordered(ordering: Option<std::cmp::Ordering>, op: CompareOp) -> bool {
    ordering.is_some_and(|ordering| match op {
        CompareOp::Eq => ordering.is_eq(),
        CompareOp::Ne => ordering.is_ne(),
        CompareOp::Gt => ordering.is_gt(),
        CompareOp::Ge => ordering.is_ge(),
        CompareOp::Lt => ordering.is_lt(),
        CompareOp::Le => ordering.is_le(),
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    })
}

/// Compares strings: exactly, or both folded.
pub(super) fn compare_text(found: &str, op: CompareOp, wanted: &str, case_exact: bool) -> bool {
    let exact = |found: &str, wanted: &str| match op {
        CompareOp::Co => found.contains(wanted),
        CompareOp::Sw => found.starts_with(wanted),
        CompareOp::Ew => found.ends_with(wanted),
        _ => ordered(Some(found.cmp(wanted)), op),
    };
    if case_exact { exact(found, wanted) } else { exact(&fold(found), &fold(wanted)) }
}

/// What the document holds under the attribute.
fn stored<'d>(path: &BoundPath, doc: &'d Doc) -> Option<&'d Value> {
    match &path.extension {
        Some(urn) => doc.get(urn)?.get(&path.attribute),
        None => doc.get(&path.attribute),
    }
}

fn elements(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// True if one of the path's values passes the test.
fn with_values(path: &BoundPath, resource: &Attributes<'_>, test: &mut dyn FnMut(Found<'_>) -> bool) -> bool {
    if path.extension.is_none() {
        match (path.attribute.as_str(), path.sub.as_deref()) {
            ("id", _) => return test(Found::Text(resource.id)),
            ("meta", Some("created")) => return test(Found::Instant(resource.created)),
            ("meta", Some("lastModified")) => return test(Found::Instant(resource.last_modified)),
            ("meta", Some("version")) => return test(Found::Counter(resource.version)),
            ("members", Some("type")) => {
                return resource.members.iter().any(|(_, kind)| test(Found::Text(kind.as_str())));
            }
            ("members", _) => return resource.members.iter().any(|(id, _)| test(Found::Text(id))),
            ("groups", _) => return resource.groups.iter().any(|id| test(Found::Text(id))),
            _ => {}
        }
    }
    let Some(value) = stored(path, resource.doc) else { return false };
    let mut one = |value: &Value| {
        let value = match &path.sub {
            Some(sub) => value.get(sub),
            None => Some(value),
        };
        value.is_some_and(|value| Found::Json(value).typed(path.data_type) && test(Found::Json(value)))
    };
    if path.multi_valued { elements(Some(value)).iter().any(one) } else { one(value) }
}
