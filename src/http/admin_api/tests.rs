use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use hyper::Method;
use serde_json::{Value, json};

use super::{AdminSocket, AdminState, Answering, Caller, Snapshot, Targets, endpoints, handle};
use crate::access::{GroupRule, Role};
use crate::http::health::Health;
use crate::http::limits::Settings as Limits;
use crate::http::testing::{Server, Store};
use crate::model::{Origin, RoleName, TargetName};
use crate::reconcile::{Decision, DeliveryOrder};
use crate::scim::schema::Registry;

/// Answers for targets and writes down what it was asked.
#[derive(Default)]
struct Fake(Mutex<Vec<String>>);

impl Fake {
    fn told(&self, what: String) -> Answering<'_> {
        self.0.lock().unwrap().push(what);
        Box::pin(async { Ok(json!({"targets": []})) })
    }
}

impl Targets for Fake {
    fn detail(&self, _: TargetName) -> Answering<'_> {
        Box::pin(async { Ok(json!({ "versions": [] })) })
    }

    fn roll_back(&self, target: TargetName, to: Option<crate::model::Seq>, _: Origin) -> Answering<'_> {
        Box::pin(async move { Ok(json!({ "target": target, "to_seq": to })) })
    }

    fn forget(&self, target: TargetName, delete: bool, _: Origin) -> Answering<'_> {
        Box::pin(async move { Ok(json!({ "target": target, "delete": delete })) })
    }

    fn status(&self) -> Answering<'_> {
        Box::pin(async { Ok(json!([{"name": "opa", "state": "in_sync"}])) })
    }
    fn plan(&self, target: Option<TargetName>) -> Answering<'_> {
        self.told(format!("plan {target:?}"))
    }
    fn sync(&self, target: Option<TargetName>, adopt: bool, _: Origin) -> Answering<'_> {
        self.told(format!("sync {target:?} {adopt}"))
    }
    fn decide(&self, target: TargetName, decision: Decision, _: Option<String>, _: Origin) -> Answering<'_> {
        self.told(format!("{target} {decision:?}"))
    }
    fn deliver(&self, order: DeliveryOrder, _: Origin) -> Answering<'_> {
        self.told(format!("{order:?}"))
    }
}

fn state(store: &Store, own_uid: u32, targets: Option<Arc<dyn Targets>>) -> AdminState {
    let role = Role {
        name: RoleName::parse("db-admin").unwrap(),
        groups: vec![GroupRule::DisplayName("Crew".into())],
        users: None,
        directories: None,
        protected: false,
        on_rename: crate::access::OnRename::Follow,
    };
    AdminState {
        mirror: store.mirror.clone(),
        running: ArcSwap::from_pointee(Snapshot {
            roles: vec![role],
            directory_order: Vec::new(),
            claims: Vec::new(),
            expect_every: Vec::new(),
            quirks: Vec::new(),
            registry: Arc::new(Registry::standard()),
            base_url: "https://scim.example.com/scim/v2".into(),
            readers: vec!["fleet".to_owned()],
            problems: Vec::new(),
            public_keys: json!({"targets": []}),
        }),
        targets,
        reload: Some(Arc::new(|| Box::pin(async { Ok(json!({"reloaded": true})) }))),
        doctor: Some(Arc::new(|_, _, _| Box::pin(async { Ok(json!([])) }))),
        health: Arc::new(Health::starting()),
        metrics: Arc::default(),
        activity: crate::activity::Activity::off(),
        own_uid,
        imports: crate::http::import::Imports::default(),
    }
}

async fn call(state: &AdminState, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let path = format!("/api/v1/{path}");
    let reply = handle(state, Caller::InProcess(0), &method, &path, query, body.as_bytes()).await;
    (reply.status, reply.body)
}

