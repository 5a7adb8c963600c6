use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;

use super::super::decision::{grant, rebaseline, subject};
use super::super::directory::DirectoryRef;
use super::super::{Error, change, config_version, directory, facts, verify};
use super::{Store, Stored, open, reference};
use crate::model::{DirectoryId, RoleName, Seq, Subject, Timestamp};
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
    Decide(u8, u8),
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
        8 => (0..11_u8, any::<u8>()).prop_map(|(what, n)| Step::Decide(what, n)),
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
        Step::Decide(what, n) => {
            decide(store, users, what, n);
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

/// One decision; those that have to name something name what is there, by number.
fn decide(store: &Store, users: &[Stored], what: u8, n: u8) {
    let user = pick(users, n).cloned();
    let done: Result<(), Error> = store.write(move |tx, acme| {
        let at = |len: usize| usize::from(n) % len.max(1);
        let now = tx.now();
        let later = |milliseconds: i64| Timestamp(now.0 + milliseconds * 1_000);
        match (what, user) {
            (0 | 2 | 5 | 9, None) => {}
            (0, Some(user)) => {
                subject::shut(tx, &about(acme, &user), &name_of(&user), "laptop stolen")?;
            }
            (1, _) => {
                let all = subject::shut_list(tx)?;
                if let Some(one) = all.get(at(all.len())) {
                    subject::open(tx, &one.subject)?;
                }
            }
            (2, Some(user)) => {
                let role = RoleName::parse("r1").unwrap();
                let until = later(i64::from(n % 16) + 1);
                grant::create(tx, &about(acme, &user), &name_of(&user), &role, until, "incident")?;
            }
            (3, _) => {
                let all = grant::list(tx)?;
                if let Some(one) = all.iter().find(|one| one.ended.is_none()) {
                    grant::revoke(tx, one.id)?;
                }
            }
            (4, _) => drop(grant::expire(tx)?),
            (5, Some(user)) => {
                subject::release(tx, &about(acme, &user), &name_of(&user), "moved")?;
            }
            (6, user) => {
                let all = subject::released_list(tx)?;
                if let (Some(one), Some(user)) = (all.get(at(all.len())), user) {
                    // Whoever has the name now may speak for it.
                    subject::reclaim(tx, &about(acme, &user), &one.user_name_key)?;
                }
            }
            (7, _) => {
                let id = if n.is_multiple_of(3) { "second" } else { "acme" };
                rebaseline::begin(tx, &DirectoryId::parse(id).unwrap(), later(2))?;
            }
            (8, _) => drop(rebaseline::close_due(tx)?),
            (9, Some(user)) => drop(rebaseline::see(tx, acme.key, &[user.rid])?),
            _ => {
                let body =
                    json!({"roles": [{"name": format!("r{}", n % 4)}], "directories": [], "targets": []});
                config_version::accept(tx, &body)?;
            }
        }
        Ok(())
    });
    // A refusal (shut already, no such directory) is as good as a success, as long as it leaves no trace.
    drop(done);
}

fn name_of(user: &Stored) -> String {
    let doc: serde_json::Value = serde_json::from_str(&user.doc_text).unwrap();
    doc["userName"].as_str().unwrap().to_owned()
}

fn about(acme: &DirectoryRef, user: &Stored) -> Subject {
    Subject { directory: acme.id.clone(), user: user.id }
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

/// One decision of each kind that stands.
fn decided(store: &Store, mira: &Stored, noor: &Stored) {
    let (mira, noor) = (mira.clone(), noor.clone());
    let until = Timestamp(super::START.0 + 3_600_000_000);
    store.clock.advance(std::time::Duration::from_millis(500));
    store
        .write(move |tx, acme| {
            let role = RoleName::parse("ops").unwrap();
            subject::shut(tx, &about(acme, &mira), "mira", "laptop stolen")?;
            grant::create(tx, &about(acme, &noor), "noor", &role, until, "incident")?;
            subject::release(tx, &about(acme, &noor), "noor", "moved")?;
            rebaseline::begin(tx, &acme.id, Timestamp(super::START.0 + 1_000_000))?;
            Ok(rebaseline::see(tx, acme.key, &[noor.rid])?)
        })
        .unwrap();
    store.clock.advance(std::time::Duration::from_secs(2));
    let closed = store.write(|tx, _| Ok(rebaseline::close_due(tx)?)).unwrap();
    assert_eq!(closed[0].1, 1);
}

/// Two users in a group, the mirror closed, `sql` run on the file behind its back, and what verify says then.
fn tampered(sql: &str) -> Vec<String> {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let admins = store.group("Admins", &[&mira, &noor]);
    store.set(&mira, "title", "Boss".into()).unwrap();
    store.edit_members(&admins, vec![MemberEdit::Remove(vec![noor.id.to_string()])]).unwrap();
    decided(&store, &mira, &noor);
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
        "DELETE FROM shut",
        "UPDATE shut SET reason = 'none'",
        "UPDATE shut SET user_name = 'noor'",
        "DELETE FROM role_grant",
        "UPDATE role_grant SET until_at = until_at + 1000000",
        "UPDATE role_grant SET role = 'root'",
        "UPDATE role_grant SET ended_seq = 8, ended_at = 1",
        "DELETE FROM released",
        "UPDATE released SET user_name_key = 'mira'",
        "DELETE FROM unconfirmed",
        "INSERT OR IGNORE INTO unconfirmed (rid, dir, since_seq) SELECT rid, dir, 1 FROM resource WHERE type = 1",
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
    // In the order of ids, which within one millisecond is chance.
    assert!(acme.users.is_sorted_by_key(|user| user.id) && acme.groups.is_sorted_by_key(|group| group.id));
    let mut active: Vec<_> = acme.users.iter().map(|user| (user.user_name.as_str(), user.active)).collect();
    active.sort_unstable();
    assert_eq!(active, [("mira", true), ("noor", false)]);
    let outer = acme.groups.iter().find(|group| group.display_name == "Outer").unwrap();
    assert_eq!((&outer.users, &outer.groups), (&vec![mira.id], &vec![inner.id]));
}
