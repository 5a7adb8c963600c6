//! `[[schema]]`: attributes an operator adds to users or groups.

use std::path::Path;

use super::problem::Kind;
use super::reader::{Table, Value, what};
use super::secret::Files;
use crate::model::ResourceType;
use crate::scim::schema::{Extension, Registry, Schema};

/// Longest schema file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Reads all `[[schema]]`: the extensions, and the registry with them. What cannot be used is reported and left out.
pub(super) fn schemas(sections: Vec<Table<'_>>, files: &Files) -> (Vec<Extension>, Registry) {
    let mut extensions = Vec::new();
    let mut registry = Registry::standard();
    for section in sections {
        let Some((extension, file)) = schema(section, files) else { continue };
        extensions.push(extension);
        // All so far, so that a contradiction is reported where its second half stands.
        match Registry::with_extensions(extensions.clone()) {
            Ok(with) => registry = with,
            Err(error) => {
                file.fail(what(format!("`{}`: {error}", file.path())));
                extensions.pop();
            }
        }
    }
    (extensions, registry)
}

fn schema<'a>(section: Table<'a>, files: &Files) -> Option<(Extension, Value<'a>)> {
    let file = section.require("file", "a JSON file in the form of RFC 7643 section 7, such as `badge.json`");
    let kinds = [("User", ResourceType::User), ("Group", ResourceType::Group)];
    let resource = section.get("resource").map_or(Some(ResourceType::User), |value| value.word(&kinds));
    let required = section.get("required").map_or(Some(false), |value| value.bool());
    section.finish();
    let file = file?;
    let text = text_of(&file, &files.path(file.text()?))?;
    let schema = match Schema::parse(&text) {
        Ok(schema) => schema,
        Err(error) => {
            file.fail(what(format!("`{}`: {error}", file.path())));
            return None;
        }
    };
    Some((Extension { resource_type: resource?, schema, required: required? }, file))
}

fn text_of(value: &Value<'_>, path: &Path) -> Option<String> {
    if std::fs::metadata(path).is_ok_and(|facts| facts.len() > BYTES_MAX) {
        value.fail(what(format!("the schema `{}` is longer than 1 MiB", path.display())));
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
                what(format!("cannot read the schema `{}`: {error}", path.display()))
                    .help("a relative path counts from the config file"),
            );
        })
        .ok()
}
