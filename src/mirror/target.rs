//! What must survive about targets: how far each got, what it shows, what it keeps although access no longer has
//! it, and the record of its runs. Reconcile decides; this only remembers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Doc, Entitlement, Exception, Verdict};
use crate::model::{ChangeId, DirectoryId, Epoch, Seq, Subject, TargetName, Timestamp};

use super::change::id_of;
use super::engine::{Param, Row, StoreError};
use super::tx::{ReadTx, WriteTx};

/// How far a target got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The change its bytes show; `None` before the first success.
    pub applied: Option<ChangeId>,
    /// Webhooks: the change up to which deliveries exist.
    pub cursor: Seq,
    /// All else.
    pub record: Record,
}

/// The part of a target's state that no statement looks into.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// SHA-256 of the bytes written last, in hex.
    pub written: Option<String>,
    /// True between the rename of the file and the end of `reload`.
    pub reload_pending: bool,
    /// True once rosterd owns what lies at the destination.
    pub adopted: bool,
    /// One of DESIGN's states, as last decided: `in_sync`, `held`, `failing` …
    pub state: String,
    /// End of the last run that changed or confirmed the target.
    pub last_success: Option<Timestamp>,
    /// End of the last run of any outcome.
    pub last_attempt: Option<Timestamp>,
    /// Why the last run failed; `None` after a success.
    pub last_error: Option<String>,
    /// Failed runs in a row.
    pub failures: u32,
    /// Not before this moment, while failing.
    pub next_attempt: Option<Timestamp>,
    /// Hash of the plan whose removals are held.
    pub held_plan: Option<String>,
    /// Whatever else reconcile keeps (guard window sums, …); `null` if nothing.
    pub extra: Value,
}

/// One thing a subject holds at a target, as last shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub subject: Subject,
    /// What.
    pub entitlement: Entitlement,
    /// The subject's name as rendered.
    pub name: String,
    /// What else was rendered of the subject and the entitlement.
    pub attributes: Doc,
}

/// A removal that was let through, with the facts to give it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What was held.
    pub holding: Holding,
    /// When it was let through.
    pub at: Timestamp,
    /// Why.
    pub how: How,
}

/// Why a removal was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// No limit was reached.
    Allowed,
    /// A hold stood, and it was among the few let through at once.
    Urgent,
    /// A person approved it, or `max_hold_then` did; no limit counts it.
    Approved,
}

/// The record of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Number, growing; 0 for a run about to be recorded.
    pub id: i64,
    /// Which target.
    pub target: TargetName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The change it worked from.
    pub seq: Seq,
    /// One word: `written`, `unchanged`, `held`, `failed` …
    pub outcome: String,
    /// Entitlements that came.
    pub added: u64,
    /// Entitlements that went.
    pub removed: u64,
    /// Entitlements shown differently.
    pub changed: u64,
    /// Removals held back.
    pub held: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// Further facts; `null` if none.
    pub detail: Value,
}

fn json_text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Bug(format!("a record cannot be written: {e}")))
}

fn seq_param(seq: Seq) -> Param<'static> {
    Param::Int(i64::try_from(seq.0).unwrap_or(i64::MAX))
}

fn seq_of(value: i64) -> Seq {
    Seq(u64::try_from(value).unwrap_or(0))
}

/// State of one target; `None` if it was never saved.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn state(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Option<State>, StoreError> {
    let sql = "SELECT applied_epoch, applied_seq, cursor_seq, state FROM target WHERE name = ?1";
    tx.first(sql, &[Param::Text(target.as_str())], |row| state_of(row, 0))
}

/// States of all targets ever saved, by name: also those the configuration no longer names.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn states(tx: &mut ReadTx<'_>) -> Result<Vec<(TargetName, State)>, StoreError> {
    let sql = "SELECT name, applied_epoch, applied_seq, cursor_seq, state FROM target ORDER BY name";
    tx.all(sql, &[], |row| {
        let name = TargetName::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?;
        Ok((name, state_of(row, 1)?))
    })
}

fn state_of(row: &dyn Row, first: usize) -> Result<State, StoreError> {
    let epoch = u32::try_from(row.int(first)?).unwrap_or(0);
    let applied = (epoch > 0)
        .then(|| row.int(first + 1).map(|seq| ChangeId { epoch: Epoch(epoch), seq: seq_of(seq) }))
        .transpose()?;
    // A record of another version may lack or carry more than this one; what cannot be read starts afresh.
    let record = serde_json::from_str(row.text(first + 3)?).unwrap_or_default();
    Ok(State { applied, cursor: seq_of(row.int(first + 2)?), record })
}

