//! `/api/v1/users` and `/api/v1/groups`.

use serde_json::Value;

use super::{AdminError, Request};
use crate::model::ResourceType;

pub(super) async fn list(request: &Request<'_>, kind: ResourceType) -> Result<Value, AdminError> {
    let _ = (request, kind);
    Err(AdminError::new(501, "not built yet", ""))
}

pub(super) async fn show(request: &Request<'_>, kind: ResourceType, name: &str) -> Result<Value, AdminError> {
    let _ = (request, kind, name);
    Err(AdminError::new(501, "not built yet", ""))
}
