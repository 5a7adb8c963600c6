//! A webhook receiver that can be killed and started again at the same address; what it took stays.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What arrived: the `webhook-id` and the body, in order, whether or not the answer got through.
pub type Log = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub struct Flaky {
    pub address: SocketAddr,
    pub log: Log,
    life: Option<Life>,
}

struct Life {
    stop: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
    /// Something was taken while mute.
    unanswered: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Flaky {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut flaky = Self { address, log: Log::default(), life: None };
        flaky.live(listener);
        flaky
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Ends as a killed process does: connections are cut, whatever is under way on them.
    pub fn kill(&mut self) {
        let life = self.life.take().expect("it runs");
        life.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        life.thread.join().unwrap();
        for stream in life.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// From now on it answers nothing that it takes, until it is killed.
    pub fn mute(&self) {
        self.life.as_ref().expect("it runs").mute.store(true, Ordering::SeqCst);
    }

    /// [`Self::kill`], but only after it took something that it never answers; [`Self::mute`] comes first. Answers
    /// whether something came for that.
    pub fn kill_unanswered(&mut self) -> bool {
        let unanswered = self.life.as_ref().expect("it runs").unanswered.clone();
        let began = std::time::Instant::now();
        while !unanswered.load(Ordering::SeqCst) && began.elapsed() < std::time::Duration::from_secs(2) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let is_taken = unanswered.load(Ordering::SeqCst);
        self.kill();
        is_taken
    }

    pub fn revive(&mut self) {
        let listener = super::wait_for("the address is free again", || TcpListener::bind(self.address).ok());
        self.live(listener);
    }

    fn live(&mut self, listener: TcpListener) {
        let (stop, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mute = Arc::new(AtomicBool::new(false));
        let unanswered = Arc::new(AtomicBool::new(false));
        let (muted, left) = (mute.clone(), unanswered.clone());
        let (stopped, kept, log) = (stop.clone(), streams.clone(), self.log.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let (log, stopped, muted) = (log.clone(), stopped.clone(), muted.clone());
                let left = left.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while take(&mut reader, &log, &stopped, (&muted, &left)).is_some() {}
                });
            }
        });
        self.life = Some(Life { stop, mute, unanswered, streams, thread });
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        if self.life.is_some() {
            self.kill();
        }
    }
}

fn take(
    reader: &mut BufReader<TcpStream>,
    log: &Log,
    stopped: &AtomicBool,
    (muted, unanswered): (&AtomicBool, &AtomicBool),
) -> Option<()> {
    let (mut id, mut length) = (String::new(), 0);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => id = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if stopped.load(Ordering::SeqCst) {
        return None;
    }
    log.lock().unwrap().push((id, body));
    if muted.load(Ordering::SeqCst) {
        unanswered.store(true, Ordering::SeqCst);
        // Left open: the sender waits for an answer until the connection is cut.
        while !stopped.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        return None;
    }
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()
}
