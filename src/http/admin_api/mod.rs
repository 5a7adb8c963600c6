//! The admin API: JSON below `/api/v1`, over the admin socket and in process.
//!
//! One function, [`handle`], answers every request; the socket server and commands that open the mirror
//! themselves both call it, so that there is one set of rules and one set of JSON shapes. Fields are only ever
//! added; a list is `[]`, never null.

mod activity;
mod changes;
mod decisions;
mod deliveries;
mod directories;
mod doctor;
mod endpoints;
mod explain;
mod export;
mod imports;
mod lag;
mod openapi;
mod past;
mod resources;
mod role;
mod socket;
mod target;
mod targets;
#[cfg(test)]
mod tests;
mod tokens;
mod trouble;
mod users;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use endpoints::Endpoint;

use super::gauges;
use super::health::Health;
use super::metrics::{self, Metrics};
use crate::access::{Entitlement, Role};
use crate::activity::Activity;
use crate::mirror::{self, Mirror, Refusal, StoreError};
use crate::model::{Actor, DirectoryId, Origin, Seq, Subject, TargetName};
use crate::reconcile::pull::streams;
use crate::reconcile::{Decision, DeliveryOrder};
use crate::scim;
use crate::scim::dialect::Quirks;
use crate::scim::schema::Registry;

pub use crate::model::AdminName;
pub use role::AdminRole;
pub use socket::AdminSocket;
pub(crate) use socket::{body, json_answer};
pub use users::{AdminUser, Refused, SignedIn, StoredPassword, Users};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on the admin socket, by its user id.
    Peer(u32),
    /// The command itself, having opened the mirror: the operating system has decided already.
    InProcess(u32),
    /// Somebody of `[[admin.user]]` who signed in over TCP.
    User {
        /// Who.
        name: AdminName,
        /// What for.
        role: AdminRole,
        /// Where from; `None` behind a unix socket.
        address: Option<IpAddr>,
    },
}

impl Caller {
    fn origin(&self) -> Origin {
        let actor = match self {
            Self::Peer(uid) | Self::InProcess(uid) => Actor::Local(*uid),
            Self::User { name, .. } => Actor::Admin(name.clone()),
        };
        Origin { actor, request: None }
    }

    /// What the caller may do: whoever may use the socket may do everything.
    pub fn role(&self) -> AdminRole {
        match self {
            Self::Peer(_) | Self::InProcess(_) => AdminRole::Admin,
            Self::User { role, .. } => *role,
        }
    }
}

/// An answer: a status and a JSON document (`Null` for an empty body).
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The document; for an error `{"error":{"message","hint"}}`, with `"kind"` where a status has several meanings.
    pub body: Value,
}

/// Why a request cannot be done, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminError {
    /// HTTP status.
    pub status: u16,
    /// `config` or `held` where the status alone does not say it, else empty.
    pub kind: &'static str,
    /// What went wrong, and where.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl AdminError {
    /// An error with a hint.
    pub fn new(status: u16, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, kind: "", message: message.into(), hint: hint.into() }
    }

    /// A bad configuration, which changes nothing.
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "config",
            message: message.into(),
            hint: "the running configuration stays; mend the file and run `rosterd reload`".into(),
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message, "")
    }

    fn absent(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(404, message, hint)
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AdminError {}

impl From<AdminError> for Reply {
    fn from(error: AdminError) -> Self {
        let mut told = json!({ "message": error.message, "hint": error.hint });
        if !error.kind.is_empty()
            && let Some(told) = told.as_object_mut()
        {
            told.insert("kind".to_owned(), error.kind.into());
        }
        Self { status: error.status, body: json!({ "error": told }) }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let status = match error.kind() {
            mirror::ErrorKind::Transient => 503,
            mirror::ErrorKind::NeedsOperator => 507,
            mirror::ErrorKind::Bug => 500,
        };
        Self::new(status, error.to_string(), error.hint())
    }
}

impl From<scim::error::Error> for AdminError {
    fn from(error: scim::error::Error) -> Self {
        Self::invalid(error.detail)
    }
}

impl From<mirror::Error> for AdminError {
    fn from(error: mirror::Error) -> Self {
        match error {
            mirror::Error::Scim(error) => error.into(),
            mirror::Error::Store(error) => error.into(),
            mirror::Error::Refused(refusal) => {
                let status = match refusal {
                    Refusal::Exists(_) => 409,
                    Refusal::Absent(_) => 404,
                    Refusal::Invalid(_) => 400,
                };
                let hint = match &refusal {
                    Refusal::Exists(_) => "choose another with `--id`",
                    Refusal::Absent(what) => where_to_look(what),
                    Refusal::Invalid(_) => "",
                };
                Self::new(status, refusal.to_string(), hint)
            }
        }
    }
}

/// Which command shows what there is of what was not found; nothing where no list has it.
fn where_to_look(what: &str) -> &'static str {
    match what.split(' ').nth(1) {
        Some("directory") => "`rosterd directory list` shows what there is",
        Some("token") => "`rosterd token list` shows what there is",
        Some("grant") => "`rosterd grant list` shows those that run",
        _ => "",
    }
}

