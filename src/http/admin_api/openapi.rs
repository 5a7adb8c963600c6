//! `GET /api/v1/openapi.json`: the endpoints as an OpenAPI 3.1 document, made of their rows.
//!
//! The same document is `docs/openapi.json`, for those who have no daemon at hand; a test holds the two together.

use serde_json::{Map, Value, json};

use super::endpoints::{self, Endpoint, Query, get};
use super::{AdminError, Request};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] =
    &[get("openapi.json", "This API as an OpenAPI document", "Document", |request| {
        Box::pin(std::future::ready(show(request)))
    })];

/// The components of every subject: JSON objects of schemas by name.
const SCHEMAS: &[&str] = &[
    include_str!("schema/common.json"),
    include_str!("schema/targets.json"),
    include_str!("schema/target.json"),
    include_str!("schema/deliveries.json"),
    include_str!("schema/directories.json"),
    include_str!("schema/doctor.json"),
    include_str!("schema/tokens.json"),
    include_str!("schema/resources.json"),
    include_str!("schema/decisions.json"),
    include_str!("schema/explain.json"),
    include_str!("schema/past.json"),
    include_str!("schema/changes.json"),
    include_str!("schema/export.json"),
    include_str!("schema/activity.json"),
    include_str!("schema/imports.json"),
];

const ABOUT: &str = "What commands and console ask of a running daemon. Fields are only ever added; a list is `[]`, \
    never null. Over TCP (`[admin] listen`) a user of `[[admin.user]]` signs in with basic authentication; each \
    operation names the least role in `x-least-role`. On the admin socket nobody signs in.";

fn show(_: &Request<'_>) -> Result<Value, AdminError> {
    document().map_err(|cause| AdminError::new(500, format!("internal error: {cause}"), ""))
}

