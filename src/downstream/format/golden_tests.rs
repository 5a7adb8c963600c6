//! Every format on fixed data, compared with the files under `tests/golden/FORMAT/CASE/`: `out` (an archive as the
//! listing of its files) and `left_out`. `UPDATE_GOLDEN=1 cargo test golden` writes them anew; look at the difference.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::{
    DirectoryFacts, Facts, GroupFacts, GroupRule, Role, SubjectAttribute, UserFacts, View, ViewInput, access,
    view,
};
use crate::model::{DirectoryId, ResourceId, RoleName, Seq, Timestamp};

use super::{FORMATS, Format, fit, json as whole, testing};

/// Names that mean something to one reader or another (docs/formats.md).
pub(super) const DANGEROUS: &[&str] = &[
    "bob smith",
    " lead",
    "trail ",
    "a,b",
    "a\"b",
    "a\\b",
    "#bob",
    "bob#1",
    "-bob",
    "%sre",
    "+x",
    "!x",
    "x@y",
    "ALL",
    "EXCEPT",
    "SRE",
    "all",
    "sameuser",
    "replication",
    "~bob",
    "include",
    "default",
    "/x",
    "a:b",
    "$x",
    "(a",
    "[a",
    "..",
    "a/b",
    ".x",
    "é",
    "漢",
    "*",
    "root",
    "no",
    "12:30",
    "0x1f",
    "1e3",
    "null",
    "~",
    "2026-01-01",
    "=1+1",
    "@x",
    "role:admin",
    "group:engineering",
    "user:alice@example.com",
    "system:masters",
    "user:*",
    "x,role:admin",
    "{a}",
    "it's",
    "a;b",
    "a=b",
    "<b>",
    "😀",
    "nobody@rosterd.invalid",
    "a@b@c.example",
    "__entity",
    "---",
    "- x",
    "a: b",
    "&x",
    "|",
    ">",
    "null\u{a0}",
    "a\u{202e}b",
    "line\nbreak",
    "nul\0",
    "cr\r",
    "\u{2028}",
    "scim",
    "аlice@example.com",
];

struct Person<'a> {
    name: &'a str,
    active: bool,
}

fn id(n: usize) -> ResourceId {
    let n = u8::try_from(n % 251).unwrap();
    ResourceId::new(1_700_000_000_000 + u64::from(n), &[n; 10])
}

