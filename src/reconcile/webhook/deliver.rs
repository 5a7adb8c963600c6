//! Sends a target's deliveries in their order, keeps the record of every attempt, and says how the target stands.
//!
//! Several acknowledged deliveries are recorded in one transaction: a crash before it sends them again, in the same
//! order and under the same ids, which is what "at least once" means (DESIGN §6.10).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::downstream::webhook::{Attempt, Outcome, Request};
use crate::mirror::change;
use crate::mirror::delivery::{self, Counts, Delivery, Head, Sent};
use crate::mirror::target::State as Saved;
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, target};
use crate::model::{ChangeId, Clock, EventId, Origin, Seq, TargetName, Timestamp};

use crate::reconcile::State;
use crate::reconcile::event;
use crate::reconcile::latency::Meter;
use crate::reconcile::pulse::stopped;
use crate::reconcile::record;
use crate::reconcile::restored::{self, Standing};
use crate::reconcile::settings::{self, BATCH_EVENTS_MAX, CONCURRENCY, WebhookSettings};
use crate::reconcile::status::{Board, Traffic};
use crate::reconcile::timing::backoff;
use crate::telemetry::span;

use super::batch;
use super::circuit::{Breaker, Gate};
use super::pick::{self, Job, Picked, Unit};
use super::progress::Progress;
use super::run::WINDOW;
use super::transport::Transport;

/// How often a target that waits is looked at for what a person did to its deliveries without the daemon knowing.
const LOOK: Duration = Duration::from_secs(5);

/// Longest that acknowledged deliveries wait for their record.
const RECORD_WITHIN: Duration = Duration::from_millis(200);

/// Finished deliveries kept of each target, for people and for `replay`.
const KEPT: u32 = 2_000;

/// Longest that a finished delivery is kept.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Finished deliveries after which old ones are dropped.
const PRUNE_EVERY: u64 = 500;

/// What the parts of a target that is told of events say to each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Wakes the sender.
    pub(crate) wake: Notify,
    /// Wakes the task: there is room for more deliveries.
    pub(crate) refill: Notify,
    /// The window stopped the last run; there is more to tell.
    pub(crate) more: AtomicBool,
    /// Grows with every command about deliveries: what was read before it is read again.
    pub(crate) commands: AtomicU64,
}

/// One target's sender.
pub(crate) struct Sender {
    pub(crate) mirror: Mirror,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) name: TargetName,
    pub(crate) settings: WebhookSettings,
    pub(crate) transport: Transport,
    pub(crate) board: Arc<Board>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) signals: Arc<Signals>,
}

/// What changes while a sender lives.
#[derive(Default)]
struct Live {
    flying: JoinSet<Landed>,
    busy: BTreeSet<String>,
    breaker: Breaker,
    commands: u64,
    finished: u64,
    traffic: Traffic,
}

/// A job that ended, with the outcome of each request made.
struct Landed {
    key: String,
    made: Vec<(Unit, Attempt, Timestamp)>,
    began: Began,
}

/// What was so when a job began: an answer that comes after a person's word says nothing against that word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Began {
    /// [`Signals::commands`].
    commands: u64,
    /// How often events had been asked for again.
    replays: u64,
}

/// What a look at the mirror shows.
struct Seen {
    saved: Saved,
    heads: Vec<Head>,
    counts: Counts,
    /// How many of the open ones may be sent: while events are sent again, those up to where that has come.
    open: u64,
    oldest: Option<Timestamp>,
    is_disabled: bool,
    newest: Seq,
}

