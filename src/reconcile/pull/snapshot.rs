//! The present state as events: a start, each directory, user and group, an end.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::access::{DirectoryFacts, GroupFacts, UserFacts};
use crate::mirror::StoreError;
use crate::model::{Epoch, EventId, ResourceId, Timestamp};
use crate::reconcile::event::{Event, Kind};
use crate::reconcile::snapshot::Snapshot;

use super::{Cursor, Told, Wanted};

/// The state at one change, told piece by piece. It holds no transaction: a slow reader keeps no more than this
/// picture alive.
pub struct Picture {
    snapshot: Arc<Snapshot>,
    epoch: Epoch,
    at: Timestamp,
    wanted: Wanted,
    step: Step,
    waiting: VecDeque<Event>,
    previous: Option<EventId>,
}

/// What is told next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Directory(usize),
    User(usize, usize),
    Group(usize, usize),
    End,
    Over,
}

/// Members named in one part of a group: their ids stay under the bound of a body.
const PART_MEMBERS_MAX: usize = 300;

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Picture {
    pub(super) fn new(snapshot: Arc<Snapshot>, epoch: Epoch, at: Timestamp, wanted: Wanted) -> Self {
        let (step, waiting) = (Step::Start, VecDeque::new());
        Self { snapshot, epoch, at, wanted, step, waiting, previous: None }
    }

    /// Where to go on once it is told.
    pub fn next(&self) -> Cursor {
        Cursor::behind(self.epoch, self.snapshot.seq())
    }

    /// At most `count` further events; none once it is told whole.
    ///
    /// # Errors
    /// [`StoreError::Bug`]: an event cannot be written.
    pub fn some(&mut self, count: usize) -> Result<Vec<Told>, StoreError> {
        let mut told = Vec::new();
        while told.len() < count {
            let Some(event) = self.event() else { break };
            if !self.wanted.filter.wants(event.kind) {
                continue;
            }
            let id = event.id(self.epoch, self.previous);
            told.push(super::render(&event, &self.wanted.body, id, self.previous)?.told()?);
            self.previous = Some(id);
        }
        Ok(told)
    }

    fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let snapshot = Arc::clone(&self.snapshot);
            let directories = &snapshot.facts.directories;
            self.step = match self.step {
                Step::Start => {
                    self.mark(Kind::SnapshotStarted);
                    Step::Directory(0)
                }
                Step::Directory(at) => match directories.get(at) {
                    Some(directory) => {
                        let data = json!({"directory": directory.id, "enabled": directory.enabled});
                        self.push(Kind::DirectorySnapshot, Some(directory.id.to_string()), data);
                        Step::User(at, 0)
                    }
                    None => Step::End,
                },
                Step::User(at, n) => match directories.get(at).and_then(|one| Some((one, one.users.get(n)?)))
                {
                    Some((directory, user)) => {
                        self.user(directory, user);
                        Step::User(at, n.saturating_add(1))
                    }
                    None => Step::Group(at, 0),
                },
                Step::Group(at, n) => {
                    match directories.get(at).and_then(|one| Some((one, one.groups.get(n)?))) {
                        Some((directory, group)) => {
                            self.group(directory, group);
                            Step::Group(at, n.saturating_add(1))
                        }
                        None => Step::Directory(at.saturating_add(1)),
                    }
                }
                Step::End => {
                    self.mark(Kind::SnapshotFinished);
                    Step::Over
                }
                Step::Over => return None,
            };
        }
    }

    fn push(&mut self, kind: Kind, resource: Option<String>, data: Value) {
        let data = match data {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        let seq = self.snapshot.seq();
        self.waiting.push_back(Event { kind, seq, n: None, resource, at: self.at, person: None, data });
    }

    fn mark(&mut self, kind: Kind) {
        let all = [Kind::DirectorySnapshot, Kind::GroupSnapshot, Kind::UserSnapshot];
        let scope: Vec<&str> =
            all.into_iter().filter(|kind| self.wanted.filter.wants(*kind)).map(Kind::as_str).collect();
        let directories = &self.snapshot.facts.directories;
        let users: usize = directories.iter().map(|one| one.users.len()).sum();
        let groups: usize = directories.iter().map(|one| one.groups.len()).sum();
        let counts = json!({"directories": directories.len(), "groups": groups, "users": users});
        self.push(kind, None, json!({"scope": scope, "counts": counts}));
    }

    fn user(&mut self, directory: &DirectoryFacts, user: &UserFacts) {
        let id = user.id;
        let data = json!({
            "directory": directory.id,
            "user": {"id": id, "ref": format!("/Users/{id}"), "userName": user.user_name},
            "active": user.active,
            "values": *user.doc,
        });
        self.push(Kind::UserSnapshot, Some(id.to_string()), data);
    }

    fn group(&mut self, directory: &DirectoryFacts, group: &GroupFacts) {
        let id = group.id;
        let members: Vec<(bool, ResourceId)> = group
            .users
            .iter()
            .map(|user| (true, *user))
            .chain(group.groups.iter().map(|nested| (false, *nested)))
            .collect();
        let parts = members.len().div_ceil(PART_MEMBERS_MAX).max(1);
        for part in 0..parts {
            let here = members.iter().skip(part.saturating_mul(PART_MEMBERS_MAX)).take(PART_MEMBERS_MAX);
            let ids = |users: bool| -> Vec<ResourceId> {
                here.clone().filter(|(is_user, _)| *is_user == users).map(|(_, id)| *id).collect()
            };
            let mut data = json!({
                "directory": directory.id,
                "group": {"id": id, "ref": format!("/Groups/{id}"), "displayName": group.display_name},
                "users": ids(true),
                "groups": ids(false),
                "members": members.len(),
                "part": part.saturating_add(1),
                "parts": parts,
            });
            if part == 0
                && let Some(data) = data.as_object_mut()
            {
                let mut values = json!({"displayName": group.display_name});
                if let (Some(external), Some(values)) = (&group.external_id, values.as_object_mut()) {
                    values.insert("externalId".to_owned(), external.as_str().into());
                }
                data.insert("values".to_owned(), values);
            }
            self.push(Kind::GroupSnapshot, Some(id.to_string()), data);
        }
    }
}
