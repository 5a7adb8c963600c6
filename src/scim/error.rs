//! The one error of the protocol: it *is* the answer of RFC 7644 §3.12. Whoever raises it names the attribute
//! and the reason in `detail` and never repeats the client's input at length.

use std::fmt;

use serde_json::json;

/// The URN of an error answer (RFC 7644 §3.12).
pub const ERROR_URN: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// The detail keyword of an error: RFC 7644 §3.12 table 9 and RFC 9865 §2.1, no inventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScimType {
    /// The filter's syntax, or an attribute or comparison it names, is not supported.
    InvalidFilter,
    /// The request yields or holds more than the server takes.
    TooMany,
    /// A value that must be unique is in use.
    Uniqueness,
    /// The attribute may not be changed that way.
    Mutability,
    /// The body's structure is wrong.
    InvalidSyntax,
    /// The path of a PATCH operation is malformed or names nothing known.
    InvalidPath,
    /// The path selects nothing that could be operated on.
    NoTarget,
    /// A required value is missing, or a value does not fit its attribute.
    InvalidValue,
    /// The protocol version asked for is not supported.
    InvalidVers,
    /// The request may not be made because of what it reveals in its URI.
    Sensitive,
    /// The cursor is not one of ours (RFC 9865).
    InvalidCursor,
    /// The cursor is too old (RFC 9865).
    ExpiredCursor,
    /// The count is not one that cursor paging takes (RFC 9865).
    InvalidCount,
}

impl ScimType {
    /// The RFC's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Uniqueness => "uniqueness",
            Self::Mutability => "mutability",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
            Self::InvalidVers => "invalidVers",
            Self::Sensitive => "sensitive",
            Self::InvalidCursor => "invalidCursor",
            Self::ExpiredCursor => "expiredCursor",
            Self::InvalidCount => "invalidCount",
        }
    }
}

impl fmt::Display for ScimType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error answer (RFC 7644 §3.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The HTTP status; in the body it is a string.
    pub status: u16,
    /// The keyword, where the RFC defines one for the case.
    pub scim_type: Option<ScimType>,
    /// For a person: which attribute, what is wrong with it. Never empty.
    pub detail: String,
}

macro_rules! bad_request {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(detail: impl Into<String>) -> Self {
                Self { status: 400, scim_type: Some(ScimType::$kind), detail: detail.into() }
            }
        )*
    };
}

impl Error {
    bad_request! {
        /// 400 `invalidFilter`.
        invalid_filter => InvalidFilter;
        /// 400 `tooMany`.
        too_many => TooMany;
        /// 400 `mutability`.
        mutability => Mutability;
        /// 400 `invalidSyntax`.
        invalid_syntax => InvalidSyntax;
        /// 400 `invalidPath`.
        invalid_path => InvalidPath;
        /// 400 `noTarget`.
        no_target => NoTarget;
        /// 400 `invalidValue`.
        invalid_value => InvalidValue;
        /// 400 `invalidVers`.
        invalid_vers => InvalidVers;
        /// 400 `invalidCursor` (RFC 9865).
        invalid_cursor => InvalidCursor;
        /// 400 `expiredCursor` (RFC 9865).
        expired_cursor => ExpiredCursor;
        /// 400 `invalidCount` (RFC 9865).
        invalid_count => InvalidCount;
    }

    /// An error without a keyword: any status the RFC gives none for (401, 404, 405, 412, 413, 415, 429, 500 …).
    pub fn plain(status: u16, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into() }
    }

    /// 409 `uniqueness`.
    pub fn uniqueness(detail: impl Into<String>) -> Self {
        Self { status: 409, scim_type: Some(ScimType::Uniqueness), detail: detail.into() }
    }

    /// 403 `sensitive`.
    pub fn sensitive(detail: impl Into<String>) -> Self {
        Self { status: 403, scim_type: Some(ScimType::Sensitive), detail: detail.into() }
    }

    /// 404: no such resource or endpoint.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::plain(404, detail)
    }

    /// 412: an `If-Match` or `If-None-Match` that does not hold (RFC 7644 §3.14).
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::plain(412, detail)
    }

    /// 413: the body is larger than the server takes.
    pub fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::plain(413, detail)
    }

    /// The body of the answer. `status` is a string (RFC 7644 §3.12).
    pub fn to_json(&self) -> Vec<u8> {
        let status = self.status.to_string();
        let body = match self.scim_type {
            Some(kind) => json!({
                "schemas": [ERROR_URN], "status": status, "scimType": kind.as_str(), "detail": self.detail,
            }),
            None => json!({ "schemas": [ERROR_URN], "status": status, "detail": self.detail }),
        };
        body.to_string().into_bytes()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scim_type {
            Some(kind) => write!(f, "{} {kind}: {}", self.status, self.detail),
            None => write!(f, "{}: {}", self.status, self.detail),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_status_as_a_string_and_the_keyword_of_the_rfc() {
        let body = Error::invalid_value("attribute `userName` is required").to_json();
        let text = String::from_utf8(body).unwrap();
        assert_eq!(
            text,
            r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":"invalidValue","detail":"attribute `userName` is required"}"#
        );
    }

    #[test]
    fn an_error_without_keyword_leaves_scim_type_out() {
        let text = String::from_utf8(Error::not_found("no such resource").to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404","detail":"no such resource"}"#
        );
    }

    #[test]
    fn each_constructor_gives_the_status_of_rfc_7644_table_8() {
        assert_eq!(Error::uniqueness("x").status, 409);
        assert_eq!(Error::sensitive("x").status, 403);
        assert_eq!(Error::precondition_failed("x").status, 412);
        assert_eq!(Error::payload_too_large("x").status, 413);
        assert_eq!(Error::no_target("x").to_string(), "400 noTarget: x");
    }
}
