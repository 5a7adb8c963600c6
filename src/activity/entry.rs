//! One request: as the listener tells of it, and as it is kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scrub::{ELIDED, Scrubber, is_version};
use crate::model::{DirectoryId, RequestId, Timestamp, TokenId};

/// Most of an error's detail that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 400;
/// Longest client name that is kept.
const AGENT_CHARS_MAX: usize = 120;

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// It had no `Authorization` header.
    Missing,
    /// What it had there was no bearer token.
    Malformed,
    /// Its token is none of ours.
    Unknown,
    /// Its token was revoked.
    Revoked,
    /// Its token has expired.
    Expired,
    /// Its token is tied to a client certificate that was not shown.
    ClientCertificate,
    /// Its directory is disabled.
    Disabled,
}

impl Refused {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::ClientCertificate => "client_certificate",
            Self::Disabled => "disabled",
        }
    }
}

/// What the listener knows of an answered request. Nothing of it is scrubbed yet, so it goes nowhere but to the
/// thread that does.
#[derive(Debug)]
pub struct Entry {
    /// Its name in logs and in the change log.
    pub request: RequestId,
    /// When it was answered.
    pub at: Timestamp,
    /// How long that took.
    pub took: Duration,
    /// The directory of its token, be it a token that has ended; `None` where that is not known.
    pub directory: Option<DirectoryId>,
    /// The token.
    pub token: Option<TokenId>,
    /// Why it was not let in, if it was not.
    pub refused: Option<Refused>,
    /// When its token ended, if it has.
    pub ended: Option<Timestamp>,
    /// The client's address, behind trusted proxies the one they name.
    pub client: Option<IpAddr>,
    /// A method's name from the code.
    pub method: &'static str,
    /// A route's name from the code.
    pub route: &'static str,
    /// Path and query as sent.
    pub target: String,
    /// How the client calls itself.
    pub agent: Option<String>,
    /// Status of the answer.
    pub status: u16,
    /// Quirks it needed.
    pub quirks: Vec<&'static str>,
    /// Size of the body.
    pub request_bytes: u64,
    /// Size of the answer's body.
    pub answer_bytes: u64,
    /// The answer's body, if it is an error or may hold some.
    pub error: Option<Bytes>,
    /// Headers and bodies, where a person asked for them.
    pub raw: Option<Raw>,
}

/// What is kept only while a person asked for it.
#[derive(Debug)]
pub struct Raw {
    /// Path and query below the base path, as sent.
    pub target: String,
    /// `Accept`, `Content-Type`, `User-Agent`, `If-Match`, `If-None-Match`: headers that say how, and nothing of whom.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// The answer's.
    pub answer: Bytes,
}

/// A request as it is kept: nothing in it names a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in the log; rises, with gaps.
    pub id: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// Its name in logs and in the change log.
    pub request: String,
    /// The directory's id.
    pub directory: Option<String>,
    /// The token's id.
    pub token: Option<String>,
    /// Why it was not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// When its token ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// How the client calls itself.
    pub agent: Option<String>,
    /// Method.
    pub method: String,
    /// Path and query, with ids and without values.
    pub path: String,
    /// The route's name.
    pub route: String,
    /// Status.
    pub status: u16,
    /// Milliseconds.
    pub ms: u64,
    /// Quirks it needed, by name.
    pub quirks: Vec<String>,
    /// The error's keyword.
    pub scim_type: Option<String>,
    /// The error's sentence.
    pub detail: Option<String>,
    /// Size of the body.
    pub request_bytes: u64,
    /// Size of the answer's body.
    pub answer_bytes: u64,
    /// What was kept besides, scrubbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Box<Kept>>,
}

/// Headers and bodies with made-up values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Which recording they belong to; made-up values agree within one.
    pub recording: u64,
    /// Path and query below the base path, in wire form.
    pub target: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body; a string if it was no JSON.
    pub body: Option<Value>,
    /// The answer's.
    pub answer: Option<Value>,
    /// Their size.
    pub bytes: usize,
}

