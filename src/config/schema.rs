//! `[[schema]]`: attributes an operator adds to users or groups.

use super::reader::{Table, Value, what};
use super::secret::Files;
use super::side;
use crate::model::ResourceType;
use crate::scim::schema::{Extension, Registry, Schema};

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
    let text = side::text(&file, &files.path(file.text()?), "schema")?;
    let schema = match Schema::parse(&text) {
        Ok(schema) => schema,
        Err(error) => {
            file.fail(what(format!("`{}`: {error}", file.path())));
            return None;
        }
    };
    Some((Extension { resource_type: resource?, schema, required: required? }, file))
}
