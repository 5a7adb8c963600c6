//! One consistent picture of facts and access, computed once per change and shared by all targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::access::{Access, Facts, Role, access};
use crate::mirror::{Mirror, ReadTx, StoreError, advance, facts};
use crate::model::{Clock, DirectoryId, Seq, Timestamp};

use super::settings::DirectorySettings;

/// The part of the configuration that access depends on.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) roles: Vec<Role>,
    pub(crate) directories: Vec<DirectorySettings>,
}

/// Facts, the rules they were judged by, and what follows.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) facts: Facts,
    pub(crate) access: Access,
    pub(crate) rules: Arc<Rules>,
}

impl Snapshot {
    /// Reads and computes. Blocking. `known` is an earlier picture to start from: only what changed since is read.
    pub(crate) fn take(
        mirror: &Mirror,
        rules: Arc<Rules>,
        clock: &dyn Clock,
        known: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let order: Vec<DirectoryId> = rules.directories.iter().map(|one| one.id.clone()).collect();
        let mut facts = mirror.read(|tx: &mut ReadTx<'_>| match known {
            Some(known) => advance::advance(tx, known.facts.clone(), &order),
            None => facts::load(tx, &order),
        })?;
        let claims: BTreeMap<&DirectoryId, &Vec<String>> =
            rules.directories.iter().map(|one| (&one.id, &one.claims)).collect();
        for directory in &mut facts.directories {
            directory.claims = claims.get(&directory.id).map(|claims| (*claims).clone()).unwrap_or_default();
        }
        let access = access(&facts, &rules.roles, clock.now());
        Ok(Self { facts, access, rules })
    }

    pub(crate) fn seq(&self) -> Seq {
        self.facts.seq
    }

    /// Whether it is still the newest there is: no newer change, no other rules, no grant that ended meanwhile.
    fn is_true(&self, newest: Seq, rules: &Arc<Rules>, now: Timestamp) -> bool {
        self.seq() >= newest
            && Arc::ptr_eq(&self.rules, rules)
            && self.access.next_expiry.is_none_or(|at| now < at)
    }

    /// Whether any directory has spoken yet. Until then nothing is known at all (DESIGN §6.7).
    pub(crate) fn is_known(&self) -> bool {
        self.facts.directories.iter().any(|directory| directory.pushed)
    }
}

/// Hands out the newest snapshot.
pub(crate) struct Source {
    mirror: Mirror,
    clock: Arc<dyn Clock>,
    rules: ArcSwap<Rules>,
    cache: Mutex<Option<Arc<Snapshot>>>,
}

impl Source {
    pub(crate) fn new(mirror: Mirror, clock: Arc<dyn Clock>, rules: Rules) -> Self {
        Self { mirror, clock, rules: ArcSwap::from_pointee(rules), cache: Mutex::new(None) }
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(crate) fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The picture at the newest durable change or later, under the present rules.
    pub(crate) async fn newest(&self) -> Result<Arc<Snapshot>, StoreError> {
        let mut cache = self.cache.lock().await;
        let rules = self.rules();
        let newest = *self.mirror.changes().borrow();
        if let Some(known) = cache.as_ref().filter(|known| known.is_true(newest, &rules, self.clock.now())) {
            return Ok(Arc::clone(known));
        }
        let (mirror, clock, known) = (self.mirror.clone(), Arc::clone(&self.clock), cache.clone());
        let taken =
            tokio::task::spawn_blocking(move || Snapshot::take(&mirror, rules, &*clock, known.as_deref()))
                .await;
        let taken = Arc::new(taken.map_err(|error| StoreError::Bug(format!("access: {error}")))??);
        *cache = Some(Arc::clone(&taken));
        Ok(taken)
    }
}
