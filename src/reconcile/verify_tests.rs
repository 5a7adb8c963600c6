//! What `verify` says of the bytes of targets.

use super::*;
use crate::reconcile::{Bytes, TargetVerified, verify_offline};

async fn found(reconciler: &Reconciler, target: &str) -> TargetVerified {
    let all = reconciler.verify().await.unwrap();
    all.into_iter().find(|one| one.target == name(target)).unwrap()
}

fn offline(world: &World, target: &TargetSettings) -> Bytes {
    let settings = settings(vec![target.clone()], &["sre"]);
    verify_offline(&world.mirror, settings, &*world.clock).unwrap()[0].bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_and_a_missing_file_are_found_with_and_without_a_daemon() {
    let world = World::new().await;
    let mut target = world.file("opa");
    spec(&mut target).drift = Drift::Report;
    assert_eq!(offline(&world, &target), Bytes::Waiting);
    let alice = world.user("alice").await;
    world.group("sre", &[&alice]).await;
    assert_eq!(offline(&world, &target), Bytes::Pending);
    let reconciler = world.start(vec![target.clone()]);
    reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!(found(&reconciler, "opa").await.bytes, Bytes::AsDue);
    let good = world.text("opa.json");

    std::fs::write(world.path("opa.json"), "edited\n").unwrap();
    let told = found(&reconciler, "opa").await;
    assert_eq!(told.bytes, Bytes::Drifted);
    assert!(told.why.unwrap().contains("is not what was last written"));
    assert_eq!(offline(&world, &target), Bytes::Drifted);
    std::fs::remove_file(world.path("opa.json")).unwrap();
    assert_eq!(offline(&world, &target), Bytes::Missing);
    std::fs::write(world.path("opa.json"), good).unwrap();
    assert_eq!(found(&reconciler, "opa").await.bytes, Bytes::AsDue);
    reconciler.shutdown().await;
    world.user("bob").await;
    assert_eq!(offline(&world, &target), Bytes::Pending, "nobody is there to apply it");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_failing_foreign_and_webhooks_are_told_as_what_they_are() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world.group("sre", &[&alice]).await;
    let manual = TargetSettings { apply: Apply::Manual, ..world.file("manual") };
    let mut failing = TargetSettings { on_change: false, ..world.file("failing") };
    let check = vec!["sh".into(), "-c".into(), format!("test ! -e {}", world.path("broken").display())];
    let check = [check, vec!["{file}".into()]].concat();
    spec(&mut failing).spec.check = Some(Argv::parse(check).unwrap());
    std::fs::write(world.path("foreign.json"), "{}\n").unwrap();
    let hook = world.webhook("hook", "https://127.0.0.1:1/", &["access.*"]);
    let reconciler = world.start(vec![manual, failing, world.file("foreign"), hook]);
    for target in ["manual", "failing"] {
        reconciler.sync(&name(target), false, Origin::daemon()).await.unwrap();
        assert_eq!(found(&reconciler, target).await.bytes, Bytes::AsDue, "{target}");
    }
    assert_eq!(found(&reconciler, "foreign").await.bytes, Bytes::Foreign);
    assert_eq!(found(&reconciler, "hook").await.bytes, Bytes::None);

    let bob = world.user("bob").await;
    world.group("other", &[&bob]).await;
    assert_eq!(found(&reconciler, "manual").await.bytes, Bytes::Pending);
    std::fs::write(world.path("broken"), "").unwrap();
    reconciler.sync(&name("failing"), false, Origin::daemon()).await.unwrap();
    let told = found(&reconciler, "failing").await;
    assert_eq!(told.bytes, Bytes::Failing);
    assert!(told.why.unwrap().contains("check"), "with what went wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_written_and_are_not_what_the_mirror_gives_are_found() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world.group("sre", &[&alice]).await;
    let mut target = TargetSettings { on_change: false, ..world.file("opa") };
    spec(&mut target).drift = Drift::Report;
    let reconciler = world.start(vec![target]);
    reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    // As a fault of rosterd's own would leave it: the record says that these bytes are right.
    std::fs::write(world.path("opa.json"), "{}\n").unwrap();
    let digest = Digest::of(b"{}\n").to_string();
    world
        .write(move |tx, _| {
            record::update_in(tx, &name("opa"), |_, saved| {
                saved.record.written = Some(digest);
                Ok(())
            })?;
            Ok(())
        })
        .await;
    let told = found(&reconciler, "opa").await;
    assert_eq!(told.bytes, Bytes::Differs, "{told:?}");
    assert!(!told.bytes.is_good());
}
