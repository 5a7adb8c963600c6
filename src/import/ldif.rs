//! LDIF content records (RFC 2849): people and groups of an LDAP server or of Active Directory.
//!
//! A reader of our own: crates.io has no crate `ldif` (looked for in November 2026), and little of RFC 2849 is needed. It
//! knows folding, comments, base64 and options; it follows no URL, and refuses change records other than `add`.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::path::{Path, Type, short};
use super::{Mapping, Problem, Reading, Record, Reference};
use crate::model::ResourceType;

/// Values of one entry by attribute in lower case, without options.
type Values = BTreeMap<String, Vec<Vec<u8>>>;

/// Most lines of one entry: a group with more members is more than one import may change.
const LINES_MAX: usize = 1_000_000;

struct Entry {
    line: usize,
    dn: String,
    values: Values,
}

/// A line with its continuations, and where it began.
struct Logical {
    line: usize,
    bytes: Vec<u8>,
}

/// Reads all entries that are people or groups.
pub(super) fn entries(bytes: &[u8], mapping: &Mapping) -> Reading {
    let mut reading = Reading::default();
    let mut found = Vec::new();
    let found_so_far = Cell::new(0);
    let mut block: Vec<Logical> = Vec::new();
    let mut finish = |block: &mut Vec<Logical>, reading: &mut Reading| {
        let lines = std::mem::take(block);
        match entry(&lines) {
            Ok(Some(entry)) => {
                found.push(entry);
                found_so_far.set(found.len());
            }
            Ok(None) => {}
            Err(problem) => reading.problems.push(problem),
        }
    };
    let mut in_comment = false;
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(more) = line.strip_prefix(b" ") {
            match block.last_mut() {
                _ if in_comment => {}
                Some(last) => last.bytes.extend_from_slice(more),
                None => reading.problems.push(Problem::new(
                    format!("line {}", n + 1),
                    "",
                    "this continues a line, but none was begun",
                )),
            }
            continue;
        }
        if reading.is_enough(found_so_far.get(), format_args!("line {}", n + 1)) {
            break;
        }
        in_comment = line.starts_with(b"#");
        if in_comment {
            continue;
        }
        if line.is_empty() {
            finish(&mut block, &mut reading);
        } else if block.len() < LINES_MAX {
            block.push(Logical { line: n + 1, bytes: line.to_vec() });
        } else {
            let why = format!("an entry may have {LINES_MAX} lines; reading ends here");
            reading.problems.push(Problem::new(format!("line {}", n + 1), "", why));
            reading.is_cut = true;
            break;
        }
    }
    finish(&mut block, &mut reading);
    records(&found, mapping, &mut reading);
    reading
}

/// `name: value`, `name:: base64`.
fn pair(logical: &Logical) -> Result<(String, Vec<u8>), Problem> {
    let at = format!("line {}", logical.line);
    let colon = logical.bytes.iter().position(|byte| *byte == b':');
    let (name, rest) = match colon.map(|colon| logical.bytes.split_at(colon)) {
        Some((name, rest)) if !name.is_empty() => (name, rest.get(1..).unwrap_or_default()),
        _ => return Err(Problem::new(at, "", "this is no `attribute: value`")),
    };
    let name = std::str::from_utf8(name)
        .map_err(|_| Problem::new(at.as_str(), "", "the attribute's name is not ASCII"))?;
    let value = match rest.first() {
        Some(b':') => {
            let text = rest.get(1..).unwrap_or_default().trim_ascii();
            STANDARD.decode(text).map_err(|_| Problem::new(at, short(name), "this is not base64"))?
        }
        Some(b'<') => {
            return Err(Problem::new(at, short(name), "a URL is not followed; put the value into the file"));
        }
        _ => {
            let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
            rest.get(start..).unwrap_or_default().to_vec()
        }
    };
    Ok((name.to_owned(), value))
}

