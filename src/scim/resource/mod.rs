//! Users and groups as documents: a body becomes a [`Draft`], a stored document becomes an answer.
//!
//! INVARIANT: a draft of what [`render`] wrote is the document that was rendered, so that a client which sends
//! back what it read changes nothing.

mod draft;
mod member;
mod raw;
mod render;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use draft::{Draft, Mode, Rules, check_required, draft, merge_put, normalise};
pub use member::{GroupRef, MemberOut, MemberRef, members};
pub use render::{Meta, Resource, render};

/// A resource's canonical document: attribute names in the schema's spelling, values of the schema's types,
/// extensions under their canonical URN, unknown top-level attributes under their own names, nothing unassigned
/// (`null`, `[]`, `{}`). Not in it: `schemas`, `id`, `meta`, `password`, `groups` of a user, `members` of a group.
pub type Doc = Map<String, Value>;
