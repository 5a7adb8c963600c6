//! [`Filter`] + schema → [`Bound`]: names looked up, values typed, comparisons an attribute cannot have refused.
//!
//! What bound filters mean is said once, in [`super::eval`]. To keep that meaning small, binding takes apart
//! what it can: `eq null` becomes *not present*, `ne` on a single value becomes *not equal*, `schemas`,
//! `meta.resourceType` and `meta.location` become comparisons of what they are computed from.

use super::{AttrPath, CompareOp, Filter, Literal, Resolved};
use crate::model::Timestamp;
use crate::scim::error::Error;
use crate::scim::schema::{
    Attribute, DataType, ENTERPRISE_USER_URN, Mutability, ResourceSchema, Returned, Schema,
};

/// An attribute found in the schema, all names in the schema's spelling. Besides what documents hold, these
/// exist: `id` (string), `meta.created`, `meta.lastModified` (dateTime), `meta.version` (integer: the counter
/// behind the ETag), `members.value` and `members.type` of a Group, `groups.value` of a User.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BoundPath {
    /// The extension's URN; `None` for core and common attributes.
    pub extension: Option<String>,
    /// The attribute.
    pub attribute: String,
    /// The sub-attribute. Always there inside [`Bound::Element`], unless the elements are simple values.
    pub sub: Option<String>,
    /// True if the attribute (not the sub-attribute) is an array.
    pub multi_valued: bool,
    /// The type of the value that is compared: of the sub-attribute if there is one.
    pub data_type: DataType,
    /// False: strings compare through [`super::fold()`].
    pub case_exact: bool,
}

/// A filter whose names and values are known good. See [`super::eval`] for its meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// All hold.
    And(Vec<Bound>),
    /// One holds at least.
    Or(Vec<Bound>),
    /// Does not hold.
    Not(Box<Bound>),
    /// Holds, or does not, whatever the resource.
    Const(bool),
    /// Some value of `path` compares so. `Ne` only with multi-valued paths outside [`Bound::Element`]; `value`
    /// is never null, and of the path's type: `Bool` for boolean, `Number` for integer (an `i64`) and decimal,
    /// `Instant` for dateTime, `String` for all others.
    Compare {
        /// What is compared.
        path: BoundPath,
        /// How.
        op: CompareOp,
        /// With what; a string as it was sent, not folded.
        value: Literal,
    },
    /// Some value of `path` is there and not empty.
    Present(BoundPath),
    /// One element of the multi-valued attribute satisfies the filter, all of whose paths name that attribute.
    Element {
        /// The attribute; no sub-attribute.
        path: BoundPath,
        /// Said of one element.
        filter: Box<Bound>,
    },
}

/// Looks the names of `filter` up in `schema`, types its values, and refuses what cannot be compared.
/// # Errors
/// `invalidFilter`: an attribute that does not exist or may not be read or searched, an operator or a value its
/// type does not have. An unknown name is never ignored: a wrong match links the wrong person.
pub fn bind(filter: &Filter, schema: &ResourceSchema) -> Result<Bound, Error> {
    match filter {
        Filter::And(all) => all.iter().map(|one| bind(one, schema)).collect::<Result<_, _>>().map(Bound::And),
        Filter::Or(all) => all.iter().map(|one| bind(one, schema)).collect::<Result<_, _>>().map(Bound::Or),
        Filter::Not(inner) => Ok(Bound::Not(Box::new(bind(inner, schema)?))),
        Filter::Present(path) => bind_present(path, schema),
        Filter::Compare { path, op, value } => bind_compare(path, *op, value, schema),
        Filter::ValuePath { attr, filter, tail } => bind_value_path(attr, filter, tail.as_ref(), schema),
    }
}

/// Binds a value filter (what stands in brackets) against the elements of one attribute.
/// # Errors
/// As [`bind()`].
pub fn bind_element(
    filter: &Filter,
    extension: Option<&Schema>,
    attribute: &Attribute,
) -> Result<Bound, Error> {
    let each = |all: &[Filter]| -> Result<Vec<_>, Error> {
        all.iter().map(|one| bind_element(one, extension, attribute)).collect()
    };
    match filter {
        Filter::And(all) => each(all).map(Bound::And),
        Filter::Or(all) => each(all).map(Bound::Or),
        Filter::Not(inner) => Ok(Bound::Not(Box::new(bind_element(inner, extension, attribute)?))),
        Filter::Present(path) => Ok(Bound::Present(element_path(path, extension, attribute)?)),
        Filter::Compare { path, op, value } => {
            compare(element_path(path, extension, attribute)?, *op, value, true)
        }
        Filter::ValuePath { .. } => Err(Error::invalid_filter("value filters in brackets do not nest")),
    }
}