impl Sender {
    /// Sends until told to stop. An attempt under way is dropped then; it is made again after the next start.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut live = Live { breaker: self.asked_before(), ..Live::default() };
        loop {
            let wait = match self.step(&mut live).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(target_name = %self.name, %error, "cannot record deliveries");
                    self.board.update(|status| {
                        status.state = State::Failing;
                        status.last_error = Some(error.to_string());
                    });
                    LOOK
                }
            };
            let landed = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                Some(landed) = live.flying.join_next() => Some(landed),
                () = self.signals.wake.notified() => None,
                () = tokio::time::sleep(wait) => None,
            };
            let mut all: Vec<Landed> = landed.into_iter().filter_map(Result::ok).collect();
            while let Some(more) = live.flying.try_join_next() {
                all.extend(more.ok());
            }
            if live.flying.is_empty() {
                // A job that panicked must not keep its resource busy for ever.
                live.busy.clear();
            }
            while let Err(error) = self.record(&mut live, &all).await {
                // Not recorded: after a crash it is sent again, under the same id.
                tracing::warn!(target_name = %self.name, %error, "cannot record deliveries");
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = stopped(&mut stop) => return,
                }
            }
        }
    }

    /// What the receiver asked for before a restart: it may still want to be left alone.
    fn asked_before(&self) -> Breaker {
        let saved = self.mirror.read_one::<_, StoreError>(|tx| target::state(tx, &self.name));
        let saved = saved.ok().flatten().unwrap_or_default();
        Breaker::until(record::not_before(&saved))
    }

    /// Begins what may begin. Answers how long there is nothing else to begin.
    async fn step(&self, live: &mut Live) -> Result<Duration, StoreError> {
        let commands = self.signals.commands.load(Ordering::SeqCst);
        if live.commands != commands {
            live.commands = commands;
            live.breaker.nudged();
        }
        let seen = self.look()?;
        if let Standing::Whole(why) = restored::standing(&self.mirror, &self.name, &seen.saved)? {
            self.board.update(|status| {
                status.state = State::Unverified;
                status.last_error = Some(why);
            });
            return Ok(LOOK);
        }
        let now = self.clock.now();
        let picked = self.pick(live, &seen, now);
        self.show(live, &seen, now);
        if self.signals.more.load(Ordering::SeqCst) && seen.open <= WINDOW / 2 {
            self.signals.refill.notify_one();
        }
        for job in picked.jobs {
            self.begin(live, job, record::replays(&seen.saved)).await?;
        }
        let wait = picked.wake_at.map_or(LOOK, |at| at.since(now).min(LOOK));
        Ok(wait.max(Duration::from_millis(1)))
    }

    fn look(&self) -> Result<Seen, StoreError> {
        let newest = *self.mirror.changes().borrow();
        self.mirror.read(|tx: &mut ReadTx<'_>| {
            let saved = target::state(tx, &self.name)?.unwrap_or_default();
            let limit = match (self.settings.ordering, &self.settings.batch) {
                (settings::Ordering::Resource, _) => 2_000,
                (settings::Ordering::Target, Some(batch)) => {
                    u32::try_from(batch.max_events).unwrap_or(u32::MAX).saturating_add(1)
                }
                (settings::Ordering::Target, None) => 64,
            };
            let to = Progress::of(&saved).limit(&saved);
            let mut heads = delivery::heads(tx, &self.name, to, limit)?;
            if heads.first().is_some_and(|first| first.batch.is_some()) {
                // It goes whole, also where batches are smaller by now.
                heads = delivery::heads(tx, &self.name, to, limit.max(BATCH_EVENTS_MAX))?;
            }
            Ok(Seen {
                heads,
                counts: delivery::counts(tx, &self.name)?,
                open: delivery::open_to(tx, &self.name, to)?,
                oldest: match delivery::oldest(tx, &self.name)? {
                    Some(at) => Some(at),
                    None if saved.cursor < newest && self.signals.more.load(Ordering::SeqCst) => {
                        change::after(tx, saved.cursor, 1)?.first().map(|change| change.at)
                    }
                    None => None,
                },
                is_disabled: record::disabled_url(&saved) == Some(&self.settings.send.place()),
                saved,
                newest,
            })
        })
    }

    fn pick(&self, live: &Live, seen: &Seen, now: Timestamp) -> Picked {
        if seen.is_disabled {
            return Picked::default();
        }
        let room = match live.breaker.gate(now) {
            Gate::None { until } => return Picked { jobs: Vec::new(), wake_at: Some(until) },
            Gate::One if !live.flying.is_empty() => return Picked::default(),
            Gate::One => 1,
            Gate::All => CONCURRENCY.saturating_sub(live.flying.len()),
        };
        if let Some(begun) = pick::begun(&seen.heads, now) {
            return if live.flying.is_empty() { begun } else { Picked::default() };
        }
        match (self.settings.ordering, &self.settings.batch) {
            (settings::Ordering::Resource, _) if room > 0 => {
                pick::by_resource(&seen.heads, &live.busy, room, now)
            }
            (settings::Ordering::Resource, _) => Picked::default(),
            _ if !live.flying.is_empty() => Picked::default(),
            (settings::Ordering::Target, Some(batch)) => pick::batched(&seen.heads, batch, now),
            (settings::Ordering::Target, None) => pick::in_order(&seen.heads, now),
        }
    }

    /// Reads the bodies of a job and lets it go.
    async fn begin(&self, live: &mut Live, job: Job, replays: u64) -> Result<(), StoreError> {
        for unit in job.units.iter().filter(|unit| unit.bind) {
            let (name, events) = (self.name.clone(), unit.events.clone());
            self.mirror
                .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                    delivery::assign_batch(tx, &name, &events)
                })
                .await?;
        }
        let ids: Vec<EventId> = job.units.iter().flat_map(|unit| unit.events.iter().copied()).collect();
        let mut rows = self.mirror.read(|tx: &mut ReadTx<'_>| delivery::these(tx, &self.name, &ids))?;
        let mut load = Vec::with_capacity(job.units.len());
        for unit in job.units {
            let unwritten = rows
                .iter_mut()
                .filter(|row| unit.events.contains(&row.event.event))
                .find(|row| event::is_unwritten(&row.event.content_type));
            if let Some(row) = unwritten
                && !self.write(live, &unit, row).await?
            {
                break;
            }
            let rows: Vec<&Delivery> =
                rows.iter().filter(|row| unit.events.contains(&row.event.event)).collect();
            // One that a person finished meanwhile ends the job here; the next look sees it.
            let whole = rows.len() == unit.events.len();
            let Some(request) = batch::request(&rows, unit.is_batch).filter(|_| whole) else {
                break;
            };
            load.push((unit, request));
        }
        if load.is_empty() {
            return Ok(());
        }
        live.busy.insert(job.key.clone());
        let (transport, clock) = (self.transport.clone(), Arc::clone(&self.clock));
        let (signals, began) = (Arc::clone(&self.signals), Began { commands: live.commands, replays });
        live.flying.spawn(fly(transport, clock, signals, began, job.key, load));
        Ok(())
    }

    /// Writes an event that could not be written when it was told. False: it still cannot, and is parked.
    async fn write(&self, live: &mut Live, unit: &Unit, row: &mut Delivery) -> Result<bool, StoreError> {
        let (name, id, now) = (self.name.clone(), row.event.event, self.clock.now());
        let error = match event::write_kept(&row.event.body, &self.settings.body, id) {
            Ok(body) => {
                (row.event.body, row.event.content_type) = (body.bytes.clone(), body.content_type.clone());
                self.mirror
                    .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                        delivery::set_body(tx, &name, id, &body.bytes, &body.content_type)
                    })
                    .await?;
                return Ok(true);
            }
            Err(error) => error.to_string(),
        };
        let attempt = delivery::Attempt {
            at: now,
            status: None,
            latency: Duration::ZERO,
            outcome: PARKED.to_owned(),
            error: Some(error.clone()),
            answer: Vec::new(),
        };
        let after = delivery::State::Parked;
        let sent = Sent { events: unit.events.clone(), after, next_at: now, attempt };
        let noted = sent.clone();
        self.mirror
            .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                delivery::record(tx, &name, &[sent])?;
                record::update_in(tx, &name, |_, saved| {
                    saved.record.last_attempt = Some(now);
                    saved.record.last_error = Some(error);
                    Ok(())
                })
            })
            .await?;
        self.note(live, &noted, now);
        // The next look shows how it stands.
        self.signals.wake.notify_one();
        Ok(false)
    }

    /// Records what landed and where the deliveries stand after it.
    async fn record(&self, live: &mut Live, landed: &[Landed]) -> Result<(), StoreError> {
        if landed.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let breaker = self.judged(live, landed, now);
        let not_before = breaker.asked_until();
        let (mut sent, mut is_gone, mut error) = (Vec::new(), false, None);
        for one in landed {
            let is_commanded = one.began.commands != self.signals.commands.load(Ordering::SeqCst);
            for (unit, attempt, at) in &one.made {
                let judged = judge(unit, attempt, (*at, now), is_commanded);
                is_gone |= attempt.outcome == Outcome::Gone;
                error = judged.attempt.error.clone().or(error);
                sent.push((judged, one.began.replays));
            }
        }
        let noted: Vec<Sent> = sent.iter().map(|(one, _)| one.clone()).collect();
        let finished = noted.iter().filter(|one| one.after == delivery::State::Done).count() as u64;
        let is_due = live.finished.saturating_add(finished) >= PRUNE_EVERY;
        let (name, place) = (self.name.clone(), self.settings.send.place());
        self.mirror
            .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                // What is to be sent again is not done because it was under way when that was said.
                let replays = target::state(tx, &name)?.as_ref().map_or(0, record::replays);
                let (sent, late): (Vec<_>, Vec<_>) =
                    sent.into_iter().partition(|(_, began)| *began == replays);
                let only = |all: Vec<(Sent, u64)>| all.into_iter().map(|(one, _)| one).collect::<Vec<_>>();
                delivery::record(tx, &name, &only(sent))?;
                delivery::note(tx, &name, &only(late))?;
                if is_due {
                    let before = Timestamp(now.0.saturating_sub(micros(KEPT_FOR)));
                    delivery::prune(tx, &name, before, KEPT)?;
                }
                let epoch = tx.epoch();
                let head = delivery::heads(tx, &name, Seq(u64::MAX), 1)?.into_iter().next();
                record::update_in(tx, &name, |_, saved| {
                    let seq = head.map_or(saved.cursor, |head| head.told());
                    saved.applied = Some(ChangeId { epoch, seq });
                    saved.record.last_attempt = Some(now);
                    saved.record.last_error = error;
                    if finished > 0 {
                        saved.record.last_success = Some(now);
                    }
                    record::set_not_before(saved, not_before);
                    if is_gone {
                        record::set_extra(saved, "disabled_url", Some(place.into()));
                    }
                    Ok(())
                })
            })
            .await?;
        live.finished = if is_due { 0 } else { live.finished.saturating_add(finished) };
        for one in landed {
            live.busy.remove(&one.key);
        }
        for one in &noted {
            self.note(live, one, now);
        }
        live.breaker = breaker;
        Ok(())
    }

    /// The circuit after what landed.
    fn judged(&self, live: &Live, landed: &[Landed], now: Timestamp) -> Breaker {
        let mut breaker = live.breaker.clone();
        for one in landed {
            for (_, attempt, at) in &one.made {
                match &attempt.outcome {
                    Outcome::Retry { after, .. } => breaker.failed(*after, now),
                    Outcome::Acknowledged | Outcome::Gone | Outcome::Refused { .. } => breaker.answered(*at),
                }
            }
            if one.began.commands != self.signals.commands.load(Ordering::SeqCst) {
                breaker.nudged();
            }
        }
        breaker
    }

    fn note(&self, live: &mut Live, one: &Sent, now: Timestamp) {
        let traffic = &mut live.traffic;
        let counter = match one.attempt.outcome.as_str() {
            DONE => &mut traffic.done,
            RETRY => &mut traffic.retried,
            PARKED => &mut traffic.parked,
            _ => &mut traffic.gone,
        };
        *counter = counter.saturating_add(1);
        if let (Some(error), Some(event)) = (&one.attempt.error, one.events.last()) {
            let (status, state) = (one.attempt.status, one.after.as_str());
            tracing::warn!(target_name = %self.name, %event, ?status, error, state, "delivery failed");
        } else {
            tracing::debug!(target_name = %self.name, events = one.events.len(), lag = ?now, "delivered");
        }
    }

    /// Tells the board how the target stands.
    fn show(&self, live: &Live, seen: &Seen, now: Timestamp) {
        let head = seen.heads.first();
        let applied = head.map_or(seen.saved.cursor, delivery::Head::told);
        let parked = seen.heads.iter().find(|head| head.state == delivery::State::Parked);
        let failed = seen.heads.iter().find(|head| head.attempts > 0);
        let behind = seen.newest.0.saturating_sub(seen.saved.cursor.0);
        let state = match head {
            _ if seen.is_disabled => State::Disabled,
            Some(head) if head.state == delivery::State::Held => State::Held,
            _ if parked.is_some() || failed.is_some() => State::Failing,
            None if behind == 0 => State::InSync,
            _ => State::Pending,
        };
        self.board.update(|status| {
            let stays = matches!(status.state, State::NeedsSnapshot | State::Waiting);
            // What is held says more than that the log has gone on, if only by the hold's own change.
            let is_idle = head.is_none() && matches!(state, State::InSync | State::Pending);
            let is_held = is_idle && status.held_removals > 0;
            // Whatever becomes of what is still open, what lies behind it is gone from the log.
            let is_gap = status.state == State::NeedsSnapshot && state != State::Disabled;
            let keeps = is_gap || (stays && state == State::InSync);
            if !keeps {
                status.state = if is_held { State::Held } else { state };
            }
            status.applied_seq = applied;
            status.last_success = seen.saved.record.last_success;
            if !stays {
                status.last_error = match (parked.or(failed), seen.is_disabled) {
                    (_, true) => Some("the receiver answered 410: it wants no more".to_owned()),
                    (Some(head), false) => head.last_error.clone(),
                    (None, false) => None,
                };
            }
            status.parked = seen.counts.parked;
            status.open = seen.counts.open();
            status.traffic = Some(Traffic {
                lag_events: seen.counts.open().saturating_add(behind),
                lag_seconds: seen.oldest.map_or(0, |at| now.since(at).as_secs()),
                circuit: live.breaker.word(now),
                ..live.traffic.clone()
            });
        });
        let held = self.board.read().held_removals > 0;
        self.meter.enforced(&self.mirror, &self.name, (applied, held), now);
    }
}

