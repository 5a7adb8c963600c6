//! What people gave for a time, and whom they shut out.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Flash, Shown};
use crate::http::console::template::encoded;

/// How long a grant may run, as the form suggests it; any other span is taken, too.
const SPANS: &[(&str, &str)] = &[
    ("30m", "30 minutes"),
    ("1h", "1 hour"),
    ("4h", "4 hours"),
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("2d", "2 days"),
    ("7d", "7 days"),
];

/// `GET /grants`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Grants & shuts", "grants.html", state(call).await?))
}

async fn state(call: &Call<'_>) -> Result<Value, Fault> {
    let all = if call.param("all") == Some("true") { "true" } else { "" };
    let grants = call.get("grants", &[("all", all)]).await?;
    let shut = call.get("shut", &[]).await?;
    let now = call.now();
    let left =
        |until: &str| crate::model::Timestamp::parse_rfc3339(until).map_or(0, |at| at.since(now).as_secs());
    let get = |name: &str| call.form(name).unwrap_or_default();
    let mut context = context(&grants, &shut, left);
    if let Some(context) = context.as_object_mut() {
        context.insert("all".to_owned(), (!all.is_empty()).into());
        let fields =
            ["subject", "role", "for", "reason"].map(|name| (name.to_owned(), Value::from(get(name))));
        context.insert("form".to_owned(), Value::Object(fields.into_iter().collect()));
    }
    Ok(context)
}

