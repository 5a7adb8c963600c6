//! From a stored document to the answer's bytes.
//!
//! The stored text is spliced: it is walked once, for the extensions that `schemas` names, and copied. Only a
//! projection that looks inside an attribute parses that attribute.

use std::io::Write as _;

use serde_json::{Value, json};

use super::raw;
use super::{GroupRef, MemberOut};
use crate::model::{ResourceId, ResourceType, Timestamp};
use crate::scim::etag::ETag;
use crate::scim::projection::{Part, Projection, shown, shows_sub, takes_whole};
use crate::scim::schema::{Attribute, ResourceSchema};

/// What the server knows about a resource (RFC 7643 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub last_modified: Timestamp,
    /// Its version; see [`ETag`].
    pub version: u64,
}

/// A resource to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Its type's schemas.
    pub schema: &'a ResourceSchema,
    /// Its id.
    pub id: &'a ResourceId,
    /// Its document, as serde_json prints a [`super::Doc`].
    pub doc: &'a str,
    /// What the server knows about it.
    pub meta: &'a Meta,
    /// The absolute base URL, without a slash at its end: `https://scim.example.com/scim/v2`.
    pub base: &'a str,
    /// A user's groups; none if they were not loaded.
    pub groups: Option<&'a [GroupRef]>,
    /// A group's members; none if they were not loaded.
    pub members: Option<&'a [MemberOut]>,
}

/// Writes the resource as the projection shows it: `schemas`, `id`, the document, `groups` or `members`, `meta`.
/// `schemas` names the core schema and each extension that is shown (RFC 7643 §3).
pub fn render(out: &mut Vec<u8>, resource: &Resource<'_>, projection: &Projection) {
    let Resource { schema, id, doc, meta, base, groups, members } = *resource;
    out.reserve(doc.len() + 512);
    out.extend_from_slice(b"{\"schemas\":[");
    string(out, &schema.core.urn);
    if projection.is_whole() && !schema.hides() {
        for (key, _) in raw::members(doc) {
            if let Some(extension) = known_extension(schema, key) {
                out.push(b',');
                string(out, extension);
            }
        }
        out.extend_from_slice(b"],\"id\":\"");
        let _ = write!(out, "{id}\"");
        let inside = raw::inside(doc);
        if !inside.is_empty() {
            out.push(b',');
            out.extend_from_slice(inside.as_bytes());
        }
    } else {
        let mut attributes = Vec::with_capacity(doc.len());
        for (key, value) in raw::members(doc) {
            if project(&mut attributes, schema, projection, key, value)
                && let Some(extension) = known_extension(schema, key)
            {
                out.push(b',');
                string(out, extension);
            }
        }
        out.extend_from_slice(b"],\"id\":\"");
        let _ = write!(out, "{id}\"");
        out.extend_from_slice(&attributes);
    }
    let base = Base(escaped(base));
    if let Some(groups) = groups {
        write_groups(out, schema, projection, groups, &base);
    }
    if let Some(members) = members {
        write_members(out, schema, projection, members, &base);
    }
    write_meta(out, schema, projection, meta, id, &base);
    out.push(b'}');
}

/// The canonical URN of the extension that a document's key names.
fn known_extension<'a>(schema: &'a ResourceSchema, key: &str) -> Option<&'a str> {
    // Most keys are short names; only a URN is looked up.
    if !key.contains(':') {
        return None;
    }
    schema.extension(key).map(|extension| extension.urn.as_str())
}

/// Writes `,"key":value` as far as the projection shows it; true if anything was written.
fn project(
    out: &mut Vec<u8>,
    schema: &ResourceSchema,
    projection: &Projection,
    key: &str,
    value: &str,
) -> bool {
    let copy = |out: &mut Vec<u8>, value: &[u8]| {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    };
    let parsed = || serde_json::from_str::<Value>(value).ok();
    let kept = if let Some(extension) = key.contains(':').then(|| schema.extension(key)).flatten() {
        if projection.takes_extension_whole(schema, extension) {
            copy(out, value.as_bytes());
            return true;
        }
        parsed().and_then(|value| projection.extension(schema, extension, value))
    } else {
        let attribute = schema.attribute(key);
        match projection.part(schema, attribute, None, key) {
            Part::Nothing => None,
            part if takes_whole(attribute, &part) => {
                copy(out, value.as_bytes());
                return true;
            }
            part => parsed().and_then(|value| shown(value, attribute, &part)),
        }
    };
    let Some(kept) = kept else { return false };
    copy(out, kept.to_string().as_bytes());
    true
}

