//! `/api/v1/explain`: why somebody holds, or does not hold, each role.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get};
use super::{AdminError, Request, Snapshot, past, resources};
use crate::access::{self, Entitlement, Facts, Reason};
use crate::mirror::history::{self, Causes};
use crate::mirror::{ReadTx, StoreError, facts};
use crate::model::{ResourceId, RoleName, Subject};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] =
    &[get("explain", "Why somebody holds, or does not hold, each role", "Explained", |r| {
        Box::pin(explain(r))
    })
    .query(&[
        endpoints::text("subject", "a user name, an e-mail address or an id").required(),
        endpoints::text("role", "only this role"),
    ])];

/// The facts of one snapshot, with the claims that only the configuration knows.
pub(super) fn load(tx: &mut ReadTx<'_>, running: &Snapshot) -> Result<Facts, StoreError> {
    let mut facts = facts::load(tx, &running.directory_order)?;
    for directory in &mut facts.directories {
        if let Some((_, claims)) = running.claims.iter().find(|(id, _)| *id == directory.id) {
            directory.claims.clone_from(claims);
        }
    }
    Ok(facts)
}

pub(super) async fn explain(request: &Request<'_>) -> Result<Value, AdminError> {
    let name = request
        .param("subject")
        .ok_or_else(|| AdminError::invalid("`subject` is required: a user name, an e-mail address or an id"))?
        .to_owned();
    let role = match request.param("role") {
        None => None,
        Some(text) => {
            Some(RoleName::parse(text).map_err(|error| AdminError::invalid(format!("`{text}`: {error}")))?)
        }
    };
    let running = request.state.running.load_full();
    if let Some(role) = &role
        && !running.roles.iter().any(|known| known.name == *role)
    {
        let all: Vec<&str> = running.roles.iter().map(|known| known.name.as_str()).collect();
        let hint = if all.is_empty() {
            "no role is configured".to_owned()
        } else {
            format!("roles are {}", all.join(", "))
        };
        return Err(AdminError::absent(format!("there is no role `{role}`"), hint));
    }
    let roles = running.roles.clone();
    let (subject, mut answer) = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| judged(tx, &running, &name, role.as_ref()))
        .await?;
    if let Some(targets) = &request.state.targets
        && let Some(told) = answer.get_mut("roles").and_then(Value::as_array_mut)
    {
        for (one, role) in told.iter_mut().filter_map(|one| {
            let role = roles
                .iter()
                .find(|known| one.get("role").and_then(Value::as_str) == Some(known.name.as_str()));
            role.map(|role| (one, role))
        }) {
            let found = targets.explain(subject.clone(), Entitlement::Role(role.name.clone())).await?;
            if let Some(one) = one.as_object_mut() {
                one.insert("targets".into(), found);
            }
        }
    }
    Ok(answer)
}

/// What access says of the subject, role by role, with the changes behind it.
fn judged(
    tx: &mut ReadTx<'_>,
    running: &Snapshot,
    name: &str,
    role: Option<&RoleName>,
) -> Result<(Subject, Value), AdminError> {
    let subject = resources::subject(tx, name)?;
    let facts = load(tx, running)?;
    let access = access::access(&facts, &running.roles, tx.now());
    let user = facts
        .directory(&subject.directory)
        .and_then(|directory| directory.users.iter().find(|user| user.id == subject.user));
    let mut causes = Causes::default();
    let mut roles = Vec::new();
    for known in running.roles.iter().filter(|known| role.is_none_or(|wanted| known.name == *wanted)) {
        let Some(said) = access::explain(&facts, &access, &running.roles, &subject, &known.name) else {
            continue;
        };
        let entitlement = Entitlement::Role(known.name.clone());
        let held = access.held.get(&subject).and_then(|held| held.get(&entitlement));
        let mut reasons = Vec::new();
        for reason in held.into_iter().flatten() {
            let by = causes.reason(tx, &facts, &subject, Some(known), reason)?;
            reasons.push(json!({
                "why": access::say(&facts, &subject, Some(known), reason),
                "path": path(&facts, &subject, reason),
                "since": past::cause(by.as_ref()),
            }));
        }
        let since = history::since(tx, &mut causes, (&facts, &access), &subject, &entitlement, Some(known))?;
        let lost = match held {
            Some(_) => None,
            None => history::last_loss(tx, &access, &subject, &known.name)?,
        };
        roles.push(json!({
            "role": said.role, "holds": said.holds, "why": said.why, "reasons": reasons,
            "since": past::cause(since.as_ref()), "lost": past::cause(lost.as_ref()), "targets": [],
        }));
    }
    let problems: Vec<String> = access.problems.iter().map(ToString::to_string).collect();
    let answer = json!({
        "subject": subject.to_string(),
        "directory": subject.directory,
        "id": subject.user,
        "user_name": user.map(|user| user.user_name.as_str()),
        "active": user.map(|user| user.active),
        "seq": facts.seq,
        "roles": roles,
        "problems": problems,
    });
    Ok((subject, answer))
}

/// The groups on the way, from the role's down to the one that has the user as direct member.
fn path(facts: &Facts, subject: &Subject, reason: &Reason) -> Vec<Value> {
    let (Reason::Group { path } | Reason::Member { path }) = reason else { return Vec::new() };
    let groups = facts.directory(&subject.directory).map_or(&[][..], |found| found.groups.as_slice());
    let name =
        |id: &ResourceId| groups.iter().find(|group| group.id == *id).map(|group| group.display_name.clone());
    path.iter().map(|id| json!({ "id": id, "name": name(id) })).collect()
}
