//! Cedar decides (its own engine, by cedarpy), held to the schema that we ship.

use serde_json::json;

use crate::harness::{Python, Stage, story};

const SCRIPT: &str = r#"
import json, sys, cedarpy
story = json.load(sys.stdin)
def quoted(text):  # as Cedar itself prints an id
    return '"' + "".join(c if c.isprintable() and c not in "\"\\'" else {"\t": "\\t", "\0": "\\0", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\", "'": "\\'"}.get(c, "\\u{%x}" % ord(c)) for c in text) + '"'
policies = 'permit(principal in ' + story["role"] + ', action == Action::"enter", resource);'
out = []
for user in story["users"]:
    request = {"principal": story["user"] + "::" + quoted(user), "action": 'Action::"enter"', "resource": 'Door::"front"', "context": {}}
    result = cedarpy.is_authorized(request, policies, story["entities"], story["schema"])
    errors = [error for error in result.diagnostics.errors if "not exist" not in str(error)]
    assert not errors, errors
    out.append(result.decision == cedarpy.Decision.Allow)
print(json.dumps(out))
"#;

/// The shipped schema, with what an application adds to it.
fn schema() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rosterd.cedarschema");
    std::fs::read_to_string(path).unwrap()
        + "entity Door;\naction enter appliesTo { principal: [User], resource: [Door], context: {} };\n"
}

#[test]
fn cedar_lets_in_whom_the_entities_say() {
    let Some(python) = Python::with(&["cedarpy"]) else { return };
    let stage = Stage::start(
        "format = \"cedar-entities\"\noptions = { attributes = [\"displayName\", \"email\", \"externalId\"] }",
    );
    story(stage, &|bytes, users| {
        let entities = String::from_utf8(bytes.to_vec()).unwrap();
        let asked = json!({"entities": entities, "schema": schema(), "role": "Role::\"admin\"", "user": "User", "users": users});
        let answer = python.ask(SCRIPT, &asked);
        answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
    });
}

#[test]
fn cedar_takes_a_namespace() {
    let Some(python) = Python::with(&["cedarpy"]) else { return };
    let stage = Stage::start("format = \"cedar-entities\"\noptions = { namespace = \"Acme::Hr\" }");
    story(stage, &|bytes, users| {
        let entities = String::from_utf8(bytes.to_vec()).unwrap();
        let asked = json!({"entities": entities, "schema": null, "role": "Acme::Hr::Role::\"admin\"", "user": "Acme::Hr::User", "users": users});
        let answer = python.ask(SCRIPT, &asked);
        answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
    });
}
