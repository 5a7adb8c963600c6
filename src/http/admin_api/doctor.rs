//! `/api/v1/doctor`: the running daemon looks its own installation over, as `rosterd doctor` does from outside.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get};
use super::{AdminError, AdminRole, Request, targets, tokens};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[get(
    "doctor",
    "Looks the installation over: one finding per thing looked at, with a code that stays and what to do",
    "Findings",
    |r| Box::pin(doctor(r)),
)
.query(&[endpoints::flag("online", "also connects to webhooks and `public_url`; takes the role `operate`")])];

async fn doctor(request: &Request<'_>) -> Result<Value, AdminError> {
    let doctor = request.state.doctor.as_ref().ok_or_else(|| {
        AdminError::new(503, "no daemon runs, so none can be looked over", "ask `rosterd doctor` itself")
    })?;
    let is_online = request.param("online") == Some("true");
    if is_online && request.caller.role() < AdminRole::Operate {
        let hint = "leave `online` out: everything else may be looked at";
        return Err(AdminError::new(403, "connecting to webhooks takes the role `operate`", hint));
    }
    let status = targets::status(request).await?;
    let tokens = tokens::list(request).await?;
    let checks = doctor(is_online, status, tokens).await?;
    let is_ok = !checks.as_array().into_iter().flatten().any(|one| one.get("level") == Some(&"fail".into()));
    Ok(json!({ "ok": is_ok, "checks": checks }))
}
