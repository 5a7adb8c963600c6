//! Applies a request to one resource: finds what each operation is about and hands it on.

use serde_json::{Map, Value};

use super::element::{self, Selection};
use super::write::{clear, immutable, read_only, required, write};
use super::{Operation, Options, PatchOp, PatchRequest, Patched, member, opaque};
use crate::model::ResourceType;
use crate::scim::error::Error;
use crate::scim::filter::{AttrPath, Bound, Filter, Resolved, bind_element, resolve};
use crate::scim::path::Path;
use crate::scim::resource::Doc;
use crate::scim::schema::{Attribute, Mutability, ResourceSchema, Schema};

/// Applies all operations in order (RFC 7644 §3.5.2). All or nothing: after an error `doc` is in no particular
/// state and the caller drops it.
/// # Errors
/// `invalidPath`, `invalidFilter`: a path leads nowhere. `noTarget`: a value path matches nothing. `mutability`: an
/// attribute is `readOnly`, set and `immutable`, or required and to be removed. `invalidValue`: a value does not
/// fit its attribute, or a required one is missing.
pub fn apply(
    schema: &ResourceSchema,
    doc: &mut Doc,
    request: &PatchRequest,
    options: &Options,
) -> Result<Patched, Error> {
    let before = doc.clone();
    let mut run = Run { schema, doc, options, out: Patched::default(), budget: VISITS_MAX };
    for operation in &request.operations {
        run.operation(operation)?;
    }
    run.complete(&before)?;
    let mut out = run.out;
    out.doc_changed = *doc != before;
    Ok(out)
}

/// Most elements of arrays, times comparisons, that one request may look at.
const VISITS_MAX: usize = 200_000;

struct Run<'a> {
    schema: &'a ResourceSchema,
    doc: &'a mut Doc,
    options: &'a Options,
    out: Patched,
    /// Elements of arrays that may still be looked at.
    budget: usize,
}

/// What a path means, once its names are looked up.
enum Target<'a> {
    Schema(&'a Schema),
    Attribute {
        extension: Option<&'a Schema>,
        attribute: &'a Attribute,
        sub: Option<&'a Attribute>,
    },
    /// Unknown to every schema: the keys that lead there.
    Opaque(Vec<String>),
}

impl<'a> Run<'a> {
    fn operation(&mut self, operation: &Operation) -> Result<(), Error> {
        let value = operation.value.as_ref();
        match &operation.path {
            None => self.whole(operation.op, value.unwrap_or(&Value::Null)),
            Some(path) => match self.target(path)? {
                Target::Schema(found) => self.schema_path(operation.op, found, value),
                Target::Opaque(steps) => {
                    self.out.unknown_path = true;
                    opaque::at(self.doc, &steps, operation.op, value.unwrap_or(&Value::Null));
                    Ok(())
                }
                Target::Attribute { extension, attribute, sub } => {
                    let filter = match path {
                        Path::Attribute(_) => None,
                        Path::Value { filter, .. } => Some(filter),
                    };
                    self.attribute(operation.op, (extension, attribute, sub), filter, value)
                }
            },
        }
    }

