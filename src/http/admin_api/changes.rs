//! `/api/v1/changes` and `/api/v1/verify`: the log.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get};
use super::{AdminError, Request};
use crate::mirror::change::{self, Change};
use crate::mirror::verify;
use crate::model::Seq;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("changes", "The log as it is stored", "Changes", |r| Box::pin(list(r))).query(&[
        endpoints::number("after", "only changes behind this one"),
        endpoints::number("limit", "most changes, 1 to 1000; 100 without it"),
    ]),
    get("verify", "Whether log, mirror and the targets' bytes agree", "Verified", |r| Box::pin(verify(r))),
];

/// Most changes in one answer.
const LIMIT_MAX: u64 = 1_000;

pub(super) fn shown(change: &Change) -> Value {
    let members: Vec<Value> = change
        .members
        .iter()
        .map(|member| {
            json!({
                "op": if member.added { "add" } else { "remove" },
                "group": member.group, "member": member.member, "type": member.member_type,
            })
        })
        .collect();
    let document = |text: &Option<String>| {
        text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or(Value::Null)
    };
    json!({
        "seq": change.seq,
        "at": change.at.to_string(),
        "kind": change.kind.as_str(),
        "directory": change.directory,
        "resource": change.resource,
        "object": change.object,
        "actor": change.actor,
        "request": change.request,
        "version": change.version,
        "before": document(&change.before),
        "after": document(&change.after),
        "erased": change.erased,
        "members": members,
    })
}

pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    let after = Seq(request.number("after", 0)?);
    let limit = u32::try_from(request.number("limit", 100)?.clamp(1, LIMIT_MAX)).unwrap_or(100);
    let epoch = request.state.mirror.epoch();
    let found = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| Ok(change::after(tx, after, limit)?))
        .await?;
    let next = found.last().map_or(after, |change| change.seq);
    Ok(json!({ "epoch": epoch, "changes": found.iter().map(shown).collect::<Vec<_>>(), "next": next }))
}

/// Whether nothing about a target has to be mended: what is merely yet to come is no fault.
fn is_good(target: &Value) -> bool {
    let bytes = target.get("bytes").and_then(Value::as_str).unwrap_or_default();
    matches!(bytes, "as_due" | "pending" | "waiting" | "none")
}

/// Reads the whole log and looks at every target; a mismatch is an answer, not an error.
pub(super) async fn verify(request: &Request<'_>) -> Result<Value, AdminError> {
    let report = request.state.mirror.read_long::<_, AdminError, _>(|tx| Ok(verify::verify(tx)?)).await?;
    let targets = match &request.state.targets {
        Some(targets) => targets.verify().await?,
        None => json!([]),
    };
    let bad = targets.as_array().into_iter().flatten().filter(|one| !is_good(one)).count();
    Ok(json!({
        "ok": report.faults.is_empty() && bad == 0,
        "log_ok": report.faults.is_empty(),
        "targets": targets,
        "changes": report.changes,
        "begins_after": report.base,
        "resources": report.resources,
        "memberships": report.memberships,
        "problems": report.faults,
    }))
}
