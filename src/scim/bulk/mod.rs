//! Bulk (RFC 7644 §3.7): reads a request, orders its operations by the bulkIds they refer to, and writes the
//! answer. Pure: whoever carries the operations out follows the [`Step`]s.
//!
//! An operation that cannot be read fails alone; the request fails as a whole only if it has no list of operations
//! or too long a one.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::{Map, Value};

use crate::model::ResourceType;
use crate::scim::error::Error;
use crate::scim::etag::ETag;

pub use plan::{Step, defer, plan, resolve, resolved};

/// The URN of a bulk request (RFC 7644 §3.7).
pub const BULK_REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The URN of a bulk answer (RFC 7644 §3.7).
pub const BULK_RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
const PREFIX: &str = "bulkId:";
/// Most characters of a bulkId.
const BULK_ID_CHARS_MAX: usize = 128;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Creates a resource.
    Post,
    /// Replaces one.
    Put,
    /// Changes one.
    Patch,
    /// Deletes one.
    Delete,
}

impl Method {
    const ALL: [Self; 4] = [Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The word in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The resource an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its id, as sent.
    Id(String),
    /// The one that the POST with this bulkId creates.
    BulkId(String),
}

/// One operation that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub method: Method,
    /// To which type of resource.
    pub resource: ResourceType,
    /// To which resource; none for POST, always there otherwise.
    pub target: Option<Target>,
    /// The version the resource must have, as an `If-Match` header would say it.
    pub version: Option<String>,
    /// The body; null for DELETE.
    pub data: Value,
}

/// One element of `Operations`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The method, if there is one; answers repeat it.
    pub method: Option<Method>,
    /// The client's name for it; answers repeat it.
    pub bulk_id: Option<String>,
    /// The operation, or what is wrong with it.
    pub operation: Result<Operation, Error>,
}

/// A bulk request.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkRequest {
    /// After how many errors the rest is left undone; none: never.
    pub fail_on_errors: Option<u64>,
    /// The operations, in the client's order.
    pub items: Vec<Item>,
}

/// Reads a bulk request of at most `operations_max` operations.
///
/// # Errors
/// `invalidSyntax` for a body of another form, `invalidValue` for a `failOnErrors` that is no number from 1, 413 for
/// too many operations (RFC 7644 §3.7.4).
pub fn parse(body: Value, operations_max: usize) -> Result<BulkRequest, Error> {
    let Value::Object(body) = body else {
        return Err(Error::invalid_syntax("the bulk request must be a JSON object"));
    };
    let (mut fail_on_errors, mut operations) = (None, None);
    for (key, value) in body {
        if key.eq_ignore_ascii_case("failOnErrors") && !value.is_null() {
            let count = value.as_u64().filter(|count| *count > 0);
            fail_on_errors =
                Some(count.ok_or_else(|| Error::invalid_value("`failOnErrors` must be a number from 1"))?);
        } else if key.eq_ignore_ascii_case("Operations") {
            operations = Some(value);
        }
    }
    let Some(Value::Array(operations)) = operations else {
        return Err(Error::invalid_syntax("`Operations` must be an array"));
    };
    if operations.len() > operations_max {
        return Err(Error::payload_too_large(format!(
            "a bulk request takes at most {operations_max} operations"
        )));
    }
    let mut items: Vec<Item> = Vec::with_capacity(operations.len());
    let mut used = BTreeSet::new();
    for operation in operations {
        let mut item = item(operation);
        if let Some(bulk_id) = &item.bulk_id
            && !used.insert(bulk_id.clone())
        {
            item.operation = Err(Error::invalid_value("`bulkId` is the same as an earlier operation's"));
        }
        items.push(item);
    }
    Ok(BulkRequest { fail_on_errors, items })
}

/// The members of one element of `Operations` that the RFC names.
#[derive(Default)]
struct Fields {
    method: Option<String>,
    bulk_id: Option<String>,
    path: Option<String>,
    version: Option<String>,
    data: Value,
    wrong: Option<&'static str>,
}

impl Fields {
    fn of(object: Map<String, Value>) -> Self {
        let mut fields = Self::default();
        for (key, value) in object {
            let is = |known: &str| key.eq_ignore_ascii_case(known);
            if is("data") {
                fields.data = value;
                continue;
            }
            let (slot, name) = if is("method") {
                (&mut fields.method, "method")
            } else if is("bulkId") {
                (&mut fields.bulk_id, "bulkId")
            } else if is("path") {
                (&mut fields.path, "path")
            } else if is("version") {
                (&mut fields.version, "version")
            } else {
                continue;
            };
            match value {
                Value::String(text) => *slot = Some(text),
                Value::Null => {}
                _ => fields.wrong = Some(name),
            }
        }
        fields
    }

