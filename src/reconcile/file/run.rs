//! One run of a file target: render, look, decide, apply, record, reload. Blocking.
//!
//! Order of what is durable: the digest about to be written, then the rename, then "swapped, reload pending" with the
//! holding and the applied seq, then the end of the reload. A crash between any two is told apart at the next run by
//! comparing the bytes on disk with these digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Entitlement, Exception, Problem, View, ViewInput, view};
use crate::downstream::file::{self, Applied, Digest, Expect, OnDisk};
use crate::downstream::format::LeftOut;
use crate::mirror::change::Kind;
use crate::mirror::loaded;
use crate::mirror::owned::{self, Owned};
use crate::mirror::target::{self, Holding, Run, State as Saved};
use crate::mirror::version::{self, Version};
use crate::mirror::{Mirror, StoreError, decision};
use crate::model::{ChangeId, Clock, Subject, TargetName, Timestamp};

use crate::reconcile::guard::Waits;
use crate::reconcile::guard::book::Book;
use crate::reconcile::guard::verdict::{self, Guarded};
use crate::reconcile::plan::{self, Inputs, Wanted};
use crate::reconcile::record::{self, Place, RUNS_KEPT, Stored};
use crate::reconcile::restored;
use crate::reconcile::settings::{Apply, Drift, FileSettings, Publish, Shape, TargetSettings};
use crate::reconcile::shelf::Shelf;
use crate::reconcile::snapshot::Snapshot;
use crate::reconcile::{Plan, State};

use super::drift;
use super::look::{self, Evidence, Known, Seen, There};
use super::make::{self, Numbers, Remembered, Rendering};
use super::parts::{self, Content, Drawn};
use super::pin;
use super::reload::Turn;

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
    /// A person rolled it back.
    Rollback,
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
    pub(crate) on_disk: Known,
    /// Who seems to have touched it, if somebody did.
    pub(crate) drift: Vec<Evidence>,
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
            on_disk: Known::new(),
            drift: Vec::new(),
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
            let done = made_of(mirror, settings, file, &stored, wish.view.clone(), &wish.illegal, true);
            done.map_or_else(
                |_| plan::wanted(&wish.view, &[]),
                |done| plan::wanted(&done.view, &done.left_out),
            )
        }
        crate::reconcile::TargetKind::Webhook(webhook) => {
            let mut wanted = plan::wanted(&wish.view, &[]);
            wanted.retain(|(_, entitlement), _| webhook.speaks_of(entitlement));
            wanted
        }
    };
    let base = wanted_of(&wish(settings, snapshot, &stored, None));
    if stored.saved.as_ref().is_some_and(restored::is_unverified) {
        // What `approve --restored` would make of it.
        let wish = wish(settings, snapshot, &stored, None);
        return Ok(plan::plan(&settings.name, inputs(snapshot, &stored, &wish), &base));
    }
    let (book, _) = verdict::judged(settings, snapshot, &stored, &base, now);
    let mut wish = wish(settings, snapshot, &stored, Some(&book));
    if let Some(pin) = stored.saved.as_ref().and_then(pin::of) {
        wish.view = plan::only_held(&wish.view, &pin::limit(mirror, &settings.name, &stored, &pin)?);
    }
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
    /// Its part in the batch that shares a reload; `None` without `reload`.
    pub(crate) turn: Option<Turn>,
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

/// The bytes to be, and what they stand for.
pub(super) struct Made {
    pub(super) content: Content,
    pub(super) digest: Digest,
    pub(super) wanted: Wanted,
    /// Why it is not all that should be there.
    pub(super) refused: Option<String>,
    pub(super) problems: Vec<String>,
    /// Files of a tree that could not be rendered, and why.
    pub(super) failed: BTreeMap<String, String>,
    /// What a reader to which the file only adds holds so far, and will.
    pub(super) loaded: Option<Remembered>,
}

impl Made {
    fn of(done: Rendering<Filled>, mut problems: Vec<String>) -> Self {
        problems.extend(done.left_out.iter().map(ToString::to_string));
        let Filled { drawn, loaded } = done.done;
        Self {
            digest: drawn.content.digest(),
            content: drawn.content,
            wanted: plan::wanted(&done.view, &done.left_out),
            refused: done.refused,
            problems,
            failed: drawn.failed,
            loaded,
        }
    }
}

/// All files, rendered.
struct Filled {
    drawn: Drawn,
    loaded: Option<Remembered>,
}

/// The files for `view`, or for what is left of what was held.
fn made_of(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    view: View,
    illegal: &[String],
    is_preview: bool,
) -> Result<Rendering<Filled>, String> {
    let fill = |view: &View| filled(mirror, settings, file, stored, view, is_preview);
    make::whole_or_held(view, &stored.holdings, illegal, file.on_illegal, &fill)
}

