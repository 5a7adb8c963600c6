//! What commands print with `--json`: one table, from which docs/json.md is made and which each command is held to.
//!
//! `UPDATE_DOCS=1 cargo test --test daemon the_page_of_json` writes the page anew, from this table and docs/openapi.json.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use rosterd::cli::Exit;
use serde_json::{Map, Value, json};

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::receiver::Receiver;
use crate::support::wait_until;

/// What a command prints.
enum Shape {
    /// An answer of the API, by its component.
    Answer(&'static str),
    /// Such an answer with more in it: properties as JSON Schema.
    More(&'static str, &'static str),
    /// Something of its own: properties as JSON Schema, and those that may be absent.
    Own(&'static str, &'static [&'static str]),
}

use Shape::{Answer, More, Own};

const COMMANDS: &[(&str, Shape)] = &[
    ("access", Answer("Access")),
    (
        "approve",
        Own(
            r##"{"targets": {"type": "array", "items": {"$ref": "#/components/schemas/Decided"}, "description": "one for each target"}}"##,
            &[],
        ),
    ),
    (
        "backup",
        Own(
            r#"{"file": {"type": "string"}, "bytes": {"type": "integer"}, "epoch": {"type": "integer"}}"#,
            &[],
        ),
    ),
    (
        "capture",
        Own(
            r#"{"requests": {"type": "integer"}, "out": {"type": ["string", "null"], "description": "the file of `--out`"},
            "captured": {"type": "array", "items": {"type": "object"}, "description": "of each directory: since when, how many, what was replaced"},
            "trace": {"type": ["object", "array", "null"], "description": "null if it went to a file"}}"#,
            &[],
        ),
    ),
    (
        "check",
        Own(
            r#"{"ok": {"type": "boolean"},
            "problems": {"type": "array", "items": {"$ref": "@Problem"}, "description": "what is wrong, in full"},
            "warnings": {"type": "array", "items": {"$ref": "@Problem"}}}"#,
            &[],
        ),
    ),
    ("delivery list", Answer("Deliveries")),
    ("delivery replay", Answer("Ordered")),
    ("delivery retry", Answer("Ordered")),
    ("delivery show", Answer("Delivery")),
    ("delivery skip", Answer("Ordered")),
    ("delivery snapshot", Answer("Ordered")),
    ("diff", Answer("Diff")),
    (
        "directory add",
        Own(
            r#"{"id": {"type": "string"}, "name": {"type": "string"}, "kind": {"type": "string"}, "base_url": {"type": "string"},
            "token": {"type": "string", "description": "this once"}}"#,
            &[],
        ),
    ),
    ("directory disable", Answer("Directory")),
    ("directory enable", Answer("Directory")),
    ("directory list", Answer("Directories")),
    ("directory rebaseline", Answer("Rebaseline")),
    ("directory remove", Answer("DirectoryRemoved")),
    ("directory rename", Answer("Directory")),
    ("directory show", Answer("DirectoryDetail")),
    ("doctor", Answer("Findings")),
    ("events keys", Answer("PublicKeys")),
    (
        "events list",
        Own(
            r#"{"events": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}, "when": {"type": "string"}},
            "required": ["type", "when"], "additionalProperties": false}, "description": "each with `type` and `when`"}}"#,
            &[],
        ),
    ),
    ("explain", Answer("Explained")),
    ("export", Answer("Exported")),
    (
        "export --list",
        Own(
            r#"{"formats": {"type": "array", "items": {"type": "object"}, "description": "each with `name`, `summary`, `content_type`, `options`, `example`"}}"#,
            &[],
        ),
    ),
    ("grant", Answer("Grant")),
    ("grant list", Answer("Grants")),
    ("grant revoke", Answer("Grant")),
    ("group list", Answer("Groups")),
    ("group show", Answer("GroupDetail")),
    ("history", Answer("History")),
    (
        "import",
        More(
            "ImportPlan",
            r##"{"applied": {"type": "boolean"}, "done": {"anyOf": [{"$ref": "#/components/schemas/ImportDone"}, {"type": "null"}]}}"##,
        ),
    ),
    ("open", Answer("Opened")),
    ("plan", Answer("Plans")),
    ("reject", Answer("Decided")),
    ("reload", Answer("Reloaded")),
    (
        "replay",
        Own(
            r#"{"ok": {"type": "boolean"}, "passed": {"type": "integer"}, "failed": {"type": "integer"},
            "traces": {"type": "array", "items": {"type": "object"},
            "description": "each with `name`, `passed` and `failed`: steps with `number`, `name`, `request`, `status`, `problems`"}}"#,
            &[],
        ),
    ),
    (
        "restore",
        Own(
            r#"{"mirror": {"type": "string"}, "kept": {"type": ["string", "null"], "description": "where the mirror of before is now"},
            "epoch": {"type": "integer"}, "seq": {"type": "integer"},
            "targets": {"type": "array", "items": {"type": "string"}, "description": "unverified until a person says otherwise"},
            "directories": {"type": "array", "items": {"type": "string"}}}"#,
            &[],
        ),
    ),
    ("shut", Answer("ShutDone")),
    ("shut --list", Answer("ShutList")),
    ("status", Answer("Status")),
    ("subject release", Answer("Released")),
    ("subject released", Answer("ReleasedList")),
    ("sync", Answer("Synced")),
    ("target forget", Answer("TargetForgotten")),
    ("target list", Answer("Targets")),
    ("target rollback", Answer("RolledBack")),
    ("target show", Answer("Target")),
    ("token list", Answer("Tokens")),
    (
        "token new",
        Own(
            r#"{"id": {"type": "string"}, "directory": {"type": ["string", "null"]}, "reader": {"type": ["string", "null"]},
            "token": {"type": "string", "description": "this once"}, "expires": {"type": ["string", "null"]}}"#,
            &[],
        ),
    ),
    ("token revoke", Answer("Token")),
    ("user forget", Answer("UserForgotten")),
    ("user list", Answer("Users")),
    ("user show", Answer("UserDetail")),
    ("verify", Answer("Verified")),
];

