//! TLS for the listeners: rustls with ring, PEM files, certificates swapped while connections live, certificates of
//! clients, the handshakes by which an ACME server sees that a name is ours.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::{
    Acceptor, NoServerSessionStorage, ResolvesServerCertUsingSni, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::acme;
use super::acme::challenge::{self, Challenges};

/// What a listener shows and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the certificate comes from.
    pub source: Source,
    /// Certificates of clients. Default: none are asked for.
    pub clients: Option<Clients>,
    /// Whether HTTP/2 is offered by ALPN. Default true.
    pub http2: bool,
}

/// Where certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From files that somebody else renews.
    Files {
        /// PEM file with the certificate and its chain, leaf first. Key `tls.cert`.
        cert: PathBuf,
        /// PEM file with the private key (PKCS#8, PKCS#1 or SEC1). Key `tls.key`.
        key: PathBuf,
    },
    /// From an ACME server. Key `tls.acme`.
    Acme(acme::Settings),
}

/// Which clients are let in by certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// PEM file with the authorities that sign them. Key `tls.client_ca`.
    pub ca: PathBuf,
    /// Key `tls.client_auth`. Default required.
    pub auth: ClientAuth,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It may; one that it shows must be good.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl ClientAuth {
    /// Every one, by its name in the config.
    pub const WORDS: [(&'static str, Self); 2] = [("optional", Self::Optional), ("required", Self::Required)];
}

impl Settings {
    /// The PEM file with the certificate and its chain.
    pub fn cert(&self) -> PathBuf {
        match &self.source {
            Source::Files { cert, .. } => cert.clone(),
            Source::Acme(acme) => acme::store::certificate(acme),
        }
    }

    /// The PEM file with the private key.
    pub fn key(&self) -> PathBuf {
        match &self.source {
            Source::Files { key, .. } => key.clone(),
            Source::Acme(acme) => acme::store::certificate(acme),
        }
    }

    /// What is ordered for it from an ACME server, if anything is.
    pub fn acme(&self) -> Option<&acme::Settings> {
        match &self.source {
            Source::Files { .. } => None,
            Source::Acme(acme) => Some(acme),
        }
    }
}

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no certificate or key in PEM form.
    Pem {
        /// Which.
        path: PathBuf,
        /// What was expected in it.
        wanted: &'static str,
    },
    /// Certificate and key were refused, mostly because they do not belong together.
    Refused {
        /// The certificate file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(
                f,
                "cannot read `{}`: {source}; the daemon's user must be able to read it",
                path.display()
            ),
            Self::Pem { path, wanted } => write!(f, "no {wanted} in PEM form in `{}`", path.display()),
            Self::Refused { path, source } => write!(
                f,
                "certificate `{}` cannot be used: {source}; check that the key belongs to it",
                path.display()
            ),
            Self::Authority { path, why } => {
                write!(f, "the authorities of clients in `{}` cannot be used: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for TlsError {}

/// Why a connection ended with its handshake.
#[derive(Debug)]
pub enum Refused {
    /// It was an ACME server's, which has seen what it came for.
    Challenge,
    /// The handshake failed.
    Handshake(io::Error),
}

/// The [`reason`] that a client's certificate is missing or not accepted.
pub const CLIENT_CERTIFICATE: &str = "client_certificate";

/// A word for the metric: why a handshake failed.
pub fn reason(cause: &io::Error) -> &'static str {
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            CLIENT_CERTIFICATE
        }
        // Mostly a version or a cipher that is too old.
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        // The client does not trust our certificate, mostly.
        Some(rustls::Error::AlertReceived(_)) => "alert",
        Some(rustls::Error::NoApplicationProtocol) => "protocol",
        Some(_) => "malformed",
        None => "closed",
    }
}

/// The certificate in use; cheap to ask, swapped whole on renewal.
pub struct Tls {
    settings: Settings,
    config: ArcSwap<ServerConfig>,
    loaded: Mutex<Marks>,
    /// Rises whenever the authorities of clients are other ones.
    authorities: watch::Sender<u64>,
    challenges: Arc<Challenges>,
}

/// Digests of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// Certificate and key; `None` while the first order with an ACME server is under way.
    own: Option<[u8; 32]>,
    /// The authorities of clients.
    authorities: Option<[u8; 32]>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key and checks that they belong together. The certificate of an ACME server may be
    /// missing until the first order is through; until then nobody gets past the handshake.
    pub fn load(settings: Settings) -> Result<Self, TlsError> {
        let (config, marks) = read(&settings)?;
        let config = ArcSwap::from_pointee(config);
        let (loaded, authorities) = (Mutex::new(marks), watch::Sender::new(0));
        Ok(Self { settings, config, loaded, authorities, challenges: Arc::default() })
    }

    /// Answers also for orders under way.
    #[must_use]
    pub fn answering(self, challenges: &Arc<Challenges>) -> Self {
        Self { challenges: Arc::clone(challenges), ..self }
    }

    /// What it was loaded from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the files again. New connections get the new certificate, open ones stay. True if anything was new.
    /// On an error the old certificate stays in use, also where its file is gone.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let (config, marks) = read(&self.settings)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if *loaded == marks {
            return Ok(false);
        }
        if loaded.own.is_some() && marks.own.is_none() {
            let source = io::ErrorKind::NotFound.into();
            return Err(TlsError::Read { path: self.settings.cert(), source });
        }
        let has_others = loaded.authorities != marks.authorities;
        *loaded = marks;
        self.config.store(Arc::new(config));
        if has_others {
            self.authorities.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(true)
    }

    /// Hears when the authorities of clients are other ones: who was let in by the old ones shakes hands anew.
    pub fn authorities(&self) -> watch::Receiver<u64> {
        self.authorities.subscribe()
    }

    /// Shakes hands, with the certificate of this moment.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(Refused::Handshake)?;
        let hello = start.client_hello();
        let is_challenge = hello
            .alpn()
            .is_some_and(|mut names| names.next() == Some(challenge::ALPN) && names.next().is_none());
        if !is_challenge {
            return start.into_stream(self.config.load_full()).await.map_err(Refused::Handshake);
        }
        let answer = hello.server_name().and_then(|domain| self.challenges.tls(domain));
        let answer = answer.unwrap_or_else(|| self.config.load_full());
        let mut stream = start.into_stream(answer).await.map_err(Refused::Handshake)?;
        // RFC 8737 §3: nothing is said after the handshake.
        let _ = stream.shutdown().await;
        Err(Refused::Challenge)
    }
}

