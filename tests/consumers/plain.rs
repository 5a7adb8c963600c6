//! The generic forms, read by other people's readers: PyYAML, Python's `csv` and `json`.

use serde_json::json;

use crate::harness::{Python, Stage, story};

fn tell(target: &str, modules: &[&str], read: &str) {
    let Some(python) = Python::with(modules) else { return };
    let script = format!(
        "import json, sys, io\nstory = json.load(sys.stdin)\ntext = story['text']\n{read}\n\
         assert all(isinstance(name, str) for name in allowed), allowed\nprint(json.dumps([user in allowed for user in story['users']]))\n"
    );
    story(Stage::start(target), &|bytes, users| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let answer = python.ask(&script, &json!({"text": text, "users": users}));
        answer.as_array().unwrap().iter().map(|one| one.as_bool().unwrap()).collect()
    });
}

#[test]
fn yaml_is_read_as_it_was_meant() {
    let read = "import yaml\nmodel = yaml.safe_load(text)\nallowed = [n for r in model['roles'] if r['name'] == 'admin' for n in r['members']]\n\
                assert all(isinstance(u['name'], str) and u['active'] is True for u in model['users'])";
    tell("format = \"yaml\"", &["yaml"], read);
}

#[test]
fn csv_is_read_as_it_was_meant() {
    let read = "import csv\nrows = list(csv.DictReader(io.StringIO(text, newline=''), strict=True))\n\
                assert all(None not in r and None not in r.values() for r in rows)\n\
                allowed = [r['user'] for r in rows if (r['kind'], r['name']) == ('role', 'admin')]";
    tell("format = \"csv\"", &["csv"], read);
}

#[test]
fn json_lines_are_read_as_they_were_meant() {
    // splitlines() splits on every Unicode line end, as careless readers do.
    let read = "rows = [json.loads(line) for line in text.splitlines()]\n\
                allowed = [n for r in rows if r['kind'] == 'role' and r['name'] == 'admin' for n in r['members']]";
    tell("format = \"jsonl\"", &["json"], read);
}
