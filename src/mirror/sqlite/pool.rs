//! Readers kept open and lent out one by one. Whoever finds none idle opens one more.

use std::sync::{Arc, Mutex, PoisonError};

use crate::mirror::engine::{Engine, Reader, StoreError};

/// The pool.
pub struct Pool {
    engine: Arc<dyn Engine>,
    idle: Mutex<Vec<Box<dyn Reader>>>,
    keep: usize,
}

impl Pool {
    pub(in crate::mirror) fn new(engine: Arc<dyn Engine>, keep: usize) -> Self {
        Self { engine, idle: Mutex::new(Vec::new()), keep: keep.clamp(1, 64) }
    }

    /// An idle reader, or a new one.
    pub(in crate::mirror) fn take(&self) -> Result<Lent<'_>, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.engine.reader()?,
        };
        Ok(Lent { pool: self, reader: Some(reader) })
    }
}

/// A reader on loan. Dropped without [`Lent::give_back`], as after a panic, it is closed instead of kept.
pub(in crate::mirror) struct Lent<'a> {
    pool: &'a Pool,
    reader: Option<Box<dyn Reader>>,
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
