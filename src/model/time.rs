//! Time as a value: microseconds since the epoch, UTC. Pure code gets it as an argument; only the edges ask a
//! [`Clock`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment: microseconds since 1970-01-01T00:00:00Z. Stored as this integer, printed per RFC 3339 with
/// milliseconds, which is what SCIM's `dateTime` wants (RFC 7643 §2.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds since the epoch, never negative.
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// Whole seconds since the epoch.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment plus `span`, saturating.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment an RFC 3339 text names (any offset), or `None`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    /// The moment that an operator's text names at `now`: RFC 3339 with any offset, a day (`2026-11-20`, its first
    /// moment in UTC), `now`, or a span before now (`2h ago`, `-2h`, `1d12h ago`; units s m h d w). `None` for any
    /// other text.
    pub fn parse_moment(text: &str, now: Self) -> Option<Self> {
        let text = text.trim();
        if text == "now" {
            return Some(now);
        }
        let span = text.strip_prefix('-').or_else(|| text.strip_suffix("ago").map(str::trim_end));
        if let Some(span) = span {
            return Some(Self(now.0.checked_sub(i64::try_from(parse_span(span)?.as_micros()).ok()?)?));
        }
        Self::parse_rfc3339(text).or_else(|| {
            let day: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
            let start = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Self(start.timestamp().as_microsecond()))
        })
    }

    /// The last moment that prints as this one does: what was copied from a list means all of its millisecond.
    #[must_use]
    pub fn end_of_millisecond(self) -> Self {
        Self(self.0.div_euclid(1_000).saturating_mul(1_000).saturating_add(999))
    }
}

/// A span such as `90s`, `2h`, `1d12h`.
fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let unit = tail.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = tail.get(1..)?;
    }
    Some(total)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.div_euclid(1_000) * 1_000;
        match jiff::Timestamp::from_microsecond(whole) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => f.write_str("0000-00-00T00:00:00.000Z"),
        }
    }
}

/// Where the time comes from. One implementation in production, one that a test turns by hand.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `at`.
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Turns the hand to `at`, forward or back.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Moves the hand forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc3339_with_milliseconds() {
        assert_eq!(Timestamp(1_700_000_000_123_456).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Timestamp::parse_rfc3339("2023-11-14T23:13:20.123+01:00"),
            Some(Timestamp(1_700_000_000_123_000))
        );
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap();
        let read = |text: &str| Timestamp::parse_moment(text, now).map(|at| at.to_string());
        for (text, moment) in [
            ("2026-11-20", "2026-11-20T00:00:00.000Z"),
            ("2026-11-19T10:00:00+02:00", "2026-11-19T08:00:00.000Z"),
            ("2h ago", "2026-11-20T10:00:00.000Z"),
            ("-90s", "2026-11-20T11:58:30.000Z"),
            ("1d12h ago", "2026-11-19T00:00:00.000Z"),
            ("now", "2026-11-20T12:00:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(moment), "{text}");
        }
        for bad in ["", "2h", "2 hours ago", "-", "ago", "-2y", "2026-13-01", "20261120", "-99999999999w"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(Timestamp(1_234_567).end_of_millisecond(), Timestamp(1_234_999));
    }
}
