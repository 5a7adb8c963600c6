//! Whatever the names are, each file says exactly who is in what, read back here by the reader's own rules.

use std::collections::BTreeSet;

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::access::View;
use crate::model::ResourceId;

use super::golden_tests::DANGEROUS;
use super::{Carried, Options, Rendered, example_view, find, json as whole};

/// Who is in which group (`group:NAME`) and role (`role:NAME`).
type Grants = BTreeSet<(String, String)>;

/// Users of these names, the even ones in a group of a name, the odd ones in the role.
fn view_of(users: &BTreeSet<String>, groups: &BTreeSet<String>) -> View {
    let base = example_view();
    let mut view = View { roles: base.roles.clone(), ..View::default() };
    view.roles[0].members.clear();
    for (n, name) in users.iter().enumerate() {
        let mut user = base.users[0].clone();
        user.id = ResourceId::new(1_700_000_000_000, &[u8::try_from(n).unwrap(); 10]);
        user.name.clone_from(name);
        user.user_name.clone_from(name);
        (user.groups, user.roles) = (Vec::new(), Vec::new());
        if n % 2 == 0 {
            user.groups = groups.iter().cloned().collect();
        } else {
            user.roles = vec!["admin".into()];
            view.roles[0].members.push(name.clone());
        }
        view.users.push(user);
    }
    for (n, name) in groups.iter().enumerate() {
        let mut group = base.groups[1].clone();
        group.id = ResourceId::new(1_800_000_000_000, &[u8::try_from(n).unwrap(); 10]);
        group.name.clone_from(name);
        group.members = users.iter().step_by(2).cloned().collect();
        group.all_members.clone_from(&group.members);
        view.groups.push(group);
    }
    view
}

/// What the file should say: all of the view but what was left out.
fn meant(view: &View, rendered: &Rendered) -> Grants {
    let gone = |what: &Carried| rendered.left_out.iter().any(|one| one.what == *what);
    let mut grants = Grants::new();
    for user in view.users.iter().filter(|user| !gone(&Carried::User(user.subject()))) {
        for group in view.groups.iter().filter(|group| user.groups.contains(&group.name)) {
            if !gone(&Carried::Group(group.directory.clone(), group.id)) {
                grants.insert((user.name.clone(), format!("group:{}", group.name)));
            }
        }
        grants.extend(user.roles.iter().map(|role| (user.name.clone(), format!("role:{role}"))));
    }
    grants
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Rows of RFC 4180, read by a plain state machine that knows nothing of the writer.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    rows
}

fn read_model(model: &Value) -> Grants {
    let mut grants = Grants::new();
    for (name, user) in model["users"].as_object().unwrap() {
        for group in user["groups"].as_array().unwrap() {
            grants.insert((name.clone(), format!("group:{}", string(group))));
        }
        for role in user["roles"].as_array().unwrap() {
            grants.insert((name.clone(), format!("role:{}", string(role))));
        }
    }
    grants
}

fn read_list_model(model: &Value) -> Grants {
    let mut grants = Grants::new();
    for user in model["users"].as_array().unwrap() {
        let lists = [("group", &user["groups"]), ("role", &user["roles"])];
        for (kind, list) in lists {
            for name in list.as_array().unwrap() {
                grants.insert((string(&user["name"]), format!("{kind}:{}", string(name))));
            }
        }
    }
    grants
}

