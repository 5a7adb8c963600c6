//! What keeps other sites from acting in somebody's name: a token in every form, and the browser's own word that the
//! request came from one of our pages. Both are required, besides the cookie's `SameSite=Strict`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::HeaderMap;
use hyper::header::{HOST, HeaderValue, ORIGIN};
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
/// `Sec-Fetch-Site`, which no page can forge. Where the browser speaks TLS (`is_secure`), a page of the same name that
/// came in plain is somebody else's: whoever sits on the wire can make one.
pub(super) fn is_same_origin(headers: &HeaderMap, is_secure: bool) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin") {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return site.is_some() };
    if origin == "null" {
        return site.is_some();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let theirs = theirs.filter(|(scheme, _)| !is_secure || *scheme == "https").map(|(_, host)| host);
    !host.is_empty() && theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin_api::{AdminName, AdminRole, SignedIn};
    use crate::http::console::session::Sessions;
    use crate::model::Timestamp;

    fn keys() -> (SessionKey, SessionKey) {
        let sessions = Sessions::default();
        let user = SignedIn { name: AdminName::parse("ada").unwrap(), role: AdminRole::View, stamp: [0; 32] };
        let one = || {
            let made = sessions.begin(user.clone(), true, Timestamp(0)).unwrap();
            sessions.find(&made, true, Timestamp(0), true, |_| true).unwrap().0
        };
        (one(), one())
    }

    #[test]
    fn a_token_holds_for_one_session_of_one_process() {
        let (forms, (one, two)) = (FormKey::new().unwrap(), keys());
        let token = forms.token(Some(one));
        assert!(forms.is_token(Some(one), Some(&token)));
        assert!(!forms.is_token(Some(two), Some(&token)));
        assert!(!forms.is_token(None, Some(&token)));
        assert!(!forms.is_token(Some(one), Some(&forms.token(None))));
        assert!(!forms.is_token(Some(one), None));
        assert!(!forms.is_token(Some(one), Some("")));
        assert!(!FormKey::new().unwrap().is_token(Some(one), Some(&token)));
    }

    #[test]
    fn only_our_own_pages_are_believed() {
        let ask = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "console.example.com:8081".parse().unwrap());
            for (name, value) in pairs {
                let name: hyper::header::HeaderName = name.parse().unwrap();
                headers.insert(name, value.parse().unwrap());
            }
            is_same_origin(&headers, true)
        };
        assert!(ask(&[("sec-fetch-site", "same-origin")]));
        assert!(ask(&[("sec-fetch-site", "same-origin"), ("origin", "null")]), "under no-referrer");
        assert!(ask(&[("origin", "https://console.example.com:8081")]));
        assert!(ask(&[("origin", "https://CONSOLE.example.com:8081"), ("sec-fetch-site", "same-origin")]));
        for bad in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "https://evil.example.com")],
            &[("origin", "https://console.example.com")],
            &[("origin", "http://console.example.com:8081")],
            &[("origin", "https://console.example.com:8081.evil.example.com")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://console.example.com:8081")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example.com")],
        ] {
            assert!(!ask(bad), "{bad:?}");
        }
        // In plain, or behind a proxy that says nothing of TLS, either may be ours.
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost:8081".parse().unwrap());
        headers.insert(ORIGIN, "http://localhost:8081".parse().unwrap());
        assert!(is_same_origin(&headers, false) && !is_same_origin(&headers, true));
    }
}
