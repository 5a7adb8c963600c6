//! One run of a file target: render, look, decide, apply, record, reload. Blocking.
//!
//! Order of what is durable: the digest about to be written, then the rename, then "swapped, reload pending" with the
//! holding and the applied seq, then the end of the reload. A crash between any two is told apart at the next run by
//! comparing the bytes on disk with these digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::access::{Entitlement, Exception, Problem, Verdict, View, ViewInput, view};
use crate::downstream::command;
use crate::downstream::file::{self, Applied, Digest, Expect, OnDisk};
use crate::mirror::target::{self, Holding, Run, State as Saved};
use crate::mirror::{Mirror, StoreError};
use crate::model::{ChangeId, Clock, Subject, TargetName, Timestamp};

use crate::reconcile::guard::book::Book;
use crate::reconcile::guard::verdict::{self, Guarded};
use crate::reconcile::guard::{Waits, WantedBy};
use crate::reconcile::plan::{self, Inputs, Wanted};
use crate::reconcile::record::{self, RUNS_KEPT, Stored};
use crate::reconcile::settings::{Apply, Drift, FileSettings, OnIllegal, Publish, TargetSettings};
use crate::reconcile::shelf::{self, Edition, Shelf};
use crate::reconcile::snapshot::Snapshot;
use crate::reconcile::{Plan, State};

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
    // Whatever keeps a removal from being carried out keeps nobody in who is shut out (DESIGN §6.5).
    exceptions.retain(|one| !verdict::is_shut(snapshot, &one.subject, &one.attributes));
    let names: BTreeMap<Subject, String> =
        stored.holdings.iter().map(|one| (one.subject.clone(), one.name.clone())).collect();
    let input = ViewInput {
        attribute: &settings.subject,
        attributes: &settings.attributes,
        exceptions: &exceptions,
        names: &names,
    };
    let (view, found) = view(&snapshot.facts, &snapshot.access, input);
    let problems = snapshot.access.problems.iter().chain(&found).map(ToString::to_string).collect();
    let is_illegal = |one: &&Problem| matches!(one, Problem::BadName { .. } | Problem::Collision { .. });
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
            let done = file.format.render(&wish.view, &file.options);
            plan::wanted(&wish.view, &done.map(|done| done.left_out).unwrap_or_default())
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
    pub(crate) shelf: &'a Shelf,
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
            Err(Failed { error, problems }) => {
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
        let base_wanted = base.wanted.clone();
        let made = if stored.book.exceptions.is_empty() {
            base
        } else {
            self.make(snapshot, &stored, Some(&stored.book))?
        };
        if self.file.publish == Publish::Only {
            self.make_own_folder()?;
        }
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
            if saved.record.adopted
                && let Some(less) = self.make_less(snapshot, &stored, &base_wanted, started)?
            {
                let at = At { snapshot, stored: &stored, saved: &saved, started, in_sync: State::Pending };
                return self.put(&at, less, false, Expect::Anything);
            }
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
            return Err(Failed { error: made.refused.unwrap_or_default(), problems: made.problems });
        }
        let expect =
            if disk == OnDisk::Absent && !saved.record.adopted { Expect::Absent } else { Expect::Anything };
        let at = At { snapshot, stored: &stored, saved: &saved, started, in_sync };
        self.put(&at, made, found.is_wanted, expect)
    }

    /// Renders what should be there.
    fn make(&self, snapshot: &Snapshot, stored: &Stored, book: Option<&Book>) -> Result<Made, Failed> {
        let wish = wish(self.settings, snapshot, stored, book);
        let mut problems = wish.problems;
        let render = |view: &View| {
            self.file
                .format
                .render(view, &self.file.options)
                .map_err(|error| Failed { error: error.to_string(), problems: problems.clone() })
        };
        let mut shown = wish.view;
        let mut rendered = render(&shown)?;
        let mut refused = None;
        let illegal: Vec<String> =
            wish.illegal.into_iter().chain(rendered.left_out.iter().map(ToString::to_string)).collect();
        if let Some(first) = illegal.first().filter(|_| self.file.on_illegal == OnIllegal::Error) {
            let more = illegal.len().saturating_sub(1);
            refused = Some(format!("{first} ({more} more); additions wait until it can be written"));
            shown = plan::only_held(&shown, &stored.holdings);
            let again = render(&shown)?;
            rendered.bytes = again.bytes;
        }
        problems.extend(rendered.left_out.iter().map(ToString::to_string));
        let wanted = plan::wanted(&shown, &rendered.left_out);
        Ok(Made { digest: Digest::of(&rendered.bytes), bytes: rendered.bytes, wanted, refused, problems })
    }

    /// What lies there already, less what a person's word takes away; `None` if that is nothing. All that a target
    /// under `apply = "manual"` does by itself.
    fn make_less(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        base: &Wanted,
        now: Timestamp,
    ) -> Result<Option<Made>, Failed> {
        let since = verdict::told_up_to(self.settings, stored);
        let is_word = |one: &&Holding| {
            let key = plan::key_of(one);
            !base.contains_key(&key)
                && verdict::wanted_by(snapshot, since, &key, &one.attributes, now) == WantedBy::Word
        };
        let (gone, kept): (Vec<&Holding>, Vec<&Holding>) = stored.holdings.iter().partition(is_word);
        if gone.is_empty() {
            return Ok(None);
        }
        let kept: Vec<Holding> = kept.into_iter().cloned().collect();
        let exceptions: Vec<Exception> =
            kept.iter().map(|one| plan::exception_of(one, Verdict::Unknown, snapshot.seq(), 0)).collect();
        let names = kept.iter().map(|one| (one.subject.clone(), one.name.clone())).collect();
        let input = ViewInput {
            attribute: &self.settings.subject,
            attributes: &self.settings.attributes,
            exceptions: &exceptions,
            names: &names,
        };
        let (view, problems) = view(&snapshot.facts, &snapshot.access, input);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let shown = plan::only_held(&view, &kept);
        let rendered = self
            .file
            .format
            .render(&shown, &self.file.options)
            .map_err(|error| Failed { error: error.to_string(), problems: problems.clone() })?;
        let wanted = plan::wanted(&shown, &rendered.left_out);
        let digest = Digest::of(&rendered.bytes);
        Ok(Some(Made { digest, bytes: rendered.bytes, wanted, refused: None, problems }))
    }

    /// Puts the bytes in place, records it, reloads.
    fn put(&self, at: &At<'_>, mut made: Made, is_wanted: bool, expect: Expect) -> Result<Outcome, Failed> {
        let digest = made.digest.to_string();
        if !is_wanted && record::intended(at.saved) != Some(digest.as_str()) {
            record::update(self.mirror, self.name(), move |_, saved| {
                record::set_extra(saved, "intended", Some(digest.into()));
                Ok(())
            })?;
        }
        let check = |bytes: &[u8]| self.file.format.check(bytes, &self.file.options);
        let applied = file::apply(&self.file.spec, &made.bytes, expect, &check)
            .map_err(|error| Failed::from(&error, &made.problems))?;
        let swapped = match applied {
            Applied::Swapped(swapped) => Some(swapped),
            Applied::Unchanged => None,
        };
        let must_reload = self.file.reload.is_some() && (swapped.is_some() || at.saved.record.reload_pending);
        let (bytes, since) = (std::mem::take(&mut made.bytes), self.since(at.saved, made.digest));
        let digest = made.digest;
        let mut outcome = self.record(at, made, since, swapped.is_some(), must_reload)?;
        self.show(bytes, digest, since);
        if let Some(swapped) = swapped {
            // The swap is recorded; a version that could not be kept is worth a word and no more.
            if let Err(error) = file::settle(&self.file.spec, &swapped, at.snapshot.seq().0) {
                outcome.problems.push(error.to_string());
            }
        }
        if must_reload { self.reload(outcome) } else { Ok(outcome) }
    }

    /// Records what is in place now: digest, holding, applied seq and whether a reload is owed, in one transaction.
    fn record(
        &self,
        at: &At<'_>,
        made: Made,
        since: Timestamp,
        changed: bool,
        must_reload: bool,
    ) -> Result<Outcome, Failed> {
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
        // What a person's word alone took out leaves the rest to be applied.
        let applied = match at.in_sync {
            State::Pending => at.saved.applied,
            _ => Some(ChangeId { epoch: self.mirror.epoch(), seq: at.snapshot.seq() }),
        };
        let (name, now) = (self.name().clone(), self.clock.now());
        let (state, error) = (outcome.state, outcome.error.clone());
        record::update(self.mirror, self.name(), move |tx, saved| {
            target::update_holdings(tx, &name, &gone, &put)?;
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

    /// Since when readers are shown bytes of `digest`: as before, where they are the ones written last.
    fn since(&self, saved: &Saved, digest: Digest) -> Timestamp {
        let is_same = saved.record.written.as_deref() == Some(digest.to_string().as_str());
        let before = record::shown_since(saved);
        before.filter(|_| is_same).unwrap_or_else(|| shelf::next_since(self.clock.now(), before))
    }

    /// Shows readers what has been applied and recorded.
    fn show(&self, bytes: Vec<u8>, digest: Digest, since: Timestamp) {
        if self.file.publish != Publish::Off {
            let media_type = self.file.format.content_type;
            self.shelf.put(self.name(), Edition { bytes: Bytes::from(bytes), digest, media_type, since });
        }
    }

    /// Shows readers again what was applied last, before the first run of this life: it may take long, or decide that
    /// nothing is to be applied.
    pub(crate) fn show_again(&self) {
        if !self.shelf.is_empty(self.name()) {
            return;
        }
        let read = self.mirror.read::<_, StoreError>(|tx| target::state(tx, self.name()));
        let Some(saved) = read.ok().flatten() else { return };
        let Some(digest) = saved.record.written.as_deref().and_then(Digest::from_hex) else { return };
        // What cannot be read back is rendered by the run that follows.
        if let Ok(Some(bytes)) = file::content(&self.file.spec, digest) {
            self.show(bytes, digest, self.since(&saved, digest));
        }
    }

    fn make_own_folder(&self) -> Result<(), Failed> {
        file::make_private_folder(&self.file.spec).map_err(|error| {
            let path = self.file.spec.path.display();
            let error = format!(
                "cannot make the folder of `{path}`: {error}; it is rosterd's own, below the state directory"
            );
            Failed { error, problems: Vec::new() }
        })
    }

    /// Runs the reload command; until it succeeds the target is failing and the reload stays pending.
    fn reload(&self, outcome: Outcome) -> Result<Outcome, Failed> {
        let Some(argv) = &self.file.reload else { return Ok(outcome) };
        let failed = |error: String| Failed { error, problems: outcome.problems.clone() };
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
}

impl Failed {
    fn from(error: &file::ApplyError, problems: &[String]) -> Self {
        let hint = error.hint();
        let error = if hint.is_empty() { error.to_string() } else { format!("{error}; {hint}") };
        Self { error, problems: problems.to_vec() }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error: error.to_string(), problems: Vec::new() }
    }
}
