//! `[[target]]`: one downstream each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guard::{Guard, argv, guard};
use super::problem::Kind;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::span;
use super::value::parse_mode;
use crate::access::SubjectAttribute;
use crate::downstream::command::Argv;
use crate::downstream::file::FileSpec;
use crate::downstream::webhook::{self, SigningSecret};
use crate::model::TargetName;
use crate::telemetry::escape;

/// One `[[target]]`.
#[derive(Debug, Clone)]
pub struct Target {
    /// Key `name`.
    pub name: TargetName,
    /// Key `subject`. Default `userName`.
    pub subject: SubjectAttribute,
    /// Key `apply`: false for `manual`, which only plans. Default `auto`.
    pub is_automatic: bool,
    /// Key `on_change`. Default true.
    pub on_change: bool,
    /// Key `schedule`: cron. Default none.
    pub schedule: Option<String>,
    /// Key `time_zone` of the schedule. Default `UTC`.
    pub time_zone: String,
    /// Key `wait`.
    pub wait: Wait,
    /// `[guard]` with what `[target.guard]` changes.
    pub guard: Guard,
    /// Key `type`, with what only that type has.
    pub kind: TargetKind,
}

/// How long a burst of changes is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Key `wait.revoke`: for what takes access away. Default 50 ms, at most a minute.
    pub revoke: Duration,
    /// Key `wait.min`: since the last change. Default 200 ms, at most an hour.
    pub min: Duration,
    /// Key `wait.max`: since the first change. Default 5 s, at most an hour.
    pub max: Duration,
}

/// What a target is.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// `type = "file"`.
    File(FileTarget),
    /// `type = "webhook"`.
    Webhook(WebhookTarget),
}

/// A file.
#[derive(Debug, Clone)]
pub struct FileTarget {
    /// Where and how it is written.
    pub spec: FileSpec,
    /// Key `format` or `template`.
    pub content: Content,
    /// Key `reload`: run after the file was replaced. Default none.
    pub reload: Option<Argv>,
    /// Key `drift`: false for `report`. Default `repair`.
    pub is_repaired: bool,
}

/// What fills a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A built-in format by name.
    Format(String),
    /// A template's file and text.
    Template {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        text: String,
    },
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// Where and how it is sent. No secrets if they were optional and absent.
    pub settings: webhook::Settings,
    /// Key `events`: patterns. Default `["access.*"]`.
    pub events: Vec<String>,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            revoke: Duration::from_millis(50),
            min: Duration::from_millis(200),
            max: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    File,
    Webhook,
    Later,
}

/// Keys that only one type of target has.
const FILE_KEYS: [&str; 9] =
    ["format", "template", "path", "mode", "check", "verify", "reload", "drift", "keep"];
const WEBHOOK_KEYS: [&str; 5] = ["url", "secret_file", "events", "insecure", "timeout"];

