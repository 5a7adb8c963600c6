//! The reference of keys: written from what the reader asks for and from the words of the commented default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::problem::Source;
use super::reader::Takes;
use super::tests::files;
use super::tests::shipped::{default_text, folder, uncommented};
use super::{Secrets, document};

/// A key as the commented default shows it.
struct Shown {
    slot: String,
    key: String,
    value: String,
    is_example: bool,
    words: String,
}

/// A header of the commented default with what stands above it, and its keys.
struct Section {
    header: String,
    slot: String,
    words: String,
    keys: Vec<Shown>,
    /// Every block of prose, also those that explain a key they cannot show.
    prose: Vec<String>,
}

/// `[server.limits]`, `#[[target]]`: its text and the place it means.
fn header(line: &str) -> Option<(String, String)> {
    let text = line.trim_start_matches('#');
    let inner = text.strip_prefix('[')?.trim_end().trim_end_matches(']').trim_start_matches('[');
    Some((text.trim_end().to_owned(), inner.to_owned()))
}

/// `#key = value   # example`: key, value and whether it is an example.
fn key(line: &str) -> Option<(String, String, bool)> {
    let text = line.strip_prefix('#').unwrap_or(line);
    let (key, value) = text.split_once(" = ")?;
    let is_key =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_key {
        return None;
    }
    let example = value.strip_suffix("# example");
    Some((key.to_owned(), example.unwrap_or(value).trim().to_owned(), example.is_some()))
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in default_text().lines() {
        if let Some((header, slot)) = header(line) {
            sections.push(Section {
                header,
                slot,
                words: words.join(" "),
                keys: Vec::new(),
                prose: Vec::new(),
            });
            is_open = false;
        } else if let Some((key, value, is_example)) = key(line) {
            let section = sections.last_mut().expect("a key before the first header");
            let slot = format!("{}.{key}", section.slot);
            section.keys.push(Shown { slot, key, value, is_example, words: words.join(" ") });
            is_open = false;
        } else if let Some(text) = line.strip_prefix("# ").filter(|text| !text.starts_with("---")) {
            if !is_open {
                words.clear();
            }
            is_open = true;
            words.push(text.to_owned());
        } else {
            is_open = false;
            if line.is_empty() {
                if let Some(section) = sections.last_mut() {
                    section.prose.push(words.join(" "));
                }
                words.clear();
            }
        }
    }
    sections
}

fn known() -> BTreeMap<String, BTreeSet<Takes>> {
    let source = Source { file: "rosterd.toml".to_owned(), text: uncommented(|_| true) };
    document::places(&source, files(&folder(), Secrets::Optional))
}

