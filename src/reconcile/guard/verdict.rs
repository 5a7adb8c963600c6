//! The guard at work in a run, and people's decisions: judges, stores, and only then lets the run act. Blocking.
//!
//! INVARIANT: verdicts, exceptions, the hold, the record of the run that took them and the change that tells of them
//! are one transaction, and it is durable before anything of the target is touched. A crash before it leaves the
//! removals to be judged again, a crash after it leaves them judged; neither applies what is held nor forgets it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::access::{Doc, Entitlement, LeftOut, Release};
use crate::mirror::change::Kind;
use crate::mirror::target::{self, Holding, Run};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, decision, history, restored};
use crate::model::{Origin, RoleName, Seq, Subject, TargetName, Timestamp};

use crate::reconcile::guard::book::{Book, Decided, Decision, Refused};
use crate::reconcile::guard::{self, Guard, Judged, Scene, WantedBy};
use crate::reconcile::plan::{Key, Wanted};
use crate::reconcile::record::{self, RUNS_KEPT, Stored};
use crate::reconcile::settings::{TargetKind, TargetSettings};
use crate::reconcile::snapshot::Snapshot;
use crate::scim::filter::fold;

/// What the rest of the program is told of the guard after a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Guarded {
    /// Removals held.
    pub(crate) held: u64,
    /// Removals released in this run because `max_hold` ran out.
    pub(crate) expired: u64,
    /// When the hold is released by itself, if it is.
    pub(crate) until: Option<Timestamp>,
    /// The hold that stands and holds something.
    pub(crate) notice: Option<Notice>,
}

/// What is said about a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// When it began.
    pub(crate) began: Timestamp,
    /// The hash of its plan.
    pub(crate) plan: String,
    /// Removals it holds.
    pub(crate) held: u64,
    /// People who would lose something.
    pub(crate) people: u64,
    /// Names of the first of them.
    pub(crate) first: Vec<String>,
    /// Whether `notify` ran for it already.
    pub(crate) told: bool,
}

impl Notice {
    /// What `notify` gets on its standard input.
    pub(crate) fn json(&self, target: &TargetName) -> serde_json::Value {
        json!({
            "type": "guard.held",
            "target": target,
            "plan": self.plan,
            "held_removals": self.held,
            "people": self.people,
            "first": self.first,
            "since": self.began.to_string(),
            "approve": format!("rosterd approve {target} --plan {}", self.plan),
            "reject": format!("rosterd reject {target}"),
        })
    }
}

/// Names in a [`Notice`].
const NAMES_MAX: usize = 10;

/// The book as it will be once the guard has looked at this snapshot. Touches nothing.
pub(crate) fn judged(
    mirror: &Mirror,
    settings: &TargetSettings,
    snapshot: &Snapshot,
    stored: &Stored,
    base: &Wanted,
    now: Timestamp,
) -> Result<(Book, Judged), StoreError> {
    let mut book = stored.book.clone();
    let is_protected = |key: &Key| is_protected(snapshot, key);
    // A webhook speaks of roles, of memberships, or of both.
    let spoken_of: Vec<Holding>;
    let holdings = match &settings.kind {
        TargetKind::File(_) => &stored.holdings,
        TargetKind::Webhook(webhook) => {
            let guarded = stored.holdings.iter().filter(|one| webhook.guards(&one.entitlement));
            spoken_of = guarded.cloned().collect();
            &spoken_of
        }
    };
    let words = Words::read(mirror, settings, snapshot, stored, now)?;
    let wanted_by = |key: &Key, user: &Doc| words.wanted_by(key, user);
    let (is_protected, wanted_by): (&dyn Fn(&Key) -> bool, _) = (&is_protected, &wanted_by);
    let scene = Scene { now, seq: snapshot.seq(), holdings, base, is_protected, wanted_by };
    let judged = guard::judge(&settings.guard, &mut book, scene);
    Ok((book, judged))
}

/// The change up to which the target holds what it should.
pub(crate) fn told_up_to(settings: &TargetSettings, stored: &Stored) -> Seq {
    let saved = stored.saved.as_ref();
    let seq = match &settings.kind {
        TargetKind::File(_) => saved.and_then(|saved| saved.applied).map(|id| id.seq),
        TargetKind::Webhook(_) => saved.map(|saved| saved.cursor),
    };
    seq.unwrap_or(Seq::ZERO)
}

/// Who wants each removal of a target that was told everything up to a change.
pub(crate) struct Words<'a> {
    snapshot: &'a Snapshot,
    /// Roles that a grant gave and that end with it, nothing of the identity provider's having come after.
    ended: BTreeSet<(&'a Subject, &'a RoleName)>,
}

