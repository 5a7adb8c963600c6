//! `GET /api/v1/openapi.json`: the endpoints as an OpenAPI 3.1 document, made of their rows.

use serde_json::{Map, Value, json};

use super::endpoints::{self, Endpoint, get};
use super::{AdminError, AdminRole, Request};

pub(super) const ENDPOINTS: &[Endpoint] =
    &[get("openapi.json", "This API as an OpenAPI document", "Document", |request| Box::pin(show(request)))];

/// The components of every subject: JSON objects of schemas by name.
const SCHEMAS: &[(&str, &str)] =
    &[("common", include_str!("schema/common.json")), ("activity", include_str!("schema/activity.json"))];

async fn show(_: &Request<'_>) -> Result<Value, AdminError> {
    Ok(document())
}

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for row in endpoints::all() {
        let path = paths.entry(format!("/api/v1/{}", row.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(row.method.to_ascii_lowercase(), operation(row));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "rosterd", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": components() },
    })
}

fn components() -> Map<String, Value> {
    let mut all = Map::new();
    for (_, text) in SCHEMAS {
        if let Ok(Value::Object(part)) = serde_json::from_str(text) {
            all.extend(part);
        }
    }
    all
}

fn operation(row: &Endpoint) -> Value {
    let least: AdminRole = row.least;
    json!({
        "summary": row.summary,
        "x-least-role": least.as_str(),
        "parameters": row.query.iter().map(|one| json!({"name": one.name, "in": "query", "required": one.required,
            "description": one.what, "schema": serde_json::from_str::<Value>(one.schema).unwrap_or_default()}))
            .collect::<Vec<_>>(),
        "requestBody": row.body,
        "responses": { row.status.to_string(): { "description": row.answer } },
    })
}
