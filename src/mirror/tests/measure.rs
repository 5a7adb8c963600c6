//! Micro measurements, not tests: `cargo test --release --lib measure -- --ignored --nocapture --test-threads=1`.

use std::time::Instant;

use rusqlite::Connection;

use super::super::engine::Param;
use super::super::{Error, Mirror, member, query, resource};
use super::{Store, origin, reference, user};
use crate::model::ResourceType;
use crate::scim::patch::MemberEdit;

#[test]
#[ignore = "a measurement"]
fn creates_per_second() {
    for connections in [1, 16, 64] {
        let store = Store::new();
        let began = std::time::Instant::now();
        let per = 32_000 / connections.max(8);
        let threads: Vec<_> = (0..connections)
            .map(|c| {
                let (mirror, acme) = (store.mirror.clone(), store.acme.clone());
                std::thread::spawn(move || creates(&mirror, &acme, c, per))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let took = began.elapsed();
        let counters = store.mirror.counters();
        println!(
            "C={connections}: {:.0} creates/s, {} commits, {:?} in commits of {took:?}, sizes {:?}",
            f64::from(per * connections) / took.as_secs_f64(),
            counters.commits(),
            counters.commit_time(),
            counters.batch_sizes()
        );
    }
}

fn creates(mirror: &Mirror, acme: &super::DirectoryRef, c: u32, per: u32) {
    for n in 0..per {
        let mut draft = user(&format!("{:x}-{c}", n.wrapping_mul(2_654_435_761)));
        draft.doc.insert("pad".into(), "x".repeat(450).into());
        let acme = acme.clone();
        let made: Result<_, Error> =
            mirror.write_blocking(origin(), move |tx| resource::create(tx, &acme, ResourceType::User, draft));
        made.unwrap();
    }
}

/// The limit: one 700-byte row with three indexes, 64 to a commit, with the same pragmas.
#[test]
#[ignore = "a measurement"]
fn bare_rows_per_second() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("bare.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;
             CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, doc TEXT) STRICT;
             CREATE UNIQUE INDEX t_a ON t (a); CREATE INDEX t_b ON t (b); CREATE INDEX t_c ON t (c);",
        )
        .unwrap();
    for batch in [1_u32, 16, 32, 64] {
        let (began, rows) = (Instant::now(), 32_000_u32.min(batch * 1_000));
        for n in (0..rows).step_by(batch as usize) {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            for n in n..n + batch {
                let key = format!("{:x}-{batch}", n.wrapping_mul(2_654_435_761));
                let mut insert = connection
                    .prepare_cached("INSERT INTO t (a, b, c, doc) VALUES (?1, ?1, ?1, ?2)")
                    .unwrap();
                insert.execute((key, "x".repeat(650))).unwrap();
            }
            connection.execute_batch("COMMIT").unwrap();
        }
        println!("bare, batch {batch}: {:.0} rows/s", f64::from(rows) / began.elapsed().as_secs_f64());
    }
}

#[test]
#[ignore = "a measurement"]
fn members_and_reads() {
    let store = Store::new();
    let users: Vec<_> = (0..50_000).map(|n| quick_user(&store, n)).collect();
    for size in [10, 50_000] {
        let group = store.group(&format!("g{size}"), &users.iter().take(size).collect::<Vec<_>>());
        let mut times = Vec::new();
        for _ in 0..500 {
            let one = &users[size / 2];
            for edit in [MemberEdit::Remove(vec![one.id.to_string()]), MemberEdit::Add(vec![reference(one)])]
            {
                let began = Instant::now();
                store.edit_members(&group, vec![edit]).unwrap();
                times.push(began.elapsed());
            }
        }
        times.sort();
        println!("one member of {size}: p50 {:?}, p99 {:?}", times[500], times[990]);
        let began = Instant::now();
        let members = store.read(|tx| Ok(member::members(tx, &store.acme, &group)?));
        println!("reading {} members: {:?}", members.len(), began.elapsed());
    }
    let began = Instant::now();
    for n in 0..100_000 {
        let found = &users[n * 7_919 % users.len()];
        store.read(|tx| Ok(resource::find(tx, &store.acme, ResourceType::User, &found.id)?)).unwrap();
    }
    println!("get by id: {:?} each", began.elapsed() / 100_000);
    let mut reader = store.mirror.inner.readers.take().unwrap();
    let began = Instant::now();
    for n in 0..100_000 {
        let found = &users[n * 7_919 % users.len()];
        let sql = "SELECT r.rid, r.id, r.type, r.doc, r.version, r.created_at, r.modified_at, r.members \
                   FROM resource r WHERE r.id = ?1 AND r.dir = ?2 AND r.type = ?3";
        let params = [Param::Blob(found.id.as_bytes()), Param::Int(store.acme.key), Param::Int(1)];
        let mut stored = None;
        let mut each = |row: &dyn super::super::engine::Row| {
            stored = Some(resource::stored_of(row)?);
            Ok(())
        };
        reader.connection().unwrap().query(sql, &params, &mut each).unwrap();
        assert!(stored.is_some());
    }
    println!("get by id without a snapshot around it: {:?} each", began.elapsed() / 100_000);
    let began = Instant::now();
    for n in 0..20_000 {
        let text = format!("userName eq \"U{}\"", n * 7_919 % users.len());
        let filter = super::filters::bound(&text, ResourceType::User);
        let window = query::Window::Index { skip: 0, count: 100 };
        let page = store
            .read(|tx| Ok(query::list(tx, &store.acme, ResourceType::User, Some(&filter), None, window)?));
        assert_eq!(page.total, 1);
    }
    println!("userName eq: {:?} each", began.elapsed() / 20_000);
    let began = Instant::now();
    let report = store.read(|tx| Ok(super::super::verify::verify(tx)?));
    println!("verify of {} changes: {:?}, faults {:?}", report.changes, began.elapsed(), report.faults);
    let began = Instant::now();
    let facts = store.read(|tx| Ok(super::super::facts::load(tx, &[])?));
    println!("facts of {} users: {:?}", facts.directories[0].users.len(), began.elapsed());
}

fn quick_user(store: &Store, n: u32) -> super::Stored {
    let mut draft = user(&format!("u{n}"));
    draft.doc.insert("pad".into(), "x".repeat(450).into());
    store.write(move |tx, acme| resource::create(tx, acme, ResourceType::User, draft)).unwrap()
}
