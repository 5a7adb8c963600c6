//! The listener over real sockets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use hyper::Method;
use serde_json::{Value, json};

use super::{AdminTcp, Hosts, Settings};
use crate::http::admin_api::{AdminName, AdminRole, AdminState, AdminUser, Caller, Snapshot, Users, handle};
use crate::http::health::Health;
use crate::http::limits::Settings as Limits;
use crate::http::testing::{Reply, Server, Store};
use crate::model::{DirectoryKind, Secret};
use crate::scim::schema::Registry;

const PASSWORD: &str = "correct horse battery";

/// A hash of it that another implementation made (argon2-cffi).
const PHC: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$3lJVgHw1CQadnrvrrI9WfQ$I0ypF6mUMwAxhBBxNG0Rwi8PAjVK18SqiS1GKgSDaK0";

pub(crate) fn user(name: &str, role: AdminRole, password: &str) -> AdminUser {
    AdminUser { name: AdminName::parse(name).unwrap(), role, password: password.parse().unwrap() }
}

pub(crate) fn state(store: &Store) -> Arc<AdminState> {
    Arc::new(AdminState {
        mirror: store.mirror.clone(),
        running: ArcSwap::from_pointee(Snapshot {
            roles: Vec::new(),
            directory_order: Vec::new(),
            claims: Vec::new(),
            expect_every: Vec::new(),
            quirks: Vec::new(),
            registry: Arc::new(Registry::standard()),
            base_url: "https://scim.example.com/scim/v2".into(),
            readers: Vec::new(),
            problems: Vec::new(),
            public_keys: json!({"targets": []}),
        }),
        targets: None,
        reload: None,
        doctor: None,
        health: Arc::new(Health::starting()),
        metrics: Arc::default(),
        activity: crate::activity::Activity::off(),
        own_uid: 0,
        imports: crate::http::import::Imports::default(),
    })
}

struct Web {
    server: Server,
    users: Arc<Users>,
    tcp: Arc<AdminTcp>,
    state: Arc<AdminState>,
}

fn settings() -> Settings {
    Settings { hosts: Hosts::new(&[], Some("https://roster.example.com")), ..Settings::default() }
}

fn web(store: &Store) -> Web {
    web_over(state(store))
}

fn web_over(state: Arc<AdminState>) -> Web {
    let all = [
        user("viewer", AdminRole::View, PHC),
        user("operator", AdminRole::Operate, PASSWORD),
        user("ops", AdminRole::Admin, PASSWORD),
    ];
    let (users, limits) = (Arc::new(Users::new(&all)), Arc::new(Limits::default()));
    let tcp = Arc::new(AdminTcp::new(
        Arc::clone(&state),
        Arc::clone(&users),
        settings(),
        None,
        Arc::clone(&limits),
    ));
    let server = Server::start(Arc::clone(&tcp), limits, Arc::default());
    Web { server, users, tcp, state }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}")))
}

impl Web {
    /// One request with these headers; `Host` is ours unless they say otherwise.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let host = [("host", "localhost")];
        let host = if headers.iter().any(|(name, _)| *name == "host") { &host[..0] } else { &host[..] };
        for (name, value) in host.iter().chain(headers) {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n\r\n", body]);
        self.server.raw(text.as_bytes()).await
    }

