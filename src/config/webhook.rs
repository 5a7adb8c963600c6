//! `type = "webhook"` and `type = "exec"`: where events go, how they are sent, in what order and how many at a time.

use std::path::Path;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::event;
use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::span;
use super::target::argv;
use crate::downstream::exec;
use crate::downstream::webhook::{self, Authorization, Identity, Proxy, SigningSecret};
use crate::model::{Secret, TargetName};
use crate::reconcile::event::body::BodyFormat;
use crate::reconcile::{BATCH_EVENTS_MAX, Batch, Ordering, Sending, WebhookSettings};
use crate::scim::schema::Registry;

/// Keys of both types besides those of `event`.
pub(super) const BOTH_KEYS: [&str; 5] = ["ordering", "batch", "bootstrap", "after", "timeout"];

/// Keys of `type = "webhook"` alone.
pub(super) const WEBHOOK_KEYS: [&str; 11] = [
    "url",
    "secret_file",
    "insecure",
    "connect_timeout",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "proxy",
    "proxy_credentials_file",
    "bearer_file",
    "basic_file",
];

/// Keys of `type = "exec"` alone.
pub(super) const EXEC_KEYS: [&str; 2] = ["argv", "user"];

/// Standard Webhooks asks for at least one secret; more than eight signatures would make a header of their own.
const SECRETS_MAX: usize = 8;

/// Longest file of certificates that is read.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// Where snapshots are kept while they are sent, below the state directory.
const SPOOL: &str = "snapshots";

/// Reads what belongs to `type = "webhook"`; `None` after a report.
pub(super) fn webhook(
    section: &Table<'_>,
    files: &Files,
    registry: &Registry,
    state: &Path,
    own: &TargetName,
) -> Option<WebhookSettings> {
    let insecure = section.get("insecure").and_then(|value| value.bool()).unwrap_or_default();
    let url = section
        .require("url", "where events are sent, such as `https://app.example.com/hooks/roster`")
        .and_then(|value| value.parsed(|text| check_url(text, insecure)));
    let told = event::told(section, files, registry);
    let secrets = if let Some(value) = section.get("secret_file") {
        secrets(&value, files)
    } else {
        // Tokens are signed themselves, and a receiver of the operator's own form knows no such signature.
        let body = told.as_ref().map(|told| &told.body.format);
        if !matches!(body, Some(BodyFormat::ScimEvents(_) | BodyFormat::Template(_))) {
            let about = "a file with `whsec_` or `whsk_` and base64; such events are never sent unsigned";
            section.require("secret_file", about);
        }
        Vec::new()
    };
    let timeout = time(section, "timeout", Duration::from_secs(1), Duration::from_mins(5));
    let connect = time(section, "connect_timeout", Duration::from_millis(100), Duration::from_mins(1));
    let extra_ca = section.get("ca_file").map(|value| certificates(&value, files)).unwrap_or_default();
    let identity = identity(section, files);
    let authorization = authorization(section, files);
    let proxy = proxy(section, files, url.as_deref());
    let mut settings = webhook::Settings::new(url?, secrets);
    settings.insecure = insecure;
    settings.timeout = timeout.unwrap_or(settings.timeout);
    settings.connect_timeout = connect.unwrap_or(settings.connect_timeout);
    settings.extra_ca = extra_ca;
    settings.identity = identity;
    settings.authorization = authorization;
    settings.proxy = proxy;
    let told = told?;
    settings.headers = told.headers;
    let mut made = WebhookSettings::new(Sending::Http(Box::new(settings)), told.events, state.join(SPOOL));
    made.body = told.body;
    common(section, own, &mut made);
    Some(made)
}

