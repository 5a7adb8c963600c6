//! Bulk (RFC 7644 §3.7): reads a request, orders its operations by the bulkIds they refer to, and writes the
//! answer. Pure: whoever carries the operations out follows the [`Step`]s.
//!
//! An operation that cannot be read fails alone; the request fails as a whole only if it has no list of operations
//! or too long a one.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::error::Error;
use super::etag::ETag;
use crate::model::ResourceType;

/// The URN of a bulk request (RFC 7644 §3.7).
pub const BULK_REQUEST_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// The URN of a bulk answer (RFC 7644 §3.7).
pub const BULK_RESPONSE_URN: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
const PATCH_URN: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
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

/// Reads `/Users`, `/Groups/<id>`, `/Users/bulkId:<bulkId>`.
fn target(path: &str) -> Result<(ResourceType, Option<Target>), Error> {
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

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Carry out the operation with this number. Where `deferred` is not empty, [`defer`] takes out of its data
    /// what refers to these bulkIds, which do not exist yet.
    Run {
        /// The operation's number in [`BulkRequest::items`].
        operation: usize,
        /// bulkIds that its data refers to and that only a later step creates.
        deferred: Vec<String>,
    },
    /// All that the operation's data refers to exists: apply the PATCH that [`defer`] gave, to the resource that the
    /// operation created.
    Link {
        /// The operation's number in [`BulkRequest::items`].
        operation: usize,
    },
}

/// Orders the operations: the client's order, but after what they refer to (RFC 7644 §3.7.2), and where references
/// go in a circle, one operation first without them and linked afterwards (§3.7.1).
pub fn plan(request: &BulkRequest) -> Vec<Step> {
    let creators: HashMap<&str, usize> = request
        .items
        .iter()
        .enumerate()
        .filter(|(_, item)| item.operation.as_ref().is_ok_and(|operation| operation.method == Method::Post))
        .filter_map(|(at, item)| Some((item.bulk_id.as_deref()?, at)))
        .collect();
    let mut waits: Vec<BTreeSet<usize>> = Vec::with_capacity(request.items.len());
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); request.items.len()];
    for (at, item) in request.items.iter().enumerate() {
        let mut wait: BTreeSet<usize> = BTreeSet::new();
        if let Ok(operation) = &item.operation {
            let target = match &operation.target {
                Some(Target::BulkId(bulk_id)) => Some(bulk_id.as_str()),
                _ => None,
            };
            wait.extend(
                references(&operation.data).into_iter().chain(target).filter_map(|id| creators.get(id)),
            );
        }
        for creator in &wait {
            if let Some(list) = followers.get_mut(*creator) {
                list.push(at);
            }
        }
        waits.push(wait);
    }
    Planner { request, waits, followers, linking: BTreeSet::new(), steps: Vec::new() }.run()
}

struct Planner<'r> {
    request: &'r BulkRequest,
    /// What each operation still waits for.
    waits: Vec<BTreeSet<usize>>,
    /// Who waits for each operation.
    followers: Vec<Vec<usize>>,
    /// Operations that ran without all of their data.
    linking: BTreeSet<usize>,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn run(mut self) -> Vec<Step> {
        let is_free = |wait: &BTreeSet<usize>| wait.is_empty();
        let mut ready: BTreeSet<usize> =
            self.waits.iter().enumerate().filter(|(_, wait)| is_free(wait)).map(|(at, _)| at).collect();
        let mut blocked: BTreeSet<usize> = (0..self.waits.len()).filter(|at| !ready.contains(at)).collect();
        loop {
            let next = if let Some(at) = ready.pop_first() {
                at
            } else if let Some(at) =
                blocked.iter().copied().find(|at| self.creates(*at)).or(blocked.first().copied())
            {
                // Every circle goes through POSTs alone, for nothing else is referred to.
                blocked.remove(&at);
                at
            } else {
                return self.steps;
            };
            self.step(next, &mut ready, &mut blocked);
        }
    }

    fn creates(&self, at: usize) -> bool {
        let item = self.request.items.get(at);
        item.is_some_and(|item| {
            item.operation.as_ref().is_ok_and(|operation| operation.method == Method::Post)
        })
    }

    fn step(&mut self, at: usize, ready: &mut BTreeSet<usize>, blocked: &mut BTreeSet<usize>) {
        let deferred: Vec<String> = self
            .waits
            .get(at)
            .into_iter()
            .flatten()
            .filter_map(|creator| self.request.items.get(*creator)?.bulk_id.clone())
            .collect();
        if !deferred.is_empty() {
            self.linking.insert(at);
        }
        self.steps.push(Step::Run { operation: at, deferred });
        let followers = self.followers.get_mut(at).map(std::mem::take).unwrap_or_default();
        for follower in followers {
            let Some(wait) = self.waits.get_mut(follower) else { continue };
            wait.remove(&at);
            if !wait.is_empty() {
                continue;
            }
            if blocked.remove(&follower) {
                ready.insert(follower);
            } else if self.linking.remove(&follower) {
                self.steps.push(Step::Link { operation: follower });
            }
        }
    }
}

