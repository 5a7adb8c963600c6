//! What lies at a target's destination, and who seems to have touched it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::downstream::file::{self, ApplyError, Digest, FileFacts, OnDisk, generation};
use crate::model::Timestamp;
use crate::reconcile::settings::{FileSettings, Shape};

use super::parts::link_digest;

/// What lies under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum There {
    Absent,
    File(FileFacts),
    /// A symlink, and where it points to.
    Link(String),
    Other(&'static str),
}

/// What was there when a run ended, by name; the destination itself is the empty name. What differs later is drift.
pub(crate) type Known = BTreeMap<String, Seen>;

/// As much of [`There`] as counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Absent,
    File(Option<Digest>, u32),
    Link(String),
    Other(&'static str),
}

impl There {
    pub(crate) fn seen(&self) -> Seen {
        match self {
            Self::Absent => Seen::Absent,
            Self::File(facts) => Seen::File(facts.digest, facts.mode),
            Self::Link(to) => Seen::Link(to.clone()),
            Self::Other(word) => Seen::Other(word),
        }
    }

    /// The digest of its content.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::File(facts) => facts.digest,
            Self::Link(to) => Some(link_digest(to)),
            Self::Absent | Self::Other(_) => None,
        }
    }
}

/// One name of a tree.
pub(crate) fn member(file: &FileSettings, name: &str) -> Result<There, ApplyError> {
    let spec = file.spec.member(name);
    Ok(match file::inspect(&spec)? {
        OnDisk::Absent => There::Absent,
        OnDisk::File(facts) => There::File(facts),
        OnDisk::Other(word) => match file::read_link(&spec)? {
            Some(to) => There::Link(to.to_string_lossy().into_owned()),
            None => There::Other(word),
        },
    })
}

/// The destination of a single file.
pub(crate) fn member_of_itself(file: &FileSettings) -> Result<There, ApplyError> {
    Ok(match file::inspect(&file.spec)? {
        OnDisk::Absent => There::Absent,
        OnDisk::File(facts) => There::File(facts),
        OnDisk::Other(word) => There::Other(word),
    })
}

/// The symlink of a set and the files it shows under these names.
pub(crate) fn set<'a>(
    file: &FileSettings,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, There>, ApplyError> {
    let mut found = BTreeMap::new();
    let shown = generation::shown(&file.spec)?;
    let generation = if let generation::Shown::Ours(name) = &shown { Some(name.clone()) } else { None };
    for name in names {
        let there = generation.as_ref().map(|generation| generation::look(&file.spec, generation, name));
        let there = match there {
            Some(OnDisk::File(facts)) => There::File(facts),
            Some(OnDisk::Other(word)) => There::Other(word),
            Some(OnDisk::Absent) | None => There::Absent,
        };
        found.insert(name.to_owned(), there);
    }
    let link = match shown {
        generation::Shown::Absent => There::Absent,
        generation::Shown::Ours(to) | generation::Shown::Elsewhere(to) => There::Link(to),
        generation::Shown::Other(word) => There::Other(word),
    };
    found.insert(String::new(), link);
    Ok(found)
}

/// Whether the destination is no longer what a run left.
pub(crate) fn differs(file: &FileSettings, known: &Known) -> bool {
    if known.is_empty() {
        return true;
    }
    let names = known.keys().map(String::as_str);
    match &file.shape {
        Shape::File => match file::inspect(&file.spec) {
            Ok(OnDisk::Absent) => known.get("") != Some(&Seen::Absent),
            Ok(OnDisk::File(facts)) => known.get("") != Some(&There::File(facts).seen()),
            Ok(OnDisk::Other(_)) | Err(_) => true,
        },
        Shape::Tree(_) => {
            known.iter().any(|(name, seen)| member(file, name).map_or(true, |there| there.seen() != *seen))
        }
        Shape::Set(_) => {
            let found = set(file, names.filter(|name| !name.is_empty()));
            found.map_or(true, |found| {
                found.iter().any(|(name, there)| known.get(name) != Some(&there.seen()))
            })
        }
    }
}

/// What was found where something else was left, and who seems to have done it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The file.
    pub path: String,
    /// `changed`, `truncated`, `deleted`, `replaced` (another owner, or no regular file any more).
    pub what: String,
    /// Owner of what is there.
    pub uid: Option<u32>,
    /// The owner's name, if `/etc/passwd` has it.
    pub user: Option<String>,
    /// When its content last changed, RFC 3339.
    pub modified: Option<String>,
    /// Its length.
    pub bytes: Option<u64>,
    /// When it was noticed, RFC 3339.
    pub noticed: String,
    /// Whether it is being put right; false under `drift = "report"`.
    pub repaired: bool,
    /// What was found, as `target.drifted` says it.
    #[serde(default)]
    pub found: String,
    /// SHA-256 in hex of what was written there, where that is known.
    #[serde(default)]
    pub expected: Option<String>,
}

/// Pieces of evidence kept of one run.
pub(crate) const EVIDENCE_MAX: usize = 20;

/// What is noted about a drift at `path`.
pub(crate) fn evidence(
    path: String,
    there: &There,
    expected: Option<String>,
    now: Timestamp,
    repaired: bool,
) -> Evidence {
    let us = rustix::process::geteuid().as_raw();
    let (what, facts) = match there {
        There::Absent => ("deleted", None),
        There::Link(_) | There::Other(_) => ("replaced", None),
        There::File(facts) if facts.uid != us => ("replaced", Some(facts)),
        There::File(facts) if facts.bytes == 0 => ("truncated", Some(facts)),
        There::File(facts) => ("changed", Some(facts)),
    };
    let modified = facts.and_then(|facts| {
        let since = facts.modified.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
        Some(Timestamp(i64::try_from(since.as_micros()).ok()?).to_string())
    });
    Evidence {
        path,
        what: what.to_owned(),
        uid: facts.map(|facts| facts.uid),
        user: facts.and_then(|facts| user_name(facts.uid)),
        modified,
        bytes: facts.map(|facts| facts.bytes),
        noticed: now.to_string(),
        repaired,
        found: found(there),
        expected,
    }
}

/// `missing`, the SHA-256 of the bytes in hex, or what is there instead of a file.
fn found(there: &There) -> String {
    match there {
        There::Absent => "missing".to_owned(),
        There::File(FileFacts { digest: Some(digest), .. }) => digest.to_string(),
        There::File(_) => "unreadable".to_owned(),
        There::Link(_) => "symlink".to_owned(),
        There::Other(word) => (*word).to_owned(),
    }
}

pub(super) fn user_name(uid: u32) -> Option<String> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    let line = accounts.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').next().map(str::to_owned)
}
