//! Lists: filter, order, page.

use serde_json::Value;

use crate::model::ResourceType;
use crate::scim::filter::{Bound, BoundPath};

use super::change::type_number;
use super::directory::DirectoryRef;
use super::engine::{Param, StoreError};
use super::filter_sql::{Compiler, Owned};
use super::resource::{STORED, STORED_COLUMNS, Stored, stored_of};
use super::tx::ReadTx;

/// In which order a list comes (RFC 7644 §3.4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// By the values of this attribute; of several values the primary one, else the first.
    pub path: BoundPath,
    /// Largest first.
    pub descending: bool,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// `count` resources, leaving out the first `skip` (`startIndex` less 1).
    Index {
        /// Resources left out before the page.
        skip: u64,
        /// Largest page; 0 for the total alone.
        count: u32,
    },
    /// `count` resources after the one at this position; 0 begins. Not with a sort: [`ordered`] pages those.
    After {
        /// [`Stored::rid`] of the last resource of the page before.
        rid: i64,
        /// Largest page.
        count: u32,
    },
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Resources that satisfy the filter, on all pages.
    pub total: u64,
    /// Those of this page.
    pub items: Vec<Stored>,
    /// Position to ask for next with [`Window::After`]; `None` on the last page and for sorted lists.
    pub next: Option<i64>,
}

/// The whole list, unsorted, if it fits into one page of `count`; `None` if it does not. One statement.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list_whole(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
    count: u32,
) -> Result<Option<Vec<Stored>>, StoreError> {
    let (where_, compiler) = condition(directory, resource_type, filter);
    let (sql, page) = page_sql(&where_, compiler, None, Window::Index { skip: 0, count });
    let items = tx.all(&sql, &page.params(), stored_of)?;
    Ok((items.len() <= count as usize).then_some(items))
}

/// One page of a directory's users or groups. Without a sort, in the order they were created; with one, missing
/// values come last when ascending and first when descending, and equals in the order they were created.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn list(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
    sort: Option<&Sort>,
    window: Window,
) -> Result<Page, StoreError> {
    let (where_, compiler) = condition(directory, resource_type, filter);
    let count = match window {
        Window::Index { count, .. } | Window::After { count, .. } => count,
    };
    if count == 0 {
        let total = total(tx, directory, resource_type, filter, &where_, &compiler)?;
        return Ok(Page { total, items: Vec::new(), next: None });
    }
    let (sql, page) = page_sql(&where_, compiler, sort, window);
    let mut items = tx.all(&sql, &page.params(), stored_of)?;
    let more = items.len() > count as usize;
    items.truncate(count as usize);
    let total = match window {
        // The first page that holds all tells the total by itself.
        Window::Index { skip: 0, .. } | Window::After { rid: 0, .. } if !more => items.len() as u64,
        _ => {
            let (where_, compiler) = condition(directory, resource_type, filter);
            total(tx, directory, resource_type, filter, &where_, &compiler)?
        }
    };
    let next = if more && sort.is_none() { items.last().map(|last| last.rid) } else { None };
    Ok(Page { total, items, next })
}

/// `count` resources behind the position `rid`, and the position to ask for next. Nobody is counted: with a filter that
/// would read the whole directory for each page.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn page_behind(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
    rid: i64,
    count: u32,
) -> Result<(Vec<Stored>, Option<i64>), StoreError> {
    let (where_, compiler) = condition(directory, resource_type, filter);
    let (sql, page) = page_sql(&where_, compiler, None, Window::After { rid, count });
    let mut items = tx.all(&sql, &page.params(), stored_of)?;
    let more = items.len() > count as usize;
    items.truncate(count as usize);
    let next = items.last().filter(|_| more).map(|last| last.rid);
    Ok((items, next))
}

/// What to list of one resource type.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Which type.
    pub resource_type: ResourceType,
    /// Which of them; `None` are all.
    pub filter: Option<&'a Bound>,
    /// By what; `None` puts them all behind each other, users first. [`Sort::descending`] is not looked at.
    pub sort: Option<&'a BoundPath>,
}

/// A place in a sorted list that holds on while others come and go: the value sorted by, as JSON, and the position
/// among equals.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// `null` where the resource has no such value.
    pub key: Value,
    /// [`Stored::rid`].
    pub rid: i64,
}

/// Where a page of a sorted list begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Leaving out so many.
    Skip(u64),
    /// Behind this place.
    Behind(&'a Mark),
}

/// One page of `count` over several types in one order (RFC 7644 §3.4.2.3), and the place of its last resource if
/// others follow.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn ordered(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    selections: &[Selection<'_>],
    descending: bool,
    start: Start<'_>,
    count: u32,
) -> Result<(Page, Option<Mark>), StoreError> {
    let mut compiler = Compiler::new(directory);
    let where_ = any_of(&mut compiler, directory, selections);
    let total =
        tx.first(&format!("SELECT count(*) FROM resource r WHERE {where_}"), &compiler.params(), |row| {
            row.int(0)
        })?;
    let total = total.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    if count == 0 || selections.is_empty() {
        return Ok((Page { total, items: Vec::new(), next: None }, None));
    }
    let key = key_of(&mut compiler, selections);
    let (behind, skip) = match start {
        Start::Skip(skip) => (String::new(), i64::try_from(skip).unwrap_or(i64::MAX)),
        Start::Behind(mark) => (format!(" AND {}", behind(&mut compiler, &key, mark, descending)), 0),
    };
    let word = if descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
    let limit = compiler.param(Owned::Int(i64::from(count) + 1));
    let offset = compiler.param(Owned::Int(skip));
    let sql = format!(
        "SELECT {STORED}, json_quote({key}) FROM resource r WHERE {where_}{behind} \
         ORDER BY {key} {word}, r.rid LIMIT {limit} OFFSET {offset}"
    );
    let mut rows = tx.all(&sql, &compiler.params(), |row| {
        Ok((stored_of(row)?, row.opt_text(STORED_COLUMNS)?.map(str::to_owned)))
    })?;
    let more = rows.len() > count as usize;
    rows.truncate(count as usize);
    let next = rows.last().filter(|_| more).map(|(last, key)| Mark {
        key: key.as_deref().and_then(|key| serde_json::from_str(key).ok()).unwrap_or_default(),
        rid: last.rid,
    });
    let items = rows.into_iter().map(|(stored, _)| stored).collect();
    Ok((Page { total, items, next: None }, next))
}

