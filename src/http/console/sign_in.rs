//! Signing in and out.

use hyper::Method;
use hyper::header::{RETRY_AFTER, SET_COOKIE};
use hyper::http::request::Parts;
use serde_json::json;

use super::call::Fault;
use super::session::{self, SessionKey};
use super::template::encoded;
use super::who::Visitor;
use super::{Console, LIVE, SIGN_IN, csrf, query_pairs, routes, see_other};
use crate::http::admin_api::{Refused, SignedIn};
use crate::http::answer::Answer;

impl Console {
    /// The page that signs in, and what it sends.
    pub(super) async fn sign_in(&self, head: &Parts, form: &[(String, String)], visitor: Visitor) -> Answer {
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
        if head.method != Method::POST {
            let query = query_pairs(head.uri.query()).unwrap_or_default();
            let next = query.iter().find(|(key, _)| key == "next").map_or("", |(_, value)| value);
            if self.session_of(&head.headers).is_some() {
                return see_other(&ours(next));
            }
            return self.sign_in_page(200, next, "", None);
        }
        let (name, next) = (field("name").trim(), field("next"));
        if !self.forms.is_token(None, Some(field(csrf::FIELD))) {
            let told = Fault::new(403, "This page had become too old.", "Sign in again.");
            return self.sign_in_page(403, next, name, Some(&told));
        }
        let refused = match self.users.sign_in(name, field("password"), visitor.address).await {
            Ok(user) => return self.let_in(head, next, user, visitor),
            Err(refused) => refused,
        };
        let (status, told, wait) = match refused {
            Refused::Wrong => (401, Fault::new(401, "The name or the password is wrong.", ""), None),
            Refused::Wait(wait) => {
                let message = format!("Too many wrong passwords. Wait {} seconds.", wait.as_secs().max(1));
                (429, Fault::new(429, message, "Then try again; nothing is locked for good."), Some(wait))
            }
            Refused::Busy(wait) => {
                let message = "Too many people are signing in at this moment.";
                (503, Fault::new(503, message, "Try again in a few seconds."), Some(wait))
            }
        };
        tracing::warn!(address = ?visitor.address, status, "somebody could not sign in to the console");
        let answer = self.sign_in_page(status, next, name, Some(&told));
        match wait {
            Some(wait) => answer.with(RETRY_AFTER, &wait.as_secs().max(1).to_string()),
            None => answer,
        }
    }

    /// Begins a session; one that the browser still had is over.
    fn let_in(&self, head: &Parts, next: &str, user: SignedIn, visitor: Visitor) -> Answer {
        if let Some((old, _)) = self.session_of(&head.headers) {
            self.sessions.end(old);
        }
        let name = user.name.as_str().to_owned();
        let Some(identifier) = self.sessions.begin(user, visitor.is_secure, self.state.mirror.now()) else {
            let told = Fault::new(503, "Nobody can sign in at this moment.", "Try again.");
            return self.sign_in_page(503, next, &name, Some(&told));
        };
        tracing::info!(user = name, address = ?visitor.address, "signed in to the console");
        see_other(&ours(next)).with(SET_COOKIE, &session::set_cookie(&identifier, visitor.is_secure))
    }

    fn sign_in_page(&self, status: u16, next: &str, name: &str, told: Option<&Fault>) -> Answer {
        let told = told.map(|told| json!({ "message": told.message, "hint": told.hint }));
        let context = json!({ "next": ours(next), "name": name, "told": told });
        self.html(status, "sign_in.html", context, self.bare_ui("Sign in"))
    }

    /// Ends the session and says so.
    pub(super) fn sign_out(&self, session: SessionKey, visitor: Visitor) -> Answer {
        self.sessions.end(session);
        see_other(SIGN_IN).with(SET_COOKIE, &session::clear_cookie(visitor.is_secure))
    }

    /// What somebody gets who is not signed in, or no longer.
    pub(super) fn send_to_sign_in(&self, head: &Parts, visitor: Visitor) -> Answer {
        if head.headers.contains_key(LIVE) {
            return self.plain_fault(&Fault::new(401, "you are signed out", "sign in again"));
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        // A form that was sent too late is not sent again by itself; its page is where to start over.
        let next = if head.method == Method::POST { super::back(head.uri.path()) } else { path.to_owned() };
        // A strict cookie is not sent along from another site's link, such as one in a mail read in the browser; a
        // page of ours that goes on by itself is sent it.
        let comes_from_elsewhere =
            head.headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
        if head.method != Method::POST && comes_from_elsewhere {
            let context = json!({ "path": ours(&next) });
            return self.html(200, "onward.html", context, self.bare_ui("One moment"));
        }
        let target = if ours(&next) == "/" {
            SIGN_IN.to_owned()
        } else {
            format!("{SIGN_IN}?next={}", encoded(&next))
        };
        let answer = see_other(&target);
        if session::cookie(&head.headers).is_some() {
            return answer.with(SET_COOKIE, &session::clear_cookie(visitor.is_secure));
        }
        answer
    }
}

/// Where to go after signing in: a page of ours, or the first one.
fn ours(next: &str) -> String {
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let is_clean = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_clean && path.starts_with('/') && !path.starts_with("//") && routes::is_page(path) {
        return next.to_owned();
    }
    "/".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_goes_to_a_page_of_ours_only() {
        for good in ["/", "/health", "/health?online=true"] {
            assert_eq!(ours(good), good);
        }
        for bad in [
            "",
            "//evil.example.com",
            "/\\evil.example.com",
            "https://evil.example.com/",
            "/health\r\nSet-Cookie: a=b",
            "/no-such-page",
            "/sign-in",
            "javascript:alert(1)",
            "/health ",
        ] {
            assert_eq!(ours(bad), "/", "{bad}");
        }
    }
}
