//! SpiceDB cannot be installed here. Its grammar of relationships (authzed/spicedb pkg/tuple) and a model of its check
//! are written out instead, for the schema
//!
//! ```text
//! definition user {}
//! definition group { relation member: user | group#member }
//! definition role { relation assignee: user | group#member }
//! ```

use std::collections::BTreeSet;

use base64::Engine as _;
use regex::Regex;

use crate::harness::{Stage, story};

/// Resource, relation, subject.
type Relationship = (String, String, String);

const GRAMMAR: &str = r"^(?<resource>[a-z][a-z0-9_]{1,62}[a-z0-9]:[a-zA-Z0-9/_|\-=+]{1,1024})#(?<relation>[a-z][a-z0-9_]{1,62}[a-z0-9])@(?<subject>[a-z][a-z0-9_]{1,62}[a-z0-9]:([a-zA-Z0-9/_|\-=+]{1,1024}|\*)(#[a-z][a-z0-9_]{1,62}[a-z0-9])?)$";

fn relationships(text: &str) -> BTreeSet<Relationship> {
    let grammar = Regex::new(GRAMMAR).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let found = grammar.captures(line).unwrap_or_else(|| panic!("not a relationship: {line}"));
            assert!(!found["subject"].contains('*'), "everybody: {line}");
            (found["resource"].to_owned(), found["relation"].to_owned(), found["subject"].to_owned())
        })
        .collect()
}

fn check(all: &BTreeSet<Relationship>, resource: &str, relation: &str, subject: &str, depth: usize) -> bool {
    depth < 50
        && all.iter().any(|(what, how, who)| {
            what == resource
                && how == relation
                && (who == subject
                    || who
                        .split_once('#')
                        .is_some_and(|(set, inner)| check(all, set, inner, subject, depth + 1)))
        })
}

fn code(name: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(name)
}

/// What SpiceDB does with each request: TOUCH adds or leaves, DELETE takes away or finds nothing.
fn load(store: &mut BTreeSet<Relationship>, bytes: &[u8]) {
    for line in std::str::from_utf8(bytes).unwrap().lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        let updates = request["updates"].as_array().unwrap();
        assert!((1..=1000).contains(&updates.len()));
        for update in updates {
            let one = &update["relationship"];
            let object = |object: &serde_json::Value| {
                format!("{}:{}", object["objectType"].as_str().unwrap(), object["objectId"].as_str().unwrap())
            };
            let relation = one["relation"].as_str().unwrap();
            let text =
                format!("{}#{relation}@{}", object(&one["resource"]), object(&one["subject"]["object"]));
            let mut found = relationships(&text);
            match update["operation"].as_str().unwrap() {
                "OPERATION_TOUCH" => store.append(&mut found),
                "OPERATION_DELETE" => store.retain(|known| !found.contains(known)),
                other => panic!("{other} cannot be repeated"),
            }
        }
    }
}

#[test]
fn a_store_that_is_only_added_to_lets_nobody_stay() {
    let store = std::cell::RefCell::new(BTreeSet::new());
    story(Stage::start("format = \"spicedb-relationships\""), &|bytes, users| {
        let mut store = store.borrow_mut();
        load(&mut store, bytes);
        let role = format!("role:{}", code("admin"));
        users
            .iter()
            .map(|user| check(&store, &role, "assignee", &format!("user:{}", code(user)), 0))
            .collect()
    });
}

#[test]
fn a_check_allows_whom_the_relationships_say() {
    let stage = Stage::start("format = \"spicedb-relationships\"\noptions = { form = \"lines\" }");
    story(stage, &|bytes, users| {
        let all = relationships(std::str::from_utf8(bytes).unwrap());
        let role = format!("role:{}", code("admin"));
        users.iter().map(|user| check(&all, &role, "assignee", &format!("user:{}", code(user)), 0)).collect()
    });
}

#[test]
fn a_validation_file_says_the_same() {
    let stage = Stage::start("format = \"spicedb-relationships\"\noptions = { form = \"yaml\" }");
    story(stage, &|bytes, users| {
        let text = std::str::from_utf8(bytes).unwrap();
        let text = if text == "relationships: \"\"\n" {
            ""
        } else {
            text.strip_prefix("relationships: |-\n").unwrap()
        };
        let all = relationships(text);
        let role = format!("role:{}", code("admin"));
        users.iter().map(|user| check(&all, &role, "assignee", &format!("user:{}", code(user)), 0)).collect()
    });
}