/// Looks a path up. `manager` without its URN is the enterprise extension's, as Entra means it.
fn resolve<'a>(schema: &'a ResourceSchema, path: &AttrPath) -> Resolved<'a> {
    match super::resolve(schema, path) {
        Resolved::Unknown if path.urn.is_none() && path.name.eq_ignore_ascii_case("manager") => {
            super::resolve(schema, &AttrPath { urn: Some(ENTERPRISE_USER_URN.to_owned()), ..path.clone() })
        }
        found => found,
    }
}

fn unknown() -> Error {
    Error::invalid_filter("the filter names an attribute this resource type does not have")
}

fn not_searchable(name: &str) -> Error {
    Error::invalid_filter(format!("attribute `{name}` cannot be searched"))
}

/// Refuses what no client may read, and what is derived and has no index.
fn readable(attribute: &Attribute, sub: Option<&Attribute>) -> Result<(), Error> {
    let secret = |a: &Attribute| a.mutability == Mutability::WriteOnly || a.returned == Returned::Never;
    if secret(attribute) || sub.is_some_and(secret) {
        return Err(not_searchable(&attribute.name));
    }
    let searchable: &[&str] = match attribute.name.as_str() {
        "members" => &["value", "type"],
        "groups" => &["value"],
        _ => return Ok(()),
    };
    match sub {
        Some(sub) if !searchable.contains(&sub.name.as_str()) => {
            Err(not_searchable(&format!("{}.{}", attribute.name, sub.name)))
        }
        _ => Ok(()),
    }
}

fn bound_path(extension: Option<&Schema>, attribute: &Attribute, sub: Option<&Attribute>) -> BoundPath {
    let last = sub.unwrap_or(attribute);
    BoundPath {
        extension: extension.map(|schema| schema.urn.clone()),
        attribute: attribute.name.clone(),
        sub: sub.map(|sub| sub.name.clone()),
        multi_valued: attribute.multi_valued,
        data_type: last.data_type,
        // URIs compare exactly whatever the schema says by omission; only strings fold.
        case_exact: last.case_exact || last.data_type != DataType::String,
    }
}

/// A path inside brackets. For arrays of simple values, `value` names the element (RFC 7644 §3.5.2).
fn element_path(
    path: &AttrPath,
    extension: Option<&Schema>,
    attribute: &Attribute,
) -> Result<BoundPath, Error> {
    if path.urn.is_some() || path.sub.is_some() {
        return Err(unknown());
    }
    if !attribute.is_complex() && path.name.eq_ignore_ascii_case("value") {
        readable(attribute, None)?;
        return Ok(bound_path(extension, attribute, None));
    }
    let sub = attribute.sub(&path.name).ok_or_else(unknown)?;
    readable(attribute, Some(sub))?;
    Ok(bound_path(extension, attribute, Some(sub)))
}

fn bind_value_path(
    attr: &AttrPath,
    filter: &Filter,
    tail: Option<&(String, CompareOp, Literal)>,
    schema: &ResourceSchema,
) -> Result<Bound, Error> {
    let Resolved::Attribute { extension, attribute, sub: None } = resolve(schema, attr) else {
        return Err(unknown());
    };
    if is_common(extension, attribute) {
        return Err(not_searchable(&attribute.name));
    }
    readable(attribute, None)?;
    let mut inner = bind_element(filter, extension, attribute)?;
    if let Some((sub, op, value)) = tail {
        let path = AttrPath { urn: None, name: sub.clone(), sub: None };
        let last = compare(element_path(&path, extension, attribute)?, *op, value, true)?;
        inner = Bound::And(vec![inner, last]);
    }
    Ok(Bound::Element { path: bound_path(extension, attribute, None), filter: Box::new(inner) })
}

/// `id`, `schemas`, `meta`: not in documents.
fn is_common(extension: Option<&Schema>, attribute: &Attribute) -> bool {
    extension.is_none() && matches!(attribute.name.as_str(), "id" | "schemas" | "meta")
}

/// Looks an attribute up to sort by it (RFC 7644 §3.4.2.3): `id` and the parts of `meta` too; a complex attribute stands
/// for its `value`.
///
/// # Errors
/// `invalidFilter`: no such attribute, one that nobody may read, or a complex one without `value`.
pub fn bind_path(path: &AttrPath, schema: &ResourceSchema) -> Result<BoundPath, Error> {
    let Resolved::Attribute { extension, attribute, sub } = resolve(schema, path) else {
        return Err(unknown());
    };
    let sub = match sub {
        None if attribute.is_complex() => Some(attribute.sub("value").ok_or_else(unknown)?),
        sub => sub,
    };
    readable(attribute, sub)?;
    Ok(bound_path(extension, attribute, sub))
}

