//! What a command does itself where no daemon runs: plans, decides, gives orders; the daemon acts on it when it starts.

use std::sync::Arc;

use crate::mirror::Mirror;
use crate::model::{Clock, Origin, TargetName};

use super::file::wish::plan_of;
use super::guard::verdict;
use super::handle::{Error, decide_error, order_error};
use super::snapshot::{Rules, Snapshot};
use super::webhook::command;
use super::{Decision, DecisionReport, DeliveryOrder, DeliveryReport, Plan, Settings};

/// What a run of `target` would do, without any task: for a command while no daemon runs. Blocking.
///
/// # Errors
/// [`Error::UnknownTarget`], [`Error::Store`].
pub fn plan_offline(
    mirror: &Mirror,
    settings: Settings,
    target: &TargetName,
    clock: &dyn Clock,
) -> Result<Plan, Error> {
    let Settings { targets, roles, directories } = settings;
    let found = targets.iter().find(|one| one.name == *target);
    let found = found.ok_or_else(|| Error::UnknownTarget(target.clone()))?;
    let snapshot = Snapshot::take(mirror, Arc::new(Rules { roles, directories }), clock, None)?;
    Ok(plan_of(mirror, found, &snapshot, clock.now())?)
}

/// Carries out a decision without any task; the daemon acts on it when it starts. Blocking.
///
/// # Errors
/// [`Error::UnknownTarget`], [`Error::Refused`], [`Error::Store`].
pub fn decide_offline(
    mirror: &Mirror,
    settings: &Settings,
    target: &TargetName,
    decision: Decision,
    origin: Origin,
) -> Result<DecisionReport, Error> {
    let found = settings.targets.iter().find(|one| one.name == *target);
    let found = found.ok_or_else(|| Error::UnknownTarget(target.clone()))?;
    let done = verdict::decide(mirror, found, decision, origin);
    let (decided, held_removals, seq) = done.map_err(|error| decide_error(target, error))?;
    Ok(DecisionReport { target: target.clone(), decided, held_removals, seq, state: None, error: None })
}

/// Carries out an order about deliveries without any task; the daemon acts on it when it starts. Blocking.
///
/// # Errors
/// [`Error::UnknownTarget`], [`Error::Delivery`], [`Error::Store`].
pub fn deliver_offline(
    mirror: &Mirror,
    settings: &Settings,
    order: DeliveryOrder,
    origin: Origin,
) -> Result<DeliveryReport, Error> {
    command::carry_out(mirror, &command::told(settings), order, origin).map_err(order_error)
}
