//! The change log: one numbered row for whatever can alter what a target should hold, chained by digests.
//!
//! INVARIANTS: `seq` has no gap. A row's digest covers the previous digest of its chain, every column of the row,
//! the salted digest of its values and the digest of its member rows; the values lie apart, so that erasing them
//! leaves the chain whole. Rows are only ever appended.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::model::{DirectoryId, ResourceId, ResourceType, Seq, Timestamp};

use super::engine::{Param, Row, Sql, StoreError, array};
use super::tx::{ReadTx, WriteTx};

/// The chain of config versions and decisions.
pub(super) const CONFIG_CHAIN: i64 = 0;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What a change did. Readers must expect kinds that they do not know.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// A decision or a kind made by another version.
            Other(String),
        }

        /// Every word a kind is stored as.
        pub const KINDS: &[&str] = &[$($word,)*];

        impl Kind {
            /// The word stored in the log and shown outside.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Other(word) => word,
                }
            }

            /// The kind of this word.
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// A user came.
    UserCreated = "user.created",
    /// A user's attributes changed.
    UserUpdated = "user.updated",
    /// `active` became false, whatever else changed with it.
    UserDeactivated = "user.deactivated",
    /// `active` became true, whatever else changed with it.
    UserReactivated = "user.reactivated",
    /// A user went, and with it its memberships.
    UserDeleted = "user.deleted",
    /// A group came, with its members.
    GroupCreated = "group.created",
    /// A group's attributes or members changed.
    GroupUpdated = "group.updated",
    /// A group went, and with it its memberships both ways.
    GroupDeleted = "group.deleted",
    /// A directory was added.
    DirectoryAdded = "directory.added",
    /// A directory's display name changed.
    DirectoryRenamed = "directory.renamed",
    /// A directory answers again.
    DirectoryEnabled = "directory.enabled",
    /// A directory answers 503.
    DirectoryDisabled = "directory.disabled",
    /// A directory went with all it held.
    DirectoryRemoved = "directory.removed",
    /// A token was made, or accepted from the configuration.
    TokenCreated = "token.created",
    /// A token was revoked.
    TokenRevoked = "token.revoked",
    /// A configuration was accepted whose roles, directory order or subject keys differ from the last.
    ConfigAccepted = "config.accepted",
    /// A target's file was found not to be what was last written there.
    TargetDrifted = "target.drifted",
    /// The guard began to hold removals of a target, or held more.
    GuardHeld = "guard.held",
    /// Held removals of a target were released: by a person, or by `max_hold_then`.
    GuardApproved = "guard.approved",
    /// Held removals of a target were rejected.
    GuardRejected = "guard.rejected",
    /// A person had deliveries of a target tried again.
    DeliveryRetried = "delivery.retried",
    /// A person passed over a delivery of a target.
    DeliverySkipped = "delivery.skipped",
    /// A person had events of a target sent again.
    DeliveryReplayed = "delivery.replayed",
    /// A target was to be sent the present state: by a person's word, or because it is new.
    DeliverySnapshot = "delivery.snapshot",
    /// An operator shut a subject out of every target.
    SubjectShut = "subject.shut",
    /// An operator let a shut subject in again.
    SubjectOpened = "subject.opened",
    /// An operator made a directory let go of a subject's name, so that the next directory may have it.
    SubjectReleased = "subject.released",
    /// An operator gave a directory back a name it had let go of.
    SubjectReclaimed = "subject.reclaimed",
    /// A displayName rule of a role found its group, which it stands for from now on.
    RoleBound = "role.bound",
    /// A displayName rule left the configuration, and with it what it stood for.
    RoleUnbound = "role.unbound",
    /// An operator gave a subject a role for a time.
    GrantCreated = "grant.created",
    /// A grant's time ran out.
    GrantExpired = "grant.expired",
    /// An operator ended a grant before its time.
    GrantRevoked = "grant.revoked",
    /// A directory's identity provider has from now on to name everybody again.
    RebaselineOpened = "rebaseline.opened",
    /// The time for that ran out; who was not named is unconfirmed.
    RebaselineClosed = "rebaseline.closed",
    /// An identity provider named somebody again who was unconfirmed.
    UserConfirmed = "rebaseline.confirmed",
    /// The oldest part of the log was pruned; the values say up to where, and the digest of the base left behind.
    HistoryPruned = "history.pruned",
    /// What was kept of a user who is gone was erased.
    UserForgotten = "user.forgotten",
    /// The mirror is a backup put in place of another; the values name the new epoch.
    MirrorRestored = "mirror.restored",
    /// An operator made a target follow the restored mirror.
    RestoreApproved = "restore.approved",
    /// A target was put back to what it held at an earlier version, less what was revoked since, and pinned there.
    TargetRolledBack = "target.rolled_back",
    /// A pinned target follows access again.
    TargetUnpinned = "target.unpinned",
    /// A stranger's file was taken over by a target.
    TargetAdopted = "target.adopted",
    /// A target that the configuration dropped was forgotten.
    TargetForgotten = "target.forgotten",
    /// An import came to its end, or as far as it could; the values say how far. Its id is the object.
    ImportFinished = "import.finished",
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One member difference of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChange {
    /// True: the member came; false: it went.
    pub added: bool,
    /// The group.
    pub group: ResourceId,
    /// Who came or went.
    pub member: ResourceId,
    /// What the member is.
    pub member_type: ResourceType,
}

