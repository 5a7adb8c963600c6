//! Events on their way to webhooks and programs: what became of each, and what people do about it.

use hyper::Method;
use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Flash, Shown};
use crate::http::console::template::encoded;

/// Deliveries on one page.
const SHOWN: u64 = 100;

/// `GET /deliveries`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let get = |name: &str| call.param(name).unwrap_or_default();
    let filter = ["target", "state", "kind", "resource", "before"].map(|name| (name, get(name)));
    let limit = SHOWN.to_string();
    let query: Vec<(&str, &str)> = filter.into_iter().chain([("limit", limit.as_str())]).collect();
    let found = call.get("deliveries", &query).await?;
    let targets = call.get("targets", &[]).await?;
    Ok(Shown::page("Deliveries", "deliveries.html", context(&targets, &found, &filter)))
}

/// What the template is given.
pub(in crate::http::console) fn context(targets: &Value, found: &Value, filter: &[(&str, &str)]) -> Value {
    let receivers: Vec<Value> = view::list(targets, "targets")
        .iter()
        .map(view::target)
        .filter(|one| !view::truth(one, "is_file"))
        .collect();
    let of = |name: &str| filter.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value);
    let next = view::text(found, "next");
    let mut query: Vec<(&str, &str)> = filter.iter().copied().filter(|(key, _)| *key != "before").collect();
    query.push(("before", next));
    let choices = |all: &[(&str, &str)]| -> Vec<Value> {
        all.iter().map(|(value, label)| json!({ "value": value, "label": label })).collect()
    };
    let mut names: Vec<Value> = choices(&[("", "Every target")]);
    names.extend(receivers.iter().map(|one| json!({ "value": one.get("name"), "label": one.get("name") })));
    json!({
        "receivers": receivers,
        "deliveries": view::list(found, "deliveries").iter().map(line).collect::<Vec<_>>(),
        "filter": { "target": of("target"), "state": of("state"), "kind": of("kind"), "resource": of("resource") },
        "is_filtered": filter.iter().any(|(_, value)| !value.is_empty()),
        "targets": names,
        "states": choices(&[("", "Every state"), ("pending", "pending"), ("parked", "parked"), ("held", "held"),
            ("done", "done"), ("skipped", "skipped")]),
        "after": if next.is_empty() { String::new() } else { view::link("/deliveries", &query) },
        "first": if of("before").is_empty() { String::new() } else {
            view::link("/deliveries", query.get(..query.len().saturating_sub(1)).unwrap_or_default())
        },
    })
}

fn line(of: &Value) -> Value {
    let id = view::text(of, "id");
    let (target, event) = id.split_once('/').unwrap_or((id, ""));
    let resource = view::text(of, "resource");
    let kind = view::text(of, "kind");
    let about = match kind.split('.').next().unwrap_or_default() {
        "user" | "access" => format!("/users/{}", encoded(view::person(resource))),
        "group" => format!("/groups/{}", encoded(view::person(resource))),
        _ => String::new(),
    };
    json!({
        "id": id, "target": target, "event": event, "kind": kind, "resource": resource,
        "name": match view::text(of, "resource_name") { "" => resource, name => name },
        "about": if resource.is_empty() { String::new() } else { about },
        "at": view::any(of, "at"), "state": view::text(of, "state"), "batch": view::text(of, "batch"),
        "attempts": view::number(of, "attempts"), "next_at": view::any(of, "next_at"),
        "finished_at": view::any(of, "finished_at"), "status": view::any(of, "last_status"),
        "error": view::text(of, "last_error"), "error_line": view::first_line(view::text(of, "last_error")),
        "is_open": matches!(view::text(of, "state"), "pending" | "parked" | "held"),
    })
}

/// `GET /deliveries/{target}/{event}`.
pub(in crate::http::console) async fn one(call: &Call<'_>) -> Result<Shown, Fault> {
    let found = call.get(&api(call), &[]).await?;
    Ok(Shown::page(format!("Delivery {}", view::text(&found, "id")), "delivery.html", delivery(&found)))
}

fn api(call: &Call<'_>) -> String {
    format!("deliveries/{}/{}", encoded(call.part("target")), encoded(call.part("event")))
}

fn page(call: &Call<'_>) -> String {
    format!("/deliveries/{}/{}", encoded(call.part("target")), encoded(call.part("event")))
}

fn id(call: &Call<'_>) -> String {
    format!("{}/{}", call.part("target"), call.part("event"))
}

/// Most of a body that is shown.
const BODY_CHARS_MAX: usize = 64 * 1024;

/// What the template of one delivery is given.
pub(in crate::http::console) fn delivery(found: &Value) -> Value {
    let body = view::text(found, "body");
    let pretty =
        serde_json::from_str::<Value>(body).ok().and_then(|body| serde_json::to_string_pretty(&body).ok());
    let is_json = pretty.is_some();
    let text = pretty.unwrap_or_else(|| body.to_owned());
    let cut = view::short(&text, BODY_CHARS_MAX);
    let tried: Vec<Value> = view::list(found, "tried")
        .iter()
        .map(|one| {
            let ok = one.get("status").and_then(Value::as_u64).is_some_and(|status| (200..300).contains(&status));
            json!({
                "at": view::any(one, "at"), "status": view::any(one, "status"), "ms": view::number(one, "latency_ms"),
                "outcome": view::text(one, "outcome"), "error": view::text(one, "error"),
                "answer": view::text(one, "answer"), "is_good": ok,
            })
        })
        .collect();
    let seq = view::text(found, "event").split('-').nth(1).unwrap_or_default().to_owned();
    json!({
        "one": line(found), "tried": tried, "content_type": view::text(found, "content_type"), "is_json": is_json,
        "lines": cut.lines().collect::<Vec<_>>(), "truncated": cut.len() < text.len(), "bytes": body.len(), "seq": seq,
    })
}

