//! The parts of a running daemon, wired together; and the reload, which swaps what they go by.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::activity::Activity;
use crate::config::{self, Config, Loaded, Secrets, change};
use crate::http::acme::renew::{Outcome, Validity};
use crate::http::admin::{AdminTcp, Site};
use crate::http::admin_api::{AdminError, AdminSocket, AdminState, AdminUser, Answering, Reload, Users};
use crate::http::console::Console;
use crate::http::health::Health;
use crate::http::listener::Address;
use crate::http::metrics::Metrics;
use crate::http::publish::{self, PublishApi};
use crate::http::scim_api::ScimApi;
use crate::http::tls::Tls;
use crate::mirror::{Mirror, StoreError, directory};
use crate::model::{Actor, Clock, Origin, Seq, TargetName};
use crate::reconcile::{self, Reconciler, State};
use crate::telemetry;

use super::targets::Running;
use super::upkeep::Upkeep;
use super::{Error, accept, doctor, notify, wire};

/// What the start has ready by the time the parts are wired.
pub(super) struct Parts {
    /// The config file.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) config: Config,
    /// The running log.
    pub(super) log: telemetry::Handle,
    /// The open mirror.
    pub(super) mirror: Mirror,
    /// The wall clock.
    pub(super) clock: Arc<dyn Clock>,
}

