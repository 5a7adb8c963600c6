//! Targets end to end: a real mirror in a folder of its own, real files, a real HTTP receiver.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::access::{Entitlement, Role};
use crate::downstream::command::Argv;
use crate::downstream::file::{Digest, FileSpec};
use crate::downstream::format::{self, Options};
use crate::downstream::webhook;
use crate::mirror::directory::{self, DirectoryRef};
use crate::mirror::resource::{self, Stored};
use crate::mirror::target::Holding;
use crate::mirror::{Settings as MirrorSettings, WriteTx, delivery};
use crate::model::{
    DirectoryId, DirectoryKind, ManualClock, Origin, ResourceId, ResourceType, RoleName, Secret, Subject,
    Timestamp,
};
use crate::reconcile::event::EventFilter;
use crate::reconcile::offline::plan_offline;
use crate::reconcile::record;
use crate::reconcile::snapshot::Snapshot;
use crate::reconcile::timing::schedule::Wait;
use crate::reconcile::{Apply, Drift, FileSettings, OnIllegal, Publish, Sending, WebhookSettings};
use crate::scim::etag::Precondition;
use crate::scim::patch::{MemberEdit, Patched};
use crate::scim::resource::{Draft, MemberRef};

type MirrorError = crate::mirror::Error;

struct World {
    folder: TempDir,
    mirror: Mirror,
    clock: Arc<ManualClock>,
    acme: DirectoryRef,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000_000)));
        let mirror =
            Mirror::open(&MirrorSettings::at(folder.path().join("mirror.db")), clock.clone()).unwrap();
        let acme = add_directory(&mirror, "acme").await;
        Self { folder, mirror, clock, acme }
    }

    fn start(&self, targets: Vec<TargetSettings>) -> Reconciler {
        Reconciler::start(self.mirror.clone(), settings(targets, &["sre"]), self.clock.clone()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> TargetSettings {
        let target = TargetName::parse(name).unwrap();
        let spec = FileSpec::new(
            TargetName::parse(name).unwrap(),
            self.path(&format!("{name}.json")),
            self.path(&format!("state-{name}")),
        );
        TargetSettings {
            name: target.clone(),
            map: std::collections::BTreeMap::new(),
            unix_ids: self.folder.path().join("unix-ids.log"),
            subject: crate::access::SubjectAttribute::default(),
            attributes: Vec::new(),
            apply: Apply::Auto,
            on_change: true,
            schedule: None,
            guard: crate::reconcile::guard::Guard::default(),
            wait: Wait { revoke: Duration::ZERO, min: Duration::from_millis(1), max: Duration::from_secs(1) },
            kind: TargetKind::File(FileSettings {
                shape: crate::reconcile::Shape::File,
                poll: crate::reconcile::POLL_DEFAULT,
                spec,
                format: format::find("json").unwrap(),
                options: Options::new(target),
                reload: None,
                drift: Drift::Repair,
                on_illegal: OnIllegal::Skip,
                publish: Publish::Off,
            }),
        }
    }

    fn webhook(&self, name: &str, url: &str, events: &[&str]) -> TargetSettings {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let secret = webhook::SigningSecret::parse(&secret).unwrap();
        let events = EventFilter::parse(events.iter().map(|&text| text.to_owned()).collect()).unwrap();
        let webhook = webhook::Settings::new(url.to_owned(), vec![secret]);
        TargetSettings {
            kind: TargetKind::Webhook(WebhookSettings::new(
                Sending::Http(Box::new(webhook)),
                events,
                self.folder.path().join("snapshots"),
            )),
            ..self.file(name)
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>, &DirectoryRef) -> Result<T, MirrorError> + Send + 'static,
    ) -> T {
        let acme = self.acme.clone();
        self.mirror.write(Origin::daemon(), move |tx: &mut WriteTx<'_>| f(tx, &acme)).await.unwrap()
    }

    async fn user(&self, name: &str) -> Stored {
        let Value::Object(doc) = json!({"userName": name, "active": true}) else { unreachable!() };
        let draft = Draft { doc, members: None };
        self.write(move |tx, acme| resource::create(tx, acme, ResourceType::User, draft)).await
    }

    async fn group(&self, name: &str, members: &[&Stored]) -> Stored {
        let Value::Object(doc) = json!({ "displayName": name }) else { unreachable!() };
        let draft = Draft { doc, members: Some(refs(members)) };
        self.write(move |tx, acme| resource::create(tx, acme, ResourceType::Group, draft)).await
    }

    async fn members(&self, group: &Stored, edit: MemberEdit) {
        let id = group.id;
        self.write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::Group, &id, &Precondition::default(), |_| {
                Ok(Patched { members: vec![edit], ..Patched::default() })
            })
        })
        .await;
    }

    async fn deactivate(&self, user: &Stored) {
        let id = user.id;
        self.write(move |tx, acme| {
            resource::patch(tx, acme, ResourceType::User, &id, &Precondition::default(), |doc| {
                doc.insert("active".into(), false.into());
                Ok(Patched { doc_changed: true, ..Patched::default() })
            })
        })
        .await;
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

async fn add_directory(mirror: &Mirror, id: &str) -> DirectoryRef {
    let id = DirectoryId::parse(id).unwrap();
    let added = mirror.write(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
        directory::add(tx, &id, "Directory", DirectoryKind::Generic)
    });
    added.await.unwrap().reference
}

