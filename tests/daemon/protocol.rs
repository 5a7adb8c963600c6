//! What RFC 7643, RFC 7644 and RFC 9865 ask of a service provider, seen from outside. `docs/scim.md` names these
//! tests rule by rule.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim, id_of};
use crate::support::http::Response;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const NOBODY: &str = "0190b5a4-0000-7000-8000-000000000000";

fn start() -> (Daemon, Scim) {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let scim = daemon.scim(&directory);
    (daemon, scim)
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn user(name: &str, more: Value) -> Value {
    let mut body = json!({"schemas": [USER], "userName": name});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn create(scim: &mut Scim, body: &Value) -> String {
    id_of(&scim.send("POST", "/Users", Some(body)).expect(201))
}

fn with(scim: &mut Scim, method: &str, path: &str, header: (&str, &str), body: Option<&Value>) -> Response {
    let bearer = format!("Bearer {}", scim.token);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/scim+json"), header];
    let bytes = body.map(|b| b.to_string().into_bytes());
    scim.client.send(method, &format!("/scim/v2{path}"), &headers, bytes.as_deref()).unwrap()
}

fn refused(answer: &Response, status: u16, scim_type: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["scimType"].as_str().unwrap_or_default(), scim_type, "{body}");
    assert_eq!(body["status"], status.to_string(), "{body}");
    assert_eq!(body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
}

/// The userNames of what a filter finds, sorted.
fn found(scim: &mut Scim, filter: &str) -> Vec<String> {
    let answer = scim.get(&format!("/Users?filter={}", encode(filter)));
    assert_eq!(answer.status, 200, "{filter}: {}", answer.text());
    let mut names = names(&answer.json());
    names.sort();
    names
}

fn names(list: &Value) -> Vec<String> {
    let all = list["Resources"].as_array().unwrap();
    all.iter().map(|one| one["userName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn filters_find_what_the_grammar_says() {
    let (_daemon, mut scim) = start();
    create(
        &mut scim,
        &user(
            "ann",
            json!({"title": "Pilot", "externalId": "X1", "active": true,
        "emails": [{"type": "work", "value": "Ann@example.com", "primary": true}, {"type": "home", "value": "ann@example.org"}],
        "name": {"familyName": "O'Hara"}, ENTERPRISE: {"department": "Research", "employeeNumber": "7"}}),
        ),
    );
    create(
        &mut scim,
        &user(
            "bob",
            json!({"title": "Cook", "active": false,
        "emails": [{"type": "home", "value": "bob@example.com"}]}),
        ),
    );
    create(&mut scim, &user("cas", json!({"externalId": "x1", "userType": "Guest"})));
    for (filter, wanted) in [
        ("userName eq \"ANN\"", &["ann"][..]),
        ("USERNAME Eq \"ann\"", &["ann"]),
        ("externalId eq \"X1\"", &["ann"]),
        ("userName ne \"ann\"", &["bob", "cas"]),
        ("title co \"o\"", &["ann", "bob"]),
        ("userName sw \"c\"", &["cas"]),
        ("userName ew \"B\"", &["bob"]),
        ("title pr", &["ann", "bob"]),
        ("not (title pr)", &["cas"]),
        ("title ne \"Pilot\"", &["bob", "cas"]),
        ("not (title eq \"Pilot\")", &["bob", "cas"]),
        ("userName gt \"ann\" and userName lt \"cas\"", &["bob"]),
        ("userName ge \"bob\"", &["bob", "cas"]),
        ("userName le \"bob\"", &["ann", "bob"]),
        ("active eq true", &["ann", "cas"]),
        ("active eq false", &["bob"]),
        ("title eq null", &["cas"]),
        ("userName eq \"ann\" or userName eq \"bob\" and title eq \"Cook\"", &["ann", "bob"]),
        ("(userName eq \"ann\" or userName eq \"bob\") and title eq \"Cook\"", &["bob"]),
        ("emails[type eq \"work\" and value co \"example.com\"]", &["ann"]),
        ("emails[type eq \"work\" and value co \"example.org\"]", &[]),
        ("emails.type eq \"work\" and emails.value co \"example.org\"", &["ann"]),
        ("emails co \"bob@\"", &["bob"]),
        ("name.familyName eq \"o'hara\"", &["ann"]),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName eq \"bob\"", &["bob"]),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq \"research\"", &["ann"]),
        ("schemas eq \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User\"", &["ann"]),
        ("meta.created gt \"2020-01-01T00:00:00Z\"", &["ann", "bob", "cas"]),
        ("meta.lastModified lt \"2020-01-01T00:00:00+05:00\"", &[]),
        ("meta.resourceType eq \"User\"", &["ann", "bob", "cas"]),
    ] {
        assert_eq!(found(&mut scim, filter), wanted, "{filter}");
    }
    for wrong in [
        "userName",
        "userName xx \"a\"",
        "userName eq",
        "(userName pr",
        "active gt true",
        "noSuch eq \"a\"",
        "password eq \"a\"",
    ] {
        refused(&scim.get(&format!("/Users?filter={}", encode(wrong))), 400, "invalidFilter");
    }
}

#[test]
fn pages_by_number_follow_the_table_of_the_rfc() {
    let (_daemon, mut scim) = start();
    for n in 0..5 {
        create(&mut scim, &user(&format!("u{n}"), json!({})));
    }
    for (query, start, per_page) in [
        ("", 1, 5),
        ("?startIndex=0", 1, 5),
        ("?startIndex=-7", 1, 5),
        ("?startIndex=2&count=2", 2, 2),
        ("?startIndex=5&count=2", 5, 1),
        ("?startIndex=6", 6, 0),
        ("?count=0", 1, 0),
        ("?count=-1", 1, 0),
        ("?count=100000", 1, 5),
    ] {
        let list = scim.get(&format!("/Users{query}")).expect(200).json();
        assert_eq!(list["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:ListResponse"]));
        assert_eq!(list["totalResults"], 5, "{query}");
        assert_eq!(list["startIndex"], start, "{query}");
        assert_eq!(list["itemsPerPage"], per_page, "{query}");
        assert_eq!(list["Resources"].as_array().map_or(0, Vec::len), per_page, "{query}");
    }
    refused(&scim.get("/Users?count=many"), 400, "invalidValue");
    let empty = scim.get("/Groups").expect(200).json();
    assert_eq!((&empty["totalResults"], &empty["Resources"]), (&json!(0), &json!([])));
}

#[test]
fn a_cursor_walks_over_everything_once_while_others_write() {
    let (_daemon, mut scim) = start();
    for n in 0..7 {
        create(&mut scim, &user(&format!("u{n}"), json!({})));
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = scim.get(&format!("/Users?cursor={}&count=3", encode(&cursor))).expect(200).json();
        assert!(page["itemsPerPage"].as_u64().is_some_and(|n| n <= 3));
        seen.extend(names(&page));
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
        // What comes and goes between two pages neither shifts nor repeats the others.
        let id = create(&mut scim, &user(&format!("later{pages}"), json!({})));
        scim.send("DELETE", &format!("/Users/{id}"), None).expect(204);
    }
    seen.sort();
    assert_eq!(seen, ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]);
    assert!(pages >= 3);
    refused(&scim.get("/Users?cursor=nonsense&count=3"), 400, "invalidCursor");
    refused(&scim.get("/Users?cursor&count=-1"), 400, "invalidCount");
    assert_eq!(scim.get("/Users?cursor&startIndex=1").status, 400);
    let pagination = scim.get("/ServiceProviderConfig").expect(200).json()["pagination"].clone();
    assert_eq!((&pagination["cursor"], &pagination["index"]), (&json!(true), &json!(true)));
    assert!(pagination["maxPageSize"].is_u64() && pagination["defaultPageSize"].is_u64());
}

