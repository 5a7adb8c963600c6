//! Pruning: the oldest changes go, and what they led to stays as the base.
//!
//! A step takes a few changes inside the writer's transaction, carries the base over them and deletes them, so that
//! traffic is never held up and a crash leaves a whole base behind.

use crate::mirror::change::{self, CONFIG_CHAIN, Change, Entry, Kind, digest_values, type_number};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::WriteTx;
use crate::model::{ResourceId, ResourceType, Seq, Timestamp};

use super::base::base;
use super::standing::Standing;
use super::state::{amend, part, resource_type};
use super::sum::{MemberRow, ResourceRow, Sum, hex, seal, standing_digest};

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Changes that went.
    pub changes: u64,
    /// Of these, those that were not themselves records of pruning.
    pub of_substance: u64,
    /// True: nothing older than asked for is left.
    pub done: bool,
}

/// Prunes at most `limit` changes that were made before `cutoff`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn prune(tx: &mut WriteTx<'_>, cutoff: Timestamp, limit: u32) -> Result<Pruned, StoreError> {
    let old = base(tx)?;
    let newest = tx.seq()?;
    let mut page = change::between(tx, (old.seq, newest), limit, false)?;
    // A clock that went back must not make a hole: pruning stops at the first change that stays.
    let keep = page.iter().position(|(_, one)| one.at >= cutoff).unwrap_or(page.len());
    page.truncate(keep);
    let Some((_, last)) = page.last() else { return Ok(Pruned { done: true, ..Pruned::default() }) };
    let (seq, at) = (last.seq, last.at);
    let mut carry = Carry { sum: Sum(old.state) };
    let before = Standing::of_base(tx)?;
    let mut standing = before.clone();
    for (chain, change) in &page {
        standing.apply(*chain, change);
        carry.over(tx, *chain, change)?;
        carry_digest(tx, *chain, change.seq)?;
    }
    carry.standing(tx, &before, &standing)?;
    drop_rows(tx, seq)?;
    let params = [change::param(seq), Param::Int(at.0), Param::Blob(&carry.sum.0)];
    tx.execute("UPDATE history_base SET seq = ?1, at = ?2, state = ?3 WHERE one = 1", &params)?;
    let of_substance = page.iter().filter(|(_, one)| one.kind != Kind::HistoryPruned).count() as u64;
    let changes = page.len() as u64;
    Ok(Pruned { changes, of_substance, done: changes < u64::from(limit) })
}

/// Records that `changes` were pruned, with the digest of the base that is left.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn note_pruned(tx: &mut WriteTx<'_>, changes: u64) -> Result<Seq, StoreError> {
    let left = base(tx)?;
    let state = hex(&left.state);
    let after = serde_json::json!({
        "base": left.seq, "at": left.at.to_string(), "changes": changes, "state": state,
    });
    let after = after.to_string();
    let entry = Entry {
        chain: CONFIG_CHAIN,
        kind: Kind::HistoryPruned.as_str(),
        after: Some(&after),
        ..Entry::default()
    };
    change::append(tx, &entry)
}

fn carry_digest(tx: &mut WriteTx<'_>, chain: i64, seq: Seq) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO base_chain (chain, digest) SELECT ?1, digest FROM change WHERE seq = ?2 \
         ON CONFLICT (chain) DO UPDATE SET digest = excluded.digest",
        &[Param::Int(chain), change::param(seq)],
    )
    .map(|_| ())
}

fn drop_rows(tx: &mut WriteTx<'_>, seq: Seq) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM change_member WHERE seq <= ?1",
        "DELETE FROM change_value WHERE seq <= ?1",
        "DELETE FROM change WHERE seq <= ?1",
        // The one in force at the base stays.
        "DELETE FROM config_version WHERE seq < (SELECT max(seq) FROM config_version WHERE seq <= ?1)",
    ] {
        tx.execute(sql, &[change::param(seq)])?;
    }
    Ok(())
}

/// The base on its way over a page.
struct Carry {
    sum: Sum,
}

impl Carry {
    fn over(&mut self, tx: &mut WriteTx<'_>, chain: i64, change: &Change) -> Result<(), StoreError> {
        if change.kind == Kind::DirectoryRemoved {
            self.drop_chain(tx, chain)?;
        }
        let Some(id) = change.resource else { return Ok(()) };
        for member in &change.members {
            let row = MemberRow {
                group: member.group,
                member: member.member,
                member_type: type_number(member.member_type),
                seq: i64::try_from(change.seq.0).unwrap_or(i64::MAX),
                at: change.at.0,
                actor: change.actor.clone(),
                request: change.request.clone(),
            };
            if member.added {
                self.join(tx, &row)?;
            } else {
                self.leave(tx, &row)?;
            }
            if member.group != id {
                self.touch(tx, member.group, change.at)?;
            }
        }
        match change.kind {
            Kind::UserDeleted | Kind::GroupDeleted => self.put(tx, id, None),
            Kind::UserCreated | Kind::GroupCreated => {
                let row = created(chain, change)?;
                self.put(tx, id, Some(row))
            }
            _ => self.update(tx, id, change),
        }
    }

