//! `/api/v1/users` and `/api/v1/groups`: what the identity providers said, across directories, for operators.

use serde_json::{Value, json};

use super::endpoints::{self, Endpoint, Query, get};
use super::{AdminError, Request, Snapshot, decisions};
use crate::access::{BindingKey, Bound as BoundGroup, GroupRule, OnRename};
use crate::mirror::decision::binding;
use crate::mirror::directory::{self, Directory};
use crate::mirror::query::{self, Window};
use crate::mirror::resource::{self, Stored};
use crate::mirror::{self, ReadTx, facts, member};
use crate::model::{DirectoryId, ResourceId, ResourceType, RoleName, Subject};
use crate::scim::filter::{self, AttrPath, Bound, CompareOp, Filter, Literal};
use crate::scim::schema::Registry;

const PAGE: &[Query] = &[
    endpoints::text("directory", "only this directory's"),
    endpoints::text("filter", "a SCIM filter (RFC 7644 §3.4.2.2)"),
    endpoints::text(
        "q",
        "instead of a filter: how userName, displayName, externalId or an e-mail address begins",
    ),
    endpoints::flag("active", "users: those that are active, or those that are not"),
    endpoints::number("count", "most lines, 1 to 1000; 100 without it"),
    endpoints::text("cursor", "the `next_cursor` of the page before"),
];

/// The rows of this subject.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("users", "Users of one directory or all", "Users", |r| Box::pin(list(r, ResourceType::User)))
        .query(PAGE),
    get("users/{name}", "One user by id, `DIRECTORY/ID` or a name only one has", "UserDetail", |r| {
        Box::pin(show(r, ResourceType::User, r.segment(0)))
    }),
    get("groups", "Groups of one directory or all", "Groups", |r| Box::pin(list(r, ResourceType::Group)))
        .query(PAGE),
    get("groups/{name}", "One group by id, `DIRECTORY/ID` or a name only one has", "GroupDetail", |r| {
        Box::pin(show(r, ResourceType::Group, r.segment(0)))
    })
    .query(&[
        endpoints::number("members", "so many members, 1 to 1000; all without it"),
        endpoints::number("members_cursor", "the `members_next` of the page before"),
    ]),
];

/// Largest page.
const COUNT_MAX: u64 = 1_000;
/// Rows looked at per name: one more than would be unambiguous, and a few to name in the message.
const CANDIDATES: u32 = 5;

fn document(stored: &Stored) -> Value {
    serde_json::from_str(&stored.doc_text).unwrap_or(Value::Null)
}

fn member_of<'a>(document: &'a Value, name: &str) -> &'a Value {
    document.get(name).unwrap_or(&Value::Null)
}

/// One line of a list.
fn line(directory: &DirectoryId, stored: &Stored) -> Value {
    let found = document(stored);
    let common = json!({
        "id": stored.id,
        "directory": directory,
        "display_name": member_of(&found, "displayName"),
        "external_id": member_of(&found, "externalId"),
        "created": stored.created.to_string(),
        "last_modified": stored.last_modified.to_string(),
        "version": stored.version,
    });
    let more = match stored.resource_type {
        ResourceType::User => json!({
            "user_name": member_of(&found, "userName"),
            "active": found.get("active").and_then(Value::as_bool).unwrap_or(false),
        }),
        ResourceType::Group => json!({ "members_count": stored.members }),
    };
    merged(common, more)
}

fn merged(mut into: Value, more: Value) -> Value {
    if let (Value::Object(into), Value::Object(more)) = (&mut into, more) {
        into.extend(more);
    }
    into
}

/// What a list is narrowed down to.
enum Asked {
    /// By the beginning of a name: indexes alone.
    Beginning(mirror::find::Wanted),
    /// By a filter. What no index knows is looked for in one document after the other until a page is full.
    Filter(Bound),
}

