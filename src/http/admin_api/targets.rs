//! `/api/v1/status`, `plan`, `sync` and `reload`.

use serde_json::{Value, json};

use super::{AdminError, Request, Targets, directories, text, truth};
use crate::model::TargetName;

fn target(name: &str) -> Result<TargetName, AdminError> {
    TargetName::parse(name).map_err(|error| AdminError::invalid(format!("`{name}`: {error}")))
}

fn targets<'a>(request: &'a Request<'_>) -> Result<&'a dyn Targets, AdminError> {
    request.state.targets.as_deref().ok_or_else(|| {
        AdminError::new(503, "this needs the running daemon", "start it: `systemctl start rosterd`")
    })
}

/// DESIGN §3, `status`.
pub(super) async fn status(request: &Request<'_>) -> Result<Value, AdminError> {
    let state = request.state;
    let directories = directories::all(request).await?;
    let seq = state.mirror.read_long::<_, AdminError, _>(|tx| Ok(tx.seq()?)).await?;
    let targets = match &state.targets {
        Some(targets) => targets.status().await?,
        None => json!([]),
    };
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "epoch": state.mirror.epoch(),
        "seq": seq,
        "ready": state.health.is_ready(),
        "not_ready_because": state.health.reason(),
        "directories": directories,
        "targets": targets,
        "problems": state.running.load().problems,
    }))
}

/// DESIGN §3, `plan`.
pub(super) async fn plan(request: &Request<'_>) -> Result<Value, AdminError> {
    let wanted = request.param("target").map(target).transpose()?;
    targets(request)?.plan(wanted).await
}

pub(super) async fn sync(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["target", "adopt"])?;
    let wanted = text(&body, "target")?.map(target).transpose()?;
    let adopt = truth(&body, "adopt")?.unwrap_or(false);
    if adopt && wanted.is_none() {
        return Err(AdminError::invalid("`adopt` takes one target at a time: name it"));
    }
    targets(request)?.sync(wanted, adopt).await
}

pub(super) async fn reload(request: &Request<'_>) -> Result<Value, AdminError> {
    let reload = request.state.reload.as_ref().ok_or_else(|| {
        AdminError::new(
            503,
            "no daemon runs, so there is nothing to reload",
            "start it: `systemctl start rosterd`",
        )
    })?;
    reload().await
}
