//! Copies of a mirror: taken while a daemon writes, checked before anybody trusts them, put in place in one step.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::connection::store_error;
use super::{APPLICATION_ID, StoreError, migrate};

/// Pages copied at a time.
const STEP_PAGES: i32 = 256;
/// Rest between two steps, so that the daemon's own reads and writes go first.
const REST: Duration = Duration::from_millis(2);
/// Problems that an integrity check names before it stops.
const FAULTS_MAX: usize = 10;

/// Copies the mirror at `from` to the new file `to` (mode 0600), checks the copy and makes it durable. `progress` is
/// told pages done and pages in all. Another process may be writing all the while: the copy is of one moment.
///
/// # Errors
/// [`StoreError::Open`] where a file cannot be opened, [`StoreError::NotOurs`], [`StoreError::Corrupt`].
pub fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
    let source = read_only(from)?;
    is_ours(&source)?;
    // One snapshot for the whole copy. Without it each foreign commit would begin the copy afresh.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;").map_err(store_error)?;
    super::create_private(to)?;
    let mut copied =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(store_error)?;
    {
        let backup = Backup::new(&source, &mut copied).map_err(store_error)?;
        loop {
            let step = backup.step(STEP_PAGES).map_err(store_error)?;
            let now = backup.progress();
            let pages = |count: i32| u64::try_from(count).unwrap_or(0);
            let total = pages(now.pagecount);
            progress(total.saturating_sub(pages(now.remaining)), total);
            match step {
                StepResult::Done => break,
                StepResult::More => std::thread::sleep(REST),
                // Somebody has the file for himself for a moment.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    // A file by itself: no log beside it that could be forgotten when it is moved.
    copied.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;").map_err(store_error)?;
    integrity(&copied)?;
    copied.close().map_err(|(_, error)| store_error(error))?;
    sync(to)
}

/// Whose file it is, that this version can read it, and that SQLite finds it whole.
///
/// # Errors
/// [`StoreError::NotOurs`], [`StoreError::Newer`], [`StoreError::Corrupt`], [`StoreError::Open`].
pub fn check(path: &Path) -> Result<(), StoreError> {
    let connection = read_only(path)?;
    is_ours(&connection)?;
    integrity(&connection)
}

/// Folds what stands in the write-ahead log into the file and drops the log.
///
/// # Errors
/// [`StoreError`] where the file is not one SQLite can open.
pub fn fold(path: &Path) -> Result<(), StoreError> {
    let connection = super::connect(path)?;
    connection.execute_batch("PRAGMA journal_mode = DELETE;").map_err(store_error)?;
    connection.close().map_err(|(_, error)| store_error(error))
}

/// The epoch that the file at `path` is in.
///
/// # Errors
/// [`StoreError`] where it cannot be read.
pub fn epoch(path: &Path) -> Result<u32, StoreError> {
    let connection = read_only(path)?;
    is_ours(&connection)?;
    let found: i64 = connection
        .query_row("SELECT value FROM counter WHERE name = 'epoch'", [], |row| row.get(0))
        .map_err(store_error)?;
    Ok(u32::try_from(found).unwrap_or(1))
}

/// Runs `PRAGMA quick_check` on the mirror at `path`, from outside.
///
/// # Errors
/// [`StoreError`] where it cannot be read, or is damaged.
pub fn quick_check(path: &Path) -> Result<(), StoreError> {
    let connection = read_only(path)?;
    is_ours(&connection)?;
    let word: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(store_error)?;
    if word == "ok" { Ok(()) } else { Err(StoreError::Corrupt(word)) }
}

/// Makes a file durable.
///
/// # Errors
/// [`StoreError::Open`], with the path.
pub fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::Open(format!("`{}`: {error}", path.display())))
}

/// The folder of `path`.
pub fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags)
        .map_err(|error| StoreError::Open(format!("`{}`: {error}", path.display())))?;
    opened.busy_timeout(Duration::from_secs(5)).map_err(store_error)?;
    super::functions::register(&opened).map_err(store_error)?;
    Ok(opened)
}

fn is_ours(connection: &Connection) -> Result<(), StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(store_error);
    let application = number("PRAGMA application_id")?;
    if application != APPLICATION_ID {
        return Err(StoreError::NotOurs(application));
    }
    let found = number("PRAGMA user_version")?;
    if found > migrate::NEWEST {
        return Err(StoreError::Newer { found, known: migrate::NEWEST });
    }
    Ok(())
}

fn integrity(connection: &Connection) -> Result<(), StoreError> {
    let sql = format!("PRAGMA integrity_check({FAULTS_MAX})");
    let mut statement = connection.prepare(&sql).map_err(store_error)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(store_error)?;
    let words: Vec<String> = rows.collect::<Result<_, _>>().map_err(store_error)?;
    if words == ["ok"] { Ok(()) } else { Err(StoreError::Corrupt(words.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_file_and_a_damaged_one_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y);").unwrap();
        assert!(matches!(check(&path), Err(StoreError::NotOurs(0))));
        std::fs::write(&path, vec![7_u8; 8192]).unwrap();
        assert!(matches!(check(&path), Err(StoreError::Corrupt(_))));
        assert!(matches!(check(&folder.path().join("none")), Err(StoreError::Open(_))));
    }

    #[test]
    fn a_newer_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let newer = migrate::NEWEST + 1;
        let sql = format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {newer}; CREATE TABLE x (y);"
        );
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        assert!(matches!(check(&path), Err(StoreError::Newer { .. })));
    }
}
