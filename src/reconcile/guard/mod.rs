//! The limit on what may be taken away without a person's word (DESIGN §4, §6.6). Pure.
//!
//! INVARIANTS: the verdict on a removal is taken once, by the first [`judge`] that sees it, and the caller stores it
//! before acting on it. A held removal is released by a person, by `max_hold_then = "apply"` or by the identity
//! provider granting the entitlement again, and by nothing else. An addition never waits on a hold unless
//! `hold = "all"`.

pub mod book;
pub(crate) mod notify;
pub(crate) mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::{Doc, Entitlement, Verdict};
use crate::downstream::command::Argv;
use crate::downstream::webhook::SigningSecret;
use crate::mirror::target::{Holding, How, Passed};
use crate::model::{DirectoryId, RoleName, Seq, Subject, Timestamp};

use crate::reconcile::guard::book::{Book, Hold};
use crate::reconcile::plan::{self, Key, Wanted};

/// The limits of one target. Section `[guard]`, overridden by `[target.guard]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Key `max_removals`: over any one of them holds. Default `["10%", 500]`.
    pub max_removals: Vec<Limit>,
    /// Key `min_removals`: a plan under which fewer people lose something is never held. Default 5.
    pub min_removals: u64,
    /// Key `window`: removals add up over this time. Default 1 h, a minute to 30 days.
    pub window: Duration,
    /// Key `urgent`: people let through at once while a hold stands, counted anew for each hold. Default 5.
    pub urgent: u64,
    /// Key `hold`. Default `removals`.
    pub hold: Waits,
    /// Key `max_hold`: how long a hold waits for a person. Default 24 h, a minute to 30 days.
    pub max_hold: Duration,
    /// Key `max_hold_then`. Default `keep`.
    pub max_hold_then: AfterHold,
    /// Key `notify`: how people are told of a hold, once for each. Default none.
    pub notify: Option<Notify>,
}

/// How people are told of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    /// A command, with JSON on its standard input.
    Command(Argv),
    /// A signed webhook with the same JSON.
    Webhook {
        /// Where.
        url: String,
        /// Secrets to sign with.
        secrets: Vec<SigningSecret>,
        /// Plain http to any address.
        insecure: bool,
    },
}

/// One limit on removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of the entitlements that the target, a role there or a directory there holds.
    Percent(u8),
    /// Entitlements.
    Count(u64),
}

/// What waits while a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The held removals.
    Removals,
    /// Additions too.
    All,
}

/// What happens to a hold that nobody decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterHold {
    /// It stays.
    Keep,
    /// Its removals are applied.
    Apply,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_removals: vec![Limit::Percent(10), Limit::Count(500)],
            min_removals: 5,
            window: Duration::from_hours(1),
            urgent: 5,
            hold: Waits::Removals,
            max_hold: Duration::from_hours(24),
            max_hold_then: AfterHold::Keep,
            notify: None,
        }
    }
}

/// What a judgement is made from.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Now.
    pub now: Timestamp,
    /// The snapshot's change.
    pub seq: Seq,
    /// What the target holds.
    pub holdings: &'a [Holding],
    /// What it would hold if the guard kept nothing.
    pub base: &'a Wanted,
    /// Whether sync may never take this away.
    pub is_protected: &'a dyn Fn(&Key) -> bool,
    /// Who wants a removal; given also what is remembered of the user.
    pub wanted_by: &'a dyn Fn(&Key, &Doc) -> WantedBy,
}

/// Who wants a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedBy {
    /// An identity provider or a change of the configuration: what the guard is for.
    Sync,
    /// A person (`shut`, `grant revoke`, `subject release`) or the end that a person set (a grant's): it goes at once,
    /// whatever else is held, and counts for nothing.
    Word,
    /// Nobody: a re-baseline closed and the user was not named. It waits for a person, however few they are.
    Nobody,
}

/// What a judgement did besides what it wrote into the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Removals newly held.
    pub held: u64,
    /// Held removals released because `max_hold` ran out.
    pub expired: u64,
}

/// What a target holds, to look things up in.
type Keys<'a> = BTreeSet<(&'a Subject, &'a Entitlement)>;

/// Takes a verdict on every removal that has none yet, and lets go of verdicts that have had their time.
pub fn judge(guard: &Guard, book: &mut Book, scene: Scene<'_>) -> Judged {
    let held_keys: Keys<'_> = scene.holdings.iter().map(|one| (&one.subject, &one.entitlement)).collect();
    obey(book, scene);
    forget(guard, book, scene, &held_keys);
    let expired = expire(guard, book, scene.now);
    let mut fresh: Vec<&Holding> = Vec::new();
    let mut unwanted: Vec<&Holding> = Vec::new();
    for holding in scene.holdings {
        let key = plan::key_of(holding);
        if scene.base.contains_key(&key) || book.has(&key) {
            continue;
        }
        match (scene.wanted_by)(&key, &holding.attributes) {
            WantedBy::Word => {
                book.pass(Passed { holding: holding.clone(), at: scene.now, how: How::Approved });
            }
            WantedBy::Nobody => unwanted.push(holding),
            WantedBy::Sync if (scene.is_protected)(&key) => {
                book.keep(holding, Verdict::Protected, scene.seq, 0);
            }
            WantedBy::Sync => fresh.push(holding),
        }
    }
    let set_aside = set_aside(book, scene, &unwanted);
    // A hold that holds nothing only slows down; it ends once the window is quiet enough.
    let is_idle = book.hold.is_some() && book.held().next().is_none();
    if is_idle && !is_over(guard, book, scene, &held_keys, &[]) {
        book.hold = None;
    }
    let held = if fresh.is_empty() { 0 } else { decide(guard, book, scene, &held_keys, &fresh) };
    book.number_plan();
    Judged { held: held.saturating_add(set_aside), expired }
}

