//! `serve`: the daemon from its first line to its last.
//!
//! Start order: config → log → mirror → what the config makes in it → reconciler → listeners → `READY=1`. Each
//! step needs the ones before it; nothing is told ready that could still fail. The end, on SIGTERM: tell systemd,
//! stop accepting, answer what is in flight, park the targets, fold the log back, exit 0.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{self, Config, Secrets};
use crate::http::acme::challenge::Challenges;
use crate::http::acme::{self, renew};
use crate::http::challenge_listener::Http01;
use crate::http::limits;
use crate::http::listener::{self, Inherited, Socket};
use crate::http::metrics::Metrics;
use crate::http::network::Network;
use crate::http::server::{self, Serving};
use crate::http::tls::{self, Tls};
use crate::mirror::{Mirror, StoreError};
use crate::model::{Clock, SystemClock};
use crate::telemetry;

use super::config_watch::ConfigWatch;
use super::service::{Bound, Parts, Service};
use super::watchdog::{self, Watchdog};
use super::{Error, notify, owner};

/// How often the status line is renewed and what was noted in memory is written.
const UPKEEP_EVERY: Duration = Duration::from_secs(15);

/// How often it is tried whether the mirror can still be written.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Free bytes below which the state directory counts as full: a write-ahead log grows by about this before it is folded
/// back.
const ROOM_LEAST_BYTES: u64 = 4 * 1024 * 1024;

/// How long start-up may take before systemd gives up: a migration copies the whole mirror first.
const START_PATIENCE: Duration = Duration::from_mins(10);

/// How long blocking work, such as a target's command, may outlive the drain.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(1);

/// Runs the daemon with the config at `path` until it is told to stop.
///
/// INVARIANT: called while the process has one thread, since it may change the process's user.
/// # Errors
/// Whatever kept it from starting, or ended it.
pub fn serve(path: &Path) -> Result<(), Error> {
    let inherited = Inherited::from_env()?;
    let loaded = config::load(path, Secrets::Required)?;
    let state_dir = loaded.config.state_dir().to_owned();
    owner::become_owner(&state_dir)
        .map_err(|source| Error::StateDirectory { path: state_dir.clone(), source })?;
    let log = telemetry::init(&loaded.config.log)?;
    log_panics();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    notify::extend(START_PATIENCE);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mirror = Mirror::open(&loaded.config.mirror, Arc::clone(&clock))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("rosterd")
        .build()
        .map_err(Error::System)?;
    let parts = Parts {
        path: path.to_owned(),
        config: loaded.config,
        log: log.clone(),
        mirror: mirror.clone(),
        clock,
    };
    let ended = runtime.block_on(run(parts, inherited));
    runtime.shutdown_timeout(LEFTOVER_PATIENCE);
    if ended.is_ok() {
        mirror.close();
        tracing::info!("stopped");
    }
    log.close();
    ended
}

/// A panic is a bug wherever it happens, so it goes to the log with its place. Its message may quote somebody's
/// data and is shown at debug level only.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| String::from("an unknown place"), ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(place, thread, "internal error: a panic; please report it with the lines above");
        tracing::debug!("{panic}");
    }));
}