/// One entry of the log.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its number.
    pub seq: Seq,
    /// The directory whose chain it is in; `None` for config and decisions.
    pub directory: Option<DirectoryId>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
    /// The user or group altered.
    pub resource: Option<ResourceId>,
    /// The directory, token or other thing altered, by its public name.
    pub object: Option<String>,
    /// Who, as `model::Actor` prints it.
    pub actor: String,
    /// In which request.
    pub request: Option<String>,
    /// Version of the resource after the change.
    pub version: Option<u64>,
    /// JSON of the top-level attributes that changed, as they were; the whole document when it was deleted.
    pub before: Option<String>,
    /// JSON of the top-level attributes that changed, as they are now; the whole document when it was created.
    pub after: Option<String>,
    /// Member differences, in their order `n`.
    pub members: Vec<MemberChange>,
    /// True when the values were erased on request; the digests remain.
    pub erased: bool,
}

/// Head of one chain during a batch, and the directory's counters beside it.
#[derive(Debug, Clone)]
pub struct ChainHead {
    pub(super) chain: i64,
    pub(super) directory: String,
    pub(super) digest: [u8; 32],
    pub(super) users: i64,
    pub(super) groups: i64,
    pub(super) pushed_at: Option<i64>,
    pub(super) pushed_seq: Option<i64>,
}

impl ChainHead {
    pub(super) fn store(&self, sql: &mut dyn Sql) -> Result<(), StoreError> {
        sql.execute(STORE_HEAD, &self.params()).map(|_| ())
    }

    fn params(&self) -> [Param<'_>; 6] {
        [
            Param::Int(self.chain),
            Param::Blob(&self.digest),
            Param::Int(self.users),
            Param::Int(self.groups),
            Param::opt_int(self.pushed_at),
            Param::opt_int(self.pushed_seq),
        ]
    }
}

const STORE_HEAD: &str = "UPDATE chain SET digest = ?2, users = ?3, groups = ?4, pushed_at = ?5, pushed_seq = ?6 \
    WHERE chain = ?1";

impl WriteTx<'_> {
    /// The head of a chain, read from its row the first time a batch touches it.
    pub(super) fn head(&mut self, chain: i64) -> Result<&mut ChainHead, StoreError> {
        let known = self.batch.heads.iter().position(|head| head.chain == chain);
        let at = if let Some(at) = known {
            at
        } else {
            let sql =
                "SELECT directory, digest, users, groups, pushed_at, pushed_seq FROM chain WHERE chain = ?1";
            let found = self.first(sql, &[Param::Int(chain)], |row| {
                Ok(ChainHead {
                    chain,
                    directory: row.text(0)?.to_owned(),
                    digest: array(row.blob(1)?)?,
                    users: row.int(2)?,
                    groups: row.int(3)?,
                    pushed_at: row.opt_int(4)?,
                    pushed_seq: row.opt_int(5)?,
                })
            })?;
            let missing = || StoreError::Bug(format!("chain {chain} has no row"));
            self.batch.heads.push(found.ok_or_else(missing)?);
            self.batch.heads.len() - 1
        };
        self.batch.heads.get_mut(at).ok_or_else(|| StoreError::Bug("a chain head vanished".into()))
    }

    /// Writes the heads to their rows, for a command that reads them with SQL.
    pub(super) fn flush_heads(&mut self) -> Result<(), StoreError> {
        for head in self.batch.heads.clone() {
            self.execute(STORE_HEAD, &head.params())?;
        }
        Ok(())
    }
}