/// A JSON string.
fn string(out: &mut Vec<u8>, text: &str) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// The base URL, escaped once for all addresses of an answer.
struct Base(String);

impl Base {
    fn address(&self, out: &mut Vec<u8>, kind: ResourceType, id: &ResourceId) {
        let _ = write!(out, "\"{}/{}/{id}\"", self.0, kind.endpoint());
    }
}

/// Which of the four sub-attributes that elements of `groups` and `members` have are shown.
struct Shown {
    value: bool,
    reference: bool,
    kind: bool,
    display: bool,
}

impl Shown {
    fn of(attribute: Option<&Attribute>, part: &Part<'_>) -> Self {
        let shows = |name| shows_sub(attribute, part, name);
        Self {
            value: shows("value"),
            reference: shows("$ref"),
            kind: shows("type"),
            display: shows("display"),
        }
    }

    fn element(
        &self,
        out: &mut Vec<u8>,
        base: &Base,
        id: &ResourceId,
        of: ResourceType,
        kind: &str,
        display: &str,
    ) {
        let start = out.len();
        if self.value {
            let _ = write!(out, ",\"value\":\"{id}\"");
        }
        if self.reference {
            out.extend_from_slice(b",\"$ref\":");
            base.address(out, of, id);
        }
        if self.kind {
            let _ = write!(out, ",\"type\":\"{kind}\"");
        }
        if self.display && !display.is_empty() {
            out.extend_from_slice(b",\"display\":");
            string(out, display);
        }
        // Its first comma becomes the brace.
        if let Some(first) = out.get_mut(start) {
            *first = b'{';
        } else {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

/// `groups` of a user; none at all means unassigned, which is left out (RFC 7643 §2.5).
fn write_groups(
    out: &mut Vec<u8>,
    schema: &ResourceSchema,
    projection: &Projection,
    groups: &[GroupRef],
    base: &Base,
) {
    let attribute = schema.attribute("groups");
    let part = projection.part(schema, attribute, None, "groups");
    if part == Part::Nothing || groups.is_empty() {
        return;
    }
    let shown = Shown::of(attribute, &part);
    out.extend_from_slice(b",\"groups\":[");
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let kind = if group.direct { "direct" } else { "indirect" };
        shown.element(out, base, &group.id, ResourceType::Group, kind, &group.display);
    }
    out.push(b']');
}

/// `members` of a group. An empty group shows `[]`: authentik and others look for the list.
fn write_members(
    out: &mut Vec<u8>,
    schema: &ResourceSchema,
    projection: &Projection,
    members: &[MemberOut],
    base: &Base,
) {
    let attribute = schema.attribute("members");
    let part = projection.part(schema, attribute, None, "members");
    if part == Part::Nothing {
        return;
    }
    let shown = Shown::of(attribute, &part);
    // An element is about 200 bytes; one allocation instead of many for a large group.
    out.reserve(members.len().saturating_mul(200));
    out.extend_from_slice(b",\"members\":[");
    for (at, member) in members.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        shown.element(out, base, &member.id, member.kind, member.kind.as_str(), &member.display);
    }
    out.push(b']');
}

fn write_meta(
    out: &mut Vec<u8>,
    schema: &ResourceSchema,
    projection: &Projection,
    meta: &Meta,
    id: &ResourceId,
    base: &Base,
) {
    let attribute = schema.attribute("meta");
    let part = projection.part(schema, attribute, None, "meta");
    if part == Part::Nothing {
        return;
    }
    if part == Part::All {
        let _ = write!(
            out,
            ",\"meta\":{{\"resourceType\":\"{}\",\"created\":\"{}\",\"lastModified\":\"{}\",\"location\":",
            meta.resource_type, meta.created, meta.last_modified
        );
        base.address(out, meta.resource_type, id);
        let _ = write!(out, ",\"version\":\"W/\\\"{}\\\"\"}}", meta.version);
        return;
    }
    let mut location = Vec::new();
    base.address(&mut location, meta.resource_type, id);
    let value = json!({
        "resourceType": meta.resource_type.as_str(),
        "created": meta.created.to_string(),
        "lastModified": meta.last_modified.to_string(),
        "location": serde_json::from_slice::<Value>(&location).unwrap_or_default(),
        "version": ETag(meta.version).to_string(),
    });
    if let Some(value) = shown(value, attribute, &part) {
        let _ = write!(out, ",\"meta\":{value}");
    }
}
