//! Facts of an earlier seq brought up to date from the change log, so that one change costs one look-up, whatever
//! the size of the directory.

use std::collections::BTreeSet;

use crate::access::{DirectoryFacts, Facts, GroupFacts, UserFacts};
use crate::model::{DirectoryId, ResourceId, ResourceType, Seq, Timestamp};

use super::change::{CONFIG_CHAIN, Kind, id_of, member_of, type_of};
use super::directory::Directory;
use super::engine::{Param, StoreError};
use super::facts::{group_facts, load, load_decisions, ordered, user_facts};
use super::resource::doc_of;
use super::tx::ReadTx;

/// Further behind than this, loading afresh is cheaper than one look-up each.
const CHANGES_MAX: u64 = 4_000;

/// Brings facts of an earlier seq up to this snapshot, touching only what changed since. Costs one look-up for each
/// resource altered, whatever the size of the directory; after very many changes, or once directories came or went,
/// all is loaded afresh.
///
/// # Errors
/// The store's own failures.
pub fn advance(tx: &mut ReadTx<'_>, mut facts: Facts, order: &[DirectoryId]) -> Result<Facts, StoreError> {
    let newest = tx.seq()?;
    let directories = ordered(tx, order)?;
    let is_same = directories.len() == facts.directories.len()
        && directories.iter().zip(&facts.directories).all(|(now, then)| now.id == then.id);
    let behind = newest.0.checked_sub(facts.seq.0);
    if !is_same || behind.is_none_or(|behind| behind > CHANGES_MAX) {
        return load(tx, order);
    }
    let changes = changes(tx, facts.seq)?;
    // A log pruned past these facts has a gap here; a directory of the same name may be another one by now.
    if changes.len() as u64 != behind.unwrap_or(0) || changes.iter().any(|one| one.is_other_directory) {
        return load(tx, order);
    }
    let touched: BTreeSet<(i64, ResourceId)> =
        changes.iter().filter_map(|one| Some((one.chain, one.resource?))).collect();
    for (chain, resource) in touched {
        let at = directories.iter().position(|one| one.reference.key == chain);
        if let Some(known) = at.and_then(|at| facts.directories.get_mut(at)) {
            renew(tx, known, chain, resource)?;
        }
    }
    move_members(tx, &directories, &mut facts)?;
    for (now, known) in directories.iter().zip(&mut facts.directories) {
        known.enabled = now.enabled;
        known.pushed = now.pushed_at.is_some();
    }
    // A user that is gone is no longer unconfirmed either.
    if changes.iter().any(|one| one.chain == CONFIG_CHAIN) || !facts.unconfirmed.is_empty() {
        load_decisions(tx, &mut facts)?;
    }
    facts.seq = newest;
    Ok(facts)
}

/// What one change touched.
struct Touched {
    chain: i64,
    resource: Option<ResourceId>,
    is_other_directory: bool,
}

fn changes(tx: &mut ReadTx<'_>, seq: Seq) -> Result<Vec<Touched>, StoreError> {
    let sql = "SELECT chain, resource, kind FROM change WHERE seq > ?1 ORDER BY seq";
    tx.all(sql, &[number(seq)], |row| {
        Ok(Touched {
            chain: row.int(0)?,
            resource: row.opt_blob(1)?.map(id_of).transpose()?,
            is_other_directory: matches!(
                Kind::from_word(row.text(2)?),
                Kind::DirectoryAdded | Kind::DirectoryRemoved
            ),
        })
    })
}

fn number(seq: Seq) -> Param<'static> {
    Param::Int(i64::try_from(seq.0).unwrap_or(i64::MAX))
}

/// One resource as it is now: put in, put in place of the old, or taken out.
fn renew(
    tx: &mut ReadTx<'_>,
    known: &mut DirectoryFacts,
    dir: i64,
    id: ResourceId,
) -> Result<(), StoreError> {
    let sql = "SELECT type, active, created_at, modified_at, external_id, doc FROM resource WHERE id = ?1 AND dir = ?2";
    let found = tx.first(sql, &[Param::Blob(id.as_bytes()), Param::Int(dir)], |row| {
        let doc = doc_of(row.text(5)?)?;
        Ok(match type_of(row.int(0)?)? {
            ResourceType::User => Renewed::User(user_facts(
                id,
                row.int(1)? == 1,
                doc,
                (Timestamp(row.int(2)?), Timestamp(row.int(3)?)),
            )),
            ResourceType::Group => Renewed::Group(group_facts(id, row.opt_text(4)?, &doc)),
        })
    })?;
    let user = known.users.binary_search_by_key(&id, |user| user.id);
    let group = known.groups.binary_search_by_key(&id, |group| group.id);
    match (found, user, group) {
        (Some(Renewed::User(new)), Ok(at), _) => {
            if let Some(old) = known.users.get_mut(at) {
                *old = new;
            }
        }
        (Some(Renewed::User(new)), Err(at), _) => known.users.insert(at, new),
        (Some(Renewed::Group(mut new)), _, Ok(at)) => {
            if let Some(old) = known.groups.get_mut(at) {
                new.users = std::mem::take(&mut old.users);
                new.groups = std::mem::take(&mut old.groups);
                *old = new;
            }
        }
        (Some(Renewed::Group(new)), _, Err(at)) => known.groups.insert(at, new),
        (None, Ok(at), _) => drop(known.users.remove(at)),
        (None, Err(_), Ok(at)) => drop(known.groups.remove(at)),
        (None, Err(_), Err(_)) => {}
    }
    Ok(())
}

enum Renewed {
    User(UserFacts),
    Group(GroupFacts),
}

/// Applies the member rows of the changes behind the facts, in their order. Groups that went are passed over.
fn move_members(tx: &mut ReadTx<'_>, directories: &[Directory], facts: &mut Facts) -> Result<(), StoreError> {
    let sql = "SELECT c.chain, m.op, m.group_id, m.member_id, m.member_type FROM change c \
               JOIN change_member m ON m.seq = c.seq WHERE c.seq > ?1 ORDER BY c.seq, m.n";
    tx.query(sql, &[number(facts.seq)], &mut |row| {
        let chain = row.int(0)?;
        let member = member_of(row, 1)?;
        let at = directories.iter().position(|one| one.reference.key == chain);
        let Some(known) = at.and_then(|at| facts.directories.get_mut(at)) else { return Ok(()) };
        let group = known.groups.binary_search_by_key(&member.group, |group| group.id);
        let Some(group) = group.ok().and_then(|at| known.groups.get_mut(at)) else { return Ok(()) };
        let list = match member.member_type {
            ResourceType::User => &mut group.users,
            ResourceType::Group => &mut group.groups,
        };
        match (list.binary_search(&member.member), member.added) {
            (Err(at), true) => list.insert(at, member.member),
            (Ok(at), false) => drop(list.remove(at)),
            (Ok(_), true) | (Err(_), false) => {}
        }
        Ok(())
    })
}

#[cfg(test)]
#[path = "advance_tests.rs"]
mod tests;