impl<'a> Words<'a> {
    /// Looks into the log for grants that ended since the target was told; reads nothing where none did.
    pub(crate) fn read(
        mirror: &Mirror,
        settings: &TargetSettings,
        snapshot: &'a Snapshot,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let (since, to) = (told_up_to(settings, stored), snapshot.seq());
        let mut ends: BTreeMap<(&Subject, &RoleName), Seq> = BTreeMap::new();
        for grant in snapshot.facts.grants.iter().filter(|grant| !grant.is_live(now)) {
            // One whose end is not in the log yet ended after everything that is.
            let at = grant.ended.unwrap_or(to);
            if at > since || grant.ended.is_none() {
                let last = ends.entry((&grant.subject, &grant.role)).or_insert(at);
                *last = at.max(*last);
            }
        }
        let mut ended = BTreeSet::new();
        for ((subject, role), from) in ends {
            // Whoever spoke last took it: where that was the identity provider, it is for the guard to judge.
            let lost = mirror.read(|tx: &mut ReadTx<'_>| {
                let groups = snapshot.access.role_groups.get(role);
                let filtered =
                    snapshot.rules.roles.iter().any(|one| one.name == *role && one.users.is_some());
                history::lost_by_sync(tx, &snapshot.facts, (groups, filtered), subject, (from, to))
            })?;
            if !lost {
                ended.insert((subject, role));
            }
        }
        Ok(Self { snapshot, ended })
    }

    /// Who wants this removal.
    pub(crate) fn wanted_by(&self, (subject, entitlement): &Key, user: &Doc) -> WantedBy {
        let (facts, access) = (&self.snapshot.facts, &self.snapshot.access);
        let name = user.get("userName").and_then(serde_json::Value::as_str);
        if is_shut(self.snapshot, subject, user) {
            return WantedBy::Word;
        }
        match access.left_out.get(subject) {
            Some(LeftOut::Unconfirmed) => return WantedBy::Nobody,
            Some(LeftOut::Owned(_)) => {
                let user_name_key = name.map(fold).unwrap_or_default();
                let release = Release { directory: subject.directory.clone(), user_name_key };
                return if facts.released.contains(&release) { WantedBy::Word } else { WantedBy::Sync };
            }
            Some(_) => return WantedBy::Sync,
            None => {}
        }
        let Entitlement::Role(role) = entitlement else { return WantedBy::Sync };
        let exists = facts
            .directory(&subject.directory)
            .is_some_and(|directory| directory.users.iter().any(|user| user.id == subject.user));
        if exists && self.ended.contains(&(subject, role)) { WantedBy::Word } else { WantedBy::Sync }
    }
}

/// Whether the user is shut out, also one that only a target remembers.
pub(crate) fn is_shut(snapshot: &Snapshot, subject: &Subject, user: &Doc) -> bool {
    let name = user.get("userName").and_then(serde_json::Value::as_str);
    snapshot.facts.shut(subject, name).is_some()
}

/// A protected role is never taken away by sync; who is inactive, deleted or another's holds nothing all the same
/// (DESIGN §6.5).
fn is_protected(snapshot: &Snapshot, (subject, entitlement): &Key) -> bool {
    let Entitlement::Role(name) = entitlement else { return false };
    let is_protected = snapshot.rules.roles.iter().any(|role| role.protected && role.name == *name);
    is_protected
        && !snapshot.access.left_out.contains_key(subject)
        && snapshot
            .facts
            .directory(&subject.directory)
            .is_some_and(|directory| directory.users.iter().any(|user| user.id == subject.user))
}

/// Judges and stores; from here on `stored.book` is what counts.
pub(crate) fn take(
    mirror: &Mirror,
    settings: &TargetSettings,
    snapshot: &Snapshot,
    stored: &mut Stored,
    base: &Wanted,
    now: Timestamp,
) -> Result<Guarded, StoreError> {
    let (after, judged) = judged(mirror, settings, snapshot, stored, base, now)?;
    if after != stored.book {
        let before = std::mem::replace(&mut stored.book, after.clone());
        let (name, seq) = (settings.name.clone(), snapshot.seq());
        record::update(mirror, &settings.name, move |tx, saved| {
            record::save_book(tx, &name, saved, &before, &after)?;
            note(tx, &name, &after, judged, (seq, now))
        })?;
    }
    Ok(Guarded { expired: judged.expired, ..told(&settings.guard, &stored.book) })
}

