//! The table of quirks. `docs/idp-quirks.md` is generated from it.

use std::fmt;

use crate::model::DirectoryKind;

/// One habit of identity providers that differs from the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Quirk {
    /// `Add`, `REPLACE`.
    OpLetterCase,
    /// `"True"` where a boolean is due.
    BooleanStrings,
    /// `remove` with path `members` and a value.
    MembersRemoveByValue,
    /// Keys such as `name.givenName` in a path-less value.
    FlatKeys,
    /// The manager as a string, an array of one, or empty.
    ManagerAsString,
    /// A value path that matches nothing.
    CreateFromFilter,
    /// PatchOp named wrongly or not at all in `schemas`.
    PatchSchemas,
    /// `"path": null` and `"path": ""`.
    NullPath,
    /// One object where an array is due.
    SingleObject,
    /// Members of a PATCH request and its operations that the RFC does not know.
    StrayKeys,
    /// URNs of SCIM 1.0.
    LegacyUrns,
    /// `urn:…:User.department`.
    UrnDot,
    /// A scalar wrapped in `[{"value": …}]`.
    WrappedScalar,
    /// `""` where something other than a string is due.
    EmptyString,
    /// Paths to attributes that no schema knows.
    UnknownPaths,
    /// `emails[type eq "work"].value eq "x"`.
    ValuePathComparison,
    /// `manager` without its URN in paths and bodies.
    ManagerWithoutUrn,
}

use DirectoryKind::{
    Authentik, Cyberark, Entra, Generic, Google, Jumpcloud, Keycloak, Okta, Onelogin, Ping, Rippling,
};

const EVERY: &[DirectoryKind] = &DirectoryKind::ALL;

impl Quirk {
    /// Every quirk, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::OpLetterCase,
        Self::BooleanStrings,
        Self::MembersRemoveByValue,
        Self::FlatKeys,
        Self::ManagerAsString,
        Self::CreateFromFilter,
        Self::PatchSchemas,
        Self::NullPath,
        Self::SingleObject,
        Self::StrayKeys,
        Self::LegacyUrns,
        Self::UrnDot,
        Self::WrappedScalar,
        Self::EmptyString,
        Self::UnknownPaths,
        Self::ValuePathComparison,
        Self::ManagerWithoutUrn,
    ];

    /// Name in kebab-case, one line for a person, and the kinds of directory it is on for.
    fn row(self) -> (&'static str, &'static str, &'static [DirectoryKind]) {
        match self {
            Self::OpLetterCase => (
                "op-letter-case",
                "`op` in any letter case: `Add`, `REPLACE`",
                &[Entra, Onelogin, Ping, Cyberark, Rippling, Keycloak, Generic],
            ),
            Self::BooleanStrings => (
                "boolean-strings",
                "the strings `\"true\"` and `\"false\"`, in any letter case, where the schema says boolean: in bodies, \
                 in PATCH values, in filters and in filters inside paths",
                EVERY,
            ),
            Self::MembersRemoveByValue => (
                "members-remove-by-value",
                "`remove` with path `members` and a value removes the members it names, not all; a value that names \
                 nobody is 400. Also `remove` without path and the value `{\"members\": […]}`",
                EVERY,
            ),
            Self::FlatKeys => (
                "flat-keys",
                "keys of a path-less value that are paths: `name.givenName`, `urn:…:User:department`, \
                 `emails[type eq \"work\"].value`",
                &[Entra, Okta, Onelogin, Rippling, Keycloak, Generic],
            ),
            Self::ManagerAsString => (
                "manager-as-string",
                "the manager as a bare id or as an array of one object; `\"\"` and `{\"value\": \"\"}` clear it",
                &[Entra, Okta, Onelogin, Ping, Rippling, Generic],
            ),
            Self::CreateFromFilter => (
                "create-from-filter",
                "`add` or `replace` with a value path that matches nothing creates the element that the path's `eq` \
                 comparisons describe, once for all operations of the request, instead of 400 `noTarget`",
                &[Entra, Okta, Onelogin, Rippling, Generic],
            ),
            Self::PatchSchemas => (
                "patch-schemas",
                "a PATCH request whose `schemas` is missing, empty or names something else",
                &[Authentik, Entra, Onelogin, Rippling, Keycloak, Generic],
            ),
            Self::NullPath => (
                "null-path",
                "an operation with `\"path\": null` or `\"path\": \"\"` is one without path",
                &[Authentik, Entra, Keycloak, Generic],
            ),
            Self::SingleObject => (
                "single-object",
                "one object or value where the schema says array, as in `\"emails\": {…}`",
                &[Onelogin, Entra, Google, Ping, Rippling, Keycloak, Generic],
            ),
            Self::StrayKeys => (
                "stray-keys",
                "members of a PATCH request or of its operations that the RFC does not define, as `\"name\": \
                 \"addMember\"`, are ignored",
                EVERY,
            ),
            Self::LegacyUrns => (
                "legacy-urns",
                "the URNs of SCIM 1.0, and `urn:scim:schemas:core:2.0`, stand for those of SCIM 2.0",
                &[Onelogin, Ping, Cyberark, Generic],
            ),
            Self::UrnDot => (
                "urn-dot",
                "a dot between URN and attribute in a path: `urn:…:User.department`",
                &[Entra, Generic],
            ),
            Self::WrappedScalar => (
                "wrapped-scalar",
                "a single value wrapped as `[{\"$ref\": null, \"value\": \"X\"}]` or `[\"X\"]`",
                &[Entra, Generic],
            ),
            Self::EmptyString => (
                "empty-string",
                "`\"\"` where the schema says complex, an array, a number or a dateTime is no value",
                &[Entra, Jumpcloud, Onelogin, Okta, Google, Rippling, Generic],
            ),
            Self::UnknownPaths => (
                "unknown-paths",
                "a PATCH path to an attribute or extension that no schema knows is kept as opaque data instead of 400 \
                 `invalidPath`",
                &[Entra, Okta, Onelogin, Jumpcloud, Keycloak, Generic],
            ),
            Self::ValuePathComparison => (
                "value-path-comparison",
                "a sub-attribute behind a value path in a filter: `emails[type eq \"work\"].value eq \"x\"`",
                &[Entra, Generic],
            ),
            Self::ManagerWithoutUrn => (
                "manager-without-urn",
                "`manager` without its URN as a path or as a top-level key is the enterprise extension's",
                &[Entra, Onelogin, Generic],
            ),
        }
    }

    /// The name in configuration, metrics and documentation: kebab-case.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What is accepted, in one line.
    pub fn description(self) -> &'static str {
        self.row().1
    }

    /// The kinds of directory it is on for, unless configured otherwise.
    pub fn kinds(self) -> &'static [DirectoryKind] {
        self.row().2
    }

    /// The table of `docs/idp-quirks.md`: Markdown, one row for each quirk.
    pub fn table() -> String {
        let mut table = "| quirk | accepts | on for |\n| --- | --- | --- |\n".to_owned();
        for quirk in Self::ALL {
            let kinds = match quirk.kinds() {
                all if all.len() == DirectoryKind::ALL.len() => "every kind".to_owned(),
                some => some.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
            };
            // A pipe would end the cell.
            let description = quirk.description().replace('|', "\\|");
            table.push_str(&format!("| `{quirk}` | {description} | {kinds} |\n"));
        }
        table
    }

    fn bit(self) -> u32 {
        1 << (self as u8)
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no quirk's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownQuirk;

impl fmt::Display for UnknownQuirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a quirk; one of")?;
        Quirk::ALL.into_iter().try_for_each(|quirk| write!(f, " {quirk}"))
    }
}

