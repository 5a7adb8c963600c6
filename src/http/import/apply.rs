//! Carries out one piece of a plan, inside one command of the writer, for no longer than [`PIECE_TIME`].

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::order::{Op, Part};
use super::plan::{Act, Member, Plan, Step};
use crate::mirror::change::{self, Foreign};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::resource::{self, Stored};
use crate::mirror::{self, WriteTx, unique};
use crate::model::{ResourceId, ResourceType, Seq};
use crate::scim::etag::Precondition;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Doc, Draft, MemberRef};
use crate::scim::schema::Registry;

/// Operations in one piece at most.
pub(super) const PIECE_MAX: usize = 256;
/// Work in one piece before it is committed: for about so long, and one operation more, do other writers wait.
const PIECE_TIME: Duration = Duration::from_millis(15);

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Users and groups created.
    pub created: usize,
    /// Users and groups changed.
    pub updated: usize,
    /// Users deactivated.
    pub deactivated: usize,
    /// Groups deleted.
    pub deleted: usize,
}

impl Done {
    fn count(&mut self, act: &Act) {
        match act {
            Act::Create => self.created += 1,
            Act::Update(..) => self.updated += 1,
            Act::Deactivate(_) => self.deactivated += 1,
            Act::Delete(_) => self.deleted += 1,
            Act::Leave(_) => {}
        }
    }

    /// All of them.
    pub fn total(self) -> usize {
        self.created + self.updated + self.deactivated + self.deleted
    }
}

/// A step that was not carried out, or not whole, since the directory is no longer what the plan was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The step.
    pub step: usize,
    /// What stands in its way.
    pub why: String,
}

/// What is the same for all pieces.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) plan: std::sync::Arc<Plan>,
    pub(super) ops: Vec<Op>,
    pub(super) registry: std::sync::Arc<Registry>,
    /// The import's id, by which its own changes are known.
    pub(super) request: String,
}

/// How far it came, as of the last piece that was committed.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The next operation.
    pub(super) next: usize,
    /// What the steps made, by step.
    pub(super) made: HashMap<usize, ResourceId>,
    /// Steps that met a conflict: the rest of them is left.
    pub(super) conflicted: HashSet<usize>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) done: Done,
    /// What others wrote since the plan was made, up to `seen`.
    pub(super) foreign: Foreign,
    /// The newest change looked at.
    pub(super) seen: Seq,
}

/// What one piece adds to the progress; it counts once the piece is committed.
#[derive(Debug)]
pub(super) struct Piece {
    next: usize,
    made: Vec<(usize, ResourceId)>,
    conflicts: Vec<Conflict>,
    done: Done,
    foreign: Foreign,
    seen: Seq,
}

impl Progress {
    pub(super) fn take(&mut self, piece: Piece) {
        self.next = piece.next;
        self.made.extend(piece.made);
        self.conflicted.extend(piece.conflicts.iter().map(|one| one.step));
        self.conflicts.extend(piece.conflicts);
        self.done = piece.done;
        self.foreign.resources.extend(piece.foreign.resources);
        self.foreign.members.extend(piece.foreign.members);
        self.seen = piece.seen;
    }
}

/// Why a piece was not written.
#[derive(Debug)]
pub(super) enum Halt {
    /// This step cannot be done; the rest of the piece can be.
    Step(Conflict),
    /// The store cannot do it now.
    Store(mirror::StoreError),
}

impl From<mirror::StoreError> for Halt {
    fn from(error: mirror::StoreError) -> Self {
        Self::Store(error)
    }
}

struct Writing<'a, 'tx> {
    tx: &'a mut WriteTx<'tx>,
    directory: &'a DirectoryRef,
    work: &'a Work,
    before: &'a Progress,
    piece: Piece,
}

/// Writes the next piece, up to the operation `limit`.
///
/// # Errors
/// [`Halt`]; nothing of the piece then stays.
pub(super) fn piece(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    work: &Work,
    before: &Progress,
    limit: usize,
) -> Result<Piece, Halt> {
    let began = Instant::now();
    let mut foreign = Foreign::default();
    let newest = tx.seq()?;
    if newest > before.seen {
        change::foreign(tx, before.seen, &work.request, &mut foreign)?;
    }
    let piece = Piece {
        next: before.next,
        made: Vec::new(),
        conflicts: Vec::new(),
        done: before.done,
        foreign,
        seen: newest,
    };
    let mut writing = Writing { tx, directory, work, before, piece };
    let until = limit.min(before.next.saturating_add(PIECE_MAX));
    while writing.piece.next < until && (writing.piece.next == before.next || began.elapsed() < PIECE_TIME) {
        writing.next()?;
    }
    // Its own changes need not be looked at again.
    writing.piece.seen = writing.tx.seq()?;
    Ok(writing.piece)
}

impl Writing<'_, '_> {
    fn next(&mut self) -> Result<(), Halt> {
        let work = self.work;
        let Some(op) = work.ops.get(self.piece.next) else { return Ok(()) };
        self.piece.next += 1;
        let known = self.before.conflicted.contains(&op.step)
            || self.piece.conflicts.iter().any(|one| one.step == op.step);
        let Some(step) = work.plan.steps.get(op.step).filter(|_| !known) else { return Ok(()) };
        if let Some(why) = self.in_the_way(step, &op.part) {
            self.piece.conflicts.push(Conflict { step: op.step, why });
            return Ok(());
        }
        match self.write(op, step) {
            Ok(()) => {
                if op.is_last {
                    self.piece.done.count(&step.act);
                }
                Ok(())
            }
            Err(mirror::Error::Store(error)) => Err(Halt::Store(error)),
            Err(error) => Err(Halt::Step(Conflict { step: op.step, why: error.to_string() })),
        }
    }

