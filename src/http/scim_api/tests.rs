use serde_json::{Value, json};

use super::Settings;
use crate::http::limits::Settings as Limits;
use crate::http::testing::{Server, Store};
use crate::mirror::{self, directory, token};
use crate::model::{DirectoryId, DirectoryKind, Origin};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];
const MISSING: &str = "0190b5a4-0000-7000-8000-000000000000";

fn routes(user: &str, group: &str) -> Vec<String> {
    let mut routes: Vec<String> = [
        "/",
        "/Users",
        "/Groups",
        "/.search",
        "/Users/.search",
        "/Groups/.search",
        "/Bulk",
        "/Me",
        "/ServiceProviderConfig",
        "/ResourceTypes",
        "/ResourceTypes/User",
        "/Schemas",
        "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
        "/Nothing",
        "//users/",
    ]
    .map(|path| format!("/scim/v2{path}"))
    .to_vec();
    routes.push(format!("/scim/v2/Users/{user}"));
    routes.push(format!("/scim/v2/Groups/{group}"));
    routes.extend(["/", "/metrics", "/api/v1/status", "/scim", "/scim/v3/Users"].map(str::to_owned));
    routes
}

fn user(name: &str) -> String {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name}).to_string()
}

fn group(name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members})
        .to_string()
}

fn patch(operations: &Value) -> String {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
        .to_string()
}

