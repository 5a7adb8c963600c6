//! What the server says about itself (RFC 7644 §4). Filters are refused there (§4: 403), everything else ignored.

use serde_json::{Value, json};

use super::ScimApi;
use super::error;
use super::lists::CURSOR_AGE_MAX_SECS;
use super::pipeline::Call;
use super::route::Route;
use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror;
use crate::scim::error::Error;
use crate::scim::schema::{self as discovery, Capabilities};

impl ScimApi {
    pub(super) fn discover(&self, call: &Call) -> Result<Answer, mirror::Error> {
        if call.query.iter().any(|(name, _)| name.eq_ignore_ascii_case("filter")) {
            return Ok(error::plain(403, "discovery endpoints take no filter"));
        }
        let (registry, base) = (&call.running.registry, call.base.as_str());
        let document = match &call.route {
            Route::ServiceProviderConfig => {
                let capabilities = Capabilities {
                    bulk_payload_bytes_max: self.limits.large_body_bytes_max as u64,
                    cursor_timeout_secs: Some(CURSOR_AGE_MAX_SECS),
                    ..Capabilities::default()
                };
                Some(discovery::service_provider_config(&capabilities, base))
            }
            Route::ResourceTypes => Some(list(&discovery::resource_types(registry, base))),
            Route::ResourceTypeOne(name) => discovery::resource_types(registry, base)
                .into_iter()
                .find(|found| found["id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(name))),
            Route::Schemas => Some(list(&discovery::schemas(registry, base))),
            Route::SchemaOne(urn) => discovery::schema(registry, urn, base),
            _ => None,
        };
        let document =
            document.ok_or_else(|| Error::not_found("there is no such schema or resource type"))?;
        Ok(Answer::new(200, SCIM_JSON, document.to_string()))
    }
}

fn list(resources: &[Value]) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": resources.len(),
        "itemsPerPage": resources.len(),
        "startIndex": 1,
        "Resources": resources,
    })
}
