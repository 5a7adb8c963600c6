//! Users: the search, a person's page, and what can be decided about a person.

use hyper::Method;
use serde_json::{Value, json};

use super::resource::{self, Kind};
use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::template::encoded;

/// Up to so many users in all, a person's page works out the roles by itself: that reads everybody, as roles depend on
/// groups within groups and on who else claims a name. Beyond it a link does, so that pages stay fast.
const EXPLAINED_AT_ONCE: u64 = 20_000;

/// How long a grant may run, as the form offers it: seconds and words.
const SPANS: &[(&str, &str)] = &[
    ("3600", "1 hour"),
    ("14400", "4 hours"),
    ("28800", "8 hours"),
    ("86400", "1 day"),
    ("259200", "3 days"),
    ("604800", "7 days"),
];

/// `GET /users`.
pub(in crate::http::console) async fn list(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Users", "users.html", resource::search(call, Kind::Users).await?))
}

async fn read(call: &Call<'_>) -> Result<Value, Fault> {
    call.get(&format!("users/{}", encoded(call.part("id"))), &[]).await
}

fn name(user: &Value) -> String {
    user.get("user_name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn id(user: &Value) -> &str {
    user.get("id").and_then(Value::as_str).unwrap_or_default()
}

fn home(user: &Value) -> String {
    format!("/users/{}", encoded(id(user)))
}

/// `DIRECTORY/ID`: what is decided about a person names the person, whoever else is called so.
fn subject(user: &Value) -> String {
    let directory = user.get("directory").and_then(Value::as_str).unwrap_or_default();
    format!("{directory}/{}", id(user))
}

async fn explained(call: &Call<'_>, user: &Value) -> Result<Value, Fault> {
    call.get("explain", &[("subject", &subject(user))]).await
}

/// `GET /users/{id}`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let known = call.get("directories", &[]).await?;
    let everybody: u64 = known
        .get("directories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("users").and_then(Value::as_u64))
        .sum();
    let explain = if everybody <= EXPLAINED_AT_ONCE { explained(call, &user).await? } else { Value::Null };
    let history = resource::history(call, "subject", &subject(&user), "10").await?;
    let document = user.get("resource").cloned().unwrap_or_default();
    let context = json!({
        "attributes": resource::attributes(&document),
        "raw": serde_json::to_string_pretty(&document).unwrap_or_default(),
        "user": user, "explain": explain, "history": history,
    });
    Ok(Shown::page(name(&user), "user.html", context))
}

/// `GET /users/{id}/access`: roles with their reasons, for where they are too dear for the person's page.
pub(in crate::http::console) async fn access(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let explain = explained(call, &user).await?;
    let title = format!("Roles of {}", name(&user));
    Ok(Shown::page(title, "user_access.html", json!({ "user": user, "explain": explain })))
}

/// `GET /users/{id}/history`.
pub(in crate::http::console) async fn history(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let history = resource::history(call, "subject", &subject(&user), "50").await?;
    let home = home(&user);
    let title = format!("History of {}", name(&user));
    let context = json!({ "history": history, "home": home, "back": name(&user), "is_first": call.param("after").is_none() });
    Ok(Shown::page(title, "resource_history.html", context))
}

async fn ask(call: &Call<'_>, verb: &str, fault: Option<Fault>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let template = "user_ask.html";
    let title = match verb {
        "shut" => format!("Shut {} out", name(&user)),
        "open" => format!("Let {} in again", name(&user)),
        _ => format!("Grant {} a role for a time", name(&user)),
    };
    let spans: Vec<Value> =
        SPANS.iter().map(|(value, label)| json!({ "value": value, "label": label })).collect();
    let typed = |field: &str| call.form(field).unwrap_or_default();
    let context = json!({
        "user": user, "verb": verb, "spans": spans,
        "given": { "reason": typed("reason"), "role": typed("role"), "seconds": typed("seconds") },
    });
    Ok(match fault {
        None => Shown::page(title, template, context),
        Some(fault) => Shown::Again { fault, title, template, context },
    })
}

/// `GET /users/{id}/shut`.
pub(in crate::http::console) async fn shut_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "shut", None).await
}

/// `POST /users/{id}/shut`.
pub(in crate::http::console) async fn shut(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let body = json!({ "subject": subject(&user), "reason": call.form("reason").unwrap_or_default() });
    match call.send(Method::POST, "shut", &body).await {
        Ok(done) => {
            let still: Vec<&str> = done
                .get("still_in")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let told = if still.is_empty() {
                format!("{} is shut out of every target.", name(&user))
            } else {
                format!(
                    "{} is shut out. These targets have yet to follow: {}.",
                    name(&user),
                    still.join(", ")
                )
            };
            Ok(Shown::done(home(&user), told))
        }
        Err(fault) => ask(call, "shut", Some(fault)).await,
    }
}

/// `GET /users/{id}/open`.
pub(in crate::http::console) async fn open_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "open", None).await
}

/// `POST /users/{id}/open`.
pub(in crate::http::console) async fn open(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    match call.send(Method::POST, "open", &json!({ "subject": subject(&user) })).await {
        Ok(_) => Ok(Shown::done(home(&user), format!("{} is let in again.", name(&user)))),
        Err(fault) => ask(call, "open", Some(fault)).await,
    }
}

/// `GET /users/{id}/grant`.
pub(in crate::http::console) async fn grant_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, "grant", None).await
}

/// `POST /users/{id}/grant`.
pub(in crate::http::console) async fn grant(call: &Call<'_>) -> Result<Shown, Fault> {
    let user = read(call).await?;
    let text = |field: &str| call.form(field).unwrap_or_default();
    let body = json!({
        "subject": subject(&user), "role": text("role"), "reason": text("reason"),
        "seconds": text("seconds").parse::<u64>().ok(),
    });
    match call.send(Method::POST, "grants", &body).await {
        Ok(_) => Ok(Shown::done(home(&user), format!("{} holds {} for a time.", name(&user), text("role")))),
        Err(fault) => ask(call, "grant", Some(fault)).await,
    }
}