fn refs(members: &[&Stored]) -> Vec<MemberRef> {
    members.iter().map(|one| MemberRef { value: one.id.to_string(), kind: None }).collect()
}

fn settings(targets: Vec<TargetSettings>, groups: &[&str]) -> Settings {
    let role = Role {
        name: RoleName::parse("admin").unwrap(),
        groups: groups.iter().map(|rule| rule.parse().unwrap()).collect(),
        users: None,
        directories: None,
        protected: false,
        on_rename: crate::access::OnRename::Follow,
    };
    Settings { targets, roles: vec![role], directories: Vec::new() }
}

fn name(text: &str) -> TargetName {
    TargetName::parse(text).unwrap()
}

fn status(reconciler: &Reconciler, target: &str) -> TargetStatus {
    reconciler.status().into_iter().find(|one| one.name == name(target)).unwrap()
}

/// Looks until it is so; the bound is for a broken build, not a measure.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

fn spec(target: &mut TargetSettings) -> &mut FileSettings {
    match &mut target.kind {
        TargetKind::File(file) => file,
        TargetKind::Webhook(_) => panic!("not a file"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_follows_what_is_pushed_and_what_is_revoked() {
    let world = World::new().await;
    let reconciler = world.start(vec![world.file("opa")]);
    let alice = world.user("alice@example.com").await;
    let bob = world.user("bob@example.com").await;
    let group = world.group("sre", &[&alice]).await;
    until("alice is there", || world.text("opa.json").contains("alice@example.com")).await;
    world.members(&group, MemberEdit::Add(refs(&[&bob]))).await;
    world.deactivate(&alice).await;
    until("only bob is there", || {
        let text = world.text("opa.json");
        text.contains("bob@example.com") && !text.contains("alice")
    })
    .await;
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!((report.state, report.changed, report.error), (State::InSync, false, None));
    assert_eq!(report.applied_seq, *world.mirror.changes().borrow());
    let held = record::load(&world.mirror, &name("opa")).unwrap().holdings;
    assert_eq!(held.len(), 2, "role and group of bob");
    assert!(reconciler.dead().is_empty());
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_what_would_come_and_go_and_touches_nothing() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let bob = world.user("bob").await;
    let group = world.group("sre", &[&alice]).await;
    let mut target = world.file("opa");
    target.apply = Apply::Manual;
    let reconciler = world.start(vec![target.clone()]);
    until("it is looked at", || status(&reconciler, "opa").last_success.is_none()).await;
    assert!(!world.path("opa.json").exists());
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!((report.state, report.added), (State::InSync, 2));
    world.members(&group, MemberEdit::Replace(refs(&[&bob]))).await;
    until("pending", || status(&reconciler, "opa").state == State::Pending).await;
    let plan = reconciler.plan(&name("opa")).await.unwrap();
    let lines = |lines: &[crate::reconcile::plan::Line]| -> Vec<String> {
        lines.iter().map(|line| format!("{} {}: {}", line.subject, line.label, line.why)).collect()
    };
    assert_eq!(lines(&plan.add), ["bob sre: member of \"sre\"", "bob admin: member of \"sre\""]);
    assert_eq!(plan.remove.len(), 2);
    assert!(lines(&plan.remove)[0].starts_with("alice "));
    assert!(world.text("opa.json").contains("alice"));
    let offline = plan_offline(&world.mirror, settings(vec![target], &["sre"]), &name("opa"), &*world.clock);
    assert_eq!(offline.unwrap(), plan);
    assert!(matches!(reconciler.plan(&name("nope")).await, Err(Error::UnknownTarget(_))));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_a_directory_has_pushed() {
    let world = World::new().await;
    let reconciler = world.start(vec![world.file("opa")]);
    let report = reconciler.sync(&name("opa"), true, Origin::daemon()).await.unwrap();
    assert_eq!(report.state, State::Waiting);
    assert!(!world.path("opa.json").exists());
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_nobody_pushed_to_prunes_nothing() {
    let world = World::new().await;
    add_directory(&world.mirror, "beta").await;
    world.user("alice").await;
    let subject =
        Subject { directory: DirectoryId::parse("beta").unwrap(), user: ResourceId::new(1, &[9; 10]) };
    let kept = Holding {
        subject,
        entitlement: Entitlement::Role(RoleName::parse("admin").unwrap()),
        name: "zoe".into(),
        attributes: serde_json::Map::new(),
    };
    world.write(move |tx, _| Ok(target::update_holdings(tx, &name("opa"), &[], &[kept])?)).await;
    let reconciler = world.start(vec![world.file("opa")]);
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!((report.state, report.removed), (State::InSync, 0));
    assert!(world.text("opa.json").contains("zoe"));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_file_stays_until_it_is_adopted() {
    let world = World::new().await;
    world.user("alice").await;
    std::fs::write(world.path("opa.json"), "mine\n").unwrap();
    let reconciler = world.start(vec![world.file("opa")]);
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!(report.state, State::Foreign);
    assert!(report.error.unwrap().contains("sync opa --adopt"));
    assert_eq!(world.text("opa.json"), "mine\n");
    let report = reconciler.sync(&name("opa"), true, Origin::daemon()).await.unwrap();
    assert_eq!((report.state, report.changed), (State::InSync, true));
    assert!(world.text("opa.json").contains("alice"));
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_by_hand_is_repaired_or_only_reported() {
    let world = World::new().await;
    world.user("alice").await;
    let mut reported = world.file("told");
    spec(&mut reported).drift = Drift::Report;
    let reconciler = world.start(vec![world.file("opa"), reported]);
    for target in ["opa", "told"] {
        assert_eq!(
            reconciler.sync(&name(target), false, Origin::daemon()).await.unwrap().state,
            State::InSync
        );
        std::fs::write(world.path(&format!("{target}.json")), "edited\n").unwrap();
    }
    until("repaired", || world.text("opa.json").contains("alice")).await;
    until("reported", || status(&reconciler, "told").state == State::Drifted).await;
    assert_eq!(world.text("told.json"), "edited\n");
    // A change that has to land lands all the same.
    world.user("bob").await;
    until("written", || world.text("told.json").contains("bob")).await;
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_rename_and_record_is_not_taken_for_a_strangers_file() {
    let world = World::new().await;
    world.user("alice").await;
    std::fs::write(world.path("opa.json"), "of an earlier life\n").unwrap();
    let intended = Digest::of(b"of an earlier life\n").to_string();
    world
        .write(move |tx, _| {
            Ok(record::update_in(tx, &name("opa"), |_, saved| {
                record::set_extra(saved, "intended", Some(intended.into()));
                Ok(())
            })?)
        })
        .await;
    let reconciler = world.start(vec![world.file("opa")]);
    until("written", || world.text("opa.json").contains("alice")).await;
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_reload_is_made_after_a_restart_and_retried_until_it_succeeds() {
    let world = World::new().await;
    world.user("alice").await;
    let mut target = world.file("opa");
    let (may, done) = (world.path("may"), world.path("done"));
    let script = format!("test -e {} && touch {}", may.display(), done.display());
    spec(&mut target).reload = Some(Argv::parse(vec!["sh".into(), "-c".into(), script]).unwrap());
    let reconciler = world.start(vec![target.clone()]);
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!(report.state, State::Failing);
    assert!(report.error.unwrap().contains("`reload` ended with exit code 1"));
    assert!(world.text("opa.json").contains("alice"));
    reconciler.shutdown().await;
    std::fs::write(may, "").unwrap();
    let reconciler = world.start(vec![target]);
    until("reloaded", || done.exists()).await;
    until("in sync", || status(&reconciler, "opa").state == State::InSync).await;
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_says_why_and_delays_no_other() {
    let world = World::new().await;
    world.user("alice").await;
    let mut broken = world.file("broken");
    spec(&mut broken).spec.path = world.path("missing/x.json");
    let mut slow = world.file("slow");
    let check = vec!["sh".into(), "-c".into(), "sleep 5; exit 1".into(), "{file}".into()];
    spec(&mut slow).spec.check = Some(Argv::parse(check).unwrap());
    let reconciler = world.start(vec![broken, slow, world.file("opa")]);
    until("written", || world.text("opa.json").contains("alice")).await;
    until("failing", || status(&reconciler, "broken").state == State::Failing).await;
    assert!(status(&reconciler, "broken").last_error.unwrap().contains("missing"));
    assert_ne!(status(&reconciler, "slow").state, State::InSync);
    std::fs::create_dir(world.path("missing")).unwrap();
    let report = reconciler.sync(&name("broken"), false, Origin::daemon()).await.unwrap();
    assert_eq!(report.state, State::InSync);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_settings_count_at_once_and_a_dropped_targets_file_stays() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world.group("dev", &[&alice]).await;
    let reconciler = world.start(vec![world.file("opa"), world.file("gone")]);
    for target in ["opa", "gone"] {
        reconciler.sync(&name(target), false, Origin::daemon()).await.unwrap();
    }
    let admins = |text: &str| -> Value { serde_json::from_str::<Value>(text).unwrap()["roles"].clone() };
    assert!(!admins(&world.text("opa.json")).to_string().contains("alice"));
    reconciler.replace_settings(settings(vec![world.file("opa")], &["dev"])).await.unwrap();
    until("granted", || admins(&world.text("opa.json")).to_string().contains("alice")).await;
    assert_eq!(reconciler.status().len(), 1);
    assert!(world.path("gone.json").exists());
    let subject = Subject { directory: DirectoryId::parse("acme").unwrap(), user: alice.id };
    let explained = reconciler.explain(&subject, None).await.unwrap();
    assert_eq!((explained[0].holds, explained[0].why[0].as_str()), (true, "member of \"dev\""));
    reconciler.shutdown().await;
    assert!(matches!(
        reconciler.sync(&name("opa"), false, Origin::daemon()).await,
        Err(Error::UnknownTarget(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_on_illegal_error_revocations_land_and_additions_wait() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let carl = world.user("carl").await;
    let group = world.group("sre", &[&alice, &carl]).await;
    let mut target = world.file("opa");
    spec(&mut target).on_illegal = OnIllegal::Error;
    target.on_change = false;
    let reconciler = world.start(vec![target]);
    assert_eq!(reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap().state, State::InSync);
    let bad = world.user("e\rve").await;
    let bob = world.user("bob").await;
    world.members(&group, MemberEdit::Add(refs(&[&bad, &bob]))).await;
    world.deactivate(&alice).await;
    let report = reconciler.sync(&name("opa"), false, Origin::daemon()).await.unwrap();
    assert_eq!((report.state, report.removed), (State::Failing, 2));
    assert!(report.error.unwrap().contains("additions wait"));
    let text = world.text("opa.json");
    assert!(text.contains("carl") && !text.contains("alice") && !text.contains("bob"), "{text}");
    reconciler.shutdown().await;
}

/// What a receiver got: `webhook-id` and body.
type Got = Arc<std::sync::Mutex<Vec<(String, Value)>>>;

struct Receiver {
    url: String,
    got: Got,
    answers: Arc<std::sync::Mutex<VecDeque<u16>>>,
}

impl Receiver {
    /// Answers with `answers` in turn, then 200.
    async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got: Got = Arc::default();
        let answers = Arc::new(std::sync::Mutex::new(answers.iter().copied().collect::<VecDeque<u16>>()));
        let (seen, planned) = (got.clone(), answers.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let request = loop {
                    let mut some = [0; 4096];
                    let read = stream.read(&mut some).await.unwrap_or(0);
                    bytes.extend_from_slice(&some[..read]);
                    if let Some(request) = parse(&bytes) {
                        break Some(request);
                    }
                    if read == 0 {
                        break None;
                    }
                };
                let Some(request) = request else { continue };
                seen.lock().unwrap().push(request);
                let status = planned.lock().unwrap().pop_front().unwrap_or(200);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, got, answers }
    }

    fn kinds(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|(_, body)| body["type"].as_str().unwrap().to_owned()).collect()
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

fn parse(bytes: &[u8]) -> Option<(String, Value)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length")?.parse().ok()?;
    (body.len() >= length)
        .then(|| (header("webhook-id").unwrap_or_default(), serde_json::from_str(body).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_everything_once_in_order_with_its_predecessor() {
    let world = World::new().await;
    let receiver = Receiver::start(&[]).await;
    let reconciler = world.start(vec![world.webhook("app", &receiver.url, &["*"])]);
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    let alice = world.user("alice").await;
    let group = world.group("sre", &[&alice]).await;
    until("granted", || receiver.kinds().contains(&"access.granted".to_owned())).await;
    world.members(&group, MemberEdit::Remove(vec![alice.id.to_string()])).await;
    until("revoked", || receiver.kinds().contains(&"access.revoked".to_owned())).await;
    until("in sync", || status(&reconciler, "app").state == State::InSync).await;
    let kinds = receiver.kinds();
    let of = |kind: &str| kinds.iter().position(|one| one == kind).unwrap();
    let about_access = kinds.iter().filter(|kind| kind.starts_with("access.")).count();
    assert_eq!(about_access, 2, "access events are about roles: {kinds:?}");
    assert!(of("user.created") < of("group.created") && of("group.created") < of("group.user_added"));
    assert!(of("group.user_added") < of("access.granted") && of("access.granted") < of("group.user_removed"));
    let got = receiver.got.lock().unwrap().clone();
    let mut previous = Value::Null;
    for (id, body) in got {
        let place = json!([body["data"]["epoch"], body["data"]["seq"], body["data"]["n"]]);
        assert_eq!(body["data"]["previous"], previous);
        let numbers: Vec<String> = place.as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(id, numbers.join("-"));
        previous = place;
    }
    assert_eq!(status(&reconciler, "app").applied_seq, *world.mirror.changes().borrow());
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_gets_the_same_event_again_before_any_other_also_after_a_restart() {
    let world = World::new().await;
    let receiver = Receiver::start(&[503, 500]).await;
    let target = world.webhook("app", &receiver.url, &["user.*"]);
    let reconciler = world.start(vec![target.clone()]);
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    world.user("alice").await;
    world.user("bob").await;
    until("tried", || receiver.count() == 1).await;
    until("failing", || status(&reconciler, "app").state == State::Failing).await;
    reconciler.shutdown().await;
    world.clock.advance(Duration::from_secs(6));
    let reconciler = world.start(vec![target]);
    until("tried again", || receiver.count() == 2).await;
    until("told", || status(&reconciler, "app").last_error.is_some()).await;
    world.clock.advance(Duration::from_secs(400));
    until("all arrived", || {
        // Whatever wakes the sender makes it look at the clock.
        reconciler.targets().running[0].board.read().open == 0 && receiver.count() >= 4
    })
    .await;
    let got = receiver.got.lock().unwrap().clone();
    assert!(got[0] == got[1] && got[1] == got[2] && got[2] != got[3]);
    assert_eq!(got.len(), 4);
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_parked_and_stops_its_target_until_it_is_skipped() {
    let world = World::new().await;
    let receiver = Receiver::start(&[400]).await;
    let reconciler = world.start(vec![world.webhook("app", &receiver.url, &["user.*"])]);
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    world.user("alice").await;
    world.user("bob").await;
    until("parked", || status(&reconciler, "app").parked == 1).await;
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    assert_eq!((receiver.count(), status(&reconciler, "app").state), (1, State::Failing));
    let parked = world.mirror.read(|tx: &mut ReadTx<'_>| delivery::open(tx, &name("app"), 1)).unwrap();
    let event = parked[0].event.event;
    world.write(move |tx, _| Ok(delivery::skip(tx, &name("app"), event)?)).await;
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    until("bob arrived", || receiver.count() == 2).await;
    reconciler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_410_disables_the_target_and_says_so() {
    let world = World::new().await;
    let receiver = Receiver::start(&[410]).await;
    let reconciler = world.start(vec![world.webhook("app", &receiver.url, &["user.*"])]);
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    world.user("alice").await;
    until("disabled", || status(&reconciler, "app").state == State::Disabled).await;
    world.user("bob").await;
    reconciler.sync(&name("app"), false, Origin::daemon()).await.unwrap();
    assert_eq!(receiver.count(), 1);
    assert!(receiver.answers.lock().unwrap().is_empty());
    reconciler.shutdown().await;
}

#[path = "guard/run_tests.rs"]
mod guard_run;

#[path = "measure_tests.rs"]
mod measure;

#[path = "webhook/tell_tests.rs"]
mod tell;

#[path = "file/crash_tests.rs"]
mod crash_tests;

#[path = "verify_tests.rs"]
mod verified;

#[path = "clock_tests.rs"]
mod clock;

#[path = "webhook/run_tests.rs"]
mod webhook_run;
