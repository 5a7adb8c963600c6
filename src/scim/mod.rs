//! The protocol, pure: RFC 7643, RFC 7644 and RFC 9865 as functions from values to values.
//!
//! No I/O, no clock, no async, no SQL, no HTTP, and no identity provider: what one of them does differently is
//! rewritten in `dialect` before it gets here. Every error is the answer the client gets ([`error::Error`]).

pub mod bulk;
pub mod dialect;
pub mod error;
pub mod etag;
pub mod filter;
pub mod json;
pub mod list;
pub mod patch;
pub mod path;
pub mod projection;
pub mod resource;
pub mod schema;
