//! What the planner is told about the tables that grow with a directory.
//!
//! Gathered figures would be those of the last start. A mirror that was started with one user and then took in
//! 50,000 would look each of them up by reading all of them. So these tables are described as SQLite describes large
//! ones that it has never looked into: the more columns an index answers, the better. Tests hold the plans that follow.

use rusqlite::Connection;

use crate::mirror::engine::StoreError;

use super::connection::store_error;

/// Table, index, and what `sqlite_stat1` says of it: rows, then rows per value of its first column, of its first two …
const PINNED: [(&str, &str, &str); 9] = [
    ("resource", "resource_id", "1000000 1"),
    ("resource", "resource_user_name", "1000000 10 1"),
    ("resource", "resource_external_id", "1000000 10 9 1"),
    ("resource", "resource_display_name", "1000000 10 9 8"),
    ("resource", "resource_modified", "1000000 10 9 8"),
    ("resource", "resource_type", "1000000 10 9"),
    ("email_key", "email_key", "1000000 10 9 8 1"),
    ("member", "member", "1000000 10 1"),
    ("member", "member_reverse", "1000000 10 1"),
];

/// Writes the figures, if they are not there already.
pub(super) fn pin(connection: &mut Connection) -> Result<(), StoreError> {
    // Makes the tables of the statistics, if nothing has yet.
    connection.execute_batch("ANALYZE sqlite_schema;").map_err(store_error)?;
    if is_pinned(connection).map_err(store_error)? {
        return Ok(());
    }
    write(connection).map_err(store_error)?;
    // Has this connection read them.
    connection.execute_batch("ANALYZE sqlite_schema;").map_err(store_error)
}

const OURS: &str = "tbl IN ('resource', 'email_key', 'member')";

fn is_pinned(connection: &Connection) -> rusqlite::Result<bool> {
    let samples: i64 =
        connection
            .query_row(&format!("SELECT count(*) FROM sqlite_stat4 WHERE {OURS}"), [], |row| row.get(0))?;
    let mut statement =
        connection.prepare(&format!("SELECT tbl, idx, stat FROM sqlite_stat1 WHERE {OURS}"))?;
    let rows = statement.query_map([], |row| {
        let found: (String, Option<String>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(PINNED.iter().any(|(t, i, s)| found.0 == *t && found.1.as_deref() == Some(i) && found.2 == *s))
    })?;
    let found: Vec<bool> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(samples == 0 && found.len() == PINNED.len() && found.iter().all(|good| *good))
}

fn write(connection: &mut Connection) -> rusqlite::Result<()> {
    let change = connection.transaction()?;
    change.execute_batch(&format!(
        "DELETE FROM sqlite_stat1 WHERE {OURS}; DELETE FROM sqlite_stat4 WHERE {OURS};"
    ))?;
    for (table, index, figures) in PINNED {
        change.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?1, ?2, ?3)",
            (table, index, figures),
        )?;
    }
    change.commit()
}
