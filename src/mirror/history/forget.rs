//! Erasing what is kept of a user who is gone. The chain of digests stays whole: it covers salted digests of values.

use std::collections::BTreeSet;

use crate::mirror::change::{self, Entry, Kind, type_number};
use crate::mirror::decision::{grant, subject};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::{ReadTx, WriteTx};
use crate::mirror::{Error, Refusal, set_stream, target};
use crate::model::{ResourceId, ResourceType, Seq, Subject};
use crate::scim::filter::fold;

use super::standing::Standing;
use super::state::part;
use super::sum::erase;

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// The change that records it.
    pub seq: Seq,
    /// Changes whose values went.
    pub changes: u64,
    /// Finished deliveries that named the user and went.
    pub deliveries: u64,
    /// Runs whose details went.
    pub runs: u64,
}

/// Erases the values of `id`, a user who is gone: in the log, in the base, in decisions (of which those that still ran
/// end), in what targets and deliveries say went wrong, finished deliveries, records
/// of runs and removals let through. Who came in and went by which change stays, by id.
///
/// # Errors
/// [`Refusal::Absent`] for an id the log does not know as a user; [`Refusal::Invalid`] while the user is still there,
/// or a target still shows it or waits for a word about it: the text says what to do.
pub fn forget(tx: &mut WriteTx<'_>, id: ResourceId) -> Result<Forgotten, Error> {
    refuse_live(tx, id)?;
    let chain = chain_of(tx, id)?;
    refuse_decided(tx, id)?;
    let words = words_of(tx, id)?;
    refuse_shown(tx, id, &words)?;
    scrub(tx, true)?;
    let mut done = Forgotten::default();
    // First, since these are changes that name the user once more.
    end_decisions(tx, id)?;
    let key = [Param::Blob(id.as_bytes())];
    done.changes += tx.execute(
        "DELETE FROM change_value WHERE seq IN (SELECT seq FROM change WHERE resource = ?1)",
        &key,
    )?;
    tx.execute("UPDATE base_resource SET doc = NULL, salt = x'' WHERE id = ?1", &key)?;
    tx.execute("DELETE FROM passed WHERE user_id = ?1", &key)?;
    tx.execute("DELETE FROM role_grant WHERE user_id = ?1", &key)?;
    // A version to roll back to gives nobody back who was revoked since.
    tx.execute("DELETE FROM version_undo WHERE user_id = ?1", &key)?;
    for word in &words {
        erase_word(tx, word, &mut done)?;
    }
    tx.execute(
        "DELETE FROM delivery_attempt WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.target = \
         delivery_attempt.target AND d.epoch = delivery_attempt.epoch AND d.seq = delivery_attempt.seq \
         AND d.n = delivery_attempt.n)",
        &[],
    )?;
    erase_base(tx, id, &words)?;
    if tx.is_sqlite() {
        // Samples of indexes may have a name in them; they are taken afresh when that is due.
        tx.execute("DELETE FROM sqlite_stat4", &[])?;
    }
    scrub(tx, false)?;
    let object = id.to_string();
    let entry =
        Entry { chain, kind: Kind::UserForgotten.as_str(), object: Some(&object), ..Entry::default() };
    done.seq = change::append(tx, &entry)?;
    Ok(done)
}

/// Ends what was decided about the user and has no effect any more: running grants, and the release of a name that
/// nobody in the directory has now.
fn end_decisions(tx: &mut WriteTx<'_>, id: ResourceId) -> Result<(), Error> {
    for one in grant::list(tx)?.into_iter().filter(|one| one.subject.user == id && one.ended.is_none()) {
        grant::revoke(tx, one.id)?;
    }
    for one in subject::released_list(tx)? {
        let sql = "SELECT object FROM change WHERE seq = ?1 UNION ALL \
                   SELECT body FROM base_standing WHERE class = 'released' AND seq = ?1";
        let told = tx.first(sql, &[change::param(one.seq)], |row| Ok(row.opt_text(0)?.map(str::to_owned)))?;
        let is_about = told.flatten().is_some_and(|text| text.contains(&id.to_string()));
        let sql = "SELECT 1 FROM resource r JOIN directory d ON d.key = r.dir WHERE d.id = ?1 AND r.user_name_key = ?2";
        let params = [Param::Text(one.directory.as_str()), Param::Text(&one.user_name_key)];
        let is_in_use = tx.first(sql, &params, |_| Ok(()))?.is_some();
        if is_about && !is_in_use {
            let about = Subject { directory: one.directory.clone(), user: id };
            subject::reclaim(tx, &about, &one.user_name_key)?;
        }
    }
    Ok(())
}