fn entry(lines: &[Logical]) -> Result<Option<Entry>, Problem> {
    let mut entry: Option<Entry> = None;
    for logical in lines {
        let (name, value) = pair(logical)?;
        let at = format!("line {}", logical.line);
        let mut parts = name.split(';');
        let bare = parts.next().unwrap_or_default().to_ascii_lowercase();
        // Another language's spelling of a value is not the value.
        if parts.any(|option| option.to_ascii_lowercase().starts_with("lang-")) {
            continue;
        }
        let Some(entry) = &mut entry else {
            match bare.as_str() {
                "version" if value == b"1" => continue,
                "version" => return Err(Problem::new(at, "version", "only version 1 of LDIF is known")),
                // What ldapsearch prints after the last entry.
                "search" | "result" => return Ok(None),
                "dn" => {}
                _ => return Err(Problem::new(at, short(&name), "an entry begins with its `dn`")),
            }
            let dn = String::from_utf8(value).map_err(|_| Problem::new(at, "dn", "this is not UTF-8"))?;
            entry = Some(Entry { line: logical.line, dn, values: Values::new() });
            continue;
        };
        if bare == "dn" {
            return Err(Problem::new(at, "dn", "a second `dn` in one entry; an empty line is missing"));
        }
        if bare == "changetype" && !value.eq_ignore_ascii_case(b"add") {
            let why = "change records other than `add` are not imported; export the entries themselves";
            return Err(Problem::new(at, "changetype", why));
        }
        entry.values.entry(bare).or_default().push(value);
    }
    Ok(entry)
}

impl Entry {
    fn at(&self) -> String {
        format!("line {}", self.line)
    }

    /// Values that are texts.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(|value| std::str::from_utf8(value).ok()).filter(|text| !text.is_empty())
    }

    fn one(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.all(name).next())
    }

    fn kind(&self) -> Option<ResourceType> {
        let is = |names: &[&str]| {
            self.all("objectclass").any(|class| names.iter().any(|name| name.eq_ignore_ascii_case(class)))
        };
        if is(&["computer", "msDS-GroupManagedServiceAccount", "contact"]) {
            return None;
        }
        if is(&[
            "groupOfNames",
            "groupOfUniqueNames",
            "groupOfMembers",
            "groupOfEntries",
            "posixGroup",
            "group",
        ]) {
            return Some(ResourceType::Group);
        }
        let person =
            is(&["person", "organizationalPerson", "inetOrgPerson", "posixAccount", "account", "user"]);
        person.then_some(ResourceType::User)
    }

    /// The server's own unchanging id, as text.
    fn external_id(&self) -> Option<String> {
        if let Some(text) = self.one(&["entryuuid", "ipauniqueid", "nsuniqueid", "guid"]) {
            return Some(text.to_owned());
        }
        let guid: [u8; 16] = self.values.get("objectguid")?.first()?.as_slice().try_into().ok()?;
        Some(uuid::Uuid::from_bytes_le(guid).to_string())
    }

    /// Whether it may sign in; `None` where nothing says so.
    fn active(&self) -> Option<bool> {
        if let Some(flags) = self.one(&["useraccountcontrol"]).and_then(|text| text.parse::<i64>().ok()) {
            return Some(flags & 2 == 0);
        }
        let is_true = |name: &str| self.one(&[name]).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let is_locked = is_true("nsaccountlock")
            || is_true("logindisabled")
            || self.one(&["pwdaccountlockedtime"]) == Some("000001010000Z");
        is_locked.then_some(false)
    }
}

/// What attributes of a person become, unless a mapping says otherwise. The first that is there fills a single one.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("displayname", "displayName"),
    ("cn", "displayName"),
    ("givenname", "name.givenName"),
    ("sn", "name.familyName"),
    ("mail", "emails.work"),
    ("telephonenumber", "phoneNumbers.work"),
    ("mobile", "phoneNumbers.mobile"),
    ("title", "title"),
    ("employeenumber", "employeeNumber"),
    ("employeeid", "employeeNumber"),
    ("department", "department"),
    ("departmentnumber", "department"),
    ("division", "division"),
    ("company", "organization"),
    ("o", "organization"),
    ("employeetype", "userType"),
    ("preferredlanguage", "preferredLanguage"),
];

/// Attributes that may be somebody's userName, the first that is there.
const USER_NAMES: [&str; 4] = ["userprincipalname", "uid", "samaccountname", "mail"];

fn records(found: &[Entry], mapping: &Mapping, reading: &mut Reading) {
    let others: HashSet<String> =
        found.iter().filter(|entry| entry.kind().is_none()).map(|entry| plain_dn(&entry.dn)).collect();
    let mut left_out = 0;
    for entry in found {
        let record = match entry.kind() {
            None => continue,
            Some(ResourceType::User) => user(entry, mapping),
            Some(ResourceType::Group) => group(entry, &others, &mut left_out),
        };
        match record {
            Ok(record) if record.body.values().any(holds_nul) => {
                reading.problems.push(Problem::new(record.at, "", "a value holds the character U+0000"));
            }
            Ok(record) => reading.records.push(record),
            Err(problem) => reading.problems.push(problem),
        }
    }
    if !others.is_empty() {
        reading.notes.push(format!("entries left out that are neither people nor groups: {}", others.len()));
    }
    if left_out > 0 {
        reading.notes.push(format!(
            "members left out that are neither people nor groups, or the group itself: {left_out}"
        ));
    }
}

