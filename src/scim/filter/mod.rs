//! Filters (RFC 7644 §3.4.2.2): text → [`Filter`] → [`Bound`] → SQL (in the mirror) or [`matches()`] (here).
//!
//! [`parse()`] knows only the grammar, [`bind()`] only the schema, [`matches()`] only bound filters. Limits are
//! checked while the text is cut into tokens, before any tree exists, so that no text however hostile makes a
//! tree deeper than [`DEPTH_MAX`]; recursion over and dropping of a tree is bounded by that.
//!
//! INVARIANT: no error's detail repeats any part of the filter (it may hold personal data, or markup).

mod bind;
pub mod eval;
mod parse;
mod print;
mod resolve;
#[cfg(test)]
mod tests;
mod token;

pub use bind::{Bound, BoundPath, bind, bind_element, bind_path};
pub(super) use eval::element_matches;
pub use eval::{Attributes, fold, matches};
pub use parse::parse;
pub(super) use parse::parse_value_path;
pub use resolve::{Resolved, resolve};

use crate::model::Timestamp;

/// Longest filter taken, in bytes.
pub const BYTES_MAX: usize = 4 * 1024;
/// Deepest nesting of parentheses and brackets taken.
pub const DEPTH_MAX: usize = 32;
/// Most comparisons (`pr` included) in one filter.
pub const TERMS_MAX: usize = 64;
/// Longest attribute path, in bytes, URN included.
pub const PATH_BYTES_MAX: usize = 256;

/// An attribute's name as it was written (RFC 7644 §3.10): `[urn:]name[.sub]`. Letter case is kept here and
/// ignored by whoever resolves it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttrPath {
    /// All before the last `:`; `None` for a plain name.
    pub urn: Option<String>,
    /// The attribute.
    pub name: String,
    /// The sub-attribute.
    pub sub: Option<String>,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

impl CompareOp {
    /// Every operator, in the order of RFC 7644 table 3.
    pub const ALL: [Self; 9] =
        [Self::Eq, Self::Ne, Self::Co, Self::Sw, Self::Ew, Self::Gt, Self::Ge, Self::Lt, Self::Le];

    /// The operator's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Co => "co",
            Self::Sw => "sw",
            Self::Ew => "ew",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
        }
    }

    /// The operator a word stands for, in any letter case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(word))
    }
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`: no value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON string, decoded.
    String(String),
    /// A moment. Never made by [`parse()`], only by [`bind()`] from the string compared with a `dateTime`.
    Instant(Timestamp),
}

/// A filter as written: names not looked up, values not yet typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All hold. At least two.
    And(Vec<Filter>),
    /// One holds at least. At least two.
    Or(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
    /// `path op value`.
    Compare {
        /// What is compared.
        path: AttrPath,
        /// How.
        op: CompareOp,
        /// With what.
        value: Literal,
    },
    /// `path pr`.
    Present(AttrPath),
    /// `attr[filter]`: one element of `attr` satisfies `filter`.
    ValuePath {
        /// The multi-valued attribute.
        attr: AttrPath,
        /// What one element must satisfy; its paths name sub-attributes.
        filter: Box<Filter>,
        /// `attr[filter].sub op value`: that same element's sub-attribute compares so. Entra sends it; the
        /// RFC's grammar has no such form (quirk `value-path-comparison`).
        tail: Option<(String, CompareOp, Literal)>,
    },
}
