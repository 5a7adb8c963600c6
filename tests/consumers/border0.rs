//! Border0 is a service; what its policy (version v2) grants is written out here: a permission that is present is
//! granted to whoever `who` names, and an empty `who` is not "nobody".

use serde_json::Value;

use crate::harness::{Stage, story};

fn lets_in(policy: &Value, email: &str) -> bool {
    let keys: Vec<&String> = policy.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["permissions", "condition"], "{policy}");
    let who = &policy["condition"]["who"];
    let named: Vec<&str> = who["email"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(
        !named.is_empty() && who["group"] == serde_json::json!([]),
        "an empty `who` was written: {policy}"
    );
    assert!(policy["condition"]["where"]["allowed_ip"].as_array().is_some_and(|list| !list.is_empty()));
    let permissions = policy["permissions"].as_object().unwrap();
    permissions.contains_key("database") && named.iter().any(|name| name.eq_ignore_ascii_case(email))
}

#[test]
fn a_policy_permits_whom_it_names() {
    let stage = Stage::start(
        "format = \"border0-policy\"\nsubject = \"email\"\noptions = { role = \"admin\", permissions = [\"database\", \"ssh.shell\"] }",
    );
    story(stage, &|bytes, users| {
        let policy: Value = serde_json::from_slice(bytes).unwrap();
        users.iter().map(|user| lets_in(&policy, user)).collect()
    });
}
