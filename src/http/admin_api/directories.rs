//! `/api/v1/directories`: the identity-provider integrations.

use serde_json::{Value, json};

use super::{AdminError, Request, text, truth};
use crate::mirror::directory::{self, Directory};
use crate::mirror::token::{self, Holder};
use crate::mirror::{self, Mirror};
use crate::model::{DirectoryId, DirectoryKind};

fn id(text: &str) -> Result<DirectoryId, AdminError> {
    DirectoryId::parse(text).map_err(|error| AdminError::invalid(format!("`{text}`: {error}")))
}

/// A directory as `status` and `directory list` show it (DESIGN §3), with a little more.
pub(super) fn shown(mirror: &Mirror, directory: &Directory) -> Value {
    let last = mirror.last_push(&directory.reference).max(directory.last_push_at).max(directory.pushed_at);
    json!({
        "id": directory.id,
        "name": directory.name,
        "kind": directory.kind,
        "enabled": directory.enabled,
        "users": directory.users,
        "groups": directory.groups,
        "last_push": last.map(|at| at.to_string()),
        "created": directory.created_at.to_string(),
    })
}

pub(super) async fn all(request: &Request<'_>) -> Result<Vec<Value>, AdminError> {
    let mirror = &request.state.mirror;
    let found = mirror.read_long::<_, AdminError, _>(|tx| Ok(directory::list(tx)?)).await?;
    Ok(found.iter().map(|directory| shown(mirror, directory)).collect())
}

pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    Ok(json!({ "directories": all(request).await? }))
}

pub(super) async fn show(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let (mirror, id) = (&request.state.mirror, id(name)?);
    let found = {
        let id = id.clone();
        mirror.read_long::<_, AdminError, _>(move |tx| Ok(directory::find(tx, &id)?)).await?
    };
    let found = found.ok_or_else(|| absent(&id))?;
    let mut value = shown(mirror, &found);
    put(&mut value, "base_url", request.state.running.load().base_url.clone().into());
    Ok(value)
}

fn absent(id: &DirectoryId) -> AdminError {
    AdminError::absent(format!("there is no directory `{id}`"), "`rosterd directory list` shows all")
}

fn put(value: &mut Value, key: &str, more: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), more);
    }
}

/// Adds a directory and its first token, in one transaction: either both are there or neither.
pub(super) async fn add(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["id", "name", "kind"])?;
    let name = text(&body, "name")?.ok_or_else(|| AdminError::invalid("`name` is required"))?.to_owned();
    let kind = text(&body, "kind")?.ok_or_else(|| AdminError::invalid("`kind` is required"))?;
    let kind: DirectoryKind =
        kind.parse().map_err(|error| AdminError::invalid(format!("`{kind}`: {error}")))?;
    let wanted = text(&body, "id")?.map(id).transpose()?;
    let origin = request.caller.origin();
    let (made, secret) = request
        .state
        .mirror
        .write::<_, mirror::Error, _>(origin, move |tx| {
            let id = match wanted {
                Some(id) => id,
                None => directory::free_id(tx, &name)?,
            };
            let made = directory::add(tx, &id, &name, kind)?;
            let (_, secret) = token::mint(tx, Holder::Directory(&id), "made with the directory", None)?;
            Ok((made, secret))
        })
        .await?;
    let base_url = request.state.running.load().base_url.clone();
    Ok(json!({
        "id": made.id, "name": made.name, "kind": made.kind, "base_url": base_url, "token": secret.expose(),
    }))
}

pub(super) async fn change(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let id = id(name)?;
    let body = request.object(&["name", "enabled"])?;
    let (name, enabled) = (text(&body, "name")?.map(str::to_owned), truth(&body, "enabled")?);
    if name.is_none() && enabled.is_none() {
        return Err(AdminError::invalid("nothing to change: give `name`, `enabled` or both"));
    }
    let origin = request.caller.origin();
    let mirror = &request.state.mirror;
    let changed = mirror
        .write::<_, mirror::Error, _>(origin, move |tx| {
            let mut changed = None;
            if let Some(name) = name {
                changed = Some(directory::rename(tx, &id, &name)?);
            }
            if let Some(enabled) = enabled {
                changed = Some(directory::set_enabled(tx, &id, enabled)?);
            }
            Ok(changed)
        })
        .await?;
    changed.map(|directory| shown(mirror, &directory)).ok_or_else(|| AdminError::invalid("nothing to change"))
}

pub(super) async fn remove(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let id = id(name)?;
    let removed = id.clone();
    let origin = request.caller.origin();
    request.state.mirror.write::<_, mirror::Error, _>(origin, move |tx| directory::remove(tx, &id)).await?;
    Ok(json!({ "id": removed, "removed": true }))
}
