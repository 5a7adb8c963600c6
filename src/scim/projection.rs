//! Which attributes an answer shows: `attributes` and `excludedAttributes` (RFC 7644 §3.4.2.5, §3.9) against each
//! attribute's `returned` (RFC 7643 §7).
//!
//! A name that no schema knows selects nothing and is no error: a list over two resource types names attributes
//! that only one of them has.

use serde_json::Value;

use super::error::Error;
use super::schema::{Attribute, ResourceSchema, Returned, Schema};

/// Most names in one request.
pub const NAMES_MAX: usize = 500;

/// Which attributes an answer shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Projection {
    /// Everything that is returned by default.
    #[default]
    Whole,
    /// What `attributes` names, and what is always returned.
    Only(Vec<String>),
    /// All but what `excludedAttributes` names, and what is always returned.
    Without(Vec<String>),
}

/// How much of one attribute is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'p> {
    /// None of it.
    Nothing,
    /// All of it.
    All,
    /// These sub-attributes, and those always returned.
    Subs(Vec<&'p str>),
    /// All but these sub-attributes, and those always returned.
    WithoutSubs(Vec<&'p str>),
}

impl Projection {
    /// From the two parameters: comma-separated names, in any letter case. Empty ones count as not given.
    ///
    /// # Errors
    /// `invalidValue` if both are given, since they exclude each other (RFC 7644 §3.9); `tooMany` for more than
    /// [`NAMES_MAX`] names.
    pub fn new(attributes: Option<&str>, excluded: Option<&str>) -> Result<Self, Error> {
        let split = |names: &str| -> Vec<String> {
            names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        Self::from_names(attributes.map(split).unwrap_or_default(), excluded.map(split).unwrap_or_default())
    }

    /// From lists of names, as a search body has them.
    ///
    /// # Errors
    /// As [`Projection::new`].
    pub fn from_names(attributes: Vec<String>, excluded: Vec<String>) -> Result<Self, Error> {
        if attributes.len() > NAMES_MAX || excluded.len() > NAMES_MAX {
            return Err(Error::too_many(format!(
                "`attributes` and `excludedAttributes` take at most {NAMES_MAX} names"
            )));
        }
        match (attributes.is_empty(), excluded.is_empty()) {
            (true, true) => Ok(Self::Whole),
            (false, true) => Ok(Self::Only(attributes)),
            (true, false) => Ok(Self::Without(excluded)),
            (false, false) => Err(Error::invalid_value(
                "`attributes` and `excludedAttributes` exclude each other; send one of them",
            )),
        }
    }

    /// True if everything is shown that is returned by default.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// True if any of the core or common attribute is shown, so that it need not be loaded otherwise:
    /// `members` of a group, `groups` of a user.
    pub fn wants(&self, schema: &ResourceSchema, name: &str) -> bool {
        self.part(schema, schema.attribute(name), None, name) != Part::Nothing
    }

    /// How much of the attribute `name` is shown. `extension` is the schema it stands in if that is not the core;
    /// `attribute` is its definition, where there is one.
    pub(super) fn part<'p>(
        &'p self,
        schema: &ResourceSchema,
        attribute: Option<&Attribute>,
        extension: Option<&Schema>,
        name: &str,
    ) -> Part<'p> {
        let returned = attribute.map(|attribute| attribute.returned).unwrap_or_default();
        match (returned, self) {
            (Returned::Never, _) | (Returned::Request, Self::Whole | Self::Without(_)) => Part::Nothing,
            (Returned::Always, _) | (Returned::Default, Self::Whole) => Part::All,
            (Returned::Default | Returned::Request, Self::Only(names)) => {
                let mut subs = Vec::new();
                for selected in names {
                    match hit(schema, extension, name, selected) {
                        Some("") => return Part::All,
                        Some(sub) => subs.push(sub),
                        None => {}
                    }
                }
                let always = attribute.is_some_and(always_inside);
                if subs.is_empty() && !always { Part::Nothing } else { Part::Subs(subs) }
            }
            (Returned::Default, Self::Without(names)) => {
                let mut subs = Vec::new();
                for selected in names {
                    match hit(schema, extension, name, selected) {
                        Some("") if attribute.is_some_and(always_inside) => return Part::Subs(Vec::new()),
                        Some("") => return Part::Nothing,
                        Some(sub) => subs.push(sub),
                        None => {}
                    }
                }
                if subs.is_empty() { Part::All } else { Part::WithoutSubs(subs) }
            }
        }
    }

    /// True if the projection names the extension `urn` as a whole.
    fn names_extension(&self, extension: &Schema) -> bool {
        match self {
            Self::Whole => false,
            Self::Only(names) | Self::Without(names) => names.iter().any(|name| extension.is(name)),
        }
    }

    /// True if the extension can be shown as it stands in the document, without a look inside.
    pub(super) fn takes_extension_whole(&self, schema: &ResourceSchema, extension: &Schema) -> bool {
        if schema.hides() {
            return false;
        }
        match self {
            Self::Whole => true,
            Self::Only(_) => self.names_extension(extension),
            Self::Without(names) => !names
                .iter()
                .any(|name| schema.split_urn(name).is_some_and(|(found, _)| found.is(&extension.urn))),
        }
    }

    /// Takes out of an extension's object what is not shown; `None` if nothing is left.
    pub(super) fn extension(
        &self,
        schema: &ResourceSchema,
        extension: &Schema,
        value: Value,
    ) -> Option<Value> {
        let Value::Object(object) = value else { return None };
        let named = self.names_extension(extension);
        let mut kept = serde_json::Map::with_capacity(object.len());
        for (name, value) in object {
            let attribute = extension.attribute(&name);
            let part = match self {
                // Naming the extension names what it holds, but not what must be asked for by name.
                Self::Only(_) if named => Self::Whole.part(schema, attribute, Some(extension), &name),
                Self::Without(_) if named => {
                    let always = attribute.is_some_and(|attribute| attribute.returned == Returned::Always);
                    if always { Part::All } else { Part::Nothing }
                }
                _ => self.part(schema, attribute, Some(extension), &name),
            };
            if let Some(value) = shown(value, attribute, &part) {
                kept.insert(name, value);
            }
        }
        if kept.is_empty() { None } else { Some(Value::Object(kept)) }
    }
}

