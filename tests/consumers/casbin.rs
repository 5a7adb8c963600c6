//! Casbin decides (pycasbin), with the operator's `p` lines beside what rosterd wrote.

use serde_json::json;

use crate::harness::{Python, Stage, story};

const SCRIPT: &str = r#"
import json, sys, tempfile, casbin
story = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/model", "w").write(story["model"])
    open(folder + "/policy", "w", newline="").write(story["policy"] + story["ours"])
    enforcer = casbin.Enforcer(folder + "/model", folder + "/policy")
    print(json.dumps([bool(enforcer.enforce(*(story["before"] + user, *story["rest"]))) for user in story["users"]]))
"#;

const MODEL: &str = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[role_definition]\ng = _, _\n\
    [policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n";

const DOMAINS: &str = "[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = sub, dom, obj, act\n[role_definition]\ng = _, _, _\n\
    [policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act\n";

fn tell(target: &str, model: &str, policy: &str, before: &str, rest: &[&str]) {
    let Some(python) = Python::with(&["casbin"]) else { return };
    // Without a prefix that name is the role itself, which may do what the role may; no user is written under it.
    let stage = Stage { cannot_ask: |name| name == "role:admin", ..Stage::start(target) };
    story(stage, &|bytes, users| {
        let ours = String::from_utf8(bytes.to_vec()).unwrap();
        let asked = json!({"ours": ours, "model": model, "policy": policy, "before": before, "rest": rest, "users": users});
        let answer = python.ask(SCRIPT, &asked);
        answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
    });
}

#[test]
fn casbin_lets_in_whom_the_lines_say() {
    tell("format = \"casbin\"", MODEL, "p, role:admin, db, write\n", "user:", &["db", "write"]);
}

#[test]
fn casbin_takes_users_without_a_prefix() {
    let target = "format = \"casbin\"\noptions = { user_prefix = \"\" }";
    tell(target, MODEL, "p, role:admin, db, write\n", "", &["db", "write"]);
}

#[test]
fn casbin_keeps_domains_apart() {
    let target = "format = \"casbin\"\noptions = { domain = \"acme\" }";
    tell(target, DOMAINS, "p, role:admin, acme, db, write\n", "user:", &["acme", "db", "write"]);
    let Some(python) = Python::with(&["casbin"]) else { return };
    let asked = json!({"ours": "g, user:bob, role:admin, acme\n", "model": DOMAINS, "policy": "p, role:admin, other, db, write\n",
        "before": "user:", "rest": ["other", "db", "write"], "users": ["bob"]});
    assert_eq!(python.ask(SCRIPT, &asked), json!([false]));
}
