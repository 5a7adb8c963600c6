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
                self.0.retain(|(class, _), thing| class != "token" || !is_its(thing));
            }
            Kind::SubjectShut => self.put(key("shut"), change, after()),
            Kind::SubjectOpened => {
                self.0.remove(&key("shut"));
            }
            Kind::SubjectReleased => {
                if let Some(key) = release_key(object, &after()) {
                    self.put(key, change, after());
                }
            }
            Kind::SubjectReclaimed => {
                if let Some(key) = release_key(object, &super::state::part(change.before.as_deref())) {
                    self.0.remove(&key);
                }
            }
            Kind::GrantCreated => {
                // Only what decides who holds what: a name and a reason may have to be erased.
                let mut body = Map::new();
                body.insert("subject".into(), object.into());
                for name in ["role", "until"] {
                    body.insert(name.into(), after().get(name).cloned().unwrap_or(Value::Null));
                }
                self.put(("grant".to_owned(), change.seq.to_string()), change, body);
            }
            Kind::GrantExpired | Kind::GrantRevoked => {
                let before = super::state::part(change.before.as_deref());
                if let Some(id) = before.get("grant").and_then(Value::as_u64) {
                    self.0.remove(&("grant".to_owned(), id.to_string()));
                }
            }
            Kind::TokenCreated => self.put(key("token"), change, after()),
            Kind::TokenRevoked => {
                self.0.remove(&key("token"));
            }
            _ => {}
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

/// `DIRECTORY/folded name` of a release that is told as of `DIRECTORY/ID`.
fn release_key(object: &str, body: &Map<String, Value>) -> Option<(String, String)> {
    let (directory, _) = object.split_once('/')?;
    let name = body.get("user_name").and_then(Value::as_str)?;
    Some(("released".to_owned(), format!("{directory}/{}", fold(name))))
}

fn flag(name: &str, value: bool) -> Map<String, Value> {
    super::state::part(Some(&json!({ name: value }).to_string()))
}
