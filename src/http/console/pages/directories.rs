//! Directory services: the list, and adding one.

use hyper::Method;
use serde_json::{Value, json};

use super::directory;
use crate::http::console::call::{Call, Fault, Flash, Shown};
use crate::http::console::guide;
use crate::model::{DirectoryKind, Timestamp};

/// How long a token may live, as the forms offer it: days and words.
const LIVES: &[(&str, &str)] = &[
    ("", "does not expire"),
    ("30", "30 days"),
    ("90", "90 days"),
    ("180", "180 days"),
    ("365", "one year"),
];

/// `GET /directories`.
pub(in crate::http::console) async fn list(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Directory services", "directories.html", rows(call).await?))
}

/// `GET /now/directories`: the rows alone.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::Fragment { template: "directories_now.html", context: rows(call).await? })
}

async fn rows(call: &Call<'_>) -> Result<Value, Fault> {
    let found = call.get("directories", &[]).await?;
    let rows: Vec<Value> = found
        .get("directories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| directory::line(one, call.now()))
        .collect();
    Ok(json!({ "directories": rows }))
}

/// `GET /add-directory`.
pub(in crate::http::console) async fn form(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page(
        "Add directory service",
        "directory_new.html",
        fields(call, "directory", &Given::of(call)),
    ))
}

/// What was typed so far.
struct Given<'a> {
    name: &'a str,
    kind: &'a str,
    id: &'a str,
    life: &'a str,
}

impl<'a> Given<'a> {
    fn of(call: &'a Call<'_>) -> Self {
        let text = |name: &str| call.form(name).unwrap_or_default();
        Self { name: text("name"), kind: text("kind"), id: text("id"), life: text("expires") }
    }
}

fn fields(call: &Call<'_>, form: &str, given: &Given<'_>) -> Value {
    let kinds: Vec<Value> = DirectoryKind::ALL
        .into_iter()
        .map(|kind| json!({ "value": kind.as_str(), "label": guide::vendor(kind) }))
        .collect();
    json!({
        "kinds": kinds, "lives": lives(), "once": once(call, form),
        "given": { "name": given.name, "kind": given.kind, "id": given.id, "expires": given.life },
    })
}

/// The choices of how long a token lives.
pub(super) fn lives() -> Vec<Value> {
    LIVES.iter().map(|(value, label)| json!({ "value": value, "label": label })).collect()
}

/// The moment that a choice of [`LIVES`] stands for.
pub(super) fn ends(now: Timestamp, days: &str) -> Result<Option<String>, Fault> {
    if days.is_empty() {
        return Ok(None);
    }
    let known = LIVES.iter().any(|(value, _)| *value == days);
    let days = days.parse::<u64>().ok().filter(|_| known);
    let days = days.ok_or_else(|| Fault::new(400, "There is no such life of a token", ""))?;
    Ok(Some(now.plus(std::time::Duration::from_secs(days * 86_400)).to_string()))
}

/// Open forms of one kind that a session may have; the oldest ones are forgotten.
const FORMS_OPEN: usize = 16;

/// A mark that a form carries and that counts once, so that sending it again (a reload does) makes nothing twice. It
/// is the session's, not a secret.
pub(super) fn once(call: &Call<'_>, form: &str) -> String {
    let mut open = open_forms(call, form);
    let mark = format!("{:x}-{}", call.now().0, open.len());
    open.push(mark.clone().into());
    let surplus = open.len().saturating_sub(FORMS_OPEN);
    open.drain(..surplus);
    call.put_aside(&format!("once {form}"), open.into());
    mark
}

/// Whether the form is sent for the first time; from then on it is not.
pub(super) fn is_first(call: &Call<'_>, form: &str) -> bool {
    let mut open = open_forms(call, form);
    let sent = open.iter().position(|mark| mark.as_str().is_some_and(|mark| call.form("once") == Some(mark)));
    if let Some(sent) = sent {
        open.remove(sent);
    }
    call.put_aside(&format!("once {form}"), open.into());
    sent.is_some()
}

fn open_forms(call: &Call<'_>, form: &str) -> Vec<Value> {
    match call.take_aside(&format!("once {form}")) {
        Some(Value::Array(open)) => open,
        _ => Vec::new(),
    }
}

/// `POST /add-directory`: adds it and answers with the page that shows the token. This answer is the only place where
/// the token is: not in an address, not in the session; no cache keeps it.
pub(in crate::http::console) async fn add(call: &Call<'_>) -> Result<Shown, Fault> {
    if !is_first(call, "directory") {
        let hint = "Nothing was added again. If you lost the token, make a new one on the directory's page.";
        let flash = Flash::warn("This form was sent already, or has become too old.", hint);
        return Ok(Shown::SeeOther("/directories".to_owned(), Some(flash)));
    }
    let given = Given::of(call);
    let mut body = json!({ "name": given.name, "kind": given.kind });
    let made = async {
        if let Some(body) = body.as_object_mut() {
            if !given.id.is_empty() {
                body.insert("id".to_owned(), given.id.into());
            }
            if let Some(ends) = ends(call.now(), given.life)? {
                body.insert("expires".to_owned(), ends.into());
            }
        }
        if given.name.is_empty() || given.kind.is_empty() {
            return Err(Fault::new(400, "A directory service has a kind and a name", ""));
        }
        call.send(Method::POST, "directories", &body).await
    };
    match made.await {
        Ok(made) => {
            let id = made.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let shown = directory::with_guide(call, &id).await?;
            let token = json!({ "token": made.get("token"), "expires": made.get("expires") });
            Ok(directory::token_page(shown, token, true))
        }
        Err(fault) => Ok(Shown::Again {
            fault,
            title: "Add directory service".to_owned(),
            template: "directory_new.html",
            context: fields(call, "directory", &given),
        }),
    }
}