#[test]
fn a_list_is_sorted_by_type_and_missing_values_stand_last_or_first() {
    let (_daemon, mut scim) = start();
    create(&mut scim, &user("a", json!({"title": "beta"})));
    create(&mut scim, &user("b", json!({})));
    create(&mut scim, &user("c", json!({"title": "Alpha"})));
    let mut order = |query: &str| names(&scim.get(&format!("/Users?{query}")).expect(200).json());
    assert_eq!(order("sortBy=title"), ["c", "a", "b"]);
    assert_eq!(order("sortBy=title&sortOrder=descending"), ["b", "a", "c"]);
    assert_eq!(order("sortBy=userName&sortOrder=descending"), ["c", "b", "a"]);
    assert_eq!(order("sortBy=meta.created&sortOrder=descending"), ["c", "b", "a"]);
    assert_eq!(order("sortBy=meta.lastModified"), ["a", "b", "c"]);
    assert_eq!(order("sortBy=id").len(), 3);
    refused(&scim.get("/Users?sortBy=noSuchThing"), 400, "invalidValue");
    refused(&scim.get("/Users?sortBy=userName&sortOrder=sideways"), 400, "invalidValue");
}

#[test]
fn a_search_by_post_answers_like_the_query() {
    let (_daemon, mut scim) = start();
    let id = create(&mut scim, &user("ann", json!({"displayName": "Crew"})));
    let group = scim.create_group("Crew", &[&id]);
    let search = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": "displayName eq \"crew\"", "attributes": ["displayName"], "startIndex": 1, "count": 10});
    for (path, ids) in
        [("/Users/.search", vec![&id]), ("/Groups/.search", vec![&group]), ("/.search", vec![&id, &group])]
    {
        let list = scim.send("POST", path, Some(&search)).expect(200).json();
        let got: Vec<&str> =
            list["Resources"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
        assert_eq!(got, ids, "{path}");
        assert_eq!(list["totalResults"], ids.len());
        assert!(list["Resources"][0]["userName"].is_null() && list["Resources"][0]["members"].is_null());
        assert_eq!(list["Resources"][0]["displayName"], "Crew");
    }
}