async fn run(parts: Parts, mut inherited: Inherited) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let config = parts.config.clone();
    let mirror = parts.mirror.clone();
    let challenges = Arc::default();
    let tls = load_tls(config.server.tls.as_ref(), &challenges)?;
    let scim = listener::bind(&config.server.listener, &mut inherited)?;
    let admin = listener::bind(&config.admin.socket, &mut inherited)?;
    let bound: Vec<String> = scim.iter().map(Socket::local).collect();
    let publish = bind_publish(&config, &mut inherited, &challenges)?;
    let web = bind_web(&config, &mut inherited, &challenges)?;
    let acme = acme_settings(&config);
    let http01 = bind_http01(&acme, &mut inherited)?;
    for name in inherited.left() {
        tracing::warn!(name, "systemd passed a socket that nothing here listens on");
    }
    let (stop, stopping) = watch::channel(false);
    let publish_tls = publish.as_ref().and_then(|(_, tls)| tls.clone());
    let web_tls = web.as_ref().and_then(|(_, tls)| tls.clone());
    let named = [("scim", &tls), ("publish", &publish_tls), ("admin", &web_tls)];
    let certificates = named.into_iter().filter_map(|(name, tls)| Some((name, tls.clone()?))).collect();
    let people: Vec<String> = web.iter().flat_map(|(sockets, _)| sockets.iter().map(Socket::local)).collect();
    let bound_web = people.iter().filter_map(|address| address.parse().ok()).collect();
    let at = Bound { scim: bound.clone(), web: bound_web };
    let service = Service::start(parts, certificates, at, stopping.clone()).await?;

    let mut tasks = JoinSet::new();
    let metrics = service.metrics();
    let serving = serving(&config.server.limits, tls, &config.server.scim.trusted_proxies, &metrics);
    let mut told: Vec<String> = Vec::new();
    if let Some(((sockets, tls), settings)) = publish.zip(config.publish.as_ref()) {
        told = sockets.iter().map(Socket::local).collect();
        let readers = serving_readers(settings, tls, &metrics);
        tasks.spawn(server::serve(sockets, readers, service.publish(), stopping.clone()));
    }
    if let Some(((sockets, tls), handler)) = web.zip(service.web()) {
        let proxies = config.admin.web.as_ref().map(|one| one.trusted_proxies.clone()).unwrap_or_default();
        let people = self::serving(&limits::Settings::default(), tls, &proxies, &metrics);
        tasks.spawn(server::serve(sockets, people, handler, stopping.clone()));
    }
    tasks.spawn(server::serve(scim, serving, service.scim(), stopping.clone()));
    if !http01.is_empty() {
        let answering = Arc::new(Http01(Arc::clone(&challenges)));
        tasks.spawn(server::serve(http01, serving_plain(&metrics), answering, stopping.clone()));
    }
    let local = serving_plain(&metrics);
    tasks.spawn(server::serve(admin, local, service.admin(), stopping));

    for settings in acme {
        let (service, challenges) = (Arc::clone(&service), Arc::clone(&challenges));
        tokio::spawn(renew::keep(settings, challenges, move |outcome| service.ordered(outcome)));
    }
    let config_watch = ConfigWatch::start(service.config_path());
    let watchdog = start_watchdog(&mirror)?;
    let (version, config_file) = (env!("CARGO_PKG_VERSION"), service.config_path().display());
    tracing::info!(version, config = %config_file, mirror = %config.mirror.path.display(), "rosterd started");
    for address in &bound {
        tracing::info!(%address, "serving SCIM");
    }
    for address in &told {
        tracing::info!(%address, "serving readers");
    }
    for address in &people {
        tracing::info!(%address, "serving the console and the admin API");
    }
    notify::ready(&service.status_line());
    let ended = attend(&service, &mirror, &mut signals, config_watch, &mut tasks).await;
    if ended.is_ok() {
        notify::stopping();
        tracing::info!("stopping");
        tokio::select! {
            () = drain(&service, &mirror, &stop, tasks) => {}
            // A second word to stop is taken at once; every answered write is durable already.
            () = signals.stop() => tracing::warn!("told twice to stop; ending at once"),
        }
    }
    drop(watchdog);
    notify::last_words();
    ended
}

/// Attends to the running daemon until it is told to stop (`Ok`) or cannot go on.
async fn attend(
    service: &Arc<Service>,
    mirror: &Mirror,
    signals: &mut Signals,
    mut config_watch: ConfigWatch,
    tasks: &mut JoinSet<std::io::Result<()>>,
) -> Result<(), Error> {
    let mut failed = mirror.failed();
    let mut upkeep = tokio::time::interval_at(tokio::time::Instant::now() + UPKEEP_EVERY, UPKEEP_EVERY);
    let mut probe = tokio::time::interval(PROBE_EVERY);
    let first = Arc::clone(service);
    tokio::spawn(async move { first.upkeep().await });
    loop {
        tokio::select! {
            word = signals.next() => match word {
                Word::Stop => return Ok(()),
                // The result is in the journal; `rosterd reload` is the way to get it as an exit code.
                Word::Reload => {
                    let service = Arc::clone(service);
                    tokio::spawn(async move { service.reload_by_signal().await });
                }
            },
            changed = failed.changed() => {
                let cause = failed.borrow().clone();
                return Err(match (changed, cause) {
                    (Ok(()), Some(cause)) => Error::Mirror(cause),
                    (Ok(()), None) => continue,
                    (Err(_), _) => Error::Dead("the mirror's writer thread"),
                });
            }
            Some(ended) = tasks.join_next() => return Err(match ended {
                Ok(Err(cause)) => Error::System(cause),
                Ok(Ok(())) | Err(_) => Error::Dead("a listener"),
            }),
            () = config_watch.touched() => {
                let service = Arc::clone(service);
                tokio::spawn(async move { service.config_touched().await });
            }
            _ = upkeep.tick() => {
                service.renew_certificate();
                flush_marks(mirror).await;
                let kept = Arc::clone(service);
                tokio::spawn(async move { kept.upkeep().await });
                notify::status(&service.status_line());
            }
            _ = probe.tick() => {
                if let Some(target_name) = service.dead_target() {
                    tracing::error!(%target_name, "the target's task ended by itself");
                    return Err(Error::Dead("a target's task"));
                }
                probe_once(service, mirror).await;
            }
        }
    }
}

async fn probe_once(service: &Service, mirror: &Mirror) {
    let probed = mirror.probe_disk().await;
    match probed.and_then(|()| room_left(&service.state_dir())) {
        Ok(()) => service.health().set_ready(),
        Err(cause) => {
            service.health().set_unready(&cause.to_string());
            // What ends the process is told there; what heals by itself is told here, once per probe.
            if !matches!(cause, StoreError::Io(_) | StoreError::Closed) {
                tracing::warn!(%cause, hint = cause.hint(), "the mirror cannot be written");
            }
        }
    }
}

