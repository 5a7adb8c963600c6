//! The readers themselves decide: the real daemon is told a story over SCIM, and what it writes is given to the real
//! program or library. A reader that is not installed is a printed skip, and with CI set a failure.
#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "test code stops at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod admin_api;
mod apache;
mod border0;
mod casbin;
mod cedar;
mod examples;
mod haproxy;
mod harness;
mod kubernetes;
mod names;
mod nginx;
mod opa;
mod openfga;
mod plain;
mod postgresql;
mod spicedb;
mod sshd;
mod standard_webhooks;
mod story;
mod tokens;