/// Reads what belongs to `type = "exec"`; `None` after a report.
pub(super) fn exec(
    section: &Table<'_>,
    files: &Files,
    registry: &Registry,
    state: &Path,
    own: &TargetName,
) -> Option<WebhookSettings> {
    let argv = section
        .require("argv", "the program that takes events, such as `[\"/usr/local/bin/on-access\", \"{id}\"]`")
        .and_then(|value| {
            let argv = argv(&value);
            if argv.is_none() && value.is_list() {
                value.fail(what(format!("`{}` names no program", value.path())));
            }
            argv
        });
    if let Some(user) = section.get("user") {
        user.fail_key(
            what(format!(
                "`{}` cannot be kept: the daemon is not root and cannot become another user",
                user.path()
            ))
            .help(
                "let `argv` begin with `sudo -n -u USER` under a sudoers rule for exactly that program, or \
                       have the program talk to a service of that user",
            ),
        );
    }
    let told = event::told(section, files, registry);
    if let Some(value) = section.get("headers").or_else(|| section.get("headers_file")) {
        value.fail_key(what(format!("`{}` belongs to a target of `type = \"webhook\"`", value.path())));
    }
    let timeout = time(section, "timeout", Duration::from_secs(1), Duration::from_mins(5));
    let told = told?;
    let settings = exec::Settings { argv: argv?, timeout: timeout.unwrap_or(Duration::from_secs(15)) };
    let mut made = WebhookSettings::new(Sending::Exec(settings), told.events, state.join(SPOOL));
    made.body = told.body;
    common(section, own, &mut made);
    Some(made)
}

/// `ordering`, `batch`, `bootstrap` and `after`.
fn common(section: &Table<'_>, own: &TargetName, made: &mut WebhookSettings) {
    let ordering = section
        .get("ordering")
        .and_then(|value| value.word(&[("target", Ordering::Target), ("resource", Ordering::Resource)]));
    made.ordering = ordering.unwrap_or_default();
    made.bootstrap = section.get("bootstrap").and_then(|value| value.bool()).unwrap_or_default();
    if let Some(value) = section.get("batch") {
        made.batch = batch(&value, made);
    }
    let Some(value) = section.get("after") else { return };
    if !made.events.wants_access() {
        value.fail_key(
            what(format!("`{}` changes nothing where no `access.*` event is wanted", value.path()))
                .help("add `access.*` to `events`, or take `after` away"),
        );
    }
    for value in value.list_or_one() {
        let Some(name) = value.parsed(TargetName::parse) else { continue };
        if name == *own {
            value.fail(what(format!("`{}` names the target itself", value.path())));
        } else if !made.after.contains(&name) {
            made.after.push(name);
        }
    }
}

fn batch(value: &Value<'_>, made: &WebhookSettings) -> Option<Batch> {
    let section = value.table()?;
    let most = match made.send {
        Sending::Http(_) => 8 << 20,
        Sending::Exec(_) => exec::BODY_BYTES_MAX as u64 - 1_024,
    };
    let mut batch = Batch::default();
    batch.max_bytes = batch.max_bytes.min(most);
    if let Some(events) =
        section.get("max_events").and_then(|value| value.integer(1..=u64::from(BATCH_EVENTS_MAX)))
    {
        batch.max_events = usize::try_from(events).unwrap_or(batch.max_events);
    }
    if let Some(bytes) = section.get("max_bytes").and_then(|value| value.integer(1_024..=most)) {
        batch.max_bytes = bytes;
    }
    batch.max_wait =
        time(&section, "max_wait", Duration::ZERO, Duration::from_mins(1)).unwrap_or(batch.max_wait);
    section.finish();
    if made.ordering == Ordering::Resource {
        value.fail_key(
            what(format!("`{}` needs `ordering = \"target\"`", value.path()))
                .help("a batch is in the order of the log; events of one resource at a time cannot be"),
        );
    }
    if !matches!(made.body.format, BodyFormat::Standard) {
        value.fail_key(
            what(format!("`{}` needs the standard form of events", value.path()))
                .help("take `format` or `template` away, or `batch`"),
        );
    }
    Some(batch)
}

fn time(section: &Table<'_>, key: &'static str, low: Duration, high: Duration) -> Option<Duration> {
    section.get(key).and_then(|value| span(&value, (low, high)))
}

pub(super) fn secrets(value: &Value<'_>, files: &Files) -> Vec<SigningSecret> {
    let list = value.list_or_one();
    if list.is_empty() || list.len() > SECRETS_MAX {
        value.fail(what(format!("`{}` must name one to {SECRETS_MAX} files", value.path())));
    }
    list.iter()
        .filter_map(|value| {
            let secret = files.secret(value)?;
            SigningSecret::parse(&secret).map_err(|error| value.fail(what(error))).ok()
        })
        .collect()
}

