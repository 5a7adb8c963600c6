//! Directories: one row per identity-provider integration, and the counters kept beside its chain.

use crate::model::{DirectoryId, DirectoryKind, Timestamp};

use super::change::{self, Entry, Kind};
use super::engine::{Param, Row, StoreError};
use super::marks::{Client, Contact};
use super::tx::{ReadTx, WriteTx};
use super::{Error, Refusal};

/// A directory as statements name it. Only the mirror makes one, from a token or from an id that exists, so
/// whoever holds it may speak of that directory and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DirectoryRef {
    pub(super) key: i64,
    /// The public id.
    pub id: DirectoryId,
}

/// One directory with its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// What commands take.
    pub reference: DirectoryRef,
    /// The public id.
    pub id: DirectoryId,
    /// Display name.
    pub name: String,
    /// Which identity provider speaks.
    pub kind: DirectoryKind,
    /// False: its endpoint answers 503.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// Users it holds, active or not.
    pub users: u64,
    /// Groups it holds.
    pub groups: u64,
    /// First change to a user or group; `None` means nobody has pushed yet: unknown, not empty.
    pub pushed_at: Option<Timestamp>,
    /// Last write of its identity provider, as far as flushed.
    pub last_push_at: Option<Timestamp>,
    /// Last use of any of its tokens, as far as flushed.
    pub last_used_at: Option<Timestamp>,
    /// What its identity provider was heard to do, as far as flushed; [`super::Mirror::contact`] knows it to the second.
    pub contact: Option<Contact>,
}

const COLUMNS: &str = "SELECT d.key, d.id, d.name, d.kind, d.enabled, d.created_at, c.users, c.groups, \
    c.pushed_at, d.last_push_at, (SELECT MAX(t.last_used_at) FROM token t WHERE t.dir = d.key), \
    d.first_used_at, d.tested_at, d.last_address, d.last_agent FROM directory d JOIN chain c ON c.chain = d.key";

/// Adds a directory, enabled.
///
/// # Errors
/// [`Refusal::Exists`] when the id is taken, [`Refusal::Invalid`] for an empty or overlong name.
pub fn add(
    tx: &mut WriteTx<'_>,
    id: &DirectoryId,
    name: &str,
    kind: DirectoryKind,
) -> Result<Directory, Error> {
    check_name(name)?;
    let now = tx.now();
    let params = [Param::Text(id.as_str()), Param::Text(name), Param::Text(kind.as_str()), Param::Int(now.0)];
    let sql = "INSERT INTO directory (id, name, kind, enabled, created_at) VALUES (?1, ?2, ?3, 1, ?4) \
               ON CONFLICT DO NOTHING";
    let key = tx
        .insert(sql, &params)?
        .ok_or_else(|| Refusal::Exists(format!("directory `{id}` exists already")))?;
    tx.execute(
        "INSERT INTO chain (chain, directory, digest) VALUES (?1, ?2, ?3)",
        &[Param::Int(key), Param::Text(id.as_str()), Param::Blob(&[0; 32])],
    )?;
    let reference = DirectoryRef { key, id: id.clone() };
    let after = serde_json::json!({"id": id.as_str(), "name": name, "kind": kind.as_str()}).to_string();
    log(tx, &reference, &Kind::DirectoryAdded, None, Some(&after))?;
    Ok(Directory {
        reference,
        id: id.clone(),
        name: name.to_owned(),
        kind,
        enabled: true,
        created_at: now,
        users: 0,
        groups: 0,
        pushed_at: None,
        last_push_at: None,
        last_used_at: None,
        contact: None,
    })
}

/// A free id made from a display name: `Acme Okta` becomes `acme-okta`, or `acme-okta-2` if that is taken.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn free_id(tx: &mut ReadTx<'_>, name: &str) -> Result<DirectoryId, StoreError> {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(48);
    let stem = match slug.trim_end_matches('-') {
        "" => "directory",
        stem => stem,
    };
    for n in 1_u32..=u32::MAX {
        let text = if n == 1 { stem.to_owned() } else { format!("{stem}-{n}") };
        let id = DirectoryId::parse(&text).map_err(|e| StoreError::Bug(e.to_string()))?;
        if find(tx, &id)?.is_none() {
            return Ok(id);
        }
    }
    Err(StoreError::Bug("no free directory id".into()))
}

/// All directories, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>) -> Result<Vec<Directory>, StoreError> {
    tx.all(&format!("{COLUMNS} ORDER BY d.key"), &[], directory_of)
}

/// The directory of this id.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn find(tx: &mut ReadTx<'_>, id: &DirectoryId) -> Result<Option<Directory>, StoreError> {
    tx.first(&format!("{COLUMNS} WHERE d.id = ?1"), &[Param::Text(id.as_str())], directory_of)
}

