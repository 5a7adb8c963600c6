use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::model::{ManualClock, RequestId, Timestamp, TokenId};

const ID: &str = "0197a3b0-1234-7abc-8def-0123456789ab";

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse_rfc3339("2026-11-20T10:00:00Z").unwrap()))
}

fn directory() -> DirectoryId {
    DirectoryId::parse("acme").unwrap()
}

fn entry(n: u64, clock: &dyn Clock) -> Entry {
    Entry {
        request: RequestId::parse(&format!("r-{n}")).unwrap(),
        at: clock.now(),
        took: Duration::from_millis(3),
        directory: Some(directory()),
        token: TokenId::parse("tok").ok(),
        refused: None,
        ended: None,
        client: None,
        method: "GET",
        route: "Users",
        target: "/scim/v2/Users?filter=userName+eq+%22dana%22".to_owned(),
        agent: Some("Okta SCIM Client 1.0.0".to_owned()),
        status: 200,
        quirks: vec!["flat-keys"],
        request_bytes: 0,
        answer_bytes: 10,
        error: None,
        raw: None,
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn all(activity: &Activity) -> Vec<Row> {
    activity.find(&Wanted::default(), usize::MAX).rows
}

#[test]
fn rows_are_kept_newest_first_within_the_bound_and_over_a_restart() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = folder.path().join("activity.jsonl");
    let settings = Settings { requests: 10, ..Settings::default() };
    let activity = Activity::start(&path, settings.clone(), clock.clone());
    for n in 0..600 {
        activity.note(entry(n, &*clock));
    }
    until("the last one is in", || all(&activity).first().is_some_and(|row| row.request == "r-599"));
    assert_eq!(all(&activity).len(), 10);
    activity.close();
    let kept = all(&activity);
    drop(activity);
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines <= 10 * 2 + 256 + 600, "{lines}");
    let again = Activity::start(&path, settings.clone(), clock.clone());
    assert_eq!(all(&again), kept);
    // A rewrite brings the file down to its bound.
    for n in 600..1_300 {
        again.note(entry(n, &*clock));
    }
    until("the file is rewritten", || {
        again.close();
        std::fs::read_to_string(&path).unwrap().lines().count() <= 10 * 2 + 256
    });
}

#[test]
fn age_ends_a_row_in_memory_and_on_disk() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = folder.path().join("activity.jsonl");
    let activity = Activity::start(&path, Settings::default(), clock.clone());
    activity.note(entry(1, &*clock));
    until("it is in", || all(&activity).len() == 1);
    activity.close();
    assert!(std::fs::read_to_string(&path).unwrap().contains("r-1"));
    clock.advance(Duration::from_hours(24 * 8));
    activity.configure(Settings::default());
    until("it is gone", || {
        all(&activity).is_empty() && !std::fs::read_to_string(&path).unwrap().contains("r-1")
    });
}

#[test]
fn strangers_do_not_push_everybody_else_out() {
    let clock = clock();
    let settings = Settings { requests: 8, ..Settings::default() };
    let mut ring = Ring::default();
    for n in 0..100 {
        let directory = (n < 6).then(directory);
        ring.push(entry::row(n + 1, Entry { directory, ..entry(n, &*clock) }, None), &settings);
    }
    let (rows, _) = ring.find(&Wanted { directory: Some("acme".into()), ..Wanted::default() }, 100);
    assert_eq!(rows.len(), 6);
    assert_eq!(ring.len(), 8);
    assert_eq!(ring.find(&Wanted { directory: Some(String::new()), ..Wanted::default() }, 100).0[0].id, 100);
}

