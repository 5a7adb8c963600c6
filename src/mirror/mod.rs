//! The store: what each identity provider last said, and the log of every change to it.
//!
//! One writer thread takes all waiting commands, runs each in a savepoint of its own, commits once and answers
//! all; many readers see consistent snapshots and never block it. Command logic is written once against
//! [`engine`]; `sqlite/` is the first engine. Must not know of HTTP, files or targets' ways.
//!
//! INVARIANTS: an answered write is durable. Every statement carries the directory, taken from a
//! [`token::Principal`] or a [`directory::DirectoryRef`], except the look-up of a token by its digest. Whatever
//! can alter what a target should hold makes one [`change`], numbered without a gap. A write that changes nothing
//! makes no change and no new version.

pub mod advance;
pub mod change;
pub mod config_version;
pub mod decision;
pub mod delivery;
pub mod directory;
pub mod engine;
pub mod facts;
pub mod filter_sql;
pub mod find;
pub mod group_commit;
pub mod history;
pub mod loaded;
pub mod marks;
pub mod matching;
pub mod member;
pub mod moving;
pub mod named;
pub mod owned;
pub mod query;
pub mod resource;
pub mod restored;
pub mod set_stream;
pub mod sqlite;
pub mod target;
pub mod token;
pub mod tx;
pub mod unique;
pub mod unix_id;
pub mod upkeep;
pub mod verify;
pub mod version;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{Clock, Epoch, Origin, Seq, Timestamp};
use crate::scim;

pub use engine::{ErrorKind, StoreError};
pub use group_commit::Counters;
pub use tx::{ReadTx, WriteTx};

/// Where the mirror lies and how much it may use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database file. Key `[mirror] path`, default `/var/lib/rosterd/mirror.db`. `rosterd.lock` and automatic
    /// backups lie beside it.
    pub path: PathBuf,
    /// Reading connections kept open. Default 8, 1 to 64; more are opened while needed.
    pub readers: usize,
    /// Page cache of the writer in KiB. Default 32,768; each reader has a quarter of it.
    pub cache_kib: u32,
    /// How long the log and finished records are kept. Key `[mirror] history`, default 400 days.
    pub keep: upkeep::Keep,
}

impl Settings {
    /// Defaults for a database at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 8, cache_kib: 32_768, keep: upkeep::Keep::default() }
    }
}

/// Why a command failed: the client's fault, or the store's.
#[derive(Debug, Clone)]
pub enum Error {
    /// The request cannot be done; the answer for the client (RFC 7644 §3.12).
    Scim(scim::error::Error),
    /// An operator's command cannot be done.
    Refused(Refusal),
    /// The store could not do it.
    Store(StoreError),
}

/// Why an operator's command about directories or tokens cannot be done. The text says what and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is there already.
    Exists(String),
    /// It is not there.
    Absent(String),
    /// The command's own words are wrong.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(text) | Self::Absent(text) | Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scim(error) => f.write_str(&error.detail),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<scim::error::Error> for Error {
    fn from(error: scim::error::Error) -> Self {
        Self::Scim(error)
    }
}

/// A handle on the open mirror. Clones share it; it closes with [`Mirror::close`] or with the last clone.
#[derive(Clone)]
pub struct Mirror {
    inner: Arc<Inner>,
}

struct Inner {
    writer: group_commit::Handle,
    readers: sqlite::Pool,
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    marks: marks::Marks,
    movings: moving::Movings,
    path: PathBuf,
    opened_at: Timestamp,
    /// Held until the last clone goes: a second instance is refused.
    _lock: sqlite::Lock,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("epoch", &self.inner.epoch).finish_non_exhaustive()
    }
}

