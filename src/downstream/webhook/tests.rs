//! A real receiver on loopback that misbehaves on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::model::{Epoch, Secret, Seq};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret() -> SigningSecret {
    SigningSecret::parse(&Secret::new(SECRET.into())).unwrap()
}

fn request(body: &str) -> Request {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Request {
        id: EventId { epoch: Epoch(1), seq: Seq(42), n: 0 },
        at: Timestamp(i64::try_from(now.as_micros()).unwrap()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        content_type: "application/json".into(),
        headers: Vec::new(),
    }
}

fn settings(address: SocketAddr) -> Settings {
    Settings {
        timeout: Duration::from_secs(20),
        ..Settings::new(format!("http://{address}/hook?x=1"), vec![secret()])
    }
}

/// Head and body of one request.
async fn take<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await.ok()?;
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if read == 0 {
            return None;
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, answer: &str) {
    let _may_be_gone = stream.write_all(answer.as_bytes()).await;
    let _may_be_gone = stream.flush().await;
}

/// Answers every request on every connection with `answer`; tells of each request and the connection it came on.
async fn receiver(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            number += 1;
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(request) = take(&mut stream).await {
                    let _test_is_over = tell.send((number, request));
                    say(&mut stream, answer).await;
                    if answer.contains("connection: close") {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

async fn one(answer: &'static str) -> Attempt {
    let (address, _told) = receiver(answer).await;
    Client::new(settings(address)).unwrap().send(&request("{}")).await
}

fn why(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Retry { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_delivery_is_signed_so_that_the_public_library_accepts_it_and_the_connection_is_kept() {
    let (address, mut told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let client = Client::new(settings(address)).unwrap();
    for n in 0..3 {
        let attempt = client.send(&request(r#"{"type":"user.created"}"#)).await;
        assert_eq!(attempt.outcome, Outcome::Acknowledged, "{n}");
        assert_eq!(
            (attempt.status, attempt.answer.as_slice(), attempt.address),
            (Some(200), &b"ok"[..], Some(address))
        );
        let (connection, text) = told.recv().await.unwrap();
        assert_eq!(connection, 1);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("host: {address}")) && head.contains("content-type: application/json"),
            "{head}"
        );
        assert!(head.contains("user-agent: rosterd/"), "{head}");
        let mut headers = hyper::HeaderMap::new();
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.insert(hyper::header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        assert_eq!(headers["webhook-id"], "1-42-0");
        standardwebhooks::Webhook::new(SECRET).unwrap().verify(body.as_bytes(), &headers).unwrap();
    }
}

#[tokio::test]
async fn a_token_is_sent_with_what_the_rfc_asks_for_and_nothing_else_is() {
    let (address, mut told) = receiver("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
    let client = Client::new(settings(address)).unwrap();
    for content_type in ["application/secevent+jwt", "application/json"] {
        let asked = Request { content_type: content_type.into(), ..request("a.b.c") };
        assert_eq!(client.send(&asked).await.outcome, Outcome::Acknowledged);
        let (_, text) = told.recv().await.unwrap();
        assert!(text.contains(&format!("content-type: {content_type}\r\n")), "{text}");
        let is_token = content_type.contains("jwt");
        assert_eq!(text.contains("accept: application/json\r\n"), is_token, "{text}");
    }
}

#[tokio::test]
async fn statuses_decide_what_happens_next() {
    let gone = one("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(gone.outcome, Outcome::Gone);
    let busy = one("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nwait").await;
    assert!(
        matches!(busy.outcome, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(7))
    );
    assert_eq!(busy.answer, b"wait");
    let broken = one("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(broken.outcome, Outcome::Retry { after: None, .. }));
    let wrong = one("HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(wrong.outcome, Outcome::Refused { .. }));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let (elsewhere, mut told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answer = format!("HTTP/1.1 307 There\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let attempt = one(Box::leak(answer.into_boxed_str())).await;
    assert_eq!(attempt.status, Some(307));
    assert!(
        matches!(attempt.outcome, Outcome::Refused { why } if why.contains("redirects are not followed"))
    );
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_2xx_that_is_cut_off_is_tried_again_but_a_refusal_stays_one() {
    let cut = one("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhalf").await;
    assert_eq!((cut.status, cut.answer.as_slice()), (Some(200), &b"half"[..]));
    assert!(why(&cut).contains("cut off"), "{cut:?}");
    let gone = one("HTTP/1.1 410 Gone\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhalf").await;
    assert_eq!(gone.outcome, Outcome::Gone);
}

#[tokio::test]
async fn garbage_and_a_reset_are_tried_again() {
    let garbage = one("SMTP ready\r\n\r\nconnection: close").await;
    assert_eq!(garbage.status, None);
    assert!(why(&garbage).contains("ended before an answer"), "{garbage:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let reset = Client::new(settings(address)).unwrap().send(&request("{}")).await;
    assert!(why(&reset).contains("ended before an answer"), "{reset:?}");
}

#[tokio::test]
async fn nobody_listening_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let attempt = Client::new(settings(address)).unwrap().send(&request("{}")).await;
    assert!(why(&attempt).contains("cannot connect to 127.0.0.1"), "{attempt:?}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_or_never_ends_is_given_up_at_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (keep, mut kept) = mpsc::unbounded_channel::<TcpStream>();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _test_is_over = keep.send(stream);
        }
    });
    let short = Settings { timeout: Duration::from_millis(200), ..settings(address) };
    let silent = Client::new(short.clone()).unwrap().send(&request("{}")).await;
    assert_eq!(silent.status, None);
    assert!(why(&silent).contains("no whole answer within"), "{silent:?}");
    drop(kept.recv().await);

    let (address, _told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let slow = Settings { url: format!("http://{address}/"), ..short };
    let slow = Client::new(slow).unwrap().send(&request("{}")).await;
    assert_eq!((slow.status, slow.answer.as_slice()), (Some(200), &b"half"[..]));
    assert!(why(&slow).contains("no whole answer within"), "{slow:?}");
}

#[tokio::test]
async fn a_huge_answer_is_read_to_the_bound_and_its_status_counts() {
    let body = "x".repeat(3 * ANSWER_READ_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", 1_000_000_000);
    let attempt = one(Box::leak(answer.into_boxed_str())).await;
    assert_eq!((attempt.outcome, attempt.answer.len()), (Outcome::Acknowledged, ANSWER_KEPT_BYTES));
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_within_the_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // The first connection answers once, takes one more request and dies without a word.
        let (mut first, _) = listener.accept().await.unwrap();
        take(&mut first).await.unwrap();
        say(&mut first, "HTTP/1.1 204 Fine\r\n\r\n").await;
        take(&mut first).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        take(&mut second).await.unwrap();
        say(&mut second, "HTTP/1.1 202 Fine\r\ncontent-length: 0\r\n\r\n").await;
        take(&mut second).await;
    });
    let client = Client::new(settings(address)).unwrap();
    assert_eq!(client.send(&request("{}")).await.status, Some(204));
    let again = client.send(&request("{}")).await;
    assert_eq!((again.status, again.outcome), (Some(202), Outcome::Acknowledged));
}

/// A TLS receiver that answers 200 to everything, and the authority that signed its certificate for `name`.
async fn tls_receiver(
    name: &str,
    alpn: &[&[u8]],
) -> (SocketAddr, CertificateDer<'static>, mpsc::UnboundedReceiver<String>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap().der().clone();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve_http2(stream, tell.clone());
                continue;
            }
            while let Some(request) = take(&mut stream).await {
                let _test_is_over = tell.send(request);
                say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    (address, ca_certificate, told)
}

fn serve_http2(stream: tokio_rustls::server::TlsStream<TcpStream>, tell: mpsc::UnboundedSender<String>) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let _test_is_over = tell.send(format!("{:?} {}", request.version(), request.uri()));
        async { Ok::<_, hyper::Error>(hyper::Response::new(http_body_util::Full::new(Bytes::from("two")))) }
    });
    let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
}

fn tls_settings(address: SocketAddr, extra_ca: Vec<CertificateDer<'static>>) -> Settings {
    Settings { url: format!("https://localhost:{}/hook", address.port()), extra_ca, ..settings(address) }
}

#[tokio::test]
async fn tls_is_trusted_through_an_extra_authority_and_only_for_the_right_name() {
    let (address, ca, mut told) = tls_receiver("localhost", &[]).await;
    let attempt = Client::new(tls_settings(address, vec![ca])).unwrap().send(&request("{}")).await;
    assert_eq!(attempt.outcome, Outcome::Acknowledged, "{attempt:?}");
    assert!(told.recv().await.unwrap().starts_with("POST /hook HTTP/1.1"));

    let (other, ca, mut told) = tls_receiver("other.example.com", &[]).await;
    let attempt = Client::new(tls_settings(other, vec![ca])).unwrap().send(&request("{}")).await;
    assert!(why(&attempt).contains("TLS with 127.0.0.1"), "{attempt:?}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn an_unknown_authority_gets_no_byte_of_the_event() {
    let (address, _ca, mut told) = tls_receiver("localhost", &[]).await;
    let (_other, stranger, _) = tls_receiver("localhost", &[]).await;
    let attempt = Client::new(tls_settings(address, vec![stranger])).unwrap().send(&request("{}")).await;
    assert!(why(&attempt).contains("invalid peer certificate"), "{attempt:?}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let (address, ca, mut told) = tls_receiver("localhost", &[b"h2", b"http/1.1"]).await;
    let client = Client::new(tls_settings(address, vec![ca])).unwrap();
    for _ in 0..2 {
        let attempt = client.send(&request("{}")).await;
        assert_eq!((attempt.outcome, attempt.answer.as_slice()), (Outcome::Acknowledged, &b"two"[..]));
        assert_eq!(told.recv().await.unwrap(), format!("HTTP/2.0 https://localhost:{}/hook", address.port()));
    }
}

#[tokio::test]
async fn tls_to_a_receiver_without_tls_is_tried_again() {
    let (address, _told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let ca = tls_receiver("localhost", &[]).await.1;
    let settings = Settings { timeout: Duration::from_secs(2), ..tls_settings(address, vec![ca]) };
    let attempt = Client::new(settings).unwrap().send(&request("{}")).await;
    assert!(matches!(attempt.outcome, Outcome::Retry { .. }), "{attempt:?}");
}

#[test]
fn a_client_with_a_bad_url_is_not_made() {
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let bad = Settings { url: "http://app.example.com/".into(), ..settings(address) };
    assert!(matches!(Client::new(bad), Err(ClientError::Url(_))));
}
