//! The handle that the layers above hold.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::access::Verdict;
use crate::mirror::{Mirror, ReadTx, StoreError, target};
use crate::model::{Clock, Origin, Seq, TargetName};

use super::file::pin::NoVersion;
use super::file::reload::Reloads;
use super::guard::verdict::DecideError;
use super::latency::Meter;
use super::manage::{self, ForgetReport, RollbackReport};
use super::pull::Pull;
use super::shelf::Shelf;
use super::snapshot::{Rules, Source};
use super::status::Board;
use super::task::{Order, Task};
use super::timing::schedule::Pulse;
use super::webhook::Transport;
use super::webhook::command::{self, OrderError};
use super::webhook::deliver::Signals;
use super::{
    Decision, DecisionReport, DeliveryOrder, DeliveryRefused, DeliveryReport, Refused, Settings, State,
    SyncReport, TargetKind, TargetSettings, TargetStatus, Traffic, deadlines, pulse,
};

/// Why an order to the reconciler cannot be carried out.
#[derive(Debug)]
pub enum Error {
    /// No target of this name in the configuration.
    UnknownTarget(TargetName),
    /// The target cannot be set up: a webhook's URL or TLS.
    Setup(TargetName, String),
    /// The mirror could not be read or written.
    Store(StoreError),
    /// A webhook holds no versions.
    NotAFile(TargetName),
    /// No version to roll back to.
    NoVersion(TargetName, NoVersion),
    /// A target that is still in the configuration cannot be forgotten.
    Configured(TargetName),
    /// A file of a target to be forgotten cannot be removed.
    Forget(TargetName, String),
    /// An `approve` or `reject` that cannot be carried out.
    Refused(TargetName, Refused),
    /// An order about deliveries that cannot be carried out.
    Delivery(DeliveryRefused),
    /// It is shutting down.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTarget(name) => {
                write!(f, "no target is called `{name}`; `rosterd status` lists them")
            }
            Self::Setup(name, why) => write!(f, "cannot set up target `{name}`: {why}"),
            Self::Store(error) => error.fmt(f),
            Self::NotAFile(name) => write!(f, "target `{name}` is a webhook: it keeps no versions"),
            Self::NoVersion(name, NoVersion::None) => {
                write!(f, "target `{name}` keeps no earlier version; `keep` says how many")
            }
            Self::NoVersion(name, NoVersion::Unknown(seq, kept)) => {
                let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
                write!(f, "target `{name}` keeps no version of change {seq}; kept are {}", kept.join(", "))
            }
            Self::Configured(name) => {
                write!(f, "target `{name}` is in the config; take it out there and reload first")
            }
            Self::Forget(name, why) => write!(f, "target `{name}` is not forgotten: {why}"),
            Self::Refused(name, why) => write!(f, "target `{name}`: {why}"),
            Self::Delivery(why) => why.fmt(f),
            Self::Closed => f.write_str("the daemon is shutting down"),
        }
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// All targets under way. Clones share it.
#[derive(Clone)]
pub struct Reconciler {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) mirror: Mirror,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) source: Arc<Source>,
    pulse: watch::Receiver<Pulse>,
    stop_pulse: watch::Sender<bool>,
    shelf: Arc<Shelf>,
    pub(super) meter: Arc<Meter>,
    applied: Arc<watch::Sender<u64>>,
    targets: Mutex<Targets>,
    reloads: Arc<Reloads>,
}

#[derive(Default)]
pub(super) struct Targets {
    pub(super) running: Vec<Running>,
    /// Tasks of targets that the configuration dropped, still finishing their last run.
    leaving: Vec<JoinHandle<()>>,
}

/// One target under way.
pub(super) struct Running {
    pub(super) settings: Arc<TargetSettings>,
    pub(super) board: Arc<Board>,
    signals: Arc<Signals>,
    orders: mpsc::Sender<Order>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").finish_non_exhaustive()
    }
}

