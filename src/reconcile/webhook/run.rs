//! One run of a webhook target: turns the changes behind its cursor, and what changed in access, into deliveries.
//! Blocking. Sending is `deliver`'s.
//!
//! INVARIANT: deliveries, the cursor, the holding and the last event's id change in one transaction; so an event has
//! one id and one body for ever, whatever crashes when.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Entitlement, Verdict};
use crate::mirror::change::{self, Change};
use crate::mirror::delivery::{self, New};
use crate::mirror::target::{self, Holding};
use crate::mirror::{Mirror, ReadTx, StoreError};
use crate::model::{Clock, Seq, Subject};

use crate::reconcile::State;
use crate::reconcile::event::{self as events, Event, Names, body};
use crate::reconcile::file::run::{Outcome, inputs, wish};
use crate::reconcile::guard::book::is_role;
use crate::reconcile::guard::verdict;
use crate::reconcile::plan;
use crate::reconcile::record::{self, Stored};
use crate::reconcile::settings::{TargetSettings, WebhookSettings};
use crate::reconcile::snapshot::Snapshot;

/// Changes read at once.
const CHANGES_MAX: u32 = 200;

/// Differences of access told in one transaction.
const DIFFERENCES_MAX: usize = 500;

/// Everything a run works with.
pub(crate) struct WebhookRun<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) settings: &'a TargetSettings,
    pub(crate) webhook: &'a WebhookSettings,
}

/// One difference of access: the holding to keep or drop, and the event if one is said.
struct Difference {
    gone: Option<(Subject, Entitlement)>,
    put: Option<Holding>,
    event: Option<Event>,
}

impl WebhookRun<'_> {
    /// Brings the deliveries up to the snapshot.
    ///
    /// # Errors
    /// [`StoreError`]; what was told so far stays told, the next run goes on from there.
    pub(crate) fn run(&self, snapshot: &Snapshot) -> Result<Outcome, StoreError> {
        let mut stored = record::load(self.mirror, &self.settings.name)?;
        // A new webhook hears what happens from now on, and all access there is.
        let mut cursor =
            stored.saved.as_ref().map_or(snapshot.seq(), |saved| saved.cursor).min(snapshot.seq());
        let mut outcome = Outcome::of(State::InSync);
        let names = Names::of(&snapshot.facts);
        if stored.saved.is_none() {
            self.tell(Vec::new(), Vec::new(), cursor)?;
        }
        while cursor < snapshot.seq() {
            let changes = self.mirror.read(|tx: &mut ReadTx<'_>| change::after(tx, cursor, CHANGES_MAX))?;
            let changes: Vec<Change> = changes.into_iter().filter(|one| one.seq <= snapshot.seq()).collect();
            // Without a gap in the log there is always one; its absence must not spin.
            cursor = changes.last().map_or(snapshot.seq(), |last| last.seq);
            let events: Vec<Event> = changes
                .iter()
                .flat_map(|change| events::of_change(change, &names))
                .filter(|event| self.webhook.events.passes(event, &names))
                .collect();
            outcome.changed |= !events.is_empty();
            self.tell(events, Vec::new(), cursor)?;
        }
        if self.webhook.events.wants_access() {
            self.access(snapshot, &names, &mut stored, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Tells the difference between what this webhook was told and what access is now.
    fn access(
        &self,
        snapshot: &Snapshot,
        names: &Names<'_>,
        stored: &mut Stored,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        if !snapshot.is_known() && stored.holdings.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let base = wish(self.settings, snapshot, stored, None);
        let base = plan::roles_only(plan::wanted(&base.view, &[]));
        let taken = verdict::take(self.mirror, self.settings, snapshot, stored, &base, now)?;
        if taken.held > 0 {
            outcome.state = State::Held;
        }
        outcome.guarded = Some(taken);
        let stored = &*stored;
        let wish = wish(self.settings, snapshot, stored, Some(&stored.book));
        outcome.problems.clone_from(&wish.problems);
        let wanted = plan::roles_only(plan::wanted(&wish.view, &[]));
        let (gone, put) = plan::difference(&stored.holdings, &wanted);
        let before: BTreeMap<plan::Key, &Holding> =
            stored.holdings.iter().map(|one| ((one.subject.clone(), one.entitlement.clone()), one)).collect();
        let inputs = inputs(snapshot, stored, &wish);
        let event = |holding: &Holding, why: &str, granted: bool| {
            let event = events::of_access(holding, &plan::label(holding), why, granted, snapshot.seq(), now);
            // What a webhook of an earlier version was told of groups goes without a word.
            (is_role(&holding.entitlement) && self.webhook.events.passes(&event, names)).then_some(event)
        };
        let mut differences: Vec<Difference> = Vec::new();
        // What goes comes first: a receiver that stops half-way has closed doors rather than opened them.
        for key in gone {
            let event = before.get(&key).and_then(|old| event(old, &plan::why_remove(inputs, &key), false));
            outcome.removed = outcome.removed.saturating_add(1);
            differences.push(Difference { gone: Some(key), put: None, event });
        }
        for holding in put {
            let key = (holding.subject.clone(), holding.entitlement.clone());
            let is_new = !before.contains_key(&key);
            let is_kept = wish.exceptions.iter().any(|one| {
                one.verdict == Verdict::Unknown && one.subject == key.0 && one.entitlement == key.1
            });
            let event =
                (is_new && !is_kept).then(|| event(&holding, &plan::why_add(inputs, &key), true)).flatten();
            if is_new {
                outcome.added = outcome.added.saturating_add(1);
            } else {
                outcome.renamed = outcome.renamed.saturating_add(1);
            }
            differences.push(Difference { gone: None, put: Some(holding), event });
        }
        outcome.changed |= differences.iter().any(|one| one.event.is_some());
        let mut rest = differences.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<Difference> = rest.by_ref().take(DIFFERENCES_MAX).collect();
            self.tell(Vec::new(), some, snapshot.seq())?;
        }
        Ok(())
    }

    /// Numbers the events and stores them with everything they follow from.
    fn tell(
        &self,
        mut events: Vec<Event>,
        differences: Vec<Difference>,
        cursor: Seq,
    ) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        let mut put = Vec::new();
        for difference in differences {
            gone.extend(difference.gone);
            put.extend(difference.put);
            events.extend(difference.event);
        }
        let name = self.settings.name.clone();
        let epoch = self.mirror.epoch();
        let settings = self.webhook.body.clone();
        record::update(self.mirror, &self.settings.name, move |tx, saved| {
            let mut previous = record::last_event(saved);
            let mut deliveries = Vec::with_capacity(events.len());
            for event in &events {
                let id = event.id(epoch, previous);
                let body = body::render(event, &settings, id, previous)
                    .map_err(|error| StoreError::Bug(format!("event {id}: {error}")))?;
                deliveries.push(New {
                    event: id,
                    kind: event.kind.to_string(),
                    resource: event.resource.clone(),
                    body: body.bytes,
                });
                previous = Some(id);
            }
            delivery::add(tx, &name, &deliveries)?;
            target::update_holdings(tx, &name, &gone, &put)?;
            saved.cursor = cursor;
            record::set_extra(saved, "last_event", previous.map(record::event_value));
            Ok(())
        })
    }
}
