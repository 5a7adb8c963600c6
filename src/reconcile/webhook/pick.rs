//! What is sent next: the order of deliveries, which one stops what, and what makes up a batch. Pure.

use std::collections::BTreeSet;

use crate::mirror::delivery::{Head, State};
use crate::model::{EventId, Timestamp};
use crate::reconcile::settings::Batch;
use crate::reconcile::timing::backoff::RETRY_AFTER_MAX;

/// Deliveries sent one after the other by one job before their outcome is recorded.
pub(crate) const RUN_MAX: usize = 64;

/// What marks the beginning and the end of a snapshot: nothing overtakes it.
const BARRIER_PREFIX: &str = "snapshot.";

/// The key under which deliveries that no other may overtake are under way.
const WHOLE_TARGET: &str = "";

/// What a batch is made of: the standard form. What was told in another, before the settings changed, goes by itself.
const BATCHED: &str = "application/json";

/// What one request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// One event, or those of a batch, in order.
    pub(crate) events: Vec<EventId>,
    /// Attempts made before.
    pub(crate) made: u32,
    /// Whether these events must be bound into a batch before they are sent.
    pub(crate) bind: bool,
    /// Whether they go as a batch, be it of one.
    pub(crate) is_batch: bool,
}

impl Unit {
    fn one(head: &Head) -> Self {
        Self { events: vec![head.event], made: head.attempts, bind: false, is_batch: false }
    }
}

/// Requests made one after the other, each only once the one before it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// No other job with this key runs meanwhile.
    pub(crate) key: String,
    pub(crate) units: Vec<Unit>,
}

/// What may begin now, and when to look again if nothing else happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Picked {
    pub(crate) jobs: Vec<Job>,
    pub(crate) wake_at: Option<Timestamp>,
}

/// Whether its turn has come. What was never tried, or that a person wants tried anew, is due whatever the clock says,
/// which may have been turned back since; and nothing waits longer than the longest wait there is.
fn is_due(head: &Head, now: Timestamp) -> bool {
    head.attempts == 0 || head.next_at <= now || head.next_at > now.plus(RETRY_AFTER_MAX)
}

/// The batch that was begun, if one is first: it stays what it was, whatever the settings say by now.
pub(crate) fn begun(heads: &[Head], now: Timestamp) -> Option<Picked> {
    let first = heads.first().filter(|first| first.state == State::Pending)?;
    let batch = first.batch?;
    if !is_due(first, now) {
        return Some(Picked { jobs: Vec::new(), wake_at: Some(first.next_at) });
    }
    let events = heads.iter().take_while(|head| head.batch == Some(batch)).map(|head| head.event);
    let unit = Unit { events: events.collect(), made: first.attempts, bind: false, is_batch: true };
    Some(picked(WHOLE_TARGET, vec![unit], None))
}

/// `ordering = "target"`: the first open delivery, and those behind it as long as each is due. One that is held or
/// parked stops all.
pub(crate) fn in_order(heads: &[Head], now: Timestamp) -> Picked {
    let mut units = Vec::new();
    let mut wake_at = None;
    for head in heads.iter().take(RUN_MAX) {
        if head.state != State::Pending {
            break;
        }
        if !is_due(head, now) {
            wake_at = units.is_empty().then_some(head.next_at);
            break;
        }
        units.push(Unit::one(head));
        // One that failed before is tried alone: most likely it fails again.
        if head.attempts > 0 {
            break;
        }
    }
    picked(WHOLE_TARGET, units, wake_at)
}

/// With `batch`: a new one once it is full or its first event has waited long enough; see [`begun`].
pub(crate) fn batched(heads: &[Head], batch: &Batch, now: Timestamp) -> Picked {
    let Some(first) = heads.first().filter(|first| first.state == State::Pending) else {
        return Picked::default();
    };
    if !is_due(first, now) {
        return Picked { jobs: Vec::new(), wake_at: Some(first.next_at) };
    }
    if first.content_type != BATCHED {
        return picked(WHOLE_TARGET, vec![Unit::one(first)], None);
    }
    let mut events = Vec::new();
    let mut bytes = 0_u64;
    let mut is_full = false;
    for head in heads {
        bytes = bytes.saturating_add(head.bytes);
        let is_over = bytes > batch.max_bytes || events.len() >= batch.max_events;
        if !events.is_empty() && is_over {
            is_full = true;
            break;
        }
        if head.state != State::Pending || head.batch.is_some() {
            break;
        }
        if head.content_type != BATCHED {
            is_full = true;
            break;
        }
        events.push(head.event);
    }
    let due = first.created_at.plus(batch.max_wait);
    let is_waiting = due > now && first.created_at <= now;
    if !is_full && events.len() < batch.max_events && is_waiting {
        return Picked { jobs: Vec::new(), wake_at: Some(due) };
    }
    picked(WHOLE_TARGET, vec![Unit { events, made: 0, bind: true, is_batch: true }], None)
}

