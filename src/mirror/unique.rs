//! Attributes of operators' schemas that no two resources of a directory may share (RFC 7643 §7, `uniqueness`).
//! Those of the standard schemas have columns and are checked where these are written.

use serde_json::Value;

use crate::scim::error;
use crate::scim::filter::{Bound, BoundPath, CompareOp, Literal};
use crate::scim::schema::{Attribute, DataType, ResourceSchema, Schema, Uniqueness};

use super::Error;
use super::directory::DirectoryRef;
use super::query::{self, Window};
use super::resource::{Stored, doc_of};
use super::tx::WriteTx;

/// Refuses a resource that was just written and shares such a value with another one. The caller's command then
/// fails as a whole, so nothing of it stays.
///
/// # Errors
/// 409 `uniqueness`.
pub fn check(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    schema: &ResourceSchema,
    stored: &Stored,
) -> Result<(), Error> {
    let wanted: Vec<(&Schema, &Attribute)> = unique(schema).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let doc = doc_of(&stored.doc_text)?;
    for (extension, attribute) in wanted {
        let value = doc.get(&extension.urn).and_then(|inner| inner.get(&attribute.name));
        let Some(value) = value.and_then(literal) else { continue };
        let path = BoundPath {
            extension: Some(extension.urn.clone()),
            attribute: attribute.name.clone(),
            sub: None,
            multi_valued: false,
            data_type: attribute.data_type,
            case_exact: attribute.case_exact,
        };
        let filter = Bound::Compare { path, op: CompareOp::Eq, value };
        let two = Window::Index { skip: 0, count: 2 };
        let found = query::list(tx, directory, schema.resource_type, Some(&filter), None, two)?;
        if found.items.iter().any(|other| other.rid != stored.rid) {
            return Err(error::Error::uniqueness(format!(
                "attribute `{}:{}` is in use by another {}",
                extension.urn, attribute.name, schema.resource_type
            ))
            .into());
        }
    }
    Ok(())
}

fn unique(schema: &ResourceSchema) -> impl Iterator<Item = (&Schema, &Attribute)> {
    schema.extensions.iter().flat_map(|extension| {
        let attributes = extension.attributes.iter().filter(|attribute| {
            attribute.uniqueness != Uniqueness::None
                && !attribute.multi_valued
                && matches!(attribute.data_type, DataType::String | DataType::Reference | DataType::Integer)
        });
        attributes.map(move |attribute| (extension.as_ref(), attribute))
    })
}

fn literal(value: &Value) -> Option<Literal> {
    match value {
        Value::String(text) => Some(Literal::String(text.clone())),
        Value::Number(number) => Some(Literal::Number(number.clone())),
        _ => None,
    }
}