/// The certificate of each listener that speaks TLS, by its name.
pub(super) type Certificates = Vec<(&'static str, Arc<Tls>)>;

/// Where the listeners really listen.
pub(super) struct Bound {
    /// Those for identity providers.
    pub(super) scim: Vec<String>,
    /// Those for people.
    pub(super) web: Vec<Address>,
}

/// The listener for people, and what of it a reload replaces.
struct Web {
    users: Arc<Users>,
    tcp: Arc<AdminTcp>,
    bound: Vec<Address>,
}

/// A running daemon.
pub(super) struct Service {
    path: PathBuf,
    log: telemetry::Handle,
    mirror: Mirror,
    clock: Arc<dyn Clock>,
    reconciler: Reconciler,
    scim: Arc<ScimApi>,
    publish: Arc<PublishApi>,
    admin: Arc<AdminState>,
    web: Option<Web>,
    tls: Certificates,
    base_url: String,
    state_dir: PathBuf,
    upkeep: Upkeep,
    /// The config in force; locked while a reload runs, so that two never overlap.
    config: Mutex<Config>,
}

/// The name the config goes by in the change log.
fn origin() -> Origin {
    Origin { actor: Actor::Config, request: None }
}

impl Service {
    /// Takes the config into the mirror, starts the targets and makes the two APIs.
    pub(super) async fn start(
        parts: Parts,
        tls: Certificates,
        bound: Bound,
        stopping: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, Error> {
        let Parts { path, config, log, mirror, clock } = parts;
        let quirks = wire::quirks(&config);
        let settings = config.reconcile();
        take(&mirror, config.clone()).await?;
        let reconciler = Reconciler::start(mirror.clone(), settings, Arc::clone(&clock))?;
        let registry = Arc::clone(&config.registry);
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::starting()));
        let base_url = wire::base_url(&config, bound.scim.first().map(String::as_str));
        let scim = ScimApi::new(
            mirror.clone(),
            config.server.scim.clone(),
            Arc::clone(&registry),
            quirks,
            Arc::new(config.server.limits.clone()),
            Arc::clone(&metrics),
            Arc::clone(&health),
        );
        let activity =
            Activity::start(&wire::activity_file(&config), config.activity.clone(), Arc::clone(&clock));
        let scim = Arc::new(scim.telling(activity.clone()));
        let itself: Arc<OnceLock<Weak<Self>>> = Arc::default();
        let admin = Arc::new(AdminState {
            mirror: mirror.clone(),
            running: ArcSwap::from_pointee(wire::snapshot(&config, registry, base_url.clone())),
            targets: Some(Arc::new(Running(reconciler.clone()))),
            reload: Some(reload_through(Arc::clone(&itself))),
            doctor: Some(doctor::of_daemon(path.clone())),
            health,
            metrics,
            activity,
            own_uid: rustix::process::geteuid().as_raw(),
            imports: crate::http::import::Imports::default(),
        });
        admin.health.set_ready();
        let sources = publish::Sources {
            mirror: mirror.clone(),
            shelf: reconciler.shelf(),
            pull: reconciler.pull(),
            exposition: exposition_of(Arc::clone(&admin)),
            metrics: Arc::clone(&admin.metrics),
            stopping,
        };
        let limits = config.publish.as_ref().map(|one| one.limits.clone()).unwrap_or_default();
        let publish = Arc::new(PublishApi::new(sources, wire::publish(&config), Arc::new(limits)));
        let web = web(&config, &admin, bound.web).await?;
        let upkeep = Upkeep::new(mirror.clone(), config.mirror.path.clone());
        let service = Arc::new(Self {
            path,
            log,
            mirror,
            clock,
            reconciler,
            scim,
            publish,
            admin,
            web,
            tls,
            base_url,
            state_dir: config.state_dir().to_owned(),
            upkeep,
            config: Mutex::new(config),
        });
        service.note_certificates();
        // Set once, here; a reload before this moment finds nobody and says so.
        let _ = itself.set(Arc::downgrade(&service));
        Ok(service)
    }

    /// What answers identity providers.
    pub(super) fn scim(&self) -> Arc<ScimApi> {
        Arc::clone(&self.scim)
    }

    /// What answers readers.
    pub(super) fn publish(&self) -> Arc<PublishApi> {
        Arc::clone(&self.publish)
    }

    /// What answers operators.
    pub(super) fn admin(&self) -> Arc<AdminSocket> {
        Arc::new(AdminSocket::new(Arc::clone(&self.admin), Arc::default()))
    }

    /// What answers people over TCP, if anything does.
    pub(super) fn web(&self) -> Option<Arc<AdminTcp>> {
        self.web.as_ref().map(|web| Arc::clone(&web.tcp))
    }

    /// The file the config was read from.
    pub(super) fn config_path(&self) -> &Path {
        &self.path
    }

    /// The folder of the mirror.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    /// Counters.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.admin.metrics)
    }

    /// Readiness.
    pub(super) fn health(&self) -> &Health {
        &self.admin.health
    }

    /// The line that `systemctl status` shows: `serving: 3 directories, 12410 users, 2 targets, 0 failing`.
    pub(super) fn status_line(&self) -> String {
        let directories = self.mirror.read::<_, StoreError>(directory::list).unwrap_or_default();
        let users: u64 = directories.iter().map(|one| one.users).sum();
        let targets = self.reconciler.status();
        let bad = |state| {
            matches!(
                state,
                State::Failing | State::Foreign | State::Held | State::Disabled | State::Unverified
            )
        };
        let failing = targets.iter().filter(|target| bad(target.state)).count();
        let now = self.clock.now();
        let last = targets.iter().filter_map(|target| target.last_success).max();
        let last =
            last.map_or_else(String::new, |at| format!(", last sync {} s ago", now.since(at).as_secs()));
        format!(
            "serving: {} directories, {users} users, {} targets{last}, {failing} failing",
            directories.len(),
            targets.len()
        )
    }

    /// Parks the targets: the step under way is finished, none is begun.
    pub(super) async fn shutdown(&self) {
        self.reconciler.shutdown().await;
        self.admin.activity.close();
    }

    /// Reads the config again because of SIGHUP; the result is logged.
    pub(super) async fn reload_by_signal(&self) {
        // Whoever asks over the admin socket gets the same result as an answer; it is logged there and here alike.
        let _ = self.reload().await;
    }

    /// Reads the config again and applies it; where that fails, the old one stays in force.
    pub(super) async fn reload(&self) -> Result<Value, AdminError> {
        let mut current = self.config.lock().await;
        notify::reloading();
        let done = match self.read().await {
            Ok(loaded) => self.swap(&mut current, loaded).await,
            Err(error) => Err(error),
        };
        notify::ready(&self.status_line());
        match &done {
            Ok(told) => {
                tracing::info!(%told, "the config was read again and is in force");
            }
            Err(error) => tracing::error!(%error, "the config was refused; the old one stays in force"),
        }
        done
    }

    /// The config file was saved: applies what only adds and holds what may take something away until `reload`
    /// (DESIGN §4). Nobody waits for an answer, so what became of it is logged.
    pub(super) async fn config_touched(&self) {
        let mut current = self.config.lock().await;
        let loaded = match self.read().await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(%error, "the config file was changed and is wrong; the old one stays in force");
                return;
            }
        };
        let difference = change::between(&current, &loaded.config);
        if difference.adds.is_empty() && difference.removes.is_empty() {
            return;
        }
        if !difference.only_adds() {
            let removes = difference.removes.join("; ");
            tracing::warn!(%removes, "the config file was changed and would take something away: held until `rosterd reload`");
            return;
        }
        match self.swap(&mut current, loaded).await {
            Ok(told) => tracing::info!(%told, "the changed config only adds and is in force"),
            Err(error) => {
                tracing::error!(%error, "the changed config was refused; the old one stays in force");
            }
        }
    }

    /// Takes a renewed certificate; open connections keep theirs. Not worth a word while nothing is new.
    pub(super) fn renew_certificate(&self) {
        for (listener, tls) in &self.tls {
            match tls.reload() {
                Ok(true) => tracing::info!(listener, "a renewed certificate is in use"),
                Err(cause) => {
                    tracing::warn!(listener, %cause, "the renewed certificate cannot be used; the old one stays");
                }
                Ok(false) => {}
            }
        }
        self.note_certificates();
    }

    /// What became of an order with an ACME server.
    pub(super) fn ordered(&self, outcome: Outcome) {
        self.admin.metrics.acme_order(outcome.as_str());
        if outcome == Outcome::Taken {
            self.renew_certificate();
        }
    }

    /// Tells the metrics when each certificate runs out.
    fn note_certificates(&self) {
        for (listener, tls) in &self.tls {
            let ends = Validity::of(&tls.settings().cert()).map_or(0, |validity| validity.ends);
            self.admin.metrics.certificate_ends(listener, ends);
        }
    }

    /// The first target whose task ended by itself, which only a bug can do.
    pub(super) fn dead_target(&self) -> Option<TargetName> {
        self.reconciler.dead().into_iter().next()
    }

    /// Does what is due about the mirror.
    pub(super) async fn upkeep(&self) {
        let keep = self.config.lock().await.mirror.keep;
        self.upkeep.look(keep).await;
    }

    async fn read(&self) -> Result<Loaded, AdminError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || config::load(&path, Secrets::Required))
            .await
            .map_err(|cause| AdminError::new(500, format!("cannot read the config: {cause}"), ""))?
            .map_err(|problems| AdminError::config(problems.to_string()))
    }

    async fn swap(&self, current: &mut Config, loaded: Loaded) -> Result<Value, AdminError> {
        let Loaded { config: new, warnings } = loaded;
        let mut notices: Vec<String> = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
        let difference = change::between(current, &new);
        let seq = take(&self.mirror, new.clone()).await.map_err(refused)?;
        self.reconciler.replace_settings(new.reconcile()).await.map_err(|cause| refused(cause.into()))?;
        let registry = Arc::clone(&new.registry);
        self.scim.reload(new.server.scim.clone(), Arc::clone(&registry), wire::quirks(&new));
        self.admin.running.store(Arc::new(wire::snapshot(&new, registry, self.base_url.clone())));
        if let Err(cause) = self.log.set_level(&new.log.level) {
            notices.push(format!("the log level stays: {cause}"));
        }
        self.publish.reload(wire::publish(&new));
        self.admin.activity.configure(new.activity.clone());
        if let Some(web) = &self.web {
            web.tcp.reload(wire::admin(&new, &web.bound));
            let (users, wanted) = (Arc::clone(&web.users), people(&new));
            // Hashing what is new takes a while; until it is done the old ones count.
            if tokio::task::spawn_blocking(move || users.replace(&wanted)).await.is_err() {
                notices.push("internal error: the users stay as they were".to_owned());
            }
        }
        for cause in self.tls.iter().filter_map(|(_, tls)| tls.reload().err()) {
            notices.push(format!("the old certificate stays: {cause}"));
        }
        self.note_certificates();
        *current = new;
        Ok(json!({
            "ok": true,
            "seq": seq,
            "adds": difference.adds,
            "removes": difference.removes,
            "restarts": difference.restarts,
            "notices": notices,
        }))
    }
}

