//! The rows of the base and the digest over all of them: a sum modulo 2^256 of each row's SHA-256, so that a step of
//! pruning costs what it alters and not what the base holds.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::mirror::change::{digest_values, id_of};
use crate::mirror::engine::{Param, Row, StoreError, array};
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::model::ResourceId;
use crate::scim::resource::Doc;

use super::standing::Thing;

/// The sum, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mirror) struct Sum(pub(in crate::mirror) [u8; 32]);

impl Sum {
    pub(in crate::mirror) fn add(&mut self, digest: &[u8; 32]) {
        let mut carry = 0_u8;
        for (mine, its) in self.0.iter_mut().rev().zip(digest.iter().rev()) {
            let [high, low] = (u16::from(*mine) + u16::from(*its) + u16::from(carry)).to_be_bytes();
            (*mine, carry) = (low, high);
        }
    }

    pub(in crate::mirror) fn remove(&mut self, digest: &[u8; 32]) {
        let mut borrow = false;
        for (mine, its) in self.0.iter_mut().rev().zip(digest.iter().rev()) {
            let (first, once) = mine.overflowing_sub(*its);
            let (second, twice) = first.overflowing_sub(u8::from(borrow));
            *mine = second;
            borrow = once || twice;
        }
    }
}

/// SHA-256 over fields, each with its length.
fn digest(fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"rosterd base 1");
    for field in fields {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

/// What of a thing that stands may have to be erased.
const ERASABLE: [&str; 3] = ["user_name", "reason", "note"];
/// Where a thing of the base keeps the salted digests of that.
const SEALED: &str = "sealed";

/// Digest of one thing that stands. Of what may be erased it covers a salted digest.
pub(in crate::mirror) fn standing_digest(key: &(String, String), thing: &Thing) -> [u8; 32] {
    let mut covered = thing.body.clone();
    if covered.contains_key(SEALED) {
        erase(&mut covered);
    }
    let body = Value::Object(covered).to_string();
    digest(&[
        b"standing",
        key.0.as_bytes(),
        key.1.as_bytes(),
        &thing.seq.0.to_be_bytes(),
        &thing.at.0.to_be_bytes(),
        body.as_bytes(),
    ])
}

/// Salts what of a thing may have to be erased, as it comes into the base.
pub(in crate::mirror) fn seal(body: &mut Map<String, Value>) -> Result<(), StoreError> {
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).map_err(|error| StoreError::Bug(format!("no randomness: {error}")))?;
    let salt = hex(&salt);
    let digests = digests(body, &salt);
    if !digests.is_empty() && !body.contains_key(SEALED) {
        body.insert(SEALED.into(), json!({"digests": digests, "salt": salt}));
    }
    Ok(())
}

/// True unless a text of a sealed thing is not the one that its digest was taken of.
pub(in crate::mirror) fn is_sealed_whole(body: &Map<String, Value>) -> bool {
    let Some(sealed) = body.get(SEALED) else { return true };
    let salt = sealed.get("salt").and_then(Value::as_str).unwrap_or_default();
    let stored = sealed.get("digests").and_then(Value::as_object);
    digests(body, salt).iter().all(|(name, found)| stored.and_then(|stored| stored.get(name)) == Some(found))
}

/// Erases the texts of a thing and the salt of their digests.
pub(super) fn erase(body: &mut Map<String, Value>) {
    for name in ERASABLE {
        body.shift_remove(name);
    }
    if let Some(sealed) = body.get_mut(SEALED).and_then(Value::as_object_mut) {
        sealed.shift_remove("salt");
    }
}

fn digests(body: &Map<String, Value>, salt: &str) -> Map<String, Value> {
    let of = |name: &str| {
        let text = body.get(name)?.as_str()?;
        Some((name.to_owned(), hex(&digest_values(salt.as_bytes(), None, Some(text))).into()))
    };
    ERASABLE.into_iter().filter_map(of).collect()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A user or group of the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mirror) struct ResourceRow {
    pub(in crate::mirror) chain: i64,
    pub(in crate::mirror) kind: i64,
    pub(in crate::mirror) active: i64,
    pub(in crate::mirror) version: i64,
    pub(in crate::mirror) created_at: i64,
    pub(in crate::mirror) modified_at: i64,
    pub(in crate::mirror) active_seq: i64,
    pub(in crate::mirror) active_at: i64,
    pub(in crate::mirror) salt: Vec<u8>,
    pub(in crate::mirror) value_digest: [u8; 32],
    /// `None` once erased.
    pub(in crate::mirror) doc: Option<String>,
}

pub(in crate::mirror) const RESOURCE_COLUMNS: &str = "SELECT id, chain, type, active, version, created_at, \
    modified_at, active_seq, active_at, salt, value_digest, doc FROM base_resource";

pub(in crate::mirror) fn resource_row(row: &dyn Row) -> Result<(ResourceId, ResourceRow), StoreError> {
    let found = ResourceRow {
        chain: row.int(1)?,
        kind: row.int(2)?,
        active: row.int(3)?,
        version: row.int(4)?,
        created_at: row.int(5)?,
        modified_at: row.int(6)?,
        active_seq: row.int(7)?,
        active_at: row.int(8)?,
        salt: row.blob(9)?.to_vec(),
        value_digest: array(row.blob(10)?)?,
        doc: row.opt_text(11)?.map(str::to_owned),
    };
    Ok((id_of(row.blob(0)?)?, found))
}

