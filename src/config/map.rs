//! `[[target]] map`: what people and roles are called at one reader, in the operator's own words.

use std::collections::BTreeMap;

use super::reader::{Table, Value, what};
use crate::access::Fold;

use crate::model::RoleName;
use crate::reconcile::{FileSettings, Shape};
use crate::telemetry::escape;

/// Begins a key that names a role.
const ROLE: &str = "role:";

/// Reads `map`: people come back, roles go into the options of the format.
pub(super) fn map(section: &Table<'_>, file: &mut FileSettings) -> BTreeMap<String, String> {
    let mut people = BTreeMap::new();
    let Some(value) = section.get("map") else { return people };
    let Some(table) = value.table() else { return people };
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in table.entries() {
        let Some(name) = value.text() else { continue };
        if let Some(role) = key.strip_prefix(ROLE) {
            name_role(&value, role, name, file);
            continue;
        }
        if let Some(why) = file.formats().iter().find_map(|(format, options)| format.refuses(name, options)) {
            let text = format!("`{}` = `{}`: {why}", value.path(), escape(name));
            value.fail(what(text).help("give a name that the reader of this format takes for a person"));
            continue;
        }
        let fold = file.formats().iter().find_map(|(format, options)| format.fold(options));
        let folded = fold.map_or_else(|| name.to_owned(), |Fold { key, .. }| key(name));
        if let Some(other) = taken.insert(folded, key.to_owned()) {
            let text = format!(
                "`{}` = `{}` is also the name of `{}` here",
                value.path(),
                escape(name),
                escape(&other)
            );
            value.fail(what(text).help("two people cannot have one name; one of them would be the other"));
            continue;
        }
        people.insert(key.to_owned(), name.to_owned());
    }
    people
}

fn name_role(value: &Value<'_>, role: &str, name: &str, file: &mut FileSettings) {
    let (format, options) = (file.format, &mut file.options);
    if matches!(file.shape, Shape::Set(_)) {
        let text = format!("`{}`: the files of a set name roles each in their own `options`", value.path());
        value.fail_key(what(text));
        return;
    }
    if RoleName::parse(role).is_err() {
        value.fail_key(what(format!("`{}`: `{}` is not a role's name", value.path(), escape(role))));
        return;
    }
    let Some(option) = format.role_names() else {
        let text = format!("`{}`: format `{}` writes roles under their own names", value.path(), format.name);
        value.fail_key(
            what(text).help("`map` gives names to people, and to roles only where a reader needs it"),
        );
        return;
    };
    let table = options.values.entry(option).or_insert_with(|| serde_json::Map::new().into());
    let Some(table) = table.as_object_mut() else { return };
    if table.insert(role.to_owned(), name.into()).is_some() {
        let text = format!("`{}`: `options.{option}` names this role too", value.path());
        value.fail_key(what(text).help("keep one of them"));
    }
    // What is wrong with the other options was said where they stand.
    if let Some(complaint) = format.check_option(option, options) {
        value.fail(what(complaint));
    }
}
