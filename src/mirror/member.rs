//! Memberships: one row each, with an index each way. Adding or removing one never looks at the others.

use std::collections::{HashMap, HashSet};

use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim;
use crate::scim::filter::{Attributes, Bound, CompareOp, Literal, matches};
use crate::scim::patch::MemberEdit;
use crate::scim::resource::{Doc, GroupRef, MemberOut, MemberRef};

use super::Error;
use super::change::{MemberChange, id_of, type_number, type_of};
use super::directory::DirectoryRef;
use super::engine::{Param, Row, StoreError};
use super::resource::Stored;
use super::tx::{ReadTx, WriteTx};

/// The joins are CROSS so that the planner keeps their order: from a resource's few memberships to the groups.
/// Left to itself it may go through every resource of the directory instead.
pub(super) const GROUPS_OF: &str = "WITH RECURSIVE up (rid) AS (\
      SELECT group_rid FROM member WHERE member_rid = ?1 \
      UNION SELECT m.group_rid FROM up CROSS JOIN member m WHERE m.member_rid = up.rid) \
    SELECT r.id, r.label, \
      EXISTS (SELECT 1 FROM member d WHERE d.group_rid = r.rid AND d.member_rid = ?1) \
    FROM up CROSS JOIN resource r WHERE r.rid = up.rid AND r.dir = ?2 ORDER BY r.rid";

pub(super) const MEMBERS: &str = "SELECT r.id, r.type, r.label FROM member m CROSS JOIN resource r \
    WHERE r.rid = m.member_rid AND m.group_rid = ?1 AND r.dir = ?2 ORDER BY m.member_rid";

const PEOPLE_BELOW: &str = "WITH RECURSIVE below (rid) AS (\
      SELECT rid FROM resource WHERE id = ?1 AND dir = ?2 \
      UNION SELECT m.member_rid FROM below CROSS JOIN member m WHERE m.group_rid = below.rid) \
    SELECT r.id FROM below CROSS JOIN resource r WHERE r.rid = below.rid AND r.type = 1";

/// How many resources one statement asks for; the last one is repeated up to it, so that all pages share a statement.
const AT_ONCE: usize = 64;

/// Groups that a user or group is in, directly or through others, in a stable order. Cycles are survived.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn groups_of(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource: &Stored,
) -> Result<Vec<GroupRef>, StoreError> {
    tx.all(GROUPS_OF, &[Param::Int(resource.rid), Param::Int(directory.key)], |row| {
        Ok(GroupRef { id: id_of(row.blob(0)?)?, display: row.text(1)?.to_owned(), direct: row.int(2)? == 1 })
    })
}

/// [`groups_of`] for each resource of a page, by [`Stored::rid`], in few statements.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn groups_of_all(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    page: &[Stored],
) -> Result<HashMap<i64, Vec<GroupRef>>, StoreError> {
    let sql = format!(
        "WITH RECURSIVE up (start, rid) AS (\
           SELECT member_rid, group_rid FROM member WHERE member_rid IN ({}) \
           UNION SELECT up.start, m.group_rid FROM up JOIN member m ON m.member_rid = up.rid) \
         SELECT up.start, r.id, r.label, \
           EXISTS (SELECT 1 FROM member d WHERE d.group_rid = r.rid AND d.member_rid = up.start) \
         FROM up JOIN resource r ON r.rid = up.rid WHERE r.dir = ?1 ORDER BY up.start, r.rid",
        places()
    );
    in_batches(tx, directory, page, &sql, |row| {
        let direct = row.int(3)? == 1;
        Ok(GroupRef { id: id_of(row.blob(1)?)?, display: row.text(2)?.to_owned(), direct })
    })
}

/// Direct members of a group, in a stable order.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn members(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    group: &Stored,
) -> Result<Vec<MemberOut>, StoreError> {
    tx.all(MEMBERS, &[Param::Int(group.rid), Param::Int(directory.key)], |row| {
        Ok(MemberOut {
            id: id_of(row.blob(0)?)?,
            kind: type_of(row.int(1)?)?,
            display: row.text(2)?.to_owned(),
        })
    })
}

