//! What proves that a name is ours, for as long as an order is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::AcmeError;

/// The protocol name of TLS-ALPN-01 (RFC 8737 §6.2).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Answers for the orders under way, shared by every listener.
#[derive(Debug, Default)]
pub struct Challenges {
    tls: Mutex<HashMap<String, Arc<ServerConfig>>>,
    http: Mutex<HashMap<String, String>>,
}

/// Answers that go when the order is over.
#[derive(Debug)]
pub(super) struct Posted {
    at: Arc<Challenges>,
    domains: Vec<String>,
    tokens: Vec<String>,
}

impl Challenges {
    /// The TLS side that proves `domain`, if that is asked for now.
    pub fn tls(&self, domain: &str) -> Option<Arc<ServerConfig>> {
        let known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&domain.to_ascii_lowercase()).cloned()
    }

    /// What proves our account's hold of `token`, if that is asked for now.
    pub fn http(&self, token: &str) -> Option<String> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

impl Posted {
    pub(super) fn none(at: &Arc<Challenges>) -> Self {
        Self { at: Arc::clone(at), domains: Vec::new(), tokens: Vec::new() }
    }

    /// Answers HTTP-01 for `token`.
    pub(super) fn http(&mut self, token: &str, authorization: &str) {
        let mut known = self.at.http.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(token.to_owned(), authorization.to_owned());
        self.tokens.push(token.to_owned());
    }

    /// Answers TLS-ALPN-01 for `domain`: a self-signed certificate with the digest in it.
    pub(super) fn tls(&mut self, domain: &str, digest: &[u8]) -> Result<(), AcmeError> {
        let mut params = CertificateParams::new(vec![domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not as other certificates are taken: rustls would refuse the critical extension that this one is about.
        let signing = any_supported_type(&key).map_err(AcmeError::Useless)?;
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], signing));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(AcmeError::Useless)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![ALPN.to_vec()];
        let domain = domain.to_ascii_lowercase();
        let mut known = self.at.tls.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(domain.clone(), Arc::new(config));
        self.domains.push(domain);
        Ok(())
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut known = self.at.tls.lock().unwrap_or_else(PoisonError::into_inner);
        for domain in &self.domains {
            known.remove(domain);
        }
        drop(known);
        let mut known = self.at.http.lock().unwrap_or_else(PoisonError::into_inner);
        for token in &self.tokens {
            known.remove(token);
        }
    }
}
