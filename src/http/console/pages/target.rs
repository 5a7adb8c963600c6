//! One target: how it stands, what to do about it, what lies there, and the orders people give it.

use hyper::Method;
use serde_json::{Value, json};

use super::view;
use crate::http::console::AdminRole;
use crate::http::console::call::{Call, Fault, Flash, Shown};
use crate::http::console::template::encoded;

/// `GET /targets/{name}`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let target = call.get(&api(name), &[]).await?;
    let plan = call.get("plan", &[("target", name)]).await;
    let file = call.get(&format!("{}/file", api(name)), &[]).await;
    let decisions = decisions(call, name).await;
    let context = context(&target, plan.as_ref(), file.as_ref(), &decisions);
    Ok(Shown::page(format!("Target {name}"), "target.html", context))
}

/// `GET /targets/{name}/now`: its state.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    let target = call.get(&api(call.part("name")), &[]).await?;
    Ok(Shown::Fragment { template: "target_now.html", context: json!({ "target": view::target(&target) }) })
}

/// `GET /targets/{name}/file`: what lies there.
pub(in crate::http::console) async fn file(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let (member, after) = (call.param("member").unwrap_or_default(), call.param("after").unwrap_or_default());
    let target = call.get(&api(name), &[]).await?;
    let file = call.get(&format!("{}/file", api(name)), &[("member", member), ("after", after)]).await?;
    let context =
        json!({ "target": view::target(&target), "file": presented(&file, member), "after": after });
    Ok(Shown::page(format!("What lies at {name}"), "target_file.html", context))
}

/// The path of a target in the API.
pub(super) fn api(name: &str) -> String {
    format!("targets/{}", encoded(name))
}

/// The path of a target's page.
pub(super) fn page(name: &str) -> String {
    format!("/targets/{}", encoded(name))
}

/// What was decided about a target, newest first.
pub(super) async fn decisions(call: &Call<'_>, name: &str) -> Vec<Value> {
    let query = [("object", name), ("order", "newest"), ("limit", "10")];
    let found = call.get("history", &query).await.unwrap_or_default();
    view::list(&found, "changes").iter().map(view::change).collect()
}

/// What the template is given.
pub(in crate::http::console) fn context(
    target: &Value,
    plan: Result<&Value, &Fault>,
    file: Result<&Value, &Fault>,
    decisions: &[Value],
) -> Value {
    let runs: Vec<Value> = view::list(target, "runs").iter().map(run).collect();
    let newest = view::list(target, "versions").last().map_or(0, |one| view::number(one, "seq"));
    let versions: Vec<Value> = view::list(target, "versions")
        .iter()
        .rev()
        .map(|one| {
            let seq = view::number(one, "seq");
            json!({
                "seq": seq, "at": view::any(one, "at"), "total": view::number(one, "total"),
                "digest": view::short(view::text(one, "digest"), 16), "is_present": seq == newest,
            })
        })
        .collect();
    let pinned_to = view::number(target, "pinned_to");
    json!({
        "target": view::target(target),
        "holds": view::number(target, "holds"),
        "reload_pending": view::truth(target, "reload_pending"),
        "pinned_to": pinned_to,
        "runs": runs,
        "versions": versions,
        "drift": view::list(target, "drift").iter().rev().map(evidence).collect::<Vec<_>>(),
        "plan": plan.map_or(Value::Null, view::only_plan),
        "plan_fault": plan.err().map_or(Value::Null, |fault| fault.message.clone().into()),
        "file": file.map_or(Value::Null, |file| presented(file, "")),
        "decisions": decisions,
    })
}

fn run(of: &Value) -> Value {
    let cause = match view::text(of, "cause") {
        "start" => "the daemon started",
        "change" => "a change, the schedule or a retry",
        "decision" => "a decision",
        "drift" => "the file was touched",
        "sync" => "sync",
        "adopt" => "sync, taking the file over",
        "rollback" => "rollback",
        _ => "",
    };
    json!({
        "at": view::any(of, "at"), "started": view::any(of, "started"), "seq": view::number(of, "seq"),
        "ms": view::number(of, "duration_ms"), "cause": cause, "by": view::text(of, "by"),
        "outcome": view::text(of, "outcome"), "added": view::number(of, "added"),
        "removed": view::number(of, "removed"), "changed": view::number(of, "changed"),
        "held": view::number(of, "held"), "error": view::text(of, "error"),
    })
}

