//! `/api/v1/shut`, `open`, `release`, `grants` and `rebaselines`: what people decide about subjects.

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, delete, get, post};
use super::{AdminError, AdminRole, Request, resources, text, truth};
use crate::mirror::decision::grant::{self, Grant};
use crate::mirror::decision::subject::{self, Shut};
use crate::mirror::decision::{rebaseline, unfinished};
use crate::mirror::{ReadTx, directory};
use crate::model::{DirectoryId, GrantId, ResourceId, RoleName, Subject};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("shut", "Who is shut out of every target", "ShutList", |r| Box::pin(shut_list(r))),
    post(
        AdminRole::Operate,
        "shut",
        "Shuts somebody out of every target, past wait and guard",
        "ShutDone",
        |r| Box::pin(shut(r)),
    )
    .body("ShutOrder")
    .created(),
    post(AdminRole::Operate, "open", "Lets somebody in again who was shut", "Opened", |r| Box::pin(open(r)))
        .body("OpenOrder"),
    get("release", "Names that directories have let go of", "ReleasedList", |r| Box::pin(released(r))),
    post(AdminRole::Operate, "release", "Lets another directory speak for a name", "Released", |r| {
        Box::pin(release(r))
    })
    .body("ReleaseOrder"),
    get("grants", "Roles granted for a time", "Grants", |r| Box::pin(grants(r)))
        .query(&[endpoints::flag("all", "also those that ended within 30 days")]),
    post(AdminRole::Operate, "grants", "Grants a role for a time", "Grant", |r| Box::pin(grant(r)))
        .body("GrantOrder")
        .created(),
    delete(AdminRole::Operate, "grants/{id}", "Ends a grant now", "Grant", |r| {
        Box::pin(revoke(r, r.segment(0)))
    }),
    post(
        AdminRole::Operate,
        "rebaselines",
        "Asks a directory's identity provider to name everybody again",
        "Rebaseline",
        |r| Box::pin(rebaseline(r)),
    )
    .body("RebaselineOrder")
    .created(),
];

/// How long an answer waits for the targets to follow.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often they are asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Unconfirmed users named one by one.
pub(super) const UNCONFIRMED_SHOWN: u32 = 1_000;

fn required<'a>(body: &'a serde_json::Map<String, Value>, key: &str) -> Result<&'a str, AdminError> {
    text(body, key)?.ok_or_else(|| AdminError::invalid(format!("`{key}` is required")))
}

fn shown_shut(shut: &Shut) -> Value {
    json!({
        "subject": shut.subject.to_string(),
        "user_name": shut.user_name,
        "reason": shut.reason,
        "actor": shut.actor,
        "at": shut.at.to_string(),
        "seq": shut.seq,
    })
}

fn shown_grant(grant: &Grant) -> Value {
    json!({
        "id": grant.id,
        "subject": grant.subject.to_string(),
        "user_name": grant.user_name,
        "role": grant.role,
        "reason": grant.reason,
        "actor": grant.actor,
        "at": grant.at.to_string(),
        "until": grant.until.to_string(),
        "ended": grant.ended.map(|(_, at)| at.to_string()),
        "ended_seq": grant.ended.map(|(seq, _)| seq),
    })
}

/// The subject an operator means and its `userName`: a user, or one that is gone and whom the guard still keeps in.
fn named(tx: &mut ReadTx<'_>, name: &str) -> Result<(Subject, String), AdminError> {
    let absent = match resources::user(tx, name) {
        Err(error) if error.status == 404 => error,
        found => return found,
    };
    let kept = subject::kept(tx)?;
    let mut found: Vec<(Subject, String)> = kept
        .into_iter()
        .filter(|(subject, user_name)| {
            user_name == name || subject.to_string() == name || subject.user.to_string() == name
        })
        .collect();
    match found.len() {
        0 => Err(absent),
        1 => found.pop().ok_or(absent),
        _ => Err(ambiguous(name, found.iter().map(|(subject, _)| subject))),
    }
}

fn ambiguous<'a>(name: &str, found: impl Iterator<Item = &'a Subject>) -> AdminError {
    let all: Vec<String> = found.map(ToString::to_string).collect();
    AdminError::new(
        409,
        format!("more than one user is called `{name}`"),
        format!("name one of {}", all.join(", ")),
    )
}

