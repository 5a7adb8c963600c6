//! One run of a target that is told of events: turns the changes behind its cursor, and what changed in access, into
//! deliveries, a bounded window of them at a time. Blocking. Sending is `deliver`'s.
//!
//! INVARIANT: deliveries, the cursor, the holding and the last event's id change in one transaction; so an event has
//! one id and one body for ever, whatever crashes when.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::mirror::change::{self, Change};
use crate::mirror::{Mirror, ReadTx, StoreError, decision, delivery, target};
use crate::model::{Clock, Seq, TargetName};

use crate::reconcile::State;
use crate::reconcile::event::{Event, Names, of_change};
use crate::reconcile::file::outcome::Outcome;
use crate::reconcile::file::wish::wish;
use crate::reconcile::guard::verdict;
use crate::reconcile::plan;
use crate::reconcile::record::{self, Place, Stored};
use crate::reconcile::restored::{self, Ended, Shown, Standing};
use crate::reconcile::settings::{TargetSettings, WebhookSettings};
use crate::reconcile::snapshot::Snapshot;

use super::deliver::Signals;
use super::progress::Progress;
use super::tell::{Say, Told};
use super::{bootstrap, waiting};

/// Changes read at once.
const CHANGES_MAX: u32 = 500;

/// Open deliveries of a target at most: what is not sent yet stays in the log (DESIGN §10.3).
pub(crate) const WINDOW: u64 = 4_000;

/// Everything a run works with.
pub(crate) struct WebhookRun<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) settings: &'a TargetSettings,
    pub(crate) webhook: &'a WebhookSettings,
    pub(crate) signals: &'a Signals,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// All that the snapshot knows is told.
    All,
    /// The window is full; it goes on once the receiver took some.
    Window,
    /// A removal is held; it goes on by a person's word.
    Held,
    /// The log no longer holds what comes next.
    Gap,
    /// An import takes something away; it goes on once that is over and judged.
    Import,
    /// A command changed where it stands meanwhile.
    Stale,
}

