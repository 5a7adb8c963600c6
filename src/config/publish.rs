//! `[publish]` and `[[reader]]`: the listener for readers, and who may read what there.

use std::collections::BTreeSet;

use super::directory::token;
use super::event;
use super::problem::nearest;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::{addresses, limits, networks};
use super::tls::tls_settings;
use crate::http::network::Network;
use crate::http::publish::Sets;
use crate::http::{limits, listener, tls};
use crate::model::{Secret, TargetName};
use crate::reconcile::TargetSettings;
use crate::scim::schema::Registry;
use crate::telemetry::escape;

/// `[publish]`: the listener for readers. Off unless `listen` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Key `listen`: where to listen.
    pub listener: listener::Settings,
    /// Key `tls`, unless a proxy in front of us does it.
    pub tls: Option<tls::Settings>,
    /// Key `trusted_proxies`: whose `Forwarded` headers are believed. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Key `allow_from`: who may connect at all. Default empty: everybody.
    pub allow_from: Vec<Network>,
    /// Section `[publish.limits]`: bounds on clients.
    pub limits: limits::Settings,
}

/// One `[[reader]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    /// Key `name`: what commands and messages call it.
    pub name: String,
    /// Key `token_file`, one or a list while rotating: tokens accepted besides those made by command. Default none.
    pub tokens: Vec<Secret>,
    /// Key `targets`: which published targets it may read. Default none.
    pub targets: BTreeSet<TargetName>,
    /// Key `events`. Default false.
    pub events: bool,
    /// Key `sets`: how its events look as signed tokens (RFC 8936). Default none.
    pub sets: Option<Sets>,
    /// Key `metrics`. Default false.
    pub metrics: bool,
}

/// Reads `[publish]`; `None` if it is off.
pub(super) fn publish(section: Option<Table<'_>>, files: &Files) -> Option<Publish> {
    let section = section?;
    let listen = section.get("listen");
    let tls = section.get("tls");
    let insecure = section.get("insecure").and_then(|value| value.bool()).unwrap_or_default();
    let trusted_proxies = networks(section.get("trusted_proxies"));
    let allow_from = networks(section.get("allow_from"));
    let mut bounds = limits::Settings::default();
    if let Some(table) = section.table("limits") {
        limits(&mut bounds, table);
    }
    section.finish();
    let has_tls = tls.is_some();
    let tls = tls.and_then(|value| tls_settings(&value, files, bounds.http2));
    let is_guarded = has_tls || insecure || !trusted_proxies.is_empty();
    let addresses = addresses(&listen?, is_guarded);
    let listener = listener::Settings { addresses, name: "publish", unix_mode: 0o660 };
    Some(Publish { listener, tls, trusted_proxies, allow_from, limits: bounds })
}

/// Reads one `[[reader]]`; `None` after a report if it has no usable name.
pub(super) fn reader(
    section: Table<'_>,
    files: &Files,
    targets: &[TargetSettings],
    registry: &Registry,
) -> Option<Reader> {
    let name = section
        .require("name", "what commands and messages call it, such as `opa-fleet`")
        .and_then(|value| value.parsed(TargetName::parse));
    let tokens = section.get("token_file").map_or_else(Vec::new, |value| {
        value.list_or_one().iter().filter_map(|value| token(value, files)).collect()
    });
    let listed = section.get("targets").map_or_else(BTreeSet::new, |value| {
        value.list_or_one().iter().filter_map(|value| published(value, targets)).collect()
    });
    let events = section.get("events").and_then(|value| value.bool()).unwrap_or_default();
    let metrics = section.get("metrics").and_then(|value| value.bool()).unwrap_or_default();
    let place = section.get("sets");
    let table = section.table("sets");
    let sets = table.and_then(|table| event::sets(table, files, registry));
    if let Some(place) = place.filter(|_| !events) {
        place.fail_key(
            what(format!("`{}` says how events are signed that the reader may not read", place.path()))
                .help("set `events = true` beside it"),
        );
    }
    section.finish();
    Some(Reader { name: name?.to_string(), tokens, targets: listed, events, sets, metrics })
}

/// A target that a reader lists: it must be there and published.
fn published(value: &Value<'_>, targets: &[TargetSettings]) -> Option<TargetName> {
    let name = value.parsed(TargetName::parse)?;
    match targets.iter().find(|target| target.name == name) {
        Some(target) if target.is_published() => Some(name),
        Some(_) => {
            value.fail(
                what(format!("`{}`: target `{name}` is not published", value.path()))
                    .help("set `publish = true` there, or leave it out here"),
            );
            None
        }
        None => {
            let text = what(format!("`{}`: there is no target `{}`", value.path(), escape(name.as_str())));
            value.fail(match nearest(name.as_str(), targets.iter().map(|target| target.name.as_str())) {
                Some(near) => text.help(format!("did you mean `{near}`?")),
                None => text.help("name a `[[target]]` with `publish = true`"),
            });
            None
        }
    }
}