/// Body `{"subject","reason"}`: out of every target. Waits a moment for the targets and names those that still have to
/// follow.
pub(super) async fn shut(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["subject", "reason"])?;
    let (name, reason) = (required(&body, "subject")?.to_owned(), required(&body, "reason")?.to_owned());
    let mirror = &request.state.mirror;
    let done = mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| {
            let (subject, user_name) = named(tx, &name)?;
            Ok(subject::shut(tx, &subject, &user_name, &reason)?)
        })
        .await?;
    tracing::warn!(subject = %done.subject, seq = %done.seq, "a subject is shut out of every target until it is opened");
    let mut answer = shown_shut(&done);
    let behind = behind(request, &done.subject).await?;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("still_in".to_owned(), behind.into());
    }
    Ok(answer)
}

/// Targets that still show the subject, after a moment for them to follow.
async fn behind(request: &Request<'_>, subject: &Subject) -> Result<Vec<String>, AdminError> {
    let mut left = PATIENCE;
    loop {
        let who = subject.clone();
        let read = move |tx: &mut ReadTx<'_>| Ok(unfinished(tx, &who)?);
        let behind = request.state.mirror.read_long::<_, AdminError, _>(read).await?;
        // Where no daemon runs nobody follows, so nothing is waited for.
        if behind.is_empty() || left.is_zero() || request.state.reload.is_none() {
            return Ok(behind);
        }
        tokio::time::sleep(ASK_EVERY).await;
        left = left.saturating_sub(ASK_EVERY);
    }
}

/// Body `{"subject"}`: lets somebody in again, by the name or id that was shut.
pub(super) async fn open(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["subject"])?;
    let name = required(&body, "subject")?.to_owned();
    let mirror = &request.state.mirror;
    let (was, seq) = mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| {
            let subject = shut_as(tx, &name)?;
            Ok(subject::open(tx, &subject)?)
        })
        .await?;
    tracing::warn!(subject = %was.subject, %seq, "a subject that was shut is open again");
    let mut answer = shown_shut(&was);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("opened_seq".to_owned(), json!(seq));
    }
    Ok(answer)
}

/// Who is shut under this name.
fn shut_as(tx: &mut ReadTx<'_>, name: &str) -> Result<Subject, AdminError> {
    let all = subject::shut_list(tx)?;
    let literal = |one: &&Shut| {
        one.user_name.eq_ignore_ascii_case(name)
            || one.subject.to_string() == name
            || one.subject.user.to_string() == name
    };
    let mut found: Vec<Subject> = all.iter().filter(literal).map(|one| one.subject.clone()).collect();
    if found.is_empty()
        && let Ok((subject, user_name)) = resources::user(tx, name)
    {
        found.extend(
            all.iter().filter(|one| one.concerns(&subject, &user_name)).map(|one| one.subject.clone()),
        );
    }
    match found.len() {
        0 => Err(AdminError::absent(
            format!("nobody called `{name}` is shut"),
            "`rosterd shut --list` shows who is",
        )),
        1 => found.pop().ok_or_else(|| AdminError::absent("nobody is shut", "")),
        _ => Err(ambiguous(name, found.iter())),
    }
}

pub(super) async fn shut_list(request: &Request<'_>) -> Result<Value, AdminError> {
    let (shut, _) = in_force(request).await?;
    Ok(json!({ "shut": shut }))
}

/// Who is shut, and the grants that run.
pub(super) async fn in_force(request: &Request<'_>) -> Result<(Vec<Value>, Vec<Value>), AdminError> {
    let read = |tx: &mut ReadTx<'_>| Ok((subject::shut_list(tx)?, grant::list(tx)?));
    let (shut, grants) = request.state.mirror.read_long::<_, AdminError, _>(read).await?;
    let running = grants.iter().filter(|one| one.ended.is_none()).map(shown_grant);
    Ok((shut.iter().map(shown_shut).collect(), running.collect()))
}

/// Body `{"subject","role","seconds","reason"}`.
pub(super) async fn grant(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["subject", "role", "seconds", "reason"])?;
    let (name, reason) = (required(&body, "subject")?.to_owned(), required(&body, "reason")?.to_owned());
    let role = required(&body, "role")?;
    let role = RoleName::parse(role).map_err(|error| AdminError::invalid(format!("`{role}`: {error}")))?;
    let seconds = body.get("seconds").and_then(Value::as_u64);
    let seconds = seconds.ok_or_else(|| AdminError::invalid("`seconds` must be a whole number"))?;
    let running = request.state.running.load_full();
    let Some(known) = running.roles.iter().find(|known| known.name == role).cloned() else {
        let all: Vec<&str> = running.roles.iter().map(|known| known.name.as_str()).collect();
        return Err(AdminError::absent(
            format!("there is no role `{role}`"),
            format!("roles: {}", all.join(", ")),
        ));
    };
    let until = request.state.mirror.now().plus(Duration::from_secs(seconds));
    let mirror = &request.state.mirror;
    let made = mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| {
            let (subject, user_name) = resources::user(tx, &name)?;
            if !known.reaches(&subject.directory) {
                let told = format!("role `{role}` does not reach directory `{}`", subject.directory);
                return Err(AdminError::new(
                    409,
                    told,
                    "`[[role]] directories` names those that may give it",
                ));
            }
            Ok(grant::create(tx, &subject, &user_name, &role, until, &reason)?)
        })
        .await?;
    tracing::warn!(grant = %made.id, subject = %made.subject, role = %made.role, until = %made.until,
        "a role was granted for a time");
    Ok(shown_grant(&made))
}

