//! The SQLite engine: opening a file in the right order, connections, the reader pool, migrations.
//!
//! Knows nothing of resources or changes; it is one implementation of [`super::engine`].

pub mod backup;
mod connection;
mod functions;
mod migrate;
mod pool;
mod statistics;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, Mode, flock};

use crate::model::{Epoch, Seq, Timestamp};

use super::Settings;
use super::engine::{Engine, Reader, StoreError, Writer};

use connection::{SqliteConnection, store_error};
pub use pool::Pool;

/// `application_id` in the file's header: "rost".
const APPLICATION_ID: i64 = 0x726f_7374;

/// The exclusive lock on the state directory; gone with the value or the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `rosterd.lock` in `directory`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::Open`] when the file cannot be made.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("rosterd.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| StoreError::Open(format!("lock file `{}`: {e}", path.display())))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked),
            Err(e) => Err(StoreError::Open(format!("lock file `{}`: {e}", path.display()))),
        }
    }
}

/// What [`open`] found.
pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) writer: Box<dyn Writer>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) epoch: Epoch,
    pub(super) newest: Seq,
}

/// Opens the file: lock, permissions, identity, pragmas, migrations, a first look for damage.
pub(super) fn open(settings: &Settings, now: Timestamp) -> Result<Opened, StoreError> {
    let folder = match settings.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let lock = Lock::take(&folder)?;
    create_private(&settings.path)?;
    let mut first = connect(&settings.path)?;
    let fresh = prepare_file(&first)?;
    pragmas(&first, settings.cache_kib)?;
    migrate::run(&mut first, &settings.path, fresh, now)?;
    quick_check(&first, &settings.path)?;
    first.execute_batch("PRAGMA optimize = 0x10002;").map_err(store_error)?;
    statistics::pin(&mut first)?;
    let number = |sql: &str| first.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(store_error);
    let epoch = number("SELECT value FROM counter WHERE name = 'epoch'")?;
    let newest = number("SELECT value FROM counter WHERE name = 'seq'")?;
    let engine = Arc::new(SqliteEngine { path: settings.path.clone(), cache_kib: settings.cache_kib });
    Ok(Opened {
        lock,
        writer: Box::new(SqliteConnection::new(first)?),
        engine,
        epoch: Epoch(u32::try_from(epoch).unwrap_or(1)),
        newest: Seq(u64::try_from(newest).unwrap_or(0)),
    })
}

/// Makes the file with mode 0600 before SQLite could make it with another; SQLite gives `-wal` and `-shm` the same.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let opened =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    opened.map(|_| ()).map_err(|e| StoreError::Open(format!("`{}`: {e}", path.display())))
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(store_error)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(store_error)?;
    Ok(connection)
}

/// Checks whose file it is and says whether it is new.
fn prepare_file(connection: &Connection) -> Result<bool, StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(store_error);
    let fresh = number("SELECT count(*) FROM sqlite_schema")? == 0 && number("PRAGMA user_version")? == 0;
    let application = number("PRAGMA application_id")?;
    if fresh && application == 0 {
        let sql = format!(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = {APPLICATION_ID};"
        );
        connection.execute_batch(&sql).map_err(store_error)?;
        return Ok(true);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::NotOurs(application));
    }
    let found = number("PRAGMA user_version")?;
    if found > migrate::NEWEST {
        return Err(StoreError::Newer { found, known: migrate::NEWEST });
    }
    Ok(fresh)
}

/// The settings of every connection. mmap stays off: an I/O error in a mapping is a signal, not a result. What is
/// deleted is overwritten where that costs no write of its own, so that `user forget` finds nothing left behind.
fn pragmas(connection: &Connection, cache_kib: u32) -> Result<(), StoreError> {
    use rusqlite::limits::Limit;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(store_error)?;
    if mode != "wal" {
        return Err(StoreError::Open(format!(
            "the file system allows no write-ahead log (journal mode `{mode}`)"
        )));
    }
    let sql = format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
         PRAGMA secure_delete = FAST;"
    );
    connection.execute_batch(&sql).map_err(store_error)?;
    // Plans must not depend on bound values: otherwise each new value has its statement parsed and planned again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(store_error)?;
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, 4 << 20),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 256),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 2_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 1),
    ];
    for (limit, value) in limits {
        connection.set_limit(limit, value).map_err(store_error)?;
    }
    Ok(())
}

/// Looks for damage at the start while that is quick; larger files are checked by the daemon in the background.
fn quick_check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    const SMALL: u64 = 64 << 20;
    if std::fs::metadata(path).map_or(0, |meta| meta.len()) >= SMALL {
        return Ok(());
    }
    let word: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(store_error)?;
    if word == "ok" { Ok(()) } else { Err(StoreError::Corrupt(word)) }
}

/// Makes further connections to the same file.
struct SqliteEngine {
    path: PathBuf,
    cache_kib: u32,
}

impl Engine for SqliteEngine {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        let connection = connect(&self.path)?;
        pragmas(&connection, self.cache_kib)?;
        Ok(Box::new(SqliteConnection::new(connection)?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let connection = connect(&self.path)?;
        pragmas(&connection, self.cache_kib / 4)?;
        connection.execute_batch("PRAGMA query_only = ON;").map_err(store_error)?;
        Ok(Box::new(SqliteConnection::new(connection)?))
    }
}

/// Only the owner may read what this process creates; for the callers that start a process.
pub fn private_umask() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}
