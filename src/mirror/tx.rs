//! What a command holds: a snapshot to read, or the writer's transaction.

use std::ops::{Deref, DerefMut};

use crate::model::{Epoch, Origin, Seq, Timestamp};

use super::engine::{EachRow, Flavor, Param, Sql, StoreError};
use super::group_commit::Batch;

#[cfg(test)]
thread_local! {
    static QUERIES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Queries that this thread has made so far.
#[cfg(test)]
pub(crate) fn queries() -> u64 {
    QUERIES.get()
}

/// A consistent snapshot. Commands that only read take this.
pub struct ReadTx<'a> {
    sql: &'a mut dyn Sql,
    now: Timestamp,
    epoch: Epoch,
}

impl<'a> ReadTx<'a> {
    pub(super) fn new(sql: &'a mut dyn Sql, now: Timestamp, epoch: Epoch) -> Self {
        Self { sql, now, epoch }
    }

    /// The moment this transaction began; every time a command stores is this one.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Which life of the mirror this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest change of this snapshot.
    ///
    /// # Errors
    /// [`StoreError`] from the engine.
    pub fn seq(&mut self) -> Result<Seq, StoreError> {
        let mut seq = 0;
        self.query("SELECT value FROM counter WHERE name = 'seq'", &[], &mut |row| {
            seq = row.int(0)?;
            Ok(())
        })?;
        Ok(Seq(u64::try_from(seq).unwrap_or(0)))
    }

    /// Whether the engine is SQLite, for the few statements that only it knows.
    pub(super) fn is_sqlite(&self) -> bool {
        self.sql.flavor() == Flavor::Sqlite
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        QUERIES.set(QUERIES.get() + 1);
        self.sql.query(sql, params, each)
    }

    /// The first row through `map`, or `None`.
    pub(super) fn first<T>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        map: impl Fn(&dyn super::engine::Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.query(sql, params, &mut |row| {
            if found.is_none() {
                found = Some(map(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// All rows through `map`.
    pub(super) fn all<T>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        map: impl Fn(&dyn super::engine::Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.query(sql, params, &mut |row| {
            found.push(map(row)?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// The writer's transaction, as one command sees it. Reads through [`ReadTx`] see what the command and those
/// before it in the batch wrote.
pub struct WriteTx<'a> {
    read: ReadTx<'a>,
    origin: &'a Origin,
    pub(super) batch: &'a mut Batch,
}

impl<'a> WriteTx<'a> {
    pub(super) fn new(read: ReadTx<'a>, origin: &'a Origin, batch: &'a mut Batch) -> Self {
        Self { read, origin, batch }
    }

    /// Who asked for this command.
    pub fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// The newest change handed out, those of this command included: what [`ReadTx::seq`] says once the batch is
    /// committed.
    ///
    /// # Errors
    /// None; the shape is that of [`ReadTx::seq`], which this one stands before.
    pub fn seq(&mut self) -> Result<Seq, StoreError> {
        Ok(Seq(self.batch.seq))
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.read.sql.execute(sql, params)
    }

    pub(super) fn insert(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<i64>, StoreError> {
        self.read.sql.insert(sql, params)
    }

    pub(super) fn touch_probe(&mut self) -> Result<(), StoreError> {
        let now = self.now().0;
        self.execute("UPDATE counter SET value = ?1 WHERE name = 'probe'", &[Param::Int(now)]).map(|_| ())
    }
}

impl<'a> Deref for WriteTx<'a> {
    type Target = ReadTx<'a>;
    fn deref(&self) -> &ReadTx<'a> {
        &self.read
    }
}

impl DerefMut for WriteTx<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.read
    }
}