impl ResourceRow {
    pub(in crate::mirror) fn read(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<Option<Self>, StoreError> {
        let sql = format!("{RESOURCE_COLUMNS} WHERE id = ?1");
        Ok(tx.first(&sql, &[Param::Blob(id.as_bytes())], resource_row)?.map(|(_, row)| row))
    }

    /// The document under a new salt.
    pub(in crate::mirror) fn set_doc(&mut self, doc: &Doc) -> Result<(), StoreError> {
        let mut salt = vec![0_u8; 16];
        getrandom::fill(&mut salt).map_err(|error| StoreError::Bug(format!("no randomness: {error}")))?;
        let text = serde_json::to_string(doc).map_err(|error| StoreError::Bug(error.to_string()))?;
        self.value_digest = digest_values(&salt, None, Some(&text));
        (self.salt, self.doc) = (salt, Some(text));
        Ok(())
    }

    /// True unless the document is not the one that the digest was taken of.
    pub(in crate::mirror) fn is_whole(&self) -> bool {
        self.doc.as_ref().is_none_or(|doc| digest_values(&self.salt, None, Some(doc)) == self.value_digest)
    }

    /// Covers the digest of the document and not its text or salt, which may be erased.
    pub(in crate::mirror) fn digest(&self, id: ResourceId) -> [u8; 32] {
        let numbers = [
            self.chain,
            self.kind,
            self.active,
            self.version,
            self.created_at,
            self.modified_at,
            self.active_seq,
            self.active_at,
        ];
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        digest(&[b"resource", id.as_bytes(), &numbers, &self.value_digest])
    }

    pub(in crate::mirror) fn write(&self, tx: &mut WriteTx<'_>, id: ResourceId) -> Result<(), StoreError> {
        let params = [
            Param::Blob(id.as_bytes()),
            Param::Int(self.chain),
            Param::Int(self.kind),
            Param::Int(self.active),
            Param::Int(self.version),
            Param::Int(self.created_at),
            Param::Int(self.modified_at),
            Param::Int(self.active_seq),
            Param::Int(self.active_at),
            Param::Blob(&self.salt),
            Param::Blob(&self.value_digest),
            Param::opt_text(self.doc.as_deref()),
        ];
        tx.execute(
            "INSERT INTO base_resource (id, chain, type, active, version, created_at, modified_at, active_seq, \
             active_at, salt, value_digest, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT (id) DO UPDATE SET active = excluded.active, version = excluded.version, \
             modified_at = excluded.modified_at, active_seq = excluded.active_seq, active_at = excluded.active_at, \
             salt = excluded.salt, value_digest = excluded.value_digest, doc = excluded.doc",
            &params,
        )
        .map(|_| ())
    }
}

/// A membership of the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mirror) struct MemberRow {
    pub(in crate::mirror) group: ResourceId,
    pub(in crate::mirror) member: ResourceId,
    pub(in crate::mirror) member_type: i64,
    pub(in crate::mirror) seq: i64,
    pub(in crate::mirror) at: i64,
    pub(in crate::mirror) actor: String,
    pub(in crate::mirror) request: Option<String>,
}

pub(in crate::mirror) const MEMBER_COLUMNS: &str =
    "SELECT group_id, member_id, member_type, seq, at, actor, request FROM base_member";

pub(in crate::mirror) fn member_row(row: &dyn Row) -> Result<MemberRow, StoreError> {
    Ok(MemberRow {
        group: id_of(row.blob(0)?)?,
        member: id_of(row.blob(1)?)?,
        member_type: row.int(2)?,
        seq: row.int(3)?,
        at: row.int(4)?,
        actor: row.text(5)?.to_owned(),
        request: row.opt_text(6)?.map(str::to_owned),
    })
}

impl MemberRow {
    pub(in crate::mirror) fn read(
        tx: &mut ReadTx<'_>,
        group: ResourceId,
        member: ResourceId,
    ) -> Result<Option<Self>, StoreError> {
        let sql = format!("{MEMBER_COLUMNS} WHERE group_id = ?1 AND member_id = ?2");
        tx.first(&sql, &[Param::Blob(group.as_bytes()), Param::Blob(member.as_bytes())], member_row)
    }

    pub(in crate::mirror) fn digest(&self) -> [u8; 32] {
        let numbers = [self.member_type, self.seq, self.at];
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        let request = self.request.as_deref().unwrap_or_default();
        let (group, member) = (self.group.as_bytes(), self.member.as_bytes());
        digest(&[b"member", group, member, &numbers, self.actor.as_bytes(), request.as_bytes()])
    }

    pub(in crate::mirror) fn write(&self, tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
        let params = [
            Param::Blob(self.group.as_bytes()),
            Param::Blob(self.member.as_bytes()),
            Param::Int(self.member_type),
            Param::Int(self.seq),
            Param::Int(self.at),
            Param::Text(&self.actor),
            Param::opt_text(self.request.as_deref()),
        ];
        tx.execute(
            "INSERT INTO base_member (group_id, member_id, member_type, seq, at, actor, request) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            &params,
        )
        .map(|_| ())
    }

    pub(in crate::mirror) fn delete(&self, tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
        let params = [Param::Blob(self.group.as_bytes()), Param::Blob(self.member.as_bytes())];
        tx.execute("DELETE FROM base_member WHERE group_id = ?1 AND member_id = ?2", &params).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_added_can_be_taken_out_again(rows: Vec<[u8; 32]>, last: [u8; 32]) {
            let mut sum = Sum([0; 32]);
            for row in &rows { sum.add(row); }
            let before = sum;
            sum.add(&last);
            for row in rows.iter().rev() { sum.remove(row); }
            prop_assert_eq!(sum.0, last);
            for row in &rows { sum.add(row); }
            sum.remove(&last);
            prop_assert_eq!(sum, before);
        }
    }
}
