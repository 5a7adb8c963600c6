//! The real programs read what the real daemon writes, and decide as meant.
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
mod apache;
mod haproxy;
mod nginx;
mod postgresql;
mod sshd;
mod story;