#[test]
fn a_query_at_the_root_and_a_search_by_cursor_reach_everything() {
    let (_daemon, mut scim) = start();
    let id = create(&mut scim, &user("ann", json!({})));
    let group = scim.create_group("Crew", &[&id]);
    let list = scim.get("/?filter=id%20pr").expect(200).json();
    assert_eq!((&list["totalResults"], &list["Resources"][1]["id"]), (&json!(2), &json!(group)));
    create(&mut scim, &user("bob", json!({})));
    let mut search =
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "cursor": "", "count": 1});
    let first = scim.send("POST", "/Users/.search", Some(&search)).expect(200).json();
    search["cursor"] = first["nextCursor"].clone();
    let second = scim.send("POST", "/Users/.search", Some(&search)).expect(200).json();
    assert_eq!((names(&first), names(&second)), (vec!["ann".to_owned()], vec!["bob".to_owned()]));
    assert!(second["nextCursor"].is_null(), "{second}");
}

#[test]
fn a_bulk_operation_with_another_version_is_412_and_one_over_the_size_is_413() {
    let (_daemon, mut scim) = start();
    let made = scim.send("POST", "/Users", Some(&user("ann", json!({})))).expect(201);
    let path = format!("/Users/{}", id_of(&made));
    let put = |version: &str| {
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
            {"method": "PUT", "path": path, "version": version, "data": user("ann", json!({"title": "Pilot"}))}]})
    };
    for (version, status) in [("W/\"99\"", "412"), (made.header("ETag").unwrap(), "200")] {
        let answer = scim.send("POST", "/Bulk", Some(&put(version))).expect(200).json();
        assert_eq!(answer["Operations"][0]["status"], status, "{answer}");
    }
    let most =
        scim.get("/ServiceProviderConfig").expect(200).json()["bulk"]["maxPayloadSize"].as_u64().unwrap();
    let large = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "1", "data": user("big", json!({"title": "a".repeat(most as usize)}))}]});
    refused(&scim.send("POST", "/Bulk", Some(&large)), 413, "");
}