/// `POST /deliveries/{target}/{event}/retry`.
pub(in crate::http::console) async fn retry(call: &Call<'_>) -> Result<Shown, Fault> {
    call.send(Method::POST, "deliveries/retry", &json!({ "ids": [id(call)] })).await?;
    Ok(Shown::done(page(call), format!("{} is tried again now.", id(call))))
}

/// `GET /deliveries/{target}/{event}/skip`: asks once more.
pub(in crate::http::console) async fn ask_skip(call: &Call<'_>) -> Result<Shown, Fault> {
    let found = call.get(&api(call), &[]).await?;
    Ok(Shown::page(format!("Skip {}", id(call)), "delivery_skip.html", delivery(&found)))
}

/// `POST /deliveries/{target}/{event}/skip`.
pub(in crate::http::console) async fn skip(call: &Call<'_>) -> Result<Shown, Fault> {
    call.send(Method::POST, "deliveries/skip", &json!({ "id": id(call) })).await?;
    let flash = Flash {
        hint: format!(
            "To send it after all, replay {} from change {}.",
            call.part("target"),
            call.part("event").split('-').nth(1).unwrap_or_default()
        ),
        ..Flash::good(format!("{} is skipped; its target goes on.", id(call)))
    };
    Ok(Shown::SeeOther(page(call), Some(flash)))
}

/// `GET /deliveries/{target}/resume`: what it would do, and the form that does it.
pub(in crate::http::console) async fn ask_resume(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "resume").await
}

/// `GET /deliveries/{target}/replay`: likewise.
pub(in crate::http::console) async fn ask_replay(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "replay").await
}

/// `GET /deliveries/{target}/snapshot`: likewise.
pub(in crate::http::console) async fn ask_snapshot(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "snapshot").await
}

async fn ask(call: &Call<'_>, order: &str) -> Result<Shown, Fault> {
    let name = call.part("target");
    let target = call.get(&super::target::api(name), &[]).await?;
    let title = match order {
        "resume" => format!("Resume {name}"),
        "replay" => format!("Send {name} past events again"),
        _ => format!("Send {name} the present state"),
    };
    let get = |name: &str| call.param(name).unwrap_or_default();
    Ok(Shown::page(title, "delivery_ask.html", asked(&target, order, get("from"), get("since"))))
}

/// What the template of [`ask`] is given.
pub(in crate::http::console) fn asked(target: &Value, order: &str, from: &str, since: &str) -> Value {
    json!({ "target": view::target(target), "order": order, "from": from, "since": since })
}

/// `POST /deliveries/{target}/resume`: tries everything that waits or is parked, also where the receiver was gone.
pub(in crate::http::console) async fn resume(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("target");
    let report = call.send(Method::POST, "deliveries/retry", &json!({ "all": true, "target": name })).await?;
    let count = view::number(&report, "deliveries");
    Ok(Shown::done(
        list_of(name),
        format!("{name} is resumed: {count} waiting or parked deliveries are tried again now."),
    ))
}

fn list_of(name: &str) -> String {
    view::link("/deliveries", &[("target", name)])
}

/// `POST /deliveries/{target}/replay`.
pub(in crate::http::console) async fn replay(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("target");
    let (from, since) = (call.form("from").unwrap_or_default(), call.form("since").unwrap_or_default());
    let number: Option<u64> = from.parse().ok();
    let refused = match (from, since) {
        ("", "") => Some("Name a change, or a time"),
        (_, "") if number.is_none() => Some("The change is a whole number"),
        (from, since) if !from.is_empty() && !since.is_empty() => Some("Name either a change or a time"),
        _ => None,
    };
    let since = match since {
        "" => Value::Null,
        text => moment(call, text).map_or_else(|| text.into(), |at| at.to_string().into()),
    };
    let sent = if let Some(message) = refused {
        Err(Fault::new(400, message, ""))
    } else {
        let body = json!({ "target": name, "from": number, "since": since });
        call.send(Method::POST, "deliveries/replay", &body).await
    };
    match sent {
        Ok(report) => {
            let told = format!(
                "{name} is sent again what happened from change {} on.",
                view::number(&report, "from")
            );
            let flash = Flash { hint: view::text(&report, "note").to_owned(), ..Flash::good(told) };
            Ok(Shown::SeeOther(list_of(name), Some(flash)))
        }
        Err(fault) => {
            let target = call.get(&super::target::api(name), &[]).await?;
            let context = asked(&target, "replay", from, call.form("since").unwrap_or_default());
            let title = format!("Send {name} past events again");
            Ok(Shown::Again { fault, title, template: "delivery_ask.html", context })
        }
    }
}

/// A time as people write it: also `2h ago`.
fn moment(call: &Call<'_>, text: &str) -> Option<crate::model::Timestamp> {
    crate::model::Timestamp::parse_moment(text, call.now())
}

/// `POST /deliveries/{target}/snapshot`.
pub(in crate::http::console) async fn snapshot(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("target");
    call.send(Method::POST, "deliveries/snapshot", &json!({ "target": name })).await?;
    Ok(Shown::done(list_of(name), format!("{name} is sent the present state, then what changes.")))
}
