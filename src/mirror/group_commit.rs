//! The writer thread: takes what waits, runs each command in a savepoint, commits once, then answers all.
//!
//! INVARIANTS: no answer before the commit has returned. The next `seq` and the chain heads live in a [`Batch`],
//! read from their rows when the batch begins and written back before its commit; nothing about them survives in
//! memory between batches, so that several daemons could share one database.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::model::{Clock, Epoch, Origin, Seq};
use crate::telemetry::span;

use super::change::ChainHead;
use super::engine::{EachRow, Flavor, Param, Sql, StoreError, Writer};
use super::tx::{ReadTx, WriteTx};

/// Commands that may wait; one more is answered [`StoreError::Overloaded`].
const QUEUE_MAX: usize = 1_024;
/// Commands in one batch.
const BATCH_MAX: usize = 64;
/// Work in one batch before it is committed even if more commands wait.
const BATCH_TIME_MAX: Duration = Duration::from_millis(5);

/// What the commands of one batch share: the counters that are handed out inside the transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The newest change handed out.
    pub(super) seq: u64,
    /// Heads of the chains touched so far.
    pub(super) heads: Vec<ChainHead>,
}

/// What the writer did since the start; read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    commits: AtomicU64,
    commands: AtomicU64,
    failed: AtomicU64,
    batch_sizes: [AtomicU64; 7],
    commit_micros: [AtomicU64; COMMIT_BOUNDS.len() + 1],
    commit_micros_sum: AtomicU64,
    progress: AtomicU64,
}

/// Upper bounds of the commit latency buckets, in microseconds; one more bucket is open above.
pub const COMMIT_BOUNDS: [u64; 12] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000];

/// Upper bounds of the batch size buckets.
pub const BATCH_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

impl Counters {
    /// Batches committed: each that wrote something is one sync of the log.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Commands run, failed ones included.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Commands that ended in an error of any kind and were rolled back alone.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Commits by commands in the batch, one count per bound of [`BATCH_BOUNDS`].
    pub fn batch_sizes(&self) -> [u64; 7] {
        std::array::from_fn(|n| self.batch_sizes.get(n).map_or(0, |c| c.load(Ordering::Relaxed)))
    }

    /// Commits by duration, one count per bound of [`COMMIT_BOUNDS`] and one above.
    pub fn commit_latency(&self) -> [u64; COMMIT_BOUNDS.len() + 1] {
        std::array::from_fn(|n| self.commit_micros.get(n).map_or(0, |c| c.load(Ordering::Relaxed)))
    }

    /// Time spent in commits.
    pub fn commit_time(&self) -> Duration {
        Duration::from_micros(self.commit_micros_sum.load(Ordering::Relaxed))
    }

    /// Statements the writer ran so far, counted while a command is under way: what the watchdog looks at while an
    /// import keeps the writer from answering.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    fn note(&self, commands: usize, failed: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let size = u64::try_from(commands).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(size, Ordering::Relaxed);
        self.failed.fetch_add(u64::try_from(failed).unwrap_or(0), Ordering::Relaxed);
        let batch = BATCH_BOUNDS.iter().position(|bound| size <= *bound).unwrap_or(BATCH_BOUNDS.len() - 1);
        if let Some(bucket) = self.batch_sizes.get(batch) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let slot = COMMIT_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(COMMIT_BOUNDS.len());
        if let Some(bucket) = self.commit_micros.get(slot) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.commit_micros_sum.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A queued command.
trait Job: Send {
    /// Runs it; false asks for its rollback.
    fn run(&mut self, sql: &mut dyn Sql, at: &Moment<'_>, batch: &mut Batch) -> bool;
    /// Answers it, with `verdict` instead of its own result where the store failed.
    fn answer(self: Box<Self>, verdict: Option<&StoreError>);
}

/// What every command of the thread is told.
struct Moment<'a> {
    clock: &'a dyn Clock,
    epoch: Epoch,
}

struct Command<T, E, F> {
    origin: Origin,
    run: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Command<T, E, F>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, sql: &mut dyn Sql, at: &Moment<'_>, batch: &mut Batch) -> bool {
        let Some(run) = self.run.take() else { return false };
        let read = ReadTx::new(sql, at.clock.now(), at.epoch);
        let mut tx = WriteTx::new(read, &self.origin, batch);
        // A defect in one command must cost that command only; its savepoint is rolled back by the caller.
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut tx)))
            .unwrap_or_else(|panic| Err(StoreError::Bug(panic_text(panic.as_ref())).into()));
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn answer(self: Box<Self>, verdict: Option<&StoreError>) {
        let result = match (verdict, self.result) {
            // A command that failed on its own changed nothing; its own error is the truer answer.
            (_, Some(Err(own))) => Err(own),
            (Some(error), _) => Err(error.clone().into()),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Closed.into()),
        };
        // A requester that has gone away needs no answer.
        let _ = self.reply.send(result);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a command panicked".to_owned())
}

