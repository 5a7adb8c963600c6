//! Files of people that are moved in: SCIM list responses, JSON Lines, LDIF, CSV. Each reader turns bytes into
//! [`Record`]s, which the importer puts through the same validation as a push.
//!
//! Pure: bytes in, records and problems out. Must not know of files, the mirror or a directory. INVARIANTS: no input
//! panics, recursion does not grow with it, a bad record costs that record only, and no text that comes out holds
//! U+0000.

mod csv;
mod json;
mod ldif;
mod map;
mod path;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::ResourceType;

pub use map::{Mapping, MappingError};

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Most users and groups that one file is read for. What is read takes several times its bytes as memory.
const RECORDS_MAX: usize = 1_000_000;
/// Mistakes after which nothing more is read: nobody reads more either.
const PROBLEMS_MAX: usize = 10_000;
/// Most notes.
const NOTES_MAX: usize = 1_000;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SCIM list responses, resources or arrays of them, one or several after each other.
    Scim,
    /// One SCIM resource on each line.
    Jsonl,
    /// RFC 2849.
    Ldif,
    /// RFC 4180, with a line of headings.
    Csv,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scim, Self::Jsonl, Self::Ldif, Self::Csv];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scim => "scim",
            Self::Jsonl => "jsonl",
            Self::Ldif => "ldif",
            Self::Csv => "csv",
        }
    }

    /// The format that a file's name and its beginning speak for; `None` if neither does.
    pub fn guess(name: &str, bytes: &[u8]) -> Option<Self> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("json" | "scim") => return Some(Self::Scim),
            Some("jsonl" | "ndjson") => return Some(Self::Jsonl),
            Some("ldif" | "ldf") => return Some(Self::Ldif),
            Some("csv" | "tsv") => return Some(Self::Csv),
            _ => {}
        }
        let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
        match text.first() {
            Some(b'{' | b'[') => Some(Self::Scim),
            _ if text.starts_with(b"dn:") || text.starts_with(b"version:") || text.starts_with(b"#") => {
                Some(Self::Ldif)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One user or group of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where it stands: `line 12`.
    pub at: String,
    /// User or Group.
    pub kind: ResourceType,
    /// The SCIM resource, without `members`.
    pub body: Map<String, Value>,
    /// What else the file calls it: the `id` of a SCIM resource, the DN of an LDIF entry.
    #[serde(default)]
    pub names: Vec<String>,
    /// A group's members; `None` if the file does not speak of them.
    #[serde(default)]
    pub members: Option<Vec<Reference>>,
}

/// A member as the file names it: by id, DN, externalId, userName or displayName.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// User or Group, where the file says so.
    #[serde(default)]
    pub kind: Option<ResourceType>,
}

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `line 12`.
    pub at: String,
    /// The attribute or column; empty where it is the record as a whole.
    #[serde(default)]
    pub attribute: String,
    /// Why.
    pub message: String,
}

impl Problem {
    fn new(at: impl Into<String>, attribute: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), attribute: attribute.into(), message: message.into() }
    }
}

/// What a reader makes of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// What could be read.
    pub records: Vec<Record>,
    /// What could not.
    pub problems: Vec<Problem>,
    /// What was left out on purpose, for a person.
    pub notes: Vec<String>,
    /// Whether reading ended before the file did; the last problem says why.
    pub is_cut: bool,
}

impl Reading {
    /// Whether nothing more is to be read, from `at` on; says so once. `records` is how many there are.
    fn is_enough(&mut self, records: usize, at: impl fmt::Display) -> bool {
        if self.is_cut {
            return true;
        }
        let why = if self.problems.len() >= PROBLEMS_MAX {
            format!("reading ends here, after {PROBLEMS_MAX} mistakes")
        } else if records >= RECORDS_MAX {
            format!("a file may name {RECORDS_MAX} users and groups; split it, users first")
        } else {
            return false;
        };
        self.problems.push(Problem::new(at.to_string(), "", why));
        self.is_cut = true;
        true
    }

    /// Notes something, if there is not too much of it already.
    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads a whole file. `mapping` says what columns (CSV) and attributes (LDIF) become; the SCIM formats need none.
pub fn read(format: Format, bytes: &[u8], mapping: &Mapping) -> Reading {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let problem = Problem::new("line 1", "", "the file is UTF-16; save it as UTF-8");
        return Reading { problems: vec![problem], ..Reading::default() };
    }
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let mut reading = match format {
        Format::Scim => json::documents(bytes),
        Format::Jsonl => json::lines(bytes),
        Format::Ldif => ldif::entries(bytes, mapping),
        Format::Csv => csv::rows(bytes, mapping),
    };
    if reading.records.is_empty() && reading.problems.is_empty() {
        reading.problems.push(Problem::new("line 1", "", "the file names no user and no group"));
    }
    reading
}

/// Counts lines up to growing positions.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// The line of the byte at `position`.
    fn of(&mut self, position: usize) -> usize {
        let between = self.bytes.get(self.at..position).unwrap_or_default();
        self.line += between.split(|byte| *byte == b'\n').count().saturating_sub(1);
        self.at = self.at.max(position);
        self.line
    }
}

fn type_of(text: &str) -> Option<ResourceType> {
    [ResourceType::User, ResourceType::Group]
        .into_iter()
        .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
}
