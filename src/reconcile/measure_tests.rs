//! Where the time of one change goes in a large directory, not a test:
//! `cargo test --release --lib phases_of_a_run -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::mirror::{advance, facts};
use crate::reconcile::file::outcome::Cause;
use crate::reconcile::file::run::FileRun;
use crate::reconcile::file::wish;
use crate::reconcile::plan;

const USERS: usize = 50_000;
const GROUP: usize = 200;

fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = tokio::task::block_in_place(f);
    println!("{what:<34} {:>8.1} ms", began.elapsed().as_secs_f64() * 1_000.0);
    done
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn phases_of_a_run() {
    let world = World::new().await;
    let mut users = Vec::with_capacity(USERS);
    for some in (0..USERS).collect::<Vec<_>>().chunks(1_000) {
        let some = some.to_vec();
        let made = world.write(move |tx, acme| {
            some.iter()
                .map(|n| {
                    let Value::Object(doc) = json!({
                        "userName": format!("user{n}@example.com"), "active": true, "displayName": format!("User {n}"),
                        "name": {"givenName": "User", "familyName": format!("N{n}")}, "title": "Engineer",
                        "emails": [{"value": format!("user{n}@example.com"), "type": "work", "primary": true}],
                    }) else { unreachable!() };
                    resource::create(tx, acme, ResourceType::User, Draft { doc, members: None })
                })
                .collect::<Result<Vec<_>, _>>()
        });
        users.extend(made.await);
    }
    for (n, some) in users.chunks(GROUP).enumerate() {
        world.group(&format!("group {n}"), &some.iter().collect::<Vec<_>>()).await;
    }
    let sre = world.group("sre", &users.iter().take(500).collect::<Vec<_>>()).await;
    let target = world.file("big");
    let TargetKind::File(file) = &target.kind else { unreachable!() };
    let rules = Arc::new(Rules { roles: settings(vec![], &["sre"]).roles, directories: vec![] });
    let clock: Arc<dyn Clock> = world.clock.clone();
    let first = timed("snapshot afresh", || Snapshot::take(&world.mirror, Arc::clone(&rules), &*clock, None));
    let first = first.unwrap();
    let shelf = crate::reconcile::Shelf::default();
    let (mirror, settings) = (&world.mirror, &target);
    let mut run = FileRun {
        mirror,
        clock: &clock,
        settings,
        file,
        shelf: &shelf,
        turn: None,
        origin: Origin::daemon(),
        cause: None,
    };
    timed("first run", || run.run(&first, Cause::Start));
    world.members(&sre, MemberEdit::Remove(vec![users[0].id.to_string()])).await;
    println!("-- one member removed");
    let known = first.facts.clone();
    let known = timed("clone of facts", || known.clone());
    let now = timed("facts brought up to date", || {
        world.mirror.read(|tx: &mut ReadTx<'_>| advance::advance(tx, known, &[]))
    });
    timed("facts loaded afresh", || world.mirror.read(|tx: &mut ReadTx<'_>| facts::load(tx, &[]))).unwrap();
    timed("access", || crate::access::access(&now.unwrap(), &rules.roles, clock.now()));
    let second = Snapshot::take(&world.mirror, Arc::clone(&rules), &*clock, Some(&first)).unwrap();
    let stored = timed("holdings and book", || record::load(&world.mirror, &target.name)).unwrap();
    println!("   {} holdings", stored.holdings.len());
    let wish = timed("view", || wish::wish(&target, &second, &stored, None));
    let made = timed("render", || file.format.render(&wish.view, &file.options)).unwrap();
    println!("   {} bytes", made.bytes.len());
    timed("check of the bytes", || file.format.check(&made.bytes, &file.options)).unwrap();
    let wanted = timed("wanted", || plan::wanted(&wish.view, &made.left_out));
    timed("difference", || plan::difference(&stored.holdings, &wanted));
    let outcome = timed("the whole run", || run.run(&second, Cause::Wake));
    assert_eq!(outcome.removed, 2, "{:?}", outcome.error);
}

const FILES: usize = 10_000;

/// `cargo test --release --lib files_of_a_tree -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn files_of_a_tree() {
    use crate::reconcile::settings::{Each, NameKey, NamePattern, Shape, Tree};
    for count in [FILES / 4, FILES] {
        let world = World::new().await;
        let mut users = Vec::with_capacity(count);
        for some in (0..count).collect::<Vec<_>>().chunks(1_000) {
            let some = some.to_vec();
            let made = world.write(move |tx, acme| {
                some.iter()
                    .map(|n| {
                        let Value::Object(doc) =
                            json!({"userName": format!("user{n}@example.com"), "active": true})
                        else {
                            unreachable!()
                        };
                        resource::create(tx, acme, ResourceType::User, Draft { doc, members: None })
                    })
                    .collect::<Result<Vec<_>, _>>()
            });
            users.extend(made.await);
        }
        let sre = world.group("sre", &users.iter().collect::<Vec<_>>()).await;
        let mut target = world.file("tree");
        let TargetKind::File(file) = &mut target.kind else { unreachable!() };
        let name = NamePattern { before: String::new(), key: NameKey::Name, after: ".json".to_owned() };
        file.shape = Shape::Tree(Tree::Each { each: Each::Subject, name });
        std::fs::create_dir(&file.spec.path).unwrap();
        let TargetKind::File(file) = &target.kind else { unreachable!() };
        let rules = Arc::new(Rules { roles: settings(vec![], &["sre"]).roles, directories: vec![] });
        let clock: Arc<dyn Clock> = world.clock.clone();
        let shelf = crate::reconcile::Shelf::default();
        let (mirror, settings, origin) = (&world.mirror, &target, Origin::daemon());
        let mut run =
            FileRun { mirror, clock: &clock, settings, file, shelf: &shelf, turn: None, origin, cause: None };
        println!("-- {count} files");
        let first = Snapshot::take(&world.mirror, Arc::clone(&rules), &*clock, None).unwrap();
        let outcome = timed("first write", || run.run(&first, Cause::Start));
        assert_eq!(outcome.error, None);
        world.members(&sre, MemberEdit::Remove(vec![users[0].id.to_string()])).await;
        let second = Snapshot::take(&world.mirror, Arc::clone(&rules), &*clock, Some(&first)).unwrap();
        let outcome = timed("one removed", || run.run(&second, Cause::Wake));
        assert_eq!((outcome.error, outcome.removed), (None, 2));
    }
}
