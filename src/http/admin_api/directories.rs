//! `/api/v1/directories`: the identity-provider integrations.

use std::time::Duration;

use serde_json::{Value, json};

use super::decisions::UNCONFIRMED_SHOWN;
use super::endpoints::{Endpoint, delete, get, patch, post};
use super::{AdminError, AdminRole, AdminState, Request, Snapshot, text, tokens, trouble, truth};
use crate::mirror::decision::rebaseline::{self, Window};
use crate::mirror::directory::{self, Directory};
use crate::mirror::find::Named;
use crate::mirror::marks::Contact;
use crate::mirror::token::{self, Holder};
use crate::mirror::{self, ReadTx, StoreError};
use crate::model::{DirectoryId, DirectoryKind, ResourceType};
use crate::scim::dialect::{Quirk, Quirks};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("directories", "Every directory service", "Directories", |r| Box::pin(list(r))),
    post(
        AdminRole::Admin,
        "directories",
        "Adds a directory service and its first token, which is shown this once",
        "DirectoryAdded",
        |r| Box::pin(add(r)),
    )
    .body("DirectoryAdd")
    .created(),
    get("directories/{id}", "One directory service", "DirectoryDetail", |r| Box::pin(show(r, r.segment(0)))),
    patch(
        AdminRole::Admin,
        "directories/{id}",
        "Renames, disables or enables a directory service",
        "Directory",
        |r| Box::pin(change(r, r.segment(0))),
    )
    .body("DirectoryChange"),
    delete(
        AdminRole::Admin,
        "directories/{id}",
        "Removes a directory service and all its users and groups",
        "DirectoryRemoved",
        |r| Box::pin(remove(r, r.segment(0))),
    ),
];

/// How long a directory that is enabled again has to name everybody, unless the command says otherwise.
const ENABLE_WITHIN_SECONDS: u64 = 86_400;

fn id(text: &str) -> Result<DirectoryId, AdminError> {
    DirectoryId::parse(text).map_err(|error| AdminError::invalid(format!("`{text}`: {error}")))
}

/// A directory with what was decided about it.
struct Row {
    directory: Directory,
    window: Option<Window>,
    unconfirmed: u64,
}

impl Row {
    fn read(tx: &mut ReadTx<'_>, directory: Directory) -> Result<Self, StoreError> {
        let window = rebaseline::window(tx, &directory.reference)?;
        let unconfirmed = rebaseline::count(tx, &directory.reference)?;
        Ok(Self { directory, window, unconfirmed })
    }

    /// As `status` and `directory list` show it (DESIGN §3), with a little more.
    fn shown(&self, state: &AdminState, running: &Snapshot) -> Value {
        let Self { directory, window, unconfirmed } = self;
        let mirror = &state.mirror;
        let last =
            mirror.last_push(&directory.reference).max(directory.last_push_at).max(directory.pushed_at);
        let heard = mirror.last_heard(directory);
        let every = running.expect_every.iter().find(|(id, _)| *id == directory.id).map(|(_, every)| *every);
        let contact = mirror.contact(directory).map(|contact| contact.last_at);
        let trouble = state.activity.trouble(&directory.id, directory.created_at, contact);
        let is_silent = directory.enabled && every.is_some_and(|every| mirror.now().since(heard) > every);
        json!({
            "id": directory.id,
            "name": directory.name,
            "kind": directory.kind,
            "enabled": directory.enabled,
            "users": directory.users,
            "groups": directory.groups,
            "last_push": last.map(|at| at.to_string()),
            "created": directory.created_at.to_string(),
            "last_heard": heard.to_string(),
            "expect_every_seconds": every.map(|every| every.as_secs()),
            "silent": is_silent,
            "rebaseline": window.map(|window| json!({
                "began": window.began.to_string(),
                "ends": window.ends.to_string(),
                "waiting": window.waiting,
            })),
            "unconfirmed": unconfirmed,
            "configured": running.directory_order.contains(&directory.id),
            "health": trouble::shown(&directory.id, &trouble),
        })
    }
}

