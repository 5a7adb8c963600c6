//! Receivers that do everything wrong before they do it right, in each order of sending: down, slow, resetting, cutting
//! answers short, failing, asking to wait, gone. Whatever they do, each event is taken in its order and unaltered.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::receiver::SECRET;
use crate::support::wait_until;

/// How events are sent, and the keys that say so.
const ORDERS: [(&str, &str); 3] = [
    ("target", ""),
    ("resource", "ordering = \"resource\""),
    ("batch", "batch = { max_events = 4, max_wait = \"20ms\" }"),
];

#[derive(Debug, Clone)]
enum Act {
    /// Closed with bytes unread: the kernel answers with a reset.
    Reset,
    /// Read and never answered.
    Silent,
    /// Read and the connection closed.
    Close,
    /// Answered so; with `2…` it is taken.
    Answer(String),
}

/// One request that was read whole.
#[derive(Debug, Clone)]
struct Came {
    id: String,
    body: Vec<u8>,
    is_taken: bool,
}

#[derive(Clone, Default)]
struct Rough {
    acts: Arc<Mutex<Vec<Act>>>,
    came: Arc<Mutex<Vec<Came>>>,
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl Rough {
    fn on(listener: TcpListener, acts: Vec<Act>) -> Self {
        let rough = Self::default();
        *rough.acts.lock().unwrap() = acts;
        let shared = rough.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || while shared.serve(&stream).is_some() {});
            }
        });
        rough
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let act = {
            let mut acts = self.acts.lock().unwrap();
            if acts.is_empty() { Act::Answer("204 No Content".to_owned()) } else { acts.remove(0) }
        };
        if matches!(act, Act::Reset) {
            return None;
        }
        let (mut id, mut length) = (String::new(), 0);
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
        let is_taken =
            matches!(&act, Act::Answer(line) if line.starts_with('2') && !line.contains("chunked"));
        self.came.lock().unwrap().push(Came { id, body, is_taken });
        match act {
            Act::Answer(line) => {
                let length = if line.starts_with("204") || line.contains("chunked") {
                    ""
                } else {
                    "Content-Length: 0\r\n"
                };
                let mut stream = stream;
                stream.write_all(format!("HTTP/1.1 {line}\r\n{length}\r\n").as_bytes()).ok()?;
                // A cut answer ends with its connection.
                (!line.contains("chunked")).then_some(())
            }
            Act::Silent => {
                self.kept.lock().unwrap().push(stream.try_clone().ok()?);
                None
            }
            Act::Close | Act::Reset => None,
        }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// The events that were taken, each once, in the order of their arrival; those of a batch one by one.
    fn taken(&self) -> Vec<Value> {
        let mut seen = std::collections::BTreeSet::new();
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
    fn is_unaltered(&self) {
        let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for one in self.came() {
            let first = bodies.entry(one.id.clone()).or_insert_with(|| one.body.clone());
            assert_eq!(*first, one.body, "{} came with two bodies", one.id);
        }
    }
}