async fn created(server: &Server, token: &str, path: &str, body: &str) -> String {
    let made = server.scim_request(token, "POST", path, body).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_method_without_a_token_is_401() {
    let store = Store::new();
    store.directory("acme", DirectoryKind::Generic).await;
    let failures = super::auth::Settings { per_minute: 1, burst: 100_000 };
    let server = Server::scim_with(&store, Settings { failures, ..Settings::default() }, Limits::default());
    for path in routes(MISSING, MISSING) {
        for method in METHODS {
            for headers in [&[][..], &["Authorization: Bearer"], &["Authorization: Basic YTpi"]] {
                let reply = server.send(method, &path, headers, "").await;
                assert_eq!(reply.status, 401, "{method} {path} {headers:?}");
                assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{method} {path}");
                if method != "HEAD" {
                    assert_eq!(reply.json()["status"], "401", "{method} {path}");
                    assert!(reply.header("content-type").unwrap().starts_with("application/scim+json"));
                }
            }
        }
    }
    for path in ["/healthz", "/readyz"] {
        server.send("GET", path, &[], "").await.expect(200);
        server.send("POST", path, &[], "").await.expect(405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_directorys_resources_look_like_missing_ones_on_every_endpoint() {
    let store = Store::new();
    let (mine, _) = store.directory("mine", DirectoryKind::Generic).await;
    let (other, _) = store.directory("other", DirectoryKind::Generic).await;
    let server = Server::scim(&store);
    let alice = created(&server, &mine, "/Users", &user("alice@example.com")).await;
    let crew = created(&server, &mine, "/Groups", &group("Crew", &[&alice])).await;
    // The same names are free in the other directory: uniqueness is no oracle.
    created(&server, &other, "/Users", &user("alice@example.com")).await;
    let own_group = created(&server, &other, "/Groups", &group("Crew", &[])).await;
    let replace = patch(&json!([{"op": "replace", "path": "displayName", "value": "X"}]));
    for (endpoint, id, whole) in
        [("Users", &alice, user("x@example.com")), ("Groups", &crew, group("X", &[]))]
    {
        for (method, body) in
            [("GET", ""), ("HEAD", ""), ("DELETE", ""), ("PUT", &*whole), ("PATCH", &*replace)]
        {
            let foreign = server.scim_request(&other, method, &format!("/{endpoint}/{id}"), body).await;
            let missing = server.scim_request(&other, method, &format!("/{endpoint}/{MISSING}"), body).await;
            assert_eq!(foreign.status, 404, "{method} {endpoint}");
            assert_eq!((foreign.status, foreign.body), (missing.status, missing.body), "{method} {endpoint}");
        }
    }
    let wrong_type = server.scim_request(&mine, "GET", &format!("/Groups/{alice}"), "").await;
    assert_eq!(wrong_type.status, 404);
    for id in [alice.as_str(), MISSING] {
        let add = patch(&json!([{"op": "add", "path": "members", "value": [{"value": id}]}]));
        let reply = server.scim_request(&other, "PATCH", &format!("/Groups/{own_group}"), &add).await;
        let error = reply.expect(400);
        assert_eq!(error["scimType"], "invalidValue");
        assert!(!reply.body.contains("mine"), "{}", reply.body);
    }
    // Nothing of it reached the other side.
    let seen = server.scim_request(&mine, "GET", &format!("/Groups/{crew}"), "").await.expect(200);
    assert_eq!(seen["members"][0]["value"], alice.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_lives_from_201_to_404() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let server = Server::scim(&store);
    let made = server.scim_request(&token, "POST", "/Users", &user("alice@example.com")).await;
    let document = made.expect(201);
    let id = document["id"].as_str().unwrap();
    let location = format!("http://scim.test/scim/v2/Users/{id}");
    assert_eq!(made.header("location"), Some(location.as_str()));
    assert_eq!(document["meta"]["location"], location.as_str());
    assert_eq!(document["active"], true);
    assert_eq!(made.header("etag"), document["meta"]["version"].as_str());
    let path = format!("/Users/{id}");
    let read = server.scim_request(&token, "GET", &path, "").await;
    assert_eq!(read.expect(200)["userName"], "alice@example.com");
    let etag = read.header("etag").unwrap().to_owned();
    let authorization = format!("Authorization: Bearer {token}");
    let whole = format!("/scim/v2{path}");
    let same = [&*authorization, &*format!("If-None-Match: {etag}")];
    let unchanged = server.send("GET", &whole, &same, "").await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    let stale = [&*authorization, "If-Match: W/\"999\""];
    server.send("DELETE", &whole, &stale, "").await.expect(412);
    let head = server.scim_request(&token, "HEAD", &path, "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.header("content-length").is_some_and(|length| length != "0"));
    server.scim_request(&token, "DELETE", &path, "").await.expect(204);
    server.scim_request(&token, "GET", &path, "").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_answered_as_each_kind_of_directory_expects() {
    let store = Store::new();
    let server = Server::scim(&store);
    for (kind, for_user, for_group) in [
        (DirectoryKind::Entra, 204, 204),
        (DirectoryKind::Okta, 200, 204),
        (DirectoryKind::Generic, 200, 200),
    ] {
        let (token, _) = store.directory(kind.as_str(), kind).await;
        let id = created(&server, &token, "/Users", &user("a@example.com")).await;
        let crew = created(&server, &token, "/Groups", &group("Crew", &[])).await;
        let body = patch(&json!([{"op": "replace", "path": "displayName", "value": "New"}]));
        let answer = server.scim_request(&token, "PATCH", &format!("/Users/{id}"), &body).await;
        assert_eq!(answer.status, for_user, "{kind}");
        let answer = server.scim_request(&token, "PATCH", &format!("/Groups/{crew}"), &body).await;
        assert_eq!(answer.status, for_group, "{kind}");
        let path = format!("/Users/{id}?attributes=displayName");
        let asked = server.scim_request(&token, "PATCH", &path, &body).await.expect(200);
        assert_eq!(asked["displayName"], "New");
        assert_eq!(asked["userName"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_directory_answers_503_and_a_revoked_token_401_at_once() {
    let store = Store::new();
    let (token, token_id) = store.directory("acme", DirectoryKind::Generic).await;
    let server = Server::scim(&store);
    server.scim_request(&token, "GET", "/ServiceProviderConfig", "").await.expect(200);
    let set = |enabled| {
        let id = DirectoryId::parse("acme").unwrap();
        store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
            directory::set_enabled(tx, &id, enabled).map(|_| ())
        })
    };
    set(false).await.unwrap();
    for (method, path) in [("GET", "/Users"), ("POST", "/Users"), ("GET", "/Nothing"), ("GET", "/Schemas")] {
        let reply = server.scim_request(&token, method, path, "").await;
        let error = reply.expect(503);
        assert_eq!(error["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        assert!(reply.header("retry-after").is_some());
    }
    set(true).await.unwrap();
    server.scim_request(&token, "GET", "/ServiceProviderConfig", "").await.expect(200);
    let revoke = move |tx: &mut mirror::WriteTx<'_>| token::revoke(tx, &token_id).map(|_| ());
    store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), revoke).await.unwrap();
    server.scim_request(&token, "GET", "/ServiceProviderConfig", "").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_a_valid_token_still_passes() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let failures = super::auth::Settings { per_minute: 1, burst: 3 };
    let server = Server::scim_with(&store, Settings { failures, ..Settings::default() }, Limits::default());
    let wrong = "rosterd_000000000000000000000000000000000000";
    for _ in 0..3 {
        server.scim_request(wrong, "GET", "/Users", "").await.expect(401);
    }
    let limited = server.scim_request(wrong, "GET", "/Users", "").await;
    assert_eq!(limited.expect(429)["status"], "429");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    server.scim_request(&token, "GET", "/Schemas", "").await.expect(200);
    let foreign = "a-configured-token-of-somebody-else-entirely";
    server.scim_request(foreign, "GET", "/Users", "").await.expect(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_their_own_status_in_scim_form() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let limits = Limits { body_bytes_max: 2_000, large_body_bytes_max: 8_000, ..Limits::default() };
    let server = Server::scim_with(&store, Settings::default(), limits);
    let authorization = format!("Authorization: Bearer {token}");
    let auth = authorization.as_str();
    let long = "a".repeat(3_000);
    let cases: Vec<(&str, String, Vec<&str>, String, u16)> = vec![
        ("GET", "/scim/v2/Nothing".into(), vec![auth], String::new(), 404),
        ("GET", "/elsewhere".into(), vec![auth], String::new(), 404),
        ("GET", "/scim/v2/Me".into(), vec![auth], String::new(), 501),
        ("POST", "/scim/v2/Me".into(), vec![auth], "{}".into(), 501),
        ("DELETE", "/scim/v2/Users".into(), vec![auth], String::new(), 405),
        ("BREW", "/scim/v2/Users".into(), vec![auth], String::new(), 405),
        ("GET", "/scim/v2/Bulk".into(), vec![auth], String::new(), 405),
        ("POST", "/scim/v2/Users".into(), vec![auth, "Content-Type: text/xml"], "<a/>".into(), 415),
        ("POST", "/scim/v2/Users".into(), vec![auth, "Content-Encoding: gzip"], "x".into(), 415),
        ("POST", "/scim/v2/Users".into(), vec![auth], "{".into(), 400),
        ("POST", "/scim/v2/Users".into(), vec![auth], String::new(), 400),
        ("POST", "/scim/v2/Users".into(), vec![auth], user(&long), 413),
        ("POST", "/scim/v2/Groups".into(), vec![auth], group(&"a".repeat(9_000), &[]), 413),
        ("POST", "/scim/v2/Groups".into(), vec![auth], group(&"a".repeat(500), &[]), 201),
        ("GET", format!("/scim/v2/Users?x={}", "a".repeat(9_000)), vec![auth], String::new(), 414),
        ("GET", "/scim/v2/Users?filter=%FF".into(), vec![auth], String::new(), 400),
        ("GET", "/scim/v2/Users".into(), vec![auth, auth], String::new(), 400),
        ("GET", "/scim/v2/Users".into(), vec![auth, "Host: other"], String::new(), 400),
        ("GET", "/scim/v2/Schemas?filter=id%20pr".into(), vec![auth], String::new(), 403),
        ("GET", "/scim/v2/Schemas/urn:none".into(), vec![auth], String::new(), 404),
    ];
    for (method, path, headers, body, status) in cases {
        let reply = server.send(method, &path, &headers, &body).await;
        let short: String = path.chars().take(60).collect();
        assert_eq!(reply.status, status, "{method} {short}: {}", reply.body);
        if status >= 400 {
            let error = reply.json();
            assert_eq!(error["status"], status.to_string(), "{method} {short}");
            assert_eq!(error["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
            assert!(!error["detail"].as_str().unwrap().is_empty());
        }
        if status == 405 {
            assert!(reply.header("allow").is_some(), "{method} {short}");
        }
    }
    let many: Vec<String> = (0..70).map(|n| format!("X-{n}: 1")).chain([authorization.clone()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.send("GET", "/scim/v2/Users", &many, "").await.expect(431);
    let no_host = format!("GET /scim/v2/Users HTTP/1.1\r\n{auth}\r\nConnection: close\r\n\r\n");
    server.raw(no_host.as_bytes()).await.expect(400);
    let options = server.send("OPTIONS", "/scim/v2/Users", &[auth], "").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
    let plain = server.send("GET", "/scim/v2/Schemas", &[auth, "Accept: application/json"], "").await;
    assert_eq!(plain.header("content-type"), Some("application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_outside_allow_from_is_refused_before_its_token_is_looked_at() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let settings = Settings {
        allow_from: vec!["192.0.2.0/24".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Settings::default()
    };
    let server = Server::scim_with(&store, settings, Limits::default());
    server.scim_request(&token, "GET", "/Schemas", "").await.expect(403);
    let authorization = format!("Authorization: Bearer {token}");
    let through = [&*authorization, "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Proto: https"];
    let config = server.send("GET", "/scim/v2/ServiceProviderConfig", &through, "").await.expect(200);
    assert!(config["meta"]["location"].as_str().unwrap().starts_with("https://scim.test/"));
    server.send("GET", "/healthz", &[], "").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_creates_what_refers_to_each_other_and_names_each_failure() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let server = Server::scim(&store);
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {"displayName": "Crew",
                "members": [{"value": "bulkId:u"}]}},
            {"method": "POST", "path": "/Users", "bulkId": "u", "data": {"userName": "u@example.com"}},
            {"method": "POST", "path": "/Users", "bulkId": "v", "data": {"userName": "U@example.com"}},
            {"method": "DELETE", "path": format!("/Users/{MISSING}")},
        ],
    });
    let answer = server.scim_request(&token, "POST", "/Bulk", &body.to_string()).await.expect(200);
    let statuses: Vec<&str> =
        answer["Operations"].as_array().unwrap().iter().map(|o| o["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "201", "409", "404"]);
    let location = answer["Operations"][0]["location"].as_str().unwrap();
    let path = location.strip_prefix("http://scim.test/scim/v2").unwrap();
    let crew = server.scim_request(&token, "GET", path, "").await.expect(200);
    assert_eq!(crew["members"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn quirks_that_fire_are_counted_by_directory_and_name() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Entra).await;
    let server = Server::scim(&store);
    let id = created(&server, &token, "/Users", &user("a@example.com")).await;
    let body = patch(&json!([{"op": "Replace", "path": "active", "value": "False"}]));
    server.scim_request(&token, "PATCH", &format!("/Users/{id}"), &body).await.expect(204);
    let text = server.metrics.render("");
    assert!(text.contains("rosterd_scim_quirks_total{directory=\"acme\",quirk="), "{text}");
    assert!(text.contains("route=\"Users/{id}\",method=\"PATCH\",status=\"204\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_by_number_and_by_cursor_sorted_and_searched() {
    let store = Store::new();
    let (token, _) = store.directory("acme", DirectoryKind::Generic).await;
    let (other, _) = store.directory("other", DirectoryKind::Generic).await;
    let server = Server::scim(&store);
    created(&server, &other, "/Users", &user("foreign@example.com")).await;
    for name in ["c", "a", "e", "b", "d"] {
        created(&server, &token, "/Users", &user(&format!("{name}@example.com"))).await;
    }
    created(&server, &token, "/Groups", &group("Crew", &[])).await;
    let names = |list: &Value| -> String {
        let found = list["Resources"].as_array().unwrap().iter();
        found.filter_map(|r| r["userName"].as_str().or(r["displayName"].as_str())?.chars().next()).collect()
    };
    let get = async |path: &str| server.scim_request(&token, "GET", path, "").await.expect(200);
    let page = get("/Users?startIndex=2&count=2").await;
    assert_eq!(
        (names(&page).as_str(), &page["totalResults"], &page["startIndex"]),
        ("ae", &json!(5), &json!(2))
    );
    let beyond = get("/Users?startIndex=99").await;
    assert_eq!((&beyond["totalResults"], &beyond["Resources"]), (&json!(5), &json!([])));
    assert_eq!(names(&get("/Users?sortBy=userName&sortOrder=descending").await), "edcba");
    for sort in ["", "&sortBy=userName"] {
        let (mut cursor, mut seen) = (String::new(), String::new());
        loop {
            let page = get(&format!("/Users?count=2&cursor={cursor}{sort}")).await;
            seen.push_str(&names(&page));
            assert_eq!(page["totalResults"], 5);
            match page["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(seen, if sort.is_empty() { "caebd" } else { "abcde" });
        let wrong = format!("/Users?count=2&cursor={cursor}&filter=active+eq+true");
        let error = server.scim_request(&token, "GET", &wrong, "").await.expect(400);
        assert_eq!(error["scimType"], "invalidCursor");
    }
    assert_eq!(names(&get("/Users?filter=userName+eq+%22A%40example.com%22").await), "a");
    let search = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": "userName sw \"b\"", "attributes": ["userName"]});
    let found = server.scim_request(&token, "POST", "/Users/.search", &search.to_string()).await.expect(200);
    assert_eq!(names(&found), "b");
    assert_eq!(found["Resources"][0]["active"], Value::Null);
    let everything = get("/").await;
    assert_eq!((names(&everything).as_str(), &everything["totalResults"]), ("caebdC", &json!(6)));
    assert_eq!(names(&get("/?startIndex=5&count=2").await), "dC");
    let root = json!({"filter": "displayName eq \"crew\""}).to_string();
    let found = server.scim_request(&token, "POST", "/.search", &root).await.expect(200);
    assert_eq!(names(&found), "C");
    for wrong in ["/Users?filter=nosuch+eq+1", "/?filter=nosuch+eq+1", "/Users?filter=userName"] {
        let error = server.scim_request(&token, "GET", wrong, "").await.expect(400);
        assert_eq!(error["scimType"], "invalidFilter", "{wrong}");
    }
}
