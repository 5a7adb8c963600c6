//! Readers over real sockets: what each may read, when, and what it is told otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{PublishApi, Rights, Settings, Sources};
use crate::downstream::file::Digest;
use crate::http::limits::Settings as Limits;
use crate::http::metrics::Metrics;
use crate::http::testing::{Reply, Server, Store};
use crate::mirror::{self, token};
use crate::model::{DirectoryKind, Origin, SystemClock, TargetName, Timestamp};
use crate::reconcile::{self, Edition, Reconciler, Shelf};

const BUNDLE: &str = "application/vnd.openpolicyagent.bundles";

fn name(text: &str) -> TargetName {
    TargetName::parse(text).unwrap()
}

fn edition(text: &str) -> Edition {
    Edition {
        bytes: Bytes::from(text.to_owned()),
        digest: Digest::of(text.as_bytes()),
        media_type: BUNDLE,
        since: Timestamp(1_700_000_000_000_000),
    }
}

fn tag(text: &str) -> String {
    format!("\"{}\"", Digest::of(text.as_bytes()))
}

/// Two published targets, `opa` and `other`, and one of no reader's: `secret`.
pub(super) struct Stage {
    pub(super) store: Store,
    pub(super) server: Server,
    shelf: Arc<Shelf>,
    pub(super) api: Arc<PublishApi>,
    pub(super) stopping: watch::Sender<bool>,
    /// Kept alive for its snapshots.
    _reconciler: Reconciler,
}

