//! `rosterd demo`: the whole job on loopback, with throwaway state.
//!
//! Nothing here is pretended but the two ends that are not ours: the daemon is the real one, a child process of
//! this program with a config of its own; the identity provider (`okta`) speaks real HTTP to it and the
//! application (`receiver`) checks real signatures. Every wait is for a state and has an end.

mod console;
mod diff;
mod okta;
pub(super) mod place;
mod receiver;
mod story;
pub(super) mod supervised;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use console::Console;
use place::Place;
use receiver::Receiver;
use supervised::Supervised;

/// How the demo is played.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// End after the story instead of serving until Ctrl-C.
    pub exit: bool,
    /// Where its state goes: a folder that is new or empty, kept afterwards. A temporary one, removed at the end,
    /// unless given.
    pub dir: Option<PathBuf>,
}

/// Why the demo could not be played to its end.
#[derive(Debug)]
pub enum DemoError {
    /// Something around the daemon could not be prepared.
    Setup(String),
    /// The daemon did not start, or did not end well; how.
    Daemon(String),
    /// The daemon refused a request.
    Answer {
        /// The request.
        line: String,
        /// The status that came back.
        status: u16,
    },
    /// Something that should have arrived did not, within this time.
    Missing(&'static str, Duration),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(what) => f.write_str(what),
            Self::Daemon(how) => write!(f, "the daemon failed: {how}"),
            Self::Answer { line, status } => write!(f, "the daemon answered {status} to `{line}`"),
            Self::Missing(what, patience) => {
                write!(f, "{what} did not arrive within {} s", patience.as_secs())
            }
        }
    }
}

impl std::error::Error for DemoError {}

/// Where the story is told: one call per line.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Plays the demo. Returns once the story is over (`exit`), or when interrupted.
/// # Errors
/// What went wrong; everything arrived where there is none.
pub fn run(settings: &Settings, say: Say<'_>) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|cause| DemoError::Setup(format!("cannot start the I/O runtime: {cause}")))?;
    runtime.block_on(play(settings, say))
}

async fn play(settings: &Settings, say: Say<'_>) -> Result<(), DemoError> {
    let interrupted = supervised::interrupted()?;
    let secret = place::webhook_secret()?;
    let receiver = Receiver::start(&secret)
        .await
        .map_err(|cause| DemoError::Setup(format!("cannot start the webhook receiver: {cause}")))?;
    let console = Console::prepare()?;
    let place = Place::make(settings.dir.as_deref(), &secret, &receiver.url(), &console)?;
    let mut daemon = Supervised::start(&place).await?;
    let shown = tokio::select! {
        shown = show(settings, &place, &mut daemon, &receiver, &console, say) => shown,
        () = interrupted => { say("\nStopping."); Ok(()) }
    };
    // In order, whatever happened: the daemon's own end is part of what is shown.
    let stopped = daemon.stop().await;
    let log = place.log_tail();
    if (shown.is_err() || stopped.is_err()) && !log.is_empty() {
        say(&format!("\nThe daemon's log ends:\n{log}"));
    }
    shown.and(stopped)
}

async fn show(
    settings: &Settings,
    place: &Place,
    daemon: &mut Supervised,
    receiver: &Receiver,
    console: &Console,
    say: Say<'_>,
) -> Result<(), DemoError> {
    let desk = story::tell(place, daemon, receiver, console, say).await?;
    if settings.exit {
        return Ok(());
    }
    story::invite(place, &desk, console, say);
    daemon.wait().await
}
