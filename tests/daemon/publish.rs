//! Readers pull what was applied: as OPA's bundle plugin does, as curl does, a hundred at once, and nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::daemon::{BINARY, Daemon, Scim};
use crate::support::http::{Client, Response};
use crate::support::{wait_for, wait_until};

const BUNDLE: &str = "application/vnd.openpolicyagent.bundles";
const FLEET: &str = "a-token-of-the-fleet-0123456789abcdef";
const METRICS: &str = "a-token-of-prometheus-0123456789abcdef";

const READERS: &str = "[[reader]]\nname = \"fleet\"\ntoken_file = \"fleet-token\"\ntargets = [\"opa\"]\n\
    [[reader]]\nname = \"prometheus\"\ntoken_file = \"prometheus-token\"\nmetrics = true\n[[reader]]\nname = \"idle\"\n";

/// A published bundle that has no path, and three readers: one of it, one of metrics, one of nothing.
struct Stage {
    daemon: Daemon,
    address: SocketAddr,
    scim: Scim,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn secret(daemon: &Daemon, name: &str, text: &str) {
    std::fs::write(daemon.path(name), text).unwrap();
    std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Stage {
    fn start(target: &str) -> Self {
        Self::with("", target)
    }

    fn with(publish: &str, target: &str) -> Self {
        let address = free_port();
        let mut daemon = Daemon::prepare(&format!(
            "[publish]\nlisten = \"{address}\"\n{publish}\n{READERS}[[role]]\nname = \"admin\"\ngroups = [\"Admins\"]\n\
             [[target]]\nname = \"opa\"\ntype = \"file\"\nformat = \"opa-bundle\"\npublish = true\n\
             wait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{target}\n"
        ));
        secret(&daemon, "fleet-token", FLEET);
        secret(&daemon, "prometheus-token", METRICS);
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let scim = daemon.scim(&directory);
        Self { daemon, address, scim }
    }

    fn get(&self, token: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        get(self.address, "GET", token, path, headers)
    }

    fn opa(&self) -> Opa {
        Opa { address: self.address, etag: String::new(), wait: Some(1), wants_to_wait: true }
    }

    /// Waits until the bundle says that `name` is an admin, or is none, and gives it.
    fn shows(&self, name: &str, is_in: bool) -> Response {
        wait_for(&format!("the bundle shows {name}: {is_in}"), || {
            let got = self.get(FLEET, "/targets/opa", &[]);
            (got.status == 200 && data(&got.body).contains(name) == is_in).then_some(got)
        })
    }

    /// How many readers wait for news.
    fn waiting(&self) -> usize {
        let text = self.get(METRICS, "/metrics", &[]).expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix("rosterd_publish_waiting "));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no gauge in {text}"))
    }
}

fn get(address: SocketAddr, method: &str, token: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let bearer = format!("Bearer {token}");
    let mut all = vec![("Authorization", bearer.as_str())];
    all.extend(headers);
    Client::new(address).send(method, path, &all, None).unwrap()
}

/// The archive's text; the tests' names are found in it as they stand.
fn data(bundle: &[u8]) -> String {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bundle).read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// What OPA's downloader does with a service that has a bearer token: its request headers, what it keeps of each
/// answer, and when it goes on waiting. Written from its documentation and its `download` package.
struct Opa {
    address: SocketAddr,
    /// Empty at first and after every error; then no `If-None-Match` is sent.
    etag: String,
    /// `long_polling_timeout_seconds`; given up for good once an answer does not say that waiting is supported.
    wait: Option<u64>,
    wants_to_wait: bool,
}

impl Opa {
    /// One poll; the new bundle, if there is one.
    fn poll(&mut self) -> Result<Option<Vec<u8>>, u16> {
        let prefer = self.wait.map(|seconds| format!("modes=snapshot,delta;wait={seconds}"));
        let mut headers = Vec::new();
        if !self.etag.is_empty() {
            headers.push(("If-None-Match", self.etag.as_str()));
        }
        if let Some(prefer) = &prefer {
            headers.push(("Prefer", prefer.as_str()));
        }
        let got = get(self.address, "GET", FLEET, "/targets/opa", &headers);
        let supports_waiting = got.header("content-type") == Some(BUNDLE);
        if matches!(got.status, 200 | 304) && !supports_waiting {
            self.wait = None;
        }
        match got.status {
            200 => {
                self.etag = got.header("etag").unwrap_or_default().to_owned();
                Ok(Some(got.body))
            }
            304 => {
                if let Some(etag) = got.header("etag") {
                    self.etag = etag.to_owned();
                }
                Ok(None)
            }
            status => {
                self.etag.clear();
                Err(status)
            }
        }
    }

