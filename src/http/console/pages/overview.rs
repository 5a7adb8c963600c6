//! The first page: how things stand.

use serde_json::{Value, json};

use crate::http::console::call::{Call, Fault, Shown};

/// Most changes shown.
const CHANGES_SHOWN: &str = "5";

/// `GET /`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Overview", "overview.html", state(call).await?))
}

/// `GET /overview/now`: the part of it that changes.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::Fragment { template: "overview_now.html", context: state(call).await? })
}

async fn state(call: &Call<'_>) -> Result<Value, Fault> {
    let status = call.get("status", &[]).await?;
    let history = call.get("history", &[("order", "newest"), ("limit", CHANGES_SHOWN)]).await?;
    Ok(json!({ "status": status, "changes": history.get("changes") }))
}
