//! `[server]`, `[mirror]` and `[log]`: what the daemon itself needs.

use std::time::Duration;

use super::reader::{Table, Takes, Value, what};
use super::secret::Files;
use super::tls::tls_settings;
use super::value::{parse_duration, parse_size};
use crate::http::listener::{self, Address};
use crate::http::network::Network;
use crate::http::{limits, scim_api, tls};
use crate::telemetry;
use crate::{activity, mirror};

/// `[server]`: the listener for identity providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen.
    pub listener: listener::Settings,
    /// TLS, unless a proxy in front of us does it.
    pub tls: Option<tls::Settings>,
    /// Plain HTTP beyond loopback is wanted. Key `server.insecure`, default false.
    pub insecure: bool,
    /// How the SCIM API presents itself.
    pub scim: scim_api::Settings,
    /// Bounds on clients. Section `[server.limits]`.
    pub limits: limits::Settings,
}

/// The mirror's path without a config.
pub(super) const MIRROR_PATH: &str = "/var/lib/rosterd/mirror.db";

pub(super) fn server(section: Option<Table<'_>>, files: &Files) -> Server {
    let mut server = Server {
        listener: listener::Settings {
            addresses: vec![Address::Tcp("127.0.0.1:8080".to_owned())],
            name: "scim",
            unix_mode: 0o660,
        },
        tls: None,
        insecure: false,
        scim: scim_api::Settings::default(),
        limits: limits::Settings::default(),
    };
    let Some(section) = section else { return server };
    let listen = section.get("listen");
    let tls = section.get("tls");
    if let Some(value) = section.get("insecure") {
        server.insecure = value.bool().unwrap_or_default();
    }
    if let Some(value) = section.get("public_url") {
        server.scim.public_url = value.parsed(public_url);
    }
    if let Some(path) = section.get("base_path").and_then(|value| value.parsed(base_path)) {
        server.scim.base_path = path;
    }
    server.scim.trusted_proxies = networks(section.get("trusted_proxies"));
    server.scim.allow_from = networks(section.get("allow_from"));
    if let Some(table) = section.table("limits") {
        limits(&mut server.limits, table);
    }
    section.finish();

    let has_tls = tls.is_some();
    server.tls = tls.and_then(|value| tls_settings(&value, files, server.limits.http2));
    if let Some(listen) = listen {
        let is_guarded = has_tls || server.insecure || !server.scim.trusted_proxies.is_empty();
        server.listener.addresses = addresses(&listen, is_guarded);
    }
    server
}

/// The addresses of a `listen`. Without a guard (TLS, a proxy in front, `insecure`) only those of this machine.
pub(super) fn addresses(listen: &Value<'_>, is_guarded: bool) -> Vec<Address> {
    let addresses = listen.list_or_one();
    if addresses.is_empty() {
        listen.fail(what(format!("`{}` is empty; name at least one address", listen.path())));
    }
    addresses.iter().filter_map(|value| address(value, is_guarded)).collect()
}

fn address(value: &Value<'_>, is_guarded: bool) -> Option<Address> {
    let address: Address = value.parsed(str::parse)?;
    if !is_guarded && !is_local(&address) {
        value.fail(
            what(format!(
                "`{}` = `{address}` would carry tokens in plain HTTP beyond this machine",
                value.path()
            ))
            .help(
                "set `tls = { cert = …, key = … }`, or `trusted_proxies` where a proxy does TLS, \
                     or `insecure = true`",
            ),
        );
    }
    Some(address)
}

