//! One signed-in request, as a page sees it, and what a page may answer.
//!
//! Pages know nothing of the mirror: what they show and do goes through [`Call::get`] and [`Call::send`], which are
//! the admin API in process with the signed-in person as caller.

use hyper::Method;
use serde_json::{Value, json};

use super::Console;
use super::session::SessionKey;
use super::template::encoded;
use super::who::Visitor;
use crate::http::admin_api::{self, AdminRole, Caller, Reply, SignedIn};
use crate::model::Timestamp;

/// One signed-in request.
pub(super) struct Call<'a> {
    pub(super) console: &'a Console,
    pub(super) user: SignedIn,
    pub(super) visitor: Visitor,
    pub(super) session: SessionKey,
    pub(super) path: &'a str,
    pub(super) parts: Vec<(&'static str, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) form: Vec<(String, String)>,
}

fn pick<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

impl Call<'_> {
    /// Asks the API: `call.get("users", &[("filter", text)])`. Empty values are left out.
    ///
    /// # Errors
    /// What the API answered instead.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Fault> {
        let query: Vec<String> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        self.ask(&Method::GET, path, Some(&query.join("&")), &[]).await
    }

    /// Has the API do something: `call.send(Method::POST, "sync", &json!({"target": name}))`.
    ///
    /// # Errors
    /// What the API answered instead.
    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Fault> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.ask(&method, path, None, &body).await
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Value, Fault> {
        let path = format!("/api/v1/{path}");
        let state = &self.console.state;
        let reply = admin_api::handle(state, self.caller(), method, &path, query, body).await;
        if reply.status < 300 { Ok(reply.body) } else { Err(Fault::of(&reply)) }
    }

    fn caller(&self) -> Caller {
        let SignedIn { name, role, .. } = &self.user;
        Caller::User { name: name.clone(), role: *role, address: self.visitor.address }
    }

    /// A part of the path that the pattern names.
    pub(super) fn part(&self, name: &str) -> &str {
        self.parts.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A parameter of the query, without blanks around it; `None` if empty.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        pick(&self.query, name)
    }

    /// A field of the form, without blanks around it; `None` if empty.
    pub(super) fn form(&self, name: &str) -> Option<&str> {
        pick(&self.form, name)
    }

    /// Every value of a field that may stand there several times, such as check boxes.
    pub(super) fn form_all(&self, name: &str) -> Vec<&str> {
        self.form.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the person may do what this role may.
    pub(super) fn may(&self, role: AdminRole) -> bool {
        self.user.role >= role
    }

    /// The moment of this request.
    pub(super) fn now(&self) -> Timestamp {
        self.console.state.mirror.now()
    }

    /// Puts a value aside for the page that the person is sent to next, such as a token shown once.
    pub(super) fn put_aside(&self, name: &str, value: Value) {
        self.console.sessions.put_aside(self.session, name, value);
    }

    /// What was put aside under `name`; the second time it is gone.
    pub(super) fn take_aside(&self, name: &str) -> Option<Value> {
        self.console.sessions.take_aside(self.session, name)
    }
}

/// What a page answers.
#[derive(Debug)]
pub(super) enum Shown {
    /// A whole page, within the layout: the template extends `layout.html`.
    Page { title: String, template: &'static str, context: Value },
    /// The same page once more with what went wrong at its top; the fault's status.
    Again { fault: Fault, title: String, template: &'static str, context: Value },
    /// A piece of a page that the page asks for itself, with an `ETag`.
    Fragment { template: &'static str, context: Value },
    /// Go there next, with a GET. A path of ours, with its query.
    SeeOther(String, Option<Flash>),
    /// Something to keep.
    File { name: String, media_type: &'static str, bytes: Vec<u8> },
}

impl Shown {
    /// A whole page.
    pub(super) fn page(title: impl Into<String>, template: &'static str, context: Value) -> Self {
        Self::Page { title: title.into(), template, context }
    }

    /// Go there next and say that it worked.
    pub(super) fn done(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self::SeeOther(path.into(), Some(Flash::good(text)))
    }
}

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It worked.
    Good,
    /// It worked, and wants a look.
    Warn,
    /// It did not work.
    Bad,
}

/// A message at the top of the next page, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flash {
    /// How it is meant.
    pub(super) tone: Tone,
    /// What happened.
    pub(super) text: String,
    /// What to do, may be empty.
    pub(super) hint: String,
}

impl Flash {
    /// It worked.
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self { tone: Tone::Good, text: text.into(), hint: String::new() }
    }

    /// It worked, and wants a look.
    pub(super) fn warn(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { tone: Tone::Warn, text: text.into(), hint: hint.into() }
    }

    /// It did not work.
    pub(super) fn bad(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { tone: Tone::Bad, text: text.into(), hint: hint.into() }
    }

    /// As templates see it.
    pub(super) fn shown(&self) -> Value {
        let tone = match self.tone {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
        };
        json!({ "tone": tone, "text": self.text, "hint": self.hint })
    }
}

/// Why a page cannot be shown or a thing not be done, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// HTTP status.
    pub(super) status: u16,
    /// `kind` of the API's error, such as `held`; mostly empty.
    pub(super) kind: String,
    /// What went wrong.
    pub(super) message: String,
    /// What to do; may be empty.
    pub(super) hint: String,
}

impl Fault {
    /// A fault of the page's own.
    pub(super) fn new(status: u16, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, kind: String::new(), message: message.into(), hint: hint.into() }
    }

    fn of(reply: &Reply) -> Self {
        let text = |key: &str| {
            let told = reply.body.get("error").and_then(|error| error.get(key)).and_then(Value::as_str);
            told.unwrap_or_default().to_owned()
        };
        let (message, hint, kind) = (text("message"), text("hint"), text("kind"));
        Self { status: reply.status, kind, message, hint }
    }
}

impl From<Fault> for Flash {
    fn from(fault: Fault) -> Self {
        Self::bad(fault.message, fault.hint)
    }
}
