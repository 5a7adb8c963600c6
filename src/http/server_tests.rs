use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};

use super::{Handler, Peer, Serving, serve};
use crate::http::content::Content;
use crate::http::limits::Settings as Limits;
use crate::http::listener::{self, Address};
use crate::http::metrics::Metrics;
use crate::http::testing::Server;
use crate::http::tls::{self, Tls};

/// Says `done` once it is let go, and remembers who asked.
#[derive(Default)]
struct Waits {
    arrived: Notify,
    go: Notify,
    answered: AtomicU32,
    peers: Mutex<Vec<(Peer, Version)>>,
}

impl Handler for Waits {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        self.peers.lock().unwrap().push((peer, request.version()));
        if request.uri().path() == "/wait" {
            self.arrived.notify_one();
            self.go.notified().await;
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
        Response::new(Content::from(Bytes::from_static(b"done")))
    }
}

fn short() -> Arc<Limits> {
    Arc::new(Limits {
        header_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A cut connection may end in a reset; what was read until then counts.
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_half_sent_and_idle_connections_are_cut() {
    let handler = Arc::new(Waits::default());
    let server = Server::start(Arc::clone(&handler), short(), Arc::default());
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut half = TcpStream::connect(&server.address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    read_to_end(&mut half).await;
    assert_eq!(handler.answered.load(Ordering::SeqCst), 0);
    let mut idle = TcpStream::connect(&server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut idle).await.ends_with("done"));
    assert_eq!(handler.answered.load(Ordering::SeqCst), 1);
    let mut second_half = TcpStream::connect(&server.address).await.unwrap();
    second_half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT").await.unwrap();
    assert!(read_to_end(&mut second_half).await.ends_with("done"));
    assert_eq!(handler.answered.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_under_way_and_takes_nothing_new() {
    let handler = Arc::new(Waits::default());
    let server = Server::start(Arc::clone(&handler), Arc::default(), Arc::default());
    let mut open = TcpStream::connect(&server.address).await.unwrap();
    open.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    handler.arrived.notified().await;
    server.stop.send(true).unwrap();
    // The listener goes first; whoever is still taken from its backlog is answered.
    while let Ok(mut late) = TcpStream::connect(&server.address).await {
        let is_sent = late.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok();
        let answer = read_to_end(&mut late).await;
        assert!(!is_sent || answer.is_empty() || answer.ends_with("done"), "{answer}");
    }
    handler.go.notify_one();
    let answer = read_to_end(&mut open).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
    server.done.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_let_in_before_a_stop_has_its_first_request_answered() {
    let handler = Arc::new(Waits::default());
    let server = Server::start(Arc::clone(&handler), Arc::default(), Arc::default());
    let mut early = TcpStream::connect(&server.address).await.unwrap();
    let mut half = TcpStream::connect(&server.address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut idle = TcpStream::connect(&server.address).await.unwrap();
    let mut again = TcpStream::connect(&server.address).await.unwrap();
    for used in [&mut idle, &mut again] {
        used.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        used.read_exact(&mut [0; 16]).await.unwrap();
    }
    server.stop.send(true).unwrap();
    again.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    half.write_all(b"st: x\r\n\r\n").await.unwrap();
    for (name, stream) in [("early", &mut early), ("half", &mut half), ("again", &mut again)] {
        let answer = read_to_end(stream).await;
        assert!(answer.ends_with("done"), "{name}: {answer}");
        assert!(answer.contains("connection: close"), "{name}: {answer}");
    }
    let rest = read_to_end(&mut idle).await;
    assert_eq!(rest.matches("HTTP/1.1").count(), 0, "{rest}");
    server.done.await.unwrap().unwrap();
    assert_eq!(handler.answered.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_a_stop_for_ever() {
    let handler = Arc::new(Waits::default());
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start(Arc::clone(&handler), Arc::new(limits), Arc::default());
    let mut open = TcpStream::connect(&server.address).await.unwrap();
    open.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    handler.arrived.notified().await;
    server.stop.send(true).unwrap();
    server.done.await.unwrap().unwrap();
    assert_eq!(read_to_end(&mut open).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_are_told_429() {
    let handler = Arc::new(Waits::default());
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let server = Server::start(Arc::clone(&handler), Arc::new(limits), Arc::default());
    let mut first = TcpStream::connect(&server.address).await.unwrap();
    first.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    handler.arrived.notified().await;
    let mut second = TcpStream::connect(&server.address).await.unwrap();
    let refused = read_to_end(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("\"status\":\"429\""), "{refused}");
    handler.go.notify_one();
    assert!(server.metrics.render("").contains("connections_refused_total{reason=\"address\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_speaks_the_version_the_client_chooses_and_cuts_silent_handshakes() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let source = tls::Source::Files { cert: folder.path().join("cert"), key: folder.path().join("key") };
    let settings = tls::Settings { source, clients: None, http2: true };
    std::fs::write(settings.cert(), made.cert.pem()).unwrap();
    std::fs::write(settings.key(), made.signing_key.serialize_pem()).unwrap();
    let listening = listener::Settings {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        name: "scim",
        unix_mode: 0o660,
    };
    let sockets = listener::bind(&listening, &mut listener::Inherited::default()).unwrap();
    let address = sockets[0].local();
    let (_stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::new());
    let serving = Serving {
        limits: short(),
        connections: Arc::default(),
        tls: Some(Arc::new(Tls::load(settings).unwrap())),
        trusted_proxies: Arc::from([]),
        half_close: true,
        metrics: Arc::clone(&metrics),
    };
    let handler = Arc::new(Waits::default());
    tokio::spawn(serve(sockets, serving, Arc::clone(&handler), stopping));
    let connect = async |protocol: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    };
    let (mut send, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connect(b"h2").await))
            .await
            .unwrap();
    tokio::spawn(driver);
    let request = Request::builder().uri("https://localhost/").body(Full::new(Bytes::new())).unwrap();
    let answer = send.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "done");
    let mut plain = connect(b"http/1.1").await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    let _ = plain.read_to_string(&mut text).await;
    assert!(text.ends_with("done"), "{text}");
    let versions: Vec<Version> = handler.peers.lock().unwrap().iter().map(|(_, v)| *v).collect();
    assert_eq!(versions, [Version::HTTP_2, Version::HTTP_11]);
    assert!(handler.peers.lock().unwrap().iter().all(|(peer, _)| peer.tls));
    let mut silent = TcpStream::connect(&address).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(metrics.render("").contains("rosterd_tls_handshake_failures_total{reason=\"timeout\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_tells_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listening =
        listener::Settings { addresses: vec![Address::Unix(path.clone())], name: "admin", unix_mode: 0o660 };
    let sockets = listener::bind(&listening, &mut listener::Inherited::default()).unwrap();
    let (stop, stopping) = watch::channel(false);
    let serving = Serving {
        limits: Arc::default(),
        connections: Arc::default(),
        tls: None,
        trusted_proxies: Arc::from([]),
        half_close: true,
        metrics: Arc::default(),
    };
    let handler = Arc::new(Waits::default());
    let done = tokio::spawn(serve(sockets, serving, Arc::clone(&handler), stopping));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("done"), "{text}");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(handler.peers.lock().unwrap()[0].0, Peer { address: None, uid: Some(uid), tls: false });
    stop.send(true).unwrap();
    done.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_unix_socket_that_stops_refuses_who_comes_and_lets_in_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
    super::close_to_new(&listener);
    let late = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
    assert_eq!(late.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(listener.accept().await.is_ok(), "who waited is let in");
    let end = super::at_once(|cx| listener.poll_accept(cx)).await;
    assert!(!matches!(end, std::task::Poll::Ready(Ok(_))), "and nobody else");
}
