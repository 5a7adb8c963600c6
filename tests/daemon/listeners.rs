//! Ways in: TLS, a unix socket, sockets handed over by the service manager.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::daemon::{BINARY, Daemon};
use crate::support::{wait_for, wait_until};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: scim.example.com\r\nConnection: close\r\n\r\n";

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(HEALTH).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    // A TLS peer may close without saying so; what came counts.
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn tls_client(
    address: SocketAddr,
    root: &rcgen::Certificate,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "scim.example.com".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

fn write_certificate(daemon: &Daemon) -> rcgen::Certificate {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(["scim.example.com".to_owned()]).unwrap();
    std::fs::write(daemon.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(daemon.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(daemon.path("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    made.cert
}

fn rewrite(daemon: &Daemon, from: &str, to: &str) {
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    assert!(text.contains(from));
    std::fs::write(daemon.config(), text.replace(from, to)).unwrap();
}

#[test]
fn tls_serves_and_takes_a_renewed_certificate_on_reload() {
    let mut daemon = Daemon::prepare("");
    let first = write_certificate(&daemon);
    rewrite(&daemon, "[admin]", "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n[admin]");
    daemon.run();
    assert!(ask(tls_client(daemon.address, &first)).starts_with("HTTP/1.1 200"));
    let second = write_certificate(&daemon);
    assert!(daemon.cli(&["reload"]).status.success());
    wait_until("the renewed certificate is shown", || ask_quietly(daemon.address, &second));
}

/// True once a handshake that trusts only `root` succeeds.
fn ask_quietly(address: SocketAddr, root: &rcgen::Certificate) -> bool {
    let mut stream = tls_client(address, root);
    stream.write_all(HEALTH).is_ok() && stream.read(&mut [0; 16]).is_ok_and(|n| n > 0)
}

#[test]
fn a_unix_socket_serves_the_same_api() {
    let mut daemon = Daemon::prepare("");
    let address = format!("\"{}\"", daemon.address);
    let path = daemon.path("scim.sock");
    rewrite(&daemon, &address, &format!("\"unix:{}\"", path.display()));
    daemon.run();
    assert!(ask(UnixStream::connect(path).unwrap()).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_socket_handed_over_by_the_service_manager_is_served() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "systemd-socket-activate is missing; install the package systemd"
        );
        println!("SKIP: systemd-socket-activate is not installed (apt-get install systemd)");
        return;
    }
    let daemon = Daemon::prepare("");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut process = Command::new("systemd-socket-activate")
        .args(["-l", &address.to_string(), "--fdname=scim", BINARY, "serve", "--config"])
        .arg(daemon.config())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stream = wait_for("the manager listens", || TcpStream::connect(address).ok());
    let answer = ask(stream);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn plain_http_beyond_this_machine_is_refused_by_the_config() {
    let daemon = Daemon::prepare("");
    rewrite(&daemon, &format!("\"{}\"", daemon.address), "\"0.0.0.0:8080\"");
    let out = daemon.cli(&["check"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("insecure"), "{said}");
}