    fn update(&mut self, tx: &mut WriteTx<'_>, id: ResourceId, change: &Change) -> Result<(), StoreError> {
        let Some(mut row) = ResourceRow::read(tx, id)? else { return Ok(()) };
        row.version = change.version.and_then(|version| i64::try_from(version).ok()).unwrap_or(row.version);
        row.modified_at = change.at.0;
        if change.erased {
            row.doc = None;
        }
        if let Some(text) = row.doc.take() {
            let mut doc = part(Some(&text));
            amend(&mut doc, change.before.as_deref(), change.after.as_deref());
            row.set_doc(&doc)?;
        }
        match change.kind {
            Kind::UserDeactivated => row.active = 0,
            Kind::UserReactivated => {
                row.active = 1;
                row.active_seq = i64::try_from(change.seq.0).unwrap_or(i64::MAX);
                row.active_at = change.at.0;
            }
            _ => {}
        }
        self.put(tx, id, Some(row))
    }

    /// A group that lost a member because the member went has a version of its own by that.
    fn touch(&mut self, tx: &mut WriteTx<'_>, group: ResourceId, at: Timestamp) -> Result<(), StoreError> {
        let Some(mut row) = ResourceRow::read(tx, group)? else { return Ok(()) };
        row.version = row.version.saturating_add(1);
        row.modified_at = at.0;
        self.put(tx, group, Some(row))
    }

    fn put(
        &mut self,
        tx: &mut WriteTx<'_>,
        id: ResourceId,
        new: Option<ResourceRow>,
    ) -> Result<(), StoreError> {
        if let Some(old) = ResourceRow::read(tx, id)? {
            self.sum.remove(&old.digest(id));
        }
        match new {
            Some(new) => {
                self.sum.add(&new.digest(id));
                new.write(tx, id)
            }
            None => tx
                .execute("DELETE FROM base_resource WHERE id = ?1", &[Param::Blob(id.as_bytes())])
                .map(|_| ()),
        }
    }

    fn join(&mut self, tx: &mut WriteTx<'_>, row: &MemberRow) -> Result<(), StoreError> {
        self.leave(tx, row)?;
        self.sum.add(&row.digest());
        row.write(tx)
    }

    fn leave(&mut self, tx: &mut WriteTx<'_>, row: &MemberRow) -> Result<(), StoreError> {
        if let Some(old) = MemberRow::read(tx, row.group, row.member)? {
            self.sum.remove(&old.digest());
            old.delete(tx)?;
        }
        Ok(())
    }

    fn drop_chain(&mut self, tx: &mut WriteTx<'_>, chain: i64) -> Result<(), StoreError> {
        let ids = tx.all("SELECT id FROM base_resource WHERE chain = ?1", &[Param::Int(chain)], |row| {
            change::id_of(row.blob(0)?)
        })?;
        for id in ids {
            let key = [Param::Blob(id.as_bytes())];
            let members = tx.all("SELECT member_id FROM base_member WHERE group_id = ?1", &key, |row| {
                change::id_of(row.blob(0)?)
            })?;
            for member in members {
                if let Some(old) = MemberRow::read(tx, id, member)? {
                    self.sum.remove(&old.digest());
                    old.delete(tx)?;
                }
            }
            self.put(tx, id, None)?;
        }
        Ok(())
    }

    /// Writes what differs of the things that stand.
    fn standing(&mut self, tx: &mut WriteTx<'_>, old: &Standing, new: &Standing) -> Result<(), StoreError> {
        for (key, thing) in &old.0 {
            if new.0.get(key) != Some(thing) {
                self.sum.remove(&standing_digest(key, thing));
                tx.execute(
                    "DELETE FROM base_standing WHERE class = ?1 AND object = ?2",
                    &[Param::Text(&key.0), Param::Text(&key.1)],
                )?;
            }
        }
        for (key, thing) in &new.0 {
            if old.0.get(key) == Some(thing) {
                continue;
            }
            let mut thing = thing.clone();
            seal(&mut thing.body)?;
            self.sum.add(&standing_digest(key, &thing));
            let body = serde_json::Value::Object(thing.body).to_string();
            tx.execute(
                "INSERT INTO base_standing (class, object, seq, at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                &[
                    Param::Text(&key.0),
                    Param::Text(&key.1),
                    change::param(thing.seq),
                    Param::Int(thing.at.0),
                    Param::Text(&body),
                ],
            )?;
        }
        Ok(())
    }
}

fn created(chain: i64, change: &Change) -> Result<ResourceRow, StoreError> {
    let kind = resource_type(&change.kind);
    let doc = part(change.after.as_deref());
    let active = kind == ResourceType::Group || change.erased || crate::mirror::resource::is_active(&doc);
    let seq = i64::try_from(change.seq.0).unwrap_or(i64::MAX);
    let mut row = ResourceRow {
        chain,
        kind: type_number(kind),
        active: i64::from(active),
        version: change.version.and_then(|version| i64::try_from(version).ok()).unwrap_or(1),
        created_at: change.at.0,
        modified_at: change.at.0,
        active_seq: seq,
        active_at: change.at.0,
        salt: Vec::new(),
        value_digest: digest_values(&[], None, None),
        doc: None,
    };
    if !change.erased {
        row.set_doc(&doc)?;
    }
    Ok(row)
}