fn read(settings: &Settings) -> Result<(ServerConfig, Marks), TlsError> {
    let (path, key_path) = (settings.cert(), settings.key());
    let mut marks = Marks { own: None, authorities: None };
    let refused = |source| TlsError::Refused { path: path.clone(), source };
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let authorities = bytes(&clients.ca)?;
            marks.authorities = Some(Sha256::digest(&authorities).into());
            builder.with_client_cert_verifier(verifier(clients, &authorities)?)
        }
    };
    let is_awaited = settings.acme().is_some() && !path.exists();
    let mut config = if is_awaited {
        builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()))
    } else {
        let (cert, key) = (bytes(&path)?, bytes(&key_path)?);
        let both = Sha256::new().chain_update(Sha256::digest(&cert)).chain_update(Sha256::digest(&key));
        marks.own = Some(both.finalize().into());
        let chain =
            certificates(&cert).ok_or_else(|| TlsError::Pem { path: path.clone(), wanted: "certificate" })?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| TlsError::Pem { path: key_path.clone(), wanted: "private key" })?;
        builder.with_single_cert(chain, key).map_err(refused)?
    };
    if settings.clients.is_some() {
        // A session taken up again would skip the look at the certificate, which may have run out since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols =
        if settings.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok((config, marks))
}

/// What judges the certificates of clients.
fn verifier(clients: &Clients, authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |why: String| TlsError::Authority { path: clients.ca.clone(), why };
    let found = certificates(authorities)
        .ok_or_else(|| TlsError::Pem { path: clients.ca.clone(), wanted: "certificate" })?;
    let mut roots = RootCertStore::empty();
    for authority in found {
        roots.add(authority).map_err(|cause| unusable(cause.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients.auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder.build().map_err(|cause| unusable(cause.to_string()))
}

/// Every certificate in PEM text; `None` if there is none, or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok().filter(|found| !found.is_empty())
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path) -> Settings {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let source = Source::Files { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        let settings = Settings { source, clients: None, http2: true };
        std::fs::write(settings.cert(), made.cert.pem()).unwrap();
        std::fs::write(settings.key(), made.signing_key.serialize_pem()).unwrap();
        settings
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_leaves_the_old_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let settings = write_pair(dir.path());
        let tls = Tls::load(settings.clone()).unwrap();
        assert!(!tls.reload().unwrap());
        write_pair(dir.path());
        assert!(tls.reload().unwrap());
        std::fs::write(settings.cert(), "nonsense").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let settings = write_pair(dir.path());
        let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
        std::fs::write(settings.key(), other.signing_key.serialize_pem()).unwrap();
        let error = Tls::load(settings).unwrap_err();
        assert!(matches!(error, TlsError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("cert.pem"));
    }

    #[test]
    fn authorities_of_clients_must_be_certificates_and_a_new_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = write_pair(dir.path());
        let ca = dir.path().join("clients.pem");
        settings.clients = Some(Clients { ca: ca.clone(), auth: ClientAuth::Required });
        std::fs::write(&ca, "nonsense").unwrap();
        assert!(matches!(Tls::load(settings.clone()), Err(TlsError::Pem { .. })));
        let authority = || rcgen::generate_simple_self_signed(Vec::<String>::new()).unwrap().cert.pem();
        std::fs::write(&ca, authority()).unwrap();
        let tls = Tls::load(settings).unwrap();
        assert!(!tls.reload().unwrap());
        let mut heard = tls.authorities();
        std::fs::write(&ca, authority()).unwrap();
        assert!(tls.reload().unwrap());
        assert!(heard.has_changed().unwrap());
        heard.mark_unchanged();
        write_pair(dir.path());
        assert!(tls.reload().unwrap());
        assert!(!heard.has_changed().unwrap(), "a renewed certificate of ours ends no connection");
    }

    #[test]
    fn the_certificate_of_an_acme_server_may_still_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme::Settings {
            domains: vec!["scim.example.com".to_owned()],
            contact: Vec::new(),
            directory_url: acme::LETS_ENCRYPT.to_owned(),
            ca: None,
            challenge: acme::Challenge::TlsAlpn01,
            http_listen: Vec::new(),
            folder: dir.path().to_owned(),
        };
        let settings = Settings { source: Source::Acme(acme), clients: None, http2: true };
        let tls = Tls::load(settings.clone()).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["scim.example.com".to_owned()]).unwrap();
        std::fs::write(settings.cert(), format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()))
            .unwrap();
        assert!(tls.reload().unwrap());
        // Somebody took it away: the next order brings another, and until then the one in memory is served.
        std::fs::remove_file(settings.cert()).unwrap();
        let before = tls.config.load_full();
        let error = tls.reload().unwrap_err();
        assert!(error.to_string().contains(&settings.cert().display().to_string()), "{error}");
        assert!(Arc::ptr_eq(&before, &tls.config.load_full()));
    }
}
