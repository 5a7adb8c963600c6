use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::http::testing::Store;
use crate::import::{Format, Mapping, read};
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::{self, StoreError, member, resource};
use crate::model::{DirectoryId, DirectoryKind, Origin, RequestId, ResourceType};
use crate::scim::resource::Doc;
use crate::scim::schema::Registry;

fn gathered(text: &str, replace: bool) -> Gathered {
    let options = Options {
        directory: DirectoryId::parse("acme").unwrap(),
        file: "f".into(),
        replace,
        skip_unknown: false,
    };
    let reading = read(Format::Jsonl, text.as_bytes(), &Mapping::default());
    let mut gathered = Gathered::new(options);
    gathered.records = reading.records;
    gathered.problems = reading.problems;
    gathered
}

fn acme(store: &Store) -> DirectoryRef {
    let id = DirectoryId::parse("acme").unwrap();
    let found = store.mirror.read::<_, StoreError>(|tx| directory::find(tx, &id)).unwrap();
    found.map_or_else(
        || {
            let made = store.mirror.write_blocking::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
                directory::add(tx, &id, "Acme", DirectoryKind::Generic)
            });
            made.unwrap().reference
        },
        |one| one.reference,
    )
}

fn planned(store: &Store, text: &str, replace: bool) -> Plan {
    let (directory, gathered) = (acme(store), gathered(text, replace));
    store.mirror.read::<_, StoreError>(|tx| make(tx, &directory, &Registry::standard(), &gathered)).unwrap()
}

fn applied(store: &Store, text: &str, replace: bool) -> Carried {
    let plan = planned(store, text, replace);
    assert_eq!(plan.problems, []);
    carried(store, plan)
}

