//! Why removals are held, and which, for the person who decides: the hold, the limits, what counts against them, and
//! the held removals by person. Blocking; decides nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::mirror::target::Holding;
use crate::mirror::{Mirror, ReadTx, StoreError, target};
use crate::model::{Seq, TargetName, Timestamp};

use super::guard::book::Book;
use super::guard::{self, AfterHold, Guard, Waits};
use super::plan::Plan;
use super::record;
use super::settings::TargetSettings;
use super::status::rfc3339;

/// Everything about what one target holds back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The target.
    pub target: TargetName,
    /// Hash of the removals held now; what `approve` takes.
    pub hash: String,
    /// Removals held.
    pub removals: u64,
    /// People of whom something is held.
    pub people: u64,
    /// When the hold began; `None` while nothing is held.
    #[serde(serialize_with = "rfc3339")]
    pub since: Option<Timestamp>,
    /// When `max_hold_then = "apply"` lets them go without a person's word.
    #[serde(serialize_with = "rfc3339")]
    pub until: Option<Timestamp>,
    /// It holds only what a re-baseline found.
    pub set_aside: bool,
    /// People let through at once since it began.
    pub let_through: u64,
    /// Removals that went through within the window and count with these; `reject` with `window` gives them back.
    pub in_window: u64,
    /// What the limits are.
    pub limits: Limits,
    /// What counts against them: the target, and each role and directory concerned.
    pub scopes: Vec<Scope>,
    /// The people.
    pub persons: Vec<HeldPerson>,
}

/// The guard of a target, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `10%`, `500` …
    pub max_removals: Vec<String>,
    /// A plan under which fewer people lose something is never held.
    pub min_removals: u64,
    /// Removals add up over this time.
    pub window_seconds: u64,
    /// People let through at once while a hold stands.
    pub urgent: u64,
    /// `removals` or `all`.
    pub hold: &'static str,
    /// How long a hold waits.
    pub max_hold_seconds: u64,
    /// `keep` or `apply`.
    pub max_hold_then: &'static str,
}

/// One thing removals are counted over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// `target`, `role` or `directory`.
    pub kind: &'static str,
    /// The role's or directory's name; empty for the target.
    pub name: String,
    /// Removals held, and let through within the window.
    pub lost: u64,
    /// Of how many.
    pub total: u64,
    /// Limits that this is over.
    pub over: Vec<String>,
    /// Nobody would be left.
    pub emptied: bool,
}

/// One person of whom something is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldPerson {
    /// The name at this target.
    pub subject: String,
    /// `DIRECTORY/ID`.
    pub id: String,
    /// What is held.
    pub removals: Vec<HeldLine>,
    /// Something of it was held later than the plan asked about.
    pub new: bool,
}

/// One held removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldLine {
    /// `role:NAME` or `group:DIRECTORY/ID`.
    pub entitlement: String,
    /// Its name at this target.
    pub label: String,
    /// Why it would go, in words.
    pub why: String,
    /// The change whose removal this is.
    pub seq: Option<Seq>,
    /// When that change was made.
    #[serde(serialize_with = "rfc3339")]
    pub at: Option<Timestamp>,
}

/// What `plan` holds back, with what the guard's book knows of it. `seen`: the hash of a plan somebody was shown.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(crate) fn held(
    mirror: &Mirror,
    settings: &TargetSettings,
    plan: &Plan,
    seen: Option<&str>,
    now: Timestamp,
) -> Result<Held, StoreError> {
    let stored = record::load(mirror, &settings.name)?;
    let (book, guard) = (&stored.book, &settings.guard);
    let seen =
        seen.and_then(|hash| book.plans.iter().rev().find(|(known, _)| known == hash)).map(|(_, n)| *n);
    let mut known: BTreeMap<(String, String), (Seq, u64)> = BTreeMap::new();
    for one in book.held() {
        known.insert((one.subject.to_string(), one.entitlement.to_string()), (one.since, one.batch));
    }
    let times = mirror.read(|tx: &mut ReadTx<'_>| target::exception_times(tx, &settings.name))?;
    let mut persons: BTreeMap<(&str, &str), HeldPerson> = BTreeMap::new();
    for line in &plan.held_removals {
        let found = known.get(&(line.id.clone(), line.entitlement.clone()));
        let person = persons.entry((&line.subject, &line.id)).or_insert_with(|| HeldPerson {
            subject: line.subject.clone(),
            id: line.id.clone(),
            removals: Vec::new(),
            new: false,
        });
        person.new |= seen.is_some_and(|seen| found.is_none_or(|(_, batch)| *batch > seen));
        person.removals.push(HeldLine {
            entitlement: line.entitlement.clone(),
            label: line.label.clone(),
            why: line.why.clone(),
            seq: found.map(|(seq, _)| *seq),
            at: found.and_then(|(seq, _)| times.get(seq).copied()),
        });
    }
    let is_held = plan.held;
    let hold = book.hold.as_ref().filter(|_| is_held);
    Ok(Held {
        target: settings.name.clone(),
        hash: plan.hash.clone(),
        removals: plan.held_removals.len() as u64,
        people: persons.len() as u64,
        since: hold.map(|hold| hold.began),
        until: guard::deadline(guard, book),
        set_aside: hold.is_some_and(|hold| hold.aside),
        let_through: hold.map_or(0, |hold| hold.urgent.len() as u64),
        in_window: hold.map_or(0, |hold| book.given_back(guard, hold.began).count() as u64),
        limits: limits(guard),
        scopes: if is_held { scopes(guard, book, &stored.holdings, now) } else { Vec::new() },
        persons: persons.into_values().collect(),
    })
}

fn limits(guard: &Guard) -> Limits {
    Limits {
        max_removals: guard.max_removals.iter().map(ToString::to_string).collect(),
        min_removals: guard.min_removals,
        window_seconds: guard.window.as_secs(),
        urgent: guard.urgent,
        hold: match guard.hold {
            Waits::Removals => "removals",
            Waits::All => "all",
        },
        max_hold_seconds: guard.max_hold.as_secs(),
        max_hold_then: match guard.max_hold_then {
            AfterHold::Keep => "keep",
            AfterHold::Apply => "apply",
        },
    }
}

/// What counts, the worst first.
fn scopes(guard: &Guard, book: &Book, holdings: &[Holding], now: Timestamp) -> Vec<Scope> {
    let mut all: Vec<Scope> = guard::counts(guard, book, holdings, now)
        .into_iter()
        .map(|one| Scope {
            kind: one.kind,
            name: one.name,
            lost: one.lost,
            total: one.total,
            over: one.over.iter().map(ToString::to_string).collect(),
            emptied: one.emptied,
        })
        .collect();
    all.sort_by_key(|one| (one.over.is_empty() && !one.emptied, std::cmp::Reverse(one.lost)));
    all
}
