//! One run of a file target: render, look, decide, apply, record, reload. Blocking.
//!
//! Order of what is durable: the digest about to be written, then the rename, then "swapped, reload pending" with the
//! holding and the applied seq, then the end of the reload. A crash between any two is told apart at the next run by
//! comparing the bytes on disk with these digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Entitlement, Exception, Problem, View, ViewInput, view};
use crate::downstream::command;
use crate::downstream::file::{self, Applied, Digest, Expect, OnDisk};
use crate::downstream::format::LeftOut;
use crate::mirror::loaded;
use crate::mirror::target::{self, Holding, Run, State as Saved};
use crate::mirror::{Mirror, StoreError};
use crate::model::{ChangeId, Clock, Subject, TargetName, Timestamp};

use crate::reconcile::guard::Waits;
use crate::reconcile::guard::book::Book;
use crate::reconcile::guard::verdict::{self, Guarded};
use crate::reconcile::plan::{self, Inputs, Wanted};
use crate::reconcile::record::{self, RUNS_KEPT, Stored};
use crate::reconcile::settings::{Apply, Drift, FileSettings, TargetSettings};
use crate::reconcile::snapshot::Snapshot;
use crate::reconcile::{Plan, State};

use super::make::{self, Numbers, Remembered, Rendering};

/// What woke the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The daemon started, or the settings changed.
    Start,
    /// A change, the schedule or a retry.
    Wake,
    /// The file was touched.
    Drift,
    /// A person, who may take over a foreign file.
    Sync {
        /// Take over what lies there.
        adopt: bool,
    },
}

/// What came of a run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) changed: bool,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) renamed: u64,
    pub(crate) error: Option<String>,
    pub(crate) problems: Vec<String>,
    /// What lies at the destination as far as this run knows; what differs later is drift.
    pub(crate) on_disk: Option<Digest>,
    /// What the guard did; `None` if the run did not come that far.
    pub(crate) guarded: Option<Guarded>,
}

impl Outcome {
    pub(crate) fn of(state: State) -> Self {
        Self {
            state,
            changed: false,
            added: 0,
            removed: 0,
            renamed: 0,
            error: None,
            problems: Vec::new(),
            on_disk: None,
            guarded: None,
        }
    }

    pub(crate) fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::of(State::Failing) }
    }
}

/// What a target should show now.
pub(crate) struct Wish {
    pub(crate) view: View,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) problems: Vec<String>,
    /// Names left out because nothing can carry them, or because another holds them.
    pub(crate) illegal: Vec<String>,
}

/// The view of `settings` at `snapshot`, given what the target holds and what `book` keeps there; without one, what
/// follows from access alone.
pub(crate) fn wish(
    settings: &TargetSettings,
    snapshot: &Snapshot,
    stored: &Stored,
    book: Option<&Book>,
) -> Wish {
    let mut exceptions: Vec<Exception> =
        book.into_iter().flat_map(|book| book.exceptions.values().cloned()).collect();
    exceptions.extend(plan::kept_for_unknown(&snapshot.access, &stored.holdings));
    let names: BTreeMap<Subject, String> =
        stored.holdings.iter().map(|one| (one.subject.clone(), one.name.clone())).collect();
    let input = ViewInput {
        attribute: &settings.subject,
        attributes: &settings.attributes,
        exceptions: &exceptions,
        names: &names,
        map: &settings.map,
        fold: settings.kind.fold(),
    };
    let (view, found) = view(&snapshot.facts, &snapshot.access, input);
    let problems = snapshot.access.problems.iter().chain(&found).map(ToString::to_string).collect();
    let is_illegal = |one: &&Problem| {
        matches!(one, Problem::BadName { .. } | Problem::Collision { .. } | Problem::Mapped { .. })
    };
    let illegal = found.iter().filter(is_illegal).map(ToString::to_string).collect();
    let mut wish = Wish { view, exceptions, problems, illegal };
    if settings.guard.hold == Waits::All && book.is_some_and(|book| book.held().next().is_some()) {
        wish.view = plan::only_held(&wish.view, &stored.holdings);
    }
    wish
}

/// What `plan` shows of any target. Blocking.
pub(crate) fn plan_of(
    mirror: &Mirror,
    settings: &TargetSettings,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Plan, StoreError> {
    let stored = record::load(mirror, &settings.name)?;
    let wanted_of = |wish: &Wish| match &settings.kind {
        crate::reconcile::TargetKind::File(file) => {
            let done = made_of(mirror, settings, file, &stored, wish, true);
            done.map_or_else(|_| plan::wanted(&wish.view, &[]), |made| made.wanted)
        }
        crate::reconcile::TargetKind::Webhook(_) => plan::roles_only(plan::wanted(&wish.view, &[])),
    };
    let base = wanted_of(&wish(settings, snapshot, &stored, None));
    let (book, _) = verdict::judged(settings, snapshot, &stored, &base, now);
    let wish = wish(settings, snapshot, &stored, Some(&book));
    let wanted = wanted_of(&wish);
    Ok(plan::plan(&settings.name, inputs(snapshot, &stored, &wish), &wanted))
}

pub(crate) fn inputs<'a>(snapshot: &'a Snapshot, stored: &'a Stored, wish: &'a Wish) -> Inputs<'a> {
    Inputs {
        facts: &snapshot.facts,
        access: &snapshot.access,
        roles: &snapshot.rules.roles,
        holdings: &stored.holdings,
        exceptions: &wish.exceptions,
    }
}

