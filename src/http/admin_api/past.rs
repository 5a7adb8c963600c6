//! `/api/v1/history`, `/api/v1/access` and `/api/v1/diff`: the past, from the change log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, get, post};
use super::{AdminError, AdminRole, Request, Snapshot, changes, explain, resources};
use crate::access::{self, Access, DirectoryFacts, Entitlement, Facts, Reason, Role, UserFacts, say};
use crate::mirror::history::{self, Cause, Causes};
use crate::mirror::{self, ReadTx};
use crate::model::{ResourceId, ResourceType, RoleName, Seq, Subject, Timestamp};

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("history", "One page of the log", "History", |r| Box::pin(history(r))).query(&[
        endpoints::text("subject", "only what concerns this user"),
        endpoints::text("group", "only what concerns this group"),
        endpoints::text("since", "from this time on, such as `2026-11-20` or `2h ago`"),
        endpoints::text("until", "up to this time"),
        endpoints::number("after", "the `next` of the page before"),
        endpoints::number("limit", "most changes, 1 to 1000; 100 without it"),
        endpoints::text("order", "`oldest` (as without it) or `newest` first"),
    ]),
    get("access", "Who holds which role, since when and by which change", "Access", |r| Box::pin(access(r)))
        .query(&[
            endpoints::text("at", "a time, or a position such as `seq:1204`"),
            endpoints::text("role", "only this role"),
        ]),
    get("diff", "What came and went between two positions", "Diff", |r| Box::pin(diff(r))).query(&[
        endpoints::text("from", "a time or a position").required(),
        endpoints::text("to", "a time or a position; now without it"),
    ]),
    post(
        AdminRole::Admin,
        "forget/{user}",
        "Erases what is kept of a user who is gone",
        "UserForgotten",
        |r| Box::pin(forget(r, r.segment(0))),
    ),
];

/// Most changes in one answer.
const LIMIT_MAX: u64 = 1_000;

const MOMENTS: &str =
    "times are written `2026-11-20T10:00:00Z`, `2026-11-20`, `2h ago` or `-2h`, positions `seq:1204`";

/// Who held what at one position of the log.
pub(super) struct Then {
    /// The moment asked for, at which grants are judged.
    pub(super) time: Timestamp,
    pub(super) facts: Facts,
    pub(super) roles: Vec<Role>,
    pub(super) access: Access,
    pub(super) problems: Vec<String>,
}

/// The state that `text` names: a time or `seq:N`; without one, that of now under the running configuration.
pub(super) fn then(tx: &mut ReadTx<'_>, running: &Snapshot, text: Option<&str>) -> Result<Then, AdminError> {
    let Some(text) = text else {
        let (facts, time) = (explain::load(tx, running)?, tx.now());
        let access = access::access(&facts, &running.roles, time);
        let problems = access.problems.iter().map(ToString::to_string).collect();
        return Ok(Then { time, facts, roles: running.roles.clone(), access, problems });
    };
    let (seq, time) = position(tx, text)?;
    let config = history::config_at(tx, seq, &running.registry)?;
    let mut facts = history::facts_at(tx, &config.order, seq)?;
    config.complete(&mut facts);
    let access = access::access(&facts, &config.roles, time);
    let problems =
        config.problems.iter().cloned().chain(access.problems.iter().map(ToString::to_string)).collect();
    Ok(Then { time, facts, roles: config.roles, access, problems })
}

/// The newest change at a time, or a change named by its number and when it was made.
fn position(tx: &mut ReadTx<'_>, text: &str) -> Result<(Seq, Timestamp), AdminError> {
    if let Some(number) = text.strip_prefix("seq:") {
        let seq = number.parse().map(Seq).map_err(|_| wrong_moment(text))?;
        let base = history::base(tx)?;
        let time = if seq == base.seq { Some(base.at) } else { history::time_of(tx, seq)? };
        return Ok((seq, time.unwrap_or(tx.now())));
    }
    let time = moment(tx.now(), text)?.end_of_millisecond().min(tx.now());
    Ok((history::at(tx, time)?, time))
}

