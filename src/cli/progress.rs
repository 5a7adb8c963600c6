//! What is shown of long work: on a terminal only, only once it takes longer than a second, and not with `--quiet`.
//! It goes to standard error, has no colour, and is wiped when the work is done.

use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this is done without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// `--quiet`, for commands with long work.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Quiet {
    /// No progress bar
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// Whether somebody could see it: a terminal that can take back what it shows.
fn is_seen(quiet: bool) -> bool {
    !quiet && std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Work of which it is known how much there is.
pub(super) struct Bar {
    since: Instant,
    what: &'static str,
    shown: Option<ProgressBar>,
    is_seen: bool,
}

impl Bar {
    /// Nothing is shown yet.
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        Self { since: Instant::now(), what, shown: None, is_seen: is_seen(quiet) }
    }

    /// Whether anybody could see it.
    pub(super) fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// So much is done.
    pub(super) fn tell(&mut self, done: u64, total: u64) {
        if !self.is_seen || self.since.elapsed() < PATIENCE {
            return;
        }
        let what = self.what;
        let bar = self.shown.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// Work that somebody else does, the daemon mostly: nobody knows how much there is, only that it goes on.
///
/// INVARIANT: it begins a thread, so nothing that acts on the whole process by way of one thread may follow it.
pub(super) struct Spinner {
    life: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Spinner {
    /// Nothing is shown yet.
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        if !is_seen(quiet) {
            return Self { life: None };
        }
        let (done, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(what);
            while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Self { life: Some((done, thread)) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.life.take() {
            drop(done);
            // Whatever became of it, the work it spoke of is done.
            let _ = thread.join();
        }
    }
}
