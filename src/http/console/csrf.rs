//! What keeps other sites from acting in somebody's name: a token in every form, and the browser's own word that the
//! request came from one of our pages. Both are required, besides the cookie's `SameSite=Strict`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::session::SessionKey;

/// The name of the hidden field.
pub(super) const FIELD: &str = "csrf";

/// The header of requests to the API that a page's script makes.
pub(super) const HEADER: &str = "x-csrf-token";

/// The key of this process; tokens do not outlive it, as sessions do not.
pub(super) struct FormKey([u8; 32]);

impl FormKey {
    /// A new one. `None` if there is no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(key))
    }

    /// The token for the forms of a session; `None` stands for the form that signs in.
    pub(super) fn token(&self, session: Option<SessionKey>) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        match session {
            Some(session) => {
                mac.update(b"session");
                mac.update(session.as_bytes());
            }
            None => mac.update(b"sign in"),
        }
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// Whether `given` is the token of that session's forms.
    pub(super) fn is_token(&self, session: Option<SessionKey>, given: Option<&str>) -> bool {
        let right = self.token(session);
        let given = given.unwrap_or_default();
        !right.is_empty() && bool::from(right.as_bytes().ct_eq(given.as_bytes()))
    }
}

impl std::fmt::Debug for FormKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormKey")
    }
}

/// Whether the browser says that one of our own pages sent this. Nothing said is a no.
///
/// Browsers send `Origin: null` from pages under `Referrer-Policy: no-referrer`, so that it stands only together with
/// `Sec-Fetch-Site`, which no page can forge.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if site.is_some_and(|site| site != b"same-origin") {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return site.is_some() };
    if origin == "null" {
        return site.is_some();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    !host.is_empty() && theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(host))
}