/// Erases one text wherever records besides the user's own hold it.
fn erase_word(tx: &mut WriteTx<'_>, word: &str, done: &mut Forgotten) -> Result<(), StoreError> {
    let pattern = [Param::Text(word)];
    // Decisions about the user; what a configuration says of groups and filters is nobody's data, and a re-baseline
    // tells of ids only.
    done.changes += tx.execute(
        "DELETE FROM change_value WHERE seq IN (SELECT seq FROM change WHERE resource IS NULL \
         AND kind NOT IN ('config.accepted', 'rebaseline.closed', 'rebaseline.confirmed')) \
         AND (instr(coalesce(after, ''), ?1) > 0 OR instr(coalesce(before, ''), ?1) > 0)",
        &pattern,
    )?;
    done.deliveries += tx.execute(
        "DELETE FROM delivery WHERE state IN ('done', 'skipped') AND instr(CAST(body AS TEXT), ?1) > 0",
        &pattern,
    )?;
    done.runs += tx.execute(
        "UPDATE run SET detail = 'null', error = CASE WHEN error IS NULL THEN NULL ELSE 'erased' END \
         WHERE instr(detail, ?1) > 0 OR instr(coalesce(error, ''), ?1) > 0",
        &pattern,
    )?;
    for sql in [
        "UPDATE delivery SET last_error = 'erased' WHERE instr(coalesce(last_error, ''), ?1) > 0",
        "UPDATE delivery_attempt SET error = 'erased' WHERE instr(coalesce(error, ''), ?1) > 0",
        "UPDATE delivery_attempt SET answer = x'' WHERE instr(CAST(answer AS TEXT), ?1) > 0",
        // Reasons of decisions about others.
        "UPDATE shut SET reason = '' WHERE instr(reason, ?1) > 0",
        "UPDATE role_grant SET reason = '' WHERE instr(reason, ?1) > 0",
        "UPDATE released SET reason = '' WHERE instr(reason, ?1) > 0",
        "UPDATE token SET note = '' WHERE instr(note, ?1) > 0",
    ] {
        tx.execute(sql, &pattern)?;
    }
    for (name, mut saved) in target::states(tx)? {
        if saved.record.last_error.as_deref().is_some_and(|error| error.contains(word)) {
            saved.record.last_error = Some("erased".to_owned());
            target::save_state(tx, &name, &saved)?;
        }
    }
    Ok(())
}

/// Erases the texts of decisions in the base that are about the user or name it; their digests stay.
fn erase_base(tx: &mut WriteTx<'_>, id: ResourceId, words: &BTreeSet<String>) -> Result<(), StoreError> {
    let id = id.to_string();
    for ((class, object), mut thing) in Standing::of_base(tx)?.0 {
        let body = serde_json::Value::Object(thing.body.clone()).to_string();
        if !object.contains(&id) && !words.iter().any(|word| body.contains(word.as_str())) {
            continue;
        }
        erase(&mut thing.body);
        let body = serde_json::Value::Object(thing.body).to_string();
        let params = [Param::Text(&class), Param::Text(&object), Param::Text(&body)];
        tx.execute("UPDATE base_standing SET body = ?3 WHERE class = ?1 AND object = ?2", &params)?;
    }
    Ok(())
}

/// Has SQLite overwrite whatever is deleted, also where that costs a write; else only where it does not.
fn scrub(tx: &mut ReadTx<'_>, on: bool) -> Result<(), StoreError> {
    let sql = if on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = FAST" };
    if tx.is_sqlite() { tx.query(sql, &[], &mut |_| Ok(())) } else { Ok(()) }
}

