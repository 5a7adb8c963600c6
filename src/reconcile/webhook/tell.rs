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
        progress.replay = again(tx, name, body, told, &replay)?;
    } else {
        let mut previous = record::last_event(saved);
        let mut deliveries = Vec::with_capacity(told.said.len());
        for say in &told.said {
            // A snapshot is a beginning: what came before it may never have arrived.
            if say.event.kind == Kind::SnapshotStarted {
                previous = None;
            }
            let after = numbered(tx, name, &say.event, previous)?;
            let id = say.event.id(tx.epoch(), after);
            let made = new(say, body, id, previous);
            previous = Some(made.event);
            deliveries.push(made);
        }
        delivery::add(tx, name, &deliveries, false)?;
        record::set_extra(saved, "last_event", previous.map(record::event_value));
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

/// Tells once more: what is kept goes out as it was, what is not is made again. Answers what is left to tell so.
fn again(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    body: &BodySettings,
    told: &Told,
    replay: &Replay,
) -> Result<Option<Replay>, StoreError> {
    let mut known: BTreeSet<EventId> =
        delivery::reopen(tx, name, told.from, told.to.min(replay.to))?.into_iter().collect();
    let mut deliveries = Vec::with_capacity(told.said.len());
    for say in &told.said {
        let id = say.event.id(tx.epoch(), None);
        let previous = known.range(..id).next_back().copied().or(replay.previous);
        let made = new(say, body, id, previous);
        known.insert(made.event);
        deliveries.push(made);
    }
    delivery::add(tx, name, &deliveries, true)?;
    let previous = known.last().copied().or(replay.previous);
    Ok((told.to < replay.to).then_some(Replay { previous, to: replay.to }))
}

/// The event after which one that no change makes is numbered. What was told last may be an older one of the log where
/// a shut was told ahead of it.
fn numbered(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    event: &Event,
    previous: Option<EventId>,
) -> Result<Option<EventId>, StoreError> {
    let is_next = previous.is_some_and(|last| last.seq == event.seq && last.n >= event::DERIVED_N_FIRST);
    if event.n.is_some() || is_next {
        return Ok(previous);
    }
    Ok(delivery::last_of(tx, name, event.seq)?.or(previous))
}

fn new(say: &Say, body: &BodySettings, id: EventId, previous: Option<EventId>) -> New {
    // What cannot be written stops this event when its turn comes, where it parks with the reason, and nothing else.
    let body = body::render(&say.event, body, id, previous)
        .unwrap_or_else(|_later| event::keep(&say.event, body, id, previous));
    New {
        event: id,
        kind: say.event.kind.to_string(),
        resource: say.event.resource.clone(),
        at: say.event.at,
        body: body.bytes,
        content_type: body.content_type,
        headers: Vec::new(),
        state: say.state,
    }
}
