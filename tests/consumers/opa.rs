//! Open Policy Agent's language decides (rego-cpp, an engine of its own), from the data file and from the bundle.

use serde_json::{Value, json};

use crate::harness::{Python, Stage, story};

const ARRAYS: &str = r#"
import json, sys, regopy
story = json.load(sys.stdin)
rego = regopy.Interpreter()
rego.add_module("authz", """package authz
default allow := false
allow if { some name in data.scim.roles["admin"]; name == input.user; data.scim.users[name].active == true }
""")
rego.add_data_json(story["data"])
out = []
for user in story["users"]:
    rego.set_input({"user": user})
    answer = rego.query("x = data.authz.allow")  # held: the binding points into it
    out.append(json.loads(str(answer.binding("x"))))
print(json.dumps(out))
"#;

const SETS: &str = r#"
import io, json, sys, tarfile, base64, hashlib, regopy
story = json.load(sys.stdin)
archive = tarfile.open(fileobj=io.BytesIO(base64.b64decode(story["bundle"])), mode="r:gz")
files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
assert list(files) == [".manifest", "acme/hr/data.json"], list(files)
assert all((m.uid, m.gid, m.mtime, m.mode) == (0, 0, 0, 0o644) for m in archive.getmembers())
manifest = json.loads(files[".manifest"])
data = files["acme/hr/data.json"]
assert manifest == {"revision": hashlib.sha256(data).hexdigest(), "roots": ["acme/hr"]}, manifest
rego = regopy.Interpreter()
rego.add_module("authz", """package authz
default allow := false
allow if { data.acme.hr.roles["admin"][input.user] == true }
""")
rego.add_data({"acme": {"hr": json.loads(data)}})
out = []
for user in story["users"]:
    rego.set_input({"user": user})
    answer = rego.query("x = data.authz.allow")  # held: the binding points into it
    out.append(json.loads(str(answer.binding("x"))))
print(json.dumps(out))
"#;

fn verdicts(answer: &Value) -> Vec<bool> {
    answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
}

#[test]
fn rego_lets_in_whom_the_data_file_says() {
    let Some(python) = Python::with(&["regopy"]) else { return };
    story(Stage::start("format = \"opa-data\""), &|bytes, users| {
        let data = String::from_utf8(bytes.to_vec()).unwrap();
        verdicts(&python.ask(ARRAYS, &json!({"data": data, "users": users})))
    });
}

#[test]
fn rego_lets_in_whom_the_bundle_says() {
    use base64::Engine as _;
    let Some(python) = Python::with(&["regopy"]) else { return };
    let stage = Stage::start("format = \"opa-bundle\"\noptions = { sets = true, root = \"acme.hr\" }");
    story(stage, &|bytes, users| {
        let bundle = base64::engine::general_purpose::STANDARD.encode(bytes);
        verdicts(&python.ask(SETS, &json!({"bundle": bundle, "users": users})))
    });
}
