//! A clock that is turned, across whatever goes by the clock.

use super::*;
use crate::mirror::decision::grant;
use crate::model::Subject;
use crate::reconcile::DirectorySettings;
use crate::reconcile::guard::Guard;
use crate::reconcile::timing::cron::Cron;

const HOUR: Duration = Duration::from_hours(1);

/// `span` before `at`.
fn back(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0 - i64::try_from(span.as_micros()).unwrap())
}

fn has(world: &World, who: &str) -> bool {
    let file: Value = serde_json::from_str(&world.text("opa.json")).unwrap();
    let admin = file["roles"].as_array().unwrap().iter().find(|role| role["name"] == "admin").unwrap();
    admin["members"].as_array().unwrap().iter().any(|name| name == who)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ended_does_not_come_back_when_the_clock_is_turned_back() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world.group("sre", &[]).await;
    let reconciler = world.start(vec![TargetSettings { on_change: false, ..world.file("opa") }]);
    let until = world.clock.now().plus(4 * HOUR);
    let id = alice.id;
    world
        .write(move |tx, acme| {
            let subject = Subject { directory: acme.id.clone(), user: id };
            grant::create(tx, &subject, "alice", &RoleName::parse("admin").unwrap(), until, "incident")
        })
        .await;
    let sync = async || reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    sync().await;
    assert!(has(&world, "alice"));
    // Back, before the end: it goes on, and not a moment longer than it says.
    world.clock.set(back(until, 100 * HOUR));
    sync().await;
    assert!(has(&world, "alice"));
    // Forward, across the end, whether or not its change was made yet.
    world.clock.set(until);
    sync().await;
    assert!(!has(&world, "alice"));
    world.write(|tx, _| Ok(grant::expire(tx)?)).await;
    world.clock.set(back(until, HOUR));
    sync().await;
    assert!(!has(&world, "alice"), "what ended stays ended");
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_add_up_over_the_window_also_when_the_clock_is_turned_back() {
    let world = World::new().await;
    let mut users = Vec::new();
    for n in 0..40 {
        users.push(world.user(&format!("u{n:02}")).await);
    }
    world.group("sre", &users.iter().collect::<Vec<_>>()).await;
    let guard = Guard { min_removals: 1, urgent: 0, window: HOUR, ..Guard::default() };
    let target = TargetSettings { on_change: false, guard, ..world.file("opa") };
    let reconciler = world.start(vec![target]);
    let sync = async || reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap().state;
    assert_eq!(sync().await, State::InSync);
    let began = world.clock.now();
    for user in &users[..3] {
        world.deactivate(user).await;
    }
    assert_eq!(sync().await, State::InSync, "three of forty are within ten per cent");
    // A clock that is turned back does not open the window early.
    world.clock.set(back(began, 50 * HOUR));
    for user in &users[3..6] {
        world.deactivate(user).await;
    }
    assert_eq!(sync().await, State::Held);
    // The passing of the window releases nothing, however far the clock jumps.
    world.clock.set(began.plus(50 * HOUR));
    assert_eq!(sync().await, State::Held);
    assert!(has(&world, "u03") && !has(&world, "u02"));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_after_the_clock_was_turned_either_way() {
    let world = World::new().await;
    let mut works = crate::reconcile::timing::schedule::Clockwork::new(
        Some(Cron::parse("0 * * * *", "UTC").unwrap()),
        world.clock.now(),
    );
    let start = world.clock.now();
    world.clock.set(start.plus(30 * HOUR));
    assert!(works.is_due(world.clock.now()), "forward: once");
    assert!(!works.is_due(world.clock.now()), "and once only");
    world.clock.set(back(start, 30 * HOUR));
    assert!(!works.is_due(world.clock.now()), "back: counted anew");
    assert!(works.wait(world.clock.now()).unwrap() <= Duration::from_mins(1));
    world.clock.advance(HOUR);
    assert!(works.is_due(world.clock.now()), "and due within the hour, not after two days");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_counts_from_what_was_heard_and_a_clock_turned_back_is_no_silence() {
    let world = World::new().await;
    world.user("alice").await;
    let every = DirectorySettings { id: world.acme.id.clone(), claims: Vec::new(), expect_every: Some(HOUR) };
    let start = world.clock.now();
    let mut silent = std::collections::BTreeSet::new();
    let source = crate::reconcile::snapshot::Source::new(
        world.mirror.clone(),
        world.clock.clone(),
        crate::reconcile::snapshot::Rules { roles: Vec::new(), directories: vec![every] },
    );
    let turns = [(start, false), (back(start, 100 * HOUR), false), (start.plus(2 * HOUR), true)];
    let more = [(back(start, 2 * HOUR), false), (start.plus(3 * HOUR), true)];
    for (at, expected) in turns.into_iter().chain(more) {
        world.clock.set(at);
        crate::reconcile::deadlines::hear(&world.mirror, &source, &mut silent).await.unwrap();
        assert_eq!(!silent.is_empty(), expected, "{at}");
    }
}