fn evidence(of: &Value) -> Value {
    let what = match view::text(of, "what") {
        "changed" => "was changed",
        "truncated" => "was emptied",
        "deleted" => "was deleted",
        "replaced" => "was replaced",
        other => other,
    };
    json!({
        "path": view::text(of, "path"), "what": what, "uid": view::any(of, "uid"), "user": view::text(of, "user"),
        "modified": view::any(of, "modified"), "noticed": view::any(of, "noticed"), "bytes": view::any(of, "bytes"),
        "repaired": view::truth(of, "repaired"), "found": view::text(of, "found"),
        "expected": view::text(of, "expected"),
    })
}

/// What lies there, as the template sees it.
pub(in crate::http::console) fn presented(of: &Value, member: &str) -> Value {
    let files: Vec<Value> = view::list(of, "files")
        .iter()
        .map(|one| json!({ "name": view::text(one, "name"), "is_shown": view::text(one, "name") == member }))
        .collect();
    let last = files.last().map_or("", |one| view::text(one, "name")).to_owned();
    let total = view::number(of, "files_total");
    let shown = of.get("file").filter(|file| file.is_object()).map_or(Value::Null, |one| {
        json!({
            "name": view::text(one, "name"), "path": view::text(one, "path"), "there": view::text(one, "there"),
            "bytes": view::number(one, "bytes"), "mode": view::text(one, "mode"), "uid": view::any(one, "uid"),
            "user": view::text(one, "user"), "modified": view::any(one, "modified"),
            "digest": view::text(one, "digest"), "written": view::text(one, "written"),
            "as_written": view::any(one, "as_written"), "lines": view::list(one, "lines"),
            "truncated": view::truth(one, "truncated"), "binary": view::truth(one, "binary"),
            "masked": view::number(one, "masked"), "note": view::text(one, "note"),
            "diff": view::list(one, "diff"), "diff_of": view::text(one, "diff_of"),
        })
    });
    json!({ "files": files, "total": total, "last": last, "has_more": (files.len() as u64) < total, "shown": shown })
}

/// `POST /targets/{name}/sync`.
pub(in crate::http::console) async fn sync(call: &Call<'_>) -> Result<Shown, Fault> {
    run_now(call, false).await
}

/// `POST /targets/{name}/adopt`.
pub(in crate::http::console) async fn adopt(call: &Call<'_>) -> Result<Shown, Fault> {
    run_now(call, true).await
}

async fn run_now(call: &Call<'_>, adopt: bool) -> Result<Shown, Fault> {
    let name = call.part("name");
    let answer = call.send(Method::POST, "sync", &json!({ "target": name, "adopt": adopt })).await?;
    let report = view::list(&answer, "targets").first().cloned().unwrap_or_default();
    Ok(Shown::SeeOther(page(name), Some(told(&report, "Sync"))))
}

/// What a run that somebody asked for did.
fn told(report: &Value, what: &str) -> Flash {
    let (name, state) = (view::text(report, "target"), view::text(report, "state"));
    let (added, removed) = (view::number(report, "added"), view::number(report, "removed"));
    match view::text(report, "error") {
        "" => Flash::good(format!(
            "{what} of {name} is done: {added} added, {removed} removed; it is {}.",
            state.replace('_', " ")
        )),
        error => Flash::bad(format!("{what} of {name} failed: {error}"), "It is tried again by itself."),
    }
}

/// `GET /targets/{name}/{order}`: asks once more before `sync --adopt`, `rollback`, `unpin`, `forget`, `restored`.
pub(in crate::http::console) async fn ask(call: &Call<'_>) -> Result<Shown, Fault> {
    let (name, order) = (call.part("name"), call.part("order"));
    let target = call.get(&api(name), &[]).await?;
    let Some(title) = title(order, name) else { return Err(Fault::new(404, "There is no such page", "")) };
    if !call.may(least(order)) {
        return Err(Fault::new(
            403,
            format!("The role `{}` may look at this but not do it", call.user.role.as_str()),
            "",
        ));
    }
    let plan = match order {
        "adopt" | "unpin" | "restored" => call.get("plan", &[("target", name)]).await.ok(),
        _ => None,
    };
    let file = match order {
        "adopt" => call.get(&format!("{}/file", api(name)), &[]).await.ok(),
        _ => None,
    };
    let context = asked(&target, order, call.param("to").unwrap_or_default(), plan.as_ref(), file.as_ref())?;
    Ok(Shown::page(title, "target_ask.html", context))
}

