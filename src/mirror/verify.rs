//! Whether the log is whole and leads to exactly what the mirror holds.
//!
//! The log is read once in its order: gaps, digests, memberships and versions. Documents are then rebuilt one
//! resource at a time from its own changes, so that memory holds ids and memberships but never all documents.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::model::{ResourceId, Seq};
use crate::scim::resource::Doc;

use super::change::{Digested, MemberChange, MemberDigest, digest_values, id_of, member_of};
use super::decision::binding;
use super::engine::{Param, Row, StoreError, array};
use super::history::{
    self, MEMBER_COLUMNS, RESOURCE_COLUMNS, ResourceRow, Standing, Sum, Thing, amend, is_sealed_whole,
    member_row, part, resource_row, standing_digest,
};
use super::tx::ReadTx;

mod decisions;

/// Faults told before the rest is only counted.
const FAULTS_TOLD: usize = 100;
/// Changes read at a time, so that their member rows can be asked for in between.
const STRIDE: i64 = 500;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Changes read.
    pub changes: u64,
    /// Resources compared.
    pub resources: u64,
    /// Memberships compared.
    pub memberships: u64,
    /// Where the log begins: changes up to here were pruned.
    pub base: Seq,
    /// What is wrong, in words; empty if all agrees. At most 100.
    pub faults: Vec<String>,
}

impl Report {
    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(text);
        }
    }
}

/// Reads the whole log: digests, gaps, and the state it leads to, against the mirror. Takes seconds per million
/// changes; call it through `Mirror::read_long`.
///
/// # Errors
/// [`StoreError`] from the engine. What is wrong with the log is in the [`Report`].
pub fn verify(tx: &mut ReadTx<'_>) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut replay = from_base(tx, &mut report)?;
    read_log(tx, &mut replay, &mut report)?;
    compare_heads(tx, &replay, &mut report)?;
    compare_members(tx, &replay, &mut report)?;
    compare_resources(tx, &replay, &mut report)?;
    compare_standing(tx, &mut report)?;
    Ok(report)
}

/// What the base says, and whether the base is what pruning left.
fn from_base(tx: &mut ReadTx<'_>, report: &mut Report) -> Result<Replay, StoreError> {
    let base = history::base(tx)?;
    let mut replay = Replay { seq: i64::try_from(base.seq.0).unwrap_or(i64::MAX), ..Replay::default() };
    let mut sum = Sum([0; 32]);
    let heads = tx.all("SELECT chain, digest FROM base_chain", &[], |row| {
        Ok((row.int(0)?, array::<32>(row.blob(1)?)?))
    })?;
    replay.heads.extend(heads);
    tx.query(RESOURCE_COLUMNS, &[], &mut |row| {
        let (id, found) = resource_row(row)?;
        sum.add(&found.digest(id));
        if !found.is_whole() {
            report.fault(format!("the document of {id} in the base was altered"));
        }
        let number = replay.number(id);
        let live = Live {
            chain: found.chain,
            kind: found.kind,
            version: found.version,
            modified_at: found.modified_at,
        };
        replay.live.insert(number, live);
        Ok(())
    })?;
    tx.query(MEMBER_COLUMNS, &[], &mut |row| {
        let found = member_row(row)?;
        sum.add(&found.digest());
        let pair = (replay.number(found.group), replay.number(found.member));
        replay.members.insert(pair);
        Ok(())
    })?;
    for (key, thing) in &Standing::of_base(tx)?.0 {
        sum.add(&standing_digest(key, thing));
        if !is_sealed_whole(&thing.body) {
            report.fault(format!("the texts of {} {} in the base were altered", key.0, key.1));
        }
    }
    if sum.0 != base.state {
        report.fault(format!("the base that pruning left at change {} was altered", base.seq));
    }
    report.base = base.seq;
    Ok(replay)
}

