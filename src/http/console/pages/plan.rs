//! What the guard holds back at one target: why, whose, and the decision.
//!
//! Every decision carries the hash of the plan that the person was shown. If something else is held by now, nothing is
//! decided and the page says what changed.

use hyper::Method;
use serde_json::{Value, json};

use super::target::{api, decisions, page};
use super::view;
use crate::http::console::call::{Call, Fault, Shown};

/// People on one page.
const PEOPLE_SHOWN: u64 = 200;

/// Under this name what a decision did waits for the page that is shown next.
const DECIDED: &str = "decided";

/// `GET /targets/{name}/plan`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let context = state(call, "", None).await?;
    Ok(Shown::page(format!("Held at {name}"), "plan.html", context))
}

async fn state(call: &Call<'_>, seen: &str, stale: Option<Value>) -> Result<Value, Fault> {
    let name = call.part("name");
    let (q, offset) = (call.param("q").unwrap_or_default(), call.param("offset").unwrap_or_default());
    let target = call.get(&api(name), &[]).await?;
    let limit = PEOPLE_SHOWN.to_string();
    let query = [("q", q), ("offset", offset), ("limit", limit.as_str()), ("seen", seen)];
    let held = match call.get(&format!("{}/held", api(name)), &query).await {
        // What the configuration no longer names still remembers what it held, and nobody decides about it.
        Err(fault) if fault.status == 404 && view::text(&target, "state") == "orphaned" => json!({}),
        found => found?,
    };
    let plan = call.get("plan", &[("target", name)]).await.ok();
    let decided = call.take_aside(DECIDED).filter(|decided| view::text(decided, "target") == name);
    let mut shown = context(&target, &held, plan.as_ref(), (q, offset));
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("stale".to_owned(), stale.unwrap_or(Value::Null));
        shown.insert("decided".to_owned(), decided.as_ref().map_or(Value::Null, done));
        shown.insert("decisions".to_owned(), decisions(call, name).await.into());
    }
    Ok(shown)
}

/// What the template is given, but for what was just decided.
pub(in crate::http::console) fn context(
    target: &Value,
    held: &Value,
    plan: Option<&Value>,
    (q, offset): (&str, &str),
) -> Value {
    let name = view::text(target, "name");
    let path = format!("{}/plan", page(name));
    let before = offset.parse::<u64>().ok().filter(|offset| *offset > 0);
    let before = before.map(|at| at.saturating_sub(PEOPLE_SHOWN).to_string());
    let after = held.get("next").and_then(Value::as_u64).map(|next| next.to_string());
    let link = |at: &Option<String>| {
        at.as_ref().map_or(String::new(), |at| view::link(&path, &[("q", q), ("offset", at)]))
    };
    json!({
        "target": view::target(target),
        "held": summary(held),
        "persons": view::list(held, "persons").iter().map(person).collect::<Vec<_>>(),
        "q": q,
        "matches": view::number(held, "matches"),
        "before": link(&before),
        "after": link(&after),
        "plan": plan.map_or(Value::Null, view::only_plan),
        "stale": null,
        "decided": null,
        "decisions": [],
    })
}

/// Why it is held.
fn summary(held: &Value) -> Value {
    let limits = held.get("limits").cloned().unwrap_or_else(|| json!({}));
    let scopes: Vec<Value> = view::list(held, "scopes").iter().map(scope).collect();
    let over = scopes.iter().filter(|one| view::truth(one, "is_over")).count();
    json!({
        "hash": view::text(held, "hash"),
        "removals": view::number(held, "removals"),
        "people": view::number(held, "people"),
        "since": view::any(held, "since"),
        "until": view::any(held, "until"),
        "set_aside": view::truth(held, "set_aside"),
        "let_through": view::number(held, "let_through"),
        "in_window": view::number(held, "in_window"),
        "scopes": scopes,
        "over": over,
        "max_removals": view::list(&limits, "max_removals").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        "min_removals": view::number(&limits, "min_removals"),
        "urgent": view::number(&limits, "urgent"),
        "window": view::span(view::number(&limits, "window_seconds")),
        "max_hold": view::span(view::number(&limits, "max_hold_seconds")),
        "applies_then": view::text(&limits, "max_hold_then") == "apply",
        "waits_all": view::text(&limits, "hold") == "all",
    })
}