/// The document.
pub(super) fn document() -> Result<Value, serde_json::Error> {
    let mut paths = Map::new();
    for row in endpoints::all() {
        let operation = operation(row)?;
        let path = paths.entry(format!("/api/v1/{}", row.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(row.method.to_ascii_lowercase(), operation);
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rosterd admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "security": [{ "password": [] }, { "session": [], "page": [] }],
        "paths": paths,
        "components": {
            "schemas": components()?,
            "securitySchemes": {
                "password": { "type": "http", "scheme": "basic" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-rosterd" },
                "page": {
                    "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
                    "description": "the token of the console's page, for everything but GET",
                },
            },
        },
    }))
}

fn components() -> Result<Map<String, Value>, serde_json::Error> {
    let mut all = Map::new();
    for text in SCHEMAS {
        all.extend(serde_json::from_str::<Map<String, Value>>(text)?);
    }
    Ok(all)
}

fn operation(row: &Endpoint) -> Result<Value, serde_json::Error> {
    let segments = row.path.split('/');
    let in_path = segments.filter_map(|one| one.strip_prefix('{')?.strip_suffix('}')).map(path_parameter);
    let parameters: Vec<Value> =
        in_path.map(Ok).chain(row.query.iter().map(query_parameter)).collect::<Result<_, _>>()?;
    let mut operation = json!({
        "operationId": identifier(row),
        "summary": row.summary,
        "tags": [row.path.split(['/', '.']).next()],
        "x-least-role": row.least.as_str(),
        "parameters": parameters,
        "responses": responses(row),
    });
    if let (Some(component), Some(operation)) = (row.body, operation.as_object_mut()) {
        operation
            .insert("requestBody".to_owned(), json!({ "required": true, "content": content(component) }));
    }
    Ok(operation)
}

/// `post_targets_name_rollback`.
fn identifier(row: &Endpoint) -> String {
    let path: String = row.path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    format!("{}_{}", row.method.to_ascii_lowercase(), path.replace(['/', '.'], "_"))
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}

fn query_parameter(one: &Query) -> Result<Value, serde_json::Error> {
    let schema: Value = serde_json::from_str(one.schema)?;
    Ok(json!({
        "name": one.name, "in": "query", "required": one.required, "description": one.what, "schema": schema,
    }))
}

fn content(component: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{component}") } } })
}

/// What can go wrong: a row that takes nothing cannot be asked for what is not there.
fn responses(row: &Endpoint) -> Value {
    let mut responses = Map::new();
    let success = if row.status == 201 { "made" } else { "done" };
    responses
        .insert(row.status.to_string(), json!({ "description": success, "content": content(row.answer) }));
    let takes = row.path.contains('{') || !row.query.is_empty() || row.body.is_some();
    let asked: &[(u16, &str)] = &[
        (400, "the request is wrong; `kind` is `config` where the configuration is"),
        (404, "there is no such thing"),
        (409, "it cannot be done as things stand"),
    ];
    let body: &[(u16, &str)] = &[(408, "the body took too long"), (413, "the body is too large")];
    let always: &[(u16, &str)] = &[
        (401, "nobody is signed in, or name and password are wrong"),
        (403, "this needs another role, or may not be asked from here"),
        (429, "too many failed sign-ins; `Retry-After` says how long to wait"),
        (500, "a bug; the log says more"),
        (503, "not now; try again"),
        (507, "the mirror cannot be written until an operator acts"),
    ];
    // A reload refuses a bad configuration with 400 though it takes nothing.
    let asked = if takes || row.method != "GET" { asked } else { &[] };
    let body = if row.body.is_some() { body } else { &[] };
    let mut all: Vec<&(u16, &str)> = asked.iter().chain(body).chain(always).collect();
    all.sort_by_key(|(status, _)| *status);
    for (status, description) in all {
        responses
            .insert(status.to_string(), json!({ "description": description, "content": content("Error") }));
    }
    responses.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match inner.as_str().filter(|_| key == "$ref") {
                        Some(text) => {
                            found.insert(text.strip_prefix("#/components/schemas/").unwrap().to_owned());
                        }
                        None => references(inner, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_row_is_in_the_document_and_nothing_else() {
        let document = document().unwrap();
        let mut told = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                told.insert((method.to_ascii_uppercase(), path.strip_prefix("/api/v1/").unwrap().to_owned()));
            }
        }
        let rows: Vec<_> = endpoints::all().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
        assert_eq!(rows.len(), told.len(), "two rows for one method and path");
        assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), told);
        assert!(told.len() > 40);
    }

    #[test]
    fn every_component_is_there_once_and_used() {
        let document = document().unwrap();
        let components = document["components"]["schemas"].as_object().unwrap();
        let mut count = 0;
        for text in SCHEMAS {
            count += serde_json::from_str::<Map<String, Value>>(text).unwrap().len();
        }
        assert_eq!(count, components.len(), "two components have one name");
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        assert_eq!(used, components.keys().cloned().collect());
    }

    #[test]
    fn every_component_says_what_each_field_is() {
        let document = document().unwrap();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}");
            assert!(schema["description"].is_string() && schema["properties"].is_object(), "{name}");
        }
    }

    #[test]
    fn every_parameter_of_a_row_is_told() {
        for row in endpoints::all() {
            let told = operation(row).unwrap();
            let names: Vec<&str> = told["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            assert_eq!(names.len(), row.path.matches('{').count() + row.query.len(), "{}", row.path);
            assert!(!row.summary.is_empty() && row.summary.len() < 100, "{}", row.path);
        }
    }

    #[test]
    fn the_document_in_docs_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        let wanted = format!("{}\n", serde_json::to_string_pretty(&document().unwrap()).unwrap());
        if std::fs::read_to_string(&path).ok().as_deref() == Some(wanted.as_str()) {
            return;
        }
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "docs/openapi.json is not what the code says; run: UPDATE_DOCS=1 cargo test --lib openapi"
        );
        std::fs::write(&path, wanted).unwrap();
    }
}
