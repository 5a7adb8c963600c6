//! Paths of PATCH operations (RFC 7644 §3.5.2 figure 7).

use std::fmt::{self, Display, Formatter};

use super::error::Error;
use super::filter::{AttrPath, Filter, parse_value_path};

/// The path of a PATCH operation as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Path {
    /// `[urn:]attribute[.sub]`.
    Attribute(AttrPath),
    /// `[urn:]attribute[filter][.sub]`.
    Value {
        /// The multi-valued attribute.
        attr: AttrPath,
        /// Which of its elements.
        filter: Filter,
        /// Which part of them.
        sub: Option<String>,
    },
}

impl Path {
    /// Reads a path: attribute names up to 256 bytes, a filter within the filter's limits.
    /// # Errors
    /// `invalidPath`, without repeating the path; `invalidFilter` if the part in brackets is at fault.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.contains('[') {
            let (attr, filter, sub) = parse_value_path(text)?;
            return Ok(Self::Value { attr, filter, sub });
        }
        AttrPath::parse(text).map(Self::Attribute).ok_or_else(|| {
            Error::invalid_path(
                "the path is not of the form attribute, attribute.sub or attribute[filter].sub",
            )
        })
    }

    /// The attribute part, without filter.
    pub fn attr(&self) -> &AttrPath {
        match self {
            Self::Attribute(attr) | Self::Value { attr, .. } => attr,
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attr) => attr.fmt(f),
            Self::Value { attr, filter, sub } => {
                write!(f, "{attr}[{filter}]")?;
                match sub {
                    Some(sub) => write!(f, ".{sub}"),
                    None => Ok(()),
                }
            }
        }
    }
}
