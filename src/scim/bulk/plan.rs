//! The order of a bulk request's operations, and what stands for a resource that does not exist yet.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{BulkRequest, Method, PREFIX, Target};
use crate::scim::error::Error;

/// The URN of a PATCH (RFC 7644 §3.5.2).
pub(super) const PATCH_URN: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

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

/// Every bulkId that the data refers to: texts that are `bulkId:` and a name, and in the path of a PATCH operation
/// also the quoted ones of its filter.
fn references(data: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut stack = vec![data];
    while let Some(value) = stack.pop() {
        match value {
            Value::String(text) => found.extend(text.strip_prefix(PREFIX)),
            Value::Array(items) => stack.extend(items),
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::String(text) if is_path(key) => found.extend(quoted(text)),
                        value => stack.push(value),
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn is_path(key: &str) -> bool {
    key.eq_ignore_ascii_case("path")
}

/// `"bulkId:x"` in the filter of a path: each `x`.
fn quoted(path: &str) -> impl Iterator<Item = &str> {
    let quoted = path.split('"').skip(1).step_by(2);
    quoted.filter_map(|text| text.strip_prefix(PREFIX))
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
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    match value {
                        Value::String(text) if is_path(key) => {
                            let names: Vec<String> = quoted(text).map(str::to_owned).collect();
                            for name in names {
                                let id = resolved(&name, ids)?;
                                *text = text.replace(&format!("\"{PREFIX}{name}\""), &format!("\"{id}\""));
                            }
                        }
                        value => stack.push(value),
                    }
                }
            }
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
