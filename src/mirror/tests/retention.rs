//! Pruning, forgetting and the day's upkeep: what goes, what stays, and that `verify` still agrees.

use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;

use super::super::decision::{grant, rebaseline, subject};
use super::super::history::{self, Causes, facts_at};
use super::super::upkeep::{self, Keep};
use super::super::{Error, change, delivery, facts, target};
use super::history::{normal, now};
use super::log::{faults, run, step};
use super::{START, Store, Stored, open};
use crate::access::{Entitlement, access};
use crate::model::{Epoch, EventId, Origin, RoleName, Seq, Subject, TargetName, Timestamp};
use crate::scim::patch::MemberEdit;
use crate::scim::schema::Registry;

fn prune(store: &Store, cutoff: Timestamp, limit: u32) -> u64 {
    let mut total = 0;
    loop {
        let step = store.write(move |tx, _| Ok(history::prune(tx, cutoff, limit)?)).unwrap();
        total += step.changes;
        if step.done {
            return total;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn what_pruning_leaves_leads_to_the_same_states(
        steps in prop::collection::vec(step(), 2..50), cuts in prop::collection::vec(0..60_u64, 1..3),
        limit in 1..20_u32
    ) {
        let store = Store::new();
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        let mut model = vec![(store.seq(), normal(now(&store)))];
        for step in steps {
            store.clock.advance(Duration::from_millis(1));
            run(&store, &mut users, &mut groups, step);
            if store.seq() > model.last().unwrap().0 {
                model.push((store.seq(), normal(now(&store))));
            }
        }
        for cut in cuts {
            prune(&store, Timestamp(START.0 + i64::try_from(cut).unwrap() * 1_000), limit);
            prop_assert_eq!(faults(&store), Vec::<String>::new());
            let base = store.read(|tx| Ok(history::base(tx)?)).seq;
            for (seq, expected) in &model {
                let found = store.mirror.read(|tx| facts_at(tx, &[], Seq(*seq)));
                match found {
                    Ok(found) => prop_assert_eq!(&normal(found), expected, "at {} behind {}", seq, base),
                    Err(error) => {
                        prop_assert!(Seq(*seq) < base, "{} is gone behind {}: {}", seq, base, error);
                    }
                }
            }
        }
    }
}

#[test]
fn what_lies_before_the_base_is_refused_with_a_reason_and_causes_are_still_known() {
    let store = Store::new();
    let body = json!({"roles": [{"name": "ops", "groups": ["Ops"]}], "directories": [], "targets": []});
    let accepted: Result<_, Error> = store
        .mirror
        .write_blocking(Origin::daemon(), move |tx| Ok(super::super::config_version::accept(tx, &body)?));
    accepted.unwrap();
    let mira = store.user("mira");
    let ops = store.group("Ops", &[]);
    store.edit_members(&ops, vec![MemberEdit::Add(vec![super::reference(&mira)])]).unwrap();
    store.clock.advance(Duration::from_hours(1));
    let noor = store.user("noor");
    assert_eq!(prune(&store, Timestamp(START.0 + 1), 2), 5);
    assert_eq!(faults(&store), Vec::<String>::new());
    let early = store.mirror.read(|tx| facts_at(tx, &[], Seq(3))).unwrap_err().to_string();
    assert!(
        early.starts_with("change 3 lies before what is kept: the log begins behind change 5"),
        "{early}"
    );
    let early = store.mirror.read(|tx| history::at(tx, Timestamp(START.0 - 1))).unwrap_err().to_string();
    assert!(early.contains("`[mirror] history`"), "{early}");
    store.read(|tx| {
        let config = history::config_at(tx, Seq(6), &Registry::standard())?;
        let facts = facts_at(tx, &[], Seq(6))?;
        let access = access(&facts, &config.roles, tx.now());
        let subject = Subject { directory: store.acme.id.clone(), user: mira.id };
        let role = &config.roles[0];
        let held = Entitlement::Role(role.name.clone());
        let cause =
            history::since(tx, &mut Causes::default(), (&facts, &access), &subject, &held, Some(role))?;
        let cause = cause.expect("kept with the membership");
        assert_eq!((cause.seq, cause.at, cause.actor.as_str()), (Seq(5), START, "token:tok_test"));
        Ok(())
    });
    store.delete(&noor).unwrap();
}

/// The base altered behind its back.
#[test]
fn verify_finds_an_altered_base() {
    for sql in [
        "UPDATE base_resource SET doc = json_set(doc, '$.title', 'CEO')",
        "UPDATE base_resource SET version = version + 1 WHERE type = 1",
        "UPDATE base_resource SET active = 0",
        "DELETE FROM base_member",
        "UPDATE base_member SET actor = 'token:other'",
        "UPDATE base_standing SET body = '{}'",
        "UPDATE base_standing SET body = replace(body, 'laptop stolen', 'gone') WHERE class = 'shut'",
        "UPDATE base_chain SET digest = zeroblob(32)",
        "UPDATE history_base SET seq = seq + 1",
        "UPDATE directory SET enabled = 0",
        "UPDATE directory SET name = 'Other'",
        "INSERT INTO token (id, hash, reader, note, source, created_at) VALUES ('tok_x', zeroblob(32), 'r', '', 'minted', 1)",
    ] {
        let store = Store::new();
        let mira = store.user("mira");
        let ops = store.group("Ops", &[&mira]);
        let about = Subject { directory: store.acme.id.clone(), user: mira.id };
        store.write(move |tx, _| subject::shut(tx, &about, "mira", "laptop stolen")).unwrap();
        store.clock.advance(Duration::from_secs(1));
        store.set(&ops, "externalId", "e".into()).unwrap();
        prune(&store, Timestamp(START.0 + 1), 50);
        assert_eq!(faults(&store), Vec::<String>::new());
        let Store { folder, mirror, clock, acme } = store;
        mirror.close();
        let raw = Connection::open(folder.path().join("mirror.db")).unwrap();
        assert!(raw.execute(sql, []).unwrap() > 0, "{sql}");
        drop(raw);
        let mirror = open(folder.path(), &clock).unwrap();
        let found = faults(&Store { folder, mirror, clock, acme });
        assert!(!found.is_empty(), "{sql}");
    }
}

fn forget(store: &Store, user: &Stored) -> Result<history::Forgotten, Error> {
    let id = user.id;
    store.write(move |tx, _| history::forget(tx, id))
}

fn bytes_of(store: Store) -> Vec<u8> {
    let Store { folder, mirror, .. } = store;
    mirror.close();
    std::fs::read(folder.path().join("mirror.db")).unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn who_is_forgotten_leaves_ids_and_no_names_and_the_chain_verifies() {
    for prune_first in [false, true] {
        let store = Store::new();
        let (mira, noor) = (store.user("mira-unmistakable"), store.user("noor-unmistakable"));
        let ops = store.group("Ops", &[&mira, &noor]);
        store.set(&mira, "title", "Unmistakable Boss".into()).unwrap();
        store.set(&mira, "active", json!(false)).unwrap();
        store.clock.advance(Duration::from_secs(1));
        if prune_first {
            prune(&store, Timestamp(START.0 + 1), 3);
        }
        let live = forget(&store, &mira).unwrap_err().to_string();
        assert!(live.contains("delete the user at the identity provider first"), "{live}");
        store.delete(&mira).unwrap();
        let name = TargetName::parse("hook").unwrap();
        let event = |seq, n| EventId { epoch: Epoch(1), seq: Seq(seq), n };
        let body = |id: &Stored| format!("{{\"id\":\"{}\"}}", id.id).into_bytes();
        let made = [(event(1, 0), body(&mira)), (event(1, 1), body(&noor))]
            .map(|(event, body)| delivery_of(event, body));
        store.write(move |tx, _| Ok(delivery::add(tx, &name, &made, false)?)).unwrap();
        let open = forget(&store, &mira).unwrap_err().to_string();
        assert!(open.contains("still on their way to `hook`"), "{open}");
        store
            .write(|tx, _| Ok(tx.execute("UPDATE delivery SET state = 'done', finished_at = 1", &[])?))
            .unwrap();
        let done = forget(&store, &mira).unwrap();
        assert_eq!(done.deliveries, 1);
        assert_eq!(done.changes, if prune_first { 1 } else { 4 });
        assert_eq!(faults(&store), Vec::<String>::new());
        let found = store.read(|tx| facts_at(tx, &[], Seq(6)));
        let known = found.directories[0].users.iter().find(|user| user.id == mira.id).unwrap();
        assert_eq!(known.user_name, format!("forgotten-{}", mira.id));
        assert!(!known.active, "whether the user was active is told by the kinds of its changes");
        assert!(found.directories[0].groups[0].users.contains(&mira.id));
        assert_eq!(
            store.read(|tx| Ok(change::of_resource(tx, noor.id, 9)?)).iter().filter(|one| one.erased).count(),
            0
        );
        let gone = forget(&store, &ops).unwrap_err().to_string();
        assert!(gone.contains("is still there"), "{gone}");
        let bytes = bytes_of(store);
        assert!(holds(&bytes, "noor-unmistakable"));
        assert!(!holds(&bytes, "mira-unmistakable") && !holds(&bytes, "Unmistakable Boss"), "{prune_first}");
    }
}

#[test]
fn decisions_about_who_is_forgotten_go_and_those_about_others_stay() {
    const MIRA: &str = "Mira-Unmistakable@example.com";
    for prune_first in [false, true] {
        let store = Store::new();
        let (mira, noor) = (store.user(MIRA), store.user("noor-known"));
        let about = |of: &Stored| Subject { directory: store.acme.id.clone(), user: of.id };
        let (one, other) = (about(&mira), about(&noor));
        let until = Timestamp(START.0 + 3_600_000_000);
        let role = RoleName::parse("ops").unwrap();
        let (role_too, one_too, other_too) = (role.clone(), one.clone(), other.clone());
        store
            .write(move |tx, acme| {
                subject::shut(tx, &one_too, MIRA, "laptop of mira-unmistakable@example.com stolen")?;
                subject::open(tx, &one_too)?;
                let ended = grant::create(tx, &one_too, MIRA, &role_too, until, "incident 1")?;
                grant::revoke(tx, ended.id)?;
                grant::create(tx, &one_too, MIRA, &role_too, until, "incident 2")?;
                subject::release(tx, &one_too, MIRA, "moved")?;
                grant::create(tx, &other_too, "noor-known", &role_too, until, "incident 3")?;
                subject::shut(tx, &other_too, "noor-known", "left")?;
                let end = Timestamp(START.0 + 10_000);
                rebaseline::begin(tx, &acme.id, end).map(|_| ())
            })
            .unwrap();
        let name = TargetName::parse("file").unwrap();
        store
            .write(move |tx, _| {
                let mut saved = target::State::default();
                saved.record.last_error = Some(format!("`{MIRA}` cannot be written"));
                target::save_state(tx, &name, &saved)?;
                Ok(())
            })
            .unwrap();
        let at = store.seq();
        store.clock.advance(Duration::from_secs(1));
        store.write(|tx, _| Ok(rebaseline::close_due(tx)?)).unwrap();
        store.delete(&mira).unwrap();
        if prune_first {
            prune(&store, Timestamp(START.0 + 1), 4);
        }
        let searched = found_kinds(&store, &mira);
        assert!(prune_first || searched.contains(&"subject.shut".to_owned()), "{searched:?}");
        assert_eq!(faults(&store), Vec::<String>::new());
        forget(&store, &mira).unwrap();
        assert_eq!(faults(&store), Vec::<String>::new());
        let facts = store.read(|tx| facts_at(tx, &[], Seq(at)));
        let shut: Vec<&Subject> = facts.shut.iter().map(|one| &one.subject).collect();
        assert_eq!(shut, [&other], "the shut of the other, with its reason");
        assert_eq!(facts.shut.iter().next().unwrap().reason, "left");
        let of_other: Vec<&str> =
            facts.grants.iter().filter(|one| one.subject == other).map(|one| one.reason.as_str()).collect();
        assert_eq!(of_other, ["incident 3"]);
        let newest = store.seq();
        assert_eq!(normal(store.read(|tx| facts_at(tx, &[], Seq(newest)))), normal(now(&store)));
        // What was decided before counts on after the log of it is gone too.
        prune(&store, Timestamp(START.0 + 3_600_000_000), 3);
        assert_eq!(faults(&store), Vec::<String>::new());
        let bytes = bytes_of(store);
        assert!(holds(&bytes, "noor-known"));
        assert!(!holds(&bytes, MIRA) && !holds(&bytes, &MIRA.to_lowercase()), "{prune_first}");
    }
}

fn found_kinds(store: &Store, user: &Stored) -> Vec<String> {
    let query = history::Query { subjects: vec![user.id], limit: 100, ..history::Query::default() };
    let found = store.read(|tx| history::search(tx, &query));
    found.changes.iter().map(|entry| entry.change.kind.to_string()).collect()
}

#[tokio::test]
async fn upkeep_prunes_by_age_and_count_and_leaves_a_mirror_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let clock = std::sync::Arc::new(crate::model::ManualClock::new(START));
    let mirror = open(folder.path(), &clock).unwrap();
    let acme = super::add_directory_async(&mirror, "acme").await;
    for n in 0..250 {
        let (acme, draft) = (acme.clone(), super::user(&format!("u{n}")));
        let made: Result<_, Error> = mirror
            .write(super::origin(), move |tx| {
                super::resource::create(tx, &acme, crate::model::ResourceType::User, draft)
            })
            .await;
        made.unwrap();
    }
    let name = TargetName::parse("hook").unwrap();
    let told: Result<(), Error> = mirror
        .write(Origin::daemon(), move |tx| {
            for seq in 0..20 {
                let event = EventId { epoch: Epoch(1), seq: Seq(seq), n: 0 };
                let new = delivery_of(event, b"{}".to_vec());
                delivery::add(tx, &name, &[new], false)?;
            }
            tx.execute("UPDATE delivery SET state = 'done', finished_at = created_at WHERE seq < 15", &[])?;
            let run = target::Run {
                id: 0,
                target: name.clone(),
                started_at: START,
                finished_at: START,
                seq: Seq(1),
                outcome: "written".into(),
                added: 0,
                removed: 0,
                changed: 0,
                held: 0,
                error: None,
                detail: json!(null),
            };
            target::record_run(tx, &run, 200)?;
            Ok(())
        })
        .await;
    told.unwrap();
    let keep = Keep { deliveries_max: 10, ..Keep::default() };
    let day = Duration::from_hours(24);
    let done = upkeep::run(&mirror, keep).await.unwrap();
    assert_eq!((done.changes, done.runs, done.deliveries), (0, 0, 5), "by count");
    clock.advance(day * 31);
    let done = upkeep::run(&mirror, keep).await.unwrap();
    assert_eq!((done.changes, done.runs, done.deliveries), (0, 0, 10), "by age");
    clock.advance(day * 60);
    assert_eq!(upkeep::run(&mirror, keep).await.unwrap().runs, 1);
    clock.advance(day * 310);
    assert_eq!(upkeep::run(&mirror, keep).await.unwrap().changes, 251);
    // The record of it, 400 days later, goes without leaving another.
    clock.advance(day * 401);
    assert_eq!(upkeep::run(&mirror, keep).await.unwrap().changes, 1);
    assert_eq!(upkeep::run(&mirror, keep).await.unwrap().changes, 0);
    let report = mirror.read(super::super::verify::verify).unwrap();
    assert_eq!((report.faults, report.resources, report.base), (Vec::new(), 250, Seq(252)));
    let facts = mirror.read(|tx| Ok::<_, Error>(facts::load(tx, &[])?)).unwrap();
    assert_eq!(facts.directories[0].users.len(), 250);
    let open: u64 = mirror
        .read(|tx| Ok::<_, Error>(delivery::counts(tx, &TargetName::parse("hook").unwrap())?))
        .unwrap()
        .pending;
    assert_eq!(open, 5, "what is on its way stays");
}

#[test]
fn looking_into_the_log_uses_an_index() {
    let store = Store::new();
    let mira = store.user("mira");
    store.group("Ops", &[&mira]);
    let Store { folder, mirror, .. } = store;
    mirror.close();
    let raw = Connection::open(folder.path().join("mirror.db")).unwrap();
    let plan = |sql: &str| -> String {
        let mut statement = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for analyzed in [false, true] {
        if analyzed {
            raw.execute_batch("ANALYZE change; ANALYZE change_member;").unwrap();
        }
        for (sql, index) in [
            ("SELECT at FROM change WHERE seq = 5", "INTEGER PRIMARY KEY"),
            ("SELECT seq FROM change WHERE seq > 1 AND seq <= 9 ORDER BY seq LIMIT 9", "INTEGER PRIMARY KEY"),
            (
                "SELECT seq FROM change WHERE resource = x'00' AND seq > 1 AND seq <= 9 ORDER BY seq LIMIT 9",
                "change_resource",
            ),
            (
                "SELECT DISTINCT seq FROM change_member WHERE member_id = x'00' AND seq > 1 AND seq <= 9 ORDER BY seq DESC LIMIT 9",
                "change_member_member",
            ),
            (
                "SELECT DISTINCT seq FROM change_member WHERE group_id = x'00' AND seq > 1 AND seq <= 9 ORDER BY seq LIMIT 9",
                "change_member_group",
            ),
            (
                "SELECT seq FROM change WHERE resource IS NULL AND (object = 'x' OR object LIKE '%/x') AND seq > 1 AND seq <= 9 ORDER BY seq LIMIT 9",
                "change_other",
            ),
            (
                "SELECT 1 FROM change WHERE resource IS NULL AND seq > 1 AND kind = 'directory.removed' LIMIT 1",
                "change_other",
            ),
        ] {
            let plan = plan(sql);
            assert!(
                plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
                "{sql}: {plan}"
            );
        }
    }
}

fn delivery_of(event: EventId, body: Vec<u8>) -> delivery::New {
    delivery::New {
        turn: event.seq,
        event,
        kind: "user.updated".into(),
        resource: None,
        at: START,
        body,
        content_type: "application/json".into(),
        headers: Vec::new(),
        state: delivery::State::Pending,
    }
}
