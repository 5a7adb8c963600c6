//! Counters of the listeners, in the Prometheus text format. Labels are bounded: routes and methods are names from
//! the code, directories are those that exist; nothing a client sends becomes a label.

use std::sync::atomic::AtomicU64;

use hyper::header::HeaderValue;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::limits::Full;

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `scim`, `admin` or `publish`.
    pub listener: &'static str,
    /// A route's name from the code, such as `Users/{id}`.
    pub route: &'static str,
    /// The method, `OTHER` for one nobody serves.
    pub method: &'static str,
    /// The answer's status.
    pub status: u32,
}

/// Label of why an authentication or a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A word from the code.
    pub reason: &'static str,
}

/// Label of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerLabel {
    /// Its name.
    pub listener: &'static str,
}

/// Label of how something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// A word from the code.
    pub outcome: &'static str,
}

/// Labels of a quirk that fired.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QuirkLabels {
    /// The directory's id.
    pub directory: String,
    /// The quirk's name.
    pub quirk: &'static str,
}

/// Every counter of this layer.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    auth_failures: Family<ReasonLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    quirks: Family<QuirkLabels, Counter>,
    waiting: Gauge,
    accept_failures: Counter<u64, AtomicU64>,
    handshake_failures: Family<ReasonLabel, Counter>,
    certificate_ends: Family<ListenerLabel, Gauge>,
    acme_orders: Family<OutcomeLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rosterd");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let buckets = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        let seconds = Histogram::new(buckets);
        registry.register("scim_request_seconds", "Time to answer a SCIM request", seconds.clone());
        let auth_failures = Family::default();
        registry.register("auth_failures", "Requests refused for their credentials", auth_failures.clone());
        let refused = Family::default();
        registry.register("connections_refused", "Connections over a limit", refused.clone());
        let quirks = Family::default();
        registry.register("scim_quirks", "Requests that needed a tolerance", quirks.clone());
        let waiting = Gauge::default();
        registry.register("publish_waiting", "Readers that wait for news", waiting.clone());
        let accept_failures = Counter::default();
        registry.register("accept_failures", "Failed accepts", accept_failures.clone());
        let handshake_failures = Family::default();
        registry.register("tls_handshake_failures", "TLS handshakes that failed", handshake_failures.clone());
        let certificate_ends = Family::default();
        let help = "When the listener's certificate runs out, in seconds since 1970; 0 without one";
        registry.register("tls_certificate_not_after_seconds", help, certificate_ends.clone());
        let acme_orders = Family::default();
        registry.register("acme_orders", "Certificates ordered from ACME servers", acme_orders.clone());
        Self {
            registry,
            requests,
            seconds,
            auth_failures,
            refused,
            quirks,
            waiting,
            accept_failures,
            handshake_failures,
            certificate_ends,
            acme_orders,
        }
    }

    /// Counts an answer.
    pub fn request(&self, labels: &RequestLabels) {
        self.requests.get_or_create(labels).inc();
    }

    /// Notes how long a SCIM request took.
    pub fn took(&self, seconds: f64) {
        self.seconds.observe(seconds);
    }

    /// Counts a refused credential.
    pub fn auth_failed(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a quirk that fired.
    pub fn quirk(&self, directory: &str, quirk: &'static str) {
        self.quirks.get_or_create(&QuirkLabels { directory: directory.to_owned(), quirk }).inc();
    }

    /// Counts a connection that found no place.
    pub fn connection_refused(&self, full: Full) {
        let reason = match full {
            Full::Total => "total",
            Full::Address => "address",
        };
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a reader that waits for news, until the value is dropped.
    pub(crate) fn waits(&self) -> Waits {
        self.waiting.inc();
        Waits(self.waiting.clone())
    }

    /// Counts a failed accept.
    pub fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Notes when a listener's certificate runs out.
    pub fn certificate_ends(&self, listener: &'static str, at: i64) {
        self.certificate_ends.get_or_create(&ListenerLabel { listener }).set(at);
    }

    /// Counts an order of a certificate that came to its end.
    pub fn acme_order(&self, outcome: &'static str) {
        self.acme_orders.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Everything, in the text format, followed by `more` lines that other layers contribute.
    pub fn render(&self, more: &str) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        let body = text.strip_suffix("# EOF\n").unwrap_or(&text);
        format!("{body}{more}# EOF\n")
    }
}

/// A reader that waits for news.
#[derive(Debug)]
pub(crate) struct Waits(Gauge);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The media type of `/metrics`.
pub(crate) const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the mirror counts, as lines of the text format.
pub(crate) fn of_mirror(mirror: &crate::mirror::Mirror) -> String {
    use std::fmt::Write as _;

    let counters = mirror.counters();
    let mut text = String::new();
    let rows = [
        ("rosterd_mirror_commits", "Durable commits", counters.commits()),
        ("rosterd_mirror_commands", "Commands committed", counters.commands()),
        ("rosterd_mirror_failed_commands", "Commands that failed and left nothing", counters.failed()),
    ];
    for (name, help, value) in rows {
        // Writing into a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {value}");
    }
    let seconds = counters.commit_time().as_secs_f64();
    let name = "rosterd_mirror_commit_seconds";
    let _ =
        writeln!(text, "# HELP {name} Time spent in commits.\n# TYPE {name} counter\n{name}_total {seconds}");
    let seq = mirror.changes().borrow().0;
    let name = "rosterd_mirror_seq";
    let _ = writeln!(text, "# HELP {name} Newest change.\n# TYPE {name} gauge\n{name} {seq}");
    text
}

/// What `status` says of the targets, as lines of the text format. Target names are the operator's own.
pub(crate) fn of_targets(status: &serde_json::Value) -> String {
    use std::fmt::Write as _;

    let name = "rosterd_target_held_removals";
    let mut text = format!("# HELP {name} Removals the guard holds.\n# TYPE {name} gauge\n");
    for target in status.as_array().into_iter().flatten() {
        let label = target.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let held = target.get("held_removals").and_then(serde_json::Value::as_u64).unwrap_or_default();
        // Writing into a String does not fail.
        let _ = writeln!(text, "{name}{{target=\"{label}\"}} {held}");
    }
    text
}

/// What `status` says of deliveries, as lines of the text format.
pub(crate) fn of_deliveries(status: &serde_json::Value) -> String {
    use std::fmt::Write as _;

    let told: Vec<&serde_json::Value> = status
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one.get("traffic").is_some_and(serde_json::Value::is_object))
        .collect();
    let gauges = [
        ("lag_events", "Events not acknowledged.", "/traffic/lag_events"),
        ("lag_seconds", "Age of the oldest event not acknowledged.", "/traffic/lag_seconds"),
        ("open", "Deliveries made and not finished.", "/open"),
        ("parked", "Deliveries given up on until a person acts.", "/parked"),
    ];
    let mut text = String::new();
    // Writing into a String does not fail.
    for (word, help, pointer) in gauges {
        let name = format!("rosterd_delivery_{word}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for one in &told {
            let value = one.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_default();
            let _ = writeln!(text, "{name}{{target=\"{}\"}} {value}", target_of(one));
        }
    }
    let name = "rosterd_delivery_circuit_open";
    let _ = writeln!(text, "# HELP {name} Whether the receiver is being spared.\n# TYPE {name} gauge");
    for one in &told {
        let is_open = one.pointer("/traffic/circuit").is_some_and(|word| word != "closed");
        let _ = writeln!(text, "{name}{{target=\"{}\"}} {}", target_of(one), u8::from(is_open));
    }
    let name = "rosterd_delivery_attempts";
    let _ = writeln!(text, "# HELP {name} Attempts by what came of them.\n# TYPE {name} counter");
    for one in &told {
        for result in ["done", "retried", "parked", "gone"] {
            let value =
                one.get("traffic").and_then(|traffic| traffic.get(result)?.as_u64()).unwrap_or_default();
            let target = target_of(one);
            let _ = writeln!(text, "{name}_total{{target=\"{target}\",result=\"{result}\"}} {value}");
        }
    }
    text
}

