//! The absolute URL a client should see in `meta.location` and `Location`.

use hyper::header::HOST;
use hyper::http::request::Parts;

use super::Settings;
use crate::http::network;
use crate::http::server::Peer;

/// Base URL with the base path, without a slash at the end: `public_url` if there is one, else what the request
/// asked for. A proxy's word about host and scheme counts only if the proxy is trusted.
pub(super) fn url(settings: &Settings, head: &Parts, peer: Peer, trusted: bool) -> String {
    let path = settings.base_path.trim_end_matches('/');
    if let Some(public) = &settings.public_url {
        let public = public.trim_end_matches('/');
        return if !path.is_empty() && public.ends_with(path) {
            public.to_owned()
        } else {
            format!("{public}{path}")
        };
    }
    let forwarded = if trusted {
        // Where two kinds disagree the request got no further than its first look.
        network::forwarded(&head.headers, &settings.trusted_proxies).unwrap_or_default()
    } else {
        network::Forwarded::default()
    };
    let scheme = forwarded.proto.unwrap_or_else(|| if peer.tls { "https" } else { "http" }.to_owned());
    let asked = head
        .uri
        .authority()
        .map(hyper::http::uri::Authority::as_str)
        .or_else(|| head.headers.get(HOST).and_then(|value| value.to_str().ok()))
        .and_then(network::host);
    let host = forwarded.host.or(asked).unwrap_or_else(|| "localhost".to_owned());
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&str, &str)]) -> Parts {
        let mut builder = hyper::Request::builder().uri("/scim/v2/Users");
        for (name, value) in pairs {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const PEER: Peer = Peer { address: None, uid: None, tls: false };

    #[test]
    fn the_public_url_wins_then_a_trusted_proxy_then_the_host() {
        let proxied = head(&[
            ("host", "in.example.com:8080"),
            ("x-forwarded-host", "out.example.com"),
            ("x-forwarded-proto", "https"),
        ]);
        let mut settings = Settings::default();
        assert_eq!(url(&settings, &proxied, PEER, false), "http://in.example.com:8080/scim/v2");
        assert_eq!(url(&settings, &proxied, PEER, true), "https://out.example.com/scim/v2");
        settings.public_url = Some("https://scim.example.com/".into());
        assert_eq!(url(&settings, &proxied, PEER, true), "https://scim.example.com/scim/v2");
        settings.public_url = Some("https://scim.example.com/scim/v2".into());
        assert_eq!(url(&settings, &proxied, PEER, true), "https://scim.example.com/scim/v2");
    }

    #[test]
    fn a_host_that_is_none_does_not_get_into_a_url() {
        assert_eq!(
            url(&Settings::default(), &head(&[("host", "a\"b")]), PEER, false),
            "http://localhost/scim/v2"
        );
    }
}