/// The certificates in the file that `value` names. They are no secret.
fn certificates(value: &Value<'_>, files: &Files) -> Vec<CertificateDer<'static>> {
    let Some(name) = value.text() else { return Vec::new() };
    let path = files.path(name);
    let read = std::fs::metadata(&path).and_then(|facts| {
        if facts.len() > CERTIFICATES_BYTES_MAX {
            return Err(std::io::Error::other("it is longer than 1 MiB"));
        }
        std::fs::read(&path)
    });
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            value.fail(what(format!("cannot read `{}`: {error}", path.display())));
            return Vec::new();
        }
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => found,
        _ => {
            value.fail(
                what(format!("`{}` holds no certificate in PEM", path.display()))
                    .help("it begins with `-----BEGIN CERTIFICATE-----`"),
            );
            Vec::new()
        }
    }
}

fn identity(section: &Table<'_>, files: &Files) -> Option<Identity> {
    let (cert, key) = match (section.get("client_cert_file"), section.get("client_key_file")) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return None,
        (Some(one), None) | (None, Some(one)) => {
            one.fail_key(
                what(format!("`{}` stands alone", one.path()))
                    .help("a client certificate needs `client_cert_file` and `client_key_file`"),
            );
            return None;
        }
    };
    let chain = certificates(&cert, files);
    let text = files.secret(&key)?;
    let Ok(read) = PrivateKeyDer::from_pem_slice(text.expose().as_bytes()) else {
        key.fail(what(format!("`{}` names no private key in PEM", key.path())));
        return None;
    };
    (!chain.is_empty()).then(|| Identity::new(chain, read))
}

fn authorization(section: &Table<'_>, files: &Files) -> Option<Authorization> {
    match (section.get("bearer_file"), section.get("basic_file")) {
        (Some(_), Some(basic)) => {
            basic.fail_key(
                what(format!("`{}` has both `bearer_file` and `basic_file`", section.path()))
                    .help("a request carries one `authorization`; keep one of them"),
            );
            None
        }
        (Some(bearer), None) => files.secret(&bearer).map(Authorization::Bearer),
        (None, Some(basic)) => {
            let pair = files.secret(&basic)?;
            if !pair.expose().contains(':') {
                basic.fail(what(format!("`{}` does not hold `user:password`", basic.path())));
            }
            Some(Authorization::Basic(pair))
        }
        (None, None) => None,
    }
}

fn proxy(section: &Table<'_>, files: &Files, url: Option<&str>) -> Option<Proxy> {
    let credentials = section.get("proxy_credentials_file");
    let Some(value) = section.get("proxy") else {
        if let Some(credentials) = credentials {
            credentials.fail_key(what(format!("`{}` needs `proxy`", credentials.path())));
        }
        return None;
    };
    if url.is_some_and(|url| !url.starts_with("https://")) {
        value.fail_key(
            what(format!("`{}`: only https goes through a proxy", value.path()))
                .help("with plain http the proxy could read and alter every event"),
        );
    }
    let credentials: Option<Secret> = credentials.and_then(|credentials| files.secret(&credentials));
    value.parsed(|text| Proxy::parse(text, credentials))
}

/// The rules of DESIGN §6.10 that need no look-up of the name.
pub(super) fn check_url(text: &str, insecure: bool) -> Result<String, String> {
    let uri: hyper::Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    let authority = uri.authority().ok_or_else(|| "it names no host".to_owned())?;
    if authority.as_str().contains('@') {
        return Err("a user name or password in it would end up in logs; leave it out and use `basic_file`"
            .to_owned());
    }
    if text.contains('#') {
        return Err("it must not have a fragment".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_canonical());
    let is_loopback =
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
    if let Some(std::net::IpAddr::V4(v4)) = address
        && (v4.is_link_local() || v4.is_multicast() || v4.octets().first() == Some(&0))
    {
        return Err("link-local, multicast and metadata addresses are never called".to_owned());
    }
    match uri.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_loopback || insecure => Ok(text.to_owned()),
        Some("http") => {
            Err("plain http goes only to loopback; use https, or set `insecure = true`".to_owned())
        }
        _ => Err("it must begin with `https://`".to_owned()),
    }
}
