//! SCIM to the letter over real HTTP: cursors under concurrent writes, versions, bulk, methods, discovery, and
//! resources that come back as they went in.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim, id_of};
use crate::support::http::Response;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn with(scim: &mut Scim, method: &str, path: &str, more: &[(&str, &str)], body: Option<&Value>) -> Response {
    let bearer = format!("Bearer {}", scim.token);
    let mut headers = vec![("Authorization", bearer.as_str())];
    if body.is_some() {
        headers.push(("Content-Type", "application/scim+json"));
    }
    headers.extend(more);
    let bytes = body.map(|b| b.to_string().into_bytes());
    scim.client.send(method, &format!("/scim/v2{path}"), &headers, bytes.as_deref()).unwrap()
}

fn said(response: &Response) -> (u16, String) {
    (response.status, response.json()["scimType"].as_str().unwrap_or_default().to_owned())
}

fn names(page: &Value) -> Vec<String> {
    let name = |one: &Value| one["userName"].as_str().or(one["displayName"].as_str()).unwrap().to_owned();
    page["Resources"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn cursors_hold_while_others_write() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let mut ids = Vec::new();
    for n in 0..40 {
        // The order of names is not the order of creation.
        ids.push((format!("u{:02}", (n * 7) % 40), scim.create_user(&format!("u{:02}", (n * 7) % 40))));
    }
    let config = scim.get("/ServiceProviderConfig").expect(200).json();
    assert_eq!(
        (&config["pagination"]["cursor"], &config["pagination"]["cursorTimeout"]),
        (&json!(true), &json!(3600))
    );
    for order in ["", "&sortBy=userName", "&sortBy=userName&sortOrder=descending", "&sortBy=title"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        let mut round = 0;
        let (mut gone, mut come) = (BTreeSet::new(), Vec::new());
        loop {
            let page = scim.get(&format!("/Users?cursor={cursor}&count=7{order}")).expect(200).json();
            assert!(page.get("startIndex").is_none());
            seen.extend(names(&page));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = next.to_owned();
            // Somebody who was shown goes, somebody not shown yet goes, and others come at both ends.
            let other = seen[seen.len() - 3].clone();
            let later =
                ids.iter().map(|(name, _)| name.clone()).find(|n| !seen.contains(n) && !gone.contains(n));
            for name in [Some(other), later].into_iter().flatten() {
                if let Some((_, id)) = ids.iter().find(|(known, _)| *known == name) {
                    scim.send("DELETE", &format!("/Users/{id}"), None);
                    gone.insert(name);
                }
            }
            for name in [format!("a{round}"), format!("z{round}")] {
                come.push(scim.create_user(&name));
            }
            round += 1;
        }
        let unique: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "{order}: nobody is shown twice");
        for (name, _) in ids.iter().filter(|(name, _)| !gone.contains(name)) {
            assert!(unique.contains(name), "{order}: {name} stayed and was not shown");
        }
        for id in come {
            scim.send("DELETE", &format!("/Users/{id}"), None);
        }
        ids.retain(|(name, _)| !gone.contains(name));
        for name in gone {
            ids.push((name.clone(), scim.create_user(&name)));
        }
    }
}

