//! How long it takes until what was revoked is out of each target, and who is still in.
//!
//! Every change that may take access away is noted once, with its time; a target that reports how far it has got settles
//! all up to there. Nothing is read for it but the changes themselves, which are read anyway.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::access::{Entitlement, Verdict};
use crate::mirror::change::{Change, Kind};
use crate::mirror::{Mirror, ReadTx, StoreError, target};
use crate::model::{DirectoryId, ResourceId, ResourceType, Seq, Subject, TargetName, Timestamp};

use super::event::takes_away;
use super::snapshot::Snapshot;
use super::status::TargetStatus;

/// Upper bounds in seconds.
const BUCKETS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0];

/// Most revocations remembered while a target is behind; beyond it the middle is forgotten, so that the oldest are
/// still shown and the newest still measured.
const RECENT_MAX: usize = 10_000;

/// Most people remembered of one change.
const PEOPLE_MAX: usize = 100;

/// Most people that `status` names.
const SHOWN_MAX: usize = 50;

/// Most people looked up for one `status`.
const LOOKED_UP_MAX: usize = 2_000;

/// One change that may take access away.
#[derive(Debug, Clone)]
struct Revocation {
    seq: Seq,
    at: Timestamp,
    kind: String,
    /// Whom it names; empty where it names nobody, such as a configuration.
    who: Vec<Subject>,
}

