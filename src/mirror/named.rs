//! A few resources by id, as facts: what an event needs to name whom it is about, without reading a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::{DirectoryFacts, Facts, GroupFacts, UserFacts};
use crate::model::{DirectoryId, ResourceId, ResourceType, Timestamp};

use super::change::{id_of, type_of};
use super::engine::{Param, StoreError};
use super::resource::doc_of;
use super::tx::ReadTx;

/// The resources of `ids` that are there, without members. One indexed look-up each.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn resources(tx: &mut ReadTx<'_>, ids: &BTreeSet<ResourceId>) -> Result<Facts, StoreError> {
    let mut directories: BTreeMap<DirectoryId, DirectoryFacts> = BTreeMap::new();
    let sql = "SELECT d.id, r.type, r.id, r.active, r.created_at, r.modified_at, r.external_id, r.doc \
               FROM resource r JOIN directory d ON d.key = r.dir WHERE r.id = ?1";
    for id in ids {
        tx.query(sql, &[Param::Blob(id.as_bytes())], &mut |row| {
            let directory = DirectoryId::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?;
            let kind = type_of(row.int(1)?)?;
            let (id, doc) = (id_of(row.blob(2)?)?, doc_of(row.text(7)?)?);
            let text = |name: &str| doc.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            let facts = directories.entry(directory.clone()).or_insert_with(|| DirectoryFacts {
                id: directory,
                enabled: true,
                pushed: true,
                claims: Vec::new(),
                users: Vec::new(),
                groups: Vec::new(),
            });
            match kind {
                ResourceType::User => facts.users.push(UserFacts {
                    id,
                    active: row.int(3)? == 1,
                    user_name: text("userName"),
                    doc: Arc::new(doc),
                    created: Timestamp(row.int(4)?),
                    last_modified: Timestamp(row.int(5)?),
                }),
                ResourceType::Group => facts.groups.push(GroupFacts {
                    id,
                    display_name: text("displayName"),
                    external_id: row.opt_text(6)?.map(str::to_owned),
                    users: Vec::new(),
                    groups: Vec::new(),
                }),
            }
            Ok(())
        })?;
    }
    Ok(Facts { seq: tx.seq()?, directories: directories.into_values().collect(), ..Facts::default() })
}