/// A boxed answer of [`Targets`] or of a reload.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Value, AdminError>> + Send + 'a>>;

/// What the admin API asks of the targets. The reconciler answers it in the daemon; a command that opened the
/// mirror itself answers what can be said without a running loop.
pub trait Targets: Send + Sync {
    /// The `targets` array of `status` (DESIGN §3).
    fn status(&self) -> Answering<'_>;
    /// `{"targets":[…]}` of `plan`, for one target or all.
    fn plan(&self, target: Option<TargetName>) -> Answering<'_>;
    /// Brings one target or all up to date now and says how each ended: `{"targets":[…]}`.
    fn sync(&self, target: Option<TargetName>, adopt: bool, origin: Origin) -> Answering<'_>;
    /// Who was revoked and is still in somewhere, for `status`: `{"count","first"}`.
    fn unenforced(&self) -> Answering<'_> {
        Box::pin(async { Ok(json!({"count": 0, "first": []})) })
    }
    /// More lines for `/metrics`.
    fn metrics(&self) -> String {
        String::new()
    }
    /// What each target makes of a subject and a role, for `explain`: an array, empty where nobody answers for targets.
    fn explain(&self, _subject: Subject, _entitlement: Entitlement) -> Answering<'_> {
        Box::pin(async { Ok(json!([])) })
    }
    /// Whether each target's bytes are what was last written and what the mirror gives, for `verify`: an array of
    /// `{"target","type","bytes","applied_seq","exceptions","why"}`.
    fn verify(&self) -> Answering<'_> {
        Box::pin(async { Ok(json!([])) })
    }
    /// What is remembered of one target besides its status; null if nothing.
    fn detail(&self, target: TargetName) -> Answering<'_>;
    /// Why it holds removals back, and which, by person; `seen` is the hash of a plan somebody was shown.
    fn held(&self, _target: TargetName, _seen: Option<String>) -> Answering<'_> {
        Box::pin(async { Ok(json!({ "removals": 0, "people": 0, "persons": [], "scopes": [] })) })
    }
    /// What lies at its destination: `member` names a file of a tree or set, `after` where the list of files goes on.
    fn file(&self, _target: TargetName, _member: Option<String>, _after: Option<String>) -> Answering<'_> {
        Box::pin(async { Ok(Value::Null) })
    }
    /// Pins one target to an earlier version: `{"target","to_seq","seq","state","added","removed","error"}`.
    fn roll_back(&self, target: TargetName, to: Option<Seq>, origin: Origin) -> Answering<'_>;
    /// Forgets a target that the configuration dropped: `{"target","seq","deleted","left"}`.
    fn forget(&self, target: TargetName, delete: bool, origin: Origin) -> Answering<'_>;
    /// Carries out a decision about held removals and says what it did: `{"target","released","rejected",
    /// "given_back","held_removals","seq","state","error"}`.
    fn decide(
        &self,
        target: TargetName,
        decision: Decision,
        reason: Option<String>,
        origin: Origin,
    ) -> Answering<'_>;
    /// Carries out an order about deliveries and says what it did: `{"targets","deliveries","from","changes","note"}`.
    fn deliver(&self, order: DeliveryOrder, origin: Origin) -> Answering<'_>;
}

/// Re-reads the configuration and applies it; the value says what changed.
pub type Reload = Arc<dyn Fn() -> Answering<'static> + Send + Sync>;

/// Looks the installation over, with what `status` and `tokens` say; the first argument is whether it may connect to
/// webhooks. The value is an array of `{"code","level","what","hint"}`.
pub type Doctor = Arc<dyn Fn(bool, Value, Value) -> Answering<'static> + Send + Sync>;

