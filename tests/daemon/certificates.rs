//! TLS of the listeners: certificates of clients and the directories tied to them, renewal while connections live,
//! what is too old.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::daemon::Daemon;
use crate::support::pki::{Authority, Identity, Lifetime, Secure, client};
use crate::support::wait_until;

const NAME: &str = "scim.example.com";

/// A daemon that speaks TLS with a certificate of `authority`, with `more` in its `tls`.
fn prepare(authority: &Authority, more: &str, extra: &str) -> Daemon {
    let daemon = Daemon::prepare(extra);
    authority.server(NAME).write(daemon.dir.path());
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let tls = format!("tls = {{ cert = \"cert.pem\", key = \"key.pem\"{more} }}\n[admin]");
    std::fs::write(daemon.config(), text.replace("[admin]", &tls)).unwrap();
    daemon
}

/// One number of the metrics, as written there.
pub fn metric(daemon: &Daemon, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.lines().find_map(|found| found.strip_prefix(line)).map(|rest| rest.trim().to_owned())
}

/// What a client with this certificate is answered, or why it is not.
fn ask(
    daemon: &Daemon,
    authority: &Authority,
    shown: Option<&Identity>,
    token: &str,
) -> Result<String, String> {
    let config = client(authority.roots(), shown, "http/1.1");
    let answer = Secure::connect(daemon.address, NAME, &config)
        .and_then(|mut stream| stream.get("/scim/v2/Users", Some(token)))
        .map_err(|error| error.to_string())?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

#[test]
fn a_token_of_a_tied_directory_counts_only_with_the_certificate() {
    let (ours, clients, strangers) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("strangers"));
    let extra = "[[directory]]\nid = \"acme\"\nkind = \"okta\"\nclient_subject = [\"CN=okta,O=Example\", \"URI:spiffe://example.com/okta\"]\n\
                 [[directory]]\nid = \"free\"\nkind = \"entra\"\n";
    let mut daemon = prepare(&ours, ", client_ca = \"clients.pem\", client_auth = \"optional\"", extra);
    std::fs::write(daemon.path("clients.pem"), clients.certificate.pem()).unwrap();
    daemon.run();
    let token = |id: &str| {
        let made = daemon.cli_json(&["token", "new", id]);
        made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    };
    let (acme, free) = (token("acme"), token("free"));
    let okta = clients.client("okta", None, Lifetime::Now);
    let named_by_uri = clients.client("someone", Some("spiffe://example.com/okta"), Lifetime::Now);
    let other = clients.client("other", None, Lifetime::Now);
    assert_eq!(ask(&daemon, &ours, Some(&okta), &acme).unwrap(), "200");
    assert_eq!(ask(&daemon, &ours, Some(&named_by_uri), &acme).unwrap(), "200");
    // A directory that is not tied takes its token with and without.
    assert_eq!(ask(&daemon, &ours, Some(&okta), &free).unwrap(), "200");
    assert_eq!(ask(&daemon, &ours, None, &free).unwrap(), "200");
    // The right token alone, or beside another client's certificate, is refused and said so.
    assert_eq!(ask(&daemon, &ours, Some(&other), &acme).unwrap(), "401");
    wait_until("the log names both", || {
        daemon.log().contains("CN=other,O=Example")
            && daemon.log().contains("CN=okta,O=Example or URI:spiffe")
    });
    assert_eq!(ask(&daemon, &ours, None, &acme).unwrap(), "401");
    wait_until("the refusals are counted", || {
        metric(&daemon, "rosterd_auth_failures_total{reason=\"client_certificate\"}").as_deref() == Some("2")
    });
    // A certificate that is not good ends the handshake, although none would have been fine.
    for bad in [clients.client("okta", None, Lifetime::Over), strangers.client("okta", None, Lifetime::Now)] {
        let error = ask(&daemon, &ours, Some(&bad), &acme).unwrap_err();
        assert!(error.contains("alert") || error.contains("Certificate"), "{error}");
    }
    wait_until("the refused handshakes are counted", || {
        metric(&daemon, "rosterd_tls_handshake_failures_total{reason=\"client_certificate\"}").as_deref()
            == Some("2")
    });
    assert!(
        daemon.log().contains("a TLS client's certificate is missing or not accepted"),
        "{}",
        daemon.log()
    );
}

#[test]
fn where_a_certificate_is_required_there_is_no_connection_without_one() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let mut daemon = prepare(&ours, ", client_ca = \"clients.pem\"", "");
    std::fs::write(daemon.path("clients.pem"), clients.certificate.pem()).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let error = ask(&daemon, &ours, None, &directory.token).unwrap_err();
    assert!(error.contains("CertificateRequired") || error.contains("alert"), "{error}");
    let okta = clients.client("okta", None, Lifetime::Now);
    assert_eq!(ask(&daemon, &ours, Some(&okta), &directory.token).unwrap(), "200");
    // A session taken up again would skip the look at the certificate.
    let config = client(ours.roots(), Some(&okta), "http/1.1");
    for _ in 0..3 {
        let mut stream = Secure::connect(daemon.address, NAME, &config).unwrap();
        assert!(!stream.is_resumed());
        // Tickets come with what is read.
        assert!(stream.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    }
    // Another authority in the file counts from the next connection on.
    let new = Authority::new("new clients");
    std::fs::write(daemon.path("clients.pem"), new.certificate.pem()).unwrap();
    assert!(daemon.cli(&["reload"]).status.success());
    assert!(ask(&daemon, &ours, Some(&okta), &directory.token).is_err());
    let okta = new.client("okta", None, Lifetime::Now);
    assert_eq!(ask(&daemon, &ours, Some(&okta), &directory.token).unwrap(), "200");
}

