//! Plays one trace, step by step.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::expect::{self, Variables, substitute, text_with};
use super::way::{Answer, Server, Way, WayError};

/// How often a 429 that was not expected is waited out, and how long at most.
const TURNS: u32 = 4;
const TURN_MAX: Duration = Duration::from_secs(10);

/// What became of one trace.
#[derive(Debug, Clone)]
pub struct Played {
    /// The trace's name.
    pub name: String,
    /// Steps that went as expected.
    pub passed: usize,
    /// The others.
    pub failed: Vec<StepResult>,
}

/// What became of one step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Its number, from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Method and path as sent.
    pub line: String,
    /// The status that came back; 0 if none did.
    pub status: u16,
    /// What was otherwise than expected.
    pub problems: Vec<String>,
}

/// Plays `trace`.
pub(super) async fn play(
    server: &Server,
    trace: &Value,
    run: Option<&str>,
    each: &mut (dyn FnMut(&StepResult) + Send),
) -> Result<Played, WayError> {
    let run = run.map_or_else(|| format!("{:08x}", getrandom::u32().unwrap_or(0)), str::to_owned);
    // The token is none of them: a trace that somebody sent would have it shown in what the command prints.
    let mut variables = Variables::from([("run".to_owned(), json!(run))]);
    let name = trace.get("name").and_then(Value::as_str).unwrap_or("trace").to_owned();
    let mut played = Played { name, passed: 0, failed: Vec::new() };
    let mut way = Way::open(server).await?;
    let steps = trace.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (number, step) in steps.iter().enumerate() {
        let name = step.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut result =
            StepResult { number: number + 1, name, line: String::new(), status: 0, problems: Vec::new() };
        match one(&mut way, step, &mut variables, &mut result).await {
            Ok(problems) => result.problems = problems,
            Err(problem) => result.problems = vec![problem],
        }
        each(&result);
        if result.problems.is_empty() {
            played.passed += 1;
        } else {
            played.failed.push(result);
        }
    }
    Ok(played)
}

async fn one(
    way: &mut Way<'_>,
    step: &Value,
    variables: &mut Variables,
    result: &mut StepResult,
) -> Result<Vec<String>, String> {
    let mut answer = None;
    for turn in 1..=TURNS {
        let request = build(way.server(), step, variables, result)?;
        let got = way.send(request).await.map_err(|cause| format!("no answer: {cause}"))?;
        let awaited = step.pointer("/expect/status").and_then(Value::as_array);
        let is_awaited = awaited.is_some_and(|all| all.iter().any(|one| *one == 429));
        if got.status != 429 || is_awaited || turn == TURNS {
            answer = Some(got);
            break;
        }
        let after = got.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(1);
        tokio::time::sleep(Duration::from_secs(after).min(TURN_MAX)).await;
    }
    let Some(answer) = answer else { return Err("no answer".to_owned()) };
    result.status = answer.status;
    let mut problems = expect::check(step, &answer, variables)?;
    problems.extend(save(step, &answer, variables));
    Ok(problems)
}

fn save(step: &Value, answer: &Answer, variables: &mut Variables) -> Vec<String> {
    let mut problems = Vec::new();
    let wanted = step.get("save").and_then(Value::as_object);
    for (name, pointer) in wanted.into_iter().flatten() {
        let found = pointer.as_str().and_then(|pointer| answer.body.pointer(pointer));
        match found.filter(|_| answer.status < 300) {
            Some(value) => {
                variables.insert(name.clone(), value.clone());
            }
            None if answer.status < 300 && answer.status != 204 => {
                problems.push(format!("nothing to save at {pointer}"));
            }
            None => {}
        }
    }
    problems
}

fn build(
    server: &Server,
    step: &Value,
    variables: &Variables,
    result: &mut StepResult,
) -> Result<Request<Full<Bytes>>, String> {
    let text = |pointer: &str| step.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let path = text_with(text("/request/path"), variables, encoded)?;
    let method = text("/request/method");
    result.line = format!("{method} {path}");
    let body = match step.pointer("/request/body") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            let sent = substitute(&Value::String(text.clone()), variables)?;
            Some(sent.as_str().map_or_else(|| sent.to_string(), str::to_owned))
        }
        Some(body) => Some(substitute(body, variables)?.to_string()),
    };
    let mut headers = vec![
        ("Authorization".to_owned(), format!("Bearer {}", server.token())),
        ("Accept".to_owned(), "application/scim+json".to_owned()),
    ];
    if body.is_some() {
        headers.push(("Content-Type".to_owned(), "application/scim+json".to_owned()));
    }
    let own = substitute(step.pointer("/request/headers").unwrap_or(&Value::Null), variables)?;
    for (name, value) in own.as_object().into_iter().flatten() {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if let Some(value) = value.as_str() {
            headers.push((name.clone(), value.to_owned()));
        }
    }
    let mut request =
        Request::builder().method(method).uri(server.path(&path)).header("host", server.authority());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = Full::new(body.map(Bytes::from).unwrap_or_default());
    request.body(body).map_err(|cause| format!("cannot be sent: {cause}"))
}

fn encoded(text: &str) -> String {
    const RESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, RESERVED).to_string()
}
