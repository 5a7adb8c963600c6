//! `/api/v1/status`, `plan`, `sync` and `reload`.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get, post};
use super::{AdminError, AdminRole, Request, Targets, decisions, directories, lag, text, trouble, truth};
use crate::mirror::history;
use crate::model::{ResourceId, TargetName};
use crate::reconcile::Decision;
use crate::reconcile::pull::streams;

/// Longest reason of a decision.
const REASON_CHARS_MAX: usize = 500;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get(
        "status",
        "One screen of state: directories, targets, whoever is shut, grants, problems",
        "Status",
        |r| Box::pin(status(r)),
    ),
    get("plan", "What each target would be given and would lose", "Plans", |r| Box::pin(plan(r)))
        .query(&[endpoints::text("target", "only this target")]),
    post(AdminRole::Operate, "sync", "Brings one target or all up to date now", "Synced", |r| {
        Box::pin(sync(r))
    })
    .body("Sync"),
    post(AdminRole::Operate, "approve", "Lets held removals of a target go", "Decided", |r| {
        Box::pin(approve(r))
    })
    .body("Approve"),
    post(AdminRole::Operate, "reject", "Keeps what the guard holds at a target", "Decided", |r| {
        Box::pin(reject(r))
    })
    .body("Reject"),
    post(AdminRole::Operate, "reload", "Reads the configuration again", "Reloaded", |r| Box::pin(reload(r))),
];

pub(super) fn target(name: &str) -> Result<TargetName, AdminError> {
    TargetName::parse(name).map_err(|error| AdminError::invalid(format!("`{name}`: {error}")))
}

pub(super) fn targets<'a>(request: &'a Request<'_>) -> Result<&'a dyn Targets, AdminError> {
    request.state.targets.as_deref().ok_or_else(|| {
        AdminError::new(503, "this needs the running daemon", "start it: `systemctl start rosterd`")
    })
}

/// DESIGN §3, `status`.
pub(super) async fn status(request: &Request<'_>) -> Result<Value, AdminError> {
    let state = request.state;
    let directories = directories::all(request).await?;
    let seq = state.mirror.read_long::<_, AdminError, _>(|tx| Ok(tx.seq()?)).await?;
    let (targets, unenforced) = match &state.targets {
        Some(targets) => (lag::told(request, targets.status().await?).await?, targets.unenforced().await?),
        None => (json!([]), json!({ "count": 0, "first": [] })),
    };
    let unenforced = named(request, unenforced).await?;
    let mirror = state.mirror.clone();
    let streams = tokio::task::spawn_blocking(move || streams(&mirror)).await;
    let streams = streams.map_err(|cause| AdminError::new(500, cause.to_string(), ""))??;
    let (shut, grants) = decisions::in_force(request).await?;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "epoch": state.mirror.epoch(),
        "seq": seq,
        "ready": state.health.is_ready(),
        "not_ready_because": state.health.reason(),
        "directories": directories,
        "targets": targets,
        "unenforced": unenforced,
        "streams": streams,
        "shut": shut,
        "grants": grants,
        "problems": state.running.load().problems,
        "unknown_tokens": trouble::unknown(&state.activity.unknown_tokens()),
    }))
}

/// Who is still in, by name besides the id: `user_name`, null for a change that names nobody.
async fn named(request: &Request<'_>, mut unenforced: Value) -> Result<Value, AdminError> {
    let user = |row: &Value| {
        let subject = row.get("subject").and_then(Value::as_str).unwrap_or_default();
        subject.rsplit_once('/').and_then(|(_, id)| ResourceId::parse(id))
    };
    let Some(rows) = unenforced.get_mut("first").and_then(Value::as_array_mut) else { return Ok(unenforced) };
    let ids: BTreeSet<ResourceId> = rows.iter().filter_map(user).collect();
    let mirror = &request.state.mirror;
    let names = if ids.is_empty() {
        HashMap::new()
    } else {
        mirror.read_long::<_, AdminError, _>(move |tx| Ok(history::names(tx, &ids)?)).await?
    };
    for row in rows {
        let name = user(row).and_then(|id| names.get(&id).cloned());
        if let Some(row) = row.as_object_mut() {
            row.insert("user_name".to_owned(), name.into());
        }
    }
    Ok(unenforced)
}

/// DESIGN §3, `plan`.
pub(super) async fn plan(request: &Request<'_>) -> Result<Value, AdminError> {
    let wanted = request.param("target").map(target).transpose()?;
    targets(request)?.plan(wanted).await
}

pub(super) async fn sync(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["target", "adopt"])?;
    let wanted = text(&body, "target")?.map(target).transpose()?;
    let adopt = truth(&body, "adopt")?.unwrap_or(false);
    if adopt && wanted.is_none() {
        return Err(AdminError::invalid("`adopt` takes one target at a time: name it"));
    }
    targets(request)?.sync(wanted, adopt, request.caller.origin()).await
}

/// Body `{"target","plan"?,"subjects"?,"restored"?,"reason"?}`: lets held removals go; all of the plan's, or only these people's.
/// With `restored` the target follows a mirror that was restored from a backup.
pub(super) async fn approve(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["target", "plan", "subjects", "restored", "reason"])?;
    let plan = text(&body, "plan")?.map(str::to_owned);
    if truth(&body, "restored")?.unwrap_or(false) {
        if plan.is_some() || body.get("subjects").is_some_and(|subjects| !subjects.is_null()) {
            return Err(AdminError::invalid("`restored` takes neither `plan` nor `subjects`"));
        }
        return decide(request, &body, Decision::Restored).await;
    }
    let subjects = match body.get("subjects") {
        None | Some(Value::Null) => Vec::new(),
        Some(list) => serde_json::from_value::<Vec<String>>(list.clone())
            .map_err(|_| AdminError::invalid("`subjects` must be a list of strings"))?,
    };
    decide(request, &body, Decision::Approve { plan, subjects }).await
}

/// Body `{"target","plan"?,"window"?,"reason"?}`: keeps what is held; with a plan's hash only what that covered.
pub(super) async fn reject(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["target", "plan", "window", "reason"])?;
    let plan = text(&body, "plan")?.map(str::to_owned);
    let window = truth(&body, "window")?.unwrap_or(false);
    decide(request, &body, Decision::Reject { plan, window }).await
}

async fn decide(
    request: &Request<'_>,
    body: &serde_json::Map<String, Value>,
    decision: Decision,
) -> Result<Value, AdminError> {
    let name = text(body, "target")?.ok_or_else(|| AdminError::invalid("name the target"))?;
    let reason = text(body, "reason")?.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| {
        reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control)
    }) {
        return Err(AdminError::invalid("a reason has at most 500 characters on one line"));
    }
    let reason = reason.map(str::to_owned);
    targets(request)?.decide(target(name)?, decision, reason, request.caller.origin()).await
}

pub(super) async fn reload(request: &Request<'_>) -> Result<Value, AdminError> {
    let reload = request.state.reload.as_ref().ok_or_else(|| {
        AdminError::new(
            503,
            "no daemon runs, so there is nothing to reload",
            "start it: `systemctl start rosterd`",
        )
    })?;
    reload().await
}
