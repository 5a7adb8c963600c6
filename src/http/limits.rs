//! How much, how long and how many: what a client may ask of the listeners (operations: HTTP surface).
//!
//! Counting happens here; answering with 413, 414, 429 or 431 happens where the request is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::network;

/// Bounds of one listener. Every one has a default that suits an identity provider's push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most header lines of one request. Default 64, 16 to 256. Over it: 431.
    pub headers_max: usize,
    /// Most bytes of all header lines together. Default 32 KiB, 4 KiB to 256 KiB. Over it: 431.
    pub header_bytes_max: usize,
    /// Most bytes of path and query. Default 8 KiB, 1 KiB to 64 KiB. Over it: 414.
    pub uri_bytes_max: usize,
    /// Most bytes of a body. Default 1 MiB, 1 KiB to 64 MiB. Over it: 413.
    pub body_bytes_max: usize,
    /// The same for `/Groups` and `/Bulk`: Okta sends a whole member list at once. Default 16 MiB.
    pub large_body_bytes_max: usize,
    /// Longest a request's head may take from its first byte. Default 10 s.
    pub header_timeout: Duration,
    /// Longest a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// Longest a body may take in all. Default 30 s. Over it: 408.
    pub body_timeout: Duration,
    /// Longest a body may pause. Default 10 s. Over it: 408.
    pub body_idle_timeout: Duration,
    /// Longest a connection may wait for its next request. Default 60 s.
    pub idle_timeout: Duration,
    /// Longest a client may leave an answer unread. Default 30 s.
    pub write_timeout: Duration,
    /// Most connections at once. Default 1,024.
    pub connections_max: usize,
    /// Most connections of one address at once; trusted proxies and unix sockets are not counted. Default 64.
    pub connections_per_address_max: usize,
    /// Most requests answered at once; further ones wait a moment, then get 429. Default 256.
    pub in_flight_max: usize,
    /// Longest a stop waits for requests under way. Default 5 s.
    pub drain_timeout: Duration,
    /// Whether HTTP/2 is offered over TLS. Default true.
    pub http2: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            headers_max: 64,
            header_bytes_max: 32 << 10,
            uri_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            large_body_bytes_max: 16 << 20,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(30),
            connections_max: 1_024,
            connections_per_address_max: 64,
            in_flight_max: 256,
            drain_timeout: Duration::from_secs(5),
            http2: true,
        }
    }
}

/// Counts open connections, in all and per address.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection; gives its place back when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

/// Which bound a new connection would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Too many in all.
    Total,
    /// Too many of this address.
    Address,
}

impl Connections {
    /// Takes a place for a connection from `address` (`None`: not counted per address).
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, settings: &Settings) -> Result<Place, Full> {
        let address = address.map(network::counted);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= settings.connections_max {
            return Err(Full::Total);
        }
        if let Some(address) = address {
            let count = open.by_address.entry(address).or_insert(0);
            if *count >= settings.connections_per_address_max {
                return Err(Full::Address);
            }
            *count += 1;
        }
        open.total += 1;
        drop(open);
        Ok(Place { connections: Arc::clone(self), address })
    }

    /// How many are open now.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(address) = self.address
            && let Some(count) = open.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_per_address_and_places_come_back() {
        let settings = Settings { connections_max: 3, connections_per_address_max: 2, ..Settings::default() };
        let connections = Arc::new(Connections::default());
        let one = Some("192.0.2.1".parse().unwrap());
        let first = connections.enter(one, &settings).unwrap();
        let _second = connections.enter(one, &settings).unwrap();
        assert_eq!(connections.enter(one, &settings).unwrap_err(), Full::Address);
        let _third = connections.enter(None, &settings).unwrap();
        assert_eq!(connections.enter(None, &settings).unwrap_err(), Full::Total);
        drop(first);
        assert!(connections.enter(one, &settings).is_ok());
        assert_eq!(connections.open(), 2);
    }

    #[test]
    fn v6_clients_are_counted_by_their_network() {
        let settings = Settings { connections_per_address_max: 1, ..Settings::default() };
        let connections = Arc::new(Connections::default());
        let _first = connections.enter(Some("2001:db8::1".parse().unwrap()), &settings).unwrap();
        assert!(connections.enter(Some("2001:db8::2".parse().unwrap()), &settings).is_err());
        assert!(connections.enter(Some("2001:db8:0:1::2".parse().unwrap()), &settings).is_ok());
    }
}
