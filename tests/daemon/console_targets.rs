//! What people see of targets, held plans, deliveries and the past in the console, and what they do about them: real
//! pages over real HTTP, with the forms as a browser without scripts would send them.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::daemon::{Daemon, Scim};
use crate::support::http::{Client, Response};
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{edit, wait_for, wait_until};

const PASSWORD: &str = "correct horse battery";

const PEOPLE: usize = 40;

/// The daemon with a console, a file of one role, and what a test adds.
struct Stage {
    daemon: Daemon,
    scim: Scim,
    users: Vec<String>,
    console: SocketAddr,
}

fn private(daemon: &Daemon, name: &str, text: &str) {
    std::fs::write(daemon.path(name), text).unwrap();
    std::fs::set_permissions(daemon.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn config(more: &str) -> String {
    let people: String = ["ada", "olga", "vic"]
        .into_iter()
        .zip(["admin", "operate", "view"])
        .map(|(name, role)| {
            format!(
                "[[admin.user]]\nname = \"{name}\"\npassword_file = \"{{dir}}/password\"\nrole = \"{role}\"\n"
            )
        })
        .collect();
    format!(
        "[[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\n[[target]]\nname = \"file\"\ntype = \"file\"\nformat = \"json\"\n\
         path = \"{{dir}}/out/access.json\"\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n{more}\n{people}"
    )
}

impl Stage {
    fn start(people: usize, more: &str) -> Self {
        let console = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut daemon = Daemon::prepare(&config(more));
        // The harness writes `[admin]` with the socket; the console listens besides.
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        std::fs::write(
            daemon.config(),
            text.replacen("[admin]\n", &format!("[admin]\nlisten = \"{console}\"\n"), 1),
        )
        .unwrap();
        private(&daemon, "password", PASSWORD);
        private(&daemon, "hook-secret", SECRET);
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let users: Vec<String> = (0..people).map(|n| scim.create_user(&name(n))).collect();
        if people > 0 {
            scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
            let stage = Self { daemon, scim, users, console };
            wait_until("all are in", || stage.holders() == people);
            return stage;
        }
        Self { daemon, scim, users, console }
    }

    fn holders(&self) -> usize {
        let file: Value = serde_json::from_str(&self.daemon.read("out/access.json")).unwrap_or(Value::Null);
        let crew =
            file["roles"].as_array().and_then(|roles| roles.iter().find(|role| role["name"] == "crew"));
        crew.and_then(|crew| crew["members"].as_array()).map_or(0, Vec::len)
    }

    /// The identity provider takes the first `count` away.
    fn accident(&mut self, count: usize) {
        for n in 0..count {
            self.scim.set_active(&self.users[n].clone(), false);
        }
        self.settle();
    }

    fn settle(&self) {
        wait_until("the target is at the newest change", || {
            let status = self.daemon.cli_json(&["status"]);
            status["targets"][0]["applied_seq"] == status["seq"]
        });
    }

    fn held(&self) -> u64 {
        self.daemon.target("file")["held_removals"].as_u64().unwrap()
    }

    /// Of whom something is held, sorted.
    fn held_people(&self) -> Vec<String> {
        let plan = self.daemon.cli_json(&["plan", "file"]);
        let held = plan["targets"][0]["held_removals"].as_array().unwrap();
        let mut people: Vec<String> =
            held.iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect();
        people.sort();
        people.dedup();
        people
    }

    fn browser(&self, who: &str) -> Browser {
        Browser::sign_in(self.console, who)
    }
}

fn name(n: usize) -> String {
    format!("user{n:03}@example.com")
}

/// As much of a browser as forms need.
struct Browser {
    client: Client,
    origin: String,
    cookie: String,
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out + &char::from(byte).to_string(),
        byte => out + &format!("%{byte:02X}"),
    })
}

/// The value of the first hidden field of this name.
fn field(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next().unwrap().to_owned())
}

/// A page as a browser reads it: a slash is escaped in attributes.
fn page(answer: &Response) -> String {
    answer.text().replace("&#x2f;", "/")
}

