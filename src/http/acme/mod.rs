//! Certificates from an ACME server (RFC 8555): ordered, proved by TLS-ALPN-01 or HTTP-01, kept, renewed.
//!
//! - `challenge`: what proves to the server that a name is ours, while an order is under way
//! - `store`: the account and the certificate in the state directory
//! - `order`: one order, from the account to the chain
//! - `renew`: when to order, and when to try again
//!
//! INVARIANT: a certificate is replaced by a newer one only, whole, by one rename; until then, and for as long as
//! orders fail, the old one is served.

pub mod challenge;
mod order;
pub mod renew;
pub mod store;

use std::fmt;
use std::path::PathBuf;

use super::listener::Address;

/// Where certificates come from. Table `tls.acme`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key `domains`: the names in the certificate.
    pub domains: Vec<String>,
    /// Key `contact`: whom the server writes to before a certificate runs out. Default none.
    pub contact: Vec<String>,
    /// Key `directory_url`: the server. Default Let's Encrypt's.
    pub directory_url: String,
    /// Key `ca`: PEM file with the authority that signed the server's own certificate. Default: what the machine trusts.
    pub ca: Option<PathBuf>,
    /// Key `challenge`. Default TLS-ALPN-01.
    pub challenge: Challenge,
    /// Key `http_listen`: where HTTP-01 is answered; the server asks at port 80 of each domain.
    pub http_listen: Vec<Address>,
    /// Where account and certificate are kept: `acme` in the state directory.
    pub folder: PathBuf,
}

/// Let's Encrypt, for those who name no other.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How a domain is proved to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// By a TLS handshake at port 443 (RFC 8737).
    TlsAlpn01,
    /// By a file over plain HTTP at port 80 (RFC 8555 §8.3).
    Http01,
}

impl Challenge {
    /// Every one, by its name in the config.
    pub const WORDS: [(&'static str, Self); 2] =
        [("tls-alpn-01", Self::TlsAlpn01), ("http-01", Self::Http01)];
}

/// Why there is no new certificate.
#[derive(Debug)]
pub enum AcmeError {
    /// The server refused, or cannot be reached.
    Server(instant_acme::Error),
    /// The server offers no such challenge for this domain.
    NotOffered(String),
    /// The server could not be convinced that a domain is ours; what it says about it.
    NotProved(String),
    /// It took longer than an order may.
    Slow,
    /// The certificate that answers TLS-ALPN-01 cannot be used.
    Useless(rustls::Error),
    /// Keys could not be made.
    Key(rcgen::Error),
    /// The account that is kept is none, or the server does not know it.
    Account {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Account or certificate cannot be kept.
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(cause) => {
                write!(f, "the ACME server: {cause}")?;
                let mut source = std::error::Error::source(cause);
                while let Some(inner) = source {
                    write!(f, ": {inner}")?;
                    source = inner.source();
                }
                Ok(())
            }
            Self::NotOffered(domain) => {
                write!(f, "the ACME server offers no such challenge for `{domain}`; set the other one")
            }
            Self::NotProved(detail) => write!(f, "the ACME server could not validate: {detail}"),
            Self::Slow => f.write_str("the order took too long"),
            Self::Useless(cause) => write!(f, "cannot answer the challenge: {cause}"),
            Self::Key(cause) => write!(f, "cannot make a key: {cause}"),
            Self::Account { path, cause } => write!(
                f,
                "the account in `{}` cannot be used: {cause}; move the file away and a new account is made",
                path.display()
            ),
            Self::Store { path, source } => write!(f, "cannot keep `{}`: {source}", path.display()),
        }
    }
}

impl std::error::Error for AcmeError {}

impl From<instant_acme::Error> for AcmeError {
    fn from(cause: instant_acme::Error) -> Self {
        Self::Server(cause)
    }
}

impl From<rcgen::Error> for AcmeError {
    fn from(cause: rcgen::Error) -> Self {
        Self::Key(cause)
    }
}
