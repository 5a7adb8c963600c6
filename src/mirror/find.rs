//! Looking somebody up by the beginning of a name: what a person types into a search box.
//!
//! Cost: four short scans of indexes (userName or displayName, externalId, e-mail), each of at most
//! `NARROW` entries, and then the rows of one page. No document is read that is not shown, so that the size of
//! the directory does not matter; where a beginning fits more than that, the answer says that it was cut.

use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim::filter::fold;

use super::change::{id_of, type_number};
use super::directory::DirectoryRef;
use super::engine::{Param, StoreError};
use super::resource::{STORED, Stored, stored_of};
use super::tx::ReadTx;

/// Most entries of one index that a search looks at.
const NARROW: i64 = 2_000;

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Beginning of userName, displayName, externalId or an e-mail address; empty for everybody.
    pub text: String,
    /// Users that are active, or that are not. Groups: leave it out.
    pub active: Option<bool>,
}

/// Whom a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// One page, in the order they were created.
    pub items: Vec<Stored>,
    /// Position to ask for next; `None` on the last page.
    pub next: Option<i64>,
}

/// One page of those whose name begins with a text, behind the position `after` (0 begins).
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn by_beginning(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
    wanted: &Wanted,
    after: i64,
    count: u32,
) -> Result<Found, StoreError> {
    let folded = fold(wanted.text.trim());
    let exact = wanted.text.trim();
    let (folded_end, exact_end) = (end_of(&folded), end_of(exact));
    let narrow = if folded.is_empty() {
        String::new()
    } else {
        // Each arm is one range of one index; the unary plus keeps the planner from another.
        let email = match resource_type {
            ResourceType::User => {
                " UNION SELECT rid FROM (SELECT k.rid FROM email_key k WHERE k.dir = ?1 \
                 AND k.value_key >= ?5 AND k.value_key < ?6 LIMIT ?9)"
            }
            ResourceType::Group => "",
        };
        format!(
            " AND r.rid IN (SELECT rid FROM (SELECT rid FROM resource WHERE dir = ?1 AND user_name_key IS NOT NULL \
               AND user_name_key >= ?5 AND user_name_key < ?6 LIMIT ?9) \
             UNION SELECT rid FROM (SELECT rid FROM resource WHERE dir = ?1 AND type = ?2 \
               AND display_name_key IS NOT NULL AND display_name_key >= ?5 AND display_name_key < ?6 LIMIT ?9) \
             UNION SELECT rid FROM (SELECT rid FROM resource WHERE dir = ?1 AND type = ?2 \
               AND external_id IS NOT NULL AND external_id >= ?7 AND external_id < ?8 LIMIT ?9){email})"
        )
    };
    let active = match wanted.active {
        Some(true) => " AND r.active = 1",
        Some(false) => " AND r.active = 0",
        None => "",
    };
    let sql = format!(
        "SELECT {STORED} FROM resource r WHERE r.dir = ?1 AND r.type = ?2 AND r.rid > ?3{narrow}{active} \
         ORDER BY r.rid LIMIT ?4"
    );
    let mut params = vec![
        Param::Int(directory.key),
        Param::Int(type_number(resource_type)),
        Param::Int(after),
        Param::Int(i64::from(count) + 1),
    ];
    if !folded.is_empty() {
        params.extend([
            Param::Text(&folded),
            Param::Text(&folded_end),
            Param::Text(exact),
            Param::Text(&exact_end),
            Param::Int(NARROW),
        ]);
    }
    let mut items = tx.all(&sql, &params, stored_of)?;
    let more = items.len() > count as usize;
    items.truncate(count as usize);
    let next = items.last().filter(|_| more).map(|last| last.rid);
    Ok(Found { items, next })
}

/// The first text that does not begin with `text` any more: one past the last character there is.
fn end_of(text: &str) -> String {
    format!("{text}{}", char::MAX)
}

/// Somebody, for a line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// SCIM `id`.
    pub id: ResourceId,
    /// displayName; userName where there is none.
    pub label: String,
    /// When it was created.
    pub created: Timestamp,
}

/// The oldest user or group a directory holds. One look into an index.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn oldest(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    resource_type: ResourceType,
) -> Result<Option<Named>, StoreError> {
    let sql = "SELECT id, label, created_at FROM resource WHERE dir = ?1 AND type = ?2 ORDER BY rid LIMIT 1";
    tx.first(sql, &[Param::Int(directory.key), Param::Int(type_number(resource_type))], |row| {
        Ok(Named {
            id: id_of(row.blob(0)?)?,
            label: row.text(1)?.to_owned(),
            created: Timestamp(row.int(2)?),
        })
    })
}
