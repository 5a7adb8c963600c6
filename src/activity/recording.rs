//! For which directories bodies are kept, until when and how many: only because a person asked, and never for long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::scrub::{Scrubber, Tally};
use crate::model::{DirectoryId, Timestamp};

/// Longest that bodies are kept for at one word.
pub const SPAN_MAX: Duration = Duration::from_hours(24);
/// Most requests whose bodies are kept at one word.
pub(super) const REQUESTS_MAX: u64 = 2_000;
/// Most bytes of bodies kept at one word.
pub(super) const BYTES_MAX: u64 = 8 << 20;
/// Largest body, and answer, that is kept.
pub const ONE_BYTES_MAX: usize = 256 << 10;

/// One directory's recording.
#[derive(Debug)]
struct Recording {
    number: u64,
    after: u64,
    since: Timestamp,
    until: Timestamp,
    requests: u64,
    bytes: u64,
    too_large: u64,
    by: String,
    scrubber: Scrubber,
}

/// What a trace says about how it came to be.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Number of the recording; bodies name it.
    pub(super) number: u64,
    /// Rows after this one belong to it.
    pub(super) after: u64,
    /// Values replaced, by kind.
    pub(super) replaced: Tally,
    /// Requests left out for their size.
    pub(super) too_large: u64,
}

/// Every recording; ended ones stay until the next of their directory, for what they say about themselves.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    all: Mutex<BTreeMap<DirectoryId, Recording>>,
    /// How many may still be running, so that a request without any takes no lock.
    running: AtomicUsize,
}

impl Recordings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DirectoryId, Recording>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(
        &self,
        directory: DirectoryId,
        (since, span): (Timestamp, Duration),
        after: u64,
        by: String,
        seed: [u8; 16],
    ) -> Value {
        let mut all = self.lock();
        let until = since.plus(span.min(SPAN_MAX));
        let number = since.unix_millis();
        let recording = Recording {
            number,
            after,
            since,
            until,
            requests: 0,
            bytes: 0,
            too_large: 0,
            by,
            scrubber: Scrubber::inventing(seed),
        };
        let shown = shown(&directory, &recording, since);
        all.insert(directory, recording);
        self.running.store(all.len(), Ordering::Relaxed);
        shown
    }

    /// Ends a recording; false if there is none.
    pub(super) fn stop(&self, directory: &DirectoryId, now: Timestamp) -> bool {
        let mut all = self.lock();
        let Some(one) = all.get_mut(directory).filter(|one| is_running(one, now)) else { return false };
        one.until = now;
        true
    }

    pub(super) fn list(&self, now: Timestamp) -> Vec<Value> {
        self.lock().iter().map(|(directory, one)| shown(directory, one, now)).collect()
    }

    /// Whether bodies of this directory are wanted now.
    pub(super) fn wants(&self, directory: &DirectoryId, now: Timestamp) -> bool {
        self.running.load(Ordering::Relaxed) > 0
            && self.lock().get(directory).is_some_and(|one| is_running(one, now))
    }

    /// Notes that a body was too large to be kept.
    pub(super) fn too_large(&self, directory: &DirectoryId) {
        if let Some(one) = self.lock().get_mut(directory) {
            one.too_large = one.too_large.saturating_add(1);
        }
    }

    /// Lends the made-up values of a running recording, for a request of `bytes`; counts it.
    pub(super) fn with<T>(
        &self,
        directory: &DirectoryId,
        now: Timestamp,
        bytes: usize,
        work: impl FnOnce(Option<(u64, &mut Scrubber)>) -> T,
    ) -> T {
        let mut all = self.lock();
        // A request that was answered just before the end is still one of it.
        let found = all.get_mut(directory).filter(|one| now <= one.until && has_room(one));
        match found {
            Some(one) => {
                one.requests = one.requests.saturating_add(1);
                one.bytes = one.bytes.saturating_add(bytes as u64);
                work(Some((one.number, &mut one.scrubber)))
            }
            None => work(None),
        }
    }

    pub(super) fn about(&self, directory: &DirectoryId) -> Option<About> {
        self.lock().get(directory).map(|one| About {
            number: one.number,
            after: one.after,
            replaced: one.scrubber.tally().clone(),
            too_large: one.too_large,
        })
    }
}

fn has_room(one: &Recording) -> bool {
    one.requests < REQUESTS_MAX && one.bytes < BYTES_MAX
}

fn is_running(one: &Recording, now: Timestamp) -> bool {
    now < one.until && has_room(one)
}

fn shown(directory: &DirectoryId, one: &Recording, now: Timestamp) -> Value {
    json!({
        "directory": directory, "since": one.since.to_string(), "until": one.until.to_string(),
        "running": is_running(one, now), "by": one.by, "after": one.after, "requests": one.requests,
        "requests_max": REQUESTS_MAX, "bytes": one.bytes, "bytes_max": BYTES_MAX, "too_large": one.too_large,
    })
}
