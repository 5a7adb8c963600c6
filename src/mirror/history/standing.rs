//! What stands besides users and groups: directories, tokens and people's decisions, folded from the few changes that
//! are about them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::mirror::change::{self, Change, Kind};
use crate::mirror::engine::{Param, StoreError};
use crate::mirror::tx::ReadTx;
use crate::model::{Seq, Timestamp};
use crate::scim::filter::fold;

/// Changes read at a time.
const STRIDE: u32 = 500;

/// One thing that stands.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mirror) struct Thing {
    /// The change that made it.
    pub(in crate::mirror) seq: Seq,
    /// When that was.
    pub(in crate::mirror) at: Timestamp,
    /// What is known of it.
    pub(in crate::mirror) body: Map<String, Value>,
}

impl Thing {
    /// A text of the body; empty if there is none, or it was erased.
    pub(in crate::mirror) fn text(&self, key: &str) -> &str {
        self.body.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The folded name that a decision is about.
fn name_of(body: &Map<String, Value>) -> Option<String> {
    body.get("user_name").and_then(Value::as_str).map(fold)
}

/// Everything that stands at one `seq`, by class and name. A directory's body has its `chain`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::mirror) struct Standing(pub(in crate::mirror) BTreeMap<(String, String), Thing>);

impl Standing {
    /// What stands at `seq`: the base's, and every change since.
    pub(in crate::mirror) fn at(tx: &mut ReadTx<'_>, base: Seq, seq: Seq) -> Result<Self, StoreError> {
        let mut standing = Self::of_base(tx)?;
        let mut done = base;
        loop {
            let condition = "WHERE c.resource IS NULL AND c.seq > ?1 AND c.seq <= ?2 ORDER BY c.seq LIMIT ?3";
            let params = [change::param(done), change::param(seq), Param::Int(i64::from(STRIDE))];
            let page = change::select(tx, condition, &params)?;
            let Some((_, last)) = page.last() else { return Ok(standing) };
            done = last.seq;
            for (chain, change) in &page {
                standing.apply(*chain, change);
            }
        }
    }

    /// What the base keeps.
    pub(in crate::mirror) fn of_base(tx: &mut ReadTx<'_>) -> Result<Self, StoreError> {
        let sql = "SELECT class, object, seq, at, body FROM base_standing ORDER BY class, object";
        let rows = tx.all(sql, &[], |row| {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            let seq = Seq(u64::try_from(row.int(2)?).unwrap_or(0));
            let body = super::state::part(Some(row.text(4)?));
            Ok((key, Thing { seq, at: Timestamp(row.int(3)?), body }))
        })?;
        Ok(Self(rows.into_iter().collect()))
    }

    /// The things of one class, by name.
    pub(in crate::mirror) fn class(&self, class: &str) -> impl Iterator<Item = (&str, &Thing)> {
        let from = (class.to_owned(), String::new());
        let mine = self.0.range(from..).take_while(move |((found, _), _)| found == class);
        mine.map(|((_, object), thing)| (object.as_str(), thing))
    }

    /// Moves over `change`.
    pub(in crate::mirror) fn apply(&mut self, chain: i64, change: &Change) {
        if let (Kind::UserDeleted, Some(directory), Some(id)) =
            (&change.kind, &change.directory, change.resource)
        {
            self.0.remove(&("unconfirmed".to_owned(), format!("{directory}/{id}")));
        }
        let Some(object) = change.object.as_deref() else { return };
        let key = |class: &str| (class.to_owned(), object.to_owned());
        let after = || super::state::part(change.after.as_deref());
        match &change.kind {
            Kind::DirectoryAdded => {
                let mut body = after();
                body.insert("enabled".into(), true.into());
                body.insert("chain".into(), chain.into());
                self.put(key("directory"), change, body);
            }
            Kind::DirectoryRenamed => self.amend(&key("directory"), after()),
            Kind::DirectoryEnabled => self.amend(&key("directory"), flag("enabled", true)),
            Kind::DirectoryDisabled => self.amend(&key("directory"), flag("enabled", false)),
            Kind::DirectoryRemoved => {
                self.0.remove(&key("directory"));
                let is_its =
                    |thing: &Thing| thing.body.get("directory").and_then(Value::as_str) == Some(object);
                let prefix = format!("{object}/");
                self.0.retain(|(class, name), thing| match class.as_str() {
                    "token" | "role_group" => !is_its(thing),
                    "unconfirmed" => !name.starts_with(&prefix),
                    _ => true,
                });
            }
            Kind::SubjectShut => self.put(key("shut"), change, after()),
            Kind::SubjectOpened => {
                self.0.remove(&key("shut"));
            }
            Kind::SubjectReleased | Kind::GrantCreated => {
                let class = if change.kind == Kind::GrantCreated { "grant" } else { "released" };
                let mut body = after();
                body.insert("subject".into(), object.into());
                // Named by number: a name may have to be erased.
                self.put((class.to_owned(), change.seq.to_string()), change, body);
            }
            Kind::SubjectReclaimed => self.reclaim(object, change.before.as_deref()),
            Kind::GrantExpired | Kind::GrantRevoked => self.end_grant(object, change.before.as_deref()),
            Kind::RebaselineClosed => {
                for key in named(object, change.after.as_deref()) {
                    if !self.0.contains_key(&key) {
                        self.put(key, change, Map::new());
                    }
                }
            }
            Kind::UserConfirmed => {
                for key in named(object, change.after.as_deref()) {
                    self.0.remove(&key);
                }
            }
            Kind::RoleBound => self.put(key("role_group"), change, after()),
            Kind::RoleUnbound => {
                self.0.remove(&key("role_group"));
            }
            Kind::TokenCreated => self.put(key("token"), change, after()),
            Kind::TokenRevoked => {
                self.0.remove(&key("token"));
            }
            _ => {}
        }
    }

    /// The release of the same directory and name goes; where the values were erased, so was that name everywhere, and
    /// one without a name goes.
    fn reclaim(&mut self, object: &str, before: Option<&str>) {
        let name = name_of(&super::state::part(before));
        let Some((directory, _)) = object.split_once('/') else { return };
        let prefix = format!("{directory}/");
        let mine: Vec<(String, bool)> = self
            .class("released")
            .filter(|(_, thing)| thing.text("subject").starts_with(&prefix) && name_of(&thing.body) == name)
            .map(|(key, thing)| (key.to_owned(), thing.text("subject") == object))
            .collect();
        let found = mine.iter().find(|(_, is_same)| *is_same).or(mine.first());
        if let Some((key, _)) = found {
            self.0.remove(&("released".to_owned(), key.clone()));
        }
    }

    /// The grant that the values name; where they were erased, one of the same subject, an erased one first.
    fn end_grant(&mut self, object: &str, before: Option<&str>) {
        let before = super::state::part(before);
        let id = before.get("grant").and_then(Value::as_u64).or_else(|| {
            let of_subject = self.class("grant").filter(|(_, thing)| thing.text("subject") == object);
            let order = |(key, thing): (&str, &Thing)| {
                Some((!thing.text("role").is_empty(), key.parse::<u64>().ok()?))
            };
            of_subject.filter_map(order).min().map(|(_, id)| id)
        });
        if let Some(id) = id {
            self.0.remove(&("grant".to_owned(), id.to_string()));
        }
    }

    fn put(&mut self, key: (String, String), change: &Change, body: Map<String, Value>) {
        self.0.insert(key, Thing { seq: change.seq, at: change.at, body });
    }

    fn amend(&mut self, key: &(String, String), with: Map<String, Value>) {
        if let Some(thing) = self.0.get_mut(key) {
            thing.body.extend(with);
        }
    }
}

/// Keys of the users that a re-baseline's change lists.
fn named(directory: &str, text: Option<&str>) -> Vec<(String, String)> {
    let body = super::state::part(text);
    let users = body.get("users").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let key = |user: &Value| Some(("unconfirmed".to_owned(), format!("{directory}/{}", user.as_str()?)));
    users.iter().filter_map(key).collect()
}

fn flag(name: &str, value: bool) -> Map<String, Value> {
    super::state::part(Some(&json!({ name: value }).to_string()))
}
