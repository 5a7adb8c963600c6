//! What the service manager hears (sd_notify(3)): ready, reloading, stopping, alive, and one line of status.
//!
//! Where `$NOTIFY_SOCKET` is not set nothing is sent. A lost message costs a line in `systemctl status` and, for the
//! watchdog, a restart; it is never an error of the daemon, so failures are told at debug level only.
//!
//! INVARIANT: whoever tells something never waits. A service manager that does not read blocks who sends to it, so a
//! thread of its own sends, in order. What waits for it stays small: a status replaces the status before it, and one
//! sign of life is as good as many.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long the end of the process waits for what is still to be told.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Start-up is over: the mirror is open and the listeners are bound.
pub fn ready(status: &str) {
    send(Kind::State, &[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// The line that `systemctl status` shows.
pub fn status(status: &str) {
    send(Kind::Status, &[NotifyState::Status(&one_line(status))]);
}

/// A reload begins. `RELOADING=1` and `MONOTONIC_USEC=` travel in one message: `Type=notify-reload` wants both
/// together, and `Type=notify` does not mind.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => {
            send(Kind::State, &[NotifyState::Reloading, now, NotifyState::Status("reloading the config")]);
        }
        Err(cause) => {
            tracing::debug!(%cause, "no monotonic clock; telling the service manager without it");
            send(Kind::State, &[NotifyState::Reloading]);
        }
    }
}

/// The daemon drains and ends.
pub fn stopping() {
    send(Kind::State, &[NotifyState::Stopping, NotifyState::Status("stopping: answering what is in flight")]);
}

/// Alive. Sent by the watchdog thread only.
pub fn alive() {
    send(Kind::Alive, &[NotifyState::Watchdog]);
}

/// Asks for `span` more before start-up counts as failed; for long migrations.
pub fn extend(span: Duration) {
    let usec = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    send(Kind::State, &[NotifyState::ExtendTimeoutUsec(usec)]);
}

/// The process ends: gives what is still to be told a moment, and no more.
pub fn last_words() {
    if let Some(Some(teller)) = TELLER.get() {
        teller.flush(LAST_WORDS);
    }
}

/// What a message is, and so what it may replace while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ready, reloading, stopping: each is told, in order.
    State,
    /// Replaces a status that waits right before it.
    Status,
    /// Not needed where one waits already.
    Alive,
}

/// The thread that tells; `None` where nobody listens.
static TELLER: OnceLock<Option<Teller>> = OnceLock::new();

fn send(kind: Kind, state: &[NotifyState<'_>]) {
    let start = || {
        std::env::var_os("NOTIFY_SOCKET")?;
        let told = |text: &str| {
            if let Err(cause) = sd_notify::notify(&[NotifyState::Custom(text)]) {
                tracing::debug!(%cause, "the service manager could not be told");
            }
        };
        let started = Teller::start(told);
        started.inspect_err(|cause| tracing::warn!(%cause, "the service manager cannot be told")).ok()
    };
    if let Some(teller) = TELLER.get_or_init(start) {
        let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
        teller.tell(kind, lines.join("\n"));
    }
}

/// A queue that nobody waits for, and a thread that empties it.
struct Teller {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Kind, String)>,
    /// One has been taken out and is on its way.
    is_sending: bool,
}

impl Teller {
    fn start(mut told: impl FnMut(&str) + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("sd-notify".into()).spawn(move || {
            loop {
                let text = own.next();
                told(&text);
                own.lock().is_sending = false;
                own.changed.notify_all();
            }
        })?;
        Ok(Self { shared })
    }

    fn tell(&self, kind: Kind, text: String) {
        let mut queue = self.shared.lock();
        match kind {
            Kind::Alive if queue.waiting.iter().any(|(other, _)| *other == Kind::Alive) => return,
            Kind::Status if queue.waiting.back().is_some_and(|(other, _)| *other == Kind::Status) => {
                queue.waiting.pop_back();
            }
            Kind::State | Kind::Status | Kind::Alive => {}
        }
        queue.waiting.push_back((kind, text));
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Waits until all is told, at most so long.
    fn flush(&self, at_most: Duration) {
        let until = Instant::now().checked_add(at_most);
        let mut queue = self.shared.lock();
        while queue.is_sending || !queue.waiting.is_empty() {
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            queue = self.shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> String {
        let mut queue = self.lock();
        loop {
            if let Some((_, text)) = queue.waiting.pop_front() {
                queue.is_sending = true;
                return text;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A newline would begin another assignment in the message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_status_cannot_smuggle_a_second_assignment() {
        assert_eq!(one_line("ok\nREADY=1"), "ok READY=1");
    }

    #[test]
    fn nobody_waits_for_a_socket_that_nobody_reads_and_what_counts_comes_in_order() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let full = ours.try_clone().unwrap();
        full.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while full.send(b"FULL").is_ok() {
            filled += 1;
        }
        // The flag is the open socket's, so that it goes for both.
        full.set_nonblocking(false).unwrap();
        let teller = Teller::start(move |text| drop(ours.send(text.as_bytes()))).unwrap();
        let turns = 5_000;
        for n in 0..turns {
            teller.tell(Kind::State, format!("RELOADING={n}"));
            teller.tell(Kind::Alive, "WATCHDOG=1".into());
            teller.tell(Kind::Status, format!("STATUS=old {n}"));
            teller.tell(Kind::Status, format!("STATUS={n}"));
            teller.tell(Kind::State, format!("READY={n}"));
        }
        teller.tell(Kind::State, "STOPPING=1".into());
        teller.flush(Duration::from_millis(1));
        let mut heard = Vec::new();
        let mut buffer = [0; 64];
        while heard.last().is_none_or(|last| last != "STOPPING=1") {
            let length = theirs.recv(&mut buffer).unwrap();
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(heard.iter().filter(|text| *text == "FULL").count(), filled);
        assert_eq!(heard.iter().filter(|text| *text == "WATCHDOG=1").count(), 1);
        let states: Vec<&String> =
            heard.iter().filter(|text| text.starts_with('R') || text.starts_with("STATUS")).collect();
        let wanted: Vec<String> = (0..turns)
            .flat_map(|n| [format!("RELOADING={n}"), format!("STATUS={n}"), format!("READY={n}")])
            .collect();
        assert!(states.into_iter().eq(&wanted));
    }
}
