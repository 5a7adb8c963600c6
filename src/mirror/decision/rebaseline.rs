//! Re-baselines: an identity provider has to name everybody again within a time; who was not named is unconfirmed and
//! loses access only once a person approves.

use std::time::Duration;

use serde_json::json;

use crate::model::{DirectoryId, ResourceId, Seq, Subject, Timestamp};

use super::{append, number, subject_of};
use crate::mirror::change::{Kind, id_of};
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::restored;
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::mirror::{Error, Refusal};

/// Longest that one may be open: one that never ends would never say who was not named.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A window that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Since when.
    pub began: Timestamp,
    /// Until when.
    pub ends: Timestamp,
    /// Users not named yet that would be unconfirmed if it closed now.
    pub waiting: u64,
}

/// Opens a window, or begins it afresh.
///
/// # Errors
/// [`Refusal::Absent`] for an unknown directory, [`Refusal::Invalid`] for an end that is not after now, or over a year away.
pub fn begin(tx: &mut WriteTx<'_>, id: &DirectoryId, ends: Timestamp) -> Result<Seq, Error> {
    let now = tx.now();
    if ends <= now {
        return Err(Refusal::Invalid("a re-baseline ends after now".into()).into());
    }
    if ends.since(now) > LONGEST {
        return Err(Refusal::Invalid("a re-baseline ends within a year".into()).into());
    }
    let found = directory::find(tx, id)?;
    let found = found.ok_or_else(|| Refusal::Absent(format!("no directory `{id}`")))?;
    let dir = Param::Int(found.reference.key);
    let after = json!({"directory": id, "ends": ends.to_string()});
    let seq = append(tx, &Kind::RebaselineOpened, id.as_str(), None, Some(&after))?;
    tx.execute("DELETE FROM seen WHERE dir = ?1", &[dir])?;
    tx.execute("DELETE FROM rebaseline WHERE dir = ?1", &[dir])?;
    let params = [dir, Param::Int(now.0), Param::Int(ends.0), Param::Int(number(seq))];
    let sql = "INSERT INTO rebaseline (dir, began_at, ends_at, began_seq) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, &params)?;
    Ok(seq)
}

/// Closes every window whose time ran out. Answers each directory with how many of its users are unconfirmed now.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn close_due(tx: &mut WriteTx<'_>) -> Result<Vec<(DirectoryId, u64)>, StoreError> {
    let sql = "SELECT d.id, d.key FROM rebaseline b JOIN directory d ON d.key = b.dir \
               WHERE b.ends_at <= ?1 ORDER BY d.key";
    let now = Param::Int(tx.now().0);
    let due = tx.all(sql, &[now], |row| Ok((row.text(0)?.to_owned(), row.int(1)?)))?;
    let mut closed = Vec::with_capacity(due.len());
    for (id, key) in due {
        let id = DirectoryId::parse(&id).map_err(|e| StoreError::Bug(e.to_string()))?;
        closed.push((id.clone(), close(tx, &id, key)?));
    }
    Ok(closed)
}

/// Users of a directory that were not named: active ones only, since the others hold nothing anyway.
const MISSING: &str = "FROM resource r WHERE r.dir = ?1 AND r.type = 1 AND r.active = 1 \
    AND NOT EXISTS (SELECT 1 FROM seen s WHERE s.dir = r.dir AND s.rid = r.rid) \
    AND r.modified_at < (SELECT began_at FROM rebaseline b WHERE b.dir = r.dir)";

fn close(tx: &mut WriteTx<'_>, id: &DirectoryId, key: i64) -> Result<u64, StoreError> {
    let dir = Param::Int(key);
    let sql = format!("SELECT r.id {MISSING} ORDER BY r.rid");
    let missing = tx.all(&sql, &[dir], |row| Ok(id_of(row.blob(0)?)?.to_string()))?;
    let count = missing.len() as u64;
    // By id, so that a past state knows who was unconfirmed.
    let after = json!({"directory": id, "unconfirmed": count, "users": missing});
    let seq = append(tx, &Kind::RebaselineClosed, id.as_str(), None, Some(&after))?;
    let sql = format!(
        "INSERT INTO unconfirmed (rid, dir, since_seq) SELECT r.rid, r.dir, ?2 {MISSING} \
                       AND NOT EXISTS (SELECT 1 FROM unconfirmed u WHERE u.rid = r.rid)"
    );
    tx.execute(&sql, &[dir, Param::Int(number(seq))])?;
    restored::confirmed(tx, key)?;
    tx.execute("DELETE FROM rebaseline WHERE dir = ?1", &[dir])?;
    tx.execute("DELETE FROM seen WHERE dir = ?1", &[dir])?;
    Ok(count)
}