impl Mirror {
    /// Opens the mirror, creating it if absent, and brings its schema up to date after a backup. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::NotOurs`], [`StoreError::Corrupt`],
    /// [`StoreError::Open`].
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let opened_at = clock.now();
        let opened = sqlite::open(settings, opened_at)?;
        let epoch = opened.epoch;
        let writer = group_commit::Handle::start(opened.writer, clock.clone(), epoch, opened.newest)?;
        let readers = sqlite::Pool::new(opened.engine, settings.readers);
        let marks = marks::Marks::default();
        let (path, lock) = (settings.path.clone(), opened.lock);
        let movings = moving::Movings::default();
        let inner = Inner { writer, readers, clock, epoch, marks, movings, path, opened_at, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The state directory: the folder of the database, in which targets keep what is theirs.
    pub fn folder(&self) -> &std::path::Path {
        self.inner.path.parent().unwrap_or(std::path::Path::new(""))
    }

    /// What the clock says that the mirror goes by.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// When it was opened: with the daemon.
    pub fn opened_at(&self) -> Timestamp {
        self.inner.opened_at
    }

    /// Bytes that may still be written where it lies, and the size of that file system; `None` if nobody can tell.
    pub fn disk(&self) -> Option<(u64, u64)> {
        let found = rustix::fs::statvfs(&self.inner.path).ok()?;
        Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
    }

    /// Runs a command on the writer; resolves once the batch it rode in is durable. On `Err` from `f` nothing of
    /// the command remains. `f` must not block on anything but the store.
    ///
    /// # Errors
    /// What `f` returns, or [`StoreError`] when the batch could not be made durable.
    pub async fn write<T, E, F>(&self, origin: Origin, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self.inner.writer.submit(origin, f) {
            Ok(answer) => answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// [`Mirror::write`] for threads outside the runtime. Must not be called on a runtime's own worker thread.
    ///
    /// # Errors
    /// As [`Mirror::write`].
    pub fn write_blocking<T, E, F>(&self, origin: Origin, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self.inner.writer.submit(origin, f) {
            Ok(answer) => answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::Closed.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs `f` on one consistent snapshot, on the calling thread: for indexed point reads, which take
    /// microseconds.
    ///
    /// # Errors
    /// What `f` returns, or [`StoreError`] when no reader can be had.
    pub fn read<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut reader = self.inner.readers.take()?;
        let answer = reader.connection().and_then(engine::Reader::begin).map_err(E::from).and_then(|()| {
            let connection = reader.connection()?;
            let sql: &mut dyn engine::Sql = connection;
            f(&mut ReadTx::new(sql, self.inner.clock.now(), self.inner.epoch))
        });
        reader.give_back();
        answer
    }

    /// [`Mirror::read`] for an `f` that runs one statement, which is a consistent snapshot by itself: spares the
    /// transaction around it. Of two statements each would see its own state.
    ///
    /// # Errors
    /// As [`Mirror::read`].
    pub fn read_one<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut reader = self.inner.readers.take()?;
        let answer = reader.connection().map_err(E::from).and_then(|connection| {
            let sql: &mut dyn engine::Sql = connection;
            f(&mut ReadTx::new(sql, self.inner.clock.now(), self.inner.epoch))
        });
        reader.give_back();
        answer
    }

    /// [`Mirror::read`] on a thread that may block: for lists, exports, facts.
    ///
    /// # Errors
    /// As [`Mirror::read`].
    pub async fn read_long<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut ReadTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let mirror = self.clone();
        match tokio::task::spawn_blocking(move || mirror.read(f)).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Bug(error.to_string()).into()),
        }
    }

    /// The newest durable change; wakes whoever waits for the next.
    pub fn changes(&self) -> watch::Receiver<Seq> {
        self.inner.writer.newest()
    }

    /// Set once the writer has failed for good (an I/O error from a commit): the process must end with 74.
    pub fn failed(&self) -> watch::Receiver<Option<StoreError>> {
        self.inner.writer.failed()
    }

    /// For how long the oldest read that is under way has been so.
    pub fn oldest_reader(&self) -> Option<std::time::Duration> {
        self.inner.readers.oldest()
    }