/// Everything a run works with.
pub(crate) struct FileRun<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) settings: &'a TargetSettings,
    pub(crate) file: &'a FileSettings,
}

/// What a run found when it began.
struct At<'a> {
    snapshot: &'a Snapshot,
    stored: &'a Stored,
    saved: &'a Saved,
    started: Timestamp,
    /// What the target is called once it holds what it should.
    in_sync: State,
}

/// The bytes to be, and what they stand for.
struct Made {
    bytes: Vec<u8>,
    digest: Digest,
    wanted: Wanted,
    /// Why it is not all that should be there.
    refused: Option<String>,
    problems: Vec<String>,
    /// What a reader to which the file only adds holds so far, and will.
    loaded: Option<Remembered>,
}

impl Made {
    fn of(done: Rendering<Bytes>, mut problems: Vec<String>) -> Self {
        problems.extend(done.left_out.iter().map(ToString::to_string));
        let Bytes { bytes, loaded } = done.done;
        Self {
            digest: Digest::of(&bytes),
            bytes,
            wanted: plan::wanted(&done.view, &done.left_out),
            refused: done.refused,
            problems,
            loaded,
        }
    }
}

/// One file, rendered.
struct Bytes {
    bytes: Vec<u8>,
    loaded: Option<Remembered>,
}

/// The file for `wish`, or for what is left of what was held.
fn made_of(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    wish: &Wish,
    is_preview: bool,
) -> Result<Made, String> {
    let render = |view: &View| rendered(mirror, settings, file, stored, view, is_preview);
    let done =
        make::whole_or_held(wish.view.clone(), &stored.holdings, &wish.illegal, file.on_illegal, &render);
    done.map(|done| Made::of(done, wish.problems.clone()))
}

fn rendered(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    view: &View,
    is_preview: bool,
) -> Result<(Bytes, Vec<LeftOut>), String> {
    let numbers = Numbers { log: &settings.unix_ids, is_preview };
    let how = (file.format, &file.options);
    let prepared = make::prepare(mirror, &settings.name, stored.saved.as_ref(), how, numbers, view)?;
    let done = file.format.render(view, &prepared.options).map_err(|error| error.to_string())?;
    Ok((Bytes { bytes: done.bytes, loaded: prepared.loaded }, done.left_out))
}

