//! A webhook receiver that can do everything wrong: be killed and started again at the same address, and do each of a
//! list of things to the requests that come before it simply takes them. What came stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Asked, asked};

/// What it does with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Closed with bytes unread: the kernel answers with a reset.
    Reset,
    /// Read and never answered.
    Silent,
    /// Read and the connection closed.
    Close,
    /// Answered so; with `2…` it is taken, unless the answer is cut off.
    Answer(String),
    /// Answered so, but not before [`Flaky::let_go`].
    Late(String),
}

impl Act {
    pub fn answer(line: &str) -> Self {
        Self::Answer(line.to_owned())
    }

    pub fn late(line: &str) -> Self {
        Self::Late(line.to_owned())
    }
}

/// One request that was read whole, whether or not an answer got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// The `webhook-id`.
    pub id: String,
    pub body: Vec<u8>,
    pub is_taken: bool,
}

pub struct Flaky {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    alive: Option<(Arc<Life>, JoinHandle<()>)>,
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    came: Mutex<Vec<Came>>,
    /// Late answers that may go.
    let_go: AtomicUsize,
}

/// From its start to its being killed.
#[derive(Default)]
struct Life {
    stop: AtomicBool,
    mute: AtomicBool,
    /// Something was taken while mute.
    unanswered: AtomicBool,
    streams: Mutex<BTreeMap<usize, TcpStream>>,
}

impl Flaky {
    pub fn start() -> Self {
        Self::with([])
    }

    /// One that does these things first.
    pub fn with(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), acts)
    }

    pub fn on(listener: TcpListener, acts: impl IntoIterator<Item = Act>) -> Self {
        let address = listener.local_addr().unwrap();
        let mut flaky = Self { address, shared: Arc::default(), alive: None };
        flaky.next(acts);
        flaky.live(listener);
        flaky
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it does with the requests that come next.
    pub fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.acts.lock().unwrap().extend(acts);
    }

    /// Things it has not done yet.
    pub fn acts_left(&self) -> usize {
        self.shared.acts.lock().unwrap().len()
    }

    /// Has one late answer go.
    pub fn let_go(&self) {
        self.shared.let_go.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.shared.came.lock().unwrap().len()
    }

    /// Every request that was read whole, in order of arrival.
    pub fn came(&self) -> Vec<Came> {
        self.shared.came.lock().unwrap().clone()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<String> {
        self.came().into_iter().map(|one| one.id).collect()
    }

    /// The events that were taken, each once, in the order of their arrival; those of a batch one by one.
    pub fn taken(&self) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for one in self.came().into_iter().filter(|one| one.is_taken && seen.insert(one.id.clone())) {
            let body: Value = serde_json::from_slice(&one.body).unwrap();
            match body.pointer("/data/events").and_then(Value::as_array) {
                Some(events) => found.extend(events.iter().cloned()),
                None => found.push(body),
            }
        }
        found
    }

    /// The same id never came with two bodies.
    pub fn is_unaltered(&self) {
        let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for one in self.came() {
            let first = bodies.entry(one.id.clone()).or_insert_with(|| one.body.clone());
            assert_eq!(*first, one.body, "{} came with two bodies", one.id);
        }
    }

    /// Ends as a killed process does: connections are cut, whatever is under way on them.
    pub fn kill(&mut self) {
        let (life, thread) = self.alive.take().expect("it runs");
        life.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        thread.join().unwrap();
        for stream in std::mem::take(&mut *life.streams.lock().unwrap()).into_values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn life(&self) -> &Life {
        &self.alive.as_ref().expect("it runs").0
    }

    /// From now on it answers nothing that it takes, until it is killed.
    pub fn mute(&self) {
        self.life().mute.store(true, Ordering::SeqCst);
    }

    /// [`Self::kill`], but only after it took something that it never answers; [`Self::mute`] comes first. Answers
    /// whether something came for that.
    pub fn kill_unanswered(&mut self) -> bool {
        let began = Instant::now();
        let is_taken = || self.life().unanswered.load(Ordering::SeqCst);
        while !is_taken() && began.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_taken = is_taken();
        self.kill();
        is_taken
    }

    pub fn revive(&mut self) {
        let listener = super::wait_for("the address is free again", || TcpListener::bind(self.address).ok());
        self.live(listener);
    }

    fn live(&mut self, listener: TcpListener) {
        let life = Arc::new(Life::default());
        let (shared, lives) = (self.shared.clone(), life.clone());
        let thread = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if lives.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                lives.streams.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let (shared, lives) = (shared.clone(), lives.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    let end = loop {
                        if let Err(end) = serve(&mut reader, &shared, &lives) {
                            break end;
                        }
                    };
                    if let End::Closed = end {
                        // Or the copy would keep it open.
                        lives.streams.lock().unwrap().remove(&number);
                    }
                });
            }
        });
        self.alive = Some((life, thread));
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        if self.alive.is_some() {
            self.kill();
        }
    }
}

/// How a connection ends.
enum End {
    Closed,
    /// Nobody hears of it before this is killed.
    LeftOpen,
}

/// Serves one request.
fn serve(reader: &mut BufReader<TcpStream>, shared: &Shared, life: &Life) -> Result<(), End> {
    if !matches!(reader.get_ref().peek(&mut [0]), Ok(1)) {
        return Err(End::Closed);
    }
    let act = shared.acts.lock().unwrap().pop_front().unwrap_or_else(|| Act::answer("204 No Content"));
    if let Act::Reset = act {
        return Err(End::Closed);
    }
    let Asked { headers, body } = asked(reader).ok_or(End::Closed)?;
    if life.stop.load(Ordering::SeqCst) {
        return Err(End::Closed);
    }
    let id = headers.into_iter().find(|(name, _)| name == "webhook-id").map(|(_, id)| id).unwrap_or_default();
    let is_taken = matches!(&act, Act::Answer(line) | Act::Late(line)
        if line.starts_with('2') && !line.contains("chunked"));
    shared.came.lock().unwrap().push(Came { id, body, is_taken });
    if life.mute.load(Ordering::SeqCst) {
        life.unanswered.store(true, Ordering::SeqCst);
        return Err(End::LeftOpen);
    }
    let line = match act {
        Act::Reset | Act::Close => return Err(End::Closed),
        Act::Silent => return Err(End::LeftOpen),
        Act::Late(line) => {
            let may_go = || {
                let less = |count: usize| count.checked_sub(1);
                shared.let_go.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
            };
            while !may_go() {
                if life.stop.load(Ordering::SeqCst) {
                    return Err(End::Closed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            line
        }
        Act::Answer(line) => line,
    };
    let is_cut = line.contains("chunked");
    let length = if line.starts_with("204") || is_cut { "" } else { "Content-Length: 0\r\n" };
    let answer = format!("HTTP/1.1 {line}\r\n{length}\r\n");
    reader.get_mut().write_all(answer.as_bytes()).map_err(|_gone| End::Closed)?;
    // A cut answer ends with its connection.
    if is_cut { Err(End::Closed) } else { Ok(()) }
}