/// Carries a plan out as it was made, whatever happened since.
fn carried(store: &Store, plan: Plan) -> Carried {
    let id = format!("import-{}", *store.mirror.changes().borrow());
    let order = Order {
        mirror: store.mirror.clone(),
        directory: acme(store),
        registry: Arc::new(Registry::standard()),
        plan: Arc::new(plan),
        file: "f".into(),
        origin: Origin { request: RequestId::parse(&id).ok(), ..Origin::daemon() },
        id,
        gauge: Arc::default(),
        moving: store.mirror.move_in().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(carry(order))
}

fn finished(store: &Store, text: &str, replace: bool) -> Done {
    let carried = applied(store, text, replace);
    assert!(carried.is_finished, "{carried:?}");
    carried.done
}

fn problems(store: &Store, text: &str) -> Vec<String> {
    planned(store, text, false).problems.iter().map(|one| format!("{}: {}", one.at, one.message)).collect()
}

fn members_of(store: &Store, name: &str) -> Vec<String> {
    let directory = acme(store);
    let found = store.mirror.read::<_, StoreError>(|tx| {
        let group = crate::mirror::matching::groups_named(tx, &directory, name)?.pop().unwrap();
        member::members(tx, &directory, &group)
    });
    let mut found: Vec<String> = found.unwrap().into_iter().map(|one| one.display).collect();
    found.sort();
    found
}

#[test]
fn the_same_plan_has_the_same_hash_and_another_one_another() {
    let store = Store::new();
    let one = planned(&store, "{\"userName\":\"a\"}", false).hash;
    assert_eq!(planned(&store, "{\"userName\":\"a\"}", false).hash, one);
    assert_ne!(planned(&store, "{\"userName\":\"a\",\"title\":\"x\"}", false).hash, one);
    assert_ne!(planned(&store, "{\"userName\":\"b\"}", false).hash, one);
}

#[test]
fn an_omitted_active_is_true_for_who_is_new_and_stays_for_who_is_there() {
    let store = Store::new();
    finished(&store, "{\"userName\":\"a\",\"active\":false}\n{\"userName\":\"b\"}", false);
    let plan = planned(&store, "{\"userName\":\"A\",\"title\":\"x\"}\n{\"userName\":\"b\"}", false);
    assert_eq!(plan.steps[0].doc["active"], json!(false));
    assert_eq!(plan.steps[0].name, "A", "the file's spelling counts");
    assert!(matches!(plan.steps[1].act, Act::Leave(_)));
}

#[test]
fn what_is_named_twice_is_a_mistake_with_both_lines() {
    let store = Store::new();
    assert_eq!(
        problems(
            &store,
            "{\"userName\":\"a\",\"externalId\":\"x\"}\n{\"userName\":\"b\",\"externalId\":\"x\"}\n{\"userName\":\"A\"}"
        ),
        [
            "line 2: this externalId was given before, at line 1",
            "line 3: this userName was given before, at line 1"
        ]
    );
    finished(&store, "{\"userName\":\"a\",\"externalId\":\"x\"}", false);
    assert_eq!(
        problems(&store, "{\"userName\":\"new\",\"externalId\":\"x\"}\n{\"userName\":\"a\"}"),
        ["line 2: this is the same User of the directory as at line 1"]
    );
}

#[test]
fn a_member_is_found_by_every_name_the_file_has_for_it() {
    let store = Store::new();
    let text = "{\"id\":\"old-1\",\"userName\":\"ada\",\"externalId\":\"e-1\",\"displayName\":\"Ada L\"}\n\
        {\"displayName\":\"G\",\"members\":[{\"value\":\"old-1\"},{\"value\":\"e-1\"},{\"value\":\"ADA\"},{\"value\":\"ada l\"},{\"value\":\"H\"}]}\n\
        {\"displayName\":\"H\",\"members\":[]}";
    let plan = planned(&store, text, false);
    assert_eq!((plan.problems.len(), plan.steps[1].joining()), (0, 2));
    finished(&store, text, false);
    assert_eq!(members_of(&store, "G"), ["Ada L", "H"]);
}

#[test]
fn an_ambiguous_a_wrong_and_an_own_name_are_mistakes() {
    let store = Store::new();
    let text = "{\"userName\":\"a\",\"displayName\":\"Same\"}\n{\"userName\":\"b\",\"displayName\":\"Same\"}\n\
        {\"displayName\":\"G\",\"members\":[{\"value\":\"same\"},{\"value\":\"a\",\"type\":\"Group\"},{\"value\":\"g\"}]}";
    assert_eq!(
        problems(&store, text),
        [
            "line 3: member `same` is the name of several in the file",
            "line 3: member `a` is nobody of the file and nobody of the directory",
            "line 3: the group names itself",
        ]
    );
}

#[test]
fn a_name_that_everybody_bears_is_found_ambiguous_without_a_look_at_everybody() {
    let store = Store::new();
    let users = (0..4_000).map(|n| json!({"userName": format!("u{n}"), "displayName": "Same"}).to_string());
    let groups =
        (0..200).map(|n| json!({"displayName": format!("G{n}"), "members": [{"value": "same"}]}).to_string());
    let text = users.chain(groups).collect::<Vec<_>>().join("\n");
    let found = problems(&store, &text);
    assert_eq!(found.len(), 200);
    assert!(
        found.iter().all(|one| one.ends_with("member `same` is the name of several in the file")),
        "{found:?}"
    );
}

#[test]
fn nested_groups_are_made_from_the_inside_and_circles_are_closed_afterwards() {
    let store = Store::new();
    // A chain of a thousand, the outermost first, and a circle with a tail.
    let group =
        |name: &str, inner: &str| json!({"displayName": name, "members": [{"value": inner}]}).to_string();
    let mut lines: Vec<String> =
        (0..1_000).map(|n| group(&format!("c{n}"), &format!("c{}", n + 1))).collect();
    lines.push("{\"displayName\":\"c1000\",\"members\":[]}".to_owned());
    lines.extend([("x", "y"), ("y", "z"), ("z", "x"), ("tail", "x")].map(|(name, inner)| group(name, inner)));
    let text = lines.join("\n");
    let done = finished(&store, &text, false);
    assert_eq!(done.created, 1_005);
    for (name, inner) in [("c0", "c1"), ("c999", "c1000"), ("x", "y"), ("y", "z"), ("z", "x"), ("tail", "x")]
    {
        assert_eq!(members_of(&store, name), [inner], "{name}");
    }
    assert!(planned(&store, &text, true).steps.iter().all(|step| !step.is_change()));
}

/// What somebody else does to a user of the directory.
fn meanwhile(store: &Store, name: &'static str, edit: impl FnOnce(&mut Doc) + Send + 'static) {
    let directory = acme(store);
    let done: Result<(), mirror::Error> = store.mirror.write_blocking(Origin::daemon(), move |tx| {
        let found = crate::mirror::matching::by_user_name(tx, &directory, name)?.unwrap();
        let precondition = crate::scim::etag::Precondition::default();
        resource::patch(tx, &directory, ResourceType::User, &found.id, &precondition, |doc| {
            edit(doc);
            Ok(crate::scim::patch::Patched { doc_changed: true, ..Default::default() })
        })
        .map(|_| ())
    });
    done.unwrap();
}

fn told(carried: &Carried, plan: &Plan) -> Vec<String> {
    carried.conflicts.iter().map(|one| format!("{}: {}", plan.steps[one.step].at, one.why)).collect()
}

fn title(store: &Store, name: &str) -> Value {
    let directory = acme(store);
    let found =
        store.mirror.read::<_, StoreError>(|tx| crate::mirror::matching::by_user_name(tx, &directory, name));
    serde_json::from_str::<Value>(&found.unwrap().unwrap().doc_text).unwrap()["title"].clone()
}

#[test]
fn what_somebody_else_changed_meanwhile_is_told_and_never_overwritten() {
    let store = Store::new();
    finished(&store, "{\"userName\":\"a\"}\n{\"userName\":\"b\"}\n{\"userName\":\"old\"}", false);
    let text = "{\"userName\":\"a\",\"title\":\"file\"}\n{\"userName\":\"b\",\"title\":\"file\"}\n{\"userName\":\"c\"}";
    let plan = planned(&store, text, true);
    meanwhile(&store, "a", |doc| {
        doc.insert("title".into(), json!("idp"));
    });
    let carried = carried(&store, plan.clone());
    let told = told(&carried, &plan);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("line 1: somebody else changed it meanwhile (change "), "{told:?}");
    assert_eq!((title(&store, "a"), title(&store, "b")), (json!("idp"), json!("file")));
    // What was to be given is not all there, so nothing is taken.
    assert_eq!((carried.is_finished, carried.done.created, carried.done.deactivated), (false, 1, 0));
    // A new run sees what there is now and does the rest.
    let done = finished(&store, text, true);
    assert_eq!((done.updated, done.deactivated, title(&store, "a")), (1, 1, json!("file")));
}

