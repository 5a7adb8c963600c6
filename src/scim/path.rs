//! Paths of PATCH operations (RFC 7644 §3.5.2 figure 7), and what an attribute path leads to in a schema.

use std::fmt::{self, Display, Formatter};

use super::error::Error;
use super::filter::{AttrPath, Filter, parse_value_path};
use super::schema::{Attribute, ResourceSchema, Schema};

/// The path of a PATCH operation as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Path {
    /// `[urn:]attribute[.sub]`.
    Attribute(AttrPath),
    /// `[urn:]attribute[filter][.sub]`.
    Value {
        /// The multi-valued attribute.
        attr: AttrPath,
        /// Which of its elements.
        filter: Filter,
        /// Which part of them.
        sub: Option<String>,
    },
}

impl Path {
    /// Reads a path: attribute names up to 256 bytes, a filter within the filter's limits.
    /// # Errors
    /// `invalidPath`, without repeating the path; `invalidFilter` if the part in brackets is at fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.contains('[') {
            let (attr, filter, sub) = parse_value_path(text)?;
            return Ok(Self::Value { attr, filter, sub });
        }
        AttrPath::parse(text).map(Self::Attribute).ok_or_else(|| {
            Error::invalid_path(
                "the path is not of the form attribute, attribute.sub or attribute[filter].sub",
            )
        })
    }

    /// The attribute part, without filter.
    pub fn attr(&self) -> &AttrPath {
        match self {
            Self::Attribute(attr) | Self::Value { attr, .. } => attr,
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attr) => attr.fmt(f),
            Self::Value { attr, filter, sub } => {
                write!(f, "{attr}[{filter}]")?;
                match sub {
                    Some(sub) => write!(f, ".{sub}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Where an attribute path leads.
#[derive(Debug, Clone, Copy)]
pub enum Resolved<'a> {
    /// To an attribute, or a part of it.
    Attribute {
        /// The extension that defines it; `None` for core and common attributes.
        extension: Option<&'a Schema>,
        /// The attribute.
        attribute: &'a Attribute,
        /// Its part.
        sub: Option<&'a Attribute>,
    },
    /// To a whole schema: the path is its URN.
    Schema(&'a Schema),
    /// To nothing the schema knows.
    Unknown,
}

/// Looks a path up, names in any letter case.
pub fn resolve<'a>(schema: &'a ResourceSchema, path: &AttrPath) -> Resolved<'a> {
    let (extension, name, sub) = if path.urn.is_some() {
        let text = path.to_string();
        let Some((found, rest)) = schema.split_urn(&text) else { return Resolved::Unknown };
        if rest.is_empty() {
            return Resolved::Schema(found);
        }
        let Some(plain) = AttrPath::parse(rest).filter(|plain| plain.urn.is_none()) else {
            return Resolved::Unknown;
        };
        (Some(found).filter(|found| !schema.core.is(&found.urn)), plain.name, plain.sub)
    } else {
        (None, path.name.clone(), path.sub.clone())
    };
    let attribute = match extension {
        Some(found) => found.attribute(&name).map(|attribute| (extension, attribute)),
        None => schema.attribute(&name).map(|attribute| (None, attribute)),
    };
    let Some((extension, attribute)) = attribute else { return Resolved::Unknown };
    match sub {
        None => Resolved::Attribute { extension, attribute, sub: None },
        Some(sub) => match attribute.sub(&sub) {
            Some(sub) => Resolved::Attribute { extension, attribute, sub: Some(sub) },
            None => Resolved::Unknown,
        },
    }
}
