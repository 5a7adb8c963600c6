//! The function itself: entitlements with their reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Subject, Timestamp};

use super::{Entitlement, Facts, Problem, Role};

/// Why a subject holds an entitlement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The role names the first group; the last one has the user as direct member; between them the nesting.
    Group {
        /// From the role's group down.
        path: Arc<[ResourceId]>,
    },
    /// The role's filter is true for the user.
    Filter,
    /// For a group entitlement: from that group down to the one that has the user as direct member.
    Member {
        /// From the entitlement's group down.
        path: Arc<[ResourceId]>,
    },
}

/// Why a user counts for nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// Not active.
    Inactive,
    /// The name is outside the directory's claims.
    Unclaimed,
    /// The name belongs to this subject of an earlier directory.
    Owned(Subject),
}

/// Who holds what, at one `seq`.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The change up to which it holds.
    pub seq: Seq,
    /// Each subject that holds anything, with every entitlement and its reasons (sorted, at least one).
    pub held: BTreeMap<Subject, BTreeMap<Entitlement, Vec<Reason>>>,
    /// Users that count for nothing, and why.
    pub left_out: BTreeMap<Subject, LeftOut>,
    /// The groups each role resolved to.
    pub role_groups: BTreeMap<RoleName, BTreeSet<(DirectoryId, ResourceId)>>,
    /// Directories nobody has pushed to: unknown, so nothing of theirs may be pruned.
    pub unknown: BTreeSet<DirectoryId>,
    /// What an operator should know, sorted.
    pub problems: Vec<Problem>,
}

impl Access {
    /// Whether `subject` holds `entitlement`.
    pub fn holds(&self, subject: &Subject, entitlement: &Entitlement) -> bool {
        self.held.get(subject).is_some_and(|held| held.contains_key(entitlement))
    }
}

/// Who holds what, given `facts` and `roles`, at the moment `now` (for grants that expire).
pub fn access(facts: &Facts, roles: &[Role], now: Timestamp) -> Access {
    let _ = (roles, now);
    Access { seq: facts.seq, ..Access::default() }
}
