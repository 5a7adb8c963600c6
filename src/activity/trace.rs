//! A recording as a trace: requests that can be sent again, in the form that `rosterd replay` and the traces of other
//! identity providers share, with what to expect of each answer.
//!
//! The ids that the recording server gave mean nothing to another. A resource that the recording creates is named by
//! the variable its creation saves; one that was there before is created by a step in front, out of what the answers
//! tell of it; an id that nobody ever had stays one that nobody has. Steps at the end take everything away again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::entry::{Kept, Row};
use super::recording::About;
use super::scrub::is_ours;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// Most resources that are created in front.
const BEFORE_MAX: usize = 1_000;
/// Attributes whose value an answer must repeat exactly; of others only that they are there.
const EXACT: [&str; 4] = ["userName", "displayName", "externalId", "active"];

/// The document.
pub(super) fn document(rows: &[Row], about: &About, kind: &str) -> Value {
    let all: Vec<(&Row, &Kept)> = rows.iter().filter_map(|row| Some((row, row.kept.as_deref()?))).collect();
    let mut ids = Ids::find(&all);
    let mut steps: Vec<Value> = ids.before.clone().iter().map(|one| ids.creation(one)).collect();
    let before = steps.len();
    for (row, kept) in &all {
        steps.push(ids.step(row, kept));
    }
    steps.extend(ids.clean_up());
    json!({
        "name": format!("{kind}: {} requests captured", all.len()),
        "idp": kind,
        "captured": {
            "version": env!("CARGO_PKG_VERSION"),
            "requests": all.len(), "steps_before": before,
            "from": all.first().map(|(row, _)| row.at.to_string()), "to": all.last().map(|(row, _)| row.at.to_string()),
            "replaced": about.replaced, "left_out": about.too_large,
        },
        "steps": steps,
    })
}

/// A resource that was there before the recording began.
#[derive(Debug, Clone)]
struct Before {
    id: String,
    is_group: bool,
    /// What the first answer about it says; null if none does.
    known: Value,
}

/// Which of the ids can be named, and how.
#[derive(Debug, Default)]
struct Ids {
    before: Vec<Before>,
    /// Who was a member of what, as far as answers and removals tell: pairs of group and member.
    members: BTreeSet<(String, String)>,
    /// Variables by id, once their step is past.
    names: BTreeMap<String, String>,
    /// Made up for ids that nobody has.
    nobody: BTreeMap<String, String>,
    /// What is still there, in the order of its creation.
    alive: Vec<(String, bool)>,
    users: usize,
    groups: usize,
}

impl Ids {
    /// Goes through the recording once: who is created in it, who was there before, who never.
    fn find(all: &[(&Row, &Kept)]) -> Self {
        let mut ids = Self::default();
        let mut created = BTreeSet::new();
        let mut before: BTreeMap<String, Before> = BTreeMap::new();
        let mut note = |id: &str, is_group: bool, known: &Value, created: &BTreeSet<String>| {
            if created.contains(id) || before.len() >= BEFORE_MAX && !before.contains_key(id) {
                return;
            }
            let one = before.entry(id.to_owned()).or_insert_with(|| Before {
                id: id.to_owned(),
                is_group,
                known: Value::Null,
            });
            if one.known.is_null() && !known.is_null() {
                one.known = known.clone();
            }
        };
        for (row, kept) in all {
            let of_path = resource_of(&kept.target);
            if let Some(id) = created_by(row, kept) {
                created.insert(id.to_owned());
            }
            for resource in resources(kept.answer.as_ref()) {
                if let Some(id) = resource.get("id").and_then(Value::as_str).filter(|id| is_ours(id)) {
                    note(id, is_group(resource), resource, &created);
                }
            }
            if let Some((id, is_group)) = of_path.filter(|_| row.status != 404) {
                note(id, is_group, &Value::Null, &created);
            }
            if let Some((group, true)) = of_path.filter(|_| row.method == "PATCH" && row.status < 400) {
                let gone = removed_members(kept.body.as_ref()).into_iter();
                ids.members.extend(gone.map(|id| (group.to_owned(), id)));
            }
            if row.status < 400 && kept.target.starts_with("/Groups") {
                for id in values_of_members(kept.body.as_ref()) {
                    note(&id, false, &Value::Null, &created);
                }
            }
        }
        // A user's groups are there before, too.
        let of_users: Vec<(String, Value)> = before
            .values()
            .filter(|one| !one.is_group)
            .flat_map(|one| groups_of(&one.known).into_iter().map(|(id, group)| (id, group, one.id.clone())))
            .filter(|(id, ..)| !created.contains(id))
            .map(|(id, group, user)| {
                ids.members.insert((id.clone(), user));
                (id, group)
            })
            .collect();
        for (id, known) in of_users {
            let one = Before { id: id.clone(), is_group: true, known };
            before.entry(id).or_insert(one);
        }
        let mut found: Vec<Before> = before.into_values().collect();
        found.sort_by_key(|one| one.is_group);
        ids.before = found;
        ids
    }