fn waiting(tx: &mut ReadTx<'_>, key: i64) -> Result<u64, StoreError> {
    let count = tx.first(&format!("SELECT COUNT(*) {MISSING}"), &[Param::Int(key)], |row| row.int(0))?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// Notes users that the identity provider named: kept while a window is open, and whoever was unconfirmed no longer
/// is, in one change for all of a directory.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(in crate::mirror) fn see(tx: &mut WriteTx<'_>, key: i64, rids: &[i64]) -> Result<u64, StoreError> {
    let dir = Param::Int(key);
    let is_open = tx.first("SELECT 1 FROM rebaseline WHERE dir = ?1", &[dir], |row| row.int(0))?.is_some();
    let mut confirmed = Vec::new();
    for rid in rids {
        let rid = Param::Int(*rid);
        if is_open {
            tx.execute("INSERT INTO seen (dir, rid) VALUES (?1, ?2) ON CONFLICT DO NOTHING", &[dir, rid])?;
        }
        if tx.execute("DELETE FROM unconfirmed WHERE rid = ?1 AND dir = ?2", &[rid, dir])? > 0 {
            let sql = "SELECT d.id, r.id FROM resource r JOIN directory d ON d.key = r.dir WHERE r.rid = ?1";
            confirmed.extend(tx.first(sql, &[rid], |row| subject_of(row, 0))?);
        }
    }
    if let Some(first) = confirmed.first() {
        let users: Vec<String> = confirmed.iter().map(|one| one.user.to_string()).collect();
        let after = json!({"directory": first.directory, "users": users});
        let id = first.directory.clone();
        append(tx, &Kind::UserConfirmed, id.as_str(), None, Some(&after))?;
    }
    Ok(confirmed.len() as u64)
}

/// The window of a directory, if one is open.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn window(tx: &mut ReadTx<'_>, directory: &DirectoryRef) -> Result<Option<Window>, StoreError> {
    let sql = "SELECT began_at, ends_at FROM rebaseline WHERE dir = ?1";
    let found = tx.first(sql, &[Param::Int(directory.key)], |row| Ok((row.int(0)?, row.int(1)?)))?;
    let Some((began, ends)) = found else { return Ok(None) };
    let waiting = waiting(tx, directory.key)?;
    Ok(Some(Window { began: Timestamp(began), ends: Timestamp(ends), waiting }))
}

/// When the next window closes.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn next_end(tx: &mut ReadTx<'_>) -> Result<Option<Timestamp>, StoreError> {
    Ok(tx.first("SELECT MIN(ends_at) FROM rebaseline", &[], |row| row.opt_int(0))?.flatten().map(Timestamp))
}

/// Keys of directories in which it matters who is named: a window is open, or somebody is unconfirmed.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(in crate::mirror) fn watched(tx: &mut ReadTx<'_>) -> Result<Vec<i64>, StoreError> {
    tx.all("SELECT dir FROM rebaseline UNION SELECT dir FROM unconfirmed", &[], |row| row.int(0))
}

/// Whether it matters anywhere who is named.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn is_watched(tx: &mut ReadTx<'_>) -> Result<bool, StoreError> {
    Ok(!watched(tx)?.is_empty())
}

/// Users of a directory that are unconfirmed, oldest first, with their names; at most `limit`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn unconfirmed(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    limit: u32,
) -> Result<Vec<(Subject, String)>, StoreError> {
    let sql = "SELECT d.id, r.id, r.label FROM unconfirmed u JOIN resource r ON r.rid = u.rid \
               JOIN directory d ON d.key = u.dir WHERE u.dir = ?1 ORDER BY u.rid LIMIT ?2";
    tx.all(sql, &[Param::Int(directory.key), Param::Int(i64::from(limit))], |row| {
        Ok((subject_of(row, 0)?, row.text(2)?.to_owned()))
    })
}

/// Everybody who is unconfirmed.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn all_unconfirmed(tx: &mut ReadTx<'_>) -> Result<Vec<Subject>, StoreError> {
    let sql = "SELECT d.id, r.id FROM unconfirmed u JOIN resource r ON r.rid = u.rid \
               JOIN directory d ON d.key = u.dir ORDER BY u.rid";
    tx.all(sql, &[], |row| subject_of(row, 0))
}

/// Whether the user named `DIRECTORY/ID` is there.
pub(in crate::mirror) fn is_live(tx: &mut ReadTx<'_>, name: &str) -> Result<bool, StoreError> {
    let Some(id) = name.split_once('/').and_then(|(_, id)| ResourceId::parse(id)) else { return Ok(false) };
    let sql = "SELECT 1 FROM resource WHERE id = ?1";
    Ok(tx.first(sql, &[Param::Blob(id.as_bytes())], |_| Ok(()))?.is_some())
}

/// How many users of a directory are unconfirmed.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn count(tx: &mut ReadTx<'_>, directory: &DirectoryRef) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM unconfirmed u JOIN resource r ON r.rid = u.rid WHERE u.dir = ?1";
    let count = tx.first(sql, &[Param::Int(directory.key)], |row| row.int(0))?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// Forgets what is known of a directory that goes.
pub(in crate::mirror) fn forget(tx: &mut WriteTx<'_>, key: i64) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM seen WHERE dir = ?1",
        "DELETE FROM unconfirmed WHERE dir = ?1",
        "DELETE FROM rebaseline WHERE dir = ?1",
        "DELETE FROM restored WHERE dir = ?1",
    ] {
        tx.execute(sql, &[Param::Int(key)])?;
    }
    Ok(())
}
