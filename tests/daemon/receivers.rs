//! Webhooks over the network as it is: TLS with an authority of one's own, client certificates, proxies, credentials,
//! and receivers that are slow, cut connections or show the wrong certificate.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::wait_until;

/// Heads of the requests that came, and whether the client showed a certificate.
type Heads = Arc<Mutex<Vec<(String, bool)>>>;

/// An authority that signs for whoever the test wants.
struct Authority {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let made =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (made, key)
    }

    /// A receiver that shows a certificate for `name` and, with `clients`, wants one that this authority signed.
    fn receiver(&self, name: &str, clients: bool) -> (SocketAddr, Heads) {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
        let told = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, told) = (config.clone(), told.clone());
                std::thread::spawn(move || {
                    let session = ServerConnection::new(config).unwrap();
                    let mut reader = BufReader::new(StreamOwned::new(session, stream));
                    while take(&mut reader, &told).is_some() {}
                });
            }
        });
        (address, heads)
    }
}

fn head(reader: &mut impl std::io::BufRead) -> Option<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if line.trim_end().is_empty() {
            return Some((head, length));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
}

fn take(reader: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>, told: &Heads) -> Option<()> {
    let (head, length) = head(reader)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let shown = reader.get_ref().conn.peer_certificates().is_some_and(|all| !all.is_empty());
    told.lock().unwrap().push((head, shown));
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()
}

/// A proxy that knows `CONNECT` and leads everybody to `to`, with what it was asked.
fn proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let told = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let Some((head, _)) = head(&mut reader) else { return };
                let is_known = head.contains("Proxy-Authorization: Basic dXNlcjpwdw==");
                told.lock().unwrap().push(head);
                let mut client = stream;
                if !is_known {
                    let _ = client.write_all(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let server = TcpStream::connect(to).unwrap();
                client.write_all(b"HTTP/1.1 200 Go\r\n\r\n").unwrap();
                let (mut there, mut here) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let back = std::thread::spawn(move || pipe(&mut there, &mut here));
                let mut server = server;
                pipe(&mut client, &mut server);
                back.join().unwrap();
            });
        }
    });
    (address, asked)
}