    fn operation(&mut self, method: Option<Method>) -> Result<Operation, Error> {
        if let Some(name) = self.wrong {
            return Err(Error::invalid_syntax(format!("`{name}` must be a string")));
        }
        if self.bulk_id.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > BULK_ID_CHARS_MAX) {
            return Err(Error::invalid_value(format!(
                "`bulkId` must have 1 to {BULK_ID_CHARS_MAX} characters"
            )));
        }
        let method =
            method.ok_or_else(|| Error::invalid_syntax("`method` must be POST, PUT, PATCH or DELETE"))?;
        let (resource, target) = target(self.path.as_deref().unwrap_or_default())?;
        match (method, &target) {
            (Method::Post, Some(_)) => {
                return Err(Error::invalid_value(
                    "`path` of a POST must be a resource type's endpoint, without an id",
                ));
            }
            (Method::Put | Method::Patch | Method::Delete, None) => {
                return Err(Error::invalid_value(format!(
                    "`path` of a {} must end in an id",
                    method.as_str()
                )));
            }
            _ => {}
        }
        if method != Method::Delete && !self.data.is_object() {
            return Err(Error::invalid_syntax(format!("`data` of a {} must be an object", method.as_str())));
        }
        let data = if method == Method::Delete { Value::Null } else { self.data.take() };
        Ok(Operation { method, resource, target, version: self.version.take(), data })
    }
}

fn item(value: Value) -> Item {
    let Value::Object(object) = value else {
        let error = Error::invalid_syntax("each element of `Operations` must be an object");
        return Item { method: None, bulk_id: None, operation: Err(error) };
    };
    let mut fields = Fields::of(object);
    let method = fields
        .method
        .as_deref()
        .and_then(|word| Method::ALL.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(word)));
    let operation = fields.operation(method);
    Item { method, bulk_id: fields.bulk_id, operation }
}

/// Reads `/Users`, `/Groups/<id>`, `/Users/bulkId:<bulkId>`; a query behind it says nothing here.
fn target(path: &str) -> Result<(ResourceType, Option<Target>), Error> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let mut parts = path.trim_matches('/').split('/');
    let endpoint = parts.next().unwrap_or_default();
    let resource = [ResourceType::User, ResourceType::Group]
        .into_iter()
        .find(|resource| resource.endpoint().eq_ignore_ascii_case(endpoint))
        .ok_or_else(|| Error::invalid_path("`path` must begin with /Users or /Groups"))?;
    let target = parts.next().map(|id| match id.strip_prefix(PREFIX) {
        Some(bulk_id) => Target::BulkId(bulk_id.to_owned()),
        None => Target::Id(id.to_owned()),
    });
    if parts.next().is_some() {
        return Err(Error::invalid_path("`path` must end after the id"));
    }
    Ok((resource, target))
}

/// How one operation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The operation's method.
    pub method: Option<Method>,
    /// The client's name for it.
    pub bulk_id: Option<String>,
    /// The resource's address; none if a POST failed.
    pub location: Option<String>,
    /// The resource's version after the operation; none if it failed or there is no resource any more.
    pub version: Option<u64>,
    /// 201, 200 or 204; the error's own status if there is one.
    pub result: Result<u16, Error>,
}

/// Writes the answer (RFC 7644 §3.7.3): operations in the order given, `status` as a string, an error as `response`.
pub fn write_response(out: &mut Vec<u8>, outcomes: &[Outcome]) {
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"schemas\":[\"{BULK_RESPONSE_URN}\"],\"Operations\":[");
    for (at, outcome) in outcomes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let status = match &outcome.result {
            Ok(status) => *status,
            Err(error) => error.status,
        };
        let _ = write!(out, "{{\"status\":\"{status}\"");
        if let Some(method) = outcome.method {
            let _ = write!(out, ",\"method\":\"{}\"", method.as_str());
        }
        if let Some(bulk_id) = &outcome.bulk_id {
            let _ = write!(out, ",\"bulkId\":{}", Value::from(bulk_id.as_str()));
        }
        if let Some(location) = &outcome.location {
            let _ = write!(out, ",\"location\":{}", Value::from(location.as_str()));
        }
        if let Some(version) = outcome.version {
            let _ = write!(out, ",\"version\":{}", Value::from(ETag(version).to_string()));
        }
        if let Err(error) = &outcome.result {
            out.extend_from_slice(b",\"response\":");
            out.extend_from_slice(&error.to_json());
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