/// What a value may be, in words.
fn said(takes: &BTreeSet<Takes>) -> String {
    let mut ways: Vec<String> = Vec::new();
    let is_formed = takes.iter().any(|one| matches!(one, Takes::Form(_) | Takes::Words(_)));
    for one in takes {
        match one {
            Takes::Text if !is_formed => ways.push("text".to_owned()),
            Takes::Bool => ways.push("true or false".to_owned()),
            Takes::Table => ways.push("a table".to_owned()),
            Takes::Number(low, high) => ways.push(format!("{low} to {high}")),
            Takes::Words(words) => {
                ways.push(words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "));
            }
            Takes::Form(form) => ways.push(form.clone()),
            Takes::Text | Takes::List | Takes::OneOrList => {}
        }
    }
    let ways = if ways.is_empty() { "text".to_owned() } else { ways.join("; ") };
    if takes.contains(&Takes::OneOrList) {
        format!("{ways}; one or a list")
    } else if takes.contains(&Takes::List) {
        format!("a list of {ways}")
    } else if takes.is_empty() {
        "-".to_owned()
    } else {
        ways
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The rows of one section; every place that gets one is taken off `rest`.
fn rows(
    section: &Section,
    takes: &BTreeMap<String, BTreeSet<Takes>>,
    rest: &mut BTreeSet<String>,
    is_deeper: &dyn Fn(&str) -> bool,
) -> String {
    let mut text = String::new();
    let mut row = |slot: &str, name: &str, value: &str, words: &str| {
        let what = takes.get(slot).map(said).unwrap_or_default();
        let _ = writeln!(text, "| `{name}` | {} | {} | {} |", cell(&what), cell(value), cell(words));
    };
    let mut last = "";
    for shown in &section.keys {
        rest.remove(&shown.slot);
        let value = match (shown.is_example, shown.words.contains("Required")) {
            (false, _) => format!("`{}`", shown.value),
            (true, true) => format!("required, such as `{}`", shown.value),
            (true, false) => format!("none, such as `{}`", shown.value),
        };
        let words = if shown.words.is_empty() || shown.words == section.words {
            "-"
        } else if shown.words == last {
            "as above"
        } else {
            &shown.words
        };
        row(&shown.slot, &shown.key, &value, words);
        last = &shown.words;
        let inner = format!("{}.", shown.slot);
        let inside: Vec<String> = rest.iter().filter(|slot| slot.starts_with(&inner)).cloned().collect();
        for slot in inside {
            rest.remove(&slot);
            row(
                &slot,
                slot.strip_prefix(&format!("{}.", section.slot)).unwrap(),
                "-",
                &format!("within `{}`", shown.key),
            );
        }
    }
    // Keys that stand under this header and no deeper one, but have no line: those that the prose names because
    // they cannot stand there with a value, and those of a section that follows another one.
    let own = format!("{}.", section.slot);
    let told: Vec<String> =
        rest.iter().filter(|slot| slot.starts_with(&own) && !is_deeper(slot)).cloned().collect();
    for slot in told {
        let name = slot.strip_prefix(&own).unwrap();
        // A key that is known only to be refused is told as one that is not there.
        let tells = |words: &&String| {
            words.contains(&format!("{name} = ")) || words.contains(&format!("no key `{name}`"))
        };
        let prose = section.prose.iter().chain(section.keys.iter().map(|shown| &shown.words)).find(tells);
        let words = if let Some(prose) = prose {
            prose.clone()
        } else if default_text().contains(&format!("[{slot}]")) {
            format!("as `[{name}]`, for this one")
        } else if let Some((_, other)) = section.words.split_once("under [") {
            let other = other.split(']').next().unwrap();
            rest.remove(&slot);
            row(&format!("{other}.{name}"), name, "-", &format!("as under `[{other}]`"));
            continue;
        } else {
            continue;
        };
        rest.remove(&slot);
        row(&slot, name, "-", &words);
    }
    text
}

/// The reference, and the places that the commented default does not explain.
fn reference() -> (String, BTreeSet<String>) {
    let takes = known();
    let mut rest: BTreeSet<String> = takes.keys().cloned().collect();
    let mut text = String::new();
    let sections = sections();
    for section in &sections {
        rest.remove(&section.slot);
    }
    for section in &sections {
        let kind = section.keys.iter().find(|shown| section.slot == "target" && shown.key == "type");
        let kind =
            kind.map(|shown| format!(" of type {}", shown.value.trim_matches('"'))).unwrap_or_default();
        let _ = writeln!(text, "\n### {}{kind}\n\n{}\n", section.header, section.words);
        let is_deeper = |slot: &str| {
            sections.iter().any(|other| {
                other.slot.len() > section.slot.len() && slot.starts_with(&format!("{}.", other.slot))
            })
        };
        let rows = rows(section, &takes, &mut rest, &is_deeper);
        if !rows.is_empty() {
            let _ = writeln!(text, "| key | takes | default | meaning |\n| --- | --- | --- | --- |\n{rows}");
        }
    }
    (text, rest)
}

#[test]
fn the_reference_has_every_key_the_reader_knows() {
    let (_, rest) = reference();
    assert!(rest.is_empty(), "not explained in config/rosterd.toml: {rest:?}");
}

#[test]
fn the_commented_default_shows_no_key_that_the_reader_does_not_know() {
    let known = known();
    assert!(known.len() > 60, "{known:?}");
    for section in sections() {
        for shown in section.keys {
            assert!(known.contains_key(&shown.slot), "config/rosterd.toml has `{}`", shown.slot);
        }
    }
}

#[test]
fn the_page_of_the_configuration_is_what_the_reader_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- generated: begin -->\n", "<!-- generated: end -->");
    let (before, rest) = page.split_once(begin).expect("the mark `begin`");
    let (found, after) = rest.split_once(end).expect("the mark `end`");
    let (wanted, _) = reference();
    if found == wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/configuration.md is not what the code says; run: UPDATE_DOCS=1 cargo test --lib config::reference"
    );
    std::fs::write(&path, format!("{before}{begin}{wanted}{end}{after}")).unwrap();
}
