//! What no single change makes has a number of its own, also once nothing else remembers it.

use super::*;
use crate::mirror::decision::subject;
use crate::model::Subject;

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_given_once_also_when_the_delivery_that_had_it_is_gone() {
    let world = World::new().await;
    let receiver = Receiver::start(&[]).await;
    let mut target = world.webhook("app", &receiver.url, &["user.*", "group.*", "access.*"]);
    target.apply = Apply::Manual;
    let reconciler = world.start(vec![target]);
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let group = world.group("sre", &[&alice]).await;
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    until("granted", || receiver.kinds().contains(&"access.granted".to_owned())).await;
    world.members(&group, MemberEdit::Add(refs(&[&bob]))).await;
    let user = alice.id;
    world
        .write(move |tx, acme| {
            subject::shut(tx, &Subject { directory: acme.id.clone(), user }, "alice", "stolen laptop")
        })
        .await;
    until("shut", || receiver.kinds().contains(&"access.revoked".to_owned())).await;
    until("recorded", || status(&reconciler, "app").open == 0).await;
    let newest = *world.mirror.changes().borrow();
    world.write(|tx, _| Ok(delivery::prune(tx, &name("app"), Timestamp(0), 0)?)).await;
    let granted = || receiver.kinds().iter().filter(|kind| *kind == "access.granted").count();
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    until("the rest is told", || granted() == 2).await;
    assert_eq!(*world.mirror.changes().borrow(), newest, "both belong to the same change");
    let got = receiver.got.lock().unwrap().clone();
    let ids: BTreeSet<&String> = got.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), got.len(), "{:?}", got.iter().map(|one| &one.0).collect::<Vec<_>>());
    reconciler.shutdown().await;
}