#[test]
fn a_page_follows_another_and_filters_hold() {
    let clock = clock();
    let mut ring = Ring::default();
    for n in 1..=20 {
        let status = if n % 2 == 0 { 404 } else { 200 };
        ring.push(entry::row(n, Entry { status, ..entry(n, &*clock) }, None), &Settings::default());
    }
    let wanted = |text: &str| Wanted { status: Statuses::parse(text), ..Wanted::default() };
    assert_eq!(ring.find(&wanted("4xx"), 100).0.len(), 10);
    assert_eq!(ring.find(&wanted("error"), 100).0.len(), 10);
    assert_eq!(ring.find(&wanted("200"), 3).0.iter().map(|row| row.id).collect::<Vec<_>>(), [19, 17, 15]);
    let next = Wanted { before: Some(15), ..wanted("200") };
    assert_eq!(ring.find(&next, 3).0[0].id, 13);
    assert_eq!(ring.find(&Wanted { after: Some(18), ..Wanted::default() }, 9).0.len(), 2);
    assert!(Statuses::parse("9xx").is_none() && Statuses::parse("ok").is_none());
}

#[test]
fn an_unwritable_file_costs_nothing_but_the_file() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = folder.path().join("no/such/folder/activity.jsonl");
    let activity = Activity::start(&path, Settings::default(), clock.clone());
    activity.note(entry(1, &*clock));
    until("it is in memory", || all(&activity).len() == 1);
    activity.close();
    assert!(activity.counts()[1].2 > 0, "the failure is counted");
}

#[test]
fn a_link_or_a_pipe_in_its_place_is_not_read() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let other = folder.path().join("other");
    let activity = Activity::start(&other, Settings::default(), clock.clone());
    activity.note(entry(1, &*clock));
    activity.close();
    let path = folder.path().join("activity.jsonl");
    std::os::unix::fs::symlink(&other, &path).unwrap();
    let before = std::fs::read(&other).unwrap();
    assert!(!before.is_empty());
    let activity = Activity::start(&path, Settings::default(), clock.clone());
    assert!(all(&activity).is_empty(), "read through the link");
    activity.note(entry(2, &*clock));
    activity.close();
    assert_eq!(std::fs::read(&other).unwrap(), before, "written through the link");
    std::fs::remove_file(&path).unwrap();
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rustix::fs::Mode::RWXU, 0).unwrap();
    // Nobody writes to it: a daemon that opened it like a file would wait for ever.
    assert!(all(&Activity::at_rest(path, Settings::default(), clock)).is_empty());
}

#[test]
fn a_torn_line_is_skipped() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = folder.path().join("activity.jsonl");
    let activity = Activity::start(&path, Settings::default(), clock.clone());
    activity.note(entry(1, &*clock));
    until("it is in", || all(&activity).len() == 1);
    activity.close();
    let mut text = std::fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"id\":5,\"at\n\xff\xfe\n");
    std::fs::write(&path, text).unwrap();
    assert_eq!(all(&Activity::at_rest(path, Settings::default(), clock)).len(), 1);
}

