//! `/api/v1/imports`: a file of people goes into a directory. It comes in pages, is shown as a plan, and is carried out
//! piece by piece.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::endpoints::{self, Endpoint, delete, get, post};
use super::{AdminError, AdminRole, Request, text, truth};
use crate::http::import::{
    self, Act, Broken, Carried, Conflict, Gathered, Options, Order, Page, Plan, Refused, Step,
};
use crate::import::Problem;
use crate::mirror::ReadTx;
use crate::mirror::directory::{self, DirectoryRef};
use crate::model::{DirectoryId, Origin, RequestId, ResourceType};
use crate::scim::schema::Registry;

/// Largest page.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Problems that are told one by one.
const PROBLEMS_SHOWN: usize = 100;
/// Notes that are told.
const NOTES_SHOWN: usize = 50;
/// Steps that are told, unless asked for more.
const STEPS_SHOWN: u64 = 200;

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    post(AdminRole::Admin, "imports", "Begins an import", "ImportBegun", |r| Box::pin(ready(begin(r))))
        .body("ImportNew")
        .created(),
    page_row(),
    get_plan(),
    post(AdminRole::Admin, "imports/{id}/apply", "Carries out the plan that was shown", "ImportDone", |r| {
        Box::pin(apply(r, r.segment(0)))
    })
    .body("ImportApply"),
    get_progress(),
    delete(AdminRole::Admin, "imports/{id}", "Forgets a file that was not applied", "ImportForgotten", |r| {
        Box::pin(ready(forget(r, r.segment(0))))
    }),
];

const fn page_row() -> Endpoint {
    let mut row =
        post(AdminRole::Admin, "imports/{id}/records", "Adds a page of the file", "ImportGathered", |r| {
            Box::pin(ready(add(r, r.segment(0))))
        })
        .body("ImportPage");
    row.body_bytes_max = PAGE_BYTES_MAX;
    row
}

const fn get_plan() -> Endpoint {
    let mut row = get("imports/{id}", "What the file would change, or why it cannot", "ImportPlan", |r| {
        Box::pin(plan(r, r.segment(0)))
    })
    .query(PLAN_QUERY);
    row.least = AdminRole::Admin;
    row
}

const fn get_progress() -> Endpoint {
    let mut row = get("imports/{id}/progress", "How far a plan is carried out", "ImportProgress", |r| {
        Box::pin(ready(progress(r, r.segment(0))))
    });
    row.least = AdminRole::Admin;
    row
}

const PLAN_QUERY: &[endpoints::Query] =
    &[endpoints::number("limit", "how many steps are told; 200 unless said")];

fn refused(why: Refused) -> AdminError {
    match why {
        Refused::TooMany => AdminError::new(503, why.to_string(), "try again once one of them is done"),
        Refused::TooLarge => AdminError::new(413, why.to_string(), "split the file, users first"),
        Refused::Absent => AdminError::absent(why.to_string(), "begin again"),
    }
}

fn random_id() -> Result<String, AdminError> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| AdminError::new(500, format!("no randomness: {error}"), ""))?;
    Ok(random.iter().fold("import-".to_owned(), |id, byte| id + &format!("{byte:02x}")))
}

fn begin(request: &Request<'_>) -> Result<Value, AdminError> {
    let body = request.object(&["directory", "file", "replace", "skip_unknown"])?;
    let name = text(&body, "directory")?.ok_or_else(|| AdminError::invalid("`directory` is required"))?;
    let id = DirectoryId::parse(name).map_err(|error| AdminError::invalid(format!("`{name}`: {error}")))?;
    let options = Options {
        directory: id.clone(),
        file: text(&body, "file")?.unwrap_or_default().chars().take(400).collect(),
        replace: truth(&body, "replace")?.unwrap_or(false),
        skip_unknown: truth(&body, "skip_unknown")?.unwrap_or(false),
    };
    request.state.mirror.read(|tx| open(tx, &id).map(|_| ()))?;
    let import = random_id()?;
    request.state.imports.begin(&import, options).map_err(refused)?;
    Ok(json!({ "id": import, "directory": id }))
}

