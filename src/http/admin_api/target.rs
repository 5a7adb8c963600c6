//! `/api/v1/targets`: what each target is and keeps; rollback and forget.

use serde_json::{Value, json};

use super::endpoints::{Endpoint, get, post};
use super::targets::{target, targets};
use super::{AdminError, AdminRole, Request, truth};
use crate::model::Seq;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("targets", "Every target and how it stands, the orphaned ones included", "Targets", |r| {
        Box::pin(list(r))
    }),
    get("targets/{name}", "One target with what is remembered of it", "Target", |r| {
        Box::pin(show(r, r.segment(0)))
    }),
    post(
        AdminRole::Operate,
        "targets/{name}/rollback",
        "Pins a target to an earlier version",
        "RolledBack",
        |r| Box::pin(roll_back(r, r.segment(0))),
    )
    .body("Rollback"),
    post(
        AdminRole::Admin,
        "targets/{name}/forget",
        "Forgets a target that the configuration dropped",
        "TargetForgotten",
        |r| Box::pin(forget(r, r.segment(0))),
    )
    .body("TargetForget"),
];

/// `{"targets":[…]}` as in `status`, the orphaned ones included.
pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    Ok(json!({ "targets": targets(request)?.status().await? }))
}

/// One of them, with what is remembered of it: `path`, `holds`, `files`, `versions`, `pinned_to`, `runs`.
pub(super) async fn show(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let name = target(name)?;
    let all = targets(request)?.status().await?;
    let status = all.as_array().into_iter().flatten().find(|one| one.get("name") == Some(&json!(name)));
    let detail = targets(request)?.detail(name.clone()).await?;
    let (Some(Value::Object(mut shown)), detail) = (status.cloned(), detail) else {
        return Err(AdminError::absent(format!("no target is called `{name}`"), "rosterd target list"));
    };
    if let Value::Object(detail) = detail {
        shown.extend(detail);
    }
    Ok(Value::Object(shown))
}

/// Body `{"to"?}`: the `seq` of a kept version.
pub(super) async fn roll_back(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let body = request.object(&["to"])?;
    let to = match body.get("to") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let seq =
                value.as_u64().ok_or_else(|| AdminError::invalid("`to` must be the number of a change"))?;
            Some(Seq(seq))
        }
    };
    targets(request)?.roll_back(target(name)?, to, request.caller.origin()).await
}

/// Body `{"delete"?}`.
pub(super) async fn forget(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let body = request.object(&["delete"])?;
    let delete = truth(&body, "delete")?.unwrap_or(false);
    targets(request)?.forget(target(name)?, delete, request.caller.origin()).await
}
