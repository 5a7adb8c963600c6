//! A target's saved state, changed only inside the writer's transaction, so that no part overwrites another's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mirror::owned::{self, Owned};
use crate::mirror::target::{self, Holding, State as Saved};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx};
use crate::model::{Epoch, EventId, Origin, Seq, TargetName, Timestamp};

use super::State;
use super::file::look::Evidence;
use super::guard::book::{Book, Hold};
use super::plan::{self, Key};
use super::settings::FileSettings;

/// Runs kept of each target.
pub(crate) const RUNS_KEPT: u32 = 200;

/// What is stored of a target.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) saved: Option<Saved>,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) book: Book,
    /// Files of a tree that are ours.
    pub(crate) owned: Vec<Owned>,
}

/// Reads everything stored of `name` in one snapshot. Blocking.
pub(crate) fn load(mirror: &Mirror, name: &TargetName) -> Result<Stored, StoreError> {
    mirror.read(|tx: &mut ReadTx<'_>| {
        let saved = target::state(tx, name)?;
        let book = book_in(tx, name, saved.as_ref())?;
        let owned = owned::all(tx, name)?;
        Ok(Stored { book, holdings: target::holdings(tx, name)?, saved, owned })
    })
}

/// [`load`] without the holdings, for a run that judges nothing anew. Blocking.
pub(crate) fn load_book(mirror: &Mirror, name: &TargetName) -> Result<Stored, StoreError> {
    mirror.read(|tx: &mut ReadTx<'_>| {
        let saved = target::state(tx, name)?;
        Ok(Stored {
            book: book_in(tx, name, saved.as_ref())?,
            holdings: Vec::new(),
            owned: Vec::new(),
            saved,
        })
    })
}

/// The part of the guard's book that no statement looks into.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Terms {
    hold: Option<Hold>,
    plans: Vec<(String, u64)>,
    batch: u64,
}

/// Reads the guard's book of `name`.
pub(crate) fn book_in(
    tx: &mut ReadTx<'_>,
    name: &TargetName,
    saved: Option<&Saved>,
) -> Result<Book, StoreError> {
    let terms = saved.and_then(|saved| saved.record.extra.get("guard")).cloned();
    let terms: Terms = terms.map(serde_json::from_value).transpose().ok().flatten().unwrap_or_default();
    let exceptions = target::exceptions(tx, name)?;
    let passed = target::passed(tx, name)?;
    Ok(Book {
        exceptions: exceptions
            .into_iter()
            .map(|one| ((one.subject.clone(), one.entitlement.clone()), one))
            .collect(),
        passed: passed.into_iter().map(|one| (plan::key_of(&one.holding), one)).collect(),
        hold: terms.hold,
        plans: terms.plans,
        batch: terms.batch,
    })
}

/// Stores what of the book changed, inside a transaction and into the state being saved there.
pub(crate) fn save_book(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    saved: &mut Saved,
    before: &Book,
    after: &Book,
) -> Result<(), StoreError> {
    if before.exceptions != after.exceptions {
        let exceptions: Vec<_> = after.exceptions.values().cloned().collect();
        target::save_exceptions(tx, name, &exceptions)?;
    }
    let gone: Vec<Key> =
        before.passed.keys().filter(|key| !after.passed.contains_key(key)).cloned().collect();
    let put: Vec<_> = after
        .passed
        .iter()
        .filter(|(key, one)| before.passed.get(key) != Some(one))
        .map(|(_, one)| one.clone())
        .collect();
    target::update_passed(tx, name, &gone, &put)?;
    let terms = Terms { hold: after.hold.clone(), plans: after.plans.clone(), batch: after.batch };
    let terms = serde_json::to_value(terms).map_err(|error| StoreError::Bug(format!("guard: {error}")))?;
    set_extra(saved, "guard", Some(terms));
    saved.record.held_plan = after.held().next().is_some().then(|| after.hash());
    Ok(())
}

/// Changes the saved state of `name`; `also` rides in the same transaction. Blocking.
pub(crate) fn update(
    mirror: &Mirror,
    name: &TargetName,
    change: impl FnOnce(&mut WriteTx<'_>, &mut Saved) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let name = name.clone();
    mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| update_in(tx, &name, change))
}

