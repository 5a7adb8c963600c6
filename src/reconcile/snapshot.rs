//! One consistent picture of facts and access, computed once per change and shared by all targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::access::{Access, Facts, Role, access};
use crate::mirror::decision::binding;
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, advance, facts};
use crate::model::{Clock, DirectoryId, Origin, Seq, Timestamp};

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

    /// What would follow if whom no re-baseline named counted all the same. Costs what computing access costs.
    pub(crate) fn as_if_confirmed(&self, now: Timestamp) -> Self {
        let mut facts = self.facts.clone();
        facts.unconfirmed.clear();
        let access = access(&facts, &self.rules.roles, now);
        Self { facts, access, rules: Arc::clone(&self.rules) }
    }

    /// Whether rules found their groups, or left the configuration, since that was last remembered. What was written
    /// behind this picture waits for the next one.
    fn is_news(&self) -> bool {
        self.access.bindings != self.facts.bindings
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
        let before = cache.clone();
        let mut taken = self.take(&rules, before.clone()).await?;
        if taken.is_news() {
            let wanted = taken.access.bindings.clone();
            let remember = move |tx: &mut WriteTx<'_>| binding::settle(tx, &wanted);
            if let Err(error) = self.mirror.write(Origin::daemon(), remember).await {
                // Who is out must get out all the same. Not kept, so that the next one tries again.
                tracing::warn!(%error, "cannot remember which groups the roles stand for");
                return Ok(taken);
            }
            taken = self.take(&rules, Some(taken)).await?;
        }
        warn_of_renames(before.as_deref(), &taken);
        *cache = Some(Arc::clone(&taken));
        Ok(taken)
    }

    async fn take(
        &self,
        rules: &Arc<Rules>,
        known: Option<Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let (mirror, clock, rules) = (self.mirror.clone(), Arc::clone(&self.clock), Arc::clone(rules));
        let taken =
            tokio::task::spawn_blocking(move || Snapshot::take(&mirror, rules, &*clock, known.as_deref()))
                .await;
        Ok(Arc::new(taken.map_err(|error| StoreError::Bug(format!("access: {error}")))??))
    }
}

/// Each rename once; `status` shows it for as long as it stands.
fn warn_of_renames(before: Option<&Snapshot>, now: &Snapshot) {
    let known = before.map_or(&[][..], |before| before.access.problems.as_slice());
    for problem in now.access.problems.iter().filter(|one| one.is_rename() && !known.contains(one)) {
        tracing::warn!("{problem}");
    }
}
