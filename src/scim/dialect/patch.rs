//! PATCH requests into the strict form.

use serde_json::{Map, Value, json};

use super::resource::{keys, rewrite_element};
use super::value::Rewrite;
use super::{Quirk, Quirks, Used, urn};
use crate::scim::filter::{AttrPath, Resolved, resolve};
use crate::scim::patch::{Options, PATCH_URN, Patched};
use crate::scim::path::Path;
use crate::scim::schema::ResourceSchema;

/// Rewrites the body of a PATCH request into what [`crate::scim::patch::parse()`] reads. What it does not
/// understand it leaves for the core to refuse.
pub fn rewrite_patch(body: &mut Value, quirks: Quirks, schema: &ResourceSchema, used: &mut Used) {
    let Value::Object(body) = body else { return };
    let mut rewrite = Rewrite { quirks, schema, used };
    stray_keys(body, &["schemas", "operations"], &mut rewrite);
    schemas(body, &mut rewrite);
    let Some((_, operations)) = body.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("operations"))
    else {
        return;
    };
    if operations.is_object() && rewrite.takes(Quirk::SingleObject) {
        *operations = Value::Array(vec![operations.take()]);
    }
    let Value::Array(operations) = operations else { return };
    let mut out = Vec::with_capacity(operations.len());
    for mut operation in std::mem::take(operations) {
        let more = match &mut operation {
            Value::Object(operation) => rewrite.operation(operation),
            _ => Vec::new(),
        };
        // One that held nothing but flat keys has become others.
        let spent = !more.is_empty() && value_of(&operation).is_some_and(Map::is_empty);
        if !spent {
            out.push(operation);
        }
        out.extend(more);
    }
    *operations = out;
}

fn value_of(operation: &Value) -> Option<&Map<String, Value>> {
    let (_, value) = operation.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case("value"))?;
    value.as_object()
}

impl Options {
    /// The options that a directory's quirks ask for.
    pub fn of(quirks: Quirks) -> Self {
        Self {
            create_from_filter: quirks.has(Quirk::CreateFromFilter),
            members_remove_by_value: quirks.has(Quirk::MembersRemoveByValue),
            keep_unknown_paths: quirks.has(Quirk::UnknownPaths),
            removed_active_is_false: quirks.has(Quirk::RemovedActive),
        }
    }
}

impl Patched {
    /// The quirks that showed only while the request was applied; to be counted with those of
    /// [`rewrite_patch()`].
    pub fn used(&self) -> Used {
        Used::NONE
            .with(Quirk::CreateFromFilter, self.created_from_filter)
            .with(Quirk::UnknownPaths, self.unknown_path)
            .with(Quirk::RemovedActive, self.removed_active)
    }
}

