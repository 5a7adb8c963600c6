//! One config file, from text to [`Config`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use super::problem::{Kind, Problem, Problems, Source, sort};
use super::reader::{Report, Table, Value, what};
use super::secret::Files;
use super::{Config, Loaded, admin, directory, guard, publish, role, schema, server, target, via};
use crate::reconcile::TargetKind;
use crate::reconcile::guard::Guard;

/// Reads `source`; everything it names is found by `files`.
pub(super) fn read(source: &Source, mut files: Files) -> Result<Loaded, Problems> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let report = Report::new(source);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        report.fail(Kind::Invalid, &span, None, what(format!("not TOML: {}", error.message())));
    }
    if !errors.is_empty() {
        // What the parser guessed behind a fault would only make up further ones.
        return Err(finished(report).0.unwrap_or_else(|| no_config(&source.file)));
    }

    let root = Table::root(document.get_ref(), &report);
    let config = sections(root, &mut files);
    let (problems, warnings) = finished(report);
    match (config, problems) {
        (Some(config), None) => Ok(Loaded { config, warnings }),
        (_, problems) => Err(problems.unwrap_or_else(|| no_config(&source.file))),
    }
}

/// Every key that a reader of a section asked for, those that are refused left out.
#[cfg(test)]
pub(super) fn known_keys(source: &Source, mut files: Files) -> std::collections::BTreeSet<&'static str> {
    let (document, _) = DeTable::parse_recoverable(&source.text);
    let report = Report::new(source);
    sections(Table::root(document.get_ref(), &report), &mut files);
    report.known()
}

/// Every place that a reader of a section asked for, and what it takes there.
#[cfg(test)]
pub(super) fn places(
    source: &Source,
    mut files: Files,
) -> BTreeMap<String, std::collections::BTreeSet<super::reader::Takes>> {
    let (document, _) = DeTable::parse_recoverable(&source.text);
    let report = Report::new(source);
    sections(Table::root(document.get_ref(), &report), &mut files);
    report.takes()
}

fn finished(report: Report<'_>) -> (Option<Problems>, Vec<Problem>) {
    let (problems, mut warnings) = report.into_parts();
    sort(&mut warnings);
    (Problems::new(problems), warnings)
}

fn no_config(file: &str) -> Problems {
    Problems::unplaced(Kind::Invalid, file, "the file cannot be used".to_owned(), "this is a bug; report it")
}

fn sections(root: Table<'_>, files: &mut Files) -> Option<Config> {
    let mirror = server::mirror(root.table("mirror"), files);
    let state = mirror.path.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    files.allow_owner_of(&state);
    files.daemon = Some(via::daemon(&state));
    files.state.clone_from(&state);
    via::installer(root.table("installer"), files);
    let server = server::server(root.table("server"), files);
    let admin = admin::admin(root.table("admin"), files);
    let (log, activity) = server::log(root.table("log"));

    let asks_clients = server.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    let sections = root.tables("directory");
    let asked = sections.len();
    unique(&sections, "id");
    let directories: Vec<_> = sections
        .into_iter()
        .filter_map(|section| directory::directory(section, files, asks_clients))
        .collect();

    let (schemas, registry) = schema::schemas(root.tables("schema"), files);
    let sections = root.tables("role");
    unique(&sections, "name");
    let roles: Vec<_> =
        sections.into_iter().filter_map(|section| role::role(section, &directories, &registry)).collect();

    let general = guard::guard(root.table("guard"), &Guard::default(), files);
    let sections = root.tables("target");
    unique(&sections, "name");
    unique_paths(&sections);
    check_after(&sections);
    let targets: Vec<_> = sections
        .into_iter()
        .filter_map(|section| target::target(section, files, &state, &general, &registry))
        .collect();

    let publish = publish::publish(root.table("publish"), files);
    let sections = root.tables("reader");
    unique(&sections, "name");
    let readers: Vec<_> = sections
        .into_iter()
        .filter_map(|section| publish::reader(section, files, &targets, &registry))
        .collect();
    root.finish();
    let mut server = server;
    server.scim.client_subjects = directories
        .iter()
        .filter(|one| !one.client_subjects.is_empty())
        .map(|one| (one.id.clone(), one.client_subjects.clone()))
        .collect();
    (directories.len() == asked).then(|| {
        let templates = files.templates.take();
        let registry = Arc::new(registry);
        Config {
            server,
            admin,
            mirror,
            directories,
            schemas,
            registry,
            roles,
            targets,
            publish,
            readers,
            log,
            activity,
            templates,
        }
    })
}

/// No two of a kind may have one name.
pub(super) fn unique(sections: &[Table<'_>], key: &'static str) {
    report_repeats(sections.iter().filter_map(|section| section.get(key)));
}

/// Two targets that write one file would undo each other for ever.
fn unique_paths(sections: &[Table<'_>]) {
    report_repeats(sections.iter().filter_map(|section| section.get("path")));
}

/// What a target waits for must be there and enforce something itself: no circle can come of it.
fn check_after(sections: &[Table<'_>]) {
    let kind_of = |name: &str| {
        let found = sections
            .iter()
            .find(|section| section.get("name").and_then(|value| value.peek_text()) == Some(name));
        found.map(|section| section.get("type").and_then(|value| value.peek_text()).unwrap_or_default())
    };
    for value in sections.iter().filter_map(|section| section.get("after")) {
        for value in value.list_or_one() {
            let Some(name) = value.peek_text() else { continue };
            let why = match kind_of(name) {
                None => "no target is called so",
                Some("webhook" | "exec") => "it is told of events itself and enforces nothing",
                Some(_) => continue,
            };
            value.fail(
                what(format!("`{}` = `{}`: {why}", value.path(), crate::telemetry::escape(name)))
                    .help("name targets that are files"),
            );
        }
    }
}

fn report_repeats<'a>(values: impl Iterator<Item = Value<'a>>) {
    let mut seen: BTreeMap<&str, Value<'_>> = BTreeMap::new();
    for value in values {
        let Some(text) = value.peek_text() else { continue };
        if let Some(first) = seen.get(text) {
            value.fail(
                what(format!("`{}` = `{}` is there twice", value.path(), crate::telemetry::escape(text)))
                    .help(format!("the first one is in line {}", first.line())),
            );
        } else {
            seen.insert(text, value);
        }
    }
}

impl Config {
    /// The destination of each file target.
    pub fn destinations(&self) -> impl Iterator<Item = &Path> {
        self.targets.iter().filter_map(|target| match &target.kind {
            TargetKind::File(file) => Some(file.spec.path.as_path()),
            TargetKind::Webhook(_) => None,
        })
    }
}
