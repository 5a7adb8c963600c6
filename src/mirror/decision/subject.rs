//! Who is shut out, and which names a directory has let go of.

use serde_json::json;

use crate::model::{DirectoryId, Seq, Subject, Timestamp};
use crate::scim::filter::fold;

use super::{about, check_reason, number, seq_of, subject_of};
use crate::mirror::change::Kind;
use crate::mirror::engine::{Param, Row, StoreError};
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::mirror::{Error, Refusal};

/// A subject that is out of every target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    /// Who.
    pub subject: Subject,
    /// The `userName` at that time.
    pub user_name: String,
    /// Why.
    pub reason: String,
    /// By whom, as `model::Actor` prints it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// The change that decided it.
    pub seq: Seq,
}

impl Shut {
    /// Whether it concerns the user of this subject and name.
    pub fn concerns(&self, subject: &Subject, user_name: &str) -> bool {
        self.subject == *subject
            || (self.subject.directory == subject.directory && fold(&self.user_name) == fold(user_name))
    }
}

/// A name that a directory has let go of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The directory.
    pub directory: DirectoryId,
    /// The folded `userName`.
    pub user_name_key: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// The change that decided it.
    pub seq: Seq,
}

/// Shuts a subject out of every target.
///
/// # Errors
/// [`Refusal::Exists`] if it is shut already, [`Refusal::Invalid`] without a reason.
pub fn shut(tx: &mut WriteTx<'_>, subject: &Subject, user_name: &str, reason: &str) -> Result<Shut, Error> {
    check_reason(reason)?;
    if let Some(known) = shut_list(tx)?.into_iter().find(|one| one.concerns(subject, user_name)) {
        let Shut { subject, at, actor, .. } = known;
        return Err(Refusal::Exists(format!("{subject} is shut already, since {at} by {actor}")).into());
    }
    let after = json!({"user_name": user_name, "reason": reason});
    let seq = about(tx, &Kind::SubjectShut, subject, None, Some(&after))?;
    let (at, actor) = (tx.now(), tx.origin().actor.to_string());
    let key = fold(user_name);
    let params = [
        Param::Text(subject.directory.as_str()),
        Param::Blob(subject.user.as_bytes()),
        Param::Text(user_name),
        Param::Text(&key),
        Param::Text(reason),
        Param::Text(&actor),
        Param::Int(at.0),
        Param::Int(number(seq)),
    ];
    let sql = "INSERT INTO shut (dir_id, user_id, user_name, user_name_key, reason, actor, at, seq) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    tx.execute(sql, &params)?;
    let (user_name, reason) = (user_name.to_owned(), reason.to_owned());
    Ok(Shut { subject: subject.clone(), user_name, reason, actor, at, seq })
}

/// Lets a shut subject in again. Answers what counted so far and the change.
///
/// # Errors
/// [`Refusal::Absent`] if it is not shut.
pub fn open(tx: &mut WriteTx<'_>, subject: &Subject) -> Result<(Shut, Seq), Error> {
    let known = shut_list(tx)?.into_iter().find(|one| one.subject == *subject);
    let known = known.ok_or_else(|| Refusal::Absent(format!("{subject} is not shut")))?;
    let before = json!({"user_name": known.user_name, "reason": known.reason, "seq": known.seq});
    let seq = about(tx, &Kind::SubjectOpened, subject, Some(&before), None)?;
    let params = [Param::Text(subject.directory.as_str()), Param::Blob(subject.user.as_bytes())];
    tx.execute("DELETE FROM shut WHERE dir_id = ?1 AND user_id = ?2", &params)?;
    Ok((known, seq))
}

/// Everybody who is shut, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn shut_list(tx: &mut ReadTx<'_>) -> Result<Vec<Shut>, StoreError> {
    let sql = "SELECT dir_id, user_id, user_name, reason, actor, at, seq FROM shut ORDER BY seq";
    tx.all(sql, &[], |row| {
        Ok(Shut {
            subject: subject_of(row, 0)?,
            user_name: row.text(2)?.to_owned(),
            reason: row.text(3)?.to_owned(),
            actor: row.text(4)?.to_owned(),
            at: Timestamp(row.int(5)?),
            seq: seq_of(row.int(6)?),
        })
    })
}

/// People whom targets show although a removal was due, with their `userName` as last known.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn kept(tx: &mut ReadTx<'_>) -> Result<Vec<(Subject, String)>, StoreError> {
    let sql = "SELECT dir_id, user_id, name, attributes FROM exception ORDER BY dir_id, user_id";
    let mut found = tx.all(sql, &[], |row| {
        let doc: serde_json::Value = serde_json::from_str(row.text(3)?).unwrap_or_default();
        let user_name = doc.get("userName").and_then(serde_json::Value::as_str);
        Ok((
            subject_of(row, 0)?,
            user_name.map_or_else(|| row.text(2).map(str::to_owned), |name| Ok(name.to_owned()))?,
        ))
    })?;
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}

/// Makes the subject's directory let go of its name, so that the next directory that has it owns it.
///
/// # Errors
/// [`Refusal::Exists`] if it has let go already, [`Refusal::Invalid`] without a reason.
pub fn release(tx: &mut WriteTx<'_>, subject: &Subject, user_name: &str, reason: &str) -> Result<Seq, Error> {
    check_reason(reason)?;
    let key = fold(user_name);
    let known = released_list(tx)?;
    if known.iter().any(|one| one.directory == subject.directory && one.user_name_key == key) {
        let told = format!("directory `{}` has let go of `{user_name}` already", subject.directory);
        return Err(Refusal::Exists(told).into());
    }
    let after = json!({"user_name": user_name, "reason": reason});
    let seq = about(tx, &Kind::SubjectReleased, subject, None, Some(&after))?;
    let actor = tx.origin().actor.to_string();
    let params = [
        Param::Text(subject.directory.as_str()),
        Param::Text(&key),
        Param::Text(reason),
        Param::Text(&actor),
        Param::Int(tx.now().0),
        Param::Int(number(seq)),
    ];
    let sql = "INSERT INTO released (dir_id, user_name_key, reason, actor, at, seq) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.execute(sql, &params)?;
    Ok(seq)
}

/// Gives a directory a name back that it had let go of.
///
/// # Errors
/// [`Refusal::Absent`] if it had not.
pub fn reclaim(tx: &mut WriteTx<'_>, subject: &Subject, user_name: &str) -> Result<Seq, Error> {
    let key = fold(user_name);
    let params = [Param::Text(subject.directory.as_str()), Param::Text(&key)];
    if tx.execute("DELETE FROM released WHERE dir_id = ?1 AND user_name_key = ?2", &params)? == 0 {
        let told = format!("directory `{}` has not let go of `{user_name}`", subject.directory);
        return Err(Refusal::Absent(told).into());
    }
    let before = json!({"user_name": user_name});
    Ok(about(tx, &Kind::SubjectReclaimed, subject, Some(&before), None)?)
}

/// Every name a directory has let go of, oldest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn released_list(tx: &mut ReadTx<'_>) -> Result<Vec<Released>, StoreError> {
    let sql = "SELECT dir_id, user_name_key, reason, actor, at, seq FROM released ORDER BY seq";
    tx.all(sql, &[], |row: &dyn Row| {
        Ok(Released {
            directory: DirectoryId::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?,
            user_name_key: row.text(1)?.to_owned(),
            reason: row.text(2)?.to_owned(),
            actor: row.text(3)?.to_owned(),
            at: Timestamp(row.int(4)?),
            seq: seq_of(row.int(5)?),
        })
    })
}
