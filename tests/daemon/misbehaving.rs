//! Receivers that do everything wrong before they do it right, in each order of sending: down, slow, resetting, cutting
//! answers short, failing, asking to wait, gone. Whatever they do, each event is taken in its order and unaltered.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::flaky::{Act, Flaky};
use crate::support::receiver::SECRET;
use crate::support::wait_until;

/// How events are sent, and the keys that say so.
const ORDERS: [(&str, &str); 3] = [
    ("target", ""),
    ("resource", "ordering = \"resource\""),
    ("batch", "batch = { max_events = 4, max_wait = \"20ms\" }"),
];

fn start(address: SocketAddr, more: &str) -> (Daemon, Scim) {
    let mut daemon = Daemon::prepare(&format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"http://{address}/hook\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [\"user.*\"]\ntimeout = \"1s\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n"
    ));
    daemon.secret("hook-secret", SECRET);
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
    let answer = Act::answer;
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
        let rough = Flaky::on(TcpListener::bind(address).unwrap(), acts.clone());
        wait_until("all are taken", || {
            daemon.cli_json(&["delivery", "retry", "--all", "--target", "app"]);
            rough.taken().len() == 24 && daemon.target("app")["open"] == 0
        });
        rough.is_unaltered();
        assert_eq!(rough.acts_left(), 0, "{order}: not every misbehaviour was met");
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
            let rough = Flaky::with([Act::answer(line)]);
            let (mut daemon, mut scim) = start(rough.address, more);
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
        let acts = ["301 Elsewhere\r\nLocation: http://127.0.0.1:1/", "422 No"];
        let rough = Flaky::with(acts.map(Act::answer));
        let (daemon, mut scim) = start(rough.address, more);
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