/// Records what a judgement held or released of itself: a run, and a change with a number.
fn note(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    book: &Book,
    judged: Judged,
    (seq, now): (Seq, Timestamp),
) -> Result<(), StoreError> {
    if judged.expired > 0 {
        let detail = json!({"released": judged.expired, "why": "max_hold ran out"});
        decision::record(tx, &Kind::GuardApproved, name, &detail)?;
    }
    if judged.held == 0 {
        return Ok(());
    }
    let held = book.held_count();
    let detail = json!({"plan": book.hash(), "newly_held": judged.held, "held": held});
    decision::record(tx, &Kind::GuardHeld, name, &detail)?;
    let run = Run {
        id: 0,
        target: name.clone(),
        started_at: now,
        finished_at: now,
        seq,
        outcome: "held".to_owned(),
        added: 0,
        removed: 0,
        changed: 0,
        held,
        error: None,
        detail,
    };
    target::record_run(tx, &run, RUNS_KEPT).map(|_| ())
}

/// What is to be said of `book`.
fn told(guard: &Guard, book: &Book) -> Guarded {
    let people: BTreeSet<&Subject> = book.held().map(|one| &one.subject).collect();
    let names: BTreeSet<&str> = book.held().map(|one| one.name.as_str()).collect();
    let held = book.held_count();
    let notice = book.hold.as_ref().filter(|_| held > 0).map(|hold| Notice {
        began: hold.began,
        plan: book.hash(),
        held,
        people: people.len() as u64,
        first: names.into_iter().take(NAMES_MAX).map(str::to_owned).collect(),
        told: hold.told,
    });
    Guarded { held, expired: 0, until: guard::deadline(guard, book), notice }
}

/// Remembers that people were told of the hold that began then.
pub(crate) fn mark_told(mirror: &Mirror, name: &TargetName, began: Timestamp) -> Result<(), StoreError> {
    let target = name.clone();
    record::update(mirror, name, move |tx, saved| {
        let before = record::book_in(tx, &target, Some(saved))?;
        let mut after = before.clone();
        if let Some(hold) = after.hold.as_mut().filter(|hold| hold.began == began) {
            hold.told = true;
        }
        record::save_book(tx, &target, saved, &before, &after)
    })
}

/// Why a decision came to nothing.
#[derive(Debug)]
pub(crate) enum DecideError {
    Refused(Refused),
    Store(StoreError),
}

impl From<StoreError> for DecideError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The people let out one by one, as `DIRECTORY/ID`; none where a whole plan went.
fn released(asked: &[String], before: &Book, after: &Book) -> Vec<String> {
    let gone = before.exceptions.keys().filter(|key| !after.exceptions.contains_key(key));
    let people: BTreeSet<&Subject> = gone.filter(|_| !asked.is_empty()).map(|(subject, _)| subject).collect();
    people.into_iter().map(ToString::to_string).collect()
}

/// Carries out a person's decision: the book, the change that names who and when, in one transaction. What follows
/// from it is the next run's. Answers what was done, how many are held still, and the change.
pub(crate) fn decide(
    mirror: &Mirror,
    settings: &TargetSettings,
    (decision, reason): (Decision, Option<String>),
    origin: Origin,
) -> Result<(Decided, u64, Seq), DecideError> {
    let (name, guard) = (settings.name.clone(), settings.guard.clone());
    mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| {
        let mut saved = target::state(tx, &name)?.unwrap_or_default();
        if decision == Decision::Restored {
            if restored::flag(&saved).is_none() {
                return Err(DecideError::Refused(Refused::NotRestored));
            }
            restored::set(&mut saved, Some(restored::Flag::Approved));
        }
        let before = record::book_in(tx, &name, Some(&saved))?;
        let mut after = before.clone();
        let decided = after.decide(&guard, &decision, tx.now()).map_err(DecideError::Refused)?;
        record::save_book(tx, &name, &mut saved, &before, &after)?;
        target::save_state(tx, &name, &saved)?;
        let (kind, mut detail) = match &decision {
            Decision::Approve { plan, subjects } => (
                Kind::GuardApproved,
                json!({"plan": plan, "subjects": released(subjects, &before, &after), "released": decided.released}),
            ),
            Decision::Reject { plan, window } => (
                Kind::GuardRejected,
                json!({"plan": plan, "window": window, "rejected": decided.rejected, "given_back": decided.given_back}),
            ),
            Decision::Restored => (Kind::RestoreApproved, json!({"epoch": tx.epoch()})),
        };
        if let (Some(reason), Some(detail)) = (reason, detail.as_object_mut()) {
            detail.insert("reason".to_owned(), reason.into());
        }
        let seq = decision::record(tx, &kind, &name, &detail)?;
        Ok((decided, after.held_count(), seq))
    })
}
