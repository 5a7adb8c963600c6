//! Carries a plan out, inside one command of the writer.

use std::collections::HashMap;

use serde_json::Value;

use super::plan::{Act, Member, Plan, Step};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::resource::{self, Stored};
use crate::mirror::{self, WriteTx, unique};
use crate::model::{ResourceId, ResourceType};
use crate::scim::etag::Precondition;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Draft, MemberRef};
use crate::scim::schema::Registry;

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

/// Why it could not be, and at which record. The command then fails as a whole, so that nothing stays.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Where in the file.
    pub at: String,
    /// Who.
    pub name: String,
    /// Why.
    pub error: mirror::Error,
}

impl From<mirror::StoreError> for Failed {
    fn from(error: mirror::StoreError) -> Self {
        Self { at: String::new(), name: String::new(), error: error.into() }
    }
}

struct Work<'a, 'tx> {
    tx: &'a mut WriteTx<'tx>,
    directory: &'a DirectoryRef,
    registry: &'a Registry,
    /// What the steps made, by step.
    made: HashMap<usize, ResourceId>,
}

/// Carries the plan out: users, then groups with those they hold before them, then what goes.
///
/// # Errors
/// What a write of SCIM could give, with the record that met it.
pub fn apply(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    registry: &Registry,
    plan: &Plan,
) -> Result<Done, Failed> {
    let mut work = Work { tx, directory, registry, made: HashMap::new() };
    let mut done = Done::default();
    let of = |kind: ResourceType| plan.steps.iter().enumerate().filter(move |(_, step)| step.kind == kind);
    for (n, step) in of(ResourceType::User) {
        work.step(n, step, &mut done).map_err(|error| failed(step, error))?;
    }
    let (order, late) = order(plan);
    for n in order {
        let Some(step) = plan.steps.get(n) else { continue };
        work.step(n, step, &mut done).map_err(|error| failed(step, error))?;
    }
    // Groups that hold each other: who was not there yet joins now.
    for n in late {
        let Some(step) = plan.steps.get(n) else { continue };
        work.join(n, step).map_err(|error| failed(step, error))?;
    }
    Ok(done)
}

fn failed(step: &Step, error: mirror::Error) -> Failed {
    Failed { at: step.at.clone(), name: step.name.clone(), error }
}

/// Groups in an order in which those that are new come before those that hold them; and those for which there is
/// none, since they hold each other.
fn order(plan: &Plan) -> (Vec<usize>, Vec<usize>) {
    let groups = plan.steps.iter().enumerate().filter(|(_, step)| step.kind == ResourceType::Group);
    let is_new_group = |n: usize| {
        plan.steps.get(n).is_some_and(|step| step.kind == ResourceType::Group && step.act == Act::Create)
    };
    let mut waits: HashMap<usize, usize> = HashMap::new();
    let mut holders: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    let mut all = Vec::new();
    for (n, step) in groups {
        all.push(n);
        let mut count = 0;
        for member in &step.join {
            if let Member::New(inner) = member
                && is_new_group(*inner)
            {
                count += 1;
                holders.entry(*inner).or_default().push(n);
            }
        }
        if count == 0 {
            order.push(n);
        } else {
            waits.insert(n, count);
        }
    }
    let mut next = 0;
    while let Some(n) = order.get(next).copied() {
        next += 1;
        for holder in holders.remove(&n).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&holder) {
                *count -= 1;
                if *count == 0 {
                    waits.remove(&holder);
                    order.push(holder);
                }
            }
        }
    }
    let late: Vec<usize> = all.into_iter().filter(|n| waits.contains_key(n)).collect();
    order.extend(&late);
    (order, late)
}

impl Work<'_, '_> {
    fn step(&mut self, n: usize, step: &Step, done: &mut Done) -> Result<(), mirror::Error> {
        let stored = match &step.act {
            Act::Leave(_) => return Ok(()),
            Act::Create => {
                let members = (step.kind == ResourceType::Group).then(|| self.refs(step));
                let draft = Draft { doc: step.doc.clone(), members };
                let stored = resource::create(self.tx, self.directory, step.kind, draft)?;
                self.made.insert(n, stored.id);
                done.created += 1;
                stored
            }
            Act::Update(id, _) => {
                done.updated += 1;
                let mut members = vec![MemberEdit::Add(self.refs(step))];
                if !step.leave.is_empty() {
                    members.push(MemberEdit::Remove(step.leave.iter().map(ToString::to_string).collect()));
                }
                self.patch(step.kind, *id, members, |doc| doc.clone_from(&step.doc))?
            }
            Act::Deactivate(id) => {
                done.deactivated += 1;
                self.patch(step.kind, *id, Vec::new(), |doc| {
                    doc.insert("active".to_owned(), Value::Bool(false));
                })?
            }
            Act::Delete(id) => {
                done.deleted += 1;
                return resource::delete(self.tx, self.directory, step.kind, id, &Precondition::default());
            }
        };
        unique::check(self.tx, self.directory, self.registry.resource(step.kind), &stored)
    }

    fn patch(
        &mut self,
        kind: ResourceType,
        id: ResourceId,
        members: Vec<MemberEdit>,
        edit: impl FnOnce(&mut crate::scim::resource::Doc),
    ) -> Result<Stored, mirror::Error> {
        resource::patch(self.tx, self.directory, kind, &id, &Precondition::default(), |doc| {
            edit(doc);
            Ok(Patched { doc_changed: true, members, ..Patched::default() })
        })
    }

    /// Those who join and are there by now.
    fn refs(&self, step: &Step) -> Vec<MemberRef> {
        let id = |member: &Member| match member {
            Member::Known(id) => Some(*id),
            Member::New(n) => self.made.get(n).copied(),
        };
        let found = step.join.iter().filter_map(id);
        found.map(|id| MemberRef { value: id.to_string(), kind: None }).collect()
    }

    fn join(&mut self, n: usize, step: &Step) -> Result<(), mirror::Error> {
        let Some(id) = step.act.id().or_else(|| self.made.get(&n).copied()) else { return Ok(()) };
        let members = vec![MemberEdit::Add(self.refs(step))];
        self.patch(step.kind, id, members, |_| {}).map(|_| ())
    }
}
