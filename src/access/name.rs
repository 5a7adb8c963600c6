//! The attribute that names a person at one target.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{Doc, UserFacts};

/// Key `[[target]] subject`, default `userName`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubjectAttribute {
    /// `userName`.
    #[default]
    UserName,
    /// `userName.local`: what stands before the last `@`, or the whole name.
    UserNameLocal,
    /// `id`.
    Id,
    /// `externalId`.
    ExternalId,
    /// `email`, `emails` or `emails.value`: the primary address, or the only one.
    Email,
    /// `displayName`.
    DisplayName,
    /// Any other attribute path: `name`, `name.sub`, or either behind an extension's URN and a colon.
    Path(AttributePath),
}

/// A parsed path to a simple attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributePath {
    pub(super) extension: Option<String>,
    pub(super) name: String,
    pub(super) sub: Option<String>,
}

/// Why a text is not a subject attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAttributeError;

impl fmt::Display for SubjectAttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a subject attribute: write `userName`, `userName.local`, `id`, `externalId`, `email`, `displayName`, \
             or an attribute path such as `name.familyName` or `urn:…:User:employeeNumber`",
        )
    }
}

impl std::error::Error for SubjectAttributeError {}

impl FromStr for SubjectAttribute {
    type Err = SubjectAttributeError;

    fn from_str(text: &str) -> Result<Self, SubjectAttributeError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "username" => Self::UserName,
            "username.local" => Self::UserNameLocal,
            "id" => Self::Id,
            "externalid" => Self::ExternalId,
            "email" | "emails" | "emails.value" => Self::Email,
            "displayname" => Self::DisplayName,
            _ => Self::Path(AttributePath::parse(text).ok_or(SubjectAttributeError)?),
        })
    }
}

impl SubjectAttribute {
    /// Whether it is what people are called by people, which nobody keeps unique or in order: never a name that gives
    /// its bearer something by itself (DESIGN §6.3).
    pub fn is_free_text(&self) -> bool {
        let free = ["displayName", "name", "nickName", "title"];
        match self {
            Self::DisplayName => true,
            Self::Path(path) => {
                path.extension.is_none() && free.iter().any(|name| path.name.eq_ignore_ascii_case(name))
            }
            Self::UserName | Self::UserNameLocal | Self::Id | Self::ExternalId | Self::Email => false,
        }
    }
}

impl AttributePath {
    fn parse(text: &str) -> Option<Self> {
        let (extension, rest) = match text.rsplit_once(':') {
            Some((urn, rest)) if urn.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) => {
                (Some(urn.to_owned()), rest)
            }
            Some(_) => return None,
            None => (None, text),
        };
        let (name, sub) = match rest.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$'))
        };
        if !is_name(name) || !sub.is_none_or(is_name) {
            return None;
        }
        let core = "urn:ietf:params:scim:schemas:core:2.0:user";
        let extension = extension.filter(|urn| !urn.eq_ignore_ascii_case(core));
        Some(Self { extension, name: name.to_owned(), sub: sub.map(str::to_owned) })
    }
}

impl fmt::Display for SubjectAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserName => f.write_str("userName"),
            Self::UserNameLocal => f.write_str("userName.local"),
            Self::Id => f.write_str("id"),
            Self::ExternalId => f.write_str("externalId"),
            Self::Email => f.write_str("email"),
            Self::DisplayName => f.write_str("displayName"),
            Self::Path(path) => {
                if let Some(urn) = &path.extension {
                    write!(f, "{urn}:")?;
                }
                f.write_str(&path.name)?;
                path.sub.as_ref().map_or(Ok(()), |sub| write!(f, ".{sub}"))
            }
        }
    }
}

/// How a reader compares names, where it does not go by their bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fold {
    /// In words behind "the same name", such as `without regard to ASCII case`.
    pub how: &'static str,
    /// What names that are one to the reader have in common.
    pub key: fn(&str) -> String,
}

impl Fold {
    /// What the reader goes by.
    pub(super) fn of(fold: Option<Self>, name: &str) -> String {
        fold.map_or_else(|| name.to_owned(), |fold| (fold.key)(name))
    }
}

/// What a subject attribute gives for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Exactly one value.
    One(String),
    /// No value.
    Absent,
    /// Several values and none primary.
    Ambiguous,
}

impl SubjectAttribute {
    /// The user's name by this attribute, unchecked.
    pub(super) fn of(&self, user: &UserFacts) -> Named {
        match self {
            Self::UserName => Named::One(user.user_name.clone()),
            Self::UserNameLocal => {
                let name = &user.user_name;
                Named::One(name.rsplit_once('@').map_or(name.as_str(), |(local, _)| local).to_owned())
            }
            Self::Id => Named::One(user.id.to_string()),
            Self::ExternalId => single(find(&user.doc, "externalId"), "value"),
            Self::Email => single(find(&user.doc, "emails"), "value"),
            Self::DisplayName => single(find(&user.doc, "displayName"), "value"),
            Self::Path(path) => {
                let root = match &path.extension {
                    None => Some(&*user.doc),
                    Some(urn) => find(&user.doc, urn).and_then(Value::as_object),
                };
                let value = root.and_then(|doc| find(doc, &path.name));
                single(value, path.sub.as_deref().unwrap_or("value"))
            }
        }
    }
}

