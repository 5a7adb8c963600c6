//! Carries a plan out, one bounded piece after the other, so that other writers are never kept waiting for longer than
//! one piece.
//!
//! INVARIANTS: each piece is one command of the writer, checked against the directory as it is then: what somebody else
//! wrote since the plan was made is never undone. Nothing is only taken away before all that gives is there. Whoever a
//! piece takes something from is noted before it is written ([`crate::mirror::moving`]), so that the guard judges it all as
//! one plan. Death at any point leaves whole pieces, and a second run of the file does the rest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::apply::{self, Conflict, Done, Halt, PIECE_MAX, Piece, Progress, Work};
use super::order::{self, Op, Part};
use super::plan::{Act, Plan, Step};
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::moving::MovingIn;
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, decision, member};
use crate::model::{Origin, ResourceId, ResourceType, Seq, Subject};
use crate::scim::schema::Registry;

/// Conflicts after which it is given up: somebody else is changing the whole directory.
const CONFLICTS_MAX: usize = 100;
/// How long to wait while the writer's queue is full, and how often.
const FULL_WAIT: Duration = Duration::from_millis(50);
const FULL_TRIES: usize = 1_200;

/// How far an import is, for whoever asks meanwhile.
#[derive(Debug, Default)]
pub struct Gauge {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Gauge {
    /// Operations done, and of how many; 0 of 0 before it begins.
    pub fn read(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// What is carried out, where, and for whom.
#[derive(Debug)]
pub struct Order {
    /// The mirror.
    pub mirror: Mirror,
    /// The directory, as it was when the plan was made.
    pub directory: DirectoryRef,
    /// The attributes there are.
    pub registry: Arc<Registry>,
    /// The plan that was shown.
    pub plan: Arc<Plan>,
    /// The file's name, for the history.
    pub file: String,
    /// The import's id, and the request of all its changes.
    pub id: String,
    /// Who.
    pub origin: Origin,
    /// Shows how far it is.
    pub gauge: Arc<Gauge>,
    /// Whom it takes something from.
    pub moving: MovingIn,
}

/// How far it came.
#[derive(Debug)]
pub struct Carried {
    /// What was done.
    pub done: Done,
    /// Steps that were not carried out, or not whole.
    pub conflicts: Vec<Conflict>,
    /// The newest change before the first piece, and after the last.
    pub before: Seq,
    /// The import's end in the log.
    pub seq: Seq,
    /// Whether everything is as the plan has it.
    pub is_finished: bool,
    /// Why it broke off, if it did.
    pub broken: Option<Broken>,
}

/// Why an import broke off between two pieces.
#[derive(Debug)]
pub enum Broken {
    /// The directory was disabled, removed, or is another one by now.
    Closed,
    /// The mirror could not be written.
    Store(StoreError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Carries it out. Must run on a task of its own: it ends between two pieces only by itself.
pub async fn carry(order: Order) -> Carried {
    let Order { mirror, directory, registry, plan, file, id, origin, gauge, moving } = order;
    let ops = order::operations(&plan);
    gauge.total.store(ops.len(), Ordering::Relaxed);
    let before = *mirror.changes().borrow();
    let progress = Progress { seen: plan.seq, ..Progress::default() };
    let work = Arc::new(Work { plan, ops, registry, request: id.clone() });
    let mut carrier =
        Carrier { mirror, directory, work, progress: Arc::new(Mutex::new(progress)), origin, gauge, moving };
    let broken = carrier.pieces().await.err();
    let progress = std::mem::take(&mut *carrier.progress.lock().unwrap_or_else(PoisonError::into_inner));
    let is_finished =
        broken.is_none() && progress.conflicts.is_empty() && progress.next >= carrier.work.ops.len();
    let detail = json!({
        "directory": carrier.directory.id,
        "file": file,
        "finished": is_finished,
        "created": progress.done.created,
        "updated": progress.done.updated,
        "deactivated": progress.done.deactivated,
        "deleted": progress.done.deleted,
        "changes": carrier.work.plan.steps.iter().filter(|step| step.is_change()).count(),
        "conflicts": progress.conflicts.len(),
    });
    let Carrier { mirror, origin, moving, .. } = carrier;
    // Before the change that wakes the targets: they judge now.
    drop(moving);
    let ended = mirror
        .write::<_, StoreError, _>(origin, move |tx: &mut WriteTx<'_>| decision::imported(tx, &id, &detail))
        .await;
    let (seq, broken) = match ended {
        Ok(seq) => (seq, broken),
        Err(error) => (*mirror.changes().borrow(), broken.or(Some(Broken::Store(error)))),
    };
    let is_finished = is_finished && broken.is_none();
    Carried { done: progress.done, conflicts: progress.conflicts, before, seq, is_finished, broken }
}

struct Carrier {
    mirror: Mirror,
    directory: DirectoryRef,
    work: Arc<Work>,
    progress: Arc<Mutex<Progress>>,
    origin: Origin,
    gauge: Arc<Gauge>,
    moving: MovingIn,
}

impl Carrier {
    async fn pieces(&mut self) -> Result<(), Broken> {
        let taking = self.work.ops.iter().position(|op| op.part.is_taking());
        let (taking, end) = (taking.unwrap_or(self.work.ops.len()), self.work.ops.len());
        loop {
            let (next, conflicts) = self.standing();
            if next >= end || conflicts >= CONFLICTS_MAX {
                return Ok(());
            }
            // What was to be given first is not all there: taking away now could leave somebody with neither.
            if next >= taking && conflicts > 0 && self.is_given_short(taking) {
                return Ok(());
            }
            let limit = if next < taking { taking } else { end };
            self.note_people(next, limit).await?;
            self.piece(limit).await?;
            let (next, _) = self.standing();
            self.gauge.done.store(next, Ordering::Relaxed);
        }
    }

    fn standing(&self) -> (usize, usize) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (progress.next, progress.conflicts.len())
    }

    /// Whether a conflict was met before anything was only taken away.
    fn is_given_short(&self, taking: usize) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let given = self.work.ops.get(..taking).unwrap_or_default();
        given.iter().any(|op| progress.conflicted.contains(&op.step))
    }

    /// Writes one piece; again without a step that cannot be written, which leaves nothing half done.
    async fn piece(&self, limit: usize) -> Result<(), Broken> {
        let mut tries = 0;
        loop {
            let (work, progress) = (Arc::clone(&self.work), Arc::clone(&self.progress));
            let directory = self.directory.clone();
            let written = self
                .mirror
                .write::<Option<Piece>, Halt, _>(self.origin.clone(), move |tx: &mut WriteTx<'_>| {
                    if !is_open(tx, &directory)? {
                        return Ok(None);
                    }
                    let before = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    apply::piece(tx, &directory, &work, &before, limit).map(Some)
                })
                .await;
            match self.settle(written, tries < FULL_TRIES)? {
                Settled::Done => return Ok(()),
                Settled::Again => {}
                Settled::Later => {
                    tries += 1;
                    tokio::time::sleep(FULL_WAIT).await;
                }
            }
        }
    }

    fn settle(&self, written: Result<Option<Piece>, Halt>, may_wait: bool) -> Result<Settled, Broken> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(Some(piece)) => {
                progress.take(piece);
                Ok(Settled::Done)
            }
            Ok(None) => Err(Broken::Closed),
            Err(Halt::Step(conflict)) => {
                progress.conflicted.insert(conflict.step);
                progress.conflicts.push(conflict);
                let is_over = progress.conflicts.len() >= CONFLICTS_MAX;
                Ok(if is_over { Settled::Done } else { Settled::Again })
            }
            Err(Halt::Store(StoreError::Overloaded)) if may_wait => Ok(Settled::Later),
            Err(Halt::Store(error)) => Err(Broken::Store(error)),
        }
    }

