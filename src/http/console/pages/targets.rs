//! The list of targets.

use serde_json::{Value, json};

use super::view;
use crate::http::console::call::{Call, Fault, Shown};

/// `GET /targets`.
pub(in crate::http::console) async fn show(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::page("Targets", "targets.html", state(call).await?))
}

/// `GET /targets/now`: the part of it that changes.
pub(in crate::http::console) async fn now(call: &Call<'_>) -> Result<Shown, Fault> {
    Ok(Shown::Fragment { template: "targets_now.html", context: state(call).await? })
}

async fn state(call: &Call<'_>) -> Result<Value, Fault> {
    Ok(context(&call.get("targets", &[]).await?, call.param("state").unwrap_or_default()))
}

/// What the template is given: all targets, or those in one state; the worst first.
pub(in crate::http::console) fn context(answer: &Value, state: &str) -> Value {
    let mut all: Vec<Value> = view::list(answer, "targets").iter().map(view::target).collect();
    let total = all.len();
    let needs_word = all.iter().filter(|one| rank(view::text(one, "state")) < CALM).count();
    all.retain(|one| state.is_empty() || view::text(one, "state") == state);
    // Stable: among equals the order of the configuration.
    all.sort_by_key(|one| rank(view::text(one, "state")));
    json!({ "targets": all, "total": total, "needs_word": needs_word, "state": state })
}

/// From here on nobody has to do anything.
const CALM: u8 = 2;

/// What wants a person first.
fn rank(state: &str) -> u8 {
    match state {
        "failing" | "held" | "needs_snapshot" => 0,
        "drifted" | "foreign" | "unverified" | "disabled" | "orphaned" => 1,
        "pinned" | "pending" => 2,
        "waiting" => 3,
        _ => 4,
    }
}
