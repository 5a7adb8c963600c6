//! What an endpoint is: one row says its path, its method, who may use it, what answers it and what it looks like
//! from outside. Routing, the check of roles, 404, 405 and the OpenAPI document are all read from these rows.
//!
//! Each subject's file has its rows in `ENDPOINTS` and its schemas in `schema/SUBJECT.json`; `TABLES` names them all.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use super::{AdminError, AdminRole, Request};

/// A handler's answer, boxed so that handlers fit into one table.
pub(super) type Answered<'a> = Pin<Box<dyn Future<Output = Result<Value, AdminError>> + Send + 'a>>;

/// A handler: `|request| Box::pin(show(request, request.segment(0)))`.
pub(super) type Call = for<'a> fn(&'a Request<'a>) -> Answered<'a>;

/// Largest body of a request, unless its row says otherwise.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    /// As written behind the `?`.
    pub(super) name: &'static str,
    /// Its JSON Schema, as text.
    pub(super) schema: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    /// Whether a request without it is refused.
    pub(super) required: bool,
}

/// A parameter that is any text.
pub(super) const fn text(name: &'static str, what: &'static str) -> Query {
    Query { name, schema: r#"{"type":"string"}"#, what, required: false }
}

/// A parameter that is a whole number.
pub(super) const fn number(name: &'static str, what: &'static str) -> Query {
    Query { name, schema: r#"{"type":"integer","minimum":0}"#, what, required: false }
}

/// A parameter that is `true` or `false`.
pub(super) const fn flag(name: &'static str, what: &'static str) -> Query {
    Query { name, schema: r#"{"type":"boolean"}"#, what, required: false }
}

impl Query {
    /// Without it the request is refused.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    /// The method.
    pub(super) method: &'static str,
    /// The path below `/api/v1/`; `{name}` stands for one segment, see [`Request::segment`].
    pub(super) path: &'static str,
    /// The least role that may use it.
    pub(super) least: AdminRole,
    /// The status of success: 200 or 201.
    pub(super) status: u16,
    /// One line for people.
    pub(super) summary: &'static str,
    /// Query parameters.
    pub(super) query: &'static [Query],
    /// The component that describes the body, if it takes one.
    pub(super) body: Option<&'static str>,
    /// The component that describes the answer.
    pub(super) answer: &'static str,
    /// Largest body.
    pub(super) body_bytes_max: usize,
    /// What answers.
    pub(super) call: Call,
}

const fn row(
    method: &'static str,
    path: &'static str,
    least: AdminRole,
    summary: &'static str,
    answer: &'static str,
    call: Call,
) -> Endpoint {
    Endpoint {
        method,
        path,
        least,
        status: 200,
        summary,
        query: &[],
        body: None,
        answer,
        body_bytes_max: BODY_BYTES_MAX,
        call,
    }
}

/// Something to read, for everybody who may sign in.
pub(super) const fn get(
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    call: Call,
) -> Endpoint {
    row("GET", path, AdminRole::View, summary, answer, call)
}

/// Something to do.
pub(super) const fn post(
    least: AdminRole,
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    call: Call,
) -> Endpoint {
    row("POST", path, least, summary, answer, call)
}

/// Something to change.
pub(super) const fn patch(
    least: AdminRole,
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    call: Call,
) -> Endpoint {
    row("PATCH", path, least, summary, answer, call)
}

/// Something to take away.
pub(super) const fn delete(
    least: AdminRole,
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    call: Call,
) -> Endpoint {
    row("DELETE", path, least, summary, answer, call)
}

impl Endpoint {
    /// Success is 201.
    pub(super) const fn created(mut self) -> Self {
        self.status = 201;
        self
    }

    /// It takes these parameters.
    pub(super) const fn query(mut self, query: &'static [Query]) -> Self {
        self.query = query;
        self
    }

    /// It takes a body, which this component describes.
    pub(super) const fn body(mut self, component: &'static str) -> Self {
        self.body = Some(component);
        self
    }

    /// What `segments` holds where the path has `{…}`; `None` if it is another path.
    fn matched(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut pattern = self.path.split('/');
        let mut taken = Vec::new();
        for segment in segments {
            match pattern.next()? {
                name if name.starts_with('{') => taken.push(segment.clone()),
                literal if literal == segment => {}
                _ => return None,
            }
        }
        pattern.next().is_none().then_some(taken)
    }
}

/// Every endpoint, subject by subject.
pub(super) const TABLES: &[&[Endpoint]] = &[
    super::targets::ENDPOINTS,
    super::target::ENDPOINTS,
    super::deliveries::ENDPOINTS,
    super::directories::ENDPOINTS,
    super::tokens::ENDPOINTS,
    super::resources::ENDPOINTS,
    super::decisions::ENDPOINTS,
    super::explain::ENDPOINTS,
    super::past::ENDPOINTS,
    super::changes::ENDPOINTS,
    super::doctor::ENDPOINTS,
    super::export::ENDPOINTS,
    super::activity::ENDPOINTS,
    super::imports::ENDPOINTS,
    super::openapi::ENDPOINTS,
];

/// Every endpoint.
pub(super) fn all() -> impl Iterator<Item = &'static Endpoint> {
    TABLES.iter().copied().flatten()
}

/// The rows of a path, each with what stands for its `{…}`. Where a path could be several, the one with the fewest
/// `{…}` counts.
pub(super) fn at(segments: &[String]) -> Vec<(&'static Endpoint, Vec<String>)> {
    let mut found: Vec<_> = all().filter_map(|row| Some((row, row.matched(segments)?))).collect();
    let fewest = found.iter().map(|(_, taken)| taken.len()).min().unwrap_or(0);
    found.retain(|(_, taken)| taken.len() == fewest);
    found
}