/// Directories, tokens and decisions are what the log says of them.
fn compare_standing(tx: &mut ReadTx<'_>, report: &mut Report) -> Result<(), StoreError> {
    let newest = tx.seq()?;
    let standing = Standing::at(tx, report.base, newest)?;
    let text =
        |thing: &Thing, key: &str| thing.body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let directories =
        tx.all("SELECT key, id, name, kind, enabled FROM directory ORDER BY key", &[], |row| {
            let names = (row.text(1)?.to_owned(), row.text(2)?.to_owned(), row.text(3)?.to_owned());
            Ok((row.int(0)?, names, row.int(4)? == 1))
        })?;
    let mut logged: BTreeMap<&str, &Thing> = standing.class("directory").collect();
    for (key, (id, name, kind), enabled) in &directories {
        let is_told = logged.remove(id.as_str()).is_some_and(|thing| {
            let flag = |key: &str| thing.body.get(key).cloned().unwrap_or(Value::Null);
            flag("chain") == *key
                && flag("enabled") == *enabled
                && (text(thing, "name"), text(thing, "kind")) == (name.clone(), kind.clone())
        });
        if !is_told {
            report.fault(format!("directory `{id}` is not what the log says of it"));
        }
    }
    for id in logged.keys() {
        report.fault(format!("directory `{id}` is missing"));
    }
    let tokens = tx.all(
        "SELECT t.id, d.id, t.reader FROM token t LEFT JOIN directory d ON d.key = t.dir WHERE t.revoked_at IS NULL",
        &[],
        |row| {
            let holder = row.opt_text(1)?.or(row.opt_text(2)?).unwrap_or_default().to_owned();
            Ok((row.text(0)?.to_owned(), holder))
        },
    )?;
    let mut logged: BTreeMap<&str, &Thing> = standing.class("token").collect();
    for (id, holder) in &tokens {
        let is_told = logged.remove(id.as_str()).is_some_and(|thing| {
            // A configured token's values may have been erased with somebody's name in its note.
            thing.body.is_empty() || [text(thing, "directory"), text(thing, "reader")].contains(holder)
        });
        if !is_told {
            report.fault(format!("token {id} is not what the log says of it"));
        }
    }
    for id in logged.keys() {
        report.fault(format!("token {id} stands in the log and is not there"));
    }
    let told = standing.class("role_group").filter_map(|(_, thing)| binding::of_body(&thing.body)).collect();
    if binding::list(tx)? != told {
        report.fault("the groups that roles stand for are not what the log says of them".to_owned());
    }
    decisions::compare(tx, &standing, report)
}

/// What the log leads to.
#[derive(Default)]
struct Replay {
    seq: i64,
    /// Digest so far, per chain.
    heads: HashMap<i64, [u8; 32]>,
    /// Small numbers for ids, so that ten million memberships fit.
    numbers: HashMap<ResourceId, u32>,
    live: HashMap<u32, Live>,
    members: HashSet<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct Live {
    chain: i64,
    kind: i64,
    version: i64,
    modified_at: i64,
}

struct LogRow {
    seq: i64,
    chain: i64,
    directory: String,
    at: i64,
    kind: String,
    resource: Option<ResourceId>,
    object: Option<String>,
    actor: String,
    request: Option<String>,
    version: Option<i64>,
    value_digest: Option<Vec<u8>>,
    member_digest: Option<Vec<u8>>,
    digest: [u8; 32],
    /// Digest of the values as they lie there; `None` once they are erased.
    values: Option<[u8; 32]>,
}

fn log_row(row: &dyn Row) -> Result<LogRow, StoreError> {
    let values = match row.opt_blob(13)? {
        Some(salt) => Some(digest_values(salt, row.opt_text(14)?, row.opt_text(15)?)),
        None => None,
    };
    Ok(LogRow {
        seq: row.int(0)?,
        chain: row.int(1)?,
        directory: row.text(2)?.to_owned(),
        at: row.int(3)?,
        kind: row.text(4)?.to_owned(),
        resource: row.opt_blob(5)?.map(id_of).transpose()?,
        object: row.opt_text(6)?.map(str::to_owned),
        actor: row.text(7)?.to_owned(),
        request: row.opt_text(8)?.map(str::to_owned),
        version: row.opt_int(9)?,
        value_digest: row.opt_blob(10)?.map(<[u8]>::to_vec),
        member_digest: row.opt_blob(11)?.map(<[u8]>::to_vec),
        digest: array(row.blob(12)?)?,
        values,
    })
}

fn read_log(tx: &mut ReadTx<'_>, replay: &mut Replay, report: &mut Report) -> Result<(), StoreError> {
    let sql = "SELECT c.seq, c.chain, h.directory, c.at, c.kind, c.resource, c.object, c.actor, c.request, \
               c.version, c.value_digest, c.member_digest, c.digest, v.salt, v.before, v.after \
               FROM change c JOIN chain h ON h.chain = c.chain LEFT JOIN change_value v ON v.seq = c.seq \
               WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2";
    loop {
        let rows = tx.all(sql, &[Param::Int(replay.seq), Param::Int(STRIDE)], log_row)?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            check_digests(tx, replay, &row, report)?;
            replay.seq = row.seq;
            report.changes += 1;
        }
    }
}

