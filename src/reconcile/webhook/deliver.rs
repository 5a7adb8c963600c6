//! Sends a webhook's deliveries, strictly in order: the first open one is sent until it is acknowledged, parked or
//! skipped, and nothing overtakes it (DESIGN §6.10).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::downstream::webhook::{Client, Outcome, Request};
use crate::mirror::delivery::{self, Delivery};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, target};
use crate::model::{ChangeId, Clock, Origin, Seq, TargetName, Timestamp};

use crate::reconcile::State;
use crate::reconcile::latency::Meter;
use crate::reconcile::pulse::stopped;
use crate::reconcile::record;
use crate::reconcile::status::Board;
use crate::reconcile::timing::backoff;

/// How often a parked or waiting target is looked at for what a person did to its deliveries.
const LOOK: Duration = Duration::from_secs(5);

/// One webhook's sender.
pub(crate) struct Sender {
    pub(crate) mirror: Mirror,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) name: TargetName,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) board: Arc<Board>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) meter: Arc<Meter>,
}

/// What is to be done next.
enum Next {
    Send(Box<Delivery>),
    Wait(Duration),
    Idle,
}

impl Sender {
    /// Sends until told to stop. An attempt under way is dropped then; it is made again after the next start.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = match self.next() {
                Ok(next) => next,
                Err(error) => {
                    self.board.update(|status| {
                        status.state = State::Failing;
                        status.last_error = Some(error.to_string());
                    });
                    Next::Wait(LOOK)
                }
            };
            let done = match next {
                Next::Send(head) => tokio::select! {
                    done = self.attempt(*head) => done,
                    () = stopped(&mut stop) => return,
                },
                Next::Wait(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => Ok(()),
                    () = self.wake.notified() => Ok(()),
                    () = stopped(&mut stop) => return,
                },
                Next::Idle => tokio::select! {
                    () = self.wake.notified() => Ok(()),
                    () = stopped(&mut stop) => return,
                },
            };
            if let Err(error) = done {
                // Not recorded: it is sent again, under the same id.
                tracing::warn!(target_name = %self.name, %error, "cannot record a delivery");
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = stopped(&mut stop) => return,
                }
            }
        }
    }

    fn next(&self) -> Result<Next, StoreError> {
        let (saved, open, counts) = self.mirror.read(|tx: &mut ReadTx<'_>| {
            let saved = target::state(tx, &self.name)?.unwrap_or_default();
            Ok::<_, StoreError>((
                saved,
                delivery::open(tx, &self.name, 1)?,
                delivery::counts(tx, &self.name)?,
            ))
        })?;
        let head = open.into_iter().next();
        let applied =
            head.as_ref().map_or(saved.cursor, |head| Seq(head.event.event.seq.0.saturating_sub(1)));
        let is_disabled = record::disabled_url(&saved) == Some(self.url.as_str());
        let now = self.clock.now();
        let state = match &head {
            _ if is_disabled => State::Disabled,
            None => State::InSync,
            Some(head) if head.state == delivery::State::Parked || head.attempts > 0 => State::Failing,
            Some(_) => State::Pending,
        };
        self.board.update(|status| {
            let is_held = state == State::InSync && status.held_removals > 0;
            status.state = if is_held { State::Held } else { state };
            status.applied_seq = applied;
            status.last_success = saved.record.last_success;
            status.last_error = match (&head, is_disabled) {
                (_, true) => Some("the receiver answered 410: it wants no more".to_owned()),
                (Some(head), false) => head.last_error.clone(),
                (None, false) => None,
            };
            status.parked = counts.parked;
            status.open = counts.pending.saturating_add(counts.parked);
        });
        let held = self.board.read().held_removals > 0;
        self.meter.enforced(&self.mirror, &self.name, (applied, held), now);
        Ok(match head {
            _ if is_disabled => Next::Idle,
            None => Next::Idle,
            Some(head) if head.state == delivery::State::Parked => Next::Wait(LOOK),
            Some(head) if head.next_at > now => Next::Wait(head.next_at.since(now).min(LOOK)),
            Some(head) => Next::Send(Box::new(head)),
        })
    }

    /// One attempt, and its record.
    async fn attempt(&self, head: Delivery) -> Result<(), StoreError> {
        let event = head.event.event;
        let request = Request { id: event, at: self.clock.now(), body: Bytes::from(head.event.body) };
        let attempt = self.client.send(&request).await;
        let now = self.clock.now();
        let (after, next_at, error) = judge(&attempt.outcome, head.attempts, now);
        if let Some(error) = &error {
            let status = attempt.status;
            tracing::warn!(target_name = %self.name, event = %event, ?status, error, state = after.as_str(), "delivery failed");
        }
        let is_gone = attempt.outcome == Outcome::Gone;
        let (name, url, status) = (self.name.clone(), self.url.clone(), attempt.status);
        self.mirror
            .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                delivery::record_attempt(tx, &name, event, after, next_at, status, error.as_deref())?;
                let following = delivery::open(tx, &name, 1)?.into_iter().next();
                let epoch = tx.epoch();
                record::update_in(tx, &name, |_, saved| {
                    let seq =
                        following.map_or(saved.cursor, |next| Seq(next.event.event.seq.0.saturating_sub(1)));
                    saved.applied = Some(ChangeId { epoch, seq });
                    saved.record.last_attempt = Some(now);
                    saved.record.last_error = error;
                    if after == delivery::State::Done {
                        saved.record.last_success = Some(now);
                    }
                    record::set_extra(saved, "disabled_url", is_gone.then(|| url.into()));
                    Ok(())
                })
            })
            .await
    }
}

/// Where a delivery stands after an attempt, `failed` attempts having failed before.
fn judge(outcome: &Outcome, failed: u32, now: Timestamp) -> (delivery::State, Timestamp, Option<String>) {
    match outcome {
        Outcome::Acknowledged => (delivery::State::Done, now, None),
        // The event itself is not lost: it is sent when the target is set up anew.
        Outcome::Gone => (delivery::State::Pending, now, Some("answered 410".to_owned())),
        Outcome::Refused { why } => (delivery::State::Parked, now, Some(why.clone())),
        Outcome::Retry { after, why } => {
            match backoff::delivery(failed.saturating_add(1), *after, random()) {
                Some(wait) => (delivery::State::Pending, now.plus(wait), Some(why.clone())),
                None => (delivery::State::Parked, now, Some(why.clone())),
            }
        }
    }
}

/// For jitter; without randomness there is none.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0;
    }
    u32::from_le_bytes(bytes)
}