fn refuse_live(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<(), Error> {
    let sql = "SELECT 1 FROM resource WHERE id = ?1";
    if tx.first(sql, &[Param::Blob(id.as_bytes())], |_| Ok(()))?.is_some() {
        return Err(Refusal::Invalid(format!(
            "user {id} is still there; only who is gone can be forgotten: delete the user at the identity provider first"
        ))
        .into());
    }
    Ok(())
}

/// The chain that the user's changes are in.
fn chain_of(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<i64, Error> {
    let key = [Param::Blob(id.as_bytes())];
    let sql = "SELECT chain, kind FROM change WHERE resource = ?1 ORDER BY seq DESC LIMIT 1";
    let logged = tx.first(sql, &key, |row| Ok((row.int(0)?, row.text(1)?.starts_with("user."))))?;
    let sql = "SELECT chain, type FROM base_resource WHERE id = ?1";
    let user = type_number(ResourceType::User);
    let kept = tx.first(sql, &key, |row| Ok((row.int(0)?, row.int(1)? == user)))?;
    match logged.or(kept) {
        Some((chain, true)) => Ok(chain),
        Some((_, false)) => {
            Err(Refusal::Invalid(format!("{id} was a group; only users are forgotten")).into())
        }
        None => Err(Refusal::Absent(format!("no user {id} is in what is kept of the log")).into()),
    }
}

/// A target that still shows the user needs its name, and a held removal needs a person's word first.
fn refuse_shown(tx: &mut ReadTx<'_>, id: ResourceId, words: &BTreeSet<String>) -> Result<(), Error> {
    let key = [Param::Blob(id.as_bytes())];
    let mut targets: BTreeSet<String> = BTreeSet::new();
    for sql in
        ["SELECT target FROM exception WHERE user_id = ?1", "SELECT target FROM holding WHERE user_id = ?1"]
    {
        targets.extend(tx.all(sql, &key, |row| Ok(row.text(0)?.to_owned()))?);
    }
    if let Some(target) = targets.first() {
        let all: Vec<&str> = targets.iter().map(String::as_str).collect();
        return Err(Refusal::Invalid(format!(
            "user {id} is still shown by {}; bring it up to date first: `rosterd sync {target}`, or where the removal is \
             held `rosterd approve {target}`",
            all.join(", ")
        ))
        .into());
    }
    if let Some(reader) = set_stream::holder(tx, &id)? {
        return Err(Refusal::Invalid(format!(
            "reader `{reader}` was handed event tokens about user {id} and has not acknowledged them; let it do so, or \
             begin its stream anew"
        ))
        .into());
    }
    let sql = "SELECT target FROM delivery WHERE state IN ('held', 'pending', 'parked') AND instr(CAST(body AS TEXT), ?1) > 0 \
               LIMIT 1";
    for word in words {
        let open = tx.first(sql, &[Param::Text(word)], |row| Ok(row.text(0)?.to_owned()))?;
        if let Some(target) = open {
            return Err(Refusal::Invalid(format!(
                "events about user {id} are still on their way to `{target}`; deliver or skip them first: `rosterd delivery list`"
            ))
            .into());
        }
    }
    Ok(())
}

/// A decision that stands goes on naming the user, since it keeps others from taking the name.
fn refuse_decided(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<(), Error> {
    let key = [Param::Blob(id.as_bytes())];
    if tx.first("SELECT 1 FROM shut WHERE user_id = ?1", &key, |_| Ok(()))?.is_some() {
        return Err(Refusal::Invalid(format!(
            "user {id} is shut out by name; take that back first: `rosterd open {id}`"
        ))
        .into());
    }
    Ok(())
}

/// Texts by which records other than the user's own name it: the id, and the names and addresses it had.
fn words_of(tx: &mut ReadTx<'_>, id: ResourceId) -> Result<BTreeSet<String>, StoreError> {
    let key = [Param::Blob(id.as_bytes())];
    let mut words = BTreeSet::from([id.to_string()]);
    let mut note = |text: Option<&str>| {
        let doc = part(text);
        let addresses = doc.get("emails").and_then(serde_json::Value::as_array).into_iter().flatten();
        let addresses = addresses.filter_map(|one| one.get("value"));
        // One word of a display name may be anybody's.
        let whole =
            doc.get("displayName").filter(|name| name.as_str().is_some_and(|name| name.contains(' ')));
        let names = doc.get("userName").into_iter().chain(whole);
        for name in names.chain(addresses).filter_map(serde_json::Value::as_str) {
            // A name of two letters would be found in everything.
            if name.chars().count() > 3 {
                words.extend([name.to_owned(), fold(name)]);
            }
        }
    };
    let sql =
        "SELECT v.before, v.after FROM change c JOIN change_value v ON v.seq = c.seq WHERE c.resource = ?1";
    tx.query(sql, &key, &mut |row| {
        note(row.opt_text(0)?);
        note(row.opt_text(1)?);
        Ok(())
    })?;
    tx.query("SELECT doc FROM base_resource WHERE id = ?1", &key, &mut |row| {
        note(row.opt_text(0)?);
        Ok(())
    })?;
    Ok(words)
}
