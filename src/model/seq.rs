//! Positions in the change log. Outside, a change is named `(epoch, seq)` and an event `(epoch, seq, n)`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of a change: gap-free, one counter per mirror; the first change is 1, and 0 means "before all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of the mirror a `seq` belongs to. Starts at 1; `restore` begins the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change as named outside the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChangeId {
    /// The mirror's life.
    pub epoch: Epoch,
    /// The change in it.
    pub seq: Seq,
}

/// An event as named outside: `n` counts within one change, from 0. Printed `epoch-seq-n`, the `webhook-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventId {
    /// The mirror's life.
    pub epoch: Epoch,
    /// The change in it.
    pub seq: Seq,
    /// The event in that change.
    pub n: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.seq, self.n)
    }
}

impl EventId {
    /// Reads what it prints: `epoch-seq-n`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let epoch = Epoch(parts.next()?.parse().ok()?);
        let seq = Seq(parts.next()?.parse().ok()?);
        let n = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { epoch, seq, n })
    }
}
