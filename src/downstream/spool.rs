//! A file of lines, written whole before the first is used: what a long reading of the present state is kept in, so
//! that it is neither held in memory nor in the mirror and a crash goes on where it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Writes `lines` to `path`, durable once this returns; before that there is no such file.
///
/// # Errors
/// The file cannot be written; nothing of it remains under its name.
pub fn write(path: &Path, lines: impl Iterator<Item = Vec<u8>>) -> io::Result<u64> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let staged = staged(path);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    let mut out = BufWriter::new(file);
    let mut count = 0_u64;
    for line in lines {
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        count = count.saturating_add(1);
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(folder)?.sync_all()?;
    Ok(count)
}

/// Up to `limit` lines from the byte `offset` on, and the offset behind them.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, offset: u64, limit: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut at) = (Vec::new(), offset);
    while lines.len() < limit {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        at = at.saturating_add(read as u64);
        line.pop();
        lines.push(line);
    }
    Ok((lines, at))
}

/// Removes the file and what a crash left of writing it; one that is not there is fine.
pub fn remove(path: &Path) {
    for path in [path.to_owned(), staged(path)] {
        // What stays behind is written over by the next one.
        let _absent = fs::remove_file(path);
    }
}

/// Removes every file of `folder` whose name begins so.
pub fn remove_all(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // What stays behind is never read.
            let _absent = fs::remove_file(entry.path());
        }
    }
}

fn staged(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_pieces_from_where_one_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(write(&path, (0..5).map(|n| n.to_string().into_bytes())).unwrap(), 5);
        let (first, at) = read(&path, 0, 2).unwrap();
        assert_eq!(first, [b"0".to_vec(), b"1".to_vec()]);
        let (rest, end) = read(&path, at, 10).unwrap();
        assert_eq!(rest.len(), 3);
        assert!(read(&path, end, 10).unwrap().0.is_empty());
        remove(&path);
        remove(&path);
        for name in ["b.1-2", "b.1-3.tmp", "bc.1-2"] {
            fs::write(folder.path().join("a").join(name), "x").unwrap();
        }
        remove_all(&folder.path().join("a"), "b.");
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
        remove_all(&folder.path().join("none"), "b.");
        assert_eq!(read(&path, 0, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
