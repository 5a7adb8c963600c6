//! The SCIM request log: what came in, what was answered, which quirks it took; and, for a bounded time and only
//! because a person asked, scrubbed bodies, out of which a trace is made that can be played again.
//!
//! Told by the listener over a bounded channel, scrubbed and kept by a thread of its own, so that no request waits
//! for it and the mirror's writer never hears of it. Rows are in memory, bounded by count and age, and in a file
//! beside the mirror ([`file`](self)): a full disk, of all things, is when one wants to see what is being asked.
//!
//! INVARIANT: nothing unscrubbed leaves that thread. No header but five that name products, media types and versions is
//! ever taken; values of filters and bodies are left out or made up before a row exists.

mod entry;
mod file;
mod recording;
mod ring;
pub mod scrub;
#[cfg(test)]
mod tests;
mod trace;
mod trouble;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::watch;

use crate::model::{Clock, DirectoryId, Timestamp};

pub use entry::{Entry, Kept, Raw, Refused, Row};
pub use recording::{ONE_BYTES_MAX, SPAN_MAX};
pub use ring::{Statuses, Wanted};
pub use trouble::{Failure, Kind, State, Trouble, Unknown};

use file::Log;
use recording::Recordings;
use ring::Ring;
use trouble::Troubles;

/// How much is kept. Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most requests. Key `log.requests`, default 5,000; 0 keeps none.
    pub requests: usize,
    /// Longest that one is kept. Key `log.requests_age`, default 7 days.
    pub age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests: 5_000, age: Duration::from_hours(24 * 7) }
    }
}

/// Requests that may wait for the thread; further ones are dropped and counted.
const WAITING_MAX: usize = 4_096;
/// Bytes of bodies that may wait for it.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// How long rows may wait for the disk.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// How often old rows are looked for.
const AGE_EVERY: Duration = Duration::from_mins(10);
/// How long the disk is left alone after it failed.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// Longest that a stop waits for the last rows.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

enum Message {
    Request(Box<Entry>),
    Settings,
    Close(SyncSender<()>),
}

/// What the listener's side and the thread share.
struct Shared {
    settings: ArcSwap<Settings>,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    recordings: Recordings,
    troubles: Mutex<Troubles>,
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    failed: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Activity {
    shared: Arc<Shared>,
    sender: Option<SyncSender<Message>>,
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").finish_non_exhaustive()
    }
}

/// A page of the log.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<Row>,
    /// Whether older ones match, too.
    pub more: bool,
    /// The newest row there is, whether it matches or not.
    pub newest: u64,
}

