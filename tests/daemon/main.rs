//! The real binary over real HTTP: answers, files, webhooks, commands and their exit codes.
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

mod acme;
mod activity;
mod admin_api;
mod ahead;
mod bad_input;
mod certificates;
mod chaos;
mod commands;
mod company;
mod console;
mod console_directories;
mod console_targets;
mod crash;
mod decisions;
mod delivery;
mod directories;
mod disk;
mod every_type;
mod explain;
mod export;
mod guard;
mod history;
mod import;
mod import_pieces;
mod incident;
mod installation;
mod installer;
mod json;
mod keeping;
mod lifecycle;
mod listeners;
mod misbehaving;
mod model;
mod protocol;
mod publish;
mod receivers;
mod restarts;
mod roles;
mod schemas;
mod scim;
mod service;
mod sets;
mod shapes;
mod streams;
mod telling;
mod traces;
mod traces_otlp;
mod trouble;
mod webhook;
