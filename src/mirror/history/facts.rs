//! `access::Facts` as they were.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::access::{DirectoryFacts, Facts, Grant, GroupFacts, Release, Shut, UserFacts};
use crate::mirror::change;
use crate::mirror::decision::binding;
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::ReadTx;
use crate::mirror::{Error, Refusal};
use crate::model::{DirectoryId, GrantId, ResourceId, ResourceType, RoleName, Seq, Subject, Timestamp};
use crate::scim::filter::fold;
use crate::scim::resource::Doc;

use super::base::{self, Base};
use super::standing::Standing;
use super::state::{Item, State};

/// Changes read at a time.
const STRIDE: u32 = 200;

/// The newest change that was made at `time` or before; [`Seq::ZERO`] if all came later. The log is in the order of
/// time, so this looks at some twenty rows of a million.
///
/// # Errors
/// [`Refusal::Absent`] where `time` lies before the part of the log that is kept.
pub fn at(tx: &mut ReadTx<'_>, time: Timestamp) -> Result<Seq, Error> {
    let base = base::base(tx)?;
    if base.seq > Seq::ZERO && time < base.at {
        return Err(before(&base, &time.to_string()));
    }
    let (mut low, mut high) = (base.seq.0, tx.seq()?.0);
    // INVARIANT: what is numbered up to `low` was there at `time`, what is numbered beyond `high` was not.
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match time_of(tx, Seq(middle))? {
            Some(found) if found <= time => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(Seq(low))
}

/// When a change was made; `None` if it is not in the log.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn time_of(tx: &mut ReadTx<'_>, seq: Seq) -> Result<Option<Timestamp>, StoreError> {
    tx.first("SELECT at FROM change WHERE seq = ?1", &[change::param(seq)], |row| Ok(Timestamp(row.int(0)?)))
}

fn before(base: &Base, asked: &str) -> Error {
    Refusal::Absent(format!(
        "{asked} lies before what is kept: the log begins behind change {} of {}; `[mirror] history` says how long it \
         is kept",
        base.seq, base.at
    ))
    .into()
}

/// Facts as they were right after change `seq`: the directories named in `order` first, the others by age. `claims`
/// are the configuration's to fill in.
///
/// # Errors
/// [`Refusal::Absent`] for a `seq` that was pruned or has not been handed out.
pub fn facts_at(tx: &mut ReadTx<'_>, order: &[DirectoryId], seq: Seq) -> Result<Facts, Error> {
    let (base, newest) = (base::base(tx)?, tx.seq()?);
    if seq < base.seq {
        return Err(before(&base, &format!("change {seq}")));
    }
    if seq > newest {
        return Err(Refusal::Absent(format!("there is no change {seq} yet; the newest is {newest}")).into());
    }
    let state = match way(tx, &base, newest, seq)? {
        Way::Forwards => forwards(tx, &base, seq)?,
        Way::Backwards => backwards(tx, newest, seq)?,
    };
    let standing = Standing::at(tx, base.seq, seq)?;
    Ok(gather(tx, order, seq, state, &standing)?)
}

/// From which end a state is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forwards,
    Backwards,
}

/// The nearer end. What a directory held when it was removed is only reached from the base.
fn way(tx: &mut ReadTx<'_>, base: &Base, newest: Seq, seq: Seq) -> Result<Way, StoreError> {
    if seq.0 - base.seq.0 < newest.0 - seq.0 {
        return Ok(Way::Forwards);
    }
    let sql =
        "SELECT 1 FROM change WHERE resource IS NULL AND seq > ?1 AND kind = 'directory.removed' LIMIT 1";
    let is_removed = tx.first(sql, &[change::param(seq)], |_| Ok(()))?.is_some();
    Ok(if is_removed { Way::Forwards } else { Way::Backwards })
}

fn forwards(tx: &mut ReadTx<'_>, base: &Base, seq: Seq) -> Result<State, StoreError> {
    let mut state = base::load(tx)?;
    let mut done = base.seq;
    loop {
        let page = change::between(tx, (done, seq), STRIDE, false)?;
        let Some((_, last)) = page.last() else { return Ok(state) };
        done = last.seq;
        for (chain, change) in &page {
            state.apply(*chain, change);
        }
    }
}

