//! How far a reader has got: behind an event (`epoch-seq-n`), or behind all of a change (`epoch-seq`).

use std::fmt;
use std::str::FromStr;

use crate::model::{Epoch, EventId, Seq};
use crate::reconcile::event::DERIVED_N_FIRST;

/// A place in the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    pub(super) n: Option<u32>,
}

impl Cursor {
    /// Behind all of a change.
    pub fn behind(epoch: Epoch, seq: Seq) -> Self {
        Self { epoch, seq, n: None }
    }

    /// Behind one event. What no change makes by itself, as the end of a snapshot, stands behind all of its change.
    pub fn at(id: EventId) -> Self {
        Self { epoch: id.epoch, seq: id.seq, n: (id.n < DERIVED_N_FIRST).then_some(id.n) }
    }

    /// The life of the mirror it belongs to.
    pub fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The event it stands behind, where it stands within a change.
    pub fn event(self) -> Option<EventId> {
        self.n.map(|n| EventId { epoch: self.epoch, seq: self.seq, n })
    }

    /// The change after which to read.
    pub(super) fn read_from(self) -> Seq {
        if self.n.is_some() { Seq(self.seq.0.saturating_sub(1)) } else { self.seq }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n {
            Some(n) => write!(f, "{}-{}-{n}", self.epoch, self.seq),
            None => write!(f, "{}-{}", self.epoch, self.seq),
        }
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorError;

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor is the `next` of an answer or the `id` of an event, such as `1-42` or `1-42-0`")
    }
}

impl std::error::Error for CursorError {}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let parts: Vec<&str> = text.split('-').collect();
        let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !parts.iter().all(plain) {
            return Err(CursorError);
        }
        let epoch = |part: &str| part.parse().map(Epoch).map_err(|_| CursorError);
        let seq = |part: &str| part.parse().map(Seq).map_err(|_| CursorError);
        match parts.as_slice() {
            [e, s] => Ok(Self::behind(epoch(e)?, seq(s)?)),
            [e, s, n] => {
                let n = n.parse().map_err(|_| CursorError)?;
                Ok(Self::at(EventId { epoch: epoch(e)?, seq: seq(s)?, n }))
            }
            _ => Err(CursorError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_print_and_parse_back_and_nothing_else_does() {
        for text in ["1-0", "1-42", "7-42-0", "1-42-19999"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        assert_eq!("1-42-1000000007".parse::<Cursor>().unwrap().to_string(), "1-42");
        for bad in ["", "1", "-", "1-", "1-2-", "1-2-3-4", "a-1", "1-+2", "1- 2", "1-2-99999999999", "1-1e3"]
        {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad}");
        }
        assert_eq!("1-42-3".parse::<Cursor>().unwrap().read_from(), Seq(41));
        assert_eq!("1-42".parse::<Cursor>().unwrap().read_from(), Seq(42));
    }
}