fn any_of(compiler: &mut Compiler, directory: &DirectoryRef, selections: &[Selection<'_>]) -> String {
    let parts: Vec<String> = selections
        .iter()
        .map(|one| format!("({})", clause(compiler, directory, one.resource_type, one.filter)))
        .collect();
    if parts.is_empty() { "0".to_owned() } else { format!("({})", parts.join(" OR ")) }
}

/// The value that a list over several types is sorted by; a type that lacks the attribute has none.
fn key_of(compiler: &mut Compiler, selections: &[Selection<'_>]) -> String {
    if selections.iter().all(|one| one.sort.is_none()) {
        return "r.type".to_owned();
    }
    let branches: Vec<String> = selections
        .iter()
        .filter_map(|one| {
            let value = compiler.sort_key(one.sort?);
            Some(format!("WHEN {} THEN {value}", type_number(one.resource_type)))
        })
        .collect();
    format!("(CASE r.type {} END)", branches.join(" "))
}

/// Rows that come after the mark.
fn behind(compiler: &mut Compiler, key: &str, mark: &Mark, descending: bool) -> String {
    let rid = compiler.param(Owned::Int(mark.rid));
    let value = match &mark.key {
        Value::String(text) => Some(Owned::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(Owned::Int).or_else(|| number.as_f64().map(Owned::Real)),
        _ => None,
    };
    match (value.map(|value| compiler.param(value)), descending) {
        (Some(value), false) => {
            format!("({key} > {value} OR ({key} = {value} AND r.rid > {rid}) OR {key} IS NULL)")
        }
        (Some(value), true) => format!("({key} < {value} OR ({key} = {value} AND r.rid > {rid}))"),
        (None, false) => format!("({key} IS NULL AND r.rid > {rid})"),
        (None, true) => format!("({key} IS NOT NULL OR r.rid > {rid})"),
    }
}

fn condition(
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
) -> (String, Compiler) {
    let mut compiler = Compiler::new(directory);
    let sql = clause(&mut compiler, directory, resource_type, filter);
    (sql, compiler)
}

fn clause(
    compiler: &mut Compiler,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
) -> String {
    let dir = compiler.param(Owned::Int(directory.key));
    let kind = match resource_type {
        ResourceType::User => "r.type = 1",
        ResourceType::Group => "r.type = 2",
    };
    let mut sql = format!("r.dir = {dir} AND {kind}");
    if let Some(filter) = filter {
        sql.push_str(" AND ");
        sql.push_str(&compiler.condition(filter));
    }
    sql
}

/// One row more than the page, to see whether another follows.
fn page_sql(where_: &str, mut compiler: Compiler, sort: Option<&Sort>, window: Window) -> (String, Compiler) {
    let after = match window {
        Window::After { rid, .. } => format!(" AND r.rid > {}", compiler.param(Owned::Int(rid))),
        Window::Index { .. } => String::new(),
    };
    let order = match sort {
        None => "r.rid".to_owned(),
        Some(sort) => {
            let key = compiler.sort_key(&sort.path);
            let word = if sort.descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
            format!("{key} {word}, r.rid")
        }
    };
    let (skip, count) = match window {
        Window::Index { skip, count } => (i64::try_from(skip).unwrap_or(i64::MAX), count),
        Window::After { count, .. } => (0, count),
    };
    let limit = compiler.param(Owned::Int(i64::from(count) + 1));
    let offset = compiler.param(Owned::Int(skip));
    let sql = format!(
        "SELECT {STORED} FROM resource r WHERE {where_}{after} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    );
    (sql, compiler)
}

fn total(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
    where_: &str,
    compiler: &Compiler,
) -> Result<u64, StoreError> {
    let count = if filter.is_none() {
        // The directory's counters are kept exactly, so nobody has to count.
        let sql = "SELECT CASE WHEN ?2 = 1 THEN users ELSE groups END FROM chain WHERE chain = ?1";
        let params = [Param::Int(directory.key), Param::Int(type_number(resource_type))];
        tx.first(sql, &params, |row| row.int(0))?
    } else {
        let sql = format!("SELECT count(*) FROM resource r WHERE {where_}");
        tx.first(&sql, &compiler.params(), |row| row.int(0))?
    };
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

#[cfg(test)]
pub(super) fn explain(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: &Bound,
) -> Result<String, StoreError> {
    let (where_, compiler) = condition(directory, resource_type, Some(filter));
    let window = Window::Index { skip: 0, count: 100 };
    let (sql, compiler) = page_sql(&where_, compiler, None, window);
    let lines = tx.all(&format!("EXPLAIN QUERY PLAN {sql}"), &compiler.params(), |row| {
        row.text(3).map(str::to_owned)
    })?;
    Ok(lines.join("\n"))
}
