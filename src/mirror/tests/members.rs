use std::time::Duration;

use super::super::{change, member, resource};
use super::{Store, add_directory, reference, status, user};
use crate::model::{ResourceType, Seq};
use crate::scim::filter::{bind, parse};
use crate::scim::patch::MemberEdit;
use crate::scim::resource::MemberRef;
use crate::scim::schema::Registry;

fn names(store: &Store, group: &super::Stored) -> Vec<String> {
    let found = store.read(|tx| Ok(member::members(tx, &store.acme, group)?));
    found.into_iter().map(|member| member.display).collect()
}

#[test]
fn adding_and_removing_are_idempotent_and_make_one_change_each() {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let admins = store.group("Admins", &[&mira]);
    assert_eq!(admins.members, 1);
    let both = vec![MemberEdit::Add(vec![reference(&mira), reference(&noor)])];
    let more = store.edit_members(&admins, both.clone()).unwrap();
    assert_eq!((more.version, more.members), (2, 2));
    let seq = store.seq();
    assert_eq!(store.edit_members(&admins, both).unwrap().version, 2);
    let stranger = vec![MemberEdit::Remove(vec!["nobody".into(), admins.id.to_string()])];
    store.edit_members(&admins, stranger).unwrap();
    assert_eq!(store.seq(), seq);
    let fewer = store.edit_members(&admins, vec![MemberEdit::Remove(vec![mira.id.to_string()])]).unwrap();
    assert_eq!((fewer.version, fewer.members), (3, 1));
    assert_eq!(names(&store, &admins), ["D noor"]);
    let last = store.read(|tx| Ok(change::after(tx, Seq(seq), 10)?));
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].members.len(), last[0].members[0].added), (1, false));
}

#[test]
fn who_comes_and_goes_in_one_request_leaves_no_trace() {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let admins = store.group("Admins", &[&mira]);
    let seq = store.seq();
    let edits = vec![
        MemberEdit::Add(vec![reference(&noor)]),
        MemberEdit::Remove(vec![mira.id.to_string(), noor.id.to_string()]),
        MemberEdit::Add(vec![reference(&mira)]),
    ];
    assert_eq!(store.edit_members(&admins, edits).unwrap(), admins);
    assert_eq!(store.seq(), seq);
}

#[test]
fn replace_and_remove_by_filter_do_what_they_say() {
    let store = Store::new();
    let users: Vec<_> = ["a", "b", "c"].into_iter().map(|name| store.user(name)).collect();
    let inner = store.group("Inner", &[]);
    let admins = store.group("Admins", &[&users[0], &users[1], &inner]);
    let put = MemberEdit::Replace(vec![reference(&users[2]), reference(&users[1]), reference(&inner)]);
    assert_eq!(store.edit_members(&admins, vec![put]).unwrap().members, 3);
    assert_eq!(names(&store, &admins), ["D b", "D c", "Inner"]);
    let registry = Registry::standard();
    let schema = registry.resource(ResourceType::Group);
    let filter = |text: &str| MemberEdit::RemoveMatching(bind(&parse(text).unwrap(), schema).unwrap());
    let one = filter(&format!("members.value eq \"{}\"", users[1].id));
    assert_eq!(store.edit_members(&admins, vec![one]).unwrap().members, 2);
    store.edit_members(&admins, vec![filter("members.type eq \"Group\"")]).unwrap();
    assert_eq!(names(&store, &admins), ["D c"]);
    store.edit_members(&admins, vec![MemberEdit::Replace(Vec::new())]).unwrap();
    assert_eq!(names(&store, &admins), Vec::<String>::new());
}