/// Every bulkId that the data refers to: texts that are `bulkId:` and a name.
fn references(data: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut stack = vec![data];
    while let Some(value) = stack.pop() {
        match value {
            Value::String(text) => found.extend(text.strip_prefix(PREFIX)),
            Value::Array(items) => stack.extend(items),
            Value::Object(object) => stack.extend(object.values()),
            _ => {}
        }
    }
    found
}

/// Puts ids in the place of the bulkIds that `ids` knows.
///
/// # Errors
/// `invalidValue` for a bulkId it does not know: no operation has it, or the one that has it failed.
pub fn resolve<S: std::hash::BuildHasher>(
    data: &mut Value,
    ids: &HashMap<String, String, S>,
) -> Result<(), Error> {
    let mut stack = vec![data];
    while let Some(value) = stack.pop() {
        match value {
            Value::String(text) => {
                if let Some(bulk_id) = text.strip_prefix(PREFIX) {
                    *text = resolved(bulk_id, ids)?;
                }
            }
            Value::Array(items) => stack.extend(items),
            Value::Object(object) => stack.extend(object.values_mut()),
            _ => {}
        }
    }
    Ok(())
}

/// The id that a bulkId stands for.
///
/// # Errors
/// As [`resolve`].
pub fn resolved<S: std::hash::BuildHasher>(
    bulk_id: &str,
    ids: &HashMap<String, String, S>,
) -> Result<String, Error> {
    ids.get(bulk_id).cloned().ok_or_else(|| {
        let short: String = bulk_id.chars().filter(|c| !c.is_control()).take(64).collect();
        Error::invalid_value(format!("no operation with bulkId `{short}` created a resource"))
    })
}

/// Takes out of a POST's data what refers to the bulkIds `deferred`, and gives the PATCH that adds it later: whole
/// elements of a list, else the whole attribute.
pub fn defer(data: &mut Value, deferred: &[String]) -> Option<Value> {
    let mut operations = Vec::new();
    take_out(data, "", deferred, &mut operations);
    if operations.is_empty() {
        return None;
    }
    Some(json!({ "schemas": [PATCH_URN], "Operations": operations }))
}

