//! The watchdog: an OS thread that tells systemd "alive" only while the parts that everything depends on answer.
//!
//! Two questions are asked again and again: does the tokio runtime still run a task, does the mirror's writer
//! thread still answer, or get on with a long command. A deadlock in either silences the thread, systemd kills and restarts (operations §2.3).
//! A slow webhook, a hung reload command or an unreachable identity provider must never silence it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often systemd wants to hear from this process (`WATCHDOG_USEC`), or `None` where it does not care.
pub fn period() -> Option<Duration> {
    let of_another = std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != std::process::id().to_string());
    let usec: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (!of_another && usec > 0).then(|| Duration::from_micros(usec))
}

/// When something last showed a sign of life.
#[derive(Debug, Clone)]
pub struct Pulse {
    origin: Instant,
    beat_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Alive now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), beat_ms: Arc::new(AtomicU64::new(0)) }
    }

    /// A sign of life.
    pub fn beat(&self) {
        let ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// How long the last sign of life is ago.
    pub fn silence(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks the writer thread for a sign of life: returns once it answered, with whether it did.
pub type WriterProbe = Box<dyn Fn() -> bool + Send>;

/// How far the writer thread has come; another number than before is a sign of life as well. A large import keeps it
/// from answering for long, and a restart would throw the whole of it away.
pub type WriterProgress = Box<dyn Fn() -> u64 + Send>;

/// A running watchdog; dropping it stops its threads at their next turn.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
}

impl Watchdog {
    /// Starts the threads: one that asks the writer (it may block there), one that asks the runtime and tells
    /// systemd every third of `period`.
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        period: Duration,
        runtime: tokio::runtime::Handle,
        probe_writer: WriterProbe,
        progress: WriterProgress,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (writer, scheduler) = (Pulse::new(), Pulse::new());
        let turn = period / 3;
        let (asking, answered) = (Arc::clone(&stop), writer.clone());
        std::thread::Builder::new().name("watchdog-writer".into()).spawn(move || {
            while !asking.load(Ordering::Relaxed) {
                if probe_writer() {
                    answered.beat();
                }
                std::thread::sleep(turn);
            }
        })?;
        let telling = Arc::clone(&stop);
        std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut reached = progress();
            while !telling.load(Ordering::Relaxed) {
                let pulse = scheduler.clone();
                runtime.spawn(async move { pulse.beat() });
                std::thread::sleep(turn);
                note_progress(progress(), &mut reached, &writer);
                match silent(period, &[("runtime", &scheduler), ("writer", &writer)]) {
                    None => super::notify::alive(),
                    Some(part) => tracing::error!(part, "no sign of life; the watchdog stays silent"),
                }
            }
        })?;
        Ok(Self { stop })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A writer that has come further since the last look is alive.
fn note_progress(now: u64, reached: &mut u64, writer: &Pulse) {
    if std::mem::replace(reached, now) != now {
        writer.beat();
    }
}

/// The first part that has been silent for longer than `period`.
fn silent<'a>(period: Duration, parts: &[(&'a str, &Pulse)]) -> Option<&'a str> {
    parts.iter().find(|(_, pulse)| pulse.silence() > period).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_does_not_answer_but_gets_on_is_alive() {
        let (probed, count) = (Pulse::new(), std::cell::Cell::new(0_u64));
        let mut reached = 0;
        for turn in 0..3 {
            let past = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
            let writer = Pulse { origin: past, beat_ms: Arc::default() };
            count.set(turn / 2);
            note_progress(count.get(), &mut reached, &writer);
            let silent = silent(Duration::from_secs(30), &[("runtime", &probed), ("writer", &writer)]);
            assert_eq!(silent, (turn < 2).then_some("writer"), "turn {turn}");
        }
    }

    #[test]
    fn one_silent_part_is_enough_to_stay_silent() {
        let past = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
        let old = Pulse { origin: past, beat_ms: Arc::default() };
        let fresh = Pulse::new();
        let period = Duration::from_secs(30);
        assert_eq!(silent(period, &[("runtime", &fresh), ("writer", &old)]), Some("writer"));
        old.beat();
        assert_eq!(silent(period, &[("runtime", &fresh), ("writer", &old)]), None);
    }
}
