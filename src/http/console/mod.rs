//! The console: pages for a browser, made on the server, that work without JavaScript.
//!
//! A request passes, in this order: assets (anybody), the session, and for everything but GET the browser's word that
//! one of our own pages sent it and the form's token; then the role its row in `routes` asks for; then its page. A
//! page speaks to nothing but the admin API, with the signed-in person as caller, so that the API's rules, roles and
//! records hold here too.
//!
//! INVARIANT: a GET changes nothing. Nothing a person or an identity provider wrote reaches a page unescaped, and the
//! policy in `headers` would not run it if it did.

#![allow(dead_code, reason = "pages that come will use the rest")]

mod assets;
mod call;
mod csrf;
mod guide;
mod headers;
mod pages;
mod routes;
mod session;
mod sign_in;
mod site;
mod template;
#[cfg(test)]
mod tests;
mod who;
mod words;

use std::fmt;
use std::sync::Arc;

use hyper::header::{ALLOW, CONTENT_DISPOSITION, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::admin_api::{AdminRole, AdminState, SignedIn, Users};
use super::answer::{Answer, TEXT};
use super::scim_api::query_pairs;

use call::{Call, Fault, Flash, Shown};
use csrf::FormKey;
use routes::Found;
use session::{SessionKey, Sessions};
use template::Templates;

pub use who::Visitor;

/// Largest form.
pub const BODY_BYTES_MAX: usize = 1 << 20;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Where somebody signs in.
const SIGN_IN: &str = "/sign-in";
/// Where somebody signs out.
const SIGN_OUT: &str = "/sign-out";

/// What a page's script sends along with what it asks for by itself.
const LIVE: &str = "x-rosterd-live";

/// The console. Shared by all connections.
pub struct Console {
    state: Arc<AdminState>,
    users: Arc<Users>,
    sessions: Sessions,
    forms: FormKey,
    pages: Templates,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// Why there is no console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unable(String);

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unable {}

impl Console {
    /// A console over the admin API, for these people.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(state: Arc<AdminState>, users: Arc<Users>) -> Result<Self, Unable> {
        let clock = state.mirror.clone();
        let pages = Templates::new(move || clock.now()).map_err(|error| Unable(error.to_string()))?;
        let forms = FormKey::new().ok_or_else(|| Unable("the system has no random numbers".into()))?;
        Ok(Self { state, users, sessions: Sessions::default(), forms, pages })
    }

    /// Answers one request; the body has been read, up to [`BODY_BYTES_MAX`].
    async fn answer(&self, head: &Parts, body: &[u8], visitor: Visitor) -> Answer {
        let answer = match assets::answer(head.uri.path(), head.uri.query(), &head.headers) {
            Some(asset) => asset,
            None => self.page(head, body, visitor).await,
        };
        headers::protect(answer, &head.headers, visitor.is_secure)
    }

    /// Whether a request to the API that changes something comes from one of our own pages: its token in the header
    /// `X-CSRF-Token`, and the browser's word.
    fn is_from_page(&self, head: &HeaderMap, session: SessionKey) -> bool {
        let token = head.get(csrf::HEADER).and_then(|token| token.to_str().ok());
        self.forms.is_token(Some(session), token) && csrf::is_same_origin(head)
    }

    /// Whose session a request carries, if it still holds.
    fn session_of(&self, head: &HeaderMap) -> Option<(SessionKey, SignedIn)> {
        let (identifier, is_secure) = session::cookie(head)?;
        let touches = !head.contains_key(LIVE);
        let now = self.state.mirror.now();
        let is_still = |user: &SignedIn| self.users.find(&user.name).as_ref() == Some(user);
        self.sessions.find(identifier, is_secure, now, touches, is_still)
    }

    async fn page(&self, head: &Parts, body: &[u8], visitor: Visitor) -> Answer {
        let (method, path) = (&head.method, head.uri.path());
        let is_get = method == Method::GET || method == Method::HEAD;
        if !is_get && method != Method::POST {
            return self.plain_fault(&Fault::new(405, "pages are read and forms are sent, nothing else", ""));
        }
        let form = if is_get { Vec::new() } else { form_pairs(body) };
        if !is_get && !csrf::is_same_origin(&head.headers) {
            let hint = "open the console by its own address, in one tab, and try again";
            return self.plain_fault(&Fault::new(403, "the browser says that another site sent this", hint));
        }
        if path == SIGN_IN {
            return self.sign_in(head, &form, visitor).await;
        }
        let Some((session, user)) = self.session_of(&head.headers) else {
            return self.send_to_sign_in(head, visitor);
        };
        let token = form.iter().find(|(name, _)| name == csrf::FIELD).map(|(_, value)| value.as_str());
        if !is_get && !self.forms.is_token(Some(session), token) {
            let hint = "go back, load the page again and repeat what you did";
            return self.plain_fault(&Fault::new(403, "the form is from another session", hint));
        }
        if path == SIGN_OUT && !is_get {
            return self.sign_out(session, visitor);
        }
        let (parts, page) = match routes::find(method, path) {
            Found::Page(page, parts) => (parts, Ok(page)),
            Found::Other(methods) => (Vec::new(), Err(methods)),
            Found::Nothing => (Vec::new(), Err(Vec::new())),
        };
        let query = query_pairs(head.uri.query()).unwrap_or_default();
        let call = Call { console: self, user, visitor, session, method, path, parts, query, form };
        let shown = match page {
            Ok(page) if call.may(page.least) => (page.show)(&call).await,
            Ok(page) => Err(refused(&call, page.least)),
            Err(methods) if methods.is_empty() => Err(Fault::new(404, "There is no such page", "")),
            Err(methods) => {
                let message = "This address takes no such request";
                return self
                    .fault_page(&call, &Fault::new(405, message, ""))
                    .await
                    .with(ALLOW, &methods.join(", "));
            }
        };
        self.show(&call, shown, &head.headers).await
    }

    async fn show(&self, call: &Call<'_>, shown: Result<Shown, Fault>, head: &HeaderMap) -> Answer {
        match shown {
            Ok(Shown::Page { title, template, context }) => {
                self.whole(call, 200, &title, template, context, None).await
            }
            Ok(Shown::Again { fault, title, template, context }) => {
                self.whole(call, fault.status, &title, template, context, Some(&fault)).await
            }
            Ok(Shown::Fragment { template, context }) => self.fragment(call, template, context, head),
            Ok(Shown::SeeOther(path, flash)) => {
                if let Some(flash) = flash {
                    self.sessions.leave_flash(call.session, flash);
                }
                see_other(&path)
            }
            Ok(Shown::File { name, media_type, bytes }) => {
                let safe: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
                    .collect();
                Answer::new(200, HeaderValue::from_static(media_type), bytes)
                    .with(CONTENT_DISPOSITION, &format!("attachment; filename=\"{safe}\""))
            }
            Err(fault) => self.fault_page(call, &fault).await,
        }
    }

    async fn whole(
        &self,
        call: &Call<'_>,
        status: u16,
        title: &str,
        template: &str,
        context: Value,
        fault: Option<&Fault>,
    ) -> Answer {
        let flash = match fault {
            Some(fault) => Some(Flash::from(fault.clone())),
            None => self.sessions.take_flash(call.session),
        };
        let state = call.get("status", &[]).await.unwrap_or_default();
        let mut ui = self.ui(call, title, flash.as_ref());
        put(&mut ui, "held", held(&state));
        put(&mut ui, "unenforced", state.pointer("/unenforced/count").cloned().unwrap_or_else(|| 0.into()));
        self.html(status, template, context, ui)
    }

    fn fragment(&self, call: &Call<'_>, template: &str, context: Value, head: &HeaderMap) -> Answer {
        let answer = self.html(200, template, context, self.ui(call, "", None));
        let tag = format!("\"{}\"", assets::hash(&answer.body));
        if head.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return Answer::new(304, HTML, "").with(ETAG, &tag);
        }
        answer.with(ETAG, &tag)
    }

    async fn fault_page(&self, call: &Call<'_>, fault: &Fault) -> Answer {
        let context = json!({
            "status": fault.status, "message": fault.message, "hint": fault.hint, "back": back(call.path),
        });
        let title = match fault.status {
            403 => "Not allowed",
            404 => "Not found",
            _ => "Not done",
        };
        self.whole(call, fault.status, title, "fault.html", context, None).await
    }

    /// For whom there is no page to put it on.
    #[expect(clippy::unused_self, reason = "it stands beside the other answers")]
    fn plain_fault(&self, fault: &Fault) -> Answer {
        let end = if fault.hint.is_empty() { String::new() } else { format!(": {}", fault.hint) };
        Answer::new(fault.status, TEXT, format!("{}{end}\n", fault.message))
    }

    /// What the layout and its parts see.
    fn ui(&self, call: &Call<'_>, title: &str, flash: Option<&Flash>) -> Value {
        let navigation: Vec<Value> = routes::NAVIGATION
            .iter()
            .filter(|entry| routes::is_page(entry.path))
            .map(|entry| json!({ "path": entry.path, "label": entry.label, "current": entry.holds(call.path) }))
            .collect();
        let mut ui = self.bare_ui(title);
        put(&mut ui, "csrf", self.forms.token(Some(call.session)).into());
        put(&mut ui, "path", call.path.into());
        put(&mut ui, "nav", navigation.into());
        put(&mut ui, "flash", flash.map_or(Value::Null, Flash::shown));
        put(&mut ui, "me", json!({ "name": call.user.name.as_str(), "role": call.user.role.as_str() }));
        let may = |role| call.may(role);
        put(&mut ui, "may", json!({ "operate": may(AdminRole::Operate), "admin": may(AdminRole::Admin) }));
        ui
    }

    /// The same for somebody who is not signed in.
    fn bare_ui(&self, title: &str) -> Value {
        json!({
            "title": title, "path": "", "nav": [], "flash": null, "me": null, "held": [], "unenforced": 0,
            "may": { "operate": false, "admin": false },
            "csrf": self.forms.token(None),
            "version": env!("CARGO_PKG_VERSION"),
            "css": assets::url("console.css"), "js": assets::url("console.js"), "icon": assets::url("icon.svg"),
        })
    }

    fn html(&self, status: u16, template: &str, mut context: Value, ui: Value) -> Answer {
        if context.is_null() {
            context = json!({});
        }
        put(&mut context, "ui", ui);
        match self.pages.render(template, &context) {
            Ok(text) => Answer::new(status, HTML, text),
            Err(error) => {
                tracing::error!(template, %error, "internal error: a page could not be made");
                self.plain_fault(&Fault::new(500, "this page could not be made", "the log says why"))
            }
        }
    }
}

