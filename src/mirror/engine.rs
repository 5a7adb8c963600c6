//! The boundary between command logic and a database engine: a small synchronous set of primitives.
//!
//! Commands are written once, in SQL that SQLite and PostgreSQL both read (`?1` placeholders, `ON CONFLICT`, no
//! engine's own functions); where the two differ a command asks [`Sql::flavor`]. Engines run on their own threads.
//! Nothing here knows of resources, change logs or SCIM.

use std::fmt;

/// One bound parameter.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// SQL NULL.
    Null,
    /// A 64-bit integer; booleans are 0 and 1, times microseconds.
    Int(i64),
    /// A floating-point number, for filters over decimal attributes.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> Param<'a> {
    /// Text, or NULL.
    pub fn opt_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    /// An integer, or NULL.
    pub fn opt_int(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }

    /// Bytes, or NULL.
    pub fn opt_blob(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Null, Self::Blob)
    }
}

/// Which engine runs the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Embedded SQLite.
    Sqlite,
}

/// One row of an answer, columns counted from 0. A column of another type than asked for is [`StoreError::Bug`].
pub trait Row {
    /// A non-null integer.
    fn int(&self, column: usize) -> Result<i64, StoreError>;
    /// An integer or NULL.
    fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError>;
    /// Non-null text.
    fn text(&self, column: usize) -> Result<&str, StoreError>;
    /// Text or NULL.
    fn opt_text(&self, column: usize) -> Result<Option<&str>, StoreError>;
    /// Non-null bytes.
    fn blob(&self, column: usize) -> Result<&[u8], StoreError>;
    /// Bytes or NULL.
    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, StoreError>;
}

/// What a query calls for each row.
pub type EachRow<'f> = dyn FnMut(&dyn Row) -> Result<(), StoreError> + 'f;

/// Runs statements. Statements are prepared once per connection and kept by their text.
pub trait Sql {
    /// Runs a statement and says how many rows it touched.
    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError>;

    /// Runs a query and hands over its rows one by one. `each` cannot run another statement meanwhile.
    fn query(&mut self, sql: &str, params: &[Param<'_>], each: &mut EachRow<'_>) -> Result<(), StoreError>;

    /// Inserts one row into a table with a generated integer key and returns the key.
    fn insert(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Option<i64>, StoreError>;

    /// The engine behind it.
    fn flavor(&self) -> Flavor;
}

/// The one connection that writes.
pub trait Writer: Sql + Send {
    /// Opens the transaction of a batch and takes the write lock.
    fn begin(&mut self) -> Result<(), StoreError>;
    /// Opens the savepoint of one command.
    fn savepoint(&mut self) -> Result<(), StoreError>;
    /// Keeps what the command did.
    fn release(&mut self) -> Result<(), StoreError>;
    /// Undoes what the command did.
    fn rollback_to(&mut self) -> Result<(), StoreError>;
    /// Makes the batch durable. An I/O error here leaves the outcome unknown.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Drops the batch; harmless when no transaction is open.
    fn rollback(&mut self);
    /// The error for which the engine itself has dropped the transaction, as SQLite may on a full disk; `None`
    /// while the transaction stands.
    fn lost(&self) -> Option<StoreError>;
    /// Leaves the files tidy before the end: folds the write-ahead log back.
    fn close(&mut self) -> Result<(), StoreError>;
}

/// One connection that only reads.
pub trait Reader: Sql + Send {
    /// Starts a snapshot: all reads until [`Reader::end`] see the same state.
    fn begin(&mut self) -> Result<(), StoreError>;
    /// Ends the snapshot; harmless when none is open.
    fn end(&mut self);
}

/// Makes connections.
pub trait Engine: Send + Sync {
    /// The writing connection; asked for once.
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;
    /// One more reading connection.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// What a caller does about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later.
    Transient,
    /// A person must act.
    NeedsOperator,
    /// A defect of rosterd.
    Bug,
}

/// Why the store could not do it. Client faults are not here; they are `scim::error::Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// Another process holds the write lock for longer than the busy timeout.
    Busy,
    /// The disk is full; the transaction was rolled back and the store heals by itself.
    Full,
    /// The disk or file system refuses writes; rolled back, heals by itself.
    ReadOnly,
    /// An I/O error. From a commit the outcome is unknown: the process must end with 74 and start again.
    Io(String),
    /// The file is damaged or is no database.
    Corrupt(String),
    /// The file was written by a newer version.
    Newer {
        /// Schema version in the file.
        found: i64,
        /// Newest schema version known here.
        known: i64,
    },
    /// The file is a database of another program.
    NotOurs(i64),
    /// Another instance holds `rosterd.lock`.
    Locked,
    /// The mirror was closed.
    Closed,
    /// Too many commands are waiting for the writer.
    Overloaded,
    /// The file or its folder cannot be opened.
    Open(String),
    /// A defect: a panic in a command, a wrong column type, SQL the engine refuses.
    Bug(String),
}

impl StoreError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy | Self::Full | Self::ReadOnly | Self::Overloaded | Self::Locked | Self::Closed => {
                ErrorKind::Transient
            }
            Self::Io(_) | Self::Corrupt(_) | Self::Newer { .. } | Self::NotOurs(_) | Self::Open(_) => {
                ErrorKind::NeedsOperator
            }
            Self::Bug(_) => ErrorKind::Bug,
        }
    }

    /// What a person can do about it; empty where nothing helps but waiting.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Busy => "find the other process that writes to the mirror: `fuser mirror.db`",
            Self::Full => "free disk space; writes resume by themselves",
            Self::ReadOnly => "make the state directory writable; writes resume by themselves",
            Self::Io(_) => "check the disk (`dmesg`); the daemon restarts and reads the outcome from the log",
            Self::Corrupt(_) => "keep the file and run `rosterd restore FILE` with the newest backup",
            Self::Newer { .. } => {
                "install the newer rosterd again, or `rosterd restore FILE` an older backup"
            }
            Self::NotOurs(_) => "check `[mirror] path`; it names another program's database",
            Self::Locked => "another rosterd runs on this state directory; stop it or talk to it",
            Self::Open(_) => "check that the state directory exists and belongs to the daemon's user",
            Self::Closed | Self::Overloaded | Self::Bug(_) => "",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the mirror is locked by another process"),
            Self::Full => f.write_str("the disk of the mirror is full"),
            Self::ReadOnly => f.write_str("the mirror cannot be written"),
            Self::Io(what) => write!(f, "i/o error on the mirror: {what}"),
            Self::Corrupt(what) => write!(f, "the mirror is damaged: {what}"),
            Self::Newer { found, known } => {
                write!(f, "the mirror has schema {found}, this rosterd knows up to {known}")
            }
            Self::NotOurs(id) => write!(f, "the file is not a rosterd mirror (application id {id})"),
            Self::Locked => f.write_str("another instance holds the lock of the state directory"),
            Self::Closed => f.write_str("the mirror is closed"),
            Self::Overloaded => f.write_str("too many writes are waiting"),
            Self::Open(what) => write!(f, "cannot open the mirror: {what}"),
            Self::Bug(what) => write!(f, "internal error in the mirror: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Bytes of a column as a fixed array.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Bug(format!("a column of {} bytes, wanted {N}", bytes.len())))
}
