//! The console over real HTTP: signing in and out, what keeps other sites out, roles, escaping.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use crate::support::daemon::Daemon;
use crate::support::http::{Client, Response};
use crate::support::{wait_for, wait_until};

const PASSWORD: &str = "a long enough password";

/// A daemon with a console and one person of each role.
struct Stage {
    daemon: Daemon,
    address: SocketAddr,
}

fn users(roles: &[(&str, &str)]) -> String {
    roles
        .iter()
        .map(|(name, role)| {
            format!("[[admin.user]]\nname = \"{name}\"\npassword_file = \"password\"\nrole = \"{role}\"\n")
        })
        .collect()
}

impl Stage {
    fn start(extra: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut daemon = Daemon::prepare("");
        std::fs::write(daemon.path("password"), PASSWORD).unwrap();
        std::fs::set_permissions(daemon.path("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let stage = |daemon: &Daemon, roles: &[(&str, &str)]| configure(daemon, address, roles, extra);
        stage(&daemon, &[("ada", "admin"), ("olga", "operate"), ("vic", "view")]);
        daemon.run();
        Self { daemon, address }
    }

    /// A browser that nobody has signed in with.
    fn browser(&self) -> Browser {
        Browser { client: Client::new(self.address), cookie: None }
    }

    fn signed_in(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let done = browser.sign_in(name, PASSWORD, "/").expect(303);
        assert_eq!(done.header("location"), Some("/"));
        browser
    }
}

fn configure(daemon: &Daemon, address: SocketAddr, roles: &[(&str, &str)], extra: &str) {
    daemon.write_config(extra);
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let listen = format!("[admin]\nlisten = \"{address}\"\n");
    std::fs::write(daemon.config(), text.replacen("[admin]\n", &listen, 1) + "\n" + &users(roles)).unwrap();
}

struct Browser {
    client: Client,
    cookie: Option<String>,
}

/// What a browser says of a form that one of our own pages sent.
const OURS: &[(&str, &str)] = &[("Sec-Fetch-Site", "same-origin"), ("Origin", "null")];

impl Browser {
    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Response {
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        let cookie = self.cookie.clone();
        all.extend(cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        if body.is_some() {
            all.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        let answer = self.client.send(method, path, &all, body.map(str::as_bytes)).unwrap();
        if let Some(set) = answer.header("set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
        }
        answer
    }

    fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    fn sign_in(&mut self, name: &str, password: &str, next: &str) -> Response {
        let csrf = self.token("/sign-in");
        let form = format!("csrf={csrf}&name={name}&password={}&next={next}", password.replace(' ', "+"));
        self.send("POST", "/sign-in", OURS, Some(&form))
    }

    /// The form token of a page.
    fn token(&mut self, path: &str) -> String {
        let page = self.get(path).expect(200).text();
        let (_, rest) =
            page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no form in {page}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}

#[test]
fn signing_in_takes_the_right_password_and_signing_out_ends_it() {
    let stage = Stage::start("");
    let mut browser = stage.browser();
    let away = browser.get("/health?online=true").expect(303);
    assert_eq!(away.header("location"), Some("/sign-in?next=%2Fhealth%3Fonline%3Dtrue"));
    let wrong = browser.sign_in("ada", "another password", "/").expect(401);
    assert!(wrong.text().contains("The name or the password is wrong."));
    assert_eq!(wrong.header("set-cookie"), None);
    assert!(wrong.text().contains("value=\"ada\"") && !wrong.text().contains("another password"));
    let nobody = browser.sign_in("nobody", PASSWORD, "/").expect(401);
    assert!(nobody.text().contains("The name or the password is wrong."));

    let done = browser.sign_in("ada", PASSWORD, "%2Fhealth").expect(303);
    assert_eq!(done.header("location"), Some("/health"));
    let cookie = done.header("set-cookie").unwrap();
    assert!(cookie.starts_with("rosterd="), "{cookie}");
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Max-Age"), "{cookie}");
    let page = browser.get("/").expect(200).text();
    assert!(page.contains("<h1>Overview</h1>") && page.contains("ada"), "{page}");
    assert!(page.contains("Add a directory service"), "an empty install is told what comes next");

    let before = browser.cookie.clone();
    let csrf = browser.token("/");
    browser.send("POST", "/sign-out", OURS, Some("csrf=wrong")).expect(403);
    browser.get("/").expect(200);
    let out = browser.send("POST", "/sign-out", OURS, Some(&format!("csrf={csrf}"))).expect(303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    browser.cookie = before;
    browser.get("/").expect(303);
    browser.get("/sign-out").expect(303);
    assert!(!stage.daemon.log().contains(PASSWORD));
}

#[test]
fn after_signing_in_one_is_never_sent_elsewhere() {
    let stage = Stage::start("");
    for bad in
        ["https%3A%2F%2Fevil.example.com", "%2F%2Fevil.example.com", "%2F%5Cevil.example.com", "%2Fno-such"]
    {
        let done = stage.browser().sign_in("ada", PASSWORD, bad).expect(303);
        assert_eq!(done.header("location"), Some("/"), "{bad}");
    }
}

#[test]
fn a_link_on_another_site_leads_to_the_page_it_names() {
    let stage = Stage::start("");
    let link = |headers: &[(&str, &str)]| stage.browser().send("GET", "/health", headers, None);
    let page = link(&[("Sec-Fetch-Site", "cross-site")]).expect(200).text().replace("&#x2f;", "/");
    assert!(page.contains("content=\"0; url=/health\""), "{page}");
    let back = link(&[("Sec-Fetch-Site", "same-origin")]).expect(303);
    assert_eq!(back.header("location"), Some("/sign-in?next=%2Fhealth"), "no way round in circles");
}

#[test]
fn a_new_session_is_made_at_every_sign_in() {
    let stage = Stage::start("");
    let mut browser = stage.browser();
    browser.cookie = Some(format!("rosterd={}", "A".repeat(43)));
    browser.sign_in("ada", PASSWORD, "/").expect(303);
    let first = browser.cookie.clone().unwrap();
    assert_ne!(first, format!("rosterd={}", "A".repeat(43)), "what the browser brought is not taken");
    browser.get("/").expect(200);
    let mut other = stage.signed_in("ada");
    assert_ne!(other.cookie.clone().unwrap(), first);
    // A token belongs to its session.
    let theirs = other.token("/");
    browser.send("POST", "/sign-out", OURS, Some(&format!("csrf={theirs}"))).expect(403);
    browser.get("/").expect(200);
}

#[test]
fn a_stranger_is_read_no_more_than_the_form_that_signs_in() {
    let stage = Stage::start("");
    let mut stranger = stage.browser();
    let large = format!("name={}", "a".repeat(64 << 10));
    assert_eq!(stranger.send("POST", "/sign-in", OURS, Some(&large)).status, 413);
    assert_eq!(stranger.send("POST", "/add-directory", OURS, Some(&large)).status, 413);
    // Nor has who may only look anything else to send.
    let mut vic = stage.signed_in("vic");
    assert_eq!(vic.send("POST", "/shut", OURS, Some(&large)).status, 413);
    let signs_out = format!("csrf={}", vic.token("/"));
    vic.send("POST", "/sign-out", OURS, Some(&signs_out)).expect(303);
    // Whoever is signed in and may do something may send more: a list of people, ticked one by one.
    let mut olga = stage.signed_in("olga");
    assert_eq!(olga.send("POST", "/shut", OURS, Some(&large)).status, 403, "read, and its token is missing");
}

#[test]
fn another_sites_form_does_nothing() {
    let stage = Stage::start("");
    let mut browser = stage.signed_in("ada");
    let form = format!("csrf={}", browser.token("/"));
    let own = format!("http://{}", stage.address);
    for foreign in [
        &[][..],
        &[("Origin", "null")],
        &[("Origin", "https://evil.example.com")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", own.as_str())],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", "http://evil.example.com")],
    ] {
        let refused = browser.send("POST", "/sign-out", foreign, Some(&form));
        assert_eq!(refused.status, 403, "{foreign:?}");
    }
    for bad in ["", "csrf=", "csrf=AAAA"] {
        assert_eq!(browser.send("POST", "/sign-out", OURS, Some(bad)).status, 403, "{bad}");
    }
    browser.get("/").expect(200);
    browser.send("POST", "/sign-out", &[("Origin", own.as_str())], Some(&form)).expect(303);
    browser.get("/").expect(303);
}

#[test]
fn the_api_takes_a_session_only_with_its_token() {
    let stage = Stage::start("");
    let mut browser = stage.signed_in("ada");
    browser.get("/api/v1/status").expect(200);
    let csrf = browser.token("/");
    browser.send("POST", "/api/v1/reload", OURS, None).expect(403);
    let with = [("X-CSRF-Token", csrf.as_str()), ("Sec-Fetch-Site", "same-origin")];
    browser.send("POST", "/api/v1/reload", &with, None).expect(200);
    let foreign = [("X-CSRF-Token", csrf.as_str()), ("Origin", "https://evil.example.com")];
    browser.send("POST", "/api/v1/reload", &foreign, None).expect(403);
    stage.browser().get("/api/v1/status").expect(401);
}

#[test]
fn every_page_says_what_a_browser_must_not_do() {
    let stage = Stage::start("");
    let mut browser = stage.signed_in("ada");
    let mut pages = vec![stage.browser().get("/sign-in"), browser.get("/no-such-page").expect(404)];
    pages.extend(["/", "/overview/now", "/health", "/styleguide"].map(|path| browser.get(path).expect(200)));
    for page in pages {
        let policy = page.header("content-security-policy").unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), Some(value), "{name}");
        }
        for inline in ["<style", " style=", "onclick", "onload", "src=\"http", "href=\"http"] {
            assert!(!page.text().contains(inline), "{inline} in {}", page.text());
        }
    }
}

#[test]
fn files_are_named_by_their_bytes_and_kept_for_ever() {
    let stage = Stage::start("");
    let page = stage.browser().get("/sign-in").text().replace("&#x2f;", "/");
    for name in ["console.css", "console.js", "icon.svg"] {
        let (_, rest) = page.split_once(&format!("\"/assets/{name}?v=")).unwrap();
        let url = format!("/assets/{name}?v={}", rest.split('"').next().unwrap());
        let file = stage.browser().get(&url).expect(200);
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{url}");
        let tag = file.header("etag").unwrap().to_owned();
        let plain = stage.browser().get(&format!("/assets/{name}")).expect(200);
        assert_eq!(plain.header("cache-control"), Some("no-cache"), "an old name is asked for again");
        let again = stage.browser().send("GET", &url, &[("If-None-Match", &tag)], None).expect(304);
        assert!(again.body.is_empty());
    }
    stage.browser().get("/assets/../console.css").expect(303);
}

#[test]
fn a_piece_of_a_page_is_sent_once() {
    let stage = Stage::start("");
    let mut browser = stage.signed_in("ada");
    // Relative times may turn between two requests.
    wait_until("two answers alike", || {
        let first = browser.get("/overview/now").expect(200);
        assert!(!first.text().contains("<html"));
        let tag = first.header("etag").unwrap().to_owned();
        browser.send("GET", "/overview/now", &[("If-None-Match", &tag)], None).status == 304
    });
    let gone = stage.browser().send("GET", "/overview/now", &[("X-Rosterd-Live", "1")], None);
    assert_eq!(gone.status, 401, "a script is told, not sent to a page");
}

#[test]
fn a_session_ends_when_the_role_changes_or_the_person_goes() {
    let stage = Stage::start("");
    let (mut ada, mut olga, mut vic) =
        (stage.signed_in("ada"), stage.signed_in("olga"), stage.signed_in("vic"));
    configure(&stage.daemon, stage.address, &[("ada", "admin"), ("vic", "operate")], "");
    stage.daemon.cli_json(&["reload"]);
    ada.get("/").expect(200);
    olga.get("/").expect(303);
    vic.get("/").expect(303);
    vic.sign_in("vic", PASSWORD, "/").expect(303);
    assert!(vic.get("/").expect(200).text().contains("operate"));
}

#[test]
fn who_may_only_look_is_offered_nothing_else() {
    let stage = Stage::start("");
    let mut vic = stage.signed_in("vic");
    let page = vic.get("/").expect(200).text();
    assert!(!page.contains("/add-directory") && page.contains("It takes the role"), "{page}");
    assert!(stage.signed_in("ada").get("/").text().contains("/add-directory"));
    assert!(!vic.get("/health").expect(200).text().contains("online=true"));
    assert!(stage.signed_in("olga").get("/health").text().contains("online=true"));
    vic.get("/api/v1/doctor?online=true").expect(403);
    let csrf = vic.token("/");
    let with = [("X-CSRF-Token", csrf.as_str()), ("Sec-Fetch-Site", "same-origin")];
    vic.send("POST", "/api/v1/reload", &with, None).expect(403);
}

#[test]
fn names_that_are_markup_are_shown_as_they_are() {
    let stage = Stage::start("");
    let directory = stage.daemon.add_directory("<b>\"Acme\"</b>", "okta");
    let mut scim = stage.daemon.scim(&directory);
    let user = scim.create_user("<script>alert(1)</script>");
    scim.create_group("Ops \"night\" & <i>'day'</i>", &[&user]);
    let mut ada = stage.signed_in("ada");
    let page = wait_for("the group's change on the first page", || {
        let page = ada.get("/").expect(200).text();
        page.contains("night").then_some(page)
    });
    assert!(page.contains("&lt;script&gt;alert(1)&lt;"), "{page}");
    for raw in ["<script>alert", "<i>", "<b>", "\"night\""] {
        assert!(!page.contains(raw), "{raw} in {page}");
    }
}

#[test]
fn guessing_is_slowed_down_and_says_for_how_long() {
    let stage = Stage::start("");
    let mut browser = stage.browser();
    let refused = wait_for("429", || {
        let answer = browser.sign_in("ada", "a wrong password", "/");
        (answer.status == 429).then_some(answer)
    });
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused.text().contains("Too many wrong passwords. Wait"), "{}", refused.text());
}

#[test]
fn health_shows_what_doctor_finds() {
    let stage = Stage::start("");
    let mut ada = stage.signed_in("ada");
    let page = ada.get("/health").expect(200).text();
    assert!(page.contains("D001") && page.contains("D012") && page.contains("D007"), "{page}");
    let found = ada.get("/api/v1/doctor").expect(200).json();
    assert!(found["checks"].as_array().is_some_and(|checks| checks.len() > 6), "{found}");
    assert_eq!(found["ok"], true, "{found}");
    std::fs::set_permissions(stage.daemon.path("password"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = ada.get("/api/v1/doctor").expect(200).json();
    assert_eq!(found["ok"], false, "{found}");
    assert!(ada.get("/health").text().contains("mode 0644"));
}
