//! Files that the config names and that are read with it: templates and schemas.

use std::path::Path;

use super::problem::Kind;
use super::reader::{Value, what};

/// Longest such file.
const BYTES_MAX: u64 = 1 << 20;

/// The text of the `word` (template, schema) at `path`; `None` after a report on `value`.
pub(super) fn text(value: &Value<'_>, path: &Path, word: &str) -> Option<String> {
    if std::fs::metadata(path).is_ok_and(|facts| facts.len() > BYTES_MAX) {
        value.fail(what(format!("the {word} `{}` is longer than 1 MiB", path.display())));
        return None;
    }
    std::fs::read_to_string(path)
        .map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => Kind::MissingFile,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            };
            value.fail_as(
                kind,
                what(format!("cannot read the {word} `{}`: {error}", path.display()))
                    .help("a relative path counts from the config file"),
            );
        })
        .ok()
}