fn moment(now: Timestamp, text: &str) -> Result<Timestamp, AdminError> {
    Timestamp::parse_moment(text, now).ok_or_else(|| wrong_moment(text))
}

fn wrong_moment(text: &str) -> AdminError {
    AdminError::new(400, format!("`{text}` is no time"), MOMENTS)
}

/// One page of the log: `subject`, `group`, `since`, `until`, `after`, `limit`, `order=newest`.
pub(super) async fn history(request: &Request<'_>) -> Result<Value, AdminError> {
    let limit = u32::try_from(request.number("limit", 100)?.clamp(1, LIMIT_MAX)).unwrap_or(100);
    let newest_first = match request.param("order") {
        None | Some("oldest") => false,
        Some("newest") => true,
        Some(_) => return Err(AdminError::invalid("`order` must be `oldest` or `newest`")),
    };
    let after = request.param("after").map(|_| request.number("after", 0)).transpose()?.map(Seq);
    let text = |name: &str| request.param(name).map(str::to_owned);
    let (subject, group, since, until) = (text("subject"), text("group"), text("since"), text("until"));
    let epoch = request.state.mirror.epoch();
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let now = tx.now();
            let mut query = history::Query { after, newest_first, limit, ..history::Query::default() };
            query.since = since.as_deref().map(|text| moment(now, text)).transpose()?;
            let until = until.as_deref().map(|text| moment(now, text)).transpose()?;
            query.until = until.map(Timestamp::end_of_millisecond);
            query.subjects.extend(subject.map(|name| anyone(tx, ResourceType::User, &name)).transpose()?);
            query.groups.extend(group.map(|name| anyone(tx, ResourceType::Group, &name)).transpose()?);
            let found = history::search(tx, &query)?;
            let mut ids: BTreeSet<ResourceId> = BTreeSet::new();
            for entry in &found.changes {
                ids.extend(entry.change.resource);
                ids.extend(entry.change.members.iter().flat_map(|row| [row.group, row.member]));
            }
            let names = history::names(tx, &ids)?;
            let base = history::base(tx)?;
            let shown: Vec<Value> = found.changes.iter().map(|entry| line(entry, &names)).collect();
            Ok(json!({
                "epoch": epoch,
                "begins_after": base.seq,
                "changes": shown,
                "next": found.next,
            }))
        })
        .await
}

fn line(entry: &history::Entry, names: &HashMap<ResourceId, String>) -> Value {
    let mut shown = changes::shown(&entry.change);
    let name = |id: &ResourceId| names.get(id).cloned().map_or(Value::Null, Value::from);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("name".into(), entry.change.resource.as_ref().map_or(Value::Null, name));
        shown.insert("members_total".into(), entry.members_total.into());
        if let Some(rows) = shown.get_mut("members").and_then(Value::as_array_mut) {
            for (row, member) in rows.iter_mut().zip(&entry.change.members) {
                if let Some(row) = row.as_object_mut() {
                    row.insert("group_name".into(), name(&member.group));
                    row.insert("member_name".into(), name(&member.member));
                }
            }
        }
    }
    shown
}

/// Somebody by name, or by id also if gone.
fn anyone(tx: &mut ReadTx<'_>, kind: ResourceType, name: &str) -> Result<ResourceId, AdminError> {
    let id = name.rsplit_once('/').map_or(name, |(_, id)| id);
    match ResourceId::parse(id) {
        Some(id) => Ok(id),
        None => match resources::id(tx, kind, name) {
            Err(error) if error.status == 404 => gone(tx, kind, name)?.ok_or(error),
            found => found,
        },
    }
}

/// The one who had this name last and is gone.
fn gone(tx: &mut ReadTx<'_>, kind: ResourceType, name: &str) -> Result<Option<ResourceId>, AdminError> {
    let found = history::gone_by_name(tx, kind, name)?;
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => {
            let all: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(AdminError::new(
                409,
                format!("more than one who is gone was called `{name}`"),
                format!("name one of {}", all.join(", ")),
            ))
        }
    }
}