/// Facts of one directory, and what follows: users by name, groups with users and groups by place.
fn model(people: &[Person<'_>], groups: &[(&str, &[usize], &[usize])], role_group: &str) -> View {
    let users = people.iter().enumerate().map(|(n, person)| {
        let Value::Object(doc) =
            json!({"displayName": format!("Shown {n}"), "emails": [{"value": person.name, "primary": true}]})
        else {
            panic!("an object")
        };
        UserFacts {
            id: id(n + 1),
            active: person.active,
            user_name: person.name.to_owned(),
            doc: Arc::new(doc),
            created: Timestamp(0),
            last_modified: Timestamp(0),
        }
    });
    let made = groups.iter().enumerate().map(|(n, (name, users, nested))| GroupFacts {
        id: id(n + 120),
        display_name: (*name).to_owned(),
        external_id: None,
        users: users.iter().map(|&user| id(user + 1)).collect(),
        groups: nested.iter().map(|&group| id(group + 120)).collect(),
    });
    let directory = DirectoryFacts {
        id: DirectoryId::parse("acme-okta").unwrap(),
        enabled: true,
        pushed: true,
        claims: Vec::new(),
        users: users.collect(),
        groups: made.collect(),
    };
    let facts = Facts { seq: Seq(1), directories: vec![directory], ..Facts::default() };
    let role = Role {
        name: RoleName::parse("admin").unwrap(),
        groups: vec![GroupRule::DisplayName(role_group.to_owned())],
        users: None,
        directories: None,
        protected: false,
        on_rename: crate::access::OnRename::Follow,
    };
    let access = access(&facts, &[role], Timestamp(0));
    let input = ViewInput {
        attribute: &SubjectAttribute::UserName,
        attributes: &[],
        exceptions: &[],
        names: &BTreeMap::new(),
        map: &BTreeMap::new(),
        fold: None,
    };
    view(&facts, &access, input).0
}

/// The data set of the documentation, with carl, who is not active and in every group.
pub(super) fn documented() -> View {
    let people = [("alice@example.com", true), ("bob@example.com", true), ("carl@example.com", false)];
    let people = people.map(|(name, active)| Person { name, active });
    model(&people, &[("engineering", &[0, 2], &[1]), ("sre", &[1, 2], &[])], "sre")
}

fn cycle() -> View {
    let people = ["alice@example.com", "bob@example.com"].map(|name| Person { name, active: true });
    model(&people, &[("engineering", &[0], &[1]), ("self", &[], &[2]), ("sre", &[1], &[0])], "sre")
}

/// alice, and everybody with a dangerous name, in a group and role of their own; each dangerous name also as a group
/// that bob alone is in.
pub(super) fn dangerous() -> View {
    let mut people = vec![
        Person { name: "alice@example.com", active: true },
        Person { name: "bob@example.com", active: true },
    ];
    people.extend(DANGEROUS.iter().map(|name| Person { name, active: true }));
    let bitten: Vec<usize> = (2..people.len()).collect();
    let mut groups: Vec<(&str, &[usize], &[usize])> = vec![("bitten", &bitten, &[])];
    groups.extend(DANGEROUS.iter().map(|name| (*name, [1].as_slice(), [].as_slice())));
    model(&people, &groups, "bitten")
}

/// Nobody holds the role any more.
fn emptied() -> View {
    model(&[Person { name: "carl@example.com", active: false }], &[("sre", &[0], &[])], "sre")
}

/// Options beside a format's example that have a golden file of their own.
fn variants(format: &str) -> Vec<(&'static str, Value)> {
    match format {
        "border0-policy" => {
            vec![("one-role", json!({"role": "admin", "permissions": ["vnc"], "allowed_ip": ["10.0.0.0/8"]}))]
        }
        "casbin" => vec![
            ("domain", json!({"domain": "acme", "policy_type": "g2"})),
            ("bare-users", json!({"user_prefix": ""})),
        ],
        "cedar-entities" => {
            vec![("namespace", json!({"namespace": "Acme::Hr", "attributes": ["email", "displayName"]}))]
        }
        "csv" => vec![("users", json!({"rows": "users"})), ("guard", json!({"guard": true}))],
        "jsonl" => vec![("roles", json!({"rows": "roles"}))],
        "k8s-rbac" => vec![(
            "namespaced",
            json!({"namespace": "prod", "bind": "Role", "map": {"admin": "edit"}, "user_prefix": "oidc:", "prefix": "idp-"}),
        )],
        "opa-data" | "opa-bundle" => {
            vec![("sets", json!({"sets": true, "root": "acme.hr", "attributes": ["email", "external_id"]}))]
        }
        "openfga-tuples" => vec![
            ("csv", json!({"form": "csv"})),
            ("json", json!({"form": "json"})),
            ("jsonl-encoded", json!({"form": "jsonl", "encode": "base64url"})),
        ],
        "spicedb-relationships" => {
            vec![
                ("lines", json!({"form": "lines"})),
                ("plain", json!({"encode": "none", "form": "lines"})),
                ("yaml", json!({"form": "yaml"})),
            ]
        }
        "apache-groups" => vec![("groups", json!({"list": "groups"}))],
        "haproxy-map" => {
            vec![("both", json!({"value": "both"})), ("lower-one", json!({"lower": true, "value": "one"}))]
        }
        "nginx-map" => vec![
            ("both", json!({"value": "both", "bucket_size": "256"})),
            ("groups", json!({"value": "groups"})),
            ("one", json!({"value": "one"})),
        ],
        "pam-access" => {
            vec![("always", json!({"roles": ["admin"], "always": ["root"], "origins": "tty1 10.0.0.0/8"}))]
        }
        "userdb" => vec![(
            "homes",
            json!({"gids": [60_000, 60_499], "uids": [60_500, 64_999], "home": "/srv/home", "shell": "/bin/bash",
                "names": {"admin": "sre"}}),
        )],
        "pg-ident" => vec![("named", json!({"map": "scim", "names": {"admin": "dba"}}))],
        "pg-roles" => vec![("create", json!({"create_users": true, "names": {"admin": "dba"}}))],
        _ => Vec::new(),
    }
}

fn compare(format: &Format, case: &str, view: &View, values: Option<Value>) {
    let mut options = (format.example)();
    if let Some(Value::Object(values)) = values {
        options.values = values;
    }
    assert_eq!(format.check_options(&options.values), Vec::<String>::new());
    let options = format.with_made_up_ids(view, options);
    let (files, left_out) = testing::files(format, view, &options);
    for bytes in &files {
        format.check(bytes, &options).unwrap_or_else(|error| panic!("{} {case}: {error}", format.name));
    }
    let again = testing::files(format, view, &options);
    assert_eq!((&files, &left_out), (&again.0, &again.1), "{} {case}: two renderings differ", format.name);
    let out = if format.is_tree() {
        format.render_tree(view, &options).unwrap().listing()
    } else if format.is_text() {
        String::from_utf8(files.concat()).unwrap()
    } else {
        super::opa_bundle::listing(&files[0]).unwrap()
    };
    let left_out: Vec<String> = left_out.iter().map(|one| format!("{:?}: {one}\n", one.text)).collect();
    let left_out = left_out.concat();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format.name).join(case);
    for (name, text) in [("out", out), ("left_out", left_out)] {
        let path = folder.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            golden == text,
            "{} differs; UPDATE_GOLDEN=1 writes it anew. It is now:\n{text}",
            path.display()
        );
    }
}