/// Lets go of what a person meanwhile wants gone, and judges anew what a re-baseline had set aside and the identity
/// provider has spoken of since.
fn obey(book: &mut Book, scene: Scene<'_>) {
    let mut said: Vec<Key> = Vec::new();
    book.exceptions.retain(|key, one| match (scene.wanted_by)(key, &one.attributes) {
        WantedBy::Word => {
            said.push(key.clone());
            true
        }
        WantedBy::Sync => !plan::is_unconfirmed(&one.attributes),
        WantedBy::Nobody => true,
    });
    if !said.is_empty() {
        book.release(scene.now, |one| said.contains(&(one.subject.clone(), one.entitlement.clone())));
    }
    if book.held().next().is_none() && book.hold.as_ref().is_some_and(|hold| hold.aside) {
        book.hold = None;
    }
}

/// Holds removals that nobody asked for. That hold is apart: it slows down nothing else.
fn set_aside(book: &mut Book, scene: Scene<'_>, unwanted: &[&Holding]) -> u64 {
    if unwanted.is_empty() {
        return 0;
    }
    book.hold.get_or_insert_with(|| Hold { aside: true, ..Hold::at(scene.now) });
    book.batch = book.batch.saturating_add(1);
    for holding in unwanted {
        let marked = plan::unconfirmed(holding);
        book.keep(&marked, Verdict::Held, scene.seq, book.batch);
    }
    unwanted.len() as u64
}

/// The verdict on removals that arrive together. Answers how many are held.
fn decide(guard: &Guard, book: &mut Book, scene: Scene<'_>, held_keys: &Keys<'_>, fresh: &[&Holding]) -> u64 {
    let people: BTreeSet<&Subject> = fresh.iter().map(|one| &one.subject).collect();
    let begins = !book.stands() && is_over(guard, book, scene, held_keys, fresh);
    if begins {
        book.hold = Some(Hold::at(scene.now));
    }
    let how = match book.hold.as_mut().filter(|hold| !hold.aside) {
        None => Some(How::Allowed),
        Some(hold) => {
            // All or none: which few of many would go first is not for the guard to pick. What trips the limit goes
            // through only if it would never be held by itself.
            let all: BTreeSet<Subject> =
                hold.urgent.iter().cloned().chain(people.iter().map(|&one| one.clone())).collect();
            let is_small = !begins || (people.len() as u64) < guard.min_removals;
            let fits = is_small && all.len() as u64 <= guard.urgent;
            if fits {
                hold.urgent = all;
            }
            fits.then_some(How::Urgent)
        }
    };
    if let Some(how) = how {
        for holding in fresh {
            book.pass(Passed { holding: (*holding).clone(), at: scene.now, how });
        }
        return 0;
    }
    book.batch = book.batch.saturating_add(1);
    for holding in fresh {
        book.keep(holding, Verdict::Held, scene.seq, book.batch);
    }
    fresh.len() as u64
}

/// Drops verdicts that are over: the identity provider grants it again, protection ended, the window passed.
fn forget(guard: &Guard, book: &mut Book, scene: Scene<'_>, held_keys: &Keys<'_>) {
    book.exceptions.retain(|key, one| {
        !scene.base.contains_key(key)
            && (one.verdict != Verdict::Protected
                || (held_keys.contains(&(&key.0, &key.1)) && (scene.is_protected)(key)))
    });
    let stands = book.stands();
    book.passed.retain(|key, one| {
        let is_pending = held_keys.contains(&(&key.0, &key.1));
        let counts = one.how != How::Approved && (stands || is_recent(guard, one, scene.now));
        !scene.base.contains_key(key) && (is_pending || counts)
    });
}

fn is_recent(guard: &Guard, one: &Passed, now: Timestamp) -> bool {
    now.since(one.at) < guard.window
}

/// Releases what nobody decided about in time, where the operator wants that.
fn expire(guard: &Guard, book: &mut Book, now: Timestamp) -> u64 {
    let is_due = deadline(guard, book).is_some_and(|at| at <= now);
    if is_due { book.release(now, |one| one.verdict == Verdict::Held) } else { 0 }
}

/// When `max_hold_then = "apply"` releases the hold that stands.
pub fn deadline(guard: &Guard, book: &Book) -> Option<Timestamp> {
    let hold = book.hold.as_ref().filter(|_| guard.max_hold_then == AfterHold::Apply)?;
    book.held().next().map(|_| hold.began.plus(guard.max_hold))
}

