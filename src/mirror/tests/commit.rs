use std::sync::Arc;
use std::sync::mpsc::channel;

use rusqlite::Connection;

use super::super::{Error, StoreError, WriteTx, resource};
use super::{Store, open, origin, status, user};
use crate::model::{ManualClock, ResourceType};

/// Holds the writer inside a command until `n` more wait, so that they ride in one batch.
fn blocked(store: &Store) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<Result<(), Error>>) {
    let (go, wait) = channel();
    let (started, running) = channel();
    let mirror = store.mirror.clone();
    let thread = std::thread::spawn(move || {
        mirror.write_blocking(origin(), move |_: &mut WriteTx<'_>| {
            started.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        })
    });
    running.recv().unwrap();
    (go, thread)
}

#[test]
fn writes_that_wait_together_share_a_commit_and_are_all_durable() {
    let store = Store::new();
    let (go, holder) = blocked(&store);
    let before = store.mirror.counters().commits();
    let acme = store.acme.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut waiting = Vec::new();
        for n in 0..40 {
            let acme = acme.clone();
            let write = store.mirror.inner.writer.submit::<_, Error, _>(origin(), move |tx| {
                resource::create(tx, &acme, ResourceType::User, user(&format!("u{n}")))
            });
            waiting.push(write.unwrap());
        }
        go.send(()).unwrap();
        for answer in waiting {
            answer.await.unwrap().unwrap();
        }
    });
    holder.join().unwrap().unwrap();
    let commits = store.mirror.counters().commits() - before;
    assert!(commits <= 3, "{commits} commits for 41 commands");
    let Store { folder, mirror, clock, .. } = store;
    drop(mirror);
    let again = open(folder.path(), &clock).unwrap();
    let users: Result<_, Error> = again.read(|tx| Ok(super::super::directory::list(tx)?));
    assert_eq!(users.unwrap()[0].users, 40);
    assert_eq!(again.changes().borrow().0, 41);
}

#[test]
fn a_failing_command_in_a_batch_rolls_back_alone() {
    let store = Store::new();
    let (go, holder) = blocked(&store);
    let submit = |name: &'static str, fate: u8| {
        let acme = store.acme.clone();
        let write = store.mirror.inner.writer.submit::<_, Error, _>(origin(), move |tx| {
            let made = resource::create(tx, &acme, ResourceType::User, user(name))?;
            match fate {
                0 => Ok(made),
                1 => Err(crate::scim::error::Error::invalid_value("no").into()),
                _ => panic!("a defect"),
            }
        });
        write.unwrap()
    };
    let answers = [submit("a", 0), submit("b", 1), submit("c", 2), submit("d", 0), submit("d", 0)];
    go.send(()).unwrap();
    holder.join().unwrap().unwrap();
    let [a, b, c, d, twice] = answers.map(|answer| answer.blocking_recv().unwrap());
    assert!(a.is_ok() && d.is_ok());
    assert_eq!(status(&b.unwrap_err()), (400, Some("invalidValue")));
    assert!(matches!(c.unwrap_err(), Error::Store(StoreError::Bug(text)) if text == "a defect"));
    assert_eq!(status(&twice.unwrap_err()), (409, Some("uniqueness")));
    assert_eq!(store.seq(), 3, "the directory and two users, without a gap");
    let report = store.read(|tx| Ok(super::super::verify::verify(tx)?));
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.resources, 2);
}

#[test]
fn a_second_instance_is_refused_until_the_first_has_closed() {
    let store = Store::new();
    assert_eq!(open(store.folder.path(), &store.clock).unwrap_err(), StoreError::Locked);
    let Store { folder, mirror, clock, .. } = store;
    mirror.close();
    open(folder.path(), &clock).unwrap();
}

#[test]
fn a_newer_schema_and_a_foreign_file_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(super::START));
    open(folder.path(), &clock).unwrap().close();
    let path = folder.path().join("mirror.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(open(folder.path(), &clock).unwrap_err(), StoreError::Newer { found: 99, .. }));
    Connection::open(&path).unwrap().execute_batch("PRAGMA application_id = 7").unwrap();
    assert_eq!(open(folder.path(), &clock).unwrap_err(), StoreError::NotOurs(7));
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert!(matches!(open(folder.path(), &clock).unwrap_err(), StoreError::Corrupt(_)));
}

#[test]
fn a_command_that_changes_nothing_makes_no_change() {
    let store = Store::new();
    let mira = store.user("mira");
    let seq = store.seq();
    let same = store.set(&mira, "displayName", "D mira".into()).unwrap();
    assert_eq!(same, mira);
    assert_eq!(store.seq(), seq);
}

#[test]
fn readers_do_not_see_what_is_not_committed_and_do_not_block() {
    let store = Store::new();
    let (go, holder) = blocked(&store);
    let directories = store.read(|tx| Ok(super::super::directory::list(tx)?));
    assert_eq!(directories.len(), 1);
    go.send(()).unwrap();
    holder.join().unwrap().unwrap();
}

#[test]
fn a_full_queue_is_overloaded_not_unbounded() {
    let store = Store::new();
    let (go, holder) = blocked(&store);
    let mut refused = None;
    let mut waiting = Vec::new();
    for _ in 0..1_100 {
        match store.mirror.inner.writer.submit::<(), StoreError, _>(origin(), |_| Ok(())) {
            Ok(answer) => waiting.push(answer),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(refused, Some(StoreError::Overloaded));
    assert_eq!(waiting.len(), 1_024);
    go.send(()).unwrap();
    for answer in waiting {
        answer.blocking_recv().unwrap().unwrap();
    }
    holder.join().unwrap().unwrap();
}

#[test]
fn a_closed_mirror_says_so() {
    let store = Store::new();
    let second = store.mirror.clone();
    store.mirror.close();
    let answer: Result<(), StoreError> = second.write_blocking(origin(), |_| Ok(()));
    assert_eq!(answer, Err(StoreError::Closed));
}

/// Bounds the file's pages as a full disk would, or lifts the bound.
fn bound_pages(store: &Store, pages: u32) {
    let set: Result<(), StoreError> = store.mirror.write_blocking(origin(), move |tx| {
        tx.query(&format!("PRAGMA max_page_count = {pages}"), &[], &mut |_| Ok(()))
    });
    set.unwrap();
}

#[test]
fn a_full_disk_refuses_writes_whole_and_heals_by_itself() {
    let store = Store::new();
    store.user("mira");
    bound_pages(&store, 1);
    let fill = |n: u32| {
        let mut draft = user(&format!("fill{n}"));
        draft.doc.insert("pad".into(), "x".repeat(100_000).into());
        store.write(move |tx, acme| resource::create(tx, acme, ResourceType::User, draft))
    };
    let refused = fill(0).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Full)), "{refused:?}");
    let seq = store.seq();
    store.read(|tx| Ok(super::super::directory::list(tx)?));
    assert!(store.mirror.failed().borrow().is_none());
    bound_pages(&store, 1_000_000);
    fill(0).unwrap();
    assert_eq!(store.seq(), seq + 1);
    let report = store.read(|tx| Ok(super::super::verify::verify(tx)?));
    assert_eq!(report.faults, Vec::<String>::new());
}
