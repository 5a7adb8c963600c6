//! One resource: create, read, replace, patch, delete (RFC 7644 §3.3 to §3.6).

use std::sync::Arc;

use hyper::header::{ETAG, LOCATION};
use serde_json::Value;

use super::ScimApi;
use super::error::no_such_resource;
use super::pipeline::Call;
use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror::directory::DirectoryRef;
use crate::mirror::resource::{self, Stored};
use crate::mirror::{self, ReadTx, StoreError, member, unique};
use crate::model::{ResourceId, ResourceType};
use crate::scim::dialect::{self, Used};
use crate::scim::error::Error;
use crate::scim::etag::{ETag, Precondition};
use crate::scim::json;
use crate::scim::patch::{self, PatchAnswer};
use crate::scim::projection::Projection;
use crate::scim::resource::{GroupRef, MemberOut, Meta, Mode, Resource, Rules, draft, render};
use crate::scim::schema::ResourceSchema;

/// Members up to which a group is read on the runtime's own thread.
const MEMBERS_INLINE_MAX: u64 = 64;

/// A resource with what its answer shows beside the document.
pub(super) struct Loaded {
    pub stored: Stored,
    pub groups: Option<Vec<GroupRef>>,
    pub members: Option<Vec<MemberOut>>,
}

/// What to load beside the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub groups: bool,
    pub members: bool,
}

impl Wanted {
    /// What the projection shows of a resource of this type.
    pub(super) fn of(kind: ResourceType, schema: &ResourceSchema, projection: &Projection) -> Self {
        Self {
            groups: kind == ResourceType::User && projection.wants(schema, "groups"),
            members: kind == ResourceType::Group && projection.wants(schema, "members"),
        }
    }
}

/// Loads what is wanted, from the snapshot `stored` came from.
pub(super) fn load(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    stored: Stored,
    wanted: Wanted,
) -> Result<Loaded, StoreError> {
    let stored = match complete(stored, wanted) {
        Ok(loaded) => return Ok(loaded),
        Err(stored) => stored,
    };
    let groups = wanted.groups.then(|| member::groups_of(tx, directory, &stored)).transpose()?;
    let members = wanted.members.then(|| member::members(tx, directory, &stored)).transpose()?;
    Ok(Loaded { stored, groups, members })
}

/// Done without a further statement, if the resource is in no group and has no members that are wanted.
pub(super) fn complete(stored: Stored, wanted: Wanted) -> Result<Loaded, Stored> {
    if (wanted.groups && stored.in_groups) || (wanted.members && stored.members > 0) {
        return Err(stored);
    }
    let (groups, members) = (wanted.groups.then(Vec::new), wanted.members.then(Vec::new));
    Ok(Loaded { stored, groups, members })
}

/// [`load`] for a whole page, in few statements.
pub(super) fn load_page(
    tx: &mut ReadTx<'_>,
    directory: &DirectoryRef,
    page: Vec<Stored>,
    wanted: Wanted,
) -> Result<Vec<Loaded>, StoreError> {
    let mut groups = wanted.groups.then(|| member::groups_of_all(tx, directory, &page)).transpose()?;
    let mut members = wanted.members.then(|| member::members_of_all(tx, directory, &page)).transpose()?;
    let loaded = page.into_iter().map(|stored| Loaded {
        groups: groups.as_mut().map(|all| all.remove(&stored.rid).unwrap_or_default()),
        members: members.as_mut().map(|all| all.remove(&stored.rid).unwrap_or_default()),
        stored,
    });
    Ok(loaded.collect())
}

/// Writes a resource into an answer's body.
pub(super) fn write(out: &mut Vec<u8>, call: &Call, loaded: &Loaded, projection: &Projection) {
    let Loaded { stored, groups, members } = loaded;
    let meta = Meta {
        resource_type: stored.resource_type,
        created: stored.created,
        last_modified: stored.last_modified,
        version: stored.version,
    };
    let resource = Resource {
        schema: call.running.registry.resource(stored.resource_type),
        id: &stored.id,
        doc: &stored.doc_text,
        meta: &meta,
        base: &call.base,
        groups: groups.as_deref(),
        members: members.as_deref(),
    };
    render(out, &resource, projection);
}

fn shown(status: u16, call: &Call, loaded: &Loaded, projection: &Projection) -> Answer {
    let mut out = Vec::with_capacity(loaded.stored.doc_text.len() + 1_024);
    write(&mut out, call, loaded, projection);
    Answer::new(status, SCIM_JSON, out).with(ETAG, &ETag(loaded.stored.version).to_string())
}