/// A change about to be appended.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry<'a> {
    pub(super) chain: i64,
    pub(super) kind: &'a str,
    pub(super) resource: Option<ResourceId>,
    pub(super) object: Option<&'a str>,
    pub(super) version: Option<i64>,
    pub(super) before: Option<&'a str>,
    pub(super) after: Option<&'a str>,
    pub(super) members: &'a [MemberChange],
}

/// Appends a change and returns its number.
pub(super) fn append(tx: &mut WriteTx<'_>, entry: &Entry<'_>) -> Result<Seq, StoreError> {
    let actor = tx.origin().actor.to_string();
    let request = tx.origin().request.clone();
    let at = tx.now().0;
    let seq = tx.batch.seq + 1;
    let number = i64::try_from(seq).map_err(|_| StoreError::Bug("the log is full".into()))?;
    let mut salt = [0_u8; 16];
    let mut value_digest = None;
    if entry.before.is_some() || entry.after.is_some() {
        getrandom::fill(&mut salt).map_err(|e| StoreError::Bug(format!("no randomness: {e}")))?;
        value_digest = Some(digest_values(&salt, entry.before, entry.after));
    }
    let member_digest = (!entry.members.is_empty()).then(|| {
        let mut hasher = MemberDigest::default();
        for row in entry.members {
            hasher.add(row);
        }
        hasher.finish()
    });
    let (directory, previous) = {
        let head = tx.head(entry.chain)?;
        (head.directory.clone(), head.digest)
    };
    let row = Digested {
        directory: &directory,
        seq: number,
        at,
        kind: entry.kind,
        resource: entry.resource.as_ref().map(|id| id.as_bytes().as_slice()),
        object: entry.object,
        actor: &actor,
        request: request.as_ref().map(crate::model::RequestId::as_str),
        version: entry.version,
        value_digest: value_digest.as_ref().map(<[u8; 32]>::as_slice),
        member_digest: member_digest.as_ref().map(<[u8; 32]>::as_slice),
    };
    let digest = row.digest(&previous);
    let params = [
        Param::Int(number),
        Param::Int(entry.chain),
        Param::Int(at),
        Param::Text(entry.kind),
        Param::opt_blob(row.resource),
        Param::opt_text(entry.object),
        Param::Text(&actor),
        Param::opt_text(row.request),
        Param::opt_int(entry.version),
        Param::opt_blob(row.value_digest),
        Param::opt_blob(row.member_digest),
        Param::Blob(&digest),
    ];
    tx.execute(
        "INSERT INTO change (seq, chain, at, kind, resource, object, actor, request, version, value_digest, \
         member_digest, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &params,
    )?;
    if value_digest.is_some() {
        let params = [
            Param::Int(number),
            Param::Blob(&salt),
            Param::opt_text(entry.before),
            Param::opt_text(entry.after),
        ];
        tx.execute("INSERT INTO change_value (seq, salt, before, after) VALUES (?1, ?2, ?3, ?4)", &params)?;
    }
    append_members(tx, number, entry.members)?;
    tx.head(entry.chain)?.digest = digest;
    tx.batch.seq = seq;
    Ok(Seq(seq))
}

fn append_members(tx: &mut WriteTx<'_>, seq: i64, members: &[MemberChange]) -> Result<(), StoreError> {
    for (n, member) in members.iter().enumerate() {
        let params = [
            Param::Int(seq),
            Param::Int(i64::try_from(n).unwrap_or(i64::MAX)),
            Param::Int(i64::from(member.added)),
            Param::Blob(member.group.as_bytes()),
            Param::Blob(member.member.as_bytes()),
            Param::Int(type_number(member.member_type)),
        ];
        tx.execute(
            "INSERT INTO change_member (seq, n, op, group_id, member_id, member_type) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            &params,
        )?;
    }
    Ok(())
}

/// The columns of a change that its digest covers.
pub(super) struct Digested<'a> {
    pub(super) directory: &'a str,
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) kind: &'a str,
    pub(super) resource: Option<&'a [u8]>,
    pub(super) object: Option<&'a str>,
    pub(super) actor: &'a str,
    pub(super) request: Option<&'a str>,
    pub(super) version: Option<i64>,
    pub(super) value_digest: Option<&'a [u8]>,
    pub(super) member_digest: Option<&'a [u8]>,
}

