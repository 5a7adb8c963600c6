//! `/api/v1/activity`: the SCIM request log, its live tail, and bodies for as long as a person asked for them.

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, delete, get, number, post};
use super::{AdminError, AdminRole, Request, text};
use crate::activity::{Row, SPAN_MAX, Statuses, Wanted};
use crate::mirror::directory;
use crate::mirror::history::{self, Query};
use crate::model::{DirectoryId, DirectoryKind, Timestamp};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("activity", "SCIM requests, newest first; with `wait` the next ones", "Activity", |r| {
        Box::pin(list(r))
    })
    .query(&[
        endpoints::text(
            "directory",
            "only this directory's, its ended tokens' included; `-` for requests whose token is nobody's",
        ),
        endpoints::text("status", "`404`, `4xx`, or `error` for 400 and above"),
        endpoints::text("method", "only this method"),
        endpoints::text("request", "only the request of this id"),
        endpoints::text("quirk", "only requests that needed this quirk"),
        number("after", "only newer than this `id`"),
        number("before", "only older than this `id`: `next` of the page before"),
        number("limit", "most requests, 1 to 500; 50 unless given"),
        endpoints::text("wait", "where nothing is newer than `after`: how long to wait for it, up to `60s`"),
    ]),
    get("activity/bodies", "For which directories bodies are or were kept", "ActivityRecordings", |r| {
        Box::pin(async { Ok(json!({ "recordings": r.state.activity.recordings() })) })
    }),
    post(
        AdminRole::Operate,
        "activity/bodies",
        "Keeps scrubbed bodies of a directory's requests for a time",
        "ActivityRecording",
        |r| Box::pin(record(r)),
    )
    .body("ActivityRecordingNew")
    .created(),
    delete(
        AdminRole::Operate,
        "activity/bodies/{directory}",
        "Keeps no further bodies",
        "ActivityStopped",
        |r| Box::pin(stop(r, r.segment(0))),
    ),
    get("activity/trace", "The bodies kept last, as a trace that can be replayed", "ActivityTrace", |r| {
        Box::pin(trace(r))
    })
    .query(&[endpoints::text("directory", "whose").required()]),
    get("activity/{id}", "One request: bodies if kept, and what it changed", "ActivityRequest", |r| {
        Box::pin(show(r, r.segment(0)))
    }),
];

/// Most requests in one answer.
const LIMIT_MAX: u64 = 500;
/// Longest wait for the next.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Most changes shown of one request.
const CHANGES_MAX: u32 = 500;
/// How far the moment of a change may lie from that of its answer, besides the time it took.
const CHANGE_SLACK: Duration = Duration::from_secs(2);

fn wanted(request: &Request<'_>) -> Result<Wanted, AdminError> {
    let status = request.param("status").map(|text| {
        Statuses::parse(text)
            .ok_or_else(|| AdminError::invalid("`status` must be like `404`, `4xx` or `error`"))
    });
    let id = |name: &str| request.param(name).map(|_| request.number(name, 0)).transpose();
    let text = |name: &str| request.param(name).map(str::to_owned);
    Ok(Wanted {
        directory: text("directory").map(|id| if id == "-" { String::new() } else { id }),
        status: status.transpose()?,
        method: text("method"),
        request: text("request"),
        quirk: text("quirk"),
        after: id("after")?,
        before: id("before")?,
    })
}

/// A span such as `30m`.
fn span(name: &str, text: &str) -> Result<Duration, AdminError> {
    let now = Timestamp(i64::MAX / 2);
    Timestamp::parse_moment(&format!("-{text}"), now)
        .map(|then| now.since(then))
        .ok_or_else(|| AdminError::invalid(format!("`{name}` must be a span such as `30s`, `10m` or `1h`")))
}

async fn list(request: &Request<'_>) -> Result<Value, AdminError> {
    let activity = &request.state.activity;
    let mut wanted = wanted(request)?;
    let limit = usize::try_from(request.number("limit", 50)?.clamp(1, LIMIT_MAX)).unwrap_or(50);
    let wait = request.param("wait").map(|text| span("wait", text)).transpose()?.unwrap_or_default();
    let mut newest = activity.newest();
    let patience = tokio::time::sleep(wait.min(WAIT_MAX));
    let mut patience = std::pin::pin!(patience);
    let page = loop {
        newest.borrow_and_update();
        let page = activity.find(&wanted, limit);
        if !page.rows.is_empty() || wait.is_zero() {
            break page;
        }
        // What was looked through once cannot match later: many who wait must not cost a look at everything each time.
        wanted.after = wanted.after.max(Some(page.newest));
        tokio::select! {
            // Without a writer nothing will ever come.
            changed = newest.changed() => if changed.is_err() { break page },
            () = &mut patience => break page,
        }
    };
    let settings = activity.settings();
    let next = page.rows.last().filter(|_| page.more).map(|row| row.id);
    Ok(json!({
        "activity": page.rows.iter().map(Row::shown).collect::<Vec<_>>(),
        "next": next,
        "newest": page.newest,
        "recordings": activity.recordings(),
        "keeps": { "requests": settings.requests, "seconds": settings.age.as_secs() },
    }))
}