/// One page over one directory or all of them, in order of directory and then of creation. The cursor is
/// `DIRECTORY:POSITION` of the last line. Nothing is counted, so that a page costs what it shows.
pub(super) async fn list(request: &Request<'_>, kind: ResourceType) -> Result<Value, AdminError> {
    let wanted = request
        .param("directory")
        .map(|text| DirectoryId::parse(text).map_err(|e| AdminError::invalid(format!("`{text}`: {e}"))))
        .transpose()?;
    let count = u32::try_from(request.number("count", 100)?.clamp(1, COUNT_MAX)).unwrap_or(100);
    let cursor = request.param("cursor").map(read_cursor).transpose()?;
    let running = request.state.running.load_full();
    let asked = asked(request, kind, &running)?;
    let (lines, next) = request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let directories = directory::list(tx)?;
            if let Some(id) = &wanted
                && !directories.iter().any(|directory| directory.id == *id)
            {
                return Err(AdminError::absent(
                    format!("there is no directory `{id}`"),
                    "`rosterd directory list` shows all",
                ));
            }
            let all: Vec<Directory> =
                directories.into_iter().filter(|d| wanted.as_ref().is_none_or(|id| *id == d.id)).collect();
            page(tx, &all, kind, &asked, cursor.as_ref(), count)
        })
        .await?;
    let name = if kind == ResourceType::User { "users" } else { "groups" };
    Ok(json!({ name: lines, "next_cursor": next }))
}

/// `q` (beginning of a name) or `filter` (SCIM), and `active` of users.
fn asked(request: &Request<'_>, kind: ResourceType, running: &Snapshot) -> Result<Asked, AdminError> {
    let active = match request.param("active") {
        None => None,
        Some(_) if kind == ResourceType::Group => {
            return Err(AdminError::invalid("`active` is of users; a group has no such state"));
        }
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(AdminError::invalid("`active` must be true or false")),
    };
    let Some(text) = request.param("filter") else {
        let text = request.param("q").unwrap_or_default().to_owned();
        return Ok(Asked::Beginning(mirror::find::Wanted { text, active }));
    };
    if request.param("q").is_some() {
        return Err(AdminError::invalid("give either `q` or `filter`"));
    }
    let mut wanted = filter::parse(text)?;
    if let Some(active) = active {
        let path = AttrPath { urn: None, name: "active".to_owned(), sub: None };
        let is = Filter::Compare { path, op: CompareOp::Eq, value: Literal::Bool(active) };
        wanted = Filter::And(vec![wanted, is]);
    }
    Ok(Asked::Filter(filter::bind(&wanted, running.registry.resource(kind))?))
}

fn read_cursor(text: &str) -> Result<(DirectoryId, i64), AdminError> {
    text.rsplit_once(':')
        .and_then(|(directory, rid)| Some((DirectoryId::parse(directory).ok()?, rid.parse().ok()?)))
        .ok_or_else(|| AdminError::invalid("`cursor` must be the `next_cursor` of an earlier answer"))
}

fn page(
    tx: &mut ReadTx<'_>,
    directories: &[Directory],
    kind: ResourceType,
    asked: &Asked,
    cursor: Option<&(DirectoryId, i64)>,
    count: u32,
) -> Result<(Vec<Value>, Option<String>), AdminError> {
    let mut lines = Vec::new();
    // Everything before the cursor's directory has been shown.
    let start = match cursor {
        None => 0,
        Some((id, _)) => directories.iter().position(|d| d.id == *id).unwrap_or(directories.len()),
    };
    for directory in directories.iter().skip(start) {
        let rid = cursor.filter(|(id, _)| *id == directory.id).map_or(0, |(_, rid)| *rid);
        let room = count.saturating_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        if room == 0 {
            return Ok((lines, Some(format!("{}:0", directory.id))));
        }
        let (items, next) = match asked {
            Asked::Beginning(wanted) => {
                let found = mirror::find::by_beginning(tx, &directory.reference, kind, wanted, rid, room)?;
                (found.items, found.next)
            }
            Asked::Filter(bound) => {
                query::page_behind(tx, &directory.reference, kind, Some(bound), rid, room)?
            }
        };
        lines.extend(items.iter().map(|stored| line(&directory.id, stored)));
        if let Some(rid) = next {
            return Ok((lines, Some(format!("{}:{rid}", directory.id))));
        }
    }
    Ok((lines, None))
}

