//! The configuration that was in force, as far as it decides who holds what.

use serde_json::Value;

use crate::access::{Facts, GroupRule, OnRename, Role, UserFilter};
use crate::mirror::change;
use crate::mirror::engine::StoreError;
use crate::mirror::tx::ReadTx;
use crate::model::{DirectoryId, ResourceType, RoleName, Seq};
use crate::scim::filter;
use crate::scim::schema::Registry;

/// What an accepted configuration said about access.
#[derive(Debug, Clone, Default)]
pub struct ConfigAt {
    /// The change that accepted it; `None` before the first.
    pub seq: Option<Seq>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its directories in order of precedence.
    pub order: Vec<DirectoryId>,
    /// Whom each directory could speak for.
    pub claims: Vec<(DirectoryId, Vec<String>)>,
    /// What of it cannot be understood by the schemas of now.
    pub problems: Vec<String>,
}

impl ConfigAt {
    /// Fills in what facts do not know by themselves.
    pub fn complete(&self, facts: &mut Facts) {
        for directory in &mut facts.directories {
            if let Some((_, claims)) = self.claims.iter().find(|(id, _)| *id == directory.id) {
                directory.claims.clone_from(claims);
            }
        }
    }
}

/// The configuration in force at `seq`. Filters are read with the schemas in `registry`: those of then are not kept.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn config_at(tx: &mut ReadTx<'_>, seq: Seq, registry: &Registry) -> Result<ConfigAt, StoreError> {
    let sql = "SELECT seq, body FROM config_version WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
    let found = tx.first(sql, &[change::param(seq)], |row| {
        let body = serde_json::from_str::<Value>(row.text(1)?).unwrap_or(Value::Null);
        Ok((Seq(u64::try_from(row.int(0)?).unwrap_or(0)), body))
    })?;
    let Some((made, body)) = found else { return Ok(ConfigAt::default()) };
    let mut config = ConfigAt { seq: Some(made), ..ConfigAt::default() };
    for one in list(&body, "directories") {
        let Some(id) = one.get("id").and_then(Value::as_str).and_then(|id| DirectoryId::parse(id).ok())
        else {
            continue;
        };
        config.claims.push((id.clone(), texts(one, "claims")));
        config.order.push(id);
    }
    for one in list(&body, "roles") {
        match role(one, registry) {
            Ok(role) => config.roles.push(role),
            Err(why) => config.problems.push(why),
        }
    }
    Ok(config)
}

fn role(body: &Value, registry: &Registry) -> Result<Role, String> {
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = RoleName::parse(name).map_err(|error| format!("role of change: {error}"))?;
    let wrong = |why: &dyn std::fmt::Display| format!("role `{name}` as it was cannot be judged now: {why}");
    let texts_of_groups = texts(body, "groups");
    let groups = texts_of_groups.iter().map(|text| text.parse::<GroupRule>());
    let groups = groups.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    let users = match body.get("users").and_then(Value::as_str) {
        None => None,
        Some(text) => {
            let bound = filter::parse(text)
                .and_then(|parsed| filter::bind(&parsed, registry.resource(ResourceType::User)))
                .map_err(|error| wrong(&error.detail))?;
            Some(UserFilter { text: text.to_owned(), bound })
        }
    };
    let directories = body
        .get("directories")
        .filter(|value| value.is_array())
        .map(|_| texts(body, "directories").iter().filter_map(|id| DirectoryId::parse(id).ok()).collect());
    let protected = body.get("protected").and_then(Value::as_bool).unwrap_or(false);
    let is_release = body.get("on_rename").and_then(Value::as_str) == Some(OnRename::Release.as_str());
    let on_rename = if is_release { OnRename::Release } else { OnRename::Follow };
    Ok(Role { name, groups, users, directories, protected, on_rename })
}

fn list<'a>(body: &'a Value, key: &str) -> &'a [Value] {
    body.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(body: &Value, key: &str) -> Vec<String> {
    list(body, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