/// How far one target has got, and how fast.
#[derive(Debug, Default)]
struct Enforced {
    upto: Seq,
    /// Who stays by a verdict: that is no latency.
    kept: BTreeSet<Subject>,
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Enforced {
    fn settle(&mut self, revocation: &Revocation, now: Timestamp) {
        let who = &revocation.who;
        if !who.is_empty() && who.iter().all(|one| self.kept.contains(one)) {
            return;
        }
        let took = now.since(revocation.at);
        let seconds = took.as_secs_f64();
        for (bound, count) in BUCKETS.iter().zip(&mut self.buckets) {
            *count += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Revocation>,
    targets: BTreeMap<TargetName, Enforced>,
}

/// Shared by the reader of changes, the targets and whoever asks.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<Inner>);

impl Meter {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Numbers left by a panic are as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to measure a target that had been applied up to `upto`; one that is known already goes on.
    pub(super) fn track(&self, name: &TargetName, upto: Seq) {
        let mut inner = self.inner();
        inner.targets.entry(name.clone()).or_insert_with(|| Enforced { upto, ..Enforced::default() });
    }

    /// How far the target that is furthest behind has got.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.inner().targets.values().map(|target| target.upto).min()
    }

    /// Forgets the targets that the configuration dropped.
    pub(super) fn keep_only(&self, names: &BTreeSet<TargetName>) {
        let mut inner = self.inner();
        inner.targets.retain(|name, _| names.contains(name));
        prune(&mut inner);
    }

    /// Takes in what was read of the log. A target may have been faster than the reader.
    pub(super) fn note(&self, changes: &[Change], any_filter: bool, now: Timestamp) {
        let found: Vec<Revocation> =
            changes.iter().filter(|change| revokes(change, any_filter)).map(revocation).collect();
        if found.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for one in found {
            for target in inner.targets.values_mut().filter(|target| target.upto >= one.seq) {
                target.settle(&one, now);
            }
            inner.recent.push_back(one);
            if inner.recent.len() > RECENT_MAX {
                inner.recent.remove(RECENT_MAX / 2);
            }
        }
        prune(&mut inner);
    }

    /// Takes in what an earlier life left: nothing of it is measured for a target that has it already.
    pub(super) fn recall(&self, changes: &[Change], any_filter: bool) {
        let mut inner = self.inner();
        inner.recent.extend(changes.iter().filter(|change| revokes(change, any_filter)).map(revocation));
        inner.recent.truncate(RECENT_MAX);
        prune(&mut inner);
    }

    /// A target has been applied up to `upto`, all but what `kept` keep by a verdict.
    pub(super) fn applied(&self, name: &TargetName, upto: Seq, kept: BTreeSet<Subject>, now: Timestamp) {
        let mut inner = self.inner();
        let Inner { recent, targets } = &mut *inner;
        let Some(target) = targets.get_mut(name) else { return };
        target.kept = kept;
        if upto <= target.upto {
            return;
        }
        let from = target.upto;
        target.upto = upto;
        for one in recent.iter().filter(|one| one.seq > from && one.seq <= upto) {
            target.settle(one, now);
        }
        prune(&mut inner);
    }

    /// Says how far a target has got. Where somebody stays by a verdict, that is no latency.
    pub(super) fn enforced(
        &self,
        mirror: &Mirror,
        name: &TargetName,
        (seq, held): (Seq, bool),
        now: Timestamp,
    ) {
        let kept = if held {
            let read = mirror.read(|tx: &mut ReadTx<'_>| target::exceptions(tx, name));
            // Unread, a few count as latency that are not.
            read.unwrap_or_default().into_iter().map(|one| one.subject).collect()
        } else {
            BTreeSet::new()
        };
        self.applied(name, seq, kept, now);
    }

    /// The histogram, as lines of the text format.
    pub(super) fn render(&self) -> String {
        let name = "rosterd_revocation_seconds";
        let mut text = format!(
            "# HELP {name} From the change that takes access away to its being out of the target.\n\
             # TYPE {name} histogram\n"
        );
        // Writing into a String does not fail.
        for (target, one) in &self.inner().targets {
            for (bound, count) in BUCKETS.iter().zip(&one.buckets) {
                let _ = writeln!(text, "{name}_bucket{{target=\"{target}\",le=\"{bound:?}\"}} {count}");
            }
            let (count, seconds) = (one.count, one.seconds);
            let _ = writeln!(text, "{name}_bucket{{target=\"{target}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{target=\"{target}\"}} {seconds}");
            let _ = writeln!(text, "{name}_count{{target=\"{target}\"}} {count}");
        }
        text
    }

    /// What some target has not got to yet, oldest first, with those targets.
    fn waiting(&self) -> Vec<(Revocation, Vec<TargetName>)> {
        let inner = self.inner();
        let behind = |one: &Revocation| {
            let late = inner.targets.iter().filter(|(_, target)| target.upto < one.seq);
            late.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let all = inner.recent.iter().map(|one| (one.clone(), behind(one)));
        all.filter(|(_, late)| !late.is_empty()).take(LOOKED_UP_MAX).collect()
    }
}

/// What every target has got to is not needed any more.
fn prune(inner: &mut Inner) {
    let done = inner.targets.values().map(|target| target.upto).min();
    match done {
        Some(done) => inner.recent.retain(|one| one.seq > done),
        None => inner.recent.clear(),
    }
}

/// Whether somebody may lose something by it. What a person lets go, or what only keeps the log, is no revocation.
fn revokes(change: &Change, any_filter: bool) -> bool {
    let is_other = matches!(
        change.kind,
        Kind::GuardApproved
            | Kind::RebaselineClosed
            | Kind::HistoryPruned
            | Kind::UserForgotten
            | Kind::Other(_)
    );
    !is_other && takes_away(change, any_filter)
}

fn revocation(change: &Change) -> Revocation {
    let mut who: Vec<Subject> = Vec::new();
    if let Some(directory) = &change.directory {
        let subject = |user: ResourceId| Subject { directory: directory.clone(), user };
        let gone = change.members.iter().filter(|one| !one.added && one.member_type == ResourceType::User);
        who.extend(gone.take(PEOPLE_MAX).map(|one| subject(one.member)));
        if change.kind.as_str().starts_with("user.") {
            who.extend(change.resource.map(subject));
        }
    }
    let named = change.object.as_deref().and_then(|text| text.split_once('/'));
    if let Some((directory, user)) = named
        && let (Ok(directory), Some(user)) = (DirectoryId::parse(directory), ResourceId::parse(user))
    {
        who.push(Subject { directory, user });
    }
    who.sort();
    who.dedup();
    Revocation { seq: change.seq, at: change.at, kind: change.kind.to_string(), who }
}

/// What was revoked and is not enforced everywhere yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unenforced {
    /// How many rows there are, shown or not.
    pub count: u64,
    /// The oldest, at most 50.
    pub first: Vec<Late>,
}

/// One person who should be out, or one change that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Late {
    /// `DIRECTORY/ID`; `None` where the change names nobody.
    pub subject: Option<String>,
    /// What they still hold, at the target that holds most; 0 where it is queued for a webhook already.
    pub entitlements: u64,
    /// When the change was made.
    pub since: String,
    /// Its number.
    pub seq: Seq,
    /// What it did; empty for one that is not in the log any more.
    pub change: String,
    /// `pending`, or `held` by the guard.
    pub why: &'static str,
    /// Which targets.
    pub targets: Vec<TargetName>,
}

/// Who should be out and is not. Blocking.
pub(super) fn unenforced(
    mirror: &Mirror,
    meter: &Meter,
    snapshot: &Snapshot,
    statuses: &[TargetStatus],
) -> Result<Unenforced, StoreError> {
    let waiting = meter.waiting();
    mirror.read(|tx: &mut ReadTx<'_>| {
        let mut rows: BTreeMap<(Option<Subject>, &'static str), Late> = BTreeMap::new();
        let mut held: BTreeSet<(TargetName, Subject)> = BTreeSet::new();
        for status in statuses.iter().filter(|status| status.held_removals > 0) {
            let times = target::exception_times(tx, &status.name)?;
            for one in target::exceptions(tx, &status.name)?.iter().filter(|one| one.verdict == Verdict::Held)
            {
                let key = (status.name.clone(), one.subject.clone());
                let is_next = !held.insert(key);
                let since = if is_next { None } else { times.get(&one.since).copied() };
                let row = rows.entry((Some(one.subject.clone()), "held"));
                let row = row.or_insert_with(|| Late {
                    subject: Some(one.subject.to_string()),
                    entitlements: 0,
                    since: since.map(|at| at.to_string()).unwrap_or_default(),
                    seq: one.since,
                    change: String::new(),
                    why: "held",
                    targets: Vec::new(),
                });
                if !is_next {
                    row.targets.push(status.name.clone());
                }
                // Of several targets the first counts; they hold the same roles.
                row.entitlements += u64::from(row.targets.first() == Some(&status.name));
            }
        }
        for (change, late) in &waiting {
            let people: Vec<Option<&Subject>> =
                if change.who.is_empty() { vec![None] } else { change.who.iter().map(Some).collect() };
            for who in people {
                let mut at = Vec::new();
                let mut most = 0;
                for status in statuses.iter().filter(|status| late.contains(&status.name)) {
                    let Some(subject) = who else {
                        at.push(status.name.clone());
                        continue;
                    };
                    if held.contains(&(status.name.clone(), subject.clone())) {
                        continue;
                    }
                    let lost = lost(tx, status, subject, snapshot)?;
                    if lost > 0 || (status.kind == "webhook" && status.open > 0) {
                        at.push(status.name.clone());
                        most = most.max(lost);
                    }
                }
                if at.is_empty() || rows.contains_key(&(who.cloned(), "pending")) {
                    continue;
                }
                let row = Late {
                    subject: who.map(ToString::to_string),
                    entitlements: most,
                    since: change.at.to_string(),
                    seq: change.seq,
                    change: change.kind.clone(),
                    why: "pending",
                    targets: at,
                };
                rows.insert((who.cloned(), "pending"), row);
            }
        }
        let mut first: Vec<Late> = rows.into_values().collect();
        let count = first.len() as u64;
        first.sort_by_key(|row| row.seq);
        first.truncate(SHOWN_MAX);
        Ok(Unenforced { count, first })
    })
}

/// How much a target still holds of a subject that access does not give.
fn lost(
    tx: &mut ReadTx<'_>,
    status: &TargetStatus,
    subject: &Subject,
    snapshot: &Snapshot,
) -> Result<u64, StoreError> {
    let held: Vec<Entitlement> = target::entitlements_of(tx, &status.name, subject)?;
    Ok(held.iter().filter(|one| !snapshot.access.holds(subject, one)).count() as u64)
}

/// Most changes that are read again at the start.
pub(super) const RECALLED_MAX: u32 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(seq: u64, at: i64) -> Change {
        Change {
            seq: Seq(seq),
            directory: Some(DirectoryId::parse("acme").unwrap()),
            at: Timestamp(at),
            kind: Kind::UserDeactivated,
            resource: Some(ResourceId::new(seq, &[1; 10])),
            object: None,
            actor: "token:x".into(),
            request: None,
            version: Some(2),
            before: None,
            after: None,
            members: Vec::new(),
            erased: false,
        }
    }

    fn name(text: &str) -> TargetName {
        TargetName::parse(text).unwrap()
    }

    #[test]
    fn each_target_is_measured_from_the_change_to_its_own_end() {
        let meter = Meter::default();
        meter.track(&name("fast"), Seq(1));
        meter.track(&name("slow"), Seq(1));
        meter.note(&[change(2, 1_000_000), change(3, 1_500_000)], false, Timestamp(1_600_000));
        meter.applied(&name("fast"), Seq(3), BTreeSet::new(), Timestamp(2_000_000));
        assert_eq!(meter.waiting().len(), 2);
        let text = meter.render();
        assert!(text.contains("rosterd_revocation_seconds_count{target=\"fast\"} 2"), "{text}");
        assert!(text.contains("rosterd_revocation_seconds_sum{target=\"fast\"} 1.5"), "{text}");
        assert!(text.contains("_bucket{target=\"fast\",le=\"0.5\"} 1"), "{text}");
        assert!(text.contains("_count{target=\"slow\"} 0"), "{text}");
        meter.applied(&name("slow"), Seq(2), BTreeSet::new(), Timestamp(61_000_000));
        assert_eq!(meter.waiting().len(), 1);
        meter.applied(&name("slow"), Seq(9), BTreeSet::new(), Timestamp(61_500_000));
        assert!(meter.waiting().is_empty() && meter.inner().recent.is_empty());
        assert!(meter.render().contains("_bucket{target=\"slow\",le=\"60.0\"} 2"), "{}", meter.render());
    }

    #[test]
    fn a_target_that_was_faster_than_the_reader_counts_and_a_restart_does_not() {
        let meter = Meter::default();
        meter.track(&name("one"), Seq(5));
        meter.recall(&[change(4, 0), change(6, 0)], false);
        assert_eq!(meter.waiting().len(), 1);
        meter.applied(&name("one"), Seq(7), BTreeSet::new(), Timestamp(100));
        meter.note(&[change(7, 0)], false, Timestamp(100));
        assert!(meter.render().contains("_count{target=\"one\"} 2"), "{}", meter.render());
    }

    #[test]
    fn who_is_kept_by_a_verdict_is_not_latency() {
        let meter = Meter::default();
        meter.track(&name("one"), Seq(1));
        let held = change(2, 0);
        let kept = revocation(&held).who.into_iter().collect();
        meter.note(&[held], false, Timestamp(0));
        meter.applied(&name("one"), Seq(2), kept, Timestamp(1));
        assert!(meter.render().contains("_count{target=\"one\"} 0"));
    }
}
