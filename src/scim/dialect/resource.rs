//! Bodies of POST and PUT, and filters, into the strict form.

use serde_json::{Map, Value};

use super::value::{Rewrite, truth_of};
use super::{Quirk, Quirks, Used, urn};
use crate::model::ResourceType;
use crate::scim::error::Error;
use crate::scim::filter::{AttrPath, Filter, Literal, Resolved, resolve};
use crate::scim::schema::{Attribute, DataType, ENTERPRISE_USER_URN, ResourceSchema};

/// Rewrites the body of a POST or PUT before it is validated.
pub fn rewrite_resource(body: &mut Value, quirks: Quirks, schema: &ResourceSchema, used: &mut Used) {
    let Value::Object(object) = body else { return };
    keys(object, quirks, schema, used);
    Rewrite { quirks, schema, used }.resource(object);
}

/// Top-level keys: URNs of SCIM 1.0, and `manager` without its URN.
pub(super) fn keys(
    object: &mut Map<String, Value>,
    quirks: Quirks,
    schema: &ResourceSchema,
    used: &mut Used,
) {
    if quirks.has(Quirk::LegacyUrns) {
        let old: Vec<(String, String)> =
            object.keys().filter_map(|key| Some((key.clone(), urn::modern(key, schema)?))).collect();
        for (old, new) in old {
            let taken = object.keys().any(|key| key.eq_ignore_ascii_case(&new));
            if !taken && let Some(value) = object.shift_remove(&old) {
                object.insert(new, value);
                used.insert(Quirk::LegacyUrns);
            }
        }
        let schemas = object.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("schemas"));
        if let Some((_, Value::Array(all))) = schemas {
            for one in all {
                if let Some(new) = one.as_str().and_then(|one| urn::modern(one, schema)) {
                    *one = Value::String(new);
                    used.insert(Quirk::LegacyUrns);
                }
            }
        }
    }
    let bare = object.keys().find(|key| key.eq_ignore_ascii_case("manager")).cloned();
    if quirks.has(Quirk::ManagerWithoutUrn)
        && schema.resource_type == ResourceType::User
        && let Some(bare) = bare.filter(|bare| urn::is_bare_manager(bare, schema))
    {
        let known = object.keys().find(|key| key.eq_ignore_ascii_case(ENTERPRISE_USER_URN)).cloned();
        let urn = known.unwrap_or_else(|| ENTERPRISE_USER_URN.to_owned());
        let value = object.shift_remove(&bare).unwrap_or_default();
        let slot = object.entry(urn).or_insert(Value::Null);
        if slot.is_null() {
            *slot = Value::Object(Map::new());
        }
        // What stands under the URN counts more.
        if let Value::Object(inner) = slot
            && !inner.keys().any(|key| key.eq_ignore_ascii_case("manager"))
        {
            inner.insert("manager".to_owned(), value);
        }
        used.insert(Quirk::ManagerWithoutUrn);
    }
}

/// Rewrites a parsed filter before it is bound: booleans written as strings, `manager` and old URNs.
/// # Errors
/// `invalidFilter`: the filter uses a form that is not the RFC's and whose quirk is off.
pub fn rewrite_filter(
    filter: &mut Filter,
    quirks: Quirks,
    schema: &ResourceSchema,
    used: &mut Used,
) -> Result<(), Error> {
    match filter {
        Filter::And(all) | Filter::Or(all) => {
            all.iter_mut().try_for_each(|one| rewrite_filter(one, quirks, schema, used))
        }
        Filter::Not(inner) => rewrite_filter(inner, quirks, schema, used),
        Filter::Present(path) => attribute(path, quirks, schema, used),
        Filter::Compare { path, value, .. } => {
            attribute(path, quirks, schema, used)?;
            if let Resolved::Attribute { attribute, sub, .. } = resolve(schema, path) {
                boolean(value, sub.unwrap_or(attribute), quirks, used);
            }
            Ok(())
        }
        Filter::ValuePath { attr, filter, tail } => {
            attribute(attr, quirks, schema, used)?;
            let Resolved::Attribute { attribute, .. } = resolve(schema, attr) else { return Ok(()) };
            rewrite_element(filter, attribute, quirks, used);
            if let Some((sub, _, value)) = tail {
                if !quirks.has(Quirk::ValuePathComparison) {
                    return Err(Error::invalid_filter(
                        "nothing may follow the closing bracket of a value path",
                    ));
                }
                used.insert(Quirk::ValuePathComparison);
                if let Some(sub) = attribute.sub(sub) {
                    boolean(value, sub, quirks, used);
                }
            }
            Ok(())
        }
    }
}

/// Rewrites the filter inside the brackets of a value path.
pub(super) fn rewrite_element(filter: &mut Filter, attribute: &Attribute, quirks: Quirks, used: &mut Used) {
    match filter {
        Filter::And(all) | Filter::Or(all) => {
            for one in all {
                rewrite_element(one, attribute, quirks, used);
            }
        }
        Filter::Not(inner) => rewrite_element(inner, attribute, quirks, used),
        Filter::Compare { path, value, .. } => {
            if let Some(sub) = attribute.sub(&path.name) {
                boolean(value, sub, quirks, used);
            }
        }
        Filter::Present(_) | Filter::ValuePath { .. } => {}
    }
}

fn boolean(value: &mut Literal, attribute: &Attribute, quirks: Quirks, used: &mut Used) {
    if attribute.data_type == DataType::Boolean
        && quirks.has(Quirk::BooleanStrings)
        && let Literal::String(text) = value
        && let Some(truth) = truth_of(text)
    {
        *value = Literal::Bool(truth);
        used.insert(Quirk::BooleanStrings);
    }
}

fn attribute(
    path: &mut AttrPath,
    quirks: Quirks,
    schema: &ResourceSchema,
    used: &mut Used,
) -> Result<(), Error> {
    let mut text = path.to_string();
    if urn::is_bare_manager(&text, schema) && !quirks.has(Quirk::ManagerWithoutUrn) {
        return Err(Error::invalid_filter("attribute `manager` needs the URN of its extension"));
    }
    urn::rewrite(&mut text, quirks, schema, used);
    if let Some(new) = AttrPath::parse(&text) {
        *path = new;
    }
    Ok(())
}
