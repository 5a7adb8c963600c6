//! Names for requests: in logs, in the change log, in error answers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::RequestId;

/// Hands out request ids: a random part per process and a counter, so that no two ever meet and none says
/// anything about another client's traffic that the log would not.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// A new sequence.
    pub(crate) fn new() -> Self {
        // Without randomness (a broken kernel) ids are still unique within the process.
        Self { process: getrandom::u32().unwrap_or(0), next: AtomicU64::new(1) }
    }

    /// The next id.
    pub(crate) fn next(&self) -> RequestId {
        let text = format!("{:08x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        RequestId::parse(&text).unwrap_or_else(|_| unreachable!("hex digits and a dash are a request id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids = RequestIds::new();
        assert_ne!(ids.next(), ids.next());
    }
}
