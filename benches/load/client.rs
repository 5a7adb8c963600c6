//! A load generator that costs as little as it can: raw HTTP/1.1 over kept-alive connections, one request in
//! flight on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request, ready for the wire.
pub struct Request(Vec<u8>);

impl Request {
    pub fn get(path: &str, token: &str) -> Self {
        Self(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: application/scim+json\r\n\r\n").into_bytes())
    }

    pub fn post(path: &str, token: &str, body: String) -> Self {
        Self::with_body("POST", path, token, &body)
    }

    pub fn patch(path: &str, token: &str, body: String) -> Self {
        Self::with_body("PATCH", path, token, &body)
    }

    fn with_body(method: &str, path: &str, token: &str, body: &str) -> Self {
        Self(format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/scim+json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

/// What a phase measured.
#[derive(Default, Clone)]
pub struct Outcome {
    pub elapsed: Duration,
    pub latencies_us: Vec<u32>,
    pub statuses: std::collections::BTreeMap<u16, usize>,
    pub bodies: Vec<(usize, Vec<u8>)>,
}

impl Outcome {
    pub fn merge(&mut self, other: Self) {
        self.elapsed += other.elapsed;
        self.latencies_us.extend(other.latencies_us);
        for (status, n) in other.statuses {
            *self.statuses.entry(status).or_default() += n;
        }
        self.bodies.extend(other.bodies);
    }

    pub fn per_second(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// `0.5` is the median.
    pub fn quantile_us(&self, q: f64) -> f64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        f64::from(sorted[((sorted.len() - 1) as f64 * q) as usize])
    }

    pub fn expect_status(&self, status: u16) {
        assert!(self.statuses.keys().all(|s| *s == status), "wanted {status}, got {:?}", self.statuses);
    }

    pub fn expect_success(&self) {
        assert!(self.statuses.keys().all(|s| (200..300).contains(s)), "wanted 2xx, got {:?}", self.statuses);
    }
}

/// `connections` kept-alive connections to one address.
pub struct Load {
    address: SocketAddr,
    connections: usize,
}

impl Load {
    pub fn new(address: SocketAddr, connections: usize) -> Self {
        Self { address, connections }
    }

    pub async fn run(&self, requests: usize, make: impl Fn(usize) -> Request) -> Outcome {
        self.drive(requests, make, false).await
    }

    pub async fn run_keeping_bodies(&self, requests: usize, make: impl Fn(usize) -> Request) -> Outcome {
        self.drive(requests, make, true).await
    }

    pub async fn once(&self, request: Request) -> Vec<u8> {
        let mut connection = Connection::open(self.address).await;
        let (status, body) = connection.exchange(&request.0, true).await;
        assert!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn drive(&self, requests: usize, make: impl Fn(usize) -> Request, keep: bool) -> Outcome {
        // Made before the clock starts, so that only the exchange is timed.
        let prepared: Arc<Vec<Vec<u8>>> = Arc::new((0..requests).map(|i| make(i).0).collect());
        let next = Arc::new(AtomicUsize::new(0));
        let mut open = Vec::new();
        for _ in 0..self.connections {
            open.push(Connection::open(self.address).await);
        }
        let begin = Instant::now();
        let tasks: Vec<_> = open
            .into_iter()
            .map(|mut connection| {
                let (prepared, next) = (prepared.clone(), next.clone());
                tokio::spawn(async move {
                    let mut out = Outcome::default();
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(request) = prepared.get(i) else { return out };
                        let sent = Instant::now();
                        let (status, body) = connection.exchange(request, keep).await;
                        out.latencies_us.push(sent.elapsed().as_micros() as u32);
                        *out.statuses.entry(status).or_default() += 1;
                        if keep {
                            out.bodies.push((i, body));
                        }
                    }
                })
            })
            .collect();
        let mut all = Outcome::default();
        for task in tasks {
            all.merge(task.await.unwrap());
        }
        all.elapsed = begin.elapsed();
        all
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(64 * 1024) }
    }

    async fn exchange(&mut self, request: &[u8], keep: bool) -> (u16, Vec<u8>) {
        self.stream.write_all(request).await.expect("send");
        self.buffer.clear();
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let n = self.stream.read_buf(&mut self.buffer).await.expect("receive");
            assert!(n > 0, "the server closed the connection");
        };
        let head = std::str::from_utf8(&self.buffer[..head_end]).unwrap();
        let status: u16 = head[9..12].parse().unwrap();
        let length: usize = head
            .lines()
            .find_map(|l| {
                l.split_once(':')
                    .filter(|(k, _)| k.eq_ignore_ascii_case("content-length"))
                    .map(|(_, v)| v.trim().parse().unwrap())
            })
            .unwrap_or(0);
        while self.buffer.len() < head_end + length {
            let n = self.stream.read_buf(&mut self.buffer).await.expect("receive");
            assert!(n > 0, "the server closed the connection");
        }
        (status, if keep { self.buffer[head_end..].to_vec() } else { Vec::new() })
    }
}

/// A user as Okta sends it, about 700 bytes.
pub fn user_body(prefix: &str, i: usize) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"{prefix}{i}@example.com","name":{{"givenName":"Given{i}","familyName":"Family{i}","formatted":"Given{i} Family{i}"}},"emails":[{{"primary":true,"value":"{prefix}{i}@example.com","type":"work"}}],"phoneNumbers":[{{"type":"work","value":"+1 555 010 {i:04}"}}],"displayName":"Given{i} Family{i}","locale":"en-US","timezone":"Europe/Berlin","title":"Engineer","externalId":"00u{prefix}{i}","groups":[],"active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{{"employeeNumber":"E-{i}","department":"Research","costCenter":"CC-{}"}}}}"#,
        i % 100
    )
}

pub fn add_member(id: &str) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"add","path":"members","value":[{{"value":"{id}"}}]}}]}}"#
    )
}

pub fn remove_member(id: &str) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"remove","path":"members[value eq \"{id}\"]"}}]}}"#
    )
}