#[test]
fn a_name_that_somebody_else_took_meanwhile_costs_that_record_alone() {
    let store = Store::new();
    acme(&store);
    let text = "{\"userName\":\"a\"}\n{\"userName\":\"b\"}\n{\"userName\":\"c\"}\n\
        {\"displayName\":\"G\",\"members\":[{\"value\":\"a\"},{\"value\":\"b\"},{\"value\":\"c\"}]}";
    let plan = planned(&store, text, false);
    finished(&store, "{\"userName\":\"B\",\"title\":\"other\"}", false);
    let carried = carried(&store, plan.clone());
    assert_eq!(told(&carried, &plan), ["line 2: attribute `userName` is in use by another user"]);
    assert_eq!((carried.done.created, members_of(&store, "G")), (3, vec!["a".to_owned(), "c".to_owned()]));
    assert_eq!(title(&store, "b"), json!("other"));
    finished(&store, text, false);
    assert_eq!(members_of(&store, "G").len(), 3);
}

#[test]
fn a_member_that_somebody_else_took_out_meanwhile_is_not_put_back() {
    let store = Store::new();
    let all = "{\"userName\":\"a\"}\n{\"userName\":\"b\"}\n{\"displayName\":\"G\",\"members\":[]}";
    finished(&store, all, false);
    let text = "{\"displayName\":\"G\",\"members\":[{\"value\":\"a\"}]}\n{\"displayName\":\"H\",\"members\":[{\"value\":\"b\"}]}";
    let plan = planned(&store, text, false);
    // In, and out again.
    finished(&store, "{\"displayName\":\"G\",\"members\":[{\"value\":\"a\"}]}", false);
    finished(&store, "{\"displayName\":\"G\",\"members\":[]}", true);
    let carried = carried(&store, plan.clone());
    let told = told(&carried, &plan);
    assert!(
        told[0].starts_with("line 1: somebody else added or removed one of its members meanwhile"),
        "{told:?}"
    );
    assert_eq!((members_of(&store, "G"), members_of(&store, "H")), (Vec::new(), vec!["b".to_owned()]));
}

