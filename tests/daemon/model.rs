//! A model of what the files should say, against the real binary: random SCIM traffic, kill -9, configurations, approvals
//! and rejections, shut and open, grants, renamed groups. After each step the files are what the model says.
//!
//! The first target holds every removal, so that the model knows each verdict; the second has no guard to speak of and
//! must equal access. `SEED` replays a run, `ROSTERD_MODEL_STEPS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Scim};
use crate::support::{Random, seed, wait_until};

const STEPS: u64 = 45;
const GROUPS: usize = 4;

/// A role and the name of who holds it.
type Pair = (String, String);

struct User {
    id: String,
    active: bool,
    is_shut: bool,
}

struct Group {
    id: String,
    name: String,
    members: BTreeSet<String>,
}

struct Model {
    random: Random,
    daemon: Daemon,
    scim: Scim,
    directory: crate::support::daemon::Directory,
    made: u64,
    users: BTreeMap<String, User>,
    groups: Vec<Group>,
    /// For each role its rules as written, and the group that each was bound to.
    roles: BTreeMap<String, BTreeMap<String, usize>>,
    grants: BTreeMap<Pair, u64>,
    /// What the guarded file shows.
    shown: BTreeSet<Pair>,
    rejected: BTreeSet<Pair>,
    log: Vec<String>,
}

fn target(name: &str, guard: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\ntype = \"file\"\nformat = \"json\"\npath = \"{{dir}}/out/{name}.json\"\n\
         wait = {{ revoke = \"1ms\", min = \"2ms\", max = \"20ms\" }}\n[target.guard]\n{guard}\n"
    )
}

fn pairs(file: &Value) -> BTreeSet<Pair> {
    let mut found = BTreeSet::new();
    for role in file["roles"].as_array().into_iter().flatten() {
        for member in role["members"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            found.insert((text(&role["name"]), text(member)));
        }
    }
    found
}

impl Model {
    fn new() -> Self {
        let random = Random::new(seed());
        let mut daemon = Daemon::prepare("");
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let groups = (0..GROUPS).map(|n| {
            let name = format!("G{n}");
            Group { id: scim.create_group(&name, &[]), name, members: BTreeSet::new() }
        });
        let groups = groups.collect();
        let roles = (0..3).map(|n| (format!("r{n}"), BTreeMap::from([(format!("G{n}"), n)]))).collect();
        let model = Self {
            random,
            daemon,
            scim,
            directory,
            made: 0,
            users: BTreeMap::new(),
            groups,
            roles,
            grants: BTreeMap::new(),
            shown: BTreeSet::new(),
            rejected: BTreeSet::new(),
            log: Vec::new(),
        };
        model.configure();
        model
    }

    fn configure(&self) {
        let mut text = String::new();
        for (role, rules) in &self.roles {
            let rules: Vec<&String> = rules.keys().collect();
            writeln!(text, "[[role]]\nname = \"{role}\"\ngroups = {rules:?}").unwrap();
        }
        text += &target("guarded", "min_removals = 1\nmax_removals = [0]\nurgent = 0\nhold = \"removals\"");
        text += &target("free", "min_removals = 1000000");
        self.daemon.write_config(&text);
        let done = self.daemon.cli(&["reload"]);
        assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
    }

    /// Who should hold what, by the identity provider's word, the configuration and people's.
    fn access(&self) -> BTreeSet<Pair> {
        let mut found = BTreeSet::new();
        let is_in = |name: &String| self.users.get(name).is_some_and(|user| user.active && !user.is_shut);
        for (role, rules) in &self.roles {
            for member in rules.values().flat_map(|group| &self.groups[*group].members) {
                if is_in(member) {
                    found.insert((role.clone(), member.clone()));
                }
            }
        }
        let given = self.grants.keys().filter(|(role, name)| self.roles.contains_key(role) && is_in(name));
        found.extend(given.cloned());
        found
    }

    fn held(&self) -> Vec<Pair> {
        let access = self.access();
        self.shown
            .iter()
            .filter(|pair| !access.contains(pair) && !self.rejected.contains(pair))
            .cloned()
            .collect()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.random.below(from.len() as u64);
        from.get(usize::try_from(at).unwrap()).cloned()
    }

    /// A user for whom `is_meant` says yes.
    fn user(&mut self, is_meant: impl Fn(&Self, &String, &User) -> bool) -> Option<String> {
        let found: Vec<String> = self
            .users
            .iter()
            .filter(|(name, user)| is_meant(self, name, user))
            .map(|(name, _)| name.clone())
            .collect();
        self.pick(&found)
    }

    fn has_grant(&self, name: &String) -> bool {
        self.grants.keys().any(|(_, whom)| whom == name)
    }

    fn ok(&self, args: &[&str]) {
        let done = self.daemon.cli(args);
        assert!(
            done.status.success(),
            "{args:?}: {}\n{}",
            String::from_utf8_lossy(&done.stderr),
            self.log.join("\n")
        );
    }

