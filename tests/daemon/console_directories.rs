//! The console's pages of directory services, users, groups, over real HTTP as a browser without JavaScript uses them.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::support::daemon::{Daemon, Directory, Scim};
use crate::support::http::{Client, Response};
use crate::support::wait_until;

const PASSWORD: &str = "correct horse battery";

/// A daemon with a console, for `ada` (admin), `olga` (operate) and `vic` (view).
fn stage(extra: &str) -> (Daemon, SocketAddr) {
    let people: String = [("ada", "admin"), ("olga", "operate"), ("vic", "view")]
        .iter()
        .map(|(name, role)| {
            format!(
                "[[admin.user]]\nname = \"{name}\"\npassword_file = \"{{dir}}/password\"\nrole = \"{role}\"\n"
            )
        })
        .collect();
    let mut daemon = Daemon::prepare(&format!("{people}{extra}"));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let text = text.replacen("[admin]\n", &format!("[admin]\nlisten = \"{address}\"\n"), 1);
    std::fs::write(daemon.config(), text).unwrap();
    std::fs::write(daemon.path("password"), PASSWORD).unwrap();
    std::fs::set_permissions(daemon.path("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    daemon.run();
    (daemon, address)
}

/// A browser with a session.
struct Browser {
    client: Client,
    cookie: String,
}

impl Browser {
    fn sign_in(address: SocketAddr, name: &str) -> Self {
        let mut browser = Self { client: Client::new(address), cookie: String::new() };
        let page = browser.get("/sign-in");
        let csrf = value_of(&page.text(), "csrf");
        let done = browser.post("/sign-in", &[("csrf", &csrf), ("name", name), ("password", PASSWORD)]);
        assert_eq!(done.status, 303, "{}", done.text());
        let cookie = done.header("set-cookie").expect("a session").split(';').next().unwrap().to_owned();
        browser.cookie = cookie;
        browser
    }

    fn get(&mut self, path: &str) -> Response {
        let cookie = self.cookie.clone();
        self.client.send("GET", path, &[("Cookie", &cookie)], None).unwrap()
    }

    fn page(&mut self, path: &str) -> String {
        self.get(path).expect(200).text()
    }

    fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let cookie = self.cookie.clone();
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        self.client.send("POST", path, &headers, Some(body.join("&").as_bytes())).unwrap()
    }

    /// Opens a page, fills the form that it has and sends it to the same address.
    fn fill(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        let page = self.page(path);
        let csrf = value_of(&page, "csrf");
        let mut all = vec![("csrf", csrf.as_str())];
        let once = page.contains("name=\"once\"").then(|| value_of(&page, "once"));
        all.extend(once.as_deref().map(|once| ("once", once)));
        all.extend(form);
        self.post(path, &all)
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The value of the first hidden field of this name.
fn value_of(page: &str, name: &str) -> String {
    let at = page.find(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    page[at..].split('"').nth(3).unwrap().to_owned()
}

/// The token a page shows, if it shows one.
fn token_on(page: &str) -> Option<String> {
    let at = page.find("value=\"rosterd_")?;
    Some(page[at + "value=\"".len()..].split('"').next().unwrap().to_owned())
}

fn scim(daemon: &Daemon, token: &str) -> Scim {
    Scim { client: Client::new(daemon.address), token: token.to_owned() }
}

#[test]
fn a_directory_service_is_added_connected_and_watched() {
    let (daemon, address) = stage("");
    let mut ada = Browser::sign_in(address, "ada");
    assert!(ada.page("/directories").contains("No directory service yet"));
    let form = [("kind", "okta"), ("name", "Acme <b>Okta</b>"), ("id", "acme"), ("expires", "90")];
    let made = ada.fill("/add-directory", &form).expect(200);
    let page = made.text();
    let token = token_on(&page).expect("the token is shown");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert!(!made.headers.iter().any(|(_, value)| value.contains(&token)), "not in a header or cookie");
    assert!(page.contains("Acme &lt;b&gt;Okta&lt;/b&gt;") && !page.contains("<b>Okta"), "names stay names");
    let base_url = format!("http://{}/scim/v2", daemon.address);
    assert!(page.contains(&base_url) && !page.contains("scim.example.com"), "the guide has its own values");
    assert!(page.contains("Waiting for the first request"));
    // It is shown this once.
    for path in
        ["/directories", "/directories/acme", "/directories/acme/guide", "/users", "/directories/acme/now"]
    {
        assert!(!ada.page(path).contains(&token), "{path}");
    }
    let history = daemon.cli_json(&["history"]).to_string();
    assert!(!history.contains(&token) && !daemon.log().contains(&token));
    // A connection test is seen, with who made it.
    let mut okta = scim(&daemon, &token);
    okta.get("/Users?filter=userName%20eq%20%22nobody%22").expect(200);
    let live = ada.page("/directories/acme/now");
    assert!(live.contains("Connection test received") && live.contains("127.0.0.1"), "{live}");
    assert!(!live.contains("<html"), "a fragment");
    let user = okta.create_user("dana@example.com");
    let live = ada.page("/directories/acme/now");
    assert!(
        live.contains("First user received")
            && live.contains(&user)
            && !live.contains("First group received"),
        "{live}"
    );
    okta.create_group("Crew", &[&user]);
    assert!(ada.page("/directories/acme/now").contains("First group received"));
    // Nothing new is told as such, so that asking is cheap.
    let tag = ada.get("/directories/acme/now").header("etag").unwrap().to_owned();
    assert!(!tag.is_empty());
    let page = ada.page("/directories");
    assert!(page.contains("/directories/acme") && page.contains(">1</a>"), "{page}");
}

#[test]
fn a_form_that_is_sent_again_adds_nothing() {
    let (daemon, address) = stage("");
    let mut ada = Browser::sign_in(address, "ada");
    let page = ada.page("/add-directory");
    let (csrf, once) = (value_of(&page, "csrf"), value_of(&page, "once"));
    let form = [("csrf", csrf.as_str()), ("once", &once), ("kind", "generic"), ("name", "Acme")];
    let first = ada.post("/add-directory", &form).expect(200);
    assert!(token_on(&first.text()).is_some());
    let again = ada.post("/add-directory", &form).expect(303);
    assert_eq!(again.header("location"), Some("/directories"));
    assert_eq!(daemon.cli_json(&["directory", "list"])["directories"].as_array().unwrap().len(), 1);
    // What is wrong is said on the form, with what was typed.
    let wrong =
        ada.fill("/add-directory", &[("kind", "okta"), ("name", "Second"), ("id", "acme")]).expect(409);
    assert!(wrong.text().contains("exists already") && wrong.text().contains("value=\"Second\""));
}

#[test]
fn tokens_overlap_and_a_revoked_one_is_refused() {
    let (daemon, address) = stage("");
    let acme = daemon.add_directory("Acme", "entra");
    let mut old = daemon.scim(&acme);
    old.get("/Users").expect(200);
    let mut ada = Browser::sign_in(address, "ada");
    let form = ada.page("/directories/acme/tokens/new");
    assert!(form.contains("from 127.0.0.1"), "who uses the old one, and from where");
    let made =
        ada.fill("/directories/acme/tokens/new", &[("note", "rota<i>tion"), ("expires", "30")]).expect(200);
    let fresh = token_on(&made.text()).expect("the token is shown");
    let mut new = scim(&daemon, &fresh);
    new.get("/Users").expect(200);
    old.get("/Users").expect(200);
    let page = ada.page("/directories/acme");
    assert!(
        !page.contains(&fresh) && page.contains("rota&lt;i&gt;tion") && page.contains("expiring"),
        "{page}"
    );
    let tokens = daemon.cli_json(&["token", "list", "--directory", "acme"]);
    let first = tokens["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(tokens["tokens"][0]["last_address"], "127.0.0.1");
    let ask = ada.page(&format!("/directories/acme/tokens/{first}/revoke"));
    assert!(ask.contains("Last used") && !ask.contains("It is the only one"));
    old.get("/Users").expect(200);
    ada.fill(&format!("/directories/acme/tokens/{first}/revoke"), &[]).expect(303);
    old.get("/Users").expect(401);
    new.get("/Users").expect(200);
    assert!(ada.page("/directories/acme").contains("revoked"));
}

#[test]
fn users_and_groups_are_found_by_words_and_by_filters() {
    let (daemon, address) = stage("[[role]]\nname = \"ops\"\ngroups = [\"Crew\"]\n");
    let acme = daemon.add_directory("Acme", "okta");
    let mut okta = daemon.scim(&acme);
    let people: Vec<String> =
        (0..60).map(|n| okta.create_user(&format!("person{n:02}@example.com"))).collect();
    let members: Vec<&str> = people.iter().map(String::as_str).collect();
    let crew = okta.create_group("Crew", &members);
    okta.create_group("Everybody", &[&crew]);
    okta.set_active(&people[7], false);
    let evil = "<script>alert(1)</script>@example.com";
    let evil_id = okta.create_user(evil);
    let mut vic = Browser::sign_in(address, "vic");

    let first = vic.page("/users");
    assert_eq!(first.matches("<th scope=\"row\"").count(), 50, "a page, not everybody");
    let next =
        first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let second = vic.page(&next.replace("&#x2f;", "/"));
    assert_eq!(second.matches("<th scope=\"row\"").count(), 11);
    assert!(!second.contains("<script>alert") && second.contains("&lt;script&gt;alert"));
    let found = vic.page("/users?q=PERSON1");
    assert_eq!(found.matches("<th scope=\"row\"").count(), 10);
    let found = vic.page("/users?state=inactive");
    assert!(found.contains(&people[7]) && found.matches("<th scope=\"row\"").count() == 1);
    let found = vic.page(&format!("/users?filter={}", encoded("userName eq \"person03@example.com\"")));
    assert!(found.contains(&people[3]) && found.matches("<th scope=\"row\"").count() == 1);
    let wrong = vic.page(&format!("/users?filter={}", encoded("userName is <b>\"x\"")));
    assert!(wrong.contains("aria-invalid=\"true\"") && wrong.contains("class=\"wrong\""), "{wrong}");
    assert!(!wrong.contains("<b>\"x"));

    let person = vic.page(&format!("/users/{}", people[0]));
    for wanted in [
        "person00@example.com",
        "Crew",
        "through another group",
        "ops",
        "member of",
        "Group created",
        "User created",
    ] {
        assert!(person.contains(wanted), "{wanted}: {person}");
    }
    assert!(!person.contains("Shut out…</a>"), "who may only look is offered nothing");
    let page = vic.page(&format!("/users/{evil_id}"));
    assert!(!page.contains("<script>alert"));
    let group = vic.page(&format!("/groups/{crew}"));
    assert!(
        group.contains("60 direct members") && group.contains("Everybody") && group.contains("ops"),
        "{group}"
    );
    let members = group.matches("<th scope=\"row\" data-label=\"Member\"").count();
    assert_eq!(members, 50, "members are paged");
    assert!(vic.page("/groups?q=cr").contains("Crew"));
    vic.page(&format!("/groups/{crew}/history"));
    vic.page(&format!("/users/{}/history", people[0]));
    vic.page(&format!("/users/{}/access", people[0]));
}

#[test]
fn roles_decide_what_is_offered_and_what_is_taken() {
    let (daemon, address) = stage("[[role]]\nname = \"ops\"\ngroups = [\"Crew\"]\n");
    let acme: Directory = daemon.add_directory("Acme", "okta");
    let dana = daemon.scim(&acme).create_user("dana@example.com");
    let mut vic = Browser::sign_in(address, "vic");
    for path in [
        "/add-directory",
        "/directories/acme/tokens/new",
        "/directories/acme/remove",
        "/directories/acme/rebaseline",
    ] {
        vic.get(path).expect(403);
    }
    vic.get(&format!("/users/{dana}/shut")).expect(403);
    let page = vic.page("/directories/acme");
    assert!(!page.contains("New token") && !page.contains("Remove") && page.contains("Set-up guide"));
    let csrf = value_of(&page, "csrf");
    vic.post("/directories/acme/disable", &[("csrf", &csrf)]).expect(403);
    vic.post(&format!("/users/{dana}/shut"), &[("csrf", &csrf), ("reason", "x")]).expect(403);

    let mut olga = Browser::sign_in(address, "olga");
    olga.get("/add-directory").expect(403);
    olga.fill(&format!("/users/{dana}/shut"), &[("reason", "left <today>")]).expect(303);
    let page = olga.page(&format!("/users/{dana}"));
    assert!(page.contains("left &lt;today&gt;") && page.contains("olga"), "{page}");
    assert_eq!(daemon.cli_json(&["shut", "--list"])["shut"].as_array().unwrap().len(), 1);
    olga.fill(&format!("/users/{dana}/open"), &[]).expect(303);
    let grant = [("role", "ops"), ("seconds", "3600"), ("reason", "on call")];
    olga.fill(&format!("/users/{dana}/grant"), &grant).expect(303);
    assert!(olga.page(&format!("/users/{dana}")).contains("Granted for a time"));
}

#[test]
fn a_directory_service_is_renamed_disabled_enabled_and_removed_after_asking() {
    let (daemon, address) = stage(
        "[[directory]]\nid = \"fixed\"\nname = \"Fixed\"\nkind = \"okta\"\nclaims = [\"*@example.com\"]\n",
    );
    let acme = daemon.add_directory("Acme", "okta");
    let mut okta = daemon.scim(&acme);
    okta.create_user("dana@example.com");
    let mut ada = Browser::sign_in(address, "ada");
    ada.fill("/directories/acme/rename", &[("name", "Acme & Sons")]).expect(303);
    assert!(ada.page("/directories/acme").contains("Acme &amp; Sons"));
    ada.fill("/directories/acme/disable", &[]).expect(303);
    okta.get("/Users").expect(503);
    ada.fill("/directories/acme/enable", &[("hours", "0")]).expect(400);
    ada.fill("/directories/acme/enable", &[("hours", "2")]).expect(303);
    okta.get("/Users").expect(200);
    assert!(ada.page("/directories/acme").contains("A re-baseline runs until"));
    let ask = ada.page("/directories/acme/remove");
    assert!(ask.contains("1 user<") && ask.contains("1 token<"), "{ask}");
    let wrong = ada.fill("/directories/acme/remove", &[("typed", "acm")]).expect(400);
    assert!(wrong.text().contains("not the id"));
    okta.get("/Users").expect(200);
    ada.fill("/directories/acme/remove", &[("typed", "acme")]).expect(303);
    okta.get("/Users").expect(401);
    ada.get("/directories/acme").expect(404);
    // What the configuration fixes is said, and not offered.
    let page = ada.page("/directories/fixed");
    assert!(page.contains("*@example.com") && page.contains("stands in the configuration"));
    assert!(!page.contains("/fixed/remove") && !page.contains("/fixed/rename"));
    ada.get("/directories/fixed/remove").expect(409);
    for page in ["/docs", "/docs/okta", "/docs/connecting.md"] {
        ada.page(page);
    }
    ada.get("/docs/nothing").expect(404);
    let seen = daemon.cli_json(&["directory", "show", "fixed"]);
    assert_eq!(seen["seen"]["first_request"], json!(null));
}

#[test]
fn a_directory_service_whose_requests_fail_says_so_on_every_page_of_it() {
    let (daemon, address) = stage("");
    let acme = daemon.add_directory("Acme", "okta");
    let mut vic = Browser::sign_in(address, "vic");
    let waiting = vic.page("/directories/acme/now");
    assert!(
        waiting.contains("Waiting for the first request") && !waiting.contains("equests fail"),
        "{waiting}"
    );
    scim(&daemon, &"y".repeat(44)).get("/Users").expect(401);
    wait_until("a wrong token is told of", || {
        vic.page("/directories/acme/now").contains("1 request of the last hour, the newest")
    });
    let mut client = daemon.scim(&acme);
    client.create_user("alice@example.com");
    let user =
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice@example.com"});
    client.send("POST", "/Users", Some(&user)).expect(409);
    wait_until("it fails", || vic.page("/directories").contains("badge bad\">failing"));
    for path in ["/directories/acme", "/directories/acme/guide", "/directories/acme/now"] {
        let page = vic.page(path);
        assert!(page.contains("Its requests fail") && page.contains("1 request in the last hour"), "{page}");
        assert!(page.contains("is answered 409 uniqueness") && page.contains("What to do:"), "{page}");
        assert!(page.contains("/activity?directory=acme&amp;status=error"), "{page}");
    }
    assert!(vic.page("/").contains("badge bad\">failing"), "on the overview");
    client.create_user("bob@example.com");
    wait_until("a push got through", || vic.page("/directories").contains("badge warn\">errors"));
    assert!(vic.page("/directories/acme/now").contains("Some requests fail"));
}
