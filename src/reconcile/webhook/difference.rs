//! What a target was told of access, against what access is now, or against what the targets in `after` enforce.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::access::Verdict;
use crate::mirror::StoreError;
use crate::mirror::target::{Holding, State as Saved};
use crate::reconcile::State;
use crate::reconcile::event::{Names, of_access};
use crate::reconcile::file::outcome::Outcome;
use crate::reconcile::file::wish::{inputs, wish};
use crate::reconcile::guard::book::is_role;
use crate::reconcile::guard::verdict;
use crate::reconcile::plan::{self, Key, Wanted};
use crate::reconcile::record::{self, Stored};
use crate::reconcile::restored;
use crate::reconcile::snapshot::Snapshot;

use super::progress::Progress;
use super::run::{Reached, WINDOW, WebhookRun};
use super::tell::{Say, Told};

/// Differences told in one transaction.
const DIFFERENCES_MAX: usize = 500;

/// One difference: the holding to keep or drop, and the event if one is said.
struct Difference {
    gone: Option<Key>,
    put: Option<Holding>,
    event: Option<crate::reconcile::event::Event>,
}

impl WebhookRun<'_> {
    /// Tells the differences, as far as the window lets it.
    pub(super) fn differences(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        names: &Names<'_>,
        outcome: &mut Outcome,
    ) -> Result<Reached, StoreError> {
        if !snapshot.is_known() && stored.holdings.is_empty() {
            return Ok(Reached::All);
        }
        let mut rest = self.found(snapshot, stored, names, outcome)?.into_iter().peekable();
        let mut room = WINDOW.saturating_sub(self.open()?);
        while rest.peek().is_some() {
            if room == 0 {
                return Ok(Reached::Window);
            }
            let mut told = Told::from(snapshot.seq(), snapshot.seq());
            let mut count = 0;
            while count < DIFFERENCES_MAX && room > 0 {
                let Some(one) = rest.next() else { break };
                count += 1;
                told.gone.extend(one.gone);
                told.put.extend(one.put);
                if let Some(event) = one.event {
                    room -= 1;
                    outcome.changed = true;
                    told.said.push(Say::now(event));
                }
            }
            if !self.tell(told)? {
                return Ok(Reached::Stale);
            }
        }
        Ok(Reached::All)
    }

    /// Tells what a shut takes away of what was told, and nothing else: the log and all other differences wait, as
    /// `apply = "manual"` has it, but nobody stays in who is shut out (DESIGN §3).
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn shut(&self, snapshot: &Snapshot) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::of(State::Pending);
        let stored = record::load(self.mirror, &self.settings.name)?;
        // A file's holdings are none that anybody was told of; `sync` begins anew.
        let is_ours = |saved: &&Saved| !restored::is_unverified(saved) && record::place(saved).is_none();
        let Some(saved) = stored.saved.as_ref().filter(is_ours) else {
            return Ok(outcome);
        };
        // It comes behind a snapshot or a replay on its way, which nobody may have gone on with since the start.
        if Progress::of(saved) != Progress::default() {
            self.signals.more.store(true, Ordering::SeqCst);
            self.signals.refill.notify_one();
            return Ok(outcome);
        }
        let is_shut = |one: &Holding| verdict::is_shut(snapshot, &one.subject, &one.attributes);
        let shut: BTreeSet<Key> =
            stored.holdings.iter().filter(|one| is_shut(one)).map(plan::key_of).collect();
        if shut.is_empty() {
            return Ok(outcome);
        }
        let names = Names::of(&snapshot.facts);
        let mut aside = Outcome::of(State::Pending);
        let found = self.found(snapshot, &stored, &names, &mut aside)?;
        let gone: Vec<Difference> =
            found.into_iter().filter(|one| one.gone.as_ref().is_some_and(|key| shut.contains(key))).collect();
        let mut rest = gone.into_iter().peekable();
        while rest.peek().is_some() {
            let mut told = Told::from(saved.cursor, saved.cursor);
            for one in rest.by_ref().take(DIFFERENCES_MAX) {
                told.gone.extend(one.gone);
                told.said.extend(one.event.map(Say::now));
                outcome.removed = outcome.removed.saturating_add(1);
            }
            if !self.tell(told)? {
                break;
            }
            outcome.changed = true;
        }
        Ok(outcome)
    }

    /// What this target should have been told: access as its own guard lets it through, or what others enforce.
    pub(super) fn wanted(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        outcome: &mut Outcome,
    ) -> Result<Wanted, StoreError> {
        let wish = wish(self.settings, snapshot, stored, Some(&stored.book));
        outcome.problems.clone_from(&wish.problems);
        let mut wanted = plan::wanted(&wish.view, &[]);
        wanted.retain(|(_, entitlement), _| self.webhook.speaks_of(entitlement));
        if self.webhook.after.is_empty() || !self.webhook.events.wants_access() {
            return Ok(wanted);
        }
        let others = self.enforced_by_others()?;
        let told: BTreeMap<Key, &Holding> =
            stored.holdings.iter().map(|one| (plan::key_of(one), one)).collect();
        Ok(enforced(wanted, &told, &others))
    }

    fn found(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        names: &Names<'_>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Difference>, StoreError> {
        let wanted = self.wanted(snapshot, stored, outcome)?;
        let (gone, put) = plan::difference(&stored.holdings, &wanted);
        let before: BTreeMap<Key, &Holding> =
            stored.holdings.iter().map(|one| (plan::key_of(one), one)).collect();
        let wish = wish(self.settings, snapshot, stored, Some(&stored.book));
        let inputs = inputs(snapshot, stored, &wish);
        let now = self.clock.now();
        let event = |holding: &Holding, why: &str, granted: bool| {
            let event = of_access(holding, &plan::label(holding), why, granted, snapshot.seq(), now);
            // Memberships are told by the changes themselves.
            (is_role(&holding.entitlement) && self.passes(&event, names)).then_some(event)
        };
        let mut differences: Vec<Difference> = Vec::new();
        // What goes comes first: a receiver that stops half-way has closed doors rather than opened them.
        for key in gone {
            let event = before.get(&key).and_then(|old| event(old, &plan::why_remove(inputs, &key), false));
            outcome.removed = outcome.removed.saturating_add(1);
            differences.push(Difference { gone: Some(key), put: None, event });
        }
        for holding in put {
            let key = plan::key_of(&holding);
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
        Ok(differences)
    }
}

