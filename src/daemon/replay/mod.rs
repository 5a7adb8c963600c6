//! `rosterd replay`: plays recorded requests against a SCIM server and compares what comes back.
//!
//! A trace is a list of steps, each a request as it goes on the wire and what to expect of the answer. By default the
//! server is a throwaway daemon of this same program on loopback, so that a recording from somewhere else can be looked
//! into without touching anything.

mod expect;
mod player;
mod way;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::client::{self, Peer};
use super::demo::place::Place;
use super::demo::supervised::Supervised;
use crate::model::DirectoryKind;

pub use player::{Played, StepResult};
pub use way::{Server, WayError};

/// Longest wait for the throwaway daemon's answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to play.
#[derive(Debug)]
pub enum Against {
    /// A daemon of its own for this run, with one directory.
    Throwaway {
        /// The directory's kind; else the one that each trace names.
        kind: Option<DirectoryKind>,
        /// Where its state stays; else it goes at the end.
        dir: Option<PathBuf>,
    },
    /// A server that runs.
    Server(Server),
}

/// Why nothing could be played.
#[derive(Debug)]
pub enum ReplayError {
    /// The throwaway daemon; how.
    Daemon(String),
    /// The server cannot be reached.
    Way(WayError),
    /// The traces are none.
    Trace(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(how) => write!(f, "the throwaway daemon: {how}"),
            Self::Way(error) => error.fmt(f),
            Self::Trace(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Reads a file's traces: one object with `steps`, or an array of such.
///
/// # Errors
/// What keeps it from being one.
pub fn traces(text: &str) -> Result<Vec<Value>, ReplayError> {
    let wrong = |what: String| ReplayError::Trace(what);
    let document: Value =
        serde_json::from_str(text).map_err(|cause| wrong(format!("it is not JSON: {cause}")))?;
    let all = match document {
        Value::Array(all) => all,
        one => vec![one],
    };
    for trace in &all {
        let steps = trace.get("steps").and_then(Value::as_array);
        let Some(steps) = steps else { return Err(wrong("it is no trace: `steps` is missing".to_owned())) };
        for (number, step) in steps.iter().enumerate() {
            let has = |pointer: &str| step.pointer(pointer).is_some_and(Value::is_string);
            if !has("/request/method") || !has("/request/path") {
                return Err(wrong(format!("step {}: `request` needs `method` and `path`", number + 1)));
            }
        }
    }
    Ok(all)
}

/// Plays `traces` one after the other and tells `each` of every step.
///
/// # Errors
/// What kept it from playing; a step that went otherwise is a result, not an error.
pub fn run(
    against: Against,
    traces: &[Value],
    run: Option<&str>,
    each: &mut (dyn FnMut(&StepResult) + Send),
) -> Result<Vec<Played>, ReplayError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|cause| ReplayError::Daemon(format!("cannot start the I/O runtime: {cause}")))?;
    runtime.block_on(async {
        match against {
            Against::Server(server) => play_all(&server, traces, run, each).await,
            Against::Throwaway { kind, dir } => throwaway(kind, dir, traces, run, each).await,
        }
    })
}

async fn play_all(
    server: &Server,
    traces: &[Value],
    run: Option<&str>,
    each: &mut (dyn FnMut(&StepResult) + Send),
) -> Result<Vec<Played>, ReplayError> {
    let mut all = Vec::with_capacity(traces.len());
    for trace in traces {
        all.push(player::play(server, trace, run, each).await.map_err(ReplayError::Way)?);
    }
    Ok(all)
}

async fn throwaway(
    kind: Option<DirectoryKind>,
    dir: Option<PathBuf>,
    traces: &[Value],
    run: Option<&str>,
    each: &mut (dyn FnMut(&StepResult) + Send),
) -> Result<Vec<Played>, ReplayError> {
    let failed = |cause: &dyn fmt::Display| ReplayError::Daemon(cause.to_string());
    let place = Place::bare(dir.as_deref()).map_err(|cause| failed(&cause))?;
    let mut daemon = Supervised::start(&place).await.map_err(|cause| failed(&cause))?;
    let mut all = Vec::with_capacity(traces.len());
    let mut outcome = Ok(());
    for (number, trace) in traces.iter().enumerate() {
        // A directory for each, so that none meets what another left behind.
        let named = trace.get("idp").and_then(Value::as_str).and_then(|kind| kind.parse().ok());
        let kind = kind.or(named).unwrap_or(DirectoryKind::Generic);
        let played = match directory(&place, number, kind).await {
            Ok(server) => player::play(&server, trace, run, each).await.map_err(ReplayError::Way),
            Err(error) => Err(error),
        };
        match played {
            Ok(played) => all.push(played),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let stopped = daemon.stop().await.map_err(|cause| failed(&cause));
    outcome.and(stopped).map(|()| all)
}

/// Makes a directory in the throwaway daemon.
async fn directory(place: &Place, number: usize, kind: DirectoryKind) -> Result<Server, ReplayError> {
    let failed = |cause: &dyn fmt::Display| ReplayError::Daemon(cause.to_string());
    let body = json!({ "id": format!("replay-{}", number + 1), "name": "Replay", "kind": kind.as_str() });
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/directories")
        .header("host", "rosterd")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|cause| failed(&cause))?;
    let answer = client::ask(&Peer::Unix(place.admin_socket()), request, PATIENCE)
        .await
        .map_err(|cause| failed(&cause))?;
    let made: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |key: &str| made.get(key).and_then(Value::as_str);
    match (text("base_url"), text("token")) {
        (Some(url), Some(token)) => Server::at(url, token).map_err(ReplayError::Way),
        _ => Err(failed(&format!("it answered {} when a directory was to be made", answer.status))),
    }
}