impl std::error::Error for UnknownQuirk {}

impl std::str::FromStr for Quirk {
    type Err = UnknownQuirk;
    fn from_str(text: &str) -> Result<Self, UnknownQuirk> {
        Self::ALL.into_iter().find(|quirk| quirk.name() == text).ok_or(UnknownQuirk)
    }
}

/// A set of quirks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Quirks(u32);

impl Quirks {
    /// The RFC alone: `quirks = "none"`.
    pub const NONE: Self = Self(0);

    /// Those that are on for a kind of directory.
    pub fn for_kind(kind: DirectoryKind) -> Self {
        Quirk::ALL.into_iter().filter(|quirk| quirk.kinds().contains(&kind)).collect()
    }

    /// Whether `quirk` is in the set.
    pub fn has(self, quirk: Quirk) -> bool {
        self.0 & quirk.bit() != 0
    }

    /// The set with `quirk` switched on or off, as `quirks = { flat-keys = false }` does.
    #[must_use]
    pub fn with(self, quirk: Quirk, on: bool) -> Self {
        if on { Self(self.0 | quirk.bit()) } else { Self(self.0 & !quirk.bit()) }
    }

    /// Puts `quirk` into the set.
    pub fn insert(&mut self, quirk: Quirk) {
        self.0 |= quirk.bit();
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if there is none in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The quirks in the set, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        Quirk::ALL.into_iter().filter(move |quirk| self.has(*quirk))
    }
}

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        quirks.into_iter().fold(Self::NONE, |set, quirk| set.with(quirk, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_kebab_case_and_parse_back() {
        for quirk in Quirk::ALL {
            assert_eq!(quirk.name().parse(), Ok(quirk));
            assert!(quirk.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{quirk}");
            assert!(!quirk.description().is_empty());
        }
        assert_eq!(Quirk::ALL.into_iter().collect::<Quirks>().iter().count(), Quirk::ALL.len());
    }

    #[test]
    fn generic_has_every_quirk_and_every_kind_removes_members_by_value() {
        assert!(Quirk::ALL.into_iter().all(|quirk| Quirks::for_kind(DirectoryKind::Generic).has(quirk)));
        for kind in DirectoryKind::ALL {
            assert!(Quirks::for_kind(kind).has(Quirk::MembersRemoveByValue), "{kind}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_quirk() {
        let table = Quirk::table();
        assert_eq!(table.lines().count(), Quirk::ALL.len() + 2);
        assert!(table.contains("| `members-remove-by-value` |") && table.contains("| every kind |"));
    }

    #[test]
    fn a_set_is_changed_by_name() {
        let set = Quirks::for_kind(DirectoryKind::Entra).with(Quirk::FlatKeys, false);
        assert!(!set.has(Quirk::FlatKeys) && set.has(Quirk::OpLetterCase));
        assert!(Quirks::NONE.is_empty());
    }
}
