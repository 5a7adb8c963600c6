//! Numbers events and stores them with everything they follow from.

use std::collections::BTreeSet;

use crate::access::Entitlement;
use crate::mirror::delivery::{self, New};
use crate::mirror::target::{self, Holding, State as Saved};
use crate::mirror::{StoreError, WriteTx};
use crate::model::{EventId, Origin, Seq, Subject, TargetName};

use crate::reconcile::event::body::{self, BodySettings};
use crate::reconcile::event::{self, Event, Kind};
use crate::reconcile::record;

use super::progress::{Progress, Replay};
use super::run::WebhookRun;

/// One event and what becomes of it.
pub(crate) struct Say {
    pub(crate) event: Event,
    pub(crate) state: delivery::State,
}

impl Say {
    /// An event that may go.
    pub(crate) fn now(event: Event) -> Self {
        Self { event, state: delivery::State::Pending }
    }
}

/// What one transaction tells.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) said: Vec<Say>,
    pub(crate) gone: Vec<(Subject, Entitlement)>,
    pub(crate) put: Vec<Holding>,
    /// Where the cursor must stand for this to be told, and where it stands then.
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    /// Where a snapshot on its way must stand, and where it stands then: `Some(None)` once it is told whole.
    pub(crate) spool: Option<(u64, Option<u64>)>,
}

impl Told {
    pub(crate) fn from(from: Seq, to: Seq) -> Self {
        Self { from, to, ..Self::default() }
    }
}

impl WebhookRun<'_> {
    /// Stores what is told. False, and nothing stored, if a command moved the target meanwhile.
    pub(super) fn tell(&self, told: Told) -> Result<bool, StoreError> {
        let (name, body) = (self.settings.name.clone(), self.webhook.body.clone());
        self.mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
            let mut saved = target::state(tx, &name)?.unwrap_or_default();
            let progress = Progress::of(&saved);
            let offset = progress.snapshot.as_ref().map(|snapshot| snapshot.offset);
            let is_expected = saved.cursor.min(told.from) == told.from
                && match told.spool {
                    None => offset.is_none(),
                    Some((at, _)) => offset == Some(Some(at)),
                };
            if !is_expected {
                return Ok(false);
            }
            store(tx, &name, &body, &told, &mut saved, progress)?;
            target::save_state(tx, &name, &saved)?;
            Ok(true)
        })
    }
}

fn store(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    body: &BodySettings,
    told: &Told,
    saved: &mut Saved,
    mut progress: Progress,
) -> Result<(), StoreError> {
    if let Some(replay) = progress.replay.take() {
        let replay = again(tx, name, body, told, replay)?;
        if told.to < replay.to {
            progress.replay = Some(replay);
        } else if replay.is_begun {
            record::set_last_event(saved, replay.previous);
        }
    } else {
        anew(tx, name, body, told, saved)?;
    }
    target::update_holdings(tx, name, &told.gone, &told.put)?;
    saved.cursor = told.to;
    if let Some((_, after)) = told.spool {
        match after {
            Some(at) => {
                if let Some(snapshot) = &mut progress.snapshot {
                    snapshot.offset = Some(at);
                }
            }
            None => progress.snapshot = None,
        }
    }
    progress.save(saved)
}

/// Tells behind everything that was told.
fn anew(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    body: &BodySettings,
    told: &Told,
    saved: &mut Saved,
) -> Result<(), StoreError> {
    let mut previous = record::last_event(saved);
    let mut deliveries = Vec::with_capacity(told.said.len());
    for say in &told.said {
        // A snapshot is a beginning: what came before it may never have arrived.
        if say.event.kind == Kind::SnapshotStarted {
            previous = None;
        }
        let after = if say.event.n.is_none() { derived(tx, name, &say.event, saved)? } else { None };
        let id = say.event.id(tx.epoch(), after);
        if say.event.n.is_none() {
            record::set_last_derived(saved, id);
        }
        // Behind all that is told so far, whatever its number: it is ahead of what the cursor has not come to.
        let made = new(say, body, (id, id.seq.min(told.to)), previous);
        previous = Some(made.event);
        deliveries.push(made);
    }
    delivery::add(tx, name, &deliveries, false)?;
    record::set_last_event(saved, previous);
    Ok(())
}

/// Tells once more: what is kept goes out as it was, in the order it was told, what is not is made again where it
/// belongs. Answers how far that is.
fn again(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    body: &BodySettings,
    told: &Told,
    mut replay: Replay,
) -> Result<Replay, StoreError> {
    let kept = delivery::reopen(tx, name, told.from, told.to.min(replay.to))?;
    let mut known: BTreeSet<(Seq, EventId)> = kept.into_iter().collect();
    let mut deliveries = Vec::with_capacity(told.said.len());
    for say in &told.said {
        let id = say.event.id(tx.epoch(), None);
        let place = (id.seq, id);
        let previous = known.range(..place).next_back().map(|(_, id)| *id).or(replay.previous);
        deliveries.push(new(say, body, (id, id.seq), previous));
        known.insert(place);
    }
    delivery::add(tx, name, &deliveries, true)?;
    if let Some((_, last)) = known.last() {
        (replay.previous, replay.is_begun) = (Some(*last), true);
    }
    Ok(replay)
}

/// The event after which one that no change makes is numbered: the last such one of its change, which may be older than
/// what was told since, and be kept no more.
fn derived(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    event: &Event,
    saved: &Saved,
) -> Result<Option<EventId>, StoreError> {
    match record::last_derived(saved).filter(|last| (last.epoch, last.seq) == (tx.epoch(), event.seq)) {
        Some(last) => Ok(Some(last)),
        None => delivery::last_of(tx, name, event.seq),
    }
}

/// A delivery of an event with its number and its turn.
fn new(say: &Say, body: &BodySettings, (id, turn): (EventId, Seq), previous: Option<EventId>) -> New {
    // What cannot be written stops this event when its turn comes, where it parks with the reason, and nothing else.
    let body = body::render(&say.event, body, id, previous)
        .unwrap_or_else(|_later| event::keep(&say.event, body, id, previous));
    New {
        event: id,
        turn,
        kind: say.event.kind.to_string(),
        resource: say.event.resource.clone(),
        at: say.event.at,
        body: body.bytes,
        content_type: body.content_type,
        headers: Vec::new(),
        state: say.state,
    }
}