/// Gives a directory another display name; the same one changes nothing.
///
/// # Errors
/// [`Refusal::Absent`], [`Refusal::Invalid`].
pub fn rename(tx: &mut WriteTx<'_>, id: &DirectoryId, name: &str) -> Result<Directory, Error> {
    check_name(name)?;
    let mut found = wanted(tx, id)?;
    if found.name == name {
        return Ok(found);
    }
    let sql = "UPDATE directory SET name = ?2 WHERE key = ?1";
    tx.execute(sql, &[Param::Int(found.reference.key), Param::Text(name)])?;
    let before = serde_json::json!({"name": found.name}).to_string();
    let after = serde_json::json!({"name": name}).to_string();
    log(tx, &found.reference, &Kind::DirectoryRenamed, Some(&before), Some(&after))?;
    name.clone_into(&mut found.name);
    Ok(found)
}

/// Lets a directory answer, or makes it answer 503; no difference, no change.
///
/// # Errors
/// [`Refusal::Absent`].
pub fn set_enabled(tx: &mut WriteTx<'_>, id: &DirectoryId, enabled: bool) -> Result<Directory, Error> {
    let mut found = wanted(tx, id)?;
    if found.enabled == enabled {
        return Ok(found);
    }
    let sql = "UPDATE directory SET enabled = ?2 WHERE key = ?1";
    tx.execute(sql, &[Param::Int(found.reference.key), Param::Int(i64::from(enabled))])?;
    let kind = if enabled { Kind::DirectoryEnabled } else { Kind::DirectoryDisabled };
    log(tx, &found.reference, &kind, None, None)?;
    found.enabled = enabled;
    Ok(found)
}

/// Removes a directory with its users, groups, memberships and tokens, in one change. Whether targets may follow
/// at once is the guard's to say.
///
/// # Errors
/// [`Refusal::Absent`].
pub fn remove(tx: &mut WriteTx<'_>, id: &DirectoryId) -> Result<(), Error> {
    let found = wanted(tx, id)?;
    let key = Param::Int(found.reference.key);
    let before =
        serde_json::json!({"id": id.as_str(), "name": found.name, "kind": found.kind.as_str()}).to_string();
    log(tx, &found.reference, &Kind::DirectoryRemoved, Some(&before), None)?;
    super::decision::rebaseline::forget(tx, found.reference.key)?;
    super::decision::binding::forget(tx, id)?;
    for sql in [
        "DELETE FROM member WHERE group_rid IN (SELECT rid FROM resource WHERE dir = ?1)",
        "DELETE FROM email_key WHERE dir = ?1",
        "DELETE FROM resource WHERE dir = ?1",
        "DELETE FROM token WHERE dir = ?1",
        "DELETE FROM directory WHERE key = ?1",
    ] {
        tx.execute(sql, &[key])?;
    }
    let head = tx.head(found.reference.key)?;
    head.users = 0;
    head.groups = 0;
    Ok(())
}

/// Notes the first push, whose change is about to be appended: from now on what the directory does not hold is known to be gone.
pub(super) fn note_first_push(tx: &mut WriteTx<'_>, directory: &DirectoryRef) -> Result<(), StoreError> {
    let now = tx.now().0;
    let next = i64::try_from(tx.batch.seq.saturating_add(1)).unwrap_or(i64::MAX);
    let head = tx.head(directory.key)?;
    if head.pushed_at.is_none() {
        (head.pushed_at, head.pushed_seq) = (Some(now), Some(next));
    }
    Ok(())
}

fn wanted(tx: &mut WriteTx<'_>, id: &DirectoryId) -> Result<Directory, Error> {
    tx.flush_heads()?;
    find(tx, id)?.ok_or_else(|| Refusal::Absent(format!("no directory `{id}`")).into())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let good = (1..=200).contains(&name.len()) && !name.chars().any(char::is_control);
    if good { Ok(()) } else { Err(Refusal::Invalid("a directory's name is 1 to 200 printable bytes".into())) }
}

fn log(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    kind: &Kind,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<(), StoreError> {
    let entry = Entry {
        chain: directory.key,
        kind: kind.as_str(),
        object: Some(directory.id.as_str()),
        before,
        after,
        ..Entry::default()
    };
    change::append(tx, &entry).map(|_| ())
}

fn directory_of(row: &dyn Row) -> Result<Directory, StoreError> {
    let bug = |e: crate::model::IdError| StoreError::Bug(e.to_string());
    let id = DirectoryId::parse(row.text(1)?).map_err(bug)?;
    let contact = row.opt_int(11)?.map(|first| -> Result<_, StoreError> {
        Ok(Contact {
            first_at: Timestamp(first),
            tested_at: row.opt_int(12)?.map(Timestamp),
            last_at: Timestamp(row.opt_int(10)?.unwrap_or(first)),
            client: Client::stored(row.opt_text(13)?, row.opt_text(14)?),
        })
    });
    Ok(Directory {
        reference: DirectoryRef { key: row.int(0)?, id: id.clone() },
        id,
        name: row.text(2)?.to_owned(),
        kind: row.text(3)?.parse().map_err(bug)?,
        enabled: row.int(4)? == 1,
        created_at: Timestamp(row.int(5)?),
        users: u64::try_from(row.int(6)?).unwrap_or(0),
        groups: u64::try_from(row.int(7)?).unwrap_or(0),
        pushed_at: row.opt_int(8)?.map(Timestamp),
        last_push_at: row.opt_int(9)?.map(Timestamp),
        last_used_at: row.opt_int(10)?.map(Timestamp),
        contact: contact.transpose()?,
    })
}