#[test]
fn versions_guard_writes_and_spare_reads() {
    let (_daemon, mut scim) = start();
    let made = scim.send("POST", "/Users", Some(&user("ann", json!({})))).expect(201);
    let path = format!("/Users/{}", id_of(&made));
    let first = made.header("ETag").unwrap().to_owned();
    assert!(first.starts_with("W/\""));
    assert_eq!(made.json()["meta"]["version"], *first);
    let put = user("ann", json!({"title": "Pilot"}));
    let replaced = with(&mut scim, "PUT", &path, ("If-Match", &first), Some(&put)).expect(200);
    let second = replaced.header("ETag").unwrap().to_owned();
    assert_ne!(first, second);
    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "title", "value": "Cook"}]});
    for (method, body) in [("PUT", Some(&put)), ("PATCH", Some(&patch)), ("DELETE", None)] {
        refused(&with(&mut scim, method, &path, ("If-Match", &first), body), 412, "");
    }
    assert_eq!(scim.get(&path).expect(200).json()["title"], "Pilot");
    let unchanged = with(&mut scim, "GET", &path, ("If-None-Match", &second), None);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    with(&mut scim, "GET", &path, ("If-None-Match", &first), None).expect(200);
    // A change that changes nothing is none.
    let same = with(&mut scim, "PUT", &path, ("If-Match", "*"), Some(&put)).expect(200);
    assert_eq!(same.header("ETag"), Some(second.as_str()));
    with(&mut scim, "PATCH", &path, ("If-Match", &second), Some(&patch)).expect(200);
    with(&mut scim, "DELETE", &path, ("If-Match", "*"), None).expect(204);
}

#[test]
fn what_only_the_server_writes_is_ignored_in_bodies_and_refused_in_patches() {
    let (_daemon, mut scim) = start();
    let mine = json!({"id": "mine", "meta": {"created": "1999-01-01T00:00:00Z", "version": "W/\"77\""},
        "groups": [{"value": NOBODY}], "password": "secret-secret"});
    let made = scim.send("POST", "/Users", Some(&user("ann", mine.clone()))).expect(201);
    let (id, body) = (id_of(&made), made.json());
    assert_ne!(id, "mine");
    assert!(body["groups"].is_null() && body["password"].is_null(), "{body}");
    assert!(!body["meta"]["created"].as_str().unwrap().starts_with("1999"));
    let path = format!("/Users/{id}");
    let put = scim.send("PUT", &path, Some(&user("ann", mine))).expect(200).json();
    assert_eq!((&put["id"], &put["meta"]["created"]), (&json!(id), &body["meta"]["created"]));
    for (attribute, value) in [
        ("id", json!("x")),
        ("meta.created", json!("2020-01-01T00:00:00Z")),
        ("groups", json!([{"value": NOBODY}])),
    ] {
        let answer = scim.patch(&path, json!([{"op": "replace", "path": attribute, "value": value}]));
        refused(&answer, 400, "mutability");
    }
    for list in ["/Users?attributes=password", "/Users"] {
        assert!(!scim.get(list).expect(200).text().contains("secret"), "{list}");
    }
    scim.send("PUT", &format!("/Users/{NOBODY}"), Some(&user("bob", json!({})))).expect(404);
}

#[test]
fn a_put_replaces_and_clears_what_it_leaves_out() {
    let (_daemon, mut scim) = start();
    let body = user(
        "ann",
        json!({"title": "Pilot", "active": false, "emails": [{"value": "a@example.com"}], ENTERPRISE: {"department": "R"}}),
    );
    let id = create(&mut scim, &body);
    let path = format!("/Users/{id}");
    let whole = scim.get(&path).expect(200).json();
    let again = scim.send("PUT", &path, Some(&whole)).expect(200).json();
    assert_eq!(again, whole, "what GET gave changes nothing");
    let short = scim.send("PUT", &path, Some(&user("Ann", json!({"displayName": "A"})))).expect(200).json();
    assert_eq!(
        (&short["userName"], &short["displayName"], &short["active"]),
        (&json!("Ann"), &json!("A"), &json!(false))
    );
    assert!(short["title"].is_null() && short["emails"].is_null() && short[ENTERPRISE].is_null(), "{short}");
    assert_eq!(short["schemas"], json!([USER]));
    refused(&scim.send("PUT", &path, Some(&json!({"schemas": [USER], "title": "x"}))), 400, "invalidValue");
    create(&mut scim, &user("bob", json!({})));
    refused(&scim.send("PUT", &path, Some(&user("BOB", json!({})))), 409, "uniqueness");
}

