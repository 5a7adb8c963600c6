//! Nobody who was let in goes unanswered: over restarts with a socket that the service manager holds, and at a stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::wait_until;

/// Clients that ask one thing after the other, each on a connection of its own, until told to stop.
struct Crowd {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn of(size: usize, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        let (is_over, answered, wrong) =
            <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>)>::default();
        let ask = Arc::new(ask);
        let client = |_| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            let (wrong, ask) = (Arc::clone(&wrong), Arc::clone(&ask));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    match ask() {
                        Ok(()) => _ = answered.fetch_add(1, Ordering::SeqCst),
                        Err(what) => wrong.lock().unwrap().push(what),
                    }
                }
            })
        };
        let clients = (0..size).map(client).collect();
        Self { is_over, answered, wrong, clients }
    }

    /// Waits until this many more were answered, or something went wrong.
    fn wait_for(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        wait_until("more are answered", || {
            self.answered.load(Ordering::SeqCst) >= before + more || !self.wrong.lock().unwrap().is_empty()
        });
    }

    fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        (self.answered.load(Ordering::SeqCst), Arc::try_unwrap(self.wrong).unwrap().into_inner().unwrap())
    }
}

/// One request on a new connection, in two pieces with a moment before each, as a slow network has it.
fn ask_slowly(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("refused: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut send = |piece: &[u8]| {
        std::thread::sleep(Duration::from_millis(2));
        stream.write_all(piece).map_err(|error| format!("cut while sending: {error}"))
    };
    send(b"GET /healthz HTTP/1.1\r\nHost: scim.exa")?;
    send(b"mple.com\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| format!("cut while reading: {error}"))?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("answered with `{answer}`")) }
}

#[test]
fn no_request_is_lost_over_restarts_with_a_socket_of_the_service_manager() {
    let mut daemon = Daemon::prepare("");
    daemon.hold_socket();
    daemon.run();
    let address = daemon.address;
    let crowd = Crowd::of(8, move || ask_slowly(address));
    for _ in 0..5 {
        crowd.wait_for(40);
        assert_eq!(daemon.stop(), Some(0));
        daemon.run();
    }
    crowd.wait_for(40);
    let (answered, wrong) = crowd.end();
    println!("{answered} answered over 5 restarts, {} not", wrong.len());
    assert!(wrong.is_empty(), "{answered} answered, {} not: {wrong:?}", wrong.len());
    assert!(answered >= 240, "{answered}");
}

#[test]
fn a_stop_under_load_answers_whoever_was_let_in_within_5_s() {
    let mut daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let (address, token) = (daemon.address, directory.token.clone());
    let stored = Arc::new(AtomicUsize::new(0));
    // Each keeps one connection and pushes without a pause, until it is told that the connection ends.
    let clients: Vec<JoinHandle<Result<(), String>>> = (0..8)
        .map(|client| {
            let (token, stored) = (token.clone(), Arc::clone(&stored));
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                for n in 0_u32.. {
                    let answer = push(&mut stream, &token, &format!("user-{client}-{n}@example.com"))
                        .map_err(|error| format!("request {n} of client {client}: {error}"))?;
                    if !answer.starts_with("HTTP/1.1 201") {
                        return Err(answer);
                    }
                    stored.fetch_add(1, Ordering::SeqCst);
                    if answer.contains("connection: close") {
                        break;
                    }
                }
                Ok(())
            })
        })
        .collect();
    wait_until("the push is on its way", || stored.load(Ordering::SeqCst) >= 100);
    let begun = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    let took = begun.elapsed();
    for client in clients {
        client.join().unwrap().unwrap();
    }
    let stored = stored.load(Ordering::SeqCst);
    println!("stopped in {} ms, {stored} answered", took.as_millis());
    // The bound of the drain itself, which cuts what is left then.
    assert!(took < Duration::from_secs(5), "{took:?}");
    daemon.run();
    let found = daemon.cli_json(&["status"]);
    assert_eq!(found["directories"][0]["users"], stored, "{found}");
}

/// Pushes a user; the head and body of the answer.
fn push(stream: &mut TcpStream, token: &str, name: &str) -> std::io::Result<String> {
    let body = format!(
        r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"{name}","active":true}}"#
    );
    let text = format!(
        "POST /scim/v2/Users HTTP/1.1\r\nHost: scim.example.com\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/scim+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let mut rest = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut rest)?;
    Ok(format!("HTTP{}{}", head.strip_prefix("http").unwrap(), String::from_utf8_lossy(&rest)))
}