/// Whether `selected` names the attribute: the sub-attribute it goes on to, empty if none.
fn hit<'p>(
    schema: &ResourceSchema,
    extension: Option<&Schema>,
    name: &str,
    selected: &'p str,
) -> Option<&'p str> {
    if extension.is_none() && selected.eq_ignore_ascii_case(name) {
        // Also a URN that no schema has, kept as a client sent it.
        return Some("");
    }
    let rest = if selected.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("urn:")) {
        let (found, rest) = schema.split_urn(selected)?;
        let wanted = extension.map_or(schema.core.urn.as_str(), |extension| extension.urn.as_str());
        if found.urn != wanted {
            return None;
        }
        if rest.is_empty() {
            // The URN alone stands for all of its schema.
            return Some("");
        }
        rest
    } else if extension.is_some() {
        return None;
    } else {
        selected
    };
    let head = rest.get(..name.len())?;
    let tail = rest.get(name.len()..)?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    if tail.is_empty() { Some("") } else { tail.strip_prefix('.').filter(|sub| !sub.is_empty()) }
}

fn always_inside(attribute: &Attribute) -> bool {
    attribute.sub_attributes.iter().any(|sub| sub.returned == Returned::Always)
}

/// Whether the sub-attribute is shown.
pub(super) fn shows_sub(attribute: Option<&Attribute>, part: &Part<'_>, name: &str) -> bool {
    let returned =
        attribute.and_then(|attribute| attribute.sub(name)).map(|sub| sub.returned).unwrap_or_default();
    let listed = |subs: &[&str]| subs.iter().any(|sub| sub.eq_ignore_ascii_case(name));
    match (returned, part) {
        (Returned::Never, _) | (_, Part::Nothing) => false,
        (Returned::Always, _) | (Returned::Default, Part::All) => true,
        (_, Part::Subs(subs)) => listed(subs),
        (Returned::Request, _) => false,
        (Returned::Default, Part::WithoutSubs(subs)) => !listed(subs),
    }
}

/// True if the value can be shown as it stands, without a look at its sub-attributes.
pub(super) fn takes_whole(attribute: Option<&Attribute>, part: &Part<'_>) -> bool {
    let hides = |attribute: &Attribute| {
        attribute.sub_attributes.iter().any(|sub| matches!(sub.returned, Returned::Never | Returned::Request))
    };
    *part == Part::All && !attribute.is_some_and(hides)
}

