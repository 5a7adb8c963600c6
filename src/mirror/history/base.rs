//! Where the log begins, and the state it begins with.

use std::collections::HashMap;

use crate::mirror::change::{id_of, type_of};
use crate::mirror::engine::{StoreError, array};
use crate::mirror::tx::ReadTx;
use crate::model::{ResourceType, Seq, Timestamp};
use crate::scim::resource::Doc;

use super::state::{Item, State, part};

/// The last change that was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Its number; [`Seq::ZERO`] while nothing was pruned.
    pub seq: Seq,
    /// When it was made.
    pub at: Timestamp,
    /// Sum of the digests of the rows that hold the state after it.
    pub state: [u8; 32],
}

/// Where the log begins.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn base(tx: &mut ReadTx<'_>) -> Result<Base, StoreError> {
    let found = tx.first("SELECT seq, at, state FROM history_base WHERE one = 1", &[], |row| {
        let seq = Seq(u64::try_from(row.int(0)?).unwrap_or(0));
        Ok(Base { seq, at: Timestamp(row.int(1)?), state: array(row.blob(2)?)? })
    })?;
    found.ok_or_else(|| StoreError::Bug("the base of the log has no row".into()))
}

/// The state that the base holds.
pub(super) fn load(tx: &mut ReadTx<'_>) -> Result<State, StoreError> {
    let mut state = State::default();
    let sql = "SELECT id, chain, type, active, created_at, modified_at, doc FROM base_resource";
    tx.query(sql, &[], &mut |row| {
        let item = Item {
            chain: row.int(1)?,
            kind: type_of(row.int(2)?)?,
            active: row.int(3)? == 1,
            created: Timestamp(row.int(4)?),
            modified: Timestamp(row.int(5)?),
            doc: row.opt_text(6)?.map(|text| part(Some(text))),
        };
        state.items.insert(id_of(row.blob(0)?)?, item);
        Ok(())
    })?;
    tx.query("SELECT group_id, member_id FROM base_member", &[], &mut |row| {
        let group = id_of(row.blob(0)?)?;
        state.members.entry(group).or_default().insert(id_of(row.blob(1)?)?);
        Ok(())
    })?;
    Ok(state)
}

/// The state of now.
pub(super) fn load_newest(tx: &mut ReadTx<'_>) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut ids = HashMap::new();
    let sql = "SELECT rid, id, dir, type, active, created_at, modified_at, doc FROM resource";
    tx.query(sql, &[], &mut |row| {
        let kind = type_of(row.int(3)?)?;
        let doc: Doc = part(Some(row.text(7)?));
        let item = Item {
            chain: row.int(2)?,
            kind,
            active: kind == ResourceType::Group || row.int(4)? == 1,
            created: Timestamp(row.int(5)?),
            modified: Timestamp(row.int(6)?),
            doc: Some(doc),
        };
        let id = id_of(row.blob(1)?)?;
        ids.insert(row.int(0)?, id);
        state.items.insert(id, item);
        Ok(())
    })?;
    tx.query("SELECT group_rid, member_rid FROM member", &[], &mut |row| {
        if let (Some(group), Some(member)) = (ids.get(&row.int(0)?), ids.get(&row.int(1)?)) {
            state.members.entry(*group).or_default().insert(*member);
        }
        Ok(())
    })?;
    Ok(state)
}
