//! A target rolled back: it shows what an earlier version held, less what was revoked since, and stays there until
//! `sync`. Additions wait meanwhile; revocations do not.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::mirror::change::Kind;
use crate::mirror::target::{self, Holding, State as Saved};
use crate::mirror::version::{self, Version};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, decision};
use crate::model::{Origin, Seq, TargetName};
use crate::reconcile::record::{self, Stored};

/// What a pinned target goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The version.
    pub(crate) n: u64,
    /// The change it shows.
    pub(crate) seq: Seq,
    /// True once it has been put in place: from then on what it holds only shrinks.
    pub(crate) done: bool,
}

/// Where a pin is kept in the record.
const PIN: &str = "pin";

/// The pin of a target, if it has one.
pub(crate) fn of(saved: &Saved) -> Option<Pin> {
    saved.record.extra.get(PIN).cloned().and_then(|pin| serde_json::from_value(pin).ok())
}

/// At most what a pinned target may hold.
pub(crate) fn limit(
    mirror: &Mirror,
    name: &TargetName,
    stored: &Stored,
    pin: &Pin,
) -> Result<Vec<Holding>, StoreError> {
    if pin.done {
        return Ok(stored.holdings.clone());
    }
    let now = stored.holdings.clone();
    mirror.read(|tx: &mut ReadTx<'_>| version::holdings(tx, name, now, pin.n))
}

/// Notes that the pinned version is in place.
pub(crate) fn mark_done(saved: &mut Saved) {
    if let Some(pin) = of(saved) {
        set(saved, Some(Pin { done: true, ..pin }));
    }
}

fn set(saved: &mut Saved, pin: Option<Pin>) {
    record::set_extra(saved, PIN, pin.and_then(|pin| serde_json::to_value(pin).ok()));
}

/// Why a target is not rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoVersion {
    /// Nothing earlier is kept.
    None,
    /// No kept version shows that change; these are there.
    Unknown(Seq, Vec<Seq>),
}

/// Pins `name` to the version that shows `to`, or the one before the present one; the change that records it.
pub(crate) fn roll_back(
    mirror: &Mirror,
    name: &TargetName,
    to: Option<Seq>,
    origin: Origin,
) -> Result<Result<(Seq, Version), NoVersion>, StoreError> {
    let name = name.clone();
    mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| {
        let versions = version::all(tx, &name)?;
        let found = match to {
            Some(seq) => versions.iter().rev().find(|one| one.change.seq == seq),
            None => versions.iter().rev().nth(1),
        };
        let Some(found) = found.cloned() else {
            let kept = versions.iter().map(|one| one.change.seq).collect();
            return Ok(Err(to.map_or(NoVersion::None, |seq| NoVersion::Unknown(seq, kept))));
        };
        let detail = json!({ "version": found.n, "to_seq": found.change.seq, "digest": found.digest });
        let seq = decision::record(tx, &Kind::TargetRolledBack, &name, &detail)?;
        let pin = Pin { n: found.n, seq: found.change.seq, done: false };
        record::update_in(tx, &name, |_, saved| {
            set(saved, Some(pin));
            Ok(())
        })?;
        Ok(Ok((seq, found)))
    })
}

/// Lets a pinned target follow access again.
pub(crate) fn unpin(mirror: &Mirror, name: &TargetName, pin: &Pin, origin: Origin) -> Result<(), StoreError> {
    let detail = json!({ "version": pin.n, "seq": pin.seq });
    let at = name.clone();
    mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| {
        decision::record(tx, &Kind::TargetUnpinned, &at, &detail)?;
        record::update_in(tx, &at, |_, saved| {
            set(saved, None);
            Ok(())
        })
    })
}

/// What a target has kept, oldest first.
pub(crate) fn versions(tx: &mut ReadTx<'_>, name: &TargetName) -> Result<Vec<Version>, StoreError> {
    if target::state(tx, name)?.is_none() {
        return Ok(Vec::new());
    }
    version::all(tx, name)
}
