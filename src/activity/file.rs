//! The log on disk: `activity.jsonl` beside the mirror, a row per line, appended in batches and rewritten when it
//! has grown to twice its bound.
//!
//! Not a table of the mirror, so that a flood of requests costs the mirror nothing; no database of its own, since
//! everything that is asked of the log is answered from memory. It is not synced: a crash loses the last moments,
//! which the daemon's log has. A line that cannot be read is skipped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Settings;
use super::entry::Row;
use super::ring::Ring;

/// Longest line that is read: a row with both bodies. A longer one is read as several that are none.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Lines beyond twice the bound are worth a rewrite, and at least so many.
const SLACK_LINES: usize = 256;
/// A file that large is rewritten whatever its lines: bodies that were dropped are still in it.
const BYTES_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    lines: usize,
    bytes: u64,
}

impl Log {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, file: None, lines: 0, bytes: 0 }
    }

    /// What the file holds.
    pub(super) fn read(&mut self, settings: &Settings) -> io::Result<Ring> {
        let mut ring = Ring::default();
        // A pipe in its place would keep the daemon from starting.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(bits(flags)).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ring),
            Err(error) => return Err(error),
        };
        self.bytes = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = reader.by_ref().take(LINE_BYTES_MAX as u64);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                return Ok(ring);
            }
            self.lines = self.lines.saturating_add(1);
            if let Ok(row) = serde_json::from_slice::<Row>(&line) {
                ring.push(row, settings);
            }
        }
    }

    /// Appends `rows`; what is written is whole lines or an error.
    pub(super) fn append(&mut self, rows: &[Row]) -> io::Result<()> {
        let text = lines(rows.iter())?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path, false)?),
        };
        file.write_all(&text)?;
        self.lines = self.lines.saturating_add(rows.len());
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        Ok(())
    }

    /// True if the file holds much more than the log does.
    pub(super) fn is_due(&self, settings: &Settings) -> bool {
        self.lines > settings.requests.saturating_mul(2).saturating_add(SLACK_LINES) || self.bytes > BYTES_MAX
    }

    /// Writes the whole file anew, beside the old one, and puts it in its place; `lines` as [`lines`] gives them.
    pub(super) fn rewrite(&mut self, lines: usize, text: &[u8]) -> io::Result<()> {
        self.file = None;
        let staged = self.path.with_extension("jsonl.tmp");
        let written = open(&staged, true).and_then(|mut file| file.write_all(text));
        if let Err(error) = written.and_then(|()| std::fs::rename(&staged, &self.path)) {
            // A full disk is not made fuller.
            let _ = std::fs::remove_file(&staged);
            return Err(error);
        }
        (self.lines, self.bytes) = (lines, text.len() as u64);
        Ok(())
    }

    /// Takes the file away: the log was switched off.
    pub(super) fn remove(&mut self) {
        self.file = None;
        // One that is not there is as good.
        let _ = std::fs::remove_file(&self.path);
        (self.lines, self.bytes) = (0, 0);
    }
}

/// A file of ours alone; no link is followed.
fn open(path: &Path, is_new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    if is_new {
        // Whatever was left there by a process that was killed, its mode included, goes.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => options.write(true).create_new(true),
        };
    } else {
        options.append(true).create(true);
    }
    options.mode(0o600).custom_flags(bits(rustix::fs::OFlags::NOFOLLOW)).open(path)
}

fn bits(flags: rustix::fs::OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// `rows` as the file holds them.
pub(super) fn lines<'a>(rows: impl Iterator<Item = &'a Row>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row)?;
        text.push(b'\n');
    }
    Ok(text)
}
