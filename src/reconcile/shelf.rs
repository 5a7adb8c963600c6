//! What published targets show to readers: each one's bytes as last applied, held once in memory.
//!
//! Runs put an [`Edition`] here after they have applied and recorded it, never before; so a reader is never shown
//! what guard, checks or a person have not let through. Whoever waits for the next one holds a receiver and costs
//! nothing meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::downstream::file::Digest;
use crate::model::{TargetName, Timestamp};

/// One target's bytes as last applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// The bytes; clones share them.
    pub bytes: Bytes,
    /// Their digest, of which the entity tag is made.
    pub digest: Digest,
    /// Media type of the format.
    pub media_type: &'static str,
    /// Since when these bytes are shown, in whole seconds; later than that of any other edition before it.
    pub since: Timestamp,
}

/// What a published target shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Its first run since the start is not over, and what was shown before is not known yet.
    Starting,
    /// It has never been applied.
    Nothing,
    /// These bytes.
    Edition(Arc<Edition>),
}

/// All published targets.
#[derive(Debug, Default)]
pub struct Shelf {
    places: RwLock<BTreeMap<TargetName, watch::Sender<Shown>>>,
}

impl Shelf {
    /// What `target` shows, now and from now on; `None` if it is not published. The receiver ends when it is no
    /// longer.
    pub fn watch(&self, target: &TargetName) -> Option<watch::Receiver<Shown>> {
        self.read().get(target).map(watch::Sender::subscribe)
    }

    /// Publishes exactly `targets`; those that were published already keep what they show.
    pub(crate) fn publish_only(&self, targets: &[TargetName]) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.retain(|name, _| targets.contains(name));
        for name in targets {
            places.entry(name.clone()).or_insert_with(|| watch::channel(Shown::Starting).0);
        }
    }

    /// Shows `edition` from now on. Nobody is woken if its bytes and media type are those shown already.
    pub(crate) fn put(&self, target: &TargetName, edition: Edition) {
        let places = self.read();
        let Some(place) = places.get(target) else { return };
        place.send_if_modified(|shown| {
            let is_shown = matches!(shown, Shown::Edition(old)
                if old.digest == edition.digest && old.media_type == edition.media_type);
            if !is_shown {
                *shown = Shown::Edition(Arc::new(edition));
            }
            !is_shown
        });
    }

    /// Whether `target` is published and shows no bytes yet.
    pub(crate) fn is_empty(&self, target: &TargetName) -> bool {
        self.read().get(target).is_some_and(|place| !matches!(*place.borrow(), Shown::Edition(_)))
    }

    /// The first run since the start is over; what shows no bytes by now has none.
    pub(crate) fn settle(&self, target: &TargetName) {
        if let Some(place) = self.read().get(target) {
            place.send_if_modified(|shown| {
                let is_starting = *shown == Shown::Starting;
                if is_starting {
                    *shown = Shown::Nothing;
                }
                is_starting
            });
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TargetName, watch::Sender<Shown>>> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The moment to give bytes that come into being `now` after others of `before`: the next whole second, and one that
/// no edition had. `Last-Modified` counts whole seconds; two editions of one second would look the same.
pub(crate) fn next_since(now: Timestamp, before: Option<Timestamp>) -> Timestamp {
    let second = |at: Timestamp| Timestamp(at.unix_seconds().saturating_mul(1_000_000));
    let next = |at: Timestamp| second(at).plus(Duration::from_secs(1));
    before.map_or_else(|| next(now), |before| next(now).max(next(before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(text: &'static str) -> Edition {
        Edition {
            bytes: Bytes::from_static(text.as_bytes()),
            digest: Digest::of(text.as_bytes()),
            media_type: "text/plain",
            since: Timestamp(1_000_000),
        }
    }

    fn name(text: &str) -> TargetName {
        TargetName::parse(text).unwrap()
    }

    #[test]
    fn a_target_starts_then_shows_nothing_or_bytes_and_equal_bytes_wake_nobody() {
        let shelf = Shelf::default();
        let opa = name("opa");
        assert!(shelf.watch(&opa).is_none());
        shelf.publish_only(std::slice::from_ref(&opa));
        let mut seen = shelf.watch(&opa).unwrap();
        assert_eq!(*seen.borrow_and_update(), Shown::Starting);
        shelf.settle(&opa);
        assert!(seen.has_changed().unwrap() && shelf.is_empty(&opa));
        assert_eq!(*seen.borrow_and_update(), Shown::Nothing);
        shelf.put(&opa, edition("a"));
        assert!(seen.has_changed().unwrap() && !shelf.is_empty(&opa));
        let first = seen.borrow_and_update().clone();
        shelf.settle(&opa);
        shelf.put(&opa, Edition { since: Timestamp(9_000_000), ..edition("a") });
        assert!(!seen.has_changed().unwrap());
        assert_eq!(*shelf.watch(&opa).unwrap().borrow(), first);
    }

    #[test]
    fn what_is_no_longer_published_is_gone_and_what_stays_keeps_its_bytes() {
        let shelf = Shelf::default();
        let (a, b) = (name("a"), name("b"));
        shelf.publish_only(&[a.clone(), b.clone()]);
        shelf.put(&a, edition("a"));
        let waiting = shelf.watch(&b).unwrap();
        shelf.publish_only(std::slice::from_ref(&a));
        assert!(shelf.watch(&b).is_none());
        assert!(waiting.has_changed().is_err());
        assert!(!shelf.is_empty(&a));
        shelf.put(&b, edition("b"));
        assert!(shelf.watch(&b).is_none());
    }

    #[test]
    fn editions_of_one_second_get_different_seconds() {
        let now = Timestamp(5_300_000);
        let first = next_since(now, None);
        assert_eq!(first, Timestamp(6_000_000));
        assert_eq!(next_since(now, Some(first)), Timestamp(7_000_000));
        assert_eq!(next_since(Timestamp(99_000_000), Some(first)), Timestamp(100_000_000));
    }
}
