//! What a request's head must be before anybody looks at its meaning. hyper refuses most malformed requests by
//! itself; these are the ones it lets through (measured with hyper 1.12).

use hyper::Version;
use hyper::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;

use super::limits::Settings as Limits;

/// Why a head is refused: status and what to tell the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// 400, 414 or 431.
    pub status: u16,
    /// For the client.
    pub detail: &'static str,
}

/// Checks the head. All bounds come from `limits`.
pub(crate) fn check(head: &Parts, limits: &Limits) -> Result<(), Refused> {
    let refuse = |status, detail| Err(Refused { status, detail });
    let target = head.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if target > limits.uri_bytes_max {
        return refuse(414, "the address is too long");
    }
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head.headers.len() > limits.headers_max || bytes > limits.header_bytes_max {
        return refuse(431, "the request has too many or too long header fields");
    }
    if head.version < Version::HTTP_2 && head.headers.get_all(HOST).iter().count() != 1 {
        // A proxy in front may have picked the other one (RFC 9112 §3.2).
        return refuse(400, "the request must have exactly one Host header");
    }
    if head.headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return refuse(400, "the request must have at most one Authorization header");
    }
    Ok(())
}

/// True if the connection must end after this request: a body in chunks that came through a proxy, where the two
/// could disagree about its end.
pub(crate) fn must_close(head: &Parts, through_proxy: bool) -> bool {
    through_proxy && head.headers.contains_key(TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: impl FnOnce(hyper::http::request::Builder) -> hyper::http::request::Builder) -> Parts {
        build(hyper::Request::builder().uri("/x")).body(()).unwrap().into_parts().0
    }

    fn status(head: &Parts) -> Option<u16> {
        check(head, &Limits::default()).err().map(|r| r.status)
    }

    #[test]
    fn exactly_one_host_and_at_most_one_authorization() {
        assert_eq!(status(&head(|b| b.header("host", "a"))), None);
        assert_eq!(status(&head(|b| b)), Some(400));
        assert_eq!(status(&head(|b| b.header("host", "a").header("host", "b"))), Some(400));
        let two = head(|b| b.header("host", "a").header("authorization", "x").header("authorization", "y"));
        assert_eq!(status(&two), Some(400));
        assert_eq!(status(&head(|b| b.version(Version::HTTP_2))), None);
    }

    #[test]
    fn long_addresses_and_fat_heads_are_refused() {
        let long = format!("/{}", "a".repeat(9 << 10));
        assert_eq!(status(&head(|b| b.uri(long).header("host", "a"))), Some(414));
        let fat = head(|b| b.header("host", "a").header("x", "a".repeat(33 << 10)));
        assert_eq!(status(&fat), Some(431));
        let many = head(|b| (0..70).fold(b.header("host", "a"), |b, i| b.header(format!("x-{i}"), "1")));
        assert_eq!(status(&many), Some(431));
    }

    #[test]
    fn chunks_through_a_proxy_end_the_connection() {
        let chunked = head(|b| b.header("host", "a").header("transfer-encoding", "chunked"));
        assert!(must_close(&chunked, true));
        assert!(!must_close(&chunked, false));
    }
}
