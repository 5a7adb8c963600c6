//! TLS for the listeners: rustls with ring, PEM files, certificates swapped while connections live.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// PEM file with the certificate and its chain, leaf first. Key `tls.cert`.
    pub cert: PathBuf,
    /// PEM file with the private key (PKCS#8, PKCS#1 or SEC1). Key `tls.key`.
    pub key: PathBuf,
    /// Whether HTTP/2 is offered by ALPN. Default true.
    pub http2: bool,
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
        }
    }
}

impl std::error::Error for TlsError {}

/// The certificate in use; cheap to ask, swapped whole on renewal.
pub struct Tls {
    settings: Settings,
    config: ArcSwap<ServerConfig>,
    loaded: Mutex<[u8; 32]>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key and checks that they belong together.
    pub fn load(settings: Settings) -> Result<Self, TlsError> {
        let (config, digest) = read(&settings)?;
        Ok(Self { settings, config: ArcSwap::from_pointee(config), loaded: Mutex::new(digest) })
    }

    /// Reads the files again. New connections get the new certificate, open ones stay. True if anything was new.
    /// On an error the old certificate stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let (config, digest) = read(&self.settings)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if *loaded == digest {
            return Ok(false);
        }
        *loaded = digest;
        self.config.store(Arc::new(config));
        Ok(true)
    }

    /// An acceptor with the certificate of this moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(settings: &Settings) -> Result<(ServerConfig, [u8; 32]), TlsError> {
    let cert = bytes(&settings.cert)?;
    let key = bytes(&settings.key)?;
    let mut digest = Sha256::new();
    digest.update(Sha256::digest(&cert));
    digest.update(Sha256::digest(&key));
    let chain = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::Pem { path: settings.cert.clone(), wanted: "certificate" })?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| TlsError::Pem { path: settings.key.clone(), wanted: "private key" })?;
    let refused = |source| TlsError::Refused { path: settings.cert.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols =
        if settings.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok((config, digest.finalize().into()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path) -> Settings {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let settings = Settings { cert: dir.join("cert.pem"), key: dir.join("key.pem"), http2: true };
        std::fs::write(&settings.cert, made.cert.pem()).unwrap();
        std::fs::write(&settings.key, made.signing_key.serialize_pem()).unwrap();
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
        std::fs::write(&settings.cert, "nonsense").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
        tls.acceptor();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let settings = write_pair(dir.path());
        let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
        std::fs::write(&settings.key, other.signing_key.serialize_pem()).unwrap();
        let error = Tls::load(settings).unwrap_err();
        assert!(matches!(error, TlsError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("cert.pem"));
    }
}