/// True for a unix socket and a loopback address. A name counts as reachable from outside unless it is
/// `localhost`: what it resolves to may change, and checking a config asks no name server.
fn is_local(address: &Address) -> bool {
    let Address::Tcp(text) = address else { return true };
    let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

pub(super) fn networks(value: Option<Value<'_>>) -> Vec<Network> {
    let Some(value) = value else { return Vec::new() };
    value.list_or_one().iter().filter_map(|value| value.parsed(str::parse::<Network>)).collect()
}

/// `https://host[:port]`, without the slash that people like to put behind it.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    let wrong =
        || "write the address that clients use, without a path: `https://scim.example.com`".to_owned();
    let trimmed = text.trim_end_matches('/');
    let uri: hyper::Uri = trimmed.parse().map_err(|_| wrong())?;
    let has_scheme = matches!(uri.scheme_str(), Some("https" | "http"));
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !trimmed.contains('#');
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if has_scheme && is_bare && host { Ok(trimmed.to_owned()) } else { Err(wrong()) }
}

fn base_path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let segments = text.strip_prefix('/').unwrap_or_default();
    let good = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(plain)
    };
    if segments.split('/').all(good) {
        Ok(text.to_owned())
    } else {
        Err("write a path such as `/scim/v2`: a slash first, none last, letters, digits and - _ . ~ between"
            .to_owned())
    }
}

pub(super) fn limits(limits: &mut limits::Settings, section: Table<'_>) {
    let count = |key, low, high, field: &mut usize| {
        if let Some(number) = section.get(key).and_then(|value| value.integer(low..=high)) {
            *field = usize::try_from(number).unwrap_or(*field);
        }
    };
    count("headers_max", 16, 256, &mut limits.headers_max);
    count("connections_max", 1, 1_000_000, &mut limits.connections_max);
    count("connections_per_address_max", 1, 1_000_000, &mut limits.connections_per_address_max);
    count("in_flight_max", 1, 100_000, &mut limits.in_flight_max);
    let size = |key, low: u64, high: u64, field: &mut usize| {
        let Some(value) = section.get(key) else { return };
        value.takes(Takes::Form(format!("a size, {} KiB to {} KiB", low >> 10, high >> 10)));
        let Some(bytes) = value.parsed(parse_size) else { return };
        if (low..=high).contains(&bytes) {
            *field = usize::try_from(bytes).unwrap_or(*field);
        } else {
            value.fail(what(format!(
                "`{}` must be from {} KiB to {} KiB",
                value.path(),
                low >> 10,
                high >> 10
            )));
        }
    };
    size("header_bytes_max", 4 << 10, 256 << 10, &mut limits.header_bytes_max);
    size("uri_bytes_max", 1 << 10, 64 << 10, &mut limits.uri_bytes_max);
    size("body_bytes_max", 1 << 10, 64 << 20, &mut limits.body_bytes_max);
    size("large_body_bytes_max", 1 << 10, 256 << 20, &mut limits.large_body_bytes_max);
    let time = |key, field: &mut Duration| {
        let bounds = (Duration::from_millis(100), Duration::from_hours(1));
        *field = section.get(key).and_then(|value| span(&value, bounds)).unwrap_or(*field);
    };
    time("header_timeout", &mut limits.header_timeout);
    time("handshake_timeout", &mut limits.handshake_timeout);
    time("body_timeout", &mut limits.body_timeout);
    time("body_idle_timeout", &mut limits.body_idle_timeout);
    time("idle_timeout", &mut limits.idle_timeout);
    time("write_timeout", &mut limits.write_timeout);
    time("drain_timeout", &mut limits.drain_timeout);
    if let Some(http2) = section.get("http2").and_then(|value| value.bool()) {
        limits.http2 = http2;
    }
    section.finish();
}

/// A duration within bounds, both allowed.
pub(super) fn span(value: &Value<'_>, (low, high): (Duration, Duration)) -> Option<Duration> {
    value.takes(Takes::Form(format!("a duration, {} to {}", spell(low), spell(high))));
    let found = value.parsed(parse_duration)?;
    if (low..=high).contains(&found) {
        return Some(found);
    }
    value.fail(what(format!("`{}` must be from {} to {}", value.path(), spell(low), spell(high))));
    None
}

