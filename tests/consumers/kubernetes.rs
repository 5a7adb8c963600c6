//! What Kubernetes would take and grant: YAML by PyYAML, shapes by the API's own schemas, and the rule of RBAC that a
//! user is whoever bears exactly a subject's name.

use serde_json::json;

use crate::harness::{Python, Stage, story};

const SCRIPT: &str = r#"
import json, sys, yaml, kubernetes_validate
story = json.load(sys.stdin)
allowed, names = set(), set()
for binding in yaml.safe_load_all(story["yaml"]):
    kubernetes_validate.validate(binding, story["version"], strict=True)
    assert binding["kind"] == story["kind"] and binding["metadata"].get("namespace") == story["namespace"], binding
    assert binding["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "rosterd", "rosterd/target": "reader"}
    assert binding["metadata"]["name"] not in names and "/" not in binding["metadata"]["name"]
    names.add(binding["metadata"]["name"])
    assert isinstance(binding["subjects"], list)
    for subject in binding["subjects"]:
        assert set(subject) == {"kind", "apiGroup", "name"} and subject["kind"] == "User", subject
        assert isinstance(subject["name"], str) and not subject["name"].startswith("system:"), subject
        if binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": story["bind"], "name": story["role"]}:
            allowed.add(subject["name"])
assert names, "no binding"
print(json.dumps([story["before"] + user in allowed for user in story["users"]]))
"#;

fn tell(options: &str, kind: &str, namespace: Option<&str>, bind: &str, role: &str, before: &str) {
    let Some(python) = Python::with(&["yaml", "kubernetes_validate"]) else { return };
    let stage = Stage::start(&format!("format = \"k8s-rbac\"\noptions = {options}"));
    story(stage, &|bytes, users| {
        let yaml = String::from_utf8(bytes.to_vec()).unwrap();
        let asked = json!({"yaml": yaml, "version": "1.32", "kind": kind, "namespace": namespace, "bind": bind, "role": role,
            "before": before, "users": users});
        let answer = python.ask(SCRIPT, &asked);
        answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
    });
}

#[test]
fn a_cluster_role_binding_names_whom_it_lets_in() {
    tell("{}", "ClusterRoleBinding", None, "ClusterRole", "admin", "");
}

#[test]
fn a_role_binding_follows_map_namespace_and_prefix() {
    let options =
        "{ namespace = \"prod\", bind = \"Role\", map = { admin = \"edit\" }, user_prefix = \"oidc:\" }";
    tell(options, "RoleBinding", Some("prod"), "Role", "edit", "oidc:");
}
