//! Sessions: 256 random bits in the browser's cookie, their SHA-256 here. They end after half an hour without a
//! request, after twelve hours in any case, and when what the configuration says of the person changes. They live in
//! memory only: a restart of the daemon signs everybody out.
//!
//! INVARIANT: signing in always makes a new session; no identifier that a browser brought along is ever adopted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::COOKIE;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::call::Flash;
use crate::http::admin_api::SignedIn;
use crate::model::Timestamp;

/// A session ends when nothing was asked for this long.
pub(super) const IDLE: Duration = Duration::from_mins(30);
/// A session ends after this long in any case.
pub(super) const TOTAL: Duration = Duration::from_hours(12);
/// Most sessions at once; the one that was idle for longest makes room.
const SESSIONS_MAX: usize = 1_000;

/// The cookie's name where the connection is encrypted; a browser takes it only with `Secure` and `Path=/`.
const COOKIE_SECURE: &str = "__Host-rosterd";
/// And on plain loopback, where browsers would refuse that one.
const COOKIE_PLAIN: &str = "rosterd";

/// What a session is known by here: the SHA-256 of what the browser holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionKey([u8; 32]);

impl SessionKey {
    fn of(identifier: &str) -> Self {
        Self(Sha256::digest(identifier.as_bytes()).into())
    }

    /// For the form token.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug)]
struct Session {
    user: SignedIn,
    began: Timestamp,
    used: Timestamp,
    flash: Option<Flash>,
    /// Values that a page hands to the next one, once.
    aside: BTreeMap<String, Value>,
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was turned back must not lengthen anything either.
        now.since(self.used) >= IDLE || now.since(self.began) >= TOTAL || now < self.began
    }
}

/// Everybody who is signed in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<SessionKey, Session>>);

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session; the text is the cookie's value. `None` if there is no randomness.
    pub(super) fn begin(&self, user: SignedIn, now: Timestamp) -> Option<String> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).ok()?;
        let identifier = URL_SAFE_NO_PAD.encode(random);
        let mut all = self.all();
        if all.len() >= SESSIONS_MAX {
            all.retain(|_, session| !session.is_over(now));
        }
        if all.len() >= SESSIONS_MAX {
            let oldest = all.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.map(|key| all.remove(&key));
        }
        let session = Session { user, began: now, used: now, flash: None, aside: BTreeMap::new() };
        all.insert(SessionKey::of(&identifier), session);
        Some(identifier)
    }

    /// Whose session the cookie is, if it still holds. `touches` is false for what the page asks by itself: looking
    /// on for hours is not using it. `is_still` says whether name, role and password are what they were.
    pub(super) fn find(
        &self,
        identifier: &str,
        now: Timestamp,
        touches: bool,
        is_still: impl FnOnce(&SignedIn) -> bool,
    ) -> Option<(SessionKey, SignedIn)> {
        let key = SessionKey::of(identifier);
        let mut all = self.all();
        let session = all.get_mut(&key)?;
        if session.is_over(now) || !is_still(&session.user) {
            all.remove(&key);
            return None;
        }
        if touches {
            session.used = now;
        }
        Some((key, session.user.clone()))
    }

    /// Ends a session.
    pub(super) fn end(&self, key: SessionKey) {
        self.all().remove(&key);
    }

    /// Leaves a message for the next page.
    pub(super) fn leave_flash(&self, key: SessionKey, flash: Flash) {
        if let Some(session) = self.all().get_mut(&key) {
            session.flash = Some(flash);
        }
    }

    /// The message left for this page, once.
    pub(super) fn take_flash(&self, key: SessionKey) -> Option<Flash> {
        self.all().get_mut(&key)?.flash.take()
    }

    /// Puts a value aside for a later page of the same session.
    pub(super) fn put_aside(&self, key: SessionKey, name: &str, value: Value) {
        if let Some(session) = self.all().get_mut(&key) {
            session.aside.insert(name.to_owned(), value);
        }
    }

    /// What was put aside, once.
    pub(super) fn take_aside(&self, key: SessionKey, name: &str) -> Option<Value> {
        self.all().get_mut(&key)?.aside.remove(name)
    }
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { COOKIE_SECURE } else { COOKIE_PLAIN }
}

/// The session's cookie as the browser sent it.
pub(super) fn cookie(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    let wanted = cookie_name(is_secure);
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && value.len() == 43)
        .map(|(_, value)| value)
}

/// `Set-Cookie` for a new session.
pub(super) fn set_cookie(identifier: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{}={identifier}; Path=/; HttpOnly; SameSite=Strict{secure}", cookie_name(is_secure))
}

/// `Set-Cookie` that takes it away.
pub(super) fn clear_cookie(is_secure: bool) -> String {
    format!("{}; Max-Age=0", set_cookie("", is_secure))
}
