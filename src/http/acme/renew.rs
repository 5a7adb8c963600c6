//! When a certificate is ordered, and when that is tried again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::challenge::Challenges;
use super::{Settings, order, store};

/// How often it is looked whether a renewal is due.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// First pause after an order that failed; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(10);

/// Longest pause: servers count failing orders (Let's Encrypt: five an hour for a name).
const RETRY_LONGEST: Duration = Duration::from_hours(4);

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new certificate is kept.
    Taken,
    /// It failed and will be tried again.
    Failed,
}

impl Outcome {
    /// A word for the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Failed => "failed",
        }
    }
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub begins: i64,
    /// Until then.
    pub ends: i64,
}

impl Validity {
    /// Of the first certificate in a PEM file. `None` if there is none to be read.
    pub fn of(path: &Path) -> Option<Self> {
        let der = CertificateDer::from_pem_file(path).ok()?;
        let (_, read) = x509_parser::parse_x509_certificate(&der).ok()?;
        let validity = read.validity();
        Some(Self { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() })
    }

    /// When to renew: with a third of the time left, as the servers advise.
    pub fn renewal(self) -> i64 {
        self.ends.saturating_sub(self.ends.saturating_sub(self.begins) / 3)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Keeps the certificate of `settings` fresh for ever. `told` hears of each order.
pub async fn keep(settings: Settings, challenges: Arc<Challenges>, told: impl Fn(Outcome) + Send) {
    let path = store::certificate(&settings);
    let domains = settings.domains.join(", ");
    let mut pause = RETRY_FIRST;
    loop {
        let due = Validity::of(&path).map_or(0, Validity::renewal).saturating_sub(now());
        if due > 0 {
            // Short certificates are renewed in time; a clock that jumps is noticed within the hour.
            let wait = Duration::from_secs(u64::try_from(due).unwrap_or(u64::MAX));
            tokio::time::sleep(wait.min(LOOK_EVERY)).await;
            continue;
        }
        tracing::info!(%domains, server = %settings.directory_url, "ordering a certificate");
        match order::place(&settings, &challenges).await {
            Ok(()) => {
                tracing::info!(%domains, "a new certificate came from the ACME server");
                told(Outcome::Taken);
                let is_due = Validity::of(&path).map_or(0, Validity::renewal) <= now();
                if is_due {
                    tracing::error!(
                        %domains, again_in_s = pause.as_secs(),
                        "the new certificate is due for renewal already; is this machine's clock right?"
                    );
                    tokio::time::sleep(pause).await;
                }
                pause = next_pause(pause, is_due);
            }
            Err(cause) => {
                told(Outcome::Failed);
                let left =
                    Validity::of(&path).map_or(0, |validity| validity.ends.saturating_sub(now()).max(0));
                tracing::error!(
                    %domains, %cause, left_s = left, again_in_s = pause.as_secs(),
                    "no new certificate; the old one, if there is one, stays in use"
                );
                tokio::time::sleep(pause).await;
                pause = next_pause(pause, true);
            }
        }
    }
}

/// The pause of the next order that leads nowhere: also one whose certificate is due at once, since servers count
/// certificates, too (Let's Encrypt: five a week for the same names).
fn next_pause(pause: Duration, was_in_vain: bool) -> Duration {
    if was_in_vain { pause.saturating_mul(2).min(RETRY_LONGEST) } else { RETRY_FIRST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_that_lead_nowhere_are_placed_ever_more_rarely() {
        let mut pause = RETRY_FIRST;
        let day = Duration::from_hours(24);
        let (mut orders, mut spent) = (0, Duration::ZERO);
        while spent < day {
            spent += pause;
            orders += 1;
            pause = next_pause(pause, true);
        }
        assert!((5..=20).contains(&orders), "{orders} a day");
        assert_eq!(pause, RETRY_LONGEST);
        assert_eq!(next_pause(pause, false), RETRY_FIRST);
    }

    #[test]
    fn a_renewal_is_due_with_a_third_left() {
        let day = 86_400;
        assert_eq!(Validity { begins: 0, ends: 90 * day }.renewal(), 60 * day);
        assert_eq!(Validity { begins: 0, ends: 6 * day }.renewal(), 4 * day);
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Validity::of(&folder.path().join("none")), None);
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem())).unwrap();
        assert!(Validity::of(&path).is_some_and(|found| found.begins < found.ends));
    }
}
