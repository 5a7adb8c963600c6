//! Lists: filter, order, page.

use crate::model::ResourceType;
use crate::scim::filter::{Bound, BoundPath};

use super::change::type_number;
use super::directory::DirectoryRef;
use super::engine::{Param, StoreError};
use super::filter_sql::{Compiler, Owned};
use super::resource::{STORED, Stored, stored_of};
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
    /// `count` resources after the one at this position; 0 begins. With a sort the order is the position's.
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

fn condition(
    directory: &DirectoryRef,
    resource_type: ResourceType,
    filter: Option<&Bound>,
) -> (String, Compiler) {
    let mut compiler = Compiler::new(directory);
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
    (sql, compiler)
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