#[test]
fn a_cursor_that_is_not_of_this_query_is_refused() {
    let daemon = Daemon::start("");
    let (one, two) = (daemon.add_directory("One", "generic"), daemon.add_directory("Two", "generic"));
    let (mut scim, mut other) = (daemon.scim(&one), daemon.scim(&two));
    for n in 0..3 {
        scim.create_user(&format!("u{n}"));
        other.create_user(&format!("u{n}"));
    }
    let first = scim.get("/Users?cursor&count=1&sortBy=userName").expect(200).json();
    let cursor = first["nextCursor"].as_str().unwrap().to_owned();
    scim.get(&format!("/Users?cursor={cursor}&count=2&sortBy=userName")).expect(200);
    let invalid = (400, "invalidCursor".to_owned());
    assert_eq!(said(&other.get(&format!("/Users?cursor={cursor}&sortBy=userName"))), invalid);
    assert_eq!(said(&scim.get(&format!("/Users?cursor={cursor}"))), invalid);
    assert_eq!(said(&scim.get(&format!("/Groups?cursor={cursor}&sortBy=displayName"))), invalid);
    assert_eq!(
        said(&scim.get(&format!("/Users?cursor={cursor}&sortBy=userName&filter=active%20eq%20true"))),
        invalid
    );
    assert_eq!(said(&scim.get("/Users?cursor=x")), invalid);
    for at in [0, 9, cursor.len() - 1] {
        let mut altered = cursor.clone().into_bytes();
        altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(said(&scim.get(&format!("/Users?cursor={altered}&sortBy=userName"))), invalid);
    }
    assert_eq!(said(&scim.get("/Users?cursor=&count=0")), (400, "invalidCount".to_owned()));
    let search =
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "cursor": "", "count": 2});
    let found = scim.send("POST", "/.search", Some(&search)).expect(200).json();
    assert!(found["nextCursor"].is_string());
}

#[test]
fn the_root_sorts_users_and_groups_together() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    for name in ["b", "d"] {
        scim.create_user(name);
    }
    for name in ["a", "c", "E"] {
        scim.create_group(name, &[]);
    }
    let sorted = scim.get("/?sortBy=displayName").expect(200).json();
    assert_eq!(
        (names(&sorted), &sorted["totalResults"]),
        (["a", "b", "c", "d", "E"].map(str::to_owned).to_vec(), &json!(5))
    );
    let part = scim.get("/?sortBy=displayName&sortOrder=descending&startIndex=2&count=2").expect(200).json();
    assert_eq!(names(&part), ["d", "c"]);
    // Groups have no userName: missing values come last ascending and first descending.
    assert_eq!(names(&scim.get("/?sortBy=userName").json())[..2], ["b", "d"]);
    assert_eq!(names(&scim.get("/?sortBy=userName&sortOrder=descending").json())[3..], ["d", "b"]);
    assert_eq!(names(&scim.get("/").json()), ["b", "d", "a", "c", "E"]);
    assert_eq!(
        names(&scim.get("/?filter=displayName%20ge%20%22c%22&sortBy=meta.created").json()),
        ["d", "c", "E"]
    );
    assert_eq!(said(&scim.get("/?sortBy=nothing")), (400, "invalidValue".to_owned()));
    assert_eq!(said(&scim.get("/?filter=nothing%20pr")), (400, "invalidFilter".to_owned()));
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = scim.get(&format!("/?cursor={cursor}&count=2&sortBy=displayName")).expect(200).json();
        all.extend(names(&page));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(all, ["a", "b", "c", "d", "E"]);
}

