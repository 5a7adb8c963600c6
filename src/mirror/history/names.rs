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
    for id in ids {
        let key = [Param::Blob(id.as_bytes())];
        let live =
            tx.first("SELECT doc FROM resource WHERE id = ?1", &key, |row| Ok(row.text(0)?.to_owned()))?;
        let text = if live.is_some() {
            live
        } else {
            let sql = "SELECT v.before FROM change c JOIN change_value v ON v.seq = c.seq WHERE c.resource = ?1 \
                       AND c.kind IN ('user.deleted', 'group.deleted') ORDER BY c.seq DESC LIMIT 1";
            tx.first(sql, &key, |row| Ok(row.opt_text(0)?.map(str::to_owned)))?.flatten()
        };
        let doc = part(text.as_deref());
        let name = doc.get("userName").or_else(|| doc.get("displayName")).and_then(Value::as_str);
        if let Some(name) = name {
            found.insert(*id, name.to_owned());
        }
    }
    Ok(found)
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
