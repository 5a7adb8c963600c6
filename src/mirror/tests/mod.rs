//! Tests of the mirror as its callers see it, on a real file.

mod commit;
mod credentials;
mod filters;
mod find;
mod history;
mod log;
mod measure;
mod members;
mod resources;
mod retention;

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model::{
    Actor, DirectoryId, DirectoryKind, ManualClock, Origin, ResourceType, Timestamp, TokenId,
};
use crate::scim::etag::Precondition;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Doc, Draft, MemberRef};

use super::directory::{self, DirectoryRef};
use super::resource::{self, Stored};
use super::{Error, Mirror, ReadTx, Settings, WriteTx};

pub(super) const START: Timestamp = Timestamp(1_700_000_000_000_000);

/// A mirror with one directory.
pub(super) struct Store {
    pub(super) folder: TempDir,
    pub(super) mirror: Mirror,
    pub(super) clock: Arc<ManualClock>,
    pub(super) acme: DirectoryRef,
}

impl Store {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let mirror = open(folder.path(), &clock).unwrap();
        let acme = add_directory(&mirror, "acme");
        Self { folder, mirror, clock, acme }
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>, &DirectoryRef) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let acme = self.acme.clone();
        self.mirror.write_blocking(origin(), move |tx| f(tx, &acme))
    }

    pub(super) fn read<T>(&self, f: impl FnOnce(&mut ReadTx<'_>) -> Result<T, Error>) -> T {
        self.mirror.read(f).unwrap()
    }

    pub(super) fn user(&self, name: &str) -> Stored {
        let draft = user(name);
        self.write(move |tx, acme| resource::create(tx, acme, ResourceType::User, draft)).unwrap()
    }

    pub(super) fn group(&self, name: &str, members: &[&Stored]) -> Stored {
        let draft = group(name, members);
        self.write(move |tx, acme| resource::create(tx, acme, ResourceType::Group, draft)).unwrap()
    }

    pub(super) fn edit_members(&self, group: &Stored, edits: Vec<MemberEdit>) -> Result<Stored, Error> {
        let id = group.id;
        self.write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::Group, &id, &Precondition::default(), |_| {
                Ok(Patched { members: edits, ..Patched::default() })
            })
        })
    }

    pub(super) fn set(&self, of: &Stored, name: &str, value: Value) -> Result<Stored, Error> {
        let (id, kind, name) = (of.id, of.resource_type, name.to_owned());
        self.write(move |tx, acme| {
            resource::patch(tx, acme, kind, &id, &Precondition::default(), |doc| {
                doc.insert(name, value);
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
    }

    pub(super) fn delete(&self, of: &Stored) -> Result<(), Error> {
        let (id, kind) = (of.id, of.resource_type);
        self.write(move |tx, acme| resource::delete(tx, acme, kind, &id, &Precondition::default()))
    }

    pub(super) fn find(&self, of: &Stored) -> Option<Stored> {
        self.read(|tx| Ok(resource::find(tx, &self.acme, of.resource_type, &of.id)?))
    }

    pub(super) fn seq(&self) -> u64 {
        self.mirror.changes().borrow().0
    }
}

pub(super) fn open(folder: &std::path::Path, clock: &Arc<ManualClock>) -> Result<Mirror, super::StoreError> {
    Mirror::open(&Settings::at(folder.join("mirror.db")), clock.clone())
}

pub(super) fn origin() -> Origin {
    Origin { actor: Actor::Token(TokenId::parse("tok_test").unwrap()), request: None }
}

pub(super) fn add_directory(mirror: &Mirror, id: &str) -> DirectoryRef {
    let id = DirectoryId::parse(id).unwrap();
    let added: Result<_, Error> = mirror
        .write_blocking(Origin::daemon(), move |tx| directory::add(tx, &id, "Acme", DirectoryKind::Generic));
    added.unwrap().reference
}

pub(super) async fn add_directory_async(mirror: &Mirror, id: &str) -> DirectoryRef {
    let id = DirectoryId::parse(id).unwrap();
    let added: Result<_, Error> = mirror
        .write(Origin::daemon(), move |tx| directory::add(tx, &id, "Acme", DirectoryKind::Generic))
        .await;
    added.unwrap().reference
}

pub(super) fn doc(value: Value) -> Doc {
    match value {
        Value::Object(doc) => doc,
        _ => panic!("not an object"),
    }
}

pub(super) fn user(name: &str) -> Draft {
    let doc = doc(json!({
        "userName": name, "active": true, "externalId": format!("ext-{name}"), "displayName": format!("D {name}"),
        "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}],
    }));
    Draft { doc, members: None }
}

pub(super) fn group(name: &str, members: &[&Stored]) -> Draft {
    let members = members.iter().map(|member| reference(member)).collect();
    Draft { doc: doc(json!({"displayName": name})), members: Some(members) }
}

pub(super) fn reference(of: &Stored) -> MemberRef {
    MemberRef { value: of.id.to_string(), kind: None }
}

pub(super) fn status(error: &Error) -> (u16, Option<&'static str>) {
    match error {
        Error::Scim(error) => (error.status, error.scim_type.map(crate::scim::error::ScimType::as_str)),
        other => panic!("{other:?}"),
    }
}