#[test]
fn a_directory_that_is_disabled_meanwhile_takes_nothing_more() {
    let store = Store::new();
    let reference = acme(&store);
    let plan = planned(&store, "{\"userName\":\"a\"}", false);
    let disabled: Result<_, mirror::Error> = store.mirror.write_blocking(Origin::daemon(), move |tx| {
        directory::set_enabled(tx, &reference.id, false).map(|_| ())
    });
    disabled.unwrap();
    let carried = carried(&store, plan);
    assert!(matches!(carried.broken, Some(Broken::Closed)) && !carried.is_finished, "{carried:?}");
    assert_eq!(carried.done.total(), 0);
}

#[test]
fn people_are_noted_while_an_import_takes_from_them_and_forgotten_with_it() {
    let store = Store::new();
    acme(&store);
    let moving = store.mirror.move_in().unwrap();
    assert!(store.mirror.move_in().is_none(), "one at a time");
    let subject = crate::model::Subject {
        directory: DirectoryId::parse("acme").unwrap(),
        user: crate::model::ResourceId::from_bytes([1; 16]),
    };
    moving.take_from([subject.clone()]);
    let noted = store.mirror.moving();
    assert_eq!(
        (noted.since, noted.people.contains(&subject)),
        (Some(*store.mirror.changes().borrow()), true)
    );
    drop(moving);
    let after = store.mirror.moving();
    assert_eq!((after.since, after.people.len(), after.generation), (None, 0, noted.generation + 1));
}

#[test]
fn a_schema_is_kept_as_a_push_would_keep_it() {
    let store = Store::new();
    assert_eq!(
        problems(
            &store,
            "{\"userName\":\"a\",\"emails\":\"a@example.com\"}\n{\"userName\":\"b\",\"active\":\"maybe\"}"
        ),
        [
            "line 1: attribute `emails` must be an array",
            "line 2: attribute `active` must be true or false, without quotes"
        ]
    );
    // What every identity provider is forgiven is forgiven a file.
    let plan = planned(&store, "{\"userName\":\"a\",\"active\":\"False\"}", false);
    assert_eq!((plan.problems.len(), &plan.steps[0].doc["active"]), (0, &Value::Bool(false)));
}

#[test]
fn gathered_files_are_few_bounded_and_forgotten() {
    let imports = Imports::default();
    let options = gathered("", false).options;
    for n in 0..IMPORTS_MAX {
        imports.begin(&n.to_string(), options.clone()).unwrap();
    }
    assert_eq!(imports.begin("more", options.clone()), Err(Refused::TooMany));
    assert!(imports.forget("0") && !imports.forget("0"));
    imports.begin("more", options).unwrap();
    assert_eq!(imports.add("more", Page::default(), BYTES_MAX + 1), Err(Refused::TooLarge));
    assert_eq!(imports.add("gone", Page::default(), 1), Err(Refused::Absent));
}
