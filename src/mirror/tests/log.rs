use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;

use super::super::{Error, change, directory, facts, verify};
use super::{Store, Stored, open, reference};
use crate::model::Seq;
use crate::scim::patch::MemberEdit;

pub(super) fn faults(store: &Store) -> Vec<String> {
    store.read(|tx| Ok(verify::verify(tx)?)).faults
}

/// One random command; numbers pick among what exists.
#[derive(Debug, Clone)]
pub(super) enum Step {
    User(u8),
    Group(u8, Vec<u8>),
    Set(u8, u8, u8),
    Active(u8, bool),
    Add(u8, Vec<u8>),
    Remove(u8, Vec<u8>),
    Replace(u8, Vec<u8>),
    Delete(u8),
    Rename(u8),
    Enable(bool),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let some = prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => any::<u8>().prop_map(Step::User),
        2 => (any::<u8>(), some.clone()).prop_map(|(n, m)| Step::Group(n, m)),
        3 => (any::<u8>(), 0..3_u8, 0..3_u8).prop_map(|(n, a, v)| Step::Set(n, a, v)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, on)| Step::Active(n, on)),
        3 => (any::<u8>(), some.clone()).prop_map(|(n, m)| Step::Add(n, m)),
        2 => (any::<u8>(), some.clone()).prop_map(|(n, m)| Step::Remove(n, m)),
        1 => (any::<u8>(), some).prop_map(|(n, m)| Step::Replace(n, m)),
        2 => any::<u8>().prop_map(Step::Delete),
        1 => any::<u8>().prop_map(Step::Rename),
        1 => any::<bool>().prop_map(Step::Enable),
    ]
}

fn pick(from: &[Stored], n: u8) -> Option<&Stored> {
    from.get(usize::from(n) % from.len().max(1))
}

fn picked(users: &[Stored], groups: &[Stored], numbers: &[u8]) -> Vec<Stored> {
    let choose = |n: &u8| if n.is_multiple_of(4) { pick(groups, n / 4) } else { pick(users, *n) };
    numbers.iter().filter_map(choose).cloned().collect()
}

