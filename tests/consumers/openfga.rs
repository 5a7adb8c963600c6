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

#[test]
fn a_check_allows_whom_the_tuples_say() {
    story(Stage::start("format = \"openfga-tuples\""), &|bytes, users| {
        let all = tuples(bytes);
        users.iter().map(|user| check(&all, &format!("user:{user}"), "assignee", "role:admin", 0)).collect()
    });
}

#[test]
fn encoded_ids_take_every_name() {
    use base64::Engine as _;
    let code = |name: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(name);
    let stage = Stage::start("format = \"openfga-tuples\"\noptions = { encode = \"base64url\" }");
    story(stage, &|bytes, users| {
        let all = tuples(bytes);
        let role = format!("role:{}", code("admin"));
        users.iter().map(|user| check(&all, &format!("user:{}", code(user)), "assignee", &role, 0)).collect()
    });
}