/// Users that are in a group, directly or through others. Cycles are survived.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn people_below(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    group: &ResourceId,
) -> Result<Vec<ResourceId>, StoreError> {
    tx.all(PEOPLE_BELOW, &[Param::Blob(group.as_bytes()), Param::Int(directory.key)], |row| {
        id_of(row.blob(0)?)
    })
}

/// `count` members of a group behind the position `after` (0 begins), and the position to ask for next: as fast in a
/// group of a hundred thousand as in one of ten.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn members_page(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    group: &Stored,
    after: i64,
    count: u32,
) -> Result<(Vec<MemberOut>, Option<i64>), StoreError> {
    let sql = "SELECT r.id, r.type, r.label, m.member_rid FROM member m CROSS JOIN resource r \
        WHERE r.rid = m.member_rid AND m.group_rid = ?1 AND r.dir = ?2 AND m.member_rid > ?3 \
        ORDER BY m.member_rid LIMIT ?4";
    let params = [
        Param::Int(group.rid),
        Param::Int(directory.key),
        Param::Int(after),
        Param::Int(i64::from(count) + 1),
    ];
    let mut found = tx.all(sql, &params, |row| {
        let member = MemberOut {
            id: id_of(row.blob(0)?)?,
            kind: type_of(row.int(1)?)?,
            display: row.text(2)?.to_owned(),
        };
        Ok((member, row.int(3)?))
    })?;
    let more = found.len() > count as usize;
    found.truncate(count as usize);
    let next = found.last().filter(|_| more).map(|(_, rid)| *rid);
    Ok((found.into_iter().map(|(member, _)| member).collect(), next))
}

/// [`members`] for each group of a page, by [`Stored::rid`], in few statements.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn members_of_all(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    page: &[Stored],
) -> Result<HashMap<i64, Vec<MemberOut>>, StoreError> {
    let sql = format!(
        "SELECT m.group_rid, r.id, r.type, r.label FROM member m JOIN resource r ON r.rid = m.member_rid \
         WHERE m.group_rid IN ({}) AND r.dir = ?1 ORDER BY m.group_rid, m.member_rid",
        places()
    );
    in_batches(tx, directory, page, &sql, |row| {
        Ok(MemberOut {
            id: id_of(row.blob(1)?)?,
            kind: type_of(row.int(2)?)?,
            display: row.text(3)?.to_owned(),
        })
    })
}

/// `?2, ?3, …`: one for each of [`AT_ONCE`].
fn places() -> String {
    let places: Vec<String> = (0..AT_ONCE).map(|n| format!("?{}", n + 2)).collect();
    places.join(", ")
}

/// Runs `sql` for all of the page; column 0 says whose row it is.
fn in_batches<T>(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    page: &[Stored],
    sql: &str,
    map: impl Fn(&dyn Row) -> Result<T, StoreError>,
) -> Result<HashMap<i64, Vec<T>>, StoreError> {
    let mut found: HashMap<i64, Vec<T>> = HashMap::with_capacity(page.len());
    for batch in page.chunks(AT_ONCE) {
        let Some(last) = batch.last() else { continue };
        let mut params = Vec::with_capacity(AT_ONCE + 1);
        params.push(Param::Int(directory.key));
        params.extend(batch.iter().map(|one| Param::Int(one.rid)));
        params.resize(AT_ONCE + 1, Param::Int(last.rid));
        for (rid, one) in tx.all(sql, &params, |row| Ok((row.int(0)?, map(row)?)))? {
            found.entry(rid).or_default().push(one);
        }
    }
    Ok(found)
}

/// A member found.
#[derive(Debug, Clone, Copy)]
struct Found {
    rid: i64,
    id: ResourceId,
    kind: ResourceType,
}

fn found_of(row: &dyn Row) -> Result<Found, StoreError> {
    Ok(Found { rid: row.int(0)?, id: id_of(row.blob(1)?)?, kind: type_of(row.int(2)?)? })
}

