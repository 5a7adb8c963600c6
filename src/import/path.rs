//! Puts texts at attribute paths of a SCIM resource: `userName`, `name.givenName`, `emails.work`,
//! `urn:…:User:department`.

use serde_json::{Map, Value, json};

use crate::scim::schema::ENTERPRISE_USER_URN;

/// What a column's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Type {
    /// A text, except for `active`.
    #[default]
    Text,
    /// true or false.
    Boolean,
    /// A whole number.
    Integer,
}

/// A place in a SCIM resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    extension: Option<String>,
    attribute: String,
    /// Of a single complex attribute.
    sub: Option<String>,
    /// The `type` of an element of a multi-valued attribute.
    element: Option<String>,
    pub(super) of: Type,
    /// As it was written.
    text: String,
}

/// Multi-valued attributes of the core schema whose elements are objects with `value`.
const MANY: [&str; 7] =
    ["emails", "phoneNumbers", "ims", "photos", "entitlements", "roles", "x509Certificates"];

/// Most values of one attribute: each is compared with those before it, and no person has so many.
const VALUES_MAX: usize = 1_000;

/// Attributes of the Enterprise User, which may be named without their URN.
const ENTERPRISE: [&str; 5] = ["employeeNumber", "costCenter", "organization", "division", "department"];

impl Path {
    /// # Errors
    /// A sentence about what is wrong with it.
    pub(super) fn parse(text: &str, of: Type) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no attribute path; examples: userName, name.givenName, emails.work");
        let (extension, rest) = if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
            let (urn, rest) = text.rsplit_once(':').ok_or_else(wrong)?;
            // `2.0` of the URN has the colon before, so that what follows the last one is the attribute.
            (Some(urn.to_owned()), rest)
        } else {
            (None, text)
        };
        let (attribute, element, sub) = match rest.split_once('[') {
            Some((attribute, filter)) => {
                let (filter, after) = filter.split_once(']').ok_or_else(wrong)?;
                let mut words = filter.splitn(3, ' ');
                let is_type = words.next() == Some("type") && words.next() == Some("eq");
                let element = words.next().map(|word| word.trim_matches('"')).filter(|_| is_type);
                if !matches!(after, "" | ".value") {
                    return Err(wrong());
                }
                (attribute, Some(element.ok_or_else(wrong)?), None)
            }
            None => match rest.split_once('.') {
                Some((attribute, part)) if is_many(attribute) && extension.is_none() => {
                    (attribute, Some(part).filter(|part| *part != "value"), None)
                }
                Some((attribute, part)) => (attribute, None, Some(part)),
                None => (rest, None, None),
            },
        };
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_$".contains(c))
        };
        if ![Some(attribute), element, sub].into_iter().flatten().all(is_name) {
            return Err(wrong());
        }
        if ["id", "meta", "schemas", "groups", "members", "password"]
            .iter()
            .any(|name| extension.is_none() && attribute.eq_ignore_ascii_case(name))
        {
            return Err(format!("`{attribute}` cannot be set; for groups there is the key `groups`"));
        }
        let enterprise = ENTERPRISE.iter().any(|name| name.eq_ignore_ascii_case(attribute));
        let extension = extension.or_else(|| enterprise.then(|| ENTERPRISE_USER_URN.to_owned()));
        let of = if attribute.eq_ignore_ascii_case("active") { Type::Boolean } else { of };
        Ok(Self {
            extension,
            attribute: attribute.to_owned(),
            sub: sub.map(str::to_owned),
            element: element.map(str::to_owned),
            of,
            text: text.to_owned(),
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether several values fit.
    pub(super) fn is_many(&self) -> bool {
        self.extension.is_none() && is_many(&self.attribute)
    }

    /// Whether this is where a user's name stands.
    pub(super) fn is(&self, attribute: &str) -> bool {
        self.extension.is_none() && self.sub.is_none() && self.attribute.eq_ignore_ascii_case(attribute)
    }

    /// Puts `text` there; the first value of a single attribute stays.
    ///
    /// # Errors
    /// Why the text is none of the path's type.
    pub(super) fn put(&self, body: &mut Map<String, Value>, text: &str) -> Result<(), String> {
        let value = self.value(text)?;
        let body = match &self.extension {
            None => body,
            Some(urn) => object(body, urn)?,
        };
        if self.is_many() {
            let list = body.entry(self.attribute.clone()).or_insert_with(|| json!([]));
            let Value::Array(list) = list else { return Err("two columns fill it differently".to_owned()) };
            if list.iter().any(|one| one.get("value") == Some(&value)) {
                return Ok(());
            }
            if list.len() >= VALUES_MAX {
                return Err(format!("it has more than {VALUES_MAX} values"));
            }
            let mut one = Map::new();
            one.insert("value".to_owned(), value);
            if let Some(element) = &self.element {
                one.insert("type".to_owned(), element.clone().into());
            }
            if list.is_empty() && self.attribute.eq_ignore_ascii_case("emails") {
                one.insert("primary".to_owned(), true.into());
            }
            list.push(one.into());
            return Ok(());
        }
        let (body, key) = match &self.sub {
            None => (body, &self.attribute),
            Some(sub) => (object(body, &self.attribute)?, sub),
        };
        body.entry(key.clone()).or_insert(value);
        Ok(())
    }

    fn value(&self, text: &str) -> Result<Value, String> {
        match self.of {
            Type::Text => Ok(text.into()),
            Type::Integer => text
                .parse::<i64>()
                .map(Value::from)
                .map_err(|_| format!("`{}` is no whole number", short(text))),
            Type::Boolean => truth(text)
                .map(Value::from)
                .ok_or_else(|| format!("`{}` is neither true nor false", short(text))),
        }
    }
}

/// A text short enough for an error.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn is_many(attribute: &str) -> bool {
    MANY.iter().any(|many| many.eq_ignore_ascii_case(attribute))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "active" | "enabled" | "on" => Some(true),
        "false" | "no" | "n" | "0" | "inactive" | "disabled" | "off" | "suspended" | "terminated" => {
            Some(false)
        }
        _ => None,
    }
}

fn object<'a>(body: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Map<String, Value>, String> {
    match body.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(object) => Ok(object),
        _ => Err("two columns fill it differently".to_owned()),
    }
}
