//! What steers the targets; `config` fills it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::{Entitlement, Fold, Role, SubjectAttribute};
use crate::downstream::command::Argv;
use crate::downstream::exec;
use crate::downstream::file::{FileSpec, Via};
use crate::downstream::format::{Format, Options, RelativeName};
use crate::downstream::webhook;
use crate::model::{DirectoryId, TargetName};

use super::event::EventFilter;
use super::event::body::BodySettings;
use super::guard::Guard;
use super::timing::cron::Cron;
use super::timing::schedule::Wait;

/// Everything of the configuration that decides what targets hold and when they are looked at.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The targets, in the order of the file. Names are unique.
    pub targets: Vec<TargetSettings>,
    /// The roles.
    pub roles: Vec<Role>,
    /// Directories in precedence order; those that are not here follow by age.
    pub directories: Vec<DirectorySettings>,
}

/// What the configuration says about one directory besides its name and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// Key `[[directory]] id`.
    pub id: DirectoryId,
    /// Key `claims`: patterns with `*` a `userName` must match. Default none: any.
    pub claims: Vec<String>,
    /// Key `expect_every`: quiet for longer than this is worth a warning. Default none.
    pub expect_every: Option<Duration>,
}

/// One `[[target]]`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Key `name`.
    pub name: TargetName,
    /// Key `subject`: the attribute that names a person here. Default `userName`.
    pub subject: SubjectAttribute,
    /// Key `attributes`: what users show here besides; for templates and the format `json`. Default none.
    pub attributes: Vec<SubjectAttribute>,
    /// Key `map`: what somebody is called here, by the name `subject` gives. Default none.
    pub map: BTreeMap<String, String>,
    /// The file beside the mirror in which uids and gids outlive a restore.
    pub unix_ids: PathBuf,
    /// Key `apply`. Default `auto`.
    pub apply: Apply,
    /// Key `on_change`: a change wakes this target. Default true.
    pub on_change: bool,
    /// Key `schedule`: when it is looked at besides. Default none.
    pub schedule: Option<Cron>,
    /// Key `wait`: how long a change may gather others.
    pub wait: Wait,
    /// Section `[guard]`, overridden by `guard` here: what may be taken away without a person's word.
    pub guard: Guard,
    /// Key `type` and what belongs to it.
    pub kind: TargetKind,
}

/// Whether runs act by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Apply {
    /// Every run applies.
    #[default]
    Auto,
    /// Runs only plan; `sync` applies.
    Manual,
}

/// What a target is.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// `type = "file"`, `"tree"` or `"set"`.
    File(FileSettings),
    /// `type = "webhook"` or `"exec"`.
    Webhook(WebhookSettings),
}

impl TargetSettings {
    /// Whether readers may be shown it.
    pub fn is_published(&self) -> bool {
        matches!(&self.kind, TargetKind::File(file) if file.publish != Publish::Off)
    }
}

impl TargetKind {
    /// The word in `type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File(file) => file.shape.as_str(),
            Self::Webhook(WebhookSettings { send: Sending::Http(_), .. }) => "webhook",
            Self::Webhook(WebhookSettings { send: Sending::Exec(_), .. }) => "exec",
        }
    }

    /// How its reader compares names; `None`: by their bytes.
    pub fn fold(&self) -> Option<Fold> {
        match self {
            Self::File(file) => file.formats().into_iter().find_map(|(format, options)| format.fold(options)),
            Self::Webhook(_) => None,
        }
    }
}

/// A file, tree or set target.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// Where and how it is put in place: the file, the folder of a tree, the symlink of a set.
    pub spec: FileSpec,
    /// How many files it is.
    pub shape: Shape,
    /// How it is rendered; of a set, its first file.
    pub format: &'static Format,
    /// With what options.
    pub options: Options,
    /// Key `reload`: runs after a swap, retried until it succeeds. Default none.
    pub reload: Option<Argv>,
    /// Key `drift`. Default `repair`.
    pub drift: Drift,
    /// Key `poll`: how often what lies there is looked at besides events. Default 1 min, 1 s to 1 d.
    pub poll: Duration,
    /// Key `on_illegal`. Default `skip`.
    pub on_illegal: OnIllegal,
    /// Key `publish`, and whether there is a `path`. Default [`Publish::Off`].
    pub publish: Publish,
}

/// Whether readers may be shown a target, at `/targets/NAME` of the publish listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Publish {
    /// The file is all there is.
    #[default]
    Off,
    /// The file, and the same bytes for readers.
    Beside,
    /// Only for readers: the target has no `path`, its file lies in the state directory.
    Only,
}

impl FileSettings {
    /// Whether a swap is owed a reload. What the installer would run is its own business, so it is always asked.
    pub fn wants_reload(&self) -> bool {
        self.reload.is_some() || matches!(self.spec.via, Via::Installer { .. })
    }
}
/// How often a target's files are looked at unless `poll` says otherwise.
pub const POLL_DEFAULT: Duration = Duration::from_mins(1);

