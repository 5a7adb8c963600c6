//! Looking changes up by subject, group and time, a page at a time.

use std::collections::BTreeSet;

use crate::mirror::Error;
use crate::mirror::change::{self, Change};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::ReadTx;
use crate::model::{ResourceId, Seq, Timestamp};

use super::{base, facts};

/// What is looked for; every condition must hold.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Changes of any of these users, memberships of theirs that came or went, and decisions about them.
    pub subjects: Vec<ResourceId>,
    /// Changes of any of these groups, their own memberships in others, and members of theirs that came or went.
    pub groups: Vec<ResourceId>,
    /// Only changes of this kind; with a `*` at the end, of those that begin so.
    pub kind: Option<String>,
    /// Only what this actor did; with a `*` at the end, of those that begin so.
    pub actor: Option<String>,
    /// Only decisions about this, by its name: a target, a directory.
    pub object: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
    /// Where the last page ended: behind it going forward, before it going back.
    pub after: Option<Seq>,
    /// True: newest first.
    pub newest_first: bool,
    /// Most changes in the page, at least 1.
    pub limit: u32,
}

/// What a change has to be besides: patterns for `LIKE`, with the column each is for.
struct Marks(Vec<(&'static str, String)>);

impl Marks {
    fn of(query: &Query) -> Self {
        let all = [("kind", &query.kind), ("actor", &query.actor), ("object", &query.object)];
        let pattern = |text: &str| {
            let (text, tail) = text.strip_suffix('*').map_or((text, ""), |text| (text, "%"));
            let mut escaped: String = text.chars().flat_map(escaped).collect();
            escaped.push_str(tail);
            escaped
        };
        Self(all.into_iter().filter_map(|(key, value)| Some((key, pattern(value.as_deref()?)))).collect())
    }

    /// The conditions, their parameters put behind those that are there; `outer` names a table whose rows only carry
    /// the change's number.
    fn narrow<'a>(&'a self, outer: &str, params: &mut Vec<Param<'a>>) -> String {
        let mut text = String::new();
        for (column, pattern) in &self.0 {
            params.push(Param::Text(pattern));
            let at = params.len();
            let condition = if outer.is_empty() {
                format!(" AND {column} LIKE ?{at} ESCAPE '!'")
            } else {
                format!(
                    " AND EXISTS (SELECT 1 FROM change c WHERE c.seq = {outer}.seq AND c.{column} LIKE ?{at} ESCAPE '!')"
                )
            };
            text += &condition;
        }
        text
    }
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    matches!(c, '!' | '%' | '_').then_some('!').into_iter().chain(std::iter::once(c))
}

/// Member rows shown of one change; the rest is only counted, since a group's first push may hold all of them.
const MEMBERS_MAX: usize = 500;

/// One change of a page.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The change, with its first 500 member rows of those asked for.
    pub change: Change,
    /// How many there are.
    pub members_total: u64,
}

/// One page.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Changes in the order asked for.
    pub changes: Vec<Entry>,
    /// Where the next page begins; `None` if this was the last.
    pub next: Option<Seq>,
}

/// One page of the log.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn search(tx: &mut ReadTx<'_>, query: &Query) -> Result<Found, Error> {
    let (low, high) = bounds(tx, query)?;
    if low >= high {
        return Ok(Found::default());
    }
    let limit = query.limit.max(1);
    let wanted = limit.saturating_add(1);
    let mut found = if query.subjects.is_empty() && query.groups.is_empty() {
        let order = if query.newest_first { "DESC" } else { "ASC" };
        let mut params = vec![change::param(low), change::param(high), Param::Int(i64::from(wanted))];
        let marks = Marks::of(query);
        let narrow = marks.narrow("", &mut params);
        let sql = format!(
            "SELECT seq FROM change WHERE seq > ?1 AND seq <= ?2{narrow} ORDER BY seq {order} LIMIT ?3"
        );
        tx.all(&sql, &params, |row| row.int(0))?
    } else {
        numbers(tx, query, (low, high), wanted)?
    };
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|seq| Seq(u64::try_from(*seq).unwrap_or(0)));
    let mut changes = Vec::with_capacity(found.len());
    for number in found {
        changes.extend(entry(tx, query, number)?);
    }
    Ok(Found { changes, next })
}