fn pipe(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

fn hook(url: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [\"user.*\"]\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    )
}

fn private(daemon: &Daemon, name: &str, text: &str) {
    std::fs::write(daemon.path(name), text).unwrap();
    std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A daemon with these files, told of alice.
fn told(config: &str, files: &[(&str, &str)]) -> Daemon {
    let mut daemon = Daemon::prepare(config);
    private(&daemon, "hook-secret", SECRET);
    for (name, text) in files {
        private(&daemon, name, text);
    }
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    daemon.scim(&directory).create_user("alice@example.com");
    daemon
}

fn is_taken(daemon: &Daemon, heads: &Heads) -> (String, bool) {
    wait_until("it arrived", || !heads.lock().unwrap().is_empty());
    wait_until("and is done", || daemon.target("app")["state"] == "in_sync");
    let all = heads.lock().unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn an_authority_of_ones_own_is_trusted_and_a_bearer_token_is_sent() {
    let authority = Authority::new();
    let (address, heads) = authority.receiver("localhost", false);
    let url = format!("https://localhost:{}/hook", address.port());
    let config = hook(&url, "ca_file = \"{dir}/ca.pem\"\nbearer_file = \"{dir}/bearer\"");
    let daemon = told(&config, &[("ca.pem", &authority.pem), ("bearer", "s3cr3t-bearer\n")]);
    let (head, shown) = is_taken(&daemon, &heads);
    assert!(head.to_ascii_lowercase().contains("authorization: bearer s3cr3t-bearer\r\n"), "{head}");
    assert!(!shown && !daemon.log().contains("s3cr3t-bearer"));
}

#[test]
fn a_user_and_password_are_sent_to_a_receiver_that_asks_for_them() {
    let receiver = Receiver::start();
    let daemon = told(&hook(&receiver.url(), "basic_file = \"{dir}/basic\""), &[("basic", "user:pw\n")]);
    wait_until("it arrived", || receiver.events().len() == 1);
    let headers = receiver.events().remove(0).headers;
    let wanted = ("authorization".to_owned(), "Basic dXNlcjpwdw==".to_owned());
    assert!(headers.contains(&wanted), "{headers:?}");
    assert!(!daemon.log().contains("user:pw"));
}

#[test]
fn a_client_certificate_is_shown_to_a_receiver_that_wants_one() {
    let authority = Authority::new();
    let (address, heads) = authority.receiver("localhost", true);
    let url = format!("https://localhost:{}/hook", address.port());
    let (certificate, key) = authority.sign("rosterd.example.com");
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let without = hook(&url, "ca_file = \"{dir}/ca.pem\"");
    let files = [("ca.pem", authority.pem.as_str()), ("client.pem", &certificate), ("client.key", &key)];
    let mut daemon = told(&without, &files);
    wait_until("without one it is refused", || daemon.target("app")["state"] == "failing");
    assert!(heads.lock().unwrap().is_empty());
    daemon.kill();
    let more = "ca_file = \"{dir}/ca.pem\"\nclient_cert_file = \"{dir}/client.pem\"\nclient_key_file = \"{dir}/client.key\"";
    daemon.write_config(&hook(&url, more));
    daemon.run();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    assert!(is_taken(&daemon, &heads).1);
}

#[test]
fn a_proxy_is_asked_to_connect_and_sees_no_event() {
    let authority = Authority::new();
    let (address, heads) = authority.receiver("hooks.example.com", false);
    let (proxy, asked) = proxy(address);
    // A name that only the proxy can lead anywhere.
    let more = format!("ca_file = \"{{dir}}/ca.pem\"\nproxy = \"http://{proxy}\"\n");
    let credentials = "proxy_credentials_file = \"{dir}/proxy-user\"";
    let config = hook("https://hooks.example.com/hook", &more);
    let files = [("ca.pem", authority.pem.as_str()), ("proxy-user", "user:pw")];
    let mut daemon = told(&config, &files);
    wait_until("the proxy knows nobody", || {
        daemon.target("app")["last_error"].as_str().is_some_and(|why| why.contains("407"))
    });
    daemon.kill();
    daemon.write_config(&hook("https://hooks.example.com/hook", &format!("{more}{credentials}")));
    daemon.run();
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    is_taken(&daemon, &heads);
    let asked = asked.lock().unwrap();
    assert!(
        asked.iter().all(|head| head.starts_with("CONNECT hooks.example.com:443 HTTP/1.1\r\n")),
        "{asked:?}"
    );
    assert!(asked.iter().all(|head| !head.contains("alice") && !head.contains("webhook-")));
}

#[test]
fn a_certificate_for_another_name_or_by_a_stranger_gets_no_event() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let orders = ["", "ordering = \"resource\"\n", "batch = { max_events = 5, max_wait = \"20ms\" }\n"];
    for (name, ca) in [("other.example.com", &authority.pem), ("localhost", &stranger.pem)] {
        for order in orders {
            let (address, heads) = authority.receiver(name, false);
            let url = format!("https://localhost:{}/hook", address.port());
            let daemon =
                told(&hook(&url, &format!("{order}ca_file = \"{{dir}}/ca.pem\"")), &[("ca.pem", ca)]);
            wait_until("it is refused", || {
                daemon.target("app")["last_error"].as_str().is_some_and(|why| why.contains("certificate"))
            });
            let target = daemon.target("app");
            assert_eq!((&target["parked"], &target["open"]), (&0.into(), &1.into()), "tried again: {target}");
            assert!(heads.lock().unwrap().is_empty());
        }
    }
}

/// Serves each connection by its number until `take` answers false.
fn serve(take: impl Fn(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        listener.incoming().flatten().enumerate().for_each(|(n, stream)| take(n, stream))
    });
    address
}

#[test]
fn a_receiver_that_resets_or_never_answers_is_tried_again_with_the_same_event() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (told_of, kept) = (bodies.clone(), Mutex::new(Vec::new()));
    let address = serve(move |n, mut stream| {
        if n == 0 {
            // Closed with bytes unread: the kernel answers with a reset.
            let mut first = [0; 1];
            let _ = stream.read_exact(&mut first);
            return;
        }
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some((_, length)) = head(&mut reader) else { return };
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        told_of.lock().unwrap().push(body);
        if n == 1 {
            kept.lock().unwrap().push(stream);
            return;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    });
    let daemon = told(&hook(&format!("http://{address}/hook"), "timeout = \"1s\""), &[]);
    let attempts =
        || daemon.cli_json(&["delivery", "list"])["deliveries"][0]["attempts"].as_u64().unwrap_or(0);
    wait_until("the reset is a failure", || attempts() == 1);
    wait_until("the target says so", || daemon.target("app")["state"] == "failing");
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("it was taken and not answered", || bodies.lock().unwrap().len() == 1);
    wait_until("the time ran out", || {
        daemon.target("app")["last_error"].as_str().is_some_and(|why| why.contains("no whole answer within"))
    });
    daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
    wait_until("now it is done", || daemon.target("app")["state"] == "in_sync");
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], bodies[1], "the same bytes");
}
