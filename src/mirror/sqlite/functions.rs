//! Functions that filters call in SQL: the same code that gives filters their meaning in `scim`.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use crate::model::{ResourceId, Timestamp};
use crate::scim::filter::fold;

/// Registers `scim_fold`, `scim_instant`, `scim_contains`, `scim_starts`, `scim_ends` and `scim_id`. Of anything
/// but the type it is made for, each is NULL.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("scim_fold", 1, flags, |call| Ok(text(call, 0).map(fold)))?;
    connection.create_scalar_function("scim_instant", 1, flags, |call| {
        Ok(text(call, 0).and_then(Timestamp::parse_rfc3339).map(|at| at.0))
    })?;
    connection.create_scalar_function("scim_contains", 2, flags, |call| both(call, |a, b| a.contains(b)))?;
    connection.create_scalar_function("scim_starts", 2, flags, |call| both(call, |a, b| a.starts_with(b)))?;
    connection.create_scalar_function("scim_ends", 2, flags, |call| both(call, |a, b| a.ends_with(b)))?;
    connection.create_scalar_function("scim_id", 1, flags, |call| {
        let bytes = match call.get_raw(0) {
            ValueRef::Blob(bytes) => <[u8; 16]>::try_from(bytes).ok(),
            _ => None,
        };
        Ok(bytes.map(|bytes| ResourceId::from_bytes(bytes).to_string()))
    })
}

fn text<'c>(call: &'c Context<'_>, at: usize) -> Option<&'c str> {
    match call.get_raw(at) {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that `create_scalar_function` wants")]
fn both(call: &Context<'_>, test: fn(&str, &str) -> bool) -> Result<Option<bool>> {
    Ok(text(call, 0).zip(text(call, 1)).map(|(a, b)| test(a, b)))
}
