//! `[[target]]`: one downstream each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::event;
use super::guard::guard;
use super::map::map;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::span;
use super::shape;
use super::value::parse_mode;
use super::via::via;
use super::webhook;
use crate::access::{SubjectAttribute, View};
use crate::downstream::command::Argv;
use crate::downstream::file::FileSpec;
use crate::downstream::format::{Format, Options};
use crate::model::{ResourceType, TargetName};
use crate::reconcile::guard::Guard;
use crate::reconcile::timing::cron::Cron;
use crate::reconcile::timing::schedule::Wait;
use crate::reconcile::{
    Apply, Drift, FileSettings, OnIllegal, POLL_DEFAULT, Publish, Shape, TargetKind, TargetSettings,
};
use crate::scim::filter;
use crate::scim::schema::Registry;
use crate::telemetry::escape;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Tree,
    Set,
    Webhook,
    Exec,
    Later,
}

/// Keys that only one type of target has.
const FILE_KEYS: [&str; 16] = [
    "poll",
    "each",
    "file",
    "validate",
    "options",
    "path",
    "mode",
    "check",
    "verify",
    "reload",
    "drift",
    "keep",
    "on_illegal",
    "publish",
    "map",
    "via",
];

/// Reads one `[[target]]`; `None` after a report.
pub(super) fn target(
    section: Table<'_>,
    files: &Files,
    state: &Path,
    general: &Guard,
    registry: &Registry,
) -> Option<TargetSettings> {
    let name = section
        .require("name", "what commands and messages call it, such as `opa`")
        .and_then(|value| value.parsed(TargetName::parse));
    let kind =
        section.require("type", "use one of file, tree, set, webhook, exec").and_then(|value| kind(&value));
    refuse_foreign(&section, kind);
    let subject = section.get("subject").and_then(|value| value.parsed(str::parse::<SubjectAttribute>));
    let attributes = section.get("attributes").map_or_else(Vec::new, |value| attributes(&value, registry));
    let apply = section
        .get("apply")
        .and_then(|value| value.word(&[("auto", Apply::Auto), ("manual", Apply::Manual)]));
    let on_change = section.get("on_change").and_then(|value| value.bool());
    let schedule = schedule(section.get("schedule"), section.get("time_zone"));
    let wait = section.get("wait").map_or_else(Wait::default, |value| wait(&value));
    let guard = guard(section.table("guard"), general, files);
    // A target without a name is reported already; a made-up one lets the rest of it be read.
    let own = name.clone().or_else(|| TargetName::parse("unnamed").ok())?;
    let mut kind = match kind {
        Some(kind @ (Type::File | Type::Tree | Type::Set)) => {
            file(&section, files, state, &own, kind).map(TargetKind::File)
        }
        Some(Type::Webhook) => {
            webhook::webhook(&section, files, registry, state, &own).map(TargetKind::Webhook)
        }
        Some(Type::Exec) => webhook::exec(&section, files, registry, state, &own).map(TargetKind::Webhook),
        Some(Type::Later) | None => None,
    };
    let mut names = std::collections::BTreeMap::new();
    if let Some(TargetKind::File(file)) = &mut kind {
        names = map(&section, file);
        refuse_free_text(&section, subject.as_ref(), file);
        refuse_memory(&section, file);
    }
    section.finish();
    Some(TargetSettings {
        name: name?,
        subject: subject.unwrap_or_default(),
        attributes,
        map: names,
        unix_ids: state.join("unix-ids.log"),
        apply: apply.unwrap_or_default(),
        on_change: on_change.unwrap_or(true),
        schedule,
        wait,
        guard,
        kind: kind?,
    })
}

/// A display name is anybody's to choose, so it never names somebody where the name alone gives something.
fn refuse_free_text(section: &Table<'_>, subject: Option<&SubjectAttribute>, file: &FileSettings) {
    let Some((format, _)) = file.formats().into_iter().find(|(format, _)| format.has_local_power()) else {
        return;
    };
    if let (Some(attribute), Some(value)) = (subject, section.get("subject"))
        && attribute.is_free_text()
    {
        let text = format!("`{}` = `{attribute}`: `{}` gives power to a name", value.path(), format.name);
        value.fail(
            what(text).help("name people by userName, userName.local or externalId, and others in `map`"),
        );
    }
}