    fn target(&self, path: &Path) -> Result<Target<'a>, Error> {
        let nowhere = || Error::invalid_path("the path names an attribute this resource type does not have");
        let schema = self.schema;
        let attr = path.attr();
        let (found, filtered) = match path {
            Path::Attribute(_) => (resolve(schema, attr), false),
            Path::Value { sub, .. } if attr.sub.is_none() => {
                (resolve(schema, &AttrPath { sub: sub.clone(), ..attr.clone() }), true)
            }
            Path::Value { .. } => return Err(nowhere()),
        };
        match found {
            Resolved::Schema(found) if !filtered => Ok(Target::Schema(found)),
            Resolved::Attribute { extension, attribute, sub } => {
                if filtered && !attribute.multi_valued {
                    return Err(Error::invalid_path(format!(
                        "attribute `{}` has one value; a filter in its path has nothing to choose from",
                        attribute.name
                    )));
                }
                Ok(Target::Attribute { extension, attribute, sub })
            }
            Resolved::Unknown if self.options.keep_unknown_paths && !filtered => {
                opaque_target(schema, attr).ok_or_else(nowhere)
            }
            _ => Err(nowhere()),
        }
    }

    /// An operation without path: each key of the value is an attribute, an extension, or unknown and kept.
    fn whole(&mut self, op: PatchOp, value: &Value) -> Result<(), Error> {
        let Value::Object(value) = value else {
            return Err(Error::invalid_value("an operation without path needs an object as its value"));
        };
        for (key, value) in value {
            if let Some(extension) = self.schema.extension(key) {
                self.extension(op, extension, value)?;
            } else if self.schema.core.is(key) {
                self.core(op, value)?;
            } else {
                self.key(op, key, value)?;
            }
        }
        Ok(())
    }

    /// The core schema's URN with an object of its attributes.
    fn core(&mut self, op: PatchOp, value: &Value) -> Result<(), Error> {
        match value {
            Value::Object(value) => value.iter().try_for_each(|(key, value)| self.key(op, key, value)),
            Value::Null => Ok(()),
            _ => Err(Error::invalid_value("a schema's URN needs an object of attributes as its value")),
        }
    }

    fn key(&mut self, op: PatchOp, key: &str, value: &Value) -> Result<(), Error> {
        let Some(attribute) = self.schema.attribute(key) else {
            opaque::merge(self.doc, key, op, value);
            return Ok(());
        };
        match attribute.name.as_str() {
            // Clients send back what they read (Okta, authentik); the server's own attributes are passed over.
            "id" | "schemas" | "meta" => Ok(()),
            "groups" if self.schema.resource_type == ResourceType::User => Ok(()),
            "members" if self.schema.resource_type == ResourceType::Group => {
                // A path-less value that names no members never empties the group.
                if !value.is_null() {
                    self.out.members.extend(member::all(op, Some(value), *self.options)?);
                }
                Ok(())
            }
            _ => self.set(op, None, attribute, value.clone()),
        }
    }

    /// An extension's URN with an object of its attributes: merged; `null` takes the extension away.
    fn extension(&mut self, op: PatchOp, extension: &'a Schema, value: &Value) -> Result<(), Error> {
        match value {
            Value::Null => self.remove_extension(extension),
            Value::Object(value) => {
                for (key, value) in value {
                    match extension.attribute(key) {
                        Some(attribute) => self.set(op, Some(extension), attribute, value.clone())?,
                        None => self.within(Some(extension), |inner| {
                            opaque::merge(inner, key, op, value);
                            Ok(())
                        })?,
                    }
                }
                Ok(())
            }
            _ => Err(Error::invalid_value("an extension's URN needs an object of attributes as its value")),
        }
    }

    fn remove_extension(&mut self, extension: &Schema) -> Result<(), Error> {
        if self.schema.is_required(&extension.urn) {
            return Err(Error::mutability("a required extension cannot be removed"));
        }
        if let Some(Value::Object(inner)) = self.doc.get(&extension.urn) {
            let mut fixed =
                extension.attributes.iter().filter(|attribute| inner.contains_key(&attribute.name));
            if let Some(fixed) = fixed.find(|attribute| attribute.mutability == Mutability::Immutable) {
                return Err(immutable(fixed));
            }
        }
        self.doc.shift_remove(&extension.urn);
        Ok(())
    }

    /// A path that is a schema's URN and nothing more.
    fn schema_path(&mut self, op: PatchOp, found: &'a Schema, value: Option<&Value>) -> Result<(), Error> {
        let is_core = self.schema.core.is(&found.urn);
        match (op, value) {
            (PatchOp::Remove, _) if is_core => {
                Err(Error::mutability("the core schema of a resource cannot be removed"))
            }
            (PatchOp::Remove, _) => self.remove_extension(found),
            (op, value) if is_core => self.core(op, value.unwrap_or(&Value::Null)),
            (op, value) => self.extension(op, found, value.unwrap_or(&Value::Null)),
        }
    }

    fn attribute(
        &mut self,
        op: PatchOp,
        (extension, attribute, sub): (Option<&'a Schema>, &'a Attribute, Option<&'a Attribute>),
        filter: Option<&Filter>,
        value: Option<&Value>,
    ) -> Result<(), Error> {
        let bound = match filter {
            Some(filter) => Some(bind_element(filter, extension, attribute)?),
            None => None,
        };
        if extension.is_none() {
            match attribute.name.as_str() {
                // Computed from what the resource has; naming a schema by itself gives it nothing.
                "schemas" if op != PatchOp::Remove => return Ok(()),
                "schemas" => return Err(Error::mutability("attribute `schemas` is kept by the server")),
                "members" if self.schema.resource_type == ResourceType::Group => {
                    return self.members(op, bound, sub, value);
                }
                _ => {}
            }
        }
        if attribute.mutability == Mutability::ReadOnly {
            return Err(read_only(attribute));
        }
        if let Some(sub) = sub.filter(|sub| sub.mutability == Mutability::ReadOnly) {
            return Err(read_only(sub));
        }
        let null = Value::Null;
        let value = value.unwrap_or(&null);
        if attribute.multi_valued && (bound.is_some() || sub.is_some()) {
            self.spend(extension, attribute, filter.map_or(1, terms))?;
            let selection = Selection { attribute, filter: bound.as_ref(), sub };
            let options = *self.options;
            let created = self.within(extension, |container| match op {
                PatchOp::Remove => element::remove(container, selection).map(|()| false),
                op => element::set(container, selection, op, value, options),
            })?;
            if created {
                self.out.created_from_filter = true;
            }
            return Ok(());
        }
        match (op, sub) {
            (PatchOp::Remove, None) => self.clear(extension, attribute),
            (PatchOp::Remove, Some(sub)) => self.within(extension, |container| {
                if let Some(Value::Object(inner)) = container.get_mut(&attribute.name) {
                    clear(inner, sub)?;
                    if inner.is_empty() {
                        container.shift_remove(&attribute.name);
                    }
                }
                Ok(())
            }),
            (op, None) => self.set(op, extension, attribute, value.clone()),
            (op, Some(sub)) => {
                let part = Map::from_iter([(sub.name.clone(), value.clone())]);
                self.set(op, extension, attribute, Value::Object(part))
            }
        }
    }

    fn members(
        &mut self,
        op: PatchOp,
        filter: Option<Bound>,
        sub: Option<&Attribute>,
        value: Option<&Value>,
    ) -> Result<(), Error> {
        let edit = match (filter, sub) {
            (Some(filter), sub) => {
                let sub = sub.map(|sub| sub.name.as_str());
                Some(member::chosen(op, filter, sub, *self.options, &mut self.out.created_from_filter)?)
            }
            (None, Some(_)) => return Err(member::part()),
            (None, None) => member::all(op, value, *self.options)?,
        };
        self.out.members.extend(edit);
        Ok(())
    }

    fn set(
        &mut self,
        op: PatchOp,
        extension: Option<&Schema>,
        attribute: &Attribute,
        value: Value,
    ) -> Result<(), Error> {
        if is_active(extension, attribute) && is_unassigned(&value) {
            // Who is not said to be active is not: access taken away must not come back by an empty value.
            self.doc.insert(attribute.name.clone(), Value::Bool(false));
            return Ok(());
        }
        self.spend(extension, attribute, 1)?;
        self.within(extension, |container| write(container, attribute, op, value))
    }

    /// Counts what an operation on an array costs, so that many operations on a long one cannot hold up the
    /// writer.
    fn spend(
        &mut self,
        extension: Option<&Schema>,
        attribute: &Attribute,
        terms: usize,
    ) -> Result<(), Error> {
        let container = match extension {
            Some(extension) => self.doc.get(&extension.urn).and_then(Value::as_object),
            None => Some(&*self.doc),
        };
        let all = container.and_then(|container| container.get(&attribute.name)).and_then(Value::as_array);
        let cost = all.map_or(0, Vec::len).saturating_mul(terms);
        self.budget = self.budget.checked_sub(cost).ok_or_else(|| {
            Error::too_many("the operations of the request look at too many elements; send fewer")
        })?;
        Ok(())
    }

    fn clear(&mut self, extension: Option<&Schema>, attribute: &Attribute) -> Result<(), Error> {
        if is_active(extension, attribute) && self.options.removed_active_is_false {
            self.out.removed_active = true;
            self.doc.insert(attribute.name.clone(), Value::Bool(false));
            return Ok(());
        }
        self.within(extension, |container| clear(container, attribute))
    }

    /// After the last operation: an extension that is there has its required attributes, and a required one has not
    /// gone. Each operation has seen to the core's.
    fn complete(&self, before: &Doc) -> Result<(), Error> {
        for extension in &self.schema.extensions {
            let missing = match self.doc.get(&extension.urn).and_then(Value::as_object) {
                Some(inner) => {
                    let mut all = extension.attributes.iter();
                    all.find(|attribute| attribute.required && !inner.contains_key(&attribute.name))
                }
                // A resource older than its schema may stay without it; it may not lose it.
                None if self.schema.is_required(&extension.urn) && before.contains_key(&extension.urn) => {
                    return Err(Error::mutability("a required extension cannot be removed"));
                }
                None => None,
            };
            if let Some(attribute) = missing {
                return Err(required(attribute));
            }
        }
        Ok(())
    }

    /// Runs `f` on the document or on one of its extensions, which comes and goes with its contents.
    fn within<T>(
        &mut self,
        extension: Option<&Schema>,
        f: impl FnOnce(&mut Map<String, Value>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(extension) = extension else { return f(self.doc) };
        let mut inner = match self.doc.get_mut(&extension.urn) {
            Some(Value::Object(inner)) => std::mem::take(inner),
            _ => Map::new(),
        };
        let out = f(&mut inner)?;
        if inner.is_empty() {
            self.doc.shift_remove(&extension.urn);
        } else {
            self.doc.insert(extension.urn.clone(), Value::Object(inner));
        }
        Ok(out)
    }
}

/// RFC 7643 §2.5: null and what is empty are the same as absent.
fn is_unassigned(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// Comparisons in a filter.
fn terms(filter: &Filter) -> usize {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().map(terms).sum(),
        Filter::Not(inner) => terms(inner),
        Filter::ValuePath { filter, .. } => terms(filter),
        Filter::Compare { .. } | Filter::Present(_) => 1,
    }
}

fn is_active(extension: Option<&Schema>, attribute: &Attribute) -> bool {
    extension.is_none() && attribute.name == "active"
}

/// Where an unknown path is kept; `None` if a schema knows the attribute but not its part.
fn opaque_target<'a>(schema: &'a ResourceSchema, attr: &AttrPath) -> Option<Target<'a>> {
    let whole = AttrPath { sub: None, ..attr.clone() };
    if let Resolved::Attribute { .. } = resolve(schema, &whole) {
        return None;
    }
    let (urn, name, sub) = match &attr.urn {
        None => (None, attr.name.clone(), attr.sub.clone()),
        Some(urn) => match schema.split_urn(&attr.to_string()) {
            Some((known, rest)) => {
                let rest = AttrPath::parse(rest)?;
                let urn = (!schema.core.is(&known.urn)).then(|| known.urn.clone());
                (urn, rest.name, rest.sub)
            }
            // The URN of an unknown extension by itself ends in the resource type, by custom.
            None if attr.sub.is_none() && attr.name.eq_ignore_ascii_case(schema.resource_type.as_str()) => {
                (None, attr.to_string(), None)
            }
            None => (Some(urn.clone()), attr.name.clone(), attr.sub.clone()),
        },
    };
    Some(Target::Opaque(urn.into_iter().chain([name]).chain(sub).collect()))
}
