//! What users and groups are called, also those who are gone.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::mirror::change::id_of;
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::ReadTx;
use crate::model::{ResourceId, ResourceType};
use crate::scim::filter::fold;

use super::state::part;

/// The `userName` or `displayName` of each: that of now, or the last one of who is gone. Who was forgotten, or went
/// before the kept part of the log, has none.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn names(
    tx: &mut ReadTx<'_>,
    ids: &BTreeSet<ResourceId>,
) -> Result<HashMap<ResourceId, String>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    let all: Vec<ResourceId> = ids.iter().copied().collect();
    for some in all.chunks(AT_ONCE) {
        let places: Vec<String> = (1..=some.len()).map(|n| format!("?{n}")).collect();
        let keys: Vec<Param<'_>> = some.iter().map(|id| Param::Blob(id.as_bytes())).collect();
        let sql = format!("SELECT id, doc FROM resource WHERE id IN ({})", places.join(", "));
        found.extend(tx.all(&sql, &keys, |row| Ok((id_of(row.blob(0)?)?, named(Some(row.text(1)?)))))?);
    }
    for id in ids {
        if !found.contains_key(id) {
            let sql = "SELECT v.before FROM change c JOIN change_value v ON v.seq = c.seq WHERE c.resource = ?1 \
                       AND c.kind IN ('user.deleted', 'group.deleted') ORDER BY c.seq DESC LIMIT 1";
            let gone = tx.first(sql, &[Param::Blob(id.as_bytes())], |row| Ok(named(row.opt_text(0)?)))?;
            found.insert(*id, gone.flatten());
        }
    }
    Ok(found.into_iter().filter_map(|(id, name)| Some((id, name?))).collect())
}

/// Ids in one query: far fewer than either engine takes.
const AT_ONCE: usize = 500;

fn named(doc: Option<&str>) -> Option<String> {
    let doc = part(doc);
    doc.get("userName").or_else(|| doc.get("displayName")).and_then(Value::as_str).map(str::to_owned)
}

/// At most this many of one name.
const GONE_MAX: usize = 5;

/// Those of this kind who are gone and were called `name` when they went, latest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn gone_by_name(
    tx: &mut ReadTx<'_>,
    kind: ResourceType,
    name: &str,
) -> Result<Vec<ResourceId>, StoreError> {
    let (word, attribute) = match kind {
        ResourceType::User => ("user.deleted", "userName"),
        ResourceType::Group => ("group.deleted", "displayName"),
    };
    // Deletions are few, and their documents are the only place left where the name stands.
    let sql = "SELECT c.resource, v.before FROM change c JOIN change_value v ON v.seq = c.seq WHERE c.kind = ?1 \
               ORDER BY c.seq DESC";
    let wanted = fold(name);
    let mut found: Vec<ResourceId> = Vec::new();
    tx.query(sql, &[Param::Text(word)], &mut |row| {
        let doc = part(row.opt_text(1)?);
        let is_it = doc.get(attribute).and_then(Value::as_str).is_some_and(|name| fold(name) == wanted);
        if is_it && found.len() < GONE_MAX {
            found.push(id_of(row.blob(0)?)?);
        }
        Ok(())
    })?;
    Ok(found)
}