fn check_digests(
    tx: &mut ReadTx<'_>,
    replay: &mut Replay,
    row: &LogRow,
    report: &mut Report,
) -> Result<(), StoreError> {
    let seq = row.seq;
    if seq != replay.seq + 1 {
        report.fault(format!("changes {} to {} are missing", replay.seq + 1, seq - 1));
    }
    if let (Some(stored), Some(found)) = (&row.value_digest, &row.values)
        && stored.as_slice() != found.as_slice()
    {
        report.fault(format!("the values of change {seq} were altered"));
    }
    if row.value_digest.is_none() && row.values.is_some() {
        report.fault(format!("change {seq} has values it did not have"));
    }
    let members = if row.member_digest.is_some() {
        let sql = "SELECT op, group_id, member_id, member_type FROM change_member WHERE seq = ?1 ORDER BY n";
        tx.all(sql, &[Param::Int(seq)], |row| member_of(row, 0))?
    } else {
        Vec::new()
    };
    if let Some(stored) = &row.member_digest {
        let mut digest = MemberDigest::default();
        for member in &members {
            digest.add(member);
        }
        if stored.as_slice() != digest.finish().as_slice() {
            report.fault(format!("the member rows of change {seq} were altered"));
        }
    }
    let digested = Digested {
        directory: &row.directory,
        seq,
        at: row.at,
        kind: &row.kind,
        resource: row.resource.as_ref().map(|id| id.as_bytes().as_slice()),
        object: row.object.as_deref(),
        actor: &row.actor,
        request: row.request.as_deref(),
        version: row.version,
        value_digest: row.value_digest.as_deref(),
        member_digest: row.member_digest.as_deref(),
    };
    let previous = replay.heads.get(&row.chain).copied().unwrap_or([0; 32]);
    if digested.digest(&previous) != row.digest {
        report.fault(format!("the chain breaks at change {seq}"));
    }
    replay.heads.insert(row.chain, row.digest);
    replay.follow(row, &members);
    Ok(())
}

impl Replay {
    fn number(&mut self, id: ResourceId) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(id).or_insert(next)
    }

    /// What the change did to versions and memberships.
    fn follow(&mut self, row: &LogRow, members: &[MemberChange]) {
        if row.kind == "directory.removed" {
            self.live.retain(|_, live| live.chain != row.chain);
            let live = &self.live;
            self.members.retain(|(group, _)| live.contains_key(group));
            return;
        }
        let Some(id) = row.resource else { return };
        let number = self.number(id);
        let (what, verb) = row.kind.split_once('.').unwrap_or_default();
        let kind = i64::from(what == "group") + 1;
        for member in members {
            let pair = (self.number(member.group), self.number(member.member));
            if member.added {
                self.members.insert(pair);
            } else {
                self.members.remove(&pair);
            }
            // A group that loses a member because the member goes gets a version of its own by that.
            if pair.0 != number
                && let Some(group) = self.live.get_mut(&pair.0)
            {
                group.version += 1;
                group.modified_at = row.at;
            }
        }
        if verb == "deleted" {
            self.live.remove(&number);
        } else {
            let version = row.version.unwrap_or(0);
            self.live.insert(number, Live { chain: row.chain, kind, version, modified_at: row.at });
        }
    }
}

fn compare_heads(tx: &mut ReadTx<'_>, replay: &Replay, report: &mut Report) -> Result<(), StoreError> {
    let newest = i64::try_from(tx.seq()?.0).unwrap_or(i64::MAX);
    if newest != replay.seq {
        report.fault(format!("the log ends at {}, the mirror says {newest}", replay.seq));
    }
    let sql = "SELECT chain, directory, digest, users, groups FROM chain ORDER BY chain";
    let rows = tx.all(sql, &[], |row| {
        let digest: [u8; 32] = array(row.blob(2)?)?;
        Ok((row.int(0)?, row.text(1)?.to_owned(), digest, row.int(3)?, row.int(4)?))
    })?;
    for (chain, directory, digest, users, groups) in rows {
        if replay.heads.get(&chain).copied().unwrap_or([0; 32]) != digest {
            report.fault(format!("the head of chain `{directory}` is not its last change's digest"));
        }
        let count = |kind: i64| {
            let of_kind = replay.live.values().filter(|live| live.chain == chain && live.kind == kind);
            i64::try_from(of_kind.count()).unwrap_or(i64::MAX)
        };
        if (users, groups) != (count(1), count(2)) {
            report.fault(format!("the counters of directory `{directory}` are wrong"));
        }
    }
    Ok(())
}