    /// Which life of the mirror this is.
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// What the writer did so far.
    pub fn counters(&self) -> &Counters {
        self.inner.writer.counters()
    }

    /// Resolves when the writer thread has taken and finished an empty command: the watchdog's question.
    ///
    /// # Errors
    /// [`StoreError`] when the writer is full, closed, failed, or cannot begin a transaction.
    pub async fn probe_writer(&self) -> Result<(), StoreError> {
        self.write(Origin::daemon(), |_| Ok(())).await
    }

    /// Tries a real durable write: true while the mirror can be written, which is what readiness means.
    ///
    /// # Errors
    /// As [`Mirror::write`]; [`StoreError::Full`] while the disk is full.
    pub async fn probe_disk(&self) -> Result<(), StoreError> {
        self.write(Origin::daemon(), |tx: &mut WriteTx<'_>| tx.touch_probe()).await
    }

    /// Notes that a token was used, by whom, and, with `pushed`, that its directory was written to. Kept in memory.
    pub fn note_use(&self, principal: &token::Principal, pushed: bool, client: marks::Client) {
        self.inner.marks.note(principal, pushed, client, self.inner.clock.now());
    }

    /// Notes that an identity provider named these resources of its directory. Kept in memory.
    pub fn note_seen(&self, directory: &directory::DirectoryRef, rids: impl Iterator<Item = i64>) {
        self.inner.marks.see(directory, rids);
    }

    /// Forgets who was named in a directory so far: a re-baseline counts from its beginning.
    pub fn forget_seen(&self, directory: &directory::DirectoryRef) {
        self.inner.marks.unsee(directory);
    }

    /// Notes that a reader's token was used. Kept in memory.
    pub fn note_reader_use(&self, reader: &token::Reader) {
        self.inner.marks.note_token(&reader.token, self.inner.clock.now());
    }

    /// Writes what [`Mirror::note_use`], [`Mirror::note_reader_use`] and [`Mirror::note_seen`] gathered, in one small
    /// transaction; the daemon calls it every minute.
    ///
    /// # Errors
    /// As [`Mirror::write`]; the marks are then kept for the next time.
    pub async fn flush_marks(&self) -> Result<(), StoreError> {
        let marks = self.inner.marks.take();
        if marks.is_empty() {
            return Ok(());
        }
        let batch = marks.clone();
        let done = self.write(Origin::daemon(), move |tx| marks::save(tx, &batch)).await;
        if done.is_err() {
            self.inner.marks.put_back(marks);
        }
        done
    }

    /// Last push of a directory as known in memory, newer than what the mirror holds; `None` before the first.
    pub fn last_push(&self, directory: &directory::DirectoryRef) -> Option<Timestamp> {
        self.inner.marks.last_push(directory)
    }

    /// When the identity provider of `directory` last asked for anything; when it was added, if it never has.
    pub fn last_heard(&self, directory: &directory::Directory) -> Timestamp {
        let heard = self.inner.marks.contact(&directory.reference).map(|contact| contact.last_at);
        heard.max(directory.last_used_at).unwrap_or(directory.created_at)
    }

    /// What the identity provider of `directory` was heard to do, to the second; `None` before its first request.
    pub fn contact(&self, directory: &directory::Directory) -> Option<marks::Contact> {
        let fresh = self.inner.marks.contact(&directory.reference);
        match (directory.contact.clone(), fresh) {
            (Some(stored), Some(fresh)) => Some(stored.then(fresh)),
            (stored, fresh) => fresh.or(stored),
        }
    }

    /// The last use of a token and who that was, to the second.
    pub fn last_use(&self, token: &token::Token) -> Option<(Timestamp, marks::Client)> {
        let stored = token.last_used_at.map(|at| (at, token.last_client.clone()));
        self.inner.marks.last_use(&token.id).or(stored)
    }

    /// Finishes what is queued, folds the write-ahead log back into the file and ends the writer thread. Blocking.
    pub fn close(self) {
        self.inner.writer.close();
    }
}
