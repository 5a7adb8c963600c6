//! Signed tokens (JWS, RFC 7515, compact) with a private key from a PEM file: ES256, EdDSA or RS256, as the key is.
//!
//! A token is three base64 texts and one signature by ring, which TLS brings along. The JWT libraries we looked at
//! bring a second set of algorithms with them, one of them the `rsa` crate with its open timing advisory
//! (RUSTSEC-2023-0071); tests hold every algorithm to another implementation.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::Secret;

/// A private key that signs tokens, and the name receivers know it by. Never shown.
#[derive(Clone)]
pub struct TokenKey {
    pair: Arc<Pair>,
    id: String,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(Box<RsaKeyPair>),
}

/// Why a key cannot be used or did not sign. Never repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKeyError {
    /// Not a PEM file with `BEGIN PRIVATE KEY`.
    Form,
    /// A key of another kind.
    Kind,
    /// The signature failed.
    Sign,
}

impl fmt::Display for TokenKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "the signing key is not a PEM file that begins with `-----BEGIN PRIVATE KEY-----`; make one with \
                 `openssl genpkey -algorithm ed25519`"
            }
            Self::Kind => {
                "the signing key is neither P-256, Ed25519 nor RSA of 2048 to 4096 bits; make one with `openssl genpkey \
                 -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            }
            Self::Sign => "the signing key did not sign",
        })
    }
}

impl std::error::Error for TokenKeyError {}

impl TokenKey {
    /// Reads a PKCS #8 key in PEM. `id` is the `kid`; without one it is the key's RFC 7638 thumbprint.
    ///
    /// # Errors
    /// [`TokenKeyError::Form`], [`TokenKeyError::Kind`].
    pub fn parse(pem: &Secret, id: Option<String>) -> Result<Self, TokenKeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| TokenKeyError::Form)?;
        let der = der.secret_pkcs8_der();
        let random = SystemRandom::new();
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Pair::EdDsa(pair)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
            Pair::Es256(pair)
        } else if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            Pair::Rs256(Box::new(pair))
        } else {
            return Err(TokenKeyError::Kind);
        };
        let id = id.unwrap_or_else(|| thumbprint(&pair));
        Ok(Self { pair: Arc::new(pair), id })
    }

    /// The algorithm's name in a token's header.
    pub fn algorithm(&self) -> &'static str {
        match *self.pair {
            Pair::Es256(_) => "ES256",
            Pair::EdDsa(_) => "EdDSA",
            Pair::Rs256(_) => "RS256",
        }
    }

    /// The public half for receivers, as an RFC 7517 key.
    pub fn public(&self) -> Value {
        let mut key = public(&self.pair);
        if let Some(key) = key.as_object_mut() {
            key.insert("kid".into(), self.id.clone().into());
            key.insert("alg".into(), self.algorithm().into());
            key.insert("use".into(), "sig".into());
        }
        key
    }

    /// A token of type `typ` over `payload`.
    ///
    /// # Errors
    /// [`TokenKeyError::Sign`].
    pub fn sign(&self, typ: &str, payload: &[u8]) -> Result<String, TokenKeyError> {
        let header = json!({"alg": self.algorithm(), "kid": self.id, "typ": typ}).to_string();
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.signature(token.as_bytes()).ok_or(TokenKeyError::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Es256(pair) => pair.sign(&random, message).ok().map(|one| one.as_ref().to_vec()),
            Pair::EdDsa(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// The members that RFC 7638 §3.2 requires, in the order it hashes them in.
fn public(pair: &Pair) -> Value {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match pair {
        Pair::Es256(pair) => {
            // An uncompressed point: 4, then both coordinates.
            let point = pair.public_key().as_ref();
            let half = |range| text(point.get(range).unwrap_or_default());
            json!({"crv": "P-256", "kty": "EC", "x": half(1..33), "y": half(33..65)})
        }
        Pair::EdDsa(pair) => json!({"crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref())}),
        Pair::Rs256(pair) => {
            let parts: PublicKeyComponents<Vec<u8>> = PublicKeyComponents::from(pair.public());
            json!({"e": text(&parts.e), "kty": "RSA", "n": text(&parts.n)})
        }
    }
}

fn thumbprint(pair: &Pair) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(public(pair).to_string()))
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({} {})", self.algorithm(), self.id)
    }
}