impl FileSettings {
    /// Every format it is written in, with its options: of a set, one for each file.
    pub fn formats(&self) -> Vec<(&'static Format, &Options)> {
        match &self.shape {
            Shape::Set(parts) => parts.iter().map(|part| (part.format, &part.options)).collect(),
            Shape::File | Shape::Tree(_) => vec![(self.format, &self.options)],
        }
    }
}

/// How many files a target is.
#[derive(Debug, Clone, Default)]
pub enum Shape {
    /// One.
    #[default]
    File,
    /// One for each subject, group or role, beneath `spec.path`.
    Tree(Tree),
    /// Several that change together, seen through the symlink `spec.path`.
    Set(Vec<Part>),
}

impl Shape {
    /// The word in `type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Tree(_) => "tree",
            Self::Set(_) => "set",
        }
    }
}

/// Where a tree's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Key `each`: the format is rendered once for each of these.
    Each {
        /// For each what.
        each: Each,
        /// What each file is called.
        name: NamePattern,
    },
    /// The format names its files itself.
    Own,
}

/// For what a tree has one file each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// Subjects that hold a role or are in a group.
    Subject,
    /// Groups.
    Group,
    /// Roles.
    Role,
}

/// The last part of `path`: text around one placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// What stands before it.
    pub before: String,
    /// What takes its place.
    pub key: NameKey,
    /// What stands behind it.
    pub after: String,
}

/// What a file of a tree is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKey {
    /// `{name}`: the role's name, or a slug of the subject's or group's.
    Name,
    /// `{id}`: the SCIM id of the subject or group.
    Id,
}

/// One file of a set.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in the set.
    pub name: RelativeName,
    /// How it is rendered.
    pub format: &'static Format,
    /// With what options.
    pub options: Options,
}

/// What is done when a target's file is not what rosterd last wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drift {
    /// Write it again.
    #[default]
    Repair,
    /// Only say so.
    Report,
}

/// What is done when a name cannot be carried by the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnIllegal {
    /// Leave that subject out and report it.
    #[default]
    Skip,
    /// Fail the target; the file stays.
    Error,
}

/// A target that is told of events.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where and how they are sent.
    pub send: Sending,
    /// Keys `events` and `filter`: which events it gets.
    pub events: EventFilter,
    /// Keys `format`, `template`, `payload`: how they look.
    pub body: BodySettings,
    /// Key `ordering`. Default `target`.
    pub ordering: Ordering,
    /// Key `batch`. Default none: one event is one request.
    pub batch: Option<Batch>,
    /// Key `bootstrap`: a new target is sent the present state first. Default false.
    pub bootstrap: bool,
    /// Key `after`: `access.*` says what these targets enforce. Default none: what this one's own guard lets through.
    pub after: Vec<TargetName>,
    /// Where the present state is kept while it is being sent.
    pub spool: PathBuf,
}

impl WebhookSettings {
    /// A target with every default.
    pub fn new(send: Sending, events: EventFilter, spool: PathBuf) -> Self {
        Self {
            send,
            events,
            body: BodySettings::default(),
            ordering: Ordering::default(),
            batch: None,
            bootstrap: false,
            after: Vec::new(),
            spool,
        }
    }

    /// Whether this target keeps count of who holds this: roles if it tells of access, memberships if it tells of
    /// users and groups.
    pub(crate) fn speaks_of(&self, entitlement: &Entitlement) -> bool {
        match entitlement {
            Entitlement::Role(_) => self.events.wants_access(),
            Entitlement::Group(..) => self.events.wants_resources(),
        }
    }

    /// Whether its own guard judges the loss of this. What the targets in `after` enforce went through theirs.
    pub(crate) fn guards(&self, entitlement: &Entitlement) -> bool {
        self.speaks_of(entitlement)
            && (self.after.is_empty() || matches!(entitlement, Entitlement::Group(..)))
    }
}

/// How events leave.
#[derive(Debug, Clone)]
pub enum Sending {
    /// `type = "webhook"`: a signed request.
    Http(Box<webhook::Settings>),
    /// `type = "exec"`: a program with the event on its standard input.
    Exec(exec::Settings),
}

impl Sending {
    /// Where to, as messages and the record name it. A target that wants no more is asked again once this differs.
    pub fn place(&self) -> String {
        match self {
            Self::Http(http) => http.url.clone(),
            Self::Exec(exec) => exec.argv.to_string(),
        }
    }
}

/// Which deliveries wait for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// All of a target in the order of the log, one at a time.
    #[default]
    Target,
    /// Those of one user, group or other resource; several resources at a time.
    Resource,
}

/// Requests under way at once with `ordering = "resource"`.
pub const CONCURRENCY: usize = 16;

/// Most events of a batch.
pub const BATCH_EVENTS_MAX: u32 = 1_000;

/// Several events in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Key `max_events`. 1 to 1,000, default 100.
    pub max_events: usize,
    /// Key `max_bytes`: of the events' bodies together. Default 256 KiB.
    pub max_bytes: u64,
    /// Key `max_wait`: how long the first event waits for others. Default 1 s, at most 1 min.
    pub max_wait: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_events: 100, max_bytes: 256 * 1024, max_wait: Duration::from_secs(1) }
    }
}