    /// What somebody else wrote since the plan was made, if this operation would undo it or does not fit it any more.
    fn in_the_way(&self, step: &Step, part: &Part) -> Option<String> {
        let altered = |id: &ResourceId| {
            let found = [&self.piece.foreign, &self.before.foreign];
            found.into_iter().find_map(|foreign| foreign.resources.get(id)).copied()
        };
        let moved = |group: ResourceId, member: ResourceId| {
            let found = [&self.piece.foreign, &self.before.foreign];
            found.into_iter().find_map(|foreign| foreign.members.get(&(group, member))).copied()
        };
        let is_anybody = |foreign: &Foreign| foreign.resources.is_empty() && foreign.members.is_empty();
        if is_anybody(&self.piece.foreign) && is_anybody(&self.before.foreign) {
            return None;
        }
        let id = step.act.id();
        let own = match (&step.act, part) {
            // Only its members are touched.
            (Act::Update(_, attributes), _) if attributes.is_empty() => None,
            (_, Part::Join(_) | Part::Leave(_)) => None,
            _ => id.as_ref().and_then(altered),
        };
        if let Some(seq) = own {
            return Some(format!("somebody else changed it meanwhile (change {seq})"));
        }
        let members: Vec<ResourceId> = match part {
            Part::Whole(range) | Part::Join(range) => self.found(step, range.clone()),
            Part::Leave(range) => step.leave.get(range.clone()).unwrap_or_default().to_vec(),
            Part::Gone => Vec::new(),
        };
        let group = id?;
        if let (Part::Gone, ResourceType::Group) = (part, step.kind) {
            let all = [&self.piece.foreign, &self.before.foreign];
            let seq = all.into_iter().flat_map(|one| &one.members).find(|((of, _), _)| *of == group)?.1;
            return Some(format!("somebody else changed its members meanwhile (change {seq})"));
        }
        let seq = members.into_iter().find_map(|member| moved(group, member))?;
        Some(format!("somebody else added or removed one of its members meanwhile (change {seq})"))
    }

    /// Who of those that join is there by now.
    fn found(&self, step: &Step, range: std::ops::Range<usize>) -> Vec<ResourceId> {
        let id = |member: &Member| match member {
            Member::Known(id) => Some(*id),
            Member::New(n) => self.made(*n),
        };
        step.join.get(range).unwrap_or_default().iter().filter_map(id).collect()
    }

    fn made(&self, step: usize) -> Option<ResourceId> {
        let of_piece = || self.piece.made.iter().rev().find(|(n, _)| *n == step).map(|(_, id)| *id);
        self.before.made.get(&step).copied().or_else(of_piece)
    }

    fn refs(&self, step: &Step, range: std::ops::Range<usize>) -> Vec<MemberRef> {
        let found = self.found(step, range).into_iter();
        found.map(|id| MemberRef { value: id.to_string(), kind: None }).collect()
    }

    fn write(&mut self, op: &Op, step: &Step) -> Result<(), mirror::Error> {
        let joins =
            |refs: Vec<MemberRef>| if refs.is_empty() { Vec::new() } else { vec![MemberEdit::Add(refs)] };
        let stored = match (&op.part, &step.act) {
            (Part::Whole(range), Act::Create) => {
                let members = (step.kind == ResourceType::Group).then(|| self.refs(step, range.clone()));
                let draft = Draft { doc: step.doc.clone(), members };
                let stored = resource::create(self.tx, self.directory, step.kind, draft)?;
                self.piece.made.push((op.step, stored.id));
                stored
            }
            (Part::Whole(range), Act::Update(id, attributes)) => {
                let members = joins(self.refs(step, range.clone()));
                self.patch(step.kind, *id, members, |doc| {
                    if !attributes.is_empty() {
                        doc.clone_from(&step.doc);
                    }
                })?
            }
            (Part::Join(range), _) => {
                let Some(id) = step.act.id().or_else(|| self.made(op.step)) else { return Ok(()) };
                let members = joins(self.refs(step, range.clone()));
                return self.patch(step.kind, id, members, |_| {}).map(|_| ());
            }
            (Part::Leave(range), Act::Update(id, _)) => {
                let leave = step.leave.get(range.clone()).unwrap_or_default();
                let members = vec![MemberEdit::Remove(leave.iter().map(ToString::to_string).collect())];
                return self.patch(step.kind, *id, members, |_| {}).map(|_| ());
            }
            (Part::Gone, Act::Deactivate(id)) => self.patch(step.kind, *id, Vec::new(), |doc| {
                doc.insert("active".to_owned(), Value::Bool(false));
            })?,
            (Part::Gone, Act::Delete(id)) => {
                return resource::delete(self.tx, self.directory, step.kind, id, &Precondition::default());
            }
            _ => return Ok(()),
        };
        unique::check(self.tx, self.directory, self.work.registry.resource(step.kind), &stored)
    }

    fn patch(
        &mut self,
        kind: ResourceType,
        id: ResourceId,
        members: Vec<MemberEdit>,
        edit: impl FnOnce(&mut Doc),
    ) -> Result<Stored, mirror::Error> {
        resource::patch(self.tx, self.directory, kind, &id, &Precondition::default(), |doc| {
            edit(doc);
            Ok(Patched { doc_changed: true, members, ..Patched::default() })
        })
    }
}