/// What removals are counted over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope<'a> {
    Target,
    Role(&'a RoleName),
    Directory(&'a DirectoryId),
}

fn scopes<'a>(subject: &'a Subject, entitlement: &'a Entitlement) -> impl Iterator<Item = Scope<'a>> {
    let role = match entitlement {
        Entitlement::Role(name) => Some(Scope::Role(name)),
        Entitlement::Group(..) => None,
    };
    [Scope::Target, Scope::Directory(&subject.directory)].into_iter().chain(role)
}

/// Whether what the window let through, with `fresh` added, is over a limit or empties a role or the target. What a
/// person approved does not count.
fn is_over(guard: &Guard, book: &Book, scene: Scene<'_>, held_keys: &Keys<'_>, fresh: &[&Holding]) -> bool {
    let recent: Vec<&Holding> = book
        .passed
        .values()
        .filter(|one| one.how != How::Approved && is_recent(guard, one, scene.now))
        .map(|one| &one.holding)
        .collect();
    let all = || recent.iter().chain(fresh).copied();
    let people: BTreeSet<&Subject> = all().map(|one| &one.subject).collect();
    if (people.len() as u64) < guard.min_removals {
        return false;
    }
    let mut lost: BTreeMap<Scope<'_>, u64> = BTreeMap::new();
    for scope in all().flat_map(|one| scopes(&one.subject, &one.entitlement)) {
        *lost.entry(scope).or_default() += 1;
    }
    let gone = recent.iter().copied().filter(|one| !held_keys.contains(&(&one.subject, &one.entitlement)));
    let mut total: BTreeMap<Scope<'_>, u64> = BTreeMap::new();
    for scope in scene.holdings.iter().chain(gone).flat_map(|one| scopes(&one.subject, &one.entitlement)) {
        *total.entry(scope).or_default() += 1;
    }
    let left: BTreeSet<Scope<'_>> = scene
        .base
        .keys()
        .chain(book.exceptions.keys())
        .flat_map(|(subject, entitlement)| scopes(subject, entitlement))
        .collect();
    lost.iter().any(|(scope, lost)| {
        let total = total.get(scope).copied().unwrap_or(0);
        let is_emptied = !matches!(scope, Scope::Directory(_)) && !left.contains(scope);
        is_emptied || guard.max_removals.iter().any(|limit| limit.is_passed(*lost, total))
    })
}

/// What counts over one target, role or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    /// `target`, `role` or `directory`.
    pub(crate) kind: &'static str,
    /// The role's or directory's name; empty for the target.
    pub(crate) name: String,
    /// Removals held, and let through before the hold by the window.
    pub(crate) lost: u64,
    /// Of how many.
    pub(crate) total: u64,
    /// Limits that this is over.
    pub(crate) over: Vec<Limit>,
    /// Nobody would be left.
    pub(crate) emptied: bool,
}

/// What stands behind a hold, as it counts now: what is held, and what went through within the window.
pub(crate) fn counts(guard: &Guard, book: &Book, holdings: &[Holding], now: Timestamp) -> Vec<Count> {
    let recent = book.passed.values().filter(|one| one.how != How::Approved && is_recent(guard, one, now));
    let recent: Vec<(&Subject, &Entitlement)> =
        recent.map(|one| (&one.holding.subject, &one.holding.entitlement)).collect();
    let held_keys: Keys<'_> = holdings.iter().map(|one| (&one.subject, &one.entitlement)).collect();
    let mut lost: BTreeMap<Scope<'_>, u64> = BTreeMap::new();
    let held = book.held().map(|one| (&one.subject, &one.entitlement));
    for scope in held.chain(recent.iter().copied()).flat_map(|(subject, what)| scopes(subject, what)) {
        *lost.entry(scope).or_default() += 1;
    }
    let mut total: BTreeMap<Scope<'_>, u64> = BTreeMap::new();
    let gone = recent.iter().copied().filter(|key| !held_keys.contains(key));
    for scope in held_keys.iter().copied().chain(gone).flat_map(|(subject, what)| scopes(subject, what)) {
        *total.entry(scope).or_default() += 1;
    }
    let count = |(scope, lost): (Scope<'_>, u64)| {
        let total = total.get(&scope).copied().unwrap_or(0).max(lost);
        let (kind, name) = match &scope {
            Scope::Target => ("target", String::new()),
            Scope::Role(role) => ("role", role.to_string()),
            Scope::Directory(id) => ("directory", id.to_string()),
        };
        let over = guard.max_removals.iter().copied().filter(|limit| limit.is_passed(lost, total)).collect();
        let emptied = lost >= total && !matches!(scope, Scope::Directory(_));
        Count { kind, name, lost, total, over, emptied }
    };
    lost.into_iter().map(count).collect()
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl Limit {
    /// Whether losing `lost` of `total` is over this limit.
    fn is_passed(self, lost: u64, total: u64) -> bool {
        match self {
            Self::Percent(percent) => lost.saturating_mul(100) > total.saturating_mul(u64::from(percent)),
            Self::Count(count) => lost > count,
        }
    }
}

#[cfg(test)]
mod tests;
