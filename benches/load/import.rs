//! How long a revocation over SCIM takes while a file is moved in, and how long the moving in takes, against bare inserts
//! of as many rows by the same engine in the same run.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{Load, Outcome, Request};
use super::daemon::{Daemon, state_base};
use super::report::Report;
use super::scaled;

/// People of the two files.
const PEOPLE: [usize; 2] = [20_000, 100_000];
/// One group for so many people, and so many members in each: five memberships to a person.
const PER_GROUP: usize = 50;
const MEMBERS: usize = 250;
/// Users there before, each of whom is deactivated once.
const LEAVERS: usize = 4_000;
/// Between two revocations.
const PACE: Duration = Duration::from_millis(5);

pub async fn measure(report: &mut Report) {
    for full in PEOPLE {
        let people = scaled(full, 1_000);
        let daemon = Daemon::start();
        let leavers = daemon.create_users("leaver", 0, LEAVERS).await;
        let alone = revoke(&daemon, &leavers[..LEAVERS / 4], || false).await;
        report.latency("revocation, alone", &alone);
        let file = daemon.state().join("people.jsonl");
        let memberships = write(&file, people);
        let (beside, took) = import(&daemon, &file, &leavers[LEAVERS / 4..]).await;
        report.latency(&format!("the same while {people} people are moved in"), &beside);
        report.note(&format!(
            "  longest of {} revocations: {:.1} ms; moving in {people} people and {memberships} memberships took {:.2} s from \
             start of the command to its end",
            beside.latencies_us.len(),
            beside.quantile_us(1.0) / 1e3,
            took.as_secs_f64(),
        ));
        let bare = inserts(people, memberships);
        report.note(&format!(
            "  bare inserts of {people} documents and {memberships} pairs, in transactions of 200: {:.2} s, ratio {:.1}",
            bare.as_secs_f64(),
            took.as_secs_f64() / bare.as_secs_f64(),
        ));
    }
}

/// People with groups, as JSON Lines; answers how many memberships.
fn write(file: &Path, people: usize) -> usize {
    let mut text = String::new();
    for n in 0..people {
        text.push_str(&format!(
            r#"{{"userName":"user{n}@example.com","externalId":"e-{n}","displayName":"User {n}","name":{{"givenName":"User","familyName":"N{n}"}},"emails":[{{"value":"user{n}@example.com","type":"work","primary":true}}],"active":true}}"#
        ));
        text.push('\n');
    }
    let groups = people / PER_GROUP;
    for g in 0..groups {
        let members: Vec<String> =
            (0..MEMBERS).map(|m| format!(r#"{{"value":"e-{}"}}"#, (g * PER_GROUP + m) % people)).collect();
        text.push_str(&format!(r#"{{"displayName":"G{g}","members":[{}]}}"#, members.join(",")));
        text.push('\n');
    }
    std::fs::write(file, text).unwrap();
    groups * MEMBERS
}

/// Deactivates one after the other until they are all done or `is_over`.
async fn revoke(daemon: &Daemon, ids: &[String], mut is_over: impl FnMut() -> bool) -> Outcome {
    let (load, token) = (Load::new(daemon.address(), 1), daemon.token());
    let body = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"active","value":false}]}"#;
    let mut out = Outcome::default();
    for id in ids {
        if is_over() {
            break;
        }
        let path = format!("/scim/v2/Users/{id}");
        let one = load.run(1, |_| Request::patch(&path, &token, body.to_owned())).await;
        one.expect_success();
        out.merge(one);
        tokio::time::sleep(PACE).await;
    }
    out
}

/// Runs the command, and revokes meanwhile.
async fn import(daemon: &Daemon, file: &Path, ids: &[String]) -> (Outcome, Duration) {
    let began = Instant::now();
    let mut command = Command::new(daemon.binary())
        .args(["import", "--directory", "bench", "--yes", "--quiet", "--config"])
        .arg(daemon.config())
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut took = None;
    let out = revoke(daemon, ids, || {
        let ended = command.try_wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success());
            took = Some(began.elapsed());
        }
        ended.is_some()
    })
    .await;
    let took = took.unwrap_or_else(|| {
        assert!(command.wait().unwrap().success());
        began.elapsed()
    });
    let last = BufReader::new(command.stdout.take().unwrap()).lines().last();
    assert!(last.is_some_and(|line| line.unwrap().contains("rosterd")), "the command told what it did");
    (out, took)
}

/// As many rows, with the indexes that look-ups need, and nothing else.
fn inserts(people: usize, memberships: usize) -> Duration {
    let folder = tempfile::tempdir_in(state_base()).unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("bare.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768;
             CREATE TABLE row(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, doc TEXT) STRICT;
             CREATE UNIQUE INDEX row_a ON row(a); CREATE INDEX row_b ON row(b); CREATE INDEX row_c ON row(c);
             CREATE TABLE pair(a INTEGER, b INTEGER, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;
             CREATE INDEX pair_b ON pair(b);",
        )
        .unwrap();
    let doc = "x".repeat(300);
    let began = Instant::now();
    let mut i = 0_u64;
    for from in (0..people).step_by(200) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in from..people.min(from + 200) {
            i += 1;
            let mut insert =
                connection.prepare_cached("INSERT INTO row(a, b, c, doc) VALUES (?1, ?2, ?3, ?4)").unwrap();
            let random = format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            insert.execute((random, format!("b{i}"), format!("c{i}"), &doc)).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    for from in (0..memberships).step_by(200) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for n in from..memberships.min(from + 200) {
            let (group, member) = (n / MEMBERS, (n / MEMBERS * PER_GROUP + n % MEMBERS) % people);
            let mut insert = connection.prepare_cached("INSERT INTO pair(a, b) VALUES (?1, ?2)").unwrap();
            insert.execute((group as i64, member as i64)).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    began.elapsed()
}
