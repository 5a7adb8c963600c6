//! Users and groups as documents: a body becomes a [`Draft`], a stored document becomes an answer.

use serde_json::{Map, Value};

use crate::model::ResourceType;

/// A resource's canonical document: attribute names in the schema's spelling, values of the schema's types,
/// extensions under their canonical URN, unknown top-level attributes under their own names, nothing unassigned
/// (`null`, `[]`, `{}`). Not in it: `schemas`, `id`, `meta`, `password`, `groups` of a user, `members` of a group.
pub type Doc = Map<String, Value>;

/// A member as a client names it. The mirror resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRef {
    /// The id as sent; not yet known to be one of ours.
    pub value: String,
    /// The type, where the client says so.
    pub kind: Option<ResourceType>,
}