impl Digested<'_> {
    /// SHA-256 over the previous digest and the row; every field carries its length, so no two rows encode alike.
    pub(super) fn digest(&self, previous: &[u8; 32]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(previous);
        hasher.update(b"rosterd change 1");
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at.to_be_bytes());
        let version = self.version.map(i64::to_be_bytes);
        let fields: [Option<&[u8]>; 9] = [
            Some(self.directory.as_bytes()),
            Some(self.kind.as_bytes()),
            self.resource,
            self.object.map(str::as_bytes),
            Some(self.actor.as_bytes()),
            self.request.map(str::as_bytes),
            version.as_ref().map(<[u8; 8]>::as_slice),
            self.value_digest,
            self.member_digest,
        ];
        for field in fields {
            put(&mut hasher, field);
        }
        hasher.finalize().into()
    }
}

fn put(hasher: &mut Sha256, field: Option<&[u8]>) {
    match field {
        None => hasher.update([0]),
        Some(bytes) => {
            hasher.update([1]);
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        }
    }
}

/// Salted digest of a change's values.
pub(super) fn digest_values(salt: &[u8], before: Option<&str>, after: Option<&str>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    put(&mut hasher, Some(salt));
    put(&mut hasher, before.map(str::as_bytes));
    put(&mut hasher, after.map(str::as_bytes));
    hasher.finalize().into()
}

/// Digest of a change's member rows, fed in their order.
#[derive(Default)]
pub(super) struct MemberDigest(Sha256);

impl MemberDigest {
    pub(super) fn add(&mut self, row: &MemberChange) {
        self.0.update([u8::from(row.added)]);
        self.0.update(row.group.as_bytes());
        self.0.update(row.member.as_bytes());
        self.0.update([u8::try_from(type_number(row.member_type)).unwrap_or(0)]);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The number stored for a resource type.
pub(super) fn type_number(kind: ResourceType) -> i64 {
    match kind {
        ResourceType::User => 1,
        ResourceType::Group => 2,
    }
}

/// The resource type of a stored number.
pub(super) fn type_of(number: i64) -> Result<ResourceType, StoreError> {
    match number {
        1 => Ok(ResourceType::User),
        2 => Ok(ResourceType::Group),
        other => Err(StoreError::Bug(format!("resource type {other}"))),
    }
}

pub(super) fn id_of(bytes: &[u8]) -> Result<ResourceId, StoreError> {
    array(bytes).map(ResourceId::from_bytes)
}

pub(super) fn member_of(row: &dyn Row, first: usize) -> Result<MemberChange, StoreError> {
    Ok(MemberChange {
        added: row.int(first)? == 1,
        group: id_of(row.blob(first + 1)?)?,
        member: id_of(row.blob(first + 2)?)?,
        member_type: type_of(row.int(first + 3)?)?,
    })
}

const COLUMNS: &str = "SELECT c.seq, h.directory, c.at, c.kind, c.resource, c.object, c.actor, c.request, \
    c.version, v.before, v.after, c.value_digest IS NOT NULL AND v.seq IS NULL, c.member_digest IS NOT NULL, \
    c.chain FROM change c JOIN chain h ON h.chain = c.chain LEFT JOIN change_value v ON v.seq = c.seq";

/// Changes after `seq`, oldest first, at most `limit`, with their values and member rows.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn after(tx: &mut ReadTx<'_>, seq: Seq, limit: u32) -> Result<Vec<Change>, StoreError> {
    let from = i64::try_from(seq.0).unwrap_or(i64::MAX);
    let sql = format!("{COLUMNS} WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2");
    load(tx, &sql, &[Param::Int(from), Param::Int(i64::from(limit))])
}

/// What others wrote while a request was writing in several transactions.
#[derive(Debug, Clone, Default)]
pub struct Foreign {
    /// Users and groups whose attributes they changed, or that they deleted, and the newest change that did.
    pub resources: HashMap<ResourceId, Seq>,
    /// Members that they put into a group or took out of it: the group, then the member.
    pub members: HashMap<(ResourceId, ResourceId), Seq>,
}

/// Adds to `found` what requests other than `request` wrote after `seq`, up to this moment of the transaction. Reads each
/// change once.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn foreign(tx: &mut ReadTx<'_>, seq: Seq, request: &str, found: &mut Foreign) -> Result<(), StoreError> {
    let sql = "SELECT seq, resource, value_digest IS NOT NULL, member_digest IS NOT NULL FROM change \
               WHERE seq > ?1 AND (request IS NULL OR request <> ?2) ORDER BY seq";
    let mut with_members = Vec::new();
    tx.query(sql, &[param(seq), Param::Text(request)], &mut |row| {
        let seq = Seq(u64::try_from(row.int(0)?).unwrap_or(0));
        if row.int(2)? == 1
            && let Some(id) = row.opt_blob(1)?
        {
            found.resources.insert(id_of(id)?, seq);
        }
        if row.int(3)? == 1 {
            with_members.push(seq);
        }
        Ok(())
    })?;
    for seq in with_members {
        for one in members(tx, seq)? {
            found.members.insert((one.group, one.member), seq);
        }
    }
    Ok(())
}