/// The writer thread's address.
pub struct Handle {
    queue: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    newest: watch::Receiver<Seq>,
    failed: watch::Receiver<Option<StoreError>>,
    counters: Arc<Counters>,
}

impl Handle {
    pub(super) fn start(
        writer: Box<dyn Writer>,
        clock: Arc<dyn Clock>,
        epoch: Epoch,
        newest: Seq,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let (newest_tx, newest) = watch::channel(newest);
        let (failed_tx, failed) = watch::channel(None);
        let counters = Arc::new(Counters::default());
        let mut thread = WriterThread {
            writer,
            clock,
            epoch,
            newest: newest_tx,
            failed: failed_tx,
            counters: counters.clone(),
        };
        let handle = std::thread::Builder::new()
            .name("mirror-writer".into())
            .spawn(move || thread.run(&waiting))
            .map_err(|e| StoreError::Open(format!("cannot start the writer thread: {e}")))?;
        let thread = Mutex::new(Some(handle));
        Ok(Self { queue: Mutex::new(Some(queue)), thread, newest, failed, counters })
    }

    pub(super) fn submit<T, E, F>(
        &self,
        origin: Origin,
        run: F,
    ) -> Result<oneshot::Receiver<Result<T, E>>, StoreError>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Command { origin, run: Some(run), result: None, reply });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.as_ref().ok_or(StoreError::Closed)?.try_send(job) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(StoreError::Overloaded),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }

    pub(super) fn newest(&self) -> watch::Receiver<Seq> {
        self.newest.clone()
    }

    pub(super) fn failed(&self) -> watch::Receiver<Option<StoreError>> {
        self.failed.clone()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Lets the thread finish its queue and waits for its end.
    pub(super) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A command may have held the last handle; its thread cannot wait for itself and ends by itself.
        let own = std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != own) {
            // Commands' panics are caught inside; one of the thread itself has nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

struct WriterThread {
    writer: Box<dyn Writer>,
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    newest: watch::Sender<Seq>,
    failed: watch::Sender<Option<StoreError>>,
    counters: Arc<Counters>,
}

impl WriterThread {
    fn run(&mut self, waiting: &Receiver<Box<dyn Job>>) {
        // Ends when the last handle has gone and the queue is empty.
        while let Ok(first) = waiting.recv() {
            self.batch(first, waiting);
        }
        if self.failed.borrow().is_none() {
            // At the end nobody waits for an answer; what is not folded back now is read from the log next time.
            let _ = self.writer.close();
        }
    }

    fn batch(&mut self, first: Box<dyn Job>, waiting: &Receiver<Box<dyn Job>>) {
        let poison = self.failed.borrow().clone();
        if let Some(error) = poison {
            first.answer(Some(&error));
            return;
        }
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let outcome = self.run_all(first, waiting, &mut jobs);
        if let Err(error @ (StoreError::Io(_) | StoreError::Corrupt(_))) = &outcome {
            self.failed.send_replace(Some(error.clone()));
        }
        for job in jobs {
            job.answer(outcome.as_ref().err());
        }
    }

    /// Runs the batch in one transaction. Every job taken from the queue is in `jobs` afterwards.
    fn run_all(
        &mut self,
        first: Box<dyn Job>,
        waiting: &Receiver<Box<dyn Job>>,
        jobs: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        let span = span::commit().entered();
        let mut next = Some(first);
        let mut batch = match self.writer.begin().and_then(|()| Batch::load(self.writer.as_mut())) {
            Ok(batch) => batch,
            Err(error) => {
                self.writer.rollback();
                jobs.extend(next);
                return Err(error);
            }
        };
        let before = batch.seq;
        let mut failed = 0;
        let mut broken = None;
        while let Some(mut job) = next {
            let result = self.run_one(job.as_mut(), &mut batch);
            jobs.push(job);
            match result {
                Ok(good) => failed += usize::from(!good),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
            let more = jobs.len() < BATCH_MAX && began.elapsed() < BATCH_TIME_MAX;
            next = if more { waiting.try_recv().ok() } else { None };
        }
        let commit = Instant::now();
        let sealed = match broken {
            Some(error) => Err(error),
            None => batch.store(self.writer.as_mut()).and_then(|()| self.writer.commit()),
        };
        if let Err(error) = sealed {
            self.writer.rollback();
            return Err(error);
        }
        span::committed(&span, jobs.len(), failed);
        self.counters.note(jobs.len(), failed, commit.elapsed());
        if batch.seq != before {
            self.newest.send_replace(Seq(batch.seq));
        }
        Ok(())
    }

    /// Runs one command in its savepoint. `Err` means that the whole batch is lost.
    fn run_one(&mut self, job: &mut dyn Job, batch: &mut Batch) -> Result<bool, StoreError> {
        let saved = batch.clone();
        self.writer.savepoint()?;
        let moment = Moment { clock: self.clock.as_ref(), epoch: self.epoch };
        let mut counted = Counted { sql: self.writer.as_mut(), progress: &self.counters.progress };
        let good = job.run(&mut counted, &moment, batch);
        if let Some(error) = self.writer.lost() {
            return Err(error);
        }
        if good {
            self.writer.release()?;
        } else {
            *batch = saved;
            self.writer.rollback_to()?;
            self.writer.release()?;
        }
        Ok(good)
    }
}

/// The engine, with each statement counted as a sign of life.
struct Counted<'a> {
    sql: &'a mut dyn Writer,
    progress: &'a AtomicU64,
}

impl Sql for Counted<'_> {
    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.sql.execute(sql, params)
    }

    fn query(&mut self, sql: &str, params: &[Param<'_>], each: &mut EachRow<'_>) -> Result<(), StoreError> {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.sql.query(sql, params, each)
    }

    fn insert(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<i64>, StoreError> {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.sql.insert(sql, params)
    }

    fn flavor(&self) -> Flavor {
        self.sql.flavor()
    }
}

impl Batch {
    /// Reads the counters inside the batch's transaction.
    fn load(sql: &mut dyn Writer) -> Result<Self, StoreError> {
        let mut seq = 0;
        sql.query("SELECT value FROM counter WHERE name = 'seq'", &[], &mut |row| {
            seq = u64::try_from(row.int(0)?).unwrap_or(0);
            Ok(())
        })?;
        Ok(Self { seq, heads: Vec::new() })
    }

    /// Writes them back before the commit.
    fn store(&self, sql: &mut dyn Writer) -> Result<(), StoreError> {
        if self.heads.is_empty() {
            return Ok(());
        }
        let seq = i64::try_from(self.seq).unwrap_or(i64::MAX);
        sql.execute("UPDATE counter SET value = ?1 WHERE name = 'seq'", &[Param::Int(seq)])?;
        for head in &self.heads {
            head.store(sql)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    /// An engine whose disk fails at the commit, or whose transaction breaks under a statement.
    struct Failing {
        commit: Option<StoreError>,
        lost: Option<StoreError>,
    }

    impl Sql for Failing {
        fn execute(&mut self, _: &str, _: &[Param<'_>]) -> Result<u64, StoreError> {
            Ok(1)
        }
        fn query(&mut self, _: &str, _: &[Param<'_>], _: &mut EachRow<'_>) -> Result<(), StoreError> {
            Ok(())
        }
        fn insert(&mut self, _: &str, _: &[Param<'_>]) -> Result<Option<i64>, StoreError> {
            Ok(Some(1))
        }
        fn flavor(&self) -> Flavor {
            Flavor::Sqlite
        }
    }

    impl Writer for Failing {
        fn begin(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
        fn savepoint(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
        fn release(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
        fn rollback_to(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
        fn commit(&mut self) -> Result<(), StoreError> {
            self.commit.clone().map_or(Ok(()), Err)
        }
        fn rollback(&mut self) {}
        fn lost(&self) -> Option<StoreError> {
            self.lost.clone()
        }
        fn close(&mut self) -> Result<(), StoreError> {
            panic!("a failed writer must not touch its files again")
        }
    }

    fn start(commit: Option<StoreError>, lost: Option<StoreError>) -> Handle {
        let writer = Box::new(Failing { commit, lost });
        Handle::start(writer, Arc::new(SystemClock), Epoch(1), Seq(0)).unwrap()
    }

    fn write(handle: &Handle) -> Result<(), StoreError> {
        handle.submit(Origin::daemon(), |_| Ok::<_, StoreError>(())).unwrap().blocking_recv().unwrap()
    }

    #[test]
    fn an_io_error_from_a_commit_fails_everybody_and_the_writer_for_good() {
        let error = StoreError::Io("fsync".into());
        for (commit, lost) in [(Some(error.clone()), None), (None, Some(error.clone()))] {
            let handle = start(commit, lost);
            assert_eq!(write(&handle), Err(error.clone()));
            assert_eq!(*handle.failed().borrow(), Some(error.clone()));
            assert_eq!(write(&handle), Err(error.clone()), "nothing is tried again");
            assert_eq!(*handle.newest().borrow(), Seq(0));
        }
    }

    #[test]
    fn a_long_command_shows_signs_of_life_before_it_ends() {
        let handle = start(None, None);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let before = handle.counters().progress();
        let answer = handle
            .submit(Origin::daemon(), move |tx| {
                while wait.try_recv().is_err() {
                    tx.execute("UPDATE counter SET value = 1", &[])?;
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
        while handle.counters().progress() < before + 100 {
            std::thread::yield_now();
        }
        assert_eq!(handle.counters().commits(), 0, "it is under way");
        go.send(()).unwrap();
        assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
        std::mem::forget(handle);
    }

    #[test]
    fn a_full_disk_at_the_commit_fails_the_batch_but_not_the_writer() {
        let handle = start(Some(StoreError::Full), None);
        assert_eq!(write(&handle), Err(StoreError::Full));
        assert_eq!(*handle.failed().borrow(), None);
        // Dropping would fold the log back, which this engine refuses; the thread is left to end by itself.
        std::mem::forget(handle);
    }
}
