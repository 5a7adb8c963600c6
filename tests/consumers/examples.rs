//! The example configs as they are shipped, each started for real: only places, listeners and commands are put into a
//! scratch folder. A push lets alice in and not bob; a removal takes effect by itself and runs `reload` again.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::wait_until;

const TOKEN: &str = "a-token-for-the-examples-of-more-than-32-characters";
const ALICE: &str = "alice@acme.example.com";
const BOB: &str = "bob@acme.example.com";

/// The example with its places beneath the daemon's folder. Commands become one that notes that it was asked.
fn start(name: &str) -> Daemon {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
    let mut daemon = Daemon::prepare("");
    let dir = daemon.dir.path().display().to_string();
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("/srv/rosterd", &format!("{dir}/srv"));
    let listen = regex::Regex::new(r"(?m)^listen = \[.*\]$").unwrap();
    let text = listen.replace(&text, format!("listen = [\"{}\"]", daemon.address)).into_owned();
    // What `[server]` says about proxies and names has no meaning on loopback.
    let proxies = regex::Regex::new(r"(?m)^trusted_proxies = .*$").unwrap();
    let text = proxies.replace(&text, "").into_owned();
    let reload = regex::Regex::new(r#"(?ms)^reload = \[(.*?)\]$"#).unwrap();
    let noted = format!("reload = [\"/bin/sh\", \"-c\", \"echo $0 $* >> {dir}/reloads\", $1]");
    let text = reload.replace_all(&text, noted.replace("$0 $*", "$$0 $$*")).into_owned();
    let admin =
        format!("\n[admin]\nsocket = \"{dir}/admin.sock\"\n[mirror]\npath = \"{dir}/state/mirror.db\"\n");
    std::fs::write(daemon.config(), text.clone() + &admin).unwrap();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("path = \"").and_then(|rest| rest.strip_suffix('"')) {
            std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        }
        if let Some(token) = line.strip_prefix("token_file = \"").and_then(|rest| rest.strip_suffix('"')) {
            let path = daemon.path(token);
            std::fs::write(&path, TOKEN).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
    daemon.run();
    daemon
}

/// Who holds `role`, as the file says it.
type Holds = fn(&str, &str) -> bool;

fn told(name: &str, group: &str, file: &str, holds: Holds) {
    let daemon = start(name);
    let directory = crate::support::daemon::Directory {
        id: String::new(),
        token: TOKEN.to_owned(),
        base_url: String::new(),
    };
    let mut scim = daemon.scim(&directory);
    let mut user = |name: &str| {
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
            "active": true, "emails": [{"value": name, "primary": true}]});
        let made = scim.send("POST", "/Users", Some(&body)).expect(201).json();
        made["id"].as_str().unwrap().to_owned()
    };
    let (alice, _bob) = (user(ALICE), user(BOB));
    let group = scim.create_group(group, &[&alice]);
    let file = daemon.path("srv").join(file);
    let says = |who: &str| holds(&std::fs::read_to_string(&file).unwrap_or_default(), who);
    wait_until(&format!("{name} lets alice in"), || says(ALICE));
    assert!(!says(BOB), "{name}: bob is in no group");
    let reloads = || daemon.read("reloads").lines().count();
    let has_reload = std::fs::read_to_string(daemon.config()).unwrap().contains("\nreload = ");
    wait_until("the reader was told", || !has_reload || reloads() > 0);
    let before = reloads();
    scim.remove_member(&group, &alice);
    wait_until(&format!("{name} refuses alice"), || !says(ALICE));
    wait_until("the reader was told again", || !has_reload || reloads() > before);
    assert!(daemon.cli(&["check"]).status.success());
}

fn line_with(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[test]
fn nginx() {
    told("nginx.toml", "Operations", "nginx/access.map", |text, who| line_with(text, &[who, "\"ops\";"]));
}

#[test]
fn postgresql() {
    told("postgresql.toml", "Operations", "postgresql/ident.conf", |text, who| {
        line_with(text, &[&format!("\"{who}\""), "\"ops\""])
    });
    told("postgresql.toml", "Operations", "postgresql/roles.sql", |text, who| {
        line_with(text, &["'ops_members'", &format!("'{who}'")])
    });
}

#[test]
fn opa() {
    told("opa.toml", "Database Admins", "opa/data.json", |text, who| {
        json_of(text)["scim"]["roles"]["db-admin"][who] == true
    });
}

#[test]
fn cedar() {
    told("cedar.toml", "Database Admins", "cedar/entities.json", |text, who| {
        let entities = json_of(text);
        let user = entities.as_array().into_iter().flatten().find(|one| one["uid"]["id"] == *who);
        user.is_some_and(|user| {
            let parents = user["parents"].as_array().unwrap();
            parents.contains(&json!({"type": "Role", "id": "db-admin"}))
        })
    });
}

#[test]
fn casbin() {
    told("casbin.toml", "Database Admins", "casbin/groups.csv", |text, who| {
        line_with(text, &[&format!("user:{who}, role:db-admin")])
    });
}

#[test]
fn kubernetes() {
    told("kubernetes.toml", "Platform", "kubernetes/bindings.yaml", |text, who| {
        let bindings = text.split("---\n").filter(|one| one.contains("\"rosterd-platform@cluster-admin\""));
        bindings.into_iter().any(|one| one.contains(&format!("\"oidc:{who}\"")))
    });
}

#[test]
fn border0() {
    told("border0.toml", "On-Call", "border0/on-call.json", |text, who| {
        let policy = json_of(text);
        let emails = policy["condition"]["who"]["email"].as_array().cloned().unwrap_or_default();
        emails.contains(&json!(who)) && !policy["permissions"].as_object().unwrap().is_empty()
    });
}
