//! Which events a target gets: patterns over their types, and a SCIM filter over the users they are about.

use std::fmt;

use serde_json::{Map, Value};

use crate::access::{UserFacts, UserFilter};
use crate::model::Timestamp;

use super::kind::{KINDS, Kind};
use super::names::Names;
use super::{Event, Person};

/// Which events a target gets. Keys `events` (names, or a prefix and `*`) and `filter`.
#[derive(Debug, Clone)]
pub struct EventFilter {
    patterns: Vec<String>,
    users: Option<UserFilter>,
    is_possible: fn(Kind) -> bool,
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        let text = |one: &Self| one.users.as_ref().map(|users| users.text.clone());
        self.patterns == other.patterns && text(self) == text(other)
    }
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilterError {
    /// The pattern at fault.
    pub pattern: String,
}

impl fmt::Display for EventFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
        write!(f, "`{}` matches no event; known: {}", self.pattern, words.join(" "))
    }
}

impl std::error::Error for EventFilterError {}

impl EventFilter {
    /// The filter of these patterns: `*`, `user.*`, `access.granted`. Every pattern must match an event.
    ///
    /// # Errors
    /// The first pattern that matches none.
    pub fn parse(patterns: Vec<String>) -> Result<Self, EventFilterError> {
        for pattern in &patterns {
            if !KINDS.iter().any(|kind| is_match(pattern, kind.as_str())) {
                return Err(EventFilterError { pattern: pattern.clone() });
            }
        }
        Ok(Self { patterns, users: None, is_possible: |_| true })
    }

    /// The same, less the events about users that the SCIM filter does not want.
    #[must_use]
    pub fn of_users(self, users: Option<UserFilter>) -> Self {
        Self { users, ..self }
    }

    /// The same, less the types that the target's form cannot say.
    #[must_use]
    pub fn of_kinds(self, is_possible: fn(Kind) -> bool) -> Self {
        Self { is_possible, ..self }
    }

    /// Whether events of this type are wanted. A snapshot holds whatever family one event is wanted of.
    pub fn wants(&self, kind: Kind) -> bool {
        let named = |kind: Kind| self.patterns.iter().any(|pattern| is_match(pattern, kind.as_str()));
        (self.is_possible)(kind)
            && match kind {
                Kind::SnapshotStarted | Kind::SnapshotFinished => true,
                _ if kind.is_snapshot() => {
                    KINDS.iter().any(|other| other.family() == kind.family() && named(*other))
                }
                _ => named(kind),
            }
    }

    /// Whether anything about access is wanted.
    pub fn wants_access(&self) -> bool {
        self.wants(Kind::AccessGranted) || self.wants(Kind::AccessRevoked)
    }

    /// Whether anything about users, groups or memberships as they change is wanted.
    pub fn wants_resources(&self) -> bool {
        KINDS
            .iter()
            .any(|kind| !kind.is_snapshot() && matches!(kind.family(), "user" | "group") && self.wants(*kind))
    }

    /// Every type that is wanted.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        KINDS.iter().copied().filter(|kind| self.wants(*kind))
    }

    /// Whether this event is wanted: its type is, and the user it is about satisfies the SCIM filter as the user is
    /// now, or was before or is after this change. An event about no user passes. So does one that takes away from a
    /// user who is no longer there, for nothing is left to judge by; one that gives to such a user does not.
    pub fn passes(&self, event: &Event, names: &Names<'_>) -> bool {
        if !self.wants(event.kind) {
            return false;
        }
        let (Some(filter), Some(person)) = (&self.users, &event.person) else { return true };
        let known = names.user(person.user);
        let states = states(person, known);
        if states.is_empty() {
            return !matches!(event.kind, Kind::AccessGranted | Kind::GroupUserAdded | Kind::UserCreated);
        }
        let groups = names.groups_of(person.user);
        states.iter().any(|state| filter.is_true_for(state, groups))
    }
}

/// The user as far as it is known: now, and as the change left it and found it.
fn states(person: &Person, known: Option<&UserFacts>) -> Vec<UserFacts> {
    let mut states: Vec<UserFacts> = known.into_iter().cloned().collect();
    let base = known.map(|user| (*user.doc).clone()).unwrap_or_default();
    for values in [&person.after, &person.before].into_iter().flatten() {
        let mut doc = base.clone();
        // What the change knows of one side only was absent on the other.
        for other in [&person.after, &person.before].into_iter().flatten() {
            doc.retain(|name, _| !other.contains_key(name));
        }
        doc.extend(values.clone());
        states.push(of_doc(person, doc, known));
    }
    states
}

fn of_doc(person: &Person, doc: Map<String, Value>, known: Option<&UserFacts>) -> UserFacts {
    UserFacts {
        id: person.user,
        active: doc.get("active").and_then(Value::as_bool).unwrap_or(false),
        user_name: doc.get("userName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        doc: std::sync::Arc::new(doc),
        created: known.map_or(Timestamp(0), |user| user.created),
        last_modified: known.map_or(Timestamp(0), |user| user.last_modified),
    }
}

fn is_match(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && kind.starts_with(prefix),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_a_prefix_and_a_star() {
        let filter = EventFilter::parse(vec!["access.*".into(), "user.created".into()]).unwrap();
        assert!(
            filter.wants(Kind::AccessGranted) && filter.wants(Kind::UserCreated) && filter.wants_access()
        );
        assert!(!filter.wants(Kind::UserDeleted));
        assert!(filter.wants(Kind::UserSnapshot), "the snapshot of a family one event is wanted of");
        assert!(!filter.wants(Kind::GroupSnapshot));
        assert!(EventFilter::parse(vec!["*".into()]).unwrap().wants(Kind::GroupUserAdded));
        for bad in ["user", "us*", "user.creatd", ""] {
            assert!(EventFilter::parse(vec![bad.into()]).is_err(), "{bad}");
        }
    }
}
