//! Reading, ordering and answering bulk requests.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::PATCH_URN;
use super::*;

fn request(operations: &Value) -> BulkRequest {
    parse(json!({"schemas": [BULK_REQUEST_URN], "Operations": operations}), 1_000).unwrap()
}

fn run(operation: usize) -> Step {
    Step::Run { operation, deferred: Vec::new() }
}

fn post(path: &str, bulk_id: &str, data: &Value) -> Value {
    json!({"method": "POST", "path": path, "bulkId": bulk_id, "data": data})
}

fn group(bulk_id: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    post("/Groups", bulk_id, &json!({"displayName": bulk_id, "members": members}))
}

#[test]
fn every_method_is_read() {
    let request = request(&json!([
        {"method": "post", "path": "/Users", "bulkId": "q", "data": {"userName": "a"}},
        {"method": "PUT", "path": "/Users/1", "version": "W/\"3\"", "data": {}},
        {"method": "PATCH", "path": "Groups/bulkId:q/", "data": {"Operations": []}},
        {"Method": "DELETE", "Path": "/groups/2?attributes=id", "data": {"x": 1}},
    ]));
    let operations: Vec<Operation> = request.items.into_iter().map(|item| item.operation.unwrap()).collect();
    assert_eq!(operations[0].method, Method::Post);
    assert_eq!(operations[0].target, None);
    assert_eq!(operations[1].version.as_deref(), Some("W/\"3\""));
    assert_eq!(operations[1].target, Some(Target::Id("1".into())));
    assert_eq!(operations[2].target, Some(Target::BulkId("q".into())));
    assert_eq!(operations[3].target, Some(Target::Id("2".into())));
    assert_eq!((operations[3].resource, &operations[3].data), (ResourceType::Group, &Value::Null));
}

#[test]
fn a_request_of_another_form_is_refused_whole() {
    let refused = |body| parse(body, 1).unwrap_err();
    assert_eq!(refused(json!([])), Error::invalid_syntax("the bulk request must be a JSON object"));
    assert_eq!(refused(json!({})), Error::invalid_syntax("`Operations` must be an array"));
    for count in [json!(0), json!(-1), json!("1"), json!(1.5)] {
        assert_eq!(
            refused(json!({"failOnErrors": count, "Operations": []})),
            Error::invalid_value("`failOnErrors` must be a number from 1")
        );
    }
    assert_eq!(
        refused(json!({"Operations": [1, 2]})),
        Error::payload_too_large("a bulk request takes at most 1 operations")
    );
    assert_eq!(parse(json!({"failOnErrors": 2, "operations": []}), 1).unwrap().fail_on_errors, Some(2));
}

#[test]
fn an_operation_that_cannot_be_read_fails_alone() {
    let request = request(&json!([
        1,
        {"method": "GET", "path": "/Users"},
        {"method": "POST", "path": "/Things", "data": {}},
        {"method": "POST", "path": "/Users/1", "data": {}},
        {"method": "PUT", "path": "/Users", "data": {}},
        {"method": "PATCH", "path": "/Users/1"},
        {"method": "DELETE", "path": "/Users/1/x"},
        {"method": "DELETE", "path": 7},
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": {}},
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": {}},
        {"method": "POST", "path": "/Users", "bulkId": "", "data": {}},
    ]));
    let errors: Vec<String> = request
        .items
        .iter()
        .filter_map(|item| item.operation.as_ref().err().map(ToString::to_string))
        .collect();
    assert_eq!(
        errors,
        [
            "400 invalidSyntax: each element of `Operations` must be an object",
            "400 invalidSyntax: `method` must be POST, PUT, PATCH or DELETE",
            "400 invalidPath: `path` must begin with /Users or /Groups",
            "400 invalidValue: `path` of a POST must be a resource type's endpoint, without an id",
            "400 invalidValue: `path` of a PUT must end in an id",
            "400 invalidSyntax: `data` of a PATCH must be an object",
            "400 invalidPath: `path` must end after the id",
            "400 invalidSyntax: `path` must be a string",
            "400 invalidValue: `bulkId` is the same as an earlier operation's",
            "400 invalidValue: `bulkId` must have 1 to 128 characters",
        ]
    );
}

#[test]
fn without_references_the_order_is_the_clients() {
    let operations = json!([group("a", &["1"]), group("b", &[]), {"method": "DELETE", "path": "/Users/1"}]);
    assert_eq!(plan(&request(&operations)), [run(0), run(1), run(2)]);
}

#[test]
fn an_operation_comes_after_what_it_refers_to() {
    let operations = json!([
        group("a", &["bulkId:b"]),
        {"method": "PATCH", "path": "/Users/bulkId:c", "data": {}},
        group("b", &["bulkId:c"]),
        post("/Users", "c", &json!({"userName": "c"})),
    ]);
    assert_eq!(plan(&request(&operations)), [run(3), run(1), run(2), run(0)]);
}