fn scope(of: &Value) -> Value {
    let over: Vec<&str> = view::list(of, "over").iter().filter_map(Value::as_str).collect();
    let (lost, total) = (view::number(of, "lost"), view::number(of, "total"));
    let emptied = view::truth(of, "emptied");
    let why = match (emptied, over.is_empty()) {
        (true, _) => "nobody would be left".to_owned(),
        (false, false) => format!("over the limit of {}", over.join(" and ")),
        (false, true) => "within the limits".to_owned(),
    };
    let percent = lost.saturating_mul(100).checked_div(total).unwrap_or(0);
    json!({
        "kind": view::text(of, "kind"), "name": view::text(of, "name"), "lost": lost, "total": total,
        "percent": percent, "is_over": emptied || !over.is_empty(), "why": why,
    })
}

fn person(of: &Value) -> Value {
    let removals: Vec<Value> = view::list(of, "removals")
        .iter()
        .map(|one| {
            json!({
                "label": view::text(one, "label"), "entitlement": view::text(one, "entitlement"),
                "why": view::text(one, "why"), "seq": view::any(one, "seq"), "at": view::any(one, "at"),
            })
        })
        .collect();
    let joined = |key: &str| {
        let mut all: Vec<&str> = view::list(of, "removals").iter().map(|one| view::text(one, key)).collect();
        all.dedup();
        all.join(if key == "why" { "; " } else { ", " })
    };
    let directory = view::text(of, "id").split('/').next().unwrap_or_default();
    json!({
        "directory": directory, "labels": joined("label"), "why": joined("why"),
        "subject": view::text(of, "subject"), "id": view::text(of, "id"),
        "person": view::person(view::text(of, "id")), "removals": removals, "new": view::truth(of, "new"),
    })
}

/// What a decision did, for the page that is shown next.
pub(super) fn done(of: &Value) -> Value {
    json!({
        "what": view::text(of, "what"), "released": view::number(of, "released"),
        "rejected": view::number(of, "rejected"), "given_back": view::number(of, "given_back"),
        "held_removals": view::number(of, "held_removals"), "seq": view::number(of, "seq"),
        "state": view::text(of, "state"), "error": view::text(of, "error"),
    })
}

/// `POST /targets/{name}/plan`: asks once more, with counts and names, and takes the reason.
pub(in crate::http::console) async fn ask(call: &Call<'_>) -> Result<Shown, Fault> {
    let name = call.part("name");
    let what = call.form("what").unwrap_or_default();
    let shown = call.form("plan").unwrap_or_default();
    if let Some(refused) = stale(call, shown).await? {
        return Ok(refused);
    }
    let chosen: Vec<&str> = call.form_all("subject");
    let held = named(call, if what == "chosen" { &chosen } else { &[] }).await?;
    let is_held = |id: &&&str| view::list(&held, "persons").iter().any(|one| view::text(one, "id") == **id);
    if what == "chosen" && (chosen.is_empty() || chosen.iter().filter(is_held).count() < chosen.len()) {
        let told = if chosen.is_empty() { "Nobody is chosen" } else { "Of somebody chosen nothing is held" };
        let fault = Fault::new(400, told, "Tick the people whose access may go, then let them go.");
        return again(call, fault, None).await;
    }
    let target = call.get(&api(name), &[]).await?;
    let context = asked(&target, &held, what, &chosen)?;
    let title = if what == "reject" {
        format!("Keep what is held at {name}")
    } else {
        format!("Let removals go at {name}")
    };
    Ok(Shown::page(title, "plan_ask.html", context))
}

/// What the template of [`ask`] is given.
///
/// # Errors
/// No such decision.
pub(in crate::http::console) fn asked(
    target: &Value,
    held: &Value,
    what: &str,
    chosen: &[&str],
) -> Result<Value, Fault> {
    if !matches!(what, "all" | "chosen" | "reject") {
        return Err(Fault::new(400, "There is no such decision", ""));
    }
    let is_meant = |one: &&Value| what != "chosen" || chosen.contains(&view::text(one, "id"));
    let persons: Vec<Value> = view::list(held, "persons").iter().filter(is_meant).map(person).collect();
    let (removals, people) = if what == "chosen" {
        let known: usize = persons.iter().map(|one| view::list(one, "removals").len()).sum();
        (known as u64, chosen.len() as u64)
    } else {
        (view::number(held, "removals"), view::number(held, "people"))
    };
    let names: Vec<&str> = persons.iter().map(|one| view::text(one, "subject")).collect();
    Ok(json!({
        "target": view::target(target), "what": what, "held": summary(held), "removals": removals, "people": people,
        "names": names.iter().take(NAMES_SHOWN).collect::<Vec<_>>(),
        "more": people.saturating_sub(names.len().min(NAMES_SHOWN) as u64), "subjects": chosen,
    }))
}