/// One user or group by id, `DIRECTORY/ID`, or a name that only one has. Of a group all members, or with `members=N` so
/// many of them behind `members_cursor`.
pub(super) async fn show(request: &Request<'_>, kind: ResourceType, name: &str) -> Result<Value, AdminError> {
    let name = name.to_owned();
    let running = request.state.running.load_full();
    let room = request.param("members").map(|_| request.number("members", 100)).transpose()?;
    let behind = i64::try_from(request.number("members_cursor", 0)?).unwrap_or(i64::MAX);
    request
        .state
        .mirror
        .read_long::<_, AdminError, _>(move |tx| {
            let (directory, stored) = find(tx, kind, &name)?;
            let document = document(&stored);
            let value = merged(line(&directory.id, &stored), json!({ "resource": &document }));
            let groups: Vec<Value> = member::groups_of(tx, &directory.reference, &stored)?
                .iter()
                .map(|group| json!({ "id": group.id, "display_name": group.display, "direct": group.direct }))
                .collect();
            let value = merged(value, json!({ "groups": groups }));
            if kind == ResourceType::User {
                let name = member_of(&document, "userName").as_str().unwrap_or_default();
                let value = merged(value, decisions::of_user(tx, &directory.id, stored.id, name)?);
                let grantable = running.roles.iter().filter(|role| role.reaches(&directory.id));
                let grantable: Vec<&RoleName> = grantable.map(|role| &role.name).collect();
                return Ok(merged(value, json!({ "grantable_roles": grantable })));
            }
            let (members, next) = match room {
                None => (member::members(tx, &directory.reference, &stored)?, None),
                Some(room) => {
                    let room = u32::try_from(room.clamp(1, COUNT_MAX)).unwrap_or(100);
                    member::members_page(tx, &directory.reference, &stored, behind, room)?
                }
            };
            let members: Vec<Value> = members
                .iter()
                .map(|member| json!({ "id": member.id, "type": member.kind, "display_name": member.display }))
                .collect();
            let roles = roles_by(tx, &running, &directory, &stored, &document)?;
            Ok(merged(value, json!({ "members": members, "members_next": next, "roles": roles })))
        })
        .await
}

/// The roles that name this group: `{"role","rule","gives","why"}`, with `gives` false where the name is not this group's
/// alone or stands for another one.
fn roles_by(
    tx: &mut ReadTx<'_>,
    running: &Snapshot,
    directory: &Directory,
    stored: &Stored,
    document: &Value,
) -> Result<Vec<Value>, AdminError> {
    let bindings = binding::list(tx)?;
    let name = member_of(document, "displayName").as_str().unwrap_or_default();
    let mut found = Vec::new();
    for role in running.roles.iter().filter(|role| role.reaches(&directory.id)) {
        for rule in &role.groups {
            let why_not = match rule {
                GroupRule::Id(id) if *id == stored.id => "",
                GroupRule::ExternalId(id) if member_of(document, "externalId").as_str() == Some(id) => "",
                GroupRule::DisplayName(wanted) => {
                    let key = BindingKey {
                        role: role.name.clone(),
                        directory: directory.id.clone(),
                        rule: wanted.clone(),
                    };
                    let is_same = |bound: &BoundGroup| {
                        let anew = bound.external_id.as_deref();
                        bound.group == stored.id
                            || (anew.is_some() && anew == member_of(document, "externalId").as_str())
                    };
                    match bindings.get(&key) {
                        Some(bound) if is_same(bound) && wanted != name => match role.on_rename {
                            OnRename::Follow => "",
                            OnRename::Release => "it was renamed, and the role goes by its old name",
                        },
                        Some(bound) if !is_same(bound) && wanted == name => {
                            "the role's name stands for another group, which had it first"
                        }
                        _ if wanted != name => continue,
                        _ if is_shared(tx, directory, wanted)? => "more than one group has this name",
                        _ => "",
                    }
                }
                _ => continue,
            };
            found.push(json!({
                "role": role.name, "rule": rule.to_string(), "gives": why_not.is_empty(), "why_not": why_not,
            }));
        }
    }
    Ok(found)
}

/// Whether several groups of a directory are called so.
fn is_shared(tx: &mut ReadTx<'_>, directory: &Directory, name: &str) -> Result<bool, AdminError> {
    let path = AttrPath { urn: None, name: "displayName".to_owned(), sub: None };
    let called = Filter::Compare { path, op: CompareOp::Eq, value: Literal::String(name.to_owned()) };
    let bound = filter::bind(&called, Registry::standard().resource(ResourceType::Group))?;
    let (found, _) =
        query::page_behind(tx, &directory.reference, ResourceType::Group, Some(&bound), 0, CANDIDATES)?;
    let same = found.iter().filter(|one| member_of(&document(one), "displayName").as_str() == Some(name));
    Ok(same.count() > 1)
}

