//! Plays Okta: the requests its SCIM client sends for a connection test, an assignment, a group push, a removal
//! and a deactivation.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::DemoError;
use crate::daemon::client::{self, Peer};

/// Longest wait for one answer; Okta itself waits 60 s.
const PATIENCE: Duration = Duration::from_secs(20);

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The identity provider's end of one integration.
#[derive(Debug)]
pub(super) struct Okta {
    peer: Peer,
    host: String,
    base_path: String,
    token: String,
}

/// One request that was answered.
#[derive(Debug)]
pub(super) struct Sent {
    /// Method and path, as sent.
    pub(super) line: String,
    /// The status that came back.
    pub(super) status: u16,
    /// The body that came back.
    pub(super) body: Value,
    /// When the request left.
    pub(super) at: Instant,
}

impl Sent {
    /// The resource's id.
    pub(super) fn id(&self) -> Result<String, DemoError> {
        let id = self.body.get("id").and_then(Value::as_str);
        id.map(str::to_owned)
            .ok_or_else(|| DemoError::Answer { line: self.line.clone(), status: self.status })
    }
}

impl Okta {
    /// An integration as its settings page has it: base URL and token.
    pub(super) fn new(base_url: &str, token: &str) -> Result<Self, DemoError> {
        let wrong = || DemoError::Setup(format!("the base URL `{base_url}` is not on loopback over http"));
        let rest = base_url.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address: SocketAddr = host.parse().map_err(|_| wrong())?;
        let base_path = format!("/{}", path.trim_end_matches('/'));
        Ok(Self { peer: Peer::Tcp(address), host: host.to_owned(), base_path, token: token.to_owned() })
    }

    /// "Test Connector Configuration".
    pub(super) async fn test_connection(&self) -> Result<Sent, DemoError> {
        self.send("GET", "/Users?startIndex=1&count=2", None).await
    }

    /// Assigns somebody: looks whether the user exists, then creates it.
    pub(super) async fn assign(&self, given: &str, family: &str) -> Result<Sent, DemoError> {
        let user_name = format!("{}@example.com", given.to_lowercase());
        let lookup = format!(
            "/Users?filter=userName%20eq%20%22{}%22&startIndex=1&count=100",
            user_name.replace('@', "%40")
        );
        self.send("GET", &lookup, None).await?;
        let body = json!({
            "schemas": [USER], "userName": user_name, "name": {"givenName": given, "familyName": family},
            "emails": [{"primary": true, "value": user_name, "type": "work"}],
            "displayName": format!("{given} {family}"), "locale": "en-US",
            "externalId": format!("00u{}", given.to_lowercase()), "groups": [],
            "password": "1mz050nq", "active": true,
        });
        self.send("POST", "/Users", Some(body)).await
    }

    /// Pushes a group: looks whether it exists, then creates it without members.
    pub(super) async fn push_group(&self, name: &str) -> Result<Sent, DemoError> {
        let encoded = name.replace(' ', "%20");
        let lookup = format!("/Groups?filter=displayName%20eq%20%22{encoded}%22&startIndex=1&count=100");
        self.send("GET", &lookup, None).await?;
        let body = json!({"schemas": [GROUP], "displayName": name, "members": []});
        self.send("POST", "/Groups", Some(body)).await
    }

    /// Adds people, each by id and user name, to a group.
    pub(super) async fn add_members(&self, group: &str, people: &[(&str, &str)]) -> Result<Sent, DemoError> {
        let people: Vec<Value> =
            people.iter().map(|(id, name)| json!({"value": id, "display": name})).collect();
        let body = json!({"schemas": [PATCH_OP],
            "Operations": [{"op": "add", "path": "members", "value": people}]});
        self.send("PATCH", &format!("/Groups/{group}"), Some(body)).await
    }

    /// Takes one member out of a group.
    pub(super) async fn remove_member(&self, group: &str, user: &str) -> Result<Sent, DemoError> {
        let body = json!({"schemas": [PATCH_OP],
            "Operations": [{"op": "remove", "path": format!("members[value eq \"{user}\"]")}]});
        self.send("PATCH", &format!("/Groups/{group}"), Some(body)).await
    }

    /// Deactivates somebody, as when the person leaves.
    pub(super) async fn deactivate(&self, user: &str) -> Result<Sent, DemoError> {
        let body =
            json!({"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": {"active": false}}]});
        self.send("PATCH", &format!("/Users/{user}"), Some(body)).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Result<Sent, DemoError> {
        let line = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_path))
            .header("host", &self.host)
            .header("user-agent", "Okta SCIM Client 1.0.0")
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", "application/scim+json")
            .header("content-type", "application/scim+json; charset=utf-8")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))
            .map_err(|cause| DemoError::Setup(format!("cannot ask for `{line}`: {cause}")))?;
        let at = Instant::now();
        let answer = client::ask(&self.peer, request, PATIENCE)
            .await
            .map_err(|cause| DemoError::Setup(format!("{line}: {cause}")))?;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status < 300 {
            Ok(Sent { line, status: answer.status, body, at })
        } else {
            Err(DemoError::Answer { line, status: answer.status })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_taken_apart() {
        let okta = Okta::new("http://127.0.0.1:4711/scim/v2", "t").unwrap();
        assert_eq!(okta.peer, Peer::Tcp("127.0.0.1:4711".parse().unwrap()));
        assert_eq!(okta.base_path, "/scim/v2");
        assert!(Okta::new("https://scim.example.com/scim/v2", "t").is_err());
    }
}