impl Reconciler {
    /// Starts a task for each target. Must be called inside a runtime. Files are looked at at once: what a crash
    /// left half-done is finished first.
    ///
    /// # Errors
    /// [`Error::Setup`]: a target's settings cannot work. [`Error::Store`]: the saved states cannot be read.
    pub fn start(mirror: Mirror, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let Settings { targets, roles, directories } = settings;
        let transports = transports(&targets)?;
        let source = Source::new(mirror.clone(), Arc::clone(&clock), Rules { roles, directories });
        let source = Arc::new(source);
        let (stop_pulse, stopped) = watch::channel(false);
        deadlines::start(mirror.clone(), Arc::clone(&source), stopped.clone());
        let meter = Arc::new(Meter::default());
        let newest = *mirror.changes().borrow();
        for target in &targets {
            meter.track(&target.name, applied_seq(&mirror, &target.name)?.unwrap_or(newest));
        }
        let pulse = pulse::start(mirror.clone(), Arc::clone(&source), Arc::clone(&meter), stopped);
        let shelf = Arc::new(Shelf::default());
        shelf.publish_only(&published(&targets));
        let reloads = Arc::new(Reloads::default());
        let applied = Arc::new(watch::Sender::new(0));
        let running = Mutex::new(Targets::default());
        let inner = Inner {
            mirror,
            clock,
            source,
            pulse,
            stop_pulse,
            shelf,
            meter,
            applied,
            targets: running,
            reloads,
        };
        let reconciler = Self { inner: Arc::new(inner) };
        let started = targets.into_iter().zip(transports).map(|(target, transport)| {
            let board = reconciler.board(&target)?;
            Ok(reconciler.launch(target, transport, board, Vec::new()))
        });
        let running = started.collect::<Result<Vec<Running>, Error>>()?;
        reconciler.targets().running = running;
        Ok(reconciler)
    }

    /// Runs `target` now and waits for it; with `adopt` a foreign file is taken over. Applies also under
    /// `apply = "manual"`. A run that fails is a report with an error, not an `Err`. A webhook's report says what was
    /// queued; its deliveries go out behind it.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Closed`].
    pub async fn sync(&self, target: &TargetName, adopt: bool, origin: Origin) -> Result<SyncReport, Error> {
        self.ask(target, |reply| Order::Sync { adopt, origin: origin.clone(), reply }).await
    }

    /// Gives an order to the task of `target` and waits for its answer.
    async fn ask<R>(
        &self,
        target: &TargetName,
        order: impl Fn(oneshot::Sender<R>) -> Order,
    ) -> Result<R, Error> {
        // A reload may replace the task in between; the second time meets the new one.
        for _ in 0..2 {
            let orders = {
                let targets = self.targets();
                let found = targets.running.iter().find(|one| one.settings.name == *target);
                found.ok_or_else(|| Error::UnknownTarget(target.clone()))?.orders.clone()
            };
            let (reply, answer) = oneshot::channel();
            if orders.send(order(reply)).await.is_ok()
                && let Ok(answer) = answer.await
            {
                return Ok(answer);
            }
        }
        Err(Error::Closed)
    }

    pub(super) fn settings_of(&self, target: &TargetName) -> Result<Arc<TargetSettings>, Error> {
        let targets = self.targets();
        let found = targets.running.iter().find(|one| one.settings.name == *target);
        found.map(|one| Arc::clone(&one.settings)).ok_or_else(|| Error::UnknownTarget(target.clone()))
    }

    /// Carries out a person's decision about removals that `target` holds back, and waits for the run that follows.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Refused`], [`Error::Store`]: nothing was decided. [`Error::Closed`].
    pub async fn decide(
        &self,
        target: &TargetName,
        decision: Decision,
        reason: Option<String>,
        origin: Origin,
    ) -> Result<DecisionReport, Error> {
        let order = |reply| Order::Decide {
            decision: decision.clone(),
            reason: reason.clone(),
            origin: origin.clone(),
            reply,
        };
        self.ask(target, order).await?
    }

    /// Events for readers.
    pub fn pull(&self) -> Pull {
        Pull::new(self.inner.mirror.clone(), Arc::clone(&self.inner.source))
    }