fn backwards(tx: &mut ReadTx<'_>, newest: Seq, seq: Seq) -> Result<State, StoreError> {
    let mut state = base::load_newest(tx)?;
    let mut done = newest;
    loop {
        let page = change::between(tx, (seq, done), STRIDE, true)?;
        let Some((_, last)) = page.last() else { break };
        done = Seq(last.seq.0.saturating_sub(1));
        for (chain, change) in &page {
            state.undo(*chain, change);
        }
    }
    set_times(tx, &mut state, seq)?;
    Ok(state)
}

/// Looks up what the log does not say when it is read backwards: when a resource was made and last altered.
fn set_times(tx: &mut ReadTx<'_>, state: &mut State, seq: Seq) -> Result<(), StoreError> {
    let untimed: Vec<ResourceId> = std::mem::take(&mut state.untimed).into_iter().collect();
    for id in untimed {
        let Some(item) = state.items.get_mut(&id) else { continue };
        let params = [Param::Blob(id.as_bytes()), change::param(seq)];
        let sql = "SELECT at FROM change WHERE resource = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1";
        let modified = tx.first(sql, &params, |row| Ok(Timestamp(row.int(0)?)))?;
        let sql = "SELECT at FROM change WHERE resource = ?1 AND seq <= ?2 AND kind IN \
                   ('user.created', 'group.created') ORDER BY seq LIMIT 1";
        let created = tx.first(sql, &params, |row| Ok(Timestamp(row.int(0)?)))?;
        let sql = "SELECT created_at, modified_at FROM base_resource WHERE id = ?1";
        let kept = tx.first(sql, &[Param::Blob(id.as_bytes())], |row| {
            Ok((Timestamp(row.int(0)?), Timestamp(row.int(1)?)))
        })?;
        item.created = created.or(kept.map(|kept| kept.0)).unwrap_or(item.created);
        item.modified = modified.or(kept.map(|kept| kept.1)).unwrap_or(item.modified);
    }
    let uncertain: Vec<ResourceId> = std::mem::take(&mut state.uncertain).into_iter().collect();
    for id in uncertain {
        let Some(item) = state.items.get_mut(&id) else { continue };
        let sql = "SELECT kind = 'user.reactivated' FROM change WHERE resource = ?1 AND seq <= ?2 AND kind IN \
                   ('user.deactivated', 'user.reactivated') ORDER BY seq DESC LIMIT 1";
        let params = [Param::Blob(id.as_bytes()), change::param(seq)];
        let told = tx.first(sql, &params, |row| Ok(row.int(0)? == 1))?;
        let sql = "SELECT active FROM base_resource WHERE id = ?1";
        let kept = tx.first(sql, &[Param::Blob(id.as_bytes())], |row| Ok(row.int(0)? == 1))?;
        item.active = told.or(kept).unwrap_or(true);
    }
    Ok(())
}

fn gather(
    tx: &mut ReadTx<'_>,
    order: &[DirectoryId],
    seq: Seq,
    state: State,
    standing: &Standing,
) -> Result<Facts, StoreError> {
    let mut found: Vec<(i64, DirectoryFacts)> = Vec::new();
    for (name, thing) in standing.class("directory") {
        let id = DirectoryId::parse(name).map_err(|error| StoreError::Bug(error.to_string()))?;
        let chain = thing.body.get("chain").and_then(Value::as_i64).unwrap_or(0);
        let sql = "SELECT 1 FROM chain WHERE chain = ?1 AND pushed_seq <= ?2";
        let pushed = tx.first(sql, &[Param::Int(chain), change::param(seq)], |_| Ok(()))?.is_some();
        let enabled = thing.body.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        let (claims, users, groups) = (Vec::new(), Vec::new(), Vec::new());
        found.push((chain, DirectoryFacts { id, enabled, pushed, claims, users, groups }));
    }
    let rank = |id: &DirectoryId| order.iter().position(|one| one == id).unwrap_or(usize::MAX);
    found.sort_by_key(|(chain, directory)| (rank(&directory.id), *chain));
    let places: HashMap<i64, usize> = found.iter().enumerate().map(|(at, (chain, _))| (*chain, at)).collect();
    let State { items, mut members, .. } = state;
    let kinds: HashMap<ResourceId, ResourceType> = items.iter().map(|(id, item)| (*id, item.kind)).collect();
    for (id, item) in items {
        let Some((_, directory)) = places.get(&item.chain).and_then(|at| found.get_mut(*at)) else {
            continue;
        };
        if item.kind == ResourceType::User {
            directory.users.push(user(id, item));
            continue;
        }
        let mut group = group(id, &item);
        for member in members.remove(&id).unwrap_or_default() {
            match kinds.get(&member) {
                Some(ResourceType::User) => group.users.push(member),
                Some(ResourceType::Group) => group.groups.push(member),
                None => {}
            }
        }
        group.users.sort();
        group.groups.sort();
        directory.groups.push(group);
    }
    let mut directories: Vec<DirectoryFacts> = found.into_iter().map(|(_, directory)| directory).collect();
    for directory in &mut directories {
        directory.users.sort_by_key(|user| user.id);
        directory.groups.sort_by_key(|group| group.id);
    }
    let mut facts = Facts { seq, directories, ..Facts::default() };
    decisions(standing, &mut facts);
    Ok(facts)
}

