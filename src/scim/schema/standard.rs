//! The schemas of RFC 7643 §3.1, §4.1, §4.2 and §4.3, embedded as data. Characteristics are those of §8.7.1; where
//! that and the text of §3 and §4 differ the text counts: a group's `displayName` is required, nothing of a
//! `manager` is, and what holds an id or an address regards letter case, as `id` does.

use std::sync::{Arc, LazyLock};

use super::{Attribute, Returned, Schema};

/// The URN of the core User (RFC 7643 §4.1).
pub const CORE_USER_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The URN of the core Group (RFC 7643 §4.2).
pub const CORE_GROUP_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The URN of the enterprise extension of User (RFC 7643 §4.3).
pub const ENTERPRISE_USER_URN: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

static USER: LazyLock<Arc<Schema>> = LazyLock::new(|| embedded(include_str!("data/user.json")));
static GROUP: LazyLock<Arc<Schema>> = LazyLock::new(|| embedded(include_str!("data/group.json")));
static ENTERPRISE: LazyLock<Arc<Schema>> =
    LazyLock::new(|| embedded(include_str!("data/enterprise_user.json")));
static COMMON: LazyLock<Arc<Schema>> = LazyLock::new(|| embedded(include_str!("data/common.json")));

#[expect(clippy::expect_used, reason = "the text is part of the program and every one is parsed by a test")]
fn embedded(text: &str) -> Arc<Schema> {
    Arc::new(serde_json::from_str(text).expect("an embedded schema parses"))
}

/// The core User.
pub(super) fn user() -> Arc<Schema> {
    Arc::clone(&USER)
}

/// The core Group.
pub(super) fn group() -> Arc<Schema> {
    Arc::clone(&GROUP)
}

/// The enterprise extension of User.
pub(super) fn enterprise_user() -> Arc<Schema> {
    Arc::clone(&ENTERPRISE)
}

/// `schemas`, `id`, `externalId`, `meta` (RFC 7643 §3, §3.1). Not a schema that discovery shows.
pub(super) fn common() -> Arc<Schema> {
    Arc::clone(&COMMON)
}

/// True if one of the attributes is stored in documents and not returned by default; `password` and the members of
/// a group are not in them.
pub(super) fn hides(schema: &Schema) -> bool {
    let hidden = |one: &Attribute| matches!(one.returned, Returned::Never | Returned::Request);
    let is_group = schema.is(CORE_GROUP_URN);
    schema.attributes.iter().any(|attribute| {
        let elsewhere = attribute.is("password") || (is_group && attribute.is("members"));
        !elsewhere && (hidden(attribute) || attribute.sub_attributes.iter().any(hidden))
    })
}