/// Reads one `[[target]]`; `None` after a report.
pub(super) fn target(section: Table<'_>, files: &Files, state: &Path, defaults: &Guard) -> Option<Target> {
    let name = section
        .require("name", "what commands and messages call it, such as `opa`")
        .and_then(|value| value.parsed(TargetName::parse));
    let kind = section.require("type", "use one of file, webhook").and_then(|value| kind(&value));
    let file_keys = FILE_KEYS.map(|key| section.get(key));
    let webhook_keys = WEBHOOK_KEYS.map(|key| section.get(key));
    let subject = section.get("subject").and_then(|value| value.parsed(str::parse::<SubjectAttribute>));
    let is_automatic =
        section.get("apply").and_then(|value| value.word(&[("auto", true), ("manual", false)]));
    let on_change = section.get("on_change").and_then(|value| value.bool());
    let schedule = section.get("schedule");
    let time_zone = section.get("time_zone");
    let wait = section.get("wait").map_or_else(Wait::default, |value| wait(&value));
    let guard = guard(section.table("guard"), defaults);
    later(&section);

    let foreign = match kind {
        Some(Type::File) => webhook_keys.as_slice(),
        Some(Type::Webhook) => file_keys.as_slice(),
        _ => &[],
    };
    for value in foreign.iter().flatten() {
        let own = if kind == Some(Type::File) { "webhook" } else { "file" };
        value.fail_key(what(format!("`{}` belongs to a target of `type = \"{own}\"`", value.path())));
    }
    let keep = section.get("keep").and_then(|value| value.integer(0..=1_000));
    let built = match kind {
        Some(Type::File) => {
            file(&section, files, &state.join("targets"), name.as_ref(), keep).map(TargetKind::File)
        }
        Some(Type::Webhook) => webhook(&section, files).map(TargetKind::Webhook),
        _ => None,
    };
    section.finish();

    let time_zone = time_zone.and_then(|value| {
        value.parsed(|text| {
            jiff::tz::TimeZone::get(text).map(|_| text.to_owned()).map_err(|_| {
                "there is no such time zone; use a name such as `Europe/Berlin`, or `UTC`".to_owned()
            })
        })
    });
    let schedule = schedule.and_then(|value| value.text().map(str::to_owned));
    Some(Target {
        name: name?,
        subject: subject.unwrap_or_default(),
        is_automatic: is_automatic.unwrap_or(true),
        on_change: on_change.unwrap_or(true),
        schedule,
        time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
        wait,
        guard,
        kind: built?,
    })
}

fn kind(value: &Value<'_>) -> Option<Type> {
    let kind = value.word(&[
        ("file", Type::File),
        ("webhook", Type::Webhook),
        ("tree", Type::Later),
        ("set", Type::Later),
        ("exec", Type::Later),
        ("nats", Type::Later),
    ])?;
    if kind == Type::Later {
        value.fail(
            what(format!("`{}` = `{}` is not supported by this version", value.path(), value.text()?))
                .help("use `file` or `webhook`"),
        );
    }
    Some(kind)
}

/// Keys that are documented and not built: refused, never ignored.
fn later(section: &Table<'_>) {
    section.planned("publish", "publishing targets to readers comes later");
    section.planned("via", "root-owned destinations and their installer come later");
    section.planned("map", "no format of this version takes names from a map");
    section.planned("on_illegal", "no format of this version has illegal names");
    section.planned("ordering", "deliveries are in order per target");
    section.planned("bootstrap", "sending the present state first comes later");
    section.planned("batch", "one event is one delivery");
    section.planned("after", "waiting for other targets comes later");
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
    name: Option<&TargetName>,
    keep: Option<u64>,
) -> Option<FileTarget> {
    let path = section
        .require("path", "the file to keep true, such as `/srv/rosterd/access.json`")
        .and_then(|value| destination(&value, files));
    let content = content(section, files);
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
    let is_repaired =
        section.get("drift").and_then(|value| value.word(&[("repair", true), ("report", false)]));
    let mut spec = FileSpec::new(path?, state.join(name?.as_str()));
    spec.mode = mode.unwrap_or(spec.mode);
    spec.check = check;
    spec.verify = verify;
    spec.keep = keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(spec.keep);
    Some(FileTarget { spec, content: content?, reload, is_repaired: is_repaired.unwrap_or(true) })
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

fn content(section: &Table<'_>, files: &Files) -> Option<Content> {
    match (section.get("format"), section.get("template")) {
        (Some(_), Some(template)) => {
            template.fail_key(
                what(format!("`{}` has both `format` and `template`", section.path()))
                    .help("keep one of them"),
            );
            None
        }
        (Some(format), None) => format.word(&[("json", "json")]).map(|word| Content::Format(word.to_owned())),
        (None, Some(template)) => read_template(&template, files),
        (None, None) => {
            section.fail(
                what(format!("`{}` has neither `format` nor `template`", section.path()))
                    .help("set `format = \"json\"` or `template = \"….j2\"`"),
            );
            None
        }
    }
}

/// Longest template that is read.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

fn read_template(value: &Value<'_>, files: &Files) -> Option<Content> {
    let path = files.path(value.text()?);
    let fits =
        std::fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= TEMPLATE_BYTES_MAX);
    match std::fs::read_to_string(&path) {
        Ok(text) if fits => {
            check_template(value, &text);
            Some(Content::Template { path, text })
        }
        Ok(_) => {
            value.fail(what(format!("the template `{}` is longer than 1 MiB", path.display())));
            None
        }
        Err(error) => {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => Kind::MissingFile,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            };
            value.fail_as(
                kind,
                what(format!("cannot read the template `{}`: {error}", path.display()))
                    .help("a relative path counts from the config file"),
            );
            None
        }
    }
}

