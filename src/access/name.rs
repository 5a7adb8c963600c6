//! The attribute that names a person at one target.

use std::fmt;
use std::str::FromStr;

/// Key `[[target]] subject`, default `userName`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubjectAttribute {
    /// `userName`.
    #[default]
    UserName,
    /// `userName.local`: what stands before the last `@`, or the whole name.
    UserNameLocal,
    /// `id`.
    Id,
    /// `externalId`.
    ExternalId,
    /// `email`, `emails` or `emails.value`: the primary address, or the only one.
    Email,
    /// `displayName`.
    DisplayName,
    /// Any other attribute path: `name`, `name.sub`, or either behind an extension's URN and a colon.
    Path(AttributePath),
}

/// A parsed path to a simple attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributePath {
    pub(super) extension: Option<String>,
    pub(super) name: String,
    pub(super) sub: Option<String>,
}

/// Why a text is not a subject attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAttributeError;

impl fmt::Display for SubjectAttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a subject attribute: write `userName`, `userName.local`, `id`, `externalId`, `email`, `displayName`, \
             or an attribute path such as `name.familyName` or `urn:…:User:employeeNumber`",
        )
    }
}

impl std::error::Error for SubjectAttributeError {}

impl FromStr for SubjectAttribute {
    type Err = SubjectAttributeError;

    fn from_str(text: &str) -> Result<Self, SubjectAttributeError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "username" => Self::UserName,
            "username.local" => Self::UserNameLocal,
            "id" => Self::Id,
            "externalid" => Self::ExternalId,
            "email" | "emails" | "emails.value" => Self::Email,
            "displayname" => Self::DisplayName,
            _ => Self::Path(AttributePath::parse(text).ok_or(SubjectAttributeError)?),
        })
    }
}

impl AttributePath {
    fn parse(text: &str) -> Option<Self> {
        let (extension, rest) = match text.rsplit_once(':') {
            Some((urn, rest)) if urn.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) => {
                (Some(urn.to_owned()), rest)
            }
            Some(_) => return None,
            None => (None, text),
        };
        let (name, sub) = match rest.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$'))
        };
        if !is_name(name) || !sub.is_none_or(is_name) {
            return None;
        }
        let core = "urn:ietf:params:scim:schemas:core:2.0:user";
        let extension = extension.filter(|urn| !urn.eq_ignore_ascii_case(core));
        Some(Self { extension, name: name.to_owned(), sub: sub.map(str::to_owned) })
    }
}

impl fmt::Display for SubjectAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserName => f.write_str("userName"),
            Self::UserNameLocal => f.write_str("userName.local"),
            Self::Id => f.write_str("id"),
            Self::ExternalId => f.write_str("externalId"),
            Self::Email => f.write_str("email"),
            Self::DisplayName => f.write_str("displayName"),
            Self::Path(path) => {
                if let Some(urn) = &path.extension {
                    write!(f, "{urn}:")?;
                }
                f.write_str(&path.name)?;
                path.sub.as_ref().map_or(Ok(()), |sub| write!(f, ".{sub}"))
            }
        }
    }
}