fn take_out(data: &mut Value, prefix: &str, deferred: &[String], operations: &mut Vec<Value>) {
    let Value::Object(object) = data else { return };
    let refers = |value: &Value| {
        references(value).into_iter().any(|found| deferred.iter().any(|bulk_id| bulk_id == found))
    };
    let mut gone = Vec::new();
    for (name, value) in object.iter_mut() {
        if !refers(value) {
            continue;
        }
        let is_extension = name.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("urn:"));
        if is_extension && prefix.is_empty() && value.is_object() {
            take_out(value, &format!("{name}:"), deferred, operations);
            continue;
        }
        let later = if let Value::Array(items) = value {
            let (later, now): (Vec<Value>, Vec<Value>) = std::mem::take(items).into_iter().partition(refers);
            *items = now;
            Value::Array(later)
        } else {
            gone.push(name.clone());
            value.take()
        };
        operations.push(json!({ "op": "add", "path": format!("{prefix}{name}"), "value": later }));
    }
    for name in gone {
        object.shift_remove(&name);
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(operations: &Value) -> BulkRequest {
        parse(json!({"schemas": [BULK_REQUEST_URN], "Operations": operations}), 1_000).unwrap()
    }

    fn run(operation: usize) -> Step {
        Step::Run { operation, deferred: Vec::new() }
    }

    fn post(path: &str, bulk_id: &str, data: &Value) -> Value {
        json!({"method": "POST", "path": path, "bulkId": bulk_id, "data": data})
    }

    fn group(bulk_id: &str, members: &[&str]) -> Value {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        post("/Groups", bulk_id, &json!({"displayName": bulk_id, "members": members}))
    }

    #[test]
    fn every_method_is_read() {
        let request = request(&json!([
            {"method": "post", "path": "/Users", "bulkId": "q", "data": {"userName": "a"}},
            {"method": "PUT", "path": "/Users/1", "version": "W/\"3\"", "data": {}},
            {"method": "PATCH", "path": "Groups/bulkId:q/", "data": {"Operations": []}},
            {"Method": "DELETE", "Path": "/groups/2", "data": {"x": 1}},
        ]));
        let operations: Vec<Operation> =
            request.items.into_iter().map(|item| item.operation.unwrap()).collect();
        assert_eq!(operations[0].method, Method::Post);
        assert_eq!(operations[0].target, None);
        assert_eq!(operations[1].version.as_deref(), Some("W/\"3\""));
        assert_eq!(operations[1].target, Some(Target::Id("1".into())));
        assert_eq!(operations[2].target, Some(Target::BulkId("q".into())));
        assert_eq!((operations[3].resource, &operations[3].data), (ResourceType::Group, &Value::Null));
    }

    #[test]
    fn a_request_of_another_form_is_refused_whole() {
        let refused = |body| parse(body, 1).unwrap_err();
        assert_eq!(refused(json!([])), Error::invalid_syntax("the bulk request must be a JSON object"));
        assert_eq!(refused(json!({})), Error::invalid_syntax("`Operations` must be an array"));
        for count in [json!(0), json!(-1), json!("1"), json!(1.5)] {
            assert_eq!(
                refused(json!({"failOnErrors": count, "Operations": []})),
                Error::invalid_value("`failOnErrors` must be a number from 1")
            );
        }
        assert_eq!(
            refused(json!({"Operations": [1, 2]})),
            Error::payload_too_large("a bulk request takes at most 1 operations")
        );
        assert_eq!(parse(json!({"failOnErrors": 2, "operations": []}), 1).unwrap().fail_on_errors, Some(2));
    }

    #[test]
    fn an_operation_that_cannot_be_read_fails_alone() {
        let request = request(&json!([
            1,
            {"method": "GET", "path": "/Users"},
            {"method": "POST", "path": "/Things", "data": {}},
            {"method": "POST", "path": "/Users/1", "data": {}},
            {"method": "PUT", "path": "/Users", "data": {}},
            {"method": "PATCH", "path": "/Users/1"},
            {"method": "DELETE", "path": "/Users/1/x"},
            {"method": "DELETE", "path": 7},
            {"method": "POST", "path": "/Users", "bulkId": "a", "data": {}},
            {"method": "POST", "path": "/Users", "bulkId": "a", "data": {}},
            {"method": "POST", "path": "/Users", "bulkId": "", "data": {}},
        ]));
        let errors: Vec<String> = request
            .items
            .iter()
            .filter_map(|item| item.operation.as_ref().err().map(ToString::to_string))
            .collect();
        assert_eq!(
            errors,
            [
                "400 invalidSyntax: each element of `Operations` must be an object",
                "400 invalidSyntax: `method` must be POST, PUT, PATCH or DELETE",
                "400 invalidPath: `path` must begin with /Users or /Groups",
                "400 invalidValue: `path` of a POST must be a resource type's endpoint, without an id",
                "400 invalidValue: `path` of a PUT must end in an id",
                "400 invalidSyntax: `data` of a PATCH must be an object",
                "400 invalidPath: `path` must end after the id",
                "400 invalidSyntax: `path` must be a string",
                "400 invalidValue: `bulkId` is the same as an earlier operation's",
                "400 invalidValue: `bulkId` must have 1 to 128 characters",
            ]
        );
    }

    #[test]
    fn without_references_the_order_is_the_clients() {
        let operations =
            json!([group("a", &["1"]), group("b", &[]), {"method": "DELETE", "path": "/Users/1"}]);
        assert_eq!(plan(&request(&operations)), [run(0), run(1), run(2)]);
    }

    #[test]
    fn an_operation_comes_after_what_it_refers_to() {
        let operations = json!([
            group("a", &["bulkId:b"]),
            {"method": "PATCH", "path": "/Users/bulkId:c", "data": {}},
            group("b", &["bulkId:c"]),
            post("/Users", "c", &json!({"userName": "c"})),
        ]);
        assert_eq!(plan(&request(&operations)), [run(3), run(1), run(2), run(0)]);
    }

    #[test]
    fn a_circle_is_opened_at_its_first_operation_and_linked_afterwards() {
        let operations = json!([group("a", &["bulkId:b", "1"]), group("b", &["bulkId:a"])]);
        let request = request(&operations);
        let deferred = vec!["b".to_owned()];
        assert_eq!(
            plan(&request),
            [Step::Run { operation: 0, deferred: deferred.clone() }, run(1), Step::Link { operation: 0 }]
        );
        let mut data = request.items[0].operation.clone().unwrap().data;
        let patch = defer(&mut data, &deferred).unwrap();
        assert_eq!(data, json!({"displayName": "a", "members": [{"value": "1"}]}));
        assert_eq!(
            patch,
            json!({"schemas": [PATCH_URN], "Operations": [
                {"op": "add", "path": "members", "value": [{"value": "bulkId:b"}]}]})
        );
    }

    #[test]
    fn an_operation_that_refers_to_itself_is_linked_to_itself() {
        assert_eq!(
            plan(&request(&json!([group("a", &["bulkId:a"])]))),
            [Step::Run { operation: 0, deferred: vec!["a".into()] }, Step::Link { operation: 0 }]
        );
    }

    #[test]
    fn a_reference_that_nothing_creates_holds_nothing_up() {
        assert_eq!(plan(&request(&json!([group("a", &["bulkId:none"])]))), [run(0)]);
        let mut data = json!({"members": [{"value": "bulkId:none"}]});
        assert_eq!(
            resolve(&mut data, &HashMap::<String, String>::new()).unwrap_err(),
            Error::invalid_value("no operation with bulkId `none` created a resource")
        );
    }

    #[test]
    fn references_inside_an_extension_are_deferred_by_their_path() {
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let mut data = json!({"userName": "a", urn: {"department": "R", "manager": {"value": "bulkId:m"}}});
        let patch = defer(&mut data, &["m".to_owned()]).unwrap();
        assert_eq!(data, json!({"userName": "a", urn: {"department": "R"}}));
        assert_eq!(
            patch["Operations"],
            json!([{"op": "add", "path": format!("{urn}:manager"), "value": {"value": "bulkId:m"}}])
        );
        assert_eq!(defer(&mut data, &["m".to_owned()]), None);
    }

    #[test]
    fn ids_take_the_place_of_bulk_ids() {
        let ids = HashMap::from([("a".to_owned(), "1".to_owned())]);
        let mut data = json!({"members": [{"value": "bulkId:a"}], "note": "not bulkId:a"});
        resolve(&mut data, &ids).unwrap();
        assert_eq!(data, json!({"members": [{"value": "1"}], "note": "not bulkId:a"}));
    }

    #[test]
    fn the_answer_has_each_operations_own_status() {
        let mut out = Vec::new();
        write_response(
            &mut out,
            &[
                Outcome {
                    method: Some(Method::Post),
                    bulk_id: Some("q".into()),
                    location: Some("https://h/Users/1".into()),
                    version: Some(1),
                    result: Ok(201),
                },
                Outcome {
                    method: None,
                    bulk_id: None,
                    location: None,
                    version: None,
                    result: Err(Error::invalid_value("x")),
                },
            ],
        );
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap(),
            json!({"schemas": [BULK_RESPONSE_URN], "Operations": [
                {"status": "201", "method": "POST", "bulkId": "q", "location": "https://h/Users/1", "version": "W/\"1\""},
                {"status": "400", "response": {"schemas": [super::super::error::ERROR_URN], "status": "400",
                                               "scimType": "invalidValue", "detail": "x"}}]})
        );
    }

    proptest! {
        #[test]
        fn every_plan_runs_each_operation_once_and_nothing_before_what_it_needs(
            edges in proptest::collection::vec(proptest::collection::btree_set(0_usize..8, 0..4), 1..8)
        ) {
            let operations: Vec<Value> = edges
                .iter()
                .enumerate()
                .map(|(at, edges)| {
                    let members: Vec<String> = edges.iter().map(|to| format!("bulkId:{to}")).collect();
                    group(&at.to_string(), &members.iter().map(String::as_str).collect::<Vec<_>>())
                })
                .collect();
            let request = request(&Value::from(operations));
            let mut ran = BTreeSet::new();
            let mut open = BTreeSet::new();
            for step in plan(&request) {
                match step {
                    Step::Run { operation, deferred } => {
                        prop_assert!(ran.insert(operation));
                        for needed in edges[operation].iter().filter(|needed| **needed < edges.len()) {
                            let missing = !ran.contains(needed) || *needed == operation;
                            prop_assert_eq!(missing, deferred.contains(&needed.to_string()));
                        }
                        if !deferred.is_empty() {
                            open.insert(operation);
                        }
                    }
                    Step::Link { operation } => {
                        prop_assert!(open.remove(&operation));
                        prop_assert!(edges[operation].iter().all(|needed| *needed >= edges.len() || ran.contains(needed)));
                    }
                }
            }
            prop_assert_eq!(ran.len(), edges.len());
            prop_assert!(open.is_empty());
        }
    }
}
