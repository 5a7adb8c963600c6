//! An operator's own schema, from the config file to the policy file.

use serde_json::json;

use crate::support::daemon::{Daemon, id_of};
use crate::support::wait_until;

const BADGE: &str = "urn:example:params:scim:schemas:Badge:1.0:User";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

fn start(required: bool) -> Daemon {
    let mut daemon = Daemon::prepare(&format!(
        "[[schema]]\nfile = \"badge.json\"\nrequired = {required}\n\
         [[role]]\nname = \"blue\"\nusers = '{BADGE}:colour eq \"BLUE\"'\n\
         [[target]]\nname = \"file\"\ntype = \"file\"\ntemplate = \"t.j2\"\npath = \"{{dir}}/out.txt\"\n\
         attributes = [\"{BADGE}:colour\"]\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"200ms\" }}\n"
    ));
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/badge.json"),
        daemon.path("badge.json"),
    )
    .unwrap();
    let template = format!(
        "{{% for user in users %}}{{{{ user.name }}}} {{{{ user.attributes[\"{BADGE}:colour\"] | default(\"-\") }}}} {{{{ user.roles | join(\",\") }}}}\n{{% endfor %}}"
    );
    std::fs::write(daemon.path("t.j2"), template).unwrap();
    daemon.run();
    daemon
}

#[test]
fn an_operators_schema_is_first_class_everywhere() {
    let daemon = start(false);
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);

    let types = scim.get("/ResourceTypes/User").expect(200).json();
    assert!(
        types["schemaExtensions"].as_array().unwrap().contains(&json!({"schema": BADGE, "required": false}))
    );
    let schema = scim.get(&format!("/Schemas/{BADGE}")).expect(200).json();
    assert_eq!(schema["attributes"][0]["uniqueness"], "server");
    assert_eq!(scim.get("/Schemas").expect(200).json()["totalResults"], 4);

    // Validation, canonical names, what is never returned.
    let body = |name: &str, badge: serde_json::Value| json!({"schemas": [USER, BADGE], "userName": name, BADGE: badge});
    let made = scim.send("POST", "/Users", Some(&body("ann", json!({"Number": 7, "colour": "Blue", "serial": "S1", "pin": "1234",
        "until": "2030-01-01T00:00:00Z", "doors": [{"value": "d1", "type": "main", "primary": true}, {"value": "d2"}]})))).expect(201);
    let (ann, shown) = (id_of(&made), made.json());
    assert_eq!(shown["schemas"], json!([USER, BADGE]));
    assert_eq!((&shown[BADGE]["number"], shown[BADGE].get("pin")), (&json!(7), None));
    for wrong in
        [json!({"number": "7"}), json!({"until": "tomorrow"}), json!({"doors": [{"type": "main"}]}), json!(7)]
    {
        let refused = scim.send("POST", "/Users", Some(&body("bad", wrong.clone())));
        assert_eq!(
            (refused.status, refused.json()["scimType"].clone()),
            (400, json!("invalidValue")),
            "{wrong}"
        );
    }

    // Uniqueness: on create, on replace and on patch; one's own value is no conflict.
    let clash = scim.send("POST", "/Users", Some(&body("ben", json!({"number": 7}))));
    assert_eq!((clash.status, clash.json()["scimType"].clone()), (409, json!("uniqueness")));
    let ben = id_of(
        &scim.send("POST", "/Users", Some(&body("ben", json!({"number": 8, "colour": "red"})))).expect(201),
    );
    let take = json!([{"op": "replace", "path": format!("{BADGE}:number"), "value": 7}]);
    assert_eq!(scim.patch(&format!("/Users/{ben}"), take).status, 409);
    assert_eq!(
        scim.send("PUT", &format!("/Users/{ben}"), Some(&body("ben", json!({"number": 7})))).status,
        409
    );
    assert_eq!(scim.get(&format!("/Users/{ben}")).json()[BADGE]["number"], 8);
    scim.send(
        "PUT",
        &format!("/Users/{ann}"),
        Some(&body("ann", json!({"number": 7, "colour": "Blue", "doors": [{"value": "d2"}]}))),
    )
    .expect(200);

    // An immutable value stays through a PUT that leaves it out, and refuses another one.
    assert_eq!(scim.get(&format!("/Users/{ann}")).json()[BADGE]["serial"], "S1");
    let other = scim.send("PUT", &format!("/Users/{ann}"), Some(&body("ann", json!({"serial": "S2"}))));
    assert_eq!((other.status, other.json()["scimType"].clone()), (400, json!("mutability")));

    // Filters, by name and by part, sorting, projection.
    for (filter, total) in [
        (format!("{BADGE}:colour eq \"blue\""), 1),
        (format!("{BADGE}:number gt 7"), 1),
        (format!("{BADGE}:doors[value eq \"d2\"]"), 1),
        (format!("{BADGE}:doors.value eq \"D2\""), 0),
        (format!("not ({BADGE}:number pr)"), 0),
    ] {
        let query = format!("/Users?filter={}", filter.replace(' ', "%20").replace('"', "%22"));
        assert_eq!(scim.get(&query).expect(200).json()["totalResults"], total, "{filter}");
    }
    assert_eq!(scim.get(&format!("/Users?filter={BADGE}:pin%20eq%20%221234%22")).status, 400);
    let sorted = scim
        .get(&format!("/Users?sortBy={BADGE}:number&sortOrder=descending&attributes={BADGE}:number"))
        .json();
    assert_eq!(sorted["Resources"][0][BADGE], json!({"number": 8}));

    // PATCH, with a value path and with flat keys.
    let edits = json!([{"op": "add", "path": format!("{BADGE}:doors[value eq \"d2\"].type"), "value": "side"},
                       {"op": "replace", "value": {format!("{BADGE}:colour"): "Green"}}]);
    let patched = scim.patch(&format!("/Users/{ann}"), edits).expect(200).json();
    assert_eq!(
        (&patched[BADGE]["doors"][0]["type"], &patched[BADGE]["colour"]),
        (&json!("side"), &json!("Green"))
    );

    // Roles and templates.
    wait_until("the file without the role", || daemon.read("out.txt") == "ann Green \nben red \n");
    scim.patch(
        &format!("/Users/{ann}"),
        json!([{"op": "replace", "path": format!("{BADGE}:colour"), "value": "blue"}]),
    );
    wait_until("the file with the role", || daemon.read("out.txt") == "ann blue blue\nben red \n");
}

