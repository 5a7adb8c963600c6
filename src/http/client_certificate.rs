//! Certificates that TLS clients show, and the subjects a directory's token may be tied to.
//!
//! A subject is written as RFC 8705 §2.1.2 has it: a whole distinguished name in the text form of RFC 4514, as
//! `openssl x509 -noout -subject -nameopt RFC2253` prints it, or one name of the certificate's subjectAltName
//! (RFC 5280 §4.2.1.6), as `openssl` prints those: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
//!
//! INVARIANT: a certificate that reaches this module has passed rustls: its chain ends in `tls.client_ca`, it is in
//! force and it is one for clients. `server` ends the connection when that is no longer so.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// The names in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    name: Name,
    others: Vec<Subject>,
    /// When it runs out, or one that was shown to vouch for it, in seconds since 1970.
    ends: i64,
}

/// A subject that a certificate may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The whole distinguished name.
    Name(Name),
    /// A dNSName, in lower case.
    Dns(String),
    /// A uniformResourceIdentifier, as it stands.
    Uri(String),
    /// An rfc822Name, as it stands.
    Email(String),
    /// An iPAddress.
    Ip(IpAddr),
}

/// A distinguished name: its relative names, the most specific first, each with its attributes in order of their
/// types.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Name(Vec<Vec<Attribute>>);

/// One attribute: object identifier and value.
type Attribute = (String, String);

/// A text that is no subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectError(String);

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a certificate's subject: `{}`; write the whole name, such as `CN=okta,O=Example`, or one of \
             `DNS:scim-client.example.com`, `URI:spiffe://example.com/okta`, `email:…`, `IP:192.0.2.7`",
            crate::telemetry::escape(&self.0)
        )
    }
}

impl std::error::Error for SubjectError {}

/// Attribute types of RFC 4514 §3 and those that certificates have besides (RFC 4519, RFC 2985).
const TYPES: [(&str, &str); 14] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("serialNumber", "2.5.4.5"),
    ("SN", "2.5.4.4"),
    ("GN", "2.5.4.42"),
    ("title", "2.5.4.12"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

impl ClientCertificate {
    /// What the first certificate of a chain says. `None` where there is none, or it cannot be read.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(chain.first()?).ok()?;
        let others = match read.subject_alternative_name() {
            Ok(Some(found)) => found.value.general_names.iter().filter_map(other).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let mut ends = i64::MAX;
        for shown in chain {
            let (_, shown) = X509Certificate::from_der(shown).ok()?;
            ends = ends.min(shown.validity().not_after.timestamp());
        }
        Some(Self { name: Name::of(read.subject())?, others, ends })
    }

    /// How long it is still in force; nothing once it has run out.
    pub fn left(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Its last second is one of it (RFC 5280 §4.1.2.5).
        let ends = u64::try_from(self.ends).map_or(0, |ends| ends.saturating_add(1));
        Duration::from_secs(ends).saturating_sub(now)
    }

    /// True if `subject` is one of its names.
    pub fn is(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Name(name) => self.name == *name,
            other => self.others.contains(other),
        }
    }
}

impl fmt::Display for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.others.iter().try_for_each(|other| write!(f, " {other}"))
    }
}

fn other(name: &GeneralName<'_>) -> Option<Subject> {
    match name {
        GeneralName::DNSName(text) => Some(Subject::Dns(text.to_ascii_lowercase())),
        GeneralName::URI(text) => Some(Subject::Uri((*text).to_owned())),
        GeneralName::RFC822Name(text) => Some(Subject::Email((*text).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(Subject::Ip)
        }
        _ => None,
    }
}

impl FromStr for Subject {
    type Err = SubjectError;
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let wrong = || SubjectError(text.to_owned());
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let is_plain = !value.is_empty() && !value.chars().any(|c| c.is_whitespace() || c.is_control());
        match kind {
            "DNS" if is_plain => Ok(Self::Dns(value.to_ascii_lowercase())),
            "URI" if is_plain => Ok(Self::Uri(value.to_owned())),
            "email" if is_plain => Ok(Self::Email(value.to_owned())),
            "IP" if is_plain => value.parse().map(Self::Ip).map_err(|_| wrong()),
            "DNS" | "URI" | "email" | "IP" => Err(wrong()),
            _ => Name::parse(text).map(Self::Name).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Dns(text) => write!(f, "DNS:{text}"),
            Self::Uri(text) => write!(f, "URI:{text}"),
            Self::Email(text) => write!(f, "email:{text}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
        }
    }
}

impl Name {
    fn of(read: &X509Name<'_>) -> Option<Self> {
        let mut names = Vec::new();
        for relative in read.iter_rdn() {
            let mut attributes = Vec::new();
            for attribute in relative.iter() {
                attributes.push((attribute.attr_type().to_id_string(), attribute.as_str().ok()?.to_owned()));
            }
            attributes.sort();
            names.push(attributes);
        }
        // A certificate has the most general name first, the text form the most specific (RFC 4514 §2.1).
        names.reverse();
        Some(Self(names))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut names = Vec::new();
        for relative in split(text, ',') {
            let mut attributes = Vec::new();
            for attribute in split(relative, '+') {
                let (kind, value) = attribute.trim_start().split_once('=')?;
                attributes.push((identifier(kind.trim())?, unescape(value)?));
            }
            attributes.sort();
            names.push(attributes);
        }
        Some(Self(names))
    }
}

/// Splits at a mark that no backslash stands before.
fn split(text: &str, mark: char) -> Vec<&str> {
    let mut is_escaped = false;
    let at = move |c: char| {
        let is_mark = c == mark && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_mark
    };
    text.split(at).collect()
}

fn identifier(kind: &str) -> Option<String> {
    if let Some((_, found)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind)) {
        return Some((*found).to_owned());
    }
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (kind.contains('.') && kind.split('.').all(is_number)).then(|| kind.to_owned())
}

