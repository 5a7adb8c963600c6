//! The admin API without a daemon: a command opens the mirror under `serve`'s lock and asks the same handler.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::Method;

use crate::activity::Activity;
use crate::config::{self, Secrets};
use crate::http::admin_api::{self, AdminState, Caller};
use crate::http::health::Health;
use crate::http::metrics::Metrics;
use crate::mirror::Mirror;
use crate::model::{Clock, SystemClock};

use super::client::Answer;
use super::targets::Resting;
use super::{Error, owner, wire};

/// The open mirror, with the config read for it.
#[derive(Debug)]
pub struct Local {
    state: AdminState,
    caller: Caller,
}

impl Local {
    /// Opens the mirror that the config at `path` names, as its owner.
    ///
    /// INVARIANT: called while the process has one thread, since it may change the process's user.
    /// # Errors
    /// As [`super::run::serve`]; a missing secret is none, since nothing here needs one.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // The change log names the person, not the account that the command becomes.
        let caller = Caller::InProcess(rustix::process::getuid().as_raw());
        let config = config::load(path, Secrets::Optional)?.config;
        let state_dir = config.state_dir().to_owned();
        owner::become_owner(&state_dir)
            .map_err(|source| Error::StateDirectory { path: state_dir, source })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mirror = Mirror::open(&config.mirror, Arc::clone(&clock))?;
        let base_url = wire::base_url(&config, None);
        let activity =
            Activity::at_rest(wire::activity_file(&config), config.activity.clone(), Arc::clone(&clock));
        let health = Health::starting();
        health.set_unready("no daemon runs");
        let resting = Arc::new(Resting { mirror: mirror.clone(), settings: config.reconcile(), clock });
        let state = AdminState {
            mirror,
            running: ArcSwap::from_pointee(wire::snapshot(&config, Arc::clone(&config.registry), base_url)),
            targets: Some(resting),
            reload: None,
            doctor: None,
            health: Arc::new(health),
            metrics: Arc::new(Metrics::new()),
            activity,
            own_uid: rustix::process::geteuid().as_raw(),
            imports: crate::http::import::Imports::default(),
        };
        Ok(Self { state, caller })
    }

    /// Answers one request as the daemon would.
    pub async fn handle(&self, method: &str, target: &str, body: Option<Bytes>) -> Answer {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let body = body.unwrap_or_default();
        let reply = admin_api::handle(&self.state, self.caller.clone(), &method, path, query, &body).await;
        let body = if reply.body.is_null() { Bytes::new() } else { Bytes::from(reply.body.to_string()) };
        Answer { status: reply.status, headers: hyper::HeaderMap::new(), body }
    }
}