#[test]
fn bodies_are_kept_only_while_somebody_asked() {
    let clock = clock();
    let folder = tempfile::tempdir().unwrap();
    let activity = Activity::start(&folder.path().join("a.jsonl"), Settings::default(), clock.clone());
    assert!(!activity.wants_bodies(&directory()));
    let shown = activity.record(directory(), Duration::from_mins(1), "uid:0".into()).unwrap();
    assert_eq!(shown["running"], true);
    assert!(activity.wants_bodies(&directory()));
    let raw = |body: &str| Raw {
        target: format!("/Users/{ID}"),
        headers: vec![("Accept", "application/scim+json".into())],
        body: Bytes::from(body.to_owned()),
        answer: Bytes::from(format!(r#"{{"id":"{ID}","userName":"dana"}}"#)),
    };
    activity.note(Entry { raw: Some(raw(r#"{"userName":"dana"}"#)), ..entry(1, &*clock) });
    until("it is in", || all(&activity).len() == 1);
    clock.advance(Duration::from_secs(61));
    assert!(!activity.wants_bodies(&directory()));
    activity.note(Entry { raw: Some(raw(r#"{"userName":"erin"}"#)), ..entry(2, &*clock) });
    until("the second is in", || all(&activity).len() == 2);
    let rows = all(&activity);
    assert!(rows[0].kept.is_none(), "too late for its body");
    let kept = rows[1].kept.as_ref().unwrap();
    assert_eq!(kept.body.as_ref().unwrap()["userName"], kept.answer.as_ref().unwrap()["userName"]);
    activity.close();
    let bytes = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    assert!(!bytes.contains("dana") && !bytes.contains("erin"), "{bytes}");
}

#[test]
fn a_recording_becomes_a_trace_that_makes_what_was_there_before() {
    let clock = clock();
    let folder = tempfile::tempdir().unwrap();
    let activity = Activity::start(&folder.path().join("a.jsonl"), Settings::default(), clock.clone());
    activity.record(directory(), Duration::from_mins(1), "uid:0".into()).unwrap();
    let (new, group) = ("0197a3b0-1234-7abc-8def-aaaaaaaaaaaa", "0197a3b0-1234-7abc-8def-bbbbbbbbbbbb");
    let mut n = 0;
    let mut tell = |method, route, target: String, status, body: Value, answer: Value| {
        n += 1;
        let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        let raw = Raw { target, headers: vec![], body: text(&body).into(), answer: text(&answer).into() };
        activity.note(Entry { method, route, status, raw: Some(raw), ..entry(n, &*clock) });
        until("it is in", || all(&activity).len() as u64 == n);
    };
    tell(
        "PATCH",
        "Users/{id}",
        format!("/Users/{ID}"),
        200,
        json!({"Operations": []}),
        json!({"id": ID, "userName": "dana", "active": true}),
    );
    tell(
        "POST",
        "Users",
        "/Users".into(),
        201,
        json!({"userName": "erin"}),
        json!({"id": new, "userName": "erin", "groups": []}),
    );
    tell(
        "GET",
        "Users/{id}",
        "/Users/0197a3b0-1234-7abc-8def-cccccccccccc".into(),
        404,
        Value::Null,
        json!({"status": "404", "detail": "no"}),
    );
    tell(
        "PATCH",
        "Groups/{id}",
        format!("/Groups/{group}"),
        204,
        json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": new}, {"value": ID}]}]}),
        Value::Null,
    );
    tell("DELETE", "Users/{id}", format!("/Users/{new}"), 204, Value::Null, Value::Null);
    let trace = activity.trace(&directory(), "okta").unwrap();
    let steps = trace["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "before: user 1 was there",
            "before: group 1 was there",
            "PATCH Users/{id}",
            "POST Users",
            "GET Users/{id}",
            "PATCH Groups/{id}",
            "DELETE Users/{id}",
            "after: g1 goes",
            "after: u1 goes"
        ]
    );
    assert_eq!(steps[2]["request"]["path"], "/Users/${u1}");
    assert_eq!(steps[3]["save"], json!({"u2": "/id"}));
    assert_eq!(steps[3]["expect"]["json"]["/userName"], steps[3]["request"]["body"]["userName"]);
    assert_eq!(steps[4]["request"]["path"], "/Users/00000000-0000-7000-8000-000000000001");
    assert_eq!(
        steps[5]["request"]["body"]["Operations"][0]["value"],
        json!([{"value": "${u2}"}, {"value": "${u1}"}])
    );
    let text = trace.to_string();
    assert!(!text.contains("dana") && !text.contains("erin") && !text.contains("0197a3b0"), "{text}");
}

#[test]
fn a_disk_that_hangs_keeps_no_request_waiting_and_what_is_left_out_is_counted() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = folder.path().join("activity.jsonl");
    let settings = Settings { requests: 1_000_000, ..Settings::default() };
    let activity = Activity::start(&path, settings, clock.clone());
    // To open a pipe waits until somebody reads it: so hangs a network disk.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let dropped = |activity: &Activity| activity.counts()[0].2;
    let mut told = 0;
    until("too much waits", || {
        for _ in 0..500 {
            activity.note(entry(told, &*clock));
            told += 1;
        }
        dropped(&activity) > 0
    });
    let kept = all(&activity).len() as u64;
    assert!(told > WAITING_MAX as u64, "{told}");
    // Somebody reads: it goes on, and each request was kept or counted.
    let reader = std::thread::spawn(move || std::fs::read(path).map(|bytes| bytes.len()));
    until("those that waited are in", || all(&activity).len() as u64 + dropped(&activity) == told);
    assert!(kept < all(&activity).len() as u64);
    drop(activity);
    assert!(reader.join().unwrap().unwrap() > 0);
}
