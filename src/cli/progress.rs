//! A bar for long work: on a terminal only, and only once it takes longer than a second.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this is done without a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is shown of one piece of work.
pub(super) struct Bar {
    since: Instant,
    what: &'static str,
    shown: Option<ProgressBar>,
    is_seen: bool,
}

impl Bar {
    /// Nothing is shown yet.
    pub(super) fn new(what: &'static str) -> Self {
        Self { since: Instant::now(), what, shown: None, is_seen: std::io::stderr().is_terminal() }
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