#[test]
fn versions_guard_every_write_and_spare_reads() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("ann");
    let path = format!("/Users/{user}");
    let whole = scim.get(&path).expect(200);
    let etag = whole.header("ETag").unwrap().to_owned();
    assert_eq!(whole.json()["meta"]["version"], etag.as_str());
    let unchanged = with(&mut scim, "GET", &path, &[("If-None-Match", &etag)], None);
    assert_eq!(
        (unchanged.status, unchanged.header("ETag"), unchanged.body.len()),
        (304, Some(etag.as_str()), 0)
    );
    with(&mut scim, "GET", &path, &[("If-None-Match", "W/\"99\"")], None).expect(200);
    let patch = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": "T"}]});
    let put = json!({"schemas": [USER], "userName": "ann", "title": "U"});
    for (method, body) in [("PATCH", Some(&patch)), ("PUT", Some(&put)), ("DELETE", None)] {
        let refused = with(&mut scim, method, &path, &[("If-Match", "W/\"99\"")], body);
        assert_eq!((refused.status, refused.json()["status"].clone()), (412, json!("412")), "{method}");
    }
    let patched =
        with(&mut scim, "PATCH", &path, &[("If-Match", &format!("\"x\", {etag}"))], Some(&patch)).expect(200);
    let newer = patched.header("ETag").unwrap().to_owned();
    assert_ne!(newer, etag);
    assert_eq!(with(&mut scim, "PUT", &path, &[("If-Match", &etag)], Some(&put)).status, 412);
    with(&mut scim, "PUT", &path, &[("If-Match", "*")], Some(&put)).expect(200);
    let bulk = |version: &str| json!({"schemas": [BULK], "Operations": [{"method": "PATCH", "path": path, "version": version, "data": patch}]});
    let stale = scim.send("POST", "/Bulk", Some(&bulk(&newer))).expect(200).json();
    assert_eq!(
        (&stale["Operations"][0]["status"], &stale["Operations"][0]["response"]["status"]),
        (&json!("412"), &json!("412"))
    );
    let current = scim.get(&path).header("ETag").unwrap().to_owned();
    let fresh = scim.send("POST", "/Bulk", Some(&bulk(&current))).expect(200).json();
    assert_eq!(fresh["Operations"][0]["status"], "200");
    let last = fresh["Operations"][0]["version"].as_str().unwrap().to_owned();
    assert_eq!(scim.get(&path).header("ETag"), Some(last.as_str()));
    with(&mut scim, "DELETE", &path, &[("If-Match", &last)], None).expect(204);
    scim.get(&path).expect(404);
}

#[test]
fn every_endpoint_names_its_methods_and_head_is_get_without_a_body() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("ann");
    let one = format!("/Users/{user}");
    for (path, wrong, allow) in [
        ("/Users", "DELETE", "GET, HEAD, POST, OPTIONS"),
        ("/Groups", "PUT", "GET, HEAD, POST, OPTIONS"),
        (one.as_str(), "POST", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/Bulk", "GET", "POST, OPTIONS"),
        ("/.search", "GET", "POST, OPTIONS"),
        ("/Users/.search", "GET", "POST, OPTIONS"),
        ("/Schemas", "POST", "GET, HEAD, OPTIONS"),
        ("/ResourceTypes/User", "PATCH", "GET, HEAD, OPTIONS"),
        ("/ServiceProviderConfig", "DELETE", "GET, HEAD, OPTIONS"),
    ] {
        let options = with(&mut scim, "OPTIONS", path, &[], None);
        assert_eq!((options.status, options.header("Allow")), (204, Some(allow)), "{path}");
        let refused =
            with(&mut scim, wrong, path, &[], (wrong != "GET" && wrong != "DELETE").then_some(&json!({})));
        assert_eq!((refused.status, refused.header("Allow")), (405, Some(allow)), "{wrong} {path}");
        assert_eq!(refused.json()["status"], "405");
        if allow.contains("HEAD") {
            let (head, get) = (with(&mut scim, "HEAD", path, &[], None), scim.get(path));
            assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
            assert_eq!(head.header("Content-Length"), get.header("Content-Length"), "{path}");
            assert_eq!(head.header("ETag"), get.header("ETag"), "{path}");
        }
    }
    for path in ["/Schemas", "/ResourceTypes", "/ServiceProviderConfig"] {
        let refused = scim.get(&format!("{path}?filter=name%20eq%20%22User%22"));
        assert_eq!((refused.status, refused.json()["status"].clone()), (403, json!("403")), "{path}");
        scim.get(&format!("{path}?sortBy=x&startIndex=9")).expect(200);
    }
}

