//! Schemas as data (RFC 7643 §2, §7): what an attribute is called, what type it has, who may write it and when
//! it is returned. The validator, the filters, PATCH and discovery all read these; none of them knows an
//! attribute by heart except `active`, `members` and `password`, whose rules the RFCs themselves write out.
//!
//! Names and URNs compare without regard to ASCII letter case (RFC 7643 §2.1, RFC 7644 §3.10).

mod attribute;
mod discovery;
mod registry;
mod standard;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, DataType, Mutability, Returned, Schema, Uniqueness};
pub use discovery::{
    Capabilities, RESOURCE_TYPE_URN, SCHEMA_URN, SERVICE_PROVIDER_CONFIG_URN, resource_type, resource_types,
    schema, schemas, service_provider_config,
};
pub use registry::{Extension, Found, Registry, ResourceSchema, SchemaError};
pub use standard::{CORE_GROUP_URN, CORE_USER_URN, ENTERPRISE_USER_URN};
