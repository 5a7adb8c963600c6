//! Roles that people gave for a time.

use serde_json::{Value, json};

use crate::model::{GrantId, RoleName, Seq, Subject, Timestamp};

use super::{about, check_reason, number, seq_of, subject_of};
use crate::mirror::change::Kind;
use crate::mirror::engine::{Param, Row, StoreError};
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::mirror::{Error, Refusal};

/// Longest time a grant may run, in microseconds: a year.
const LONGEST_US: i64 = 366 * 86_400 * 1_000_000;

/// How long an ended grant is remembered beside the log, in microseconds: 30 days.
const KEPT_US: i64 = 30 * 86_400 * 1_000_000;

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its name: the number of the change that made it.
    pub id: GrantId,
    /// Who.
    pub subject: Subject,
    /// The `userName` at that time.
    pub user_name: String,
    /// What.
    pub role: RoleName,
    /// Why.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// The change that ended it, and when.
    pub ended: Option<(Seq, Timestamp)>,
}

impl Grant {
    fn json(&self) -> Value {
        json!({
            "grant": self.id.0,
            "user_name": self.user_name,
            "role": self.role,
            "reason": self.reason,
            "until": self.until.to_string(),
        })
    }
}

/// Gives `subject` a role until a moment.
///
/// # Errors
/// [`Refusal::Invalid`]: no reason, or a moment in the past or more than a year away.
pub fn create(
    tx: &mut WriteTx<'_>,
    subject: &Subject,
    user_name: &str,
    role: &RoleName,
    until: Timestamp,
    reason: &str,
) -> Result<Grant, Error> {
    check_reason(reason)?;
    let now = tx.now();
    if until <= now || until.0.saturating_sub(now.0) > LONGEST_US {
        return Err(Refusal::Invalid("a grant runs for a second to a year".into()).into());
    }
    let grant = Grant {
        id: GrantId(tx.seq()?.next().0),
        subject: subject.clone(),
        user_name: user_name.to_owned(),
        role: role.clone(),
        reason: reason.to_owned(),
        actor: tx.origin().actor.to_string(),
        at: now,
        until,
        ended: None,
    };
    let seq = about(tx, &Kind::GrantCreated, subject, None, Some(&grant.json()))?;
    if seq.0 != grant.id.0 {
        return Err(StoreError::Bug("a grant is named after another change".into()).into());
    }
    let params = [
        Param::Int(number(seq)),
        Param::Text(subject.directory.as_str()),
        Param::Blob(subject.user.as_bytes()),
        Param::Text(user_name),
        Param::Text(role.as_str()),
        Param::Text(reason),
        Param::Text(&grant.actor),
        Param::Int(now.0),
        Param::Int(until.0),
    ];
    let sql = "INSERT INTO role_grant (id, dir_id, user_id, user_name, role, reason, actor, at, until_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    tx.execute(sql, &params)?;
    Ok(grant)
}

/// Ends a grant before its time.
///
/// # Errors
/// [`Refusal::Absent`] if there is none, or it has ended.
pub fn revoke(tx: &mut WriteTx<'_>, id: GrantId) -> Result<Grant, Error> {
    let found = list(tx)?.into_iter().find(|one| one.id == id && one.ended.is_none());
    let grant = found.ok_or_else(|| Refusal::Absent(format!("no grant {id} runs")))?;
    end(tx, grant, &Kind::GrantRevoked).map_err(Error::from)
}

/// Ends every grant whose time ran out, each in a change of its own. Answers those that this call ended: an ended one
/// is never ended again, whatever the clock does.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn expire(tx: &mut WriteTx<'_>) -> Result<Vec<Grant>, StoreError> {
    let now = tx.now();
    let due = list(tx)?.into_iter().filter(|one| one.ended.is_none() && one.until <= now);
    let ended = due.map(|one| end(tx, one, &Kind::GrantExpired)).collect::<Result<Vec<_>, _>>()?;
    let old = Param::Int(now.0.saturating_sub(KEPT_US));
    tx.execute("DELETE FROM role_grant WHERE ended_at < ?1", &[old])?;
    Ok(ended)
}

fn end(tx: &mut WriteTx<'_>, mut grant: Grant, kind: &Kind) -> Result<Grant, StoreError> {
    let seq = about(tx, kind, &grant.subject, Some(&grant.json()), None)?;
    let now = tx.now();
    let id = i64::try_from(grant.id.0).unwrap_or(i64::MAX);
    let params = [Param::Int(id), Param::Int(number(seq)), Param::Int(now.0)];
    tx.execute("UPDATE role_grant SET ended_seq = ?2, ended_at = ?3 WHERE id = ?1", &params)?;
    grant.ended = Some((seq, now));
    Ok(grant)
}

/// When the next running grant ends.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn next_expiry(tx: &mut ReadTx<'_>) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT MIN(until_at) FROM role_grant WHERE ended_seq IS NULL";
    Ok(tx.first(sql, &[], |row| row.opt_int(0))?.flatten().map(Timestamp))
}

/// Every grant that runs or ended lately, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(tx: &mut ReadTx<'_>) -> Result<Vec<Grant>, StoreError> {
    let sql = "SELECT dir_id, user_id, id, user_name, role, reason, actor, at, until_at, ended_seq, ended_at \
               FROM role_grant ORDER BY id";
    tx.all(sql, &[], |row: &dyn Row| {
        let ended = row.opt_int(9)?.map(seq_of).zip(row.opt_int(10)?.map(Timestamp));
        Ok(Grant {
            id: GrantId(u64::try_from(row.int(2)?).unwrap_or(0)),
            subject: subject_of(row, 0)?,
            user_name: row.text(3)?.to_owned(),
            role: RoleName::parse(row.text(4)?).map_err(|e| StoreError::Bug(e.to_string()))?,
            reason: row.text(5)?.to_owned(),
            actor: row.text(6)?.to_owned(),
            at: Timestamp(row.int(7)?),
            until: Timestamp(row.int(8)?),
            ended,
        })
    })
}