impl Activity {
    /// Reads the log at `path` and starts its thread. A file that cannot be read is told of and does not keep anything
    /// from starting.
    pub fn start(path: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let mut log = Log::at(path.to_owned());
        let shared = Self::read(&mut log, settings, clock);
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            log,
            unwritten: Vec::new(),
            written: Instant::now(),
            aged: Instant::now(),
            failing: None,
            is_broken: false,
        };
        let thread = std::thread::Builder::new().name("rosterd-activity".to_owned());
        let sender = match thread.spawn(move || keeper.run(&receiver)) {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "requests are not kept: no thread for it");
                None
            }
        };
        Self { shared, sender }
    }

    /// The log at `path` as it lies there, for a command while no daemon runs.
    pub fn at_rest(path: PathBuf, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Self::read(&mut Log::at(path), settings, clock), sender: None }
    }

    /// A log that keeps nothing.
    pub fn off() -> Self {
        let settings = Settings { requests: 0, ..Settings::default() };
        Self::at_rest(PathBuf::from("/dev/null"), settings, Arc::new(crate::model::SystemClock))
    }

    fn read(log: &mut Log, settings: Settings, clock: Arc<dyn Clock>) -> Arc<Shared> {
        let mut ring = log.read(&settings).unwrap_or_else(|error| {
            tracing::warn!(%error, "the log of requests cannot be read and begins anew");
            Ring::default()
        });
        ring.age(clock.now(), &settings);
        let mut troubles = Troubles::default();
        ring.all().for_each(|row| troubles.note(row));
        let (newest, _) = watch::channel(ring.newest());
        Arc::new(Shared {
            settings: ArcSwap::from_pointee(settings),
            ring: Mutex::new(ring),
            newest,
            recordings: Recordings::default(),
            troubles: Mutex::new(troubles),
            waiting_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            clock,
        })
    }

    /// Takes other bounds over.
    pub fn configure(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
        // If too much waits, the next look at ages does it.
        let _ = self.sender.as_ref().map(|sender| sender.try_send(Message::Settings));
    }

    /// What is kept.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// Tells of a request. Never waits: if too much waits already, the request is counted and forgotten.
    pub fn note(&self, mut entry: Entry) {
        let Some(sender) = &self.sender else { return };
        let bytes = raw_bytes(&entry);
        if bytes > 0 && self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > WAITING_BYTES_MAX {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            entry.raw = None;
        }
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            sender.try_send(Message::Request(Box::new(entry)))
        {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            if let Message::Request(entry) = message {
                self.shared.waiting_bytes.fetch_sub(raw_bytes(&entry), Ordering::Relaxed);
            }
        }
    }

    /// Whether bodies of this directory are to be told, too.
    pub fn wants_bodies(&self, directory: &DirectoryId) -> bool {
        self.sender.is_some() && self.shared.recordings.wants(directory, self.shared.clock.now())
    }

    /// Says that a body was larger than [`ONE_BYTES_MAX`].
    pub fn body_too_large(&self, directory: &DirectoryId) {
        self.shared.recordings.too_large(directory);
    }

    /// Keeps bodies of `directory` for `span`, because `by` asked. `None` if no requests are kept here.
    pub fn record(&self, directory: DirectoryId, span: Duration, by: String) -> Option<Value> {
        self.sender.as_ref().filter(|_| self.settings().requests > 0)?;
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).ok()?;
        let after = self.shared.ring().newest();
        Some(self.shared.recordings.start(directory, (self.shared.clock.now(), span), after, by, seed))
    }

    /// Ends it before its time; false if there was none.
    pub fn stop_recording(&self, directory: &DirectoryId) -> bool {
        self.shared.recordings.stop(directory, self.shared.clock.now())
    }

    /// Every recording, running or the last of its directory.
    pub fn recordings(&self) -> Vec<Value> {
        self.shared.recordings.list(self.shared.clock.now())
    }

    /// A page of the log.
    pub fn find(&self, wanted: &Wanted, limit: usize) -> Page {
        let ring = self.shared.ring();
        let (rows, more) = ring.find(wanted, limit);
        Page { rows, more, newest: ring.newest() }
    }

    /// One row.
    pub fn get(&self, id: u64) -> Option<Row> {
        self.shared.ring().get(id).cloned()
    }

    /// How a directory's requests do, that was added at `born` and last `heard` of then.
    pub fn trouble(&self, directory: &DirectoryId, born: Timestamp, heard: Option<Timestamp>) -> Trouble {
        self.shared.troubles().of(directory.as_str(), self.shared.clock.now(), born, heard)
    }

    /// Requests with a token that nobody knows.
    pub fn unknown_tokens(&self) -> Unknown {
        self.shared.troubles().unknown(self.shared.clock.now())
    }

    /// The newest row's id, for whoever waits for the next.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// The last recording of `directory` as a trace; `None` if there was none since the start.
    pub fn trace(&self, directory: &DirectoryId, kind: &str) -> Option<Value> {
        let about = self.shared.recordings.about(directory)?;
        let wanted = Wanted {
            directory: Some(directory.as_str().to_owned()),
            after: Some(about.after),
            ..Wanted::default()
        };
        let mut rows = self.find(&wanted, usize::MAX).rows;
        rows.retain(|row| row.kept.as_ref().is_some_and(|kept| kept.recording == about.number));
        rows.reverse();
        Some(trace::document(&rows, &about, kind))
    }

    /// Lines for `/metrics`: name, help, value; counters but for the last.
    pub fn counts(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            (
                "rosterd_activity_dropped",
                "Requests the log of requests had no time for",
                self.shared.dropped.load(Ordering::Relaxed),
            ),
            (
                "rosterd_activity_write_failures",
                "Failed writes of the log of requests",
                self.shared.failed.load(Ordering::Relaxed),
            ),
            ("rosterd_activity_requests", "Requests in the log of requests", self.shared.ring().len() as u64),
        ]
    }

    /// Writes what is left; for the end of the process.
    pub fn close(&self) {
        let Some(sender) = &self.sender else { return };
        let (done, wait) = mpsc::sync_channel(1);
        if sender.try_send(Message::Close(done)).is_ok() {
            // A disk that hangs does not keep the daemon from ending.
            let _ = wait.recv_timeout(CLOSE_PATIENCE);
        }
    }
}