fn look_up(tx: &mut ReadTx<'_>, directory: &DirectoryRef, value: &str) -> Result<Option<Found>, StoreError> {
    let Some(id) = ResourceId::parse(value) else { return Ok(None) };
    let sql = "SELECT rid, id, type FROM resource WHERE id = ?1 AND dir = ?2";
    tx.first(sql, &[Param::Blob(id.as_bytes()), Param::Int(directory.key)], found_of)
}

/// One answer for unknown, foreign and of another type: it must not tell what other directories hold.
fn resolve(tx: &mut ReadTx<'_>, directory: &DirectoryRef, member: &MemberRef) -> Result<Found, Error> {
    let found = look_up(tx, directory, &member.value)?;
    let fits = found.filter(|found| member.kind.is_none_or(|kind| kind == found.kind));
    Ok(fits.ok_or_else(|| {
        scim::error::Error::invalid_value(
            "attribute `members.value` names no such resource of this directory",
        )
    })?)
}

/// What one request does to one group's members, net: who comes and goes in one request leaves no trace.
pub(super) struct Difference {
    group: ResourceId,
    group_rid: i64,
    rows: Vec<Option<MemberChange>>,
    at: HashMap<i64, usize>,
}

impl Difference {
    pub(super) fn new(group: ResourceId, group_rid: i64) -> Self {
        Self { group, group_rid, rows: Vec::new(), at: HashMap::new() }
    }

    /// The differences, in the order they first came up.
    pub(super) fn finish(self) -> Vec<MemberChange> {
        self.rows.into_iter().flatten().collect()
    }

    pub(super) fn apply(
        &mut self,
        tx: &mut WriteTx<'_>,
        directory: &DirectoryRef,
        edit: &MemberEdit,
    ) -> Result<(), Error> {
        match edit {
            MemberEdit::Add(members) => self.add(tx, directory, members),
            MemberEdit::Remove(values) => self.remove(tx, directory, values),
            MemberEdit::RemoveMatching(filter) => self.remove_matching(tx, directory, filter),
            MemberEdit::Replace(members) => self.replace(tx, directory, members),
        }
    }

    pub(super) fn add(
        &mut self,
        tx: &mut WriteTx<'_>,
        directory: &DirectoryRef,
        members: &[MemberRef],
    ) -> Result<(), Error> {
        for member in members {
            let found = resolve(tx, directory, member)?;
            self.join(tx, found)?;
        }
        Ok(())
    }

