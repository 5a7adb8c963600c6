//! One run of a file target: render, look, decide, apply, record, reload. Blocking.
//!
//! Order of what is durable: the digest about to be written, then the rename, then "swapped, reload pending" with the
//! holding and the applied seq, then the end of the reload. A crash between any two is told apart at the next run by
//! comparing the bytes on disk with these digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Entitlement, View};
use crate::mirror::change::Kind;
use crate::mirror::owned::{self, Owned};
use crate::mirror::target::{self, Holding, Run, State as Saved};
use crate::mirror::version::{self, Version};
use crate::mirror::{Mirror, StoreError, WriteTx, decision};
use crate::model::{ChangeId, Clock, Origin, Subject, TargetName, Timestamp};

use crate::reconcile::State;
use crate::reconcile::guard::verdict::{self, Guarded};
use crate::reconcile::plan;
use crate::reconcile::record::{self, Place, RUNS_KEPT, Stored};
use crate::reconcile::restored;
use crate::reconcile::settings::{Apply, FileSettings, Publish, Shape, TargetSettings};
use crate::reconcile::shelf::Shelf;
use crate::reconcile::snapshot::Snapshot;

use super::drift;
use super::look::{Evidence, Known};
use super::make;
use super::outcome::{Cause, Failed, Outcome};
use super::pin;
use super::reload::Turn;
use super::wish::Made;

/// Everything a run works with.
pub(crate) struct FileRun<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) settings: &'a TargetSettings,
    pub(crate) file: &'a FileSettings,
    pub(crate) shelf: &'a Shelf,
    /// Its part in the batch that shares a reload; `None` without `reload`.
    pub(crate) turn: Option<Turn>,
    /// Who asked for this run, for what it records as a decision.
    pub(crate) origin: Origin,
    /// What woke it, for the record; set by [`FileRun::run`].
    pub(crate) cause: Option<Cause>,
}

/// What a run found when it began.
pub(super) struct At<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) stored: &'a Stored,
    pub(super) saved: &'a Saved,
    pub(super) started: Timestamp,
    /// What the target is called once it holds what it should.
    pub(super) in_sync: State,
    /// A person asked for it.
    pub(super) is_sync: bool,
    /// A person said that what lies there may be taken over.
    pub(super) adopt: bool,
}

/// What was put in place, to be recorded.
pub(super) struct Put {
    pub(super) made: Made,
    pub(super) changed: bool,
    pub(super) on_disk: Known,
    pub(super) drift: Vec<Evidence>,
    /// Files of a tree that came or changed, and those that went.
    pub(super) owned: Vec<Owned>,
    pub(super) gone: Vec<String>,
}