/// What the template is given; `left` tells the seconds until a moment.
pub(in crate::http::console) fn context(grants: &Value, shut: &Value, left: impl Fn(&str) -> u64) -> Value {
    let roles: Vec<Value> = view::list(grants, "roles")
        .iter()
        .filter_map(Value::as_str)
        .map(|role| json!({ "value": role, "label": role }))
        .collect();
    let grants: Vec<Value> = view::list(grants, "grants")
        .iter()
        .map(|one| {
            json!({
                "id": one.get("id").map_or_else(String::new, |id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
                "subject": view::text(one, "subject"), "person": view::person(view::text(one, "subject")),
                "name": name(one), "role": view::text(one, "role"), "reason": view::text(one, "reason"),
                "actor": view::text(one, "actor"), "at": view::any(one, "at"), "until": view::any(one, "until"),
                "ended": view::any(one, "ended"), "left": view::span(left(view::text(one, "until"))),
            })
        })
        .collect();
    let shut: Vec<Value> = view::list(shut, "shut")
        .iter()
        .map(|one| {
            json!({
                "subject": view::text(one, "subject"), "person": view::person(view::text(one, "subject")),
                "name": name(one), "reason": view::text(one, "reason"), "actor": view::text(one, "actor"),
                "at": view::any(one, "at"), "seq": view::number(one, "seq"),
            })
        })
        .collect();
    let form = json!({ "subject": "", "role": "", "for": "", "reason": "" });
    let choice = |value: &str, label: &str| json!({ "value": value, "label": label });
    json!({
        "grants": grants, "shut": shut, "all": false, "form": form, "roles": roles,
        "spans": SPANS.iter().map(|(value, label)| choice(value, label)).collect::<Vec<_>>(),
    })
}

fn name(of: &Value) -> &str {
    match view::text(of, "user_name") {
        "" => view::text(of, "subject"),
        name => name,
    }
}

/// `POST /grants`: a role for a time.
pub(in crate::http::console) async fn grant(call: &Call<'_>) -> Result<Shown, Fault> {
    let get = |name: &str| call.form(name).unwrap_or_default();
    let Some(seconds) = seconds(get("for")) else {
        let fault = Fault::new(400, "“For how long” is a span such as 30m, 4h or 2d", "");
        return again(call, fault).await;
    };
    let body = json!({ "subject": get("subject"), "role": get("role"), "seconds": seconds, "reason": get("reason") });
    match call.send(Method::POST, "grants", &body).await {
        Ok(made) => Ok(Shown::SeeOther(
            "/grants".to_owned(),
            Some(Flash {
                hint: "To undo it, revoke the grant in the list.".to_owned(),
                ..Flash::good(format!(
                    "{} holds {} for {}.",
                    name(&made),
                    view::text(&made, "role"),
                    view::span(seconds)
                ))
            }),
        )),
        Err(fault) => again(call, fault).await,
    }
}

async fn again(call: &Call<'_>, fault: Fault) -> Result<Shown, Fault> {
    let (title, context) = ("Grants & shuts".to_owned(), state(call).await?);
    Ok(Shown::Again { fault, title, template: "grants.html", context })
}

/// `30m`, `4h`, `1d12h`.
fn seconds(text: &str) -> Option<u64> {
    let epoch = crate::model::Timestamp(0);
    let ago = crate::model::Timestamp::parse_moment(&format!("-{text}"), epoch)?;
    let span: Duration = epoch.since(ago);
    (span.as_secs() > 0).then_some(span.as_secs())
}

/// `GET /grants/{id}/revoke`: asks once more.
pub(in crate::http::console) async fn ask_revoke(call: &Call<'_>) -> Result<Shown, Fault> {
    let context = state(call).await?;
    let found = view::list(&context, "grants").iter().find(|one| view::text(one, "id") == call.part("id"));
    let Some(found) = found else {
        return Err(Fault::new(404, "That grant does not run", "It may have ended by itself."));
    };
    Ok(Shown::page("Revoke a grant", "grant_revoke.html", json!({ "grant": found })))
}

/// `POST /grants/{id}/revoke`.
pub(in crate::http::console) async fn revoke(call: &Call<'_>) -> Result<Shown, Fault> {
    let path = format!("grants/{}", encoded(call.part("id")));
    let ended = call.send(Method::DELETE, &path, &Value::Null).await?;
    let told = format!("The grant of {} to {} has ended.", view::text(&ended, "role"), name(&ended));
    Ok(Shown::SeeOther(
        "/grants".to_owned(),
        Some(Flash { hint: "To undo it, grant it again.".to_owned(), ..Flash::good(told) }),
    ))
}

/// `GET /shut`: whom, and why.
pub(in crate::http::console) async fn ask_shut(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Shut somebody out", "shut.html", wanted(call)))
}

fn wanted(call: &Call<'_>) -> Value {
    let subject = call.form("subject").or_else(|| call.param("subject")).unwrap_or_default();
    json!({ "subject": subject, "reason": call.form("reason").unwrap_or_default() })
}

/// `POST /shut`.
pub(in crate::http::console) async fn shut(call: &Call<'_>) -> Result<Shown, Fault> {
    let get = |name: &str| call.form(name).unwrap_or_default();
    let body = json!({ "subject": get("subject"), "reason": get("reason") });
    match call.send(Method::POST, "shut", &body).await {
        Ok(done) => {
            let still: Vec<&str> = view::list(&done, "still_in").iter().filter_map(Value::as_str).collect();
            let told =
                format!("{} is shut out of every target until somebody lets them in again.", name(&done));
            let flash = if still.is_empty() {
                Flash { hint: "Every target has followed.".to_owned(), ..Flash::good(told) }
            } else {
                Flash::warn(
                    told,
                    format!("Still in at {}; these follow as soon as they can.", still.join(", ")),
                )
            };
            Ok(Shown::SeeOther("/grants".to_owned(), Some(flash)))
        }
        Err(fault) => {
            let (title, context) = ("Shut somebody out".to_owned(), wanted(call));
            Ok(Shown::Again { fault, title, template: "shut.html", context })
        }
    }
}

/// `GET /shut/open`: asks once more before somebody is let in again.
pub(in crate::http::console) async fn ask_open(call: &Call<'_>) -> Result<Shown, Fault> {
    let context = state(call).await?;
    let wanted = call.param("subject").unwrap_or_default();
    let found = view::list(&context, "shut").iter().find(|one| view::text(one, "subject") == wanted);
    let Some(found) = found else { return Err(Fault::new(404, "Nobody of that name is shut", "")) };
    Ok(Shown::page("Let somebody in again", "shut_open.html", json!({ "shut": found })))
}

/// `POST /shut/open`.
pub(in crate::http::console) async fn open(call: &Call<'_>) -> Result<Shown, Fault> {
    let subject = call.form("subject").unwrap_or_default();
    let was = call.send(Method::POST, "open", &json!({ "subject": subject })).await?;
    let told = format!("{} is let in again and holds what the directory services give.", name(&was));
    Ok(Shown::done("/grants", told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_as_people_write_it() {
        assert_eq!(seconds("4h"), Some(14_400));
        assert_eq!(seconds("1d12h"), Some(129_600));
        for (span, _) in SPANS {
            assert!(seconds(span).is_some(), "{span}");
        }
        for bad in ["", "0s", "soon", "4", "-4h"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
