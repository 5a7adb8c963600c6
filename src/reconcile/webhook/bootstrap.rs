//! Sends a target the present state, and from there on what changes: nothing missed, nothing doubled.
//!
//! The order of what is durable: the request, a change whose number the snapshot's events carry; the whole state at
//! one moment, in a file; then, in one transaction, the cursor at that moment, what was open passed over, the holding
//! emptied; then piece by piece the events with the holding they speak of. A crash between any two goes on there.
//!
//! Nothing of it is told while the guard holds removals of a stream of users and groups: the present state would tell
//! them all.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::access::{Doc, Entitlement};
use crate::downstream::spool;
use crate::mirror::change::Kind as ChangeKind;
use crate::mirror::target::{self, Holding};
use crate::mirror::{StoreError, WriteTx, decision, delivery};
use crate::model::{Origin, Seq, Subject, TargetName, Timestamp};
use crate::reconcile::event::{Event, Kind};
use crate::reconcile::file::outcome::Outcome;
use crate::reconcile::record::{self, Stored};
use crate::reconcile::snapshot::Snapshot;

use super::present;
use super::progress::{Bootstrap, Progress};
use super::run::{Reached, WINDOW, WebhookRun};
use super::tell::{Say, Told};

/// Lines told in one transaction.
const LINES_MAX: usize = 500;

/// Asks for a snapshot, in the caller's transaction; one that is on its way begins anew. Answers the change.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(crate) fn request(tx: &mut WriteTx<'_>, name: &TargetName, why: &str) -> Result<Seq, StoreError> {
    let seq = decision::record(tx, &ChangeKind::DeliverySnapshot, name, &json!({ "why": why }))?;
    record::update_in(tx, name, |_, saved| {
        let snapshot = Some(Bootstrap { request: seq, offset: None });
        Progress { replay: None, snapshot }.save(saved)
    })?;
    Ok(seq)
}

/// One line of the spool: an event, a holding, or both.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Saying>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holding: Option<Kept>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saying {
    kind: String,
    resource: Option<String>,
    at: Timestamp,
    data: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    subject: Subject,
    entitlement: String,
    name: String,
    attributes: Doc,
}

impl Line {
    pub(super) fn of(event: Option<Event>, holding: Option<&Holding>) -> Self {
        let event = event.map(|event| Saying {
            kind: event.kind.to_string(),
            resource: event.resource,
            at: event.at,
            data: event.data,
        });
        let holding = holding.map(|one| Kept {
            subject: one.subject.clone(),
            entitlement: one.entitlement.to_string(),
            name: one.name.clone(),
            attributes: one.attributes.clone(),
        });
        Self { event, holding }
    }

    fn into_parts(self, seq: Seq) -> Result<(Option<Event>, Option<Holding>), StoreError> {
        let bad = || StoreError::Bug("a line of a snapshot cannot be read".into());
        let event = self.event.map(|one| {
            let kind: Kind = one.kind.parse().map_err(|_| bad())?;
            let (resource, at, data) = (one.resource, one.at, one.data);
            Ok::<_, StoreError>(Event { kind, seq, n: None, resource, at, person: None, data })
        });
        let holding = self.holding.map(|one| {
            let entitlement: Entitlement = one.entitlement.parse().map_err(|_| bad())?;
            let (subject, name, attributes) = (one.subject, one.name, one.attributes);
            Ok::<_, StoreError>(Holding { subject, entitlement, name, attributes })
        });
        Ok((event.transpose()?, holding.transpose()?))
    }
}

