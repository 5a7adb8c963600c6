//! Users and groups: create, read, replace, patch, delete.
//!
//! INVARIANT: every write either changes nothing or makes exactly one change and one new version. Documents never
//! hold members; those are rows ([`super::member`]).

use serde_json::Value;

use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim;
use crate::scim::etag::Precondition;
use crate::scim::filter::fold;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Doc, Draft, merge_put};
use crate::scim::schema::ResourceSchema;

use super::Error;
use super::change::{self, Entry, Kind, MemberChange, id_of, type_number, type_of};
use super::directory::{DirectoryRef, note_first_push};
use super::engine::{Param, Row, StoreError};
use super::member;
use super::tx::{ReadTx, WriteTx};

/// A resource as the mirror holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SCIM `id`.
    pub id: ResourceId,
    /// User or Group.
    pub resource_type: ResourceType,
    /// JSON text of the canonical document.
    pub doc_text: String,
    /// Counter behind the ETag, from 1.
    pub version: u64,
    /// SCIM `meta.created`.
    pub created: Timestamp,
    /// SCIM `meta.lastModified`.
    pub last_modified: Timestamp,
    /// Direct members of a group; 0 for a user.
    pub members: u64,
    /// Whether it was a direct member of any group when it was read.
    pub in_groups: bool,
    /// Position in the stable order of lists; what a cursor holds.
    pub rid: i64,
}

/// Columns of [`stored_of`], of the table alias `r`.
pub(super) const STORED: &str = "r.rid, r.id, r.type, r.doc, r.version, r.created_at, r.modified_at, r.members, \
    EXISTS (SELECT 1 FROM member g WHERE g.member_rid = r.rid)";

/// How many columns [`STORED`] names; what a query adds begins there.
pub(super) const STORED_COLUMNS: usize = 9;

pub(super) fn stored_of(row: &dyn Row) -> Result<Stored, StoreError> {
    Ok(Stored {
        rid: row.int(0)?,
        id: id_of(row.blob(1)?)?,
        resource_type: type_of(row.int(2)?)?,
        doc_text: row.text(3)?.to_owned(),
        version: u64::try_from(row.int(4)?).unwrap_or(0),
        created: Timestamp(row.int(5)?),
        last_modified: Timestamp(row.int(6)?),
        members: u64::try_from(row.int(7)?).unwrap_or(0),
        in_groups: row.int(8)? == 1,
    })
}

/// The resource of this id in this directory and of this type; `None` for any other.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn find(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    id: &ResourceId,
) -> Result<Option<Stored>, StoreError> {
    const SQL: &str = "SELECT r.rid, r.id, r.type, r.doc, r.version, r.created_at, r.modified_at, r.members, \
                       EXISTS (SELECT 1 FROM member g WHERE g.member_rid = r.rid) \
                       FROM resource r WHERE r.id = ?1 AND r.dir = ?2 AND r.type = ?3";
    let params =
        [Param::Blob(id.as_bytes()), Param::Int(directory.key), Param::Int(type_number(resource_type))];
    tx.first(SQL, &params, stored_of)
}