/// A value without its backslashes: before a character, or before two hexadecimal digits of a byte (RFC 4514 §2.4).
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let next = rest.next()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match (digit(next), rest.peek().copied().and_then(digit)) {
            (Some(high), Some(low)) => {
                rest.next();
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            _ => bytes.push(next),
        }
    }
    String::from_utf8(bytes).ok().filter(|value| !value.is_empty())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, relative) in self.0.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { "," })?;
            for (place, (kind, value)) in relative.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { "+" })?;
                let short = TYPES.iter().find(|(_, id)| id == kind).map_or(kind.as_str(), |(name, _)| name);
                write!(f, "{short}=")?;
                for c in value.chars() {
                    match c {
                        ',' | '+' | '"' | '\\' | '<' | '>' | ';' => write!(f, "\\{c}")?,
                        c if c.is_control() => write!(f, "\\{:02X}", u32::from(c))?,
                        c => write!(f, "{c}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate() -> ClientCertificate {
        let mut params = CertificateParams::new(vec!["Client.example.com".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example.com/okta".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc");
        params.distinguished_name.push(DnType::CommonName, "okta");
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::of(&[made.der().clone()]).unwrap()
    }

    #[test]
    fn a_whole_name_or_one_other_name_is_a_subject_and_part_of_a_name_is_not() {
        let found = certificate();
        for good in [
            "CN=okta,O=Example\\, Inc",
            "cn=okta, O=Example\\2C Inc",
            "2.5.4.3=okta,2.5.4.10=Example\\, Inc",
            "DNS:client.EXAMPLE.com",
            "URI:spiffe://example.com/okta",
            "IP:192.0.2.7",
        ] {
            assert!(found.is(&good.parse().unwrap()), "{good}");
        }
        for other in [
            "CN=okta",
            "O=Example\\, Inc,CN=okta",
            "CN=Okta,O=Example\\, Inc",
            "DNS:example.com",
            "URI:spiffe://example.com",
            "email:okta@example.com",
        ] {
            assert!(!found.is(&other.parse().unwrap()), "{other}");
        }
        assert_eq!(
            found.to_string(),
            "CN=okta,O=Example\\, Inc DNS:client.example.com URI:spiffe://example.com/okta IP:192.0.2.7"
        );
    }

    #[test]
    fn a_certificate_ends_with_the_first_of_its_chain_to_run_out() {
        let made = |year| {
            let mut params = CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let end_of_2029 = 1_893_456_000;
        for chain in [[made(2030), made(2040)], [made(2040), made(2030)]] {
            let found = ClientCertificate::of(&chain).unwrap();
            assert_eq!(found.left(at(end_of_2029 - 9)), Duration::from_secs(10));
            assert_eq!(found.left(at(end_of_2029)), Duration::from_secs(1), "its last second counts");
            assert_eq!(found.left(at(end_of_2029 + 1)), Duration::ZERO);
        }
    }

    #[test]
    fn what_a_subject_prints_is_the_same_subject() {
        for text in
            ["CN=a\\,b\\+c\\\\,O=x", "CN=a+OU=b,DC=example,DC=com", "DNS:a.example.com", "IP:2001:db8::7"]
        {
            let read: Subject = text.parse().unwrap();
            assert_eq!(read.to_string().parse::<Subject>().unwrap(), read, "{text}");
        }
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for wrong in ["", "okta", "CN=", "XX=okta", "CN=a,,O=b", "DNS:", "DNS:a b", "IP:okta", "CN=a\\"] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
        }
    }
}