    fn create(&mut self) {
        self.made += 1;
        let name = format!("u{}@example.com", self.made);
        let id = self.scim.create_user(&name);
        self.log.push(format!("create {name}"));
        self.users.insert(name.clone(), User { id, active: true, is_shut: false });
        self.join(&name);
    }

    fn join(&mut self, name: &String) {
        let at = usize::try_from(self.random.below(GROUPS as u64)).unwrap();
        let group = &mut self.groups[at];
        self.scim.add_member(&group.id, &self.users[name].id);
        group.members.insert(name.clone());
        self.log.push(format!("join {name} {}", group.name));
    }

    fn leave(&mut self) {
        let all: Vec<(usize, String)> = (0..GROUPS)
            .flat_map(|at| self.groups[at].members.iter().map(move |name| (at, name.clone())))
            .collect();
        let Some((at, name)) = self.pick(&all) else { return };
        let group = &mut self.groups[at];
        self.scim.remove_member(&group.id, &self.users[&name].id);
        group.members.remove(&name);
        self.log.push(format!("leave {name} {}", group.name));
    }

    fn switch(&mut self) {
        let Some(name) = self.user(|model, name, _| !model.has_grant(name)) else { return };
        let user = self.users.get_mut(&name).unwrap();
        user.active = !user.active;
        self.scim.set_active(&user.id, user.active);
        self.log.push(format!("active {name} {}", user.active));
    }

    fn delete(&mut self) {
        let Some(name) = self.user(|model, name, user| !user.is_shut && !model.has_grant(name)) else {
            return;
        };
        let user = self.users.remove(&name).unwrap();
        self.scim.send("DELETE", &format!("/Users/{}", user.id), None).expect(204);
        for group in &mut self.groups {
            group.members.remove(&name);
        }
        self.log.push(format!("delete {name}"));
    }

    /// A group gets another name; somebody else's group takes the old one.
    fn rename(&mut self) {
        let at = usize::try_from(self.random.below(GROUPS as u64)).unwrap();
        self.made += 1;
        let group = &mut self.groups[at];
        let old = std::mem::replace(&mut group.name, format!("G{at} {}", self.made));
        let name = group.name.clone();
        let operations = json!([{"op": "replace", "path": "displayName", "value": name}]);
        let answer = self.scim.patch(&format!("/Groups/{}", group.id), operations);
        assert!(answer.status < 300, "{}", answer.text());
        self.log.push(format!("rename {old} {name}"));
        let everybody: Vec<String> = self.users.values().map(|user| user.id.clone()).collect();
        let members: Vec<&str> = everybody.iter().map(String::as_str).collect();
        self.scim.create_group(&old, &members);
    }

    fn shut_or_open(&mut self) {
        let Some(name) = self.user(|_, _, _| true) else { return };
        let user = self.users.get_mut(&name).unwrap();
        user.is_shut = !user.is_shut;
        let is_shut = user.is_shut;
        self.log.push(format!("shut {name} {is_shut}"));
        if is_shut {
            self.ok(&["shut", &name, "--reason", "model"]);
            self.shown.retain(|(_, whom)| *whom != name);
            self.rejected.retain(|(_, whom)| *whom != name);
        } else {
            self.ok(&["open", &name]);
        }
    }

    fn grant(&mut self) {
        let roles: Vec<String> = self.roles.keys().cloned().collect();
        let Some(role) = self.pick(&roles) else { return };
        let Some(name) = self.user(|_, _, user| user.active && !user.is_shut) else { return };
        if self.grants.contains_key(&(role.clone(), name.clone())) {
            return;
        }
        let made = self.daemon.cli_json(&["grant", &name, &role, "--for", "4h", "--reason", "model"]);
        let id = made["id"].as_u64().or_else(|| made["id"].as_str()?.parse().ok()).unwrap();
        self.log.push(format!("grant {name} {role} = {id}"));
        self.grants.insert((role, name), id);
    }

    fn revoke(&mut self) {
        let all: Vec<(Pair, u64)> = self.grants.clone().into_iter().collect();
        let Some((pair, id)) = self.pick(&all) else { return };
        self.ok(&["grant", "revoke", &id.to_string()]);
        self.log.push(format!("revoke {id} {pair:?}"));
        self.grants.remove(&pair);
        if !self.access().contains(&pair) {
            self.shown.remove(&pair);
        }
    }

    fn roles(&mut self) {
        let role = format!("r{}", self.random.below(4));
        if self.grants.keys().any(|(granted, _)| *granted == role) {
            return;
        }
        let at = usize::try_from(self.random.below(GROUPS as u64)).unwrap();
        let rule = self.groups[at].name.clone();
        let is_there = self.roles.contains_key(&role);
        if is_there && self.random.below(2) == 0 {
            self.roles.remove(&role);
        } else {
            self.roles.entry(role.clone()).or_default().insert(rule, at);
        }
        self.log.push(format!("role {role}: {:?}", self.roles.get(&role)));
        self.configure();
    }

