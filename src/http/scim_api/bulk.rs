//! Bulk (RFC 7644 §3.7): each operation is carried out by itself, in the order that [`crate::scim::bulk`] plans.

use std::collections::HashMap;

use serde_json::Value;

use super::ScimApi;
use super::error;
use super::pipeline::Call;
use super::resources::known;
use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror;
use crate::model::{RequestId, ResourceId, ResourceType};
use crate::scim::bulk::{self, BulkRequest, Method, Operation, Outcome, Step, Target};
use crate::scim::dialect::Used;
use crate::scim::error::Error;
use crate::scim::etag::Precondition;

/// Most operations in one request; announced by `/ServiceProviderConfig`.
const OPERATIONS_MAX: usize = 1_000;

/// How far a bulk request has come.
struct Progress {
    /// Ids of what has been created, by bulkId.
    ids: HashMap<String, String>,
    /// PATCHes to be applied once what they refer to exists, with what they are for.
    links: HashMap<usize, (ResourceType, ResourceId, Value)>,
    outcomes: Vec<Option<Outcome>>,
    errors: u64,
}

/// What an operation did.
struct Done {
    status: u16,
    id: ResourceId,
    version: Option<u64>,
}

impl ScimApi {
    pub(super) async fn bulk(&self, call: &Call, used: &mut Used) -> Result<Answer, mirror::Error> {
        let mut request = bulk::parse(call.json()?, OPERATIONS_MAX)?;
        let steps = bulk::plan(&request);
        let mut progress = Progress {
            ids: HashMap::new(),
            links: HashMap::new(),
            outcomes: vec![None; request.items.len()],
            errors: 0,
        };
        for step in steps {
            if request.fail_on_errors.is_some_and(|limit| progress.errors >= limit) {
                break;
            }
            match step {
                Step::Run { operation, deferred } => {
                    self.bulk_run(call, &mut request, operation, &deferred, &mut progress, used).await;
                }
                Step::Link { operation } => self.bulk_link(call, operation, &mut progress, used).await,
            }
        }
        // Operations that were left undone are left out (RFC 7644 §3.7.3).
        let outcomes: Vec<Outcome> = progress.outcomes.into_iter().flatten().collect();
        let mut out = Vec::with_capacity(128 + outcomes.len() * 192);
        bulk::write_response(&mut out, &outcomes);
        Ok(Answer::new(200, SCIM_JSON, out))
    }

    async fn bulk_run(
        &self,
        call: &Call,
        request: &mut BulkRequest,
        at: usize,
        deferred: &[String],
        progress: &mut Progress,
        used: &mut Used,
    ) {
        let Some(item) = request.items.get_mut(at) else { return };
        let (method, bulk_id) = (item.method, item.bulk_id.clone());
        let taken = std::mem::replace(&mut item.operation, Err(Error::plain(500, "taken")));
        let mut outcome =
            Outcome { method, bulk_id: bulk_id.clone(), location: None, version: None, result: Ok(200) };
        match taken {
            Err(error) => outcome.result = Err(error),
            Ok(mut operation) => {
                let kind = operation.resource;
                let later = bulk::defer(&mut operation.data, deferred);
                outcome.location =
                    named(&operation).map(|id| format!("{}/{}/{id}", call.base, kind.endpoint()));
                match self.bulk_do(call, operation, &progress.ids, used).await {
                    Err(failed) => outcome.result = Err(scim_error(&failed, &call.request)),
                    Ok(done) => {
                        outcome.result = Ok(done.status);
                        outcome.version = done.version;
                        outcome.location = Some(call.location(kind, &done.id));
                        if let (Some(Method::Post), Some(bulk_id)) = (method, bulk_id) {
                            progress.ids.insert(bulk_id, done.id.to_string());
                        }
                        if let Some(later) = later {
                            progress.links.insert(at, (kind, done.id, later));
                        }
                    }
                }
            }
        }
        progress.note(at, outcome);
    }

    async fn bulk_do(
        &self,
        call: &Call,
        mut operation: Operation,
        ids: &HashMap<String, String>,
        used: &mut Used,
    ) -> Result<Done, mirror::Error> {
        bulk::resolve(&mut operation.data, ids)?;
        let kind = operation.resource;
        let id = match &operation.target {
            None => None,
            Some(Target::Id(id)) => Some(known(id)?),
            Some(Target::BulkId(bulk_id)) => Some(known(&bulk::resolved(bulk_id, ids)?)?),
        };
        let precondition = Precondition::new(operation.version.as_deref(), None);
        let (status, stored) = match (operation.method, id) {
            (Method::Post, _) => (201, self.store_new(call, kind, operation.data, used).await?),
            (Method::Put, Some(id)) => {
                (200, self.store_whole(call, kind, id, precondition, operation.data, used).await?)
            }
            (Method::Patch, Some(id)) => {
                (200, self.store_patched(call, kind, id, precondition, operation.data, used).await?)
            }
            (Method::Delete, Some(id)) => {
                self.remove(call, kind, id, precondition).await?;
                return Ok(Done { status: 204, id, version: None });
            }
            (_, None) => return Err(Error::invalid_value("`path` must end in an id").into()),
        };
        self.named(call, &stored);
        Ok(Done { status, id: stored.id, version: Some(stored.version) })
    }

    /// Adds what an operation had to leave out; if that fails the operation has failed, though its resource is there.
    async fn bulk_link(&self, call: &Call, at: usize, progress: &mut Progress, used: &mut Used) {
        let Some((kind, id, mut patch)) = progress.links.remove(&at) else { return };
        let linked = match bulk::resolve(&mut patch, &progress.ids) {
            Ok(()) => self.store_patched(call, kind, id, Precondition::default(), patch, used).await,
            Err(error) => Err(error.into()),
        };
        let Some(Some(outcome)) = progress.outcomes.get_mut(at) else { return };
        match linked {
            Ok(stored) => outcome.version = Some(stored.version),
            Err(failed) => {
                outcome.result = Err(scim_error(&failed, &call.request));
                progress.errors += 1;
            }
        }
    }
}

impl Progress {
    fn note(&mut self, at: usize, outcome: Outcome) {
        if outcome.result.is_err() {
            self.errors += 1;
        }
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = Some(outcome);
        }
    }
}

/// The id that an operation names, which its outcome repeats even if it fails.
fn named(operation: &Operation) -> Option<String> {
    match &operation.target {
        Some(Target::Id(id)) => ResourceId::parse(id).map(|id| id.to_string()),
        _ => None,
    }
}

/// A failure as one operation's error; a store's is logged under the request id like everywhere else.
fn scim_error(failed: &mirror::Error, request: &RequestId) -> Error {
    match failed {
        mirror::Error::Scim(error) => error.clone(),
        other => {
            let answer = error::from_mirror(other, request);
            Error::plain(answer.status, format!("the server failed here (request {request})"))
        }
    }
}