/// How the streams of readers that fetch signed events stand, as lines of the text format.
pub(crate) fn of_streams(rows: &serde_json::Value) -> String {
    use std::fmt::Write as _;

    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    // Of each: its name, its help, the key, and whether it only grows.
    for (word, help, key, is_counter) in [
        ("unacknowledged", "Tokens handed out and not acknowledged.", "unacknowledged", false),
        ("lag_events", "Tokens not acknowledged, and changes not handed out.", "lag_events", false),
        ("handed", "Tokens handed out, each counted once.", "handed", true),
        ("acknowledged", "Tokens acknowledged.", "acknowledged", true),
        ("refused", "Tokens that the reader refused.", "refused", true),
    ] {
        let name = format!("rosterd_sets_{word}");
        let (kind, suffix) = if is_counter { ("counter", "_total") } else { ("gauge", "") };
        // Writing into a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for row in rows {
            let reader = row.get("reader").and_then(serde_json::Value::as_str).unwrap_or_default();
            let value = row.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
            let _ = writeln!(text, "{name}{suffix}{{reader=\"{reader}\"}} {value}");
        }
    }
    let name = "rosterd_sets_needs_snapshot";
    let _ =
        writeln!(text, "# HELP {name} Whether what comes next is gone from the log.\n# TYPE {name} gauge");
    for row in rows {
        let reader = row.get("reader").and_then(serde_json::Value::as_str).unwrap_or_default();
        let is_lost = row.get("state").is_some_and(|word| word == "needs_snapshot");
        let _ = writeln!(text, "{name}{{reader=\"{reader}\"}} {}", u8::from(is_lost));
    }
    text
}