/// The stored spelling of a key that may come in any letter case.
fn spelled(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

fn stray_keys(object: &mut Map<String, Value>, known: &[&str], rewrite: &mut Rewrite<'_>) {
    let stray = |key: &str| !known.iter().any(|known| known.eq_ignore_ascii_case(key));
    if object.keys().any(|key| stray(key)) && rewrite.takes(Quirk::StrayKeys) {
        object.retain(|key, _| !stray(key));
    }
}

fn schemas(body: &mut Map<String, Value>, rewrite: &mut Rewrite<'_>) {
    let key = spelled(body, "schemas");
    let named = key.as_ref().and_then(|key| body.get(key)).and_then(Value::as_array).is_some_and(|all| {
        all.iter().filter_map(Value::as_str).any(|urn| urn.eq_ignore_ascii_case(PATCH_URN))
    });
    if !named && rewrite.takes(Quirk::PatchSchemas) {
        body.insert(key.unwrap_or_else(|| "schemas".to_owned()), json!([PATCH_URN]));
    }
}

impl Rewrite<'_> {
    /// Rewrites one operation; what comes back follows it.
    fn operation(&mut self, operation: &mut Map<String, Value>) -> Vec<Value> {
        stray_keys(operation, &["op", "path", "value"], self);
        let op = self.op(operation);
        self.path(operation, op.as_deref());
        let value_key = spelled(operation, "value");
        let path = spelled(operation, "path").and_then(|key| operation.get(&key)).cloned();
        let Some(value) = value_key.and_then(|key| operation.get_mut(&key)) else { return Vec::new() };
        match path {
            Some(Value::String(path)) => {
                if op.as_deref() == Some("remove") {
                    self.removal(&path);
                } else {
                    self.at_path(&path, value, op.as_deref() == Some("add"));
                }
                Vec::new()
            }
            Some(_) => Vec::new(),
            None => self.whole(op.as_deref(), value),
        }
    }

    fn op(&mut self, operation: &mut Map<String, Value>) -> Option<String> {
        let key = spelled(operation, "op")?;
        let slot = operation.get_mut(&key)?;
        let lower = slot.as_str()?.to_ascii_lowercase();
        let known = matches!(lower.as_str(), "add" | "remove" | "replace");
        if known && slot.as_str() != Some(&lower) && self.takes(Quirk::OpLetterCase) {
            *slot = Value::String(lower.clone());
        }
        Some(lower)
    }

    fn path(&mut self, operation: &mut Map<String, Value>, op: Option<&str>) {
        if let Some(key) = spelled(operation, "path") {
            let empty = operation.get(&key).is_some_and(|path| path.is_null() || path.as_str() == Some(""));
            if empty && self.takes(Quirk::NullPath) {
                operation.shift_remove(&key);
            } else if let Some(Value::String(text)) = operation.get_mut(&key) {
                urn::rewrite(text, self.quirks, self.schema, self.used);
                self.filter_in(text);
            }
        }
        // Salesforce: `remove` without path and the members under their name in the value.
        let pathless = op == Some("remove") && spelled(operation, "path").is_none();
        if pathless && let Some(value) = spelled(operation, "value").and_then(|key| operation.get(&key)) {
            let object = value.as_object().filter(|object| object.len() == 1);
            let members = object.is_some_and(|object| spelled(object, "members").is_some());
            if members && self.takes(Quirk::MembersRemoveByValue) {
                operation.insert("path".to_owned(), json!("members"));
            }
        }
    }

    /// Booleans written as strings in the filter of a value path.
    fn filter_in(&mut self, text: &mut String) {
        if !self.quirks.has(Quirk::BooleanStrings) || !text.contains('[') {
            return;
        }
        let Ok(Path::Value { attr, mut filter, sub }) = Path::parse(text) else { return };
        let Resolved::Attribute { attribute, .. } = resolve(self.schema, &attr) else { return };
        let mut used = Used::NONE;
        rewrite_element(&mut filter, attribute, self.quirks, &mut used);
        if !used.is_empty() {
            *self.used = self.used.union(used);
            *text = Path::Value { attr, filter, sub }.to_string();
        }
    }

    /// `remove` with a value: for members the value counts, which the core does; elsewhere it means nothing.
    fn removal(&mut self, path: &str) {
        if let Some(attr) = AttrPath::parse(path)
            && let Resolved::Attribute { extension: None, attribute, sub: None } = resolve(self.schema, &attr)
            && attribute.name == "members"
        {
            self.takes(Quirk::MembersRemoveByValue);
        }
    }

    fn at_path(&mut self, path: &str, value: &mut Value, is_add: bool) {
        let Ok(path) = Path::parse(path) else { return };
        let (whole, sub) = match &path {
            Path::Attribute(attr) => (attr.clone(), None),
            Path::Value { attr, sub, .. } => (AttrPath { sub: sub.clone(), ..attr.clone() }, Some(())),
        };
        match resolve(self.schema, &whole) {
            Resolved::Schema(found) if self.schema.core.is(&found.urn) => {
                if let Value::Object(object) = value {
                    self.resource(object);
                }
            }
            Resolved::Schema(found) => self.extension(value, found),
            Resolved::Attribute { sub: Some(part), .. } => self.value(value, part),
            Resolved::Attribute { attribute, .. } if sub.is_some() => {
                self.unwrap_element(value);
                self.element(value, attribute);
            }
            // Adding one value to an array is the RFC's own (§3.5.2.1) and no quirk.
            Resolved::Attribute { attribute, .. }
                if is_add && attribute.multi_valued && value.is_object() =>
            {
                self.element(value, attribute);
            }
            Resolved::Attribute { attribute, .. } => self.value(value, attribute),
            Resolved::Unknown => {}
        }
    }

    /// The value of an operation without path. Keys that are paths become operations of their own.
    fn whole(&mut self, op: Option<&str>, value: &mut Value) -> Vec<Value> {
        let Value::Object(object) = value else { return Vec::new() };
        let mut more = Vec::new();
        if self.quirks.has(Quirk::FlatKeys) && matches!(op, Some("add" | "replace")) {
            let flat: Vec<String> = object.keys().filter(|key| self.is_flat(key)).cloned().collect();
            for key in flat {
                let Some(mut value) = object.shift_remove(&key) else { continue };
                self.used.insert(Quirk::FlatKeys);
                let mut path = key;
                urn::rewrite(&mut path, self.quirks, self.schema, self.used);
                self.filter_in(&mut path);
                if self.is_echo(&path) {
                    continue;
                }
                self.at_path(&path, &mut value, op == Some("add"));
                more.push(json!({ "op": op, "path": path, "value": value }));
            }
        }
        keys(object, self.quirks, self.schema, self.used);
        self.resource(object);
        more
    }

    /// A key that is a path to something the schema knows, and not simply a name or a schema's URN.
    fn is_flat(&self, key: &str) -> bool {
        if !key.contains(['.', ':', '[']) {
            return false;
        }
        let mut text = key.to_owned();
        urn::rewrite(&mut text, self.quirks, self.schema, &mut Used::NONE.clone());
        let Ok(path) = Path::parse(&text) else { return false };
        match resolve(self.schema, path.attr()) {
            Resolved::Attribute { .. } => true,
            Resolved::Schema(_) => false,
            Resolved::Unknown => {
                // An unknown attribute of a known schema is still a path into it.
                let text = path.attr().to_string();
                matches!(path, Path::Attribute(_)) && self.schema.split_urn(&text).is_some()
            }
        }
    }

    /// Attributes of the server's own, echoed: passed over, as the core does for their plain names.
    fn is_echo(&self, path: &str) -> bool {
        let Ok(path) = Path::parse(path) else { return false };
        match resolve(self.schema, path.attr()) {
            Resolved::Attribute { extension: None, attribute, .. } => {
                matches!(attribute.name.as_str(), "id" | "schemas" | "meta" | "groups")
            }
            _ => false,
        }
    }
}
