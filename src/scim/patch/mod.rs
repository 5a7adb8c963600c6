//! PATCH (RFC 7644 §3.5.2): a request is read by [`parse()`] and applied to one resource by [`apply()`].
//!
//! Strict: what identity providers write differently has been rewritten by [`crate::scim::dialect`] before. Pure: the
//! caller opens the transaction, hands the document in, and drops it if [`apply()`] fails. Members of a group
//! are never in the document; operations on them come out as [`MemberEdit`]s for the mirror's rows, so that a
//! PATCH of one member costs the same in a group of any size.

mod answer;
mod apply;
mod element;
mod member;
#[cfg(test)]
mod model_tests;
mod opaque;
mod request;
#[cfg(test)]
mod tests;
mod write;

pub use answer::{PatchAnswer, patch_answer};
pub use apply::apply;
pub use request::parse;

use serde_json::Value;

use super::filter::Bound;
use super::path::Path;
use super::resource::MemberRef;

/// The URN of a PATCH request (RFC 7644 §3.5.2).
pub const PATCH_URN: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// Most operations in one request.
pub const OPERATIONS_MAX: usize = 1_000;
/// Most JSON values in one request, counted over all operations.
pub const VALUES_MAX: usize = 200_000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchOp {
    /// RFC 7644 §3.5.2.1.
    Add,
    /// RFC 7644 §3.5.2.2.
    Remove,
    /// RFC 7644 §3.5.2.3.
    Replace,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub op: PatchOp,
    /// To what; `None` is the resource itself.
    pub path: Option<Path>,
    /// With what. `Some(Null)` is a null that was written.
    pub value: Option<Value>,
}

/// A PATCH request as read.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchRequest {
    /// In the order they are applied. May be empty: a success that changes nothing.
    pub operations: Vec<Operation>,
}

/// Where the RFC leaves freedom or a quirk needs the document at hand. Default: the RFC alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// A value path that matches nothing creates the element its `eq` comparisons describe (quirk
    /// `create-from-filter`), instead of 400 `noTarget`.
    pub create_from_filter: bool,
    /// `remove` of `members` with a value removes those members only (quirk `members-remove-by-value`), instead
    /// of all.
    pub members_remove_by_value: bool,
    /// A path to an attribute no schema knows is kept as opaque data (quirk `unknown-paths`), instead of 400
    /// `invalidPath`. A path-less value's unknown keys are always kept.
    pub keep_unknown_paths: bool,
    /// `remove` of `active` stores false (quirk `removed-active`), instead of leaving it unassigned.
    pub removed_active_is_false: bool,
}

/// What a request did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patched {
    /// The document differs from what it was.
    pub doc_changed: bool,
    /// What is to be done to the members, in this order.
    pub members: Vec<MemberEdit>,
    /// An element was created from its filter ([`Options::create_from_filter`] was needed).
    pub created_from_filter: bool,
    /// A path to an unknown attribute was taken ([`Options::keep_unknown_paths`] was needed).
    pub unknown_path: bool,
    /// A removed `active` became false ([`Options::removed_active_is_false`] was needed).
    pub removed_active: bool,
}

/// One change of a group's members. Adding who is in and removing who is not change nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum MemberEdit {
    /// These join.
    Add(Vec<MemberRef>),
    /// Those with these values leave.
    Remove(Vec<String>),
    /// Those that satisfy the filter leave. Bound as one element: its paths are `members.value` and
    /// `members.type`, outside any [`Bound::Element`].
    RemoveMatching(Bound),
    /// These are the members, nobody else. Empty: nobody.
    Replace(Vec<MemberRef>),
}
