//! One attribute with every characteristic of RFC 7643 §7, and the schema that holds attributes.

use serde::{Deserialize, Serialize};

/// The data type of an attribute (RFC 7643 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataType {
    /// A sequence of Unicode characters.
    #[default]
    String,
    /// `true` or `false`.
    Boolean,
    /// A real number.
    Decimal,
    /// A whole number.
    Integer,
    /// An `xsd:dateTime` with date and time.
    DateTime,
    /// Base64 text.
    Binary,
    /// The URI of something.
    Reference,
    /// An object of sub-attributes.
    Complex,
}

impl DataType {
    /// The RFC's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Decimal => "decimal",
            Self::Integer => "integer",
            Self::DateTime => "dateTime",
            Self::Binary => "binary",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }
}

/// Who may write an attribute, and when (RFC 7643 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mutability {
    /// The server alone: ignored in POST and PUT, refused in PATCH.
    ReadOnly,
    /// The client, at any time.
    #[default]
    ReadWrite,
    /// The client, once.
    Immutable,
    /// The client, but nobody reads it back.
    WriteOnly,
}

/// When an attribute stands in an answer (RFC 7643 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Returned {
    /// In every answer, whatever the client excludes.
    Always,
    /// In no answer.
    Never,
    /// Unless the client asks for other attributes only, or excludes it.
    #[default]
    Default,
    /// When the client names it.
    Request,
}

/// How far a value must be unique (RFC 7643 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Uniqueness {
    /// Not at all.
    #[default]
    None,
    /// Within one directory.
    Server,
    /// Everywhere.
    Global,
}

/// An attribute's definition (RFC 7643 §7). Absent characteristics take the defaults of RFC 7643 §2.2, which is
/// what lets the embedded files and an operator's own leave out what is usual. A characteristic that the RFC does
/// not know is refused: it is a misspelt one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attribute {
    /// The name in its canonical spelling.
    pub name: String,
    /// The data type. Default string.
    #[serde(rename = "type", default)]
    pub data_type: DataType,
    /// True if the value is an array. Default false.
    #[serde(default)]
    pub multi_valued: bool,
    /// For a person.
    #[serde(default)]
    pub description: String,
    /// True if a resource without it is refused. Default false.
    #[serde(default)]
    pub required: bool,
    /// True if comparing regards letter case. Default false.
    #[serde(default)]
    pub case_exact: bool,
    /// Who may write it. Default readWrite.
    #[serde(default)]
    pub mutability: Mutability,
    /// When it is returned. Default default.
    #[serde(default)]
    pub returned: Returned,
    /// How far it must be unique. Default none.
    #[serde(default)]
    pub uniqueness: Uniqueness,
    /// Usual values: suggestions, never enforced (RFC 7643 §7, §2.4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canonical_values: Vec<String>,
    /// For a reference: resource type names, `external` or `uri`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference_types: Vec<String>,
    /// For a complex attribute: what it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_attributes: Vec<Attribute>,
}

impl Attribute {
    /// True if `name` is this attribute's name in any letter case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The sub-attribute called `name`, in any letter case.
    pub fn sub(&self, name: &str) -> Option<&Self> {
        self.sub_attributes.iter().find(|sub| sub.is(name))
    }

    /// True for a complex attribute.
    pub fn is_complex(&self) -> bool {
        self.data_type == DataType::Complex
    }
}

/// A schema: a URN and its attributes (RFC 7643 §7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The URN in its canonical spelling.
    #[serde(rename = "id")]
    pub urn: String,
    /// The short name, as `User`.
    #[serde(default)]
    pub name: String,
    /// For a person.
    #[serde(default)]
    pub description: String,
    /// The top-level attributes.
    pub attributes: Vec<Attribute>,
}

impl Schema {
    /// The attribute called `name`, in any letter case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.is(name))
    }

    /// True if `urn` is this schema's URN in any letter case.
    pub fn is(&self, urn: &str) -> bool {
        self.urn.eq_ignore_ascii_case(urn)
    }
}