#[test]
fn bulk_links_forward_in_circles_and_inside_path_filters() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let old = scim.create_group("Old", &[]);
    let group = |name: &str, member: &str| json!({"schemas": [GROUP], "displayName": name, "members": [{"value": member, "type": "Group"}]});
    let request = json!({"schemas": [BULK], "Operations": [
        {"method": "POST", "path": "/Groups", "bulkId": "a", "data": group("A", "bulkId:b")},
        {"method": "POST", "path": "/Groups", "bulkId": "b", "data": group("B", "bulkId:a")},
        {"method": "POST", "path": "/Groups", "bulkId": "f", "data": {"schemas": [GROUP], "displayName": "F", "members": [{"value": "bulkId:u"}]}},
        {"method": "POST", "path": "/Users", "bulkId": "u", "data": {"schemas": [USER], "userName": "ann", "displayName": "Ann"}},
        {"method": "PATCH", "path": format!("/Groups/{old}"), "data": {"schemas": [PATCH], "Operations": [
            {"op": "add", "path": "members", "value": [{"value": "bulkId:u"}, {"value": "bulkId:f"}]},
            {"op": "remove", "path": "members[value eq \"bulkId:f\"]"}]}},
        {"method": "PUT", "path": "/Users/bulkId:u", "data": {"schemas": [USER], "userName": "ann2"}},
        {"method": "POST", "path": "/Users", "bulkId": "v", "data": {"schemas": [USER], "userName": "ANN2"}},
        {"method": "POST", "path": "/Groups", "bulkId": "w", "data": {"schemas": [GROUP], "displayName": "W", "members": [{"value": "bulkId:v"}]}},
    ]});
    let done = scim.send("POST", "/Bulk", Some(&request)).expect(200).json();
    let all = done["Operations"].as_array().unwrap();
    let statuses: Vec<&str> = all.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "201", "201", "201", "200", "200", "409", "400"], "{done}");
    // What a later operation changed again has a newer version by now.
    for one in [0, 1, 2, 4, 5].map(|at| &all[at]) {
        let location = one["location"].as_str().unwrap();
        let path = location.split_once("/scim/v2").unwrap().1;
        assert_eq!(scim.get(path).expect(200).json()["meta"]["version"], one["version"], "{location}");
    }
    assert!(all[6].get("location").is_none() && all[6]["response"]["scimType"] == "uniqueness");
    let id = |at: usize| all[at]["location"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let members = |scim: &mut Scim, group: &str| {
        let shown = scim.get(&format!("/Groups/{group}")).expect(200).json();
        shown["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["value"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((members(&mut scim, &id(0)), members(&mut scim, &id(1))), (vec![id(1)], vec![id(0)]));
    assert_eq!((members(&mut scim, &id(2)), members(&mut scim, &old)), (vec![id(3)], vec![id(3)]));
}

#[test]
fn bulk_stops_at_its_limits() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let bulk = scim.get("/ServiceProviderConfig").json()["bulk"].clone();
    let (operations_max, payload_max) =
        (bulk["maxOperations"].as_u64().unwrap(), bulk["maxPayloadSize"].as_u64().unwrap());
    let missing = json!({"method": "DELETE", "path": "/Users/0190b5a4-0000-7000-8000-000000000000"});
    let good = |n: usize| json!({"method": "POST", "path": "/Users", "bulkId": format!("b{n}"), "data": {"schemas": [USER], "userName": format!("u{n}")}});
    let request = json!({"schemas": [BULK], "failOnErrors": 2, "Operations": [good(0), missing, good(1), missing, good(2)]});
    let done = scim.send("POST", "/Bulk", Some(&request)).expect(200).json();
    let statuses: Vec<&str> =
        done["Operations"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "404", "201", "404"]);
    assert_eq!(scim.get("/Users").json()["totalResults"], 2);
    let many =
        json!({"schemas": [BULK], "Operations": vec![missing; usize::try_from(operations_max).unwrap() + 1]});
    let refused = scim.send("POST", "/Bulk", Some(&many));
    assert_eq!((refused.status, refused.json()["status"].clone()), (413, json!("413")));
    let title = "a".repeat(usize::try_from(payload_max).unwrap());
    let large = json!({"schemas": [BULK], "Operations": [{"method": "POST", "path": "/Users", "bulkId": "x", "data": {"userName": "x", "title": title}}]});
    let refused = scim.send("POST", "/Bulk", Some(&large));
    assert_eq!((refused.status, refused.json()["status"].clone()), (413, json!("413")));
    assert_eq!(scim.get("/Users").json()["totalResults"], 2);
}