/// A duration as an operator would write it.
fn spell(span: Duration) -> String {
    let millis = span.as_millis();
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit))
        .map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// `[mirror]`.
pub(super) fn mirror(section: Option<Table<'_>>, files: &Files) -> mirror::Settings {
    let mut mirror = mirror::Settings::at(MIRROR_PATH);
    let Some(section) = section else { return mirror };
    if let Some(value) = section.get("path")
        && let Some(text) = value.text()
    {
        if text.is_empty() || text.ends_with('/') {
            value.fail(what(format!("`{}` must name a file", value.path())));
        }
        mirror.path = files.path(text);
    }
    if let Some(value) = section.get("history") {
        history(&value, &mut mirror);
    }
    section.planned("url_file", "a shared PostgreSQL mirror comes later");
    section.planned("follow_file", "following a hub over NATS comes later");
    section.finish();
    mirror
}

/// How long the log is kept: a span, or `forever`.
fn history(value: &Value<'_>, mirror: &mut mirror::Settings) {
    if value.peek_text() == Some("forever") {
        mirror.keep.history = None;
        return;
    }
    let bounds = (Duration::from_secs(1), Duration::from_hours(24 * 36_500));
    let Some(kept) = span(value, bounds) else { return };
    if kept < Duration::from_hours(24 * 30) {
        value.warn(
            what(format!("`{}` prunes the log after less than a month", value.path()))
                .help("who held what before then can no longer be told; `400d` spans a yearly review"),
        );
    }
    mirror.keep.history = Some(kept);
}

/// `[log]`.
pub(super) fn log(section: Option<Table<'_>>) -> (telemetry::Settings, activity::Settings) {
    let (mut log, mut activity) = (telemetry::Settings::default(), activity::Settings::default());
    let Some(section) = section else { return (log, activity) };
    if let Some(value) = section.get("level")
        && let Some(level) = value.text()
    {
        level.clone_into(&mut log.level);
        if let Err(error) = log.check() {
            value.fail(what(format!("`{}`: {error}", value.path())));
        }
    }
    if let Some(value) = section.get("format") {
        let words = telemetry::Format::WORDS.map(|word| (word, word));
        log.format = value.word(&words).and_then(|word| word.parse().ok()).unwrap_or(log.format);
    }
    if let Some(count) = section.get("requests").and_then(|value| value.integer(0..=100_000)) {
        activity.requests = usize::try_from(count).unwrap_or(activity.requests);
    }
    let bounds = (Duration::from_mins(1), Duration::from_hours(24 * 400));
    if let Some(age) = section.get("requests_age").and_then(|value| span(&value, bounds)) {
        activity.age = age;
    }
    if let Some(value) = section.get("otlp") {
        log.otlp = otlp(&value);
    }
    section.finish();
    (log, activity)
}

/// `log.otlp`.
fn otlp(value: &Value<'_>) -> Option<telemetry::Otlp> {
    let section = value.table()?;
    let endpoint = section.require("endpoint", "name the collector: `endpoint = \"http://127.0.0.1:4318\"`");
    section.finish();
    let endpoint = endpoint?.parsed(collector)?;
    if !telemetry::Otlp::IS_BUILT_IN {
        value.fail(
            what(format!("`{}`: this rosterd was built without traces", value.path()))
                .help("build one that has them: cargo install --locked --features otlp rosterd"),
        );
    }
    Some(telemetry::Otlp { endpoint })
}

/// An https URL, or plain http on this machine; with OTLP's own path where none is written.
fn collector(text: &str) -> Result<String, String> {
    let wrong = || {
        "write the collector's URL, https unless it is on this machine: `http://127.0.0.1:4318`".to_owned()
    };
    let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    let is_near = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_near => {}
        _ => return Err(wrong()),
    }
    let is_bare = matches!(uri.path(), "" | "/");
    Ok(if is_bare { format!("{}/v1/traces", text.trim_end_matches('/')) } else { text.to_owned() })
}
