//! Readers kept open and lent out one by one. Whoever finds none idle opens one more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mirror::engine::{Engine, Reader, StoreError};

/// The pool.
pub struct Pool {
    engine: Arc<dyn Engine>,
    idle: Mutex<Vec<Box<dyn Reader>>>,
    keep: usize,
    lent: Mutex<LentOut>,
}

/// When each reader on loan was taken.
#[derive(Default)]
struct LentOut {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Pool {
    pub(in crate::mirror) fn new(engine: Arc<dyn Engine>, keep: usize) -> Self {
        Self { engine, idle: Mutex::new(Vec::new()), keep: keep.clamp(1, 64), lent: Mutex::default() }
    }

    /// An idle reader, or a new one.
    pub(in crate::mirror) fn take(&self) -> Result<Lent<'_>, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.engine.reader()?,
        };
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = lent.next;
        lent.next = lent.next.wrapping_add(1);
        lent.since.insert(ticket, Instant::now());
        drop(lent);
        Ok(Lent { pool: self, reader: Some(reader), ticket })
    }

    /// For how long the reader that is out longest has been out.
    pub(in crate::mirror) fn oldest(&self) -> Option<Duration> {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.since.values().min().map(Instant::elapsed)
    }
}

/// A reader on loan. Dropped without [`Lent::give_back`], as after a panic, it is closed instead of kept.
pub(in crate::mirror) struct Lent<'a> {
    pool: &'a Pool,
    reader: Option<Box<dyn Reader>>,
    ticket: u64,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pool.lent.lock().unwrap_or_else(PoisonError::into_inner).since.remove(&self.ticket);
    }
}

impl Lent<'_> {
    pub(in crate::mirror) fn connection(&mut self) -> Result<&mut dyn Reader, StoreError> {
        match &mut self.reader {
            Some(reader) => Ok(reader.as_mut()),
            None => Err(StoreError::Closed),
        }
    }

    /// Ends the snapshot and keeps the connection.
    pub(in crate::mirror) fn give_back(mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        reader.end();
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.pool.keep {
            idle.push(reader);
        }
    }
}
