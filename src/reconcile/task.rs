//! One target's own task: waits for whatever wakes it, runs, and waits again. Nothing of another target can hold it up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::mirror::{Mirror, StoreError};
use crate::model::{Clock, Origin, Seq, Timestamp};
use crate::telemetry::span;

use super::file::drift;
use super::file::look::{self, Known};
use super::file::outcome::{Cause, Outcome};
use super::file::reload::{Expected, Reloads};
use super::file::run::FileRun;
use super::guard::notify;
use super::guard::verdict::{self, Notice};
use super::handle::{Error, decide_error};
use super::latency::Meter;
use super::manage::{self, RollbackReport};
use super::pulse::stopped;
use super::settings::{Ordering, POLL_DEFAULT, TargetKind, TargetSettings};
use super::shelf::Shelf;
use super::snapshot::{Snapshot, Source};
use super::status::{Board, DecisionReport, SyncReport};
use super::timing::backoff;
use super::timing::schedule::{Clockwork, Debounce, Pulse, Wait};
use super::webhook::Transport;
use super::webhook::circuit::Circuit;
use super::webhook::deliver::{Sender, Signals, random};
use super::webhook::run::WebhookRun;
use super::{Apply, Decision, State};

/// How long a touched file may settle before it is looked at.
const DRIFT_SETTLE: Duration = Duration::from_millis(200);

/// How long additions gather for a receiver that is away.
const STALLED_WAIT: Duration = Duration::from_secs(1);

/// An order to one target.
pub(super) enum Order {
    /// Run now and answer.
    Sync {
        /// Take over a foreign file.
        adopt: bool,
        /// Who asked.
        origin: Origin,
        /// Where the report goes.
        reply: oneshot::Sender<SyncReport>,
    },
    /// Pin to an earlier version, run and answer.
    RollBack {
        /// The change it shows; `None`: the one before the present.
        to: Option<Seq>,
        /// By whom.
        origin: Origin,
        /// Where the report goes.
        reply: oneshot::Sender<Result<RollbackReport, Error>>,
    },
    /// Carry out a person's decision, run and answer.
    Decide {
        /// What is decided.
        decision: Decision,
        /// Why, if the person said.
        reason: Option<String>,
        /// By whom.
        origin: Origin,
        /// Where the report goes.
        reply: oneshot::Sender<Result<DecisionReport, Error>>,
    },
}

/// Everything a target's task works with.
pub(super) struct Task {
    pub(super) mirror: Mirror,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) source: Arc<Source>,
    pub(super) settings: Arc<TargetSettings>,
    pub(super) board: Arc<Board>,
    pub(super) pulse: watch::Receiver<Pulse>,
    /// The reload commands of all targets.
    pub(super) reloads: Arc<Reloads>,
    /// Where a published target shows its bytes.
    pub(super) shelf: Arc<Shelf>,
    /// What measures how long revocations take.
    pub(super) meter: Arc<Meter>,
    /// What it and the sender of its deliveries say to each other.
    pub(super) signals: Arc<Signals>,
    /// Grows whenever a file target was applied, for those that speak for it.
    pub(super) applied: Arc<watch::Sender<u64>>,
}

/// What changes while the task lives.
struct Life {
    /// Who asked for the run that comes now.
    origin: Option<Origin>,
    born: Instant,
    debounce: Debounce,
    clockwork: Clockwork,
    seen: Seq,
    retry_at: Option<Instant>,
    drift_at: Option<Instant>,
    poll_at: Instant,
    failures: u32,
    /// When the hold that stands is released by itself.
    release_at: Option<Timestamp>,
    /// The beginning of the hold that was told of last.
    told: Option<Timestamp>,
    on_disk: Known,
    /// The run that a change has been promised.
    expected: Option<Expected>,
    /// What the last run saw that could tell all of it, to go on with when there is room for more deliveries.
    snapshot: Option<Arc<Snapshot>>,
}