fn bind_present(path: &AttrPath, schema: &ResourceSchema) -> Result<Bound, Error> {
    match resolve(schema, path) {
        Resolved::Schema(found) => Ok(schema_present(found, schema)),
        Resolved::Unknown => Err(unknown()),
        Resolved::Attribute { extension, attribute, sub } => {
            readable(attribute, sub)?;
            if is_common(extension, attribute) {
                return Ok(Bound::Const(true));
            }
            Ok(Bound::Present(bound_path(extension, attribute, sub)))
        }
    }
}

/// True of resources that have the schema: the core one always, an extension if one of its attributes is there.
fn schema_present(found: &Schema, schema: &ResourceSchema) -> Bound {
    if schema.core.is(&found.urn) {
        return Bound::Const(true);
    }
    let readable = found.attributes.iter().filter(|attribute| readable(attribute, None).is_ok());
    Bound::Or(readable.map(|attribute| Bound::Present(bound_path(Some(found), attribute, None))).collect())
}

fn bind_compare(
    path: &AttrPath,
    op: CompareOp,
    value: &Literal,
    schema: &ResourceSchema,
) -> Result<Bound, Error> {
    let Resolved::Attribute { extension, attribute, sub } = resolve(schema, path) else {
        return Err(unknown());
    };
    if is_common(extension, attribute) {
        return bind_common(attribute, sub, op, value, schema);
    }
    // A complex attribute without a sub-attribute means its `value` (`emails eq`, Entra's `manager eq`).
    let sub = match sub {
        None if attribute.is_complex() => Some(attribute.sub("value").ok_or_else(|| {
            Error::invalid_filter(format!("attribute `{}` is complex; name a sub-attribute", attribute.name))
        })?),
        sub => sub,
    };
    readable(attribute, sub)?;
    compare(bound_path(extension, attribute, sub), op, value, false)
}

/// `id`, `schemas` and the parts of `meta` (RFC 7643 §3.1).
fn bind_common(
    attribute: &Attribute,
    sub: Option<&Attribute>,
    op: CompareOp,
    value: &Literal,
    schema: &ResourceSchema,
) -> Result<Bound, Error> {
    match (attribute.name.as_str(), sub.map(|sub| sub.name.as_str())) {
        ("id", _) => compare(bound_path(None, attribute, None), op, value, false),
        ("schemas", _) => bind_schemas(attribute, op, value, schema),
        ("meta", Some("created" | "lastModified")) => {
            compare(bound_path(None, attribute, sub), op, value, false)
        }
        ("meta", Some("resourceType")) => {
            let path = bound_path(None, attribute, sub);
            fixed(path, op, value, schema.resource_type.as_str())
        }
        ("meta", Some("version")) => bind_version(bound_path(None, attribute, sub), op, value),
        ("meta", Some("location")) => bind_location(op, value, schema),
        ("meta", None) => Err(Error::invalid_filter("attribute `meta` is complex; name a sub-attribute")),
        _ => Err(not_searchable(&attribute.name)),
    }
}

/// A comparison whose outcome is known here.
fn fixed(path: BoundPath, op: CompareOp, value: &Literal, actual: &str) -> Result<Bound, Error> {
    let bound = compare(path, op, value, false)?;
    Ok(settle(bound, actual))
}

fn settle(bound: Bound, actual: &str) -> Bound {
    match bound {
        Bound::Compare { path, op, value: Literal::String(wanted) } => {
            Bound::Const(super::eval::compare_text(actual, op, &wanted, path.case_exact))
        }
        Bound::Present(_) => Bound::Const(true),
        Bound::Not(inner) => match settle(*inner, actual) {
            Bound::Const(outcome) => Bound::Const(!outcome),
            other => Bound::Not(Box::new(other)),
        },
        other => other,
    }
}

/// `schemas` is computed from what the document holds, and so is what is said of it. URNs ignore letter case.
fn bind_schemas(
    attribute: &Attribute,
    op: CompareOp,
    value: &Literal,
    schema: &ResourceSchema,
) -> Result<Bound, Error> {
    let path = BoundPath { case_exact: false, ..bound_path(None, attribute, None) };
    let said = compare(path, op, value, false)?;
    let (op, wanted) = match said {
        Bound::Compare { op, value: Literal::String(wanted), .. } => (op, wanted),
        Bound::Not(_) => return Ok(Bound::Const(false)),
        _ => return Ok(Bound::Const(true)),
    };
    let all = std::iter::once(&schema.core).chain(&schema.extensions);
    let chosen = all.filter(|known| super::eval::compare_text(&known.urn, op, &wanted, false));
    Ok(Bound::Or(chosen.map(|known| schema_present(known, schema)).collect()))
}

