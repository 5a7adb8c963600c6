//! What an attribute path leads to in a schema (RFC 7644 §3.10).

use super::AttrPath;
use crate::scim::schema::{Attribute, ResourceSchema, Schema};

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
