//! The guard in whole runs: mirror, files and webhooks, restarts between any two steps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::access::{Facts, access};
use crate::mirror::{change, facts};
use crate::reconcile::guard::{AfterHold, Waits};
use crate::reconcile::plan::Key;

/// Who holds `admin` in the file, by name.
fn admins(world: &World) -> BTreeSet<String> {
    let file: Value = serde_json::from_str(&world.text("opa.json")).unwrap();
    let admin = file["roles"].as_array().unwrap().iter().find(|role| role["name"] == "admin").unwrap();
    admin["members"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// A file that is only looked at when told to, and `count` people in `sre`.
async fn crowd(world: &World, count: usize) -> (TargetSettings, Vec<Stored>, Stored) {
    let mut users = Vec::new();
    for n in 0..count {
        users.push(world.user(&format!("u{n:03}")).await);
    }
    let group = world.group("sre", &users.iter().collect::<Vec<_>>()).await;
    let target = TargetSettings { on_change: false, ..world.file("opa") };
    (target, users, group)
}

async fn sync(reconciler: &Reconciler) -> SyncReport {
    reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap()
}

async fn decide(reconciler: &Reconciler, decision: Decision) -> DecisionReport {
    reconciler.decide(&name("opa"), decision, None, Origin::daemon()).await.unwrap()
}

async fn approve(reconciler: &Reconciler, plan: String) -> DecisionReport {
    decide(reconciler, Decision::Approve { plan: Some(plan), subjects: Vec::new() }).await
}

async fn delete(world: &World, user: &Stored) {
    let id = user.id;
    world
        .write(move |tx, acme| resource::delete(tx, acme, ResourceType::User, &id, &Precondition::default()))
        .await;
}

async fn rename(world: &World, user: &Stored, to: String) {
    let id = user.id;
    world
        .write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::User, &id, &Precondition::default(), |doc| {
                doc.insert("userName".into(), to.into());
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_and_deleted_people_under_a_hold_are_shown_from_the_stored_facts() {
    let world = World::new().await;
    let (target, users, _) = crowd(&world, 30).await;
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    let before = world.text("opa.json");
    for user in &users[..8] {
        world.deactivate(user).await;
    }
    for user in &users[8..14] {
        delete(&world, user).await;
    }
    let report = sync(&reconciler).await;
    assert_eq!((report.state, report.changed, report.error), (State::Held, false, None));
    assert_eq!(world.text("opa.json"), before, "nobody lost anything, so the bytes are the same");
    assert_eq!(status(&reconciler, "opa").held_removals, 28);
    let plan = reconciler.plan(&name("opa")).await.unwrap();
    assert!(plan.held && plan.remove.is_empty() && plan.held_removals.len() == 28);
    assert!(plan.held_removals.iter().any(|line| line.why == "the user was deleted"));
    let report = approve(&reconciler, plan.hash).await;
    assert_eq!((report.decided.released, report.held_removals, report.state), (28, 0, Some(State::InSync)));
    assert_eq!(admins(&world).len(), 16);
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_told_with_its_times_in_as_many_queries_for_many_as_for_few() {
    let mut asked = Vec::new();
    for count in [20, 40] {
        let world = World::new().await;
        let (target, users, _) = crowd(&world, 60).await;
        let reconciler = world.start(vec![target.clone()]);
        sync(&reconciler).await;
        for user in &users[..10] {
            world.deactivate(user).await;
        }
        assert_eq!(sync(&reconciler).await.state, State::Held);
        // Each in a run of its own from here on; five of them go as urgent.
        for user in &users[10..count] {
            world.deactivate(user).await;
            sync(&reconciler).await;
        }
        let plan = reconciler.plan(&name("opa")).await.unwrap();
        let before = crate::mirror::tx::queries();
        let held =
            crate::reconcile::held::held(&world.mirror, &target, &plan, None, world.mirror.now()).unwrap();
        asked.push(crate::mirror::tx::queries() - before);
        let lines: Vec<_> = held.persons.iter().flat_map(|person| &person.removals).collect();
        assert_eq!(lines.len(), plan.held_removals.len());
        let changes: BTreeSet<_> = lines.iter().map(|line| line.seq).collect();
        assert!(changes.len() >= count - 15, "each of its own change: {changes:?}");
        for line in lines {
            let seq = line.seq.unwrap();
            let at =
                world.mirror.read(|tx: &mut ReadTx<'_>| crate::mirror::history::time_of(tx, seq)).unwrap();
            assert!(line.at.is_some() && line.at == at, "{line:?}");
        }
        reconciler.shutdown().await;
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_and_a_reject_survive_a_restart_and_are_changes_with_a_number() {
    let world = World::new().await;
    let (target, users, _) = crowd(&world, 30).await;
    let reconciler = world.start(vec![target.clone()]);
    sync(&reconciler).await;
    for user in &users[..10] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    let hash = reconciler.plan(&name("opa")).await.unwrap().hash;
    reconciler.shutdown().await;
    let reconciler = world.start(vec![target.clone()]);
    assert_eq!(sync(&reconciler).await.state, State::Held);
    assert_eq!(reconciler.plan(&name("opa")).await.unwrap().hash, hash);
    let report = decide(&reconciler, Decision::Reject { plan: None, window: false }).await;
    assert_eq!((report.decided.rejected, report.state), (20, Some(State::InSync)));
    reconciler.shutdown().await;
    let reconciler = world.start(vec![target]);
    for user in &users[..3] {
        delete(&world, user).await;
    }
    assert_eq!(sync(&reconciler).await.state, State::InSync);
    assert_eq!(admins(&world).len(), 30, "a rejected removal stays, also of who is deleted since");
    let plan = reconciler.plan(&name("opa")).await.unwrap();
    assert_eq!((plan.held, plan.kept.len()), (false, 20));
    let kinds: Vec<String> = world
        .mirror
        .read(|tx: &mut ReadTx<'_>| change::after(tx, Seq::ZERO, 1000))
        .unwrap()
        .into_iter()
        .filter(|change| change.object.as_deref() == Some("opa"))
        .map(|change| change.kind.to_string())
        .collect();
    assert_eq!(kinds, ["guard.held", "guard.rejected"]);
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_stands_although_the_run_that_took_it_failed() {
    let world = World::new().await;
    let (mut target, users, _) = crowd(&world, 60).await;
    let reconciler = world.start(vec![target.clone()]);
    sync(&reconciler).await;
    reconciler.shutdown().await;
    spec(&mut target).spec.check = Some(Argv::parse(vec!["/bin/false".into()]).unwrap());
    let reconciler = world.start(vec![target.clone()]);
    world.deactivate(&users[0]).await;
    assert_eq!(sync(&reconciler).await.state, State::Failing);
    for user in &users[1..20] {
        world.deactivate(user).await;
    }
    assert_eq!(sync(&reconciler).await.state, State::Failing);
    assert_eq!(status(&reconciler, "opa").held_removals, 38);
    assert_eq!(admins(&world).len(), 60);
    reconciler.shutdown().await;
    spec(&mut target).spec.check = None;
    let reconciler = world.start(vec![target]);
    assert_eq!(sync(&reconciler).await.state, State::Held);
    assert_eq!(admins(&world).len(), 59, "the first was let through and is; the others were held and are");
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_flow_unless_all_waits() {
    let world = World::new().await;
    let (mut target, users, group) = crowd(&world, 30).await;
    for waits in [Waits::Removals, Waits::All] {
        target.guard.hold = waits;
        let reconciler = world.start(vec![target.clone()]);
        sync(&reconciler).await;
        for user in &users[..10] {
            world.deactivate(user).await;
        }
        sync(&reconciler).await;
        let new = format!("new-{waits:?}");
        let user = world.user(&new).await;
        world.members(&group, MemberEdit::Add(refs(&[&user]))).await;
        assert_eq!(sync(&reconciler).await.state, State::Held);
        assert_eq!(admins(&world).contains(&new), waits == Waits::Removals);
        if waits == Waits::All {
            let hash = reconciler.plan(&name("opa")).await.unwrap().hash;
            approve(&reconciler, hash).await;
            assert!(admins(&world).contains(&new), "it waited for the hold and for no longer");
        }
        reconciler.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_renamed_while_all_waits_takes_nothing_away() {
    let world = World::new().await;
    let (mut target, users, group) = crowd(&world, 30).await;
    target.guard.hold = Waits::All;
    let mut settings = settings(vec![target], &["sre"]);
    settings.roles[0].groups = vec![format!("id:{}", group.id).parse().unwrap()];
    let reconciler = Reconciler::start(world.mirror.clone(), settings, world.clock.clone()).unwrap();
    sync(&reconciler).await;
    for user in &users[..10] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    let id = group.id;
    world
        .write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::Group, &id, &Precondition::default(), |doc| {
                doc.insert("displayName".into(), "site reliability".into());
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
        .await;
    let report = sync(&reconciler).await;
    assert_eq!((report.state, report.removed), (State::Held, 0));
    assert_eq!(stored(&world).holdings.len(), 60);
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_the_configuration_drops_goes_through_the_guard() {
    let world = World::new().await;
    let (target, ..) = crowd(&world, 20).await;
    let reconciler = world.start(vec![target.clone()]);
    sync(&reconciler).await;
    let without = Settings { targets: vec![target], ..Settings::default() };
    reconciler.replace_settings(without).await.unwrap();
    assert_eq!(sync(&reconciler).await.state, State::Held);
    assert_eq!(admins(&world).len(), 20);
    let plan = reconciler.plan(&name("opa")).await.unwrap();
    assert!(plan.held_removals.iter().all(|line| line.why == "the role is no longer configured"));
    approve(&reconciler, plan.hash).await;
    assert!(!world.text("opa.json").contains("admin"));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_name_is_a_change_and_is_not_counted() {
    let world = World::new().await;
    let (target, users, _) = crowd(&world, 20).await;
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    for (n, user) in users.iter().enumerate() {
        rename(&world, user, format!("v{n:03}")).await;
    }
    let report = sync(&reconciler).await;
    assert_eq!((report.state, report.removed, report.renamed), (State::InSync, 0, 40));
    assert!(admins(&world).iter().all(|name| name.starts_with('v')));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_shown_any_more_are_removals_too_and_held_ones_keep_the_old_name() {
    let world = World::new().await;
    let (target, users, _) = crowd(&world, 20).await;
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    let before = admins(&world);
    for (n, user) in users.iter().enumerate() {
        rename(&world, user, format!("v\r{n:03}")).await;
    }
    assert_eq!(sync(&reconciler).await.state, State::Held);
    assert_eq!(admins(&world), before);
    for (n, user) in users.iter().enumerate() {
        rename(&world, user, format!("w{n:03}")).await;
    }
    assert_eq!(sync(&reconciler).await.state, State::InSync);
    assert!(admins(&world).iter().all(|name| name.starts_with('w')));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_role_stays_with_the_active_and_goes_from_the_inactive() {
    let world = World::new().await;
    let (target, users, group) = crowd(&world, 3).await;
    let mut settings = settings(vec![target], &["sre"]);
    settings.roles[0].protected = true;
    let reconciler = Reconciler::start(world.mirror.clone(), settings, world.clock.clone()).unwrap();
    sync(&reconciler).await;
    world.members(&group, MemberEdit::Replace(Vec::new())).await;
    assert_eq!(sync(&reconciler).await.state, State::InSync);
    assert_eq!(admins(&world).len(), 3);
    world.deactivate(&users[0]).await;
    sync(&reconciler).await;
    assert_eq!(admins(&world), BTreeSet::from(["u001".to_owned(), "u002".to_owned()]));
    let out = Decision::Approve { plan: None, subjects: vec!["u001".into()] };
    assert_eq!(decide(&reconciler, out).await.decided.released, 1);
    assert_eq!(admins(&world), BTreeSet::from(["u002".to_owned()]));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_hold_ends_by_itself_where_the_operator_wants_that() {
    let world = World::new().await;
    let (mut target, users, _) = crowd(&world, 30).await;
    target.guard.max_hold_then = AfterHold::Apply;
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    for user in &users[..10] {
        world.deactivate(user).await;
    }
    assert_eq!(sync(&reconciler).await.state, State::Held);
    world.clock.advance(Duration::from_hours(25));
    assert_eq!(sync(&reconciler).await.state, State::InSync);
    assert_eq!(admins(&world).len(), 20);
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_runs_once_for_each_hold_with_json_on_its_input() {
    let world = World::new().await;
    let (mut target, users, _) = crowd(&world, 40).await;
    let script = format!("cat >> {}; echo >> {0}", world.path("told").display());
    target.guard.notify = Some(crate::reconcile::guard::Notify::Command(
        Argv::parse(vec!["/bin/sh".into(), "-c".into(), script]).unwrap(),
    ));
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    for user in &users[..10] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    for user in &users[10..20] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    until("told", || world.text("told").ends_with("}\n")).await;
    let hash = reconciler.plan(&name("opa")).await.unwrap().hash;
    approve(&reconciler, hash).await;
    world.clock.advance(Duration::from_secs(1));
    for user in &users[20..30] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    until("told of the second hold", || world.text("told").lines().count() == 2).await;
    let text = world.text("told");
    let told: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&told["target"], &told["held_removals"], &told["people"]),
        (&json!("opa"), &json!(20), &json!(10))
    );
    assert!(told["approve"].as_str().unwrap().starts_with("rosterd approve opa --plan "));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_says_what_the_guard_let_through() {
    let world = World::new().await;
    let receiver = Receiver::start(&[]).await;
    let (_, users, _) = crowd(&world, 20).await;
    let target = TargetSettings { on_change: false, ..world.webhook("opa", &receiver.url, &["access.*"]) };
    let reconciler = world.start(vec![target]);
    sync(&reconciler).await;
    until("all granted", || receiver.count() == 20).await;
    for user in &users[..10] {
        world.deactivate(user).await;
    }
    sync(&reconciler).await;
    until("held", || status(&reconciler, "opa").state == State::Held).await;
    assert_eq!((receiver.count(), status(&reconciler, "opa").held_removals), (20, 10));
    world.deactivate(&users[15]).await;
    sync(&reconciler).await;
    until("the urgent one is told", || receiver.count() == 21).await;
    let hash = reconciler.plan(&name("opa")).await.unwrap().hash;
    approve(&reconciler, hash).await;
    until("all told", || receiver.count() == 31).await;
    assert!(receiver.kinds()[20..].iter().all(|kind| kind == "access.revoked"));
    reconciler.shutdown().await;
}

/// One thing that happens to a company of twenty.
#[derive(Debug, Clone)]
enum Step {
    Deactivate(Vec<usize>),
    Reactivate(Vec<usize>),
    Leave(Vec<usize>),
    Join(Vec<usize>),
    Restart,
    Wait(u64),
    Approve(usize),
    Out(usize),
    Reject(bool),
}

const COMPANY: usize = 20;

fn step() -> impl Strategy<Value = Step> {
    let people = || proptest::collection::vec(0..COMPANY, 1..12);
    prop_oneof![
        3 => people().prop_map(Step::Deactivate),
        2 => people().prop_map(Step::Reactivate),
        3 => people().prop_map(Step::Leave),
        2 => people().prop_map(Step::Join),
        2 => Just(Step::Restart),
        1 => (0u64..90).prop_map(Step::Wait),
        2 => (0usize..3).prop_map(Step::Approve),
        1 => (0..COMPANY).prop_map(Step::Out),
        1 => any::<bool>().prop_map(Step::Reject),
    ]
}

/// What the mirror says: access by roles and groups, as keys.
fn access_now(world: &World) -> BTreeSet<Key> {
    let facts: Facts = world.mirror.read(|tx: &mut ReadTx<'_>| facts::load(tx, &[])).unwrap();
    let roles = settings(Vec::new(), &["sre"]).roles;
    let access = access(&facts, &roles, world.clock.now());
    let keys = access.held.iter().flat_map(|(who, held)| held.keys().map(|what| (who.clone(), what.clone())));
    keys.collect()
}

fn stored(world: &World) -> record::Stored {
    record::load(&world.mirror, &name("opa")).unwrap()
}

fn held_keys(world: &World) -> BTreeSet<Key> {
    stored(world).holdings.iter().map(crate::reconcile::plan::key_of).collect()
}

async fn set_active(world: &World, user: &Stored, active: bool) {
    let id = user.id;
    world
        .write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::User, &id, &Precondition::default(), |doc| {
                doc.insert("active".into(), active.into());
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
        .await;
}

/// Plays `steps` and looks after each one.
async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new().await;
    let (mut target, users, group) = crowd(&world, COMPANY).await;
    target.guard.min_removals = 3;
    target.guard.urgent = 2;
    let mut reconciler = world.start(vec![target.clone()]);
    sync(&reconciler).await;
    let mut plans: Vec<String> = Vec::new();
    for step in steps {
        let before = stored(&world).book;
        let mut released: BTreeSet<Key> = BTreeSet::new();
        match step {
            Step::Deactivate(people) => {
                for n in people {
                    set_active(&world, &users[n], false).await;
                }
            }
            Step::Reactivate(people) => {
                for n in people {
                    set_active(&world, &users[n], true).await;
                }
            }
            Step::Leave(people) => {
                let ids = people.iter().map(|n| users[*n].id.to_string()).collect();
                world.members(&group, MemberEdit::Remove(ids)).await;
            }
            Step::Join(people) => {
                let people: Vec<&Stored> = people.iter().map(|n| &users[*n]).collect();
                world.members(&group, MemberEdit::Add(refs(&people))).await;
            }
            Step::Restart => {
                reconciler.shutdown().await;
                reconciler = world.start(vec![target.clone()]);
            }
            Step::Wait(minutes) => world.clock.advance(Duration::from_mins(minutes)),
            Step::Approve(back) => {
                if let Some(plan) = plans.iter().rev().nth(back).cloned() {
                    let upto = before.plans.iter().find(|(hash, _)| *hash == plan).map(|(_, upto)| *upto);
                    let of_plan = before.held().filter(|one| upto.is_some_and(|upto| one.batch <= upto));
                    released = of_plan.map(|one| (one.subject.clone(), one.entitlement.clone())).collect();
                    approve(&reconciler, plan).await;
                }
            }
            Step::Out(n) => {
                let out = Decision::Approve { plan: None, subjects: vec![users[n].id.to_string()] };
                if reconciler.decide(&name("opa"), out, None, Origin::daemon()).await.is_ok() {
                    let of_user = before.exceptions.keys().filter(|(who, _)| who.user == users[n].id);
                    released = of_user.cloned().collect();
                }
            }
            Step::Reject(window) => {
                let _nothing_held = reconciler
                    .decide(&name("opa"), Decision::Reject { plan: None, window }, None, Origin::daemon())
                    .await;
            }
        }
        let report = sync(&reconciler).await;
        let (access, holds, book) = (access_now(&world), held_keys(&world), stored(&world).book);
        plans.extend(book.plans.last().map(|(hash, _)| hash.clone()));
        prop_assert_eq!(report.error, None);
        prop_assert_eq!(report.state == State::Held, book.held_count() > 0);
        for key in before.exceptions.keys().filter(|key| !released.contains(key)) {
            prop_assert!(holds.contains(key), "a held or rejected removal was applied: {:?}", key);
        }
        for key in &released {
            prop_assert!(access.contains(key) || !holds.contains(key), "an approved removal was missed");
        }
        prop_assert!(access.is_subset(&holds), "an addition waits");
        let kept: BTreeSet<Key> = book.exceptions.keys().cloned().collect();
        let wanted: BTreeSet<Key> = access.union(&kept).cloned().collect();
        prop_assert_eq!(&holds, &wanted, "the target is not access and exceptions");
        let names: BTreeMap<ResourceId, String> =
            users.iter().enumerate().map(|(n, user)| (user.id, format!("u{n:03}"))).collect();
        let roles = holds.iter().filter(|(_, what)| matches!(what, Entitlement::Role(_)));
        let expected: BTreeSet<String> = roles.map(|(who, _)| names[&who.user].clone()).collect();
        prop_assert_eq!(admins(&world), expected, "the bytes are not what the mirror says");
    }
    reconciler.shutdown().await;
    Ok(())
}

#[test]
fn random_traffic_decisions_and_restarts_never_apply_what_is_held_nor_miss_what_is_approved() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, max_shrink_iters: 60, ..Config::default() });
    runner.run(&proptest::collection::vec(step(), 1..20), |steps| runtime.block_on(play(steps))).unwrap();
}