/// `ordering = "resource"`: one request under way for each resource, `room` more in all. One that is parked stops its
/// resource only; one that is held stops all behind it, and so does the beginning or end of a snapshot until
/// everything before it is finished.
pub(crate) fn by_resource(heads: &[Head], busy: &BTreeSet<String>, room: usize, now: Timestamp) -> Picked {
    let mut picked = Picked::default();
    let mut blocked = busy.clone();
    if blocked.contains(WHOLE_TARGET) {
        return picked;
    }
    for (at, head) in heads.iter().enumerate() {
        if head.state == State::Held || picked.jobs.len() >= room {
            break;
        }
        let is_barrier = head.kind.starts_with(BARRIER_PREFIX);
        if is_barrier && (at > 0 || !busy.is_empty()) {
            break;
        }
        // Of what has no resource one goes at a time.
        let key = if is_barrier { WHOLE_TARGET } else { head.resource.as_deref().unwrap_or("-") };
        let is_first = blocked.insert(key.to_owned());
        if is_first && head.state == State::Pending {
            if is_due(head, now) {
                picked.jobs.push(Job { key: key.to_owned(), units: vec![Unit::one(head)] });
            } else {
                picked.wake_at = Some(picked.wake_at.map_or(head.next_at, |at| at.min(head.next_at)));
            }
        }
        if is_barrier {
            break;
        }
    }
    picked
}