fn filled(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    view: &View,
    is_preview: bool,
) -> Result<(Filled, Vec<LeftOut>), String> {
    let numbers = Numbers { log: &settings.unix_ids, is_preview };
    let (file, loaded) = make::prepare(mirror, &settings.name, stored.saved.as_ref(), file, numbers, view)?;
    let mut drawn = parts::draw(&file, view, &stored.owned).map_err(|error| error.to_string())?;
    let left_out = std::mem::take(&mut drawn.left_out);
    Ok((Filled { drawn, loaded }, left_out))
}

/// What lies at the destination once all is applied. Touches nothing. Blocking.
///
/// # Errors
/// Why it cannot be rendered.
pub(crate) fn due(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    snapshot: &Snapshot,
    stored: &Stored,
) -> Result<Content, String> {
    let mut wish = wish(settings, snapshot, stored, Some(&stored.book));
    if let Some(pin) = stored.saved.as_ref().and_then(pin::of) {
        let limit = pin::limit(mirror, &settings.name, stored, &pin).map_err(|error| error.to_string())?;
        wish.view = plan::only_held(&wish.view, &limit);
    }
    let made = made_of(mirror, settings, file, stored, wish.view, &wish.illegal, true)?;
    Ok(made.done.drawn.content)
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
                pin::unpin(self.mirror, self.name(), &pin)?;
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
            return self.place(&at, less);
        }
        let at = At { snapshot, stored: &stored, saved: &saved, started, in_sync, is_sync, adopt };
        let (digest, is_whole) = (made.digest, made.refused.is_none());
        match self.place(&at, made) {
            // Where somebody's check refuses what should be there, revocations land all the same (DESIGN §6.4).
            Err(failed) if failed.is_rejected && is_whole && saved.record.adopted => {
                let held = self.make_held(&at, limit.as_deref(), &failed.error);
                match held.filter(|made| made.digest != digest) {
                    Some(made) => self.place(&at, made),
                    None => Err(failed),
                }
            }
            done => done,
        }
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

    fn single(&mut self, at: &At<'_>, made: Made) -> Result<Outcome, Failed> {
        let saved = at.saved;
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &made.problems))?;
        let there = match &disk {
            OnDisk::Absent => There::Absent,
            OnDisk::File(facts) => There::File(facts.clone()),
            OnDisk::Other(word) => There::Other(word),
        };
        let found = Found::of(&disk, saved, made.digest);
        let known = Known::from([(String::new(), there.seen())]);
        let is_news = saved.record.written.as_deref() != Some(made.digest.to_string().as_str());
        let is_left = self.file.drift == Drift::Report && !is_news && !at.is_sync;
        let drift: Vec<Evidence> = found
            .is_drifted
            .then(|| {
                let (path, expected) =
                    (self.file.spec.path.display().to_string(), saved.record.written.clone());
                look::evidence(path, &there, expected, at.started, self.mends(at, is_left))
            })
            .into_iter()
            .collect();
        let quiet = |state: State| {
            let error = (state == State::Foreign).then(|| {
                let path = self.file.spec.path.display();
                format!("`{path}` exists and is not ours; look at `rosterd plan {0}`, then `rosterd sync {0} --adopt`", self.name())
            });
            let (problems, on_disk) = (made.problems.clone(), known.clone());
            Outcome { problems, on_disk, error, drift: drift.clone(), ..Outcome::of(state) }
        };
        if found.is_foreign && !at.adopt {
            return self.told(at.snapshot, quiet(State::Foreign), at.started);
        }
        if self.settings.apply == Apply::Manual && !at.is_sync {
            let state = match (found.is_wanted, found.is_drifted && !is_news) {
                (true, _) => at.in_sync,
                (false, true) => State::Drifted,
                (false, false) => State::Pending,
            };
            return self.told(at.snapshot, quiet(state), at.started);
        }
        if found.is_drifted && is_left {
            return self.told(at.snapshot, quiet(State::Drifted), at.started);
        }
        let expect =
            if disk == OnDisk::Absent && !saved.record.adopted { Expect::Absent } else { Expect::Anything };
        if found.is_foreign {
            self.adopted(&[self.file.spec.path.display().to_string()])?;
        }
        self.put(at, made, found.is_wanted, expect, drift)
    }

    /// Whether this run puts drift right.
    pub(super) fn mends(&self, at: &At<'_>, is_left: bool) -> bool {
        !is_left && (self.settings.apply != Apply::Manual || at.is_sync)
    }

    /// Records that strangers' files are taken over, before they are.
    pub(super) fn adopted(&self, paths: &[String]) -> Result<(), StoreError> {
        let (name, detail) = (self.name().clone(), serde_json::json!({ "paths": paths }));
        record::update(self.mirror, self.name(), move |tx, _| {
            decision::record(tx, &Kind::TargetAdopted, &name, &detail).map(|_| ())
        })
    }

    /// Renders what should be there; of a pinned target no more than `limit`.
    pub(super) fn make(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        book: Option<&Book>,
        limit: Option<&[Holding]>,
    ) -> Result<Made, Failed> {
        let wish = wish(self.settings, snapshot, stored, book);
        let view = match limit {
            Some(limit) => plan::only_held(&wish.view, limit),
            None => wish.view,
        };
        match made_of(self.mirror, self.settings, self.file, stored, view, &wish.illegal, false) {
            Ok(done) => Ok(Made::of(done, wish.problems)),
            Err(error) => Err(Failed::told(error, wish.problems)),
        }
    }

    /// Renders `view` as it is.
    pub(super) fn made_whole(
        &self,
        stored: &Stored,
        view: View,
        problems: Vec<String>,
    ) -> Result<Made, Failed> {
        match filled(self.mirror, self.settings, self.file, stored, &view, false) {
            Ok((done, left_out)) => Ok(Made::of(Rendering { view, done, left_out, refused: None }, problems)),
            Err(error) => Err(Failed::told(error, problems)),
        }
    }

    /// Renders what is left of what was held, since what should be there was refused because of `why`.
    fn make_held(&self, at: &At<'_>, limit: Option<&[Holding]>, why: &str) -> Option<Made> {
        let wish = wish(self.settings, at.snapshot, at.stored, Some(&at.stored.book));
        let view = match limit {
            Some(limit) => plan::only_held(&wish.view, limit),
            None => wish.view,
        };
        let fill = |view: &View| filled(self.mirror, self.settings, self.file, at.stored, view, false);
        let done = make::held(&view, &at.stored.holdings, why, &fill).ok()?;
        Some(Made::of(done, wish.problems))
    }

    /// Remembers what is about to be written: its digest, and what a reader to which it only adds will hold.
    fn remember(&self, at: &At<'_>, made: &Made, is_wanted: bool) -> Result<(), StoreError> {
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

    /// Puts the bytes in place, records it, reloads.
    fn put(
        &mut self,
        at: &At<'_>,
        made: Made,
        is_wanted: bool,
        expect: Expect,
        drift: Vec<Evidence>,
    ) -> Result<Outcome, Failed> {
        self.remember(at, &made, is_wanted)?;
        let Content::One(bytes) = &made.content else {
            return Err(Failed::told("a file was drawn as several".into(), made.problems));
        };
        let check = |bytes: &[u8]| self.file.format.check(bytes, &self.file.options);
        let applied = file::apply(&self.file.spec, bytes, expect, &check)
            .map_err(|error| Failed::from(&error, &made.problems))?;
        let swapped = match applied {
            Applied::Swapped(swapped) => Some(swapped),
            Applied::Unchanged => None,
        };
        let (published, since) = (self.published(bytes), self.since(at.saved, made.digest));
        let digest = made.digest;
        let seen = Seen::File(Some(made.digest), self.file.spec.mode);
        let on_disk = Known::from([(String::new(), seen)]);
        // A crash between the swap and its record leaves a file that nobody was told to load.
        let is_unrecorded = record::intended(at.saved) == Some(made.digest.to_string().as_str());
        let changed = swapped.is_some() || is_unrecorded;
        let put = Put { made, changed, on_disk, drift, owned: Vec::new(), gone: Vec::new() };
        let mut outcome = self.record(at, put)?;
        if let Some(bytes) = published {
            self.show(bytes, digest, since);
        }
        if let Some(swapped) = swapped {
            // The swap is recorded; a version that could not be kept is worth a word and no more.
            if let Err(error) = file::settle(&self.file.spec, &swapped, at.snapshot.seq().0) {
                outcome.problems.push(error.to_string());
            }
        }
        self.reload(at, outcome)
    }

    /// Records what is in place now: digest, holding, applied seq and whether a reload is owed, in one transaction.
    pub(super) fn record(&self, at: &At<'_>, done: Put) -> Result<Outcome, Failed> {
        let Put { made, changed, on_disk, drift, owned, gone: dropped } = done;
        let must_reload = self.must_reload(at, changed);
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
            detail: serde_json::Value::Null,
        }
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

/// What lies at the destination, judged.
struct Found {
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
            is_wanted,
            is_foreign: matches!(disk, OnDisk::File(_)) && !saved.record.adopted && !is_ours && !is_wanted,
            is_drifted: saved.record.adopted && !is_ours && !is_wanted,
        }
    }
}

/// A run that ended early.
pub(super) struct Failed {
    pub(super) error: String,
    pub(super) problems: Vec<String>,
    /// A check did not take the bytes; others may pass.
    is_rejected: bool,
}

impl Failed {
    pub(super) fn told(error: String, problems: Vec<String>) -> Self {
        Self { error, problems, is_rejected: false }
    }

    pub(super) fn from(error: &file::ApplyError, problems: &[String]) -> Self {
        let is_rejected = error.kind() == file::Kind::Refused;
        // The message ends in the hint already.
        Self { error: error.to_string(), problems: problems.to_vec(), is_rejected }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::told(error.to_string(), Vec::new())
    }
}