impl Call {
    /// The query's pairs as the protocol reads them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn projection(&self) -> Result<Projection, Error> {
        let named = |wanted: &str| {
            self.pairs().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        Projection::new(named("attributes"), named("excludedAttributes"))
    }

    fn names_attributes(&self) -> bool {
        self.pairs().any(|(name, value)| {
            !value.is_empty()
                && (name.eq_ignore_ascii_case("attributes")
                    || name.eq_ignore_ascii_case("excludedAttributes"))
        })
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Error> {
        if self.body.is_empty() {
            return Err(Error::invalid_syntax("the request needs a body"));
        }
        json::parse(&self.body)
    }

    /// Address of a resource.
    pub(super) fn location(&self, kind: ResourceType, id: &ResourceId) -> String {
        format!("{}/{}/{id}", self.base, kind.endpoint())
    }
}

/// An id that is not one of ours names nothing, like any other that does not exist.
pub(super) fn known(id: &str) -> Result<ResourceId, Error> {
    ResourceId::parse(id).ok_or_else(no_such_resource)
}

impl ScimApi {
    /// RFC 7644 §3.4.1.
    pub(super) async fn read(
        &self,
        call: &Call,
        kind: ResourceType,
        id: &str,
    ) -> Result<Answer, mirror::Error> {
        let (id, projection) = (known(id)?, call.projection()?);
        let Some(loaded) = self.fetch(call, kind, id, &projection).await? else {
            return Err(no_such_resource().into());
        };
        self.named(call, &loaded.stored);
        if call.precondition.check_read(loaded.stored.version)? {
            return Ok(shown(200, call, &loaded, &projection));
        }
        Ok(Answer::empty(304).with(ETAG, &ETag(loaded.stored.version).to_string()))
    }

    /// Reads on this thread what is an indexed point read, and a group of many members on one that may block.
    async fn fetch(
        &self,
        call: &Call,
        kind: ResourceType,
        id: ResourceId,
        projection: &Projection,
    ) -> Result<Option<Loaded>, StoreError> {
        let wanted = Wanted::of(kind, call.running.registry.resource(kind), projection);
        let directory = &call.principal.directory;
        let alone = self.mirror.read_one::<_, StoreError>(|tx| resource::find(tx, directory, kind, &id))?;
        let Some(stored) = alone else { return Ok(None) };
        let many = wanted.members && stored.members > MEMBERS_INLINE_MAX;
        if let Ok(loaded) = complete(stored, wanted) {
            return Ok(Some(loaded));
        }
        // What else is shown must fit the document: everything again, from one snapshot.
        if !many {
            return self.mirror.read::<_, StoreError>(|tx| {
                let found = resource::find(tx, directory, kind, &id)?;
                found.map(|stored| load(tx, directory, stored, wanted)).transpose()
            });
        }
        let directory = directory.clone();
        self.mirror
            .read_long::<_, StoreError, _>(move |tx| {
                let found = resource::find(tx, &directory, kind, &id)?;
                found.map(|stored| load(tx, &directory, stored, wanted)).transpose()
            })
            .await
    }

    /// RFC 7644 §3.3.
    pub(super) async fn create(
        &self,
        call: &Call,
        kind: ResourceType,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let projection = call.projection()?;
        let stored = self.store_new(call, kind, call.json()?, used).await?;
        let location = call.location(kind, &stored.id);
        let bare = Loaded { stored, groups: None, members: None };
        let loaded = if bare.stored.members == 0 {
            bare
        } else {
            self.fetch(call, kind, bare.stored.id, &projection).await?.unwrap_or(bare)
        };
        Ok(shown(201, call, &loaded, &projection).with(LOCATION, &location))
    }

    /// Notes that the identity provider spoke of this resource, for a re-baseline.
    pub(super) fn named(&self, call: &Call, stored: &Stored) {
        self.mirror.note_seen(&call.principal.directory, std::iter::once(stored.rid));
    }

    /// Creates what `body` says.
    pub(super) async fn store_new(
        &self,
        call: &Call,
        kind: ResourceType,
        mut body: Value,
        used: &mut Used,
    ) -> Result<Stored, mirror::Error> {
        let schema = call.running.registry.resource(kind);
        dialect::rewrite_resource(&mut body, call.quirks, schema, used);
        let draft = draft(schema, body, Mode::Create, &Rules::default())?;
        let directory = call.principal.directory.clone();
        let registry = Arc::clone(&call.running.registry);
        self.mirror
            .write(call.origin(), move |tx| {
                let stored = resource::create(tx, &directory, kind, draft)?;
                unique::check(tx, &directory, registry.resource(kind), &stored)?;
                Ok(stored)
            })
            .await
    }

