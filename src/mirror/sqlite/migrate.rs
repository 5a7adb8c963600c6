//! Numbered migrations, each in one transaction, after a backup of what was there.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::mirror::engine::StoreError;
use crate::model::Timestamp;

use super::connection::store_error;

/// One file per step; step n takes the schema from version n-1 to n.
const STEPS: [&str; 12] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_guard.sql"),
    include_str!("migrations/0003_ownership.sql"),
    include_str!("migrations/0004_unix_id.sql"),
    include_str!("migrations/0005_decisions.sql"),
    include_str!("migrations/0006_retention.sql"),
    include_str!("migrations/0007_delivery.sql"),
    include_str!("migrations/0008_role_group.sql"),
    include_str!("migrations/0009_restored.sql"),
    include_str!("migrations/0010_contact.sql"),
    include_str!("migrations/0011_set_stream.sql"),
    include_str!("migrations/0012_telling.sql"),
];

/// Schema version this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) const NEWEST: i64 = STEPS.len() as i64;

/// Automatic backups kept beside the mirror.
const BACKUPS_KEPT: usize = 3;

/// Brings the schema up to [`NEWEST`].
pub(super) fn run(
    connection: &mut Connection,
    path: &Path,
    fresh: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    run_steps(connection, path, fresh, now, &STEPS)
}

fn run_steps(
    connection: &mut Connection,
    path: &Path,
    fresh: bool,
    now: Timestamp,
    steps: &[&str],
) -> Result<(), StoreError> {
    let found: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(store_error)?;
    let done = usize::try_from(found).unwrap_or(0);
    if done >= steps.len() {
        return Ok(());
    }
    if !fresh && done > 0 {
        backup(connection, path, found, now)?;
    }
    for (n, step) in steps.iter().enumerate().skip(done) {
        let change = connection.transaction().map_err(store_error)?;
        change.execute_batch(step).map_err(store_error)?;
        let version = format!("PRAGMA user_version = {};", n + 1);
        change.execute_batch(&version).map_err(store_error)?;
        change.commit().map_err(store_error)?;
    }
    Ok(())
}

/// Copies the mirror to `<file>.before-<version>-<time>` and drops the oldest such copies.
fn backup(connection: &Connection, path: &Path, version: i64, now: Timestamp) -> Result<(), StoreError> {
    let name = path.file_name().map_or_else(|| "mirror.db".into(), |n| n.to_string_lossy().into_owned());
    let prefix = format!("{name}.before-");
    let copy = path.with_file_name(format!("{prefix}{version:04}-{}", now.0));
    let failed = |e: std::io::Error| StoreError::Open(format!("backup `{}`: {e}", copy.display()));
    super::create_private(&copy)?;
    connection
        .backup(rusqlite::MAIN_DB, &copy, None::<fn(rusqlite::backup::Progress)>)
        .map_err(store_error)?;
    std::fs::File::open(&copy).and_then(|file| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|file| file.sync_all()).map_err(failed)?;
    let mut copies: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(failed)?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    copies.sort();
    let surplus = copies.len().saturating_sub(BACKUPS_KEPT);
    for old in copies.into_iter().take(surplus) {
        // An old copy that cannot be removed costs disk space, not safety.
        let _ = std::fs::remove_file(old);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUTURE: [&str; 2] = [STEPS[0], "CREATE TABLE later (x INTEGER) STRICT;"];

    fn backups(folder: &Path) -> Vec<String> {
        let entries =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.filter(|name| name.contains(".before-")).collect();
        names.sort();
        names
    }

    #[test]
    fn an_existing_file_is_backed_up_before_it_is_migrated_and_three_copies_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.db");
        let mut connection = Connection::open(&path).unwrap();
        run(&mut connection, &path, true, Timestamp(1)).unwrap();
        assert_eq!(backups(folder.path()), Vec::<String>::new(), "a new file has nothing to lose");
        connection.execute("UPDATE counter SET value = 7 WHERE name = 'seq'", []).unwrap();
        for time in 2..7 {
            connection.execute_batch("PRAGMA user_version = 1; DROP TABLE IF EXISTS later;").unwrap();
            run_steps(&mut connection, &path, false, Timestamp(time), &FUTURE).unwrap();
        }
        let wanted = [4, 5, 6].map(|time| format!("mirror.db.before-0001-{time}"));
        assert_eq!(backups(folder.path()), wanted);
        let copy = Connection::open(folder.path().join(&wanted[2])).unwrap();
        let seq: i64 =
            copy.query_row("SELECT value FROM counter WHERE name = 'seq'", [], |row| row.get(0)).unwrap();
        assert_eq!(seq, 7);
        assert!(copy.prepare("SELECT x FROM later").is_err());
    }

    #[test]
    fn what_was_told_before_there_were_turns_was_told_in_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.db");
        let mut connection = Connection::open(&path).unwrap();
        run_steps(&mut connection, &path, true, Timestamp(1), &STEPS[..11]).unwrap();
        let row = "INSERT INTO delivery (target, epoch, seq, n, kind, body, content_type, headers, happened_at, state, \
                   attempts, created_at, next_at) VALUES ('app', 1, 7, 0, 'user.created', x'7b7d', 'application/json', \
                   '[]', 1, 'pending', 0, 1, 1)";
        connection.execute(row, []).unwrap();
        run(&mut connection, &path, false, Timestamp(2)).unwrap();
        let turn: i64 = connection.query_row("SELECT turn FROM delivery", [], |row| row.get(0)).unwrap();
        assert_eq!(turn, 7);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_it_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.db");
        let mut connection = Connection::open(&path).unwrap();
        run(&mut connection, &path, true, Timestamp(1)).unwrap();
        let broken =
            [STEPS.as_slice(), &["CREATE TABLE later (x INTEGER) STRICT; SELECT nonsense;"]].concat();
        run_steps(&mut connection, &path, false, Timestamp(2), &broken).unwrap_err();
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, NEWEST);
        assert!(connection.prepare("SELECT x FROM later").is_err());
    }
}
