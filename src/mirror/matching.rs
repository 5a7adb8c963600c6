//! Who of a directory is meant by a name that a file has for them. One indexed look-up each.

use crate::model::{ResourceId, ResourceType};
use crate::scim::filter::fold;

use super::change::{id_of, type_number};
use super::directory::DirectoryRef;
use super::engine::{Param, StoreError};
use super::resource::{STORED, Stored, stored_of};
use super::tx::ReadTx;

/// The resource of this type with this `externalId`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn by_external_id(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    kind: ResourceType,
    external_id: &str,
) -> Result<Option<Stored>, StoreError> {
    let sql =
        format!("SELECT {STORED} FROM resource r WHERE r.dir = ?1 AND r.type = ?2 AND r.external_id = ?3");
    let params = [Param::Int(directory.key), Param::Int(type_number(kind)), Param::Text(external_id)];
    tx.first(&sql, &params, stored_of)
}

/// The user of this `userName`, in whatever letter case.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn by_user_name(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    user_name: &str,
) -> Result<Option<Stored>, StoreError> {
    let sql = format!("SELECT {STORED} FROM resource r WHERE r.dir = ?1 AND r.user_name_key = ?2");
    tx.first(&sql, &[Param::Int(directory.key), Param::Text(&fold(user_name))], stored_of)
}

/// Groups of this `displayName`, in whatever letter case; at most two, which is one too many.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn groups_named(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    name: &str,
) -> Result<Vec<Stored>, StoreError> {
    let sql = format!(
        "SELECT {STORED} FROM resource r WHERE r.dir = ?1 AND r.type = 2 AND r.display_name_key = ?2 \
         ORDER BY r.rid LIMIT 2"
    );
    tx.all(&sql, &[Param::Int(directory.key), Param::Text(&fold(name))], stored_of)
}

/// A resource of a directory, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// SCIM `id`.
    pub id: ResourceId,
    /// Counter behind the ETag.
    pub version: u64,
    /// A user's `active`; true for a group.
    pub active: bool,
    /// What a person calls it: `userName` of a user, `displayName` of a group.
    pub name: String,
}

/// All of one type that the directory holds, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn all(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    kind: ResourceType,
) -> Result<Vec<Brief>, StoreError> {
    let sql = "SELECT id, version, active, COALESCE(user_name_key, label) FROM resource \
               WHERE dir = ?1 AND type = ?2 ORDER BY rid";
    tx.all(sql, &[Param::Int(directory.key), Param::Int(type_number(kind))], |row| {
        Ok(Brief {
            id: id_of(row.blob(0)?)?,
            version: u64::try_from(row.int(1)?).unwrap_or(0),
            active: row.int(2)? == 1,
            name: row.text(3)?.to_owned(),
        })
    })
}
