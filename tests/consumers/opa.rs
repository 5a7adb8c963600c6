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

/// rego-cpp compares texts as JSON writes them, and Python writes what needs an escape in another way than rosterd.
fn cannot_ask(name: &str) -> bool {
    name.contains(|c: char| !c.is_ascii() || c.is_ascii_control() || matches!(c, '"' | '\\'))
}

/// The same over HTTP, as the bundle plugin downloads it, from a target that has no file to read.
fn pulled(stage: &Pulled, etag: &str, wait: &str) -> Option<(String, Vec<u8>)> {
    use crate::support::http::Client;
    let bearer = format!("Bearer {}", stage.token);
    let mut headers = vec![("Authorization", bearer.as_str()), ("Prefer", wait)];
    if !etag.is_empty() {
        headers.push(("If-None-Match", etag));
    }
    let got = Client::new(stage.address).send("GET", "/targets/bundle", &headers, None).unwrap();
    match got.status {
        200 => {
            assert_eq!(got.header("content-type"), Some("application/vnd.openpolicyagent.bundles"));
            Some((got.header("etag").unwrap().to_owned(), got.body))
        }
        304 | 503 => None,
        other => panic!("{other}: {}", got.text()),
    }
}

struct Pulled {
    address: std::net::SocketAddr,
    token: String,
}

fn verdicts(answer: &Value) -> Vec<bool> {
    answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
}

#[test]
fn rego_lets_in_whom_the_data_file_says() {
    let Some(python) = Python::with(&["regopy"]) else { return };
    let stage = Stage { cannot_ask, ..Stage::start("format = \"opa-data\"") };
    story(stage, &|bytes, users| {
        let data = String::from_utf8(bytes.to_vec()).unwrap();
        verdicts(&python.ask(ARRAYS, &json!({"data": data, "users": users})))
    });
}

#[test]
fn rego_lets_in_whom_the_bundle_says() {
    use base64::Engine as _;
    let Some(python) = Python::with(&["regopy"]) else { return };
    let target = "format = \"opa-bundle\"\noptions = { sets = true, root = \"acme.hr\" }";
    let stage = Stage { cannot_ask, ..Stage::start(target) };
    story(stage, &|bytes, users| {
        let bundle = base64::engine::general_purpose::STANDARD.encode(bytes);
        verdicts(&python.ask(SETS, &json!({"bundle": bundle, "users": users})))
    });
}

#[test]
fn rego_lets_in_whom_the_pulled_bundle_says_as_soon_as_it_changes() {
    use crate::support::wait_for;
    use base64::Engine as _;
    let Some(python) = Python::with(&["regopy"]) else { return };
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stage = Stage::start(&format!(
        "format = \"json\"\n[publish]\nlisten = \"{address}\"\n[[reader]]\nname = \"fleet\"\ntargets = [\"bundle\"]\n\
         [[target]]\nname = \"bundle\"\ntype = \"file\"\nformat = \"opa-bundle\"\npublish = true\n\
         options = {{ sets = true, root = \"acme.hr\" }}\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n"
    ));
    let made = stage.daemon.cli_json(&["token", "new", "--reader", "fleet"]);
    let reader = Pulled { address, token: made["token"].as_str().unwrap().to_owned() };
    let alice = stage.scim.create_user(crate::harness::ALICE);
    stage.scim.create_user(crate::harness::BOB);
    let group = stage.scim.create_group("sre", &[&alice]);
    let asked = |bundle: &[u8]| {
        let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
        let users = [crate::harness::ALICE, crate::harness::BOB];
        verdicts(&python.ask(SETS, &json!({"bundle": bundle, "users": users})))
    };
    let mut etag = String::new();
    let mut until = |what: &str, expected: [bool; 2]| {
        wait_for(what, || {
            let (tag, bundle) = pulled(&reader, &etag, "modes=snapshot,delta;wait=5")?;
            etag = tag;
            (asked(&bundle) == expected).then_some(())
        });
    };
    until("alice is let in and bob is not", [true, false]);
    stage.scim.remove_member(&group, &alice);
    until("nobody is let in", [false, false]);
}