/// Creates a resource (RFC 7644 §3.3).
///
/// # Errors
/// 409 `uniqueness`: `userName`, `externalId` or a group's `displayName` is in use. 400 `invalidValue`: a member
/// that is none of this directory.
pub fn create(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    draft: Draft,
) -> Result<Stored, Error> {
    let Draft { doc, members } = draft;
    let columns = Columns::of(resource_type, &doc);
    if resource_type == ResourceType::Group {
        check_group_name(tx, directory, &columns, None)?;
    }
    let doc_text = text_of(&doc)?;
    let now = tx.now();
    let id = new_id(now)?;
    let params = [
        Param::Int(directory.key),
        Param::Int(type_number(resource_type)),
        Param::Blob(id.as_bytes()),
        Param::Int(i64::from(columns.active)),
        Param::Int(now.0),
        Param::opt_text(columns.user_name_key.as_deref()),
        Param::opt_text(columns.display_name_key.as_deref()),
        Param::opt_text(columns.external_id.as_deref()),
        Param::Text(&columns.label),
        Param::Text(&doc_text),
    ];
    let sql = "INSERT INTO resource (dir, type, id, active, version, created_at, modified_at, user_name_key, \
               display_name_key, external_id, members, label, doc) \
               VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5, ?6, ?7, ?8, 0, ?9, ?10) ON CONFLICT DO NOTHING";
    let Some(rid) = tx.insert(sql, &params)? else {
        check_unique(tx, directory, resource_type, &columns, None)?;
        return Err(StoreError::Bug("an insert conflicts with nothing known".into()).into());
    };
    each_email(tx, ADD_EMAIL, directory, rid, &columns.emails)?;
    let mut diff = member::Difference::new(id, rid);
    if let Some(members) = members {
        diff.add(tx, directory, &members)?;
    }
    let members = diff.finish();
    if !members.is_empty() {
        let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE resource SET members = ?2 WHERE rid = ?1";
        tx.execute(sql, &[Param::Int(rid), Param::Int(count)])?;
    }
    let head = tx.head(directory.key)?;
    match resource_type {
        ResourceType::User => head.users += 1,
        ResourceType::Group => head.groups += 1,
    }
    let kind = if resource_type == ResourceType::User { Kind::UserCreated } else { Kind::GroupCreated };
    log(tx, directory, id, &kind, 1, None, Some(&doc_text), &members)?;
    Ok(Stored {
        id,
        resource_type,
        doc_text,
        version: 1,
        created: now,
        last_modified: now,
        members: members.len() as u64,
        in_groups: false,
        rid,
    })
}

/// Replaces a resource of the schema's type (RFC 7644 §3.5.1). Absent `active` and `members` stay as they are.
///
/// # Errors
/// 404, 412, 400 `mutability`, and as [`create`].
pub fn replace(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    schema: &ResourceSchema,
    id: &ResourceId,
    precondition: &Precondition,
    mut draft: Draft,
) -> Result<Stored, Error> {
    let old = wanted(tx, directory, schema.resource_type, id, precondition)?;
    let old_doc = doc_of(&old.doc_text)?;
    merge_put(schema, &old_doc, &mut draft)?;
    let edits: Vec<MemberEdit> = draft.members.map(MemberEdit::Replace).into_iter().collect();
    save(tx, directory, old, &old_doc, &draft.doc, &edits)
}

/// Patches a resource (RFC 7644 §3.5.2): `edit` alters the document and says what to do with the members.
///
/// # Errors
/// 404, 412, what `edit` returns, and as [`create`].
pub fn patch(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    id: &ResourceId,
    precondition: &Precondition,
    edit: impl FnOnce(&mut Doc) -> Result<Patched, scim::error::Error>,
) -> Result<Stored, Error> {
    let old = wanted(tx, directory, resource_type, id, precondition)?;
    let old_doc = doc_of(&old.doc_text)?;
    let mut doc = old_doc.clone();
    let patched = edit(&mut doc)?;
    save(tx, directory, old, &old_doc, &doc, &patched.members)
}