fn picked(key: &str, units: Vec<Unit>, wake_at: Option<Timestamp>) -> Picked {
    let jobs = if units.is_empty() { Vec::new() } else { vec![Job { key: key.to_owned(), units }] };
    Picked { jobs, wake_at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Epoch, Seq};

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn id(seq: u64) -> EventId {
        EventId { epoch: Epoch(1), seq: Seq(seq), n: 0 }
    }

    fn head(seq: u64, resource: &str) -> Head {
        Head {
            turn: Seq(seq),
            event: id(seq),
            kind: "user.updated".into(),
            resource: Some(resource.into()),
            content_type: BATCHED.into(),
            at: NOW,
            state: State::Pending,
            attempts: 0,
            next_at: NOW,
            created_at: NOW,
            batch: None,
            bytes: 10,
            last_error: None,
        }
    }

    /// Tried once, and not due for five seconds.
    fn failed(head: &mut Head) {
        (head.attempts, head.next_at) = (1, NOW.plus(Duration::from_secs(5)));
    }

    fn seqs(picked: &Picked) -> Vec<u64> {
        let units = picked.jobs.iter().flat_map(|job| &job.units);
        units.flat_map(|unit| &unit.events).map(|event| event.seq.0).collect()
    }

    #[test]
    fn a_target_goes_in_order_up_to_what_is_parked_held_or_not_due() {
        let mut heads = vec![head(1, "a"), head(2, "b"), head(3, "a")];
        assert_eq!(seqs(&in_order(&heads, NOW)), [1, 2, 3]);
        heads[2].state = State::Parked;
        assert_eq!(seqs(&in_order(&heads, NOW)), [1, 2]);
        failed(&mut heads[1]);
        assert_eq!(seqs(&in_order(&heads, NOW)), [1]);
        heads[0].state = State::Held;
        assert_eq!(in_order(&heads, NOW), Picked::default());
        heads.remove(0);
        assert_eq!(in_order(&heads, NOW).wake_at, Some(NOW.plus(Duration::from_secs(5))));
    }

    #[test]
    fn one_that_failed_is_tried_alone() {
        let mut heads = vec![head(1, "a"), head(2, "b")];
        heads[0].attempts = 1;
        assert_eq!(seqs(&in_order(&heads, NOW)), [1]);
    }

    #[test]
    fn a_resource_stops_only_itself() {
        let mut heads = vec![head(1, "a"), head(2, "b"), head(3, "a"), head(4, "c")];
        heads[0].state = State::Parked;
        let none = BTreeSet::new();
        assert_eq!(seqs(&by_resource(&heads, &none, 8, NOW)), [2, 4]);
        let busy = BTreeSet::from(["b".to_owned()]);
        assert_eq!(seqs(&by_resource(&heads, &busy, 8, NOW)), [4]);
        assert_eq!(seqs(&by_resource(&heads, &none, 1, NOW)), [2]);
        failed(&mut heads[1]);
        let picked = by_resource(&heads, &none, 8, NOW);
        assert_eq!((seqs(&picked), picked.wake_at), (vec![4], Some(NOW.plus(Duration::from_secs(5)))));
        heads[1].state = State::Held;
        assert!(seqs(&by_resource(&heads, &none, 8, NOW)).is_empty());
    }

    #[test]
    fn nothing_overtakes_the_edges_of_a_snapshot() {
        let mut heads = vec![head(1, "a"), head(2, "b"), head(3, "c")];
        heads[1].kind = "snapshot.finished".into();
        let none = BTreeSet::new();
        assert_eq!(seqs(&by_resource(&heads, &none, 8, NOW)), [1]);
        heads.remove(0);
        assert_eq!(seqs(&by_resource(&heads, &BTreeSet::from(["a".to_owned()]), 8, NOW)), [0_u64; 0]);
        assert_eq!(seqs(&by_resource(&heads, &none, 8, NOW)), [2]);
        assert!(by_resource(&heads, &BTreeSet::from([String::new()]), 8, NOW).jobs.is_empty());
    }

    #[test]
    fn a_batch_waits_until_it_is_full_or_old_and_stays_what_it_was() {
        let batch = Batch { max_events: 3, max_bytes: 1000, max_wait: Duration::from_secs(1) };
        let mut heads = vec![head(1, "a"), head(2, "b")];
        let waiting = batched(&heads, &batch, NOW);
        assert_eq!((seqs(&waiting), waiting.wake_at), (vec![], Some(NOW.plus(batch.max_wait))));
        let later = NOW.plus(batch.max_wait);
        assert_eq!(seqs(&batched(&heads, &batch, later)), [1, 2]);
        heads.extend([head(3, "c"), head(4, "d")]);
        assert_eq!(seqs(&batched(&heads, &batch, NOW)), [1, 2, 3]);
        let small = Batch { max_bytes: 25, ..batch };
        assert_eq!(seqs(&batched(&heads, &small, NOW)), [1, 2]);
        let tiny = Batch { max_bytes: 1, ..batch };
        assert_eq!(seqs(&batched(&heads, &tiny, NOW)), [1], "one that is too big goes alone");
        for head in &mut heads[..2] {
            head.batch = Some(id(2));
            head.attempts = 1;
        }
        let again = begun(&heads, NOW).unwrap();
        assert_eq!(seqs(&again), [1, 2]);
        let unit = &again.jobs[0].units[0];
        assert_eq!((unit.made, unit.bind, unit.is_batch), (1, false, true));
        failed(&mut heads[0]);
        assert_eq!(begun(&heads, NOW).unwrap().wake_at, Some(heads[0].next_at));
        heads[0].state = State::Parked;
        assert_eq!(begun(&heads, NOW), None);
    }

    #[test]
    fn what_was_told_in_another_form_is_in_no_batch() {
        let batch = Batch { max_events: 3, max_bytes: 1000, max_wait: Duration::from_secs(1) };
        let mut heads = vec![head(1, "a"), head(2, "b"), head(3, "c")];
        heads[1].content_type = "application/secevent+jwt".into();
        let first = batched(&heads, &batch, NOW);
        assert_eq!(
            (seqs(&first), first.jobs[0].units[0].is_batch),
            (vec![1], true),
            "what follows it cannot join"
        );
        let alone = batched(&heads[1..], &batch, NOW);
        let unit = &alone.jobs[0].units[0];
        assert_eq!((seqs(&alone), unit.bind, unit.is_batch), (vec![2], false, false));
    }

    #[test]
    fn a_clock_that_is_turned_back_delays_nothing_that_was_not_tried_and_nothing_for_long() {
        let early = Timestamp(1);
        let mut heads = vec![head(1, "a"), head(2, "b")];
        assert_eq!(seqs(&in_order(&heads, early)), [1, 2]);
        assert_eq!(seqs(&by_resource(&heads, &BTreeSet::new(), 8, early)), [1, 2]);
        let batch = Batch { max_events: 3, max_bytes: 1000, max_wait: Duration::from_secs(1) };
        assert_eq!(seqs(&batched(&heads, &batch, early)), [1, 2]);
        failed(&mut heads[0]);
        assert_eq!(seqs(&in_order(&heads, early)), [0_u64; 0]);
        heads[0].next_at = NOW.plus(Duration::from_hours(24 * 365));
        assert_eq!(seqs(&in_order(&heads, NOW)), [1]);
    }
}
