//! One kept-alive connection to a SCIM server, opened again when the server closes it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a connection, and for an answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where to play, and as whom.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    is_tls: bool,
    authority: String,
    base_path: String,
    token: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Why a server cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayError(String);

impl fmt::Display for WayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WayError {}

impl Server {
    /// The server whose base URL is `url`: what an identity provider would be given.
    ///
    /// # Errors
    /// When `url` is none of http or https.
    pub fn at(url: &str, token: &str) -> Result<Self, WayError> {
        let wrong = || WayError(format!("`{url}` is no base URL such as https://scim.example.com/scim/v2"));
        let uri: Uri = url.trim().trim_end_matches('/').parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(wrong)?;
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            authority: authority.to_string(),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        })
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// `path` below the base URL.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base_path)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// Null where it is no JSON.
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Status, keyword and sentence.
    pub(super) fn brief(&self) -> String {
        let text = |key: &str| self.body.get(key).and_then(Value::as_str).map(|text| format!(" {text}"));
        let detail = text("detail").unwrap_or_default();
        format!("{}{}{}", self.status, text("scimType").unwrap_or_default(), detail)
    }
}

/// The connection.
pub(super) struct Way<'a> {
    server: &'a Server,
    tls: Option<TlsConnector>,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl<'a> Way<'a> {
    pub(super) async fn open(server: &'a Server) -> Result<Self, WayError> {
        let tls = server.is_tls.then(tls).transpose()?;
        let sender = connect(server, tls.as_ref()).await?;
        Ok(Self { server, tls, sender })
    }

    pub(super) fn server(&self) -> &'a Server {
        self.server
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, WayError> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.server, self.tls.as_ref()).await?;
        }
        let broken = |cause: hyper::Error| WayError(format!("the connection broke: {cause}"));
        let exchange = async {
            let answer = self.sender.send_request(request).await.map_err(broken)?;
            let status = answer.status().as_u16();
            let headers = answer.headers().iter().map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            let headers = headers.collect();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|cause| WayError(format!("the answer broke off: {cause}")))?.to_bytes();
            Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
        };
        tokio::time::timeout(ANSWER_PATIENCE, exchange)
            .await
            .map_err(|_| WayError(format!("no answer within {} s", ANSWER_PATIENCE.as_secs())))?
    }
}

fn tls() -> Result<TlsConnector, WayError> {
    let failed = |cause: rustls::Error| WayError(format!("TLS: {cause}"));
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider)).map_err(failed)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(
    server: &Server,
    tls: Option<&TlsConnector>,
) -> Result<http1::SendRequest<Full<Bytes>>, WayError> {
    let place = &server.authority;
    let opening = async {
        let stream = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|cause| WayError(format!("cannot connect to {place}: {cause}")))?;
        // A request is one small packet; waiting to fill it only costs time.
        let _ = stream.set_nodelay(true);
        match tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(server.host.clone())
                    .map_err(|cause| WayError(format!("{place}: {cause}")))?;
                let stream = tls
                    .connect(name, stream)
                    .await
                    .map_err(|cause| WayError(format!("TLS with {place}: {cause}")))?;
                handshake(stream).await
            }
        }
    };
    tokio::time::timeout(CONNECT_PATIENCE, opening)
        .await
        .map_err(|_| WayError(format!("no connection to {place} within {} s", CONNECT_PATIENCE.as_secs())))?
}

async fn handshake<S>(stream: S) -> Result<http1::SendRequest<Full<Bytes>>, WayError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| WayError(format!("the connection broke: {cause}")))?;
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        let server = Server::at("https://scim.example.com/scim/v2/", "t").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.is_tls), ("scim.example.com", 443, true));
        assert_eq!(server.path("/Users?a=b"), "/scim/v2/Users?a=b");
        let server = Server::at("http://[::1]:8080", "t").unwrap();
        assert_eq!(
            (server.host.as_str(), server.port, server.path("/Users").as_str()),
            ("::1", 8080, "/Users")
        );
        for wrong in ["ftp://x/", "scim.example.com", "https://a@b/scim"] {
            assert!(Server::at(wrong, "t").is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", Server::at("http://x", "geheim").unwrap()).contains("geheim"));
    }
}