/// Deletes a resource (RFC 7644 §3.6) and its memberships both ways, in one change. Its groups get a new version.
///
/// # Errors
/// 404, 412.
pub fn delete(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    id: &ResourceId,
    precondition: &Precondition,
) -> Result<(), Error> {
    let old = wanted(tx, directory, resource_type, id, precondition)?;
    let now = tx.now();
    let mut members = Vec::new();
    if resource_type == ResourceType::Group {
        members = member::remove_all(tx, &old)?;
    }
    members.extend(member::leave_all(tx, &old, now)?);
    let columns = Columns::of(resource_type, &doc_of(&old.doc_text)?);
    each_email(tx, REMOVE_EMAIL, directory, old.rid, &columns.emails)?;
    tx.execute("DELETE FROM resource WHERE rid = ?1", &[Param::Int(old.rid)])?;
    // The number may be handed out again.
    tx.execute("DELETE FROM unconfirmed WHERE rid = ?1", &[Param::Int(old.rid)])?;
    let head = tx.head(directory.key)?;
    match resource_type {
        ResourceType::User => head.users -= 1,
        ResourceType::Group => head.groups -= 1,
    }
    let kind = if resource_type == ResourceType::User { Kind::UserDeleted } else { Kind::GroupDeleted };
    log(tx, directory, *id, &kind, old.version + 1, Some(&old.doc_text), None, &members)?;
    Ok(())
}

/// Writes what differs; nothing at all if nothing does.
fn save(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    old: Stored,
    old_doc: &Doc,
    doc: &Doc,
    edits: &[MemberEdit],
) -> Result<Stored, Error> {
    let mut diff = member::Difference::new(old.id, old.rid);
    for edit in edits {
        diff.apply(tx, directory, edit)?;
    }
    let members = diff.finish();
    let (before, after) = differing(old_doc, doc);
    if before.is_empty() && after.is_empty() && members.is_empty() {
        return Ok(old);
    }
    let mut new = old.clone();
    new.version += 1;
    new.last_modified = tx.now();
    let joined = members.iter().filter(|m| m.added).count() as u64;
    let left = members.len() as u64 - joined;
    new.members = (old.members + joined).saturating_sub(left);
    let doc_changed = !(before.is_empty() && after.is_empty());
    if doc_changed {
        new.doc_text = text_of(doc)?;
        write_doc(tx, directory, &new, old_doc, doc)?;
    } else {
        write_version(tx, &new)?;
    }
    let kind = updated_kind(old.resource_type, old_doc, doc);
    let before = doc_changed.then(|| text_of(&before)).transpose()?;
    let after = doc_changed.then(|| text_of(&after)).transpose()?;
    log(tx, directory, old.id, &kind, new.version, before.as_deref(), after.as_deref(), &members)?;
    Ok(new)
}

fn write_version(tx: &mut WriteTx<'_>, new: &Stored) -> Result<(), StoreError> {
    let params = [
        Param::Int(new.rid),
        Param::Int(i64::try_from(new.version).unwrap_or(i64::MAX)),
        Param::Int(new.last_modified.0),
        Param::Int(i64::try_from(new.members).unwrap_or(i64::MAX)),
    ];
    let sql = "UPDATE resource SET version = ?2, modified_at = ?3, members = ?4 WHERE rid = ?1";
    tx.execute(sql, &params).map(|_| ())
}

/// Writes the document; the index columns only if they differ, since each costs its index two updates.
fn write_doc(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    new: &Stored,
    old_doc: &Doc,
    doc: &Doc,
) -> Result<(), Error> {
    let was = Columns::of(new.resource_type, old_doc);
    let is = Columns::of(new.resource_type, doc);
    write_version(tx, new)?;
    let params = [
        Param::Int(new.rid),
        Param::Int(i64::from(is.active)),
        Param::Text(&is.label),
        Param::Text(&new.doc_text),
    ];
    tx.execute("UPDATE resource SET active = ?2, label = ?3, doc = ?4 WHERE rid = ?1", &params)?;
    if was.keys() != is.keys() {
        check_unique(tx, directory, new.resource_type, &is, Some(new.rid))?;
        if new.resource_type == ResourceType::Group {
            check_group_name(tx, directory, &is, Some(new.rid))?;
        }
        let params = [
            Param::Int(new.rid),
            Param::opt_text(is.user_name_key.as_deref()),
            Param::opt_text(is.display_name_key.as_deref()),
            Param::opt_text(is.external_id.as_deref()),
        ];
        let sql = "UPDATE resource SET user_name_key = ?2, display_name_key = ?3, external_id = ?4 \
                   WHERE rid = ?1";
        tx.execute(sql, &params)?;
    }
    if was.emails != is.emails {
        each_email(tx, REMOVE_EMAIL, directory, new.rid, &was.emails)?;
        each_email(tx, ADD_EMAIL, directory, new.rid, &is.emails)?;
    }
    Ok(())
}