/// What lies in `low < seq <= high`.
fn bounds(tx: &mut ReadTx<'_>, query: &Query) -> Result<(Seq, Seq), Error> {
    let base = base::base(tx)?;
    let mut low = base.seq;
    let mut high = tx.seq()?;
    if let Some(since) = query.since.filter(|since| *since > base.at) {
        low = low.max(facts::at(tx, Timestamp(since.0.saturating_sub(1)))?);
    }
    if let Some(until) = query.until {
        if base.seq > Seq::ZERO && until < base.at {
            return Ok((low, low));
        }
        high = high.min(facts::at(tx, until)?);
    }
    match query.after {
        Some(after) if query.newest_first => high = high.min(Seq(after.0.saturating_sub(1))),
        Some(after) => low = low.max(after),
        None => {}
    }
    Ok((low, high))
}

/// Numbers first, each from its index; then the changes of that page only. A change is found by the resource it is of,
/// by its member rows, and a decision by the subject it names as `DIRECTORY/ID`.
fn numbers(
    tx: &mut ReadTx<'_>,
    query: &Query,
    (low, high): (Seq, Seq),
    limit: u32,
) -> Result<Vec<i64>, StoreError> {
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let tail = format!("ORDER BY seq {order} LIMIT ?4");
    let range = "AND seq > ?2 AND seq <= ?3";
    let own = format!("SELECT seq FROM change WHERE resource = ?1 {range}");
    let as_member = format!("SELECT DISTINCT seq FROM change_member WHERE member_id = ?1 {range}");
    let as_group = format!("SELECT DISTINCT seq FROM change_member WHERE group_id = ?1 {range}");
    let decided =
        format!("SELECT seq FROM change WHERE resource IS NULL AND (object = ?1 OR object LIKE ?5) {range}");
    let [low, high, limit_param] = [change::param(low), change::param(high), Param::Int(i64::from(limit))];
    let mut numbers: BTreeSet<i64> = BTreeSet::new();
    let marks = Marks::of(query);
    let mut ask = |sql: &str, params: &[Param<'_>]| -> Result<(), StoreError> {
        let mut params = params.to_vec();
        // Rows of members know neither kind nor actor; their change does.
        let of_change = sql.contains("FROM change ");
        let narrow = marks.narrow(if of_change { "" } else { "change_member" }, &mut params);
        numbers.extend(tx.all(&format!("{sql}{narrow} {tail}"), &params, |row| row.int(0))?);
        Ok(())
    };
    if !query.subjects.is_empty() && !query.groups.is_empty() {
        // Both: when the one came into the other and left it.
        let sql =
            format!("SELECT DISTINCT seq FROM change_member WHERE member_id = ?1 {range} AND group_id = ?5");
        for subject in &query.subjects {
            for group in &query.groups {
                let (subject, group) = (Param::Blob(subject.as_bytes()), Param::Blob(group.as_bytes()));
                ask(&sql, &[subject, low, high, limit_param, group])?;
            }
        }
    } else {
        for id in query.subjects.iter().chain(&query.groups) {
            let params = [Param::Blob(id.as_bytes()), low, high, limit_param];
            ask(&own, &params)?;
            ask(&as_member, &params)?;
            if query.groups.contains(id) {
                ask(&as_group, &params)?;
            } else {
                let text = id.to_string();
                let behind = format!("%/{text}");
                ask(&decided, &[Param::Text(&text), low, high, limit_param, Param::Text(&behind)])?;
            }
        }
    }
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(if query.newest_first {
        numbers.into_iter().rev().take(size).collect()
    } else {
        numbers.into_iter().take(size).collect()
    })
}

/// The change with its first member rows: all of them where it is a change of what was asked for, else those that are
/// about it.
fn entry(tx: &mut ReadTx<'_>, query: &Query, number: i64) -> Result<Option<Entry>, StoreError> {
    let Some(mut change) = change::bare(tx, number)? else { return Ok(None) };
    let asked: Vec<ResourceId> = query.subjects.iter().chain(&query.groups).copied().collect();
    let is_own = asked.is_empty() || change.resource.is_some_and(|id| asked.contains(&id));
    let mut total = 0_u64;
    let sql = "SELECT op, group_id, member_id, member_type FROM change_member WHERE seq = ?1 ORDER BY n";
    let mut members = Vec::new();
    tx.query(sql, &[Param::Int(number)], &mut |row| {
        let member = change::member_of(row, 0)?;
        if is_own || asked.contains(&member.member) || asked.contains(&member.group) {
            total = total.saturating_add(1);
            if members.len() < MEMBERS_MAX {
                members.push(member);
            }
        }
        Ok(())
    })?;
    change.members = members;
    Ok(Some(Entry { change, members_total: total }))
}