/// A change as the reason for something.
pub(super) fn cause(cause: Option<&Cause>) -> Value {
    cause.map_or(Value::Null, |cause| {
        json!({
            "seq": cause.seq, "at": cause.at.to_string(), "kind": cause.kind, "actor": cause.actor,
            "request": cause.request,
        })
    })
}

/// Who holds which role, since when and by which change; `at` and `role` narrow it down.
pub(super) async fn access(request: &Request<'_>) -> Result<Value, AdminError> {
    let at = request.param("at").map(str::to_owned);
    let role = request
        .param("role")
        .map(|text| RoleName::parse(text).map_err(|error| AdminError::invalid(format!("`{text}`: {error}"))))
        .transpose()?;
    let running = request.state.running.load_full();
    let epoch = request.state.mirror.epoch();
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let then = then(tx, &running, at.as_deref())?;
            if let Some(name) = &role
                && !then.roles.iter().any(|known| known.name == *name)
            {
                let all: Vec<&str> = then.roles.iter().map(|known| known.name.as_str()).collect();
                return Err(AdminError::absent(
                    format!("there was no role `{name}`"),
                    format!("roles were: {}", all.join(", ")),
                ));
            }
            let users = users(&then.facts);
            let mut causes = Causes::default();
            let mut roles = Vec::new();
            for known in
                then.roles.iter().filter(|known| role.as_ref().is_none_or(|name| known.name == *name))
            {
                roles.push(review(tx, &mut causes, &then, &users, known)?);
            }
            Ok(json!({
                "epoch": epoch,
                "seq": then.facts.seq,
                "at": then.time.to_string(),
                "roles": roles,
                "problems": then.problems,
            }))
        })
        .await
}

type Users<'a> = BTreeMap<Subject, &'a UserFacts>;

fn users(facts: &Facts) -> Users<'_> {
    let subject = |directory: &DirectoryFacts, user: &UserFacts| Subject {
        directory: directory.id.clone(),
        user: user.id,
    };
    facts
        .directories
        .iter()
        .flat_map(|directory| directory.users.iter().map(move |user| (subject(directory, user), user)))
        .collect()
}

fn review(
    tx: &mut ReadTx<'_>,
    causes: &mut Causes,
    then: &Then,
    users: &Users<'_>,
    role: &Role,
) -> Result<Value, AdminError> {
    let entitlement = Entitlement::Role(role.name.clone());
    let mut holders: Vec<(String, Value)> = Vec::new();
    for (subject, held) in &then.access.held {
        let Some(reasons) = held.get(&entitlement) else { continue };
        let since =
            history::since(tx, causes, (&then.facts, &then.access), subject, &entitlement, Some(role))?;
        let user = users.get(subject);
        let name = user.map_or_else(String::new, |user| user.user_name.clone());
        let display = user.and_then(|user| user.doc.get("displayName")).cloned().unwrap_or(Value::Null);
        let why: Vec<String> =
            reasons.iter().map(|reason| say(&then.facts, subject, Some(role), reason)).collect();
        let holder = json!({
            "subject": subject.to_string(), "directory": subject.directory, "id": subject.user,
            "user_name": name, "display_name": display, "why": why, "since": cause(since.as_ref()),
        });
        holders.push((name, holder));
    }
    holders.sort_by(|a, b| a.0.cmp(&b.0));
    let holders: Vec<Value> = holders.into_iter().map(|(_, holder)| holder).collect();
    Ok(json!({ "role": role.name, "protected": role.protected, "holders": holders }))
}

