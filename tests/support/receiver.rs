//! A webhook receiver that checks every signature with the public verifier library and can be told to misbehave.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::http::{Asked, asked};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub verified: bool,
    pub body: Value,
    pub raw: Vec<u8>,
    pub answered: u16,
    pub came: std::time::SystemTime,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

#[derive(Default)]
struct State {
    deliveries: Mutex<Vec<Delivery>>,
    /// Answers to give before going back to 204.
    answers: Mutex<Vec<String>>,
    closed: AtomicBool,
}

pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Receiver {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                if let Ok(stream) = stream {
                    std::thread::spawn(move || while serve_one(&stream, &shared).is_some() {});
                }
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next requests are answered with these status lines and headers, e.g. `500 Oops` or `429 Slow\r\nRetry-After: 1`.
    pub fn answer_next(&self, answers: &[&str]) {
        self.state.answers.lock().unwrap().extend(answers.iter().map(|a| (*a).to_owned()));
    }

    /// Every request that came, in order of arrival.
    pub fn all(&self) -> Vec<Delivery> {
        self.state.deliveries.lock().unwrap().clone()
    }

    /// What a receiver keeps: acknowledged ones, each `webhook-id` once, in order of arrival.
    pub fn events(&self) -> Vec<Delivery> {
        let mut seen = std::collections::HashSet::new();
        self.all()
            .into_iter()
            .filter(|d| (200..300).contains(&d.answered) && seen.insert(d.id.clone()))
            .collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve_one(stream: &TcpStream, state: &State) -> Option<()> {
    let Asked { headers, body: raw } = asked(&mut BufReader::new(stream))?;
    let header =
        |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let answer = {
        let mut answers = state.answers.lock().unwrap();
        if answers.is_empty() { "204 No Content".to_owned() } else { answers.remove(0) }
    };
    state.deliveries.lock().unwrap().push(Delivery {
        id: header("webhook-id"),
        verified: verify(&headers, &raw),
        body: serde_json::from_slice(&raw).unwrap_or(Value::Null),
        raw,
        came: std::time::SystemTime::now(),
        answered: answer.get(..3).and_then(|s| s.parse().ok()).unwrap_or(0),
        headers: headers.clone(),
    });
    let mut stream = stream;
    let length = if answer.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
    stream.write_all(format!("HTTP/1.1 {answer}\r\n{length}\r\n").as_bytes()).ok()
}

fn verify(headers: &[(String, String)], body: &[u8]) -> bool {
    let header =
        |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).unwrap_or_default();
    let mut map = std::collections::HashMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        map.insert(name, header(name));
    }
    rosterd_verify(&map, body)
}

/// The public `standardwebhooks` library, not ours.
fn rosterd_verify(headers: &std::collections::HashMap<&str, &str>, body: &[u8]) -> bool {
    let Ok(webhook) = standardwebhooks::Webhook::new(SECRET) else { return false };
    let mut map = http::HeaderMap::new();
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (http::HeaderName::try_from(*name), http::HeaderValue::try_from(*value))
        else {
            return false;
        };
        map.insert(name, value);
    }
    webhook.verify(body, &map).is_ok()
}