#[test]
fn addresses_follow_a_proxy_only_if_it_is_trusted() {
    let forwarded = [
        ("Host", "in.example.com:81"),
        ("X-Forwarded-Host", "scim.example.com"),
        ("X-Forwarded-Proto", "https"),
    ];
    for (extra, expected) in [
        ("", "http://in.example.com:81/scim/v2/Users/"),
        ("trusted_proxies = [\"127.0.0.1\"]\n", "https://scim.example.com/scim/v2/Users/"),
        (
            "trusted_proxies = [\"127.0.0.1\"]\npublic_url = \"https://id.example.org\"\n",
            "https://id.example.org/scim/v2/Users/",
        ),
    ] {
        let mut daemon = Daemon::prepare("");
        let config = std::fs::read_to_string(daemon.config()).unwrap();
        std::fs::write(daemon.config(), config.replace("[admin]", &format!("{extra}[admin]"))).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "generic");
        let mut scim = daemon.scim(&directory);
        let body = json!({"schemas": [USER], "userName": "ann"});
        let made = with(&mut scim, "POST", "/Users", &forwarded, Some(&body)).expect(201);
        let location = made.header("Location").unwrap().to_owned();
        assert!(location.starts_with(expected), "{location}");
        assert_eq!(made.json()["meta"]["location"], location.as_str());
        let config = with(&mut scim, "GET", "/ServiceProviderConfig", &forwarded, None).json();
        assert!(
            config["meta"]["location"].as_str().unwrap().starts_with(expected.trim_end_matches("Users/"))
        );
    }
}

