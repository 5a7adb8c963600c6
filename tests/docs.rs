//! The documentation that says what the code does is held to the code.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the generated parts anew.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test code stops at the first surprise"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
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

#[test]
fn every_test_that_the_page_of_attacks_names_exists() {
    let mut known = BTreeSet::new();
    tests_of(&root().join("src"), &mut known);
    tests_of(&root().join("tests"), &mut known);
    let page = read("docs/security.md");
    let (_, attacks) = page.split_once("## Attacks").unwrap();
    let mut rows = 0;
    for line in attacks.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells[0] == "attack" {
            continue;
        }
        rows += 1;
        assert_eq!(cells.len(), 3, "{line}");
        for name in cells[2].split(", ").map(|name| name.trim_matches('`')) {
            assert!(known.contains(name), "docs/security.md: there is no test `{name}`:\n{line}");
        }
    }
    assert!(rows > 40, "only {rows} rows: has the table changed its form?");
}

#[test]
fn the_page_of_architecture_names_every_folder() {
    let page = read("docs/architecture.md");
    let source = root().join("src");
    for module in std::fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()) {
        let inner = std::fs::read_dir(&module).map(|all| all.map(|entry| entry.unwrap().path()).collect());
        let inner: Vec<PathBuf> = inner.unwrap_or_default();
        for folder in inner.iter().filter(|path| path.is_dir()).chain(module.is_dir().then_some(&module)) {
            let name = folder.strip_prefix(&source).unwrap().display().to_string();
            // Tests of a module are no part of it.
            assert!(name.ends_with("/tests") || page.contains(&format!("`{name}`")), "`{name}` is not there");
        }
    }
}

/// The daemon's `/metrics` after a bit of everything, so that no family is left out for having no rows.
fn exposition() -> String {
    let readers = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = support::daemon::Daemon::prepare(&format!(
        "[server.limits]\nconnections_per_address_max = 2\n[publish]\nlisten = [\"{readers}\", \"unix:{{dir}}/publish.sock\"]\n\
         tls = {{ acme = {{ domains = [\"policy.example.com\"], directory_url = \"https://127.0.0.1:9/dir\" }} }}\n\
         [[reader]]\nname = \"hr\"\ntoken_file = \"hr-token\"\nevents = true\n\
         sets = {{ issuer = \"i\", audience = \"a\", signing_key_file = \"hr.pem\" }}\n[[role]]\nname = \"staff\"\ngroups = [\"Staff\"]\n\
         [[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out.json\"\n\
         [[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/hook\"\nsecret_file = \"secret\"\n",
    ));
    let token = "a-token-of-hr-0123456789abcdefghijkl";
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    for (name, text) in [("secret", secret), ("hr-token", token), ("hr.pem", &key)] {
        std::fs::write(daemon.path(name), text).unwrap();
        std::fs::set_permissions(daemon.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    daemon.run();
    let directory = daemon.add_directory("Acme", "entra");
    daemon.cli_json(&["token", "new", "acme", "--expires", "90d"]);
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("mira@example.com");
    scim.create_group("Staff", &[&user]);
    scim.patch(
        &format!("/Users/{user}"),
        serde_json::json!([{"op": "Replace", "path": "title", "value": "Dr"}]),
    );
    support::wait_until("the file is written", || daemon.target("opa")["state"] == "in_sync");
    let mut stranger =
        support::daemon::Scim { client: support::http::Client::new(daemon.address), token: "x".to_owned() };
    stranger.get("/Users").expect(401);
    // Both places of this address are taken: the third connection is closed unanswered.
    let mut third = TcpStream::connect(daemon.address).unwrap();
    let _ = third.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let _ = third.read_to_end(&mut Vec::new());

    let mut reader = UnixStream::connect(daemon.path("publish.sock")).unwrap();
    let poll = format!(
        "POST /events/poll HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    reader.write_all(poll.as_bytes()).unwrap();
    let mut told = String::new();
    reader.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"sets\":{\""), "{told}");

    // No TLS, where TLS is spoken.
    let mut plain = TcpStream::connect(readers).unwrap();
    let _ = plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let _ = plain.read_to_end(&mut Vec::new());

    let ask = || {
        let mut admin = UnixStream::connect(daemon.path("admin.sock")).unwrap();
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        admin.read_to_string(&mut text).unwrap();
        text
    };
    // The order goes to a server that is not there.
    support::wait_until("the order fails", || ask().contains("rosterd_acme_orders_total{"));
    let text = ask();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let value = |name: &str| {
        let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        row.unwrap_or_else(|| panic!("no row {name}")).parse::<u64>().unwrap()
    };
    assert!((1..=value("rosterd_disk_size_bytes")).contains(&value("rosterd_disk_free_bytes")), "{text}");
    assert_eq!(value("rosterd_ready"), 1);
    assert!(value("process_start_time_seconds") > 1_700_000_000);
    text
}

/// A family of metrics: its type, its help, and the labels of its rows.
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Each family by the name that a query uses: counters end in `_total`.
fn families(exposition: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    let mut helps: BTreeMap<&str, &str> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help.trim_end_matches('.'));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let shown = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let help = helps.get(name).unwrap_or_else(|| panic!("{name} has no help")).to_string();
            found.insert(shown, Family { kind: kind.to_owned(), help, labels: BTreeSet::new() });
        } else if let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let Some(family) = found.get_mut(name) else { continue };
            let labels = rest.split("=\"").filter_map(|part| part.rsplit(['{', ',', '"']).next());
            family.labels.extend(labels.filter(|l| is_word(l) && *l != "le").map(str::to_owned));
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn the_page_of_metrics_and_the_examples_are_what_the_daemon_serves() {
    let families = families(&exposition());
    assert!(families.len() > 20, "{:?}", families.keys());
    let mut text = "\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, family) in &families {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!("| `{name}` | {} | {} | {} |\n", family.kind, labels.join(", "), family.help));
    }
    text.push('\n');
    generated("docs/metrics.md", &text);

    let known: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    for file in ["config/examples/prometheus-alerts.yml", "config/examples/grafana-dashboard.json"] {
        let used = names_of_metrics(&read(file));
        assert!(used.len() > 8, "{file}: {used:?}");
        for name in used {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(
                known.contains(name.as_str()) || base.is_some_and(|b| known.contains(b)),
                "{file}: no metric `{name}`"
            );
        }
    }
}