impl FileRun<'_> {
    pub(super) fn name(&self) -> &TargetName {
        &self.settings.name
    }

    /// One run. Every failure is an outcome.
    pub(crate) fn run(&mut self, snapshot: &Snapshot, cause: Cause) -> Outcome {
        let started = self.clock.now();
        self.cause = Some(cause);
        let mut guarded = None;
        let outcome = match self.try_run(snapshot, cause, started, &mut guarded) {
            Ok(outcome) => outcome,
            Err(Failed { error, problems, .. }) => {
                let outcome = Outcome { problems, ..Outcome::failed(error) };
                // A mirror that cannot be written cannot take this either; the outcome is told all the same.
                let _untold = self.note(snapshot, &outcome, started);
                outcome
            }
        };
        Outcome { guarded, ..outcome }
    }

    fn try_run(
        &mut self,
        snapshot: &Snapshot,
        cause: Cause,
        started: Timestamp,
        guarded: &mut Option<Guarded>,
    ) -> Result<Outcome, Failed> {
        let mut stored = record::load(self.mirror, self.name())?;
        let mut saved = stored.saved.clone().unwrap_or_default();
        if !snapshot.is_known() && saved.applied.is_none() {
            return Ok(Outcome::of(State::Waiting));
        }
        if restored::is_unverified(&saved) {
            if let Some(ended) = self.after_restore(snapshot, (&stored, &saved), started)? {
                return Ok(ended);
            }
            stored = record::load(self.mirror, self.name())?;
            saved = stored.saved.clone().unwrap_or_default();
        }
        let moved = self.forget_old_place(&mut saved, &mut stored);
        let limit = match pin::of(&saved) {
            Some(pin) if matches!(cause, Cause::Sync { .. }) => {
                pin::unpin(self.mirror, self.name(), &pin, self.origin.clone())?;
                None
            }
            Some(pin) => Some(pin::limit(self.mirror, self.name(), &stored, &pin)?),
            None => None,
        };
        let base = self.make(snapshot, &stored, None, None)?;
        let taken = verdict::take(self.mirror, self.settings, snapshot, &mut stored, &base.wanted, started)?;
        let in_sync = match (taken.held > 0, limit.is_some()) {
            (true, _) => State::Held,
            (false, true) => State::Pinned,
            (false, false) => State::InSync,
        };
        *guarded = Some(taken);
        let base_wanted = base.wanted.clone();
        let mut made = if stored.book.exceptions.is_empty() && limit.is_none() {
            base
        } else {
            self.make(snapshot, &stored, Some(&stored.book), limit.as_deref())?
        };
        if self.file.publish == Publish::Only {
            self.make_own_folder()?;
        }
        made.problems.extend(moved);
        let is_sync = matches!(cause, Cause::Sync { .. } | Cause::Rollback);
        let adopt = cause == (Cause::Sync { adopt: true });
        if made.refused.is_some() && !saved.record.adopted {
            // Nothing of ours is there yet, so nothing has to be taken out of it.
            return Err(Failed::told(made.refused.unwrap_or_default(), made.problems));
        }
        if self.settings.apply == Apply::Manual
            && !is_sync
            && saved.record.adopted
            && let Some(less) = self.make_less(snapshot, &stored, &base_wanted, started)?
        {
            let (stored, saved, in_sync) = (&stored, &saved, State::Pending);
            let at = At { snapshot, stored, saved, started, in_sync, is_sync: true, adopt };
            let due = (less.view.clone(), less.problems.clone());
            return self.land(&at, less, |_| due);
        }
        let at = At { snapshot, stored: &stored, saved: &saved, started, in_sync, is_sync, adopt };
        self.land(&at, made, |run| run.view_due(&at, limit.as_deref()))
    }

    /// Puts it in place. Where somebody's check refuses what should be there, revocations land all the same (DESIGN
    /// §6.4): then what is left of what was held is tried, by today's names and by those that were taken before.
    fn land(
        &mut self,
        at: &At<'_>,
        made: Made,
        due: impl FnOnce(&Self) -> (View, Vec<String>),
    ) -> Result<Outcome, Failed> {
        let (mut tried, refused) = (vec![made.digest], made.refused.clone());
        let is_revoked = at.stored.holdings.iter().any(|one| !made.wanted.contains_key(&plan::key_of(one)));
        let failed = match self.place(at, made) {
            Err(failed) if failed.is_rejected && at.saved.record.adopted => failed,
            done => return done,
        };
        let why = refused.unwrap_or_else(|| failed.error.clone());
        let (view, problems) = due(self);
        for view in make::left(&view, &at.stored.holdings) {
            let Ok(made) = self.made_left(at, view, problems.clone(), &why) else { continue };
            if tried.contains(&made.digest) {
                continue;
            }
            tried.push(made.digest);
            match self.place(at, made) {
                Err(again) if again.is_rejected => {}
                done => return done,
            }
        }
        let still = if is_revoked { "; whoever was revoked since is still in it" } else { "" };
        Err(Failed { error: format!("{}{still}", failed.error), ..failed })
    }

    pub(super) fn place(&mut self, at: &At<'_>, made: Made) -> Result<Outcome, Failed> {
        match self.file.shape {
            Shape::File => self.single(at, made),
            Shape::Tree(_) => self.tree(at, made),
            Shape::Set(_) => self.set(at, made),
        }
    }

    /// A target that the config gave another place knows nothing of what lies there; what it left stays.
    fn forget_old_place(&self, saved: &mut Saved, stored: &mut Stored) -> Option<String> {
        let place = record::place(saved)?;
        if place == Place::of(self.file) {
            return None;
        }
        saved.record.adopted = false;
        saved.record.written = None;
        stored.owned.clear();
        Some(format!("`{}` is no longer kept by this target; what lies there stays", place.path))
    }

    /// Whether this run puts drift right.
    pub(super) fn mends(&self, at: &At<'_>, is_left: bool) -> bool {
        !is_left && (self.settings.apply != Apply::Manual || at.is_sync)
    }

    /// Records that strangers' files are taken over, before they are.
    pub(super) fn adopted(&self, paths: &[String]) -> Result<(), StoreError> {
        let (name, detail) = (self.name().clone(), serde_json::json!({ "paths": paths }));
        self.mirror.write_blocking::<_, StoreError, _>(self.origin.clone(), move |tx: &mut WriteTx<'_>| {
            decision::record(tx, &Kind::TargetAdopted, &name, &detail).map(|_| ())
        })
    }

    /// Records what is in place now: digest, holding, applied seq and whether a reload is owed, in one transaction.
    pub(super) fn record(&self, at: &At<'_>, done: Put) -> Result<Outcome, Failed> {
        let Put { made, changed, on_disk, drift, owned, gone: dropped } = done;
        let must_reload = self.must_reload(at, changed);
        let (gone, put) = plan::difference(&at.stored.holdings, &made.wanted);
        let (added, renamed) = counted(&at.stored.holdings, &put);
        let outcome = Outcome {
            state: if made.refused.is_some() { State::Failing } else { at.in_sync },
            changed,
            added,
            removed: gone.len() as u64,
            renamed,
            error: made.refused,
            problems: made.problems,
            on_disk,
            drift,
            guarded: None,
        };
        let held = at.stored.book.held_count();
        let run = Run { held, ..self.run_record(at.snapshot, &outcome, at.started) };
        let digest = made.digest.to_string();
        let change = ChangeId { epoch: self.mirror.epoch(), seq: at.snapshot.seq() };
        // What a person's word alone took out leaves the rest to be applied.
        let applied = match at.in_sync {
            State::Pending | State::Unverified => at.saved.applied,
            _ => Some(change),
        };
        let since = self.since(at.saved, made.digest);
        let (name, now) = (self.name().clone(), self.clock.now());
        let (state, error) = (outcome.state, outcome.error.clone());
        let (place, keep, drift) = (Place::of(self.file), self.file.spec.keep, outcome.drift.clone());
        let (before, total) = (at.stored.holdings.clone(), made.wanted.len() as u64);
        record::update(self.mirror, self.name(), move |tx, saved| {
            version::note(tx, &name, &before, &gone, &put)?;
            target::update_holdings(tx, &name, &gone, &put)?;
            owned::put(tx, &name, &owned)?;
            owned::drop_names(tx, &name, &dropped)?;
            if changed {
                let version = Version { n: 0, change, at: now, digest: digest.clone(), total };
                version::add(tx, &name, &version, keep)?;
            }
            pin::mark_done(saved);
            record::set_place(saved, &place);
            record::set_drift(saved, &drift);
            drift::tell(tx, &name, saved, &drift)?;
            if run.outcome != "unchanged" {
                target::record_run(tx, &run, RUNS_KEPT)?;
            }
            record::set_extra(saved, "intended", None);
            record::set_extra(saved, "shown_since", Some(since.0.into()));
            saved.applied = applied;
            saved.record.written = Some(digest);
            saved.record.adopted = true;
            saved.record.reload_pending = must_reload;
            state.as_str().clone_into(&mut saved.record.state);
            saved.record.last_attempt = Some(now);
            saved.record.last_error = error;
            if state != State::Failing && !must_reload {
                saved.record.last_success = Some(now);
                saved.record.failures = 0;
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    /// Whether a reload is owed once this run's change is recorded.
    fn must_reload(&self, at: &At<'_>, changed: bool) -> bool {
        self.file.wants_reload() && (changed || at.saved.record.reload_pending)
    }

    /// Runs the reload command if one is owed; until it succeeds the target is failing and the reload stays pending.
    pub(super) fn reload(&mut self, at: &At<'_>, outcome: Outcome) -> Result<Outcome, Failed> {
        if !self.must_reload(at, outcome.changed) {
            return Ok(outcome);
        }
        let Some(turn) = &mut self.turn else { return Ok(outcome) };
        turn.reload(self.file.reload.as_ref(), &self.file.spec)
            .map_err(|error| Failed::told(error, outcome.problems.clone()))?;
        let is_whole = outcome.error.is_none();
        let now = self.clock.now();
        record::update(self.mirror, self.name(), move |_, saved| {
            saved.record.reload_pending = false;
            record::set_loaded(saved, true);
            if is_whole {
                saved.record.last_success = Some(now);
                saved.record.failures = 0;
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    fn run_record(&self, snapshot: &Snapshot, outcome: &Outcome, started: Timestamp) -> Run {
        let word = match (outcome.state, outcome.changed) {
            (State::Failing, _) => "failed",
            (_, true) => "written",
            (_, false) => "unchanged",
        };
        Run {
            id: 0,
            target: self.name().clone(),
            started_at: started,
            finished_at: self.clock.now(),
            seq: snapshot.seq(),
            outcome: word.to_owned(),
            added: outcome.added,
            removed: outcome.removed,
            changed: outcome.renamed,
            held: 0,
            error: outcome.error.clone(),
            detail: self.cause.map_or(serde_json::Value::Null, |cause| self.why(cause)),
        }
    }

    /// What woke the run and, where a person did, who.
    fn why(&self, cause: Cause) -> serde_json::Value {
        let is_daemon = self.origin.actor == crate::model::Actor::Daemon;
        let word = match cause {
            Cause::Start => "start",
            Cause::Wake if is_daemon => "change",
            Cause::Wake => "decision",
            Cause::Drift => "drift",
            Cause::Sync { adopt: false } => "sync",
            Cause::Sync { adopt: true } => "adopt",
            Cause::Rollback => "rollback",
        };
        let by = (!is_daemon).then(|| self.origin.actor.to_string());
        serde_json::json!({ "cause": word, "by": by })
    }

    /// A run that decided not to touch anything.
    pub(super) fn told(
        &self,
        snapshot: &Snapshot,
        outcome: Outcome,
        started: Timestamp,
    ) -> Result<Outcome, Failed> {
        self.note(snapshot, &outcome, started)?;
        Ok(outcome)
    }

    /// Records state and error of a run that applied nothing.
    fn note(&self, snapshot: &Snapshot, outcome: &Outcome, started: Timestamp) -> Result<(), StoreError> {
        let (state, error, now) = (outcome.state, outcome.error.clone(), self.clock.now());
        let run = self.run_record(snapshot, outcome, started);
        let (drift, name) = (outcome.drift.clone(), self.name().clone());
        record::update(self.mirror, self.name(), move |tx, saved| {
            record::set_drift(saved, &drift);
            // A run that failed may not have looked.
            if state != State::Failing || !drift.is_empty() {
                drift::tell(tx, &name, saved, &drift)?;
            }
            state.as_str().clone_into(&mut saved.record.state);
            saved.record.last_attempt = Some(now);
            saved.record.last_error = error;
            if state == State::Failing {
                saved.record.failures = saved.record.failures.saturating_add(1);
                target::record_run(tx, &run, RUNS_KEPT)?;
            }
            Ok(())
        })
    }
}

/// How many of `put` are new, and how many only have another name.
fn counted(before: &[Holding], put: &[Holding]) -> (u64, u64) {
    let held: BTreeMap<(&Subject, &Entitlement), &str> =
        before.iter().map(|one| ((&one.subject, &one.entitlement), one.name.as_str())).collect();
    let (mut added, mut renamed) = (0_u64, 0_u64);
    for one in put {
        match held.get(&(&one.subject, &one.entitlement)) {
            None => added = added.saturating_add(1),
            Some(name) if *name != one.name => renamed = renamed.saturating_add(1),
            Some(_) => {}
        }
    }
    (added, renamed)
}
