//! Headers of every page, and what a browser must not do with it.

use hyper::HeaderMap;
use hyper::header::{CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY};

use crate::http::answer::Answer;

/// Nothing but our own files; no inline script or style, no frame around or inside.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Adds them.
pub(super) fn protect(answer: Answer, request: &HeaderMap, is_secure: bool) -> Answer {
    let name = HeaderName::from_static;
    answer
        .with(CONTENT_SECURITY_POLICY, POLICY)
        .with(name("x-content-type-options"), "nosniff")
        .with(name("x-frame-options"), "DENY")
        .with(REFERRER_POLICY, referrer_policy(request, is_secure))
        .with(name("cross-origin-opener-policy"), "same-origin")
        .with(name("cross-origin-resource-policy"), "same-origin")
        .with(name("permissions-policy"), "camera=(), geolocation=(), microphone=()")
}

/// `no-referrer` makes browsers send `Origin: null`, which is fine where they also send `Sec-Fetch-Site`. On plain
/// HTTP beyond loopback they do not, and the true origin is needed to tell our own forms from others'.
fn referrer_policy(request: &HeaderMap, is_secure: bool) -> &'static str {
    let host = request.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_loopback = name == "localhost" || name.starts_with("127.") || name == "[::1]";
    if is_secure || is_loopback { "no-referrer" } else { "same-origin" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::TEXT;

    #[test]
    fn every_answer_says_what_a_browser_must_not_do() {
        let answer = protect(Answer::new(200, TEXT, "x"), &HeaderMap::new(), true).into_response();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("content-security-policy"), Some(POLICY));
        assert!(!POLICY.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(header(name), Some(value), "{name}");
        }
    }

    #[test]
    fn where_browsers_say_nothing_else_they_are_asked_for_the_origin() {
        let policy = |host: &str, is_secure| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            referrer_policy(&headers, is_secure)
        };
        for host in ["localhost:8081", "127.0.0.1", "[::1]:8081", "localhost"] {
            assert_eq!(policy(host, false), "no-referrer", "{host}");
        }
        assert_eq!(policy("console.example.com:8081", false), "same-origin");
        assert_eq!(policy("console.example.com:8081", true), "no-referrer");
    }
}
