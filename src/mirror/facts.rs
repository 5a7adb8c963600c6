//! Fills `access::Facts` from one snapshot. The only place that knows both SQL and access.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::{DirectoryFacts, Doc, Facts, Grant, GroupFacts, Release, Shut, UserFacts};
use crate::model::{DirectoryId, ResourceId, ResourceType, Timestamp};
use crate::scim::filter::fold;

use super::change::{id_of, type_of};
use super::decision;
use super::directory::{self, Directory};
use super::engine::{Param, StoreError};
use super::resource::doc_of;
use super::tx::ReadTx;

/// Everything the identity providers last said. Directories named in `order` come first, in that order; the others
/// follow by age. `claims` are the configuration's to fill in.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn load(tx: &mut ReadTx<'_>, order: &[DirectoryId]) -> Result<Facts, StoreError> {
    let mut facts = Facts { seq: tx.seq()?, ..Facts::default() };
    for directory in &ordered(tx, order)? {
        facts.directories.push(load_directory(tx, directory)?);
    }
    load_decisions(tx, &mut facts)?;
    Ok(facts)
}

/// What people decided about subjects; few rows, read whole.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn load_decisions(tx: &mut ReadTx<'_>, facts: &mut Facts) -> Result<(), StoreError> {
    let shut = decision::subject::shut_list(tx)?.into_iter();
    facts.shut = shut
        .map(|one| Shut {
            user_name_key: fold(&one.user_name),
            subject: one.subject,
            reason: one.reason,
            seq: one.seq,
        })
        .collect();
    let released = decision::subject::released_list(tx)?.into_iter();
    facts.released =
        released.map(|one| Release { directory: one.directory, user_name_key: one.user_name_key }).collect();
    let grants = decision::grant::list(tx)?.into_iter();
    facts.grants = grants
        .map(|one| Grant {
            id: one.id,
            subject: one.subject,
            role: one.role,
            until: one.until,
            reason: one.reason,
            ended: one.ended.map(|(seq, _)| seq),
        })
        .collect();
    facts.bindings = decision::binding::list(tx)?;
    facts.unconfirmed = decision::rebaseline::all_unconfirmed(tx)?.into_iter().collect();
    Ok(())
}

/// The directories, those named in `order` first.
pub(super) fn ordered(tx: &mut ReadTx<'_>, order: &[DirectoryId]) -> Result<Vec<Directory>, StoreError> {
    let mut directories = directory::list(tx)?;
    let rank = |d: &Directory| order.iter().position(|id| *id == d.id).unwrap_or(usize::MAX);
    directories.sort_by_key(rank);
    Ok(directories)
}

fn load_directory(tx: &mut ReadTx<'_>, directory: &Directory) -> Result<DirectoryFacts, StoreError> {
    let dir = Param::Int(directory.reference.key);
    let mut facts = DirectoryFacts {
        id: directory.id.clone(),
        enabled: directory.enabled,
        pushed: directory.pushed_at.is_some(),
        claims: Vec::new(),
        users: Vec::with_capacity(usize::try_from(directory.users).unwrap_or(0)),
        groups: Vec::with_capacity(usize::try_from(directory.groups).unwrap_or(0)),
    };
    let mut users: HashMap<i64, ResourceId> = HashMap::with_capacity(facts.users.capacity());
    let sql = "SELECT rid, id, active, created_at, modified_at, doc FROM resource \
               WHERE dir = ?1 AND type = 1 ORDER BY rid";
    tx.query(sql, &[dir], &mut |row| {
        let id = id_of(row.blob(1)?)?;
        let doc = doc_of(row.text(5)?)?;
        users.insert(row.int(0)?, id);
        let times = (Timestamp(row.int(3)?), Timestamp(row.int(4)?));
        facts.users.push(user_facts(id, row.int(2)? == 1, doc, times));
        Ok(())
    })?;
    let mut groups: HashMap<i64, (usize, ResourceId)> = HashMap::with_capacity(facts.groups.capacity());
    let sql = "SELECT rid, id, external_id, doc FROM resource WHERE dir = ?1 AND type = 2 ORDER BY rid";
    tx.query(sql, &[dir], &mut |row| {
        let id = id_of(row.blob(1)?)?;
        let doc = doc_of(row.text(3)?)?;
        groups.insert(row.int(0)?, (facts.groups.len(), id));
        facts.groups.push(group_facts(id, row.opt_text(2)?, &doc));
        Ok(())
    })?;
    load_members(tx, dir, &users, &groups, &mut facts.groups)?;
    facts.users.sort_by_key(|user| user.id);
    facts.groups.sort_by_key(|group| group.id);
    for group in &mut facts.groups {
        group.users.sort_unstable();
        group.groups.sort_unstable();
    }
    Ok(facts)
}

pub(super) fn user_facts(
    id: ResourceId,
    active: bool,
    doc: Doc,
    (created, last_modified): (Timestamp, Timestamp),
) -> UserFacts {
    UserFacts {
        id,
        active,
        user_name: doc.get("userName").and_then(|v| v.as_str()).unwrap_or_default().to_owned(),
        doc: Arc::new(doc),
        created,
        last_modified,
    }
}

pub(super) fn group_facts(id: ResourceId, external_id: Option<&str>, doc: &Doc) -> GroupFacts {
    GroupFacts {
        id,
        display_name: doc.get("displayName").and_then(|v| v.as_str()).unwrap_or_default().to_owned(),
        external_id: external_id.map(str::to_owned),
        users: Vec::new(),
        groups: Vec::new(),
    }
}

fn load_members(
    tx: &mut ReadTx<'_>,
    dir: Param<'_>,
    users: &HashMap<i64, ResourceId>,
    groups: &HashMap<i64, (usize, ResourceId)>,
    into: &mut [GroupFacts],
) -> Result<(), StoreError> {
    // By group, so that the rows come in the order of the table.
    let sql = "SELECT m.group_rid, m.member_rid FROM resource g CROSS JOIN member m \
               WHERE m.group_rid = g.rid AND g.dir = ?1 AND g.type = 2";
    tx.query(sql, &[dir], &mut |row| {
        let Some((at, _)) = groups.get(&row.int(0)?) else { return Ok(()) };
        let Some(group) = into.get_mut(*at) else { return Ok(()) };
        let member = row.int(1)?;
        if let Some(user) = users.get(&member) {
            group.users.push(*user);
        } else if let Some((_, nested)) = groups.get(&member) {
            group.groups.push(*nested);
        }
        Ok(())
    })
}

/// What a resource id is, and in which directory; for operators who give an id alone.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn locate(
    tx: &mut ReadTx<'_>,
    id: &ResourceId,
) -> Result<Option<(DirectoryId, ResourceType)>, StoreError> {
    let sql = "SELECT d.id, r.type FROM resource r JOIN directory d ON d.key = r.dir WHERE r.id = ?1";
    tx.first(sql, &[Param::Blob(id.as_bytes())], |row| {
        let directory = DirectoryId::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?;
        Ok((directory, type_of(row.int(1)?)?))
    })
}
