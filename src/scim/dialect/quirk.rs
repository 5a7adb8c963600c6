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
    /// `remove` of `active`.
    RemovedActive,
}

use DirectoryKind::{
    Authentik, Cyberark, Entra, Google, Jumpcloud, Keycloak, Okta, Onelogin, Ping, Rippling,
};

const EVERY: &[DirectoryKind] = &DirectoryKind::ALL;
/// Every kind but `generic`.
const NAMED: &[DirectoryKind] =
    &[Okta, Entra, Google, Onelogin, Jumpcloud, Ping, Cyberark, Rippling, Keycloak, Authentik];

impl Quirk {
    /// Every quirk, in the order of the documentation.
    pub const ALL: [Self; 18] = [
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
        Self::RemovedActive,
    ];

    /// The name in configuration, metrics and documentation: kebab-case.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpLetterCase => "op-letter-case",
            Self::BooleanStrings => "boolean-strings",
            Self::MembersRemoveByValue => "members-remove-by-value",
            Self::FlatKeys => "flat-keys",
            Self::ManagerAsString => "manager-as-string",
            Self::CreateFromFilter => "create-from-filter",
            Self::PatchSchemas => "patch-schemas",
            Self::NullPath => "null-path",
            Self::SingleObject => "single-object",
            Self::StrayKeys => "stray-keys",
            Self::LegacyUrns => "legacy-urns",
            Self::UrnDot => "urn-dot",
            Self::WrappedScalar => "wrapped-scalar",
            Self::EmptyString => "empty-string",
            Self::UnknownPaths => "unknown-paths",
            Self::ValuePathComparison => "value-path-comparison",
            Self::ManagerWithoutUrn => "manager-without-urn",
            Self::RemovedActive => "removed-active",
        }
    }

    /// What is accepted, in one line.
    pub fn description(self) -> &'static str {
        match self {
            Self::OpLetterCase => "`op` in any letter case: `Add`, `REPLACE`",
            Self::BooleanStrings => {
                "the strings `\"true\"` and `\"false\"`, in any letter case, where the schema says boolean: in bodies, \
                 in PATCH values, in filters and in filters inside paths"
            }
            Self::MembersRemoveByValue => {
                "`remove` with path `members` and a value removes the members it names, not all; a value that names \
                 nobody is 400. Also `remove` without path and the value `{\"members\": […]}`"
            }
            Self::FlatKeys => {
                "keys of a path-less value that are paths: `name.givenName`, `urn:…:User:department`, \
                 `emails[type eq \"work\"].value`"
            }
            Self::ManagerAsString => {
                "the manager as a bare id or as an array of one object; `\"\"` and `{\"value\": \"\"}` clear it"
            }
            Self::CreateFromFilter => {
                "`add` or `replace` with a value path that matches nothing creates the element that the path's `eq` \
                 comparisons describe, once for all operations of the request, instead of 400 `noTarget`"
            }
            Self::PatchSchemas => "a PATCH request whose `schemas` is missing, empty or names something else",
            Self::NullPath => "an operation with `\"path\": null` or `\"path\": \"\"` is one without path",
            Self::SingleObject => "one object or value where the schema says array, as in `\"emails\": {…}`",
            Self::StrayKeys => {
                "members of a PATCH request or of its operations that the RFC does not define, as `\"name\": \
                 \"addMember\"`, are ignored"
            }
            Self::LegacyUrns => {
                "the URNs of SCIM 1.0, and `urn:scim:schemas:core:2.0`, stand for those of SCIM 2.0"
            }
            Self::UrnDot => "a dot between URN and attribute in a path: `urn:…:User.department`",
            Self::WrappedScalar => {
                "a single value wrapped as `[{\"$ref\": null, \"value\": \"X\"}]` or `[\"X\"]`"
            }
            Self::EmptyString => {
                "`\"\"` where the schema says complex, an array, a number or a dateTime is no value"
            }
            Self::UnknownPaths => {
                "a PATCH path to an attribute or extension that no schema knows is kept as opaque data instead of 400 \
                 `invalidPath`"
            }
            Self::ValuePathComparison => {
                "a sub-attribute behind a value path in a filter: `emails[type eq \"work\"].value eq \"x\"`"
            }
            Self::ManagerWithoutUrn => {
                "`manager` without its URN as a path or as a top-level key is the enterprise extension's"
            }
            Self::RemovedActive => {
                "`remove` with path `active` stores `false`, which answers then show. Without it the attribute is \
                 unassigned, as RFC 7644 section 3.5.2.2 has it, and the user counts as inactive all the same"
            }
        }
    }

    /// The kinds of directory it is on for, unless configured otherwise. What only accepts what the RFC would
    /// refuse is on for every kind: an identity provider changes its habits without notice, and a refused push is
    /// access that was not taken away.
    pub fn kinds(self) -> &'static [DirectoryKind] {
        match self {
            Self::RemovedActive => NAMED,
            _ => EVERY,
        }
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
            for part in ["| `", quirk.name(), "` | ", &description, " | ", &kinds, " |\n"] {
                table.push_str(part);
            }
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
    fn every_kind_tolerates_what_only_accepts_and_generic_shows_a_removed_active_as_the_rfc_does() {
        for kind in DirectoryKind::ALL {
            let expected = Quirks::for_kind(DirectoryKind::Okta)
                .with(Quirk::RemovedActive, kind != DirectoryKind::Generic);
            assert_eq!(Quirks::for_kind(kind), expected, "{kind}");
        }
        assert_eq!(Quirks::for_kind(DirectoryKind::Okta).iter().count(), Quirk::ALL.len());
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
