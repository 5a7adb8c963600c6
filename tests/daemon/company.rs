//! A company whose people all hold one role, in the file of one target.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::daemon::{Daemon, Scim};
use crate::support::wait_until;

/// Waits are short because nobody reads along here.
const CONFIG: &str = r#"
[guard]
notify = ["/bin/sh", "-c", "cat >> {dir}/told; echo >> {dir}/told"]
[[role]]
name = "crew"
groups = ["Crew"]
[[target]]
name = "{target}"
type = "file"
format = "json"
path = "{dir}/out/access.json"
wait = { revoke = "10ms", min = "20ms", max = "300ms" }
"#;

pub fn user_name(n: usize) -> String {
    format!("user{n:04}@example.com")
}

pub struct Company {
    pub daemon: Daemon,
    pub scim: Scim,
    pub users: Vec<String>,
    pub group: String,
}

impl Company {
    /// With the target called `target` and so many people, all in.
    pub fn new(target: &str, people: usize) -> Self {
        let mut daemon = Daemon::prepare(&CONFIG.replace("{target}", target));
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let users: Vec<String> = (0..people).map(|n| scim.create_user(&user_name(n))).collect();
        let group = scim.create_group("Crew", &users.iter().map(String::as_str).collect::<Vec<_>>());
        let company = Self { daemon, scim, users, group };
        wait_until("all are in", || company.holders().len() == people);
        company
    }

    /// Who holds the role in the file.
    pub fn holders(&self) -> BTreeSet<String> {
        let file: Value = serde_json::from_str(&self.daemon.read("out/access.json")).unwrap_or(Value::Null);
        let roles = file["roles"].as_array().cloned().unwrap_or_default();
        let crew = roles.iter().find(|role| role["name"] == "crew").map(|role| role["members"].clone());
        let members = crew.and_then(|members| members.as_array().cloned()).unwrap_or_default();
        members.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the target has seen the newest change.
    pub fn settle(&self) {
        wait_until("the target is at the newest change", || {
            let status = self.daemon.cli_json(&["status"]);
            status["targets"][0]["applied_seq"] == status["seq"]
        });
    }
}
