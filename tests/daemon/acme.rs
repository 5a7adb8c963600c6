//! Certificates from an ACME server: Pebble, Let's Encrypt's own server for tests, on this machine, with names that
//! its companion resolves to this machine.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::certificates::metric;
use crate::support::daemon::Daemon;
use crate::support::pki::{Authority, Secure, client};
use crate::support::{wait_for, wait_until};

const NAME: &str = "scim.example.com";

/// How long Pebble's certificates are valid, so that a renewal comes within the test.
const VALID_S: u32 = 12;

/// Pebble and its name server; both end with it.
struct Pebble {
    folder: tempfile::TempDir,
    processes: Vec<Child>,
    address: SocketAddr,
    management: SocketAddr,
    authority: Authority,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Pebble {
    /// `None` where Pebble is not installed. It validates names at these ports.
    fn start(https: u16, http: u16) -> Option<Self> {
        if Command::new("pebble").arg("-h").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "pebble is missing; install the package pebble");
            println!("SKIP: pebble is not installed (apt-get install pebble)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("pebble's own");
        authority.server("127.0.0.1").write(folder.path());
        std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
        let (address, management, names) = (free(), free(), free());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address, "managementListenAddress": management,
            "certificate": folder.path().join("cert.pem"), "privateKey": folder.path().join("key.pem"),
            "httpPort": http, "tlsPort": https, "certificateValidityPeriod": VALID_S,
        }});
        std::fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &names.to_string()]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &free().to_string()]);
        let mut server = Command::new("pebble");
        server.args(["-dnsserver", &names.to_string(), "-config"]).arg(folder.path().join("pebble.json"));
        server.env("PEBBLE_VA_NOSLEEP", "1");
        let start = |command: &mut Command, name: &str| {
            let log = std::fs::File::create(folder.path().join(name)).unwrap();
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
        };
        let processes = vec![start(&mut resolver, "names.log"), start(&mut server, "pebble.log")];
        let pebble = Self { folder, processes, address, management, authority };
        wait_until("pebble listens", || std::net::TcpStream::connect(pebble.management).is_ok());
        wait_until("pebble listens", || std::net::TcpStream::connect(pebble.address).is_ok());
        Some(pebble)
    }

    fn tls(&self, more: &str) -> String {
        format!(
            "tls = {{ acme = {{ domains = [\"{NAME}\"], contact = \"mailto:ops@example.com\", \
             directory_url = \"https://{}/dir\", ca = \"{}\"{more} }} }}\n",
            self.address,
            self.folder.path().join("ca.pem").display()
        )
    }

    /// What signs the certificates it issues: made anew at each of its starts.
    fn roots(&self) -> RootCertStore {
        let config = client(self.authority.roots(), None, "http/1.1");
        let mut stream = Secure::connect(self.management, "127.0.0.1", &config).unwrap();
        let answer = stream.get("/roots/0", None).unwrap();
        let mut roots = RootCertStore::empty();
        let pem = answer.split_once("\r\n\r\n").unwrap().1;
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default();
            eprintln!("--- pebble's log\n{log}");
        }
    }
}

fn with_tls(daemon: &Daemon, tls: &str) {
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), text.replace("[admin]", &format!("{tls}[admin]"))).unwrap();
}

/// The certificate and the account as kept.
fn kept(daemon: &Daemon) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(daemon.path("state/acme")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn orders(daemon: &Daemon, outcome: &str) -> u32 {
    let line = format!("rosterd_acme_orders_total{{outcome=\"{outcome}\"}}");
    metric(daemon, &line).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_certificate_is_ordered_by_tls_alpn_01_served_renewed_and_kept_when_the_server_is_gone() {
    let mut daemon = Daemon::prepare("");
    let Some(mut pebble) = Pebble::start(daemon.address.port(), free().port()) else { return };
    with_tls(&daemon, &pebble.tls(""));
    // Before the first order is through nobody gets past the handshake, and the daemon is ready all the same.
    daemon.run();
    let config = client(pebble.roots(), None, "http/1.1");
    let connect = || Secure::connect(daemon.address, NAME, &config);
    let mut first = wait_for("the first certificate", || connect().ok());
    assert!(first.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    for path in kept(&daemon) {
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
    }
    assert_eq!(std::fs::metadata(daemon.path("state/acme")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(kept(&daemon).len(), 2, "an account and a certificate");
    let ends = || metric(&daemon, "rosterd_tls_certificate_not_after_seconds{listener=\"scim\"}").unwrap();
    wait_until("the metric tells its end", || ends() != "0");

    let mut second = wait_for("a renewed certificate", || {
        connect().ok().filter(|stream| stream.certificate() != first.certificate())
    });
    assert!(second.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    assert!(first.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"), "the old connection lives on");
    assert_eq!(kept(&daemon).len(), 2, "the account is used again");

    pebble.stop();
    wait_until("an order fails", || orders(&daemon, "failed") > 0);
    assert!(daemon.log().contains("no new certificate"), "{}", daemon.log());
    let mut third =
        connect().unwrap_or_else(|error| panic!("{error}: the old certificate is served meanwhile"));
    assert!(third.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    // It is also the one that a restart begins with.
    let last = third.certificate();
    assert_eq!(daemon.stop(), Some(0));
    daemon.run();
    let shown = Secure::connect(daemon.address, NAME, &config).map(|stream| stream.certificate());
    assert!(shown.is_ok_and(|shown| shown == last) || daemon.log().contains("no new certificate"));
}

#[test]
fn a_certificate_is_ordered_by_http_01() {
    let mut daemon = Daemon::prepare("");
    let http = free();
    let Some(pebble) = Pebble::start(free().port(), http.port()) else { return };
    with_tls(&daemon, &pebble.tls(&format!(", challenge = \"http-01\", http_listen = \"{http}\"")));
    daemon.run();
    let config = client(pebble.roots(), None, "http/1.1");
    let mut first = wait_for("the first certificate", || Secure::connect(daemon.address, NAME, &config).ok());
    assert!(first.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    // The listener for the challenge has nothing else to say.
    let mut plain = crate::support::http::Client::new(http);
    for path in ["/", "/healthz", "/scim/v2/Users", "/.well-known/acme-challenge/guess"] {
        assert_eq!(plain.send("GET", path, &[], None).unwrap().status, 404, "{path}");
    }
}

#[test]
fn a_name_that_cannot_be_proved_says_what_the_server_found() {
    let mut daemon = Daemon::prepare("");
    let nobody = free();
    let Some(pebble) = Pebble::start(nobody.port(), free().port()) else { return };
    with_tls(&daemon, &pebble.tls(""));
    daemon.run();
    wait_until("the order fails", || orders(&daemon, "failed") > 0);
    let log = daemon.log();
    assert!(log.contains("no new certificate") && log.contains("Failed to connect to 127.0.0.1"), "{log}");
    assert!(log.contains(NAME), "{log}");
    let out = daemon.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("no certificate has come from the ACME server yet"), "{said}");
}
