//! A plan as a row of small operations, in the order in which they are carried out. Pure.
//!
//! What gives comes before what takes away: users and attributes as the file has them, then groups with their members,
//! then users that go, members that leave and groups that go. So somebody who moves from one group to another is in both
//! for a moment and never in neither, and an import that is broken off has given too much rather than taken too much,
//! which the next run puts right.

use std::collections::HashMap;
use std::ops::Range;

use super::plan::{Act, Member, Plan};
use crate::model::ResourceType;

/// Memberships that one operation adds or removes at most.
pub(super) const MEMBERS_MAX: usize = 200;

/// One small part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    /// The step of the plan.
    pub(super) step: usize,
    /// What of it.
    pub(super) part: Part,
    /// With it the step is done.
    pub(super) is_last: bool,
}

/// What an operation does of its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Creates it, or gives it its attributes, with the first of those who join.
    Whole(Range<usize>),
    /// More of those who join.
    Join(Range<usize>),
    /// Some of those who leave.
    Leave(Range<usize>),
    /// The user is deactivated, or the group deleted.
    Gone,
}

impl Part {
    /// Whether it only takes away. Attributes may do that too, but have to come where the file has them.
    pub(super) fn is_taking(&self) -> bool {
        matches!(self, Self::Leave(_) | Self::Gone)
    }
}

/// The operations of a plan.
pub(super) fn operations(plan: &Plan) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let steps = || plan.steps.iter().enumerate();
    let push = |ops: &mut Vec<Op>, step: usize, part: Part| ops.push(Op { step, part, is_last: false });
    let gives = |act: &Act| matches!(act, Act::Create | Act::Update(..));
    for (n, _) in steps().filter(|(_, step)| step.kind == ResourceType::User && gives(&step.act)) {
        push(&mut ops, n, Part::Whole(0..0));
    }
    let mut joins: Vec<Op> = Vec::new();
    for (n, is_late) in groups(plan) {
        let Some(step) = plan.steps.get(n).filter(|step| gives(&step.act)) else { continue };
        let first = if is_late { 0 } else { step.join.len().min(MEMBERS_MAX) };
        let is_written = step.act == Act::Create
            || matches!(&step.act, Act::Update(_, attributes) if !attributes.is_empty())
            || first > 0;
        if is_written {
            push(&mut ops, n, Part::Whole(0..first));
        }
        let to = if is_late { &mut joins } else { &mut ops };
        for range in chunks(first..step.join.len()) {
            push(to, n, Part::Join(range));
        }
    }
    // Groups that hold each other: who was not there yet joins now.
    ops.extend(joins);
    for (n, _) in steps().filter(|(_, step)| matches!(step.act, Act::Deactivate(_))) {
        push(&mut ops, n, Part::Gone);
    }
    for (n, step) in steps() {
        for range in chunks(0..step.leave.len()) {
            push(&mut ops, n, Part::Leave(range));
        }
    }
    for (n, _) in steps().filter(|(_, step)| matches!(step.act, Act::Delete(_))) {
        push(&mut ops, n, Part::Gone);
    }
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (at, op) in ops.iter().enumerate() {
        last.insert(op.step, at);
    }
    for at in last.into_values() {
        if let Some(op) = ops.get_mut(at) {
            op.is_last = true;
        }
    }
    ops
}

fn chunks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(MEMBERS_MAX).map(move |from| from..end.min(from + MEMBERS_MAX))
}

/// Groups in an order in which those that are new come before those that hold them; with each whether it has no place in
/// such an order, since they hold each other.
fn groups(plan: &Plan) -> Vec<(usize, bool)> {
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
    let late = all.into_iter().filter(|n| waits.contains_key(n));
    order.into_iter().map(|n| (n, false)).chain(late.map(|n| (n, true))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::import::plan::Step;
    use crate::model::ResourceId;
    use crate::scim::resource::Doc;

    fn step(kind: ResourceType, act: Act, join: usize, leave: u8) -> Step {
        Step {
            at: String::new(),
            kind,
            name: String::new(),
            act,
            version: 1,
            doc: Doc::new(),
            join: (0..join).map(|n| Member::Known(id(u8::try_from(n % 250).unwrap()))).collect(),
            leave: (0..leave).map(id).collect(),
        }
    }

    fn id(n: u8) -> ResourceId {
        ResourceId::from_bytes([n; 16])
    }

    #[test]
    fn everything_that_gives_comes_before_everything_that_only_takes() {
        let (user, group) = (ResourceType::User, ResourceType::Group);
        let plan = Plan {
            steps: vec![
                step(group, Act::Delete(id(1)), 0, 0),
                step(user, Act::Deactivate(id(2)), 0, 0),
                step(group, Act::Update(id(3), Vec::new()), 450, 201),
                step(user, Act::Create, 0, 0),
                step(user, Act::Leave(id(4)), 0, 0),
                step(group, Act::Update(id(5), Vec::new()), 0, 1),
            ],
            ..Plan::default()
        };
        let ops = operations(&plan);
        let shown: Vec<(usize, Part, bool)> =
            ops.into_iter().map(|op| (op.step, op.part, op.is_last)).collect();
        assert_eq!(
            shown,
            [
                (3, Part::Whole(0..0), true),
                (2, Part::Whole(0..200), false),
                (2, Part::Join(200..400), false),
                (2, Part::Join(400..450), false),
                (1, Part::Gone, true),
                (2, Part::Leave(0..200), false),
                (2, Part::Leave(200..201), true),
                (5, Part::Leave(0..1), true),
                (0, Part::Gone, true),
            ]
        );
    }
}
