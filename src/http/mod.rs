//! Everything that speaks HTTP to the outside: listeners, TLS, limits, authentication, the SCIM API for identity
//! providers and the admin API for operators.
//!
//! Must not know SQL or files of targets. What it decides about a resource it asks of [`crate::scim`] (pure) and
//! [`crate::mirror`] (stored); here are only routes, credentials, media types, statuses and headers.
//!
//! INVARIANT: on the SCIM listener nothing but `/healthz` and `/readyz` is answered without a valid token, and
//! from the token on every call carries the directory it belongs to.

pub mod acme;
mod activity;
pub mod admin;
pub mod admin_api;
mod answer;
pub mod auth;
pub mod challenge_listener;
pub mod client_certificate;
pub mod console;
pub mod content;
mod framing;
mod gauges;
pub mod health;
pub mod import;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod network;
pub mod publish;
mod request_id;
pub mod scim_api;
pub mod server;
#[cfg(test)]
mod testing;
pub mod tls;