/// What is to be dropped is remembered for one file, which has one `reload` of its own.
fn refuse_memory(section: &Table<'_>, file: &FileSettings) {
    let remembers =
        |(format, options): &(&Format, &Options)| format.relations(&View::default(), options).is_some();
    if let Some((format, _)) = file.formats().into_iter().find(remembers)
        && !matches!(file.shape, Shape::File)
    {
        let text = format!("`{}`: `{}` names what its reader is to drop", section.path(), format.name);
        section.fail(what(text).help("give it a target of `type = \"file\"` with a `reload` of its own"));
    }
}

/// What users show besides. A name that no schema knows is a slip; what is never returned is nobody's to see.
fn attributes(value: &Value<'_>, registry: &Registry) -> Vec<SubjectAttribute> {
    let schema = registry.resource(ResourceType::User);
    let mut found = Vec::new();
    for value in value.list_or_one() {
        let Some(attribute) = value.parsed(str::parse::<SubjectAttribute>) else { continue };
        let is_known = || {
            let parsed = filter::parse(&format!("{attribute} pr"));
            parsed.and_then(|parsed| filter::bind(&parsed, schema)).map(|_| ())
        };
        match (&attribute, is_known()) {
            (SubjectAttribute::Path(_), Err(error)) => {
                value.fail(what(format!("`{}`: {}", value.path(), error.detail)));
            }
            _ => found.push(attribute),
        }
    }
    found
}

fn schedule(text: Option<Value<'_>>, zone: Option<Value<'_>>) -> Option<Cron> {
    if let (None, Some(zone)) = (&text, &zone) {
        zone.warn(what(format!("`{}` changes nothing without `schedule`", zone.path())));
    }
    let zone = zone.and_then(|zone| zone.text()).unwrap_or("UTC");
    text?.parsed(|text| Cron::parse(text, zone))
}

/// Asks for the keys of every type, so that they are known, and refuses those of the other one.
fn refuse_foreign(section: &Table<'_>, kind: Option<Type>) {
    // Both types have these, each with words of its own.
    let _both = (section.get("format"), section.get("template"));
    let told: &[Type] = &[Type::Webhook, Type::Exec];
    let files: &[Type] = &[Type::File, Type::Tree, Type::Set];
    let groups: [(&[Type], &[&str], &str); 5] = [
        (files, &FILE_KEYS, "`type = \"file\"`, `\"tree\"` or `\"set\"`"),
        (&[Type::Webhook], &webhook::WEBHOOK_KEYS, "`type = \"webhook\"`"),
        (&[Type::Exec], &webhook::EXEC_KEYS, "`type = \"exec\"`"),
        (told, &webhook::BOTH_KEYS, "`type = \"webhook\"` or `\"exec\"`"),
        (told, &event::KEYS, "`type = \"webhook\"` or `\"exec\"`"),
    ];
    let Some(kind) = kind.filter(|kind| *kind != Type::Later) else {
        for (_, keys, _) in groups {
            for key in keys {
                drop(section.get(key));
            }
        }
        return;
    };
    for (own, keys, word) in groups {
        for value in keys.iter().filter_map(|key| section.get(key)) {
            if !own.contains(&kind) {
                value.fail_key(what(format!("`{}` belongs to a target of {word}", value.path())));
            }
        }
    }
}

fn kind(value: &Value<'_>) -> Option<Type> {
    let kind = value.word(&[
        ("file", Type::File),
        ("webhook", Type::Webhook),
        ("tree", Type::Tree),
        ("set", Type::Set),
        ("exec", Type::Exec),
        ("nats", Type::Later),
    ])?;
    if kind == Type::Later {
        value.fail(
            what(format!("`{}` = `{}` is not supported by this version", value.path(), value.text()?))
                .help("use `file`, `tree`, `set`, `webhook` or `exec`"),
        );
    }
    Some(kind)
}

fn wait(value: &Value<'_>) -> Wait {
    let mut wait = Wait::default();
    let Some(section) = value.table() else { return wait };
    let time = |key, high, field: &mut Duration| {
        let bounds = (Duration::ZERO, Duration::from_secs(high));
        *field = section.get(key).and_then(|value| span(&value, bounds)).unwrap_or(*field);
    };
    time("revoke", 60, &mut wait.revoke);
    time("min", 3_600, &mut wait.min);
    time("max", 3_600, &mut wait.max);
    if wait.min > wait.max || wait.revoke > wait.max {
        section.fail(
            what(format!("`{}`: `min` and `revoke` must not be longer than `max`", section.path()))
                .help("write all three, such as `{ revoke = \"50ms\", min = \"200ms\", max = \"5s\" }`"),
        );
    }
    section.finish();
    wait
}