/// Goes on with the snapshot that was asked for.
pub(super) fn go_on(
    run: &WebhookRun<'_>,
    snapshot: &Snapshot,
    stored: &mut Stored,
    asked: &Bootstrap,
    outcome: &mut Outcome,
) -> Result<Reached, StoreError> {
    let path = path(run, asked);
    let (mut offset, cursor) = if let Some(offset) = asked.offset {
        (offset, stored.saved.as_ref().map_or(Seq::ZERO, |saved| saved.cursor))
    } else {
        match start(run, snapshot, stored, asked, outcome)? {
            Reached::All => {}
            other => return Ok(other),
        }
        (0, snapshot.seq())
    };
    let mut room = WINDOW.saturating_sub(run.open()?);
    loop {
        if room == 0 {
            return Ok(Reached::Window);
        }
        let limit = LINES_MAX.min(usize::try_from(room).unwrap_or(LINES_MAX));
        let (lines, next) = match spool::read(&path, offset, limit) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return lost(run),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let is_end = lines.len() < limit;
        let mut told = Told::from(cursor, cursor);
        told.spool = Some((offset, (!is_end).then_some(next)));
        for line in lines {
            let line: Line = serde_json::from_slice(&line)
                .map_err(|error| StoreError::Bug(format!("a line of a snapshot: {error}")))?;
            let (event, holding) = line.into_parts(asked.request)?;
            told.put.extend(holding);
            told.said.extend(event.map(Say::now));
        }
        room = room.saturating_sub(told.said.len() as u64);
        outcome.changed = true;
        if !run.tell(told)? {
            return Ok(Reached::Stale);
        }
        if is_end {
            spool::remove(&path);
            return Ok(Reached::All);
        }
        offset = next;
    }
}

/// Keeps the present state in the spool and moves the target to it, if nothing of it is held.
fn start(
    run: &WebhookRun<'_>,
    snapshot: &Snapshot,
    stored: &mut Stored,
    asked: &Bootstrap,
    outcome: &mut Outcome,
) -> Result<Reached, StoreError> {
    // The snapshot's events are numbered in the change that asked for it: what is older than that must be part of it.
    if snapshot.seq() < asked.request {
        return Ok(Reached::Stale);
    }
    if stored.saved.is_some() {
        *stored = record::load(run.mirror, &run.settings.name)?;
    }
    run.judge(snapshot, stored, outcome)?;
    if run.webhook.events.wants_resources() && stored.book.held().next().is_some() {
        return Ok(Reached::Held);
    }
    let wanted = run.wanted(snapshot, stored, outcome)?;
    let path = path(run, asked);
    // One that was begun before and given up, in this life of the mirror or another.
    spool::remove_all(&run.webhook.spool, &format!("{}.", run.settings.name));
    let lines = present::lines(run.webhook, snapshot, &wanted, asked.request, run.clock.now());
    let lines = lines.map(|line| serde_json::to_vec(&line).unwrap_or_default());
    spool::write(&path, lines).map_err(|error| unreadable(&path, &error))?;
    let (name, asked, seq) = (run.settings.name.clone(), asked.clone(), snapshot.seq());
    run.mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
        let mut saved = target::state(tx, &name)?.unwrap_or_default();
        if Progress::of(&saved).snapshot.as_ref() != Some(&asked) {
            return Ok(Reached::Stale);
        }
        delivery::supersede(tx, &name)?;
        target::clear_holdings(tx, &name)?;
        saved.cursor = seq;
        let snapshot = Some(Bootstrap { offset: Some(0), ..asked });
        Progress { replay: None, snapshot }.save(&mut saved)?;
        target::save_state(tx, &name, &saved)?;
        Ok(Reached::All)
    })
}

/// The spool went with the state folder, or was never copied with the mirror: the snapshot begins anew.
fn lost(run: &WebhookRun<'_>) -> Result<Reached, StoreError> {
    let name = run.settings.name.clone();
    run.mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
        request(tx, &name, "the file that kept the snapshot is gone").map(|_| Reached::Stale)
    })
}

/// Named for the request, so that a mirror restored from a backup does not go on in what another life of it wrote.
fn path(run: &WebhookRun<'_>, asked: &Bootstrap) -> PathBuf {
    run.webhook.spool.join(format!("{}.{}-{}", run.settings.name, run.mirror.epoch(), asked.request))
}

fn unreadable(path: &std::path::Path, error: &io::Error) -> StoreError {
    StoreError::Open(format!("the snapshot kept in `{}`: {error}", path.display()))
}
