//! A table of people (RFC 4180): one line of headings, one user in each row, with a column of group names.

use std::collections::{BTreeMap, HashSet};

use ::csv::{ByteRecord, ReaderBuilder, Trim};
use serde_json::Map;

use super::map::{COLUMNS, Column, GROUPS, plain};
use super::path::{Path, Type, short};
use super::{Lines, Mapping, Problem, Reading, Record, Reference};
use crate::model::ResourceType;

/// What one column of this file is.
enum Role {
    /// It says something about the user.
    Attribute(Column),
    /// Names of groups.
    Groups,
    /// Nothing.
    Ignored,
}

/// Reads all rows.
pub(super) fn rows(bytes: &[u8], mapping: &Mapping) -> Reading {
    let mut reading = Reading::default();
    let delimiter = mapping.delimiter.unwrap_or_else(|| delimiter_of(bytes));
    let mut rows = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(bytes);
    let mut row = ByteRecord::new();
    let headings = match rows.read_byte_record(&mut row) {
        Ok(true) => texts(&row),
        _ => Ok(Vec::new()),
    };
    let roles = match headings.and_then(|headings| {
        let roles = roles(&headings, mapping, &mut reading.notes)?;
        Ok((headings, roles))
    }) {
        Ok(roles) => roles,
        Err(why) => {
            reading.problems.push(Problem::new("line 1", "", why));
            return reading;
        }
    };
    let mut groups = Groups::default();
    let mut lines = Lines::new(bytes);
    loop {
        // The reader's own count of lines begins a row at the end of the last one.
        let start = usize::try_from(rows.position().byte()).unwrap_or(usize::MAX);
        let blank = bytes.get(start..).unwrap_or_default();
        let skipped = blank.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        match rows.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                reading.problems.push(Problem::new("the file", "", error.to_string()));
                break;
            }
        }
        let at = format!("line {}", lines.of(start + skipped));
        if row.iter().all(<[u8]>::is_empty) {
            continue;
        }
        if reading.is_enough(reading.records.len(), &at) {
            break;
        }
        match user(&row, &roles, mapping, &at, &mut groups, &mut reading) {
            Ok(record) => reading.records.push(record),
            Err(problem) => reading.problems.push(problem),
        }
    }
    reading.records.extend(groups.0.into_values());
    reading
}

/// The groups that rows name, by folded name.
#[derive(Default)]
struct Groups(BTreeMap<String, Record>);

impl Groups {
    fn join(&mut self, name: &str, user: &str, at: &str) {
        let group = self.0.entry(name.to_lowercase()).or_insert_with(|| {
            let mut body = Map::new();
            body.insert("displayName".to_owned(), name.into());
            Record {
                at: at.to_owned(),
                kind: ResourceType::Group,
                body,
                names: Vec::new(),
                members: Some(Vec::new()),
            }
        });
        if let Some(members) = &mut group.members {
            members.push(Reference { name: user.to_owned(), kind: Some(ResourceType::User) });
        }
    }
}

/// What is in the first line more often than anything else that separates cells.
fn delimiter_of(bytes: &[u8]) -> u8 {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |wanted: u8| first.split(|byte| *byte == wanted).count();
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|one| count(*one)).unwrap_or(b',')
}

fn texts(row: &ByteRecord) -> Result<Vec<String>, String> {
    let text = |cell: &[u8]| std::str::from_utf8(cell).map(|text| text.trim().to_owned());
    row.iter()
        .map(text)
        .collect::<Result<_, _>>()
        .map_err(|_| "this is not UTF-8; save the table as UTF-8".to_owned())
}