/// What of the running configuration the admin API needs; replaced whole by a reload.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Roles, for `explain`.
    pub roles: Vec<Role>,
    /// Directories in order of precedence, as far as the configuration says.
    pub directory_order: Vec<DirectoryId>,
    /// Subjects each directory may speak for.
    pub claims: Vec<(DirectoryId, Vec<String>)>,
    /// How long each directory may be quiet.
    pub expect_every: Vec<(DirectoryId, Duration)>,
    /// Quirks of directories that the configuration treats unlike their kind.
    pub quirks: Vec<(DirectoryId, Quirks)>,
    /// Schemas, for filters and answers.
    pub registry: Arc<Registry>,
    /// What an identity provider is told as base URL: `https://scim.example.com/scim/v2`.
    pub base_url: String,
    /// Names of the readers, for whom tokens may be made.
    pub readers: Vec<String>,
    /// Problems of the configuration itself, shown by `status`.
    pub problems: Vec<String>,
    /// Public halves of the keys that events are signed with, as `events keys` shows them.
    pub public_keys: Value,
}

/// Everything the admin API works on.
pub struct AdminState {
    /// The mirror.
    pub mirror: Mirror,
    /// The configuration of this moment.
    pub running: ArcSwap<Snapshot>,
    /// Targets, where somebody answers for them.
    pub targets: Option<Arc<dyn Targets>>,
    /// The reload, in a daemon.
    pub reload: Option<Reload>,
    /// What looks the installation over, in a daemon.
    pub doctor: Option<Doctor>,
    /// Readiness, with reasons.
    pub health: Arc<Health>,
    /// Counters, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The SCIM request log.
    pub activity: Activity,
    /// The user id this process runs as.
    pub own_uid: u32,
    /// Files that are being moved in.
    pub imports: super::import::Imports,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

impl AdminState {
    /// The text of `/metrics`, with what the mirror and the targets count.
    pub async fn exposition(&self) -> String {
        let mut more = metrics::of_mirror(&self.mirror);
        if let Some(targets) = &self.targets
            && let Ok(status) = targets.status().await
        {
            more += &metrics::of_targets(&status);
            more += &targets.metrics();
            more += &gauges::of_targets(&status);
            more += &metrics::of_deliveries(&status);
        }
        if let Ok(status) = decided(self).await {
            more += &metrics::of_decisions(&status);
        }
        let mirror = self.mirror.clone();
        if let Ok(Ok(rows)) = tokio::task::spawn_blocking(move || streams(&mirror)).await {
            more += &metrics::of_streams(&rows);
        }
        let tokens = self.mirror.read_long::<_, StoreError, _>(|tx| mirror::token::list(tx, None)).await;
        more += &gauges::of_tokens(&tokens.unwrap_or_default(), self.mirror.now());
        more += &gauges::of_activity(&self.activity);
        more += &gauges::of_process(self.health.is_ready(), self.mirror.disk(), self.mirror.opened_at());
        self.metrics.render(&more)
    }
}

/// A request, taken apart.
struct Request<'a> {
    state: &'a AdminState,
    caller: Caller,
    /// What stands in the path for each `{…}` of the endpoint's row.
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: &'a [u8],
}

impl Request<'_> {
    /// What stands for the `n`-th `{…}` of the path, from 0.
    fn segment(&self, n: usize) -> &str {
        self.path.get(n).map_or("", String::as_str)
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, AdminError> {
        self.param(name).map_or(Ok(default), |text| {
            text.parse().map_err(|_| AdminError::invalid(format!("`{name}` must be a whole number")))
        })
    }

    /// The body as an object whose keys are all among `known`; an empty body is an empty object.
    fn object(&self, known: &[&str]) -> Result<serde_json::Map<String, Value>, AdminError> {
        if self.body.is_empty() {
            return Ok(serde_json::Map::new());
        }
        let Value::Object(object) = scim::json::parse(self.body)? else {
            return Err(AdminError::invalid("the body must be a JSON object"));
        };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(AdminError::invalid(format!("unknown key `{key}`; known are {}", known.join(", "))))
            }
            None => Ok(object),
        }
    }
}

/// A string member of a body; null and absent are `None`.
fn text<'a>(object: &'a serde_json::Map<String, Value>, key: &str) -> Result<Option<&'a str>, AdminError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(AdminError::invalid(format!("`{key}` must be a string"))),
    }
}