fn check_template(value: &Value<'_>, text: &str) {
    let mut templates = minijinja::Environment::new();
    if let Err(error) = templates.add_template_owned("template", text.to_owned()) {
        let line = error.line().map_or_else(String::new, |line| format!(" line {line}"));
        value.fail(what(format!(
            "the template of `{}` is wrong:{line} {}",
            value.path(),
            error.detail().unwrap_or("cannot be parsed")
        )));
    }
}

/// Standard Webhooks asks for at least one secret; more than eight signatures would make a header of their own.
const SECRETS_MAX: usize = 8;

fn webhook(section: &Table<'_>, files: &Files) -> Option<WebhookTarget> {
    let insecure = section.get("insecure").and_then(|value| value.bool()).unwrap_or_default();
    let url = section
        .require("url", "where events are sent, such as `https://app.example.com/hooks/roster`")
        .and_then(|value| value.parsed(|text| check_url(text, insecure)));
    let secrets =
        section.require("secret_file", "a file with `whsec_` and base64; events are never sent unsigned");
    let secrets = secrets.map_or_else(Vec::new, |value| {
        let list = value.list_or_one();
        if list.is_empty() || list.len() > SECRETS_MAX {
            value.fail(what(format!("`{}` must name one to {SECRETS_MAX} files", value.path())));
        }
        list.iter()
            .filter_map(|value| {
                let secret = files.secret(value)?;
                SigningSecret::parse(&secret).map_err(|error| value.fail(what(error))).ok()
            })
            .collect()
    });
    let events = section.get("events").map_or_else(
        || vec!["access.*".to_owned()],
        |value| value.list_or_one().iter().filter_map(|value| value.parsed(event_pattern)).collect(),
    );
    let timeout = section
        .get("timeout")
        .and_then(|value| span(&value, (Duration::from_secs(1), Duration::from_secs(300))));
    let mut settings = webhook::Settings::new(url?, secrets);
    settings.insecure = insecure;
    settings.timeout = timeout.unwrap_or(settings.timeout);
    Some(WebhookTarget { settings, events })
}

/// The rules of DESIGN §6.10 that need no look-up of the name.
fn check_url(text: &str, insecure: bool) -> Result<String, String> {
    let uri: hyper::Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    let authority = uri.authority().ok_or_else(|| "it names no host".to_owned())?;
    if authority.as_str().contains('@') {
        return Err("a user name or password in it would end up in logs; leave it out".to_owned());
    }
    if text.contains('#') {
        return Err("it must not have a fragment".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_canonical());
    let is_loopback =
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
    if let Some(std::net::IpAddr::V4(v4)) = address
        && (v4.is_link_local() || v4.is_multicast() || v4.octets().first() == Some(&0))
    {
        return Err("link-local, multicast and metadata addresses are never called".to_owned());
    }
    match uri.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_loopback || insecure => Ok(text.to_owned()),
        Some("http") => {
            Err("plain http goes only to loopback; use https, or set `insecure = true`".to_owned())
        }
        _ => Err("it must begin with `https://`".to_owned()),
    }
}

fn event_pattern(text: &str) -> Result<String, String> {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let good = text == "*"
        || text.split_once('.').is_some_and(|(head, tail)| word(head) && (tail == "*" || word(tail)));
    if good {
        Ok(text.to_owned())
    } else {
        Err("write an event such as `group.user_added`, or `access.*`".to_owned())
    }
}