/// [`update`] inside a transaction.
pub(crate) fn update_in(
    tx: &mut WriteTx<'_>,
    name: &TargetName,
    change: impl FnOnce(&mut WriteTx<'_>, &mut Saved) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut saved = target::state(tx, name)?.unwrap_or_default();
    change(tx, &mut saved)?;
    target::save_state(tx, name, &saved)
}

/// The digest of bytes that were about to be put in place when this was saved, in hex.
pub(crate) fn intended(saved: &Saved) -> Option<&str> {
    saved.record.extra.get("intended").and_then(Value::as_str)
}

/// Since when the bytes written last are shown to readers.
pub(crate) fn shown_since(saved: &Saved) -> Option<Timestamp> {
    saved.record.extra.get("shown_since").and_then(Value::as_i64).map(Timestamp)
}

/// Whether a reload has succeeded since the file last changed: what it says is what its reader holds.
pub(crate) fn is_loaded(saved: &Saved) -> bool {
    saved.record.extra.get("loaded").and_then(Value::as_bool).unwrap_or(false)
}

/// What [`is_loaded`] reads.
pub(crate) fn set_loaded(saved: &mut Saved, is_loaded: bool) {
    set_extra(saved, "loaded", is_loaded.then_some(Value::Bool(true)));
}

/// One further fact of the record that is a text.
pub(crate) fn extra_text(saved: &Saved, key: &str) -> Option<String> {
    saved.record.extra.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Where a target's files are, kept so that one the configuration drops can still be shown and forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Key `type`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The file, the folder of a tree, the symlink of a set.
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn of(file: &FileSettings) -> Self {
        Self { kind: file.shape.as_str().to_owned(), path: file.spec.path.display().to_string() }
    }
}

/// Where the target's files are, if it ever wrote any.
pub(crate) fn place(saved: &Saved) -> Option<Place> {
    serde_json::from_value(saved.record.extra.get("place")?.clone()).ok()
}

/// What [`place`] reads.
pub(crate) fn set_place(saved: &mut Saved, place: &Place) {
    set_extra(saved, "place", serde_json::to_value(place).ok());
}

/// Who touched the target's files last, as far as could be told.
pub(crate) fn drift(saved: &Saved) -> Vec<Evidence> {
    let kept = saved.record.extra.get("drift").cloned();
    kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default()
}

/// What [`drift`] reads; without news the last stays.
pub(crate) fn set_drift(saved: &mut Saved, found: &[Evidence]) {
    if !found.is_empty() {
        set_extra(saved, "drift", serde_json::to_value(found).ok());
    }
}

/// The last event made for a webhook.
pub(crate) fn last_event(saved: &Saved) -> Option<EventId> {
    event(saved, "last_event")
}

/// What [`last_event`] reads.
pub(crate) fn set_last_event(saved: &mut Saved, id: Option<EventId>) {
    set_extra(saved, "last_event", id.map(event_value));
}

/// The last event made for a webhook that no single change makes.
pub(crate) fn last_derived(saved: &Saved) -> Option<EventId> {
    event(saved, "last_derived")
}

/// What [`last_derived`] reads.
pub(crate) fn set_last_derived(saved: &mut Saved, id: EventId) {
    set_extra(saved, "last_derived", Some(event_value(id)));
}

fn event(saved: &Saved, key: &str) -> Option<EventId> {
    let [epoch, seq, n] = saved.record.extra.get(key)?.as_array()?.as_slice() else { return None };
    Some(EventId {
        epoch: Epoch(u32::try_from(epoch.as_u64()?).ok()?),
        seq: Seq(seq.as_u64()?),
        n: u32::try_from(n.as_u64()?).ok()?,
    })
}

fn event_value(id: EventId) -> Value {
    serde_json::json!([id.epoch.0, id.seq.0, id.n])
}

/// The URL that answered 410, if one did.
pub(crate) fn disabled_url(saved: &Saved) -> Option<&str> {
    saved.record.extra.get("disabled_url").and_then(Value::as_str)
}

/// Until when the receiver asked to be left alone.
pub(crate) fn not_before(saved: &Saved) -> Option<Timestamp> {
    saved.record.extra.get("not_before")?.as_i64().map(Timestamp)
}

/// What [`not_before`] reads.
pub(crate) fn set_not_before(saved: &mut Saved, at: Option<Timestamp>) {
    set_extra(saved, "not_before", at.map(|at| at.0.into()));
}

/// How often events were asked for again.
pub(crate) fn replays(saved: &Saved) -> u64 {
    saved.record.extra.get("replays").and_then(Value::as_u64).unwrap_or(0)
}

/// Counts one more time; see [`replays`].
pub(crate) fn count_replay(saved: &mut Saved) {
    let count = replays(saved).saturating_add(1);
    set_extra(saved, "replays", Some(count.into()));
}

/// Sets or removes one further fact of the record.
pub(crate) fn set_extra(saved: &mut Saved, key: &str, value: Option<Value>) {
    if !saved.record.extra.is_object() {
        saved.record.extra = Value::Object(serde_json::Map::new());
    }
    if let Some(extra) = saved.record.extra.as_object_mut() {
        match value {
            Some(value) => extra.insert(key.to_owned(), value),
            None => extra.remove(key),
        };
    }
}

impl State {
    /// The word of DESIGN §3.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Failing => "failing",
            Self::Drifted => "drifted",
            Self::Foreign => "foreign",
            Self::Disabled => "disabled",
            Self::Pinned => "pinned",
            Self::Orphaned => "orphaned",
            Self::Waiting => "waiting",
            Self::Unverified => "unverified",
            Self::NeedsSnapshot => "needs_snapshot",
        }
    }
}