fn put(value: &mut Value, key: &str, more: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), more);
    }
}

/// Targets with held removals, for the banner on every page.
fn held(status: &Value) -> Value {
    let targets = status.get("targets").and_then(Value::as_array);
    targets
        .into_iter()
        .flatten()
        .filter(|target| target.get("held_removals").and_then(Value::as_u64).unwrap_or(0) > 0)
        .map(|target| json!({ "name": target.get("name"), "count": target.get("held_removals") }))
        .collect()
}

fn refused(call: &Call<'_>, least: AdminRole) -> Fault {
    let (have, need) = (call.user.role.as_str(), least.as_str());
    let message = format!("The role `{have}` may look at this but not do it; it takes `{need}`");
    Fault::new(403, message, "Ask somebody who has that role in `[[admin.user]]`")
}

fn form_pairs(body: &[u8]) -> Vec<(String, String)> {
    std::str::from_utf8(body).ok().and_then(|text| query_pairs(Some(text))).unwrap_or_default()
}

fn see_other(path: &str) -> Answer {
    Answer::new(303, TEXT, "").with(LOCATION, path)
}

/// The nearest page above a path: where to go on from when something was not done.
fn back(path: &str) -> String {
    let mut path = path;
    loop {
        if routes::is_page(path) && !path.ends_with("/now") {
            return path.to_owned();
        }
        match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => path = above,
            _ => return "/".to_owned(),
        }
    }
}
