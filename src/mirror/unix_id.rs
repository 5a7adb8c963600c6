//! Numbers of Unix accounts and groups: given once, kept for ever.

use std::collections::BTreeMap;

use crate::model::UnixIdOwner;

use super::engine::{Param, StoreError};
use super::tx::{ReadTx, WriteTx};

/// Every number ever given, with its owner.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn all(tx: &mut ReadTx<'_>) -> Result<BTreeMap<u32, UnixIdOwner>, StoreError> {
    let sql = "SELECT number, owner FROM unix_id ORDER BY number";
    let rows = tx.all(sql, &[], |row| {
        let number = u32::try_from(row.int(0)?).map_err(|e| StoreError::Bug(e.to_string()))?;
        let owner = row.text(1)?.parse::<UnixIdOwner>().map_err(|e| StoreError::Bug(e.to_string()))?;
        Ok((number, owner))
    })?;
    Ok(rows.into_iter().collect())
}

/// Keeps numbers. One that another owner has here is taken from it: only a record that outlived this mirror says so.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn keep(tx: &mut WriteTx<'_>, given: &BTreeMap<u32, UnixIdOwner>) -> Result<(), StoreError> {
    let now = tx.now().0;
    for (number, owner) in given {
        tx.execute(
            "INSERT INTO unix_id (number, owner, given_at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (number) DO UPDATE SET owner = excluded.owner, given_at = excluded.given_at",
            &[Param::Int(i64::from(*number)), Param::Text(&owner.to_string()), Param::Int(now)],
        )?;
    }
    Ok(())
}