impl Browser {
    fn sign_in(console: SocketAddr, who: &str) -> Self {
        let origin = format!("http://{console}");
        let mut browser = Self { client: Client::new(console), origin, cookie: String::new() };
        let page = browser.get("/sign-in");
        let answer = browser.post_with("/sign-in", &page, &[("name", who), ("password", PASSWORD)]);
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        let cookie = cookie.expect("a session").1.split(';').next().unwrap().to_owned();
        browser.cookie = cookie;
        browser
    }

    fn answer(&mut self, path: &str) -> Response {
        let cookie = self.cookie.clone();
        self.client.send("GET", path, &[("Cookie", &cookie)], None).unwrap()
    }

    fn get(&mut self, path: &str) -> String {
        let answer = self.answer(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        page(&answer)
    }

    /// Sends a form of `page`, with its token.
    fn post_with(&mut self, path: &str, page: &str, fields: &[(&str, &str)]) -> Response {
        let token = field(page, "csrf").expect("a form");
        let mut body = format!("csrf={}", encoded(&token));
        for (name, value) in fields {
            body += &format!("&{}={}", encoded(name), encoded(value));
        }
        let (cookie, origin) = (self.cookie.clone(), self.origin.clone());
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", origin.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.client.send("POST", path, &headers, Some(body.as_bytes())).unwrap()
    }

    /// Sends a form and shows the page it leads to.
    fn post(&mut self, path: &str, page: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post_with(path, page, fields);
        assert_eq!(answer.status, 303, "{path}: {}", answer.text());
        let next = answer.header("location").unwrap().to_owned();
        self.get(&next)
    }
}

#[test]
fn a_mass_removal_is_reviewed_approved_for_one_and_then_for_the_rest() {
    let mut stage = Stage::start(PEOPLE, "");
    stage.accident(20);
    let held = stage.held();
    assert!(held > 4, "the guard holds: {held}");
    let mut olga = stage.browser("olga");

    let overview = olga.get("/");
    assert!(overview.contains("Removals are held") && overview.contains("/targets/file/plan"), "the banner");
    let plan = olga.get("/targets/file/plan");
    assert!(plan.contains("Why they are held") && plan.contains("over the limit of 10%"), "{plan}");
    // Whom the urgent budget let go depends on how the changes fell into runs.
    let people = stage.held_people();
    let [other, .., last] = people.as_slice() else { panic!("two at least: {people:?}") };
    assert!(people.iter().all(|name| plan.contains(name)) && plan.contains("the user is not active"));
    let hash = field(&stage.browser("ada").get("/targets/file/plan"), "plan").unwrap();
    let found = olga.get(&format!("/targets/file/plan?q={}", last.trim_end_matches("@example.com")));
    assert!(found.contains(last) && !found.contains(other), "the filter");

    let person = field(&found, "subject").expect("a check box");
    let fields = [("plan", hash.as_str()), ("what", "chosen"), ("subject", person.as_str())];
    let asked = olga.post_with("/targets/file/plan", &plan, &fields).expect(200);
    let asked = page(&asked);
    assert!(asked.contains("Approve 2 removals") && asked.contains(last), "a role and a group: {asked}");
    let fields = [("plan", hash.as_str()), ("subject", person.as_str()), ("reason", "left on Friday")];
    let done = olga.post("/targets/file/approve", &asked, &fields);
    assert!(done.contains("2 removals approved") && done.contains("To undo it"), "{done}");
    assert!(done.contains("left on Friday"), "who noted why is shown");
    assert_eq!(stage.held(), held - 2);

    // What is held is another plan now: the old page decides nothing any more.
    let stale = olga.post_with("/targets/file/approve", &plan, &[("plan", hash.as_str())]);
    assert_eq!(stale.status, 409);
    assert!(stale.text().contains("has changed since this page was shown"), "{}", stale.text());
    assert_eq!(stage.held(), held - 2);

    let plan = olga.get("/targets/file/plan");
    let hash = field(&stage.browser("ada").get("/targets/file/plan"), "plan").unwrap();
    let fields = [("plan", hash.as_str()), ("what", "all")];
    let asked = olga.post_with("/targets/file/plan", &plan, &fields).expect(200);
    let asked = page(&asked);
    let done = olga.post("/targets/file/approve", &asked, &[("plan", hash.as_str())]);
    assert!(done.contains("Nothing is held any more"), "{done}");
    assert_eq!((stage.held(), stage.holders()), (0, PEOPLE - 20));
    assert!(!olga.get("/").contains("Removals are held"), "the banner is gone");

    let history = stage.daemon.cli_json(&["history", "--limit", "1000"]);
    let approved: Vec<&Value> =
        history["changes"].as_array().unwrap().iter().filter(|one| one["kind"] == "guard.approved").collect();
    assert_eq!(approved.len(), 2);
    assert!(approved.iter().all(|one| one["actor"] == "admin:olga"), "{approved:?}");
    assert_eq!(approved[0]["after"]["reason"], "left on Friday");
    let shown = olga.get("/history?kind=guard.*&actor=olga");
    assert!(shown.contains("Held removals approved") && shown.contains("<strong>olga</strong>"), "{shown}");
    assert!(!shown.contains("Removals held"), "the guard's own are another actor's");
    let target = olga.get("/targets/file");
    assert!(target.contains("a decision") && target.contains("by olga"), "the run says who: {target}");
}

#[test]
fn more_that_is_held_meanwhile_is_shown_before_anything_is_decided_and_all_is_rejected() {
    let mut stage = Stage::start(PEOPLE, "");
    // So few go through; they count when more follow.
    stage.accident(3);
    stage.accident(20);
    let mut olga = stage.browser("olga");
    let plan = olga.get("/targets/file/plan");
    let hash = field(&stage.browser("ada").get("/targets/file/plan"), "plan").unwrap();
    let before = stage.held();
    for n in 20..30 {
        stage.scim.set_active(&stage.users[n].clone(), false);
    }
    stage.settle();
    assert!(stage.held() > before);
    for path in ["/targets/file/plan", "/targets/file/approve", "/targets/file/reject"] {
        let stale = olga.post_with(path, &plan, &[("plan", &hash), ("what", "all"), ("removals", "9")]);
        assert_eq!(stale.status, 409, "{path}");
        let shown = page(&stale);
        assert!(shown.contains("What changed:") && shown.contains(">new</span>"), "{shown}");
    }
    let now = stage.held();
    let plan = olga.get("/targets/file/plan");
    let hash = field(&stage.browser("ada").get("/targets/file/plan"), "plan").unwrap();
    let asked =
        olga.post_with("/targets/file/plan", &plan, &[("plan", &hash), ("what", "reject")]).expect(200);
    let asked = page(&asked);
    assert!(asked.contains("name=\"window\""), "what went before can be given back: {asked}");
    let fields = [("plan", hash.as_str()), ("window", "1"), ("reason", "a wrong assignment")];
    let done = olga.post("/targets/file/reject", &asked, &fields);
    assert!(done.contains(&format!("{now} removals rejected")), "{done}");
    stage.settle();
    assert_eq!(stage.held(), 0);
    let history = stage.daemon.cli_json(&["history", "--limit", "1000"]);
    let rejected =
        history["changes"].as_array().unwrap().iter().find(|one| one["kind"] == "guard.rejected").unwrap();
    assert_eq!(
        (&rejected["actor"], &rejected["after"]["reason"]),
        (&"admin:olga".into(), &"a wrong assignment".into())
    );
}

#[test]
fn who_may_only_look_decides_nothing() {
    let mut stage = Stage::start(PEOPLE, "");
    stage.accident(20);
    let held = stage.held();
    let mut vic = stage.browser("vic");
    let plan = vic.get("/targets/file/plan");
    assert!(
        !plan.contains("name=\"what\"") && plan.contains("takes the role <code>operate</code>"),
        "no buttons"
    );
    let hash = field(&stage.browser("ada").get("/targets/file/plan"), "plan").unwrap();
    for path in [
        "/targets/file/plan",
        "/targets/file/approve",
        "/targets/file/reject",
        "/targets/file/sync",
        "/targets/file/adopt",
        "/targets/file/rollback",
        "/targets/file/forget",
        "/deliveries/app/resume",
        "/grants",
        "/shut",
        "/shut/open",
    ] {
        let fields =
            [("plan", hash.as_str()), ("what", "all"), ("to", "1"), ("subject", "user001@example.com")];
        let answer = vic.post_with(path, &plan, &fields);
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    assert_eq!(vic.answer("/targets/file/rollback?to=1").status, 403);
    assert_eq!(stage.browser("olga").answer("/targets/file/forget").status, 403, "that is an admin's");
    assert_eq!(stage.held(), held);
    for page in [
        "/targets",
        "/targets/file",
        "/targets/file/file",
        "/deliveries",
        "/history",
        "/access",
        "/diff",
        "/grants",
    ] {
        vic.get(page);
    }
}

#[test]
fn a_drifted_file_shows_who_touched_it_and_what_differs() {
    let report = "drift = \"report\"\npoll = \"1s\"\n";
    let mut stage = Stage::start(
        3,
        &format!(
            "{report}[[target]]\nname = \"beside\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/beside.json\"\n"
        ),
    );
    stage.settle();
    let path = stage.daemon.path("out/access.json");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text = text.replacen('{', "{\n  \"intruder\": \"mallory\",\n  \"api_token\": \"abcdefghijklmnop\",", 1);
    edit(&path, &text);
    wait_until("it is noticed", || stage.daemon.target("file")["state"] == "drifted");
    let mut ada = stage.browser("ada");
    let page = ada.get("/targets/file");
    assert!(page.contains("was changed") && page.contains("Changed by somebody else"), "{page}");
    assert!(page.contains("not what rosterd wrote") && page.contains("What somebody else changed"), "{page}");
    assert!(page.contains("intruder") && page.contains("mallory"), "the difference");
    assert!(!page.contains("abcdefghijklmnop"), "a secret is hidden");
    assert!(ada.get("/targets").contains("drifted"));
    let api = ada.answer("/targets/file/file");
    assert_eq!(api.status, 200);
    // Written again by a person's word.
    let synced = ada.post("/targets/file/sync", &page, &[]);
    assert!(synced.contains("Sync of file is done"), "{synced}");
    wait_until("in sync", || stage.daemon.target("file")["state"] == "in_sync");
    assert!(!stage.daemon.read("out/access.json").contains("intruder"));
    stage.scim.create_user("later@example.com");
}

#[test]
fn a_rollback_by_form_pins_and_is_let_go_again() {
    let mut stage = Stage::start(3, "");
    stage.settle();
    let before = stage.daemon.cli_json(&["target", "show", "file"]);
    let seq = before["versions"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    let joined = stage.scim.create_user("new@example.com");
    let groups = stage.scim.get("/Groups").json();
    let group = groups["Resources"][0]["id"].as_str().unwrap().to_owned();
    stage.scim.add_member(&group, &joined);
    wait_until("they are in", || stage.holders() == 4);
    let mut olga = stage.browser("olga");
    let page = olga.get("/targets/file");
    assert!(page.contains(&format!("/targets/file/rollback?to={seq}")), "{page}");
    let asked = olga.get(&format!("/targets/file/rollback?to={seq}"));
    assert!(asked.contains("entitlements then") && asked.contains("entitlements now"), "{asked}");
    let seq = seq.to_string();
    let done = olga.post("/targets/file/rollback", &asked, &[("to", seq.as_str())]);
    assert!(done.contains("is pinned to what it held") && done.contains("Let it follow again"), "{done}");
    assert_eq!((stage.holders(), stage.daemon.target("file")["state"].clone()), (3, "pinned".into()));
    let asked = olga.get("/targets/file/unpin");
    olga.post("/targets/file/unpin", &asked, &[]);
    wait_until("they are in again", || stage.holders() == 4);
    assert_eq!(olga.answer("/targets/file/rollback?to=999999").status, 404);
}

#[test]
fn a_parked_delivery_is_looked_at_and_tried_again_by_form() {
    let receiver = Receiver::start();
    receiver.answer_next(&["400 <b>No</b>"]);
    let hook = format!(
        "[[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
         events = [\"user.*\"]\nwait = {{ revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }}\n",
        receiver.url()
    );
    let mut stage = Stage::start(0, &hook);
    stage.scim.create_user("alice@example.com");
    stage.scim.create_user("bob@example.com");
    wait_until("parked", || stage.daemon.target("app")["parked"] == 1);
    let mut olga = stage.browser("olga");
    let list = olga.get("/deliveries?state=parked");
    assert!(list.contains("user.created") && list.contains("/deliveries/app/resume"), "{list}");
    assert!(list.contains(">alice@example.com</a>"), "by name, not by id alone: {list}");
    let (_, rest) = list.split_once("href=\"/deliveries/app/1-").expect("a parked one");
    let id = format!("1-{}", rest.split('"').next().unwrap());
    let shown = olga.get(&format!("/deliveries/app/{id}"));
    assert!(shown.contains("alice@example.com") && shown.contains(">400<"), "{shown}");
    assert!(!shown.contains("<b>No</b>"), "what the receiver said is no markup");
    let after = olga.post(&format!("/deliveries/app/{id}/retry"), &shown, &[]);
    assert!(after.contains("is tried again now"), "{after}");
    wait_for("both arrive", || (receiver.events().len() == 2).then_some(()));
    wait_until("done", || olga.get(&format!("/deliveries/app/{id}")).contains("class=\"badge good\">done"));
    let history = stage.daemon.cli_json(&["history", "--limit", "1000"]);
    let retried =
        history["changes"].as_array().unwrap().iter().find(|one| one["kind"] == "delivery.retried").unwrap();
    assert_eq!(retried["actor"], "admin:olga");
    // And the same events once more, from the beginning.
    let form = olga.get("/deliveries/app/replay");
    let refused = olga.post_with("/deliveries/app/replay", &form, &[("from", "soon")]);
    assert_eq!(refused.status, 400);
    olga.post("/deliveries/app/replay", &form, &[("from", "1")]);
    wait_for("they come again", || (receiver.all().len() >= 5).then_some(()));
}

#[test]
fn grants_and_shuts_are_made_and_ended_by_form() {
    let stage = Stage::start(3, "");
    let mut olga = stage.browser("olga");
    let page = olga.get("/grants");
    assert!(page.contains("<option value=\"crew\"") && page.contains("<datalist id=\"for-list\""), "{page}");
    let fields = [
        ("subject", "user000@example.com"),
        ("role", "crew"),
        ("for", "4h"),
        ("reason", "on call <tonight>"),
    ];
    let refused = olga.post_with(
        "/grants",
        &page,
        &[("subject", "nobody"), ("role", "crew"), ("for", "4h"), ("reason", "x")],
    );
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("value=\"nobody\""), "the form stays filled in");
    let made = olga.post("/grants", &page, &fields);
    assert!(made.contains("on call &lt;tonight&gt;") && made.contains("3 h 59 min left"), "{made}");
    let (_, rest) = made.split_once("href=\"/grants/").unwrap();
    let id = rest.split('/').next().unwrap().to_owned();
    let more = [("subject", "user002@example.com"), ("role", "crew"), ("for", "1d12h"), ("reason", "x")];
    assert!(
        olga.post("/grants", &page, &more).contains("1 d"),
        "any span is taken, not those suggested alone"
    );
    let asked = olga.get(&format!("/grants/{id}/revoke"));
    let ended = olga.post(&format!("/grants/{id}/revoke"), &asked, &[]);
    assert!(ended.contains("has ended"), "{ended}");

    let form = olga.get("/shut?subject=user001@example.com");
    assert!(form.contains("value=\"user001@example.com\""));
    let done = olga.post("/shut", &form, &[("subject", "user001@example.com"), ("reason", "badge lost")]);
    assert!(done.contains("is shut out of every target") && done.contains("badge lost"), "{done}");
    wait_until("they are out", || stage.holders() == 2);
    let (_, rest) = done.split_once("href=\"/shut/open?subject=").unwrap();
    let subject = rest.split('"').next().unwrap().replace("%2F", "/");
    let asked = olga.get(&format!("/shut/open?subject={}", encoded(&subject)));
    olga.post("/shut/open", &asked, &[("subject", subject.as_str())]);
    wait_until("they are in again", || stage.holders() == 3);
    let history = olga.get("/history?subject=user001@example.com");
    assert!(history.contains("Shut out") && history.contains("badge lost"), "{history}");
    assert!(olga.get("/access").contains("user001@example.com"));
    assert!(olga.get("/diff?from=seq:1&to=now").contains("user001@example.com"));
    assert_eq!(olga.answer("/access?at=soonish").status, 400);
}
