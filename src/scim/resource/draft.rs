//! From a POST or PUT body to the canonical document.
//!
//! INVARIANT: what comes out follows the schema: canonical names, the schema's types, nothing unassigned. What no
//! schema knows is kept as it came, under its own name.

use std::collections::HashSet;

use serde_json::Value;

use super::{Doc, MemberRef, members};
use crate::model::{ResourceType, Timestamp};
use crate::scim::error::Error;
use crate::scim::schema::{Attribute, DataType, Mutability, ResourceSchema, Returned, Schema};

/// A body that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The canonical document.
    pub doc: Doc,
    /// A group's members; none if the body did not mention them, which in a PUT leaves them as they are.
    pub members: Option<Vec<MemberRef>>,
}

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// POST: `active` absent or null is true.
    Create,
    /// PUT: the caller goes on with [`merge_put`].
    Replace,
}

/// Bounds on a body beside its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Most elements of one multi-valued attribute; `members` is not counted. Default 10,000.
    pub elements_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { elements_max: 10_000 }
    }
}

/// Checks a body against the schemas and brings it into the canonical form.
///
/// Ignored: `schemas` (what the body holds counts, not what it announces), `password`, and what is readOnly
/// (RFC 7644 §3.3, §3.5.1). Values are taken by type and never converted; usual values are suggestions. Of several
/// elements that say they are primary the last one is, as if they had been added one after the other.
///
/// # Errors
/// `invalidSyntax`: no object, or an attribute given twice in different letter case. `invalidValue`: a value of
/// another type, or a required attribute missing. `tooMany`: more elements than `rules` allow.
pub fn draft(schema: &ResourceSchema, body: Value, mode: Mode, rules: &Rules) -> Result<Draft, Error> {
    let Value::Object(body) = body else {
        return Err(Error::invalid_syntax("the request body must be a JSON object"));
    };
    let mut doc = Doc::with_capacity(body.len());
    let mut member_refs = None;
    for (key, value) in body {
        if let Some(attribute) = schema.attribute(&key) {
            if schema.resource_type == ResourceType::Group && attribute.name == "members" {
                if member_refs.replace(members(value)?).is_some() {
                    return Err(twice("members"));
                }
            } else if is_kept(attribute) {
                let place = Place { extension: None, parent: None };
                if let Some(value) = any(attribute, place, value, *rules)? {
                    insert(&mut doc, key, &attribute.name, value)?;
                }
            }
        } else if let Some(extension) = schema.extension(&key) {
            if let Some(value) = extension_object(extension, value, *rules)? {
                insert(&mut doc, key, &extension.urn, value)?;
            }
        } else if !is_unassigned(&value) && !key.eq_ignore_ascii_case("password") {
            doc.insert(key, value);
        }
    }
    if mode == Mode::Create && schema.core.attribute("active").is_some() && !doc.contains_key("active") {
        doc.insert("active".to_owned(), Value::Bool(true));
    }
    // What a PUT leaves out may be there already.
    required(schema, &doc, |attribute| mode == Mode::Replace && is_carried(attribute))?;
    Ok(Draft { doc, members: member_refs })
}

/// Completes the draft of a PUT with what it leaves as it is (DESIGN §5): `active` if the body did not mention it,
/// and what the client could not have sent back because no answer shows it. Members are the caller's.
///
/// # Errors
/// `mutability`: an immutable attribute that has a value gets another one (RFC 7643 §7).
pub fn merge_put(schema: &ResourceSchema, old: &Doc, draft: &mut Draft) -> Result<(), Error> {
    if schema.core.attribute("active").is_some()
        && !draft.doc.contains_key("active")
        && let Some(active) = old.get("active")
    {
        draft.doc.insert("active".to_owned(), active.clone());
    }
    merge_level(None, &schema.core.attributes, old, &mut draft.doc)?;
    for extension in &schema.extensions {
        let Some(Value::Object(old)) = old.get(&extension.urn) else { continue };
        let mut new = match draft.doc.get_mut(&extension.urn) {
            Some(Value::Object(new)) => std::mem::take(new),
            _ => Doc::new(),
        };
        merge_level(Some(extension), &extension.attributes, old, &mut new)?;
        if new.is_empty() {
            draft.doc.shift_remove(&extension.urn);
        } else {
            draft.doc.insert(extension.urn.clone(), Value::Object(new));
        }
    }
    check_required(schema, &draft.doc)
}