#[test]
fn unknown_foreign_and_mistyped_members_get_one_answer() {
    let store = Store::new();
    let mira = store.user("mira");
    let admins = store.group("Admins", &[]);
    let other = add_directory(&store.mirror, "other");
    let draft = user("foreign");
    let foreign = store.write(move |tx, _| resource::create(tx, &other, ResourceType::User, draft)).unwrap();
    let mistyped = MemberRef { value: mira.id.to_string(), kind: Some(ResourceType::Group) };
    let unknown = MemberRef { value: "no-id".into(), kind: None };
    let answers = [reference(&foreign), mistyped, unknown].map(|member| {
        let edits = vec![MemberEdit::Add(vec![reference(&mira), member])];
        store.edit_members(&admins, edits).unwrap_err()
    });
    for answer in &answers {
        assert_eq!(status(answer), (400, Some("invalidValue")));
        assert_eq!(answer.to_string(), answers[0].to_string());
    }
    assert_eq!(store.find(&admins), Some(admins), "nothing half done");
}

#[test]
fn groups_of_a_user_survive_nesting_and_cycles() {
    let store = Store::new();
    let mira = store.user("mira");
    let inner = store.group("Inner", &[&mira]);
    let outer = store.group("Outer", &[&inner]);
    store.edit_members(&inner, vec![MemberEdit::Add(vec![reference(&outer), reference(&inner)])]).unwrap();
    let groups = store.read(|tx| Ok(member::groups_of(tx, &store.acme, &mira)?));
    let said: Vec<_> = groups.iter().map(|group| (group.display.as_str(), group.direct)).collect();
    assert_eq!(said, [("Inner", true), ("Outer", false)]);
}

#[test]
fn a_deleted_user_leaves_its_groups_in_the_same_change() {
    let store = Store::new();
    let (mira, noor) = (store.user("mira"), store.user("noor"));
    let (a, b) = (store.group("A", &[&mira, &noor]), store.group("B", &[&mira]));
    let seq = store.seq();
    store.clock.advance(Duration::from_secs(1));
    store.delete(&mira).unwrap();
    assert_eq!(store.seq(), seq + 1);
    let changes = store.read(|tx| Ok(change::after(tx, Seq(seq), 10)?));
    assert_eq!(changes[0].kind, change::Kind::UserDeleted);
    assert_eq!(changes[0].before.as_deref(), Some(mira.doc_text.as_str()));
    let from: Vec<_> = changes[0].members.iter().map(|row| (row.group, row.member, row.added)).collect();
    assert_eq!(from, [(a.id, mira.id, false), (b.id, mira.id, false)]);
    for group in [&a, &b] {
        let now = store.find(group).unwrap();
        assert_eq!((now.version, now.members), (2, group.members - 1));
        assert!(now.last_modified > group.last_modified);
    }
    store.delete(&a).unwrap();
    assert_eq!(store.find(&noor).unwrap().version, 1, "groups are no part of a user's version");
}

#[test]
fn concurrent_adds_to_one_group_lose_none() {
    let store = Store::new();
    let users: Vec<_> = (0..64).map(|n| store.user(&format!("u{n}"))).collect();
    let admins = store.group("Admins", &[]);
    std::thread::scope(|scope| {
        for part in users.chunks(4) {
            let (store, admins) = (&store, &admins);
            scope.spawn(move || {
                for user in part {
                    store.edit_members(admins, vec![MemberEdit::Add(vec![reference(user)])]).unwrap();
                }
            });
        }
    });
    let now = store.find(&admins).unwrap();
    assert_eq!((now.members, now.version), (64, 65));
    assert_eq!(names(&store, &admins).len(), 64);
    let report = store.read(|tx| Ok(super::super::verify::verify(tx)?));
    assert_eq!(report.faults, Vec::<String>::new());
}

#[test]
fn reading_memberships_starts_from_the_member_index_never_from_the_resources() {
    use super::super::engine::Param;
    let store = Store::new();
    for sql in [member::GROUPS_OF, member::MEMBERS] {
        let plan = store.read(|tx| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let params = [Param::Int(1), Param::Int(1)];
            Ok(tx.all(&sql, &params, |row| row.text(3).map(str::to_owned))?)
        });
        let of_resource: Vec<_> = plan.iter().filter(|line| line.contains(" r ")).collect();
        assert_eq!(of_resource, ["SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"], "{plan:#?}");
        assert!(!plan.iter().any(|line| line.contains("BLOOM") || line.contains("AUTOMATIC")), "{plan:#?}");
    }
}
