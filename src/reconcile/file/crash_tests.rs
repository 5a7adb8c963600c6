//! Trees and sets stopped between any two steps that touch a disk: the next run converges, and no stranger's file is
//! ever touched.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::downstream::format::RelativeName;
use crate::reconcile::file::outcome::{Cause, Outcome};
use crate::reconcile::file::run::FileRun;
use crate::reconcile::file::tree::crash;
use crate::reconcile::snapshot::{Rules, Snapshot};
use crate::reconcile::{Each, NameKey, NamePattern, Part, Shape, Tree};

/// One tree of groups beneath `tree/`, or one set shown by `set`.
fn shaped(world: &World, shape: Shape) -> TargetSettings {
    let mut target = world.file("shaped");
    if let TargetKind::File(file) = &mut target.kind {
        file.spec.path = world.path(if matches!(shape, Shape::Tree(_)) { "tree" } else { "set" });
        file.reload = Some(Argv::parse(vec!["true".into()]).unwrap());
        file.shape = shape;
    }
    target
}

fn tree() -> Shape {
    let name = NamePattern { before: String::new(), key: NameKey::Name, after: ".json".into() };
    Shape::Tree(Tree::Each { each: Each::Group, name })
}

fn set() -> Shape {
    let part = |name: &str| Part {
        name: RelativeName::parse(name).unwrap(),
        format: format::find("json").unwrap(),
        options: Options::new(TargetName::parse("shaped").unwrap()),
    };
    Shape::Set(vec![part("a.json"), part("sub/b.json")])
}

/// One run on this thread; `None` if it was stopped after `stop` steps.
fn run(world: &World, target: &TargetSettings, stop: Option<u32>) -> Option<Outcome> {
    let snapshot = Snapshot::take(&world.mirror, Arc::new(Rules::default()), &*world.clock, None).unwrap();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let TargetKind::File(file) = &target.kind else { unreachable!() };
    let turn = Arc::new(Reloads::default()).enter(file);
    crash::LEFT.with(|left| left.set(stop));
    let shelf = crate::reconcile::Shelf::default();
    let (mirror, settings, shelf) = (&world.mirror, target, &shelf);
    let mut run = FileRun {
        mirror,
        clock: &clock,
        settings,
        file,
        shelf,
        turn,
        origin: crate::model::Origin::daemon(),
        cause: None,
    };
    let stopped = || catch_unwind(AssertUnwindSafe(|| run.run(&snapshot, Cause::Wake)));
    let outcome = tokio::task::block_in_place(stopped);
    crash::LEFT.with(|left| left.set(None));
    outcome.ok()
}

/// Everything beneath a folder, by name, staging left out.
fn content(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(content(&path).into_iter().map(|(inner, text)| (format!("{name}/{inner}"), text)));
        } else {
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

async fn rename_group(world: &World, group: &Stored, to: &str) {
    let (id, to) = (group.id, to.to_owned());
    world
        .write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::Group, &id, &Precondition::default(), |doc| {
                doc.insert("displayName".into(), to.into());
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
        .await;
}

/// Some groups are renamed, one is emptied; the run that follows is stopped after each step in turn.
async fn stopped_everywhere(shape: Shape, folder: &str) {
    for stop in 0.. {
        let world = World::new().await;
        std::fs::create_dir_all(world.path("tree")).unwrap();
        std::fs::write(world.path("tree/stranger.json"), "mine").unwrap();
        let (alice, bob) = (world.user("alice").await, world.user("bob").await);
        let one = world.group("One", &[&alice, &bob]).await;
        let two = world.group("Two", &[&alice]).await;
        world.group("Three", &[&bob]).await;
        let target = shaped(&world, shape.clone());
        assert_eq!(run(&world, &target, None).unwrap().error, None);
        rename_group(&world, &two, "Other").await;
        world.deactivate(&bob).await;
        let was_stopped = run(&world, &target, Some(stop)).is_none();
        // Somebody puts a file of their own where one was about to come or has just gone.
        std::fs::write(world.path("tree/later.json"), "mine too").unwrap();
        let done = run(&world, &target, None).unwrap();
        assert_eq!((done.state, &done.error), (State::InSync, &None), "stopped after {stop}");
        let again = run(&world, &target, None).unwrap();
        assert!(!again.changed, "stopped after {stop}: it does not come to rest");
        let lies = content(&world.path(folder));
        assert!(lies.values().all(|text| !text.contains("bob")), "stopped after {stop}: {lies:?}");
        assert!(lies.keys().all(|name| !name.starts_with(".rosterd-")), "stopped after {stop}: {lies:?}");
        if folder == "tree" {
            let names: Vec<&str> = lies.keys().map(String::as_str).collect();
            assert_eq!(
                names,
                ["later.json", "one.json", "other.json", "stranger.json", "three.json"],
                "{stop}"
            );
            assert_eq!((lies["stranger.json"].as_str(), lies["later.json"].as_str()), ("mine", "mine too"));
        } else {
            let names: Vec<&str> = lies.keys().map(String::as_str).collect();
            assert_eq!(names, ["a.json", "sub/b.json"]);
            assert_eq!(lies["a.json"], lies["sub/b.json"], "one generation");
        }
        let pending = record::load(&world.mirror, &target.name).unwrap().saved.unwrap();
        assert!(!pending.record.reload_pending, "the reload was lost or is still owed");
        drop(one);
        if !was_stopped {
            assert!(stop > 2, "the run has steps to be stopped at");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_stopped_between_any_two_steps_converges() {
    stopped_everywhere(tree(), "tree").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_stopped_between_any_two_steps_converges() {
    stopped_everywhere(set(), "set").await;
}

/// Whatever groups are called: every file lies directly in the folder, none is a stranger's, and who cannot have a
/// file is reported.
#[test]
fn any_names_make_plain_files_and_leave_strangers_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let names = prop::collection::vec("\\PC{1,12}|[Aa][. /-]{0,3}[Bb]|\\.\\./x|/etc/passwd|-rf", 1..6);
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    runner
        .run(&names, |names| {
            runtime.block_on(async {
                let world = World::new().await;
                std::fs::create_dir_all(world.path("tree")).unwrap();
                std::fs::write(world.path("tree/a-b.json"), "mine").unwrap();
                std::fs::write(world.path("outside.json"), "outside").unwrap();
                let alice = world.user("alice").await;
                for name in &names {
                    let Value::Object(doc) = json!({ "displayName": name }) else { unreachable!() };
                    let (acme, draft) = (world.acme.clone(), Draft { doc, members: Some(refs(&[&alice])) });
                    // Two that fold to one name are refused; the first is enough.
                    let _refused = world
                        .mirror
                        .write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
                            resource::create(tx, &acme, ResourceType::Group, draft)
                        })
                        .await;
                }
                let target = shaped(&world, tree());
                let outcome = run(&world, &target, None).unwrap();
                prop_assert!(matches!(outcome.state, State::InSync | State::Foreign), "{:?}", outcome.error);
                let lies = content(&world.path("tree"));
                prop_assert_eq!(lies["a-b.json"].as_str(), "mine");
                let are_plain = lies.keys().all(|name| {
                    let stem = name.strip_suffix(".json").unwrap_or_default();
                    !stem.is_empty()
                        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                });
                prop_assert!(are_plain);
                prop_assert!(world.text("outside.json") == "outside");
                world.deactivate(&alice).await;
                run(&world, &target, None).unwrap();
                let after = content(&world.path("tree"));
                prop_assert!(after.iter().all(|(name, text)| name == "a-b.json" || !text.contains("alice")));
                Ok(())
            })
        })
        .unwrap();
}