impl FileRun<'_> {
    fn name(&self) -> &TargetName {
        &self.settings.name
    }

    /// One run. Every failure is an outcome.
    pub(crate) fn run(&self, snapshot: &Snapshot, cause: Cause) -> Outcome {
        let started = self.clock.now();
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
        &self,
        snapshot: &Snapshot,
        cause: Cause,
        started: Timestamp,
        guarded: &mut Option<Guarded>,
    ) -> Result<Outcome, Failed> {
        let mut stored = record::load(self.mirror, self.name())?;
        let saved = stored.saved.clone().unwrap_or_default();
        if !snapshot.is_known() && saved.applied.is_none() {
            return Ok(Outcome::of(State::Waiting));
        }
        let base = self.make(snapshot, &stored, None)?;
        let taken = verdict::take(self.mirror, self.settings, snapshot, &mut stored, &base.wanted, started)?;
        let in_sync = if taken.held > 0 { State::Held } else { State::InSync };
        *guarded = Some(taken);
        let made = if stored.book.exceptions.is_empty() {
            base
        } else {
            self.make(snapshot, &stored, Some(&stored.book))?
        };
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &made.problems))?;
        let found = Found::of(&disk, &saved, made.digest);
        let is_sync = matches!(cause, Cause::Sync { .. });
        let adopt = cause == (Cause::Sync { adopt: true });
        let quiet = |state: State| {
            let error = (state == State::Foreign).then(|| {
                let path = self.file.spec.path.display();
                format!("`{path}` exists and is not ours; look at `rosterd plan {0}`, then `rosterd sync {0} --adopt`", self.name())
            });
            Outcome { problems: made.problems.clone(), on_disk: found.digest, error, ..Outcome::of(state) }
        };
        if found.is_foreign && !adopt {
            return self.told(snapshot, quiet(State::Foreign), started);
        }
        let is_news = saved.record.written.as_deref() != Some(made.digest.to_string().as_str());
        if self.settings.apply == Apply::Manual && !is_sync {
            let state = match (found.is_wanted, found.is_drifted && !is_news) {
                (true, _) => in_sync,
                (false, true) => State::Drifted,
                (false, false) => State::Pending,
            };
            return self.told(snapshot, quiet(state), started);
        }
        if found.is_drifted && !is_news && self.file.drift == Drift::Report && !is_sync {
            return self.told(snapshot, quiet(State::Drifted), started);
        }
        if made.refused.is_some() && !saved.record.adopted {
            // Nothing of ours is there yet, so nothing has to be taken out of it.
            let error = made.refused.unwrap_or_default();
            return Err(Failed { error, problems: made.problems, is_rejected: false });
        }
        let expect =
            if disk == OnDisk::Absent && !saved.record.adopted { Expect::Absent } else { Expect::Anything };
        let at = At { snapshot, stored: &stored, saved: &saved, started, in_sync };
        self.put(&at, made, found.is_wanted, expect)
    }

    /// Renders what should be there.
    fn make(&self, snapshot: &Snapshot, stored: &Stored, book: Option<&Book>) -> Result<Made, Failed> {
        let wish = wish(self.settings, snapshot, stored, book);
        made_of(self.mirror, self.settings, self.file, stored, &wish, false).map_err(|error| Failed {
            error,
            problems: wish.problems,
            is_rejected: false,
        })
    }

    /// Renders what is left of what was held, since what should be there was refused because of `why`.
    fn make_held(&self, at: &At<'_>, why: &str) -> Option<Made> {
        let book = (!at.stored.book.exceptions.is_empty()).then_some(&at.stored.book);
        let wish = wish(self.settings, at.snapshot, at.stored, book);
        let render = |view: &View| rendered(self.mirror, self.settings, self.file, at.stored, view, false);
        let done = make::held(&wish.view, &at.stored.holdings, why, &render).ok()?;
        Some(Made::of(done, wish.problems))
    }

    /// Puts the bytes in place, records it, reloads. Where somebody's check refuses them, revocations land all the same.
    fn put(&self, at: &At<'_>, made: Made, is_wanted: bool, expect: Expect) -> Result<Outcome, Failed> {
        let (digest, is_whole) = (made.digest, made.refused.is_none());
        match self.try_put(at, made, is_wanted, expect) {
            Err(failed) if failed.is_rejected && is_whole && at.saved.record.adopted => {
                match self.make_held(at, &failed.error).filter(|made| made.digest != digest) {
                    Some(made) => self.try_put(at, made, false, expect),
                    None => Err(failed),
                }
            }
            done => done,
        }
    }

    /// Remembers what is about to be written: its digest, and what a reader to which it only adds will hold.
    fn intend(&self, at: &At<'_>, made: &Made, is_wanted: bool) -> Result<(), StoreError> {
        let digest = made.digest.to_string();
        let is_told = is_wanted || record::intended(at.saved) == Some(digest.as_str());
        let loaded = made.loaded.clone().filter(|one| one.before != one.after);
        if is_told && loaded.is_none() {
            return Ok(());
        }
        let name = self.name().clone();
        record::update(self.mirror, self.name(), move |tx, saved| {
            if let Some(one) = loaded {
                loaded::save(tx, &name, &one.before, &one.after)?;
                record::set_loaded(saved, false);
            }
            record::set_extra(saved, "intended", Some(digest.into()));
            Ok(())
        })
    }

    fn try_put(&self, at: &At<'_>, made: Made, is_wanted: bool, expect: Expect) -> Result<Outcome, Failed> {
        self.intend(at, &made, is_wanted)?;
        // A crash between the swap and its record leaves a file that nobody was told to load.
        let is_unrecorded = record::intended(at.saved) == Some(made.digest.to_string().as_str());
        let check = |bytes: &[u8]| self.file.format.check(bytes, &self.file.options);
        let applied = file::apply(&self.file.spec, &made.bytes, expect, &check)
            .map_err(|error| Failed::from(&error, &made.problems))?;
        let swapped = match applied {
            Applied::Swapped(swapped) => Some(swapped),
            Applied::Unchanged => None,
        };
        let is_owed = swapped.is_some() || at.saved.record.reload_pending || is_unrecorded;
        let must_reload = self.file.reload.is_some() && is_owed;
        let mut outcome = self.record(at, made, swapped.is_some(), must_reload)?;
        if let Some(swapped) = swapped {
            // The swap is recorded; a version that could not be kept is worth a word and no more.
            if let Err(error) = file::settle(&self.file.spec, &swapped, at.snapshot.seq().0) {
                outcome.problems.push(error.to_string());
            }
        }
        if must_reload { self.reload(outcome) } else { Ok(outcome) }
    }

    /// Records what is in place now: digest, holding, applied seq and whether a reload is owed, in one transaction.
    fn record(&self, at: &At<'_>, made: Made, changed: bool, must_reload: bool) -> Result<Outcome, Failed> {
        let (gone, put) = plan::difference(&at.stored.holdings, &made.wanted);
        let held: BTreeMap<(&Subject, &Entitlement), &str> = at
            .stored
            .holdings
            .iter()
            .map(|one| ((&one.subject, &one.entitlement), one.name.as_str()))
            .collect();
        let before = |one: &Holding| held.get(&(&one.subject, &one.entitlement)).copied();
        let added = put.iter().filter(|one| before(one).is_none()).count();
        let renamed = put.iter().filter(|one| before(one).is_some_and(|name| name != one.name)).count();
        let outcome = Outcome {
            state: if made.refused.is_some() { State::Failing } else { at.in_sync },
            changed,
            added: added as u64,
            removed: gone.len() as u64,
            renamed: renamed as u64,
            error: made.refused,
            problems: made.problems,
            on_disk: Some(made.digest),
            guarded: None,
        };
        let held = at.stored.book.held_count();
        let run = Run { held, ..self.run_record(at.snapshot, &outcome, at.started) };
        let digest = made.digest.to_string();
        let applied = ChangeId { epoch: self.mirror.epoch(), seq: at.snapshot.seq() };
        let (name, now) = (self.name().clone(), self.clock.now());
        let (state, error) = (outcome.state, outcome.error.clone());
        record::update(self.mirror, self.name(), move |tx, saved| {
            target::update_holdings(tx, &name, &gone, &put)?;
            if run.outcome != "unchanged" {
                target::record_run(tx, &run, RUNS_KEPT)?;
            }
            record::set_extra(saved, "intended", None);
            saved.applied = Some(applied);
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

    /// Runs the reload command; until it succeeds the target is failing and the reload stays pending.
    fn reload(&self, outcome: Outcome) -> Result<Outcome, Failed> {
        let Some(argv) = &self.file.reload else { return Ok(outcome) };
        let failed = |error: String| Failed { error, problems: outcome.problems.clone(), is_rejected: false };
        let output = command::run(argv, Some(&self.file.spec.path), &self.file.spec.limits)
            .map_err(|error| failed(error.to_string()))?;
        if !output.is_success() {
            let text: String = output.text().trim().chars().take(300).collect();
            return Err(failed(format!("`reload` ended with {}: {text}", output.status)));
        }
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
            detail: serde_json::Value::Null,
        }
    }

    /// A run that decided not to touch anything.
    fn told(&self, snapshot: &Snapshot, outcome: Outcome, started: Timestamp) -> Result<Outcome, Failed> {
        self.note(snapshot, &outcome, started)?;
        Ok(outcome)
    }

    /// Records state and error of a run that applied nothing.
    fn note(&self, snapshot: &Snapshot, outcome: &Outcome, started: Timestamp) -> Result<(), StoreError> {
        let (state, error, now) = (outcome.state, outcome.error.clone(), self.clock.now());
        let run = self.run_record(snapshot, outcome, started);
        record::update(self.mirror, self.name(), move |tx, saved| {
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

/// What lies at the destination, judged.
struct Found {
    digest: Option<Digest>,
    /// It is what should be there.
    is_wanted: bool,
    /// It was never ours.
    is_foreign: bool,
    /// It was ours and is not what was written last.
    is_drifted: bool,
}

impl Found {
    fn of(disk: &OnDisk, saved: &Saved, wanted: Digest) -> Self {
        let digest = match disk {
            OnDisk::File(facts) => facts.digest,
            OnDisk::Absent | OnDisk::Other(_) => None,
        };
        let hex = digest.map(|digest| digest.to_string());
        let is_ours = hex.is_some()
            && (hex.as_deref() == saved.record.written.as_deref()
                || hex.as_deref() == record::intended(saved));
        let is_wanted = digest == Some(wanted);
        Self {
            digest,
            is_wanted,
            is_foreign: matches!(disk, OnDisk::File(_)) && !saved.record.adopted && !is_ours && !is_wanted,
            is_drifted: saved.record.adopted && !is_ours && !is_wanted,
        }
    }
}

/// A run that ended early.
struct Failed {
    error: String,
    problems: Vec<String>,
    /// A check did not take the bytes; others may pass.
    is_rejected: bool,
}

impl Failed {
    fn from(error: &file::ApplyError, problems: &[String]) -> Self {
        let hint = error.hint();
        let text = if hint.is_empty() { error.to_string() } else { format!("{error}; {hint}") };
        Self { error: text, problems: problems.to_vec(), is_rejected: error.kind() == file::Kind::Refused }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error: error.to_string(), problems: Vec::new(), is_rejected: false }
    }
}
