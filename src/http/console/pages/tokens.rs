//! Tokens of a directory service: a new one beside the old ones, and taking one away.

use hyper::Method;
use serde_json::{Value, json};

use super::{directories, directory};
use crate::http::console::call::{Call, Fault, Flash, Shown};
use crate::http::console::template::encoded;

fn home(call: &Call<'_>) -> String {
    format!("/directories/{}", encoded(call.part("id")))
}

async fn fields(call: &Call<'_>) -> Result<(String, Value), Fault> {
    let id = call.part("id");
    let found = call.get(&format!("directories/{}", encoded(id)), &[]).await?;
    let (live, _) = directory::tokens(call, id).await?;
    let name = found.get("name").and_then(Value::as_str).unwrap_or_default();
    let title = format!("New token for {name}");
    let once = directories::once(call, "token");
    let (note, expires) = (call.form("note").unwrap_or_default(), call.form("expires").unwrap_or_default());
    let given = json!({ "note": note, "expires": expires });
    let context = json!({
        "directory": directory::line(&found, call.now()), "tokens": live, "lives": directories::lives(), "once": once,
        "given": given,
    });
    Ok((title, context))
}

/// `GET /directories/{id}/tokens/new`.
pub(in crate::http::console) async fn form(call: &Call<'_>) -> Result<Shown, Fault> {
    let (title, context) = fields(call).await?;
    Ok(Shown::page(title, "token_new.html", context))
}

/// `POST /directories/{id}/tokens/new`: answers with the page that shows the token, this once; see
/// [`directories::add`].
pub(in crate::http::console) async fn create(call: &Call<'_>) -> Result<Shown, Fault> {
    if !directories::is_first(call, "token") {
        let hint = "No second token was made. If you lost the first one, revoke it and make another.";
        let flash = Flash::warn("This form was sent already, or has become too old.", hint);
        return Ok(Shown::SeeOther(home(call), Some(flash)));
    }
    let id = call.part("id");
    let made = async {
        let ends = directories::ends(call.now(), call.form("expires").unwrap_or_default())?;
        let body = json!({ "directory": id, "note": call.form("note").unwrap_or_default(), "expires": ends });
        call.send(Method::POST, "tokens", &body).await
    };
    match made.await {
        Ok(made) => Ok(directory::token_page(directory::with_guide(call, id).await?, made, false)),
        Err(fault) => {
            let (title, context) = fields(call).await?;
            Ok(Shown::Again { fault, title, template: "token_new.html", context })
        }
    }
}

async fn one(call: &Call<'_>) -> Result<Value, Fault> {
    let (live, ended) = directory::tokens(call, call.part("id")).await?;
    let wanted = call.part("token");
    let others = live.len().saturating_sub(1);
    let found = live
        .into_iter()
        .chain(ended)
        .find(|token| token.get("id").and_then(Value::as_str) == Some(wanted))
        .ok_or_else(|| Fault::new(404, "This directory service has no such token", ""))?;
    if found.get("configured").and_then(Value::as_bool) == Some(true) {
        let hint = "take it out of `token_file` of its `[[directory]]`, then reload";
        return Err(Fault::new(409, "This token comes from the configuration", hint));
    }
    Ok(json!({ "token": found, "others": others }))
}

/// `GET /directories/{id}/tokens/{token}/revoke`.
pub(in crate::http::console) async fn revoke_form(call: &Call<'_>) -> Result<Shown, Fault> {
    let found = call.get(&format!("directories/{}", encoded(call.part("id"))), &[]).await?;
    let mut context = one(call).await?;
    if let Some(context) = context.as_object_mut() {
        context.insert("directory".to_owned(), directory::line(&found, call.now()));
    }
    Ok(Shown::page("Revoke token", "token_revoke.html", context))
}

/// `POST /directories/{id}/tokens/{token}/revoke`.
pub(in crate::http::console) async fn revoke(call: &Call<'_>) -> Result<Shown, Fault> {
    one(call).await?;
    call.send(Method::DELETE, &format!("tokens/{}", encoded(call.part("token"))), &Value::Null).await?;
    Ok(Shown::done(home(call), "The token is revoked: from now on it is answered 401."))
}
