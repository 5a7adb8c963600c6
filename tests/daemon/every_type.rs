//! One company's story that makes every type of event there is. A type that is added to the table and not told here
//! fails this test: none goes without a proof through the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::http::Client;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{edit, wait_for, wait_until};

const WAIT: &str = "wait = { revoke = \"10ms\", min = \"20ms\", max = \"300ms\" }\n";

fn file(name: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/{name}.json\"\n{WAIT}{more}\n"
    )
}

struct Story {
    daemon: Daemon,
    receiver: Receiver,
}

impl Story {
    fn start() -> Self {
        let receiver = Receiver::start();
        let daemon = Daemon::prepare(&Self::config(&receiver, &file("old", "")));
        std::fs::write(daemon.path("hook-secret"), SECRET).unwrap();
        std::fs::set_permissions(daemon.path("hook-secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        std::fs::write(daemon.path("out/foreign.json"), "written by hand\n").unwrap();
        let mut story = Self { daemon, receiver };
        story.daemon.run();
        story
    }

    /// The guard of the files holds whatever is taken away; that of the stream lets all go by.
    fn config(receiver: &Receiver, more: &str) -> String {
        format!(
            "[[directory]]\nid = \"first\"\nkind = \"okta\"\n[[directory]]\nid = \"second\"\nkind = \"okta\"\n\
             [[role]]\nname = \"crew\"\ngroups = [\"Crew\"]\ndirectories = [\"first\", \"second\"]\n\
             [guard]\nmin_removals = 1\nmax_removals = [0]\nurgent = 0\n\
             {}{}{more}\
             [[target]]\nname = \"app\"\ntype = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{{dir}}/hook-secret\"\n\
             events = [\"*\"]\n{WAIT}[target.guard]\nmin_removals = 1000000\nmax_removals = [\"100%\"]\n",
            file("file", ""),
            file("foreign", ""),
            receiver.url(),
        )
    }

    fn scim(&self, directory: &str) -> Scim {
        let token = self.run(&["token", "new", directory])["token"].as_str().unwrap().to_owned();
        Scim { client: Client::new(self.daemon.address), token }
    }

    fn run(&self, args: &[&str]) -> Value {
        self.daemon.cli_json(args)
    }

    fn told(&self) -> BTreeMap<String, Value> {
        let all = self.receiver.events().into_iter();
        all.map(|d| (d.body["type"].as_str().unwrap_or_default().to_owned(), d.body)).collect()
    }

    fn wait(&self, kind: &str) {
        wait_until(kind, || self.told().contains_key(kind));
    }

    fn holds(&self, name: &str) -> bool {
        let shown: Value = serde_json::from_str(&self.daemon.read("out/file.json")).unwrap_or(Value::Null);
        shown["roles"][0]["members"].as_array().is_some_and(|all| all.contains(&json!(name)))
    }

    fn held(&self) -> bool {
        self.daemon.target("file")["held_removals"].as_u64().unwrap() > 0
    }

    /// Users, groups and nesting; what the guard holds of it, and what becomes of that.
    fn people(&self, scim: &mut Scim) {
        let users = ["alice", "bob", "carol"].map(|name| scim.create_user(&format!("{name}@example.com")));
        let [alice, bob, carol] = users;
        let crew = scim.create_group("Crew", &[&alice, &bob]);
        let inner = scim.create_group("Inner", &[]);
        wait_until("both are in", || self.holds("alice@example.com") && self.holds("bob@example.com"));
        scim.add_member(&crew, &inner);
        scim.remove_member(&crew, &inner);
        let rename = json!([{"op": "replace", "path": "displayName", "value": "Innermost"}]);
        assert!(scim.patch(&format!("/Groups/{inner}"), rename).status < 300);
        assert_eq!(scim.send("DELETE", &format!("/Groups/{inner}"), None).status, 204);
        let rename = json!([{"op": "replace", "path": "displayName", "value": "Caroline"}]);
        assert!(scim.patch(&format!("/Users/{carol}"), rename).status < 300);
        scim.set_active(&carol, false);
        scim.set_active(&carol, true);
        assert_eq!(scim.send("DELETE", &format!("/Users/{carol}"), None).status, 204);
        self.wait("user.deleted");

        scim.remove_member(&crew, &bob);
        wait_until("held", || self.held());
        let plan = self.run(&["plan", "file"])["targets"][0]["hash"].as_str().unwrap().to_owned();
        self.run(&["approve", "file", "--plan", &plan]);
        wait_until("let go", || !self.holds("bob@example.com"));
        self.wait("guard.approved");
        scim.add_member(&crew, &bob);
        wait_until("in again", || self.holds("bob@example.com"));
        scim.remove_member(&crew, &bob);
        wait_until("held again", || self.held());
        self.run(&["reject", "file"]);
        self.wait("guard.rejected");
        self.wait("access.revoked");
    }

    /// What operators decide about people.
    fn decisions(&self) {
        let alice = "alice@example.com";
        self.run(&["shut", alice, "--reason", "stolen laptop"]);
        self.run(&["open", alice]);
        let grant = |span: &str| self.run(&["grant", alice, "crew", "--for", span, "--reason", "on call"]);
        self.run(&["grant", "revoke", &grant("1h")["id"].to_string()]);
        grant("1s");
        self.wait("grant.expired");
        self.run(&["subject", "release", alice, "--reason", "moved"]);
        self.run(&["subject", "release", alice, "--undo"]);
        self.wait("subject.reclaimed");
    }

    /// A directory from its beginning to its end.
    fn directory(&self) {
        let made = self.daemon.add_directory("Third", "okta");
        let mut scim = self.daemon.scim(&made);
        let dave = scim.create_user("dave@example.com");
        self.run(&["directory", "rename", &made.id, "The Third"]);
        self.run(&["directory", "disable", &made.id]);
        self.run(&["directory", "enable", &made.id, "--within", "2s"]);
        self.wait("rebaseline.closed");
        // Named too late, but named.
        scim.get(&format!("/Users/{dave}")).expect(200);
        self.wait("rebaseline.confirmed");
        self.run(&["directory", "remove", &made.id, "--yes"]);
        self.wait("directory.removed");
    }

    /// What becomes of files.
    fn targets(&self) {
        self.run(&["sync", "foreign", "--adopt"]);
        let path = self.daemon.path("out/file.json");
        let whole = std::fs::read(&path).unwrap();
        edit(&path, "{}");
        wait_until("put right", || std::fs::read(&path).unwrap() == whole);
        self.wait("target.drifted");
        let version = wait_for("a version is kept", || {
            self.run(&["target", "show", "file"])["versions"].as_array()?.first()?["seq"].as_u64()
        });
        self.run(&["target", "rollback", "file", "--to", &version.to_string()]);
        self.wait("target.rolled_back");
        self.daemon.cli(&["sync", "file"]);
        self.wait("target.unpinned");
        self.daemon.write_config(&Self::config(&self.receiver, ""));
        assert!(self.daemon.cli(&["reload"]).status.success());
        assert!(self.daemon.cli(&["target", "forget", "old", "--delete"]).status.success());
        self.wait("target.forgotten");
    }
}

#[test]
fn every_type_of_the_table_is_told_by_the_real_daemon_and_fits_its_schema() {
    let story = Story::start();
    let mut scim = story.scim("first");
    story.people(&mut scim);
    story.decisions();
    story.directory();
    story.targets();
    story.run(&["delivery", "snapshot", "app"]);
    story.wait("snapshot.finished");

    let told = story.told();
    let table = story.run(&["events", "list"]);
    let table: BTreeSet<&str> =
        table["events"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    let missing: Vec<&&str> = table.iter().filter(|kind| !told.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "the daemon never told of {missing:?}; let the story make it happen");
    assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), table);
    for (kind, body) in &told {
        let schema = story.daemon.cli(&["events", "schema", kind]);
        let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{kind}: {wrong:?}\n{body}");
    }
    let all = story.receiver.all();
    assert!(all.iter().all(|d| d.verified), "a signature the public library refuses");
}