/// What each column is.
fn roles(
    headings: &[String],
    mapping: &Mapping,
    notes: &mut Vec<String>,
) -> Result<(Vec<Role>, bool), String> {
    let missing = mapping.columns.keys().chain(&mapping.groups).find(|name| !headings.contains(name));
    if let Some(missing) = missing {
        return Err(format!("the mapping names a column `{missing}`, which the first line does not have"));
    }
    let mut seen = HashSet::with_capacity(headings.len());
    for heading in headings {
        if !heading.is_empty() && !seen.insert(heading) {
            return Err(format!("column `{}` is there twice", short(heading)));
        }
    }
    let default = |heading: &str| -> Role {
        let plain = plain(heading);
        if mapping.groups.is_none() && GROUPS.contains(&plain.as_str()) {
            return Role::Groups;
        }
        let known = COLUMNS.iter().find(|(name, _)| *name == plain).map(|(_, paths)| *paths);
        // An attribute path is its own name.
        let own = [heading];
        let is_path = heading.contains('.') || heading.starts_with("urn:");
        let paths = known.unwrap_or(if is_path { &own } else { &[] });
        let paths: Vec<Path> = paths.iter().filter_map(|path| Path::parse(path, Type::Text).ok()).collect();
        if paths.is_empty() { Role::Ignored } else { Role::Attribute(Column { paths, separator: None }) }
    };
    let role = |heading: &String| match mapping.columns.get(heading) {
        Some(column) => Role::Attribute(column.clone()),
        None if mapping.groups.as_ref() == Some(heading) => Role::Groups,
        None if mapping.is_own && !mapping.columns.is_empty() => Role::Ignored,
        None => default(heading),
    };
    let roles: Vec<Role> = headings.iter().map(role).collect();
    let names = |wanted: &str| {
        let sets = |column: &Column| column.paths.iter().any(|path| path.is(wanted));
        roles.iter().any(|role| matches!(role, Role::Attribute(column) if sets(column)))
    };
    let has_mail = roles.iter().any(|role| {
        matches!(role, Role::Attribute(column) if column.paths.iter().any(|path| path.as_str().starts_with("emails")))
    });
    let has_user_name = names("userName");
    if !has_user_name && !has_mail {
        return Err(format!(
            "no column is a userName; the columns are {}. Name one with --map",
            headings.iter().map(|one| format!("`{}`", short(one))).collect::<Vec<_>>().join(", ")
        ));
    }
    let ignored: Vec<String> = headings
        .iter()
        .zip(&roles)
        .filter(|(_, role)| matches!(role, Role::Ignored))
        .map(|(heading, _)| format!("`{}`", short(heading)))
        .collect();
    if !ignored.is_empty() {
        notes.push(format!("columns left out: {}", ignored.join(", ")));
    }
    Ok((roles, has_user_name))
}

/// What a spreadsheet would take for a formula.
fn is_formula(text: &str) -> bool {
    let is_number =
        || text.get(1..).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || " ().-".contains(c)));
    text.starts_with(['=', '@']) || (text.starts_with(['+', '-']) && !is_number())
}

fn user(
    row: &ByteRecord,
    (headings, (roles, has_user_name)): &(Vec<String>, (Vec<Role>, bool)),
    mapping: &Mapping,
    at: &str,
    groups: &mut Groups,
    reading: &mut Reading,
) -> Result<Record, Problem> {
    if row.len() != headings.len() {
        let why = format!("the row has {} cells, the first line {}", row.len(), headings.len());
        return Err(Problem::new(at, "", why));
    }
    let cells = texts(row).map_err(|why| Problem::new(at, "", why))?;
    let mut body = Map::new();
    let mut joined = Vec::new();
    for ((heading, role), cell) in headings.iter().zip(roles).zip(&cells) {
        let told = |why: String| Problem::new(at, short(heading), why);
        if cell.contains('\0') {
            return Err(told("the cell holds the character U+0000".to_owned()));
        }
        if is_formula(cell) && !matches!(role, Role::Ignored) {
            let heading = short(heading);
            reading.note(format!("{at}, `{heading}`: looks like a formula; it is taken as text"));
        }
        match role {
            Role::Ignored => {}
            Role::Groups => {
                let separator = mapping.separator.as_deref().unwrap_or(";");
                joined.extend(cell.split(separator).map(str::trim).filter(|name| !name.is_empty()));
            }
            Role::Attribute(column) => {
                for path in &column.paths {
                    if !path.is_many() {
                        if !cell.is_empty() {
                            path.put(&mut body, cell).map_err(told)?;
                        }
                        continue;
                    }
                    for value in cell.split(mapping.separator(column)).map(str::trim) {
                        if !value.is_empty() {
                            path.put(&mut body, value).map_err(told)?;
                        }
                    }
                }
            }
        }
    }
    for (path, text) in &mapping.constants {
        path.put(&mut body, text).map_err(|why| Problem::new(at, path.as_str(), why))?;
    }
    if !has_user_name {
        let mail = body.get("emails").and_then(|all| all.get(0)).and_then(|one| one.get("value")).cloned();
        body.extend(mail.map(|mail| ("userName".to_owned(), mail)));
    }
    let name = body.get("userName").and_then(serde_json::Value::as_str);
    let name =
        name.ok_or_else(|| Problem::new(at, "userName", "the row names nobody: its userName is empty"))?;
    for group in joined {
        groups.join(group, name, at);
    }
    Ok(Record { at: at.to_owned(), kind: ResourceType::User, body, names: Vec::new(), members: None })
}
