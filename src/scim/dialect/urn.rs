//! URNs, and paths that begin with them, in the spelling of SCIM 2.0.

use super::{Quirk, Quirks, Used};
use crate::model::ResourceType;
use crate::scim::schema::{ENTERPRISE_USER_URN, ResourceSchema};

/// Old and invented URNs of the core schemas; longest first.
const CORE: [&str; 4] = [
    "urn:scim:schemas:core:2.0:User",
    "urn:scim:schemas:core:2.0:Group",
    "urn:scim:schemas:core:2.0",
    "urn:scim:schemas:core:1.0",
];
/// Old and invented URNs of the enterprise extension; longest first.
const ENTERPRISE: [&str; 4] = [
    "urn:scim:schemas:extension:enterprise:2.0:User",
    "urn:scim:schemas:extension:enterprise:1.0:User",
    "urn:scim:schemas:extension:enterprise:2.0",
    "urn:scim:schemas:extension:enterprise:1.0",
];

/// `text` with an old URN at its start replaced by today's; `None` if it has none.
pub(super) fn modern(text: &str, schema: &ResourceSchema) -> Option<String> {
    let swapped = |old: &[&str], new: &str| {
        old.iter().find_map(|old| {
            let head = text.get(..old.len())?;
            let tail = text.get(old.len()..)?;
            let ends = tail.is_empty() || tail.starts_with([':', '.']);
            (ends && head.eq_ignore_ascii_case(old)).then(|| format!("{new}{tail}"))
        })
    };
    let enterprise = || {
        let has_it = schema.resource_type == ResourceType::User;
        has_it.then(|| swapped(&ENTERPRISE, ENTERPRISE_USER_URN)).flatten()
    };
    swapped(&CORE, &schema.core.urn).or_else(enterprise)
}

/// Brings a path, or a key that is one, into the form the core reads.
pub(super) fn rewrite(text: &mut String, quirks: Quirks, schema: &ResourceSchema, used: &mut Used) {
    if quirks.has(Quirk::LegacyUrns)
        && let Some(new) = modern(text, schema)
    {
        *text = new;
        used.insert(Quirk::LegacyUrns);
    }
    if quirks.has(Quirk::UrnDot)
        && let Some(new) = without_dot(text, schema)
    {
        *text = new;
        used.insert(Quirk::UrnDot);
    }
    if quirks.has(Quirk::ManagerWithoutUrn) && is_bare_manager(text, schema) {
        *text = format!("{ENTERPRISE_USER_URN}:{text}");
        used.insert(Quirk::ManagerWithoutUrn);
    }
}

/// `urn:…:User.department` with a colon instead of the dot.
fn without_dot(text: &str, schema: &ResourceSchema) -> Option<String> {
    std::iter::once(&schema.core).chain(&schema.extensions).find_map(|known| {
        let head = text.get(..known.urn.len())?;
        let tail = text.get(known.urn.len()..)?.strip_prefix('.')?;
        known.is(head).then(|| format!("{}:{tail}", known.urn))
    })
}

/// `manager`, alone or followed by a sub-attribute or a filter, on a user whose own attributes have no such name.
pub(super) fn is_bare_manager(text: &str, schema: &ResourceSchema) -> bool {
    let name = text.split(['.', '[']).next().unwrap_or_default();
    name.eq_ignore_ascii_case("manager")
        && schema.attribute("manager").is_none()
        && schema.extension(ENTERPRISE_USER_URN).is_some()
}
