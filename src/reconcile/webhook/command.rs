//! What people do about deliveries: try again, pass over, send again, send all. Each is a change with a number, in the
//! transaction that carries it out.

use std::fmt;

use serde::Serialize;
use serde_json::json;

use crate::mirror::change::{self, Kind};
use crate::mirror::delivery::{self, Filter};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, decision, target};
use crate::model::{EventId, Origin, Seq, TargetName, Timestamp};

use crate::reconcile::record;
use crate::reconcile::settings::{Settings, TargetKind, WebhookSettings};

use super::bootstrap;
use super::progress::{Progress, Replay};

/// An order about deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Try these again now, parked or waiting, with a fresh schedule.
    Retry(Vec<(TargetName, EventId)>),
    /// Try all again that fit; a target that answered 410 is asked again.
    RetryMatching(Filter),
    /// Pass over this one, held, waiting or parked.
    Skip(TargetName, EventId),
    /// Send again what happened from there on.
    Replay(TargetName, ReplayFrom),
    /// Send the present state, then what changes.
    Snapshot(TargetName),
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// At this change.
    Seq(Seq),
    /// At the first change of this moment or later.
    Time(Timestamp),
}

/// What an order did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DeliveryReport {
    /// The targets it touched.
    pub targets: Vec<TargetName>,
    /// Deliveries it touched.
    pub deliveries: u64,
    /// Replays: the first change sent again.
    pub from: Option<Seq>,
    /// The changes that record it.
    pub changes: Vec<Seq>,
    /// What it could not do.
    pub note: Option<String>,
}

/// Why an order cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryRefused {
    /// The target is told of no events.
    NotTold(TargetName),
    /// There is no such open delivery.
    NotOpen(TargetName, EventId),
    /// The log does not reach back that far.
    Pruned(TargetName, Seq),
    /// Nothing was told from there on.
    Ahead(TargetName, Seq),
    /// A snapshot is on its way.
    SnapshotUnderWay(TargetName),
}

impl fmt::Display for DeliveryRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTold(name) => {
                write!(f, "target `{name}` is told of no events; only `webhook` and `exec` targets are")
            }
            Self::NotOpen(name, event) => {
                write!(f, "`{name}/{event}` is no open delivery; `rosterd delivery list` shows them")
            }
            Self::Pruned(name, seq) => write!(
                f,
                "the log no longer holds change {seq}; `rosterd delivery snapshot {name}` sends the present state"
            ),
            Self::Ahead(name, seq) => write!(f, "target `{name}` was told of nothing from change {seq} on"),
            Self::SnapshotUnderWay(name) => {
                write!(f, "a snapshot is on its way to `{name}`; `rosterd delivery list` shows how far")
            }
        }
    }
}

impl std::error::Error for DeliveryRefused {}

/// Why an order came to nothing.
#[derive(Debug)]
pub(crate) enum OrderError {
    UnknownTarget(TargetName),
    Refused(DeliveryRefused),
    Store(StoreError),
}

impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DeliveryRefused> for OrderError {
    fn from(refused: DeliveryRefused) -> Self {
        Self::Refused(refused)
    }
}

/// The targets of a configuration that are told of events.
pub(crate) type Told = Vec<(TargetName, Option<WebhookSettings>)>;

pub(crate) fn told(settings: &Settings) -> Told {
    settings.targets.iter().map(|one| (one.name.clone(), webhook_of(&one.kind))).collect()
}

pub(crate) fn webhook_of(kind: &TargetKind) -> Option<WebhookSettings> {
    match kind {
        TargetKind::Webhook(webhook) => Some(webhook.clone()),
        TargetKind::File(_) => None,
    }
}

fn find<'a>(told: &'a Told, name: &TargetName) -> Result<&'a WebhookSettings, OrderError> {
    let found = told.iter().find(|(known, _)| known == name);
    let (_, webhook) = found.ok_or_else(|| OrderError::UnknownTarget(name.clone()))?;
    webhook.as_ref().ok_or_else(|| DeliveryRefused::NotTold(name.clone()).into())
}

/// Carries an order out. Blocking. Whoever runs the targets wakes them afterwards.
pub(crate) fn carry_out(
    mirror: &Mirror,
    told: &Told,
    order: DeliveryOrder,
    origin: Origin,
) -> Result<DeliveryReport, OrderError> {
    match order {
        DeliveryOrder::Retry(ids) => {
            for (name, _) in &ids {
                find(told, name)?;
            }
            mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| retry(tx, &ids))
        }
        DeliveryOrder::RetryMatching(filter) => {
            if let Some(name) = &filter.target {
                find(told, name)?;
            }
            let names: Vec<TargetName> = told
                .iter()
                .filter(|(name, webhook)| {
                    webhook.is_some() && filter.target.as_ref().is_none_or(|only| only == name)
                })
                .map(|(name, _)| name.clone())
                .collect();
            mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| retry_matching(tx, &names, &filter))
        }
        DeliveryOrder::Skip(name, event) => {
            find(told, &name)?;
            mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| skip(tx, &name, event))
        }
        DeliveryOrder::Replay(name, from) => {
            let webhook = find(told, &name)?;
            let (tells_access, from) = (webhook.events.wants_access(), first(mirror, from)?);
            mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| replay(tx, &name, from, tells_access))
        }
        DeliveryOrder::Snapshot(name) => {
            find(told, &name)?;
            mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| {
                let seq = bootstrap::request(tx, &name, "asked for")?;
                enable(tx, &name)?;
                Ok(DeliveryReport { targets: vec![name], changes: vec![seq], ..DeliveryReport::default() })
            })
        }
    }
}

