//! rosterd turns the users and groups that an identity provider pushes over SCIM 2.0 into policy files and
//! webhooks, and keeps them true. This page is the map; `docs/architecture.md` tells the life of one push.
//!
//! Data flows one way, top to bottom; a module imports only from modules above it in this list, and never a
//! sibling on its own layer. `tests/layering.rs` fails on the first `crate::` path that goes the other way.
//!
//! | layer | module | one purpose |
//! | --- | --- | --- |
//! | 0 | [`model`] | words that several layers share: ids, sequence numbers, time, secrets |
//! | 1 | [`telemetry`] | log set-up and redaction, metric handles |
//! | 1 | [`scim`] | the protocol, pure: schema, resource, filter, path, PATCH, list, error, dialect |
//! | 2 | [`access`] | facts and roles in, who holds what and why out; pure |
//! | 2 | [`import`] | files of people that are moved in: SCIM, JSON Lines, LDIF, CSV to records; pure |
//! | 3 | [`mirror`] | the store: resources, members, change log, tokens, run and delivery records |
//! | 3 | [`downstream`] | one target: pure formats, the one way to write a file, one webhook request |
//! | 3 | [`activity`] | the SCIM request log, its scrubber, traces made of it |
//! | 4 | [`reconcile`] | plan, guard, apply, verify, schedule, drift, delivery order and backoff |
//! | 5 | [`http`] | listeners, TLS, limits, authentication, the SCIM and the admin API |
//! | 6 | [`config`] | reads TOML, gathers every module's settings, all complaints at once |
//! | 7 | [`daemon`] | one running process: start order, systemd, signals, drain; `demo` |
//! | 8 | [`cli`] | a file per command; tables and JSON; exit codes; the admin client |
#![forbid(unsafe_code)]

pub mod access;
pub mod activity;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod downstream;
pub mod http;
pub mod import;
pub mod mirror;
pub mod model;
pub mod reconcile;
pub mod scim;
pub mod telemetry;
