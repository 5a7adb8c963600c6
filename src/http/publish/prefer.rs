//! `Prefer: wait=N` (RFC 7240 §4.3): how long a client would wait for news.

use std::time::Duration;

use hyper::HeaderMap;

use super::WAIT_MAX;

/// How long to wait, at most [`WAIT_MAX`]; `None` where nothing usable is said, which asks for an answer at once.
///
/// Preferences are parted by commas, and by semicolons too: OPA sends `modes=snapshot,delta;wait=30`, where by the
/// letter `wait` would be a parameter of `delta`. The first `wait` counts (RFC 7240 §2).
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = texts.flat_map(|text| text.split([',', ';']));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })?;
    if seconds.is_empty() || !seconds.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // More digits than fit are a very long time.
    let seconds = seconds.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        wait(&headers).map(|span| span.as_secs())
    }

    #[test]
    fn wait_is_found_however_it_is_parted() {
        assert_eq!(asked(&["wait=30"]), Some(30));
        assert_eq!(asked(&["modes=snapshot,delta;wait=45"]), Some(45));
        assert_eq!(asked(&["respond-async, Wait = \"7\"; foo=bar"]), Some(7));
        assert_eq!(asked(&["handling=lenient", "wait=5"]), Some(5));
        assert_eq!(asked(&["wait=3, wait=9"]), Some(3));
    }

    #[test]
    fn what_cannot_be_waited_for_is_no_wait_and_too_long_is_bounded() {
        for text in ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", "await=5", "wait=+5"] {
            assert_eq!(asked(&[text]), None, "{text}");
        }
        let longest = Some(WAIT_MAX.as_secs());
        assert_eq!(asked(&["wait=999999"]), longest);
        assert_eq!(asked(&[&format!("wait={}", "9".repeat(5_000))]), longest);
        assert_eq!(asked(&["wait=0"]), Some(0));
    }
}