const DONE: &str = "done";
const RETRY: &str = "retry";
const PARKED: &str = "parked";
const GONE: &str = "gone";

/// Makes the requests of one job, each once the one before it was acknowledged.
async fn fly(
    transport: Transport,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
    began: Began,
    key: String,
    load: Vec<(Unit, batch::Message)>,
) -> Landed {
    let started = Instant::now();
    let mut made = Vec::with_capacity(load.len());
    for (unit, message) in load {
        let is_changed = signals.commands.load(Ordering::SeqCst) != began.commands;
        if !made.is_empty() && (is_changed || started.elapsed() >= RECORD_WITHIN) {
            break;
        }
        let at = clock.now();
        let request = Request {
            id: message.id,
            at,
            body: Bytes::from(message.body),
            content_type: message.content_type,
            headers: message.headers,
        };
        let span = span::delivery(&request.id.to_string());
        let attempt = transport.send(request).instrument(span.clone()).await;
        span::delivered(&span, attempt.status);
        let is_done = attempt.outcome == Outcome::Acknowledged;
        made.push((unit, attempt, at));
        if !is_done {
            break;
        }
    }
    Landed { key, made, began }
}

/// Where a unit stands after an attempt. One during which a person said something begins its schedule anew: it may
/// have been to try again.
fn judge(unit: &Unit, attempt: &Attempt, (at, now): (Timestamp, Timestamp), is_commanded: bool) -> Sent {
    let made = if is_commanded { 0 } else { unit.made };
    let (after, next_at, outcome, error) = match &attempt.outcome {
        Outcome::Acknowledged => (delivery::State::Done, now, DONE, None),
        // The event itself is not lost: it is sent when the target is set up anew.
        Outcome::Gone => (delivery::State::Pending, now, GONE, Some("answered 410".to_owned())),
        Outcome::Refused { why } => (delivery::State::Parked, now, PARKED, Some(why.clone())),
        Outcome::Retry { after, why } => match backoff::delivery(made.saturating_add(1), *after, random()) {
            Some(wait) => (delivery::State::Pending, now.plus(wait), RETRY, Some(why.clone())),
            None => (delivery::State::Parked, now, PARKED, Some(why.clone())),
        },
    };
    let attempt = delivery::Attempt {
        at,
        status: attempt.status,
        latency: attempt.latency,
        outcome: outcome.to_owned(),
        error,
        answer: attempt.answer.clone(),
    };
    Sent { events: unit.events.clone(), after, next_at, attempt }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// For jitter; without randomness there is none.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0;
    }
    u32::from_le_bytes(bytes)
}
