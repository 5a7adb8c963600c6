use serde_json::{Value, json};

use super::*;
use crate::http::testing::Store;
use crate::import::{Format, Mapping, read};
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::{self, StoreError, member, resource};
use crate::model::{DirectoryId, DirectoryKind, Origin, ResourceType};
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

fn applied(store: &Store, text: &str, replace: bool) -> Result<Done, Failed> {
    let (directory, plan) = (acme(store), planned(store, text, replace));
    assert_eq!(plan.problems, []);
    store
        .mirror
        .write_blocking(Origin::daemon(), move |tx| apply(tx, &directory, &Registry::standard(), &plan))
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
    applied(&store, "{\"userName\":\"a\",\"active\":false}\n{\"userName\":\"b\"}", false).unwrap();
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
    applied(&store, "{\"userName\":\"a\",\"externalId\":\"x\"}", false).unwrap();
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
    applied(&store, text, false).unwrap();
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
    let done = applied(&store, &text, false).unwrap();
    assert_eq!(done.created, 1_005);
    for (name, inner) in [("c0", "c1"), ("c999", "c1000"), ("x", "y"), ("y", "z"), ("z", "x"), ("tail", "x")]
    {
        assert_eq!(members_of(&store, name), [inner], "{name}");
    }
    assert!(planned(&store, &text, true).steps.iter().all(|step| !step.is_change()));
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let store = Store::new();
    applied(
        &store,
        "{\"userName\":\"a\",\"externalId\":\"1\"}\n{\"userName\":\"b\",\"externalId\":\"2\"}",
        false,
    )
    .unwrap();
    let before = *store.mirror.changes().borrow();
    // Each takes the other's name: whichever is first finds it taken.
    let swap = "{\"userName\":\"new\"}\n{\"userName\":\"c\",\"externalId\":\"1\"}\n{\"userName\":\"d\",\"externalId\":\"2\"}";
    let (directory, plan) = (acme(&store), planned(&store, swap, false));
    let failed = store.mirror.write_blocking::<Done, Failed, _>(Origin::daemon(), move |tx| {
        // Somebody else takes the name between the plan and its end.
        let body = json!({"userName": "d"});
        let registry = Registry::standard();
        let schema = registry.resource(ResourceType::User);
        let draft = crate::scim::resource::draft(
            schema,
            body,
            crate::scim::resource::Mode::Create,
            &crate::scim::resource::Rules::default(),
        );
        resource::create(tx, &directory, ResourceType::User, draft.unwrap()).unwrap();
        apply(tx, &directory, &registry, &plan)
    });
    let failed = failed.unwrap_err();
    assert_eq!((failed.at.as_str(), failed.name.as_str()), ("line 3", "d"));
    assert_eq!(*store.mirror.changes().borrow(), before);
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

/// How long the writer is held, by how many people: `cargo test --lib -- --ignored how_long_an_import --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_an_import_holds_the_writer() {
    for count in [2_500_u32, 5_000, 10_000, 20_000] {
        let store = Store::new();
        let mut text = String::new();
        for n in 0..count {
            let user = json!({
                "userName": format!("user{n}@example.com"), "externalId": format!("e-{n}"),
                "displayName": format!("User {n}"), "name": { "givenName": "User", "familyName": format!("N{n}") },
                "emails": [{ "value": format!("user{n}@example.com"), "type": "work", "primary": true }],
            });
            text.push_str(&user.to_string());
            text.push('\n');
        }
        for g in 0..count / 50 {
            let members: Vec<Value> =
                (0..250).map(|m| json!({ "value": format!("e-{}", (g * 50 + m) % count) })).collect();
            text.push_str(&json!({ "displayName": format!("G{g}"), "members": members }).to_string());
            text.push('\n');
        }
        let (directory, began) = (acme(&store), std::time::Instant::now());
        let plan = planned(&store, &text, false);
        assert_eq!(plan.problems, []);
        let made = began.elapsed();
        let began = std::time::Instant::now();
        let done: Result<Done, Failed> = store
            .mirror
            .write_blocking(Origin::daemon(), move |tx| apply(tx, &directory, &Registry::standard(), &plan));
        println!("{count} people: plan {made:?}, writer held {:?}, {:?}", began.elapsed(), done.unwrap());
    }
}