#[test]
fn a_circle_is_opened_at_its_first_operation_and_linked_afterwards() {
    let operations = json!([group("a", &["bulkId:b", "1"]), group("b", &["bulkId:a"])]);
    let request = request(&operations);
    let deferred = vec!["b".to_owned()];
    assert_eq!(
        plan(&request),
        [Step::Run { operation: 0, deferred: deferred.clone() }, run(1), Step::Link { operation: 0 }]
    );
    let mut data = request.items[0].operation.clone().unwrap().data;
    let patch = defer(&mut data, &deferred).unwrap();
    assert_eq!(data, json!({"displayName": "a", "members": [{"value": "1"}]}));
    assert_eq!(
        patch,
        json!({"schemas": [PATCH_URN], "Operations": [
            {"op": "add", "path": "members", "value": [{"value": "bulkId:b"}]}]})
    );
}

#[test]
fn an_operation_that_refers_to_itself_is_linked_to_itself() {
    assert_eq!(
        plan(&request(&json!([group("a", &["bulkId:a"])]))),
        [Step::Run { operation: 0, deferred: vec!["a".into()] }, Step::Link { operation: 0 }]
    );
}

#[test]
fn a_reference_that_nothing_creates_holds_nothing_up() {
    assert_eq!(plan(&request(&json!([group("a", &["bulkId:none"])]))), [run(0)]);
    let mut data = json!({"members": [{"value": "bulkId:none"}]});
    assert_eq!(
        resolve(&mut data, &HashMap::<String, String>::new()).unwrap_err(),
        Error::invalid_value("no operation with bulkId `none` created a resource")
    );
}

#[test]
fn references_inside_an_extension_are_deferred_by_their_path() {
    let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let mut data = json!({"userName": "a", urn: {"department": "R", "manager": {"value": "bulkId:m"}}});
    let patch = defer(&mut data, &["m".to_owned()]).unwrap();
    assert_eq!(data, json!({"userName": "a", urn: {"department": "R"}}));
    assert_eq!(
        patch["Operations"],
        json!([{"op": "add", "path": format!("{urn}:manager"), "value": {"value": "bulkId:m"}}])
    );
    assert_eq!(defer(&mut data, &["m".to_owned()]), None);
}

#[test]
fn ids_take_the_place_of_bulk_ids() {
    let ids = HashMap::from([("a".to_owned(), "1".to_owned())]);
    let mut data = json!({"members": [{"value": "bulkId:a"}], "note": "not bulkId:a"});
    resolve(&mut data, &ids).unwrap();
    assert_eq!(data, json!({"members": [{"value": "1"}], "note": "not bulkId:a"}));
}

#[test]
fn the_answer_has_each_operations_own_status() {
    let mut out = Vec::new();
    write_response(
        &mut out,
        &[
            Outcome {
                method: Some(Method::Post),
                bulk_id: Some("q".into()),
                location: Some("https://h/Users/1".into()),
                version: Some(1),
                result: Ok(201),
            },
            Outcome {
                method: None,
                bulk_id: None,
                location: None,
                version: None,
                result: Err(Error::invalid_value("x")),
            },
        ],
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&out).unwrap(),
        json!({"schemas": [BULK_RESPONSE_URN], "Operations": [
            {"status": "201", "method": "POST", "bulkId": "q", "location": "https://h/Users/1", "version": "W/\"1\""},
            {"status": "400", "response": {"schemas": [crate::scim::error::ERROR_URN], "status": "400",
                                           "scimType": "invalidValue", "detail": "x"}}]})
    );
}

proptest! {
    #[test]
    fn every_plan_runs_each_operation_once_and_nothing_before_what_it_needs(
        edges in proptest::collection::vec(proptest::collection::btree_set(0_usize..8, 0..4), 1..8)
    ) {
        let operations: Vec<Value> = edges
            .iter()
            .enumerate()
            .map(|(at, edges)| {
                let members: Vec<String> = edges.iter().map(|to| format!("bulkId:{to}")).collect();
                group(&at.to_string(), &members.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let request = request(&Value::from(operations));
        let mut ran = BTreeSet::new();
        let mut open = BTreeSet::new();
        for step in plan(&request) {
            match step {
                Step::Run { operation, deferred } => {
                    prop_assert!(ran.insert(operation));
                    for needed in edges[operation].iter().filter(|needed| **needed < edges.len()) {
                        let missing = !ran.contains(needed) || *needed == operation;
                        prop_assert_eq!(missing, deferred.contains(&needed.to_string()));
                    }
                    if !deferred.is_empty() {
                        open.insert(operation);
                    }
                }
                Step::Link { operation } => {
                    prop_assert!(open.remove(&operation));
                    prop_assert!(edges[operation].iter().all(|needed| *needed >= edges.len() || ran.contains(needed)));
                }
            }
        }
        prop_assert_eq!(ran.len(), edges.len());
        prop_assert!(open.is_empty());
    }
}