/// A text attribute of the document, if it has one value.
pub(super) fn text_of(doc: &Doc, name: &str) -> Option<String> {
    match single(find(doc, name), "value") {
        Named::One(text) => Some(text),
        Named::Absent | Named::Ambiguous => None,
    }
}

/// Attribute names and URNs compare without case (RFC 7643 §2.1, RFC 7644 §3.10).
fn find<'a>(doc: &'a Doc, name: &str) -> Option<&'a Value> {
    doc.get(name)
        .or_else(|| doc.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The one value of an attribute: of several elements the primary one (RFC 7643 §2.4), else the only one.
fn single(value: Option<&Value>, sub: &str) -> Named {
    match value {
        None | Some(Value::Null) => Named::Absent,
        Some(Value::Array(elements)) => {
            let is_primary = |element: &&Value| {
                element.as_object().and_then(|doc| find(doc, "primary")).and_then(Value::as_bool)
                    == Some(true)
            };
            let primary: Vec<&Value> = elements.iter().filter(is_primary).collect();
            match (primary.as_slice(), elements.as_slice()) {
                ([only], _) => scalar(only, sub),
                ([], [only]) => scalar(only, sub),
                ([], []) => Named::Absent,
                _ => Named::Ambiguous,
            }
        }
        Some(value) => scalar(value, sub),
    }
}

fn scalar(value: &Value, sub: &str) -> Named {
    match value {
        Value::String(text) => Named::One(text.clone()),
        Value::Number(number) => Named::One(number.to_string()),
        Value::Object(doc) => match find(doc, sub) {
            Some(Value::String(text)) => Named::One(text.clone()),
            Some(Value::Number(number)) => Named::One(number.to_string()),
            _ => Named::Absent,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) => Named::Absent,
    }
}

/// Whether any target may carry `name`: not empty, no control character, no line or paragraph separator, nothing
/// that changes the direction of text. What a format cannot carry beyond that, the format refuses.
pub(super) fn is_carriable(name: &str) -> bool {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{200e}' | '\u{200f}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
            || c == '\u{feff}'
    };
    !name.is_empty() && !name.chars().any(is_bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ResourceId, Timestamp};
    use serde_json::json;

    fn user(doc: Value) -> UserFacts {
        let Value::Object(doc) = doc else { panic!("an object") };
        UserFacts {
            id: ResourceId::new(1, &[1; 10]),
            active: true,
            user_name: "Alice@Example.com".into(),
            doc: std::sync::Arc::new(doc),
            created: Timestamp(0),
            last_modified: Timestamp(0),
        }
    }

    fn named(attribute: &str, doc: Value) -> Named {
        attribute.parse::<SubjectAttribute>().unwrap().of(&user(doc))
    }

    fn one(text: &str) -> Named {
        Named::One(text.into())
    }

    #[test]
    fn the_fixed_attributes_give_their_value() {
        assert_eq!(named("userName", json!({})), one("Alice@Example.com"));
        assert_eq!(named("username.local", json!({})), one("Alice"));
        assert_eq!(named("externalId", json!({"externalId": "00u1"})), one("00u1"));
        assert_eq!(named("displayName", json!({})), Named::Absent);
        assert_eq!(named("id", json!({})), one(&ResourceId::new(1, &[1; 10]).to_string()));
    }

    #[test]
    fn of_several_addresses_only_a_primary_one_names_a_person() {
        let two = json!([{"value": "a@x"}, {"value": "b@x", "primary": true}]);
        assert_eq!(named("email", json!({ "emails": two })), one("b@x"));
        assert_eq!(named("emails", json!({"emails": [{"value": "a@x"}]})), one("a@x"));
        assert_eq!(named("email", json!({"emails": [{"value": "a@x"}, {"value": "b@x"}]})), Named::Ambiguous);
        assert_eq!(named("email", json!({"emails": [{"type": "work"}]})), Named::Absent);
    }

    #[test]
    fn any_simple_path_names_a_person_extensions_too() {
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let doc = json!({"name": {"familyName": "Ng"}, urn: {"employeeNumber": "701984"}});
        assert_eq!(named("name.familyname", doc.clone()), one("Ng"));
        assert_eq!(named(&format!("{}:employeeNumber", urn.to_uppercase()), doc.clone()), one("701984"));
        assert_eq!(named("urn:ietf:params:scim:schemas:core:2.0:User:name.familyName", doc), one("Ng"));
        for bad in ["", "a b", "a.b.c", "x:y", "emails[primary eq true]"] {
            assert!(bad.parse::<SubjectAttribute>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_people_are_called_is_no_name_of_an_account() {
        let is_free = |text: &str| text.parse::<SubjectAttribute>().unwrap().is_free_text();
        for free in ["displayName", "name.familyName", "nickname", "title"] {
            assert!(is_free(free), "{free}");
        }
        for own in ["userName", "id", "externalId", "email", "userType", "urn:x:User:title"] {
            assert!(!is_free(own), "{own}");
        }
    }

    #[test]
    fn names_with_control_or_direction_characters_are_not_carried() {
        for bad in ["", "bob\r", "a\nb", "a\u{0}", "a\u{85}", "a\u{2028}", "a\u{202e}b", "\u{feff}a"] {
            assert!(!is_carriable(bad), "{bad:?}");
        }
        for good in ["bob smith", "é", "漢", "a\"b", "-x"] {
            assert!(is_carriable(good), "{good}");
        }
    }
}
