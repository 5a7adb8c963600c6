//! Foundation figures: the release daemon over loopback HTTP with durable settings, beside its ceilings measured
//! in the same run. `cargo bench --bench load` prints a table and writes `target/load.json`.
//!
//! Ceilings, each a process of its own like the daemon: *hyper*, which answers a fixed 700-byte body and does
//! nothing else; and *hyper + writer*, which also waits for a group commit of one 700-byte row with three indexes
//! (WAL, `synchronous=FULL`). Figures are quoted as ratios to them, since absolute ones say more about the machine;
//! each is taken in turn with its ceiling, slice by slice, so that a drift of the machine's speed meets both alike.
//!
//! `LOAD_SCALE=0.1` shortens every phase; `LOAD_ONLY=creates,reads` runs these parts alone (with the ceilings; the
//! others are `syncs`, `lost`, `deliver`, `import`); `LOAD_JSON=FILE` changes where the JSON goes; `LOAD_BINARY=FILE` measures
//! another build of the daemon.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::string_slice,
    reason = "a measuring program, not product code: it may stop at the first surprise"
)]

mod ceilings;
mod client;
mod daemon;
mod deliver;
mod import;
mod report;

use std::sync::atomic::{AtomicU64, Ordering};

use client::{Load, Outcome, Request};
use daemon::Daemon;
use report::Report;

const CONNECTIONS: [usize; 3] = [1, 16, 64];

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    match args.next().as_deref() {
        Some("serve-hyper") => return ceilings::serve_hyper(),
        Some("serve-writer") => return ceilings::serve_writer(args.next().expect("database path").as_ref()),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run());
}

