//! `/healthz` and `/readyz`: alive, and able to take a write. A hung reload command or a dead webhook turns neither.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::answer::{Answer, TEXT};

/// Whether the daemon can do its work; kept up to date by the daemon's probe.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    reason: Mutex<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self::starting()
    }
}

impl Health {
    /// Not ready yet.
    pub fn starting() -> Self {
        Self { ready: AtomicBool::new(false), reason: Mutex::new("starting".to_owned()) }
    }

    /// The mirror can be written and the runtime lives.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// It cannot, and why; the reason is shown on the admin side only.
    pub fn set_unready(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
        self.ready.store(false, Ordering::Release);
    }

    /// Whether requests that write can succeed.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Why not, if not.
    pub fn reason(&self) -> Option<String> {
        (!self.is_ready()).then(|| self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The answer for `path`, if it is one of the two. `detailed` adds the reason.
    pub(crate) fn answer(&self, path: &str, detailed: bool) -> Option<Answer> {
        match path {
            "/healthz" => Some(Answer::new(200, TEXT, "ok\n")),
            "/readyz" if self.is_ready() => Some(Answer::new(200, TEXT, "ready\n")),
            "/readyz" => {
                let reason = if detailed { self.reason() } else { None };
                let text = reason.map_or("not ready\n".to_owned(), |reason| format!("not ready: {reason}\n"));
                Some(Answer::new(503, TEXT, text).with(hyper::header::RETRY_AFTER, "5"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_probe_and_only_operators_see_why() {
        let health = Health::starting();
        assert_eq!(health.answer("/readyz", false).unwrap().body, "not ready\n");
        health.set_unready("disk full");
        assert_eq!(health.answer("/readyz", true).unwrap().body, "not ready: disk full\n");
        assert_eq!(health.answer("/readyz", false).unwrap().status, 503);
        health.set_ready();
        assert_eq!(health.answer("/readyz", false).unwrap().status, 200);
        assert_eq!(health.answer("/healthz", false).unwrap().status, 200);
        assert!(health.answer("/", false).is_none());
    }
}
