//! The difference between what a target holds and what it should hold, in words an operator can judge.

use serde::Serialize;

use crate::model::TargetName;

/// One target's plan, as `plan --json` shows it (DESIGN §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The target.
    pub name: TargetName,
    /// SHA-256 over the sorted held removals, in hex; the same while they are the same.
    pub hash: String,
    /// Whether anything is held.
    pub held: bool,
    /// Entitlements that would come.
    pub add: Vec<Line>,
    /// Entitlements that would go.
    pub remove: Vec<Line>,
    /// Entitlements whose removal is held.
    pub held_removals: Vec<Line>,
    /// Subjects shown under another name.
    pub change: Vec<Rename>,
    /// Entitlements the target should hold.
    pub total: u64,
}

/// One subject and one entitlement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// The subject's name at this target.
    pub subject: String,
    /// The subject, `DIRECTORY/ID`.
    pub id: String,
    /// `role:NAME` or `group:DIRECTORY/ID`.
    pub entitlement: String,
    /// The entitlement's name at this target.
    pub label: String,
    /// Why, in words.
    pub why: String,
}

/// One subject under a new name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rename {
    /// The name so far.
    pub from: String,
    /// The name to come.
    pub to: String,
    /// The subject, `DIRECTORY/ID`.
    pub id: String,
}
