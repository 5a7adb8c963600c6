//! `/api/v1/explain`: why somebody holds, or does not hold, each role.

use serde_json::{Value, json};

use super::{AdminError, Request, Snapshot, resources};
use crate::access::{self, Facts};
use crate::mirror::{ReadTx, StoreError, facts};
use crate::model::RoleName;

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
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let subject = resources::subject(tx, &name)?;
            let facts = load(tx, &running)?;
            let now = tx.now();
            let access = access::access(&facts, &running.roles, now);
            let user = facts
                .directory(&subject.directory)
                .and_then(|directory| directory.users.iter().find(|user| user.id == subject.user));
            let roles: Vec<Value> = running
                .roles
                .iter()
                .filter(|known| role.as_ref().is_none_or(|wanted| known.name == *wanted))
                .filter_map(|known| access::explain(&facts, &access, &running.roles, &subject, &known.name))
                .map(|said| json!({ "role": said.role, "holds": said.holds, "why": said.why }))
                .collect();
            let problems: Vec<String> = access.problems.iter().map(ToString::to_string).collect();
            Ok(json!({
                "subject": subject.to_string(),
                "directory": subject.directory,
                "id": subject.user,
                "user_name": user.map(|user| user.user_name.as_str()),
                "active": user.map(|user| user.active),
                "roles": roles,
                "problems": problems,
            }))
        })
        .await
}