    /// What published targets show to readers.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.inner.shelf)
    }

    /// Carries out an order about deliveries and wakes the targets it touched.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Delivery`], [`Error::Store`]: nothing was done.
    pub async fn deliver(&self, order: DeliveryOrder, origin: Origin) -> Result<DeliveryReport, Error> {
        let told: command::Told = {
            let targets = self.targets();
            let all = targets.running.iter();
            all.map(|one| (one.settings.name.clone(), command::webhook_of(&one.settings.kind))).collect()
        };
        let mirror = self.inner.mirror.clone();
        let done =
            tokio::task::spawn_blocking(move || command::carry_out(&mirror, &told, order, origin)).await;
        let done = done.map_err(|error| StoreError::Bug(format!("deliveries: {error}")))?;
        let report = done.map_err(order_error)?;
        let targets = self.targets();
        for one in targets.running.iter().filter(|one| report.targets.contains(&one.settings.name)) {
            one.signals.commands.fetch_add(1, Ordering::SeqCst);
            one.signals.wake.notify_one();
            one.signals.refill.notify_one();
        }
        Ok(report)
    }

    /// Every target's state, in the order of the configuration.
    pub fn status(&self) -> Vec<TargetStatus> {
        self.targets().running.iter().map(|one| one.board.read()).collect()
    }

    pub(super) fn names(&self) -> Vec<TargetName> {
        self.targets().running.iter().map(|one| one.settings.name.clone()).collect()
    }

    /// Puts `target` back to what it held at the change `to`, or before the last, less what was revoked since; pins it
    /// there until `sync`, and waits for the run.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::NotAFile`], [`Error::NoVersion`], [`Error::Store`]: nothing was changed.
    /// [`Error::Closed`].
    pub async fn roll_back(
        &self,
        target: &TargetName,
        to: Option<Seq>,
        origin: Origin,
    ) -> Result<RollbackReport, Error> {
        self.ask(target, |reply| Order::RollBack { to, origin: origin.clone(), reply }).await?
    }

    /// Forgets a target that the configuration dropped; with `delete` its files go, as far as they are still ours.
    ///
    /// # Errors
    /// [`Error::Configured`], [`Error::UnknownTarget`], [`Error::Forget`], [`Error::Store`].
    pub async fn forget(
        &self,
        target: &TargetName,
        delete: bool,
        origin: Origin,
    ) -> Result<ForgetReport, Error> {
        let (mirror, configured, name) = (self.inner.mirror.clone(), self.names(), target.clone());
        let leaving: Vec<JoinHandle<()>> = std::mem::take(&mut self.targets().leaving);
        for task in leaving {
            // Its last run might write once more.
            let _ended = task.await;
        }
        let forgotten =
            tokio::task::spawn_blocking(move || manage::forget(&mirror, &configured, &name, delete, origin));
        forgotten.await.map_err(|error| StoreError::Bug(format!("forget: {error}")))?
    }

    /// Targets whose task has ended although nobody told it to: a bug. The daemon ends the process then, since a daemon
    /// with a dead target looks healthy and is not.
    pub fn dead(&self) -> Vec<TargetName> {
        let targets = self.targets();
        let dead = targets.running.iter().filter(|one| one.tasks.iter().any(JoinHandle::is_finished));
        dead.map(|one| one.settings.name.clone()).collect()
    }

    /// Takes new settings: targets that went stop after their run under way, their files stay; new and changed ones
    /// start; roles and directories count from the next run on, which is at once.
    ///
    /// # Errors
    /// [`Error::Setup`], [`Error::Store`]: nothing was changed.
    #[expect(
        clippy::unused_async,
        reason = "callers await it, as they must once a reload is confirmed by runs"
    )]
    pub async fn replace_settings(&self, settings: Settings) -> Result<(), Error> {
        let Settings { targets, roles, directories } = settings;
        let transports = transports(&targets)?;
        let boards = targets.iter().map(|target| self.board(target)).collect::<Result<Vec<_>, _>>()?;
        self.inner.shelf.publish_only(&published(&targets));
        let newest = *self.inner.mirror.changes().borrow();
        self.inner.meter.keep_only(&targets.iter().map(|target| target.name.clone()).collect());
        for target in &targets {
            let applied = applied_seq(&self.inner.mirror, &target.name)?;
            self.inner.meter.track(&target.name, applied.unwrap_or(newest));
        }
        self.inner.source.set_rules(Rules { roles, directories });
        let mut all = self.targets();
        let mut before = std::mem::take(&mut all.running);
        for one in &before {
            one.stop.send_replace(true);
        }
        for ((target, transport), board) in targets.into_iter().zip(transports).zip(boards) {
            let old = before.iter().position(|one| one.settings.name == target.name);
            let old = old.map(|at| before.swap_remove(at).tasks).unwrap_or_default();
            let started = self.launch(target, transport, board, old);
            all.running.push(started);
        }
        all.leaving.retain(|task| !task.is_finished());
        all.leaving.extend(before.into_iter().flat_map(|one| one.tasks));
        Ok(())
    }

    /// Stops: runs under way are finished, nothing new begins.
    pub async fn shutdown(&self) {
        self.inner.stop_pulse.send_replace(true);
        let tasks: Vec<JoinHandle<()>> = {
            let mut all = self.targets();
            for one in &all.running {
                one.stop.send_replace(true);
            }
            let leaving = std::mem::take(&mut all.leaving);
            let running = std::mem::take(&mut all.running).into_iter().flat_map(|one| one.tasks);
            running.chain(leaving).collect()
        };
        for task in tasks {
            // One that panicked has ended too.
            let _ended = task.await;
        }
    }

    pub(super) fn targets(&self) -> MutexGuard<'_, Targets> {
        self.inner.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status a target begins with: what its last life saved.
    fn board(&self, target: &TargetSettings) -> Result<Arc<Board>, Error> {
        let (saved, exceptions) = self.inner.mirror.read(|tx: &mut ReadTx<'_>| {
            Ok::<_, StoreError>((target::state(tx, &target.name)?, target::exceptions(tx, &target.name)?))
        })?;
        let held = exceptions.iter().filter(|one| one.verdict == Verdict::Held).count();
        let saved = saved.unwrap_or_default();
        let drift = super::record::drift(&saved);
        Ok(Arc::new(Board::new(TargetStatus {
            name: target.name.clone(),
            kind: target.kind.as_str(),
            state: State::Pending,
            applied_seq: saved.applied.map_or(Seq::ZERO, |id| id.seq),
            last_success: saved.record.last_success,
            last_error: saved.record.last_error,
            held_removals: held as u64,
            open: 0,
            parked: 0,
            traffic: matches!(target.kind, TargetKind::Webhook(_)).then(Traffic::default),
            problems: Vec::new(),
            drift,
        })))
    }

    /// Starts a target's tasks, which begin once `before`, the ones they replace, have ended: two of one target must
    /// never run at a time.
    fn launch(
        &self,
        settings: TargetSettings,
        transport: Option<Transport>,
        board: Arc<Board>,
        before: Vec<JoinHandle<()>>,
    ) -> Running {
        let inner = &self.inner;
        let settings = Arc::new(settings);
        let (stop, stopped) = watch::channel(false);
        let (orders, taken) = mpsc::channel(16);
        let signals = Arc::new(Signals::default());
        let task = Task {
            mirror: inner.mirror.clone(),
            clock: Arc::clone(&inner.clock),
            source: Arc::clone(&inner.source),
            settings: Arc::clone(&settings),
            board: Arc::clone(&board),
            pulse: inner.pulse.clone(),
            reloads: Arc::clone(&inner.reloads),
            shelf: Arc::clone(&inner.shelf),
            meter: Arc::clone(&inner.meter),
            signals: Arc::clone(&signals),
            applied: Arc::clone(&inner.applied),
        };
        let sender = transport.and_then(|transport| task.sender(transport));
        let joined = tokio::spawn(async move {
            for old in before {
                let _ended = old.await;
            }
            let sending = sender.map(|sender| tokio::spawn(sender.run(stopped.clone())));
            task.run(taken, stopped).await;
            if let Some(sending) = sending {
                let _ended = sending.await;
            }
        });
        Running { settings, board, signals, orders, stop, tasks: vec![joined] }
    }
}