fn compare_members(tx: &mut ReadTx<'_>, replay: &Replay, report: &mut Report) -> Result<(), StoreError> {
    let sql = "SELECT g.id, u.id FROM member m JOIN resource g ON g.rid = m.group_rid \
               JOIN resource u ON u.rid = m.member_rid";
    let mut seen = 0_u64;
    tx.query(sql, &[], &mut |row| {
        let (group, member) = (id_of(row.blob(0)?)?, id_of(row.blob(1)?)?);
        let pair = replay.numbers.get(&group).zip(replay.numbers.get(&member));
        if pair.is_none_or(|(group, member)| !replay.members.contains(&(*group, *member))) {
            report.fault(format!("the membership of {member} in {group} is not in the log"));
        }
        seen += 1;
        Ok(())
    })?;
    if seen != replay.members.len() as u64 {
        report.fault(format!("the mirror has {seen} memberships, the log {}", replay.members.len()));
    }
    report.memberships = seen;
    Ok(())
}

fn compare_resources(tx: &mut ReadTx<'_>, replay: &Replay, report: &mut Report) -> Result<(), StoreError> {
    let sql = "SELECT rid, id, dir, type, version, modified_at, doc, members, \
               (SELECT count(*) FROM member m WHERE m.group_rid = r.rid) \
               FROM resource r WHERE rid > ?1 ORDER BY rid LIMIT ?2";
    let mut from = 0;
    loop {
        let rows = tx.all(sql, &[Param::Int(from), Param::Int(STRIDE)], |row| {
            let live = Live {
                chain: row.int(2)?,
                kind: row.int(3)?,
                version: row.int(4)?,
                modified_at: row.int(5)?,
            };
            let counted = row.int(7)? == row.int(8)?;
            Ok((row.int(0)?, id_of(row.blob(1)?)?, live, row.text(6)?.to_owned(), counted))
        })?;
        if rows.is_empty() {
            break;
        }
        for (rid, id, live, doc, counted) in rows {
            from = rid;
            report.resources += 1;
            compare_one(replay, id, live, report);
            if !counted {
                report.fault(format!("the member count of {id} is wrong"));
            }
            if rebuild(tx, id)?.is_some_and(|built| serde_json::from_str::<Doc>(&doc).ok() != Some(built)) {
                report.fault(format!("the document of {id} is not what the log leads to"));
            }
        }
    }
    if report.resources != replay.live.len() as u64 {
        report.fault(format!("the mirror has {} resources, the log {}", report.resources, replay.live.len()));
    }
    Ok(())
}

fn compare_one(replay: &Replay, id: ResourceId, found: Live, report: &mut Report) {
    let Some(live) = replay.numbers.get(&id).and_then(|number| replay.live.get(number)) else {
        report.fault(format!("{id} is not in the log"));
        return;
    };
    if (live.chain, live.kind) != (found.chain, found.kind) {
        report.fault(format!("{id} is of another directory or type in the log"));
    }
    if live.version != found.version || live.modified_at != found.modified_at {
        report.fault(format!("{id} has version {}, the log leads to {}", found.version, live.version));
    }
}

/// A document as its changes lead to it; `None` if some of their values were erased.
fn rebuild(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<Option<Doc>, StoreError> {
    let sql = "SELECT c.value_digest IS NOT NULL AND v.seq IS NULL, v.before, v.after \
               FROM change c LEFT JOIN change_value v ON v.seq = c.seq WHERE c.resource = ?1 ORDER BY c.seq";
    let kept = ResourceRow::read(tx, id)?;
    let mut erased = kept.as_ref().is_some_and(|row| row.doc.is_none());
    let mut doc = part(kept.as_ref().and_then(|row| row.doc.as_deref()));
    tx.query(sql, &[Param::Blob(id.as_bytes())], &mut |row| {
        erased |= row.int(0)? == 1;
        amend(&mut doc, row.opt_text(1)?, row.opt_text(2)?);
        Ok(())
    })?;
    Ok((!erased).then_some(doc))
}
