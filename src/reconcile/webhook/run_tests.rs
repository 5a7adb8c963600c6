//! Streams of events where something comes in between: a full window, many attempts, a snapshot of another life.

use super::*;
use crate::mirror::delivery::{Attempt, Filter, New, Sent, State as Standing};
use crate::model::{Epoch, EventId};
use crate::reconcile::{DeliveryOrder, ReplayFrom};

fn event(seq: Seq, n: u32) -> EventId {
    EventId { epoch: Epoch(1), seq, n }
}

fn new(event: EventId) -> New {
    New {
        event,
        turn: event.seq,
        kind: "user.created".into(),
        resource: None,
        at: Timestamp(0),
        body: b"{}".to_vec(),
        content_type: "application/json".into(),
        headers: Vec::new(),
        state: Standing::Pending,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_has_room_whatever_waits_behind_it() {
    let world = World::new().await;
    let receiver = Receiver::start(&[200, 200, 400]).await;
    let reconciler = world.start(vec![world.webhook("app", &receiver.url, &["user.*"])]);
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    world.user("alice").await;
    let from = *world.mirror.changes().borrow();
    world.user("bob").await;
    until("both are told", || receiver.count() == 2).await;
    world.user("carl").await;
    until("parked", || status(&reconciler, "app").parked == 1).await;
    // As many as a target may have ahead of its receiver.
    let last = *world.mirror.changes().borrow();
    let rest: Vec<New> = (1..4_000).map(|n| new(event(last, n))).collect();
    world.write(move |tx, _| Ok(delivery::add(tx, &name("app"), &rest, false)?)).await;
    let replay = DeliveryOrder::Replay(name("app"), ReplayFrom::Seq(from));
    reconciler.deliver(replay, Origin::daemon()).await.unwrap();
    until("the first ones come again", || receiver.count() > 6).await;
    let ids: Vec<String> = receiver.got.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids[3..6], ids[..3], "in order, and then what had been parked");
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_another_life_of_the_mirror_kept_is_not_gone_on_with() {
    let world = World::new().await;
    world.user("alice").await;
    let receiver = Receiver::start(&[]).await;
    let request = *world.mirror.changes().borrow();
    let progress = json!({"snapshot": {"request": request, "offset": 3}});
    world
        .write(move |tx, _| {
            Ok(record::update_in(tx, &name("app"), |_, saved| {
                record::set_extra(saved, "progress", Some(progress));
                Ok(())
            })?)
        })
        .await;
    let folder = world.path("snapshots");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["app".to_owned(), format!("app.0-{request}"), format!("app.1-{}", request.0 + 1)] {
        std::fs::write(folder.join(file), "what is no line\n").unwrap();
    }
    let reconciler = world.start(vec![world.webhook("app", &receiver.url, &["user.*"])]);
    until("it begins anew", || {
        receiver.kinds() == ["snapshot.started", "user.snapshot", "snapshot.finished"]
    })
    .await;
    until("it is in sync", || status(&reconciler, "app").state == State::InSync).await;
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded_however_often_a_person_has_one_tried_anew() {
    let world = World::new().await;
    let one = event(Seq(1), 0);
    world.write(move |tx, _| Ok(delivery::add(tx, &name("app"), &[new(one)], false)?)).await;
    for n in 0..30 {
        let attempt = Attempt {
            at: Timestamp(n),
            status: Some(503),
            latency: Duration::ZERO,
            outcome: "retry".to_owned(),
            error: None,
            answer: Vec::new(),
        };
        let sent = Sent { events: vec![one], after: Standing::Pending, next_at: Timestamp(n), attempt };
        world
            .write(move |tx, _| {
                delivery::record(tx, &name("app"), &[sent])?;
                Ok(delivery::retry(tx, &name("app"), one)?)
            })
            .await;
    }
    let kept = world.mirror.read(|tx: &mut ReadTx<'_>| delivery::attempts(tx, &name("app"), one)).unwrap();
    assert_eq!(kept.len(), usize::try_from(delivery::ATTEMPTS_KEPT).unwrap());
    assert_eq!(kept[0].at, Timestamp(29), "the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_to_try_some_of_a_batch_again_is_one_for_all_of_it() {
    let world = World::new().await;
    let events: Vec<EventId> = (0..3).map(|n| event(Seq(1), n)).collect();
    let mut rows: Vec<New> = events.iter().map(|id| new(*id)).collect();
    rows[1].kind = "user.updated".into();
    for row in &mut rows {
        row.state = Standing::Parked;
    }
    rows.push(New { state: Standing::Parked, ..new(event(Seq(2), 0)) });
    let touched = world.write(move |tx, _| {
        delivery::add(tx, &name("app"), &rows, false)?;
        delivery::assign_batch(tx, &name("app"), &events)?;
        let kind = Some("user.updated".to_owned());
        Ok(delivery::retry_matching(tx, &Filter { target: Some(name("app")), kind, ..Filter::default() })?)
    });
    assert_eq!(touched.await, 3, "and of nothing else");
}
