//! A webhook's URL, checked once when the config is read, and its name looked up and judged on every connect.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use hyper::http::HeaderValue;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::ServerName;

use super::address::{forbidden, is_loopback};
use super::{ClientError, Settings};

/// Where one target's requests go.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// The name the certificate must carry; `None` for plain http.
    pub(super) tls_name: Option<ServerName<'static>>,
    pub(super) path: PathAndQuery,
    /// The `Host` header: host and, if it is not the scheme's own, port.
    pub(super) authority: HeaderValue,
    insecure: bool,
}

/// Why no address could be had.
#[derive(Debug)]
pub(super) enum Unreachable {
    /// The name cannot be looked up now.
    Unknown(String),
    /// It leads where no webhook goes.
    Forbidden(String),
}

impl Endpoint {
    pub(super) fn parse(settings: &Settings) -> Result<Self, ClientError> {
        let fail = |why: &str| ClientError::Url(why.to_owned());
        if settings.url.contains('#') {
            return Err(fail("it has a fragment (`#…`), which is never sent; take it away"));
        }
        let uri: Uri = settings.url.parse().map_err(|_| fail("it is not an absolute URL in ASCII"))?;
        let authority = uri.authority().ok_or_else(|| fail("it names no host; write `https://host/path`"))?;
        if authority.as_str().contains('@') {
            return Err(fail(
                "it carries a user name or password, which would reach logs; use a credential file",
            ));
        }
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(fail("its scheme is neither https nor http")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(fail("it names no host; write `https://host/path`"));
        }
        let literal: Option<IpAddr> = host.parse().ok();
        if let Some(word) = literal.and_then(forbidden) {
            return Err(ClientError::Url(format!("`{host}` is {word}; such addresses are never spoken to")));
        }
        let is_local = literal.map_or_else(|| host.eq_ignore_ascii_case("localhost"), is_loopback);
        if !is_tls && !is_local && !settings.insecure {
            return Err(fail(
                "plain http leaves this machine; use https, or set `insecure = true` for this target",
            ));
        }
        let tls_name = if is_tls {
            let name =
                ServerName::try_from(host.clone()).map_err(|_| fail("its host is not a valid name"))?;
            Some(name)
        } else {
            None
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let header =
            HeaderValue::from_str(authority.as_str()).map_err(|_| fail("its host is not a valid name"))?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host, port, tls_name, path, authority: header, insecure: settings.insecure })
    }

    /// Looks the name up once and judges every address; the caller connects to one of these and to nothing else.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Unreachable> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found
            .map_err(|error| Unreachable::Unknown(format!("cannot look up `{}`: {error}", self.host)))?;
        self.judge(found.collect())
    }

    fn judge(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Unreachable> {
        if addresses.is_empty() {
            return Err(Unreachable::Unknown(format!("`{}` has no address", self.host)));
        }
        // One bad address among good ones is how a name is rebound, so it spoils them all.
        for address in &addresses {
            if let Some(word) = forbidden(address.ip()) {
                let why = format!(
                    "`{}` leads to {}, {word}; such addresses are never spoken to",
                    self.host,
                    address.ip()
                );
                return Err(Unreachable::Forbidden(why));
            }
            if self.tls_name.is_none() && !self.insecure && !is_loopback(address.ip()) {
                let why = format!(
                    "`{}` leads to {} and plain http may not leave this machine",
                    self.host,
                    address.ip()
                );
                return Err(Unreachable::Forbidden(why));
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, insecure: bool) -> Result<Endpoint, ClientError> {
        Endpoint::parse(&Settings { insecure, ..Settings::new(url.into(), Vec::new()) })
    }

    #[test]
    fn good_urls_keep_host_port_path_and_query() {
        let one = parse("https://app.example.com/hooks/roster?x=1", false).unwrap();
        assert_eq!(
            (one.host.as_str(), one.port, one.path.as_str()),
            ("app.example.com", 443, "/hooks/roster?x=1")
        );
        assert_eq!(one.authority, "app.example.com");
        let two = parse("https://[::1]:8443", false).unwrap();
        assert_eq!((two.host.as_str(), two.port, two.path.as_str()), ("::1", 8443, "/"));
        for url in ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:9/"] {
            assert!(parse(url, false).unwrap().tls_name.is_none(), "{url}");
        }
        assert!(parse("http://10.0.0.1/x", true).is_ok());
    }

    #[test]
    fn bad_urls_are_refused_with_the_reason() {
        for (url, word) in [
            ("http://app.example.com/x", "insecure = true"),
            ("ftp://app.example.com/x", "scheme"),
            ("https://user:pw@app.example.com/", "user name"),
            ("https://app.example.com/#x", "fragment"),
            ("/hooks", "host"),
            ("https://169.254.169.254/latest", "never spoken to"),
            ("https://[::ffff:169.254.169.254]/", "never spoken to"),
            ("https://exa mple/", "not an absolute URL"),
        ] {
            let message = parse(url, false).unwrap_err().to_string();
            assert!(message.contains(word), "{url}: {message}");
        }
    }

    #[test]
    fn one_forbidden_address_spoils_the_whole_look_up() {
        let endpoint = parse("https://app.example.com/", false).unwrap();
        let addresses =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert!(endpoint.judge(addresses(&["10.0.0.1:443", "[fd00::1]:443"])).is_ok());
        let spoilt = endpoint.judge(addresses(&["10.0.0.1:443", "169.254.169.254:443"]));
        assert!(matches!(spoilt, Err(Unreachable::Forbidden(why)) if why.contains("169.254.169.254")));
        assert!(matches!(endpoint.judge(Vec::new()), Err(Unreachable::Unknown(_))));
    }

    #[test]
    fn a_local_name_that_leads_elsewhere_gets_no_plain_http() {
        let endpoint = parse("http://localhost/", false).unwrap();
        let elsewhere = endpoint.judge(vec!["10.0.0.1:80".parse().unwrap()]);
        assert!(matches!(elsewhere, Err(Unreachable::Forbidden(_))));
    }
}