/// The directory, if it takes anything now.
fn open(tx: &mut ReadTx<'_>, id: &DirectoryId) -> Result<DirectoryRef, AdminError> {
    let found = directory::find(tx, id)?.ok_or_else(|| {
        AdminError::absent(format!("there is no directory `{id}`"), "`rosterd directory list` shows all")
    })?;
    if !found.enabled {
        return Err(AdminError::new(
            409,
            format!("directory `{id}` is disabled, and takes nothing"),
            format!("rosterd directory enable {id}"),
        ));
    }
    Ok(found.reference)
}

/// A list of a body.
fn listed<T: DeserializeOwned>(body: &mut Map<String, Value>, key: &str) -> Result<Vec<T>, AdminError> {
    match body.remove(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            serde_json::from_value(value).map_err(|error| AdminError::invalid(format!("`{key}`: {error}")))
        }
    }
}

fn add(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let mut body = request.object(&["records", "members", "problems", "notes"])?;
    let page = Page {
        records: listed(&mut body, "records")?,
        members: listed(&mut body, "members")?,
        problems: listed(&mut body, "problems")?,
        notes: listed(&mut body, "notes")?,
    };
    let records = request.state.imports.add(id, page, request.body.len()).map_err(|why| {
        if why == Refused::TooLarge {
            request.state.imports.forget(id);
        }
        refused(why)
    })?;
    Ok(json!({ "id": id, "records": records }))
}

async fn plan(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let limit = usize::try_from(request.number("limit", STEPS_SHOWN)?).unwrap_or(usize::MAX);
    let gathered = request.state.imports.find(id).map_err(refused)?;
    let registry = Arc::clone(&request.state.running.load().registry);
    let (plan, options) = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let directory = open(tx, &gathered.options.directory)?;
            Ok((import::make(tx, &directory, &registry, &gathered)?, gathered.options.clone()))
        })
        .await?;
    let plan = Arc::new(plan);
    request.state.imports.planned(id, Arc::clone(&plan));
    Ok(shown(id, &options, &plan, limit))
}

fn shown(id: &str, options: &Options, plan: &Plan, limit: usize) -> Value {
    let both = |act: &str| json!({ "users": plan.count(act, ResourceType::User), "groups": plan.count(act, ResourceType::Group) });
    let changes: Vec<&Step> = plan.steps.iter().filter(|step| step.is_change()).collect();
    let problem = |one: &Problem| json!({ "file": options.file, "at": one.at, "attribute": one.attribute, "message": one.message });
    json!({
        "id": id,
        "directory": options.directory,
        "file": options.file,
        "replace": options.replace,
        "hash": plan.hash,
        "create": both("create"),
        "update": both("update"),
        "leave": both("leave"),
        "deactivate": { "users": plan.count("deactivate", ResourceType::User) },
        "delete": { "groups": plan.count("delete", ResourceType::Group) },
        "memberships": {
            "add": plan.steps.iter().map(Step::joining).sum::<usize>(),
            "remove": plan.steps.iter().map(Step::leaving).sum::<usize>(),
        },
        "changes": changes.len(),
        "steps": changes.iter().take(limit).map(|step| step_shown(step)).collect::<Vec<_>>(),
        "problem_count": plan.problems.len(),
        "problems": plan.problems.iter().take(PROBLEMS_SHOWN).map(problem).collect::<Vec<_>>(),
        "notes": plan.notes.iter().take(NOTES_SHOWN).collect::<Vec<_>>(),
    })
}

fn step_shown(step: &Step) -> Value {
    let attributes: &[String] = if let Act::Update(_, attributes) = &step.act { attributes } else { &[] };
    json!({
        "at": step.at,
        "act": step.act.as_str(),
        "type": step.kind,
        "name": step.name,
        "id": step.act.id().map(|id| id.to_string()),
        "attributes": attributes,
        "join": step.joining(),
        "leave": step.leaving(),
    })
}

