//! Bearer tokens on the SCIM listener: read, reject offline what cannot be one of ours, look the rest up, and
//! slow down an address that keeps guessing.
//!
//! INVARIANT: only failing attempts are counted, and the count is looked at only after an attempt has failed. A
//! valid token is never refused for what others at its address do.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::network;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No `Authorization` header.
    Missing,
    /// Another scheme, or no token after it.
    Malformed,
    /// A token that is unknown, revoked or expired. Which of these is nobody's business.
    Unknown,
    /// A token whose directory is tied to a client certificate that was not shown.
    Certificate,
}

impl Denied {
    /// A word for the metric.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Certificate => "client_certificate",
        }
    }

    /// What the client is told.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Missing => {
                "authentication is required: send the directory's token as `Authorization: Bearer …`"
            }
            Self::Malformed => "the Authorization header must be `Bearer` followed by the directory's token",
            Self::Unknown => "the token is not valid: it is mistyped, expired or revoked",
            Self::Certificate => {
                "the token is taken only together with the client certificate that its directory is tied to"
            }
        }
    }
}

/// The token of the `Authorization` header. The scheme's name is read in any letter case (RFC 7235 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let value = headers.get(AUTHORIZATION).ok_or(Denied::Missing)?;
    let value = value.to_str().map_err(|_| Denied::Malformed)?;
    let (scheme, token) = value.trim().split_once(' ').ok_or(Denied::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(Denied::Malformed);
    }
    Ok(token)
}

/// No token of ours or of a config file is longer.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Counts failing authentications per address.
#[derive(Debug)]
pub(crate) struct Failures {
    addresses: Buckets<IpAddr>,
}

/// Counts something per key, forgetting it at a rate.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    settings: Settings,
    buckets: Mutex<HashMap<K, Bucket>>,
}

/// How many failing authentications one address may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Lasting rate. Default 10 a minute.
    pub per_minute: u32,
    /// What an address may spend at once before the rate counts. Default 30: an operator pasting the wrong token
    /// into a console that retries should see 401, not 429.
    pub burst: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { per_minute: 10, burst: 30 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    spent: f64,
    at: Instant,
}

/// Most keys remembered; past it those that have spent nothing lately go first.
const KEYS_MAX: usize = 10_000;

impl Failures {
    /// Nobody has failed yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { addresses: Buckets::new(settings) }
    }

    /// Forgives everybody.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.addresses.buckets.lock().unwrap().clear();
    }

    /// Counts a failure of `address` at `now`. `Err` says how long the address should wait.
    pub(crate) fn failed(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        // A unix socket's peer is a local proxy that speaks for everybody.
        let Some(address) = address.map(network::counted) else { return Ok(()) };
        self.addresses.spend(address, now)
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Nothing is spent yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, buckets: Mutex::default() }
    }

    /// Spends one of `key`'s at `now`. `Err`: there is none left, and how long until there is.
    pub(crate) fn spend(&self, key: K, now: Instant) -> Result<(), Duration> {
        let (rate, burst) = (self.rate(), self.burst());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.refilled(bucket, now) > 0.0);
            if buckets.len() >= KEYS_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { spent: 0.0, at: now });
        let spent = self.refilled(bucket, now);
        if spent + 1.0 > burst {
            *bucket = Bucket { spent, at: now };
            return Err(Duration::from_secs_f64(((spent + 1.0 - burst) / rate).max(1.0)));
        }
        *bucket = Bucket { spent: spent + 1.0, at: now };
        Ok(())
    }

    /// How long `key` has to wait, if nothing is left to spend.
    pub(crate) fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.refilled(buckets.get(key)?, now) + 1.0 - self.burst();
        (over > 0.0).then(|| Duration::from_secs_f64((over / self.rate()).max(1.0)))
    }

    /// Lasting rate, per second.
    fn rate(&self) -> f64 {
        f64::from(self.settings.per_minute.max(1)) / 60.0
    }

    fn burst(&self) -> f64 {
        f64::from(self.settings.burst.max(1))
    }

    /// What of a bucket is spent still.
    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        (bucket.spent - now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate()).max(0.0)
    }

    /// Gives back what [`Buckets::spend`] took: it was no failure after all.
    pub(crate) fn refund(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.spent = (bucket.spent - 1.0).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_an_empty_token_is_none() {
        assert_eq!(bearer(&with("Bearer abc")), Ok("abc"));
        assert_eq!(bearer(&with("bEARER  abc ")), Ok("abc"));
        assert_eq!(bearer(&HeaderMap::new()), Err(Denied::Missing));
        for wrong in ["", "Bearer", "Bearer ", "non-token", "Basic abc"] {
            assert_eq!(bearer(&with(wrong)), Err(Denied::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn only_failures_beyond_the_burst_are_told_to_wait_and_time_forgives() {
        let failures = Failures::new(Settings { per_minute: 6, burst: 3 });
        let start = Instant::now();
        let (one, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        for _ in 0..3 {
            assert!(failures.failed(one, start).is_ok());
        }
        let wait = failures.failed(one, start).unwrap_err();
        assert_eq!(wait.as_secs(), 10);
        assert!(failures.failed(other, start).is_ok());
        assert!(failures.failed(None, start).is_ok());
        assert!(failures.failed(one, start + wait).is_ok());
        assert!(failures.failed(one, start + wait).is_err());
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let failures = Failures::new(Settings::default());
        let now = Instant::now();
        for n in 0..25_000_u32 {
            let _ = failures.failed(Some(IpAddr::V4(n.into())), now);
        }
        assert!(failures.addresses.buckets.lock().unwrap().len() <= KEYS_MAX);
    }
}