/// What people had decided. Grants that had ended are not among them.
fn decisions(standing: &Standing, facts: &mut Facts) {
    for (object, thing) in standing.class("shut") {
        let Some(subject) = subject(object) else { continue };
        let user_name_key = match thing.text("user_name") {
            "" => forgotten(subject.user),
            name => fold(name),
        };
        facts.shut.insert(Shut {
            subject,
            user_name_key,
            reason: thing.text("reason").to_owned(),
            seq: thing.seq,
        });
    }
    for (_, thing) in standing.class("released") {
        let Some(Subject { directory, user }) = subject(thing.text("subject")) else { continue };
        let user_name_key = match thing.text("user_name") {
            "" => forgotten(user),
            name => fold(name),
        };
        facts.released.insert(Release { directory, user_name_key });
    }
    for (_, thing) in standing.class("grant") {
        let parts = subject(thing.text("subject"))
            .zip(RoleName::parse(thing.text("role")).ok())
            .zip(Timestamp::parse_rfc3339(thing.text("until")));
        let Some(((subject, role), until)) = parts else { continue };
        let (id, reason) = (GrantId(thing.seq.0), thing.text("reason").to_owned());
        facts.grants.push(Grant { id, subject, role, until, reason, ended: None });
    }
    facts.grants.sort_by_key(|grant| grant.id);
    // Who went since is no longer unconfirmed; the log says so by the deletion alone.
    let is_there = |one: &Subject| {
        let home = facts.directory(&one.directory);
        home.is_some_and(|home| home.users.binary_search_by_key(&one.user, |user| user.id).is_ok())
    };
    let unconfirmed = standing.class("unconfirmed").filter_map(|(object, _)| subject(object));
    facts.unconfirmed = unconfirmed.filter(is_there).collect();
    facts.bindings =
        standing.class("role_group").filter_map(|(_, thing)| binding::of_body(&thing.body)).collect();
}

/// What somebody is called whose name was erased. No two may look like one person with two directories.
fn forgotten(id: ResourceId) -> String {
    format!("forgotten-{id}")
}

/// `DIRECTORY/ID`.
fn subject(text: &str) -> Option<Subject> {
    let (directory, user) = text.split_once('/')?;
    Some(Subject { directory: DirectoryId::parse(directory).ok()?, user: ResourceId::parse(user)? })
}

fn user(id: ResourceId, item: Item) -> UserFacts {
    let doc = item.doc.unwrap_or_else(|| {
        let mut doc = Doc::new();
        doc.insert("userName".into(), forgotten(id).into());
        doc
    });
    UserFacts {
        id,
        active: item.active,
        user_name: doc.get("userName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        doc: Arc::new(doc),
        created: item.created,
        last_modified: item.modified,
    }
}

fn group(id: ResourceId, item: &Item) -> GroupFacts {
    let text = |name: &str| item.doc.as_ref().and_then(|doc| doc.get(name)).and_then(Value::as_str);
    GroupFacts {
        id,
        display_name: text("displayName").unwrap_or_default().to_owned(),
        external_id: text("externalId").map(str::to_owned),
        users: Vec::new(),
        groups: Vec::new(),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Error, Facts, ReadTx, Seq, Standing, backwards, base, forwards, gather};

    /// The same facts from both ends.
    pub(in crate::mirror) fn both_ways(tx: &mut ReadTx<'_>, seq: Seq) -> Result<(Facts, Facts), Error> {
        let base = base::base(tx)?;
        let newest = tx.seq()?;
        let standing = Standing::at(tx, base.seq, seq)?;
        let first = forwards(tx, &base, seq)?;
        let first = gather(tx, &[], seq, first, &standing)?;
        let second = backwards(tx, newest, seq)?;
        let second = gather(tx, &[], seq, second, &standing)?;
        Ok((first, second))
    }
}
