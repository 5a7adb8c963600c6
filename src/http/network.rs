//! Address ranges as operators write them (`10.0.0.0/8`, `::1`), and who a request really comes from when a
//! trusted proxy stands in between.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::HeaderMap;

/// A range of addresses. A lone address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not an address range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError(String);

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an address range: `{}`; write it like `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`",
            self.0
        )
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// True if `address` lies in this range. A v4 address mapped into v6 counts as the v4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(range), IpAddr::V4(one)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || (range.to_bits() >> shift) == (one.to_bits() >> shift)
            }
            (IpAddr::V6(range), IpAddr::V6(one)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || (range.to_bits() >> shift) == (one.to_bits() >> shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = canonical(address.trim().parse().map_err(|_| wrong())?);
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text.trim().parse().ok().filter(|p| *p <= widest).ok_or_else(wrong)?,
            None => widest,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// `::ffff:a.b.c.d` as `a.b.c.d`; everything else unchanged.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The address that limits count: v6 clients are counted by /64, since one host owns that many.
pub fn counted(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What a trusted proxy says about the request it passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The nearest client that is not itself a trusted proxy.
    pub client: Option<IpAddr>,
    /// `http` or `https` as the client used it.
    pub proto: Option<String>,
    /// The host the client asked for.
    pub host: Option<String>,
}

/// `Forwarded` and `X-Forwarded-For` name different clients: one of them is the client's own invention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagree;

impl fmt::Display for Disagree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`Forwarded` and `X-Forwarded-For` name different clients; the proxy must take away the one it does not write")
    }
}

impl std::error::Error for Disagree {}

/// Reads `Forwarded` (RFC 7239), else `X-Forwarded-For/-Proto/-Host`. The caller has made sure that the peer is a
/// trusted proxy. Addresses are read from the right, past further trusted proxies: whatever stands left of the
/// first untrusted one was written by the client.
///
/// # Errors
/// Most proxies write one of the two kinds and hand the other on as the client sent it. Which of them it is cannot be
/// seen from here, so that neither is believed where they differ.
pub fn forwarded(headers: &HeaderMap, trusted: &[Network]) -> Result<Forwarded, Disagree> {
    if !headers.contains_key("forwarded") {
        return Ok(de_facto(headers, trusted));
    }
    let told = rfc7239(headers, trusted);
    if headers.contains_key("x-forwarded-for") && de_facto(headers, trusted).client != told.client {
        return Err(Disagree);
    }
    Ok(told)
}

fn rfc7239(headers: &HeaderMap, trusted: &[Network]) -> Forwarded {
    let elements: Vec<&str> = headers
        .get_all("forwarded")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    let mut found = Forwarded::default();
    for element in elements.iter().rev() {
        let mut client = None;
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => client = address(value),
                "proto" => found.proto = scheme(value),
                "host" => found.host = host(value),
                _ => {}
            }
        }
        found.client = client.or(found.client);
        if !client.is_some_and(|a| trusted.iter().any(|n| n.contains(a))) {
            break;
        }
    }
    found
}

fn de_facto(headers: &HeaderMap, trusted: &[Network]) -> Forwarded {
    let last = |name: &str| {
        let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        value.rsplit(',').next().map(str::trim)
    };
    let mut found = Forwarded {
        client: None,
        proto: last("x-forwarded-proto").and_then(scheme),
        host: last("x-forwarded-host").and_then(host),
    };
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    for hop in hops.iter().rev() {
        let Some(client) = address(hop.trim()) else { break };
        found.client = Some(client);
        if !trusted.iter().any(|n| n.contains(client)) {
            break;
        }
    }
    found
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse().ok().map(canonical)
}

fn scheme(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "http" | "https").then_some(text)
}

/// A host that may be put into a URL; anything else is dropped.
pub fn host(text: &str) -> Option<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    ((1..=261).contains(&text.len()) && text.chars().all(fine)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_other() {
        assert!(net("10.0.0.0/8").contains("10.255.0.1".parse().unwrap()));
        assert!(!net("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
        assert!(net("10.0.0.0/8").contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(net("0.0.0.0/0").contains("192.0.2.1".parse().unwrap()));
        assert!(!net("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(net("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(net("::1").contains("::1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "a/8", "::/129", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let trusted = [net("10.0.0.0/8")];
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2".parse().unwrap());
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let found = forwarded(&headers, &trusted).unwrap();
        assert_eq!(found.client, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(found.proto.as_deref(), Some("https"));
        headers.clear();
        headers.insert(
            "forwarded",
            "for=6.6.6.6, for=\"[2001:db8::7]:4711\";proto=https;host=scim.example.com, for=10.0.0.3"
                .parse()
                .unwrap(),
        );
        let found = forwarded(&headers, &trusted).unwrap();
        assert_eq!(found.client, Some("2001:db8::7".parse().unwrap()));
        assert_eq!(found.host.as_deref(), Some("scim.example.com"));
    }

    #[test]
    fn two_kinds_of_forwarding_headers_that_name_different_clients_are_not_believed() {
        let trusted = [net("10.0.0.0/8")];
        let told = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            forwarded(&headers, &trusted).map(|found| found.client.map(|client| client.to_string()))
        };
        let real = ("x-forwarded-for", "198.51.100.1, 10.0.0.2");
        // What a client sent along, behind a proxy that writes the other kind.
        for invented in [
            "for=192.0.2.7",
            "for=10.0.0.9",
            "for=unknown",
            "proto=https",
            "",
            "for=198.51.100.1, for=192.0.2.7",
        ] {
            assert_eq!(told(&[real, ("forwarded", invented)]), Err(Disagree), "{invented}");
        }
        assert_eq!(
            told(&[("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "192.0.2.7")]),
            Err(Disagree)
        );
        assert_eq!(told(&[("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "x")]), Err(Disagree));
        // A proxy that writes both.
        assert_eq!(
            told(&[real, ("forwarded", "for=\"198.51.100.1:443\"")]),
            Ok(Some("198.51.100.1".to_owned()))
        );
    }

    #[test]
    fn a_host_that_could_break_out_of_a_url_is_dropped() {
        assert_eq!(host("scim.example.com:8443").as_deref(), Some("scim.example.com:8443"));
        for bad in ["", "a b", "a/b", "a\"b", "a@b", &"a".repeat(300)] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }
}
