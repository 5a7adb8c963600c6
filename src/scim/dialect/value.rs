//! Values into the form their attribute's type wants.

use serde_json::{Map, Value};

use super::{Quirk, Quirks, Used};
use crate::scim::schema::{Attribute, DataType, ResourceSchema, Schema};

/// What a rewrite needs to know, and what it found.
pub(super) struct Rewrite<'a> {
    pub(super) quirks: Quirks,
    pub(super) schema: &'a ResourceSchema,
    pub(super) used: &'a mut Used,
}

impl Rewrite<'_> {
    /// True if the quirk is on; it is then counted as used.
    pub(super) fn takes(&mut self, quirk: Quirk) -> bool {
        let on = self.quirks.has(quirk);
        if on {
            self.used.insert(quirk);
        }
        on
    }

    /// An object of top-level attributes and extensions.
    pub(super) fn resource(&mut self, object: &mut Map<String, Value>) {
        let schema = self.schema;
        for (key, value) in object.iter_mut() {
            if let Some(attribute) = schema.attribute(key) {
                self.value(value, attribute);
            } else if let Some(extension) = schema.extension(key) {
                self.extension(value, extension);
            } else if let (true, Value::Object(inner)) = (schema.core.is(key), value) {
                for (key, value) in inner.iter_mut() {
                    if let Some(attribute) = schema.attribute(key) {
                        self.value(value, attribute);
                    }
                }
            }
        }
    }

    /// An extension's object of attributes.
    pub(super) fn extension(&mut self, value: &mut Value, extension: &Schema) {
        if is_empty_text(value) && self.takes(Quirk::EmptyString) {
            *value = Value::Null;
        }
        if let Value::Object(inner) = value {
            for (key, value) in inner.iter_mut() {
                if let Some(attribute) = extension.attribute(key) {
                    self.value(value, attribute);
                }
            }
        }
    }

    /// The whole value of an attribute.
    pub(super) fn value(&mut self, value: &mut Value, attribute: &Attribute) {
        if attribute.is_complex() && !attribute.multi_valued && attribute.is("manager") {
            self.manager(value);
        }
        if attribute.multi_valued {
            self.array(value, attribute);
            if let Value::Array(all) = value {
                for one in all {
                    self.element(one, attribute);
                }
            }
            return;
        }
        if !attribute.is_complex() {
            self.unwrap(value);
        }
        self.element(value, attribute);
    }

    /// A single value, or one element of an array.
    pub(super) fn element(&mut self, value: &mut Value, attribute: &Attribute) {
        let text_fits = matches!(
            attribute.data_type,
            DataType::String | DataType::Reference | DataType::Binary | DataType::Boolean
        );
        // Never for members: an empty text names nobody, and nobody is not the same as everybody.
        let emptied = is_empty_text(value) && !text_fits && !attribute.is("members");
        if emptied && self.takes(Quirk::EmptyString) {
            *value = Value::Null;
        }
        if attribute.data_type == DataType::Boolean
            && let Some(truth) = truth(value)
            && self.takes(Quirk::BooleanStrings)
        {
            *value = Value::Bool(truth);
        }
        if let (DataType::Complex, Value::Object(inner)) = (attribute.data_type, value) {
            for (key, value) in inner.iter_mut() {
                if let Some(sub) = attribute.sub(key) {
                    self.value(value, sub);
                }
            }
        }
    }

    fn array(&mut self, value: &mut Value, attribute: &Attribute) {
        if is_empty_text(value) {
            if !attribute.is("members") && self.takes(Quirk::EmptyString) {
                *value = Value::Null;
            }
            return;
        }
        let is_one = match value {
            Value::Array(_) | Value::Null => false,
            Value::Object(object) => attribute.is_complex() && !object.is_empty(),
            _ => !attribute.is_complex(),
        };
        if is_one && self.takes(Quirk::SingleObject) {
            *value = Value::Array(vec![value.take()]);
        }
    }

    /// `[{"$ref": null, "value": "X"}]` and `["X"]` round a scalar.
    fn unwrap(&mut self, value: &mut Value) {
        let Value::Array(all) = value else { return };
        let [one] = all.as_mut_slice() else { return };
        if !self.quirks.has(Quirk::WrappedScalar) {
            return;
        }
        let inner = match one {
            Value::Object(object) => {
                object.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("value")).map(|(_, inner)| inner)
            }
            Value::Array(_) => None,
            scalar => Some(scalar),
        };
        if let Some(inner) = inner.map(Value::take) {
            self.used.insert(Quirk::WrappedScalar);
            *value = inner;
        }
    }

    /// An array of one where a value path chooses the element already.
    pub(super) fn unwrap_element(&mut self, value: &mut Value) {
        if let Value::Array(all) = value
            && let [one] = all.as_mut_slice()
        {
            let one = one.take();
            if self.takes(Quirk::WrappedScalar) {
                *value = one;
            } else {
                *value = Value::Array(vec![one]);
            }
        }
    }

    fn manager(&mut self, value: &mut Value) {
        if !self.quirks.has(Quirk::ManagerAsString) {
            return;
        }
        if let Value::Array(all) = value
            && let [one] = all.as_mut_slice()
        {
            *value = one.take();
            self.used.insert(Quirk::ManagerAsString);
        }
        let id = match value {
            Value::String(id) => Some(id.clone()),
            Value::Object(object) => {
                let id = object.iter().find(|(key, _)| key.eq_ignore_ascii_case("value"));
                id.filter(|(_, id)| is_empty_text(id)).map(|_| String::new())
            }
            _ => None,
        };
        if let Some(id) = id {
            self.used.insert(Quirk::ManagerAsString);
            *value = if id.is_empty() {
                Value::Null
            } else {
                Value::Object(Map::from_iter([("value".to_owned(), Value::String(id))]))
            };
        }
    }
}

/// The boolean that a string spells, in any letter case.
pub(super) fn truth(value: &Value) -> Option<bool> {
    value.as_str().and_then(truth_of)
}

/// The boolean that a text spells, in any letter case.
pub(super) fn truth_of(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|truth| text.eq_ignore_ascii_case(if *truth { "true" } else { "false" }))
}

fn is_empty_text(value: &Value) -> bool {
    value.as_str() == Some("")
}
