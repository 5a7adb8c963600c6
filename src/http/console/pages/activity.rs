//! The SCIM request log: what comes in, as it comes in; one request; bodies for as long as somebody wants to see them.

use hyper::Method;
use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::template::encoded;

/// Requests on one page.
const SHOWN: &str = "50";

/// Filters, by the names they have in the query.
const FILTERS: [&str; 4] = ["directory", "status", "method", "request"];

/// `GET /activity`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    match state(call).await {
        Ok(context) => Ok(Shown::page("Activity", "activity.html", context)),
        // A status nobody can read: the form stays as it was filled in.
        Err(fault) if fault.status == 400 => {
            let directories = call.get("directories", &[]).await?;
            let context = context(call, &json!({}), &directories);
            Ok(Shown::Again { fault, title: "Activity".to_owned(), template: "activity.html", context })
        }
        Err(fault) => Err(fault),
    }
}

/// `GET /activity/now`: the part of it that changes.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::Fragment { template: "activity_now.html", context: state(call).await? })
}

async fn state(call: &Call<'_>) -> Result<Value, Fault> {
    let filter = FILTERS.map(|name| (name, call.param(name).unwrap_or_default()));
    let mut query: Vec<(&str, &str)> = filter.to_vec();
    query.extend([("before", call.param("before").unwrap_or_default()), ("limit", SHOWN)]);
    let found = call.get("activity", &query).await?;
    let directories = call.get("directories", &[]).await?;
    Ok(context(call, &found, &directories))
}

fn link(path: &str, pairs: &[(&str, &str)]) -> String {
    let all: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    if all.is_empty() { path.to_owned() } else { format!("{path}?{}", all.join("&")) }
}

fn context(call: &Call<'_>, found: &Value, directories: &Value) -> Value {
    let filter = FILTERS.map(|name| (name, call.param(name).unwrap_or_default()));
    let (before, tail) = (call.param("before").unwrap_or_default(), call.param("tail").unwrap_or_default());
    let next = found.get("next").and_then(Value::as_u64).map(|next| next.to_string()).unwrap_or_default();
    let rows =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut options = vec![json!({ "value": "", "label": "All" })];
    options.extend(
        rows(directories, "directories")
            .iter()
            .map(|one| json!({ "value": one.get("id"), "label": one.get("name") })),
    );
    options.push(json!({ "value": "-", "label": "Without a valid token" }));
    let running: Vec<Value> = rows(found, "recordings")
        .into_iter()
        .filter(|one| one.get("running") == Some(&true.into()))
        .collect();
    json!({
        "requests": rows(found, "activity"),
        "filter": { "directory": filter[0].1, "status": filter[1].1, "method": filter[2].1, "request": filter[3].1 },
        "is_filtered": filter.iter().any(|(_, value)| !value.is_empty()),
        "directories": options,
        "recordings": running,
        // Older pages stand still: what comes in would push their rows away.
        "is_live": before.is_empty() && tail != "off",
        "is_old": !before.is_empty(),
        "live": link("/activity/now", &filter),
        "pause": link("/activity", &[&filter[..], &[("tail", "off")]].concat()),
        "follow": link("/activity", &filter),
        "older": if next.is_empty() { String::new() } else { link("/activity", &[&filter[..], &[("before", next.as_str())]].concat()) },
        "newer": if before.is_empty() { String::new() } else { link("/activity", &filter) },
        "keeps": found.get("keeps").cloned().unwrap_or(json!({ "requests": 0, "seconds": 0 })),
    })
}

/// `GET /activity/{id}`.
pub(in crate::http::console) async fn one(call: &Call<'_>) -> Result<Shown, Fault> {
    let found = call.get(&format!("activity/{}", encoded(call.part("id"))), &[]).await?;
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    let title = format!("{} {}", text("method"), text("route"));
    let changes: Vec<Value> = found
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|change| {
            let seq = change.get("seq").and_then(Value::as_u64).unwrap_or_default();
            // The history goes back from its cursor: this one is then its first.
            let kind = change.get("kind").and_then(Value::as_str).unwrap_or_default();
            json!({
                "seq": seq, "kind": kind, "words": view::words(kind),
                "href": format!("/history?after={}#c{seq}", seq.saturating_add(1)),
            })
        })
        .collect();
    let context = json!({
        "request": found, "changes": changes, "more_changes": found.get("more_changes"),
        "headers": headers(&found),
        "body": pretty(found.get("body")), "answer": pretty(found.get("answer")),
    });
    Ok(Shown::page(title, "activity_request.html", context))
}

fn headers(found: &Value) -> Vec<Value> {
    let all = found.get("headers").and_then(Value::as_object);
    all.into_iter().flatten().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn pretty(body: Option<&Value>) -> String {
    match body {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// `POST /activity/bodies`: keeps bodies of a directory for a while.
pub(in crate::http::console) async fn record(call: &Call<'_>) -> Result<Shown, Fault> {
    let directory = call.form("directory").unwrap_or_default();
    let span = call.form("for").unwrap_or("10m");
    call.send(Method::POST, "activity/bodies", &json!({ "directory": directory, "for": span })).await?;
    let text = format!("Bodies of {directory} are kept for {span}, with made-up values.");
    Ok(Shown::done(link("/activity", &[("directory", directory)]), text))
}

/// `POST /activity/bodies/stop`.
pub(in crate::http::console) async fn stop(call: &Call<'_>) -> Result<Shown, Fault> {
    let directory = call.form("directory").unwrap_or_default();
    call.send(Method::DELETE, &format!("activity/bodies/{}", encoded(directory)), &Value::Null).await?;
    Ok(Shown::done(
        link("/activity", &[("directory", directory)]),
        format!("No further bodies of {directory} are kept."),
    ))
}

/// `GET /activity/trace`: what was kept, as a file that `rosterd replay` plays.
pub(in crate::http::console) async fn trace(call: &Call<'_>) -> Result<Shown, Fault> {
    let directory = call.param("directory").unwrap_or_default();
    let found = call.get("activity/trace", &[("directory", directory)]).await?;
    let bytes = serde_json::to_vec_pretty(&found).unwrap_or_default();
    Ok(Shown::File { name: format!("{directory}-trace.json"), media_type: "application/json", bytes })
}
