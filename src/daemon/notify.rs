//! What the service manager hears (sd_notify(3)): ready, reloading, stopping, alive, and one line of status.
//!
//! Where `$NOTIFY_SOCKET` is not set nothing is sent. A lost message costs a line in `systemctl status` and, for the
//! watchdog, a restart; it is never an error of the daemon, so failures are told at debug level only.

use std::time::Duration;

use sd_notify::NotifyState;

/// Start-up is over: the mirror is open and the listeners are bound.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// The line that `systemctl status` shows.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// A reload begins. `RELOADING=1` and `MONOTONIC_USEC=` travel in one message: `Type=notify-reload` wants both
/// together, and `Type=notify` does not mind.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now, NotifyState::Status("reloading the config")]),
        Err(cause) => {
            tracing::debug!(%cause, "no monotonic clock; telling the service manager without it");
            send(&[NotifyState::Reloading]);
        }
    }
}

/// The daemon drains and ends.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping: answering what is in flight")]);
}

/// Alive. Sent by the watchdog thread only.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Asks for `span` more before start-up counts as failed; for long migrations.
pub fn extend(span: Duration) {
    let usec = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(usec)]);
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        tracing::debug!(%cause, "the service manager could not be told");
    }
}

/// A newline would begin another assignment in the message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_a_second_assignment() {
        assert_eq!(one_line("ok\nREADY=1"), "ok READY=1");
    }
}
