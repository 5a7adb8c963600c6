//! Moving in: what a file says of a directory, gathered, made into one plan, and carried out piece by piece.
//!
//! A file comes in pages under one id ([`Imports`]). `plan` puts each record through the same validation as a
//! push and says what would be created, changed and left; `order` makes small operations of it, and [`carry`] writes
//! these in pieces, each of which keeps other writers waiting for some milliseconds. INVARIANTS: nothing is written before
//! every record is valid and every member found; what is written is what was shown, less what somebody else changed
//! meanwhile, which is told; what only takes away comes last, and the guard judges it as one plan.

mod apply;
mod carry;
mod order;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::import::{Problem, Record, Reference};
use crate::model::DirectoryId;

pub use apply::{Conflict, Done};
pub use carry::{Broken, Carried, Gauge, Order, carry};
pub use plan::{Act, Plan, Step, make};

/// Files that may be gathered at once.
pub const IMPORTS_MAX: usize = 4;
/// Most that one file may come to, in bytes of its pages.
pub const BYTES_MAX: usize = 512 << 20;
/// Most users and groups that one import may create or change: so many lie in memory, with what becomes of each.
pub const CHANGES_MAX: usize = 250_000;
/// Most memberships that one import may add or remove.
pub const MEMBERSHIPS_MAX: usize = 1_250_000;
/// How long an import may lie untouched before it is forgotten.
const IDLE_MAX: Duration = Duration::from_hours(1);

/// How a file is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory it goes into.
    pub directory: DirectoryId,
    /// The file's name, for the reports.
    pub file: String,
    /// Who and what the file does not name goes: users are deactivated, groups deleted, members leave.
    pub replace: bool,
    /// Members that nobody knows are left out instead of being an error.
    pub skip_unknown: bool,
}

/// A file as gathered so far.
#[derive(Debug)]
pub struct Gathered {
    /// How it is to be taken.
    pub options: Options,
    /// What could be read.
    pub records: Vec<Record>,
    /// What could not.
    pub problems: Vec<Problem>,
    /// What the reader left out.
    pub notes: Vec<String>,
    bytes: usize,
}

impl Gathered {
    /// An empty one.
    pub fn new(options: Options) -> Self {
        Self { options, records: Vec::new(), problems: Vec::new(), notes: Vec::new(), bytes: 0 }
    }
}

/// Files that are being gathered.
#[derive(Debug, Default)]
pub struct Imports(Mutex<HashMap<String, Lying>>);

#[derive(Debug)]
struct Lying {
    gathered: Arc<Mutex<Gathered>>,
    plan: Option<Arc<Plan>>,
    gauge: Arc<Gauge>,
    touched: Instant,
}

/// Why a page cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`IMPORTS_MAX`] lie here already.
    TooMany,
    /// The file is larger than [`BYTES_MAX`].
    TooLarge,
    /// There is no such import, or not any more.
    Absent,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "{IMPORTS_MAX} imports are under way already"),
            Self::TooLarge => write!(f, "the file comes to more than {} MiB", BYTES_MAX >> 20),
            Self::Absent => f.write_str("there is no such import, or it lay here for over an hour"),
        }
    }
}

/// One page of a file.
#[derive(Debug, Default)]
pub struct Page {
    /// Records, each with the rest of the members of the one before it, which was too large for one page.
    pub records: Vec<Record>,
    /// Members that belong to the last record of the page before.
    pub members: Vec<Reference>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What the reader left out.
    pub notes: Vec<String>,
}

impl Imports {
    /// Begins one.
    ///
    /// # Errors
    /// [`Refused::TooMany`].
    pub fn begin(&self, id: &str, options: Options) -> Result<(), Refused> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.touched.elapsed() < IDLE_MAX);
        if all.len() >= IMPORTS_MAX {
            return Err(Refused::TooMany);
        }
        let gathered = Arc::new(Mutex::new(Gathered::new(options)));
        all.insert(
            id.to_owned(),
            Lying { gathered, plan: None, gauge: Arc::default(), touched: Instant::now() },
        );
        Ok(())
    }

    /// Adds a page of `bytes` bytes and says how many records there are now.
    ///
    /// # Errors
    /// [`Refused::Absent`], [`Refused::TooLarge`].
    pub fn add(&self, id: &str, page: Page, bytes: usize) -> Result<usize, Refused> {
        let gathered = self.find(id)?;
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.bytes = gathered.bytes.saturating_add(bytes);
        if gathered.bytes > BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if let Some(last) = gathered.records.last_mut().filter(|_| !page.members.is_empty()) {
            last.members.get_or_insert_default().extend(page.members);
        }
        gathered.records.extend(page.records);
        gathered.problems.extend(page.problems);
        gathered.notes.extend(page.notes);
        Ok(gathered.records.len())
    }

    /// The file of this id. A plan made before is dropped.
    ///
    /// # Errors
    /// [`Refused::Absent`].
    pub fn find(&self, id: &str) -> Result<Arc<Mutex<Gathered>>, Refused> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.get_mut(id).filter(|one| one.touched.elapsed() < IDLE_MAX).ok_or(Refused::Absent)?;
        one.touched = Instant::now();
        one.plan = None;
        Ok(Arc::clone(&one.gathered))
    }

    /// Remembers the plan that was shown.
    pub fn planned(&self, id: &str, plan: Arc<Plan>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = all.get_mut(id) {
            one.plan = Some(plan);
        }
    }

    /// The plan that was shown last.
    pub fn plan(&self, id: &str) -> Option<Arc<Plan>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).and_then(|one| one.plan.clone())
    }

    /// What shows how far it is being carried out; `None` if there is no such import.
    pub fn gauge(&self, id: &str) -> Option<Arc<Gauge>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.get_mut(id)?;
        one.touched = Instant::now();
        Some(Arc::clone(&one.gauge))
    }

    /// Forgets one; false if there is none.
    pub fn forget(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }
}