/// Everything in a text that looks like a metric of ours.
fn names_of_metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("rosterd_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_dashboard_is_json_with_a_query_in_every_panel() {
    let board: serde_json::Value =
        serde_json::from_str(&read("config/examples/grafana-dashboard.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    assert!(panels.len() > 6);
    for panel in panels {
        let queries = panel["targets"].as_array().unwrap();
        assert!(queries.iter().all(|q| !names_of_metrics(q["expr"].as_str().unwrap()).is_empty()), "{panel}");
    }
}

#[test]
fn promtool_accepts_the_alerts() {
    let alerts = root().join("config/examples/prometheus-alerts.yml");
    match std::process::Command::new("promtool").args(["check", "rules"]).arg(&alerts).output() {
        Ok(out) => {
            let said =
                String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{said}");
        }
        Err(cause) => {
            assert!(std::env::var_os("CI").is_none(), "promtool (Debian: prometheus) is missing: {cause}");
            println!("skipped: promtool (Debian: prometheus) is not installed");
        }
    }
}

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "md"));
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found.sort();
    found
}

/// A page's text without what stands in code, where brackets are no links.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            kept.extend(line.split('`').step_by(2));
            kept.push('\n');
        }
    }
    kept
}

/// The anchors of a page, as its renderers make them from headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let Some((_, title)) =
            line.split_once("# ").filter(|(marks, _)| !is_code && marks.chars().all(|c| c == '#'))
        else {
            continue;
        };
        let kept = title.trim().to_lowercase().replace(' ', "-");
        let anchor: String = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        found.insert(anchor);
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    let mut broken = Vec::new();
    for path in pages() {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let words = prose(&text);
        for part in words.split("](").skip(1) {
            let link = part.split([')', ' ']).next().unwrap();
            if link.starts_with("http") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !target.exists() {
                broken.push(format!("{shown}: {link}: no such file"));
            } else if let Some(anchor) = anchor {
                let page = std::fs::read_to_string(&target).unwrap();
                if !anchors(&page).contains(anchor) {
                    broken.push(format!("{shown}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(count > 40, "only {count} links: are they still found?");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = prose(&read("README.md"));
    let connecting = prose(&read("docs/connecting.md"));
    for path in pages().iter().filter(|path| path.starts_with(root().join("docs"))) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_linked = readme.contains(&format!("(docs/{name}")) || connecting.contains(&format!("({name}"));
        assert!(is_linked, "README.md does not lead to docs/{name}");
    }
}