    async fn asks(&self, authorization: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let headers = [("authorization", authorization)];
        let answer = self.send(method, &format!("/api/v1/{path}"), &headers, body).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_right_password_and_no_browser_is_asked_for_one() {
    let store = Store::new();
    let web = web(&store);
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    for authorization in [
        String::new(),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        format!("Bearer {token}"),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("no colon")),
        basic("", ""),
        basic("ops", ""),
        basic("ops", "wrong"),
        basic("OPS", PASSWORD),
        basic("acme", &token),
        basic("nobody", PASSWORD),
    ] {
        let headers = [("authorization", authorization.as_str())];
        let headers = if authorization.is_empty() { &[][..] } else { &headers[..] };
        let answer = web.send("GET", "/api/v1/status", headers, "").await;
        assert_eq!(answer.status, 401, "{authorization}: {}", answer.body);
        assert!(answer.header("www-authenticate").is_none());
        assert!(answer.body.contains("\"error\""));
    }
    for name in ["viewer", "operator", "ops"] {
        assert_eq!(web.asks(&basic(name, PASSWORD), "GET", "status", "").await.0, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_what_it_does_bears_its_name() {
    let store = Store::new();
    let web = web(&store);
    store.directory("acme", DirectoryKind::Generic).await;
    let (viewer, operator, ops) =
        (basic("viewer", PASSWORD), basic("operator", PASSWORD), basic("ops", PASSWORD));
    let rebaseline = json!({"directory": "acme", "seconds": 60}).to_string();
    let add = json!({"name": "Second", "kind": "okta"}).to_string();
    let (status, told) = web.asks(&viewer, "POST", "rebaselines", &rebaseline).await;
    assert_eq!(status, 403, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("`operate`"), "{told}");
    assert_eq!(web.asks(&operator, "POST", "rebaselines", &rebaseline).await.0, 201);
    assert_eq!(web.asks(&operator, "POST", "directories", &add).await.0, 403);
    assert_eq!(web.asks(&ops, "POST", "directories", &add).await.0, 201);
    let (_, changes) = web.asks(&viewer, "GET", "changes", "").await;
    let by: Vec<&str> =
        changes["changes"].as_array().unwrap().iter().map(|one| one["actor"].as_str().unwrap()).collect();
    assert!(
        by.contains(&"admin:operator") && by.contains(&"admin:ops") && !by.contains(&"admin:viewer"),
        "{by:?}"
    );
    let (_, verified) = web.asks(&viewer, "GET", "verify", "").await;
    assert_eq!(verified["log_ok"], true, "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_the_owner_of_the_name_gets_in_from_where_they_were() {
    let store = Store::new();
    let web = web(&store);
    let here = Some("192.0.2.1".parse().unwrap());
    let there = Some("198.51.100.9".parse().unwrap());
    assert!(web.users.sign_in("ops", PASSWORD, here).await.is_ok());
    for n in 0..10 {
        let refused = web.users.sign_in("ops", &format!("guess {n}"), there).await.unwrap_err();
        assert_eq!(refused, crate::http::admin_api::Refused::Wrong, "{n}");
    }
    let wait = web.users.sign_in("ops", PASSWORD, there).await.unwrap_err();
    assert!(matches!(wait, crate::http::admin_api::Refused::Wait(_)), "right, and still too late: {wait:?}");
    let other = Some("203.0.113.3".parse().unwrap());
    let wait = web.users.sign_in("ops", "guess", other).await.unwrap_err();
    assert!(matches!(wait, crate::http::admin_api::Refused::Wait(_)), "the name is counted, too: {wait:?}");
    assert!(web.users.sign_in("viewer", PASSWORD, other).await.is_ok());
    web.users.replace(&[user("ops", AdminRole::Admin, "another password")]);
    assert!(
        web.users.sign_in("ops", "another password", here).await.is_ok(),
        "a usual address is not locked out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_wrong_password_is_told_to_wait() {
    let store = Store::new();
    let web = web(&store);
    for n in 0..10 {
        assert_eq!(web.asks(&basic("ops", &format!("guess {n}")), "GET", "status", "").await.0, 401, "{n}");
    }
    let guess = basic("ops", "guess");
    let answer = web.send("GET", "/api/v1/status", &[("authorization", &guess)], "").await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_credentials_are_known_for_a_while_and_forgotten_by_a_reload() {
    let store = Store::new();
    let web = web(&store);
    let here = Some("192.0.2.1".parse().unwrap());
    let first = web.users.sign_in("ops", PASSWORD, here).await.unwrap();
    assert_eq!(web.users.find(&first.name), Some(first.clone()));
    // Many more than two at once: only what is remembered answers them all without a turn.
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let users = Arc::clone(&web.users);
        all.spawn(async move { users.sign_in("ops", PASSWORD, here).await.is_ok() });
    }
    assert!(all.join_all().await.into_iter().all(|done| done));
    web.users.replace(&[user("ops", AdminRole::View, "another password")]);
    assert!(web.users.sign_in("ops", PASSWORD, here).await.is_err());
    let now = web.users.sign_in("ops", "another password", here).await.unwrap();
    assert_eq!(now.role, AdminRole::View);
    assert_ne!(now.stamp, first.stamp, "sessions of the old password end");
    assert!(web.users.find(&AdminName::parse("viewer").unwrap()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_costs_what_a_known_one_does() {
    let users = Users::new(&[user("ops", AdminRole::Admin, PASSWORD)]);
    let (nobody, before) = (users.compare("nobody", "x"), users.compared());
    assert!(nobody.is_none() && before == 1, "a hash was gone through for nobody");
    assert!(users.compare("ops", "x").is_none() && users.compared() == 2);
    assert!(
        !format!("{users:?}").contains(PASSWORD) && !format!("{:?}", Secret::new("x".into())).contains('x')
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_of_ours_are_answered_and_only_to_those_allowed() {
    let store = Store::new();
    let web = web(&store);
    let ops = basic("ops", PASSWORD);
    for (host, wanted) in [
        ("localhost", 200),
        ("roster.example.com", 200),
        ("evil.example.com", 421),
        ("evil.example.com:8081", 421),
    ] {
        for path in ["/api/v1/status", "/healthz", "/metrics"] {
            let answer = web.send("GET", path, &[("authorization", &ops), ("host", host)], "").await;
            assert_eq!(answer.status, wanted, "{host}{path}: {}", answer.body);
        }
    }
    web.tcp.reload(Settings { allow_from: vec!["192.0.2.0/24".parse().unwrap()], ..settings() });
    assert_eq!(web.asks(&ops, "GET", "status", "").await.0, 403);
    let proxied = Settings {
        allow_from: vec!["192.0.2.0/24".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..settings()
    };
    web.tcp.reload(proxied);
    for (from, host, wanted) in [
        ("192.0.2.7", "roster.example.com", 200),
        ("198.51.100.1", "roster.example.com", 403),
        ("192.0.2.7", "evil.example.com", 421),
    ] {
        let headers =
            [("authorization", ops.as_str()), ("x-forwarded-for", from), ("x-forwarded-host", host)];
        assert_eq!(web.send("GET", "/api/v1/status", &headers, "").await.status, wanted, "{from} {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_this_machine_and_for_people_reasons_for_people_only() {
    let store = Store::new();
    let web = web(&store);
    web.state.health.set_unready("disk full");
    let ops = basic("ops", PASSWORD);
    let plain = web.send("GET", "/readyz", &[], "").await;
    assert_eq!((plain.status, plain.body.as_str()), (503, "not ready\n"));
    let told = web.send("GET", "/readyz", &[("authorization", &ops)], "").await;
    assert_eq!(told.body, "not ready: disk full\n");
    let metrics = web.send("GET", "/metrics", &[], "").await;
    assert_eq!((metrics.status, metrics.header("cross-origin-resource-policy")), (200, Some("same-origin")));
    let through = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(web.send("GET", "/metrics", &through, "").await.status, 401, "a proxy is not this machine");
    let through = [("x-forwarded-for", "192.0.2.1"), ("authorization", ops.as_str())];
    assert_eq!(web.send("GET", "/metrics", &through, "").await.status, 200);
    let other = web.send("POST", "/api/v1/status", &[("authorization", &ops)], "").await;
    assert_eq!((other.status, other.header("allow")), (405, Some("GET")));
    assert_eq!(web.send("GET", "/nothing", &[("authorization", &ops)], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_refused_to_the_role_below_its_own() {
    let store = Store::new();
    let state = state(&store);
    let rows = crate::http::admin_api::rows();
    assert!(rows.len() > 40);
    for (method, path, least) in rows {
        let path = format!("/api/v1/{}", path.replace(['{', '}'], ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for role in AdminRole::ALL {
            let name = AdminName::parse("someone").unwrap();
            let caller = Caller::User { name, role, address: None };
            let reply = handle(&state, caller, &method, &path, None, b"{}").await;
            assert_eq!(reply.status == 403, role < least, "{role} {method} {path}: {}", reply.body);
        }
        // What a file holds that is not in yet is for those who may bring it in.
        let is_for_all = method == Method::GET && !path.starts_with("/api/v1/imports/id");
        assert_eq!(least == AdminRole::View, is_for_all, "reading is for everybody: {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_do_a_thing_is_not_read_and_neither_is_what_nobody_looks_at() {
    let store = Store::new();
    let web = web(&store);
    // More than any of these takes: what was kept of it would be answered 413.
    let large = "x".repeat(5 << 20);
    let (viewer, ops) = (basic("viewer", PASSWORD), basic("ops", PASSWORD));
    for (method, path, wanted) in [
        ("POST", "directories", 403),
        ("POST", "imports/import-0/records", 403),
        ("POST", "reload", 403),
        ("GET", "status", 200),
        ("DELETE", "status", 405),
        ("POST", "no/such/endpoint", 404),
    ] {
        assert_eq!(web.asks(&viewer, method, path, &large).await.0, wanted, "{method} {path}");
    }
    assert_eq!(web.asks(&ops, "POST", "directories", &large).await.0, 413);
    assert_eq!(web.asks(&ops, "POST", "imports/import-0/records", &large).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_read_asks_for_nothing() {
    let store = Store::new();
    let web = web(&store);
    let viewer = basic("viewer", PASSWORD);
    let (status, told) = web.asks(&viewer, "GET", "activity?directory=%ff", "").await;
    assert_eq!(status, 400, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("query"), "{told}");
    assert_eq!(web.asks(&viewer, "GET", "activity?directory=acme", "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_right_while_waiting_is_not_told_what_came() {
    let store = Store::new();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn crate::model::Clock> = Arc::new(crate::model::SystemClock);
    let path = folder.path().join("activity.jsonl");
    let activity = crate::activity::Activity::start(&path, crate::activity::Settings::default(), clock);
    let mut with = Arc::into_inner(state(&store)).unwrap();
    with.activity = activity.clone();
    let web = Arc::new(web_over(Arc::new(with)));
    let news = || crate::activity::Entry {
        request: crate::model::RequestId::parse("r-1").unwrap(),
        at: store.mirror.now(),
        took: std::time::Duration::ZERO,
        directory: None,
        token: None,
        refused: None,
        ended: None,
        client: None,
        method: "GET",
        route: "Users",
        target: "/scim/v2/Users".to_owned(),
        agent: None,
        status: 200,
        quirks: Vec::new(),
        request_bytes: 0,
        answer_bytes: 0,
        error: None,
        raw: None,
    };
    let all = [user("viewer", AdminRole::View, PHC), user("ops", AdminRole::Admin, PASSWORD)];
    let gone = [user("ops", AdminRole::Admin, PASSWORD)];
    let changed = [user("viewer", AdminRole::View, "another password"), gone[0].clone()];
    for (after, wanted) in [(&all[..], 200), (&gone[..], 401), (&changed[..], 401)] {
        web.users.replace(&all);
        let newest = *activity.newest().borrow();
        let waiting = {
            let web = Arc::clone(&web);
            let path = format!("activity?after={newest}&wait=60s");
            tokio::spawn(async move { web.asks(&basic("viewer", PASSWORD), "GET", &path, "").await })
        };
        // The log's own receivers say who waits.
        while activity.waiting() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        web.users.replace(after);
        activity.note(news());
        let (status, told) = waiting.await.unwrap();
        assert_eq!(status, wanted, "{told}");
        while activity.waiting() != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_hands_on_what_the_client_wrote_is_told_so() {
    let store = Store::new();
    let web = web(&store);
    web.tcp.reload(Settings {
        allow_from: vec!["192.0.2.0/24".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..settings()
    });
    let ops = basic("ops", PASSWORD);
    let real = [("authorization", ops.as_str()), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(web.send("GET", "/api/v1/status", &real, "").await.status, 403);
    let invented = [real[0], real[1], ("forwarded", "for=192.0.2.7")];
    let answer = web.send("GET", "/api/v1/status", &invented, "").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("the proxy must take away"), "{}", answer.body);
}
