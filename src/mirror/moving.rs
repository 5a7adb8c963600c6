//! Whom an import that is under way has taken something from. Kept in memory: targets leave these people what they
//! hold until the import is over, so that the guard judges what it takes away as one plan, although it is written piece
//! by piece.
//!
//! INVARIANT: a person is noted before the piece that takes something from them is committed, and nobody is forgotten
//! before the last piece is. After a crash nobody is noted: what was written is then judged as it stands.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Seq, Subject};

use super::Mirror;

/// The people of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moving {
    /// The newest change before the first that took something away; `None` while nothing was.
    pub since: Option<Seq>,
    /// From whom.
    pub people: Arc<HashSet<Subject>>,
    /// Grows whenever an import ends: facts read before and after it are not of one import.
    pub generation: u64,
}

#[derive(Debug, Default)]
pub(super) struct Movings(Mutex<(bool, Moving)>);

/// An import that is being carried out; its end, however it comes, lets go of everybody.
#[derive(Debug)]
pub struct MovingIn {
    mirror: Mirror,
}

impl Movings {
    fn with<T>(&self, f: impl FnOnce(&mut (bool, Moving)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mirror {
    /// Whom an import has taken something from so far.
    pub fn moving(&self) -> Moving {
        self.inner.movings.with(|(_, moving)| moving.clone())
    }

    /// Begins to carry an import out; `None` while another one is.
    pub fn move_in(&self) -> Option<MovingIn> {
        let is_free = self.inner.movings.with(|(is_busy, _)| !std::mem::replace(is_busy, true));
        is_free.then(|| MovingIn { mirror: self.clone() })
    }
}

impl MovingIn {
    /// The next piece takes something from these.
    pub fn take_from(&self, people: impl IntoIterator<Item = Subject>) {
        let newest = *self.mirror.changes().borrow();
        self.mirror.inner.movings.with(|(_, moving)| {
            moving.since.get_or_insert(newest);
            Arc::make_mut(&mut moving.people).extend(people);
        });
    }
}

impl Drop for MovingIn {
    fn drop(&mut self) {
        self.mirror.inner.movings.with(|(is_busy, moving)| {
            *is_busy = false;
            *moving = Moving { generation: moving.generation.wrapping_add(1), ..Moving::default() };
        });
    }
}