async fn good(state: &AdminState, method: &str, target: &str, body: Value) -> Value {
    let (status, answer) = call(state, method, target, &body).await;
    assert!(status < 300, "{method} {target}: {status} {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_added_with_its_token_changed_and_removed() {
    let store = Store::new();
    let state = state(&store, 0, None);
    let made = good(&state, "POST", "directories", json!({"name": "Acme Okta", "kind": "okta"})).await;
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "name", "kind", "base_url", "token"]);
    assert_eq!((&made["id"], &made["kind"]), (&json!("acme-okta"), &json!("okta")));
    assert_eq!(made["base_url"], "https://scim.example.com/scim/v2");
    assert!(made["token"].as_str().unwrap().starts_with("rosterd_"));
    let again = json!({"id": "acme-okta", "name": "Other", "kind": "entra"});
    assert_eq!(call(&state, "POST", "directories", &again).await.0, 409);
    let renamed =
        good(&state, "PATCH", "directories/acme-okta", json!({"name": "B", "enabled": false})).await;
    assert_eq!((&renamed["name"], &renamed["enabled"]), (&json!("B"), &json!(false)));
    let listed = good(&state, "GET", "directories", Value::Null).await;
    assert_eq!(listed["directories"][0]["users"], 0);
    assert_eq!(listed["directories"][0]["last_push"], Value::Null);
    let tokens = good(&state, "GET", "tokens?directory=acme-okta", Value::Null).await;
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 1);
    assert!(!tokens.to_string().contains("rosterd_"), "{tokens}");
    good(&state, "DELETE", "directories/acme-okta", Value::Null).await;
    assert_eq!(call(&state, "GET", "directories/acme-okta", &Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_once_shown_once_and_revoked() {
    let store = Store::new();
    let state = state(&store, 0, None);
    good(&state, "POST", "directories", json!({"name": "Acme", "kind": "generic"})).await;
    let body = json!({"directory": "acme", "expires": "2999-01-01T00:00:00Z", "note": "rotation"});
    let made = good(&state, "POST", "tokens", body).await;
    assert_eq!(made["directory"], "acme");
    assert_eq!(made["expires"], "2999-01-01T00:00:00.000Z");
    assert!(made["token"].as_str().unwrap().len() == 44);
    let id = made["id"].as_str().unwrap();
    let revoked = good(&state, "DELETE", &format!("tokens/{id}"), Value::Null).await;
    assert!(revoked["revoked"].is_string());
    for wrong in [
        json!({"directory": "acme", "expires": "tomorrow"}),
        json!({"directory": "acme", "reader": "x"}),
        json!({}),
        json!({"directory": "acme", "expire": null}),
        json!([]),
    ] {
        assert_eq!(call(&state, "POST", "tokens", &wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(call(&state, "POST", "tokens", &json!({"directory": "none"})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_what_the_design_promises() {
    let store = Store::new();
    let state = state(&store, 0, Some(Arc::new(Fake::default())));
    good(&state, "POST", "directories", json!({"name": "Acme", "kind": "generic"})).await;
    let status = good(&state, "GET", "status", Value::Null).await;
    for key in ["version", "epoch", "seq", "directories", "targets"] {
        assert!(!status[key].is_null(), "{key}: {status}");
    }
    for key in ["id", "name", "kind", "enabled", "users", "groups", "last_push"] {
        assert!(status["directories"][0].get(key).is_some(), "{key}: {status}");
    }
    assert_eq!(status["targets"][0]["name"], "opa");
    let changes = good(&state, "GET", "changes?after=0&limit=1", Value::Null).await;
    assert_eq!(changes["changes"][0]["kind"], "directory.added");
    assert_eq!(changes["next"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_sync_and_reload_reach_those_who_do_it() {
    let store = Store::new();
    let fake = Arc::new(Fake::default());
    let with = state(&store, 0, Some(fake.clone()));
    good(&with, "GET", "plan?target=opa", Value::Null).await;
    good(&with, "POST", "sync", json!({"target": "opa", "adopt": true})).await;
    good(&with, "POST", "sync", json!({"target": null, "adopt": false})).await;
    good(&with, "POST", "reload", Value::Null).await;
    let asked = fake.0.lock().unwrap().join("; ");
    assert_eq!(asked, "plan Some(TargetName(\"opa\")); sync Some(TargetName(\"opa\")) true; sync None false");
    assert_eq!(call(&with, "POST", "sync", &json!({"adopt": true})).await.0, 400);
    let without = state(&store, 0, None);
    assert_eq!(call(&without, "GET", "plan", &Value::Null).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_found_by_name_and_told_why() {
    let store = Store::new();
    let state = state(&store, 0, None);
    let made = good(&state, "POST", "directories", json!({"name": "Acme", "kind": "generic"})).await;
    let token = made["token"].as_str().unwrap();
    let server = Server::scim(&store);
    let mut ids = Vec::new();
    for name in ["alice@example.com", "bob@example.com"] {
        let body = json!({"userName": name, "displayName": "Same"}).to_string();
        let user = server.scim_request(token, "POST", "/Users", &body).await.expect(201);
        ids.push(user["id"].as_str().unwrap().to_owned());
    }
    let body = json!({"displayName": "Crew", "members": [{"value": ids[0]}]}).to_string();
    server.scim_request(token, "POST", "/Groups", &body).await.expect(201);
    let users = good(&state, "GET", "users?count=1", Value::Null).await;
    assert_eq!(users["users"][0]["user_name"], "alice@example.com");
    let next = users["next_cursor"].as_str().unwrap();
    let users = good(&state, "GET", &format!("users?count=1&cursor={next}"), Value::Null).await;
    assert_eq!(users["users"][0]["user_name"], "bob@example.com");
    assert_eq!(users["next_cursor"], Value::Null);
    let alice = good(&state, "GET", "users/ALICE%40example.com", Value::Null).await;
    assert_eq!((&alice["id"], &alice["groups"][0]["display_name"]), (&json!(ids[0]), &json!("Crew")));
    good(&state, "GET", &format!("users/acme%2F{}", ids[1]), Value::Null).await;
    let crew = good(&state, "GET", "groups/Crew", Value::Null).await;
    assert_eq!(crew["members"][0]["id"], ids[0].as_str());
    let why = good(&state, "GET", "explain?subject=alice@example.com&role=db-admin", Value::Null).await;
    assert_eq!(why["roles"][0]["holds"], true, "{why}");
    assert!(why["roles"][0]["why"][0].as_str().unwrap().contains("Crew"), "{why}");
    let why = good(&state, "GET", "explain?subject=bob@example.com", Value::Null).await;
    assert_eq!(why["roles"][0]["holds"], false, "{why}");
    assert_eq!(call(&state, "GET", "explain?subject=nobody", &Value::Null).await.0, 404);
    assert_eq!(call(&state, "GET", "explain?subject=bob@example.com&role=x", &Value::Null).await.0, 404);
    assert_eq!(call(&state, "GET", "users?filter=nonsense", &Value::Null).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemons_own_system_account_may_only_reload_and_ask() {
    let store = Store::new();
    for (own, peer, restricted) in [
        (998, 998, true),
        (65_534, 65_534, true),
        (998, 0, false),
        (998, 1000, false),
        (1000, 1000, false),
        (0, 0, false),
    ] {
        let state = state(&store, own, None);
        for (method, path, harmless) in [
            (Method::GET, "status", true),
            (Method::POST, "reload", true),
            (Method::GET, "directories", false),
            (Method::POST, "status", false),
        ] {
            let path = format!("/api/v1/{path}");
            let reply = handle(&state, Caller::Peer(peer), &method, &path, None, b"").await;
            assert_eq!(reply.status == 403, restricted && !harmless, "{own} {peer} {method} {path}");
        }
        let reply =
            handle(&state, Caller::InProcess(own), &Method::GET, "/api/v1/directories", None, b"").await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_serves_what_it_lists_and_405_for_the_rest() {
    let store = Store::new();
    let state = state(&store, 0, None);
    let paths: std::collections::BTreeSet<&str> = endpoints::all().map(|row| row.path).collect();
    for path in paths {
        let methods: Vec<&str> =
            endpoints::all().filter(|row| row.path == path).map(|row| row.method).collect();
        let path = path.replace(['{', '}'], "");
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
            let (status, body) = call(&state, method, &path, &Value::Null).await;
            assert_eq!(status == 405, !methods.contains(&method), "{method} {path}: {status} {body}");
        }
    }
    let (status, body) = call(&state, "GET", "nothing", &Value::Null).await;
    assert_eq!(status, 404);
    assert!(body["error"]["message"].is_string() && body["error"]["hint"].is_string(), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_there_are_metrics_and_health_but_no_api() {
    let store = Store::new();
    let state = Arc::new(state(&store, 0, None));
    state.health.set_unready("disk full");
    let limits = Arc::new(Limits::default());
    let socket = AdminSocket::new(Arc::clone(&state), Arc::clone(&limits));
    let server = Server::start(Arc::new(socket), limits, Arc::default());
    assert_eq!(server.send("GET", "/api/v1/status", &[], "").await.status, 403);
    let ready = server.send("GET", "/readyz", &[], "").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready: disk full\n"));
    let metrics = server.send("GET", "/metrics", &[], "").await;
    assert_eq!(metrics.status, 200);
    for line in
        ["rosterd_mirror_commits_total", "rosterd_mirror_seq ", "rosterd_http_requests_total{", "# EOF"]
    {
        assert!(metrics.body.contains(line), "{line}: {}", metrics.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn present_access_is_exported_in_any_format() {
    let store = Store::new();
    let state = state(&store, 0, None);
    let (status, body) = call(&state, "GET", "export?format=json", &Value::Null).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["text"].as_str().unwrap().contains("\"db-admin\""), "{body}");
    let (status, body) = call(&state, "GET", "export?format=opa-bundle", &Value::Null).await;
    assert!(status == 200 && body["base64"].as_str().unwrap().starts_with("H4sI"), "{body}");
    for (query, wanted) in [
        ("format=jsn", 404),
        ("", 400),
        ("format=template", 400),
        ("format=json&subject=no%20such", 400),
        ("format=json&options=%7B%22compact%22%3A1%7D", 400),
        ("format=json&options=x", 400),
    ] {
        let (status, body) = call(&state, "GET", &format!("export?{query}"), &Value::Null).await;
        assert_eq!(status, wanted, "{query}: {body}");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
}
