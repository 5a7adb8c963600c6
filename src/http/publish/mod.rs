//! What readers may read: published targets, events, metrics. Nothing here can be changed by anybody.
//!
//! A request passes, in this order: framing, `allow_from`, the reader's token, the route, what that reader may read,
//! the method. A target that is not there and one the reader does not list get the same answer, whatever is asked
//! of it. A directory's token is nobody here, as a reader's is nobody at the SCIM API.
//!
//! INVARIANT: what waits for a change holds no thread, no connection to the mirror and no copy of any bytes; and
//! what it is given in the end is given only if its token still holds then.

mod condition;
#[cfg(test)]
mod event_tests;
mod events;
mod pipeline;
mod prefer;
mod sets;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use super::auth::{self, Failures};
use super::limits::Settings as Limits;
use super::metrics::Metrics;
use super::network::Network;
use super::request_id::RequestIds;
use crate::mirror::Mirror;
use crate::model::TargetName;
use crate::reconcile::Shelf;
use crate::reconcile::event::EventFilter;
use crate::reconcile::event::body::{BodySettings, Hidden};
use crate::reconcile::pull::Pull;

/// Whom the publish listener serves, and with what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Proxies whose `Forwarded` and `X-Forwarded-For` headers are believed. Key `publish.trusted_proxies`, default
    /// none.
    pub trusted_proxies: Vec<Network>,
    /// Addresses that may speak to it at all. Key `publish.allow_from`, default empty: everybody.
    pub allow_from: Vec<Network>,
    /// Every `[[reader]]` by its name.
    pub readers: BTreeMap<String, Rights>,
    /// Attributes that the schemas say are never returned: no event shows them.
    pub hidden: Vec<Hidden>,
}

/// What one reader may read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rights {
    /// Key `targets`: published targets. Default none.
    pub targets: BTreeSet<TargetName>,
    /// Key `events`. Default false.
    pub events: bool,
    /// Key `sets`: how its events look as signed tokens. Default none: it may not fetch them so.
    pub sets: Option<Sets>,
    /// Key `metrics`. Default false.
    pub metrics: bool,
}

/// What a reader that fetches signed event tokens is told, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Sets {
    /// Which events.
    pub events: EventFilter,
    /// How the tokens look, and who signs them.
    pub body: BodySettings,
}

/// Makes the text of `/metrics`.
pub type Exposition = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What the API reads from.
pub struct Sources {
    /// The mirror: tokens, and changes for events.
    pub mirror: Mirror,
    /// Published targets.
    pub shelf: Arc<Shelf>,
    /// Events.
    pub pull: Pull,
    /// The text of `/metrics`.
    pub exposition: Exposition,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Turns true when the daemon stops: whoever waits is answered at once.
    pub stopping: watch::Receiver<bool>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The API for readers. Shared by all its connections; settings may be swapped while it runs.
#[derive(Debug)]
pub struct PublishApi {
    sources: Sources,
    running: ArcSwap<Settings>,
    limits: Arc<Limits>,
    failures: Failures,
    waiting: Arc<Semaphore>,
    ids: RequestIds,
}

/// Longest a request may ask to wait for news.
pub const WAIT_MAX: Duration = Duration::from_mins(10);

/// Most requests that wait for news at once.
const WAITING_MAX: usize = 8_192;

impl PublishApi {
    /// An API over `sources`.
    pub fn new(sources: Sources, settings: Settings, limits: Arc<Limits>) -> Self {
        Self {
            sources,
            running: ArcSwap::from_pointee(settings),
            limits,
            failures: Failures::new(auth::Settings::default()),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            ids: RequestIds::new(),
        }
    }

    /// Takes new settings over, also for requests that wait.
    pub fn reload(&self, settings: Settings) {
        self.running.store(Arc::new(settings));
    }
}
