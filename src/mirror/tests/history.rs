//! The past: at every `seq` the state reached from the log is the mirror as it was then.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::super::history::{self, Causes, Query, both_ways, facts_at};
use super::super::{Error, config_version, directory, facts, resource};
use super::log::{Step, run, step};
use super::{START, Store, Stored};
use crate::access::{Entitlement, Facts, Role, access};
use crate::model::{DirectoryId, Origin, ResourceType, RoleName, Seq, Subject, Timestamp};
use crate::scim::patch::MemberEdit;
use crate::scim::schema::Registry;

/// Facts as text, whatever the order of rows.
pub(super) fn normal(mut facts: Facts) -> String {
    // Those that ended are remembered for a while; a past state has them in its log only.
    facts.grants.retain(|grant| grant.ended.is_none());
    for directory in &mut facts.directories {
        directory.users.sort_by_key(|user| user.id);
        directory.groups.sort_by_key(|group| group.id);
        for group in &mut directory.groups {
            group.users.sort();
            group.groups.sort();
        }
        for user in &mut directory.users {
            let mut doc: Vec<_> = (*user.doc).clone().into_iter().collect();
            doc.sort_by(|a, b| a.0.cmp(&b.0));
            user.doc = std::sync::Arc::new(doc.into_iter().collect());
        }
    }
    format!("{facts:#?}")
}

pub(super) fn now(store: &Store) -> Facts {
    store.read(|tx| Ok::<_, Error>(facts::load(tx, &[])?))
}

/// Names of the roles in force.
fn roles(store: &Store) -> Vec<String> {
    let body = store.read(|tx| Ok::<_, Error>(config_version::latest(tx)?)).map(|(_, body)| body);
    let roles = body.as_ref().and_then(|body| body["roles"].as_array());
    roles.into_iter().flatten().map(|role| role["name"].as_str().unwrap().to_owned()).collect()
}

/// What happens to a second directory, by the number of the step.
fn second(store: &Store, n: usize) {
    let id = DirectoryId::parse("second").unwrap();
    let done: Result<(), Error> = store.mirror.write_blocking(Origin::daemon(), move |tx| {
        match directory::find(tx, &id)? {
            None => {
                directory::add(tx, &id, "Second", crate::model::DirectoryKind::Generic)?;
            }
            Some(found) if n.is_multiple_of(4) => {
                let _ = found;
                directory::remove(tx, &id)?;
            }
            Some(found) => {
                let draft = super::user(&format!("other{n}"));
                resource::create(tx, &found.reference, ResourceType::User, draft)?;
            }
        }
        Ok(())
    });
    done.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn at_every_seq_the_log_leads_to_the_mirror_of_then(
        steps in prop::collection::vec((step(), any::<u8>()), 1..50), removing in any::<bool>()
    ) {
        let store = Store::new();
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        let mut model = vec![(store.seq(), store.mirror.now(), normal(now(&store)), roles(&store))];
        for (n, (step, other)) in steps.into_iter().enumerate() {
            store.clock.advance(Duration::from_millis(1));
            if other.is_multiple_of(5) && (removing || !n.is_multiple_of(4)) {
                second(&store, n);
            } else {
                run(&store, &mut users, &mut groups, step);
            }
            if store.seq() > model.last().unwrap().0 {
                model.push((store.seq(), store.mirror.now(), normal(now(&store)), roles(&store)));
            }
        }
        for (seq, time, expected, roles) in model {
            let config = store.read(|tx| Ok(history::config_at(tx, Seq(seq), &Registry::standard())?));
            let names: Vec<String> = config.roles.iter().map(|role| role.name.to_string()).collect();
            prop_assert_eq!(names, roles, "roles at {}", seq);
            let found = store.read(|tx| facts_at(tx, &[], Seq(seq)));
            prop_assert_eq!(&normal(found), &expected, "at {}", seq);
            prop_assert_eq!(store.read(|tx| history::at(tx, time)), Seq(seq));
            if !removing {
                let (first, second) = store.read(|tx| both_ways(tx, Seq(seq)));
                prop_assert_eq!(&normal(first), &expected, "forwards to {}", seq);
                prop_assert_eq!(&normal(second), &expected, "backwards to {}", seq);
            }
        }
    }
}

#[test]
fn a_time_names_the_newest_change_before_it() {
    let store = Store::new();
    for n in 0..20 {
        store.clock.advance(Duration::from_secs(10));
        store.user(&format!("u{n}"));
    }
    let at = |seconds: i64| store.read(|tx| history::at(tx, Timestamp(START.0 + seconds * 1_000_000)));
    assert_eq!(at(-1), Seq::ZERO);
    assert_eq!(
        (at(0), at(9), at(10), at(14), at(200), at(9_999)),
        (Seq(1), Seq(1), Seq(2), Seq(2), Seq(21), Seq(21))
    );
    let unknown = store.mirror.read(|tx| facts_at(tx, &[], Seq(22))).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no change 22 yet; the newest is 21");
}

fn found(store: &Store, query: Query) -> Vec<u64> {
    let mut query = Query { limit: 2, ..query };
    let mut all = Vec::new();
    loop {
        let page = store.read(|tx| history::search(tx, &query));
        assert!(page.changes.len() <= 2);
        all.extend(page.changes.iter().map(|entry| entry.change.seq.0));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return all,
        }
    }
}

