//! `/api/v1/deliveries`: what is on its way to targets that are told of events, and what people do about it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::endpoints::{self, Endpoint, get, post};
use super::{AdminError, AdminRole, Request, text, truth};
use crate::mirror::delivery::{self, Attempt, Delivery, Filter, State};
use crate::mirror::{ReadTx, StoreError, history};
use crate::model::{EventId, ResourceId, Seq, TargetName, Timestamp};
use crate::reconcile::{DeliveryOrder, ReplayFrom};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("deliveries", "Deliveries, newest first, without their bodies", "Deliveries", |r| Box::pin(list(r)))
        .query(&[
            endpoints::text("target", "only this target"),
            endpoints::text("state", "only those in this state"),
            endpoints::text("kind", "only this type of event, or a family such as `user.*`"),
            endpoints::text("resource", "only those about this user or group"),
            endpoints::number("status", "only those last answered with this HTTP status"),
            endpoints::text("before", "the `next` of the page before"),
            endpoints::number("limit", "most lines, 1 to 1000; 100 without it"),
        ]),
    get("deliveries/{target}/{event}", "One delivery with its body and its attempts", "Delivery", |r| {
        Box::pin(show(r, r.segment(0), r.segment(1)))
    }),
    post(AdminRole::Operate, "deliveries/retry", "Sends deliveries again now", "Ordered", |r| {
        Box::pin(order(r, "retry"))
    })
    .body("Retry"),
    post(
        AdminRole::Operate,
        "deliveries/skip",
        "Gives a delivery up and lets those behind it go",
        "Ordered",
        |r| Box::pin(order(r, "skip")),
    )
    .body("Skip"),
    post(
        AdminRole::Operate,
        "deliveries/replay",
        "Sends again what a target was told since then",
        "Ordered",
        |r| Box::pin(order(r, "replay")),
    )
    .body("Replay"),
    post(AdminRole::Operate, "deliveries/snapshot", "Sends a target everything anew", "Ordered", |r| {
        Box::pin(order(r, "snapshot"))
    })
    .body("SnapshotOrder"),
];

/// Most deliveries in one answer.
const LIMIT_MAX: u64 = 1_000;

/// `GET /api/v1/deliveries`: `{"deliveries":[…],"next"}`, newest first, without bodies.
pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    let filter = filter(|name| request.param(name))?;
    let limit = request.number("limit", 100)?.clamp(1, LIMIT_MAX);
    let limit = u32::try_from(limit).unwrap_or(100);
    let (found, names) = request
        .state
        .mirror
        .read_long(move |tx: &mut ReadTx<'_>| {
            let found = delivery::list(tx, &filter, limit)?;
            let ids = found.iter().filter_map(resource).collect();
            Ok::<_, StoreError>((found, history::names(tx, &ids)?))
        })
        .await?;
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count == limit);
    let next = found.last().filter(|_| is_full).map(|last| format!("{}/{}", last.target, last.event.event));
    Ok(
        json!({ "deliveries": found.iter().map(|one| line(one, &names)).collect::<Vec<Value>>(), "next": next }),
    )
}

/// `GET /api/v1/deliveries/TARGET/EVENT`: one with its body and its attempts.
pub(super) async fn show(request: &Request<'_>, target: &str, event: &str) -> Result<Value, AdminError> {
    let (target, event) = place(target, event)?;
    let absent = AdminError::absent(
        format!("there is no delivery `{target}/{event}`"),
        "it may be pruned, or not be made yet: rosterd delivery list",
    );
    let (found, attempts, names) = request
        .state
        .mirror
        .read_long(move |tx: &mut ReadTx<'_>| {
            let found = delivery::find(tx, &target, event)?;
            // The attempts of a batch stand under its last event.
            let named = found.as_ref().and_then(|found| found.batch).unwrap_or(event);
            let ids = found.iter().filter_map(resource).collect();
            let names = history::names(tx, &ids)?;
            Ok::<_, StoreError>((found, delivery::attempts(tx, &target, named)?, names))
        })
        .await?;
    let found = found.ok_or(absent)?;
    let mut shown = line(&found, &names);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("content_type".into(), found.event.content_type.clone().into());
        shown.insert("body".into(), String::from_utf8_lossy(&found.event.body).into());
        shown.insert("tried".into(), attempts.iter().map(tried).collect::<Vec<Value>>().into());
    }
    Ok(shown)
}

/// `POST /api/v1/deliveries/retry|skip|replay|snapshot`.
pub(super) async fn order(request: &Request<'_>, word: &str) -> Result<Value, AdminError> {
    let order = match word {
        "retry" => retry(request)?,
        "skip" => {
            let body = request.object(&["id"])?;
            let (target, event) = id(text(&body, "id")?.unwrap_or_default())?;
            DeliveryOrder::Skip(target, event)
        }
        "replay" => replay(request)?,
        "snapshot" => DeliveryOrder::Snapshot(target(&request.object(&["target"])?)?),
        _ => {
            return Err(AdminError::absent(
                "there is no such endpoint",
                "served are retry, skip, replay and snapshot",
            ));
        }
    };
    let Some(targets) = &request.state.targets else {
        return Err(AdminError::new(503, "nobody answers for the targets", "systemctl start rosterd"));
    };
    targets.deliver(order, request.caller.origin()).await
}