/// The value less the sub-attributes that are not shown; `None` if nothing is left.
pub(super) fn shown(value: Value, attribute: Option<&Attribute>, part: &Part<'_>) -> Option<Value> {
    if *part == Part::Nothing {
        return None;
    }
    if takes_whole(attribute, part) {
        return Some(value);
    }
    match value {
        Value::Object(object) => {
            let kept: serde_json::Map<String, Value> =
                object.into_iter().filter(|(name, _)| shows_sub(attribute, part, name)).collect();
            if kept.is_empty() { None } else { Some(Value::Object(kept)) }
        }
        Value::Array(items) => {
            let kept: Vec<Value> =
                items.into_iter().filter_map(|item| shown(item, attribute, part)).collect();
            if kept.is_empty() { None } else { Some(Value::Array(kept)) }
        }
        // `title.x` of a simple attribute names nothing.
        other => matches!(part, Part::All | Part::WithoutSubs(_)).then_some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::ResourceType;
    use crate::scim::schema::Registry;

    fn only(names: &str) -> Projection {
        Projection::new(Some(names), None).unwrap()
    }

    fn without(names: &str) -> Projection {
        Projection::new(None, Some(names)).unwrap()
    }

    #[test]
    fn both_parameters_together_are_refused_and_empty_ones_do_not_count() {
        let error = Projection::new(Some("userName"), Some("emails")).unwrap_err();
        assert_eq!(
            error,
            Error::invalid_value(
                "`attributes` and `excludedAttributes` exclude each other; send one of them"
            )
        );
        assert_eq!(Projection::new(Some(" , "), Some("")).unwrap(), Projection::Whole);
        let many = "a,".repeat(NAMES_MAX + 1);
        assert_eq!(
            Projection::new(Some(&many), None).unwrap_err(),
            Error::too_many("`attributes` and `excludedAttributes` take at most 500 names")
        );
    }

    #[test]
    fn names_match_in_any_case_with_and_without_urn() {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::Group);
        for names in [
            "members",
            "MEMBERS",
            "members.value",
            "urn:ietf:params:scim:schemas:core:2.0:Group:members",
            " id , members ",
        ] {
            assert!(only(names).wants(schema, "members"), "{names}");
        }
        for names in
            ["displayName", "member", "membersx", "urn:ietf:params:scim:schemas:core:2.0:User:members"]
        {
            assert!(!only(names).wants(schema, "members"), "{names}");
        }
        for names in ["members", "Members", "urn:ietf:params:scim:schemas:core:2.0:group:MEMBERS"] {
            assert!(!without(names).wants(schema, "members"), "{names}");
        }
        for names in ["displayName", "members.display"] {
            assert!(without(names).wants(schema, "members"), "{names}");
        }
        assert!(Projection::Whole.wants(schema, "members"));
    }

    #[test]
    fn what_is_always_returned_cannot_be_excluded_and_what_is_never_cannot_be_had() {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        assert!(without("id").wants(schema, "id"));
        assert!(only("userName").wants(schema, "id"));
        assert!(!only("userName").wants(schema, "meta"));
        assert!(!only("password").wants(schema, "password"));
        assert!(!Projection::Whole.wants(schema, "password"));
    }

    #[test]
    fn sub_attributes_are_kept_or_left_out_in_each_element() {
        let emails = json!([{"value": "a@x", "type": "work"}, {"type": "home"}]);
        let part = Part::Subs(vec!["VALUE"]);
        assert_eq!(shown(emails.clone(), None, &part), Some(json!([{"value": "a@x"}])));
        let part = Part::WithoutSubs(vec!["value"]);
        assert_eq!(shown(emails, None, &part), Some(json!([{"type": "work"}, {"type": "home"}])));
        assert_eq!(shown(json!("x"), None, &Part::Subs(vec!["y"])), None);
    }

    #[test]
    fn an_extension_is_named_whole_or_by_attribute() {
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        let urn = crate::scim::schema::ENTERPRISE_USER_URN;
        let extension = schema.extension(urn).unwrap();
        let value = json!({"department": "R", "manager": {"value": "1", "displayName": "M"}});
        let of = |projection: Projection| projection.extension(schema, extension, value.clone());
        assert_eq!(of(only(urn)), Some(value.clone()));
        assert_eq!(of(only(&format!("{urn}:department"))), Some(json!({"department": "R"})));
        assert_eq!(of(only(&format!("{urn}:manager.value"))), Some(json!({"manager": {"value": "1"}})));
        assert_eq!(of(only("department")), None);
        assert_eq!(of(without(urn)), None);
        assert_eq!(
            of(without(&format!("{urn}:manager.displayName"))),
            Some(json!({"department": "R", "manager": {"value": "1"}}))
        );
        assert!(only(urn).takes_extension_whole(schema, extension));
        assert!(without("emails").takes_extension_whole(schema, extension));
        assert!(!without(&format!("{urn}:department")).takes_extension_whole(schema, extension));
    }
}