/// A gauge's name, its help and how a directory's row gives it.
type DirectoryGauge = (&'static str, &'static str, fn(&serde_json::Value) -> u64);

/// What `status` says of the directories and of what people decided, as lines of the text format.
pub(crate) fn of_decisions(status: &serde_json::Value) -> String {
    use std::fmt::Write as _;

    let rows = |key: &str| status.get(key).and_then(serde_json::Value::as_array);
    let mut text = String::new();
    for (name, help, key) in [
        ("rosterd_shut_subjects", "Subjects that are shut out of every target", "shut"),
        ("rosterd_grants", "Time-boxed grants that run", "grants"),
    ] {
        let count = rows(key).map_or(0, Vec::len);
        // Writing into a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {count}");
    }
    let gauges: [DirectoryGauge; 4] = [
        ("rosterd_directory_enabled", "0 while requests are refused with 503", |row| {
            u64::from(row.get("enabled") != Some(&false.into()))
        }),
        ("rosterd_directory_silent", "1 while it is quiet for longer than expect_every", |row| {
            u64::from(row.get("silent") == Some(&true.into()))
        }),
        (
            "rosterd_directory_failing",
            "1 while its newest request failed and none has succeeded since",
            |row| u64::from(row.pointer("/health/state") == Some(&"failing".into())),
        ),
        ("rosterd_directory_unconfirmed_users", "Users not named again when a re-baseline closed", |row| {
            row.get("unconfirmed").and_then(serde_json::Value::as_u64).unwrap_or_default()
        }),
    ];
    for (name, help, value) in gauges {
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge");
        for row in rows("directories").into_iter().flatten() {
            let id = row.get("id").and_then(serde_json::Value::as_str).unwrap_or_default();
            let _ = writeln!(text, "{name}{{directory=\"{id}\"}} {}", value(row));
        }
    }
    let name = "rosterd_directory_failures";
    let _ = writeln!(text, "# HELP {name} Its failed requests of the last hour.\n# TYPE {name} gauge");
    for row in rows("directories").into_iter().flatten() {
        let id = row.get("id").and_then(serde_json::Value::as_str).unwrap_or_default();
        for kind in crate::activity::Kind::ALL.map(crate::activity::Kind::as_str) {
            let count = row.pointer(&format!("/health/last_hour/{kind}")).and_then(serde_json::Value::as_u64);
            let _ =
                writeln!(text, "{name}{{directory=\"{id}\",kind=\"{kind}\"}} {}", count.unwrap_or_default());
        }
    }
    text
}

fn target_of(one: &serde_json::Value) -> &str {
    one.get("name").and_then(serde_json::Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod guard_tests {
    #[test]
    fn deliveries_are_gauges_and_counters_of_each_target_that_is_told_of_events() {
        let text = super::of_deliveries(
            &serde_json::json!([{"name": "opa", "traffic": null}, {"name": "app",
            "open": 5, "parked": 1, "traffic": {"lag_events": 9, "lag_seconds": 3, "circuit": "open", "done": 7}}]),
        );
        for line in [
            "rosterd_delivery_lag_events{target=\"app\"} 9",
            "rosterd_delivery_parked{target=\"app\"} 1",
            "rosterd_delivery_circuit_open{target=\"app\"} 1",
            "rosterd_delivery_attempts_total{target=\"app\",result=\"done\"} 7",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(!text.contains("opa"));
    }

    #[test]
    fn held_removals_are_a_gauge_of_each_target() {
        let text =
            super::of_targets(&serde_json::json!([{"name": "opa", "held_removals": 7}, {"name": "app"}]));
        assert!(text.contains("\nrosterd_target_held_removals{target=\"opa\"} 7\n"), "{text}");
        assert!(text.contains("\nrosterd_target_held_removals{target=\"app\"} 0\n"), "{text}");
    }
}