fn people(config: &Config) -> Vec<AdminUser> {
    config.admin.web.as_ref().map(|web| web.users.clone()).unwrap_or_default()
}

/// The listener for people, if the config has one.
async fn web(config: &Config, state: &Arc<AdminState>, bound: Vec<Address>) -> Result<Option<Web>, Error> {
    if config.admin.web.is_none() {
        return Ok(None);
    }
    let wanted = people(config);
    let users = tokio::task::spawn_blocking(move || Users::new(&wanted));
    let users = Arc::new(users.await.map_err(|_| Error::Dead("what reads passwords"))?);
    let settings = wire::admin(config, &bound);
    let console = Console::new(Arc::clone(state), Arc::clone(&users)).map_err(std::io::Error::other);
    let site: Arc<dyn Site> = Arc::new(console.map_err(Error::System)?);
    let tcp = AdminTcp::new(Arc::clone(state), Arc::clone(&users), settings, Some(site), Arc::default());
    Ok(Some(Web { users, tcp: Arc::new(tcp), bound }))
}

/// Records `config` in the mirror, with what it makes there.
async fn take(mirror: &Mirror, config: Config) -> Result<Option<Seq>, Error> {
    mirror.write(origin(), move |tx| accept::accept(tx, &config)).await
}

fn exposition_of(admin: Arc<AdminState>) -> publish::Exposition {
    Arc::new(move || {
        let admin = Arc::clone(&admin);
        Box::pin(async move { admin.exposition().await })
    })
}

fn reload_through(service: Arc<OnceLock<Weak<Service>>>) -> Reload {
    Arc::new(move || -> Answering<'static> {
        let service = service.get().and_then(Weak::upgrade);
        Box::pin(async move {
            match service {
                Some(service) => service.reload().await,
                None => {
                    Err(AdminError::new(503, "the daemon is starting or stopping", "try again in a moment"))
                }
            }
        })
    })
}

fn refused(error: Error) -> AdminError {
    match error {
        Error::Mirror(cause) => cause.into(),
        Error::Reconcile(reconcile::Error::Closed) => {
            AdminError::new(503, "the daemon is stopping", "try again in a moment")
        }
        other => AdminError::config(other.to_string()),
    }
}