fn decoded(id: &str) -> String {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads a file back.
fn read(format: &str, bytes: &[u8]) -> Grants {
    match format {
        "json" => read_list_model(&json_of(bytes)),
        "jsonl" => {
            let rows: Vec<Value> =
                text(bytes).split_terminator('\n').map(|line| json_of(line.as_bytes())).collect();
            let users: Vec<Value> = rows.into_iter().filter(|row| row["kind"] == "user").collect();
            read_list_model(&json!({ "users": users }))
        }
        "opa-data" => read_model(&json_of(bytes)["scim"]),
        "csv" => csv_rows(text(bytes))
            .into_iter()
            .skip(1)
            .map(|row| (row[0].clone(), format!("{}:{}", row[1], row[2])))
            .collect(),
        "cedar-entities" => {
            let mut grants = Grants::new();
            for entity in json_of(bytes).as_array().unwrap().iter().filter(|one| one["uid"]["type"] == "User")
            {
                for parent in entity["parents"].as_array().unwrap() {
                    let kind = string(&parent["type"]).to_lowercase();
                    grants
                        .insert((string(&entity["uid"]["id"]), format!("{kind}:{}", string(&parent["id"]))));
                }
            }
            grants
        }
        "casbin" => text(bytes)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                assert_eq!((fields.len(), fields[0]), (3, "g"), "{line}");
                (fields[1].strip_prefix("user:").unwrap().to_owned(), fields[2].to_owned())
            })
            .collect(),
        "openfga-tuples" => json_of(bytes)
            .as_array()
            .unwrap()
            .iter()
            .map(|tuple| {
                (string(&tuple["user"]).split_once(':').unwrap().1.to_owned(), string(&tuple["object"]))
            })
            .collect(),
        "spicedb-relationships" => text(bytes)
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (resource, subject) = line.split_once('@').unwrap();
                let (object, _relation) = resource.split_once('#').unwrap();
                let (kind, id) = object.split_once(':').unwrap();
                (decoded(subject.split_once(':').unwrap().1), format!("{kind}:{}", decoded(id)))
            })
            .collect(),
        "k8s-rbac" => {
            let names = text(bytes).lines().filter_map(|line| line.strip_prefix("    name: "));
            names.map(|name| (string(&json_of(name.as_bytes())), "role:admin".to_owned())).collect()
        }
        "border0-policy" => {
            let policy = json_of(bytes);
            if policy["permissions"].as_object().unwrap().is_empty() {
                return Grants::new();
            }
            let who = policy["condition"]["who"]["email"].as_array().unwrap();
            assert!(!who.is_empty());
            who.iter().map(|name| (string(name), "role:admin".to_owned())).collect()
        }
        other => panic!("no reader for {other}"),
    }
}

const READ: [&str; 10] = [
    "json",
    "jsonl",
    "opa-data",
    "csv",
    "cedar-entities",
    "casbin",
    "openfga-tuples",
    "spicedb-relationships",
    "k8s-rbac",
    "border0-policy",
];

/// Renders, checks by the format's own parse, and compares what a reader gets with what was meant.
fn hold(format: &str, view: &View) {
    let found = find(format).unwrap();
    let mut options: Options = (found.example)();
    // The forms that say only what is; what goes has tests of its own.
    match format {
        "openfga-tuples" => options.values.insert("form".into(), "json".into()),
        "spicedb-relationships" => options.values.insert("form".into(), "lines".into()),
        _ => None,
    };
    let rendered = found.render(view, &options).unwrap();
    found.check(&rendered.bytes, &options).unwrap();
    let mut meant = meant(view, &rendered);
    if matches!(format, "k8s-rbac" | "border0-policy") {
        meant.retain(|(_, what)| what.starts_with("role:"));
    }
    assert_eq!(read(format, &rendered.bytes), meant, "{format}");
}

#[test]
fn dangerous_names_are_read_back_as_they_were_meant() {
    let names: BTreeSet<String> = DANGEROUS.iter().map(|&name| name.to_owned()).collect();
    for format in READ {
        hold(format, &view_of(&names, &names));
    }
    assert_eq!(whole::placeholder_options().values.len(), 0);
}

/// Names made of the pieces that bite, and of anything.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(DANGEROUS).prop_map(str::to_owned),
        proptest::sample::select(
            &[
                ",", " ", "\"", "'", "\\", ":", "#", "@", "\n", "\r", "\t", "(", "]", "{", "*", "/", "%",
                "$", "=", "-", "\u{a0}", "\u{2028}", "\u{202e}", "\u{feff}", "role:", "group:", "user:",
                "system:", "g, ", "- ", "\u{fffe}",
            ][..]
        )
        .prop_map(str::to_owned),
        any::<String>(),
        "[a-z]{1,300}@[a-z]{1,9}\\.example",
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn names_never_become_syntax(
        users in proptest::collection::btree_set(name(), 0..8),
        groups in proptest::collection::btree_set(name(), 0..4),
    ) {
        let view = view_of(&users, &groups);
        for format in READ {
            hold(format, &view);
        }
        for format in ["yaml", "opa-bundle"] {
            let found = find(format).unwrap();
            let rendered = found.render(&view, &(found.example)()).unwrap();
            prop_assert!(found.check(&rendered.bytes, &(found.example)()).is_ok());
        }
    }
}
