//! uids and gids out of the operator's ranges. The mirror keeps them, and a file beside it that a `restore` does not
//! touch, so that a number never changes hands (DESIGN §6.8). Blocking.
//!
//! INVARIANTS: a number is in the file, on disk, before it is in the mirror, and in both before any target shows it.
//! Where they differ the file is right: it only grows. Its lines are `NUMBER OWNER`; one without an end was cut off by
//! a crash, was never shown, and goes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, unix_id};
use crate::model::{Origin, UnixIdOwner, UnixIdWanted};

/// Numbers by owner.
type Given = BTreeMap<u32, UnixIdOwner>;

/// Why numbers could not be given.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file beside the mirror.
    File(String),
    /// The mirror.
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The numbers of those who want one. Whoever is missing from the answer found its range used up.
pub(crate) fn give(
    mirror: &Mirror,
    path: &Path,
    wanted: &[UnixIdWanted],
) -> Result<BTreeMap<UnixIdOwner, u32>, Failure> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let known = mirror.read(|tx: &mut ReadTx<'_>| unix_id::all(tx))?;
    let (numbers, new) = assign(&known, wanted);
    if new.is_empty() {
        // Everybody has one. A file that is missing is written anew with the next number at the latest.
        let _later = (!path.exists()).then(|| Log::open(path).and_then(|mut log| log.append(known.iter())));
        return Ok(numbers);
    }
    let fail = |error: io::Error| {
        Failure::File(format!("cannot keep uids and gids in `{}`: {error}", path.display()))
    };
    let mut log = Log::open(path).map_err(fail)?;
    // Under the file's lock: what another target or an earlier life of the mirror gave counts.
    let mut merged = mirror.read(|tx: &mut ReadTx<'_>| unix_id::all(tx))?;
    let unlogged: Given = without(&merged, &log.given);
    merged.extend(log.given.clone());
    let (numbers, new) = assign(&merged, wanted);
    merged.extend(new.clone());
    log.append(unlogged.iter().chain(&new)).map_err(fail)?;
    let missing: Given =
        merged.into_iter().filter(|(number, owner)| known.get(number) != Some(owner)).collect();
    if !missing.is_empty() {
        mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| unix_id::keep(tx, &missing))?;
    }
    Ok(numbers)
}

/// The numbers that [`give`] would give, for what is only shown. Keeps nothing.
pub(crate) fn preview(
    mirror: &Mirror,
    path: &Path,
    wanted: &[UnixIdWanted],
) -> Result<BTreeMap<UnixIdOwner, u32>, StoreError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    mirror.read(|tx: &mut ReadTx<'_>| preview_in(tx, path, wanted))
}

/// [`preview`] inside a transaction.
pub(crate) fn preview_in(
    tx: &mut ReadTx<'_>,
    path: &Path,
    wanted: &[UnixIdWanted],
) -> Result<BTreeMap<UnixIdOwner, u32>, StoreError> {
    let mut known = unix_id::all(tx)?;
    if let Ok(text) = std::fs::read_to_string(path) {
        known.extend(parse(&text).0);
    }
    Ok(assign(&known, wanted).0)
}

/// Those of `given` whose number is not in `others`.
fn without(given: &Given, others: &Given) -> Given {
    let is_missing = |(number, _): &(&u32, &UnixIdOwner)| !others.contains_key(*number);
    given.iter().filter(is_missing).map(|(number, owner)| (*number, owner.clone())).collect()
}

/// Each one's number, and those given just now: the owner's oldest in the range, else the lowest never given.
fn assign(known: &Given, wanted: &[UnixIdWanted]) -> (BTreeMap<UnixIdOwner, u32>, Given) {
    let mut owned: BTreeMap<&UnixIdOwner, Vec<u32>> = BTreeMap::new();
    for (number, owner) in known {
        owned.entry(owner).or_default().push(*number);
    }
    let (mut numbers, mut new) = (BTreeMap::new(), Given::new());
    // Sorted, so that the same people get the same numbers whatever order they were asked for in.
    let wanted: BTreeMap<&UnixIdOwner, &UnixIdWanted> =
        wanted.iter().map(|wanted| (&wanted.owner, wanted)).collect();
    let mut from: BTreeMap<u32, u32> = BTreeMap::new();
    for (owner, wanted) in wanted {
        let range = &wanted.range;
        let own = owned.get(owner).and_then(|own| own.iter().find(|number| range.contains(number)));
        if let Some(number) = own {
            numbers.insert(owner.clone(), *number);
            continue;
        }
        let start = from.entry(*range.start()).or_insert(*range.start());
        let free = |number: &u32| {
            // `nobody` and the kernel's 16-bit "none".
            !known.contains_key(number) && !new.contains_key(number) && !matches!(number, 65_534 | 65_535)
        };
        if let Some(number) = (*start..=*range.end()).find(free) {
            *start = number;
            numbers.insert(owner.clone(), number);
            new.insert(number, owner.clone());
        } else {
            *start = *range.end();
        }
    }
    (numbers, new)
}

/// The file, locked while this lives.
struct Log {
    file: File,
    given: Given,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.custom_flags(nofollow()).open(path)?;
        file.lock()?;
        if is_new {
            let folder = path.parent().ok_or_else(|| io::Error::other("it is in no folder"))?;
            File::open(folder)?.sync_all()?;
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let (given, whole) = parse(&text);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, given })
    }

    fn append<'a>(&mut self, new: impl Iterator<Item = (&'a u32, &'a UnixIdOwner)>) -> io::Result<()> {
        let lines: Vec<String> = new.map(|(number, owner)| format!("{number} {owner}\n")).collect();
        let lines = lines.concat();
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_all()
    }
}

fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// What the lines say, and how many bytes of them are whole. Of two lines for one number the first counts.
fn parse(text: &str) -> (Given, usize) {
    let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
    let mut given = Given::new();
    for line in text.get(..whole).unwrap_or_default().lines() {
        let parsed = line.split_once(' ').and_then(|(number, owner)| {
            Some((number.parse::<u32>().ok()?, owner.parse::<UnixIdOwner>().ok()?))
        });
        if let Some((number, owner)) = parsed {
            given.entry(number).or_insert(owner);
        }
    }
    (given, whole)
}

#[cfg(test)]
#[path = "unix_ids_tests.rs"]
mod tests;
