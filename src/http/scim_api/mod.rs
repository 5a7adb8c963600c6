//! The SCIM API that identity providers speak to.
//!
//! A request passes, in this order: framing, `/healthz` and `/readyz`, `allow_from`, the in-flight bound, the
//! token (with the client's certificate, where the directory is tied to one), the directory's state, the route, the method, the media type, the body. Only then its meaning counts.
//! Dialects are rewritten here, at the edge; [`crate::scim`] sees the strict form only.

mod base;
mod bulk;
mod discovery;
mod error;
mod lists;
mod pipeline;
mod resources;
mod route;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

pub(super) use route::query_pairs;

use super::auth::{self, Failures};
use super::client_certificate::Subject;
use super::health::Health;
use super::limits::Settings as Limits;
use super::metrics::Metrics;
use super::network::Network;
use super::request_id::RequestIds;
use crate::activity::Activity;
use crate::mirror::Mirror;
use crate::model::{DirectoryId, Seq};
use crate::scim::dialect::Quirks;
use crate::scim::schema::Registry;

/// How the SCIM API presents itself and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Absolute URL of this server as clients see it, without the base path: `https://scim.example.com`. Key
    /// `server.public_url`; default none: `meta.location` follows the request's own host.
    pub public_url: Option<String>,
    /// Path all SCIM endpoints stand below. Key `server.base_path`, default `/scim/v2`.
    pub base_path: String,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Key `server.trusted_proxies`, default none.
    pub trusted_proxies: Vec<Network>,
    /// Addresses that may speak to the SCIM API at all. Key `server.allow_from`, default empty: everybody.
    pub allow_from: Vec<Network>,
    /// How many wrong tokens an address may send.
    pub failures: auth::Settings,
    /// Directories whose tokens count only beside a certificate of one of these subjects. Key
    /// `directory.client_subject`.
    pub client_subjects: BTreeMap<DirectoryId, Vec<Subject>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            base_path: "/scim/v2".to_owned(),
            trusted_proxies: Vec::new(),
            allow_from: Vec::new(),
            failures: auth::Settings::default(),
            client_subjects: BTreeMap::new(),
        }
    }
}

/// The SCIM API over one mirror. Shared by all its connections; settings and schemas may be swapped while it runs.
pub struct ScimApi {
    mirror: Mirror,
    running: ArcSwap<Running>,
    limits: Arc<Limits>,
    failures: Failures,
    sessions: session::Cache,
    newest: watch::Receiver<Seq>,
    in_flight: Semaphore,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    ids: RequestIds,
    activity: Activity,
}

/// What a reload replaces, as one.
#[derive(Debug)]
struct Running {
    settings: Settings,
    registry: Arc<Registry>,
    /// Directories whose configuration overrides what their kind brings.
    quirks: HashMap<DirectoryId, Quirks>,
}

impl fmt::Debug for ScimApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScimApi").finish_non_exhaustive()
    }
}

impl ScimApi {
    /// An API over `mirror`.
    pub fn new(
        mirror: Mirror,
        settings: Settings,
        registry: Arc<Registry>,
        quirks: HashMap<DirectoryId, Quirks>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let in_flight = Semaphore::new(limits.in_flight_max.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            failures: Failures::new(settings.failures),
            sessions: session::Cache::default(),
            newest: mirror.changes(),
            running: ArcSwap::from_pointee(Running { settings, registry, quirks }),
            mirror,
            limits,
            in_flight,
            metrics,
            health,
            ids: RequestIds::new(),
            activity: Activity::off(),
        }
    }

    /// The same, telling `activity` of each request.
    #[must_use]
    pub fn telling(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    /// Takes new settings and schemas over; requests under way finish with the old ones. The bounds of failing
    /// authentications and the limits stay until a restart.
    pub fn reload(&self, settings: Settings, registry: Arc<Registry>, quirks: HashMap<DirectoryId, Quirks>) {
        self.running.store(Arc::new(Running { settings, registry, quirks }));
    }
}