/// One thing wrong with a config, as `check` tells it.
const PROBLEM: &str = r#"{"type": "object", "properties": {"kind": {"type": "string"}, "file": {"type": "string"},
    "line": {"type": "integer"}, "column": {"type": "integer"}, "key": {"type": "string"}, "message": {"type": "string"},
    "help": {"type": "string"}}, "required": ["kind", "file", "message"], "additionalProperties": false}"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("docs/openapi.json")).unwrap()).unwrap()
}

fn properties(text: &str) -> Map<String, Value> {
    serde_json::from_str(&text.replace(r#"{"$ref": "@Problem"}"#, PROBLEM)).unwrap()
}

/// The schema of one command's output, in which nothing unknown may stand.
fn schema(shape: &Shape) -> Value {
    let mut components = document()["components"].clone();
    for (_, one) in components["schemas"].as_object_mut().unwrap() {
        one.as_object_mut().unwrap().entry("additionalProperties").or_insert(json!(false));
    }
    let mut schema = match shape {
        Answer(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        More(name, more) => {
            let mut whole = components["schemas"][name].clone();
            for (key, value) in properties(more) {
                whole["required"].as_array_mut().unwrap().push(json!(key));
                whole["properties"][key] = value;
            }
            whole
        }
        Own(text, optional) => {
            let properties = properties(text);
            let required: Vec<&String> =
                properties.keys().filter(|key| !optional.contains(&key.as_str())).collect();
            json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
        }
    };
    schema["components"] = components;
    schema
}

/// Commands as they are run, each held to the table.
struct Held {
    daemon: Daemon,
    seen: BTreeSet<&'static str>,
}

impl Held {
    /// Runs `words` of the table with `args` behind them.
    fn run(&mut self, words: &'static str, args: &[&str]) -> Value {
        let (_, shape) = COMMANDS.iter().find(|(known, _)| *known == words).expect(words);
        let mut all: Vec<&str> = words.split(' ').collect();
        all.extend(args);
        all.push("--json");
        let out = self.daemon.cli(&all);
        let (said, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let printed: Value =
            serde_json::from_str(&said).unwrap_or_else(|fault| panic!("{all:?}: {fault}: {said}{told}"));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema(shape)).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&printed)
            .map(|fault| format!("{fault} at {}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{all:?}\n{faults:#?}\n{printed:#}");
        self.seen.insert(words);
        printed
    }

    fn wait(&self, target: &str, state: &str) {
        wait_until(&format!("{target} is {state}"), || self.daemon.target(target)["state"] == state);
    }
}

const REST: &str = "[[role]]\nname = \"db-admin\"\ngroups = [\"Crew\"]\n[guard]\nmax_removals = 1\nmin_removals = 2\nurgent = 0\n";
const FILE: &str = "[[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/access.json\"\n\
    wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";

#[test]
fn each_command_prints_what_the_page_of_json_says() {
    let receiver = Receiver::start();
    let hook = format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [\"user.*\", \"group.*\"]\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
        receiver.url()
    );
    let mut daemon = Daemon::prepare(&format!("{REST}{FILE}{hook}"));
    daemon.secret("hook-secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    daemon.run();
    let mut held = Held { daemon, seen: BTreeSet::new() };
    let people = people_and_tokens(&mut held);
    targets(&mut held, &receiver, people);
    files(&mut held);
    held.daemon.write_config(&format!("{REST}{hook}"));
    held.run("reload", &[]);
    held.run("target forget", &["opa"]);
    held.daemon.stop();
    let copy = held.daemon.path("copy.db").display().to_string();
    held.run("restore", &[&copy, "--yes"]);
    let missed: Vec<_> =
        COMMANDS.iter().map(|(words, _)| *words).filter(|w| !held.seen.contains(w)).collect();
    assert!(missed.is_empty(), "never run: {missed:?}");
}

fn people_and_tokens(held: &mut Held) -> (Scim, String) {
    let made = held.run("directory add", &["Acme", "--kind", "generic"]);
    let directory = Directory {
        id: "acme".to_owned(),
        token: made["token"].as_str().unwrap().to_owned(),
        base_url: made["base_url"].as_str().unwrap().to_owned(),
    };
    let mut scim = held.daemon.scim(&directory);
    let people =
        ["alice", "bob", "carol", "dave", "erin"].map(|n| scim.create_user(&format!("{n}@example.com")));
    let members: Vec<&str> = people.iter().map(String::as_str).collect();
    let crew = scim.create_group("Crew", &members);
    let gone = scim.create_user("gone@example.com");
    scim.send("DELETE", &format!("/Users/{gone}"), None).expect(204);
    wait_until("all are in", || held.daemon.read("access.json").contains("erin@example.com"));
    held.wait("app", "in_sync");
    for words in
        ["status", "directory list", "token list", "user list", "group list", "access", "history", "verify"]
    {
        held.run(words, &[]);
    }
    held.run("directory show", &["acme"]);
    held.run("user show", &["alice@example.com"]);
    held.run("group show", &[&crew]);
    held.run("explain", &["bob@example.com"]);
    held.run("diff", &["--from", "seq:1"]);
    held.run("user forget", &[&gone, "--yes"]);
    let token = held.run("token new", &["acme", "--note", "rotation"]);
    held.run("token revoke", &[token["id"].as_str().unwrap()]);
    held.run("shut", &["alice@example.com", "--reason", "laptop stolen"]);
    held.run("shut --list", &[]);
    held.run("open", &["alice@example.com"]);
    let zoe = scim.create_user("zoe@example.com");
    let grant = held.run("grant", &[&zoe, "db-admin", "--for", "4h", "--reason", "incident"]);
    held.run("grant list", &[]);
    held.run("grant revoke", &[&grant["id"].to_string()]);
    held.run("subject release", &["bob@example.com", "--reason", "moved"]);
    held.run("subject released", &[]);
    held.daemon.add_directory("Second", "entra");
    held.run("directory rename", &["second", "Zweite"]);
    held.run("directory disable", &["second"]);
    held.run("directory enable", &["second"]);
    held.run("directory rebaseline", &["second", "--within", "1h"]);
    held.run("directory remove", &["second", "--yes"]);
    held.run("sync", &["opa"]);
    held.run("target list", &[]);
    held.run("target show", &["opa"]);
    (scim, crew)
}

fn targets(held: &mut Held, receiver: &Receiver, (mut scim, crew): (Scim, String)) {
    held.wait("app", "in_sync");
    let list = held.run("delivery list", &[]);
    held.run("delivery show", &[list["deliveries"][0]["id"].as_str().unwrap()]);
    held.run("delivery retry", &["--all", "--target", "app"]);
    receiver.answer_next(&["500 Oops"]);
    scim.create_user("late@example.com");
    let mut open = None;
    wait_until("a delivery waits", || {
        let all = held.daemon.cli_json(&["delivery", "list", "--state", "pending"]);
        let first = all["deliveries"][0].clone();
        open = first["id"].as_str().map(str::to_owned).filter(|_| first["attempts"].as_u64() > Some(0));
        open.is_some()
    });
    held.run("delivery skip", &[&open.unwrap()]);
    held.run("delivery replay", &["app", "--from", "1"]);
    held.wait("app", "in_sync");
    held.run("delivery snapshot", &["app"]);
    scim.patch(&format!("/Groups/{crew}"), json!([{"op": "replace", "path": "members", "value": []}]));
    held.wait("opa", "held");
    held.run("plan", &["opa"]);
    held.run("approve", &["opa", "--subject", "bob@example.com"]);
    held.run("reject", &["opa"]);
    held.run("target rollback", &["opa"]);
}

fn files(held: &mut Held) {
    let path = |name: &str| held.daemon.path(name).display().to_string();
    let (copy, people, trace, token) =
        (path("copy.db"), path("people.jsonl"), path("trace.json"), path("token"));
    std::fs::write(&people, "{\"userName\":\"moved@example.com\"}\n").unwrap();
    std::fs::write(
        &trace,
        r#"{"name":"one","idp":"generic","steps":[{"name":"a","request":{"method":"GET","path":"/Users"},"expect":{"status":[418]}}]}"#,
    )
    .unwrap();
    std::fs::write(&token, "rosterd_none").unwrap();
    let url = format!("http://{}/scim/v2", held.daemon.address);
    held.run("check", &[]);
    held.run("doctor", &["--offline"]);
    held.run("events list", &[]);
    held.run("events keys", &[]);
    held.run("export", &["json"]);
    held.run("export --list", &[]);
    held.run("import", &[&people, "--directory", "acme", "--yes"]);
    held.run("capture", &["--directory", "acme", "--for", "1s"]);
    held.run("replay", &[&trace, "--url", &url, "--token-file", &token]);
    held.run("backup", &[&copy]);
}

/// A schema in words, with links to the components it names.
fn words(schema: &Value, used: &mut BTreeSet<String>) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
        used.insert(name.to_owned());
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(all) = schema[key].as_array() {
            return all.iter().map(|one| words(one, used)).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(all) = schema["enum"].as_array() {
        return all.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    }
    let of = |kind: &str, used: &mut BTreeSet<String>| match kind {
        "array" if schema["items"].is_object() => format!("list of {}", words(&schema["items"], used)),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(kind) => of(kind, used),
        Value::Array(kinds) => {
            kinds.iter().map(|kind| of(kind.as_str().unwrap(), used)).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn fields(properties: &Value, required: &Value, used: &mut BTreeSet<String>) -> String {
    let mut text = String::new();
    for (name, schema) in properties.as_object().into_iter().flatten() {
        let always = required.as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let optional = if always { "" } else { ", may be absent" };
        let about = schema["description"].as_str().map(|about| format!(": {about}")).unwrap_or_default();
        writeln!(text, "- `{name}` ({}{optional}){about}", words(schema, used)).unwrap();
    }
    text
}

#[test]
fn the_page_of_json_is_made_of_the_table_and_the_document() {
    let document = document();
    let components = &document["components"]["schemas"];
    let mut used = BTreeSet::new();
    let mut text = String::from("\n## Exit codes\n\n| code | means |\n| --- | --- |\n");
    for (exit, what) in Exit::TABLE {
        writeln!(text, "| {} | {what} |", exit.code()).unwrap();
    }
    text += "\n## Commands\n\n| command | prints |\n| --- | --- |\n";
    let mut own = String::new();
    for (command, shape) in COMMANDS {
        let anchor = format!("rosterd-{}", command.replace(' ', "-"));
        let shown = match shape {
            Answer(name) => words(&json!({ "$ref": name }), &mut used),
            More(name, _) => format!("{} and [more](#{anchor})", words(&json!({ "$ref": name }), &mut used)),
            Own(..) => format!("[its own](#{anchor})"),
        };
        writeln!(text, "| `{command}` | {shown} |").unwrap();
        if let More(_, properties) | Own(properties, _) = shape {
            let all: Value = properties.parse::<Value>().unwrap();
            let required: Vec<&String> = all.as_object().unwrap().keys().collect();
            let all_fields = fields(&all, &json!(required), &mut used)
                .replace("[@Problem](#@problem)", "[Problem](#problem)");
            write!(own, "\n### rosterd {command}\n\n{all_fields}").unwrap();
        }
    }
    used.remove("@Problem");
    let problem: Value = PROBLEM.parse().unwrap();
    write!(own, "\n### Problem\n\n{}", fields(&problem["properties"], &problem["required"], &mut used))
        .unwrap();
    let mut told = BTreeSet::new();
    let mut parts = std::collections::BTreeMap::new();
    while let Some(name) = used.iter().find(|name| !told.contains(*name)).cloned() {
        let schema = &components[&name];
        assert!(schema.is_object(), "docs/openapi.json has no component {name}");
        let about = schema["description"].as_str().unwrap_or_default();
        let list = fields(&schema["properties"], &schema["required"], &mut used);
        let body = if list.is_empty() { format!("{}\n", words(schema, &mut used)) } else { list };
        let about = if about.is_empty() { String::new() } else { format!("{about}\n\n") };
        parts.insert(name.clone(), format!("\n### {name}\n\n{about}{body}"));
        told.insert(name);
    }
    write!(
        text,
        "\n## Of a command's own\n{own}\n## Answers of the API\n{}\n",
        parts.into_values().collect::<String>()
    )
    .unwrap();
    let path = root().join("docs/json.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let begin = page.find(": begin -->\n").expect("the mark `begin`") + 12;
    let end = page.find("<!-- generated: end -->").expect("the mark `end`");
    if page[begin..end] != *text {
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "docs/json.md is not what the code says; run: UPDATE_DOCS=1 cargo test --test daemon the_page_of_json"
        );
        std::fs::write(&path, format!("{}{text}{}", &page[..begin], &page[end..])).unwrap();
    }
}
