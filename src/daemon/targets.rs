//! What the admin API is told of the targets: by the running reconciler, or, where none runs, by what the mirror
//! remembers of them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::{Entitlement, Verdict};
use crate::http::admin_api::{AdminError, Answering, Targets};
use crate::mirror::{Mirror, ReadTx, StoreError, target};
use crate::model::{Clock, Origin, Seq, Subject, TargetName};
use crate::reconcile::{
    self, About, Decision, DeliveryOrder, DeliveryRefused, Reconciler, Refused, Settings, TargetSettings,
    about, manage,
};

/// The targets of a running daemon.
pub(super) struct Running(pub(super) Reconciler);

impl Running {
    /// The target asked for, or all of them.
    fn chosen(&self, target: Option<TargetName>) -> Vec<TargetName> {
        match target {
            Some(target) => vec![target],
            None => self.0.status().into_iter().map(|status| status.name).collect(),
        }
    }
}

impl Targets for Running {
    fn status(&self) -> Answering<'_> {
        Box::pin(async {
            let mut all = self.0.status();
            all.extend(self.0.orphans().map_err(refused)?);
            let all = serde_json::to_value(all).map_err(|cause| bug(&cause))?;
            with_about(all, &self.0.about())
        })
    }

    fn detail(&self, target: TargetName) -> Answering<'_> {
        Box::pin(async move {
            let detail = self.0.detail(&target).await.map_err(refused)?;
            serde_json::to_value(detail).map_err(|cause| bug(&cause))
        })
    }

    fn held(&self, target: TargetName, seen: Option<String>) -> Answering<'_> {
        Box::pin(async move {
            let found = self.0.held(&target, seen).await.map_err(refused)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn file(&self, target: TargetName, member: Option<String>, after: Option<String>) -> Answering<'_> {
        Box::pin(async move {
            let found = self.0.present(&target, member, after).await.map_err(refused)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn roll_back(&self, target: TargetName, to: Option<Seq>, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let report = self.0.roll_back(&target, to, origin).await.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn forget(&self, target: TargetName, delete: bool, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let report = self.0.forget(&target, delete, origin).await.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn unenforced(&self) -> Answering<'_> {
        Box::pin(async {
            let found = self.0.unenforced().await.map_err(refused)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }

    fn plan(&self, target: Option<TargetName>) -> Answering<'_> {
        Box::pin(async move {
            let mut plans = Vec::new();
            for name in self.chosen(target) {
                let plan = self.0.plan(&name).await.map_err(refused)?;
                plans.push(serde_json::to_value(plan).map_err(|cause| bug(&cause))?);
            }
            Ok(json!({ "targets": plans }))
        })
    }

    fn explain(&self, subject: Subject, entitlement: Entitlement) -> Answering<'_> {
        Box::pin(async move {
            let found = self.0.at_targets(&subject, &entitlement).await.map_err(refused)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn verify(&self) -> Answering<'_> {
        Box::pin(async move {
            let found = self.0.verify().await.map_err(refused)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn decide(
        &self,
        target: TargetName,
        decision: Decision,
        reason: Option<String>,
        origin: Origin,
    ) -> Answering<'_> {
        Box::pin(async move {
            let report = self.0.decide(&target, decision, reason, origin).await.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn deliver(&self, order: DeliveryOrder, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let report = self.0.deliver(order, origin).await.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn sync(&self, target: Option<TargetName>, adopt: bool, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            // All at once: one that hangs in its reload command must not keep the others from starting.
            let mut running = tokio::task::JoinSet::new();
            for (place, name) in self.chosen(target).into_iter().enumerate() {
                let (reconciler, origin) = (self.0.clone(), origin.clone());
                running.spawn(async move { (place, reconciler.sync(&name, adopt, origin).await) });
            }
            let mut reports: Vec<(usize, Value)> = Vec::new();
            while let Some(ended) = running.join_next().await {
                let (place, report) = ended.map_err(|cause| bug(&cause))?;
                let report = report.map_err(refused)?;
                reports.push((place, serde_json::to_value(report).map_err(|cause| bug(&cause))?));
            }
            reports.sort_by_key(|(place, _)| *place);
            let reports: Vec<Value> = reports.into_iter().map(|(_, report)| report).collect();
            Ok(json!({ "targets": reports }))
        })
    }
}

/// The targets while no daemon runs: what was true when it last ran.
pub(super) struct Resting {
    /// The mirror.
    pub(super) mirror: Mirror,
    /// What the config says of them.
    pub(super) settings: Settings,
    /// The wall clock.
    pub(super) clock: Arc<dyn Clock>,
}

impl Resting {
    fn names(&self) -> Vec<TargetName> {
        self.settings.targets.iter().map(|one| one.name.clone()).collect()
    }

    fn remembered(&self, tx: &mut ReadTx<'_>) -> Result<Value, StoreError> {
        let mut shown = Vec::new();
        for TargetSettings { name, kind, .. } in &self.settings.targets {
            let stored = target::state(tx, name)?.unwrap_or_default();
            let held =
                target::exceptions(tx, name)?.iter().filter(|one| one.verdict == Verdict::Held).count();
            let state = match stored.record.state.as_str() {
                "" => "waiting",
                state => state,
            };
            shown.push(json!({
                "name": name,
                "type": kind.as_str(),
                "state": state,
                "applied_seq": stored.applied.map_or(0, |change| change.seq.0),
                "last_success": stored.record.last_success.map(|at| at.to_string()),
                "last_error": stored.record.last_error,
                "held_removals": held,
                "problems": [],
                "drift": stored.record.extra.get("drift").cloned().unwrap_or_else(|| json!([])),
            }));
        }
        for orphan in manage::orphans(tx, &self.names())? {
            shown.push(serde_json::to_value(orphan).map_err(|cause| StoreError::Bug(cause.to_string()))?);
        }
        let about: Vec<_> = self.settings.targets.iter().map(|one| (one.name.clone(), about(one))).collect();
        with_about(Value::Array(shown), &about).map_err(|error| StoreError::Bug(error.to_string()))
    }
}

impl Targets for Resting {
    fn status(&self) -> Answering<'_> {
        Box::pin(async { Ok(self.mirror.read::<_, StoreError>(|tx| self.remembered(tx))?) })
    }

    fn plan(&self, target: Option<TargetName>) -> Answering<'_> {
        Box::pin(async move {
            let all = self.settings.targets.iter().map(|one| one.name.clone());
            let mut plans = Vec::new();
            for name in target.map_or_else(|| all.collect(), |name| vec![name]) {
                let plan = reconcile::plan_offline(&self.mirror, self.settings.clone(), &name, &*self.clock);
                plans.push(serde_json::to_value(plan.map_err(refused)?).map_err(|cause| bug(&cause))?);
            }
            Ok(json!({ "targets": plans }))
        })
    }

    fn verify(&self) -> Answering<'_> {
        Box::pin(async move {
            let found = reconcile::verify_offline(&self.mirror, self.settings.clone(), &*self.clock)?;
            serde_json::to_value(found).map_err(|cause| bug(&cause))
        })
    }

    fn held(&self, target: TargetName, seen: Option<String>) -> Answering<'_> {
        Box::pin(async move {
            let (mirror, settings, seen) = (&self.mirror, self.settings.clone(), seen.as_deref());
            let found = reconcile::held_offline(mirror, settings, &target, seen, &*self.clock);
            serde_json::to_value(found.map_err(refused)?).map_err(|cause| bug(&cause))
        })
    }

    fn file(&self, target: TargetName, member: Option<String>, after: Option<String>) -> Answering<'_> {
        Box::pin(async move {
            let (member, after) = (member.as_deref(), after.as_deref());
            let found = reconcile::present_offline(&self.mirror, &self.settings, &target, member, after);
            serde_json::to_value(found.map_err(refused)?).map_err(|cause| bug(&cause))
        })
    }

    fn decide(
        &self,
        target: TargetName,
        decision: Decision,
        reason: Option<String>,
        origin: Origin,
    ) -> Answering<'_> {
        Box::pin(async move {
            let (mirror, settings) = (self.mirror.clone(), self.settings.clone());
            let done = tokio::task::spawn_blocking(move || {
                reconcile::decide_offline(&mirror, &settings, &target, (decision, reason), origin)
            });
            let report = done.await.map_err(|cause| bug(&cause))?.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn deliver(&self, order: DeliveryOrder, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let (mirror, settings) = (self.mirror.clone(), self.settings.clone());
            let done = tokio::task::spawn_blocking(move || {
                reconcile::deliver_offline(&mirror, &settings, order, origin)
            });
            let report = done.await.map_err(|cause| bug(&cause))?.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn sync(&self, _: Option<TargetName>, _: bool, _: Origin) -> Answering<'_> {
        Box::pin(async { Err(needs_daemon()) })
    }

    fn detail(&self, target: TargetName) -> Answering<'_> {
        Box::pin(async move {
            let detail = manage::detail(&self.mirror, &target)?;
            serde_json::to_value(detail).map_err(|cause| bug(&cause))
        })
    }

    fn roll_back(&self, target: TargetName, to: Option<Seq>, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let (mirror, settings) = (self.mirror.clone(), self.settings.clone());
            let done = tokio::task::spawn_blocking(move || {
                manage::roll_back(&mirror, &settings, &target, to, origin)
            });
            let report = done.await.map_err(|cause| bug(&cause))?.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }

    fn forget(&self, target: TargetName, delete: bool, origin: Origin) -> Answering<'_> {
        Box::pin(async move {
            let (mirror, names) = (self.mirror.clone(), self.names());
            let done =
                tokio::task::spawn_blocking(move || manage::forget(&mirror, &names, &target, delete, origin));
            let report = done.await.map_err(|cause| bug(&cause))?.map_err(refused)?;
            serde_json::to_value(report).map_err(|cause| bug(&cause))
        })
    }
}

/// Each target's status with what the configuration says of it; what it no longer names has nothing besides.
fn with_about(mut all: Value, about: &[(TargetName, About)]) -> Result<Value, AdminError> {
    for one in all.as_array_mut().into_iter().flatten() {
        let Some(one) = one.as_object_mut() else { continue };
        let is_it =
            |(name, _): &&(TargetName, About)| one.get("name").and_then(Value::as_str) == Some(name.as_str());
        if let Some((_, found)) = about.iter().find(is_it)
            && let Value::Object(found) = serde_json::to_value(found).map_err(|cause| bug(&cause))?
        {
            one.extend(found);
        }
    }
    Ok(all)
}

fn needs_daemon() -> AdminError {
    AdminError::new(503, "no daemon runs, and only a daemon writes targets", "systemctl start rosterd")
}

fn bug(cause: &dyn std::fmt::Display) -> AdminError {
    AdminError::new(500, format!("internal error: {cause}"), "")
}

fn refused(error: reconcile::Error) -> AdminError {
    match error {
        reconcile::Error::UnknownTarget(_) => AdminError::new(404, error.to_string(), "rosterd status"),
        reconcile::Error::Refused(_, Refused::UnknownPlan(_)) => AdminError::new(
            409,
            error.to_string(),
            "it may have changed since: `rosterd plan` shows what is held now",
        ),
        reconcile::Error::Refused(..) => AdminError::new(409, error.to_string(), "rosterd plan"),
        reconcile::Error::NoVersion(ref name, _) => {
            let hint = format!("rosterd target show {name}");
            AdminError::new(409, error.to_string(), hint)
        }
        reconcile::Error::NotAFile(_) | reconcile::Error::Configured(_) => {
            AdminError::new(409, error.to_string(), "rosterd target list")
        }
        reconcile::Error::Forget(..) => AdminError::new(
            409,
            error.to_string(),
            "without --delete its files stay and it is forgotten all the same",
        ),
        reconcile::Error::Delivery(DeliveryRefused::NotOpen(..)) => {
            AdminError::new(404, error.to_string(), "rosterd delivery list")
        }
        reconcile::Error::Delivery(_) | reconcile::Error::Setup(..) => {
            AdminError::new(409, error.to_string(), "rosterd status")
        }
        reconcile::Error::Closed => AdminError::new(503, error.to_string(), "try again in a moment"),
        reconcile::Error::Store(cause) => cause.into(),
    }
}
