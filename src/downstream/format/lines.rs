//! What several formats share: JSON written so that no reader takes part of it for a line end, and the look over a
//! file that every check begins with.

use serde::Serialize;
use serde_json::Value;

use super::{RenderError, escape};

/// Pretty JSON (two spaces) and a newline.
pub(super) fn json_pretty(format: &str, value: &impl Serialize) -> Result<Vec<u8>, RenderError> {
    document(format, serde_json::to_string_pretty(value))
}

/// JSON on one line and a newline.
pub(super) fn json_line(format: &str, value: &impl Serialize) -> Result<Vec<u8>, RenderError> {
    document(format, serde_json::to_string(value))
}

fn document(format: &str, text: serde_json::Result<String>) -> Result<Vec<u8>, RenderError> {
    let text = text.map_err(|error| RenderError {
        name: format.to_owned(),
        line: None,
        what: error.to_string(),
        hint: "this is a fault of rosterd; please report it",
    })?;
    let mut bytes = escape::json_text(&text).into_bytes();
    bytes.push(b'\n');
    Ok(bytes)
}

/// The text of a staged file: UTF-8, no byte order mark, a newline at the end.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    if text.starts_with('\u{feff}') {
        return Err("a byte order mark at the start".into());
    }
    if text.is_empty() || text.ends_with('\n') { Ok(text) } else { Err("no newline at the end".into()) }
}

/// One JSON document in which no key stands twice in an object.
pub(super) fn json(bytes: &[u8]) -> Result<Value, String> {
    text(bytes)?;
    crate::scim::json::parse(bytes).map_err(|error| error.detail)
}

/// Lines with their numbers, from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(n, line)| (n.saturating_add(1), line))
}

/// A word of letters, digits and `_`, beginning with a letter or `_`.
pub(super) fn is_identifier(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