fn merge_level(
    extension: Option<&Schema>,
    attributes: &[Attribute],
    old: &Doc,
    new: &mut Doc,
) -> Result<(), Error> {
    for attribute in attributes {
        if attribute.is_complex() && !attribute.multi_valued && !is_carried(attribute) {
            merge_parts(extension, attribute, old, new)?;
        }
        if !is_carried(attribute) {
            continue;
        }
        let fixed = attribute.mutability == Mutability::Immutable;
        let Some(before) = old.get(&attribute.name) else { continue };
        match new.get(&attribute.name) {
            None => {
                new.insert(attribute.name.clone(), before.clone());
            }
            Some(after) if fixed && after != before => {
                let place = Place { extension: extension.map(|schema| schema.urn.as_str()), parent: None };
                return Err(Error::mutability(format!(
                    "attribute `{}` is immutable and already has a value",
                    place.name(attribute)
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The parts of a single complex value that may not change, or that no answer shows. Those of an array's elements
/// come and go with their element.
fn merge_parts(
    extension: Option<&Schema>,
    attribute: &Attribute,
    old: &Doc,
    new: &mut Doc,
) -> Result<(), Error> {
    let Some(Value::Object(before)) = old.get(&attribute.name) else { return Ok(()) };
    let mut after = match new.get_mut(&attribute.name) {
        Some(Value::Object(after)) => std::mem::take(after),
        _ => Doc::new(),
    };
    merge_level(extension, &attribute.sub_attributes, before, &mut after)?;
    if !after.is_empty() {
        new.insert(attribute.name.clone(), Value::Object(after));
    }
    Ok(())
}

/// Checks one value against its attribute and brings it into the canonical form, as [`draft`] does for each:
/// `None` if it is unassigned. For a multi-valued attribute the value is the whole array. `extension` is the URN of
/// the extension the attribute stands in, for the error's sake.
///
/// # Errors
/// As [`draft`]; `mutability` is not looked at for the attribute itself, readOnly sub-attributes are left out.
pub fn normalise(
    attribute: &Attribute,
    extension: Option<&str>,
    value: Value,
    rules: &Rules,
) -> Result<Option<Value>, Error> {
    any(attribute, Place { extension, parent: None }, value, *rules)
}

/// Where an attribute stands, to name it in an error.
#[derive(Clone, Copy)]
struct Place<'a> {
    extension: Option<&'a str>,
    parent: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn name(self, attribute: &Attribute) -> String {
        let mut name = String::new();
        for (part, separator) in [(self.extension, ':'), (self.parent, '.')] {
            if let Some(part) = part {
                name.push_str(part);
                name.push(separator);
            }
        }
        name.push_str(&attribute.name);
        name
    }

    fn inside(self, parent: &'a Attribute) -> Self {
        Self { parent: Some(&parent.name), ..self }
    }

    fn wrong(self, attribute: &Attribute, rule: &str) -> Error {
        Error::invalid_value(format!("attribute `{}` {rule}", self.name(attribute)))
    }
}

/// Whether a client's value of the attribute is stored at all.
fn is_kept(attribute: &Attribute) -> bool {
    // `schemas` is computed from the document, and a password is nobody's business here.
    attribute.mutability != Mutability::ReadOnly
        && attribute.name != "password"
        && attribute.name != "schemas"
}

/// Whether a PUT that leaves the attribute out leaves it as it is: it may not change, or no answer shows it.
fn is_carried(attribute: &Attribute) -> bool {
    attribute.mutability == Mutability::Immutable
        || matches!(attribute.returned, Returned::Never | Returned::Request)
}

/// RFC 7643 §2.5: null and the empty array are the same as absent; so is an object without anything in it.
fn is_unassigned(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn twice(name: &str) -> Error {
    Error::invalid_syntax(format!("attribute `{name}` is given twice, in different letter case"))
}

/// Puts the value under its canonical name; the client's key is used where it is spelled so already.
fn insert(object: &mut Doc, key: String, name: &str, value: Value) -> Result<(), Error> {
    let key = if key == name { key } else { name.to_owned() };
    match object.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(twice(name)),
    }
}

fn extension_object(extension: &Schema, value: Value, rules: Rules) -> Result<Option<Value>, Error> {
    if is_unassigned(&value) {
        return Ok(None);
    }
    let Value::Object(body) = value else {
        return Err(Error::invalid_value(format!("extension `{}` must be an object", extension.urn)));
    };
    let mut object = Doc::with_capacity(body.len());
    for (key, value) in body {
        match extension.attribute(&key) {
            Some(attribute) if is_kept(attribute) => {
                let place = Place { extension: Some(&extension.urn), parent: None };
                if let Some(value) = any(attribute, place, value, rules)? {
                    insert(&mut object, key, &attribute.name, value)?;
                }
            }
            Some(_) => {}
            None if is_unassigned(&value) => {}
            None => {
                object.insert(key, value);
            }
        }
    }
    Ok(if object.is_empty() { None } else { Some(Value::Object(object)) })
}

/// A value of any attribute.
fn any(attribute: &Attribute, place: Place<'_>, value: Value, rules: Rules) -> Result<Option<Value>, Error> {
    if is_unassigned(&value) {
        return Ok(None);
    }
    // A client that sends an empty externalId has none; two of them are not the same resource.
    if attribute.name == "externalId" && value.as_str() == Some("") {
        return Ok(None);
    }
    if !attribute.multi_valued {
        return one(attribute, place, value, rules);
    }
    let Value::Array(items) = value else {
        return Err(place.wrong(attribute, "must be an array"));
    };
    if items.len() > rules.elements_max {
        return Err(Error::too_many(format!(
            "attribute `{}` takes at most {} elements",
            place.name(attribute),
            rules.elements_max
        )));
    }
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !is_unassigned(&item)
            && let Some(item) = one(attribute, place, item, rules)?
        {
            kept.push(item);
        }
    }
    keep_distinct(&mut kept);
    if attribute.is_complex() {
        keep_one_primary(&mut kept);
    }
    Ok(if kept.is_empty() { None } else { Some(Value::Array(kept)) })
}

/// RFC 7643 §2.4: no element is there twice. The first of equal ones stays.
fn keep_distinct(items: &mut Vec<Value>) {
    if items.len() > 1 {
        let mut seen = HashSet::with_capacity(items.len());
        items.retain(|item| seen.insert(item.to_string()));
    }
}

/// RFC 7643 §2.4: at most one element is primary. The last that says so wins.
fn keep_one_primary(items: &mut [Value]) {
    let mut found = false;
    for item in items.iter_mut().rev() {
        if let Some(primary @ Value::Bool(true)) = item.get_mut("primary") {
            if found {
                *primary = Value::Bool(false);
            }
            found = true;
        }
    }
}

/// One value: of a single-valued attribute, or one element of an array.
fn one(attribute: &Attribute, place: Place<'_>, value: Value, rules: Rules) -> Result<Option<Value>, Error> {
    let fits = match (attribute.data_type, &value) {
        (DataType::Complex, Value::Object(_)) => return complex(attribute, place, value, rules),
        (DataType::String | DataType::Reference, Value::String(_))
        | (DataType::Boolean, Value::Bool(_))
        | (DataType::Decimal, Value::Number(_)) => true,
        (DataType::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
        (DataType::DateTime, Value::String(text)) => is_date_time(text),
        (DataType::Binary, Value::String(text)) => is_base64(text),
        _ => false,
    };
    if fits {
        return Ok(Some(value));
    }
    let element = attribute.multi_valued;
    Err(place.wrong(
        attribute,
        match (attribute.data_type, element) {
            (DataType::Complex, false) => "must be an object",
            (DataType::Complex, true) => "must hold objects",
            (DataType::String | DataType::Reference, false) => "must be a string",
            (DataType::String | DataType::Reference, true) => "must hold strings",
            (DataType::Boolean, _) => "must be true or false, without quotes",
            (DataType::Decimal, _) => "must be a number",
            (DataType::Integer, _) => "must be a whole number",
            (DataType::DateTime, _) => "must be a date and time such as 2026-01-31T08:00:00Z",
            (DataType::Binary, _) => "must be Base64 text",
        },
    ))
}

fn complex(
    attribute: &Attribute,
    place: Place<'_>,
    value: Value,
    rules: Rules,
) -> Result<Option<Value>, Error> {
    let Value::Object(body) = value else { return Ok(None) };
    let place = place.inside(attribute);
    let mut object = Doc::with_capacity(body.len());
    for (key, value) in body {
        match attribute.sub(&key) {
            Some(sub) if sub.mutability != Mutability::ReadOnly => {
                if let Some(value) = any(sub, place, value, rules)? {
                    let key = if key == sub.name { key } else { sub.name.clone() };
                    if object.insert(key, value).is_some() {
                        return Err(twice(&place.name(sub)));
                    }
                }
            }
            Some(_) => {}
            None if is_unassigned(&value) => {}
            None => {
                object.insert(key, value);
            }
        }
    }
    if object.is_empty() {
        return Ok(None);
    }
    for sub in attribute.sub_attributes.iter().filter(|sub| sub.required) {
        require(&object, sub, place)?;
    }
    Ok(Some(Value::Object(object)))
}

fn require(object: &Doc, attribute: &Attribute, place: Place<'_>) -> Result<(), Error> {
    let missing = match object.get(&attribute.name) {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if missing { Err(place.wrong(attribute, "is required")) } else { Ok(()) }
}

/// Required attributes of the core, required extensions, and required attributes of extensions that are there.
/// [`draft`] and [`merge_put`] do it by themselves; after a PATCH its caller does.
///
/// # Errors
/// `invalidValue`: one is missing or an empty text.
pub fn check_required(schema: &ResourceSchema, doc: &Doc) -> Result<(), Error> {
    required(schema, doc, |_| false)
}

/// As [`check_required`], but for the attributes that are `excused`.
fn required(schema: &ResourceSchema, doc: &Doc, excused: impl Fn(&Attribute) -> bool) -> Result<(), Error> {
    let asks = |attribute: &&Attribute| attribute.required && !excused(attribute);
    for attribute in schema.core.attributes.iter().filter(asks) {
        require(doc, attribute, Place { extension: None, parent: None })?;
    }
    for extension in &schema.extensions {
        match doc.get(&extension.urn) {
            Some(Value::Object(object)) => {
                let place = Place { extension: Some(&extension.urn), parent: None };
                for attribute in extension.attributes.iter().filter(asks) {
                    require(object, attribute, place)?;
                }
            }
            _ if schema.is_required(&extension.urn) && !extension.attributes.iter().any(&excused) => {
                return Err(Error::invalid_value(format!("extension `{}` is required", extension.urn)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An `xsd:dateTime` (RFC 7643 §2.3.5): with an offset, or without one as the type allows.
fn is_date_time(text: &str) -> bool {
    let has_both = text.get(10..11) == Some("T");
    has_both && (Timestamp::parse_rfc3339(text).is_some() || text.parse::<jiff::civil::DateTime>().is_ok())
}

/// Base64 of either alphabet (RFC 7643 §2.3.6), padded or not, with line breaks as PEM has them.
fn is_base64(text: &str) -> bool {
    let text = text.trim_end();
    let body = text.trim_end_matches('=');
    text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_\r\n".contains(&b))
}