/// Saves the state of one target.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn save_state(tx: &mut WriteTx<'_>, target: &TargetName, state: &State) -> Result<(), StoreError> {
    let record = json_text(&state.record)?;
    let (epoch, seq) = state.applied.map_or((0, Seq::ZERO), |id| (i64::from(id.epoch.0), id.seq));
    let params = [
        Param::Text(target.as_str()),
        Param::Int(epoch),
        seq_param(seq),
        seq_param(state.cursor),
        Param::Text(&record),
    ];
    tx.execute(
        "INSERT INTO target (name, applied_epoch, applied_seq, cursor_seq, state) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (name) DO UPDATE SET applied_epoch = excluded.applied_epoch, \
         applied_seq = excluded.applied_seq, cursor_seq = excluded.cursor_seq, state = excluded.state",
        &params,
    )
    .map(|_| ())
}

/// Forgets a target: state, holdings, exceptions, runs and deliveries.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn forget(tx: &mut WriteTx<'_>, target: &TargetName) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM passed WHERE target = ?1",
        "DELETE FROM loaded WHERE target = ?1",
        "DELETE FROM owned WHERE target = ?1",
        "DELETE FROM version_undo WHERE target = ?1",
        "DELETE FROM version WHERE target = ?1",
        "DELETE FROM target WHERE name = ?1",
        "DELETE FROM holding WHERE target = ?1",
        "DELETE FROM exception WHERE target = ?1",
        "DELETE FROM run WHERE target = ?1",
        "DELETE FROM delivery WHERE target = ?1",
        "DELETE FROM delivery_attempt WHERE target = ?1",
    ] {
        tx.execute(sql, &[Param::Text(target.as_str())])?;
    }
    Ok(())
}

/// What a target shows, by subject and entitlement.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn holdings(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<Holding>, StoreError> {
    let sql = "SELECT dir_id, user_id, entitlement, name, attributes FROM holding WHERE target = ?1 \
               ORDER BY dir_id, user_id, entitlement";
    tx.all(sql, &[Param::Text(target.as_str())], |row| {
        Ok(Holding {
            subject: subject_of(row)?,
            entitlement: entitlement_of(row.text(2)?)?,
            name: row.text(3)?.to_owned(),
            attributes: attributes_of(row.text(4)?),
        })
    })
}

/// Brings the record of what a target shows up to date by differences: `gone` leaves, `put` comes or is altered.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn update_holdings(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    gone: &[(Subject, Entitlement)],
    put: &[Holding],
) -> Result<(), StoreError> {
    for (subject, entitlement) in gone {
        let word = entitlement.to_string();
        let params = key(target, subject, &word);
        let sql =
            "DELETE FROM holding WHERE target = ?1 AND dir_id = ?2 AND user_id = ?3 AND entitlement = ?4";
        tx.execute(sql, &params)?;
    }
    for holding in put {
        let word = holding.entitlement.to_string();
        let attributes = json_text(&holding.attributes)?;
        let [a, b, c, d] = key(target, &holding.subject, &word);
        let params = [a, b, c, d, Param::Text(&holding.name), Param::Text(&attributes)];
        tx.execute(
            "INSERT INTO holding (target, dir_id, user_id, entitlement, name, attributes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (target, dir_id, user_id, entitlement) \
             DO UPDATE SET name = excluded.name, attributes = excluded.attributes",
            &params,
        )?;
    }
    Ok(())
}

/// What a target holds of one subject.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn entitlements_of(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
    subject: &Subject,
) -> Result<Vec<Entitlement>, StoreError> {
    let params = [
        Param::Text(target.as_str()),
        Param::Text(subject.directory.as_str()),
        Param::Blob(subject.user.as_bytes()),
    ];
    let sql = "SELECT entitlement FROM holding WHERE target = ?1 AND dir_id = ?2 AND user_id = ?3";
    tx.all(sql, &params, |row| entitlement_of(row.text(0)?))
}

/// Forgets all that a target shows; what it shows anew is told piece by piece.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn clear_holdings(tx: &mut WriteTx<'_>, target: &TargetName) -> Result<(), StoreError> {
    tx.execute("DELETE FROM holding WHERE target = ?1", &[Param::Text(target.as_str())]).map(|_| ())
}