#[test]
fn readers_and_people_are_asked_for_certificates_alike() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (readers, people) = (free(), free());
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"clients.pem\" }";
    let extra = format!(
        "[publish]\nlisten = \"{readers}\"\n{tls}\n\
         [[admin.user]]\nname = \"ops\"\npassword_file = \"ops\"\nrole = \"view\"\n"
    );
    let mut daemon = Daemon::prepare(&extra);
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let admin = format!("[admin]\nlisten = \"{people}\"\npublic_url = \"https://{NAME}\"\n{tls}\n");
    std::fs::write(daemon.config(), text.replace("[admin]\n", &admin)).unwrap();
    ours.server(NAME).write(daemon.dir.path());
    std::fs::write(daemon.path("clients.pem"), clients.certificate.pem()).unwrap();
    std::fs::write(daemon.path("ops"), "a password that is long").unwrap();
    std::fs::set_permissions(daemon.path("ops"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    daemon.run();
    let shown = clients.client("somebody", None, Lifetime::Now);
    for address in [readers, people] {
        let ask = |shown: Option<&Identity>| {
            Secure::connect(address, NAME, &client(ours.roots(), shown, "http/1.1"))
                .and_then(|mut stream| stream.get("/healthz", None))
        };
        assert!(ask(None).is_err());
        let answer = ask(Some(&shown)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    for listener in ["publish", "admin"] {
        let line = format!("rosterd_tls_certificate_not_after_seconds{{listener=\"{listener}\"}}");
        assert!(metric(&daemon, &line).is_some_and(|ends| ends != "0"), "{listener}");
    }
}

#[test]
fn a_tie_that_nobody_could_meet_is_a_problem_of_the_config() {
    let ours = Authority::new("ours");
    let extra = "[[directory]]\nid = \"acme\"\nkind = \"okta\"\nclient_subject = \"CN=okta\"\n";
    let daemon = prepare(&ours, ", client_auth = \"optional\"", extra);
    let out = daemon.cli(&["check"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("nobody is asked for one"), "{said}");
    assert!(said.contains("`server.tls.client_auth` says nothing without `client_ca`"), "{said}");
}

#[test]
fn a_private_key_that_everybody_can_read_is_refused() {
    let ours = Authority::new("ours");
    let daemon = prepare(&ours, "", "");
    let key = daemon.path("key.pem");
    let mode =
        |mode| std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let out = daemon.cli(&["check"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(
        said.contains("key.pem` can be read by everybody (mode 0644)") && said.contains("chmod"),
        "{said}"
    );
    mode(0o640);
    assert!(daemon.cli(&["check"]).status.success(), "the group of certificates may");
}

/// An HTTP/2 connection: what sends requests, and the certificate the server showed.
async fn http2(
    daemon: &Daemon,
    roots: &Authority,
    shown: Option<&Identity>,
) -> (hyper::client::conn::http2::SendRequest<Full<Bytes>>, Vec<u8>) {
    let connector = tokio_rustls::TlsConnector::from(client(roots.roots(), shown, "h2"));
    let stream = tokio::net::TcpStream::connect(daemon.address).await.unwrap();
    let stream = connector.connect(NAME.try_into().unwrap(), stream).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (send, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    (send, shown)
}

async fn health(send: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>) -> u16 {
    let request = hyper::Request::get(format!("https://{NAME}/healthz")).body(Full::default()).unwrap();
    let answer = send.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_while_old_ones_live_on() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let mut daemon = prepare(&first, "", "");
    daemon.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut old1 = Secure::connect(daemon.address, NAME, &client(first.roots(), None, "http/1.1")).unwrap();
    let (mut old2, shown_before) = runtime.block_on(http2(&daemon, &first, None));
    assert!(old1.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(runtime.block_on(health(&mut old2)), 200);
    let before = metric(&daemon, "rosterd_tls_certificate_not_after_seconds{listener=\"scim\"}").unwrap();
    assert_ne!(before, "0");

    let renewed = second.server(NAME);
    renewed.write(daemon.dir.path());
    assert!(daemon.cli(&["reload"]).status.success());
    let mut new1 = Secure::connect(daemon.address, NAME, &client(second.roots(), None, "http/1.1")).unwrap();
    assert_eq!(new1.certificate(), *renewed.certificate.der());
    assert!(new1.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    let (mut new2, shown_after) = runtime.block_on(http2(&daemon, &second, None));
    assert_ne!(shown_before, shown_after);
    assert_eq!(runtime.block_on(health(&mut new2)), 200);

    // A broken file: the one in use stays, on every connection, and the reload says so.
    std::fs::write(daemon.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    let out = daemon.cli(&["reload"]);
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("cert.pem"), "{said}");
    let mut kept = Secure::connect(daemon.address, NAME, &client(second.roots(), None, "http/1.1")).unwrap();
    assert_eq!(kept.certificate(), *renewed.certificate.der());
    assert!(kept.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    // Those of before the first renewal are none the wiser.
    assert!(old1.get("/healthz", None).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(old1.certificate().as_ref(), shown_before);
    assert_eq!(runtime.block_on(health(&mut old2)), 200);
}

/// A connection is as good as what let it in: a certificate that has run out, or an authority that was taken away, does
/// not go on counting for as long as a client keeps its connection.
#[test]
fn a_connection_ends_with_what_vouched_for_its_client() {
    let (ours, clients, others) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let mut daemon = prepare(&ours, ", client_ca = \"clients.pem\", client_auth = \"optional\"", "");
    std::fs::write(daemon.path("clients.pem"), clients.certificate.pem()).unwrap();
    daemon.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let okta = clients.client("okta", None, Lifetime::Now);
    let connect =
        |shown| Secure::connect(daemon.address, NAME, &client(ours.roots(), shown, "http/1.1")).unwrap();
    let lives =
        |stream: &mut Secure| stream.get("/healthz", None).is_ok_and(|said| said.starts_with("HTTP/1.1 200"));
    let (mut with1, mut without) = (connect(Some(&okta)), connect(None));
    let (mut with2, _) = runtime.block_on(http2(&daemon, &ours, Some(&okta)));
    assert!(lives(&mut with1) && lives(&mut without));
    assert_eq!(runtime.block_on(health(&mut with2)), 200);

    // A renewed certificate of our own is no reason to go.
    ours.server(NAME).write(daemon.dir.path());
    assert!(daemon.cli(&["reload"]).status.success());
    assert!(lives(&mut with1) && lives(&mut without) && !with2.is_closed());
    assert_eq!(runtime.block_on(health(&mut with2)), 200);

    std::fs::write(daemon.path("clients.pem"), others.certificate.pem()).unwrap();
    assert!(daemon.cli(&["reload"]).status.success());
    wait_until("HTTP/2 ends with its authority", || with2.is_closed());
    wait_until("HTTP/1.1 ends with its authority", || !lives(&mut with1));
    assert!(lives(&mut without), "nobody vouched for it");

    let soon = others.client("okta", None, Lifetime::Ending(std::time::Duration::from_secs(8)));
    let mut with1 = connect(Some(&soon));
    let (with2, _) = runtime.block_on(http2(&daemon, &ours, Some(&soon)));
    assert!(lives(&mut with1) && !with2.is_closed());
    wait_until("HTTP/2 ends with its certificate", || with2.is_closed());
    wait_until("HTTP/1.1 ends with its certificate", || !lives(&mut with1));
}

#[test]
fn tls_1_1_is_refused_and_1_2_and_1_3_are_spoken() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing; install the package openssl");
        println!("SKIP: openssl is not installed (apt-get install openssl)");
        return;
    }
    let ours = Authority::new("ours");
    let mut daemon = prepare(&ours, "", "");
    std::fs::write(daemon.path("ca.pem"), ours.certificate.pem()).unwrap();
    daemon.run();
    let shake = |version: &str| {
        let out = Command::new("openssl")
            .args(["s_client", "-connect", &daemon.address.to_string(), "-servername", NAME, version])
            // Without this openssl itself would not even try an old version.
            .args(["-cipher", "ALL:@SECLEVEL=0", "-verify_return_error", "-CAfile"])
            .arg(daemon.path("ca.pem"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            out.status.success(),
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
        )
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (is_spoken, said) = shake(version);
        assert!(is_spoken && said.contains(name), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let (is_spoken, said) = shake(version);
        assert!(!is_spoken && said.contains("SSL alert number"), "{version}: {said}");
    }
    wait_until("they are counted", || {
        metric(&daemon, "rosterd_tls_handshake_failures_total{reason=\"incompatible\"}").as_deref()
            == Some("2")
    });
}

/// The HTTP/2 side of a stop: whoever was let in is answered, and told by GOAWAY that the connection ends.
#[test]
fn a_stop_answers_the_first_request_of_an_http_2_connection() {
    let ours = Arc::new(Authority::new("ours"));
    let mut daemon = prepare(&ours, "", "");
    daemon.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut fresh, _) = runtime.block_on(http2(&daemon, &ours, None));
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_note("STOPPING=1");
    assert_eq!(runtime.block_on(health(&mut fresh)), 200);
    assert_eq!(daemon.wait_exit(), Some(0));
    assert!(runtime.block_on(async { fresh.ready().await.is_err() }));
}
