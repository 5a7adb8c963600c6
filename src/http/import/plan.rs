//! What a file would make of a directory. Reads one snapshot, writes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{CHANGES_MAX, Gathered, MEMBERSHIPS_MAX};
use crate::import::{Problem, Record, Reference};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::matching;
use crate::mirror::resource::{self, Stored};
use crate::mirror::{ReadTx, StoreError, member};
use crate::model::{DirectoryKind, ResourceId, ResourceType, Seq};
use crate::scim::dialect::{self, Quirks, Used};
use crate::scim::filter::fold;
use crate::scim::resource::{Doc, Draft, Mode, Rules, draft, merge_put};
use crate::scim::schema::{Registry, ResourceSchema};

/// What is done with one user or group.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It is new.
    Create,
    /// These top-level attributes get other values; empty: only its members differ.
    Update(ResourceId, Vec<String>),
    /// It is as the file says.
    Leave(ResourceId),
    /// The file does not name this active user.
    Deactivate(ResourceId),
    /// The file does not name this group.
    Delete(ResourceId),
}

impl Act {
    /// `create`, `update`, `leave`, `deactivate`, `delete`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(..) => "update",
            Self::Leave(_) => "leave",
            Self::Deactivate(_) => "deactivate",
            Self::Delete(_) => "delete",
        }
    }

    /// The resource that is there already.
    pub fn id(&self) -> Option<ResourceId> {
        match self {
            Self::Create => None,
            Self::Update(id, _) | Self::Leave(id) | Self::Deactivate(id) | Self::Delete(id) => Some(*id),
        }
    }
}

/// A member that joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Member {
    /// It is there already.
    Known(ResourceId),
    /// The step that makes it.
    New(usize),
}

/// One user or group of the plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where in the file; empty for what the file does not name.
    pub at: String,
    /// User or Group.
    pub kind: ResourceType,
    /// `userName` or `displayName`.
    pub name: String,
    /// What is done.
    pub act: Act,
    /// Its version when the plan was made.
    pub(super) version: u64,
    /// The whole document as it will be.
    pub(super) doc: Doc,
    /// Who joins.
    pub(super) join: Vec<Member>,
    /// Who leaves.
    pub(super) leave: Vec<ResourceId>,
}

impl Step {
    /// How many members join.
    pub fn joining(&self) -> usize {
        self.join.len()
    }

    /// How many members leave.
    pub fn leaving(&self) -> usize {
        self.leave.len()
    }

    /// Whether anything is done.
    pub fn is_change(&self) -> bool {
        !matches!(self.act, Act::Leave(_))
    }
}

/// What a file would make of a directory.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The newest change of the snapshot it was made from.
    pub seq: Seq,
    /// What is done, in the order of the file, then what the file does not name.
    pub steps: Vec<Step>,
    /// Why it cannot be carried out.
    pub problems: Vec<Problem>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Names what would be done; the same plan has the same.
    pub hash: String,
}

impl Plan {
    /// How many steps do this to resources of this type.
    pub fn count(&self, act: &str, kind: ResourceType) -> usize {
        self.steps.iter().filter(|step| step.kind == kind && step.act.as_str() == act).count()
    }
}

/// Makes the plan of a file.
///
/// # Errors
/// [`StoreError`] from the engine; what is wrong with the file is in [`Plan::problems`].
pub fn make(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    registry: &Registry,
    gathered: &Gathered,
) -> Result<Plan, StoreError> {
    let mut maker = Maker {
        directory,
        registry,
        gathered,
        plan: Plan {
            seq: tx.seq()?,
            problems: gathered.problems.clone(),
            notes: gathered.notes.clone(),
            ..Plan::default()
        },
        names: Names::default(),
        taken: HashMap::new(),
        unknown: 0,
    };
    for record in &gathered.records {
        maker.record(tx, record)?;
    }
    maker.members(tx)?;
    if gathered.options.replace {
        maker.unnamed(tx)?;
    }
    Ok(maker.finish())
}

struct Maker<'a> {
    directory: &'a DirectoryRef,
    registry: &'a Registry,
    gathered: &'a Gathered,
    plan: Plan,
    names: Names,
    /// Resources that a record was matched with, and where that record stands.
    taken: HashMap<ResourceId, String>,
    unknown: usize,
}

