//! One directory service: its state, what it was seen to do, its tokens, and what can be done with it.

use hyper::Method;
use serde_json::{Value, json};

use crate::http::console::call::{Call, Fault, Shown};
use crate::http::console::guide::{self, Values};
use crate::http::console::template::encoded;
use crate::http::console::words::{self, text};
use crate::model::{DirectoryId, DirectoryKind, Timestamp};

/// How long before a token's end the page warns.
const WARN_DAYS: u64 = 30;

/// Tokens that are no use any more are shown this many at most, newest first.
const ENDED_SHOWN: usize = 10;

fn vendor(directory: &Value) -> String {
    let kind = directory.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.parse::<DirectoryKind>().map_or_else(|_| kind.to_owned(), |kind| guide::vendor(kind).to_owned())
}

/// A directory with its state and its vendor's name, for lists and pages.
pub(super) fn line(directory: &Value, now: Timestamp) -> Value {
    let state = words::directory(directory, now);
    let mut line = directory.clone();
    if let Some(line) = line.as_object_mut() {
        line.insert("state".to_owned(), state.key.into());
        line.insert("told".to_owned(), state.why.into());
        line.insert("vendor".to_owned(), vendor(directory).into());
        let failures = directory.get("health").map_or(0, words::failures);
        line.insert("failures".to_owned(), failures.into());
    }
    line
}

async fn read(call: &Call<'_>, id: &str) -> Result<Value, Fault> {
    Ok(line(&call.get(&format!("directories/{}", encoded(id)), &[]).await?, call.now()))
}

fn moment(value: &Value, key: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text(value, key))
}

/// A token with its state: `revoked`, `expired`, `expiring` within 30 days, else `active`.
fn token_line(token: &Value, now: Timestamp) -> Value {
    let soon = now.plus(std::time::Duration::from_secs(WARN_DAYS * 86_400));
    let state = match moment(token, "expires") {
        _ if token.get("revoked").is_some_and(|at| !at.is_null()) => "revoked",
        Some(ends) if ends <= now => "expired",
        Some(ends) if ends <= soon => "expiring",
        _ => "active",
    };
    let mut line = token.clone();
    if let Some(line) = line.as_object_mut() {
        line.insert("state".to_owned(), state.into());
    }
    line
}

/// The tokens of a directory: those that work, then some of those that do not any more.
pub(super) async fn tokens(call: &Call<'_>, id: &str) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let found = call.get("tokens", &[("directory", id)]).await?;
    let all = found.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    let now = call.now();
    let lines = all.iter().rev().map(|token| token_line(token, now));
    let (live, mut ended): (Vec<Value>, Vec<Value>) =
        lines.partition(|token| matches!(text(token, "state"), "active" | "expiring"));
    ended.truncate(ENDED_SHOWN);
    Ok((live, ended))
}

/// `GET /directories/{id}`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    let directory = read(call, call.part("id")).await?;
    let (live, ended) = tokens(call, call.part("id")).await?;
    let title = text(&directory, "name").to_owned();
    let context = json!({ "directory": directory, "tokens": live, "ended": ended });
    Ok(Shown::page(title, "directory.html", context))
}

/// `GET /directories/{id}/now`: what it was seen to do, asked for again and again while somebody sets it up.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    let directory = read(call, call.part("id")).await?;
    Ok(Shown::Fragment { template: "directory_now.html", context: json!({ "directory": directory }) })
}

/// A directory and its guide with its own values.
pub(super) async fn with_guide(call: &Call<'_>, id: &str) -> Result<Value, Fault> {
    let directory = read(call, id).await?;
    let kind = text(&directory, "kind").parse::<DirectoryKind>().unwrap_or(DirectoryKind::Generic);
    let id = DirectoryId::parse(text(&directory, "id"))
        .map_err(|error| Fault::new(500, format!("the API names a directory wrongly: {error}"), ""))?;
    let guide = guide::guide(&Values {
        id: &id,
        name: text(&directory, "name"),
        kind,
        base_url: text(&directory, "base_url"),
    });
    Ok(json!({ "directory": directory, "guide": guide }))
}

/// The page that shows a token, this once.
pub(super) fn token_page(mut shown: Value, token: Value, is_new: bool) -> Shown {
    let name = shown.pointer("/directory/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("made".to_owned(), token);
        shown.insert("is_new".to_owned(), is_new.into());
    }
    let title = if is_new { format!("{name}: set up") } else { format!("{name}: new token") };
    Shown::page(title, "directory_made.html", shown)
}

/// `GET /directories/{id}/guide`.
pub(in crate::http::console) async fn guide(call: &Call<'_>) -> Result<Shown, Fault> {
    let shown = with_guide(call, call.part("id")).await?;
    let name = shown.pointer("/directory/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Shown::page(format!("{name}: set-up guide"), "directory_guide.html", shown))
}

/// What can be done with a directory, each on its own page that asks once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Rename,
    Disable,
    Enable,
    Rebaseline,
    Remove,
}

impl Verb {
    fn title(self) -> &'static str {
        match self {
            Self::Rename => "Rename",
            Self::Disable => "Disable",
            Self::Enable => "Enable",
            Self::Rebaseline => "Re-baseline",
            Self::Remove => "Remove",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Rebaseline => "rebaseline",
            Self::Remove => "remove",
        }
    }
}

