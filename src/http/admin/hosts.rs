//! The names the listener goes by.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hyper::header::HOST;
use hyper::http::request::Parts;

use crate::http::listener::Address;
use crate::http::network::{canonical, host};

/// Names and addresses a request may ask for. Ports are not compared: a tunnel or a proxy has its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    names: BTreeSet<String>,
    /// It listens at every address of this machine. A page that another site's name brought here never asks for an
    /// address, so that any will do.
    any_address: bool,
}

impl Hosts {
    /// Those of `listen` and of `public_url`, and this machine's own.
    pub fn new(listen: &[Address], public_url: Option<&str>) -> Self {
        let mut hosts = Self::default();
        for own in ["localhost", "127.0.0.1", "::1"] {
            hosts.names.insert(own.to_owned());
        }
        for address in listen {
            let Address::Tcp(text) = address else { continue };
            let name = bare(text);
            if name.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
                hosts.any_address = true;
                let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
                hosts.names.extend(host(own.trim()).map(|own| own.to_ascii_lowercase()));
            } else {
                hosts.names.insert(name);
            }
        }
        let public = public_url.and_then(|url| url.parse::<hyper::Uri>().ok());
        hosts.names.extend(public.as_ref().and_then(hyper::Uri::host).map(bare));
        hosts
    }

    /// Whether a request asks for one of them. `forwarded` is what a trusted proxy says was asked for.
    pub(super) fn allows(&self, head: &Parts, forwarded: Option<&str>) -> bool {
        let asked = head.headers.get(HOST).map(|value| value.to_str().unwrap_or_default());
        let mut all = asked
            .into_iter()
            .chain(head.uri.authority().map(hyper::http::uri::Authority::as_str))
            .chain(forwarded)
            .peekable();
        all.peek().is_some() && all.all(|asked| self.has(asked))
    }

    fn has(&self, asked: &str) -> bool {
        let name = bare(asked);
        self.names.contains(&name) || (self.any_address && name.parse::<IpAddr>().is_ok())
    }
}

/// Without port, brackets and the dot of a whole name; addresses in one spelling.
fn bare(text: &str) -> String {
    let name = match text.strip_prefix('[') {
        // Behind the bracket nothing may stand but a port.
        Some(rest) => match rest.split_once(']') {
            Some((inside, after)) if after.is_empty() || after.starts_with(':') => inside,
            _ => text,
        },
        None if text.matches(':').count() == 1 => text.split(':').next().unwrap_or_default(),
        None => text,
    };
    match name.parse::<IpAddr>() {
        Ok(address) => canonical(address).to_string(),
        Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(hosts: &Hosts, host: &str) -> bool {
        let (head, ()) = hyper::Request::builder().uri("/").header(HOST, host).body(()).unwrap().into_parts();
        hosts.allows(&head, None)
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused_whatever_its_port() {
        let listen = ["ops.example.com:8081".parse().unwrap(), "192.0.2.7:8081".parse().unwrap()];
        let hosts = Hosts::new(&listen, Some("https://console.example.com:444"));
        for good in [
            "localhost",
            "LOCALHOST:9000",
            "127.0.0.1:8081",
            "[::1]:8081",
            "ops.example.com",
            "ops.example.com.:8081",
            "192.0.2.7",
            "console.example.com",
        ] {
            assert!(asks(&hosts, good), "{good}");
        }
        for bad in [
            "",
            "evil.example.com",
            "192.0.2.8",
            "localhost.evil.example.com",
            "127.0.0.1.evil.example.com",
            "x@localhost",
            "[::1]evil.example.com",
            "[::1",
        ] {
            assert!(!asks(&hosts, bad), "{bad}");
        }
        let anywhere = Hosts::new(&["0.0.0.0:8081".parse().unwrap()], None);
        assert!(asks(&anywhere, "198.51.100.9:8081") && asks(&anywhere, "[2001:db8::1]"));
        assert!(!asks(&anywhere, "evil.example.com"));
        let (head, ()) = hyper::Request::builder()
            .uri("http://evil.example.com/")
            .header(HOST, "localhost")
            .body(())
            .unwrap()
            .into_parts();
        assert!(!hosts.allows(&head, None), "the address line counts as well");
        let (head, ()) =
            hyper::Request::builder().uri("/").header(HOST, "localhost").body(()).unwrap().into_parts();
        assert!(!hosts.allows(&head, Some("evil.example.com")) && hosts.allows(&head, Some("localhost")));
        let (head, ()) = hyper::Request::builder().uri("/").body(()).unwrap().into_parts();
        assert!(!hosts.allows(&head, None));
    }
}
