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
/// Most of one person, whose own makes room then: signing in again and again must sign nobody else out.
const OF_ONE_MAX: usize = 20;

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
    /// Whether it began over TLS; its cookie's name says so too.
    is_secure: bool,
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
    pub(super) fn begin(&self, user: SignedIn, is_secure: bool, now: Timestamp) -> Option<String> {
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
        let own = || all.iter().filter(|(_, session)| session.user.name == user.name);
        if own().count() >= OF_ONE_MAX {
            let oldest = own().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.map(|key| all.remove(&key));
        }
        let session = Session { user, is_secure, began: now, used: now, flash: None, aside: BTreeMap::new() };
        all.insert(SessionKey::of(&identifier), session);
        Some(identifier)
    }

    /// Whose session the cookie is, if it still holds. `touches` is false for what the page asks by itself: looking
    /// on for hours is not using it. `is_still` says whether name, role and password are what they were.
    pub(super) fn find(
        &self,
        identifier: &str,
        is_secure: bool,
        now: Timestamp,
        touches: bool,
        is_still: impl FnOnce(&SignedIn) -> bool,
    ) -> Option<(SessionKey, SignedIn)> {
        let key = SessionKey::of(identifier);
        let mut all = self.all();
        let session = all.get_mut(&key)?;
        if session.is_secure != is_secure {
            return None;
        }
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

/// The session's cookie as the browser sent it, and whether it is the one for TLS. A neighbour on the same host can
/// plant a plain one beside it, so that the other counts first.
pub(super) fn cookie(headers: &HeaderMap) -> Option<(&str, bool)> {
    let pairs = || {
        let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
    };
    [true, false].into_iter().find_map(|is_secure| {
        let wanted = cookie_name(is_secure);
        let mut found = pairs().filter(|(name, value)| *name == wanted && value.len() == 43);
        found.next().map(|(_, value)| (value, is_secure))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin_api::{AdminName, AdminRole};

    fn ada(role: AdminRole) -> SignedIn {
        SignedIn { name: AdminName::parse("ada").unwrap(), role, stamp: [1; 32] }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn is_in(sessions: &Sessions, identifier: &str, seconds: u64) -> bool {
        sessions.find(identifier, true, at(seconds), true, |_| true).is_some()
    }

    #[test]
    fn a_session_ends_after_half_an_hour_without_a_request() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        assert!(is_in(&sessions, &one, 1_799));
        assert!(is_in(&sessions, &one, 3_598), "each request begins the half hour anew");
        assert!(!is_in(&sessions, &one, 5_398));
        assert!(!is_in(&sessions, &one, 3_599), "what has ended stays ended");
    }

    #[test]
    fn a_session_ends_after_twelve_hours_whatever_is_asked() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        for seconds in (0..43_200).step_by(1_000) {
            assert!(is_in(&sessions, &one, seconds), "{seconds}");
        }
        assert!(!is_in(&sessions, &one, 43_200));
    }

    #[test]
    fn what_a_page_asks_by_itself_does_not_keep_it_alive() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        for seconds in (0..1_800).step_by(5) {
            assert!(sessions.find(&one, true, at(seconds), false, |_| true).is_some());
        }
        assert!(sessions.find(&one, true, at(1_800), false, |_| true).is_none());
    }

    #[test]
    fn a_session_ends_when_the_person_is_no_longer_who_signed_in() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::Admin), true, at(0)).unwrap();
        let now = ada(AdminRole::View);
        assert!(sessions.find(&one, true, at(1), true, |user| *user == now).is_none());
        assert!(!is_in(&sessions, &one, 2), "also once the role is back");
    }

    #[test]
    fn every_sign_in_makes_another_identifier_and_the_browsers_own_is_never_taken() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        let two = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        assert_ne!(one, two);
        assert_eq!(one.len(), 43, "256 bits");
        assert!(!is_in(&sessions, &"A".repeat(43), 0));
        assert!(!format!("{sessions:?}").contains(&one), "only the digest is kept");
        assert!(sessions.find(&one, false, at(0), true, |_| true).is_none(), "not under the plain name");
    }

    #[test]
    fn who_signs_in_again_and_again_signs_out_nobody_else() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::Admin), true, at(0)).unwrap();
        let eve = SignedIn { name: AdminName::parse("eve").unwrap(), ..ada(AdminRole::View) };
        let first = sessions.begin(eve.clone(), true, at(1)).unwrap();
        let mut last = String::new();
        for _ in 0..SESSIONS_MAX {
            last = sessions.begin(eve.clone(), true, at(2)).unwrap();
        }
        assert!(is_in(&sessions, &one, 3));
        assert!(!is_in(&sessions, &first, 3) && is_in(&sessions, &last, 3));
        assert_eq!(sessions.all().len(), OF_ONE_MAX + 1);
    }

    #[test]
    fn ended_means_ended_and_the_number_is_bounded() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        let (key, _) = sessions.find(&one, true, at(0), true, |_| true).unwrap();
        sessions.end(key);
        assert!(!is_in(&sessions, &one, 0));
        let first = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        for n in 0..SESSIONS_MAX {
            let name = AdminName::parse(&format!("user{n}")).unwrap();
            sessions.begin(SignedIn { name, ..ada(AdminRole::View) }, true, at(1)).unwrap();
        }
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
        assert!(!is_in(&sessions, &first, 1), "the one that was idle for longest went");
    }

    #[test]
    fn messages_and_values_are_handed_on_once() {
        let sessions = Sessions::default();
        let one = sessions.begin(ada(AdminRole::View), true, at(0)).unwrap();
        let (key, _) = sessions.find(&one, true, at(0), true, |_| true).unwrap();
        sessions.leave_flash(key, Flash::good("done"));
        sessions.put_aside(key, "token", "secret".into());
        assert_eq!(sessions.take_flash(key).map(|flash| flash.text), Some("done".to_owned()));
        assert_eq!(sessions.take_flash(key), None);
        assert_eq!(sessions.take_aside(key, "token"), Some("secret".into()));
        assert_eq!(sessions.take_aside(key, "token"), None);
    }

    #[test]
    fn the_cookie_says_all_that_browsers_can_be_told() {
        let value = "v".repeat(43);
        assert_eq!(
            set_cookie(&value, true),
            format!("__Host-rosterd={value}; Path=/; HttpOnly; SameSite=Strict; Secure")
        );
        assert_eq!(set_cookie(&value, false), format!("rosterd={value}; Path=/; HttpOnly; SameSite=Strict"));
        assert!(clear_cookie(true).ends_with("; Secure; Max-Age=0"));
        let mut headers = HeaderMap::new();
        let (plain, secure) = ("p".repeat(43), "s".repeat(43));
        headers.insert(COOKIE, format!("a=b; rosterd={plain}; __Host-rosterd={secure}").parse().unwrap());
        assert_eq!(cookie(&headers), Some((secure.as_str(), true)), "a planted plain one does not win");
        headers.insert(COOKIE, format!("rosterd={plain}").parse().unwrap());
        assert_eq!(cookie(&headers), Some((plain.as_str(), false)));
        headers.insert(COOKIE, "rosterd=short".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }
}