#[test]
fn a_patch_is_all_or_nothing_and_repeating_it_changes_nothing() {
    let (_daemon, mut scim) = start();
    let id = create(
        &mut scim,
        &user(
            "ann",
            json!({"title": "Pilot", "emails": [
        {"type": "work", "value": "a@example.com", "primary": true}, {"type": "home", "value": "h@example.com"}]}),
        ),
    );
    let path = format!("/Users/{id}");
    let before = scim.get(&path).expect(200).json();
    let failing = json!([{"op": "replace", "path": "title", "value": "Cook"}, {"op": "replace", "path": "userName", "value": 7}]);
    refused(&scim.patch(&path, failing), 400, "invalidValue");
    assert_eq!(scim.get(&path).expect(200).json(), before);
    // Adding what is there, removing what is not, replacing by the same.
    for operations in [
        json!([{"op": "add", "path": "title", "value": "Pilot"}]),
        json!([{"op": "add", "path": "emails", "value": [{"type": "home", "value": "h@example.com"}]}]),
        json!([{"op": "remove", "path": "nickName"}]),
        json!([{"op": "replace", "path": "title", "value": "Pilot"}]),
    ] {
        assert!(scim.patch(&path, operations.clone()).status < 300, "{operations}");
        assert_eq!(scim.get(&path).expect(200).json()["meta"], before["meta"], "{operations}");
    }
    scim.patch(
        &path,
        json!([{"op": "replace", "path": "emails[type eq \"home\"].value", "value": "new@example.com"},
        {"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}]),
    )
    .expect(200);
    let emails = scim.get(&path).expect(200).json()["emails"].clone();
    let primaries: Vec<&Value> = emails.as_array().unwrap().iter().filter(|e| e["primary"] == true).collect();
    assert_eq!((primaries.len(), &primaries[0]["value"]), (1, &json!("new@example.com")), "{emails}");
    scim.patch(&path, json!([{"op": "remove", "path": "emails[type eq \"work\"]"}])).expect(200);
    scim.patch(&path, json!([{"op": "remove", "path": "title"}])).expect(200);
    let after = scim.get(&path).expect(200).json();
    assert!(after["title"].is_null() && after["emails"].as_array().unwrap().len() == 1);
    refused(&scim.patch(&path, json!([{"op": "remove", "path": "userName"}])), 400, "mutability");
    refused(&scim.patch(&path, json!([{"op": "remove"}])), 400, "noTarget");
    refused(
        &scim.patch(&path, json!([{"op": "add", "path": "emails..value", "value": 1}])),
        400,
        "invalidPath",
    );
    scim.patch(&format!("/Users/{NOBODY}"), json!([{"op": "remove", "path": "title"}])).expect(404);
}

#[test]
fn discovery_is_complete_and_read_only() {
    let (_daemon, mut scim) = start();
    let config = scim.get("/ServiceProviderConfig").expect(200).json();
    for feature in ["patch", "bulk", "filter", "changePassword", "sort", "etag"] {
        assert!(config[feature]["supported"].is_boolean(), "{feature}");
    }
    assert_eq!(config["authenticationSchemes"][0]["type"], "oauthbearertoken");
    let types = scim.get("/ResourceTypes").expect(200).json();
    assert_eq!(types["totalResults"], 2);
    for one in types["Resources"].as_array().unwrap() {
        let own = scim.get(&format!("/ResourceTypes/{}", one["name"].as_str().unwrap())).expect(200).json();
        assert_eq!(&own, one);
        scim.get(one["endpoint"].as_str().unwrap()).expect(200);
        scim.get(&format!("/Schemas/{}", one["schema"].as_str().unwrap())).expect(200);
    }
    let schemas = scim.get("/Schemas").expect(200).json();
    let ids: Vec<&str> =
        schemas["Resources"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert!([USER, GROUP, ENTERPRISE].iter().all(|urn| ids.contains(urn)), "{ids:?}");
    for path in ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = scim.send(method, path, (method != "DELETE").then_some(&json!({})));
            refused(&answer, 405, "");
            assert!(answer.header("Allow").is_some_and(|allow| allow.contains("GET")), "{method} {path}");
        }
        assert_eq!(scim.get(&format!("{path}?filter=id%20pr")).status, 403, "{path}");
        scim.get(&format!("{path}?sortBy=id&count=1&startIndex=9")).expect(200);
    }
    for endpoint in ["/Me", "/me"] {
        refused(&scim.get(endpoint), 501, "");
    }
}

#[test]
fn bulk_stops_after_so_many_errors_and_refuses_what_is_over_its_limits() {
    let (_daemon, mut scim) = start();
    let post = |name: &str, id: &str| json!({"method": "POST", "path": "/Users", "bulkId": id, "data": user(name, json!({}))});
    let bulk = |operations: Vec<Value>, limit: Option<u64>| {
        let mut body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
        if let Some(limit) = limit {
            body["failOnErrors"] = json!(limit);
        }
        body
    };
    let some = vec![post("a", "1"), post("A", "2"), post("b", "3")];
    let answer = scim.send("POST", "/Bulk", Some(&bulk(some, Some(1)))).expect(200).json();
    assert_eq!(answer["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]));
    let statuses: Vec<&str> =
        answer["Operations"].as_array().unwrap().iter().map(|o| o["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "409"]);
    assert_eq!(answer["Operations"][1]["response"]["scimType"], "uniqueness");
    assert_eq!(answer["Operations"][0]["bulkId"], "1");
    assert!(found(&mut scim, "userName eq \"b\"").is_empty());
    let most =
        scim.get("/ServiceProviderConfig").expect(200).json()["bulk"]["maxOperations"].as_u64().unwrap();
    let too_many = (0..=most).map(|n| post(&format!("n{n}"), &n.to_string())).collect();
    assert_eq!(scim.send("POST", "/Bulk", Some(&bulk(too_many, None))).status, 413);
    assert!(found(&mut scim, "userName sw \"n\"").is_empty());
    // Each points at the other; only the server can know either id.
    let group = |id: &str, other: &str| {
        json!({"method": "POST", "path": "/Groups", "bulkId": id,
        "data": {"schemas": [GROUP], "displayName": id, "members": [{"type": "Group", "value": format!("bulkId:{other}")}]}})
    };
    let circle = scim
        .send("POST", "/Bulk", Some(&bulk(vec![group("x", "y"), group("y", "x")], None)))
        .expect(200)
        .json();
    assert_eq!(
        (&circle["Operations"][0]["status"], &circle["Operations"][1]["status"]),
        (&json!("201"), &json!("201")),
        "{circle}"
    );
}

#[test]
fn answers_carry_the_headers_and_the_meta_of_the_rfc() {
    let (_daemon, mut scim) = start();
    let made = scim.send("POST", "/Users", Some(&user("ann", json!({})))).expect(201);
    let body = made.json();
    let path = format!("/Users/{}", id_of(&made));
    assert_eq!(made.header("Location"), body["meta"]["location"].as_str());
    assert!(body["meta"]["location"].as_str().unwrap().ends_with(&path));
    assert_eq!(body["meta"]["resourceType"], "User");
    assert_eq!(body["meta"]["created"], body["meta"]["lastModified"]);
    assert_eq!(body["schemas"], json!([USER]));
    let head = scim.send("HEAD", &path, None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let read = scim.get(&path).expect(200);
    assert!(read.header("Content-Type").unwrap().starts_with("application/scim+json"));
    assert_eq!(read.header("ETag"), read.json()["meta"]["version"].as_str());
    scim.patch(&path, json!([{"op": "add", "path": "title", "value": "Pilot"}])).expect(200);
    let meta = scim.get(&path).expect(200).json()["meta"].clone();
    assert_eq!(meta["created"], body["meta"]["created"]);
    assert!(
        meta["lastModified"].as_str() >= body["meta"]["lastModified"].as_str()
            && meta["version"] != body["meta"]["version"]
    );
    let gone = scim.send("DELETE", &path, None).expect(204);
    assert!(gone.body.is_empty());
    for method in ["GET", "DELETE"] {
        refused(&scim.send(method, &path, None), 404, "");
    }
    assert!(found(&mut scim, "userName eq \"ann\"").is_empty());
    create(&mut scim, &user("ann", json!({})));
}

#[test]
fn attributes_and_excluded_attributes_choose_in_every_answer_with_a_body() {
    let (_daemon, mut scim) = start();
    let body = user(
        "ann",
        json!({"title": "Pilot", "name": {"givenName": "Ann", "familyName": "Vale"}, ENTERPRISE: {"department": "R"}}),
    );
    let made = scim.send("POST", "/Users?attributes=title", Some(&body)).expect(201).json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let path = format!("/Users/{}", made["id"].as_str().unwrap());
    assert!(made["title"] == "Pilot" && made["userName"].is_null(), "{made}");
    for (query, wanted, unwanted) in [
        ("attributes=name.givenName", "/name/givenName", "/name/familyName"),
        ("attributes=NAME", "/name/familyName", "/title"),
        ("attributes=urn:ietf:params:scim:schemas:core:2.0:User:title", "/title", "/name"),
        (
            "attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department",
            "/title",
        ),
        ("excludedAttributes=title", "/name/givenName", "/title"),
        ("excludedAttributes=name.givenName,id", "/id", "/name/givenName"),
    ] {
        for answer in
            [scim.get(&format!("{path}?{query}")), scim.send("PUT", &format!("{path}?{query}"), Some(&body))]
        {
            let answer = answer.expect(200).json();
            assert!(answer.pointer(wanted).is_some(), "{query}: {:?}", keys(&answer));
            assert!(answer.pointer(unwanted).is_none(), "{query}: {:?}", keys(&answer));
            assert!(answer["id"].is_string() && answer["schemas"].is_array(), "{query}");
        }
    }
}

#[test]
fn a_user_shows_its_groups_direct_and_indirect_and_they_follow() {
    let (_daemon, mut scim) = start();
    let id = create(&mut scim, &user("ann", json!({})));
    let inner = scim.create_group("Inner", &[&id]);
    let outer = scim.create_group("Outer", &[]);
    let nested = json!([{"op": "add", "path": "members", "value": [{"value": inner, "type": "Group"}]}]);
    scim.patch(&format!("/Groups/{outer}"), nested).expect(200);
    let groups = |scim: &mut Scim| {
        let body = scim.get(&format!("/Users/{id}")).expect(200).json();
        let mut all: Vec<(String, String)> = body["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|g| (g["display"].as_str().unwrap().to_owned(), g["type"].as_str().unwrap().to_owned()))
            .collect();
        all.sort();
        all
    };
    let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(groups(&mut scim), [pair("Inner", "direct"), pair("Outer", "indirect")]);
    let members = scim.get(&format!("/Groups/{outer}")).expect(200).json()["members"].clone();
    assert_eq!((&members[0]["value"], &members[0]["type"]), (&json!(inner), &json!("Group")));
    assert!(members[0]["$ref"].as_str().unwrap().ends_with(&format!("/Groups/{inner}")));
    scim.send("DELETE", &format!("/Groups/{inner}"), None).expect(204);
    assert!(groups(&mut scim).is_empty());
    assert!(
        scim.get(&format!("/Groups/{outer}")).expect(200).json()["members"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    // A member of the wrong kind or from nowhere is refused, whole.
    for member in [json!({"value": id, "type": "Group"}), json!({"value": NOBODY})] {
        let answer = scim
            .patch(&format!("/Groups/{outer}"), json!([{"op": "add", "path": "members", "value": [member]}]));
        refused(&answer, 400, "invalidValue");
    }
}
