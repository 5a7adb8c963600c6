//! How long to wait before the next try. Pure: randomness comes in as an argument.

use std::time::Duration;

/// Waits between the attempts of one webhook delivery after the first, which is at once (DESIGN §6.10).
pub const DELIVERY: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];

/// Longest wait between two runs of a file target that fails.
pub const RUN_MAX: Duration = Duration::from_mins(5);

/// Longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// When to try a delivery again after `attempts` of them failed; `None`: no more, it is parked. A `Retry-After` of
/// the receiver puts it off further, never forward. Jitter adds up to a tenth, so that receivers that come back
/// are not met by all at once.
pub fn delivery(attempts: u32, retry_after: Option<Duration>, random: u32) -> Option<Duration> {
    let at = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let wait = jittered(*DELIVERY.get(at)?, random);
    Some(wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)))
}

/// When to run a target again after `failures` runs in a row failed: 1 s, doubling, at most [`RUN_MAX`].
pub fn run(failures: u32, random: u32) -> Duration {
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    jittered(Duration::from_secs(doubled).min(RUN_MAX), random)
}

fn jittered(wait: Duration, random: u32) -> Duration {
    wait.saturating_add(
        wait.checked_div(10).unwrap_or_default().mul_f64(f64::from(random) / f64::from(u32::MAX)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_eight_times_and_then_parked() {
        let waits: Vec<u64> = (1..=7).map(|n| delivery(n, None, 0).unwrap().as_secs()).collect();
        assert_eq!(waits, [5, 300, 1800, 7200, 18_000, 36_000, 36_000]);
        assert_eq!(delivery(8, None, 0), None);
    }

    #[test]
    fn retry_after_only_puts_off_and_jitter_adds_a_tenth_at_most() {
        let minute = Duration::from_mins(1);
        assert_eq!(delivery(1, Some(minute), 0), Some(minute));
        assert_eq!(delivery(2, Some(minute), 0), Some(Duration::from_mins(5)));
        assert_eq!(delivery(1, Some(Duration::MAX), 0), Some(RETRY_AFTER_MAX));
        assert_eq!(delivery(2, None, u32::MAX), Some(Duration::from_secs(330)));
    }

    #[test]
    fn runs_back_off_to_a_ceiling() {
        assert_eq!(run(1, 0), Duration::from_secs(1));
        assert_eq!(run(4, 0), Duration::from_secs(8));
        assert_eq!(run(60, 0), RUN_MAX);
        assert_eq!(run(u32::MAX, 0), RUN_MAX);
    }
}
