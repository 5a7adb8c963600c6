//! When a target is looked at. Pure steps: the moment comes in, the next deadline goes out.
//!
//! Deadlines are monotonic time since the task began, so that a turned clock neither hurries nor stalls them; only the
//! cron schedule follows the wall clock, and after a jump or a long gap it fires once.

use std::time::Duration;

use crate::model::{Seq, Timestamp};

use crate::reconcile::timing::cron::Cron;

/// How long a change may gather others before it is applied. Key `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// What takes access away waits only this long. Default 50 ms, 0 s to 1 min.
    pub revoke: Duration,
    /// Each change puts the run off by this much. Default 200 ms, 0 s to 1 h.
    pub min: Duration,
    /// Longest that a burst of changes may put off a run. Default 5 s, 0 s to 1 h.
    pub max: Duration,
}

impl Wait {
    /// The same, but that what takes nothing away waits for `least` at least.
    #[must_use]
    pub fn for_additions(self, least: Duration) -> Self {
        Self { min: self.min.max(least), max: self.max.max(least), ..self }
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            revoke: Duration::from_millis(50),
            min: Duration::from_millis(200),
            max: Duration::from_secs(5),
        }
    }
}

/// The newest change, and the newest that may take access away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// The newest change.
    pub seq: Seq,
    /// The newest change that may take something away; at most `seq`.
    pub revoke: Seq,
    /// The newest change by which a person takes something away, or a grant ends; at most `seq`.
    pub word: Seq,
}

/// Gathers changes. `Default`: nothing is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Debounce {
    first: Option<Duration>,
    last: Duration,
    revoke: Option<Duration>,
}

impl Debounce {
    /// A change was seen at `now`.
    pub fn change(&mut self, now: Duration, takes_away: bool) {
        self.first.get_or_insert(now);
        self.last = now;
        if takes_away {
            self.revoke.get_or_insert(now);
        }
    }

    /// When to run; `None` while nothing waits. INVARIANT: never later than `wait.max` after the first change, nor than
    /// `wait.revoke` after the first that takes away.
    pub fn due(&self, wait: &Wait) -> Option<Duration> {
        let first = self.first?;
        let due = first.saturating_add(wait.max).min(self.last.saturating_add(wait.min));
        Some(self.revoke.map_or(due, |revoke| due.min(revoke.saturating_add(wait.revoke))))
    }

    /// Everything gathered is being applied.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How far the wall clock may be set back before a schedule is counted anew.
const JUMP: Duration = Duration::from_mins(1);

/// A cron schedule under way.
#[derive(Debug, Clone)]
pub struct Clockwork {
    cron: Option<Cron>,
    next: Option<Timestamp>,
    seen: Timestamp,
}

impl Clockwork {
    /// Starts at `now`; nothing is due yet.
    pub fn new(cron: Option<Cron>, now: Timestamp) -> Self {
        let next = cron.as_ref().and_then(|cron| cron.next(now));
        Self { cron, next, seen: now }
    }

    /// Whether the schedule is due at `now`. Says so once, however many runs a gap swallowed.
    pub fn is_due(&mut self, now: Timestamp) -> bool {
        let was_set_back = self.seen.since(now) > JUMP;
        self.seen = now;
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due || was_set_back {
            self.next = self.cron.as_ref().and_then(|cron| cron.next(now));
        }
        is_due
    }

    /// How long from `now` until it is due, at most a minute, so that a turned clock is noticed.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.next.map(|next| next.since(now).min(JUMP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_change_waits_min_and_a_burst_at_most_max() {
        let wait = Wait::default();
        let mut gathered = Debounce::default();
        assert_eq!(gathered.due(&wait), None);
        gathered.change(ms(1000), false);
        assert_eq!(gathered.due(&wait), Some(ms(1200)));
        for n in 0..100 {
            gathered.change(ms(1000 + n * 100), false);
        }
        assert_eq!(gathered.due(&wait), Some(ms(6000)));
        gathered.clear();
        assert_eq!(gathered.due(&wait), None);
    }

    #[test]
    fn what_takes_away_waits_only_revoke_whatever_follows() {
        let wait = Wait::default();
        let mut gathered = Debounce::default();
        gathered.change(ms(0), false);
        gathered.change(ms(100), true);
        gathered.change(ms(140), false);
        gathered.change(ms(145), true);
        assert_eq!(gathered.due(&wait), Some(ms(150)));
    }

    #[test]
    fn patience_with_additions_is_none_with_what_takes_away() {
        let (wait, least) = (Wait::default(), Duration::from_secs(1));
        let patient = wait.for_additions(least);
        let mut gathered = Debounce::default();
        gathered.change(ms(0), false);
        assert_eq!((gathered.due(&wait), gathered.due(&patient)), (Some(ms(200)), Some(least)));
        gathered.change(ms(10), true);
        assert_eq!(gathered.due(&patient), gathered.due(&wait), "revocations wait no longer");
        let long = Wait { revoke: ms(1), min: ms(2_000), max: ms(3_000) };
        assert_eq!(long.for_additions(least), long);
    }

    #[test]
    fn a_schedule_missed_for_a_day_runs_once_and_a_clock_set_back_is_noticed() {
        let hour = 3_600_000_000;
        let mut works = Clockwork::new(Some(Cron::parse("@hourly", "UTC").unwrap()), Timestamp(0));
        assert!(!works.is_due(Timestamp(1)));
        assert!(works.is_due(Timestamp(24 * hour)));
        assert!(!works.is_due(Timestamp(24 * hour + 1)));
        assert!(!works.is_due(Timestamp(2 * hour + 1)));
        assert!(works.is_due(Timestamp(3 * hour)));
        assert_eq!(works.wait(Timestamp(3 * hour)), Some(Duration::from_mins(1)));
        assert_eq!(Clockwork::new(None, Timestamp(0)).wait(Timestamp(0)), None);
    }

    proptest! {
        #[test]
        fn no_change_waits_longer_than_promised(
            steps in proptest::collection::vec((0u64..400, any::<bool>()), 1..60),
            revoke in 0u64..100, min in 0u64..500, max in 0u64..3000,
        ) {
            let wait = Wait { revoke: ms(revoke), min: ms(min), max: ms(max) };
            let mut gathered = Debounce::default();
            let (mut now, mut first, mut taken) = (0, None, None);
            for (step, takes_away) in steps {
                now += step;
                gathered.change(ms(now), takes_away);
                let first = *first.get_or_insert(now);
                if takes_away {
                    taken.get_or_insert(now);
                }
                let due = gathered.due(&wait).unwrap();
                prop_assert!(due <= ms(first + max));
                prop_assert!(due <= ms(now + min));
                if let Some(taken) = taken {
                    prop_assert!(due <= ms(taken + revoke));
                }
            }
        }
    }
}
