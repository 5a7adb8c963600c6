//! `tls = { … }` of a listener: where its certificate comes from, and which clients must show one.

use std::path::{Path, PathBuf};

use super::reader::{Value, what};
use super::secret::{Files, is_private};
use super::server::addresses;
use super::{Kind, Secrets};
use crate::http::acme::{self, Challenge};
use crate::http::tls::{ClientAuth, Clients, Settings, Source, Tls};

/// Reads the value of `tls`.
pub(super) fn tls_settings(value: &Value<'_>, files: &Files, http2: bool) -> Option<Settings> {
    let section = value.table()?;
    let acme = section.get("acme");
    let (cert, key) = if acme.is_some() {
        (section.get("cert"), section.get("key"))
    } else {
        let why = "name a PEM file with the certificate and its chain, or order one: `acme = { … }`";
        (section.require("cert", why), section.require("key", "name a PEM file with the private key"))
    };
    let (ca, auth) = (section.get("client_ca"), section.get("client_auth"));
    section.finish();

    let (clients, has_clients) = clients(ca.as_ref(), auth.as_ref(), files);
    if let Some(acme) = acme {
        for other in cert.iter().chain(&key) {
            other.fail(what(format!("`{}` and `acme` exclude each other", other.path())));
        }
        let settings = self::acme(&acme, files)?;
        return Some(Settings { source: Source::Acme(settings), clients, http2 });
    }
    let (cert, key) = (cert?, key?);
    let source = Source::Files { cert: files.path(cert.text()?), key: files.path(key.text()?) };
    let settings = Settings { source, clients, http2 };
    let has_cert = is_there(&cert, &settings.cert(), files);
    let has_key = is_there(&key, &settings.key(), files);
    let is_kept = !has_key || is_private(&key, &settings.key());
    if has_cert
        && has_key
        && is_kept
        && has_clients
        && let Err(error) = Tls::load(settings.clone())
    {
        cert.fail(what(error));
    }
    Some(settings)
}

/// `client_ca` and `client_auth`, and whether the file is there.
fn clients(ca: Option<&Value<'_>>, auth: Option<&Value<'_>>, files: &Files) -> (Option<Clients>, bool) {
    let word = auth.and_then(|value| value.word(&ClientAuth::WORDS));
    let Some(ca) = ca else {
        if let Some(auth) = auth {
            let wrong = what(format!("`{}` says nothing without `client_ca`", auth.path()));
            auth.fail(
                wrong.help("name the PEM file with the authority that signs the clients' certificates"),
            );
        }
        return (None, true);
    };
    let Some(text) = ca.text() else { return (None, false) };
    let path = files.path(text);
    let is_there = is_there(ca, &path, files);
    (Some(Clients { ca: path, auth: word.unwrap_or(ClientAuth::Required) }), is_there)
}

/// Reports a file that is missing: `check` may run where it is not.
fn is_there(value: &Value<'_>, path: &Path, files: &Files) -> bool {
    if path.exists() {
        return true;
    }
    let text = what(format!("`{}` is not there", path.display()));
    match files.secrets {
        Secrets::Optional => value.warn(text.help("`serve` will not start without it")),
        Secrets::Required => value.fail_as(Kind::MissingFile, text),
    }
    false
}

fn acme(value: &Value<'_>, files: &Files) -> Option<acme::Settings> {
    let section = value.table()?;
    let domains =
        section.require("domains", "name the domains of the certificate, such as `scim.example.com`");
    let contact = section.get("contact");
    let url = section.get("directory_url");
    let ca = section.get("ca");
    let challenge = section.get("challenge");
    let listen = section.get("http_listen");
    section.finish();

    let domains: Vec<String> =
        domains?.list_or_one().iter().filter_map(|value| value.parsed(domain)).collect();
    let contact = contact.map_or_else(Vec::new, |value| {
        value.list_or_one().iter().filter_map(|one| one.parsed(mail)).collect()
    });
    let directory_url = url.and_then(|value| value.parsed(directory_url));
    let challenge = challenge.and_then(|value| value.word(&Challenge::WORDS)).unwrap_or(Challenge::TlsAlpn01);
    let http_listen = match (&listen, challenge) {
        (Some(listen), Challenge::Http01) => addresses(listen, true),
        (Some(listen), Challenge::TlsAlpn01) => {
            listen.fail(what(format!("`{}` is for `challenge = \"http-01\"` only", listen.path())));
            Vec::new()
        }
        (None, Challenge::Http01) => {
            value.fail(
                what(format!("`{}` needs `http_listen` for HTTP-01", value.path()))
                    .help("the ACME server asks at port 80 of each domain: `http_listen = \"0.0.0.0:80\"`"),
            );
            Vec::new()
        }
        (None, Challenge::TlsAlpn01) => Vec::new(),
    };
    let ca = ca.and_then(|value| authority(&value, files));
    if domains.is_empty() {
        value.fail(what(format!("`{}.domains` names no domain", value.path())));
        return None;
    }
    Some(acme::Settings {
        domains,
        contact,
        directory_url: directory_url.unwrap_or_else(|| acme::LETS_ENCRYPT.to_owned()),
        ca,
        challenge,
        http_listen,
        folder: files.state.join("acme"),
    })
}

fn authority(value: &Value<'_>, files: &Files) -> Option<PathBuf> {
    let path = files.path(value.text()?);
    is_there(value, &path, files);
    Some(path)
}

/// A DNS name of the kind that these challenges can prove (RFC 8555 §8.3, RFC 8737 §3).
fn domain(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err("a wildcard needs a DNS challenge, which is not supported; name each domain".to_owned());
    }
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if !is_address && text.len() <= 253 && text.contains('.') && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write a domain's name, such as `scim.example.com`".to_owned())
    }
}

fn mail(text: &str) -> Result<String, String> {
    match text.strip_prefix("mailto:") {
        Some(address) if address.contains('@') && !address.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => Err("write a mail address as a URL: `mailto:ops@example.com`".to_owned()),
    }
}

/// RFC 8555 §6.1: https, always.
fn directory_url(text: &str) -> Result<String, String> {
    let uri: Option<hyper::Uri> = text.parse().ok();
    match uri {
        Some(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(text.to_owned()),
        _ => Err("write the https URL of the ACME server's directory".to_owned()),
    }
}