impl WebhookRun<'_> {
    /// Brings the deliveries up to the snapshot, as far as the window and the guard let it.
    ///
    /// # Errors
    /// [`StoreError`]; what was told so far stays told, the next run goes on from there.
    pub(crate) fn run(&self, snapshot: &Snapshot) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::of(State::InSync);
        let mut stored = record::load(self.mirror, &self.settings.name)?;
        if let Some(why) = self.after_restore(snapshot, &mut stored)? {
            self.signals.more.store(false, Ordering::SeqCst);
            return Ok(Outcome { error: Some(why), ..Outcome::of(State::Unverified) });
        }
        let left = stored.saved.as_ref().and_then(record::place);
        if let Some(left) = &left {
            self.forget_files(left)?;
        }
        if left.is_some() || stored.saved.is_none() {
            self.begin(snapshot)?;
            stored = record::load(self.mirror, &self.settings.name)?;
        }
        let names = Names::of(&snapshot.facts);
        let mut reached = self.pending_snapshot(snapshot, &mut stored, &mut outcome)?;
        if reached == Reached::All {
            self.judge(snapshot, &mut stored, &mut outcome)?;
            reached = self.log(snapshot, snapshot.seq(), &stored, &names, &mut outcome)?;
        }
        if reached == Reached::All {
            reached = self.differences(snapshot, &stored, &names, &mut outcome)?;
        }
        self.conclude(reached, &mut outcome);
        Ok(outcome)
    }

    /// Goes on with what the last run left in the log or the spool, by the verdicts it took; what comes after the change
    /// `to` only as far as a person asked for it again. Answers whether all of it is told, and a whole run should follow.
    ///
    /// # Errors
    /// As [`WebhookRun::run`].
    pub(crate) fn refill(&self, snapshot: &Snapshot, to: Seq) -> Result<bool, StoreError> {
        let mut outcome = Outcome::of(State::InSync);
        let mut stored = record::load_book(self.mirror, &self.settings.name)?;
        if stored.saved.as_ref().is_some_and(restored::is_unverified) {
            // Only a whole run may say that it follows the mirror again.
            self.signals.more.store(false, Ordering::SeqCst);
            return Ok(true);
        }
        let names = Names::of(&snapshot.facts);
        let mut reached = self.pending_snapshot(snapshot, &mut stored, &mut outcome)?;
        if reached == Reached::All {
            let replay = stored.saved.as_ref().and_then(|saved| Progress::of(saved).replay);
            let to = replay.map_or(to, |replay| to.max(replay.to));
            reached = self.log(snapshot, to, &stored, &names, &mut outcome)?;
        }
        self.signals.more.store(matches!(reached, Reached::Window | Reached::Stale), Ordering::SeqCst);
        Ok(matches!(reached, Reached::All | Reached::Stale))
    }

    /// Why nothing may be told after a restore; `None` where there is nothing to wait for, or no longer.
    fn after_restore(&self, snapshot: &Snapshot, stored: &mut Stored) -> Result<Option<String>, StoreError> {
        let Some(saved) = &stored.saved else { return Ok(None) };
        let name = &self.settings.name;
        let leaving = match restored::standing(self.mirror, name, saved)? {
            Standing::Verified => return Ok(None),
            Standing::Whole(why) => return Ok(Some(why)),
            Standing::Leaving(leaving) => leaving,
        };
        let mut base = plan::wanted(&wish(self.settings, snapshot, stored, None).view, &[]);
        base.retain(|(_, entitlement), _| self.webhook.speaks_of(entitlement));
        let (shown, unnamed) = (&Shown::Unseen, &plan::Wanted::new());
        let ended = Ended { leaving, shown, written: None, base: &base, unnamed };
        restored::settle(self.mirror, name, stored, &ended, self.clock.now())?;
        *stored = record::load(self.mirror, name)?;
        Ok(None)
    }

    fn conclude(&self, reached: Reached, outcome: &mut Outcome) {
        self.signals.more.store(matches!(reached, Reached::Window | Reached::Stale), Ordering::SeqCst);
        match reached {
            Reached::Held => outcome.state = State::Held,
            Reached::Import => outcome.state = State::Pending,
            Reached::Gap => {
                outcome.state = State::NeedsSnapshot;
                outcome.error = Some(format!(
                    "the log no longer holds what comes next for it; `rosterd delivery snapshot {}` sends the \
                     present state",
                    self.settings.name
                ));
            }
            Reached::All | Reached::Window | Reached::Stale => {}
        }
    }

    /// A new target hears what happens from now on and all access there is; or, with `bootstrap`, all there is.
    fn begin(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let (name, seq) = (self.settings.name.clone(), snapshot.seq());
        if self.webhook.bootstrap {
            let why = "the target is new and has `bootstrap = true`";
            return self.mirror.write_blocking(crate::model::Origin::daemon(), move |tx| {
                bootstrap::request(tx, &name, why).map(|_| ())
            });
        }
        record::update(self.mirror, &self.settings.name, move |_, saved| {
            saved.cursor = seq;
            Ok(())
        })
    }

    /// The name was that of a file until the configuration said otherwise. What that held, nobody was told: it is
    /// forgotten, and the target is a new one.
    fn forget_files(&self, left: &Place) -> Result<(), StoreError> {
        let (name, path) = (self.settings.name.clone(), left.path.clone());
        tracing::warn!(target_name = %name, path, "the target is of another type now; what it wrote stays and is nobody's");
        self.mirror.write_blocking(crate::model::Origin::daemon(), move |tx| {
            target::forget(tx, &name)?;
            let detail = serde_json::json!({ "deleted": [], "left": [path] });
            decision::record(tx, &change::Kind::TargetForgotten, &name, &detail).map(|_| ())
        })
    }

    /// What was asked for as a snapshot comes before all else.
    fn pending_snapshot(
        &self,
        snapshot: &Snapshot,
        stored: &mut Stored,
        outcome: &mut Outcome,
    ) -> Result<Reached, StoreError> {
        let Some(saved) = &stored.saved else { return Ok(Reached::All) };
        let Some(asked) = Progress::of(saved).snapshot else { return Ok(Reached::All) };
        let reached = bootstrap::go_on(self, snapshot, stored, &asked, outcome)?;
        if reached == Reached::All {
            *stored = record::load(self.mirror, &self.settings.name)?;
        }
        Ok(reached)
    }

    /// Takes the guard's verdicts; from here on `stored.book` is what counts.
    pub(super) fn judge(
        &self,
        snapshot: &Snapshot,
        stored: &mut Stored,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        if !snapshot.is_known() && stored.holdings.is_empty() {
            return Ok(());
        }
        let base = wish(self.settings, snapshot, stored, None);
        let mut base = plan::wanted(&base.view, &[]);
        base.retain(|(_, entitlement), _| self.webhook.guards(entitlement));
        let now = self.clock.now();
        let taken = verdict::take(self.mirror, self.settings, snapshot, stored, &base, now)?;
        if taken.held > 0 {
            outcome.state = State::Held;
        }
        outcome.guarded = Some(taken);
        Ok(())
    }

    /// Tells the changes behind the cursor, up to `to`.
    fn log(
        &self,
        snapshot: &Snapshot,
        to: Seq,
        stored: &Stored,
        names: &Names<'_>,
        outcome: &mut Outcome,
    ) -> Result<Reached, StoreError> {
        let saved = stored.saved.clone().unwrap_or_default();
        let to = to.min(snapshot.seq());
        let mut cursor = saved.cursor;
        // A guarded stream must not tell what an import takes away before the guard has judged it.
        let import = snapshot.moving.since.filter(|_| self.webhook.events.wants_resources());
        let upto = import.map_or(to, |since| since.max(cursor).min(to));
        if !waiting::release(self.mirror, &self.settings.name, &stored.book, names)? {
            return Ok(Reached::Held);
        }
        let mut room = WINDOW.saturating_sub(self.open()?);
        while cursor < upto {
            if room == 0 {
                return Ok(Reached::Window);
            }
            let changes = self.mirror.read(|tx: &mut ReadTx<'_>| change::after(tx, cursor, CHANGES_MAX))?;
            let changes: Vec<Change> = changes.into_iter().filter(|one| one.seq <= upto).collect();
            if changes.first().is_none_or(|first| first.seq != cursor.next()) {
                return Ok(Reached::Gap);
            }
            let (said, reached, is_held) = self.events(&changes, stored, names, room);
            outcome.changed |= !said.is_empty();
            room = room.saturating_sub(said.len() as u64);
            let told = Told { said, ..Told::from(cursor, reached) };
            if !self.tell(told)? {
                return Ok(Reached::Stale);
            }
            cursor = reached;
            if is_held {
                return Ok(Reached::Held);
            }
        }
        Ok(if cursor < to { Reached::Import } else { Reached::All })
    }

    /// The events of `changes` with what becomes of each, up to the change that fills the room or is held.
    fn events(
        &self,
        changes: &[Change],
        stored: &Stored,
        names: &Names<'_>,
        room: u64,
    ) -> (Vec<Say>, Seq, bool) {
        let (mut said, mut to): (Vec<Say>, Seq) = (Vec::new(), Seq::ZERO);
        let is_guarded = self.webhook.events.wants_resources();
        for change in changes {
            if said.len() as u64 >= room {
                break;
            }
            to = change.seq;
            let mut is_held = false;
            for event in of_change(change, names) {
                if !self.webhook.events.passes(&event, names) {
                    continue;
                }
                let state = if is_guarded {
                    waiting::fate(&event, change, &stored.book)
                } else {
                    delivery::State::Pending
                };
                is_held |= state == delivery::State::Held;
                said.push(Say { event, state });
            }
            if is_held {
                return (said, to, true);
            }
        }
        (said, to, false)
    }

    /// Deliveries not finished yet that may be sent: while events are sent again, those up to where that has come. What
    /// lies behind it waits for them, and must not take their room.
    pub(super) fn open(&self) -> Result<u64, StoreError> {
        let name = &self.settings.name;
        self.mirror.read(|tx: &mut ReadTx<'_>| {
            let saved = target::state(tx, name)?.unwrap_or_default();
            delivery::open_to(tx, name, Progress::of(&saved).limit(&saved))
        })
    }

    /// What other targets enforce, for `after`. `None` where that cannot be told: nothing was applied there yet, or
    /// what reads the file has not read what was written last.
    pub(super) fn enforced_by_others(&self) -> Result<Vec<Option<Vec<target::Holding>>>, StoreError> {
        self.mirror.read(|tx: &mut ReadTx<'_>| {
            let of = |name: &TargetName| {
                let saved = target::state(tx, name)?;
                let is_known = saved.is_some_and(|one| one.applied.is_some() && !one.record.reload_pending);
                is_known.then(|| target::holdings(tx, name)).transpose()
            };
            self.webhook.after.iter().map(of).collect()
        })
    }

    /// Whether this event is for this target, whose type and user it is judged by.
    pub(super) fn passes(&self, event: &Event, names: &Names<'_>) -> bool {
        self.webhook.events.passes(event, names)
    }
}
