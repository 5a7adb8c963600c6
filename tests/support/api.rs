//! The admin API over TCP. Every answer is held against the OpenAPI document that the daemon itself serves: its status,
//! its type and each field of it, where a field that the document does not know is a fault as well.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::daemon::Daemon;
use super::http::{Client, Response};

/// The password of everybody in [`users`].
pub const PASSWORD: &str = "correct horse battery";

/// An address nobody listens at.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The `[admin]` of a daemon with a user of each role, for [`Daemon::prepare`].
pub fn users(listen: SocketAddr) -> String {
    let user = |name: &str, role: &str| {
        format!(
            "[[admin.user]]\nname = \"{name}\"\npassword_file = \"{{dir}}/password\"\nrole = \"{role}\"\n"
        )
    };
    format!(
        "admin: listen = \"{listen}\"\n{}{}{}",
        user("viewer", "view"),
        user("operator", "operate"),
        user("ops", "admin")
    )
}

/// A daemon with [`users`] and `extra`, and where its API will be.
pub fn prepare(extra: &str) -> (Daemon, SocketAddr) {
    let listen = free();
    let daemon = Daemon::prepare(&format!("{}{extra}", users(listen)));
    daemon.secret("password", PASSWORD);
    (daemon, listen)
}

/// The same, started.
pub fn start(extra: &str) -> (Daemon, SocketAddr) {
    let (mut daemon, listen) = prepare(extra);
    daemon.run();
    (daemon, listen)
}

/// The header of a user.
pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}")))
}

/// One user's way to the API.
pub struct Api {
    client: Client,
    authorization: String,
    document: Value,
    /// Method, path as in the document, status: whatever was seen.
    pub seen: BTreeSet<(String, String, u16)>,
}

impl Api {
    pub fn new(address: SocketAddr, name: &str) -> Self {
        let mut client = Client::new(address);
        let authorization = basic(name, PASSWORD);
        let headers = [("Authorization", authorization.as_str())];
        let mut document =
            client.send("GET", "/api/v1/openapi.json", &headers, None).unwrap().expect(200).json();
        for (_, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
            let schema = schema.as_object_mut().unwrap();
            schema.entry("additionalProperties").or_insert(json!(false));
        }
        Self { client, authorization, document, seen: BTreeSet::new() }
    }

    /// Every method and path of the document.
    pub fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_ascii_uppercase(), path.clone()))
                .collect()
        };
        paths.iter().flat_map(of).collect()
    }

    /// What can be read without being told more than a target's name, for which `{name}` stands.
    pub fn plain_reads(&self) -> Vec<String> {
        let needs_nothing = |item: &Value| {
            let parameters = item["get"]["parameters"].as_array();
            parameters
                .is_some_and(|all| all.iter().all(|one| one["in"] == "path" || one["required"] == false))
        };
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths
            .filter(|(path, item)| needs_nothing(item) && !path.replace("/targets/{name}", "").contains('{'))
            .map(|(path, _)| path.strip_prefix("/api/v1/").unwrap().to_owned())
            .collect()
    }

    /// One request to `path` below `/api/v1/`.
    pub fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let path = format!("/api/v1/{path}");
        let bytes = body.map(|body| body.to_string().into_bytes());
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        let answer = self.client.send(method, &path, &headers, bytes.as_deref()).unwrap();
        self.check(method, &path, &answer);
        answer
    }

    pub fn get(&mut self, path: &str) -> Value {
        self.send("GET", path, None).expect(200).json()
    }

    pub fn post(&mut self, path: &str, body: Value) -> Response {
        self.send("POST", path, Some(&body))
    }

    fn check(&mut self, method: &str, path: &str, answer: &Response) {
        let what = format!("{method} {path}: {} {}", answer.status, answer.text());
        let Some((template, operation)) = self.operation(method, path) else {
            assert!(matches!(answer.status, 404 | 405), "not in the document: {what}");
            return;
        };
        let told = &operation["responses"][answer.status.to_string()];
        assert!(told.is_object(), "the document does not know this status: {what}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        let mut schema = Map::new();
        schema.insert("components".to_owned(), self.document["components"].clone());
        schema.insert("$ref".to_owned(), told["content"]["application/json"]["schema"]["$ref"].clone());
        let validator = jsonschema::options().should_validate_formats(true).build(&schema.into()).unwrap();
        let body = answer.json();
        let faults: Vec<String> = validator
            .iter_errors(&body)
            .map(|fault| format!("{} at {}", fault, fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{what}\n{faults:#?}");
        self.seen.insert((method.to_owned(), template, answer.status));
    }

    /// The operation of the document that a request is for.
    fn operation(&self, method: &str, path: &str) -> Option<(String, Value)> {
        let asked: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
        let fits = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == asked.len()
                && parts.iter().zip(&asked).all(|(part, asked)| part.starts_with('{') || part == asked)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let mut found: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
        found.sort_by_key(|(template, _)| template.matches('{').count());
        let (template, item) = found.first()?;
        Some(((*template).clone(), item.get(method.to_ascii_lowercase())?.clone()))
    }
}
