//! Standard Webhooks 1.0 signatures over `id.timestamp.body`: `v1`, HMAC-SHA256 with a shared secret, and `v1a`,
//! ed25519 with a private key whose public half the receiver has.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::Secret;

/// Prefix of a symmetric secret in the Standard Webhooks notation.
pub const SECRET_PREFIX: &str = "whsec_";

/// Key bytes a secret may hold (Standard Webhooks: 24 to 64).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Prefix of a private key, and of the public one that belongs to it.
pub const PRIVATE_KEY_PREFIX: &str = "whsk_";
const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// One signing key. Never shown.
#[derive(Clone)]
pub struct SigningSecret(Key);

#[derive(Clone)]
enum Key {
    Shared(Zeroizing<Vec<u8>>),
    Private(Arc<Ed25519KeyPair>),
}

/// Why a secret is not one. Never repeats the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretError {
    /// Neither `whsec_` nor `whsk_` followed by standard base64.
    Form,
    /// Shorter than 24 or longer than 64 bytes.
    Length(usize),
    /// A private key that is none: not 32 bytes, nor these and the 32 of the public key that belongs to them.
    PrivateKey,
}

impl SigningSecret {
    /// Reads `whsec_` or `whsk_` and base64, blanks and a last newline around it ignored.
    pub fn parse(secret: &Secret) -> Result<Self, SecretError> {
        let text = secret.expose().trim();
        let decode = |text: &str| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| SecretError::Form);
        if let Some(text) = text.strip_prefix(PRIVATE_KEY_PREFIX) {
            let bytes = decode(text)?;
            let pair = match bytes.split_at_checked(32) {
                Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
                Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                None => return Err(SecretError::PrivateKey),
            };
            return pair.map(|pair| Self(Key::Private(Arc::new(pair)))).map_err(|_| SecretError::PrivateKey);
        }
        let key = decode(text.strip_prefix(SECRET_PREFIX).ok_or(SecretError::Form)?)?;
        if KEY_BYTES.contains(&key.len()) {
            Ok(Self(Key::Shared(key)))
        } else {
            Err(SecretError::Length(key.len()))
        }
    }

    /// The public key that receivers verify with, as `whpk_` and base64; a shared secret has none.
    pub fn public(&self) -> Option<String> {
        match &self.0 {
            Key::Shared(_) => None,
            Key::Private(pair) => {
                Some(format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(pair.public_key().as_ref())))
            }
        }
    }

    /// The signature of one message: `v1,` or `v1a,` and base64.
    pub fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let start = format!("{id}.{unix_seconds}.");
        match &self.0 {
            Key::Shared(key) => {
                // HMAC takes a key of any length (RFC 2104 §2), so the error arm is never taken; an empty
                // signature would be refused by every receiver.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
                mac.update(start.as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Key::Private(pair) => {
                let message = [start.as_bytes(), body].concat();
                format!("v1a,{}", STANDARD.encode(pair.sign(&message).as_ref()))
            }
        }
    }
}

impl PartialEq for SigningSecret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Key::Shared(one), Key::Shared(other)) => one == other,
            (Key::Private(one), Key::Private(other)) => {
                one.public_key().as_ref() == other.public_key().as_ref()
            }
            _ => false,
        }
    }
}

impl Eq for SigningSecret {}

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
                "the secret is neither `whsec_` nor `whsk_` followed by base64; make one with `openssl rand -base64 32`",
            ),
            Self::PrivateKey => f.write_str(
                "the private key is not `whsk_` and the base64 of 32 bytes, or of these and their public key",
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

    /// Published by Svix, whose scheme Standard Webhooks took over: seed and public key, as libsodium keeps them.
    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

    #[test]
    fn a_private_key_signs_as_published_and_tells_its_public_half() {
        let key = secret(PRIVATE);
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(
            signature,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
        assert_eq!(key.public().unwrap(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
        assert_eq!(
            (secret(VECTOR).public(), key == secret(PRIVATE), key == secret(VECTOR)),
            (None, true, false)
        );
        let seed = STANDARD.decode(PRIVATE.strip_prefix("whsk_").unwrap()).unwrap();
        let short = format!("whsk_{}", STANDARD.encode(&seed[..32]));
        assert!(secret(&short) == key, "the seed alone is enough");
        assert_eq!(format!("{key:?}"), "SigningSecret(…)");
    }

    #[test]
    fn a_private_key_that_is_none_is_refused() {
        let parse = |bytes: &[u8]| {
            SigningSecret::parse(&Secret::new(format!("whsk_{}", STANDARD.encode(bytes)))).unwrap_err()
        };
        for bytes in [&[1; 31][..], &[1; 33], &[1; 64], &[]] {
            assert_eq!(parse(bytes), SecretError::PrivateKey);
        }
    }

    #[test]
    fn while_rotating_both_kinds_stand_in_the_list_newest_first() {
        let header = header(&[secret(PRIVATE), secret(VECTOR)], "msg", 1, b"{}");
        let parts: Vec<&str> = header.split(' ').collect();
        assert!(matches!(&parts[..], [new, old] if new.starts_with("v1a,") && old.starts_with("v1,")));
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