/// A boolean member of a body; null and absent are `None`.
fn truth(object: &serde_json::Map<String, Value>, key: &str) -> Result<Option<bool>, AdminError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(AdminError::invalid(format!("`{key}` must be true or false"))),
    }
}

/// Answers one request. `path` is as on the wire, percent-encoded, without the query.
pub async fn handle(
    state: &AdminState,
    caller: Caller,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
) -> Reply {
    let found = match found(state, &caller, method, path) {
        Ok(found) => found,
        Err(refused) => return refused.into(),
    };
    let (row, path) = found;
    let query = super::scim_api::query_pairs(query).unwrap_or_default();
    let request = Request { state, caller, path, query, body };
    match (row.call)(&request).await {
        Ok(body) => Reply { status: row.status, body },
        Err(error) => error.into(),
    }
}

/// The row that answers this request, once it is sure that the caller may ask.
fn found(
    state: &AdminState,
    caller: &Caller,
    method: &Method,
    path: &str,
) -> Result<(&'static Endpoint, Vec<String>), AdminError> {
    let segments = segments(path).ok_or_else(nowhere)?;
    may_itself(state, caller, method, &segments)?;
    let mut rows = endpoints::at(&segments);
    if rows.is_empty() {
        return Err(nowhere());
    }
    let methods: Vec<&str> = rows.iter().map(|(row, _)| row.method).collect();
    let found = rows.iter().position(|(row, _)| row.method == method.as_str());
    let found = found.map(|at| rows.swap_remove(at));
    let (row, taken) = found.ok_or_else(|| {
        AdminError::new(
            405,
            format!("{method} is not served here"),
            format!("served are {}", methods.join(", ")),
        )
    })?;
    let role = caller.role();
    if role < row.least {
        return Err(AdminError::new(
            403,
            format!("this needs the role `{}`, and you have `{role}`", row.least),
            "roles are given in the configuration, under `[[admin.user]]`",
        ));
    }
    Ok((row, taken))
}

/// The methods that `path` serves, for the header `Allow`.
pub(crate) fn methods_at(path: &str) -> Vec<&'static str> {
    let rows = segments(path).map(|segments| endpoints::at(&segments)).unwrap_or_default();
    rows.iter().map(|(row, _)| row.method).collect()
}

/// The largest body that is read for a request.
pub(crate) fn body_bytes_max(method: &Method, path: &str) -> usize {
    let rows = segments(path).map(|segments| endpoints::at(&segments)).unwrap_or_default();
    let row = rows.iter().find(|(row, _)| row.method == method.as_str());
    row.map_or(endpoints::BODY_BYTES_MAX, |(row, _)| row.body_bytes_max)
}

/// Every endpoint's method, path and least role.
#[cfg(test)]
pub(crate) fn rows() -> Vec<(&'static str, &'static str, AdminRole)> {
    endpoints::all().map(|row| (row.method, row.path, row.least)).collect()
}

fn nowhere() -> AdminError {
    AdminError::absent("there is no such endpoint", "endpoints stand below /api/v1/")
}

fn segments(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix("/api/v1/")?;
    rest.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect()
}

/// A compromised daemon must not be able to change what it enforces through its own socket: where it runs as a
/// system account, that account may only reload and ask for the status (DESIGN §4). Root and people are never
/// restricted: a developer runs daemon and commands as one user.
fn may_itself(
    state: &AdminState,
    caller: &Caller,
    method: &Method,
    segments: &[String],
) -> Result<(), AdminError> {
    let Caller::Peer(uid) = *caller else { return Ok(()) };
    let system = (1..=999).contains(&state.own_uid) || state.own_uid == 65_534;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let harmless = matches!((method.as_str(), path.as_slice()), ("GET", ["status"]) | ("POST", ["reload"]));
    if uid == state.own_uid && system && !harmless {
        return Err(AdminError::new(
            403,
            "the daemon's own account may only reload and ask for the status",
            "run the command as root or as a member of the group rosterd-admin",
        ));
    }
    Ok(())
}

/// The parts of `status` that metrics are made of besides the targets.
async fn decided(state: &AdminState) -> Result<Value, AdminError> {
    let caller = Caller::InProcess(state.own_uid);
    let request = Request { state, caller, path: Vec::new(), query: Vec::new(), body: &[] };
    let (shut, grants) = decisions::in_force(&request).await?;
    Ok(json!({ "directories": directories::all(&request).await?, "shut": shut, "grants": grants }))
}