/// Most proxies write one kind of header and hand the other on as the client sent it.
#[test]
fn a_client_behind_a_proxy_cannot_say_who_it_is() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bounds = "trusted_proxies = [\"127.0.0.1\"]\nallow_from = [\"192.0.2.0/24\"]\n";
    let mut daemon = Daemon::prepare(&format!("[publish]\nlisten = \"{free}\"\n{bounds}"));
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config.replacen("[admin]", &format!("{bounds}[admin]"), 1)).unwrap();
    daemon.run();
    for (address, path) in [(daemon.address, "/scim/v2/Users"), (free, "/events")] {
        let mut proxy = crate::support::http::Client::new(address);
        let mut status = |headers: &[(&str, &str)]| proxy.send("GET", path, headers, None).unwrap().status;
        assert_eq!(status(&[("X-Forwarded-For", "198.51.100.1")]), 403);
        assert_eq!(status(&[("X-Forwarded-For", "192.0.2.7")]), 401, "it is let in, and has no token");
        assert_eq!(status(&[("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "for=192.0.2.7")]), 400);
        assert_eq!(status(&[("Forwarded", "for=198.51.100.1"), ("X-Forwarded-For", "192.0.2.7")]), 400);
        assert_eq!(
            status(&[("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7;proto=https")]),
            401
        );
    }
}

/// Users from sparse to full, with what no schema knows.
fn people() -> Vec<Value> {
    let full = json!({"schemas": [USER, ENTERPRISE, "urn:okta:acme:1.0:user:custom"], "externalId": "00u\"1\\", "userName": "Ann@Example.com",
        "name": {"formatted": "Ann É. Ng", "familyName": "Ng", "givenName": "Ann", "middleName": "É", "honorificPrefix": "Dr", "honorificSuffix": "III"},
        "displayName": "漢 \u{1F600}", "nickName": "", "profileUrl": "https://x.example/ann", "title": "T", "userType": "Employee",
        "preferredLanguage": "en-US", "locale": "en-US", "timezone": "Europe/Berlin", "active": false,
        "emails": [{"value": "a@x", "type": "work", "primary": true, "display": "A"}, {"value": "h@x", "type": "home"}],
        "phoneNumbers": [{"value": "tel:+1-555", "type": "mobile"}], "ims": [{"value": "ann", "type": "xmpp"}],
        "photos": [{"value": "https://x.example/p.png", "type": "photo"}],
        "addresses": [{"formatted": "1 Way\nNewport", "streetAddress": "1 Way", "locality": "Newport", "region": "R", "postalCode": "1", "country": "US", "type": "work", "primary": true}],
        "entitlements": [{"value": "e"}], "roles": [{"value": "{\"id\":1}", "primary": true}], "x509Certificates": [{"value": "MIIB"}],
        ENTERPRISE: {"employeeNumber": "701984", "costCenter": "4130", "organization": "O", "division": "D", "department": "R", "manager": {"value": "m1", "$ref": "../Users/m1"}},
        "urn:okta:acme:1.0:user:custom": {"shoe": 42, "odd": [1, 2.5, {"a": true}]}, "customTop": "kept", "big": 9_007_199_254_740_993_i64});
    vec![json!({"schemas": [USER], "userName": "bare"}), full]
}

#[test]
fn what_goes_in_comes_out_and_sending_it_back_changes_nothing() {
    let daemon = Daemon::start("");
    for kind in ["generic", "okta", "entra"] {
        let directory = daemon.add_directory(kind, kind);
        let mut scim = daemon.scim(&directory);
        for person in people() {
            let made = scim.send("POST", "/Users", Some(&person)).expect(201);
            let id = id_of(&made);
            let crew = scim.create_group(&format!("Crew {id}"), &[&id]);
            for path in [format!("/Users/{id}"), format!("/Groups/{crew}")] {
                let before = scim.get(&path).expect(200);
                let shown = before.json();
                let seq = daemon.cli_json(&["status"])["seq"].clone();
                let after = scim.send("PUT", &path, Some(&shown)).expect(200);
                assert_eq!(after.json(), shown, "{kind} {path}");
                assert_eq!(after.header("ETag"), before.header("ETag"));
                assert_eq!(daemon.cli_json(&["status"])["seq"], seq, "{kind} {path}: a change was made");
            }
            let shown = scim.get(&format!("/Users/{id}")).json();
            for (name, value) in person.as_object().unwrap() {
                if name == "schemas" {
                    continue;
                }
                assert_eq!(&shown[name], value, "{kind}: {name}");
            }
        }
    }
}

#[test]
fn quirks_that_act_on_the_document_are_counted() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("ann");
    let path = format!("/Users/{user}");
    scim.patch(&path, json!([{"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "1"}, {"op": "remove", "path": "active"}, {"op": "add", "path": "noSuch", "value": "x"}])).expect(200);
    let mut stream = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    for quirk in ["op-letter-case", "create-from-filter", "removed-active", "unknown-paths"] {
        assert!(
            metrics.lines().any(|line| line.contains(&format!("\"{quirk}\"")) && line.ends_with(" 1")),
            "{quirk}\n{metrics}"
        );
    }
    assert_eq!(scim.get(&path).json()["active"], false);
}

#[test]
fn a_removed_active_takes_access_away_for_every_kind() {
    let daemon = Daemon::start(
        "[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\npath = \"{dir}/out.json\"\nwait = { revoke = \"10ms\", min = \"20ms\", max = \"200ms\" }\n",
    );
    for (kind, shown) in [("generic", json!(null)), ("entra", json!(false))] {
        let directory = daemon.add_directory(kind, kind);
        let mut scim = daemon.scim(&directory);
        let user = scim.create_user(&format!("ann-{kind}"));
        crate::support::wait_until("the user is shown", || {
            daemon.read("out.json").contains(&format!("ann-{kind}"))
        });
        let path = format!("/Users/{user}");
        scim.patch(&path, json!([{"op": "remove", "path": "active"}]));
        assert_eq!(scim.get(&path).json()["active"], shown);
        crate::support::wait_until("the user is gone", || {
            !daemon.read("out.json").contains(&format!("ann-{kind}"))
        });
        // A PUT that does not say so brings nobody back.
        scim.send(
            "PUT",
            &path,
            Some(&json!({"schemas": [USER], "userName": format!("ann-{kind}"), "title": "T"})),
        )
        .expect(200);
        assert_eq!(scim.get(&path).json()["active"], shown);
    }
}
