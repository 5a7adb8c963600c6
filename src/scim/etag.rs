//! Versions as weak entity tags, and the preconditions of RFC 7644 §3.14 and RFC 9110 §13.
//!
//! A version is a counter; its tag is `W/"<version>"`. Tags compare weakly everywhere, since SCIM uses weak tags
//! in `If-Match` too.

use std::fmt;

use super::error::Error;

/// The tag of a version, as in the `ETag` header and in `meta.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag(pub u64);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W/\"{}\"", self.0)
    }
}

/// What an `If-Match` or `If-None-Match` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: any version of an existing resource.
    Any,
    /// One of these. Tags that are not ours match nothing and are left out.
    Listed(Vec<u64>),
}

impl Tags {
    fn parse(header: &str) -> Self {
        if header.trim() == "*" {
            return Self::Any;
        }
        Self::Listed(header.split(',').filter_map(version).collect())
    }

    fn has(&self, current: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(versions) => versions.contains(&current),
        }
    }
}

/// The version in one tag, strong or weak; without quotes too, since clients copy `meta.version` by hand.
fn version(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").or_else(|| tag.strip_prefix("w/")).unwrap_or(tag);
    let digits = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The preconditions of one request. The default has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Precondition {
    /// From the values of the two headers. A header given several times is joined with commas before.
    pub fn new(if_match: Option<&str>, if_none_match: Option<&str>) -> Self {
        Self { if_match: if_match.map(Tags::parse), if_none_match: if_none_match.map(Tags::parse) }
    }

    /// True if the request has no precondition.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether a write to a resource of version `current` may go on.
    ///
    /// # Errors
    /// 412 if `If-Match` does not name the version, or `If-None-Match` does.
    pub fn check_write(&self, current: u64) -> Result<(), Error> {
        if self.if_match.as_ref().is_some_and(|tags| !tags.has(current)) {
            return Err(Error::precondition_failed(format!(
                "the resource has changed: its version is now {}; read it again and repeat the request",
                ETag(current)
            )));
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.has(current)) {
            return Err(Error::precondition_failed(format!(
                "If-None-Match names the resource's version {}",
                ETag(current)
            )));
        }
        Ok(())
    }

    /// Whether a read of a resource of version `current` may go on: `Ok(true)` asks for an answer with a body,
    /// `Ok(false)` for 304.
    ///
    /// # Errors
    /// 412 if `If-Match` does not name the version.
    pub fn check_read(&self, current: u64) -> Result<bool, Error> {
        if self.if_match.as_ref().is_some_and(|tags| !tags.has(current)) {
            return Err(Error::precondition_failed(format!(
                "If-Match does not name the resource's version {}",
                ETag(current)
            )));
        }
        Ok(!self.if_none_match.as_ref().is_some_and(|tags| tags.has(current)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_weak() {
        assert_eq!(ETag(17).to_string(), "W/\"17\"");
    }

    #[test]
    fn if_match_takes_lists_stars_strong_and_weak_tags() {
        for header in ["W/\"3\"", "\"3\"", "*", "\"1\", W/\"3\"", " w/\"3\" ", "3"] {
            let precondition = Precondition::new(Some(header), None);
            assert_eq!(precondition.check_write(3), Ok(()), "{header}");
            assert_eq!(precondition.check_read(3), Ok(true), "{header}");
        }
        for header in ["W/\"4\"", "", "\"x\"", "\"+3\"", "W/\"99999999999999999999999\""] {
            let error = Precondition::new(Some(header), None).check_write(3).unwrap_err();
            assert_eq!((error.status, error.scim_type), (412, None), "{header}");
        }
        let error = Precondition::new(Some("W/\"4\""), None).check_write(3).unwrap_err();
        assert_eq!(
            error.detail,
            "the resource has changed: its version is now W/\"3\"; read it again and repeat the request"
        );
    }

    #[test]
    fn if_none_match_makes_reads_304_and_writes_412() {
        let precondition = Precondition::new(None, Some("W/\"3\""));
        assert_eq!(precondition.check_read(3), Ok(false));
        assert_eq!(precondition.check_read(4), Ok(true));
        assert_eq!(precondition.check_write(3).unwrap_err().status, 412);
        assert_eq!(precondition.check_write(4), Ok(()));
        assert_eq!(Precondition::new(None, Some("*")).check_read(9), Ok(false));
    }

    #[test]
    fn without_headers_everything_goes_on() {
        let none = Precondition::default();
        assert!(none.is_empty());
        assert_eq!(none.check_write(1), Ok(()));
        assert_eq!(none.check_read(1), Ok(true));
    }
}
