//! A token sees one directory; a disabled directory says so; concurrent writers lose nothing.

use serde_json::json;

use crate::support::daemon::Daemon;

#[test]
fn a_token_sees_nothing_of_another_directory_on_any_endpoint() {
    let daemon = Daemon::start("");
    let one = daemon.add_directory("One", "generic");
    let two = daemon.add_directory("Two", "generic");
    let (mut first, mut second) = (daemon.scim(&one), daemon.scim(&two));
    let user = first.create_user("alice@example.com");
    let group = first.create_group("Crew", &[&user]);
    // The same names are free in the other directory.
    let other_user = second.create_user("alice@example.com");
    let other_group = second.create_group("Crew", &[&other_user]);
    let missing = "0190b5a4-0000-7000-8000-000000000000";
    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "displayName", "value": "Stolen"}]});
    let put_user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "stolen"});
    let put_group =
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Stolen"});
    for (endpoint, id, put) in [("Users", &user, &put_user), ("Groups", &group, &put_group)] {
        for (method, body) in [("GET", None), ("DELETE", None), ("PATCH", Some(&patch)), ("PUT", Some(put))] {
            let foreign = second.send(method, &format!("/{endpoint}/{id}"), body);
            let absent = second.send(method, &format!("/{endpoint}/{missing}"), body);
            assert_eq!(foreign.status, 404, "{method} {endpoint}");
            assert_eq!(
                foreign.text().replace(id.as_str(), ""),
                absent.text().replace(missing, ""),
                "{method} {endpoint}: an oracle"
            );
        }
    }
    let add = |id: &str| json!([{"op": "add", "path": "members", "value": [{"value": id}]}]);
    let foreign = second.patch(&format!("/Groups/{other_group}"), add(&user));
    let absent = second.patch(&format!("/Groups/{other_group}"), add(missing));
    assert_eq!((foreign.status, foreign.json()["scimType"].clone()), (400, json!("invalidValue")));
    assert_eq!(foreign.text().replace(&user, ""), absent.text().replace(missing, ""));
    // Bulk, searches and cursors tell no more.
    let bulk = |id: &str| {
        let data = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "displayName", "value": "Stolen"}]});
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
            {"method": "PATCH", "path": format!("/Users/{id}"), "data": data},
            {"method": "PUT", "path": format!("/Users/{id}"), "data": put_user},
            {"method": "DELETE", "path": format!("/Users/{id}")},
            {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {"schemas": [], "displayName": "G", "members": [{"value": id}]}},
            {"method": "PATCH", "path": format!("/Groups/{other_group}"), "data": {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "path": "members", "value": [{"value": id}]}]}}]})
    };
    let foreign = second.send("POST", "/Bulk", Some(&bulk(&user))).expect(200);
    let absent = second.send("POST", "/Bulk", Some(&bulk(missing))).expect(200);
    let statuses: Vec<_> =
        foreign.json()["Operations"].as_array().unwrap().iter().map(|o| o["status"].clone()).collect();
    assert_eq!(statuses, ["404", "404", "404", "400", "400"]);
    assert_eq!(foreign.text().replace(&user, ""), absent.text().replace(missing, ""));
    for filter in [
        "id eq \"ID\"",
        "externalId eq \"ID\"",
        "groups.value eq \"ID\"",
        "members.value eq \"ID\"",
        "id eq \"ID\" and members eq \"ID\"",
        "id eq \"ID\" and manager eq \"ID\"",
    ] {
        for id in [&user, &group] {
            let search = |id: &str| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": filter.replace("ID", id)});
            for endpoint in ["/.search", "/Users/.search", "/Groups/.search"] {
                let foreign = second.send("POST", endpoint, Some(&search(id)));
                let absent = second.send("POST", endpoint, Some(&search(missing)));
                assert_eq!(
                    (foreign.status, foreign.text()),
                    (absent.status, absent.text()),
                    "{filter} {endpoint}"
                );
                assert!(foreign.status == 400 || foreign.json()["totalResults"] == 0, "{filter} {endpoint}");
            }
        }
    }
    // A manager is a plain text here, so naming another directory's user reaches nobody.
    let named = json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": {"value": user}}]);
    let shown = second.patch(&format!("/Users/{other_user}"), named).expect(200).json();
    assert!(!shown.to_string().contains("displayName\":\"alice@example.com\",\"value"), "{shown}");
    let listed = second.get("/Users?filter=userName%20eq%20%22alice%40example.com%22").expect(200).json();
    assert_eq!((&listed["totalResults"], &listed["Resources"][0]["id"]), (&json!(1), &json!(other_user)));
    let by_member =
        second.get(&format!("/Groups?filter=members.value%20eq%20%22{user}%22")).expect(200).json();
    assert_eq!(by_member["totalResults"], 0);
    first.get(&format!("/Users/{user}")).expect(200);
}

#[test]
fn a_disabled_directory_answers_503_and_loses_nothing() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    let user = scim.create_user("alice@example.com");
    assert!(daemon.cli(&["directory", "disable", &directory.id]).status.success());
    let answer = scim.get(&format!("/Users/{user}"));
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(answer.json()["status"], "503");
    assert!(daemon.cli(&["directory", "enable", &directory.id]).status.success());
    scim.get(&format!("/Users/{user}")).expect(200);
}

#[test]
fn a_revoked_token_is_refused_at_the_next_request_and_a_new_one_works() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "okta");
    let mut scim = daemon.scim(&directory);
    scim.get("/Users").expect(200);
    let fresh = daemon.cli_json(&["token", "new", &directory.id]);
    let listed = daemon.cli_json(&["token", "list"]);
    let rows = listed.as_array().or(listed["tokens"].as_array()).unwrap().clone();
    let old = rows.iter().find(|t| t["id"] != fresh["id"]).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(daemon.cli(&["token", "revoke", &old]).status.success());
    scim.get("/Users").expect(401);
    scim.token = fresh["token"].as_str().unwrap().to_owned();
    scim.get("/Users").expect(200);
    assert!(!daemon.log().contains(&scim.token), "a token in the log");
    assert!(!listed.to_string().contains(&scim.token), "a token in the list");
}

#[test]
fn sixteen_writers_adding_different_members_to_one_group_lose_none() {
    let daemon = Daemon::start("");
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let group = scim.create_group("Crew", &[]);
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let (daemon, directory, group) = (&daemon, &directory, &group);
            scope.spawn(move || {
                let mut scim = daemon.scim(directory);
                for n in 0..10 {
                    let user = scim.create_user(&format!("w{writer}n{n}@example.com"));
                    scim.add_member(group, &user);
                }
            });
        }
    });
    let members =
        scim.get(&format!("/Groups/{group}")).expect(200).json()["members"].as_array().unwrap().len();
    assert_eq!(members, 160);
}