/// Runs one step; a refusal (a taken name) is as good as a success, as long as it leaves no trace.
pub(super) fn run(store: &Store, users: &mut Vec<Stored>, groups: &mut Vec<Stored>, step: Step) {
    let (name, edit) = match step {
        Step::User(n) => {
            let draft = super::user(&format!("u{}", n % 12));
            let made = store
                .write(|tx, acme| super::resource::create(tx, acme, crate::model::ResourceType::User, draft));
            users.extend(made);
            return;
        }
        Step::Group(n, members) => {
            let members = picked(users, groups, &members);
            let draft = super::group(&format!("g{}", n % 8), &members.iter().collect::<Vec<_>>());
            let made = store.write(|tx, acme| {
                super::resource::create(tx, acme, crate::model::ResourceType::Group, draft)
            });
            groups.extend(made);
            return;
        }
        Step::Set(n, attribute, value) => {
            if let Some(user) = pick(users, n) {
                let name = ["title", "displayName", "userName"][usize::from(attribute)];
                let _ = store.set(user, name, format!("v{value}").into());
            }
            return;
        }
        Step::Active(n, on) => {
            if let Some(user) = pick(users, n) {
                store.set(user, "active", json!(on)).unwrap();
            }
            return;
        }
        Step::Delete(n) => {
            let from = if n.is_multiple_of(3) { groups } else { users };
            if let Some(found) = pick(from, n).cloned() {
                store.delete(&found).unwrap();
                from.retain(|one| one.id != found.id);
            }
            return;
        }
        Step::Rename(n) => {
            store.write(move |tx, acme| directory::rename(tx, &acme.id, &format!("n{n}"))).unwrap();
            return;
        }
        Step::Enable(on) => {
            store.write(move |tx, acme| directory::set_enabled(tx, &acme.id, on)).unwrap();
            return;
        }
        Step::Add(n, members) => {
            (n, MemberEdit::Add(picked(users, groups, &members).iter().map(reference).collect()))
        }
        Step::Replace(n, members) => {
            (n, MemberEdit::Replace(picked(users, groups, &members).iter().map(reference).collect()))
        }
        Step::Remove(n, members) => {
            let ids = picked(users, groups, &members).iter().map(|one| one.id.to_string()).collect();
            (n, MemberEdit::Remove(ids))
        }
    };
    if let Some(group) = pick(groups, name) {
        store.edit_members(group, vec![edit]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn the_log_replays_to_the_mirror(steps in prop::collection::vec(step(), 1..60)) {
        let store = Store::new();
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for step in steps {
            store.clock.advance(std::time::Duration::from_millis(1));
            run(&store, &mut users, &mut groups, step);
        }
        prop_assert_eq!(faults(&store), Vec::<String>::new());
        let seqs: Vec<_> = store
            .read(|tx| Ok(change::after(tx, Seq::ZERO, 1_000)?))
            .iter()
            .map(|change| change.seq.0)
            .collect();
        prop_assert_eq!(seqs, (1..=store.seq()).collect::<Vec<_>>());
    }
}

/// Two users in a group, the mirror closed, `sql` run on the file behind its back, and what verify says then.
fn tampered(sql: &str) -> Vec<String> {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let admins = store.group("Admins", &[&mira, &noor]);
    store.set(&mira, "title", "Boss".into()).unwrap();
    store.edit_members(&admins, vec![MemberEdit::Remove(vec![noor.id.to_string()])]).unwrap();
    assert_eq!(faults(&store), Vec::<String>::new());
    let Store { folder, mirror, clock, acme } = store;
    mirror.close();
    Connection::open(folder.path().join("mirror.db")).unwrap().execute_batch(sql).unwrap();
    let mirror = open(folder.path(), &clock).unwrap();
    faults(&Store { folder, mirror, clock, acme })
}

#[test]
fn verify_finds_what_was_altered_behind_its_back() {
    for sql in [
        "UPDATE change SET actor = 'token:other' WHERE seq = 3",
        "UPDATE change SET at = at + 1 WHERE seq = 2",
        "UPDATE change_value SET after = '{}' WHERE seq = 2",
        "UPDATE change_member SET op = 0 WHERE seq = 4 AND n = 0",
        "DELETE FROM change WHERE seq = 6",
        "DELETE FROM change WHERE seq = 3",
        "UPDATE resource SET doc = json_set(doc, '$.title', 'CEO') WHERE doc LIKE '%Boss%'",
        "UPDATE resource SET version = 9 WHERE type = 2",
        "UPDATE resource SET members = 5 WHERE type = 2",
        "DELETE FROM member",
        "DELETE FROM resource WHERE type = 2",
        "UPDATE chain SET users = 7 WHERE chain <> 0",
        "UPDATE counter SET value = 99 WHERE name = 'seq'",
    ] {
        assert!(!tampered(sql).is_empty(), "{sql}");
    }
}

#[test]
fn erased_values_leave_the_chain_whole() {
    assert_eq!(tampered("DELETE FROM change_value WHERE seq IN (2, 5)"), Vec::<String>::new());
}

#[test]
fn a_change_tells_who_when_and_only_what_differs() {
    let store = Store::new();
    let mira = store.user("mira");
    let off = store.set(&mira, "active", json!(false)).unwrap();
    let history = store.read(|tx| Ok(change::of_resource(tx, mira.id, 10)?));
    assert_eq!(history.len(), 2);
    let last = &history[0];
    assert_eq!(last.kind, change::Kind::UserDeactivated);
    assert_eq!(
        (last.before.as_deref(), last.after.as_deref()),
        (Some("{\"active\":true}"), Some("{\"active\":false}"))
    );
    assert_eq!((last.actor.as_str(), last.at, last.version), ("token:tok_test", super::START, Some(2)));
    assert_eq!(last.directory.as_ref(), Some(&store.acme.id));
    assert_eq!(history[1].after.as_deref(), Some(mira.doc_text.as_str()));
    assert_eq!(off.version, 2);
}

#[test]
fn facts_hold_users_groups_and_members_at_one_seq() {
    let store = Store::new();
    let second = super::add_directory(&store.mirror, "second");
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let inner = store.group("Inner", &[&noor]);
    store.group("Outer", &[&mira, &inner]);
    store.set(&noor, "active", json!(false)).unwrap();
    let facts = store.read(|tx| Ok::<_, Error>(facts::load(tx, std::slice::from_ref(&second.id))?));
    assert_eq!(facts.seq.0, store.seq());
    let [first, acme] = facts.directories.as_slice() else { panic!("two directories") };
    assert_eq!((&first.id, first.pushed), (&second.id, false));
    assert_eq!((acme.pushed, acme.users.len(), acme.groups.len()), (true, 2, 2));
    let active: Vec<_> = acme.users.iter().map(|user| (user.user_name.as_str(), user.active)).collect();
    assert_eq!(active, [("mira", true), ("noor", false)]);
    assert_eq!((&acme.groups[1].users, &acme.groups[1].groups), (&vec![mira.id], &vec![inner.id]));
}
