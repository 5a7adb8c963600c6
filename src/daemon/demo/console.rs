//! The demo's console: a free port on loopback, a password of its own, and a look at the first page through the
//! browser's door.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::SET_COOKIE;

use super::DemoError;
use crate::daemon::client::{self, Answer, Peer};

/// Longest wait for a page.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who signs in.
pub(super) const USER: &str = "demo";

/// Where the console listens, and how to get in.
#[derive(Debug, Clone)]
pub(super) struct Console {
    address: SocketAddr,
    password: String,
}

impl Console {
    /// Finds a free port and makes a password up.
    pub(super) fn prepare() -> Result<Self, DemoError> {
        let setup =
            |cause: &dyn std::fmt::Display| DemoError::Setup(format!("a port for the console: {cause}"));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|cause| setup(&cause))?;
        let mut random = [0_u8; 15];
        getrandom::fill(&mut random).map_err(|cause| setup(&cause))?;
        Ok(Self { address, password: URL_SAFE_NO_PAD.encode(random) })
    }

    /// `[admin] listen`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// For the password file.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// For a browser.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Signs in as a browser does and looks whether the first page names every one of `words`.
    pub(super) async fn look(&self, words: &[&str]) -> Result<(), DemoError> {
        let page = self.ask("GET", "/sign-in", None, None).await?;
        let token = between(&text(&page), "name=\"csrf\" value=\"", "\"").unwrap_or_default();
        let form = format!("csrf={token}&name={USER}&password={}&next=%2F", self.password);
        let signed_in = self.ask("POST", "/sign-in", None, Some(form)).await?;
        let cookie = signed_in.headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        let Some(cookie) = cookie.filter(|_| signed_in.status == 303) else {
            return Err(DemoError::Answer { line: "POST /sign-in".to_owned(), status: signed_in.status });
        };
        let page = self.ask("GET", "/", Some(cookie), None).await?;
        let shown = text(&page);
        if page.status != 200 {
            return Err(DemoError::Answer { line: "GET /".to_owned(), status: page.status });
        }
        match words.iter().find(|word| !shown.contains(**word)) {
            None => Ok(()),
            Some(word) => Err(DemoError::Setup(format!("the console's first page does not name {word}"))),
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        cookie: Option<&str>,
        form: Option<String>,
    ) -> Result<Answer, DemoError> {
        let failed = |cause: &dyn std::fmt::Display| DemoError::Setup(format!("the console: {cause}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("origin", format!("http://{}", self.address))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie.unwrap_or_default())
            .body(Full::new(Bytes::from(form.unwrap_or_default())))
            .map_err(|cause| failed(&cause))?;
        client::ask(&Peer::Tcp(self.address), request, PATIENCE).await.map_err(|cause| failed(&cause))
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_enough_and_never_the_same() {
        let (one, two) = (Console::prepare().unwrap(), Console::prepare().unwrap());
        assert_eq!(one.password().len(), 20);
        assert_ne!(one.password(), two.password());
        assert!(one.url().starts_with("http://127.0.0.1:"));
    }

    #[test]
    fn a_value_is_cut_out_of_a_page() {
        assert_eq!(between("<input name=\"csrf\" value=\"abc\">", "value=\"", "\""), Some("abc".into()));
        assert_eq!(between("nothing", "value=\"", "\""), None);
    }
}
