//! When a receiver fails again and again it is asked slowly, one request at a time. Pure.

use std::time::Duration;

use serde::Serialize;

use crate::model::Timestamp;
use crate::reconcile::timing::backoff::RETRY_AFTER_MAX;

/// Failures in a row that open the circuit.
pub(crate) const FAILURES_MAX: u32 = 5;

/// First wait between two probes; it doubles up to [`PROBE_MAX`].
const PROBE_FIRST: Duration = Duration::from_secs(30);

/// Longest wait between two probes.
const PROBE_MAX: Duration = Duration::from_mins(10);

/// What the circuit looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Requests go as they come.
    Closed,
    /// The receiver failed again and again; nothing is sent until the next probe.
    Open,
    /// One request probes it.
    HalfOpen,
}

impl Circuit {
    /// The word shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The state behind a [`Circuit`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    failures: u32,
    /// Nothing is sent before.
    until: Option<Timestamp>,
    /// When the receiver asked for that.
    asked: Option<Timestamp>,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    All,
    One,
    None { until: Timestamp },
}

impl Breaker {
    /// One that nothing is known of but that nothing is to be sent before `until`.
    pub(crate) fn until(until: Option<Timestamp>) -> Self {
        Self { until, ..Self::default() }
    }

    pub(crate) fn gate(&self, now: Timestamp) -> Gate {
        match self.until {
            // Nobody waits for longer than that: the clock was turned back since.
            Some(until) if until > now && until <= now.plus(RETRY_AFTER_MAX) => Gate::None { until },
            _ if self.failures >= FAILURES_MAX => Gate::One,
            _ => Gate::All,
        }
    }

    pub(crate) fn word(&self, now: Timestamp) -> Circuit {
        match self.gate(now) {
            Gate::None { .. } if self.failures >= FAILURES_MAX => Circuit::Open,
            Gate::One => Circuit::HalfOpen,
            Gate::All | Gate::None { .. } => Circuit::Closed,
        }
    }

    /// The receiver did its part in a request made at `sent`: whatever it answered, it is there. One that was on its
    /// way when it asked to be left alone says nothing about that.
    pub(crate) fn answered(&mut self, sent: Timestamp) {
        self.failures = 0;
        if self.asked.is_none_or(|asked| asked <= sent) {
            *self = Self::default();
        }
    }

    /// It did not; `after` is how long it asked to be left alone. What it asked for before still counts.
    pub(crate) fn failed(&mut self, after: Option<Duration>, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        if after.is_some() {
            self.asked = Some(now);
        }
        let opened = self.failures.checked_sub(FAILURES_MAX).map(|more| {
            PROBE_FIRST.saturating_mul(1_u32.checked_shl(more).unwrap_or(u32::MAX)).min(PROBE_MAX)
        });
        let wanted = opened.max(after).map(|wait| now.plus(wait.min(RETRY_AFTER_MAX)));
        self.until = self.until.filter(|until| *until > now).max(wanted);
    }

    /// Until when the receiver asked to be left alone.
    pub(crate) fn asked_until(&self) -> Option<Timestamp> {
        self.until.filter(|_| self.asked.is_some())
    }

    /// A person said try again: at once, and one request first.
    pub(crate) fn nudged(&mut self) {
        (self.until, self.asked) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    #[test]
    fn five_failures_open_it_a_probe_follows_and_an_answer_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(None, T0);
            assert_eq!(breaker.gate(T0), Gate::All);
        }
        breaker.failed(None, T0);
        let probe = T0.plus(PROBE_FIRST);
        assert_eq!((breaker.gate(T0), breaker.word(T0)), (Gate::None { until: probe }, Circuit::Open));
        assert_eq!((breaker.gate(probe), breaker.word(probe)), (Gate::One, Circuit::HalfOpen));
        breaker.failed(None, probe);
        assert_eq!(breaker.gate(probe), Gate::None { until: probe.plus(PROBE_FIRST * 2) });
        breaker.nudged();
        assert_eq!(breaker.gate(probe), Gate::One);
        breaker.answered(probe);
        assert_eq!((breaker.gate(probe), breaker.word(probe)), (Gate::All, Circuit::Closed));
    }

    #[test]
    fn probes_slow_down_to_a_ceiling_and_retry_after_holds_everything() {
        let mut breaker = Breaker::default();
        for _ in 0..80 {
            breaker.failed(None, T0);
        }
        assert_eq!(breaker.gate(T0), Gate::None { until: T0.plus(PROBE_MAX) });
        assert_eq!(breaker.asked_until(), None);
        let mut asked = Breaker::default();
        asked.failed(Some(Duration::from_secs(7)), T0);
        assert_eq!(asked.gate(T0), Gate::None { until: T0.plus(Duration::from_secs(7)) });
        assert_eq!(asked.word(T0), Circuit::Closed);
    }

    #[test]
    fn what_was_on_its_way_does_not_end_the_rest_that_was_asked_for() {
        let (hour, second) = (Duration::from_hours(1), Duration::from_secs(1));
        let (asked, until) = (T0.plus(second), T0.plus(second).plus(hour));
        let mut breaker = Breaker::default();
        breaker.failed(Some(hour), asked);
        breaker.answered(T0);
        assert_eq!(breaker.gate(asked), Gate::None { until });
        breaker.failed(None, asked.plus(second));
        breaker.failed(Some(second), asked.plus(second));
        assert_eq!((breaker.gate(asked), breaker.asked_until()), (Gate::None { until }, Some(until)));
        // What is sent after it counts.
        breaker.answered(until);
        assert_eq!((breaker.gate(asked), breaker.asked_until()), (Gate::All, None));
    }

    #[test]
    fn a_clock_that_was_turned_back_does_not_hold_it_for_ever() {
        let mut breaker = Breaker::default();
        breaker.failed(Some(Duration::from_hours(1)), T0.plus(Duration::from_hours(1_000)));
        assert_eq!(breaker.gate(T0), Gate::All);
        breaker.failed(Some(Duration::MAX), T0);
        assert_eq!(
            Breaker::until(Some(T0.plus(Duration::from_hours(2)))).gate(T0),
            Gate::None { until: T0.plus(Duration::from_hours(2)) }
        );
    }
}
