//! One SQLite connection behind the engine's primitives, and SQLite's result codes as [`StoreError`].

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql};

use crate::mirror::engine::{EachRow, Flavor, Param, Reader, Row, Sql, StoreError, Writer};

/// Statements kept prepared per connection: all fixed texts and a good number of filters.
const STATEMENTS: usize = 192;

pub(super) struct SqliteConnection {
    connection: Connection,
    /// The last error of a statement, for when SQLite has dropped the transaction by it.
    failed: Option<StoreError>,
}

impl SqliteConnection {
    pub(super) fn new(connection: Connection) -> Result<Self, StoreError> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        super::functions::register(&connection).map_err(store_error)?;
        Ok(Self { connection, failed: None })
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        statement.raw_execute().map(|_| ()).map_err(store_error)
    }

    fn bound(&self, sql: &str, params: &[Param<'_>]) -> Result<CachedStatement<'_>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        for (n, param) in params.iter().enumerate() {
            statement.raw_bind_parameter(n + 1, Bound(param)).map_err(store_error)?;
        }
        Ok(statement)
    }
}

struct Bound<'a>(&'a Param<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match *self.0 {
            Param::Null => ToSqlOutput::Owned(Value::Null),
            Param::Int(value) => ToSqlOutput::Owned(Value::Integer(value)),
            Param::Real(value) => ToSqlOutput::Owned(Value::Real(value)),
            Param::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Param::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl Sql for SqliteConnection {
    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let done = self.bound(sql, params).and_then(|mut s| s.raw_execute().map_err(store_error));
        self.failed = done.as_ref().err().cloned();
        done.map(|touched| u64::try_from(touched).unwrap_or(u64::MAX))
    }

    fn query(&mut self, sql: &str, params: &[Param<'_>], each: &mut EachRow<'_>) -> Result<(), StoreError> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(store_error)? {
            each(&SqliteRow(row))?;
        }
        Ok(())
    }

    fn insert(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<i64>, StoreError> {
        let touched = self.execute(sql, params)?;
        Ok((touched > 0).then(|| self.connection.last_insert_rowid()))
    }

    fn flavor(&self) -> Flavor {
        Flavor::Sqlite
    }
}

impl Writer for SqliteConnection {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN IMMEDIATE")
    }

    fn savepoint(&mut self) -> Result<(), StoreError> {
        self.run("SAVEPOINT command")
    }

    fn release(&mut self) -> Result<(), StoreError> {
        self.run("RELEASE command")
    }

    fn rollback_to(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO command")
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.run("COMMIT")
    }

    fn rollback(&mut self) {
        if !self.connection.is_autocommit() {
            // A rollback that fails leaves the transaction to the next `begin`, which then reports it.
            let _ = self.run("ROLLBACK");
        }
    }

    fn lost(&self) -> Option<StoreError> {
        let dropped = self.connection.is_autocommit();
        dropped
            .then(|| self.failed.clone().unwrap_or_else(|| StoreError::Bug("no transaction is open".into())))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").map_err(store_error)
    }
}

impl Reader for SqliteConnection {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN DEFERRED")
    }

    fn end(&mut self) {
        // There is nothing to undo, and a commit is the cheaper way out of a snapshot.
        if !self.connection.is_autocommit() && self.run("COMMIT").is_err() {
            Writer::rollback(self);
        }
    }
}

struct SqliteRow<'a>(&'a rusqlite::Row<'a>);

impl SqliteRow<'_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>, StoreError> {
        self.0.get_ref(column).map_err(store_error)
    }
}

fn wrong(column: usize, wanted: &str) -> StoreError {
    StoreError::Bug(format!("column {column} is not {wanted}"))
}

impl Row for SqliteRow<'_> {
    fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| wrong(column, "an integer"))
    }

    fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.value(column)? {
            ValueRef::Integer(value) => Ok(Some(value)),
            ValueRef::Null => Ok(None),
            _ => Err(wrong(column, "an integer")),
        }
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.opt_text(column)?.ok_or_else(|| wrong(column, "text"))
    }

    fn opt_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.value(column)? {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| wrong(column, "UTF-8")),
            ValueRef::Null => Ok(None),
            _ => Err(wrong(column, "text")),
        }
    }

    fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        self.opt_blob(column)?.ok_or_else(|| wrong(column, "bytes"))
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.value(column)? {
            ValueRef::Blob(bytes) => Ok(Some(bytes)),
            ValueRef::Null => Ok(None),
            _ => Err(wrong(column, "bytes")),
        }
    }
}

/// SQLite's result code as what the rest of the program treats differently.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
pub(super) fn store_error(error: rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(code, text) = &error else {
        return StoreError::Bug(error.to_string());
    };
    let what = text.clone().unwrap_or_else(|| code.to_string());
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy,
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly => StoreError::ReadOnly,
        ErrorCode::SystemIoFailure => StoreError::Io(what),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(what),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => StoreError::Open(what),
        _ => StoreError::Bug(what),
    }
}