/// The resource, if it is there and the request may alter this version of it.
fn wanted(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    id: &ResourceId,
    precondition: &Precondition,
) -> Result<Stored, Error> {
    let found = find(tx, directory, resource_type, id)?.ok_or_else(|| {
        scim::error::Error::not_found(format!("no {resource_type} with this id in this directory"))
    })?;
    precondition.check_write(found.version)?;
    Ok(found)
}

/// Top-level attributes that differ: as they were, and as they are.
fn differing(old: &Doc, new: &Doc) -> (Doc, Doc) {
    let pick = |from: &Doc, other: &Doc| -> Doc {
        let differs = from.iter().filter(|(name, value)| other.get(*name) != Some(*value));
        differs.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    (pick(old, new), pick(new, old))
}

fn updated_kind(resource_type: ResourceType, old: &Doc, new: &Doc) -> Kind {
    match (resource_type, is_active(old), is_active(new)) {
        (ResourceType::Group, ..) => Kind::GroupUpdated,
        (_, true, false) => Kind::UserDeactivated,
        (_, false, true) => Kind::UserReactivated,
        _ => Kind::UserUpdated,
    }
}

/// SCIM `active` of a user's document. The scim core writes it into every user it creates, so where it is missing
/// it was removed: that is not active.
pub(super) fn is_active(doc: &Doc) -> bool {
    doc.get("active").and_then(Value::as_bool).unwrap_or(false)
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
fn log(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    id: ResourceId,
    kind: &Kind,
    version: u64,
    before: Option<&str>,
    after: Option<&str>,
    members: &[MemberChange],
) -> Result<(), StoreError> {
    note_first_push(tx, directory)?;
    let entry = Entry {
        chain: directory.key,
        kind: kind.as_str(),
        resource: Some(id),
        object: None,
        version: Some(i64::try_from(version).unwrap_or(i64::MAX)),
        before,
        after,
        members,
    };
    change::append(tx, &entry).map(|_| ())
}

fn new_id(now: Timestamp) -> Result<ResourceId, StoreError> {
    let mut random = [0_u8; 10];
    getrandom::fill(&mut random).map_err(|e| StoreError::Bug(format!("no randomness: {e}")))?;
    Ok(ResourceId::new(now.unix_millis(), &random))
}

pub(super) fn doc_of(text: &str) -> Result<Doc, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Bug(format!("a stored document is no JSON: {e}")))
}

fn text_of(doc: &Doc) -> Result<String, StoreError> {
    serde_json::to_string(doc).map_err(|e| StoreError::Bug(format!("a document cannot be written: {e}")))
}

/// What is kept of a document in columns and side tables, for look-ups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) active: bool,
    pub(super) user_name_key: Option<String>,
    pub(super) display_name_key: Option<String>,
    pub(super) external_id: Option<String>,
    /// What members and groups are shown as: `displayName`, else `userName`.
    pub(super) label: String,
    /// Folded value and folded type of each e-mail, sorted, without repetition.
    pub(super) emails: Vec<(String, String)>,
}

