//! Which schemas each resource type has, and look-up of attributes in them.

use std::fmt;
use std::sync::Arc;

use super::standard;
use super::{Attribute, DataType, Schema};
use crate::model::ResourceType;

/// The schemas of one resource type (RFC 7643 §6).
#[derive(Debug, Clone)]
pub struct ResourceSchema {
    /// Which type.
    pub resource_type: ResourceType,
    /// Its core schema.
    pub core: Arc<Schema>,
    /// Its extensions, in the order of discovery.
    pub extensions: Vec<Arc<Schema>>,
    /// URNs of the extensions that every resource of the type must have.
    required: Vec<String>,
    common: Arc<Schema>,
    hides: bool,
}

/// Where a name led.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The extension that holds the attribute; none for core and common attributes.
    pub extension: Option<&'a Schema>,
    /// The attribute.
    pub attribute: &'a Attribute,
    /// Its sub-attribute, if one was named.
    pub sub: Option<&'a Attribute>,
}

impl<'a> Found<'a> {
    /// The attribute the whole path stands for: the sub-attribute if there is one.
    pub fn last(&self) -> &'a Attribute {
        self.sub.unwrap_or(self.attribute)
    }
}

impl ResourceSchema {
    fn new(resource_type: ResourceType, core: Arc<Schema>, extensions: Vec<(Arc<Schema>, bool)>) -> Self {
        let required = extensions
            .iter()
            .filter(|(_, required)| *required)
            .map(|(schema, _)| schema.urn.clone())
            .collect();
        let extensions: Vec<Arc<Schema>> = extensions.into_iter().map(|(schema, _)| schema).collect();
        let hides = std::iter::once(&core).chain(&extensions).any(|schema| standard::hides(schema));
        Self { resource_type, core, extensions, required, common: standard::common(), hides }
    }

    /// The core or common attribute called `name` (`id`, `externalId`, `meta`, `schemas` are common to all
    /// resources, RFC 7643 §3.1), in any letter case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.core.attribute(name).or_else(|| self.common.attribute(name))
    }

    /// The extension with this URN, in any letter case.
    pub fn extension(&self, urn: &str) -> Option<&Schema> {
        self.extensions.iter().find(|schema| schema.is(urn)).map(AsRef::as_ref)
    }

    /// True if every resource of the type must have the extension.
    pub fn is_required(&self, urn: &str) -> bool {
        self.required.iter().any(|known| known.eq_ignore_ascii_case(urn))
    }

    /// The URNs of the required extensions.
    pub fn required_extensions(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(String::as_str)
    }

    /// True if some stored attribute is not returned by default, so that rendering has to look at each.
    pub fn hides(&self) -> bool {
        self.hides
    }

    /// The attribute a path of up to three parts names. Without `urn`, core and common attributes only. The core
    /// URN may be given; `id`, `externalId` and `meta` are then found as well.
    pub fn find(&self, urn: Option<&str>, name: &str, sub: Option<&str>) -> Option<Found<'_>> {
        let (extension, attribute) = match urn {
            None => (None, self.attribute(name)?),
            Some(urn) if self.core.is(urn) => (None, self.attribute(name)?),
            Some(urn) => {
                let extension = self.extension(urn)?;
                (Some(extension), extension.attribute(name)?)
            }
        };
        let sub = match sub {
            None => None,
            Some(sub) => Some(attribute.sub(sub)?),
        };
        Some(Found { extension, attribute, sub })
    }

    /// Splits `urn:…:User:name.givenName` after the URN of one of this type's schemas: the schema, and what
    /// follows the colon (empty if the text is the URN alone). URNs hold dots and colons themselves, so only the
    /// known ones say where they end. The longest match wins.
    pub fn split_urn<'t>(&self, text: &'t str) -> Option<(&Schema, &'t str)> {
        std::iter::once(&self.core)
            .chain(&self.extensions)
            .filter_map(|schema| {
                let head = text.get(..schema.urn.len())?;
                let tail = text.get(schema.urn.len()..)?;
                let rest = if tail.is_empty() { tail } else { tail.strip_prefix(':')? };
                schema.is(head).then_some((schema.as_ref(), rest))
            })
            .max_by_key(|(schema, _)| schema.urn.len())
    }
}

/// An extension schema an operator defines.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// The resource type it extends.
    pub resource_type: ResourceType,
    /// The schema.
    pub schema: Schema,
    /// True if every resource of that type must have it.
    pub required: bool,
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaError {
    /// The text is not JSON of the form RFC 7643 §7 gives.
    Json {
        /// What the reader said.
        reason: String,
    },
    /// The URN is not one.
    Urn {
        /// The text given as `id`.
        urn: String,
    },
    /// Two schemas of one resource type have the same URN.
    Twice {
        /// The URN.
        urn: String,
    },
    /// An attribute's definition contradicts itself or RFC 7643.
    Attribute {
        /// The schema.
        urn: String,
        /// The attribute, with its parent where it has one.
        attribute: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { reason } => write!(f, "not a schema as in RFC 7643 section 7: {reason}"),
            Self::Urn { urn } => {
                write!(
                    f,
                    "`{urn}` is not a schema URN; write one such as `urn:example:params:scim:schemas:Badge:1.0:User`"
                )
            }
            Self::Twice { urn } => write!(f, "schema `{urn}` is defined twice; remove one of the two"),
            Self::Attribute { urn, attribute, reason } => {
                write!(f, "schema `{urn}`, attribute `{attribute}`: {reason}")
            }
        }
    }
}