/// Names on the page that asks.
const NAMES_SHOWN: usize = 25;

/// What is held: the first page of people, or as many pages as it takes to meet those chosen.
async fn named(call: &Call<'_>, chosen: &[&str]) -> Result<Value, Fault> {
    let path = format!("{}/held", api(call.part("name")));
    let mut held = call.get(&path, &[("limit", "1000")]).await?;
    let mut persons: Vec<Value> = view::list(&held, "persons").to_vec();
    let mut next = held.get("next").and_then(Value::as_u64);
    while let Some(offset) = next {
        let known = |id: &&&str| persons.iter().any(|one| view::text(one, "id") == **id);
        if chosen.iter().filter(known).count() == chosen.len() {
            break;
        }
        let page = call.get(&path, &[("limit", "1000"), ("offset", &offset.to_string())]).await?;
        persons.extend(view::list(&page, "persons").iter().cloned());
        next = page.get("next").and_then(Value::as_u64);
    }
    if let Some(held) = held.as_object_mut() {
        held.insert("persons".to_owned(), persons.into());
    }
    Ok(held)
}

/// The page once more, if what is held is not what the person was shown.
async fn stale(call: &Call<'_>, shown: &str) -> Result<Option<Shown>, Fault> {
    let name = call.part("name");
    let held = call.get(&format!("{}/held", api(name)), &[("limit", "1"), ("seen", shown)]).await?;
    if view::text(&held, "hash") == shown && view::number(&held, "removals") > 0 {
        return Ok(None);
    }
    let was = call.form("removals").and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    let now = view::number(&held, "removals");
    let changed = json!({ "was": was, "now": now, "newer": view::number(&held, "newer") });
    let fault = Fault::new(
        409,
        "What is held has changed since this page was shown, so nothing was decided",
        if now == 0 { "Nothing is held any more." } else { "Look at what is held now and decide again." },
    );
    again(call, fault, Some((shown, changed))).await.map(Some)
}

async fn again(call: &Call<'_>, fault: Fault, stale: Option<(&str, Value)>) -> Result<Shown, Fault> {
    let (seen, changed) = stale.map_or(("", None), |(seen, changed)| (seen, Some(changed)));
    let context = state(call, seen, changed).await?;
    Ok(Shown::Again {
        fault,
        title: format!("Held at {}", call.part("name")),
        template: "plan.html",
        context,
    })
}

/// `POST /targets/{name}/approve`.
pub(in crate::http::console) async fn approve(call: &Call<'_>) -> Result<Shown, Fault> {
    let shown = call.form("plan").unwrap_or_default();
    if let Some(refused) = stale(call, shown).await? {
        return Ok(refused);
    }
    let subjects = call.form_all("subject");
    let body = json!({
        "target": call.part("name"), "plan": shown, "subjects": subjects, "reason": call.form("reason"),
    });
    decide(call, "approve", &body).await
}

/// `POST /targets/{name}/reject`.
pub(in crate::http::console) async fn reject(call: &Call<'_>) -> Result<Shown, Fault> {
    let shown = call.form("plan").unwrap_or_default();
    if let Some(refused) = stale(call, shown).await? {
        return Ok(refused);
    }
    let window = call.form("window").is_some();
    let body = json!({
        "target": call.part("name"), "plan": shown, "window": window, "reason": call.form("reason"),
    });
    decide(call, "reject", &body).await
}

async fn decide(call: &Call<'_>, what: &str, body: &Value) -> Result<Shown, Fault> {
    let mut report = call.send(Method::POST, what, body).await?;
    if let Some(report) = report.as_object_mut() {
        report.insert("what".to_owned(), what.into());
    }
    call.put_aside(DECIDED, report);
    Ok(Shown::SeeOther(format!("{}/plan", page(call.part("name"))), None))
}
