//! `/api/v1/explain`: why somebody holds, or does not hold, each role.

use serde_json::Value;

use super::{AdminError, Request};

pub(super) async fn explain(request: &Request<'_>) -> Result<Value, AdminError> {
    let _ = request;
    Err(AdminError::new(501, "not built yet", ""))
}
