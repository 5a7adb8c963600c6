//! What columns of a table, or attributes of LDIF, become: the defaults, and a file `--map MAP.toml` over them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::path::{Path, Type};

/// What columns become.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// By name as written in the file; empty: the defaults.
    pub(super) columns: BTreeMap<String, Column>,
    /// Set on every user.
    pub(super) constants: Vec<(Path, String)>,
    /// Between several values in one cell. Default `;`.
    pub(super) separator: Option<String>,
    /// Between cells; found out from the headings unless set.
    pub(super) delimiter: Option<u8>,
    /// The column with the names of a user's groups.
    pub(super) groups: Option<String>,
    /// Whether it came from a file.
    pub(super) is_own: bool,
}

/// What one column becomes.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) paths: Vec<Path>,
    pub(super) separator: Option<String>,
}

/// Why a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError(String);

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MappingError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    separator: Option<String>,
    delimiter: Option<String>,
    groups: Option<String>,
    #[serde(default)]
    columns: BTreeMap<String, To>,
    #[serde(default)]
    constants: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum To {
    One(String),
    Many(Vec<String>),
    Told(Told),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    path: String,
    #[serde(rename = "type")]
    of: Option<String>,
    separator: Option<String>,
}

impl Mapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let written: Written = toml::from_str(text).map_err(|error| MappingError(error.to_string()))?;
        let mut mapping = Self { groups: written.groups, is_own: true, ..Self::default() };
        let told = |column: &str, why: String| MappingError(format!("column `{column}`: {why}"));
        for (name, to) in written.columns {
            let (texts, of, separator) = match to {
                To::One(text) => (vec![text], None, None),
                To::Many(texts) => (texts, None, None),
                To::Told(one) => (vec![one.path], one.of, one.separator),
            };
            let of = match of.as_deref() {
                None | Some("string") => Type::Text,
                Some("boolean") => Type::Boolean,
                Some("integer") => Type::Integer,
                Some(other) => {
                    return Err(told(&name, format!("`type` is string, boolean or integer, not `{other}`")));
                }
            };
            let paths = texts.iter().map(|text| Path::parse(text, of)).collect::<Result<Vec<_>, _>>();
            let paths = paths.map_err(|why| told(&name, why))?;
            mapping
                .columns
                .insert(name, Column { paths, separator: separator.filter(|one| !one.is_empty()) });
        }
        for (name, value) in written.constants {
            let of = match &value {
                toml::Value::Boolean(_) => Type::Boolean,
                toml::Value::Integer(_) => Type::Integer,
                _ => Type::Text,
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Boolean(value) => value.to_string(),
                toml::Value::Integer(value) => value.to_string(),
                _ => {
                    return Err(MappingError(format!(
                        "constant `{name}` must be a string, number or truth value"
                    )));
                }
            };
            let path =
                Path::parse(&name, of).map_err(|why| MappingError(format!("constant `{name}`: {why}")))?;
            mapping.constants.push((path, text));
        }
        mapping.separator = written.separator.filter(|one| !one.is_empty());
        mapping.delimiter = match written.delimiter.as_deref().map(str::as_bytes) {
            None => None,
            Some([one]) => Some(*one),
            Some(_) => return Err(MappingError("`delimiter` must be one ASCII character".to_owned())),
        };
        Ok(mapping)
    }

    /// What stands between several values of a column.
    pub(super) fn separator<'a>(&'a self, column: &'a Column) -> &'a str {
        column.separator.as_deref().or(self.separator.as_deref()).unwrap_or(";")
    }
}

/// Default names of columns, in lower case without anything but letters and digits, and what they become.
pub(super) const COLUMNS: &[(&str, &[&str])] = &[
    ("username", &["userName"]),
    ("login", &["userName"]),
    ("userid", &["userName"]),
    ("userprincipalname", &["userName"]),
    ("upn", &["userName"]),
    ("samaccountname", &["userName"]),
    ("email", &["emails.work"]),
    ("emailaddress", &["emails.work"]),
    ("mail", &["emails.work"]),
    ("workemail", &["emails.work"]),
    ("firstname", &["name.givenName"]),
    ("givenname", &["name.givenName"]),
    ("lastname", &["name.familyName"]),
    ("familyname", &["name.familyName"]),
    ("surname", &["name.familyName"]),
    ("displayname", &["displayName"]),
    ("fullname", &["displayName"]),
    ("name", &["displayName"]),
    ("externalid", &["externalId"]),
    ("objectid", &["externalId"]),
    ("employeenumber", &["employeeNumber"]),
    ("employeeid", &["employeeNumber"]),
    ("department", &["department"]),
    ("division", &["division"]),
    ("costcenter", &["costCenter"]),
    ("organization", &["organization"]),
    ("company", &["organization"]),
    ("title", &["title"]),
    ("jobtitle", &["title"]),
    ("usertype", &["userType"]),
    ("employeetype", &["userType"]),
    ("phone", &["phoneNumbers.work"]),
    ("phonenumber", &["phoneNumbers.work"]),
    ("workphone", &["phoneNumbers.work"]),
    ("mobile", &["phoneNumbers.mobile"]),
    ("mobilephone", &["phoneNumbers.mobile"]),
    ("active", &["active"]),
    ("enabled", &["active"]),
    ("accountenabled", &["active"]),
    ("status", &["active"]),
    ("locale", &["locale"]),
    ("timezone", &["timezone"]),
    ("preferredlanguage", &["preferredLanguage"]),
    ("nickname", &["nickName"]),
];

/// Default names of the column with a user's groups.
pub(super) const GROUPS: [&str; 4] = ["groups", "group", "memberof", "teams"];

/// A heading without case, spaces and punctuation.
pub(super) fn plain(heading: &str) -> String {
    heading.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