    /// Polls until a bundle comes; each answer in between must keep it waiting.
    fn next(&mut self) -> Vec<u8> {
        wait_for("the next bundle", || {
            let polled = self.poll().unwrap_or_else(|status| panic!("OPA got {status} and starts over"));
            assert_eq!(self.wait.is_some(), self.wants_to_wait);
            polled
        })
    }
}

#[test]
fn opa_polls_waits_and_follows_and_a_restart_costs_it_nothing() {
    let mut stage = Stage::start("");
    let mut opa = stage.opa();
    assert_eq!(opa.poll(), Err(503), "nobody has pushed: there is nothing to show");
    let alice = stage.scim.create_user("alice@example.com");
    let group = stage.scim.create_group("Admins", &[&alice]);
    stage.shows("alice@example.com", true);
    let mut bundle = opa.next();
    // A version may come between the user and her group.
    while !data(&bundle).contains(r#""admin":["alice@example.com"]"#) {
        bundle = opa.next();
    }
    assert_eq!(opa.poll(), Ok(None), "nothing new within the wait");
    stage.scim.remove_member(&group, &alice);
    let bundle = opa.next();
    assert!(data(&bundle).contains(r#""admin":[]"#), "{}", data(&bundle));
    let before = opa.etag.clone();
    assert_eq!(stage.daemon.stop(), Some(0));
    stage.daemon.run();
    assert_eq!(opa.poll(), Ok(None), "the same bytes have the same tag after a restart");
    assert_eq!(opa.etag, before);
    let got = stage.get(FLEET, "/targets/opa", &[]).expect(200);
    assert_eq!((got.header("etag"), &got.body), (Some(before.as_str()), &bundle));
    assert!(!stage.daemon.path("published").exists(), "no file but in the state directory");
    let shown = stage.daemon.path("state/published/opa");
    assert_eq!(std::fs::metadata(shown.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_hundred_machines_that_wait_all_get_a_revocation() {
    let mut stage = Stage::with("limits = { connections_per_address_max = 200 }", "");
    let alice = stage.scim.create_user("alice@example.com");
    let group = stage.scim.create_group("Admins", &[&alice]);
    wait_until("alice is an admin", || {
        let got = stage.get(FLEET, "/targets/opa", &[]);
        got.status == 200 && data(&got.body).contains(r#""admin":["alice@example.com"]"#)
    });
    let etag = stage.get(FLEET, "/targets/opa", &[]).expect(200).header("etag").unwrap().to_owned();
    let address = stage.address;
    let machines: Vec<_> = (0..100)
        .map(|_| {
            let etag = etag.clone();
            std::thread::spawn(move || {
                let headers = [("If-None-Match", etag.as_str()), ("Prefer", "wait=60")];
                get(address, "GET", FLEET, "/targets/opa", &headers)
            })
        })
        .collect();
    wait_until("all of them wait", || stage.waiting() == 100);
    stage.scim.remove_member(&group, &alice);
    for machine in machines {
        let got = machine.join().unwrap().expect(200);
        assert!(data(&got.body).contains(r#""admin":[]"#), "{}", data(&got.body));
    }
    assert_eq!(stage.waiting(), 0);
}

#[test]
fn only_what_was_applied_is_shown_whatever_came_since() {
    let mut stage = Stage::start(
        "path = \"{dir}/bundle.tar.gz\"\ncheck = [\"/usr/bin/test\", \"!\", \"-e\", \"{dir}/refuse\"]\ndrift = \"report\"",
    );
    let alice = stage.scim.create_user("alice@example.com");
    stage.scim.create_group("Admins", &[&alice]);
    let first = stage.shows("alice@example.com", true);
    wait_until("settled", || {
        let status = stage.daemon.cli_json(&["status"]);
        status["targets"][0]["applied_seq"] == status["seq"]
    });
    let first = stage.get(FLEET, "/targets/opa", &[]).expect(first.status);
    assert_eq!(std::fs::read(stage.daemon.path("bundle.tar.gz")).unwrap(), first.body);
    std::fs::write(stage.daemon.path("refuse"), "").unwrap();
    stage.scim.create_user("mallory@example.com");
    wait_until("the check refuses", || stage.daemon.target("opa")["state"] == "failing");
    let same = stage.get(FLEET, "/targets/opa", &[]).expect(200);
    assert_eq!((same.header("etag"), &same.body), (first.header("etag"), &first.body));
    // Nor is a file that somebody else put there, even over a restart.
    std::fs::write(stage.daemon.path("bundle.tar.gz"), "by hand").unwrap();
    assert_eq!(stage.daemon.stop(), Some(0));
    stage.daemon.run();
    let same = stage.get(FLEET, "/targets/opa", &[]).expect(200);
    assert_eq!((same.header("etag"), &same.body), (first.header("etag"), &first.body));
    std::fs::remove_file(stage.daemon.path("refuse")).unwrap();
    assert!(stage.daemon.cli(&["sync", "opa"]).status.success());
    let next = stage.shows("mallory@example.com", true);
    assert_ne!(next.header("etag"), first.header("etag"));
}

#[test]
fn what_the_guard_holds_stays_in_what_readers_get() {
    let mut stage = Stage::start("[target.guard]\nmin_removals = 1\nmax_removals = 1\nurgent = 0");
    let people: Vec<String> =
        (0..6).map(|n| stage.scim.create_user(&format!("user{n}@example.com"))).collect();
    let ids: Vec<&str> = people.iter().map(String::as_str).collect();
    let group = stage.scim.create_group("Admins", &ids);
    wait_until("six admins", || {
        let got = stage.get(FLEET, "/targets/opa", &[]);
        got.status == 200 && data(&got.body).matches("user5@example.com").count() > 2
    });
    let done = stage.scim.send("DELETE", &format!("/Groups/{group}"), None);
    assert_eq!(done.status, 204);
    wait_until("held", || stage.daemon.target("opa")["state"] == "held");
    let got = stage.get(FLEET, "/targets/opa", &[]).expect(200);
    assert!(data(&got.body).contains(r#""admin":["user0@example.com""#), "{}", data(&got.body));
    assert!(stage.daemon.cli(&["approve", "opa", "--yes"]).status.success());
    wait_until("released", || data(&stage.get(FLEET, "/targets/opa", &[]).body).contains(r#""admin":[]"#));
}

#[test]
fn a_readers_token_and_a_directorys_open_nothing_of_each_other() {
    let mut stage = Stage::start("");
    let alice = stage.scim.create_user("alice@example.com");
    stage.shows("alice@example.com", true);
    let directory = stage.scim.token.clone();
    let minted = stage.daemon.cli_json(&["token", "new", "--reader", "fleet", "--note", "second"]);
    let minted = minted["token"].as_str().unwrap().to_owned();
    let idle =
        stage.daemon.cli_json(&["token", "new", "--reader", "idle"])["token"].as_str().unwrap().to_owned();
    let paths = ["/targets/opa", "/targets/absent", "/metrics", "/events", "/scim/v2/Users", "/healthz", "/"];
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        for path in paths {
            let reads = matches!(method, "GET" | "HEAD");
            let ask = |token: &str| get(stage.address, method, token, path, &[]).status;
            // Refused all the same once the address has failed too often.
            let refused = ask(&directory);
            assert!(matches!(refused, 401 | 429), "{method} {path}: {refused}");
            assert_eq!(ask(&idle), 404, "{method} {path}");
            let expected = |open: bool| {
                if !open {
                    404
                } else if reads {
                    200
                } else {
                    405
                }
            };
            assert_eq!(ask(&minted), expected(path == "/targets/opa"), "{method} {path}");
            assert_eq!(ask(METRICS), expected(path == "/metrics"), "{method} {path}");
            for token in [FLEET, &minted, &idle, METRICS] {
                let at_scim = format!("/scim/v2/Users/{alice}");
                let got = get(stage.daemon.address, method, token, &at_scim, &[]).status;
                assert!(matches!(got, 401 | 429), "{method}: {got}");
            }
        }
    }
}

#[test]
fn readers_tokens_are_listed_revoked_and_go_with_their_reader() {
    let mut stage = Stage::start("");
    stage.scim.create_user("alice@example.com");
    stage.shows("alice@example.com", true);
    let minted = stage.daemon.cli_json(&["token", "new", "--reader", "fleet", "--note", "second"]);
    let (minted, id) =
        (minted["token"].as_str().unwrap().to_owned(), minted["id"].as_str().unwrap().to_owned());
    stage.get(&minted, "/targets/opa", &[]).expect(200);
    let listed = stage.daemon.cli_json(&["token", "list", "--reader", "fleet"]);
    let rows = listed["tokens"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows.iter().all(|row| row["reader"] == "fleet" && row["directory"].is_null()), "{listed}");
    assert!(rows.iter().any(|row| row["configured"] == true), "{listed}");
    assert!(stage.daemon.cli(&["token", "revoke", &id]).status.success());
    assert_eq!(stage.get(&minted, "/targets/opa", &[]).status, 401);
    let unknown = stage.daemon.cli(&["token", "new", "--reader", "nobody"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("names no reader"), "{unknown:?}");
    // The config takes a reader away: its tokens, made either way, are nobody's.
    let text = std::fs::read_to_string(stage.daemon.config()).unwrap();
    let (before, rest) = text.split_once("[[reader]]").unwrap();
    let (_, rest) = rest.split_once("[[reader]]").unwrap();
    std::fs::write(stage.daemon.config(), format!("{before}[[reader]]{rest}")).unwrap();
    assert!(stage.daemon.cli(&["reload"]).status.success(), "{}", stage.daemon.log());
    assert_eq!(stage.get(FLEET, "/targets/opa", &[]).status, 401);
}

#[test]
fn a_stop_does_not_wait_for_those_who_wait() {
    let mut stage = Stage::with("limits = { drain_timeout = \"1h\" }", "");
    stage.scim.create_user("alice@example.com");
    let etag = stage.shows("alice@example.com", true).header("etag").unwrap().to_owned();
    let address = stage.address;
    let waiting = std::thread::spawn(move || {
        let headers = [("If-None-Match", etag.as_str()), ("Prefer", "wait=600")];
        get(address, "GET", FLEET, "/targets/opa", &headers).status
    });
    wait_until("it waits", || stage.waiting() == 1);
    stage.daemon.signal(Signal::TERM);
    assert_eq!(waiting.join().unwrap(), 304);
    assert_eq!(stage.daemon.wait_exit(), Some(0));
}

#[test]
fn a_reader_that_does_not_read_or_floods_loses_its_connection_and_no_other() {
    let mut stage =
        Stage::with("limits = { connections_per_address_max = 8, header_timeout = \"300ms\" }", "");
    stage.scim.create_user("alice@example.com");
    stage.shows("alice@example.com", true);
    let mut silent = TcpStream::connect(stage.address).unwrap();
    silent.write_all(b"GET /targets/opa HTTP/1.1\r\nHost:").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0, "a head that does not end is cut");
    let open: Vec<TcpStream> = (0..8).filter_map(|_| TcpStream::connect(stage.address).ok()).collect();
    wait_until("a ninth connection is refused", || {
        let mut more = TcpStream::connect(stage.address).unwrap();
        let mut text = String::new();
        more.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = more.read_to_string(&mut text);
        text.starts_with("HTTP/1.1 429") || text.is_empty()
    });
    drop(open);
    wait_until("places come back", || {
        let bearer = format!("Bearer {FLEET}");
        let got = Client::new(stage.address).send("GET", "/targets/opa", &[("Authorization", &bearer)], None);
        got.is_ok_and(|got| got.status == 200)
    });
    let huge = format!("wait={}", "9".repeat(20_000));
    let got = stage.get(FLEET, "/targets/opa", &[("Prefer", &huge)]);
    assert_eq!(got.status, 200, "who has nothing is given it, however long it would wait");
    let endless = "x".repeat(60_000);
    assert_eq!(stage.get(FLEET, "/targets/opa", &[("Prefer", &endless)]).status, 431);
}

fn curl() -> bool {
    let is_here = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(is_here || std::env::var_os("CI").is_none(), "curl is missing; tests/run installs it");
    if !is_here {
        println!("SKIP: curl is not installed (apt-get install curl)");
    }
    is_here
}

#[test]
fn curl_fetches_by_tag_and_by_date_only_what_is_new() {
    if !curl() {
        return;
    }
    let mut stage = Stage::start("");
    stage.scim.create_user("alice@example.com");
    stage.shows("alice@example.com", true);
    let url = format!("http://{}/targets/opa", stage.address);
    let header = format!("Authorization: Bearer {FLEET}");
    let (file, tag) = (stage.daemon.path("pulled"), stage.daemon.path("tag"));
    let run = |args: &[&str]| -> String {
        let out = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--header", &header, "--write-out", "%{http_code}"])
            .args(args)
            .arg("--output")
            .arg(&file)
            .arg(&url)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let tag = tag.to_str().unwrap();
    let by_tag = ["--etag-compare", tag, "--etag-save", tag];
    assert_eq!(run(&by_tag), "200");
    assert!(data(&std::fs::read(&file).unwrap()).contains("alice@example.com"));
    assert_eq!(run(&by_tag), "304");
    let dated = file.to_str().unwrap();
    let by_date = ["--remote-time", "--time-cond", dated];
    // An edition's own second must be over before it is said.
    wait_until("a date is said", || stage.get(FLEET, "/targets/opa", &[]).header("last-modified").is_some());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run(&["--remote-time"]), "200");
    assert_eq!(run(&by_date), "304");
    stage.scim.create_user("bob@example.com");
    stage.shows("bob@example.com", true);
    assert_eq!(run(&by_date), "200");
    assert!(data(&std::fs::read(&file).unwrap()).contains("bob@example.com"));
    assert_eq!(run(&by_tag), "200");
}

#[test]
fn a_listener_beyond_this_machine_needs_tls_and_readers_only_what_is_there() {
    let daemon = Daemon::prepare("");
    let check = |text: &str| {
        daemon.write_config(text);
        let out = Command::new(BINARY).args(["check", "--config"]).arg(daemon.config()).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = check("[publish]\nlisten = \"0.0.0.0:8082\"\n");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("plain HTTP"), "{said}");
    assert_eq!(check("[publish]\nlisten = \"0.0.0.0:8082\"\ninsecure = true\n").0, Some(0));
    let target = "[[target]]\nname = \"access\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/x\"\n";
    let (code, said) =
        check(&format!("{target}[[reader]]\nname = \"r\"\ntargets = [\"access\", \"acces\"]\n"));
    assert_eq!(code, Some(78));
    assert!(said.contains("`access` is not published") && said.contains("did you mean `access`"), "{said}");
}

#[test]
fn metrics_of_readers_are_those_of_the_admin() {
    let stage = Stage::start("");
    let got = stage.get(METRICS, "/metrics", &[]).expect(200);
    assert!(got.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = got.text();
    for name in
        ["rosterd_mirror_seq ", "rosterd_target_held_removals{target=\"opa\"} 0", "rosterd_publish_waiting 0"]
    {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    let status: Value = stage.daemon.cli_json(&["status"]);
    assert_eq!(status["targets"][0]["name"], "opa");
}

/// What a receiver makes of events: users, and members of groups, by id.
#[derive(Default, PartialEq, Debug)]
struct State {
    users: std::collections::BTreeSet<String>,
    members: std::collections::BTreeSet<(String, String)>,
}

impl State {
    fn take(&mut self, event: &Value) {
        let data = &event["data"];
        let id = |what: &str| data[what]["id"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap() {
            "snapshot.started" => *self = Self::default(),
            "user.created" | "user.snapshot" => drop(self.users.insert(id("user"))),
            "user.deleted" => {
                self.users.remove(&id("user"));
                self.members.retain(|(_, member)| *member != id("user"));
            }
            "group.snapshot" => {
                for member in data["users"].as_array().unwrap() {
                    self.members.insert((id("group"), member.as_str().unwrap().to_owned()));
                }
            }
            "group.user_added" => drop(self.members.insert((id("group"), id("user")))),
            "group.user_removed" => drop(self.members.remove(&(id("group"), id("user")))),
            "group.deleted" => self.members.retain(|(group, _)| *group != id("group")),
            _ => {}
        }
    }

    /// What the SCIM API says.
    fn of(scim: &mut Scim) -> Self {
        let list = |scim: &mut Scim, path: &str| {
            scim.get(&format!("{path}?count=1000")).expect(200).json()["Resources"]
                .as_array()
                .unwrap()
                .clone()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let users = list(scim, "/Users").iter().map(|user| text(&user["id"])).collect();
        let mut members = std::collections::BTreeSet::new();
        for group in list(scim, "/Groups") {
            for member in group["members"].as_array().unwrap_or(&Vec::new()) {
                members.insert((text(&group["id"]), text(&member["value"])));
            }
        }
        Self { users, members }
    }
}

#[test]
fn the_state_rebuilt_from_events_is_the_mirrors_over_kills_and_from_a_snapshot() {
    let mut stage = Stage::with("\n[[reader]]\nname = \"listener\"\nevents = true\n", "");
    let token = stage.daemon.cli_json(&["token", "new", "--reader", "listener"])["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut random = crate::support::Random::new(crate::support::seed());
    let group = stage.scim.create_group("Admins", &[]);
    let (mut seen, mut after, mut last) = (State::default(), "1-0".to_owned(), (0, 0));
    let mut late = None;
    let mut people: Vec<String> = Vec::new();
    for round in 0..60 {
        match random.below(4) {
            0 | 1 => people.push(stage.scim.create_user(&format!("user{round}@example.com"))),
            2 if !people.is_empty() => {
                let one = people[random.below(people.len() as u64) as usize].clone();
                if random.below(2) == 0 {
                    stage.scim.add_member(&group, &one);
                } else {
                    stage.scim.remove_member(&group, &one);
                }
            }
            3 if people.len() > 3 => {
                let one = people.swap_remove(random.below(people.len() as u64) as usize);
                assert_eq!(stage.scim.send("DELETE", &format!("/Users/{one}"), None).status, 204);
            }
            _ => {}
        }
        if round == 20 {
            stage.daemon.kill();
            stage.daemon.run();
        }
        if round == 30 {
            let told = stage.get(&token, "/events?snapshot=1", &[]).expect(200).json();
            let mut state = State::default();
            told["events"].as_array().unwrap().iter().for_each(|event| state.take(event));
            late = Some((state, told["next"].as_str().unwrap().to_owned()));
        }
        if random.below(3) == 0 {
            let page = stage.get(&token, &format!("/events?after={after}&limit=5"), &[]).expect(200).json();
            for event in page["events"].as_array().unwrap() {
                let place =
                    (event["data"]["seq"].as_u64().unwrap(), event["data"]["n"].as_u64().unwrap() + 1);
                assert!(place > last, "{place:?} after {last:?}");
                last = place;
                seen.take(event);
            }
            after = page["next"].as_str().unwrap().to_owned();
        }
    }
    let expected = State::of(&mut stage.scim);
    let (mut state, next) = late.unwrap();
    for (state, after) in [(&mut seen, after), (&mut state, next)] {
        let mut after = after;
        loop {
            let page = stage.get(&token, &format!("/events?after={after}"), &[]).expect(200).json();
            page["events"].as_array().unwrap().iter().for_each(|event| state.take(event));
            after = page["next"].as_str().unwrap().to_owned();
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(*state, expected);
    }
}