fn file(
    section: &Table<'_>,
    files: &Files,
    state: &Path,
    name: &TargetName,
    kind: Type,
) -> Option<FileSettings> {
    let publish = publish(section, kind);
    let written = match publish {
        Publish::Only => None,
        Publish::Off | Publish::Beside => {
            section.require("path", "the file to keep true, such as `/srv/rosterd/access.json`")
        }
    };
    let place = match &written {
        // Nobody but readers is shown it, from a file of our own.
        None if publish == Publish::Only => Some(shape::Place { shape: Shape::File, folder: None }),
        written => written.as_ref().and_then(|value| shape::place(section, value, kind)),
    };
    let path = if publish == Publish::Only {
        Some(state.join("published").join(name.as_str()))
    } else {
        place
            .as_ref()
            .and_then(|place| place.folder.as_deref().map(|folder| files.path(folder)))
            .or_else(|| written.filter(|_| place.is_some()).and_then(|value| destination(&value, files)))
    };
    let drawn = match kind {
        Type::Set => shape::parts(section, files, name).map(|(parts, first)| (first, Shape::Set(parts))),
        _ => shape::content(section, files, Options::new(name.clone()), place.as_ref())
            .zip(place.map(|place| place.shape)),
    };
    let mode = section.get("mode").and_then(|value| value.parsed(parse_mode));
    let check = section.get("check").and_then(|value| {
        let check = argv(&value)?;
        if !check.mentions_file() {
            value.warn(
                what(format!("`{}` does not name the staged file", value.path()))
                    .help("put `{file}` where its path belongs, or the old file is what gets checked"),
            );
        }
        Some(check)
    });
    let verify = section.get("verify").and_then(|value| argv(&value));
    let reload = section.get("reload").and_then(|value| argv(&value));
    let drift = section
        .get("drift")
        .and_then(|value| value.word(&[("repair", Drift::Repair), ("report", Drift::Report)]));
    let poll = section
        .get("poll")
        .and_then(|value| span(&value, (Duration::from_secs(1), Duration::from_hours(24))));
    let on_illegal = section
        .get("on_illegal")
        .and_then(|value| value.word(&[("skip", OnIllegal::Skip), ("error", OnIllegal::Error)]));
    let keep = section.get("keep").and_then(|value| value.integer(0..=1_000));

    let mut spec = FileSpec::new(name.clone(), path?, state.join("targets").join(name.as_str()));
    spec.mode = mode.unwrap_or(spec.mode);
    spec.check = check;
    spec.verify = verify;
    spec.keep = keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(spec.keep);
    via(section, files, &mut spec, kind);
    let ((format, options), shape) = drawn?;
    Some(FileSettings {
        spec,
        shape,
        format,
        options,
        reload,
        drift: drift.unwrap_or_default(),
        poll: poll.unwrap_or(POLL_DEFAULT),
        on_illegal: on_illegal.unwrap_or_default(),
        publish,
    })
}

fn publish(section: &Table<'_>, kind: Type) -> Publish {
    let Some(value) = section.get("publish") else { return Publish::Off };
    match (value.bool().unwrap_or_default(), kind) {
        (false, _) => Publish::Off,
        (true, Type::File) if section.get("path").is_some() => Publish::Beside,
        (true, Type::File) => Publish::Only,
        (true, _) => {
            value.fail(
                what(format!("`{}`: readers are served one file, never several", value.path()))
                    .help("publish a target of `type = \"file\"` beside this one"),
            );
            Publish::Off
        }
    }
}

/// An argument list; an empty one means none.
pub(super) fn argv(value: &Value<'_>) -> Option<Argv> {
    if value.is_text() {
        value.fail(
            what(format!("`{}` must be a list of arguments, not one text", value.path()))
                .help("there is no shell: write `[\"program\", \"argument\", …]`"),
        );
        return None;
    }
    let words = value.texts()?;
    if words.is_empty() {
        return None;
    }
    match Argv::parse(words) {
        Ok(argv) => Some(argv),
        Err(error) => {
            value.fail(what(format!("`{}`: {error}", value.path())));
            None
        }
    }
}

fn destination(value: &Value<'_>, files: &Files) -> Option<PathBuf> {
    let text = value.text()?;
    let climbs = text.split('/').any(|part| part == ".." || part == ".");
    if text.is_empty() || text.ends_with('/') || text.contains('\0') || climbs {
        value.fail(
            what(format!("`{}` = `{}` is not a file's path", value.path(), escape(text)))
                .help("write it without `.` and `..`; a relative one counts from the config file"),
        );
        return None;
    }
    Some(files.path(text))
}