/// What members may be called by, and the steps that are called so.
#[derive(Default)]
struct Names {
    /// From the record on: id or DN, externalId, folded userName or a group's displayName, a user's displayName.
    /// Two steps of each type at most: that is enough to know that a name is several's.
    by: [HashMap<String, Vec<(ResourceType, usize)>>; 4],
}

impl Names {
    fn note(&mut self, level: usize, name: &str, kind: ResourceType, step: usize) {
        let Some(by) = self.by.get_mut(level) else { return };
        let known = by.entry(name.to_owned()).or_default();
        let is_noted = known.last() == Some(&(kind, step));
        if !is_noted && known.iter().filter(|(other, _)| *other == kind).count() < 2 {
            known.push((kind, step));
        }
    }
}

/// A record's body as a whole document.
struct Drafted {
    doc: Doc,
    /// Attributes that the body sets to null.
    cleared: Vec<String>,
}

impl Maker<'_> {
    fn problem(&mut self, at: &str, attribute: &str, message: impl Into<String>) {
        let (at, attribute) = (at.to_owned(), attribute.to_owned());
        self.plan.problems.push(Problem { at, attribute, message: message.into() });
    }

    fn record(&mut self, tx: &mut ReadTx<'_>, record: &Record) -> Result<(), StoreError> {
        let schema = self.registry.resource(record.kind);
        let mut step = Step {
            at: record.at.clone(),
            kind: record.kind,
            name: String::new(),
            act: Act::Create,
            version: 0,
            doc: Doc::new(),
            join: Vec::new(),
            leave: Vec::new(),
        };
        match drafted(schema, record) {
            Err(error) => {
                let attribute = quoted(&error.detail).to_owned();
                self.problem(&record.at, &attribute, error.detail);
                // Those who name it have made no mistake of their own.
                self.name(record, &record.body, &mut step);
            }
            Ok(drafted) => {
                self.name(record, &drafted.doc, &mut step);
                let found = self.matching(tx, record, &drafted.doc)?;
                if let Err(error) = settle(schema, drafted, found.as_ref(), &mut step)? {
                    let attribute = quoted(&error.detail).to_owned();
                    self.problem(&record.at, &attribute, error.detail);
                }
            }
        }
        self.plan.steps.push(step);
        Ok(())
    }

    /// Notes what the record may be called by, and that nobody else of the file is called so.
    fn name(&mut self, record: &Record, doc: &Doc, step: &mut Step) {
        let n = self.plan.steps.len();
        let text = |name: &str| doc.get(name).and_then(Value::as_str).unwrap_or_default();
        let (own, display) = match record.kind {
            ResourceType::User => ("userName", text("displayName")),
            ResourceType::Group => ("displayName", ""),
        };
        text(own).clone_into(&mut step.name);
        for name in &record.names {
            self.names.note(0, name, record.kind, n);
        }
        let external = text("externalId");
        let key = format!("{}:{}", record.kind, fold(text(own)));
        let twice = |names: &HashMap<String, Vec<(ResourceType, usize)>>, key: &str, steps: &[Step]| {
            let (_, first) = names.get(key)?.iter().find(|(kind, _)| *kind == record.kind)?;
            Some(steps.get(*first)?.at.clone())
        };
        let [_, externals, owns, _] = &self.names.by;
        let mut problems = Vec::new();
        if !external.is_empty()
            && let Some(first) = twice(externals, external, &self.plan.steps)
        {
            problems.push(("externalId", first));
        }
        // Groups of one name are told apart by their externalId.
        if !text(own).is_empty()
            && (record.kind == ResourceType::User || external.is_empty())
            && let Some(first) = twice(owns, &key, &self.plan.steps)
        {
            problems.push((own, first));
        }
        for (attribute, first) in problems {
            self.problem(&record.at, attribute, format!("this {attribute} was given before, at {first}"));
        }
        if !external.is_empty() {
            self.names.note(1, external, record.kind, n);
        }
        if !text(own).is_empty() {
            self.names.note(2, &key, record.kind, n);
        }
        if !display.is_empty() {
            self.names.note(3, &fold(display), record.kind, n);
        }
    }

    /// The resource of the directory that the record means: by externalId, then by userName or a group's displayName.
    fn matching(
        &mut self,
        tx: &mut ReadTx<'_>,
        record: &Record,
        doc: &Doc,
    ) -> Result<Option<Stored>, StoreError> {
        let text = |name: &str| doc.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let by_external = match text("externalId") {
            Some(external) => matching::by_external_id(tx, self.directory, record.kind, external)?,
            None => None,
        };
        let by_name = match (record.kind, text("userName"), text("displayName")) {
            (ResourceType::User, Some(name), _) => matching::by_user_name(tx, self.directory, name)?,
            (ResourceType::Group, _, Some(name)) if by_external.is_none() => {
                let mut found = matching::groups_named(tx, self.directory, name)?;
                if found.len() > 1 {
                    let why = "the directory has several groups of this name; give the externalId of one";
                    self.problem(&record.at, "displayName", why);
                }
                found.pop()
            }
            _ => None,
        };
        let found = match (by_external, by_name) {
            (Some(one), Some(other)) if one.id != other.id => {
                let why = format!(
                    "its externalId is that of user {}, its userName that of user {}",
                    one.id, other.id
                );
                self.problem(&record.at, "userName", why);
                return Ok(None);
            }
            (one, other) => one.or(other),
        };
        if let Some(found) = &found
            && let Some(first) = self.taken.insert(found.id, record.at.clone())
        {
            let why = format!("this is the same {} of the directory as at {first}", record.kind);
            self.problem(&record.at, "", why);
        }
        Ok(found)
    }

    /// Finds who is meant by each member.
    fn members(&mut self, tx: &mut ReadTx<'_>) -> Result<(), StoreError> {
        for (n, record) in self.gathered.records.iter().enumerate() {
            let Some(references) = &record.members else { continue };
            let mut wanted = Vec::with_capacity(references.len());
            let mut seen = HashSet::with_capacity(references.len());
            for reference in references {
                match self.meant(tx, reference)? {
                    Ok(member) if member == self.own(n) => {
                        self.problem(&record.at, "members", "the group names itself");
                    }
                    Ok(member) => {
                        if seen.insert(member) {
                            wanted.push(member);
                        }
                    }
                    Err(_) if self.gathered.options.skip_unknown => self.unknown += 1,
                    Err(why) => self.problem(&record.at, "members", why),
                }
            }
            self.difference(tx, n, wanted, &seen)?;
        }
        Ok(())
    }

    fn own(&self, n: usize) -> Member {
        match self.plan.steps.get(n).and_then(|step| step.act.id()) {
            Some(id) => Member::Known(id),
            None => Member::New(n),
        }
    }

    /// Who joins and who leaves.
    fn difference(
        &mut self,
        tx: &mut ReadTx<'_>,
        n: usize,
        wanted: Vec<Member>,
        wanted_set: &HashSet<Member>,
    ) -> Result<(), StoreError> {
        let Some(step) = self.plan.steps.get_mut(n) else { return Ok(()) };
        let Some(id) = step.act.id() else {
            step.join = wanted;
            return Ok(());
        };
        let Some(stored) = resource::find(tx, self.directory, ResourceType::Group, &id)? else {
            return Ok(());
        };
        let present: HashSet<ResourceId> =
            member::members(tx, self.directory, &stored)?.into_iter().map(|one| one.id).collect();
        let is_new = |member: &Member| !matches!(member, Member::Known(id) if present.contains(id));
        step.join = wanted.into_iter().filter(is_new).collect();
        if self.gathered.options.replace {
            let mut leave: Vec<ResourceId> =
                present.iter().copied().filter(|id| !wanted_set.contains(&Member::Known(*id))).collect();
            leave.sort_unstable();
            step.leave = leave;
        }
        if matches!(step.act, Act::Leave(_)) && !(step.join.is_empty() && step.leave.is_empty()) {
            step.act = Act::Update(id, Vec::new());
        }
        Ok(())
    }

    /// Who is meant: somebody of the file, else somebody of the directory.
    fn meant(
        &mut self,
        tx: &mut ReadTx<'_>,
        reference: &Reference,
    ) -> Result<Result<Member, String>, StoreError> {
        let shown: String = reference.name.chars().filter(|c| !c.is_control()).take(80).collect();
        let folded = fold(&reference.name);
        let keys = [
            (0, reference.name.clone()),
            (1, reference.name.clone()),
            (2, format!("User:{folded}")),
            (2, format!("Group:{folded}")),
            (3, folded),
        ];
        for (level, key) in keys {
            let Some(steps) = self.names.by.get(level).and_then(|by| by.get(&key)) else { continue };
            let fits =
                |(kind, _): &&(ResourceType, usize)| reference.kind.is_none_or(|wanted| wanted == *kind);
            let mut fitting = steps.iter().filter(fits);
            match (fitting.next(), fitting.next()) {
                (Some((_, n)), None) => return Ok(Ok(self.own(*n))),
                (Some(_), Some(_)) => {
                    return Ok(Err(format!("member `{shown}` is the name of several in the file")));
                }
                (None, _) => {}
            }
        }
        let found = self.in_directory(tx, reference)?;
        Ok(match found.as_slice() {
            [one] => Ok(Member::Known(*one)),
            [] => Err(format!("member `{shown}` is nobody of the file and nobody of the directory")),
            _ => Err(format!("member `{shown}` is the name of several in the directory")),
        })
    }

    fn in_directory(
        &self,
        tx: &mut ReadTx<'_>,
        reference: &Reference,
    ) -> Result<Vec<ResourceId>, StoreError> {
        let kinds: &[ResourceType] = match reference.kind {
            Some(ResourceType::User) => &[ResourceType::User],
            Some(ResourceType::Group) => &[ResourceType::Group],
            None => &[ResourceType::User, ResourceType::Group],
        };
        let mut found = Vec::new();
        if let Some(id) = ResourceId::parse(&reference.name) {
            for kind in kinds {
                found.extend(resource::find(tx, self.directory, *kind, &id)?.map(|one| one.id));
            }
        }
        if found.is_empty() {
            for kind in kinds {
                let one = matching::by_external_id(tx, self.directory, *kind, &reference.name)?;
                found.extend(one.map(|one| one.id));
            }
        }
        if found.is_empty() && kinds.contains(&ResourceType::User) {
            // `memberUid` names a login.
            let name = reference.name.strip_prefix("uid=").unwrap_or(&reference.name);
            found.extend(matching::by_user_name(tx, self.directory, name)?.map(|one| one.id));
        }
        if found.is_empty() && kinds.contains(&ResourceType::Group) {
            found.extend(
                matching::groups_named(tx, self.directory, &reference.name)?.iter().map(|one| one.id),
            );
        }
        Ok(found)
    }

    /// What the directory holds and the file does not name, of the types that the file speaks of.
    fn unnamed(&mut self, tx: &mut ReadTx<'_>) -> Result<(), StoreError> {
        for kind in [ResourceType::User, ResourceType::Group] {
            if !self.gathered.records.iter().any(|record| record.kind == kind) {
                self.plan.notes.push(format!("the file names no {kind}; those of the directory stay"));
                continue;
            }
            for one in matching::all(tx, self.directory, kind)? {
                if self.taken.contains_key(&one.id) || !one.active {
                    continue;
                }
                let act = match kind {
                    ResourceType::User => Act::Deactivate(one.id),
                    ResourceType::Group => Act::Delete(one.id),
                };
                self.plan.steps.push(Step {
                    at: String::new(),
                    kind,
                    name: one.name,
                    act,
                    version: one.version,
                    doc: Doc::new(),
                    join: Vec::new(),
                    leave: Vec::new(),
                });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        if self.unknown > 0 {
            self.plan.notes.push(format!("members left out that nobody knows: {}", self.unknown));
        }
        let changes = self.plan.steps.iter().filter(|step| step.is_change()).count();
        let memberships: usize = self.plan.steps.iter().map(|step| step.joining() + step.leaving()).sum();
        if changes > CHANGES_MAX || memberships > MEMBERSHIPS_MAX {
            let why = format!(
                "{changes} users and groups and {memberships} memberships would change; one import changes at most \
                 {CHANGES_MAX} and {MEMBERSHIPS_MAX}. Split the file, users first"
            );
            self.plan.problems.push(Problem {
                at: "the file".into(),
                attribute: String::new(),
                message: why,
            });
        }
        // In the file's order, whoever found them.
        self.plan.problems.sort_by_key(|problem| {
            problem.at.strip_prefix("line ").and_then(|line| line.parse::<usize>().ok()).unwrap_or(usize::MAX)
        });
        self.plan.hash = hash(&self.plan);
        self.plan
    }
}

/// Names what the plan does.
fn hash(plan: &Plan) -> String {
    let mut hasher = Sha256::new();
    for step in plan.steps.iter().filter(|step| step.is_change()) {
        let doc = serde_json::to_string(&step.doc).unwrap_or_default();
        let who = step.act.id().map(|id| id.to_string()).unwrap_or_default();
        for part in [step.act.as_str(), &who, &step.name, &doc] {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(step.version.to_be_bytes());
        hasher.update(step.join.len().to_be_bytes());
        for member in &step.join {
            match member {
                Member::Known(id) => hasher.update(id.as_bytes()),
                Member::New(n) => hasher.update(n.to_be_bytes()),
            }
        }
        for id in &step.leave {
            hasher.update(id.as_bytes());
        }
    }
    let digest = hasher.finalize();
    let digits = digest.iter().take(8).flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// What an error's text puts in backticks first: the attribute.
fn quoted(detail: &str) -> &str {
    detail.split('`').nth(1).unwrap_or_default()
}

/// The body through the tolerances that only accept more, and the schema.
fn drafted(schema: &ResourceSchema, record: &Record) -> Result<Drafted, crate::scim::error::Error> {
    let mut body = Value::Object(record.body.clone());
    let quirks = Quirks::for_kind(DirectoryKind::Generic);
    let mut used = Used::NONE;
    dialect::rewrite_resource(&mut body, quirks, schema, &mut used);
    let mut cleared = Vec::new();
    if let Value::Object(body) = &body {
        let empty = body.iter().filter(|(_, value)| value.is_null());
        cleared = empty.filter_map(|(key, _)| Some(schema.attribute(key)?.name.clone())).collect();
    }
    let Draft { doc, .. } = draft(schema, body, Mode::Replace, &Rules::default())?;
    Ok(Drafted { doc, cleared })
}

/// What becomes of the resource: the document as it will be, and which attributes differ.
fn settle(
    schema: &ResourceSchema,
    drafted: Drafted,
    found: Option<&Stored>,
    step: &mut Step,
) -> Result<Result<(), crate::scim::error::Error>, StoreError> {
    let Drafted { mut doc, cleared } = drafted;
    let Some(found) = found else {
        if schema.core.attribute("active").is_some() && !doc.contains_key("active") {
            doc.insert("active".to_owned(), Value::Bool(true));
        }
        step.doc = doc;
        return Ok(Ok(()));
    };
    let old: Doc = serde_json::from_str(&found.doc_text)
        .map_err(|error| StoreError::Bug(format!("a stored document is no JSON: {error}")))?;
    let mut whole = old.clone();
    for name in cleared {
        whole.shift_remove(&name);
    }
    merge(&mut whole, doc);
    let mut draft = Draft { doc: whole, members: None };
    if let Err(error) = merge_put(schema, &old, &mut draft) {
        return Ok(Err(error));
    }
    let names: BTreeSet<&String> = old.keys().chain(draft.doc.keys()).collect();
    let changed: Vec<String> =
        names.into_iter().filter(|name| old.get(*name) != draft.doc.get(*name)).cloned().collect();
    step.version = found.version;
    step.act = if changed.is_empty() { Act::Leave(found.id) } else { Act::Update(found.id, changed) };
    step.doc = draft.doc;
    Ok(Ok(()))
}

/// Puts what `new` says into `old`; objects part by part, everything else as a whole.
fn merge(old: &mut Doc, new: Doc) {
    for (name, value) in new {
        match (old.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                old.insert(name, value);
            }
        }
    }
}