/// The user an operator means, with its `userName`.
pub(super) fn user(tx: &mut ReadTx<'_>, name: &str) -> Result<(Subject, String), AdminError> {
    let (directory, stored) = find(tx, ResourceType::User, name)?;
    let document = document(&stored);
    let user_name = member_of(&document, "userName").as_str().unwrap_or_default().to_owned();
    Ok((Subject { directory: directory.id, user: stored.id }, user_name))
}

/// The subject an operator means.
pub(super) fn subject(tx: &mut ReadTx<'_>, name: &str) -> Result<Subject, AdminError> {
    let (directory, stored) = find(tx, ResourceType::User, name)?;
    Ok(Subject { directory: directory.id, user: stored.id })
}

/// The id of the user or group an operator means.
pub(super) fn id(tx: &mut ReadTx<'_>, kind: ResourceType, name: &str) -> Result<ResourceId, AdminError> {
    find(tx, kind, name).map(|(_, stored)| stored.id)
}

fn find(tx: &mut ReadTx<'_>, kind: ResourceType, name: &str) -> Result<(Directory, Stored), AdminError> {
    let directories = directory::list(tx)?;
    // A directory id holds no slash and no resource id does, so one form is never mistaken for the other.
    let (scope, rest) = match name.split_once('/') {
        Some((scope, rest)) if directories.iter().any(|d| d.id.as_str() == scope) => (Some(scope), rest),
        _ => (None, name),
    };
    let within = |d: &Directory| scope.is_none_or(|scope| d.id.as_str() == scope);
    if let Some(id) = ResourceId::parse(rest) {
        let owner = facts::locate(tx, &id)?.map(|(directory, _)| directory);
        let directory = directories.into_iter().filter(within).find(|d| owner.as_ref() == Some(&d.id));
        if let Some(directory) = directory
            && let Some(stored) = resource::find(tx, &directory.reference, kind, &id)?
        {
            return Ok((directory, stored));
        }
        return Err(nobody(kind, name));
    }
    let registry = Registry::standard();
    let names: &[&str] = match kind {
        ResourceType::User => &["userName", "externalId", "emails"],
        ResourceType::Group => &["displayName", "externalId"],
    };
    // The first attribute that finds anybody decides: a user name is not made ambiguous by another's e-mail.
    for attribute in names {
        let wanted = Filter::Compare {
            path: AttrPath { urn: None, name: (*attribute).to_owned(), sub: None },
            op: CompareOp::Eq,
            value: Literal::String(rest.to_owned()),
        };
        let bound = filter::bind(&wanted, registry.resource(kind))?;
        let mut found = Vec::new();
        for directory in directories.iter().filter(|d| within(d)) {
            let window = Window::Index { skip: 0, count: CANDIDATES };
            let page = query::list(tx, &directory.reference, kind, Some(&bound), None, window)?;
            found.extend(page.items.into_iter().map(|stored| (directory.clone(), stored)));
        }
        match found.len() {
            0 => {}
            1 => return found.pop().ok_or_else(|| nobody(kind, name)),
            _ => return Err(ambiguous(kind, name, &found)),
        }
    }
    Err(nobody(kind, name))
}

fn word(kind: ResourceType) -> &'static str {
    if kind == ResourceType::User { "user" } else { "group" }
}

fn nobody(kind: ResourceType, name: &str) -> AdminError {
    let word = word(kind);
    AdminError::absent(format!("there is no {word} `{name}`"), format!("`rosterd {word} list` shows all"))
}

fn ambiguous(kind: ResourceType, name: &str, found: &[(Directory, Stored)]) -> AdminError {
    let all: Vec<String> = found.iter().map(|(d, stored)| format!("{}/{}", d.id, stored.id)).collect();
    AdminError::new(
        409,
        format!("more than one {} is called `{name}`", word(kind)),
        format!("name one of {}", all.join(", ")),
    )
}