impl Task {
    /// Lives until told to stop; a run under way is finished first.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stop: watch::Receiver<bool>) {
        let (touched, mut touches) = mpsc::channel(1);
        let _watcher = match &self.settings.kind {
            TargetKind::File(file) => drift::watch(file, touched.clone()),
            TargetKind::Webhook(_) => None,
        };
        let mut life = Life {
            origin: None,
            born: Instant::now(),
            debounce: Debounce::default(),
            clockwork: Clockwork::new(self.settings.schedule.clone(), self.clock.now()),
            seen: Seq::ZERO,
            retry_at: None,
            drift_at: None,
            poll_at: Instant::now() + self.poll(),
            failures: 0,
            release_at: None,
            told: None,
            on_disk: Known::new(),
            expected: None,
            snapshot: None,
        };
        self.show_again().await;
        let mut applied = self.applied.subscribe();
        let speaks_for_others =
            matches!(&self.settings.kind, TargetKind::Webhook(webhook) if !webhook.after.is_empty());
        self.pass(&mut life, Cause::Start).await;
        self.shelf.settle(&self.settings.name);
        loop {
            let deadline = self.deadline(&life);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                order = orders.recv() => match order {
                    Some(Order::Sync { adopt, origin, reply }) => {
                        life.origin = Some(origin);
                        let report = self.pass(&mut life, Cause::Sync { adopt }).await;
                        // Whoever asked may have gone.
                        let _gone = reply.send(report);
                    }
                    Some(Order::RollBack { to, origin, reply }) => {
                        let report = self.roll_back(&mut life, to, origin).await;
                        let _gone = reply.send(report);
                    }
                    Some(Order::Decide { decision, reason, origin, reply }) => {
                        let report = self.decide(&mut life, (decision, reason), origin).await;
                        let _gone = reply.send(report);
                    }
                    None => return,
                },
                changed = self.pulse.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pulse = *self.pulse.borrow_and_update();
                    if pulse.word > life.seen {
                        self.pass(&mut life, Cause::Wake).await;
                    } else if pulse.seq > life.seen && self.settings.on_change {
                        // The last run may have seen it already.
                        life.debounce.change(life.born.elapsed(), pulse.revoke > life.seen);
                        self.expect(&mut life);
                    }
                }
                () = self.signals.refill.notified() => self.refill(&mut life).await,
                Ok(()) = applied.changed(), if speaks_for_others => {
                    self.pass(&mut life, Cause::Wake).await;
                }
                Some(()) = touches.recv() => {
                    life.drift_at.get_or_insert(Instant::now() + DRIFT_SETTLE);
                }
                () = tokio::time::sleep_until(deadline) => self.due(&mut life).await,
            }
        }
    }

    /// Lets readers have at once what they had before the restart.
    async fn show_again(&self) {
        if !self.settings.is_published() {
            return;
        }
        let (mirror, clock, settings, shelf) = (
            self.mirror.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.settings),
            Arc::clone(&self.shelf),
        );
        let shown = tokio::task::spawn_blocking(move || {
            if let TargetKind::File(file) = &settings.kind {
                let (mirror, clock, settings, shelf) = (&mirror, &clock, &*settings, &*shelf);
                let origin = Origin::daemon();
                FileRun { mirror, clock, settings, file, shelf, turn: None, origin, cause: None }
                    .show_again();
            }
        });
        // Whatever went wrong, the run that follows shows what it applies.
        let _shown = shown.await;
    }

    /// How often the files are looked at where watching their folder is not enough.
    fn poll(&self) -> Duration {
        match &self.settings.kind {
            TargetKind::File(file) => file.poll,
            TargetKind::Webhook(_) => POLL_DEFAULT,
        }
    }

    /// How long changes gather. What is added waits longer while nothing can be sent anyway: a receiver that is away
    /// then costs one look a second, and the others none of their time.
    fn wait(&self) -> Wait {
        if self.is_stalled() { self.settings.wait.for_additions(STALLED_WAIT) } else { self.settings.wait }
    }

    /// Whether everything waits for a receiver that does not answer.
    fn is_stalled(&self) -> bool {
        let TargetKind::Webhook(webhook) = &self.settings.kind else { return false };
        let status = self.board.read();
        match webhook.ordering {
            Ordering::Target => status.state == State::Failing,
            Ordering::Resource => {
                status.traffic.as_ref().is_some_and(|traffic| traffic.circuit == Circuit::Open)
            }
        }
    }

    /// Tells those that share its reload command when this target runs.
    fn expect(&self, life: &mut Life) {
        let due = life.debounce.due(&self.wait()).map(|due| (life.born + due).into_std());
        life.expected = match (&self.settings.kind, due) {
            (TargetKind::File(file), Some(due)) => self.reloads.expect(file, due),
            _ => None,
        };
    }

    fn deadline(&self, life: &Life) -> Instant {
        let debounced = life.debounce.due(&self.wait()).map(|due| life.born + due);
        let scheduled = life.clockwork.wait(self.clock.now()).map(|wait| Instant::now() + wait);
        // At most a minute, so that a turned clock is noticed.
        let released =
            life.release_at.map(|at| Instant::now() + at.since(self.clock.now()).min(Duration::from_mins(1)));
        let waits = [debounced, scheduled, released, life.retry_at, life.drift_at, Some(life.poll_at)];
        waits.into_iter().flatten().min().unwrap_or(life.poll_at)
    }

    /// Something is due: a full run, or only a look at the file.
    async fn due(&self, life: &mut Life) {
        let now = Instant::now();
        let is_debounced = life.debounce.due(&self.wait()).is_some_and(|due| life.born + due <= now);
        let is_scheduled = life.clockwork.is_due(self.clock.now());
        let is_retry = life.retry_at.is_some_and(|at| at <= now);
        let is_released = life.release_at.is_some_and(|at| at <= self.clock.now());
        if is_debounced || is_scheduled || is_retry || is_released {
            self.pass(life, Cause::Wake).await;
            return;
        }
        let is_touched = life.drift_at.is_some_and(|at| at <= now);
        if is_touched || life.poll_at <= now {
            life.drift_at = None;
            life.poll_at = now + self.poll();
            if self.is_drifted(life.on_disk.clone()).await {
                self.pass(life, Cause::Drift).await;
            }
        }
    }

    /// Whether the file is not what the last run left; our own writes are.
    async fn is_drifted(&self, known: Known) -> bool {
        if !matches!(self.settings.kind, TargetKind::File(_)) {
            return false;
        }
        let settings = Arc::clone(&self.settings);
        let looked = tokio::task::spawn_blocking(move || match &settings.kind {
            TargetKind::File(file) => look::differs(file, &known),
            TargetKind::Webhook(_) => false,
        });
        looked.await.unwrap_or(true)
    }

    /// One run and what follows from its outcome.
    async fn pass(&self, life: &mut Life, cause: Cause) -> SyncReport {
        life.debounce.clear();
        life.retry_at = None;
        life.drift_at = None;
        let span = span::run(self.settings.name.as_str());
        let (outcome, snapshot) =
            self.outcome(cause, life.expected.take(), life.origin.take()).instrument(span.clone()).await;
        span::ran(&span, outcome.state.as_str());
        let seen = snapshot.as_ref().map(|snapshot| snapshot.seq());
        life.seen = seen.unwrap_or(life.seen);
        if !self.is_restrained(cause) {
            life.snapshot = snapshot.or(life.snapshot.take());
        }
        life.on_disk.clone_from(&outcome.on_disk);
        life.poll_at = Instant::now() + self.poll();
        if outcome.state == State::Failing {
            life.failures = life.failures.saturating_add(1);
            life.retry_at = Some(Instant::now() + backoff::run(life.failures, random()));
        } else {
            life.failures = 0;
        }
        let is_applied = matches!(outcome.state, State::InSync | State::Held | State::Pinned);
        self.tell(&outcome, seen.filter(|_| is_applied));
        // A run that failed is tried again anyway; a moment in the past would be due for ever.
        life.release_at = outcome.guarded.as_ref().and_then(|guarded| guarded.until);
        if let Some(guarded) = &outcome.guarded {
            if guarded.expired > 0 {
                tracing::warn!(target_name = %self.settings.name, removals = guarded.expired,
                    "`max_hold` ran out: held removals are applied without a person's word");
            }
            if let Some(notice) = guarded.notice.as_ref().filter(|notice| life.told != Some(notice.began)) {
                life.told = Some(notice.began);
                self.raise(notice.clone());
            }
        }
        self.signals.wake.notify_one();
        if is_applied && matches!(self.settings.kind, TargetKind::File(_)) {
            self.applied.send_modify(|count| *count = count.wrapping_add(1));
        }
        let status = self.board.read();
        SyncReport {
            target: self.settings.name.clone(),
            state: status.state,
            applied_seq: status.applied_seq,
            changed: outcome.changed,
            added: outcome.added,
            removed: outcome.removed,
            renamed: outcome.renamed,
            error: outcome.error,
        }
    }

    /// A rollback and the run that puts it in place.
    async fn roll_back(
        &self,
        life: &mut Life,
        to: Option<Seq>,
        origin: Origin,
    ) -> Result<RollbackReport, Error> {
        let (mirror, settings) = (self.mirror.clone(), Arc::clone(&self.settings));
        let done = tokio::task::spawn_blocking(move || {
            manage::pinned(&mirror, &settings.kind, &settings.name, to, origin)
        });
        let pinned = done.await.map_err(|error| StoreError::Bug(format!("rollback: {error}")))??;
        let (target, to_seq, seq) = (&self.settings.name, pinned.to_seq, pinned.seq);
        tracing::warn!(target_name = %target, %to_seq, %seq, "a person rolled the target back; it is pinned until `sync`");
        let report = self.pass(life, Cause::Rollback).await;
        let (state, error) = (Some(report.state), report.error);
        Ok(RollbackReport { state, error, added: report.added, removed: report.removed, ..pinned })
    }

    /// A person's decision and the run that follows from it.
    async fn decide(
        &self,
        life: &mut Life,
        decision: (Decision, Option<String>),
        origin: Origin,
    ) -> Result<DecisionReport, Error> {
        let (mirror, settings) = (self.mirror.clone(), Arc::clone(&self.settings));
        let by = origin.clone();
        let done =
            tokio::task::spawn_blocking(move || verdict::decide(&mirror, &settings, decision, origin)).await;
        let done = done.map_err(|error| StoreError::Bug(format!("decide: {error}")))?;
        let target = &self.settings.name;
        let (decided, held_removals, seq) = done.map_err(|error| decide_error(target, error))?;
        // What the run records of itself, too.
        life.origin = Some(by);
        tracing::info!(target_name = %target, released = decided.released, rejected = decided.rejected,
            given_back = decided.given_back, held_removals, %seq, "a person decided about held removals");
        let report = self.pass(life, Cause::Wake).await;
        let (state, error) = (Some(report.state), report.error);
        Ok(DecisionReport { target: target.clone(), decided, held_removals, seq, state, error })
    }

    /// Tells people of a hold: one line in the log, and `notify`, once for each hold.
    fn raise(&self, notice: Notice) {
        let name = self.settings.name.clone();
        let next = format!(
            "removals are held until a person decides: `rosterd plan {name}` shows them, `rosterd approve {name} \
             --plan {}` lets them go, `rosterd reject {name}` keeps them",
            notice.plan
        );
        tracing::error!(target_name = %name, removals = notice.held, people = notice.people, "{next}");
        if notice.told {
            return;
        }
        // Not waited for: a slow command or receiver must not delay what may go.
        drop(tokio::spawn(notify::tell(
            self.mirror.clone(),
            name,
            self.settings.guard.notify.clone(),
            notice,
        )));
    }

    /// Whether a run for this reason may only tell what a shut takes away: all else waits for `sync`.
    fn is_restrained(&self, cause: Cause) -> bool {
        matches!(self.settings.kind, TargetKind::Webhook(_))
            && self.settings.apply == Apply::Manual
            && !matches!(cause, Cause::Sync { .. })
    }

    /// What may be told without a new run, and up to which change. Under `apply = "manual"` that is what the last `sync`
    /// saw; what a person asked to have sent again is told by what is so now.
    async fn refilled_from(&self, life: &Life) -> Option<(Arc<Snapshot>, Seq)> {
        let last = life.snapshot.clone().map(|snapshot| (Arc::clone(&snapshot), snapshot.seq()));
        if self.settings.apply != Apply::Manual {
            return last;
        }
        let newest = self.source.newest().await.ok()?;
        Some((newest, last.map_or(Seq::ZERO, |(_, to)| to)))
    }

    /// There is room for more deliveries: goes on with what the last run saw, and once that is told, looks anew.
    async fn refill(&self, life: &mut Life) {
        if matches!(self.settings.kind, TargetKind::File(_)) {
            return;
        }
        let Some((snapshot, to)) = self.refilled_from(life).await else { return };
        let (mirror, clock, settings) =
            (self.mirror.clone(), Arc::clone(&self.clock), Arc::clone(&self.settings));
        let signals = Arc::clone(&self.signals);
        let done = tokio::task::spawn_blocking(move || {
            let TargetKind::Webhook(webhook) = &settings.kind else { return Ok(false) };
            let (mirror, clock, settings) = (&mirror, &clock, &*settings);
            WebhookRun { mirror, clock, settings, webhook, signals: &signals }.refill(&snapshot, to)
        });
        match done.await {
            Ok(Ok(false)) => self.signals.wake.notify_one(),
            Ok(Ok(true)) => {
                self.pass(life, Cause::Wake).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(target_name = %self.settings.name, %error, "cannot make more deliveries");
                life.retry_at = Some(Instant::now() + backoff::run(1, random()));
            }
            Err(error) => {
                tracing::error!(target_name = %self.settings.name, %error, "making deliveries broke off");
                life.retry_at = Some(Instant::now() + backoff::run(1, random()));
            }
        }
    }

    async fn outcome(
        &self,
        cause: Cause,
        expected: Option<Expected>,
        origin: Option<Origin>,
    ) -> (Outcome, Option<Arc<Snapshot>>) {
        // Before anything is read, so that others of this batch wait for this run's swap.
        let turn = match &self.settings.kind {
            TargetKind::File(file) => self.reloads.enter(file),
            TargetKind::Webhook(_) => None,
        };
        drop(expected);
        let snapshot = match self.source.newest().await {
            Ok(snapshot) => snapshot,
            Err(error) => return (Outcome::failed(error.to_string()), None),
        };
        let kept = Arc::clone(&snapshot);
        let (mirror, clock, settings) =
            (self.mirror.clone(), Arc::clone(&self.clock), Arc::clone(&self.settings));
        let shelf = Arc::clone(&self.shelf);
        let (signals, is_restrained) = (Arc::clone(&self.signals), self.is_restrained(cause));
        let run = tokio::task::spawn_blocking(move || match &settings.kind {
            TargetKind::File(file) => {
                let (mirror, clock, settings, shelf) = (&mirror, &clock, &*settings, &*shelf);
                let origin = origin.unwrap_or_else(Origin::daemon);
                FileRun { mirror, clock, settings, file, shelf, turn, origin, cause: None }
                    .run(&snapshot, cause)
            }
            TargetKind::Webhook(webhook) => {
                let (mirror, clock, settings) = (&mirror, &clock, &*settings);
                let run = WebhookRun { mirror, clock, settings, webhook, signals: &signals };
                if is_restrained { run.shut(&snapshot) } else { run.run(&snapshot) }
                    .unwrap_or_else(|error| Outcome::failed(error.to_string()))
            }
        });
        let outcome =
            run.await.unwrap_or_else(|error| Outcome::failed(format!("the run broke off: {error}")));
        (outcome, Some(kept))
    }

    fn tell(&self, outcome: &Outcome, applied: Option<Seq>) {
        let now: Timestamp = self.clock.now();
        let name = &self.settings.name;
        let before = self.board.read();
        if let Some(error) = outcome.error.as_ref().filter(|error| before.last_error.as_ref() != Some(error))
        {
            tracing::warn!(target_name = %name, state = outcome.state.as_str(), error, "target is not in sync");
        } else if outcome.changed {
            let (added, removed) = (outcome.added, outcome.removed);
            tracing::info!(target_name = %name, added, removed, renamed = outcome.renamed, "target brought up to date");
        }
        let is_file = matches!(self.settings.kind, TargetKind::File(_));
        if let Some(seq) = applied.filter(|_| is_file) {
            let held = outcome.guarded.as_ref().is_some_and(|guarded| guarded.held > 0);
            self.meter.enforced(&self.mirror, name, (seq, held), now);
        }
        for one in &outcome.drift {
            let (path, what, uid, modified) = (&one.path, &one.what, one.uid, one.modified.as_deref());
            tracing::warn!(target_name = %name, path, what, uid, modified, repaired = one.repaired,
                "somebody touched what rosterd wrote");
        }
        self.board.update(|status| {
            if !outcome.drift.is_empty() {
                status.drift.clone_from(&outcome.drift);
            }
            status.problems.clone_from(&outcome.problems);
            if let Some(guarded) = &outcome.guarded {
                status.held_removals = guarded.held;
            }
            // A webhook's state is its sender's to say, unless the run itself failed.
            if is_file || outcome.state != State::InSync {
                status.state = outcome.state;
                status.last_error.clone_from(&outcome.error);
            }
            if let Some(seq) = applied.filter(|_| is_file) {
                status.applied_seq = seq;
                status.last_success = Some(now);
            }
            let is_told = outcome.state == State::InSync && status.state == State::NeedsSnapshot;
            if !is_file && (outcome.changed || is_told) {
                status.state = State::Pending;
            }
        });
    }
}

impl Task {
    /// The sender of this target's deliveries.
    pub(super) fn sender(&self, transport: Transport) -> Option<Sender> {
        let TargetKind::Webhook(settings) = &self.settings.kind else { return None };
        Some(Sender {
            mirror: self.mirror.clone(),
            clock: Arc::clone(&self.clock),
            name: self.settings.name.clone(),
            settings: settings.clone(),
            transport,
            board: Arc::clone(&self.board),
            meter: Arc::clone(&self.meter),
            signals: Arc::clone(&self.signals),
        })
    }
}
