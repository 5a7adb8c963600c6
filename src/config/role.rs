//! `[[role]]`: what an operator grants.

use super::directory::Directory;
use super::problem::nearest;
use super::reader::{Table, Value, what};
use crate::access::{GroupRule, OnRename, Role, UserFilter};
use crate::model::{DirectoryId, ResourceType, RoleName};
use crate::scim::filter;
use crate::scim::schema::Registry;

/// Reads one `[[role]]`; `None` after a report if it has no usable name.
pub(super) fn role(section: Table<'_>, directories: &[Directory], registry: &Registry) -> Option<Role> {
    let name = section
        .require("name", "what the targets call it, such as `db-admin`")
        .and_then(|value| value.parsed(RoleName::parse));
    let groups = section.get("groups");
    let users = section.get("users");
    let reach = section.get("directories");
    let protected = section.get("protected").and_then(|value| value.bool());
    let on_rename = section
        .get("on_rename")
        .and_then(|value| value.word(&[("follow", OnRename::Follow), ("release", OnRename::Release)]));

    if groups.is_none() && users.is_none() {
        section.fail(
            what(format!("`{}` says nobody holds it", section.path()))
                .help("set `groups`, or `users` to a SCIM filter"),
        );
    }
    if reach.is_none() && directories.len() > 1 {
        let all: Vec<_> = directories.iter().map(|directory| format!("\"{}\"", directory.id)).collect();
        section.fail(
            what(format!("`{}.directories` is missing and there are several directories", section.path()))
                .help(format!("say who may grant it, such as `directories = [{}]`", all.join(", "))),
        );
    }
    section.finish();

    let groups = groups.map_or_else(Vec::new, |value| {
        value.list_or_one().iter().filter_map(|value| value.parsed(str::parse::<GroupRule>)).collect()
    });
    let users = users.and_then(|value| user_filter(&value, registry));
    let reach = reach.map(|value| {
        let list = value.list_or_one();
        if list.is_empty() {
            value.fail(what(format!("`{}` is empty, so nobody could hold the role", value.path())));
        }
        list.iter().filter_map(|value| known_directory(value, directories)).collect()
    });
    let (protected, on_rename) = (protected.unwrap_or_default(), on_rename.unwrap_or_default());
    Some(Role { name: name?, groups, users, directories: reach, protected, on_rename })
}

/// A directory that the config does not name may still have been made by command; one that is spelled almost like
/// one of the config's is a slip.
fn known_directory(value: &Value<'_>, directories: &[Directory]) -> Option<DirectoryId> {
    let id: DirectoryId = value.parsed(DirectoryId::parse)?;
    if directories.iter().any(|directory| directory.id == id) {
        return Some(id);
    }
    let wrong = what(format!("`{}`: there is no directory `{id}` in this config", value.path()));
    match nearest(id.as_str(), directories.iter().map(|directory| directory.id.as_str())) {
        Some(near) => value.fail(wrong.help(format!("did you mean `{near}`?"))),
        None => {
            value
                .warn(wrong.help("the role gives nobody unless `rosterd directory add` made one of that id"));
        }
    }
    Some(id)
}

pub(super) fn user_filter(value: &Value<'_>, registry: &Registry) -> Option<UserFilter> {
    let text = value.text()?;
    if let Some(word) = negation(text) {
        value.warn(
            what(format!(
                "`{}` uses `{word}`, which is true for users that lack the attribute",
                value.path()
            ))
            .help("clearing the attribute then grants the role; say with `eq` who holds it"),
        );
    }
    let schema = registry.resource(ResourceType::User);
    match filter::parse(text).and_then(|parsed| filter::bind(&parsed, schema)) {
        Ok(bound) => Some(UserFilter { text: text.to_owned(), bound }),
        Err(error) => {
            value.fail(what(format!("`{}` is not a SCIM filter over users: {}", value.path(), error.detail)));
            None
        }
    }
}

/// The first word of a filter that turns absence into a match, outside quoted texts.
fn negation(text: &str) -> Option<&'static str> {
    let mut bare = String::new();
    let mut in_quotes = false;
    let mut is_escaped = false;
    for c in text.chars() {
        match c {
            '"' if !is_escaped => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' | ')' | '[' | ']' => bare.extend([' ', c, ' ']),
            c => bare.push(c),
        }
        is_escaped = in_quotes && c == '\\' && !is_escaped;
    }
    bare.split_whitespace().find_map(|word| match word.to_ascii_lowercase().as_str() {
        "not" => Some("not"),
        "ne" => Some("ne"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negations_are_found_outside_texts_only() {
        for (text, word) in [
            ("not (active eq false)", Some("not")),
            (r#"userType NE "x""#, Some("ne")),
            (r#"a eq "b" and not(c pr)"#, Some("not")),
            (r#"title eq "do not (ever) ne \" not (" and active eq true"#, None),
            (r#"nested eq "x" or notes eq "y""#, None),
        ] {
            assert_eq!(negation(text), word, "{text}");
        }
    }
}