#[test]
fn the_log_is_searched_by_subject_group_and_time_a_page_at_a_time() {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let inner = store.group("Inner", &[&mira]);
    let outer = store.group("Outer", &[&inner]);
    store.clock.advance(Duration::from_mins(1));
    store.set(&mira, "title", "Boss".into()).unwrap();
    store.edit_members(&inner, vec![MemberEdit::Add(vec![super::reference(&noor)])]).unwrap();
    store.delete(&mira).unwrap();
    let subject = |of: &Stored| Query { subjects: vec![of.id], ..Query::default() };
    let group = |of: &Stored| Query { groups: vec![of.id], ..Query::default() };
    assert_eq!(found(&store, subject(&mira)), [2, 4, 6, 8]);
    assert_eq!(found(&store, subject(&noor)), [3, 7]);
    assert_eq!(found(&store, group(&inner)), [4, 5, 7, 8]);
    assert_eq!(found(&store, group(&outer)), [5]);
    let both = Query { groups: vec![inner.id], ..subject(&mira) };
    assert_eq!(found(&store, both), [4, 8]);
    assert_eq!(found(&store, Query { newest_first: true, ..subject(&mira) }), [8, 6, 4, 2]);
    let later = Some(Timestamp(START.0 + 1));
    assert_eq!(found(&store, Query { since: later, ..Query::default() }), [6, 7, 8]);
    assert_eq!(
        found(&store, Query { until: Some(START), newest_first: true, ..Query::default() }),
        [5, 4, 3, 2, 1]
    );
    assert_eq!(found(&store, Query { since: later, ..subject(&noor) }), [7]);
}

/// `accept` of one role, as the daemon records it.
fn accept_role(store: &Store, body: &serde_json::Value) {
    let body = json!({"roles": [body], "directories": [], "targets": []});
    store
        .mirror
        .write_blocking(Origin::daemon(), move |tx| super::super::config_version::accept(tx, &body))
        .map(|_| ())
        .unwrap();
}

fn since(store: &Store, user: &Stored, seq: u64) -> Option<u64> {
    store.read(|tx| {
        let config = history::config_at(tx, Seq(seq), &Registry::standard())?;
        assert_eq!(config.problems, Vec::<String>::new());
        let mut facts = facts_at(tx, &config.order, Seq(seq))?;
        config.complete(&mut facts);
        let access = access(&facts, &config.roles, tx.now());
        let subject = Subject { directory: store.acme.id.clone(), user: user.id };
        let [role] = config.roles.as_slice() else { panic!("one role") };
        let role: &Role = role;
        let held = Entitlement::Role(role.name.clone());
        let mut causes = Causes::default();
        let cause = history::since(tx, &mut causes, (&facts, &access), &subject, &held, Some(role))?;
        Ok(cause.map(|cause| cause.seq.0))
    })
}

#[test]
fn since_when_a_role_is_held_is_the_change_that_completed_it() {
    let store = Store::new();
    accept_role(&store, &json!({"name": "ops", "groups": ["Outer"], "protected": false}));
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let inner = store.group("Inner", &[&mira]);
    let outer = store.group("Outer", &[]);
    assert_eq!(since(&store, &mira, 6), None);
    store.edit_members(&outer, vec![MemberEdit::Add(vec![super::reference(&inner)])]).unwrap();
    assert_eq!(since(&store, &mira, 7), Some(7));
    // A second way in that is younger does not make it younger.
    store.edit_members(&outer, vec![MemberEdit::Add(vec![super::reference(&mira)])]).unwrap();
    assert_eq!(since(&store, &mira, 8), Some(7));
    store.edit_members(&inner, vec![MemberEdit::Add(vec![super::reference(&noor)])]).unwrap();
    assert_eq!(since(&store, &noor, 9), Some(9));
    store.set(&mira, "active", json!(false)).unwrap();
    assert_eq!(since(&store, &mira, 10), None);
    store.set(&mira, "active", json!(true)).unwrap();
    assert_eq!((since(&store, &mira, 11), since(&store, &mira, 9)), (Some(11), Some(7)));
    store.set(&outer, "displayName", "Elsewhere".into()).unwrap();
    store.set(&outer, "displayName", "Outer".into()).unwrap();
    assert_eq!(since(&store, &noor, 13), Some(13));
    let filter = json!({"name": "ops", "groups": [], "users": "title eq \"Boss\"", "protected": false});
    accept_role(&store, &filter);
    store.set(&noor, "title", "Boss".into()).unwrap();
    store.set(&noor, "nickName", "N".into()).unwrap();
    assert_eq!((since(&store, &noor, 16), since(&store, &noor, 14)), (Some(15), None));
    let name = RoleName::parse("ops").unwrap();
    let roles = store.read(|tx| Ok(history::config_at(tx, Seq(2), &Registry::standard())?.roles));
    assert_eq!(roles[0].name, name);
    assert_eq!(roles[0].groups[0].to_string(), "Outer");
}

#[test]
fn of_two_reasons_the_older_one_that_stands_counts() {
    let store = Store::new();
    accept_role(
        &store,
        &json!({"name": "ops", "groups": ["Outer"], "users": "title eq \"Boss\"", "protected": false}),
    );
    let mira = store.user("mira");
    let outer = store.group("Outer", &[&mira]);
    let joined = store.seq();
    store.set(&mira, "title", "Boss".into()).unwrap();
    let titled = store.seq();
    assert_eq!(since(&store, &mira, titled), Some(joined), "the group was there first");
    store.edit_members(&outer, vec![MemberEdit::Remove(vec![mira.id.to_string()])]).unwrap();
    assert_eq!(since(&store, &mira, store.seq()), Some(titled), "and the filter is what is left");
}

#[test]
fn a_step_of_the_model_is_one_change_at_most() {
    // The property above counts on it.
    let store = Store::new();
    run(&store, &mut Vec::new(), &mut Vec::new(), Step::User(1));
    assert_eq!(store.seq(), 2);
}