/// `meta.version` compares with `W/"5"`, `"5"` in quotes or 5.
fn bind_version(mut path: BoundPath, op: CompareOp, value: &Literal) -> Result<Bound, Error> {
    path.data_type = DataType::Integer;
    let number = match value {
        Literal::Null | Literal::Number(_) => Some(value.clone()),
        Literal::String(text) => {
            let text = text.strip_prefix("W/").unwrap_or(text);
            let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
            text.parse::<i64>().ok().map(|n| Literal::Number(n.into()))
        }
        _ => None,
    };
    match (op, number) {
        (CompareOp::Eq | CompareOp::Ne, Some(number)) => compare(path, op, &number, false),
        (CompareOp::Eq | CompareOp::Ne, None) => Ok(Bound::Const(op == CompareOp::Ne)),
        _ => Err(Error::invalid_filter("attribute `meta.version` compares with eq and ne only")),
    }
}

/// `meta.location` ends in the endpoint and the id, and only the id tells resources apart: that is compared.
fn bind_location(op: CompareOp, value: &Literal, schema: &ResourceSchema) -> Result<Bound, Error> {
    let equal = match (op, value) {
        (CompareOp::Eq | CompareOp::Ne, Literal::Null) => Bound::Const(false),
        (CompareOp::Eq | CompareOp::Ne, Literal::String(text)) => {
            let mut parts = text.rsplit('/');
            match (parts.next(), parts.next()) {
                (Some(id), Some(endpoint)) if endpoint == schema.resource_type.endpoint() => {
                    let attribute = schema.attribute("id").ok_or_else(unknown)?;
                    let value = Literal::String(id.to_owned());
                    Bound::Compare { path: bound_path(None, attribute, None), op: CompareOp::Eq, value }
                }
                _ => Bound::Const(false),
            }
        }
        _ => {
            return Err(Error::invalid_filter(
                "attribute `meta.location` compares with a string, by eq and ne only",
            ));
        }
    };
    Ok(if op == CompareOp::Ne { Bound::Not(Box::new(equal)) } else { equal })
}

/// Types `value` for `path` and refuses operators the type does not have.
fn compare(path: BoundPath, op: CompareOp, value: &Literal, in_element: bool) -> Result<Bound, Error> {
    let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
    if *value == Literal::Null {
        return match op {
            // RFC 7643 §2.5: null and unassigned are one and the same.
            CompareOp::Eq => Ok(Bound::Not(Box::new(Bound::Present(path)))),
            CompareOp::Ne => Ok(Bound::Present(path)),
            _ => Err(Error::invalid_filter("null compares with eq and ne only")),
        };
    }
    let substring = matches!(op, CompareOp::Co | CompareOp::Sw | CompareOp::Ew);
    let allowed = match path.data_type {
        DataType::String | DataType::Reference => true,
        // RFC 7644 table 3: ordering of booleans and binaries is `invalidFilter`.
        DataType::Boolean | DataType::Binary => equality,
        DataType::Integer | DataType::Decimal | DataType::DateTime => !substring,
        DataType::Complex => false,
    };
    if !allowed {
        let (name, kind) = (printed(&path), path.data_type.as_str());
        return Err(Error::invalid_filter(format!(
            "attribute `{name}` is of type {kind}, which operator {} does not compare",
            op.as_str()
        )));
    }
    let value = typed(&path, value)?;
    if op == CompareOp::Ne && (in_element || !path.multi_valued) {
        let equal = Bound::Compare { path, op: CompareOp::Eq, value };
        return Ok(Bound::Not(Box::new(equal)));
    }
    Ok(Bound::Compare { path, op, value })
}

fn printed(path: &BoundPath) -> String {
    match &path.sub {
        Some(sub) => format!("{}.{sub}", path.attribute),
        None => path.attribute.clone(),
    }
}

fn typed(path: &BoundPath, value: &Literal) -> Result<Literal, Error> {
    let fits = match (path.data_type, value) {
        (DataType::Boolean, Literal::Bool(_))
        | (DataType::Decimal, Literal::Number(_))
        | (DataType::String | DataType::Reference | DataType::Binary, Literal::String(_)) => {
            Some(value.clone())
        }
        (DataType::Integer, Literal::Number(number)) => number.as_i64().map(|n| Literal::Number(n.into())),
        (DataType::DateTime, Literal::String(text)) => Timestamp::parse_rfc3339(text).map(Literal::Instant),
        _ => None,
    };
    fits.ok_or_else(|| {
        Error::invalid_filter(format!(
            "attribute `{}` is of type {} and is compared with a value of another type",
            printed(path),
            path.data_type.as_str()
        ))
    })
}