/// Up to where a target had been applied; `None` if never.
fn applied_seq(mirror: &Mirror, name: &TargetName) -> Result<Option<Seq>, StoreError> {
    let saved = mirror.read(|tx: &mut ReadTx<'_>| target::state(tx, name))?;
    Ok(saved.and_then(|saved| saved.applied).map(|id| id.seq))
}

fn published(targets: &[TargetSettings]) -> Vec<TargetName> {
    targets.iter().filter(|one| one.is_published()).map(|one| one.name.clone()).collect()
}

/// A way out for each target that is told of events, in the order of `targets`.
fn transports(targets: &[TargetSettings]) -> Result<Vec<Option<Transport>>, Error> {
    let transport = |target: &TargetSettings| match &target.kind {
        TargetKind::File(_) => Ok(None),
        TargetKind::Webhook(webhook) => Transport::new(webhook)
            .map(Some)
            .map_err(|error| Error::Setup(target.name.clone(), error.to_string())),
    };
    targets.iter().map(transport).collect()
}

pub(super) fn order_error(error: OrderError) -> Error {
    match error {
        OrderError::UnknownTarget(name) => Error::UnknownTarget(name),
        OrderError::Refused(why) => Error::Delivery(why),
        OrderError::Store(error) => Error::Store(error),
    }
}

pub(super) fn decide_error(target: &TargetName, error: DecideError) -> Error {
    match error {
        DecideError::Refused(why) => Error::Refused(target.clone(), why),
        DecideError::Store(error) => Error::Store(error),
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
