//! What steers the targets; `config` fills it.

use std::time::Duration;

use crate::access::{Role, SubjectAttribute};
use crate::downstream::command::Argv;
use crate::downstream::file::FileSpec;
use crate::downstream::format::{Format, Options};
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
    /// `type = "file"`.
    File(FileSettings),
    /// `type = "webhook"`.
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
            Self::File(_) => "file",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// A file target.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// Where and how the file is put in place.
    pub spec: FileSpec,
    /// How it is rendered.
    pub format: &'static Format,
    /// With what options.
    pub options: Options,
    /// Key `reload`: runs after a swap, retried until it succeeds. Default none.
    pub reload: Option<Argv>,
    /// Key `drift`. Default `repair`.
    pub drift: Drift,
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

/// A webhook target.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where and how it is sent.
    pub webhook: webhook::Settings,
    /// Keys `events` and `filter`: which events it gets.
    pub events: EventFilter,
    /// Keys `format`, `template`, `payload`: how they look.
    pub body: BodySettings,
}