/// Changes of one resource, newest first, at most `limit`.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn of_resource(tx: &mut ReadTx<'_>, id: ResourceId, limit: u32) -> Result<Vec<Change>, StoreError> {
    let sql = format!("{COLUMNS} WHERE c.resource = ?1 ORDER BY c.seq DESC LIMIT ?2");
    load(tx, &sql, &[Param::Blob(id.as_bytes()), Param::Int(i64::from(limit))])
}

/// Member differences of one change, in their order.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn members(tx: &mut ReadTx<'_>, seq: Seq) -> Result<Vec<MemberChange>, StoreError> {
    let number = i64::try_from(seq.0).unwrap_or(i64::MAX);
    let sql = "SELECT op, group_id, member_id, member_type FROM change_member WHERE seq = ?1 ORDER BY n";
    tx.all(sql, &[Param::Int(number)], |row| member_of(row, 0))
}

/// Changes of `?1 < seq <= ?2`, each with its chain, oldest first or newest first.
pub(super) fn between(
    tx: &mut ReadTx<'_>,
    (after, upto): (Seq, Seq),
    limit: u32,
    newest_first: bool,
) -> Result<Vec<(i64, Change)>, StoreError> {
    let order = if newest_first { "DESC" } else { "ASC" };
    let sql = format!("{COLUMNS} WHERE c.seq > ?1 AND c.seq <= ?2 ORDER BY c.seq {order} LIMIT ?3");
    load_chained(tx, &sql, &[param(after), param(upto), Param::Int(i64::from(limit))])
}

/// A position as a parameter.
pub(super) fn param(seq: Seq) -> Param<'static> {
    Param::Int(i64::try_from(seq.0).unwrap_or(i64::MAX))
}

/// Changes by a condition on `c`, with what follows it.
pub(super) fn select(
    tx: &mut ReadTx<'_>,
    condition: &str,
    params: &[Param<'_>],
) -> Result<Vec<(i64, Change)>, StoreError> {
    load_chained(tx, &format!("{COLUMNS} {condition}"), params)
}

/// One change without its member rows.
pub(super) fn bare(tx: &mut ReadTx<'_>, number: i64) -> Result<Option<Change>, StoreError> {
    tx.first(&format!("{COLUMNS} WHERE c.seq = ?1"), &[Param::Int(number)], change_of)
}

fn load(tx: &mut ReadTx<'_>, sql: &str, params: &[Param<'_>]) -> Result<Vec<Change>, StoreError> {
    Ok(load_chained(tx, sql, params)?.into_iter().map(|(_, change)| change).collect())
}

fn load_chained(
    tx: &mut ReadTx<'_>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<(i64, Change)>, StoreError> {
    let mut found = tx.all(sql, params, |row| {
        let (has_members, chain) = (row.int(12)? == 1, row.int(13)?);
        change_of(row).map(|change| (chain, change, has_members))
    })?;
    for (_, change, has_members) in &mut found {
        if *has_members {
            change.members = members(tx, change.seq)?;
        }
    }
    Ok(found.into_iter().map(|(chain, change, _)| (chain, change)).collect())
}

fn change_of(row: &dyn Row) -> Result<Change, StoreError> {
    let directory = match row.text(1)? {
        "" => None,
        text => Some(DirectoryId::parse(text).map_err(|e| StoreError::Bug(e.to_string()))?),
    };
    Ok(Change {
        seq: Seq(u64::try_from(row.int(0)?).unwrap_or(0)),
        directory,
        at: Timestamp(row.int(2)?),
        kind: Kind::from_word(row.text(3)?),
        resource: row.opt_blob(4)?.map(id_of).transpose()?,
        object: row.opt_text(5)?.map(str::to_owned),
        actor: row.text(6)?.to_owned(),
        request: row.opt_text(7)?.map(str::to_owned),
        version: row.opt_int(8)?.and_then(|v| u64::try_from(v).ok()),
        before: row.opt_text(9)?.map(str::to_owned),
        after: row.opt_text(10)?.map(str::to_owned),
        members: Vec::new(),
        erased: row.int(11)? == 1,
    })
}