    /// The step that makes a resource as it was before.
    fn creation(&mut self, one: &Before) -> Value {
        let number = if one.is_group { self.groups } else { self.users } + 1;
        let mut body = match &one.known {
            Value::Object(known) => known.clone(),
            _ => Map::new(),
        };
        for gone in ["id", "meta", "groups"] {
            body.remove(gone);
        }
        if let Some(members) = body.get_mut("members").and_then(Value::as_array_mut) {
            members.retain(|member| {
                member.get("value").and_then(Value::as_str).is_some_and(|id| self.names.contains_key(id))
            });
            for member in members.iter_mut().filter_map(Value::as_object_mut) {
                member.retain(|key, _| key == "value");
            }
        }
        let members: Vec<Value> = self
            .members
            .iter()
            .filter(|(group, member)| *group == one.id && self.names.contains_key(member))
            .map(|(_, member)| json!({ "value": member }))
            .collect();
        if !members.is_empty() {
            let all = body.entry("members").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.extend(members.into_iter().filter(|member| !all.contains(member)).collect::<Vec<_>>());
            }
        }
        for extension in body.values_mut().filter_map(Value::as_object_mut) {
            extension.remove("manager");
        }
        let (schema, name) = if one.is_group { (GROUP, "displayName") } else { (USER, "userName") };
        body.entry("schemas").or_insert_with(|| json!([schema]));
        body.entry(name).or_insert_with(|| format!("before-{number}-${{run}}").into());
        let body = self.replaced(&Value::Object(body));
        let variable = self.name(&one.id, one.is_group);
        let endpoint = if one.is_group { "/Groups" } else { "/Users" };
        json!({
            "name": format!("before: {} {number} was there", if one.is_group { "group" } else { "user" }),
            "request": { "method": "POST", "path": endpoint, "headers": {}, "body": body },
            "expect": { "status": [201] },
            "save": { variable: "/id" },
        })
    }

    fn name(&mut self, id: &str, is_group: bool) -> String {
        let count = if is_group { &mut self.groups } else { &mut self.users };
        *count += 1;
        let name = format!("{}{count}", if is_group { "g" } else { "u" });
        self.names.insert(id.to_owned(), name.clone());
        self.alive.push((id.to_owned(), is_group));
        name
    }

    fn step(&mut self, row: &Row, kept: &Kept) -> Value {
        let mut headers = Map::new();
        // What the player sends by itself and the client did not is taken away.
        for name in ["Accept", "Content-Type"].into_iter().filter(|name| !kept.headers.contains_key(*name)) {
            if name == "Accept" || kept.body.is_some() {
                headers.insert(name.to_owned(), Value::Null);
            }
        }
        headers.extend(kept.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        let mut step = json!({
            "name": format!("{} {}", row.method, row.route),
            "request": {
                "method": row.method,
                "path": self.text(&kept.target),
                "headers": headers,
                "body": kept.body.as_ref().map(|body| self.replaced(body)),
            },
            "expect": self.expected(row, kept),
        });
        if let Some(id) = created_by(row, kept) {
            let name = self.name(id, row.route == "Groups");
            if let Some(step) = step.as_object_mut() {
                step.insert("save".to_owned(), json!({ name: "/id" }));
            }
        }
        if row.method == "DELETE" && row.status == 204 {
            let gone = resource_of(&kept.target).map(|(id, _)| id);
            self.alive.retain(|(id, _)| Some(id.as_str()) != gone);
        }
        step
    }

    /// Status and shape of the answer.
    fn expected(&mut self, row: &Row, kept: &Kept) -> Value {
        let mut expect = Map::new();
        expect.insert("status".to_owned(), json!([row.status]));
        let Some(Value::Object(answer)) = kept.answer.as_ref().filter(|_| row.status != 204) else {
            return Value::Object(expect);
        };
        let mut told = Map::new();
        let is_list = answer.contains_key("totalResults");
        if is_list {
            // Without a filter a list tells what else there is, and that is another server's own.
            if kept.target.contains("filter=") {
                told.insert(
                    "/totalResults".to_owned(),
                    answer.get("totalResults").cloned().unwrap_or_default(),
                );
            }
            let count = answer.get("Resources").and_then(Value::as_array).map_or(0, Vec::len);
            if kept.target.contains("filter=") {
                told.insert("/Resources".to_owned(), json!({ "$count": count }));
            }
        } else if row.status >= 400 {
            for key in ["status", "scimType"] {
                if let Some(value) = answer.get(key) {
                    told.insert(format!("/{key}"), value.clone());
                }
            }
        } else {
            for (key, value) in answer.iter().filter(|(key, _)| !matches!(key.as_str(), "schemas" | "meta")) {
                let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                let wanted = match value {
                    _ if EXACT.contains(&key.as_str()) => self.replaced(value),
                    Value::Array(all) => json!({ "$count": all.len() }),
                    Value::Null => continue,
                    _ => json!({ "$regex": "." }),
                };
                told.insert(pointer, wanted);
            }
        }
        expect.insert("json".to_owned(), Value::Object(told));
        expect.insert("header".to_owned(), json!({ "Content-Type": "^application/(scim\\+)?json" }));
        Value::Object(expect)
    }

    fn clean_up(&self) -> Vec<Value> {
        let step = |(id, is_group): &(String, bool)| {
            let name = self.names.get(id)?;
            let endpoint = if *is_group { "Groups" } else { "Users" };
            Some(json!({
                "name": format!("after: {name} goes"),
                "request": { "method": "DELETE", "path": format!("/{endpoint}/${{{name}}}"), "headers": {}, "body": null },
                "expect": { "status": [204] },
            }))
        };
        self.alive.iter().rev().filter_map(step).collect()
    }

    fn replaced(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(all) => Value::Array(all.iter().map(|one| self.replaced(one)).collect()),
            Value::Object(all) => {
                Value::Object(all.iter().map(|(key, value)| (self.text(key), self.replaced(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// `text` with each of our ids as its variable, or as an id that nobody has.
    fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, id, after)) = next_id(rest) {
            out.push_str(before);
            if let Some(name) = self.names.get(id) {
                out.extend(["${", name, "}"]);
            } else {
                let number = self.nobody.len() + 1;
                let made = self.nobody.entry(id.to_owned());
                out.push_str(made.or_insert_with(|| format!("00000000-0000-7000-8000-{number:012x}")));
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// The first of our ids in `text`, with what stands before and behind it.
fn next_id(text: &str) -> Option<(&str, &str, &str)> {
    (0..text.len().saturating_sub(35)).find_map(|at| {
        let id = text.get(at..at + 36).filter(|id| is_ours(id))?;
        Some((text.get(..at)?, id, text.get(at + 36..)?))
    })
}

/// The resource that a path names, and whether it is a group.
fn resource_of(target: &str) -> Option<(&str, bool)> {
    let path = target.split('?').next()?;
    let (endpoint, id) = path.strip_prefix('/')?.split_once('/')?;
    is_ours(id).then(|| (id, endpoint.eq_ignore_ascii_case("groups")))
}

/// The id that a request created.
fn created_by<'a>(row: &Row, kept: &'a Kept) -> Option<&'a str> {
    let is_creation = row.status == 201 && matches!(row.route.as_str(), "Users" | "Groups");
    kept.answer.as_ref().filter(|_| is_creation)?.get("id")?.as_str().filter(|id| is_ours(id))
}

/// Every resource that an answer shows: itself, or those of its list.
fn resources(answer: Option<&Value>) -> Vec<&Value> {
    let Some(answer) = answer else { return Vec::new() };
    match answer.get("Resources").and_then(Value::as_array) {
        Some(all) => all.iter().collect(),
        None => vec![answer],
    }
}

fn is_group(resource: &Value) -> bool {
    resource.pointer("/meta/resourceType").is_some_and(|kind| kind == "Group")
        || resource
            .get("schemas")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|one| one == GROUP))
}

/// The groups that a user's answer names, each as far as it is known from there.
fn groups_of(user: &Value) -> Vec<(String, Value)> {
    let all = user.get("groups").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(|group| group.get("type").is_none_or(|kind| kind == "direct"))
        .filter_map(|group| {
            let id = group.get("value")?.as_str().filter(|id| is_ours(id))?;
            let known = group.get("display").map_or(Value::Null, |name| json!({ "displayName": name }));
            Some((id.to_owned(), known))
        })
        .collect()
}

/// Ids of the members that a PATCH takes out of a group.
fn removed_members(body: Option<&Value>) -> Vec<String> {
    let operations = body.and_then(|body| {
        let object = body.as_object()?;
        object.iter().find(|(key, _)| key.eq_ignore_ascii_case("operations"))?.1.as_array()
    });
    operations
        .into_iter()
        .flatten()
        .filter(|one| {
            one.get("op").and_then(Value::as_str).is_some_and(|op| op.eq_ignore_ascii_case("remove"))
        })
        .flat_map(|one| values_of_members(Some(one)))
        .collect()
}

/// Ids in the body of a request about a group: its members.
fn values_of_members(body: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<&Value> = body.into_iter().collect();
    while let Some(next) = left.pop() {
        match next {
            Value::String(text) => {
                let mut rest = text.as_str();
                while let Some((_, id, after)) = next_id(rest) {
                    found.push(id.to_owned());
                    rest = after;
                }
            }
            Value::Array(all) => left.extend(all),
            Value::Object(all) => left.extend(all.values()),
            _ => {}
        }
    }
    found
}