/// What may be said of roles when others enforce them: granted once all of them hold it, revoked once none does. While
/// one of them cannot tell, what was told stands. Memberships are as `wanted` has them.
fn enforced(wanted: Wanted, told: &BTreeMap<Key, &Holding>, others: &[Option<Vec<Holding>>]) -> Wanted {
    let memberships =
        |wanted: Wanted| wanted.into_iter().filter(|((_, entitlement), _)| !is_role(entitlement));
    let roles_of = |all: &Vec<Holding>| -> BTreeMap<Key, Holding> {
        let roles = all.iter().filter(|one| is_role(&one.entitlement));
        roles.map(|one| (plan::key_of(one), one.clone())).collect()
    };
    let sets: Option<Vec<BTreeMap<Key, Holding>>> =
        others.iter().map(|one| one.as_ref().map(roles_of)).collect();
    let Some(sets) = sets else {
        let roles = told.iter().filter(|((_, entitlement), _)| is_role(entitlement));
        let mut stands: Wanted = roles.map(|(key, one)| (key.clone(), (*one).clone())).collect();
        stands.extend(memberships(wanted));
        return stands;
    };
    let keys: BTreeSet<&Key> = sets.iter().flat_map(BTreeMap::keys).collect();
    let mut found: Wanted = BTreeMap::new();
    for key in keys {
        let is_all = sets.iter().all(|set| set.contains_key(key));
        if !is_all && !told.contains_key(key) {
            continue;
        }
        // By its own name for the subject, where it has one.
        let own = wanted.get(key).or_else(|| told.get(key).copied());
        let holding = own.or_else(|| sets.iter().find_map(|set| set.get(key)));
        found.extend(holding.map(|holding| (key.clone(), holding.clone())));
    }
    found.extend(memberships(wanted));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Doc, Entitlement};
    use crate::model::{DirectoryId, ResourceId, RoleName, Subject};

    fn holding(n: u8) -> Holding {
        Holding {
            subject: Subject {
                directory: DirectoryId::parse("acme").unwrap(),
                user: ResourceId::from_bytes([n; 16]),
            },
            entitlement: Entitlement::Role(RoleName::parse("admin").unwrap()),
            name: format!("u{n}"),
            attributes: Doc::new(),
        }
    }

    fn said(told: &[u8], others: &[&[u8]]) -> Vec<u8> {
        let told: Vec<Holding> = told.iter().map(|n| holding(*n)).collect();
        let told: BTreeMap<Key, &Holding> = told.iter().map(|one| (plan::key_of(one), one)).collect();
        let all = |numbers: &&[u8]| numbers.iter().map(|n| holding(*n)).collect();
        enforced_by(&told, &others.iter().map(|numbers| Some(all(numbers))).collect::<Vec<_>>())
    }

    fn enforced_by(told: &BTreeMap<Key, &Holding>, others: &[Option<Vec<Holding>>]) -> Vec<u8> {
        let found = enforced(Wanted::new(), told, others);
        found.keys().map(|(subject, _)| subject.user.as_bytes()[0]).collect()
    }

    #[test]
    fn granted_once_all_enforce_it_and_revoked_once_none_does() {
        assert_eq!(said(&[], &[&[1, 2], &[1]]), [1]);
        assert_eq!(said(&[1, 2], &[&[1, 2], &[1]]), [1, 2], "one of them still lets 2 in");
        assert_eq!(said(&[1, 2], &[&[1], &[1]]), [1]);
        assert_eq!(said(&[1], &[&[], &[]]), [0_u8; 0]);
    }

    #[test]
    fn while_one_of_them_cannot_tell_what_was_told_stands() {
        let (one, two) = (holding(1), holding(2));
        let told = BTreeMap::from([(plan::key_of(&one), &one)]);
        for known in [vec![], vec![one.clone(), two.clone()]] {
            assert_eq!(enforced_by(&told, &[Some(known), None]), [1], "nobody is revoked, nobody granted");
        }
        assert_eq!(enforced_by(&BTreeMap::new(), &[None]), [0_u8; 0]);
    }
}