async fn apply(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let body = request.object(&["hash"])?;
    let hash = text(&body, "hash")?.ok_or_else(|| AdminError::invalid("`hash` is required"))?.to_owned();
    let imports = &request.state.imports;
    let known = imports.plan(id);
    let gathered = imports.find(id).map_err(refused)?;
    let mirror = request.state.mirror.clone();
    let moving = mirror.move_in().ok_or_else(|| {
        AdminError::new(
            409,
            "another import is being carried out; nothing was changed",
            "try again once it is done",
        )
    })?;
    let registry = Arc::clone(&request.state.running.load().registry);
    let (plan, directory, file) = checked(request, gathered, known, Arc::clone(&registry)).await?;
    if !plan.problems.is_empty() {
        let message = format!("the file has {} mistakes; nothing was changed", plan.problems.len());
        return Err(AdminError::invalid(message));
    }
    if plan.hash != hash {
        return Err(AdminError::new(
            409,
            "the directory changed since the plan was made; nothing was changed",
            "look at the new plan: run the import again",
        ));
    }
    let origin = Origin { request: RequestId::parse(id).ok(), ..request.caller.origin() };
    let gauge = imports.gauge(id).unwrap_or_default();
    let order = Order {
        mirror,
        directory,
        registry,
        plan: Arc::clone(&plan),
        file,
        id: id.to_owned(),
        origin,
        gauge,
        moving,
    };
    let name = order.directory.id.clone();
    // Whoever asked may go away; what was begun goes on.
    let carried = tokio::spawn(import::carry(order))
        .await
        .map_err(|error| AdminError::new(500, format!("the import broke off: {error}"), AGAIN))?;
    imports.forget(id);
    ended(id, &name, &plan, carried)
}

/// What an operator does about an import that did not come to its end.
const AGAIN: &str = "run the import again: it does what is left";

/// The plan as it is now, and where it goes. It is made anew, without keeping anybody waiting, if anything changed.
async fn checked(
    request: &Request<'_>,
    gathered: Arc<Mutex<Gathered>>,
    known: Option<Arc<Plan>>,
    registry: Arc<Registry>,
) -> Result<(Arc<Plan>, DirectoryRef, String), AdminError> {
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let directory = open(tx, &gathered.options.directory)?;
            let seq = tx.seq()?;
            let plan = match known.filter(|plan| plan.seq == seq) {
                Some(plan) => plan,
                None => Arc::new(import::make(tx, &directory, &registry, &gathered)?),
            };
            Ok((plan, directory, gathered.options.file.clone()))
        })
        .await
}

/// The answer: how far it came.
fn ended(id: &str, directory: &DirectoryId, plan: &Plan, carried: Carried) -> Result<Value, AdminError> {
    let changes = plan.steps.iter().filter(|step| step.is_change()).count();
    if let Some(broken) = carried.broken {
        let (done, request) = (carried.done.total(), id);
        let far =
            format!("{done} of {changes} users and groups are done, as request {request} in the history");
        return Err(match broken {
            Broken::Closed => AdminError::new(
                409,
                format!("directory `{directory}` takes nothing any more: {far}"),
                format!(
                    "rosterd directory enable {directory}, and run the import again: it does what is left"
                ),
            ),
            Broken::Store(error) => {
                let told = AdminError::from(error);
                let message = format!("{}; {far}", told.message);
                AdminError { message, hint: AGAIN.into(), ..told }
            }
        });
    }
    let conflict = |one: &Conflict| {
        let step = plan.steps.get(one.step);
        json!({
            "at": step.map_or("", |step| &step.at),
            "type": step.map(|step| step.kind),
            "name": step.map_or("", |step| &step.name),
            "message": one.why,
        })
    };
    Ok(json!({
        "id": id,
        "directory": directory,
        "finished": carried.is_finished,
        "changes": changes,
        "created": carried.done.created,
        "updated": carried.done.updated,
        "deactivated": carried.done.deactivated,
        "deleted": carried.done.deleted,
        "conflicts": carried.conflicts.iter().map(conflict).collect::<Vec<_>>(),
        "before_seq": carried.before,
        "seq": carried.seq,
    }))
}

fn progress(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    let gauge = request.state.imports.gauge(id).ok_or_else(|| refused(Refused::Absent))?;
    let (done, total) = gauge.read();
    Ok(json!({ "id": id, "done": done, "total": total }))
}

fn forget(request: &Request<'_>, id: &str) -> Result<Value, AdminError> {
    if request.state.imports.forget(id) { Ok(json!({ "id": id })) } else { Err(refused(Refused::Absent)) }
}
