//! The discovery documents (RFC 7644 §4; RFC 7643 §5, §6, §7; RFC 9865 §4).

use serde_json::{Value, json};

use super::{Registry, ResourceSchema, Schema};
use crate::model::ResourceType;

/// The URN of the service provider configuration (RFC 7643 §5).
pub const SERVICE_PROVIDER_CONFIG_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
/// The URN of a resource type (RFC 7643 §6).
pub const RESOURCE_TYPE_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
/// The URN of a schema (RFC 7643 §7).
pub const SCHEMA_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// What the server takes, as far as it is settable.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Most operations in one Bulk request. Default 1,000.
    pub bulk_operations_max: u64,
    /// Largest Bulk body in bytes. Default 16 MiB.
    pub bulk_payload_bytes_max: u64,
    /// Most resources in one page. Default 1,000.
    pub page_max: u64,
    /// Resources in a page where the client names no count. Default 100.
    pub page_default: u64,
    /// Seconds that a cursor stays good. Default none: for ever.
    pub cursor_timeout_secs: Option<u64>,
    /// The address of a page for administrators, if there is one.
    pub documentation_uri: Option<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            bulk_operations_max: 1_000,
            bulk_payload_bytes_max: 16 * 1024 * 1024,
            page_max: 1_000,
            page_default: 100,
            cursor_timeout_secs: None,
            documentation_uri: None,
        }
    }
}

/// The document of `/ServiceProviderConfig`. `base` is the absolute base URL without a slash at its end.
pub fn service_provider_config(capabilities: &Capabilities, base: &str) -> Value {
    let mut pagination = json!({
        "cursor": true,
        "index": true,
        "defaultPaginationMethod": "index",
        "defaultPageSize": capabilities.page_default,
        "maxPageSize": capabilities.page_max,
    });
    if let (Some(seconds), Some(pagination)) = (capabilities.cursor_timeout_secs, pagination.as_object_mut())
    {
        pagination.insert("cursorTimeout".to_owned(), seconds.into());
    }
    let mut document = json!({
        "schemas": [SERVICE_PROVIDER_CONFIG_URN],
        "patch": { "supported": true },
        "bulk": {
            "supported": true,
            "maxOperations": capabilities.bulk_operations_max,
            "maxPayloadSize": capabilities.bulk_payload_bytes_max,
        },
        "filter": { "supported": true, "maxResults": capabilities.page_max },
        "changePassword": { "supported": false },
        "sort": { "supported": true },
        "etag": { "supported": true },
        "pagination": pagination,
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth Bearer Token",
            "description": "A bearer token of one directory in the Authorization header",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    });
    if let (Some(uri), Some(document)) = (&capabilities.documentation_uri, document.as_object_mut()) {
        document.insert("documentationUri".to_owned(), uri.clone().into());
    }
    document
}

/// The document of `/ResourceTypes/<name>`.
pub fn resource_type(schema: &ResourceSchema, base: &str) -> Value {
    let name = schema.resource_type.as_str();
    let extensions: Vec<Value> = schema
        .extensions
        .iter()
        .map(|extension| json!({ "schema": extension.urn, "required": schema.is_required(&extension.urn) }))
        .collect();
    json!({
        "schemas": [RESOURCE_TYPE_URN],
        "id": name,
        "name": name,
        "description": schema.core.description,
        "endpoint": format!("/{}", schema.resource_type.endpoint()),
        "schema": schema.core.urn,
        "schemaExtensions": extensions,
        "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{name}") },
    })
}

/// The documents of `/ResourceTypes`, to be put into a list answer.
pub fn resource_types(registry: &Registry, base: &str) -> Vec<Value> {
    [ResourceType::User, ResourceType::Group]
        .into_iter()
        .map(|resource| resource_type(registry.resource(resource), base))
        .collect()
}

/// The document of `/Schemas/<urn>`, or nothing if there is no such schema. The URN is taken in any letter case.
pub fn schema(registry: &Registry, urn: &str, base: &str) -> Option<Value> {
    registry.schemas().into_iter().find(|schema| schema.is(urn)).map(|schema| document(schema, base))
}

/// The documents of `/Schemas`, to be put into a list answer.
pub fn schemas(registry: &Registry, base: &str) -> Vec<Value> {
    registry.schemas().into_iter().map(|schema| document(schema, base)).collect()
}

fn document(schema: &Schema, base: &str) -> Value {
    json!({
        "schemas": [SCHEMA_URN],
        "id": schema.urn,
        "name": schema.name,
        "description": schema.description,
        "attributes": schema.attributes,
        "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{}", schema.urn) },
    })
}