/// A share of the full number of requests, never fewer than `least`.
fn scaled(full: usize, least: usize) -> usize {
    let scale: f64 = std::env::var("LOAD_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    ((full as f64 * scale) as usize).max(least)
}

async fn run() {
    let mut report = Report::new();
    let ceilings = Ceilings::start();
    // What an event or an import takes has no ceiling here.
    if std::env::var("LOAD_ONLY").map_or(true, |parts| parts != "deliver" && parts != "import") {
        measure_ceilings(&mut report, &ceilings).await;
    }
    if is_asked("creates") {
        measure_creates(&mut report, &ceilings).await;
    }
    if is_asked("syncs") {
        measure_syncs(&mut report).await;
    }
    if is_asked("reads") {
        measure_reads_and_growth(&mut report, &ceilings).await;
    }
    if is_asked("lost") {
        measure_lost_updates(&mut report).await;
    }
    if is_asked("deliver") {
        deliver::measure(&mut report).await;
    }
    if is_asked("import") {
        import::measure(&mut report).await;
    }
    report.finish();
}

fn is_asked(part: &str) -> bool {
    std::env::var("LOAD_ONLY").map_or(true, |parts| parts.split(',').any(|one| one == part))
}

/// Both ceilings, kept running so that each figure can be taken beside its own.
struct Ceilings {
    hyper: ceilings::Child,
    writer: ceilings::Child,
    _database: tempfile::TempDir,
}

impl Ceilings {
    fn start() -> Self {
        let database = tempfile::tempdir_in(daemon::state_base()).unwrap();
        let hyper = ceilings::Child::start("serve-hyper", None);
        let writer = ceilings::Child::start("serve-writer", Some(&database.path().join("ceiling.db")));
        Self { hyper, writer, _database: database }
    }
}

/// Requests of the two ceilings.
fn bare(_: usize) -> Request {
    Request::get("/scim/v2/Users/x", "")
}

fn written(i: usize) -> Request {
    Request::post("/scim/v2/Users", "", client::user_body("ceiling", i))
}

/// Slices that a figure and its ceiling are taken in.
const SLICES: usize = 5;

/// Runs `n` requests each of a ceiling and of ours, in turn.
async fn in_turn(
    ceiling: &Load,
    at_best: fn(usize) -> Request,
    ours: &Load,
    make: impl Fn(usize) -> Request,
    n: usize,
) -> (Outcome, Outcome) {
    let (mut best, mut out) = (Outcome::default(), Outcome::default());
    let per = n / SLICES;
    for slice in 0..SLICES {
        best.merge(ceiling.run(per, at_best).await);
        out.merge(ours.run(per, |i| make(slice * per + i)).await);
    }
    (best, out)
}

async fn measure_ceilings(report: &mut Report, ceilings: &Ceilings) {
    for c in CONNECTIONS {
        let n = scaled(if c == 1 { 20_000 } else { 100_000 }, 2_000);
        let out = Load::new(ceilings.hyper.address(), c).run(n, bare).await;
        report.rate("ceiling: bare hyper", c, &out, None);
    }
    for c in CONNECTIONS {
        let n = scaled(if c == 1 { 6_000 } else { 40_000 }, 1_000);
        let out = Load::new(ceilings.writer.address(), c).run(n, written).await;
        report.rate("ceiling: hyper + writer", c, &out, None);
    }
}

async fn measure_creates(report: &mut Report, ceilings: &Ceilings) {
    for c in CONNECTIONS {
        let daemon = Daemon::start();
        let (load, ceiling) = (Load::new(daemon.address(), c), Load::new(ceilings.writer.address(), c));
        let token = daemon.token();
        let n = scaled(if c == 1 { 6_000 } else { 30_000 }, 1_000);
        let make = |i| Request::post("/scim/v2/Users", &token, client::user_body("create", i));
        let (best, out) = in_turn(&ceiling, written, &load, make, n).await;
        out.expect_status(201);
        report.rate("create user", c, &out, Some(&best));
    }
}

/// Counts fsync and fdatasync calls of the daemon while users are created at C=64.
async fn measure_syncs(report: &mut Report) {
    let daemon = Daemon::start();
    let token = daemon.token();
    let load = Load::new(daemon.address(), 64);
    let warm = load.run(500, |i| Request::post("/scim/v2/Users", &token, client::user_body("warm", i))).await;
    warm.expect_status(201);
    let Some(count) = daemon.trace_syncs() else {
        report.note("syncs per create: strace is not installed or may not attach; not measured");
        return;
    };
    let n = scaled(20_000, 2_000);
    let out = load.run(n, |i| Request::post("/scim/v2/Users", &token, client::user_body("sync", i))).await;
    out.expect_status(201);
    let syncs = count.finish();
    report.figure(
        "syncs per create at C=64",
        syncs as f64 / n as f64,
        &format!("{syncs} syncs, {n} creates, under strace"),
    );
}

async fn measure_reads_and_growth(report: &mut Report, ceilings: &Ceilings) {
    let daemon = Daemon::start();
    let token = daemon.token();
    let small = scaled(1_000, 1_000);
    let large = scaled(50_000, 5_000);
    let mut ids = daemon.create_users("grow", 0, small).await;

    read_by_id(report, &daemon, ceilings, &ids).await;
    let at_small = look_up(report, &daemon, ceilings, small, "look-up by userName, 1k users").await;
    ids.extend(daemon.create_users("grow", small, large - small).await);
    let at_large = look_up(report, &daemon, ceilings, large, "look-up by userName, 50k users").await;
    report.growth("look-up p50, 50k users : 1k users", &at_large, &at_small);

    let few = daemon.create_group("few", &ids[..10]).await;
    let many = daemon.create_group("many", &ids).await;
    let spare = daemon.create_users("spare", 0, scaled(4_000, 400)).await;
    let rounds = spare.len() / 4;
    // In turn, so that a drift of the machine's speed meets both alike.
    let mut timings = [Outcome::default(), Outcome::default(), Outcome::default(), Outcome::default()];
    let load = Load::new(daemon.address(), 1);
    for block in spare[..rounds].chunks(50) {
        for (which, group) in [&few, &many].into_iter().enumerate() {
            let path = format!("/scim/v2/Groups/{group}");
            let added =
                load.run(block.len(), |i| Request::patch(&path, &token, client::add_member(&block[i]))).await;
            let removed = load
                .run(block.len(), |i| Request::patch(&path, &token, client::remove_member(&block[i])))
                .await;
            added.expect_success();
            removed.expect_success();
            timings[which].merge(added);
            timings[which + 2].merge(removed);
        }
    }
    report.latency("add one member, group of 10", &timings[0]);
    report.latency("add one member, group of 50k", &timings[1]);
    report.latency("remove one member, group of 10", &timings[2]);
    report.latency("remove one member, group of 50k", &timings[3]);
    report.growth("add member p50, 50k : 10", &timings[1], &timings[0]);
    report.growth("remove member p50, 50k : 10", &timings[3], &timings[2]);

    let read = |group: String| {
        let token = token.clone();
        move |_: usize| Request::get(&format!("/scim/v2/Groups/{group}?excludedAttributes=members"), &token)
    };
    let n = scaled(4_000, 400);
    let at_few = load.run(n, read(few)).await;
    let at_many = load.run(n, read(many)).await;
    at_many.expect_status(200);
    report.latency("read group without members, 10", &at_few);
    report.latency("read group without members, 50k", &at_many);
    report.growth("read group p50, 50k : 10", &at_many, &at_few);
}

async fn read_by_id(report: &mut Report, daemon: &Daemon, ceilings: &Ceilings, ids: &[String]) {
    let token = daemon.token();
    for c in CONNECTIONS {
        let (load, ceiling) = (Load::new(daemon.address(), c), Load::new(ceilings.hyper.address(), c));
        let n = scaled(if c == 1 { 20_000 } else { 60_000 }, 2_000);
        let make = |i: usize| Request::get(&format!("/scim/v2/Users/{}", ids[i % ids.len()]), &token);
        let (best, out) = in_turn(&ceiling, bare, &load, make, n).await;
        out.expect_status(200);
        report.rate("get by id", c, &out, Some(&best));
    }
}

async fn look_up(
    report: &mut Report,
    daemon: &Daemon,
    ceilings: &Ceilings,
    users: usize,
    name: &str,
) -> Outcome {
    let token = daemon.token();
    let mut alone = None;
    for c in [1, 16] {
        let (load, ceiling) = (Load::new(daemon.address(), c), Load::new(ceilings.hyper.address(), c));
        let n = scaled(if c == 1 { 10_000 } else { 40_000 }, 1_000);
        let make = |i: usize| {
            let k = (i * 7919) % users;
            let filter = format!("userName%20eq%20%22grow{k}%40example.com%22");
            Request::get(&format!("/scim/v2/Users?filter={filter}"), &token)
        };
        let (best, out) = in_turn(&ceiling, bare, &load, make, n).await;
        out.expect_status(200);
        report.rate(name, c, &out, Some(&best));
        if c == 1 {
            alone = Some(out);
        }
    }
    alone.unwrap()
}

/// Sixteen connections add different members to one group at once; afterwards all of them must be in it.
async fn measure_lost_updates(report: &mut Report) {
    let daemon = Daemon::start();
    let token = daemon.token();
    let ids = daemon.create_users("lost", 0, scaled(1_600, 160)).await;
    let group = daemon.create_group("together", &[]).await;
    let path = format!("/scim/v2/Groups/{group}");
    let load = Load::new(daemon.address(), 16);
    let sent = AtomicU64::new(0);
    let out = load
        .run(ids.len(), |i| {
            sent.fetch_add(1, Ordering::Relaxed);
            Request::patch(&path, &token, client::add_member(&ids[i]))
        })
        .await;
    out.expect_success();
    let body = load.once(Request::get(&path, &token)).await;
    let group: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let members = group["members"].as_array().map_or(0, Vec::len) as u64;
    let lost = sent.load(Ordering::Relaxed) - members;
    report.figure(
        "members lost, 16 connections adding at once",
        lost as f64,
        &format!("{members} of {} are in", ids.len()),
    );
}
