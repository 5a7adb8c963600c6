//! Which group a role's displayName rule stands for.

use serde_json::{Value, json};

use super::{append, number};
use crate::access::{BindingKey, Bindings, Bound};
use crate::mirror::change::{Kind, id_of};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::model::{DirectoryId, RoleName};

/// What is remembered.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>) -> Result<Bindings, StoreError> {
    let sql = "SELECT role, dir_id, rule, group_id, external_id FROM role_group ORDER BY role, dir_id, rule";
    let bug = |error: crate::model::IdError| StoreError::Bug(error.to_string());
    let rows = tx.all(sql, &[], |row| {
        let key = BindingKey {
            role: RoleName::parse(row.text(0)?).map_err(bug)?,
            directory: DirectoryId::parse(row.text(1)?).map_err(bug)?,
            rule: row.text(2)?.to_owned(),
        };
        Ok((key, Bound { group: id_of(row.blob(3)?)?, external_id: row.opt_text(4)?.map(str::to_owned) }))
    })?;
    Ok(rows.into_iter().collect())
}

/// Remembers exactly `wanted`: one change for each rule that found its group, found it again under another id, or left
/// the configuration.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn settle(tx: &mut WriteTx<'_>, wanted: &Bindings) -> Result<(), StoreError> {
    let known = list(tx)?;
    for (key, bound) in wanted {
        let before = known.get(key);
        if before != Some(bound) {
            put(tx, key, before, bound)?;
        }
    }
    for (key, bound) in known.iter().filter(|(key, _)| !wanted.contains_key(key)) {
        append(tx, &Kind::RoleUnbound, &object(key), Some(&body(key, bound)), None)?;
        let params =
            [Param::Text(key.role.as_str()), Param::Text(key.directory.as_str()), Param::Text(&key.rule)];
        tx.execute("DELETE FROM role_group WHERE role = ?1 AND dir_id = ?2 AND rule = ?3", &params)?;
    }
    Ok(())
}

fn put(
    tx: &mut WriteTx<'_>,
    key: &BindingKey,
    before: Option<&Bound>,
    bound: &Bound,
) -> Result<(), StoreError> {
    let before = before.map(|bound| body(key, bound));
    let after = body(key, bound);
    let seq = append(tx, &Kind::RoleBound, &object(key), before.as_ref(), Some(&after))?;
    let params = [
        Param::Text(key.role.as_str()),
        Param::Text(key.directory.as_str()),
        Param::Text(&key.rule),
        Param::Blob(bound.group.as_bytes()),
        Param::opt_text(bound.external_id.as_deref()),
        Param::Int(number(seq)),
    ];
    let sql = "INSERT INTO role_group (role, dir_id, rule, group_id, external_id, seq) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (role, dir_id, rule) DO UPDATE SET \
               group_id = excluded.group_id, external_id = excluded.external_id, seq = excluded.seq";
    tx.execute(sql, &params).map(|_| ())
}

/// `ROLE/DIRECTORY/NAME`: neither of the first two can hold a slash.
fn object(key: &BindingKey) -> String {
    format!("{}/{}/{}", key.role, key.directory, key.rule)
}

fn body(key: &BindingKey, bound: &Bound) -> Value {
    json!({
        "role": key.role, "directory": key.directory, "rule": key.rule,
        "group": bound.group, "external_id": bound.external_id,
    })
}

/// What a logged change said; `None` for one that cannot be understood.
pub(in crate::mirror) fn of_body(body: &serde_json::Map<String, Value>) -> Option<(BindingKey, Bound)> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let key = BindingKey {
        role: RoleName::parse(text("role")?).ok()?,
        directory: DirectoryId::parse(text("directory")?).ok()?,
        rule: text("rule")?.to_owned(),
    };
    let group = crate::model::ResourceId::parse(text("group")?)?;
    Some((key, Bound { group, external_id: text("external_id").map(str::to_owned) }))
}

/// Forgets what is known of a directory that goes: one of the same id later is another one.
pub(in crate::mirror) fn forget(tx: &mut WriteTx<'_>, directory: &DirectoryId) -> Result<(), StoreError> {
    let params = [Param::Text(directory.as_str())];
    tx.execute("DELETE FROM role_group WHERE dir_id = ?1", &params).map(|_| ())
}
