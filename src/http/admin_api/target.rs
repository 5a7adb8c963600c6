//! `/api/v1/targets`: what each target is and keeps; rollback and forget.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get, post};
use super::targets::{target, targets};
use super::{AdminError, AdminRole, Request, lag, truth};
use crate::model::Seq;

/// Most people in one answer.
const PEOPLE_MAX: u64 = 1_000;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("targets", "Every target and how it stands, the orphaned ones included", "Targets", |r| {
        Box::pin(list(r))
    }),
    get("targets/{name}", "One target with what is remembered of it", "Target", |r| {
        Box::pin(show(r, r.segment(0)))
    }),
    get("targets/{name}/held", "Why a target holds removals back, and whose", "Held", |r| {
        Box::pin(held(r, r.segment(0)))
    })
    .query(&[
        endpoints::text("q", "only people whose name or id contains this"),
        endpoints::text("seen", "the hash of a plan somebody was shown; who was added since is marked `new`"),
        endpoints::number("offset", "how many people to pass over"),
        endpoints::number("limit", "most people, 1 to 1000; 200 without it"),
    ]),
    get(
        "targets/{name}/file",
        "What lies at a target's destination, bounded, secrets hidden",
        "TargetFile",
        |r| Box::pin(file(r, r.segment(0))),
    )
    .query(&[
        endpoints::text("member", "which file of a tree or set"),
        endpoints::text("after", "files of a tree from behind this name on"),
    ]),
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
    let all = targets(request)?.status().await?;
    Ok(json!({ "targets": lag::told(request, all).await? }))
}

/// One of them, with what is remembered of it: `path`, `holds`, `files`, `versions`, `pinned_to`, `runs`.
pub(super) async fn show(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let name = target(name)?;
    let all = lag::told(request, targets(request)?.status().await?).await?;
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

/// Why it holds removals back, and which: by person, `q` in the name, `limit` from `offset` on; `seen` is the hash of a
/// plan somebody was shown, and people of whom something was held later are marked.
pub(super) async fn held(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let limit = usize::try_from(request.number("limit", 200)?.clamp(1, PEOPLE_MAX)).unwrap_or(200);
    let offset = usize::try_from(request.number("offset", 0)?).unwrap_or(usize::MAX);
    let wanted = request.param("q").map(str::to_lowercase);
    let seen = request.param("seen").map(str::to_owned);
    let is_known = seen.is_some();
    let mut held = targets(request)?.held(target(name)?, seen).await?;
    let Some(object) = held.as_object_mut() else { return Ok(held) };
    let Some(Value::Array(all)) = object.get_mut("persons").map(Value::take) else { return Ok(held) };
    let is_new = |one: &Value| one.get("new").and_then(Value::as_bool) == Some(true);
    let newer = all.iter().filter(|one| is_new(one)).count();
    let fits = |one: &Value| {
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        wanted.as_ref().is_none_or(|wanted| text("subject").contains(wanted) || text("id").contains(wanted))
    };
    let found: Vec<Value> = all.into_iter().filter(fits).collect();
    let matches = found.len();
    let next = offset.checked_add(limit).filter(|next| *next < matches);
    let page: Vec<Value> = found.into_iter().skip(offset).take(limit).collect();
    object.insert("persons".to_owned(), page.into());
    object.insert("matches".to_owned(), matches.into());
    object.insert("next".to_owned(), next.into());
    object.insert("newer".to_owned(), if is_known { newer.into() } else { Value::Null });
    Ok(held)
}

/// What lies at its destination, bounded and with secrets hidden: `member` names a file of a tree or set, `after` where
/// the list of files goes on. A webhook has none.
pub(super) async fn file(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let text = |key: &str| request.param(key).map(str::to_owned);
    let found = targets(request)?.file(target(name)?, text("member"), text("after")).await?;
    if found.is_null() {
        return Err(AdminError::absent(format!("target `{name}` writes no file"), "rosterd delivery list"));
    }
    let is_absent = found.get("file").is_none_or(Value::is_null);
    if let Some(member) = request.param("member").filter(|_| is_absent) {
        return Err(AdminError::absent(format!("target `{name}` has no file `{member}`"), ""));
    }
    Ok(found)
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