/// Removals that a target does not carry out.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn exceptions(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<Exception>, StoreError> {
    let sql = "SELECT dir_id, user_id, entitlement, name, attributes, group_name, since_seq, verdict, batch \
               FROM exception WHERE target = ?1 ORDER BY dir_id, user_id, entitlement";
    tx.all(sql, &[Param::Text(target.as_str())], |row| {
        Ok(Exception {
            subject: subject_of(row)?,
            entitlement: entitlement_of(row.text(2)?)?,
            name: row.text(3)?.to_owned(),
            group_name: row.opt_text(5)?.map(str::to_owned),
            attributes: attributes_of(row.text(4)?),
            since: seq_of(row.int(6)?),
            verdict: verdict_of(row.text(7)?)?,
            batch: u64::try_from(row.int(8)?).unwrap_or(0),
        })
    })
}

/// When the changes were made whose removals a target does not carry out, as far as they are in the log. One query
/// however many there are.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn exception_times(
    tx: &mut ReadTx<'_>,
    target: &TargetName,
) -> Result<BTreeMap<Seq, Timestamp>, StoreError> {
    let sql = "SELECT seq, at FROM change WHERE seq IN (SELECT since_seq FROM exception WHERE target = ?1)";
    let found = tx
        .all(sql, &[Param::Text(target.as_str())], |row| Ok((seq_of(row.int(0)?), Timestamp(row.int(1)?))))?;
    Ok(found.into_iter().collect())
}

/// Makes the exceptions of a target exactly these.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn save_exceptions(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    exceptions: &[Exception],
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM exception WHERE target = ?1", &[Param::Text(target.as_str())])?;
    for one in exceptions {
        let word = one.entitlement.to_string();
        let attributes = json_text(&one.attributes)?;
        let [a, b, c, d] = key(target, &one.subject, &word);
        let params = [
            a,
            b,
            c,
            d,
            Param::Text(&one.name),
            Param::Text(&attributes),
            Param::opt_text(one.group_name.as_deref()),
            seq_param(one.since),
            Param::Text(verdict_word(one.verdict)),
            Param::Int(i64::try_from(one.batch).unwrap_or(i64::MAX)),
        ];
        tx.execute(
            "INSERT INTO exception (target, dir_id, user_id, entitlement, name, attributes, group_name, \
             since_seq, verdict, batch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            &params,
        )?;
    }
    Ok(())
}

/// Removals that were let through and are remembered: those not applied yet, and those the guard still counts.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn passed(tx: &mut ReadTx<'_>, target: &TargetName) -> Result<Vec<Passed>, StoreError> {
    let sql = "SELECT dir_id, user_id, entitlement, name, attributes, at, how FROM passed WHERE target = ?1 \
               ORDER BY dir_id, user_id, entitlement";
    tx.all(sql, &[Param::Text(target.as_str())], |row| {
        let holding = Holding {
            subject: subject_of(row)?,
            entitlement: entitlement_of(row.text(2)?)?,
            name: row.text(3)?.to_owned(),
            attributes: attributes_of(row.text(4)?),
        };
        Ok(Passed { holding, at: Timestamp(row.int(5)?), how: how_of(row.text(6)?)? })
    })
}

/// Brings the removals let through up to date by differences: `gone` leaves, `put` comes or is altered.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn update_passed(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    gone: &[(Subject, Entitlement)],
    put: &[Passed],
) -> Result<(), StoreError> {
    for (subject, entitlement) in gone {
        let word = entitlement.to_string();
        let params = key(target, subject, &word);
        let sql =
            "DELETE FROM passed WHERE target = ?1 AND dir_id = ?2 AND user_id = ?3 AND entitlement = ?4";
        tx.execute(sql, &params)?;
    }
    for Passed { holding, at, how } in put {
        let word = holding.entitlement.to_string();
        let attributes = json_text(&holding.attributes)?;
        let [a, b, c, d] = key(target, &holding.subject, &word);
        let how = Param::Text(how_word(*how));
        let params =
            [a, b, c, d, Param::Text(&holding.name), Param::Text(&attributes), Param::Int(at.0), how];
        tx.execute(
            "INSERT INTO passed (target, dir_id, user_id, entitlement, name, attributes, at, how) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (target, dir_id, user_id, entitlement) \
             DO UPDATE SET name = excluded.name, attributes = excluded.attributes, at = excluded.at, \
             how = excluded.how",
            &params,
        )?;
    }
    Ok(())
}