fn retry(request: &Request<'_>) -> Result<DeliveryOrder, AdminError> {
    let known = ["ids", "all", "target", "state", "kind", "resource", "status"];
    let body = request.object(&known)?;
    if let Some(ids) = body.get("ids").and_then(Value::as_array).filter(|ids| !ids.is_empty()) {
        let ids: Result<Vec<_>, _> = ids.iter().map(|one| id(one.as_str().unwrap_or_default())).collect();
        return Ok(DeliveryOrder::Retry(ids?));
    }
    if truth(&body, "all")? != Some(true) {
        return Err(AdminError::invalid("name deliveries in `ids`, or set `all`"));
    }
    let filter = filter(|name| body.get(name).and_then(Value::as_str))?;
    Ok(DeliveryOrder::RetryMatching(filter))
}

fn replay(request: &Request<'_>) -> Result<DeliveryOrder, AdminError> {
    let body = request.object(&["target", "from", "since"])?;
    let from = match (body.get("from").filter(|from| !from.is_null()), text(&body, "since")?) {
        (Some(from), None) => {
            let from =
                from.as_u64().ok_or_else(|| AdminError::invalid("`from` must be a change's number"))?;
            ReplayFrom::Seq(Seq(from))
        }
        (None, Some(since)) => {
            let at = Timestamp::parse_rfc3339(since)
                .ok_or_else(|| AdminError::invalid("`since` must be a time such as 2026-01-31T12:00:00Z"))?;
            ReplayFrom::Time(at)
        }
        _ => return Err(AdminError::invalid("name either `from` or `since`")),
    };
    Ok(DeliveryOrder::Replay(target(&body)?, from))
}

fn target(body: &Map<String, Value>) -> Result<TargetName, AdminError> {
    let name = text(body, "target")?.ok_or_else(|| AdminError::invalid("`target` is missing"))?;
    TargetName::parse(name).map_err(|rule| AdminError::invalid(format!("`target`: {rule}")))
}

fn filter<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Filter, AdminError> {
    let target = get("target").map(TargetName::parse).transpose();
    let state = match get("state") {
        None => None,
        Some(word) => Some(State::parse(word).ok_or_else(|| {
            let known: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
            AdminError::invalid(format!("`state` is one of {}", known.join(", ")))
        })?),
    };
    let status = get("status").map(str::parse::<u16>).transpose();
    let before = get("before").map(id).transpose()?;
    Ok(Filter {
        before,
        target: target.map_err(|rule| AdminError::invalid(format!("`target`: {rule}")))?,
        state,
        // `user.*` names a family, as in `events`.
        kind: get("kind").map(|kind| kind.trim_end_matches('*').to_owned()).filter(|kind| !kind.is_empty()),
        resource: get("resource").map(str::to_owned),
        status: status.map_err(|_| AdminError::invalid("`status` is an HTTP status such as 503"))?,
    })
}

fn id(text: &str) -> Result<(TargetName, EventId), AdminError> {
    let bad = || AdminError::invalid(format!("`{text}` is no delivery; its id looks like `app/1-42-0`"));
    let (target, event) = text.split_once('/').ok_or_else(bad)?;
    place(target, event)
}

fn place(target: &str, event: &str) -> Result<(TargetName, EventId), AdminError> {
    let bad =
        || AdminError::invalid(format!("`{target}/{event}` is no delivery; its id looks like `app/1-42-0`"));
    Ok((TargetName::parse(target).map_err(|_| bad())?, EventId::parse(event).ok_or_else(bad)?))
}

/// Whom or which group an event is about.
fn resource(one: &Delivery) -> Option<ResourceId> {
    one.event.resource.as_deref().and_then(ResourceId::parse)
}

fn line(one: &Delivery, names: &HashMap<ResourceId, String>) -> Value {
    let event = &one.event;
    json!({
        "id": format!("{}/{}", one.target, event.event),
        "target": one.target,
        "event": event.event.to_string(),
        "kind": event.kind,
        "resource": event.resource,
        "resource_name": resource(one).and_then(|id| names.get(&id)),
        "at": event.at.to_string(),
        "state": event.state.as_str(),
        "batch": one.batch.map(|batch| batch.to_string()),
        "attempts": one.attempts,
        "next_at": (event.state == State::Pending).then(|| one.next_at.to_string()),
        "finished_at": one.finished_at.map(|at| at.to_string()),
        "last_status": one.last_status,
        "last_error": one.last_error,
    })
}

fn tried(one: &Attempt) -> Value {
    json!({
        "at": one.at.to_string(),
        "status": one.status,
        "latency_ms": u64::try_from(one.latency.as_millis()).unwrap_or(u64::MAX),
        "outcome": one.outcome,
        "error": one.error,
        "answer": String::from_utf8_lossy(&one.answer),
    })
}
