//! `spicedb-relationships`: relationships for SpiceDB, nested groups flattened. An id takes few characters there (no
//! `@`, no `.`), so names are written in base64url unless told otherwise.
//!
//! Loading relationships only adds; taking out what is no longer here needs what was loaded before, and is not written
//! yet.

use std::collections::BTreeSet;

use crate::access::View;

use super::escape::{self, Refused};
use super::fit::{self, Kind};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, json, lines};

const NAME: &str = "spicedb-relationships";

pub(super) const FORMAT: Format = Format {
    name: NAME,
    summary: "SpiceDB: relationships of users with their groups and roles",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "encode",
            kind: OptionKind::Choice(&["base64url", "none"]),
            default: "\"base64url\"",
            description: "How ids are written; with `none`, names of other characters than letters, digits and /_|-=+ are left out.",
        },
        OptionDoc {
            name: "form",
            kind: OptionKind::Choice(&["lines", "yaml"]),
            default: "\"lines\"",
            description: "One relationship a line, or the `relationships` of a validation file.",
        },
        word("group_relation", "\"member\"", "Relation of a user to a group."),
        word("group_type", "\"group\"", "Object type of groups."),
        word("role_relation", "\"assignee\"", "Relation of a user to a role."),
        word("role_type", "\"role\"", "Object type of roles."),
        word("user_type", "\"user\"", "Object type of users."),
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
};

/// Longest id.
const ID_BYTES_MAX: usize = 1024;

const fn word(name: &'static str, default: &'static str, description: &'static str) -> OptionDoc {
    let kind = OptionKind::Shaped("3 to 64 of a-z, 0-9 and _, a letter first and no _ last", is_word);
    OptionDoc { name, kind, default, description }
}

fn is_word(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '|' | '-' | '=' | '+'))
}

/// The id under which a name goes, if it can.
fn id(options: &Options, name: &str) -> Result<String, Refused> {
    let is_encoded = options.text("encode", "base64url") == "base64url";
    let id = if is_encoded { escape::base64url(name) } else { name.to_owned() };
    match (is_id(&id), is_encoded) {
        (true, _) => Ok(id),
        (false, true) => Err("the name is longer than SpiceDB takes"),
        (false, false) => Err("the name has a character that SpiceDB takes in no id, or is too long"),
    }
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let types = ["user", "group", "role"];
    let type_of = |kind: &'static str| options.text(types_key(kind), kind);
    if types.map(type_of).iter().collect::<BTreeSet<_>>().len() < types.len() {
        return Err(RenderError {
            name: NAME.into(),
            line: None,
            what: "two kinds have one type".into(),
            hint: "set user_type, group_type and role_type to different words",
        });
    }
    let (view, left_out) = fit::without_refused(view, &|_: Kind, name| id(options, name).err());
    // What was not refused has an id.
    let id = |name: &str| id(options, name).unwrap_or_default();
    let mut found = BTreeSet::new();
    for user in &view.users {
        let groups = user.groups.iter().map(|name| ("group", "group_relation", "member", name));
        let roles = user.roles.iter().map(|name| ("role", "role_relation", "assignee", name));
        for (kind, option, default, name) in groups.chain(roles) {
            let (resource, relation) = (type_of(kind), options.text(option, default));
            let (subject, user, name) = (type_of("user"), id(&user.name), id(name));
            found.insert(format!("{resource}:{name}#{relation}@{subject}:{user}"));
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    let text = match (options.text("form", "lines"), found.is_empty()) {
        // A blank line is no relationship, and an empty file could be one that was cut short.
        ("lines", true) => "\n".to_owned(),
        ("lines", false) => found.join("\n") + "\n",
        (_, true) => "relationships: \"\"\n".to_owned(),
        (_, false) => format!("relationships: |-\n  {}\n", found.join("\n  ")),
    };
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn types_key(kind: &str) -> &'static str {
    match kind {
        "user" => "user_type",
        "group" => "group_type",
        _ => "role_type",
    }
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text = lines::text(bytes)?;
    let (indent, skipped) = match options.text("form", "lines") {
        "lines" => ("", 0),
        _ if text == "relationships: \"\"\n" => return Ok(()),
        _ if text.starts_with("relationships: |-\n") => ("  ", 1),
        _ => return Err("`relationships` is missing".into()),
    };
    if indent.is_empty() && text == "\n" {
        return Ok(());
    }
    for (n, line) in lines::numbered(text).skip(skipped) {
        let is_whole = line.strip_prefix(indent).is_some_and(is_relationship);
        if !is_whole {
            return Err(format!("line {n} is not `type:id#relation@type:id`"));
        }
    }
    Ok(())
}

/// SpiceDB's grammar, as far as it is used here.
fn is_relationship(text: &str) -> bool {
    let is_object = |text: &str| text.split_once(':').is_some_and(|(kind, id)| is_word(kind) && is_id(id));
    let Some((resource, subject)) = text.split_once('@') else { return false };
    let Some((resource, relation)) = resource.split_once('#') else { return false };
    is_object(resource) && is_word(relation) && is_object(subject)
}