async fn show(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let absent = || {
        AdminError::absent(
            format!("no request `{id}` is kept"),
            "`[log] requests` and `requests_age` say how many are, and how long",
        )
    };
    let row = id.parse().ok().and_then(|id| request.state.activity.get(id)).ok_or_else(absent)?;
    let mut shown = row.shown();
    let (changes, more) = changes(request, &row).await?;
    if let Some(shown) = shown.as_object_mut() {
        let kept = row.kept.as_deref();
        shown.insert("headers".to_owned(), kept.map_or(Value::Null, |kept| json!(kept.headers)));
        shown.insert("body".to_owned(), kept.and_then(|kept| kept.body.clone()).unwrap_or_default());
        shown.insert("answer".to_owned(), kept.and_then(|kept| kept.answer.clone()).unwrap_or_default());
        shown.insert("changes".to_owned(), changes);
        shown.insert("more_changes".to_owned(), more.into());
    }
    Ok(shown)
}

/// What the request changed: the changes of its time that bear its name, and whether there were too many to look at.
async fn changes(request: &Request<'_>, row: &Row) -> Result<(Value, bool), AdminError> {
    let took = Duration::from_millis(row.ms).saturating_add(CHANGE_SLACK);
    let back = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
    let query = Query {
        since: Some(Timestamp(row.at.0.saturating_sub(back))),
        until: Some(row.at.plus(CHANGE_SLACK)),
        newest_first: true,
        limit: 2_000,
        ..Query::default()
    };
    let found = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| Ok(history::search(tx, &query)?))
        .await?;
    let own = found
        .changes
        .iter()
        .map(|entry| &entry.change)
        .filter(|change| change.request.as_deref() == Some(row.request.as_str()));
    let shown: Vec<Value> = own
        .take(usize::try_from(CHANGES_MAX).unwrap_or(usize::MAX))
        .map(|change| {
            json!({
                "seq": change.seq, "kind": change.kind.as_str(), "resource": change.resource,
                "object": change.object,
            })
        })
        .collect();
    Ok((shown.into(), found.next.is_some()))
}

async fn directory(request: &Request<'_>, id: &str) -> Result<(DirectoryId, DirectoryKind), AdminError> {
    let id = DirectoryId::parse(id).map_err(|error| AdminError::invalid(format!("`{id}`: {error}")))?;
    let wanted = id.clone();
    let found = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| Ok(directory::find(tx, &wanted)?))
        .await?;
    match found {
        Some(found) => Ok((id, found.kind)),
        None => Err(AdminError::absent(
            format!("there is no directory `{id}`"),
            "`rosterd directory list` shows all",
        )),
    }
}

async fn record(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["directory", "for"])?;
    let Some(id) = text(&body, "directory")? else {
        return Err(AdminError::invalid("`directory` is missing: whose bodies are to be kept"));
    };
    let wanted = span("for", text(&body, "for")?.unwrap_or("10m"))?;
    if wanted.is_zero() || wanted > SPAN_MAX {
        return Err(AdminError::invalid("`for` must be from `1s` to `24h`"));
    }
    let (id, _) = directory(request, id).await?;
    let by = request.caller.origin().actor.to_string();
    tracing::info!(directory = %id, seconds = wanted.as_secs(), by, "scrubbed bodies of requests are kept");
    request.state.activity.record(id, wanted, by).ok_or_else(|| {
        AdminError::new(
            503,
            "no requests are kept here, so that their bodies cannot be either",
            "a running daemon keeps them, unless `[log] requests` is 0",
        )
    })
}

async fn stop(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let (id, _) = directory(request, id).await?;
    let stopped = request.state.activity.stop_recording(&id);
    Ok(json!({ "directory": id, "stopped": stopped }))
}

async fn trace(request: &Request<'_>) -> Result<Value, AdminError> {
    let id = request.param("directory").unwrap_or_default();
    let (id, kind) = directory(request, id).await?;
    request.state.activity.trace(&id, kind.as_str()).ok_or_else(|| {
        AdminError::absent(
            format!("no bodies of `{id}` were kept since the daemon started"),
            format!("rosterd capture --directory {id}"),
        )
    })
}
