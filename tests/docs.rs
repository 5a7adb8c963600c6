//! The documentation that says what the code does is held to the code.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the generated parts anew.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rosterd::model::DirectoryKind;
use rosterd::reconcile::event::{KINDS, Presence};
use rosterd::scim::dialect::{Quirk, Quirks};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What stands between the two marks of a page must be `wanted`.
fn generated(path: &str, wanted: &str) {
    let page = read(path);
    let begin = page.find(": begin -->\n").unwrap_or_else(|| panic!("{path}: no mark `begin`")) + 12;
    let end = page.find("<!-- generated: end -->").unwrap_or_else(|| panic!("{path}: no mark `end`"));
    if page[begin..end] == *wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{path} is not what the code says; run: UPDATE_DOCS=1 cargo test --test docs"
    );
    std::fs::write(root().join(path), format!("{}{wanted}{}", &page[..begin], &page[end..])).unwrap();
}

#[test]
fn the_page_of_quirks_says_what_the_code_does() {
    let mut text = format!("\n{}\n| kind | quirks |\n| --- | --- |\n", Quirk::table());
    for kind in DirectoryKind::ALL {
        let names: Vec<String> = Quirks::for_kind(kind).iter().map(|q| format!("`{q}`")).collect();
        let names = if names.len() == Quirk::ALL.len() { "all".to_owned() } else { names.join(", ") };
        text.push_str(&format!("| {kind} | {names} |\n"));
    }
    text.push('\n');
    generated("docs/idp-quirks.md", &text);
}

#[test]
fn the_page_of_events_says_what_the_table_of_types_says() {
    let mut text = String::new();
    for kind in KINDS {
        text.push_str(&format!("\n### {kind}\n\n{}\n\n", kind.when()));
        for field in kind.fields() {
            let presence = match field.presence {
                Presence::Always => "",
                Presence::Maybe => " *Optional.*",
                Presence::Full => " *Full.*",
            };
            text.push_str(&format!("- `{}`: {}{presence}\n", field.name, field.about));
        }
    }
    text.push('\n');
    generated("docs/events.md", &text);
}

#[test]
fn the_page_of_quirks_explains_each_by_name() {
    let page = read("docs/idp-quirks.md");
    let explained: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(
        explained,
        Quirk::ALL.map(Quirk::name),
        "one heading for each quirk, in the order of the table"
    );
}

/// Every function of the source tree that is a test.
fn tests_of(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_of(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let mut is_test = false;
            for line in std::fs::read_to_string(&path).unwrap().lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                    found.insert(rest.split(['(', '<']).next().unwrap().to_owned());
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_page_of_rules_names_exists() {
    let mut known = BTreeSet::new();
    tests_of(&root().join("src"), &mut known);
    tests_of(&root().join("tests"), &mut known);
    let page = read("docs/scim.md");
    let mut rows = 0;
    for (number, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with("| §")) {
        rows += 1;
        let cell = line.trim_end_matches('|').rsplit(" | ").next().unwrap().trim();
        if cell == "not tested yet" || cell.starts_with("not implemented") {
            continue;
        }
        for name in cell.split(", ").map(|name| name.trim_matches('`')) {
            assert!(known.contains(name), "docs/scim.md:{}: there is no test `{name}`", number + 1);
        }
    }
    assert!(rows > 50, "only {rows} rows: has the table changed its form?");
}
