//! Reaching a receiver through an HTTP proxy: `CONNECT`, then TLS with the receiver itself, so that the proxy sees
//! its name and port and nothing else.
//!
//! The address rules hold for the proxy, which is who is spoken to. Where the receiver's name leads is then the
//! proxy's to judge; an address written in the URL itself is judged here as ever.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::address::forbidden;
use super::connect::ConnectError;
use super::endpoint::Unreachable;
use crate::model::Secret;

/// Most bytes taken of a proxy's answer to `CONNECT`.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    credentials: Option<Secret>,
}

impl Proxy {
    /// Reads `http://host:port`; `credentials` are `user:password`.
    ///
    /// # Errors
    /// Which rule the address breaks.
    pub fn parse(url: &str, credentials: Option<Secret>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
        let authority = uri.authority().ok_or("it names no host; write `http://proxy.example.com:3128`")?;
        if uri.scheme_str() != Some("http") {
            return Err("a proxy is spoken to as `http://host:port`; what goes through it is TLS".into());
        }
        if authority.as_str().contains('@') {
            return Err("a user name or password in it would reach logs; use `proxy_credentials_file`".into());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("a proxy has no path; write `http://host:port`".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if let Some(word) = host.parse::<IpAddr>().ok().and_then(forbidden) {
            return Err(format!("`{host}` is {word}; such addresses are never spoken to"));
        }
        let port = authority.port_u16().ok_or("it names no port; 3128 and 8080 are usual")?;
        Ok(Self { host, port, credentials })
    }

    /// Looks the proxy up and judges every address.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Unreachable> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| {
                Unreachable::Unknown(format!("cannot look up the proxy `{}`: {error}", self.host))
            })?
            .collect();
        match found.iter().find_map(|address| forbidden(address.ip()).map(|word| (address.ip(), word))) {
            Some((ip, word)) => Err(Unreachable::Forbidden(format!(
                "the proxy `{}` leads to {ip}, {word}; such addresses are never spoken to",
                self.host
            ))),
            None => Ok(found),
        }
    }

    /// Asks the proxy for a way to `host`:`port` over `stream`.
    pub(super) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        host: &str,
        port: u16,
    ) -> Result<(), ConnectError> {
        let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let failed = |why: &str| ConnectError::Now(format!("the proxy `{}` {why}", self.host));
        let mut request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(credentials) = &self.credentials {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&STANDARD.encode(credentials.expose().trim()));
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(|error| failed(&format!("closed the connection: {error}")))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            // Byte by byte: what follows the head is the receiver's, and there is next to nothing to read.
            let byte = stream.read_u8().await;
            answer.push(byte.map_err(|error| failed(&format!("closed the connection: {error}")))?);
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(failed("answered without end"));
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).unwrap_or_default();
        match status.parse::<u16>() {
            Ok(200..=299) => Ok(()),
            Ok(status) => Err(failed(&format!("refused to connect to {to}: {status}"))),
            Err(_) => Err(failed("did not answer in HTTP")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_plain_host_and_port() {
        assert!(Proxy::parse("http://proxy.example.com:3128", None).is_ok());
        assert!(Proxy::parse("http://10.0.0.1:8080/", None).is_ok());
        for (url, word) in [
            ("https://proxy.example.com:3128", "http://host:port"),
            ("http://proxy.example.com", "no port"),
            ("http://user:pw@proxy.example.com:1", "proxy_credentials_file"),
            ("http://169.254.169.254:80", "never spoken to"),
            ("http://proxy.example.com:1/x", "no path"),
            ("/proxy", "no host"),
        ] {
            let why = Proxy::parse(url, None).unwrap_err();
            assert!(why.contains(word), "{url}: {why}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy = Proxy::parse("http://p.example.com:1", Some(Secret::new("u:hunter2".into()))).unwrap();
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