/// Records a run and keeps the newest `keep` of its target. Answers the run's number.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn record_run(tx: &mut WriteTx<'_>, run: &Run, keep: u32) -> Result<i64, StoreError> {
    let detail = run.detail.to_string();
    let count = |n: u64| Param::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let params = [
        Param::Text(run.target.as_str()),
        Param::Int(run.started_at.0),
        Param::Int(run.finished_at.0),
        seq_param(run.seq),
        Param::Text(&run.outcome),
        count(run.added),
        count(run.removed),
        count(run.changed),
        count(run.held),
        Param::opt_text(run.error.as_deref()),
        Param::Text(&detail),
    ];
    let id = tx.insert(
        "INSERT INTO run (target, started_at, finished_at, seq, outcome, added, removed, changed, held, error, \
         detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        &params,
    )?;
    let sql = "DELETE FROM run WHERE target = ?1 AND id <= \
               (SELECT id FROM run WHERE target = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    tx.execute(sql, &[Param::Text(run.target.as_str()), Param::Int(i64::from(keep))])?;
    id.ok_or_else(|| StoreError::Bug("a run was not recorded".into()))
}

/// Runs of one target, newest first.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn runs(tx: &mut ReadTx<'_>, target: &TargetName, limit: u32) -> Result<Vec<Run>, StoreError> {
    let sql = "SELECT id, started_at, finished_at, seq, outcome, added, removed, changed, held, error, detail \
               FROM run WHERE target = ?1 ORDER BY id DESC LIMIT ?2";
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    tx.all(sql, &[Param::Text(target.as_str()), Param::Int(i64::from(limit))], |row| {
        Ok(Run {
            id: row.int(0)?,
            target: target.clone(),
            started_at: Timestamp(row.int(1)?),
            finished_at: Timestamp(row.int(2)?),
            seq: seq_of(row.int(3)?),
            outcome: row.text(4)?.to_owned(),
            added: count(row.int(5)?),
            removed: count(row.int(6)?),
            changed: count(row.int(7)?),
            held: count(row.int(8)?),
            error: row.opt_text(9)?.map(str::to_owned),
            detail: serde_json::from_str(row.text(10)?).unwrap_or(Value::Null),
        })
    })
}

fn key<'a>(target: &'a TargetName, subject: &'a Subject, entitlement: &'a str) -> [Param<'a>; 4] {
    [
        Param::Text(target.as_str()),
        Param::Text(subject.directory.as_str()),
        Param::Blob(subject.user.as_bytes()),
        Param::Text(entitlement),
    ]
}

fn subject_of(row: &dyn Row) -> Result<Subject, StoreError> {
    let directory = DirectoryId::parse(row.text(0)?).map_err(|e| StoreError::Bug(e.to_string()))?;
    Ok(Subject { directory, user: id_of(row.blob(1)?)? })
}

fn entitlement_of(word: &str) -> Result<Entitlement, StoreError> {
    word.parse().map_err(|_| StoreError::Bug("a stored entitlement cannot be read".into()))
}

fn attributes_of(text: &str) -> Doc {
    serde_json::from_str(text).unwrap_or_default()
}

fn how_word(how: How) -> &'static str {
    match how {
        How::Allowed => "allowed",
        How::Urgent => "urgent",
        How::Approved => "approved",
    }
}

fn how_of(word: &str) -> Result<How, StoreError> {
    match word {
        "allowed" => Ok(How::Allowed),
        "urgent" => Ok(How::Urgent),
        "approved" => Ok(How::Approved),
        other => Err(StoreError::Bug(format!("removal let through as `{other}`"))),
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Rejected => "rejected",
        Verdict::Protected => "protected",
        Verdict::Unknown => "unknown",
    }
}

fn verdict_of(word: &str) -> Result<Verdict, StoreError> {
    match word {
        "held" => Ok(Verdict::Held),
        "rejected" => Ok(Verdict::Rejected),
        "protected" => Ok(Verdict::Protected),
        "unknown" => Ok(Verdict::Unknown),
        other => Err(StoreError::Bug(format!("verdict `{other}`"))),
    }
}
