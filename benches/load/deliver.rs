//! How long an event takes to its receiver, alone and beside receivers that are dead. Two daemons, one with a live
//! receiver only, one with two dead receivers besides, take their rounds in turn, so that a drift of the machine's
//! speed meets both alike.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::client::{Load, Outcome, Request, user_body};
use super::daemon::Daemon;
use super::report::Report;
use super::scaled;

/// Rounds of each daemon, and events in one round.
const ROUNDS: usize = 20;
const EVENTS: usize = 100;

/// From one change to the next: far enough that no event stands behind the one before it.
const PACE: Duration = Duration::from_millis(10);

/// Public, and used in every example of Standard Webhooks.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Takes everything at once and says when each event came.
struct Live {
    address: SocketAddr,
    came: mpsc::Receiver<Instant>,
}

impl Live {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, came) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut reader = BufReader::new(stream);
                    while take(&mut reader, &sender).is_some() {}
                });
            }
        });
        Self { address, came }
    }
}

fn take(reader: &mut BufReader<TcpStream>, came: &mpsc::Sender<Instant>) -> Option<()> {
    let (mut length, mut line) = (0, String::new());
    while line.trim_end() != "" || line.is_empty() {
        line.clear();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    came.send(Instant::now()).ok()?;
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()
}

fn hook(name: &str, address: SocketAddr) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"http://{address}/\"\nsecret_file = \"hook-secret\"\n\
         events = [\"user.*\"]\ntimeout = \"1s\"\nwait = {{ revoke = \"1ms\", min = \"1ms\", max = \"10ms\" }}\n"
    )
}

/// Creates users one after the other and takes the time from each one's answer to its event.
async fn round(daemon: &Daemon, live: &Live, first: usize) -> Outcome {
    let (load, token) = (Load::new(daemon.address(), 1), daemon.token());
    let mut out = Outcome::default();
    let began = Instant::now();
    for n in 0..EVENTS {
        let sent = Instant::now();
        load.once(Request::post("/scim/v2/Users", &token, user_body("told", first + n))).await;
        let answered = Instant::now();
        let came = live.came.recv_timeout(Duration::from_secs(30)).expect("the event came");
        // An event may be there before the answer is read.
        out.latencies_us.push(came.saturating_duration_since(answered).as_micros() as u32);
        *out.statuses.entry(204).or_default() += 1;
        tokio::time::sleep(PACE.saturating_sub(sent.elapsed())).await;
    }
    out.elapsed = began.elapsed();
    out
}

pub async fn measure(report: &mut Report) {
    // Never accepted: connected to by the kernel and never answered. And one where nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let receivers = [Live::start(), Live::start()];
    let alone = hook("live", receivers[0].address);
    let beside = [
        hook("live", receivers[1].address),
        hook("silent", silent.local_addr().unwrap()),
        hook("gone", gone),
    ];
    let daemons = [Daemon::with(&alone, SECRET), Daemon::with(&beside.concat(), SECRET)];
    let mut outs = [Outcome::default(), Outcome::default()];
    for n in 0..scaled(ROUNDS, 2) {
        for (which, daemon) in daemons.iter().enumerate() {
            outs[which].merge(round(daemon, &receivers[which], n * EVENTS).await);
        }
    }
    report.latency("an event to a live receiver, alone", &outs[0]);
    report.latency("the same beside two dead receivers", &outs[1]);
    report.growth_at("event p50, beside dead : alone", 0.5, &outs[1], &outs[0]);
    report.growth_at("event p99, beside dead : alone", 0.99, &outs[1], &outs[0]);
}