    /// RFC 7644 §3.5.1.
    pub(super) async fn replace(
        &self,
        call: &Call,
        kind: ResourceType,
        id: &str,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let (id, projection, precondition) = (known(id)?, call.projection()?, call.precondition.clone());
        let stored = self.store_whole(call, kind, id, precondition, call.json()?, used).await?;
        self.named(call, &stored);
        self.written(call, kind, stored, &projection).await
    }

    /// Replaces a resource by what `body` says.
    pub(super) async fn store_whole(
        &self,
        call: &Call,
        kind: ResourceType,
        id: ResourceId,
        precondition: Precondition,
        mut body: Value,
        used: &mut Used,
    ) -> Result<Stored, mirror::Error> {
        let registry = Arc::clone(&call.running.registry);
        dialect::rewrite_resource(&mut body, call.quirks, registry.resource(kind), used);
        let draft = draft(registry.resource(kind), body, Mode::Replace, &Rules::default())?;
        let directory = call.principal.directory.clone();
        self.mirror
            .write(call.origin(), move |tx| {
                let schema = registry.resource(kind);
                let stored = resource::replace(tx, &directory, schema, &id, &precondition, draft)?;
                unique::check(tx, &directory, schema, &stored)?;
                Ok(stored)
            })
            .await
    }

    /// RFC 7644 §3.5.2; 200 or 204 as DESIGN §5 says.
    pub(super) async fn patch(
        &self,
        call: &Call,
        kind: ResourceType,
        id: &str,
        used: &mut Used,
    ) -> Result<Answer, mirror::Error> {
        let (id, projection, precondition) = (known(id)?, call.projection()?, call.precondition.clone());
        let stored = self.store_patched(call, kind, id, precondition, call.json()?, used).await?;
        self.named(call, &stored);
        match patch::patch_answer(call.principal.kind, kind, call.names_attributes(), stored.members) {
            PatchAnswer::Resource => self.written(call, kind, stored, &projection).await,
            PatchAnswer::NoContent => Ok(Answer::empty(204).with(ETAG, &ETag(stored.version).to_string())),
        }
    }

    /// Changes a resource as `body` says.
    pub(super) async fn store_patched(
        &self,
        call: &Call,
        kind: ResourceType,
        id: ResourceId,
        precondition: Precondition,
        mut body: Value,
        used: &mut Used,
    ) -> Result<Stored, mirror::Error> {
        let registry = Arc::clone(&call.running.registry);
        dialect::rewrite_patch(&mut body, call.quirks, registry.resource(kind), used);
        let request = patch::parse(body)?;
        let options = patch::Options::of(call.quirks);
        let directory = call.principal.directory.clone();
        let (stored, shown) = self
            .mirror
            .write(call.origin(), move |tx| {
                let mut shown = Used::NONE;
                let stored = resource::patch(tx, &directory, kind, &id, &precondition, |doc| {
                    let patched = patch::apply(registry.resource(kind), doc, &request, &options)?;
                    shown = patched.used();
                    Ok(patched)
                })?;
                unique::check(tx, &directory, registry.resource(kind), &stored)?;
                Ok::<_, mirror::Error>((stored, shown))
            })
            .await?;
        *used = used.union(shown);
        Ok(stored)
    }

    /// The whole resource after a write. It is read again, since what else it shows (groups, members) is not the
    /// writer thread's to load.
    async fn written(
        &self,
        call: &Call,
        kind: ResourceType,
        stored: Stored,
        projection: &Projection,
    ) -> Result<Answer, mirror::Error> {
        let bare = Loaded { stored, groups: None, members: None };
        let loaded = self.fetch(call, kind, bare.stored.id, projection).await?.unwrap_or(bare);
        Ok(shown(200, call, &loaded, projection))
    }

    /// RFC 7644 §3.6.
    pub(super) async fn delete(
        &self,
        call: &Call,
        kind: ResourceType,
        id: &str,
    ) -> Result<Answer, mirror::Error> {
        self.remove(call, kind, known(id)?, call.precondition.clone()).await?;
        Ok(Answer::empty(204))
    }

    /// Deletes a resource.
    pub(super) async fn remove(
        &self,
        call: &Call,
        kind: ResourceType,
        id: ResourceId,
        precondition: Precondition,
    ) -> Result<(), mirror::Error> {
        let directory = call.principal.directory.clone();
        self.mirror
            .write(call.origin(), move |tx| resource::delete(tx, &directory, kind, &id, &precondition))
            .await
    }
}
