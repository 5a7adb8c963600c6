//! A real listener over a real mirror, and a client that writes exactly the bytes it is told to.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::health::Health;
use super::limits::Settings as Limits;
use super::listener;
use super::metrics::Metrics;
use super::scim_api::{ScimApi, Settings};
use super::server::{Handler, Serving, serve};
use crate::mirror::token::Holder;
use crate::mirror::{self, Mirror, directory, token};
use crate::model::{DirectoryId, DirectoryKind, Origin, SystemClock, TokenId};
use crate::scim::schema::Registry;

/// A mirror in a folder that goes with it.
pub(crate) struct Store {
    pub mirror: Mirror,
    folder: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = mirror::Settings::at(folder.path().join("mirror.db"));
        let mirror = Mirror::open(&settings, Arc::new(SystemClock)).unwrap();
        Self { mirror, folder }
    }

    /// Takes the first `count` changes out of the log, as pruning does.
    pub(crate) fn forget_changes(&self, count: u64) {
        let file = rusqlite::Connection::open(self.folder.path().join("mirror.db")).unwrap();
        file.execute("DELETE FROM change WHERE seq <= ?1", [i64::try_from(count).unwrap()]).unwrap();
    }

    /// Adds a directory and returns a token of it with its public name.
    pub(crate) async fn directory(&self, id: &str, kind: DirectoryKind) -> (String, TokenId) {
        let id = DirectoryId::parse(id).unwrap();
        let (token, secret) = self
            .mirror
            .write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
                directory::add(tx, &id, "A directory", kind)?;
                token::mint(tx, Holder::Directory(&id), "", None)
            })
            .await
            .unwrap();
        (secret.expose().to_owned(), token.id)
    }
}

/// A server on a free port.
pub(crate) struct Server {
    pub address: String,
    pub stop: watch::Sender<bool>,
    pub metrics: Arc<Metrics>,
    pub done: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// [`Server::start`] that gives up a client which has ended its side.
    pub(crate) fn start_for_readers<H: Handler>(
        handler: Arc<H>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self::launch(handler, limits, metrics, false)
    }

    pub(crate) fn start<H: Handler>(handler: Arc<H>, limits: Arc<Limits>, metrics: Arc<Metrics>) -> Self {
        Self::launch(handler, limits, metrics, true)
    }

    fn launch<H: Handler>(
        handler: Arc<H>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
        half_close: bool,
    ) -> Self {
        let settings = listener::Settings {
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            name: "scim",
            unix_mode: 0o660,
        };
        let sockets = listener::bind(&settings, &mut listener::Inherited::default()).unwrap();
        let address = sockets[0].local();
        let (stop, stopping) = watch::channel(false);
        let serving = Serving {
            limits,
            connections: Arc::default(),
            tls: None,
            trusted_proxies: Arc::from([]),
            half_close,
            metrics: Arc::clone(&metrics),
        };
        let done = tokio::spawn(serve(sockets, serving, handler, stopping));
        Self { address, stop, metrics, done }
    }

    pub(crate) fn scim(store: &Store) -> Self {
        Self::scim_with(store, Settings::default(), Limits::default())
    }

    pub(crate) fn scim_with(store: &Store, settings: Settings, limits: Limits) -> Self {
        let (limits, metrics) = (Arc::new(limits), Arc::new(Metrics::new()));
        let health = Arc::new(Health::starting());
        health.set_ready();
        let api = ScimApi::new(
            store.mirror.clone(),
            settings,
            Arc::new(Registry::standard()),
            HashMap::new(),
            Arc::clone(&limits),
            Arc::clone(&metrics),
            health,
        );
        Self::start(Arc::new(api), limits, metrics)
    }

    /// Sends these bytes on a connection of their own and reads to its end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        Reply::parse(&read)
    }

    /// One request; `headers` are whole lines.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: scim.test\r\nConnection: close\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str("Content-Length: ");
            text.push_str(&body.len().to_string());
            text.push_str("\r\n");
            if !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("content-type")) {
                text.push_str("Content-Type: application/scim+json\r\n");
            }
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.raw(text.as_bytes()).await
    }

    /// One SCIM request with a token.
    pub(crate) async fn scim_request(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        let authorization = format!("Authorization: Bearer {token}");
        self.send(method, &format!("/scim/v2{path}"), &[&authorization], body).await
    }
}

/// An answer as read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { joined(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Asserts the status and returns the document.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n\n{}", self.head, self.body);
        self.json()
    }
}

/// The chunks of a body as one.
fn joined(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        let (chunk, more) = after.split_at(size);
        body.push_str(chunk);
        rest = more.strip_prefix("\r\n").unwrap();
    }
    body
}
