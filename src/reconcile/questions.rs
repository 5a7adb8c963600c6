//! What the handle answers: what is, what would be and why. Nothing here touches a target.

use std::sync::Arc;

use crate::access::{Entitlement, Explanation, explain};
use crate::mirror::{ReadTx, StoreError};
use crate::model::{RoleName, Subject, TargetName};

use super::about::{About, about};
use super::explain::{AtTarget, at_target};
use super::file::present::{self, Presented};
use super::file::wish::plan_of;
use super::handle::{Error, Reconciler};
use super::held::{self, Held};
use super::latency::{self, Unenforced};
use super::manage::{self, TargetDetail};
use super::snapshot::Snapshot;
use super::verify::verify_running;
use super::{Plan, TargetSettings, TargetStatus, TargetVerified};

impl Reconciler {
    /// What a run of `target` would do now. Touches nothing.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Store`].
    pub async fn plan(&self, target: &TargetName) -> Result<Plan, Error> {
        let settings = self.settings_of(target)?;
        let snapshot = self.inner.source.newest().await?;
        let mirror = self.inner.mirror.clone();
        let now = self.inner.clock.now();
        let planned = tokio::task::spawn_blocking(move || plan_of(&mirror, &settings, &snapshot, now)).await;
        Ok(planned.map_err(|error| StoreError::Bug(format!("plan: {error}")))??)
    }

    /// Why `target` holds removals back, and which. `seen`: the hash of a plan somebody was shown; what was held later
    /// is marked.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Store`].
    pub async fn held(&self, target: &TargetName, seen: Option<String>) -> Result<Held, Error> {
        let settings = self.settings_of(target)?;
        let snapshot = self.inner.source.newest().await?;
        let (mirror, now) = (self.inner.mirror.clone(), self.inner.clock.now());
        let found = tokio::task::spawn_blocking(move || {
            let plan = plan_of(&mirror, &settings, &snapshot, now)?;
            held::held(&mirror, &settings, &plan, seen.as_deref(), now)
        });
        Ok(found.await.map_err(|error| StoreError::Bug(format!("held: {error}")))??)
    }

    /// What lies at `target`'s destination; `None` for one that is told of events. `member` names a file of a tree or
    /// set, `after` where the list of files goes on.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`], [`Error::Store`].
    pub async fn present(
        &self,
        target: &TargetName,
        member: Option<String>,
        after: Option<String>,
    ) -> Result<Option<Presented>, Error> {
        let (settings, mirror) = (self.settings_of(target)?, self.inner.mirror.clone());
        let found = tokio::task::spawn_blocking(move || {
            present::present(&mirror, &settings, member.as_deref(), after.as_deref())
        });
        Ok(found.await.map_err(|error| StoreError::Bug(format!("file: {error}")))??)
    }

    /// What the configuration says of each target.
    pub fn about(&self) -> Vec<(TargetName, About)> {
        let targets = self.targets();
        targets.running.iter().map(|one| (one.settings.name.clone(), about(&one.settings))).collect()
    }

    /// Who was revoked and is still in somewhere.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn unenforced(&self) -> Result<Unenforced, Error> {
        let snapshot = self.inner.source.newest().await?;
        let (mirror, meter, statuses) =
            (self.inner.mirror.clone(), Arc::clone(&self.inner.meter), self.status());
        let found =
            tokio::task::spawn_blocking(move || latency::unenforced(&mirror, &meter, &snapshot, &statuses));
        Ok(found.await.map_err(|error| StoreError::Bug(format!("status: {error}")))??)
    }

    /// How long revocations took, as lines of the metrics' text format.
    pub fn metrics(&self) -> String {
        self.inner.meter.render()
    }

    /// Targets that the configuration dropped and nobody forgot.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn orphans(&self) -> Result<Vec<TargetStatus>, Error> {
        let configured = self.names();
        Ok(self.inner.mirror.read(|tx: &mut ReadTx<'_>| manage::orphans(tx, &configured))?)
    }

    /// What is remembered of `target` besides its status; `None` if nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn detail(&self, target: &TargetName) -> Result<Option<TargetDetail>, Error> {
        let (mirror, name) = (self.inner.mirror.clone(), target.clone());
        let read = tokio::task::spawn_blocking(move || manage::detail(&mirror, &name)).await;
        Ok(read.map_err(|error| StoreError::Bug(format!("target: {error}")))??)
    }

    /// Why `subject` holds each role, or only `role`, or why not. Empty if there is no such role.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn explain(
        &self,
        subject: &Subject,
        role: Option<&RoleName>,
    ) -> Result<Vec<Explanation>, Error> {
        let snapshot = self.inner.source.newest().await?;
        let roles = &snapshot.rules.roles;
        let asked = roles.iter().filter(|known| role.is_none_or(|role| known.name == *role));
        let explained =
            asked.filter_map(|known| explain(&snapshot.facts, &snapshot.access, roles, subject, &known.name));
        Ok(explained.collect())
    }

    /// What each target makes of `subject` and `entitlement`, in the order of the configuration.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn at_targets(
        &self,
        subject: &Subject,
        entitlement: &Entitlement,
    ) -> Result<Vec<AtTarget>, Error> {
        let snapshot = self.inner.source.newest().await?;
        let running: Vec<(Arc<TargetSettings>, TargetStatus)> = {
            let targets = self.targets();
            targets.running.iter().map(|one| (Arc::clone(&one.settings), one.board.read())).collect()
        };
        let (mirror, subject, entitlement) =
            (self.inner.mirror.clone(), subject.clone(), entitlement.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let of = |(settings, status): &(Arc<TargetSettings>, TargetStatus)| {
                at_target(&mirror, settings, status, &snapshot, (&subject, &entitlement))
            };
            running.iter().map(of).collect::<Result<Vec<_>, StoreError>>()
        });
        Ok(asked.await.map_err(|error| StoreError::Bug(format!("explain: {error}")))??)
    }

    /// Whether the bytes of each target are what was last written there and what the mirror gives.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn verify(&self) -> Result<Vec<TargetVerified>, Error> {
        let running: Vec<Arc<TargetSettings>> =
            self.targets().running.iter().map(|one| Arc::clone(&one.settings)).collect();
        let (mirror, clock, rules) =
            (self.inner.mirror.clone(), Arc::clone(&self.inner.clock), self.inner.source.rules());
        let looked = tokio::task::spawn_blocking(move || {
            let take = || Snapshot::take(&mirror, Arc::clone(&rules), &*clock, None);
            let first = std::cell::RefCell::new(Some(take()?));
            // One picture for all, and a fresh one for whoever was written meanwhile.
            let newest = || first.borrow_mut().take().map_or_else(take, Ok);
            running
                .iter()
                .map(|one| verify_running(&mirror, one, &*clock, &newest))
                .collect::<Result<Vec<_>, StoreError>>()
        });
        Ok(looked.await.map_err(|error| StoreError::Bug(format!("verify: {error}")))??)
    }
}
