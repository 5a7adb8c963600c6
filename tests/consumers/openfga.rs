//! OpenFGA cannot be installed here. Its grammar of tuples (openfga/pkg/tuple) and a model of its `Check` are written
//! out instead: a user has a relation to an object if a tuple says so, directly or through a userset.
//!
//! ```text
//! type user
//! type group
//!   relations
//!     define member: [user, group#member]
//! type role
//!   relations
//!     define assignee: [user, group#member]
//! ```

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Stage, story};
use crate::support::wait_until;

type Tuple = (String, String, String);

fn tuples(bytes: &[u8]) -> BTreeSet<Tuple> {
    let list: Vec<Value> = serde_json::from_slice(bytes).unwrap();
    let word = |tuple: &Value, key: &str| tuple[key].as_str().unwrap().to_owned();
    let all: BTreeSet<Tuple> = list
        .iter()
        .map(|tuple| (word(tuple, "user"), word(tuple, "relation"), word(tuple, "object")))
        .collect();
    assert_eq!(all.len(), list.len(), "a write of the same tuple twice is refused");
    let object_like = regex::Regex::new(r"^[^:#@\s]{1,254}:[^:#\s]+$").unwrap();
    let relation_like = regex::Regex::new(r"^[^:#@\s]{1,50}$").unwrap();
    for (user, relation, object) in &all {
        let user = user.strip_suffix("#member").unwrap_or(user);
        assert!(object_like.is_match(user) && user.len() <= 512 && !user.ends_with(":*"), "{user}");
        assert!(object_like.is_match(object) && object.len() <= 256, "{object}");
        assert!(relation_like.is_match(relation), "{relation}");
    }
    all
}

fn check(all: &BTreeSet<Tuple>, user: &str, relation: &str, object: &str, depth: usize) -> bool {
    depth < 25
        && all.iter().any(|(who, how, what)| {
            how == relation
                && what == object
                && (who == user
                    || who
                        .split_once('#')
                        .is_some_and(|(set, inner)| check(all, user, inner, set, depth + 1)))
        })
}

/// A store that has been given every file, one Write after the other, as OpenFGA answers: what is deleted is there no
/// more, what is written is added, and nothing ever goes by itself.
fn load(store: &mut BTreeSet<Tuple>, bytes: &[u8]) {
    for line in std::str::from_utf8(bytes).unwrap().lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        let keys = |half: &str| tuples(&serde_json::to_vec(&request[half]["tuple_keys"]).unwrap());
        match (request.get("deletes"), request.get("writes")) {
            (Some(half), None) => {
                assert_eq!(half["on_missing"], "ignore");
                let keys = keys("deletes");
                assert!((1..=100).contains(&keys.len()));
                store.retain(|tuple| !keys.contains(tuple));
            }
            (None, Some(half)) => {
                assert_eq!(half["on_duplicate"], "ignore");
                let keys = keys("writes");
                assert!((1..=100).contains(&keys.len()));
                store.extend(keys);
            }
            _ => panic!("not one half: {line}"),
        }
    }
}

#[test]
fn a_store_that_is_only_added_to_lets_nobody_stay() {
    // Without a reload no delete may ever leave the file, since nobody says that it was loaded.
    let store = std::cell::RefCell::new(BTreeSet::new());
    story(Stage::start("format = \"openfga-tuples\""), &|bytes, users| {
        let mut store = store.borrow_mut();
        load(&mut store, bytes);
        users.iter().map(|user| check(&store, &format!("user:{user}"), "assignee", "role:admin", 0)).collect()
    });
}

#[test]
fn a_delete_is_loaded_although_the_reload_failed_when_it_was_written() {
    let reload = "[\"/bin/sh\", \"-c\", \"test -e {dir}/up && cat {dir}/out/policy >> {dir}/loaded\"]";
    let mut stage = Stage::start(&format!("format = \"openfga-tuples\"\nreload = {reload}"));
    let up = stage.daemon.path("up");
    std::fs::write(&up, "").unwrap();
    let alice = stage.scim.create_user(crate::harness::ALICE);
    let bob = stage.scim.create_user(crate::harness::BOB);
    let group = stage.scim.create_group("sre", &[&alice, &bob]);
    let loaded = stage.daemon.path("loaded");
    let holders = || {
        let mut store = BTreeSet::new();
        load(&mut store, &std::fs::read(&loaded).unwrap_or_default());
        [crate::harness::ALICE, crate::harness::BOB]
            .map(|user| check(&store, &format!("user:{user}"), "assignee", "role:admin", 0))
    };
    wait_until("both are in the store", || holders() == [true, true]);
    // The store is away while alice leaves; then bob leaves too, and only then is it back.
    std::fs::remove_file(&up).unwrap();
    stage.scim.remove_member(&group, &alice);
    wait_until("her delete is written", || stage.text().contains("deletes"));
    stage.scim.remove_member(&group, &bob);
    wait_until("his too", || {
        let text = stage.text();
        let deletes: Vec<&str> = text.lines().filter(|line| line.contains("deletes")).collect();
        deletes.concat().contains("user:alice") && deletes.concat().contains("user:bob")
    });
    assert_eq!(holders(), [true, true]);
    std::fs::write(&up, "").unwrap();
    wait_until("nobody is in the store", || holders() == [false, false]);
    // What was loaded leaves the file with the next change.
    stage.scim.add_member(&group, &bob);
    wait_until("bob is back", || holders() == [false, true]);
    let text = stage.text();
    assert!(!text.contains("\"deletes\""), "{text}");
}

#[test]
fn a_check_allows_whom_the_tuples_say() {
    let stage = Stage::start("format = \"openfga-tuples\"\noptions = { form = \"json\" }");
    story(stage, &|bytes, users| {
        let all = tuples(bytes);
        users.iter().map(|user| check(&all, &format!("user:{user}"), "assignee", "role:admin", 0)).collect()
    });
}

#[test]
fn encoded_ids_take_every_name() {
    use base64::Engine as _;
    let code = |name: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(name);
    let stage =
        Stage::start("format = \"openfga-tuples\"\noptions = { encode = \"base64url\", form = \"json\" }");
    story(stage, &|bytes, users| {
        let all = tuples(bytes);
        let role = format!("role:{}", code("admin"));
        users.iter().map(|user| check(&all, &format!("user:{}", code(user)), "assignee", &role, 0)).collect()
    });
}
