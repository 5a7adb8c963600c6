//! `/api/v1/tokens`: bearer tokens of directories, and readers. A token itself is shown once, by its creation.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, delete, get, post};
use super::{AdminError, AdminRole, Request, text};
use crate::mirror::token::{self, Holder, Token};
use crate::mirror::{self, Mirror, directory};
use crate::model::{DirectoryId, Timestamp, TokenId};
use crate::telemetry::escape;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("tokens", "Every token, without the token itself", "Tokens", |r| Box::pin(list(r))).query(&[
        endpoints::text("directory", "only this directory's"),
        endpoints::text("reader", "only this reader's"),
    ]),
    post(AdminRole::Admin, "tokens", "Makes a token, which is shown this once", "TokenMade", |r| {
        Box::pin(create(r))
    })
    .body("TokenNew")
    .created(),
    delete(AdminRole::Admin, "tokens/{id}", "Revokes a token", "Token", |r| {
        Box::pin(revoke(r, r.segment(0)))
    }),
];

fn shown(mirror: &Mirror, token: &Token) -> Value {
    let used = mirror.last_use(token);
    json!({
        "id": token.id,
        "directory": token.directory,
        "reader": token.reader,
        "note": token.note,
        "configured": token.configured,
        "created": token.created_at.to_string(),
        "expires": token.expires_at.map(|at| at.to_string()),
        "revoked": token.revoked_at.map(|at| at.to_string()),
        "last_used": used.as_ref().map(|(at, _)| at.to_string()),
        "last_address": used.as_ref().and_then(|(_, client)| client.address()),
        "last_agent": used.as_ref().and_then(|(_, client)| client.agent()),
    })
}

fn directory_id(text: &str) -> Result<DirectoryId, AdminError> {
    DirectoryId::parse(text).map_err(|error| AdminError::invalid(format!("`{text}`: {error}")))
}

/// From when a token is refused.
pub(super) fn expiry(body: &serde_json::Map<String, Value>) -> Result<Option<Timestamp>, AdminError> {
    let read = |text| {
        Timestamp::parse_rfc3339(text)
            .ok_or_else(|| AdminError::invalid("`expires` must be a moment such as `2027-01-31T00:00:00Z`"))
    };
    text(body, "expires")?.map(read).transpose()
}

pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    let wanted = request.param("directory").map(directory_id).transpose()?;
    let reader = request.param("reader").map(str::to_owned);
    let found = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| match wanted {
            None => Ok(token::list(tx, None)?),
            Some(id) => {
                let found = directory::find(tx, &id)?.ok_or_else(|| {
                    AdminError::absent(
                        format!("there is no directory `{id}`"),
                        "`rosterd directory list` shows all",
                    )
                })?;
                Ok(token::list(tx, Some(&found.reference))?)
            }
        })
        .await?;
    let is_asked = |token: &&Token| reader.is_none() || token.reader == reader;
    Ok(
        json!({ "tokens": found.iter().filter(is_asked).map(|one| shown(&request.state.mirror, one)).collect::<Vec<_>>() }),
    )
}

pub(super) async fn create(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["directory", "reader", "expires", "note"])?;
    let holder_directory = text(&body, "directory")?.map(directory_id).transpose()?;
    let holder_reader = text(&body, "reader")?.map(str::to_owned);
    let note = text(&body, "note")?.unwrap_or_default().to_owned();
    let expires = expiry(&body)?;
    if holder_directory.is_some() == holder_reader.is_some() {
        return Err(AdminError::invalid("give either `directory` or `reader`"));
    }
    if let Some(name) = &holder_reader
        && !request.state.running.load().readers.contains(name)
    {
        return Err(AdminError::absent(
            format!("the configuration names no reader `{}`", escape(name)),
            "add `[[reader]]` with this name and what it may read, then `rosterd reload`",
        ));
    }
    let origin = request.caller.origin();
    let (made, secret) = request
        .state
        .mirror
        .write::<_, mirror::Error, _>(origin, move |tx| match (&holder_directory, &holder_reader) {
            (Some(id), _) => token::mint(tx, Holder::Directory(id), &note, expires),
            (None, reader) => {
                token::mint(tx, Holder::Reader(reader.as_deref().unwrap_or_default()), &note, expires)
            }
        })
        .await?;
    let mut value = shown(&request.state.mirror, &made);
    if let Some(object) = value.as_object_mut() {
        object.insert("token".to_owned(), secret.expose().into());
    }
    Ok(value)
}

pub(super) async fn revoke(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let id = TokenId::parse(name).map_err(|error| AdminError::invalid(format!("`{name}`: {error}")))?;
    let origin = request.caller.origin();
    let revoked =
        request.state.mirror.write::<_, mirror::Error, _>(origin, move |tx| token::revoke(tx, &id)).await?;
    Ok(shown(&request.state.mirror, &revoked))
}
