//! Does the client have it already? (RFC 9110 §13)

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

use crate::model::Timestamp;
use crate::reconcile::Edition;

/// The entity tag of an edition: strong, a digest of its bytes.
pub(super) fn tag(edition: &Edition) -> String {
    format!("\"{}\"", edition.digest)
}

/// The moment to say in `Last-Modified`; `None` while that moment is still to come (RFC 9110 §8.8.2.1).
pub(super) fn last_modified(edition: &Edition, now: Timestamp) -> Option<String> {
    (edition.since <= now).then(|| httpdate::fmt_http_date(system_time(edition.since)))
}

/// What a request says about the copy it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing: it wants the bytes.
    None,
    /// `If-None-Match: *`: it has some copy, whichever.
    AnyTag,
    /// `If-None-Match`: tags without their `W/` and quotes.
    Tags(Vec<String>),
    /// `If-Modified-Since`.
    Since(SystemTime),
}

impl Condition {
    /// Reads the headers. `If-None-Match` counts alone where there is one; what makes no sense is no condition.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(IF_NONE_MATCH) {
            let texts = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
            let all: Vec<&str> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
            if all.contains(&"*") {
                return Self::AnyTag;
            }
            return Self::Tags(all.into_iter().filter_map(opaque).collect());
        }
        let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
        since.and_then(|text| httpdate::parse_http_date(text).ok()).map_or(Self::None, Self::Since)
    }

    /// Whether the client has `edition`, as far as it says.
    pub(super) fn has(&self, edition: &Edition, now: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::AnyTag => true,
            Self::Tags(tags) => {
                let own = edition.digest.to_string();
                tags.contains(&own)
            }
            // In doubt the bytes are sent again: before the edition's own second is over, and to a client whose clock
            // is ahead of ours.
            Self::Since(at) => {
                edition.since <= now && *at >= system_time(edition.since) && *at <= system_time(now)
            }
        }
    }
}

/// What stands between the quotes. Tags of ours have no comma in them, so that one may part at commas before.
fn opaque(tag: &str) -> Option<String> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::header::HeaderName;

    use super::*;
    use crate::downstream::file::Digest;

    fn edition() -> Edition {
        Edition {
            bytes: Bytes::from_static(b"x"),
            digest: Digest::of(b"x"),
            media_type: "text/plain",
            since: Timestamp(1_700_000_000_000_000),
        }
    }

    const LATER: Timestamp = Timestamp(1_700_000_100_000_000);

    fn has(pairs: &[(HeaderName, &str)], now: Timestamp) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        Condition::of(&headers).has(&edition(), now)
    }

    #[test]
    fn tags_compare_weakly_in_lists_and_by_star() {
        let own = tag(&edition());
        let weak = format!("W/{own}");
        let list = format!("\"other\", {weak} ,\"third\"");
        for text in [own.as_str(), weak.as_str(), list.as_str(), "*"] {
            assert!(has(&[(IF_NONE_MATCH, text)], LATER), "{text}");
        }
        assert!(has(&[(IF_NONE_MATCH, "\"other\""), (IF_NONE_MATCH, &own)], LATER));
        let bare = own.trim_matches('"');
        for text in ["", "\"\"", "\"other\"", bare, "\"*\""] {
            assert!(!has(&[(IF_NONE_MATCH, text)], LATER), "{text}");
        }
        assert!(!has(&[], LATER));
    }

    #[test]
    fn a_date_counts_from_the_editions_second_on_and_never_beside_a_tag() {
        let date = |offset: i64| {
            let at = Timestamp(edition().since.0 + offset * 1_000_000);
            httpdate::fmt_http_date(system_time(at))
        };
        assert!(has(&[(IF_MODIFIED_SINCE, &date(0))], LATER));
        assert!(has(&[(IF_MODIFIED_SINCE, &date(50))], LATER));
        assert!(!has(&[(IF_MODIFIED_SINCE, &date(-1))], LATER));
        assert!(!has(&[(IF_MODIFIED_SINCE, &date(101))], LATER), "a client ahead of us");
        assert!(!has(&[(IF_MODIFIED_SINCE, &date(0))], Timestamp(edition().since.0 - 1)), "its second runs");
        assert!(!has(&[(IF_MODIFIED_SINCE, &date(50)), (IF_NONE_MATCH, "\"other\"")], LATER));
        assert!(!has(&[(IF_MODIFIED_SINCE, "yesterday")], LATER));
        assert_eq!(last_modified(&edition(), Timestamp(0)), None);
        assert_eq!(last_modified(&edition(), LATER).as_deref(), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    }
}