fn start(address: SocketAddr, more: &str) -> (Daemon, Scim) {
    let mut daemon = Daemon::prepare(&format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"http://{address}/hook\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [\"user.*\"]\ntimeout = \"1s\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    ));
    std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
    std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    daemon.run();
    let directory = daemon.add_directory("Acme", "okta");
    let scim = daemon.scim(&directory);
    (daemon, scim)
}

fn place(event: &Value) -> (u64, u64) {
    (event["data"]["seq"].as_u64().unwrap(), event["data"]["n"].as_u64().unwrap())
}

#[test]
fn each_event_is_taken_in_its_order_whatever_the_receiver_does_first() {
    let answer = |line: &str| Act::Answer(line.to_owned());
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(3_600));
    let cut = "200 Cut\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n50\r\nhalf";
    let acts = vec![
        Act::Reset,
        answer("500 Oops"),
        answer("204 No Content"),
        Act::Silent,
        answer("429 Slow\r\nRetry-After: 3600"),
        Act::Close,
        answer(cut),
        answer("204 No Content"),
        answer("502 Bad"),
        answer(&format!("429 Slow\r\nRetry-After: {date}")),
        answer("503 Busy"),
        Act::Reset,
        answer(cut),
    ];
    for (order, more) in ORDERS {
        // Down at first.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (daemon, mut scim) = start(address, more);
        let users: Vec<String> = (0..6).map(|n| scim.create_user(&format!("u{n}@example.com"))).collect();
        for n in 0..3 {
            for user in &users {
                let rename = json!([{"op": "replace", "path": "displayName", "value": format!("name {n}")}]);
                assert!(scim.patch(&format!("/Users/{user}"), rename).status < 300);
            }
        }
        wait_until("it is down", || daemon.target("app")["state"] == "failing");
        let rough = Rough::on(TcpListener::bind(address).unwrap(), acts.clone());
        wait_until("all are taken", || {
            daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
            rough.taken().len() == 24 && daemon.target("app")["open"] == 0
        });
        rough.is_unaltered();
        assert!(rough.acts.lock().unwrap().is_empty(), "{order}: not every misbehaviour was met");
        let taken = rough.taken();
        let places: Vec<(u64, u64)> = taken.iter().map(place).collect();
        if order == "resource" {
            for user in &users {
                let own: Vec<&Value> =
                    taken.iter().filter(|one| one["data"]["user"]["id"] == **user).collect();
                assert_eq!(own.len(), 4, "{order}");
                assert!(own.windows(2).all(|two| place(two[0]) < place(two[1])), "{order}: {own:?}");
            }
        } else {
            assert!(places.windows(2).all(|two| two[0] < two[1]), "{order}: {places:?}");
        }
        assert_eq!(daemon.target("app")["state"], "in_sync");
        assert_eq!(daemon.target("app")["parked"], 0);
    }
}

#[test]
fn one_that_is_gone_or_asks_to_wait_gets_nothing_else_in_any_order() {
    for (order, more) in ORDERS {
        for line in ["410 Gone", "429 Slow\r\nRetry-After: 7200"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let rough = Rough::on(listener, vec![Act::Answer(line.to_owned())]);
            let (mut daemon, mut scim) = start(address, more);
            scim.create_user("alice@example.com");
            let state = if line.starts_with("410") { "disabled" } else { "failing" };
            wait_until(state, || daemon.target("app")["state"] == state);
            scim.create_user("bob@example.com");
            wait_until("the next one is there", || daemon.target("app")["open"] == 2);
            daemon.kill();
            daemon.run();
            wait_until("still", || {
                daemon.target("app")["state"] == state && daemon.target("app")["open"] == 2
            });
            assert_eq!(rough.came().len(), 1, "{order}, {line}: nothing else is sent");
            daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
            wait_until("both are taken", || rough.taken().len() == 2 && daemon.target("app")["open"] == 0);
            let came = rough.came();
            assert!(came[1..].iter().any(|one| one.id == came[0].id), "{order}, {line}: {came:?}");
            assert!(order == "batch" || came.len() == 3, "{order}, {line}: {came:?}");
            rough.is_unaltered();
        }
    }
}

#[test]
fn another_refusal_parks_what_it_refuses_in_every_order() {
    for (order, more) in ORDERS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acts = ["301 Elsewhere\r\nLocation: http://127.0.0.1:1/", "422 No"];
        let rough = Rough::on(listener, acts.map(|line| Act::Answer(line.to_owned())).to_vec());
        let (daemon, mut scim) = start(address, more);
        scim.create_user("alice@example.com");
        for _ in acts {
            wait_until("parked", || daemon.target("app")["parked"] == 1);
            daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
        }
        wait_until("taken at last", || rough.taken().len() == 1 && daemon.target("app")["open"] == 0);
        assert_eq!(rough.came().len(), 3, "{order}");
        rough.is_unaltered();
    }
}
