//! What every black-box test needs: the real daemon in a directory of its own, a plain HTTP client, a webhook
//! receiver that checks signatures, and bounded waiting for conditions.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod api;
pub mod daemon;
pub mod flaky;
pub mod http;
pub mod installer;
pub mod pki;
pub mod receiver;
pub mod trace;

use std::time::{Duration, Instant};

/// Waits until `condition` gives a value, at most 20 seconds; a test that gets no further says what it waited for.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited 20 s in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Edits a file by hand, in one step: a write in place truncates first, and a daemon that watches may see that too.
pub fn edit(path: impl AsRef<std::path::Path>, text: &str) {
    let path = path.as_ref();
    let mut new = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut new, text.as_bytes()).unwrap();
    if let Ok(old) = std::fs::metadata(path) {
        new.as_file().set_permissions(old.permissions()).unwrap();
    }
    new.persist(path).unwrap();
}

/// [`wait_for`] a plain yes.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// The seed of a random test: `SEED` from the environment, else fresh; printed so that a failure can be replayed.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    println!("SEED={seed}");
    seed
}

/// A small generator (xorshift64*): enough to choose moments and operations.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