async fn ask(call: &Call<'_>, verb: Verb, fault: Option<Fault>) -> Result<Shown, Fault> {
    let directory = read(call, call.part("id")).await?;
    let (live, _) = tokens(call, call.part("id")).await?;
    let is_fixed = directory.get("configured").and_then(Value::as_bool).unwrap_or(false);
    if is_fixed && matches!(verb, Verb::Rename | Verb::Remove) {
        let hint = "change `[[directory]]` there, then reload";
        return Err(Fault::new(409, "This directory service stands in the configuration", hint));
    }
    let title = format!("{} {}", verb.title(), text(&directory, "name"));
    let context = json!({
        "directory": directory, "live_tokens": live.len(), "verb": verb.word(),
        "typed": call.form("typed").unwrap_or_default(), "name": call.form("name"),
    });
    let template = "directory_ask.html";
    Ok(match fault {
        None => Shown::page(title, template, context),
        Some(fault) => Shown::Again { fault, title, template, context },
    })
}

/// Sends a change and goes back to the directory's page, or asks again with what was wrong.
async fn change(call: &Call<'_>, verb: Verb, body: &Value, done: &str) -> Result<Shown, Fault> {
    let path = format!("directories/{}", encoded(call.part("id")));
    match call.send(Method::PATCH, &path, body).await {
        Ok(_) => Ok(Shown::done(format!("/{path}"), done)),
        Err(fault) => ask(call, verb, Some(fault)).await,
    }
}

/// `GET /directories/{id}/rename`.
pub(in crate::http::console) async fn rename_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Rename, None).await
}

/// `POST /directories/{id}/rename`.
pub(in crate::http::console) async fn rename(call: &Call<'_>) -> Result<Shown, Fault> {
    // Asking refuses what the configuration fixes.
    ask(call, Verb::Rename, None).await?;
    let name = call.form("name").unwrap_or_default();
    change(
        call,
        Verb::Rename,
        &json!({ "name": name }),
        "Renamed. Roles and targets go by the id, which stays.",
    )
    .await
}

/// `GET /directories/{id}/disable`.
pub(in crate::http::console) async fn disable_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Disable, None).await
}

/// `POST /directories/{id}/disable`.
pub(in crate::http::console) async fn disable(call: &Call<'_>) -> Result<Shown, Fault> {
    let done = "Disabled. Its identity provider is answered 503, and everybody keeps what they have.";
    change(call, Verb::Disable, &json!({ "enabled": false }), done).await
}

/// `GET /directories/{id}/enable`.
pub(in crate::http::console) async fn enable_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Enable, None).await
}

fn hours(call: &Call<'_>) -> Result<u64, Fault> {
    let hours =
        call.form("hours").and_then(|text| text.parse::<u64>().ok()).filter(|h| (1..=8_760).contains(h));
    hours.ok_or_else(|| Fault::new(400, "The time is 1 to 8760 whole hours", ""))
}

/// `POST /directories/{id}/enable`.
pub(in crate::http::console) async fn enable(call: &Call<'_>) -> Result<Shown, Fault> {
    let seconds = match hours(call) {
        Ok(hours) => hours * 3_600,
        Err(fault) => return ask(call, Verb::Enable, Some(fault)).await,
    };
    let done = "Enabled. If it held anybody, a re-baseline has begun: force a full push at the identity provider now.";
    change(call, Verb::Enable, &json!({ "enabled": true, "within_seconds": seconds }), done).await
}

/// `GET /directories/{id}/rebaseline`.
pub(in crate::http::console) async fn rebaseline_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Rebaseline, None).await
}

/// `POST /directories/{id}/rebaseline`.
pub(in crate::http::console) async fn rebaseline(call: &Call<'_>) -> Result<Shown, Fault> {
    let id = call.part("id");
    let sent = async {
        let body = json!({ "directory": id, "seconds": hours(call)? * 3_600 });
        call.send(Method::POST, "rebaselines", &body).await
    };
    match sent.await {
        Ok(_) => Ok(Shown::done(
            format!("/directories/{}", encoded(id)),
            "The re-baseline has begun: force a full push at the identity provider now.",
        )),
        Err(fault) => ask(call, Verb::Rebaseline, Some(fault)).await,
    }
}

/// `GET /directories/{id}/remove`.
pub(in crate::http::console) async fn remove_form(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Remove, None).await
}

/// `POST /directories/{id}/remove`: only if the id was typed.
pub(in crate::http::console) async fn remove(call: &Call<'_>) -> Result<Shown, Fault> {
    ask(call, Verb::Remove, None).await?;
    let id = call.part("id");
    if call.form("typed") != Some(id) {
        let fault =
            Fault::new(400, "What was typed is not the id of this directory service", "Nothing was removed");
        return ask(call, Verb::Remove, Some(fault)).await;
    }
    match call.send(Method::DELETE, &format!("directories/{}", encoded(id)), &Value::Null).await {
        Ok(_) => {
            let done = format!("`{id}` is removed. What its people lose goes through each target's guard.");
            Ok(Shown::done("/directories", done))
        }
        Err(fault) => ask(call, Verb::Remove, Some(fault)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_warns_thirty_days_before_its_end() {
        let now = Timestamp::parse_rfc3339("2026-11-22T12:00:00Z").unwrap();
        let state = |expires: Value, revoked: Value| {
            let line = token_line(&json!({ "expires": expires, "revoked": revoked }), now);
            text(&line, "state").to_owned()
        };
        assert_eq!(state(Value::Null, Value::Null), "active");
        assert_eq!(state("2026-12-22T12:00:01.000Z".into(), Value::Null), "active");
        assert_eq!(state("2026-12-22T12:00:00.000Z".into(), Value::Null), "expiring");
        assert_eq!(state("2026-11-22T12:00:00.000Z".into(), Value::Null), "expired");
        assert_eq!(state(Value::Null, "2026-11-01T00:00:00.000Z".into()), "revoked");
    }
}