fn holds_nul(value: &Value) -> bool {
    value.to_string().contains("\\u0000")
}

fn base(entry: &Entry) -> Map<String, Value> {
    let mut body = Map::new();
    body.extend(entry.external_id().map(|id| ("externalId".to_owned(), Value::from(id))));
    body
}

fn user(entry: &Entry, mapping: &Mapping) -> Result<Record, Problem> {
    let mut body = base(entry);
    let told = |name: &str, why: String| Problem::new(entry.at(), name, why);
    for (name, column) in &mapping.columns {
        for text in entry.all(&name.to_ascii_lowercase()) {
            for path in &column.paths {
                if path.is("externalId") {
                    body.shift_remove("externalId");
                }
                path.put(&mut body, text).map_err(|why| told(name, why))?;
            }
        }
    }
    let is_mapped = |name: &str| mapping.columns.keys().any(|mapped| mapped.eq_ignore_ascii_case(name));
    for (name, path) in ATTRIBUTES {
        if is_mapped(name) {
            continue;
        }
        let path = Path::parse(path, Type::Text).map_err(|why| told(name, why))?;
        for text in entry.all(name) {
            path.put(&mut body, text).map_err(|why| told(name, why))?;
        }
    }
    for (path, text) in &mapping.constants {
        path.put(&mut body, text).map_err(|why| told(path.as_str(), why))?;
    }
    if !body.contains_key("userName") {
        let name = entry.one(&USER_NAMES).ok_or_else(|| {
            told(
                "uid",
                "a person without uid, userPrincipalName, sAMAccountName and mail has no userName".to_owned(),
            )
        })?;
        body.insert("userName".to_owned(), name.into());
    }
    if let Some(active) = entry.active() {
        body.entry("active").or_insert(active.into());
    }
    let mut names = vec![plain_dn(&entry.dn)];
    // What memberUid says.
    names.extend(entry.all("uid").map(|uid| format!("uid={uid}")));
    Ok(Record { at: entry.at(), kind: ResourceType::User, body, names, members: None })
}

fn group(entry: &Entry, others: &HashSet<String>, left_out: &mut usize) -> Result<Record, Problem> {
    let mut body = base(entry);
    let name = entry
        .one(&["cn", "displayname", "samaccountname"])
        .ok_or_else(|| Problem::new(entry.at(), "cn", "a group without a cn has no displayName"))?;
    body.insert("displayName".to_owned(), name.into());
    let own = plain_dn(&entry.dn);
    let mut members = Vec::new();
    let mut seen = HashSet::new();
    for attribute in ["member", "uniquemember"] {
        for dn in entry.all(attribute) {
            let dn = plain_dn(if attribute == "uniquemember" { without_uid(dn) } else { dn });
            if dn == own || others.contains(&dn) {
                *left_out += 1;
            } else if seen.insert(dn.clone()) {
                members.push(Reference { name: dn, kind: None });
            }
        }
    }
    for uid in entry.all("memberuid") {
        let name = format!("uid={uid}");
        if seen.insert(name.clone()) {
            members.push(Reference { name, kind: Some(ResourceType::User) });
        }
    }
    if members.iter().any(|member| member.name.contains('\0')) {
        return Err(Problem::new(entry.at(), "member", "a value holds the character U+0000"));
    }
    Ok(Record { at: entry.at(), kind: ResourceType::Group, body, names: vec![own], members: Some(members) })
}

/// Without the bit string that a Name And Optional UID may end in (RFC 4517 §3.3.21).
fn without_uid(text: &str) -> &str {
    match text.rsplit_once('#') {
        Some((dn, uid)) if uid.starts_with('\'') && uid.ends_with("'B") => dn,
        _ => text,
    }
}

/// A DN with letters folded and without spaces around its commas and equals signs, to compare it by.
fn plain_dn(dn: &str) -> String {
    let mut plain = String::with_capacity(dn.len());
    let mut escaped = false;
    let mut after_separator = true;
    for c in dn.trim().chars() {
        match c {
            _ if escaped => {
                plain.extend(c.to_lowercase());
                (escaped, after_separator) = (false, false);
            }
            '\\' => {
                plain.push(c);
                (escaped, after_separator) = (true, false);
            }
            ',' | '=' | '+' | ';' => {
                let end = plain.trim_end_matches(' ').len();
                plain.truncate(end);
                plain.push(if c == ';' { ',' } else { c });
                after_separator = true;
            }
            ' ' if after_separator => {}
            _ => {
                plain.extend(c.to_lowercase());
                after_separator = false;
            }
        }
    }
    plain
}
