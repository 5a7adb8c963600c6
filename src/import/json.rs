//! SCIM resources as JSON: list responses, arrays, single resources, in any number; or one on each line.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Lines, Problem, Reading, Record, Reference, type_of};
use crate::model::ResourceType;
use crate::scim::json;

/// Reads documents one after the other.
pub(super) fn documents(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = Lines::new(bytes).of(error.valid_up_to());
            reading.problems.push(Problem::new(format!("line {line}"), "", "this is not UTF-8"));
            return reading;
        }
    };
    let mut lines = Lines::new(bytes);
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        match document {
            Ok(document) => {
                items(text, document, &mut lines, &mut reading);
                if reading.is_cut {
                    break;
                }
            }
            Err(error) => {
                let at = format!("line {}", error.line());
                let why = format!("this is not valid JSON (column {})", error.column());
                reading.problems.push(Problem::new(at, "", why));
                break;
            }
        }
    }
    reading
}

/// Reads one resource from each line that is not blank.
pub(super) fn lines(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() {
            if reading.is_enough(reading.records.len(), format_args!("line {}", n + 1)) {
                break;
            }
            item(line, &format!("line {}", n + 1), &mut reading);
        }
    }
    reading
}

/// The resources of one document: of a list, of an array, or the document itself.
fn items<'a>(text: &'a str, document: &'a RawValue, lines: &mut Lines<'_>, reading: &mut Reading) {
    let position = |part: &RawValue| (part.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let start = lines.of(position(document));
    let found: Result<Vec<&RawValue>, serde_json::Error> = if document.get().starts_with('[') {
        serde_json::from_str(document.get())
    } else if document.get().starts_with('{') {
        match serde_json::from_str::<Outer<'_>>(document.get()) {
            Ok(Outer { resources: Some(list), .. }) => serde_json::from_str(list.get()),
            // What announces itself as a list but holds nothing holds nothing.
            Ok(Outer { is_list: true, .. }) => Ok(Vec::new()),
            Ok(_) => Ok(vec![document]),
            Err(error) => Err(error),
        }
    } else {
        Ok(vec![document])
    };
    match found {
        Ok(found) => {
            for one in found {
                let line = lines.of(position(one));
                if reading.is_enough(reading.records.len(), format_args!("line {line}")) {
                    break;
                }
                item(one.get().as_bytes(), &format!("line {line}"), reading);
            }
        }
        Err(error) => {
            let why = error.to_string();
            let why = if why.contains("given twice") {
                "`Resources` is given twice in one JSON object"
            } else {
                "`Resources` must be an array of resources"
            };
            reading.problems.push(Problem::new(format!("line {start}"), "Resources", why));
        }
    }
}

/// What matters of a document's outside.
struct Outer<'a> {
    resources: Option<&'a RawValue>,
    is_list: bool,
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Outer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Outer<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Outer<'de>, A::Error> {
                let mut outer = Outer { resources: None, is_list: false };
                while let Some(key) = access.next_key::<String>()? {
                    let value = access.next_value::<&'de RawValue>()?;
                    if key.eq_ignore_ascii_case("Resources") && outer.resources.replace(value).is_some() {
                        return Err(A::Error::custom("`Resources` is given twice"));
                    }
                    outer.is_list |=
                        key.eq_ignore_ascii_case("schemas") && value.get().contains(":ListResponse");
                }
                Ok(outer)
            }
        }
        deserializer.deserialize_map(Look)
    }
}

fn item(bytes: &[u8], at: &str, reading: &mut Reading) {
    match resource(bytes, at) {
        Ok(record) => reading.records.push(record),
        Err(problem) => reading.problems.push(problem),
    }
}

fn resource(bytes: &[u8], at: &str) -> Result<Record, Problem> {
    let value = json::parse(bytes)
        .map_err(|error| Problem::new(at, "", error.detail.replace("the request body", "the resource")))?;
    let Value::Object(mut body) = value else {
        return Err(Problem::new(at, "", "a resource must be a JSON object"));
    };
    let kind = kind_of(&body).ok_or_else(|| {
        Problem::new(
            at,
            "schemas",
            "this is neither a User nor a Group: say it with `schemas` or `meta.resourceType`",
        )
    })?;
    let names = find(&body, "id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let names = names.map(|id| vec![id.to_owned()]).unwrap_or_default();
    let members = match kind {
        ResourceType::Group => members(&mut body, at)?,
        ResourceType::User => None,
    };
    Ok(Record { at: at.to_owned(), kind, body, names, members })
}

fn find<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// By what it announces, else by what only one of the two has.
fn kind_of(body: &Map<String, Value>) -> Option<ResourceType> {
    let said = find(body, "meta").and_then(|meta| meta.get("resourceType")).and_then(Value::as_str);
    if let Some(kind) = said.and_then(type_of) {
        return Some(kind);
    }
    if let Some(Value::Array(schemas)) = find(body, "schemas") {
        for schema in schemas.iter().filter_map(Value::as_str) {
            match schema.to_ascii_lowercase().as_str() {
                "urn:ietf:params:scim:schemas:core:2.0:user" => return Some(ResourceType::User),
                "urn:ietf:params:scim:schemas:core:2.0:group" => return Some(ResourceType::Group),
                _ => {}
            }
        }
    }
    if find(body, "userName").is_some() {
        return Some(ResourceType::User);
    }
    find(body, "members").map(|_| ResourceType::Group)
}

/// Takes `members` out of the body.
fn members(body: &mut Map<String, Value>, at: &str) -> Result<Option<Vec<Reference>>, Problem> {
    let keys: Vec<String> = body.keys().filter(|key| key.eq_ignore_ascii_case("members")).cloned().collect();
    let wrong = |why: &str| Problem::new(at, "members", why);
    let Some(key) = keys.first() else { return Ok(None) };
    if keys.len() > 1 {
        return Err(wrong("`members` is given twice, in different letter case"));
    }
    let items = match body.shift_remove(key) {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => return Ok(None),
        Some(_) => return Err(wrong("`members` must be an array of objects with `value`")),
    };
    let mut found = Vec::with_capacity(items.len());
    let mut seen = HashSet::with_capacity(items.len());
    for item in &items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = item.as_str().or_else(|| text("value")).or_else(|| text("display"));
        let Some(name) = name else { return Err(wrong("a member names nobody: it needs `value`")) };
        if seen.insert(name.to_owned()) {
            let kind = text("type").and_then(type_of);
            found.push(Reference { name: name.to_owned(), kind });
        }
    }
    Ok(Some(found))
}