/// Those that run; with `all=true` those that ended within 30 days, too.
pub(super) async fn grants(request: &Request<'_>) -> Result<Value, AdminError> {
    let all = request.param("all") == Some("true");
    let read = |tx: &mut ReadTx<'_>| Ok(grant::list(tx)?);
    let found = request.state.mirror.read_long::<_, AdminError, _>(read).await?;
    let shown: Vec<Value> = found.iter().filter(|one| all || one.ended.is_none()).map(shown_grant).collect();
    let running = request.state.running.load_full();
    let roles: Vec<&str> = running.roles.iter().map(|role| role.name.as_str()).collect();
    Ok(json!({ "grants": shown, "roles": roles }))
}

pub(super) async fn revoke(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let id: GrantId = id.parse().map_err(|error| AdminError::invalid(format!("`{id}`: {error}")))?;
    let mirror = &request.state.mirror;
    let ended = mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| Ok(grant::revoke(tx, id)?))
        .await?;
    Ok(shown_grant(&ended))
}

/// Body `{"subject","reason"}`, or `{"subject","undo":true}`: the subject's directory lets go of its name.
pub(super) async fn release(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["subject", "reason", "undo"])?;
    let name = required(&body, "subject")?.to_owned();
    let undo = truth(&body, "undo")?.unwrap_or(false);
    let reason = if undo { String::new() } else { required(&body, "reason")?.to_owned() };
    let mirror = &request.state.mirror;
    mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| {
            let (subject, user_name) = resources::user(tx, &name)?;
            let seq = if undo {
                subject::reclaim(tx, &subject, &user_name)?
            } else {
                subject::release(tx, &subject, &user_name, &reason)?
            };
            Ok(json!({
                "subject": subject.to_string(),
                "directory": subject.directory,
                "user_name": user_name,
                "released": !undo,
                "seq": seq,
            }))
        })
        .await
}

/// Names directories have let go of.
pub(super) async fn released(request: &Request<'_>) -> Result<Value, AdminError> {
    let read = |tx: &mut ReadTx<'_>| Ok(subject::released_list(tx)?);
    let found = request.state.mirror.read_long::<_, AdminError, _>(read).await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|one| {
            json!({
                "directory": one.directory,
                "user_name": one.user_name_key,
                "reason": one.reason,
                "actor": one.actor,
                "at": one.at.to_string(),
                "seq": one.seq,
            })
        })
        .collect();
    Ok(json!({ "released": shown }))
}

/// Body `{"directory","seconds"}`: its identity provider has to name everybody again within that time.
pub(super) async fn rebaseline(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["directory", "seconds"])?;
    let id = required(&body, "directory")?;
    let id = DirectoryId::parse(id).map_err(|error| AdminError::invalid(format!("`{id}`: {error}")))?;
    let seconds = body.get("seconds").and_then(Value::as_u64);
    let seconds = seconds.ok_or_else(|| AdminError::invalid("`seconds` must be a whole number"))?;
    let mirror = request.state.mirror.clone();
    let ends = mirror.now().plus(Duration::from_secs(seconds));
    let marks = mirror.clone();
    mirror
        .write::<_, AdminError, _>(request.caller.origin(), move |tx| {
            if let Some(found) = directory::find(tx, &id)? {
                marks.forget_seen(&found.reference);
            }
            let seq = rebaseline::begin(tx, &id, ends)?;
            Ok(json!({ "directory": id, "ends": ends.to_string(), "seq": seq }))
        })
        .await
}

/// What was decided about one user: whether it is shut, and its grants that run.
pub(super) fn of_user(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryId,
    id: ResourceId,
    user_name: &str,
) -> Result<Value, AdminError> {
    let who = Subject { directory: directory.clone(), user: id };
    let shut = subject::shut_list(tx)?.into_iter().find(|one| one.concerns(&who, user_name));
    let grants = grant::list(tx)?.into_iter().filter(|one| one.subject == who && one.ended.is_none());
    let grants: Vec<Value> = grants.map(|one| shown_grant(&one)).collect();
    Ok(json!({ "shut": shut.as_ref().map(shown_shut), "grants": grants }))
}