    fn decide(&mut self) {
        let held = self.held();
        let Some((_, name)) = self.pick(&held) else { return };
        match self.random.below(4) {
            0 => {
                self.ok(&["approve", "--all", "--yes"]);
                self.shown.retain(|pair| !held.contains(pair));
                self.log.push("approve all".to_owned());
            }
            1 => {
                let plan = self.daemon.cli_json(&["plan", "guarded"]);
                self.ok(&["approve", "guarded", "--plan", plan["targets"][0]["hash"].as_str().unwrap()]);
                self.shown.retain(|pair| !held.contains(pair));
                self.log.push("approve plan".to_owned());
            }
            2 => {
                self.ok(&["approve", "guarded", "--subject", &name]);
                let access = self.access();
                self.shown.retain(|pair| pair.1 != name || access.contains(pair));
                self.rejected.retain(|pair| pair.1 != name);
                self.log.push(format!("approve {name}"));
            }
            _ => {
                self.ok(&["reject", "guarded"]);
                self.rejected.extend(held);
                self.log.push("reject".to_owned());
            }
        }
    }

    fn crash(&mut self) {
        self.daemon.kill();
        self.daemon.run();
        self.scim = self.daemon.scim(&self.directory);
        self.log.push("kill -9".to_owned());
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 => {
                for _ in 0..=self.random.below(3) {
                    self.create();
                }
            }
            5..=6 => {
                if let Some(name) = self.user(|_, _, _| true) {
                    self.join(&name);
                }
            }
            7..=8 => self.leave(),
            9..=10 => self.switch(),
            11 => self.delete(),
            12 => self.rename(),
            13 => self.shut_or_open(),
            14 => self.grant(),
            15 => self.revoke(),
            16 => self.roles(),
            _ => self.decide(),
        }
        if self.random.below(8) == 0 {
            self.crash();
        }
    }

    /// Waits until nothing is under way.
    fn settle(&self) {
        wait_until("both targets are at the newest change", || {
            let status = self.daemon.cli_json(&["status"]);
            let targets = status["targets"].as_array().unwrap();
            targets.iter().all(|one| {
                one["applied_seq"] == status["seq"] && (one["state"] == "in_sync" || one["state"] == "held")
            })
        });
    }

    fn check(&mut self) {
        self.settle();
        let story = || self.log.join("\n");
        let read = |name: &str| serde_json::from_str(&self.daemon.read(&format!("out/{name}.json")));
        let guarded = pairs(&read("guarded").unwrap_or(Value::Null));
        let free = pairs(&read("free").unwrap_or(Value::Null));
        let access = self.access();
        for (_, name) in guarded.iter().chain(&free) {
            assert!(!self.users.get(name).is_some_and(|user| user.is_shut), "{name} is shut\n{}", story());
        }
        let missing: Vec<_> = access.difference(&guarded).collect();
        assert!(missing.is_empty(), "additions waited on a hold: {missing:?}\n{}", story());
        let lost: Vec<_> = self.shown.difference(&guarded).collect();
        assert!(lost.is_empty(), "held removals were applied: {lost:?}\n{}", story());
        self.shown.extend(access.iter().cloned());
        self.rejected.retain(|pair| !access.contains(pair));
        let late: Vec<_> = guarded.difference(&self.shown).collect();
        assert!(late.is_empty(), "approved removals were missed: {late:?}\n{}", story());
        assert_eq!(free, access, "the target without a guard equals access\n{}", story());
    }

    /// What the product itself says of it.
    fn audit(&self) {
        let exported = self.daemon.cli(&["export", "json"]);
        let exported = pairs(&serde_json::from_slice(&exported.stdout).unwrap());
        assert_eq!(exported, self.access(), "{}", self.log.join("\n"));
        let plan = self.daemon.cli_json(&["plan", "guarded"]);
        let mut sum = exported;
        for line in
            ["held_removals", "kept"].iter().flat_map(|key| plan["targets"][0][*key].as_array().unwrap())
        {
            if line["entitlement"].as_str().unwrap().starts_with("role:") {
                let text = |key: &str| line[key].as_str().unwrap();
                sum.insert((text("entitlement")["role:".len()..].to_owned(), text("subject").to_owned()));
            }
        }
        assert_eq!(sum, self.shown, "desired = access + exceptions\n{}", self.log.join("\n"));
        self.ok(&["verify"]);
    }
}

#[test]
fn whatever_happens_the_files_are_what_the_model_says() {
    let steps = std::env::var("ROSTERD_MODEL_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(STEPS);
    let mut model = Model::new();
    for _ in 0..3 {
        model.create();
    }
    model.check();
    for step in 1..=steps {
        model.step();
        model.check();
        if step % 15 == 0 {
            model.crash();
            model.check();
            model.audit();
        }
    }
    model.audit();
    println!("{steps} steps, {} users, {} pairs shown", model.made, model.shown.len());
}