fn settings(readers: &[(&str, &[&str], bool)]) -> Settings {
    let rights = |targets: &[&str], metrics| Rights {
        sets: None,
        targets: targets.iter().map(|one| name(one)).collect(),
        events: false,
        metrics,
    };
    Settings {
        readers: readers
            .iter()
            .map(|(reader, targets, metrics)| ((*reader).to_owned(), rights(targets, *metrics)))
            .collect::<BTreeMap<_, _>>(),
        ..Settings::default()
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let store = Store::new();
        let shelf = Arc::new(Shelf::default());
        shelf.publish_only(&[name("opa"), name("other"), name("secret")]);
        for target in ["opa", "other", "secret"] {
            shelf.settle(&name(target));
        }
        let (stopping, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let reconciler =
            Reconciler::start(store.mirror.clone(), reconcile::Settings::default(), Arc::new(SystemClock))
                .unwrap();
        let sources = Sources {
            pull: reconciler.pull(),
            mirror: store.mirror.clone(),
            shelf: Arc::clone(&shelf),
            exposition: Arc::new(|| Box::pin(async { "some_metric 1\n".to_owned() })),
            metrics: Arc::clone(&metrics),
            stopping: stopped,
        };
        let limits = Arc::new(limits);
        let mut readers = settings(&[("one", &["opa"], false), ("two", &["other"], true)]);
        readers.readers.insert("listener".to_owned(), Rights { events: true, ..Rights::default() });
        let api = Arc::new(PublishApi::new(sources, readers, Arc::clone(&limits)));
        let server = Server::start_for_readers(Arc::clone(&api), limits, metrics);
        Self { store, server, shelf, api, stopping, _reconciler: reconciler }
    }

    pub(super) async fn token(&self, reader: &'static str) -> (String, crate::model::TokenId) {
        let made = self.store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| {
            token::mint(tx, token::Holder::Reader(reader), "", None)
        });
        let (token, secret) = made.await.unwrap();
        (secret.expose().to_owned(), token.id)
    }

    pub(super) async fn get(&self, token: &str, path: &str, headers: &[&str]) -> Reply {
        self.ask("GET", token, path, headers).await
    }

    pub(super) async fn ask(&self, method: &str, token: &str, path: &str, headers: &[&str]) -> Reply {
        let bearer = format!("Authorization: Bearer {token}");
        let mut all = vec![bearer.as_str()];
        all.extend(headers);
        self.server.send(method, path, &all, "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_told_with_its_tag_and_not_again_to_who_has_it() {
    let stage = Stage::new();
    let (token, _) = stage.token("one").await;
    let none = stage.get(&token, "/targets/opa", &[]).await;
    assert_eq!((none.status, none.header("retry-after")), (503, Some("5")));
    stage.shelf.put(&name("opa"), edition("first"));
    let full = stage.get(&token, "/targets/opa", &["If-None-Match: "]).await;
    assert_eq!((full.status, full.body.as_str()), (200, "first"));
    assert_eq!(full.header("content-type"), Some(BUNDLE));
    assert_eq!(full.header("etag"), Some(tag("first").as_str()));
    assert_eq!(full.header("cache-control"), Some("private, no-cache"));
    assert_eq!(full.header("last-modified"), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    assert_eq!((full.header("content-encoding"), full.header("preference-applied")), (None, None));
    let head = stage.ask("HEAD", &token, "/targets/opa", &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("5"), ""));
    assert_eq!(head.header("etag"), full.header("etag"));
    let known = format!("If-None-Match: \"x\", W/{}", tag("first"));
    for method in ["GET", "HEAD"] {
        let same = stage.ask(method, &token, "/targets/opa", &[&known]).await;
        assert_eq!((same.status, same.body.as_str()), (304, ""));
        assert_eq!(same.header("etag"), full.header("etag"));
        assert_eq!(same.header("content-type"), Some(BUNDLE), "OPA reads it from a 304, too");
    }
    let since = format!("If-Modified-Since: {}", full.header("last-modified").unwrap());
    assert_eq!(stage.get(&token, "/targets/opa", &[&since]).await.status, 304);
    stage.shelf.put(&name("opa"), edition("second"));
    let next = stage.get(&token, "/targets/opa", &[&known]).await;
    assert_eq!((next.status, next.body.as_str()), (200, "second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_gets_the_next_edition_or_the_end_of_the_time() {
    let stage = Arc::new(Stage::new());
    let (token, _) = stage.token("one").await;
    stage.shelf.put(&name("opa"), edition("first"));
    let known = format!("If-None-Match: {}", tag("first"));
    let prefer = "Prefer: modes=snapshot,delta;wait=1";
    let ended = stage.get(&token, "/targets/opa", &[&known, prefer]).await;
    assert_eq!((ended.status, ended.header("preference-applied")), (304, Some("wait=1")));
    let now = stage.get(&token, "/targets/opa", &["Prefer: wait=600"]).await;
    assert_eq!((now.status, now.body.as_str()), (200, "first"), "who has nothing does not wait");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (stage, token, known) = (Arc::clone(&stage), token.clone(), known.clone());
            tokio::spawn(async move {
                stage.get(&token, "/targets/opa", &[&known, "Prefer: wait=99999999999999999999"]).await
            })
        })
        .collect();
    until(|| stage.waiting() == 20).await;
    stage.shelf.put(&name("opa"), edition("second"));
    for one in waiting {
        let one = one.await.unwrap();
        assert_eq!((one.status, one.body.as_str()), (200, "second"));
        assert_eq!(one.header("preference-applied"), Some("wait=600"));
    }
    assert_eq!(stage.waiting(), 0);
}

impl Stage {
    /// How many requests wait for news.
    pub(super) fn waiting(&self) -> usize {
        super::WAITING_MAX - self.api.waiting.available_permits()
    }
}

pub(super) async fn until(done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it did not come to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_or_a_right_that_goes_while_waiting_gives_nothing() {
    let stage = Arc::new(Stage::new());
    let (revoked, id) = stage.token("one").await;
    let (kept, _) = stage.token("one").await;
    let (dropped, _) = stage.token("two").await;
    stage.shelf.put(&name("opa"), edition("first"));
    stage.shelf.put(&name("other"), edition("first"));
    let known = format!("If-None-Match: {}", tag("first"));
    let wait = |token: String, path: &'static str| {
        let (stage, known) = (Arc::clone(&stage), known.clone());
        tokio::spawn(async move { stage.get(&token, path, &[&known, "Prefer: wait=60"]).await })
    };
    let waits = [wait(revoked, "/targets/opa"), wait(kept, "/targets/opa"), wait(dropped, "/targets/other")];
    until(|| stage.waiting() == 3).await;
    let done =
        stage.store.mirror.write::<_, mirror::Error, _>(Origin::daemon(), move |tx| token::revoke(tx, &id));
    done.await.unwrap();
    stage.api.reload(settings(&[("one", &["opa"], false), ("two", &[], true)]));
    stage.shelf.put(&name("opa"), edition("second"));
    stage.shelf.put(&name("other"), edition("second"));
    let mut statuses = Vec::new();
    for one in waits {
        statuses.push(one.await.unwrap().status);
    }
    assert_eq!(statuses, [401, 200, 404]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_reads_its_own_and_nothing_tells_the_rest_apart() {
    let stage = Stage::new();
    for target in ["opa", "other", "secret"] {
        stage.shelf.put(&name(target), edition(target));
    }
    let (one, _) = stage.token("one").await;
    let (two, _) = stage.token("two").await;
    let (nobody, _) = stage.token("undeclared").await;
    let (listener, _) = stage.token("listener").await;
    let (directory, _) = stage.store.directory("acme", DirectoryKind::Okta).await;
    let paths = [
        "/targets/opa",
        "/targets/other",
        "/targets/secret",
        "/targets/absent",
        "/metrics",
        "/events",
        "/",
        "/targets/",
        "/targets/..%2fopa",
        "/scim/v2/Users",
        "/healthz",
        "/api/v1/status",
        "/targets/opa/x",
    ];
    let open = |who: &str, path: &str| {
        matches!(
            (who, path),
            ("one", "/targets/opa") | ("two", "/targets/other" | "/metrics") | ("listener", "/events")
        )
    };
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        for path in paths {
            let mut closed = Vec::new();
            for (who, token) in [("one", &one), ("two", &two), ("listener", &listener)] {
                let reply = stage.ask(method, token, path, &[]).await;
                if open(who, path) {
                    let reads = method == "GET" || (method == "HEAD" && path != "/events");
                    assert_eq!(reply.status, if reads { 200 } else { 405 }, "{who} {method} {path}");
                } else {
                    assert_eq!(reply.status, 404, "{who} {method} {path}");
                    closed.push(reply.body);
                }
            }
            closed.dedup();
            assert!(closed.len() <= 1, "{closed:?}");
            for token in [nobody.as_str(), directory.as_str(), "short", &"x".repeat(40)] {
                let api = Stage::forgive(&stage);
                let reply = api.ask(method, token, path, &[]).await;
                assert_eq!(reply.status, 401, "{method} {path}");
                assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"rosterd\""));
                assert!(!reply.body.contains("secret"), "{}", reply.body);
            }
        }
    }
}

impl Stage {
    /// Forgets the failed attempts of this address, which the next test of a wrong token would run into.
    fn forgive(&self) -> &Self {
        self.api.failures.forget();
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failures_count_against_an_address_and_never_against_a_valid_token() {
    let stage = Stage::new();
    let (token, _) = stage.token("one").await;
    stage.shelf.put(&name("opa"), edition("first"));
    let mut last = 0;
    for _ in 0..40 {
        last = stage.server.send("GET", "/targets/opa", &[], "").await.status;
    }
    assert_eq!(last, 429);
    let wrong = stage.get("rosterd_wrong", "/targets/opa", &[]).await;
    assert_eq!(wrong.status, 429);
    assert!(wrong.header("retry-after").is_some());
    for _ in 0..40 {
        assert_eq!(stage.get(&token, "/targets/opa", &[]).await.status, 200);
        assert_eq!(stage.get(&token, "/targets/secret", &[]).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_at_once_whoever_waits() {
    let stage = Arc::new(Stage::new());
    let (token, _) = stage.token("one").await;
    let (two, _) = stage.token("two").await;
    stage.shelf.put(&name("opa"), edition("first"));
    let known = format!("If-None-Match: {}", tag("first"));
    let wait = |token: &str, path: &'static str| {
        let (stage, known, token) = (Arc::clone(&stage), known.clone(), token.to_owned());
        tokio::spawn(async move { stage.get(&token, path, &[&known, "Prefer: wait=600"]).await })
    };
    let waits = [wait(&token, "/targets/opa"), wait(&two, "/targets/other")];
    until(|| stage.waiting() == 2).await;
    stage.stopping.send_replace(true);
    let mut replies = Vec::new();
    for one in waits {
        replies.push(one.await.unwrap());
    }
    assert_eq!(replies.iter().map(|one| one.status).collect::<Vec<_>>(), [304, 503]);
    assert!(replies.iter().all(|one| one.header("connection") == Some("close")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_hangs_up_gives_its_place_back() {
    use tokio::io::AsyncWriteExt as _;
    let stage = Stage::new();
    let (token, _) = stage.token("one").await;
    stage.shelf.put(&name("opa"), edition("first"));
    let mut stream = tokio::net::TcpStream::connect(&stage.server.address).await.unwrap();
    let request = format!(
        "GET /targets/opa HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIf-None-Match: {}\r\nPrefer: wait=600\r\n\r\n",
        tag("first")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until(|| stage.waiting() == 1).await;
    drop(stream);
    until(|| stage.waiting() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_waited_for_and_a_target_that_goes_ends_the_wait() {
    let stage = Arc::new(Stage::new());
    let (token, _) = stage.token("one").await;
    // As after a restart: the first run is not over.
    stage.shelf.publish_only(&[name("other")]);
    stage.shelf.publish_only(&[name("opa"), name("other")]);
    let ask = |headers: &'static [&'static str]| {
        let (stage, token) = (Arc::clone(&stage), token.clone());
        tokio::spawn(async move { stage.get(&token, "/targets/opa", headers).await })
    };
    let early = ask(&[]);
    until(|| stage.waiting() == 1).await;
    stage.shelf.put(&name("opa"), edition("as before"));
    let early = early.await.unwrap();
    assert_eq!((early.status, early.body.as_str()), (200, "as before"));
    let gone = ask(&["If-None-Match: *", "Prefer: wait=600"]);
    until(|| stage.waiting() == 1).await;
    stage.shelf.publish_only(&[name("other")]);
    assert_eq!(gone.await.unwrap().status, 404);
}