pub(super) async fn all(request: &Request<'_>) -> Result<Vec<Value>, AdminError> {
    let (mirror, running) = (&request.state.mirror, request.state.running.load_full());
    let rows = mirror
        .read_long::<_, AdminError, _>(|tx| {
            let found = directory::list(tx)?;
            Ok(found.into_iter().map(|one| Row::read(tx, one)).collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    Ok(rows.iter().map(|row| row.shown(request.state, &running)).collect())
}

pub(super) async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    Ok(json!({ "directories": all(request).await? }))
}

pub(super) async fn show(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let (mirror, id) = (&request.state.mirror, id(name)?);
    let running = request.state.running.load_full();
    let found = mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let found = directory::find(tx, &id)?.ok_or_else(|| absent(&id))?;
            let row = Row::read(tx, found)?;
            let users = rebaseline::unconfirmed(tx, &row.directory.reference, UNCONFIRMED_SHOWN)?;
            let first = [ResourceType::User, ResourceType::Group]
                .map(|kind| mirror::find::oldest(tx, &row.directory.reference, kind));
            Ok((row, users, first))
        })
        .await?;
    let (row, users, [user, group]) = found;
    let mut value = row.shown(request.state, &running);
    let users: Vec<Value> = users
        .iter()
        .map(|(subject, name)| json!({ "subject": subject.to_string(), "user_name": name }))
        .collect();
    put(&mut value, "unconfirmed_users", users.into());
    put(&mut value, "base_url", running.base_url.clone().into());
    put(&mut value, "seen", seen(mirror.contact(&row.directory).as_ref(), user?, group?));
    put(&mut value, "unknown_tokens", trouble::unknown(&request.state.activity.unknown_tokens()));
    let claims = running.claims.iter().find(|(id, _)| *id == row.directory.id).map(|(_, claims)| claims);
    put(&mut value, "claims", json!(claims.map_or(&[][..], Vec::as_slice)));
    let quirks = running.quirks.iter().find(|(id, _)| *id == row.directory.id).map(|(_, quirks)| *quirks);
    put(&mut value, "quirks_configured", quirks.is_some().into());
    let quirks = quirks.unwrap_or_else(|| Quirks::for_kind(row.directory.kind));
    put(&mut value, "quirks", quirks.iter().map(Quirk::name).collect());
    Ok(value)
}

/// What the identity provider was seen to do: its first request, the first that only asked, its last one and who sent it,
/// and the oldest user and group that are there.
fn seen(contact: Option<&Contact>, user: Option<Named>, group: Option<Named>) -> Value {
    let named = |one: Option<Named>| {
        one.map(|one| json!({ "id": one.id, "name": one.label, "at": one.created.to_string() }))
    };
    json!({
        "first_request": contact.map(|contact| contact.first_at.to_string()),
        "connection_test": contact.and_then(|contact| contact.tested_at).map(|at| at.to_string()),
        "last_request": contact.map(|contact| contact.last_at.to_string()),
        "last_address": contact.and_then(|contact| contact.client.address()),
        "last_agent": contact.and_then(|contact| contact.client.agent()),
        "first_user": named(user),
        "first_group": named(group),
    })
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
    let body = request.object(&["id", "name", "kind", "expires"])?;
    let expires = tokens::expiry(&body)?;
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
            let (_, secret) = token::mint(tx, Holder::Directory(&id), "made with the directory", expires)?;
            Ok((made, secret))
        })
        .await?;
    let base_url = request.state.running.load().base_url.clone();
    let mut value = json!({
        "id": made.id, "name": made.name, "kind": made.kind, "base_url": base_url, "token": secret.expose(),
    });
    if let Some(at) = expires {
        put(&mut value, "expires", at.to_string().into());
    }
    Ok(value)
}

pub(super) async fn change(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let id = id(name)?;
    let body = request.object(&["name", "enabled", "within_seconds"])?;
    let (name, enabled) = (text(&body, "name")?.map(str::to_owned), truth(&body, "enabled")?);
    if name.is_none() && enabled.is_none() {
        return Err(AdminError::invalid("nothing to change: give `name`, `enabled` or both"));
    }
    // Nobody knows what was missed meanwhile, so everybody has to be named again.
    let within = body.get("within_seconds").and_then(Value::as_u64).unwrap_or(ENABLE_WITHIN_SECONDS);
    let origin = request.caller.origin();
    let mirror = &request.state.mirror;
    let ends = mirror.now().plus(Duration::from_secs(within));
    let marks = mirror.clone();
    let changed = mirror
        .write::<_, mirror::Error, _>(origin, move |tx| {
            let mut changed = None;
            if let Some(name) = name {
                changed = Some(directory::rename(tx, &id, &name)?);
            }
            if let Some(enabled) = enabled {
                let was = directory::find(tx, &id)?;
                let now = directory::set_enabled(tx, &id, enabled)?;
                if enabled && was.is_some_and(|was| !was.enabled && was.pushed_at.is_some()) {
                    marks.forget_seen(&now.reference);
                    rebaseline::begin(tx, &id, ends)?;
                }
                changed = Some(now);
            }
            changed.map(|one| Row::read(tx, one).map_err(mirror::Error::from)).transpose()
        })
        .await?;
    let running = request.state.running.load_full();
    changed
        .map(|row| row.shown(request.state, &running))
        .ok_or_else(|| AdminError::invalid("nothing to change"))
}

pub(super) async fn remove(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let id = id(name)?;
    let removed = id.clone();
    let origin = request.caller.origin();
    request.state.mirror.write::<_, mirror::Error, _>(origin, move |tx| directory::remove(tx, &id)).await?;
    Ok(json!({ "id": removed, "removed": true }))
}