/// What came and went between two positions, each with the reason and the change that made it.
pub(super) async fn diff(request: &Request<'_>) -> Result<Value, AdminError> {
    let from = request.param("from").ok_or_else(|| AdminError::invalid("`from` is required"))?.to_owned();
    let to = request.param("to").unwrap_or("now").to_owned();
    let running = request.state.running.load_full();
    let epoch = request.state.mirror.epoch();
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let before = then(tx, &running, Some(&from))?;
            let after = then(tx, &running, Some(&to))?;
            if before.facts.seq > after.facts.seq {
                return Err(AdminError::new(400, "`from` lies behind `to`", MOMENTS));
            }
            let gone = one_way(tx, &before, &after, false)?;
            let come = one_way(tx, &after, &before, true)?;
            let mut problems = before.problems.clone();
            problems.extend(after.problems.iter().filter(|one| !before.problems.contains(one)).cloned());
            let end = |then: &Then| json!({ "seq": then.facts.seq, "at": then.time.to_string() });
            Ok(json!({
                "epoch": epoch, "from": end(&before), "to": end(&after),
                "add": come, "remove": gone, "problems": problems,
            }))
        })
        .await
}

/// What is held in `here` and not in `there`.
fn one_way(tx: &mut ReadTx<'_>, here: &Then, there: &Then, came: bool) -> Result<Vec<Value>, AdminError> {
    let users = users(&here.facts);
    let mut causes = Causes::default();
    let mut lines: Vec<(String, String, Value)> = Vec::new();
    for (subject, held) in &here.access.held {
        for (entitlement, reasons) in held {
            if there.access.holds(subject, entitlement) {
                continue;
            }
            let role = match entitlement {
                Entitlement::Role(name) => here.roles.iter().find(|known| known.name == *name),
                Entitlement::Group(..) => None,
            };
            let by = if came {
                history::since(tx, &mut causes, (&here.facts, &here.access), subject, entitlement, role)?
            } else {
                let span = (here.facts.seq, there.facts.seq);
                history::lost(tx, &here.facts, subject, (entitlement, role), reasons, span)?
            };
            let why: Vec<String> = if came {
                reasons.iter().map(|reason| say(&here.facts, subject, role, reason)).collect()
            } else {
                no_longer(here, there, subject, entitlement, role, reasons)
            };
            let name = users.get(subject).map_or_else(String::new, |user| user.user_name.clone());
            let label = label(&here.facts, entitlement);
            let line = json!({
                "subject": name, "id": subject.to_string(), "entitlement": entitlement, "label": label,
                "why": why, "change": cause(by.as_ref()),
            });
            lines.push((name, entitlement.to_string(), line));
        }
    }
    lines.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    Ok(lines.into_iter().map(|(_, _, line)| line).collect())
}

/// Why it is not held any more: what explains the absence there, else what it was held for here.
fn no_longer(
    here: &Then,
    there: &Then,
    subject: &Subject,
    entitlement: &Entitlement,
    role: Option<&Role>,
    reasons: &[Reason],
) -> Vec<String> {
    if let Entitlement::Role(name) = entitlement
        && let Some(said) = access::explain(&there.facts, &there.access, &there.roles, subject, name)
    {
        return said.why;
    }
    reasons.iter().map(|reason| format!("was {}", say(&here.facts, subject, role, reason))).collect()
}

/// What people call it.
fn label(facts: &Facts, entitlement: &Entitlement) -> String {
    match entitlement {
        Entitlement::Role(name) => name.to_string(),
        Entitlement::Group(directory, id) => {
            let found =
                facts.directory(directory).and_then(|one| one.groups.iter().find(|group| group.id == *id));
            found.map_or_else(|| id.to_string(), |group| group.display_name.clone())
        }
    }
}

/// Erases what is kept of a user who is gone.
pub(super) async fn forget(request: &Request<'_>, name: &str) -> Result<Value, AdminError> {
    let wanted = name.to_owned();
    let found =
        request.state.mirror.read_long::<_, AdminError, _>(move |tx| anyone(tx, ResourceType::User, &wanted));
    let id = found.await?;
    let done = request.state.mirror.write(request.caller.origin(), move |tx| history::forget(tx, id)).await;
    let done = done.map_err(|error| match error {
        mirror::Error::Refused(mirror::Refusal::Invalid(text)) => AdminError::new(409, text, ""),
        other => other.into(),
    })?;
    Ok(json!({
        "id": id, "seq": done.seq, "changes": done.changes, "deliveries": done.deliveries, "runs": done.runs,
    }))
}
