//! What a webhook says: changes and differences of access as events.

use std::fmt;

/// Which events a webhook gets. Key `events`: names, or a prefix and `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter(Vec<String>);

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilterError {
    /// The pattern at fault.
    pub pattern: String,
}

impl fmt::Display for EventFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` matches no event; known: {}", self.pattern, KINDS.join(" "))
    }
}

impl std::error::Error for EventFilterError {}

/// Every event there is, sorted.
pub const KINDS: &[&str] = &[
    "access.granted",
    "access.revoked",
    "directory.added",
    "directory.disabled",
    "directory.enabled",
    "directory.removed",
    "directory.renamed",
    "group.created",
    "group.deleted",
    "group.group_added",
    "group.group_removed",
    "group.updated",
    "group.user_added",
    "group.user_removed",
    "user.created",
    "user.deactivated",
    "user.deleted",
    "user.reactivated",
    "user.updated",
];

impl EventFilter {
    /// The filter of these patterns: `*`, `user.*`, `access.granted`. Every pattern must match an event.
    ///
    /// # Errors
    /// The first pattern that matches none.
    pub fn parse(patterns: Vec<String>) -> Result<Self, EventFilterError> {
        for pattern in &patterns {
            if !KINDS.iter().any(|kind| is_match(pattern, kind)) {
                return Err(EventFilterError { pattern: pattern.clone() });
            }
        }
        Ok(Self(patterns))
    }

    /// Whether events of this kind are wanted.
    pub fn wants(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| is_match(pattern, kind))
    }

    /// Whether anything about access is wanted.
    pub fn wants_access(&self) -> bool {
        self.wants("access.granted") || self.wants("access.revoked")
    }
}

fn is_match(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && kind.starts_with(prefix),
        None => pattern == kind,
    }
}