    fn join(&mut self, tx: &mut WriteTx<'_>, member: Found) -> Result<(), StoreError> {
        let sql = "INSERT INTO member (group_rid, member_rid) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        if tx.execute(sql, &[Param::Int(self.group_rid), Param::Int(member.rid)])? > 0 {
            self.note(member, true);
        }
        Ok(())
    }

    fn leave(&mut self, tx: &mut WriteTx<'_>, member: Found) -> Result<(), StoreError> {
        let sql = "DELETE FROM member WHERE group_rid = ?1 AND member_rid = ?2";
        if tx.execute(sql, &[Param::Int(self.group_rid), Param::Int(member.rid)])? > 0 {
            self.note(member, false);
        }
        Ok(())
    }

    fn note(&mut self, member: Found, added: bool) {
        if let Some(at) = self.at.remove(&member.rid) {
            // The earlier difference of this member was the opposite one.
            if let Some(row) = self.rows.get_mut(at) {
                *row = None;
            }
            return;
        }
        self.at.insert(member.rid, self.rows.len());
        let row = MemberChange { added, group: self.group, member: member.id, member_type: member.kind };
        self.rows.push(Some(row));
    }

    /// Removing a stranger is a success that changes nothing.
    fn remove(
        &mut self,
        tx: &mut WriteTx<'_>,
        directory: &DirectoryRef,
        values: &[String],
    ) -> Result<(), Error> {
        for value in values {
            if let Some(found) = look_up(tx, directory, value)? {
                self.leave(tx, found)?;
            }
        }
        Ok(())
    }

    fn remove_matching(
        &mut self,
        tx: &mut WriteTx<'_>,
        directory: &DirectoryRef,
        filter: &Bound,
    ) -> Result<(), Error> {
        let mut candidates = Vec::new();
        match named_values(filter) {
            Some(values) => {
                for value in values {
                    candidates.extend(look_up(tx, directory, &value)?);
                }
            }
            None => candidates = self.current(tx)?,
        }
        let empty = Doc::new();
        for found in candidates {
            let members = [(found.id.to_string(), found.kind)];
            let one = Attributes {
                id: "",
                doc: &empty,
                created: Timestamp(0),
                last_modified: Timestamp(0),
                version: 0,
                members: &members,
                groups: &[],
            };
            if matches(filter, &one) {
                self.leave(tx, found)?;
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        tx: &mut WriteTx<'_>,
        directory: &DirectoryRef,
        members: &[MemberRef],
    ) -> Result<(), Error> {
        let mut wanted = Vec::with_capacity(members.len());
        for member in members {
            wanted.push(resolve(tx, directory, member)?);
        }
        let keep: HashSet<i64> = wanted.iter().map(|found| found.rid).collect();
        for found in self.current(tx)? {
            if !keep.contains(&found.rid) {
                self.leave(tx, found)?;
            }
        }
        for found in wanted {
            self.join(tx, found)?;
        }
        Ok(())
    }

    fn current(&self, tx: &mut WriteTx<'_>) -> Result<Vec<Found>, StoreError> {
        let sql = "SELECT r.rid, r.id, r.type FROM member m CROSS JOIN resource r \
                   WHERE r.rid = m.member_rid AND m.group_rid = ?1 ORDER BY m.member_rid";
        tx.all(sql, &[Param::Int(self.group_rid)], found_of)
    }
}

/// The only members that can satisfy the filter, if it says so by itself; spares reading the whole group.
fn named_values(filter: &Bound) -> Option<Vec<String>> {
    match filter {
        Bound::Compare { path, op: CompareOp::Eq, value: Literal::String(value) }
            if path.sub.as_deref() == Some("value") =>
        {
            Some(vec![value.clone()])
        }
        Bound::And(all) => all.iter().find_map(named_values),
        Bound::Or(all) => {
            let mut values = Vec::new();
            for one in all {
                values.extend(named_values(one)?);
            }
            Some(values)
        }
        _ => None,
    }
}

/// Empties a group that is about to go.
pub(super) fn remove_all(tx: &mut WriteTx<'_>, group: &Stored) -> Result<Vec<MemberChange>, StoreError> {
    let sql = "SELECT r.rid, r.id, r.type FROM member m CROSS JOIN resource r \
               WHERE r.rid = m.member_rid AND m.group_rid = ?1 ORDER BY m.member_rid";
    let found = tx.all(sql, &[Param::Int(group.rid)], found_of)?;
    tx.execute("DELETE FROM member WHERE group_rid = ?1", &[Param::Int(group.rid)])?;
    let row = |member: Found| MemberChange {
        added: false,
        group: group.id,
        member: member.id,
        member_type: member.kind,
    };
    Ok(found.into_iter().map(row).collect())
}

/// Takes a resource that is about to go out of its groups, each of which gets a new version.
pub(super) fn leave_all(
    tx: &mut WriteTx<'_>,
    member: &Stored,
    now: Timestamp,
) -> Result<Vec<MemberChange>, StoreError> {
    let sql = "SELECT r.rid, r.id, r.type FROM member m CROSS JOIN resource r \
               WHERE r.rid = m.group_rid AND m.member_rid = ?1 AND r.type = ?2 ORDER BY m.group_rid";
    let group = Param::Int(type_number(ResourceType::Group));
    let groups = tx.all(sql, &[Param::Int(member.rid), group], found_of)?;
    tx.execute("DELETE FROM member WHERE member_rid = ?1", &[Param::Int(member.rid)])?;
    let mut rows = Vec::with_capacity(groups.len());
    for group in groups {
        let sql = "UPDATE resource SET version = version + 1, modified_at = ?2, members = members - 1 \
                   WHERE rid = ?1";
        tx.execute(sql, &[Param::Int(group.rid), Param::Int(now.0)])?;
        rows.push(MemberChange {
            added: false,
            group: group.id,
            member: member.id,
            member_type: member.resource_type,
        });
    }
    Ok(rows)
}