#[test]
fn every_format_writes_its_golden_files() {
    for format in FORMATS.iter().filter(|format| format.name != "template") {
        compare(format, "documented", &documented(), None);
        compare(format, "cycle", &cycle(), None);
        compare(format, "dangerous", &dangerous(), None);
        compare(format, "emptied", &emptied(), None);
        compare(format, "nothing", &View::default(), None);
        if matches!(format.name, "extrausers" | "pam-access" | "sudoers" | "userdb") {
            compare(format, "accounts", &fit::with_local_names(&documented()), None);
        }
        for (case, values) in variants(format.name) {
            compare(format, case, &documented(), Some(values.clone()));
            compare(format, &format!("{case}-dangerous"), &dangerous(), Some(values));
        }
    }
}

#[test]
fn the_inactive_are_in_no_file() {
    for format in FORMATS {
        let options = format.with_made_up_ids(&documented(), (format.example)());
        let (files, _) = testing::files(format, &documented(), &options);
        assert!(!String::from_utf8_lossy(&files.concat()).contains("carl"), "{}", format.name);
    }
    assert_eq!(whole::placeholder_options().target.as_str(), "example");
}

#[test]
fn the_documentation_has_every_format_and_every_option() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let text = std::fs::read_to_string(path).unwrap();
    for format in FORMATS {
        let heading = format!("\n## {}\n", format.name);
        let section = text.split_once(&heading).unwrap_or_else(|| panic!("no section `{}`", format.name)).1;
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        // A bundle has the options of the data it packs.
        let shared = format.name == "opa-bundle" && section.contains("Options as in `opa-data`");
        for option in format.options.iter().filter(|_| !shared) {
            assert!(
                section.contains(&format!("`{}`", option.name))
                    || section.contains(&format!("`{} = ", option.name)),
                "{}: no `{}`",
                format.name,
                option.name
            );
        }
    }
}