/// What the template of [`ask`] is given.
///
/// # Errors
/// The version asked for is not kept.
pub(in crate::http::console) fn asked(
    target: &Value,
    order: &str,
    to: &str,
    plan: Option<&Value>,
    file: Option<&Value>,
) -> Result<Value, Fault> {
    let versions = view::list(target, "versions");
    let wanted = to.parse::<u64>().ok();
    let version = versions.iter().rev().find(|one| wanted.is_some_and(|seq| view::number(one, "seq") == seq));
    if order == "rollback" && version.is_none() {
        return Err(Fault::new(404, "That version is not kept", "The target's page lists those that are."));
    }
    let present = versions.last().map_or(0, |one| view::number(one, "total"));
    Ok(json!({
        "order": order,
        "target": view::target(target),
        "holds": view::number(target, "holds"),
        "present": present,
        "files": view::list(target, "files").len(),
        "version": version.map_or(Value::Null, |one| json!({
            "seq": view::number(one, "seq"), "at": view::any(one, "at"), "total": view::number(one, "total"),
        })),
        "pinned_to": view::number(target, "pinned_to"),
        "plan": plan.map_or(Value::Null, view::only_plan),
        "file": file.map_or(Value::Null, |file| presented(file, "")),
    }))
}

fn title(order: &str, name: &str) -> Option<String> {
    Some(match order {
        "adopt" => format!("Take over the file of {name}"),
        "rollback" => format!("Roll {name} back"),
        "unpin" => format!("Let {name} follow again"),
        "forget" => format!("Forget {name}"),
        "restored" => format!("Let {name} follow the restored mirror"),
        _ => return None,
    })
}

fn least(order: &str) -> AdminRole {
    if order == "forget" { AdminRole::Admin } else { AdminRole::Operate }
}

/// `POST /targets/{name}/rollback`.
pub(in crate::http::console) async fn roll_back(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let to: Option<u64> = call.form("to").and_then(|to| to.parse().ok());
    let Some(to) = to else { return Err(Fault::new(400, "Choose a version", "")) };
    let report = call.send(Method::POST, &format!("{}/rollback", api(name)), &json!({ "to": to })).await?;
    let (added, removed) = (view::number(&report, "added"), view::number(&report, "removed"));
    let flash = match view::text(&report, "error") {
        "" => Flash {
            hint: "To undo it, choose “Let it follow again” below.".to_owned(),
            ..Flash::good(format!(
                "{name} is pinned to what it held at change {to}, less what was revoked since: {added} came back, {removed} went."
            ))
        },
        error => {
            Flash::bad(format!("{name} is pinned to change {to}, but could not be written: {error}"), "")
        }
    };
    Ok(Shown::SeeOther(page(name), Some(flash)))
}

/// `POST /targets/{name}/unpin`.
pub(in crate::http::console) async fn unpin(call: &Call<'_>) -> Result<Shown, Fault> {
    run_now(call, false).await
}

/// `POST /targets/{name}/restored`.
pub(in crate::http::console) async fn restored(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let body = json!({ "target": name, "restored": true, "reason": call.form("reason") });
    let report = call.send(Method::POST, "approve", &body).await?;
    let flash = match view::text(&report, "error") {
        "" => Flash::good(format!("{name} follows the restored mirror.")),
        error => Flash::bad(format!("{name} follows the restored mirror, but: {error}"), ""),
    };
    Ok(Shown::SeeOther(page(name), Some(flash)))
}

/// `POST /targets/{name}/forget`.
pub(in crate::http::console) async fn forget(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let delete = call.form("delete").is_some();
    let report =
        call.send(Method::POST, &format!("{}/forget", api(name)), &json!({ "delete": delete })).await?;
    let paths =
        |key: &str| view::list(&report, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let told = match paths("deleted") {
        none if none.is_empty() => format!("Forgot {name}."),
        deleted => format!("Forgot {name}. Removed: {deleted}."),
    };
    let hint = match view::list(&report, "left").len() {
        0 => String::new(),
        _ => format!("These stay: {}", paths("left")),
    };
    Ok(Shown::SeeOther("/targets".to_owned(), Some(Flash { hint, ..Flash::good(told) })))
}