impl Row {
    /// The row as the API shows it; bodies only where one request is asked for.
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id, "at": self.at.to_string(), "request": self.request, "directory": self.directory,
            "token": self.token, "refused": self.refused.map(Refused::as_str), "client": self.client, "agent": self.agent, "method": self.method,
            "path": self.path, "route": self.route, "status": self.status, "ms": self.ms, "quirks": self.quirks,
            "scim_type": self.scim_type, "detail": self.detail, "request_bytes": self.request_bytes,
            "answer_bytes": self.answer_bytes, "has_bodies": self.kept.is_some(),
        })
    }
}

/// Makes a row of what the listener told. `recording` is the set of made-up values to use for bodies.
pub(super) fn row(id: u64, entry: Entry, recording: Option<(u64, &mut Scrubber)>) -> Row {
    let mut hidden = Scrubber::eliding();
    let (path, query) = split(&entry.target);
    let (scim_type, detail) = entry.error.as_deref().map_or((None, None), told);
    let kept =
        recording.zip(entry.raw).map(|((number, scrubber), raw)| Box::new(kept(number, scrubber, &raw)));
    Row {
        id,
        at: entry.at,
        request: entry.request.as_str().to_owned(),
        directory: entry.directory.map(|id| id.as_str().to_owned()),
        token: entry.token.map(|id| id.as_str().to_owned()),
        refused: entry.refused,
        ended: entry.ended,
        client: entry.client,
        agent: entry.agent.and_then(|text| harmless(&text)),
        method: entry.method.to_owned(),
        path: hidden.shown(path, query),
        route: entry.route.to_owned(),
        status: entry.status,
        ms: u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX),
        quirks: entry.quirks.into_iter().map(str::to_owned).collect(),
        scim_type,
        detail,
        request_bytes: entry.request_bytes,
        answer_bytes: entry.answer_bytes,
        kept,
    }
}

fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

fn kept(recording: u64, scrubber: &mut Scrubber, raw: &Raw) -> Kept {
    let (path, query) = split(&raw.target);
    let fit = |name: &str, value: &str| match name {
        // A version is a number of ours; what else may stand there is not for keeping.
        "If-Match" | "If-None-Match" => (value == "*" || is_version(value)).then(|| value.to_owned()),
        _ => harmless(value),
    };
    let headers =
        raw.headers.iter().filter_map(|(name, value)| Some(((*name).to_owned(), fit(name, value)?)));
    Kept {
        recording,
        target: scrubber.wire(path, query),
        headers: headers.collect(),
        body: scrubber.body(&raw.body),
        answer: scrubber.body(&raw.answer),
        bytes: raw.body.len().saturating_add(raw.answer.len()),
    }
}

/// A header's text if it is nothing but a product's name or a media type: short words, no address, no token.
fn harmless(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ./;,()_-+*=:\"".contains(c);
    let short = text.split([' ', ';', ',', '(', ')']).all(|word| word.len() <= 40);
    (text.len() <= AGENT_CHARS_MAX && short && text.chars().all(plain)).then(|| text.to_owned())
}

/// Whether an operation of a bulk answer failed in a way that its client should hear of: what is not there to delete
/// and what moved on since are answers.
fn is_error(done: &Value) -> bool {
    let word = |key: &str| done.get(key).and_then(Value::as_str).unwrap_or_default();
    match word("status").parse::<u16>() {
        Ok(404) => word("method") != "DELETE",
        Ok(412) | Err(_) => false,
        Ok(status) => status >= 400,
    }
}

/// Keyword and sentence of an error's body, or of the first error in the body of a bulk answer. Our sentences quote attribute names at most; whatever does not look like
/// one is left out.
fn told(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return (None, None) };
    let body = match body.get("Operations").and_then(Value::as_array) {
        None => Some(&body),
        Some(done) => done.iter().find(|one| is_error(one)).and_then(|one| one.get("response")),
    };
    let Some(body) = body else { return (None, None) };
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let detail = text("detail").map(|detail| {
        let parts: Vec<&str> = detail.split('`').collect();
        let named = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || " $._:-/[]|,".contains(c);
            part.len() <= 120 && part.chars().all(plain)
        };
        let all: Vec<&str> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| if n % 2 == 1 && !named(part) { ELIDED } else { *part })
            .collect();
        all.join("`").chars().take(DETAIL_CHARS_MAX).collect()
    });
    (text("scimType").map(str::to_owned), detail)
}
