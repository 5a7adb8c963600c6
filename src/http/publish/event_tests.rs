//! Events over real sockets: in order, behind a cursor, whole, and to nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tests::{Stage, until};
use crate::http::testing::Reply;
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::resource::{self, Stored};
use crate::mirror::{self, WriteTx, token};
use crate::model::{DirectoryId, DirectoryKind, Epoch, EventId, Origin, ResourceType, Seq};
use crate::reconcile::event::EventFilter;
use crate::reconcile::event::body::BodySettings;
use crate::reconcile::pull::{Refusal, Settled, Wanted};
use crate::scim::etag::Precondition;
use crate::scim::resource::{Draft, MemberRef};

/// A directory to write to, beside a stage.
struct Acme {
    stage: Arc<Stage>,
    reference: DirectoryRef,
    token: String,
}

impl Acme {
    async fn new() -> Self {
        let stage = Arc::new(Stage::new());
        let reference = stage
            .store
            .mirror
            .write::<_, mirror::Error, _>(Origin::daemon(), |tx: &mut WriteTx<'_>| {
                let id = DirectoryId::parse("acme").unwrap();
                directory::add(tx, &id, "Acme", DirectoryKind::Generic)?;
                Ok(directory::find(tx, &id)?.unwrap().reference)
            })
            .await
            .unwrap();
        let (token, _) = stage.token("listener").await;
        Self { stage, reference, token }
    }

    async fn create(&self, kind: ResourceType, doc: Value, members: Option<Vec<MemberRef>>) -> Stored {
        let Value::Object(doc) = doc else { unreachable!() };
        let acme = self.reference.clone();
        let write = self.stage.store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
            resource::create(tx, &acme, kind, Draft { doc, members })
        });
        write.await.unwrap()
    }

    async fn user(&self, name: &str) -> Stored {
        self.create(ResourceType::User, json!({"userName": name, "active": true}), None).await
    }

    async fn group(&self, name: &str, members: &[&Stored]) -> Stored {
        let members = members.iter().map(|one| MemberRef { value: one.id.to_string(), kind: None }).collect();
        self.create(ResourceType::Group, json!({ "displayName": name }), Some(members)).await
    }

    async fn delete(&self, kind: ResourceType, one: &Stored) {
        let (acme, id) = (self.reference.clone(), one.id);
        let write = self.stage.store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
            resource::delete(tx, &acme, kind, &id, &Precondition::default())
        });
        write.await.unwrap();
    }

    async fn ask(&self, query: &str) -> Reply {
        self.stage.get(&self.token, &format!("/events{query}"), &[]).await
    }

    async fn events(&self, query: &str) -> Value {
        self.ask(query).await.expect(200)
    }

    /// A stream's connection, its request sent.
    async fn stream(&self, query: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.stage.server.address).await.unwrap();
        let request = format!(
            "GET /events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

fn types(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect()
}

fn ids(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

/// Reads until the text has `part`.
async fn read_to(stream: &mut TcpStream, text: &mut String, part: &str) {
    let mut chunk = [0; 4096];
    while !text.contains(part) {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the stream ended before `{part}`: {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..n]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_whatever_the_page_and_a_filter_never_renumbers() {
    let acme = Acme::new().await;
    let alice = acme.user("alice").await;
    let bob = acme.user("bob").await;
    acme.group("crew", &[&alice, &bob]).await;
    let all = acme.events("").await;
    let expected = [
        "directory.added",
        "user.created",
        "user.created",
        "group.created",
        "group.user_added",
        "group.user_added",
    ];
    assert_eq!(types(&all), expected);
    assert_eq!(all["more"], false);
    let last = &all["events"][5];
    assert_eq!(last["data"]["user"]["userName"], "bob");
    assert_eq!((&last["version"], &last["data"]["n"]), (&json!(1), &json!(2)));
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let page = acme.events(&format!("?limit=1{after}")).await;
        paged.extend(ids(&page).iter().map(|id| (*id).to_owned()));
        after = format!("&after={}", page["next"].as_str().unwrap());
        if page["more"] == false && ids(&page).is_empty() {
            break;
        }
    }
    assert_eq!(paged, ids(&all));
    let some = acme.events("?events=group.user_added").await;
    assert_eq!(ids(&some), ids(&all)[4..]);
    assert_eq!(some["next"], all["next"]);
    let none = acme.events(&format!("?after={}", all["next"].as_str().unwrap())).await;
    assert_eq!((ids(&none).len(), &none["next"]), (0, &all["next"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_group_is_told_in_pages_with_every_name() {
    let acme = Acme::new().await;
    let mut people = Vec::new();
    for n in 0..130 {
        people.push(acme.user(&format!("user{n}")).await);
    }
    let newest = acme.events("?after=newest").await["next"].as_str().unwrap().to_owned();
    acme.group("all", &people.iter().collect::<Vec<_>>()).await;
    for filter in ["", "&events=group.user_added"] {
        let mut names = BTreeSet::new();
        let mut after = newest.clone();
        loop {
            let page = acme.events(&format!("?after={after}&limit=50{filter}")).await;
            let all = page["events"].as_array().unwrap();
            names.extend(
                all.iter().filter_map(|one| Some(one["data"]["user"]["userName"].as_str()?.to_owned())),
            );
            after = page["next"].as_str().unwrap().to_owned();
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(names.len(), 130);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_hears_what_happens_and_what_it_did_not_ask_for_does_not_end_the_wait() {
    let acme = Arc::new(Acme::new().await);
    let ended = acme.events("?after=newest&wait=1").await;
    assert_eq!(ids(&ended).len(), 0);
    let waiting = {
        let acme = Arc::clone(&acme);
        tokio::spawn(async move { acme.events("?after=newest&wait=60s&events=user.deleted").await })
    };
    until(|| acme.stage.waiting() == 1).await;
    let alice = acme.user("alice").await;
    acme.delete(ResourceType::User, &alice).await;
    let heard = waiting.await.unwrap();
    assert_eq!(types(&heard), ["user.deleted"]);
    assert_eq!(heard["events"][0]["data"]["user"]["userName"], "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_leads_nowhere_is_gone_and_a_wrong_question_is_told() {
    let acme = Acme::new().await;
    for _ in 0..3 {
        acme.user(&format!("u{}", acme.stage.store.mirror.changes().borrow().0)).await;
    }
    for cursor in ["1-9999", "1-9999-0", "2-1", "2-0"] {
        let gone = acme.ask(&format!("?after={cursor}")).await;
        let body = gone.expect(410);
        assert_eq!((&body["oldest"], &body["snapshot"]), (&json!("1-0"), &json!("/events?snapshot=1")));
        let mut stream = acme.stream("", &format!("Last-Event-ID: {cursor}\r\n")).await;
        let mut text = String::new();
        read_to(&mut stream, &mut text, "\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 410"), "{text}");
    }
    acme.stage.store.forget_changes(2);
    assert_eq!(acme.ask("?after=1-1").await.expect(410)["oldest"], "1-2");
    assert_eq!(acme.ask("?after=1-2").await.status, 200);
    assert!(ids(&acme.events("").await)[0].starts_with("1-3-"));
    for wrong in [
        "?after=x",
        "?wait=soon",
        "?limit=0",
        "?limit=1001",
        "?snapshot=2",
        "?events=access.*",
        "?events=x",
        "?x=1",
    ] {
        assert_eq!(acme.ask(wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(acme.stage.ask("HEAD", &acme.token, "/events", &[]).await.status, 405);
    assert_eq!(acme.stage.ask("POST", &acme.token, "/events", &[]).await.header("allow"), Some("GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_state_and_what_follows_its_cursor_is_the_rest() {
    let acme = Acme::new().await;
    let alice = acme.user("alice").await;
    let crew = acme.group("crew", &[&alice]).await;
    acme.group("empty", &[&crew]).await;
    let told = acme.events("?snapshot=1").await;
    let expected = [
        "snapshot.started",
        "directory.snapshot",
        "user.snapshot",
        "group.snapshot",
        "group.snapshot",
        "snapshot.finished",
    ];
    assert_eq!(types(&told), expected);
    let events = told["events"].as_array().unwrap();
    assert_eq!(events[0]["data"]["counts"], json!({"directories": 1, "groups": 2, "users": 1}));
    assert_eq!(events[2]["data"]["values"]["userName"], "alice");
    // In the order of their ids, which of one millisecond is anybody's guess.
    let group = |name: &str| events.iter().find(|one| one["data"]["values"]["displayName"] == name).unwrap();
    assert_eq!(group("crew")["data"]["users"], json!([alice.id]));
    assert_eq!(group("empty")["data"]["groups"], json!([crew.id]));
    assert_eq!(events[1]["data"]["previous"], json!([1, 5, 1_000_000_000]));
    acme.user("bob").await;
    let rest = acme.events(&format!("?after={}", told["next"].as_str().unwrap())).await;
    assert_eq!(types(&rest), ["user.created"]);
    let users = acme.events("?snapshot=1&events=user.*").await;
    assert_eq!(types(&users), ["snapshot.started", "user.snapshot", "user.snapshot", "snapshot.finished"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_as_it_happens_goes_on_where_it_broke_off_and_ends_with_its_token() {
    let acme = Acme::new().await;
    acme.user("alice").await;
    let mut stream = acme.stream("?snapshot=1", "").await;
    let mut text = String::new();
    read_to(&mut stream, &mut text, "event: snapshot.finished").await;
    assert!(text.contains("content-type: text/event-stream") && text.contains("retry: 2000"), "{text}");
    assert!(text.contains("event: user.snapshot") && !text.contains("id: 1-3-10000"), "{text}");
    acme.user("bob").await;
    read_to(&mut stream, &mut text, "event: user.created").await;
    let id = text.split("id: ").last().unwrap().lines().next().unwrap().to_owned();
    assert!(text.contains(&format!("id: {id}\nevent: user.created\ndata: {{\"id\":\"{id}\",")), "{text}");
    drop(stream);
    acme.user("carol").await;
    // Under the same address: where it broke off counts, not the snapshot.
    let mut stream = acme.stream("?snapshot=1", &format!("Last-Event-ID: {id}\r\n")).await;
    let mut text = String::new();
    read_to(&mut stream, &mut text, "carol").await;
    assert!(!text.contains("snapshot") && !text.contains("bob"), "{text}");
    until(|| acme.stage.waiting() == 1).await;
    let all = acme.stage.store.mirror.read::<_, mirror::StoreError>(|tx| token::list(tx, None)).unwrap();
    let id = all.into_iter().find(|one| one.reader.as_deref() == Some("listener")).unwrap().id;
    let done = acme
        .stage
        .store
        .mirror
        .write::<_, mirror::Error, _>(Origin::daemon(), move |tx| token::revoke(tx, &id));
    done.await.unwrap();
    acme.user("dave").await;
    read_to(&mut stream, &mut text, "\r\n0\r\n\r\n").await;
    assert!(!text.contains("dave"), "{text}");
    until(|| acme.stage.waiting() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_and_waits() {
    let acme = Arc::new(Acme::new().await);
    let mut stream = acme.stream("?after=newest", "").await;
    let waiting = {
        let acme = Arc::clone(&acme);
        tokio::spawn(async move { acme.ask("?after=newest&wait=600").await })
    };
    until(|| acme.stage.waiting() == 2).await;
    acme.stage.stopping.send_replace(true);
    assert_eq!(waiting.await.unwrap().status, 200);
    // Kept alive, the connection would go on; its body must have ended.
    let mut text = String::new();
    read_to(&mut stream, &mut text, "\r\n0\r\n\r\n").await;
    until(|| acme.stage.waiting() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_ends_with_the_token_of_who_takes_it_slowly() {
    let acme = Acme::new().await;
    let reference = acme.reference.clone();
    let many = acme.stage.store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
        for n in 0..1_200 {
            let doc = json!({"userName": format!("user-{n:04}"), "active": true});
            let Value::Object(doc) = doc else { unreachable!() };
            resource::create(tx, &reference, ResourceType::User, Draft { doc, members: None })?;
        }
        Ok(())
    });
    many.await.unwrap();
    let wanted = Wanted {
        filter: EventFilter::parse(vec!["*".to_owned()]).unwrap(),
        body: BodySettings::default(),
        limit: 100,
    };
    for is_stream in [true, false] {
        let (token, id) = acme.stage.token("listener").await;
        let picture = acme.stage.api.sources.pull.picture(wanted.clone()).await.unwrap();
        let (sender, mut pieces) = tokio::sync::mpsc::channel(1);
        let teller = super::events::Teller::new(&acme.stage.api, &token, sender);
        let told = tokio::spawn(async move { teller.whole(picture, is_stream).await });
        // Nobody has taken a piece yet: the next one waits.
        let mut text = String::from_utf8(pieces.recv().await.unwrap().to_vec()).unwrap();
        let revoked = acme
            .stage
            .store
            .mirror
            .write::<_, mirror::Error, _>(Origin::daemon(), move |tx| token::revoke(tx, &id));
        revoked.await.unwrap();
        while let Some(piece) = pieces.recv().await {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        assert!(!told.await.unwrap(), "it was told whole");
        // At most the piece that was taken, the one that waited and the one being made, in either form.
        let users = text.matches("user.snapshot").count();
        assert!((1..1_000).contains(&users), "{is_stream}: {users} of 1,200");
        assert!(!text.contains("snapshot.finished"), "{is_stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_way_past_what_nobody_asked_for_ends_with_the_daemon() {
    let acme = Acme::new().await;
    for n in 0..450 {
        acme.user(&format!("u{n}")).await;
    }
    let whole = acme.events("?events=group.created").await;
    assert_eq!((ids(&whole).len(), &whole["more"]), (0, &json!(false)));
    acme.stage.stopping.send_replace(true);
    let told = acme.events("?events=group.created").await;
    assert_eq!((ids(&told).len(), &told["more"]), (0, &json!(true)), "not to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_what_is_not_waiting_writes_nothing() {
    let acme = Acme::new().await;
    acme.user("alice").await;
    let pull = acme.stage.api.sources.pull.clone();
    let everything = EventFilter::parse(vec!["*".to_owned()]).unwrap();
    let wanted = Wanted { filter: everything, body: BodySettings::default(), limit: 10 };
    let handed = pull.hand("listener", wanted.clone()).await.unwrap().tokens;
    assert_eq!(handed.len(), 2);
    let commits = || acme.stage.store.mirror.counters().commits();
    let before = commits();
    let strangers = (0..30_000).map(|n| EventId { epoch: Epoch(7), seq: Seq(u64::MAX), n }).collect();
    let settled = Settled { acknowledged: strangers, ..Settled::default() };
    assert_eq!(pull.settle("listener", settled.clone()).await.unwrap(), 0);
    assert_eq!(commits(), before, "nobody's writes waited for it");
    let mixed = Settled { acknowledged: [settled.acknowledged, vec![handed[0].0]].concat(), ..settled };
    assert_eq!(pull.settle("listener", mixed).await.unwrap(), 1);
    let left = pull.hand("listener", wanted).await.unwrap().tokens;
    assert_eq!(left, handed[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_reader_acknowledges_or_refuses_still_waits_for_another() {
    let acme = Acme::new().await;
    acme.user("alice").await;
    let pull = acme.stage.api.sources.pull.clone();
    let filter = EventFilter::parse(vec!["*".to_owned()]).unwrap();
    let wanted = Wanted { filter, body: BodySettings::default(), limit: 10 };
    let one = pull.hand("one", wanted.clone()).await.unwrap().tokens;
    let two = pull.hand("two", wanted.clone()).await.unwrap().tokens;
    // An event has one number, whoever is told.
    assert_eq!((&one, one.len()), (&two, 2));
    let why = Refusal { err: "invalid_request".to_owned(), description: String::new() };
    let settled = Settled { acknowledged: vec![one[0].0], refused: [(one[1].0, why)].into() };
    assert_eq!(pull.settle("one", settled).await.unwrap(), 2);
    assert_eq!(pull.hand("one", wanted.clone()).await.unwrap().tokens, []);
    assert_eq!(pull.hand("two", wanted).await.unwrap().tokens, two);
}

/// Whoever looked at a stream before another poll moved it on must not set it back: what was acknowledged meanwhile would
/// be handed out again.
#[tokio::test(flavor = "multi_thread")]
async fn polls_at_once_of_one_reader_never_set_its_stream_back() {
    let acme = Acme::new().await;
    for n in 0..20 {
        acme.user(&format!("u{n}")).await;
    }
    let pull = acme.stage.api.sources.pull.clone();
    for round in 0..10 {
        pull.begin("listener", None).await.unwrap();
        let mut polls = tokio::task::JoinSet::new();
        for n in 0..16 {
            let pull = pull.clone();
            let filter = EventFilter::parse(vec!["*".to_owned()]).unwrap();
            let wanted =
                Wanted { filter, body: BodySettings::default(), limit: if n % 2 == 0 { 1 } else { 100 } };
            polls.spawn(async move { pull.hand("listener", wanted).await.unwrap() });
        }
        polls.join_all().await;
        let rows = crate::reconcile::pull::streams(&acme.stage.store.mirror).unwrap();
        let row = &rows[0];
        assert_eq!(row["unacknowledged"], 21, "{row}");
        assert_eq!(row["handed"], 21 * (round + 1), "each is counted once: {row}");
        assert_eq!(row["next"], format!("1-{}", acme.stage.store.mirror.changes().borrow().0), "{row}");
    }
}