    /// Notes whom the next piece may take something from.
    async fn note_people(&self, next: usize, limit: usize) -> Result<(), Broken> {
        let upto = limit.min(next.saturating_add(PIECE_MAX));
        if !self.work.ops.get(next..upto).unwrap_or_default().iter().any(|op| self.may_take(op)) {
            return Ok(());
        }
        let (work, directory) = (Arc::clone(&self.work), self.directory.clone());
        let people = self.mirror.read_long(move |tx: &mut ReadTx<'_>| {
            let mut people = Vec::new();
            for op in work.ops.get(next..upto).unwrap_or_default() {
                if let Some(step) = work.plan.steps.get(op.step) {
                    people.extend(losers(tx, &directory, step, &op.part)?);
                }
            }
            Ok::<_, StoreError>(people)
        });
        let of = |user| Subject { directory: self.directory.id.clone(), user };
        self.moving.take_from(people.await?.into_iter().map(of));
        Ok(())
    }

    fn may_take(&self, op: &Op) -> bool {
        let act = self.work.plan.steps.get(op.step).map(|step| &step.act);
        let has_attributes = matches!(act, Some(Act::Update(_, attributes)) if !attributes.is_empty());
        op.part.is_taking() || (has_attributes && matches!(op.part, Part::Whole(_)))
    }
}

/// What becomes of a piece.
enum Settled {
    /// It is written, or given up.
    Done,
    /// It is tried once more, without a step that cannot be written.
    Again,
    /// It is tried once more when the writer has room.
    Later,
}

/// Whether the directory is still the one that the plan was made for, and takes anything.
fn is_open(tx: &mut ReadTx<'_>, directory: &DirectoryRef) -> Result<bool, StoreError> {
    let found = directory::find(tx, &directory.id)?;
    Ok(found.is_some_and(|found| found.enabled && found.reference == *directory))
}

/// Who may lose something by this operation: users, and all that are in a group.
fn losers(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    step: &Step,
    part: &Part,
) -> Result<Vec<ResourceId>, StoreError> {
    let from: Vec<ResourceId> = match (part, &step.act) {
        (Part::Leave(range), _) => step.leave.get(range.clone()).unwrap_or_default().to_vec(),
        (Part::Whole(_), Act::Update(id, attributes)) if !attributes.is_empty() => vec![*id],
        (Part::Gone, act) => act.id().into_iter().collect(),
        _ => Vec::new(),
    };
    if step.kind == ResourceType::User {
        return Ok(from);
    }
    let mut people = Vec::new();
    for id in from {
        people.extend(member::people_below(tx, directory, &id)?);
    }
    Ok(people)
}
