//! What an answer means (DESIGN §6.10): 2xx done, 410 disables, timeouts, 408, 425, 429 and 5xx are tried again, the
//! rest is parked at once because trying again cannot help.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};

use super::Outcome;

/// Longest wait that a receiver may ask for; beyond it an operator should know of the pause.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The outcome of a whole answer. `now` is when it arrived.
pub(super) fn judge(status: u16, headers: &HeaderMap, now: SystemTime) -> Outcome {
    match status {
        200..=299 => Outcome::Acknowledged,
        410 => Outcome::Gone,
        // 408 and 425 are the receiver's own words for "not in time" and "not yet".
        408 | 425 | 429 | 500..=599 => Outcome::Retry {
            after: retry_after(headers, now),
            why: format!("the receiver answered {status}"),
        },
        300..=399 => {
            // Not where to: a Location may carry credentials of the receiver's own.
            let whither = if headers.contains_key(LOCATION) { " and wants to redirect" } else { "" };
            Outcome::Refused {
                why: format!(
                    "the receiver answered {status}{whither}; redirects are not followed, set the final url"
                ),
            }
        }
        _ => Outcome::Refused { why: format!("the receiver answered {status}; trying again would not help") },
    }
}

/// `Retry-After` (RFC 9110 §10.2.3) as seconds or as a date, at most a day.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // All digits but too many: as long as may be.
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => RETRY_AFTER_MAX,
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `err` and `description` of a refused security event token (RFC 8935 §2.3), as one line.
pub(super) fn token_error(answer: &[u8]) -> Option<String> {
    let told: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let code = told.get("err")?.as_str()?;
    let description = told.get("description").and_then(serde_json::Value::as_str).unwrap_or_default();
    // A stranger's text: on one line, and no longer than an error of ours.
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
    };
    let text = format!("{}: {}", clean(code), clean(description));
    Some(text.trim_end_matches([' ', ':']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(retry: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry.parse().unwrap());
        headers
    }

    #[test]
    fn a_refused_token_says_why() {
        let told = |text: &str| token_error(text.as_bytes());
        let known = r#"{"err":"invalid_key","description":"Key ID 12345\nhas been revoked."}"#;
        assert_eq!(told(known).unwrap(), "invalid_key: Key ID 12345 has been revoked.");
        assert_eq!(told(r#"{"err":"access_denied"}"#).unwrap(), "access_denied");
        assert_eq!((told("no"), told("{}"), told("[1]")), (None, None, None));
    }

    #[test]
    fn every_status_has_its_outcome() {
        let now = SystemTime::now();
        let word = |status| match judge(status, &HeaderMap::new(), now) {
            Outcome::Acknowledged => "done",
            Outcome::Gone => "gone",
            Outcome::Retry { .. } => "retry",
            Outcome::Refused { .. } => "park",
        };
        for (status, expected) in [
            (200, "done"),
            (204, "done"),
            (299, "done"),
            (300, "park"),
            (301, "park"),
            (307, "park"),
            (400, "park"),
            (401, "park"),
            (403, "park"),
            (404, "park"),
            (408, "retry"),
            (410, "gone"),
            (413, "park"),
            (425, "retry"),
            (429, "retry"),
            (500, "retry"),
            (502, "retry"),
            (503, "retry"),
            (504, "retry"),
            (599, "retry"),
            (600, "park"),
        ] {
            assert_eq!(word(status), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let in_90 = httpdate::fmt_http_date(now + Duration::from_secs(90));
        let past = httpdate::fmt_http_date(now - Duration::from_secs(90));
        for (text, expected) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            (in_90.as_str(), Some(90)),
            (past.as_str(), Some(0)),
            ("99999999", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(&with(text), now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        let outcome = judge(429, &with("7"), now);
        assert!(
            matches!(outcome, Outcome::Retry { after: Some(wait), .. } if wait == Duration::from_secs(7))
        );
    }
}
