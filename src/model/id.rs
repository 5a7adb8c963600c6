//! Identifiers. Each is a type of its own, so that one can never be passed for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it was meant to be. The message names the rule, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    what: &'static str,
    rule: &'static str,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {}: {}", self.what, self.rule)
    }
}

impl std::error::Error for IdError {}

/// True for 1 to 63 characters of `[a-z0-9]` with `-` (and `_` where allowed) inside.
fn is_slug(text: &str, underscore: bool) -> bool {
    let inner =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (underscore && c == '_');
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && text.chars().next().is_some_and(edge)
        && text.chars().next_back().is_some_and(edge)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier if `text` follows the rule of this type.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(IdError { what: $what, rule: $rule }) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }
    };
}

text_id!(
    /// One identity-provider integration: a slug such as `acme-okta`.
    DirectoryId,
    "directory id",
    "1 to 63 of a-z, 0-9 and - with a letter or digit at both ends",
    |text| is_slug(text, false)
);
text_id!(
    /// The name of one downstream target, as in `[[target]] name`.
    TargetName,
    "target name",
    "1 to 63 of a-z, 0-9, - and _ with a letter or digit at both ends",
    |text| is_slug(text, true)
);
text_id!(
    /// A person of the console and the admin API, as in `[[admin.user]] name`.
    AdminName,
    "user's name",
    "1 to 63 characters of A-Z, a-z, 0-9 and . _ - @ + with a letter or digit first",
    |text| {
        (1..=63).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'))
            && text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
    }
);
text_id!(
    /// What an operator grants, as in `[[role]] name`.
    RoleName,
    "role name",
    "1 to 128 characters of A-Z, a-z, 0-9 and . _ - : with a letter or digit first",
    |text| {
        (1..=128).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'))
            && text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
    }
);
text_id!(
    /// The public name of a token or reader credential; not secret. Looks like `tok_3fQ9aZ…`.
    TokenId,
    "token id",
    "1 to 64 of A-Z, a-z, 0-9, _ and -",
    |text| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
);
text_id!(
    /// Names one HTTP request in logs, in the change log and in error answers.
    RequestId,
    "request id",
    "1 to 64 of A-Z, a-z, 0-9, _ and -",
    |text| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
);

/// The `id` of a SCIM resource (RFC 7643 §3.1): a UUID version 7 made here, never reused, never the client's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(Uuid);

impl ResourceId {
    /// A new id. `unix_millis` and `random` come in from outside, so that pure code stays pure.
    pub fn new(unix_millis: u64, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, random).into_uuid())
    }

    /// The id that `text` spells: lower case, hyphenated, nothing else, since `id` is case-exact (RFC 7643 §3.1).
    pub fn parse(text: &str) -> Option<Self> {
        let shaped = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
        if shaped { Uuid::try_parse(text).ok().map(Self) } else { None }
    }

    /// The 16 bytes as stored in the mirror.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the 16 bytes stored in the mirror.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ResourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a resource id"))
    }
}

/// The two kinds of resource a directory holds (RFC 7643 §4.1, §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResourceType {
    /// A person or service account.
    User,
    /// A set of users and groups.
    Group,
}

impl ResourceType {
    /// The RFC's name, as in `meta.resourceType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// The endpoint's path segment (RFC 7644 §3.2).
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A person downstream: one user of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The directory the user belongs to.
    pub directory: DirectoryId,
    /// The user's id there.
    pub user: ResourceId,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.directory, self.user)
    }
}

/// Which identity provider speaks; picks the quirks that are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryKind {
    /// Okta.
    Okta,
    /// Microsoft Entra ID.
    Entra,
    /// Google Workspace.
    Google,
    /// OneLogin.
    Onelogin,
    /// JumpCloud.
    Jumpcloud,
    /// PingFederate and PingOne.
    Ping,
    /// CyberArk Identity.
    Cyberark,
    /// Rippling.
    Rippling,
    /// Keycloak with a SCIM client extension.
    Keycloak,
    /// authentik.
    Authentik,
    /// Anything else that speaks SCIM 2.0.
    Generic,
}

impl DirectoryKind {
    /// Every kind, in the order DESIGN lists them.
    pub const ALL: [Self; 11] = [
        Self::Okta,
        Self::Entra,
        Self::Google,
        Self::Onelogin,
        Self::Jumpcloud,
        Self::Ping,
        Self::Cyberark,
        Self::Rippling,
        Self::Keycloak,
        Self::Authentik,
        Self::Generic,
    ];

    /// The word used in config, commands and the mirror.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Okta => "okta",
            Self::Entra => "entra",
            Self::Google => "google",
            Self::Onelogin => "onelogin",
            Self::Jumpcloud => "jumpcloud",
            Self::Ping => "ping",
            Self::Cyberark => "cyberark",
            Self::Rippling => "rippling",
            Self::Keycloak => "keycloak",
            Self::Authentik => "authentik",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for DirectoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DirectoryKind {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(IdError {
            what: "directory kind",
            rule: "one of okta entra google onelogin jumpcloud ping cyberark rippling keycloak authentik generic",
        })
    }
}

/// A time-boxed grant: the number of the change that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GrantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse()
            .map(Self)
            .map_err(|_| IdError { what: "grant id", rule: "a number, as `rosterd grant list` shows it" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_ids_are_slugs() {
        for good in ["a", "acme-okta", "0", "a--b"] {
            assert!(DirectoryId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "a/b", &"a".repeat(64)] {
            assert!(DirectoryId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resource_ids_are_case_exact_and_round_trip() {
        let id = ResourceId::new(1_700_000_000_000, &[7; 10]);
        let text = id.to_string();
        assert_eq!(ResourceId::parse(&text), Some(id));
        assert_eq!(ResourceId::parse(&text.to_uppercase()), None);
        assert_eq!(ResourceId::parse("00919288221112222"), None);
        assert_eq!(ResourceId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn every_directory_kind_parses_back_from_its_word() {
        for kind in DirectoryKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("Okta".parse::<DirectoryKind>().is_err());
    }
}