#[test]
fn a_required_extension_can_be_neither_left_out_nor_taken_away() {
    let daemon = start(true);
    let directory = daemon.add_directory("Acme", "generic");
    let mut scim = daemon.scim(&directory);
    let bare = json!({"schemas": [USER], "userName": "ann"});
    let refused = scim.send("POST", "/Users", Some(&bare));
    assert_eq!((refused.status, refused.json()["scimType"].clone()), (400, json!("invalidValue")));
    let body = json!({"schemas": [USER, BADGE], "userName": "ann", BADGE: {"colour": "red"}});
    let ann = id_of(&scim.send("POST", "/Users", Some(&body)).expect(201));
    let path = format!("/Users/{ann}");
    assert_eq!(scim.send("PUT", &path, Some(&bare)).status, 400);
    for operations in [
        json!([{"op": "remove", "path": BADGE}]),
        json!([{"op": "replace", "value": {BADGE: null}}]),
        json!([{"op": "remove", "path": format!("{BADGE}:colour")}]),
    ] {
        let refused = scim.patch(&path, operations.clone());
        assert_eq!(
            (refused.status, refused.json()["scimType"].clone()),
            (400, json!("mutability")),
            "{operations}"
        );
    }
    assert_eq!(scim.get(&path).json()[BADGE]["colour"], "red");
}