impl Columns {
    pub(super) fn of(resource_type: ResourceType, doc: &Doc) -> Self {
        let text = |name: &str| doc.get(name).and_then(Value::as_str);
        let is_user = resource_type == ResourceType::User;
        let user_name = if is_user { text("userName") } else { None };
        let display_name = text("displayName");
        let mut emails = Vec::new();
        if is_user && let Some(Value::Array(all)) = doc.get("emails") {
            for email in all {
                if let Some(value) = email.get("value").and_then(Value::as_str) {
                    let kind = email.get("type").and_then(Value::as_str).unwrap_or("");
                    emails.push((fold(value), fold(kind)));
                }
            }
            emails.sort();
            emails.dedup();
        }
        Self {
            active: !is_user || is_active(doc),
            user_name_key: user_name.map(fold),
            display_name_key: display_name.map(fold),
            external_id: text("externalId").map(str::to_owned),
            label: display_name.or(user_name).unwrap_or("").to_owned(),
            emails,
        }
    }

    fn keys(&self) -> [Option<&str>; 3] {
        [self.user_name_key.as_deref(), self.display_name_key.as_deref(), self.external_id.as_deref()]
    }
}

const ADD_EMAIL: &str = "INSERT INTO email_key (dir, value_key, type_key, rid) VALUES (?1, ?2, ?3, ?4)";
const REMOVE_EMAIL: &str =
    "DELETE FROM email_key WHERE dir = ?1 AND value_key = ?2 AND type_key = ?3 AND rid = ?4";

/// Runs `sql`, one of the two above, for each address.
fn each_email(
    tx: &mut WriteTx<'_>,
    sql: &str,
    directory: &DirectoryRef,
    rid: i64,
    emails: &[(String, String)],
) -> Result<(), StoreError> {
    for (value, kind) in emails {
        tx.execute(
            sql,
            &[Param::Int(directory.key), Param::Text(value), Param::Text(kind), Param::Int(rid)],
        )?;
    }
    Ok(())
}

/// 409 if another resource of the directory has the `userName` or `externalId`.
fn check_unique(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    columns: &Columns,
    own: Option<i64>,
) -> Result<(), Error> {
    let own = Param::Int(own.unwrap_or(0));
    if let Some(key) = &columns.user_name_key {
        let sql = "SELECT 1 FROM resource WHERE dir = ?1 AND user_name_key = ?2 AND rid <> ?3";
        let params = [Param::Int(directory.key), Param::Text(key), own];
        if tx.first(sql, &params, |_| Ok(()))?.is_some() {
            return Err(taken("userName", "user").into());
        }
    }
    if let Some(external) = &columns.external_id {
        let sql = "SELECT 1 FROM resource WHERE dir = ?1 AND type = ?2 AND external_id = ?3 AND rid <> ?4";
        let kind = Param::Int(type_number(resource_type));
        let params = [Param::Int(directory.key), kind, Param::Text(external), own];
        if tx.first(sql, &params, |_| Ok(()))?.is_some() {
            let what = if resource_type == ResourceType::User { "user" } else { "group" };
            return Err(taken("externalId", what).into());
        }
    }
    Ok(())
}

/// 409 if another group has the `displayName` and one of the two has no `externalId` to tell them apart. Two of
/// one name and different `externalId` do exist at some identity providers.
fn check_group_name(
    tx: &mut WriteTx<'_>,
    directory: &DirectoryRef,
    columns: &Columns,
    own: Option<i64>,
) -> Result<(), Error> {
    let Some(key) = &columns.display_name_key else { return Ok(()) };
    let sql = "SELECT 1 FROM resource WHERE dir = ?1 AND type = 2 AND display_name_key = ?2 AND rid <> ?3 \
               AND (external_id IS NULL OR ?4 = 1) LIMIT 1";
    let alone = Param::Int(i64::from(columns.external_id.is_none()));
    let params = [Param::Int(directory.key), Param::Text(key), Param::Int(own.unwrap_or(0)), alone];
    if tx.first(sql, &params, |_| Ok(()))?.is_some() {
        return Err(taken("displayName", "group").into());
    }
    Ok(())
}

fn taken(attribute: &str, what: &str) -> scim::error::Error {
    scim::error::Error::uniqueness(format!("attribute `{attribute}` is in use by another {what}"))
}