/// A probe's few bytes still fit where the next request no longer does, so that room is looked at as well.
fn room_left(state_dir: &Path) -> Result<(), StoreError> {
    match rustix::fs::statvfs(state_dir) {
        Ok(found) if found.f_bavail.saturating_mul(found.f_frsize) < ROOM_LEAST_BYTES => {
            Err(StoreError::Full)
        }
        // Where the file system does not tell, the probe's own write has to do.
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn flush_marks(mirror: &Mirror) {
    if let Err(cause) = mirror.flush_marks().await {
        tracing::warn!(%cause, "last uses of tokens could not be written; trying again later");
    }
}

async fn drain(
    service: &Service,
    mirror: &Mirror,
    stop: &watch::Sender<bool>,
    mut tasks: JoinSet<std::io::Result<()>>,
) {
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    service.shutdown().await;
    flush_marks(mirror).await;
}

fn serving(
    limits: &limits::Settings,
    tls: Option<Arc<Tls>>,
    trusted_proxies: &[Network],
    metrics: &Arc<Metrics>,
) -> Serving {
    Serving {
        limits: Arc::new(limits.clone()),
        connections: Arc::default(),
        tls,
        trusted_proxies: trusted_proxies.into(),
        half_close: true,
        metrics: Arc::clone(metrics),
    }
}

fn serving_plain(metrics: &Arc<Metrics>) -> Serving {
    serving(&limits::Settings::default(), None, &[], metrics)
}

fn serving_readers(settings: &config::Publish, tls: Option<Arc<Tls>>, metrics: &Arc<Metrics>) -> Serving {
    // A reader that hung up while it waited for news must give its place back at once.
    let half_close = false;
    Serving { half_close, ..serving(&settings.limits, tls, &settings.trusted_proxies, metrics) }
}

/// The sockets of a listener, and its certificate if it speaks TLS.
type Guarded = (Vec<Socket>, Option<Arc<Tls>>);

/// What to serve people on, if `[admin] listen` is set.
fn bind_web(
    config: &Config,
    inherited: &mut Inherited,
    challenges: &Arc<Challenges>,
) -> Result<Option<Guarded>, Error> {
    let Some(settings) = &config.admin.web else { return Ok(None) };
    let tls = load_tls(settings.tls.as_ref(), challenges)?;
    Ok(Some((listener::bind(&settings.listener, inherited)?, tls)))
}

/// A listener's certificate, if it speaks TLS. It also answers the orders under way, whichever listener they are for:
/// one of them stands at port 443.
fn load_tls(
    settings: Option<&tls::Settings>,
    challenges: &Arc<Challenges>,
) -> Result<Option<Arc<Tls>>, Error> {
    let loaded = settings.cloned().map(Tls::load).transpose()?;
    Ok(loaded.map(|tls| Arc::new(tls.answering(challenges))))
}

/// What is ordered from ACME servers: once, where two listeners share a certificate.
fn acme_settings(config: &Config) -> Vec<acme::Settings> {
    let mut found: Vec<acme::Settings> = Vec::new();
    for settings in config.certificates().filter_map(tls::Settings::acme) {
        if !found.iter().any(|known| acme::store::certificate(known) == acme::store::certificate(settings)) {
            found.push(settings.clone());
        }
    }
    found
}

/// The sockets that HTTP-01 is answered on.
fn bind_http01(acme: &[acme::Settings], inherited: &mut Inherited) -> Result<Vec<Socket>, Error> {
    let mut addresses = Vec::new();
    for address in acme.iter().flat_map(|settings| &settings.http_listen) {
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    Ok(listener::bind(&listener::Settings { addresses, name: "acme", unix_mode: 0o660 }, inherited)?)
}

/// What to serve readers on, if `[publish]` is on.
fn bind_publish(
    config: &Config,
    inherited: &mut Inherited,
    challenges: &Arc<Challenges>,
) -> Result<Option<Guarded>, Error> {
    let Some(settings) = &config.publish else { return Ok(None) };
    let tls = load_tls(settings.tls.as_ref(), challenges)?;
    Ok(Some((listener::bind(&settings.listener, inherited)?, tls)))
}

fn start_watchdog(mirror: &Mirror) -> Result<Option<Watchdog>, Error> {
    let Some(period) = watchdog::period() else { return Ok(None) };
    let (runtime, mirror) = (tokio::runtime::Handle::current(), mirror.clone());
    let (asking, working) = (runtime.clone(), mirror.clone());
    // Any answer is a sign of life, also "the disk is full": a restart would not mend that.
    let probe = Box::new(move || {
        let _ = asking.block_on(mirror.probe_writer());
        true
    });
    let progress = Box::new(move || working.counters().progress());
    Watchdog::start(period, runtime, probe, progress).map(Some).map_err(Error::System)
}

/// What a signal asks for.
enum Word {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that mean something here.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Error::System)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Error::System)?,
            reload: signal(SignalKind::hangup()).map_err(Error::System)?,
        })
    }

    /// What is asked for next.
    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::Stop,
            _ = self.interrupt.recv() => Word::Stop,
            _ = self.reload.recv() => Word::Reload,
        }
    }

    /// Resolves when somebody wants the daemon to stop; whatever else is asked for is too late.
    async fn stop(&mut self) {
        while matches!(self.next().await, Word::Reload) {}
    }
}