impl std::error::Error for SchemaError {}

/// All schemas in force.
#[derive(Debug, Clone)]
pub struct Registry {
    user: ResourceSchema,
    group: ResourceSchema,
}

impl Default for Registry {
    fn default() -> Self {
        Self::standard()
    }
}

impl Registry {
    /// Core User with Enterprise User, and Group.
    pub fn standard() -> Self {
        Self {
            user: ResourceSchema::new(
                ResourceType::User,
                standard::user(),
                vec![(standard::enterprise_user(), false)],
            ),
            group: ResourceSchema::new(ResourceType::Group, standard::group(), Vec::new()),
        }
    }

    /// The standard schemas and an operator's own.
    ///
    /// # Errors
    /// The first definition that cannot be used.
    pub fn with_extensions(extensions: Vec<Extension>) -> Result<Self, SchemaError> {
        let mut users = vec![(standard::enterprise_user(), false)];
        let mut groups = Vec::new();
        for Extension { resource_type, schema, required } in extensions {
            check(&schema)?;
            let list = match resource_type {
                ResourceType::User => &mut users,
                ResourceType::Group => &mut groups,
            };
            let taken = list.iter().any(|(known, _)| known.is(&schema.urn));
            if taken || standard::user().is(&schema.urn) || standard::group().is(&schema.urn) {
                return Err(SchemaError::Twice { urn: schema.urn });
            }
            list.push((Arc::new(schema), required));
        }
        Ok(Self {
            user: ResourceSchema::new(ResourceType::User, standard::user(), users),
            group: ResourceSchema::new(ResourceType::Group, standard::group(), groups),
        })
    }

    /// The schemas of one resource type.
    pub fn resource(&self, resource_type: ResourceType) -> &ResourceSchema {
        match resource_type {
            ResourceType::User => &self.user,
            ResourceType::Group => &self.group,
        }
    }

    /// Every schema once, in the order of discovery.
    pub fn schemas(&self) -> Vec<&Schema> {
        let mut all: Vec<&Schema> = vec![self.user.core.as_ref(), self.group.core.as_ref()];
        for extension in self.user.extensions.iter().chain(&self.group.extensions) {
            if !all.iter().any(|known| known.is(&extension.urn)) {
                all.push(extension);
            }
        }
        all
    }
}

impl Schema {
    /// Reads a schema from JSON of the form RFC 7643 §7 gives and §8.7 shows; absent characteristics take the
    /// RFC's defaults.
    ///
    /// # Errors
    /// If the text is not JSON of that form, or a definition contradicts itself.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let schema: Self =
            serde_json::from_str(text).map_err(|error| SchemaError::Json { reason: error.to_string() })?;
        check(&schema)?;
        Ok(schema)
    }
}

/// Refuses what RFC 7643 §2.1, §2.3.8 and §7 refuse.
fn check(schema: &Schema) -> Result<(), SchemaError> {
    let urn = &schema.urn;
    let is_urn = urn.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("urn:"))
        && urn.len() > 8
        && urn.len() <= 256
        && !urn.ends_with(':')
        && urn.chars().all(|c| c.is_ascii_alphanumeric() || ":.-_".contains(c));
    if !is_urn {
        return Err(SchemaError::Urn { urn: urn.chars().take(256).collect() });
    }
    for (at, attribute) in schema.attributes.iter().enumerate() {
        let refuse =
            |attribute: String, reason| Err(SchemaError::Attribute { urn: urn.clone(), attribute, reason });
        if schema.attributes.iter().take(at).any(|other| other.is(&attribute.name)) {
            return refuse(attribute.name.clone(), "defined twice");
        }
        if let Some(reason) = wrong(attribute) {
            return refuse(attribute.name.clone(), reason);
        }
        for (at, sub) in attribute.sub_attributes.iter().enumerate() {
            let name = format!("{}.{}", attribute.name, sub.name);
            if attribute.sub_attributes.iter().take(at).any(|other| other.is(&sub.name)) {
                return refuse(name, "defined twice");
            }
            if sub.is_complex() {
                return refuse(name, "a sub-attribute cannot be complex (RFC 7643 section 2.3.8)");
            }
            if let Some(reason) = wrong(sub) {
                return refuse(name, reason);
            }
        }
    }
    Ok(())
}

/// What is wrong with one attribute by itself.
fn wrong(attribute: &Attribute) -> Option<&'static str> {
    let mut chars = attribute.name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$');
    if !first
        || attribute.name.len() > 64
        || !chars.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return Some(
            "a name is a letter, then letters, digits, `-` and `_`, at most 64 (RFC 7643 section 2.1)",
        );
    }
    if attribute.is_complex() && attribute.sub_attributes.is_empty() {
        return Some("type complex needs subAttributes");
    }
    if !attribute.is_complex() && !attribute.sub_attributes.is_empty() {
        return Some("only type complex may have subAttributes");
    }
    if attribute.required && attribute.mutability == super::Mutability::ReadOnly {
        return Some("required and readOnly together: no client could ever set it");
    }
    if attribute.mutability == super::Mutability::WriteOnly && attribute.returned != super::Returned::Never {
        return Some("writeOnly needs returned `never` (RFC 7643 section 7)");
    }
    if attribute.data_type != DataType::Reference && !attribute.reference_types.is_empty() {
        return Some("only type reference may have referenceTypes");
    }
    None
}