fn retry(tx: &mut WriteTx<'_>, ids: &[(TargetName, EventId)]) -> Result<DeliveryReport, OrderError> {
    let mut report = DeliveryReport::default();
    for (name, event) in ids {
        let count = delivery::retry(tx, name, *event)?;
        if count == 0 {
            return Err(DeliveryRefused::NotOpen(name.clone(), *event).into());
        }
        enable(tx, name)?;
        let detail = json!({"event": event.to_string(), "deliveries": count});
        let seq = decision::record(tx, &Kind::DeliveryRetried, name, &detail)?;
        report.add(name, count, seq);
    }
    Ok(report)
}

fn retry_matching(
    tx: &mut WriteTx<'_>,
    names: &[TargetName],
    filter: &Filter,
) -> Result<DeliveryReport, OrderError> {
    let mut report = DeliveryReport::default();
    for name in names {
        let filter = Filter { target: Some(name.clone()), ..filter.clone() };
        let count = delivery::retry_matching(tx, &filter)?;
        let was_disabled = enable(tx, name)?;
        if count > 0 || was_disabled {
            let detail = json!({"deliveries": count, "enabled": was_disabled});
            let seq = decision::record(tx, &Kind::DeliveryRetried, name, &detail)?;
            report.add(name, count, seq);
        }
    }
    Ok(report)
}

fn skip(tx: &mut WriteTx<'_>, name: &TargetName, event: EventId) -> Result<DeliveryReport, OrderError> {
    let count = delivery::skip(tx, name, event)?;
    if count == 0 {
        return Err(DeliveryRefused::NotOpen(name.clone(), event).into());
    }
    let detail = json!({"event": event.to_string(), "deliveries": count});
    let seq = decision::record(tx, &Kind::DeliverySkipped, name, &detail)?;
    let mut report = DeliveryReport::default();
    report.add(name, count, seq);
    Ok(report)
}

fn replay(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    from: Seq,
    tells_access: bool,
) -> Result<DeliveryReport, OrderError> {
    let mut saved = target::state(tx, name)?.unwrap_or_default();
    let mut progress = Progress::of(&saved);
    if progress.snapshot.is_some() {
        return Err(DeliveryRefused::SnapshotUnderWay(name.clone()).into());
    }
    let to = progress.replay.as_ref().map_or(saved.cursor, |replay| replay.to.max(saved.cursor));
    // What was told ahead of older events is sent again ahead of them, as it was, or the chain would not hold.
    let from = delivery::first_turn(tx, name, from)?.map_or(from, |turn| turn.max(Seq(1)));
    if from > to {
        return Err(DeliveryRefused::Ahead(name.clone(), from).into());
    }
    let before = Seq(from.0.saturating_sub(1));
    if change::after(tx, before, 1)?.first().is_none_or(|first| first.seq != from) {
        return Err(DeliveryRefused::Pruned(name.clone(), from).into());
    }
    let kept = delivery::oldest_kept(tx, name)?;
    let note = (tells_access && kept.is_none_or(|kept| kept > from)).then(|| {
        let kept = kept.map_or_else(|| "none is".to_owned(), |kept| format!("those before change {kept} are not"));
        format!(
            "`access.*` events are sent again as far as they are kept, and {kept}; `rosterd delivery snapshot {name}` \
             sends all access there is"
        )
    });
    progress.replay = Some(Replay { to, previous: delivery::before(tx, name, from)?, is_begun: false });
    progress.save(&mut saved)?;
    record::count_replay(&mut saved);
    saved.cursor = before;
    target::save_state(tx, name, &saved)?;
    let seq = decision::record(tx, &Kind::DeliveryReplayed, name, &json!({"from": from, "to": to}))?;
    let report = DeliveryReport { from: Some(from), note, ..DeliveryReport::default() };
    Ok(DeliveryReport { targets: vec![name.clone()], changes: vec![seq], ..report })
}

/// The change that a replay begins with.
fn first(mirror: &Mirror, from: ReplayFrom) -> Result<Seq, StoreError> {
    match from {
        ReplayFrom::Seq(seq) => Ok(seq.max(Seq(1))),
        ReplayFrom::Time(at) => mirror.read(|tx: &mut ReadTx<'_>| delivery::first_change_since(tx, at)),
    }
}

/// Has a target that wanted no more asked again. True if it was one.
fn enable(tx: &mut WriteTx<'_>, name: &TargetName) -> Result<bool, StoreError> {
    let mut saved = target::state(tx, name)?.unwrap_or_default();
    let was_disabled = record::disabled_url(&saved).is_some();
    if was_disabled {
        record::set_extra(&mut saved, "disabled_url", None);
        target::save_state(tx, name, &saved)?;
    }
    Ok(was_disabled)
}

impl DeliveryReport {
    fn add(&mut self, name: &TargetName, count: u64, seq: Seq) {
        if !self.targets.contains(name) {
            self.targets.push(name.clone());
        }
        self.deliveries = self.deliveries.saturating_add(count);
        self.changes.push(seq);
    }
}
