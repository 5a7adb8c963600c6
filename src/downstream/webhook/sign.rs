//! Standard Webhooks 1.0 signatures, version `v1`: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::Secret;

/// Prefix of a symmetric secret in the Standard Webhooks notation.
pub const SECRET_PREFIX: &str = "whsec_";

/// Key bytes a secret may hold (Standard Webhooks: 24 to 64).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One signing key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

/// Why a secret is not one. Never repeats the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretError {
    /// Not `whsec_` followed by standard base64.
    Form,
    /// Shorter than 24 or longer than 64 bytes.
    Length(usize),
}

impl SigningSecret {
    /// Reads `whsec_` + base64, blanks and a last newline around it ignored.
    pub fn parse(secret: &Secret) -> Result<Self, SecretError> {
        let text = secret.expose().trim().strip_prefix(SECRET_PREFIX).ok_or(SecretError::Form)?;
        let key = Zeroizing::new(STANDARD.decode(text).map_err(|_| SecretError::Form)?);
        if KEY_BYTES.contains(&key.len()) { Ok(Self(key)) } else { Err(SecretError::Length(key.len())) }
    }

    /// The signature of one message: `v1,` and base64.
    pub fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        // HMAC takes a key of any length (RFC 2104 §2), so the error arm is never taken; an empty signature
        // would be refused by every receiver.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(unix_seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The `webhook-signature` header: one signature per secret, parted by blanks.
pub fn header(secrets: &[SigningSecret], id: &str, unix_seconds: i64, body: &[u8]) -> String {
    secrets.iter().map(|secret| secret.sign(id, unix_seconds, body)).collect::<Vec<_>>().join(" ")
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "the secret is not `whsec_` followed by base64; make one with `openssl rand -base64 32`",
            ),
            Self::Length(bytes) => {
                write!(f, "the secret holds {bytes} bytes; 24 to 64 are allowed, use 32 random ones")
            }
        }
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VECTOR: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(&Secret::new(text.into())).unwrap()
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        let signature =
            secret(VECTOR).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_without_prefix_or_of_wrong_length_is_refused_without_being_shown() {
        let parse = |text: &str| SigningSecret::parse(&Secret::new(text.into()));
        assert_eq!(parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err(SecretError::Form));
        assert_eq!(parse("whsec_###"), Err(SecretError::Form));
        assert_eq!(parse("whsec_AAAA"), Err(SecretError::Length(3)));
        assert!(parse(&format!("  {VECTOR}\n")).is_ok());
        assert_eq!(format!("{:?}", secret(VECTOR)), "SigningSecret(…)");
    }

    proptest! {
        #[test]
        fn the_public_library_accepts_what_we_sign_with_old_and_new_secret(
            keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 24..=64), 1..4),
            body in any::<String>(),
            n in 0u32..9,
        ) {
            let id = format!("1-{n}-0");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let texts: Vec<String> = keys.iter().map(|key| format!("whsec_{}", STANDARD.encode(key))).collect();
            let secrets: Vec<SigningSecret> = texts.iter().map(|text| secret(text)).collect();
            let signature = header(&secrets, &id, i64::try_from(now).unwrap(), body.as_bytes());
            let mut headers = hyper::HeaderMap::new();
            headers.insert("webhook-id", id.parse().unwrap());
            headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
            headers.insert("webhook-signature", signature.parse().unwrap());
            for text in &texts {
                prop_assert!(standardwebhooks::Webhook::new(text).unwrap().verify(body.as_bytes(), &headers).is_ok());
            }
        }
    }
}