fn raw_bytes(entry: &Entry) -> usize {
    entry.raw.as_ref().map_or(0, |raw| raw.body.len().saturating_add(raw.answer.len()))
}

/// The thread's side.
struct Keeper {
    shared: Arc<Shared>,
    log: Log,
    unwritten: Vec<Row>,
    written: Instant,
    aged: Instant,
    /// Since when the disk fails.
    failing: Option<Instant>,
    /// The file may end in half a line, or hold what it should not: it is written anew.
    is_broken: bool,
}

impl Keeper {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(WRITE_EVERY) {
                Ok(Message::Request(entry)) => self.take(*entry),
                Ok(Message::Settings) => self.age(),
                Ok(Message::Close(done)) => {
                    self.write();
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            if self.written.elapsed() >= WRITE_EVERY {
                self.write();
            }
            if self.aged.elapsed() >= AGE_EVERY {
                self.age();
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        let bytes = raw_bytes(&entry);
        let id = self.shared.ring().newest().max(self.shared.clock.now().unix_millis()).saturating_add(1);
        let row = match (&entry.raw, &entry.directory) {
            (Some(_), Some(directory)) => {
                let (directory, at) = (directory.clone(), entry.at);
                self.shared
                    .recordings
                    .with(&directory, at, bytes, |recording| entry::row(id, entry, recording))
            }
            _ => entry::row(id, entry, None),
        };
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.troubles().note(&row);
        let settings = self.shared.settings.load();
        if settings.requests == 0 {
            return;
        }
        self.shared.ring().push(row.clone(), &settings);
        self.unwritten.push(row);
        self.shared.newest.send_replace(id);
    }

    fn age(&mut self) {
        self.aged = Instant::now();
        let settings = self.shared.settings.load_full();
        let went = self.shared.ring().age(self.shared.clock.now(), &settings);
        self.is_broken |= went;
        self.write();
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let (count, text) = {
            let ring = self.shared.ring();
            (ring.len(), file::lines(ring.all()))
        };
        self.log.rewrite(count, &text?)
    }

    fn write(&mut self) {
        self.written = Instant::now();
        let settings = self.shared.settings.load_full();
        if settings.requests == 0 {
            self.unwritten.clear();
            self.log.remove();
            return;
        }
        if self.failing.is_some_and(|since| since.elapsed() < RETRY_EVERY) {
            // Everything is in memory; the next try writes all of it.
            self.unwritten.clear();
            return;
        }
        let is_due = self.is_broken || self.log.is_due(&settings);
        if self.unwritten.is_empty() && !is_due {
            return;
        }
        let done = if is_due { self.rewrite() } else { self.log.append(&self.unwritten) };
        self.unwritten.clear();
        match done {
            Ok(()) => {
                self.is_broken = false;
                if self.failing.take().is_some() {
                    tracing::info!("the log of requests is written again");
                }
            }
            Err(error) => {
                self.is_broken = true;
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                if self.failing.replace(Instant::now()).is_none() {
                    tracing::warn!(%error, "the log of requests cannot be written; it goes on in memory");
                }
            }
        }
    }
}
