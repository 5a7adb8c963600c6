//! Looking back through the real binary: history, access of then, diffs, reviews, explain, retention and forgetting.

use serde_json::Value;

use crate::support::daemon::{Daemon, Scim};
use crate::support::wait_until;

const CONFIG: &str = r#"
[[role]]
name = "db-admin"
groups = ["Admins"]
[[role]]
name = "contractor"
users = 'userType eq "Contractor"'
[[target]]
name = "file"
type = "file"
format = "json"
path = "{dir}/out/access.json"
wait = { revoke = "10ms", min = "20ms", max = "300ms" }
"#;

struct Company {
    daemon: Daemon,
    scim: Scim,
    directory: String,
    dana: String,
    noor: String,
    admins: String,
}

impl Company {
    fn new(extra: &str) -> Self {
        let mut daemon = Daemon::prepare(&format!("{extra}{CONFIG}"));
        std::fs::create_dir_all(daemon.path("out")).unwrap();
        daemon.run();
        let directory = daemon.add_directory("Acme", "okta");
        let mut scim = daemon.scim(&directory);
        let dana = scim.create_user("dana@example.com");
        let noor = scim.create_user("noor@example.com");
        let admins = scim.create_group("Admins", &[&dana]);
        let company = Self { daemon, scim, directory: directory.id, dana, noor, admins };
        company.settle();
        company
    }

    fn settle(&self) {
        wait_until("the target is at the newest change", || {
            let status = self.daemon.cli_json(&["status"]);
            status["targets"][0]["applied_seq"] == status["seq"]
        });
    }

    fn seq(&self) -> u64 {
        self.daemon.cli_json(&["status"])["seq"].as_u64().unwrap()
    }

    fn holders(&self, args: &[&str]) -> Vec<String> {
        let mut all = vec!["access", "--role", "db-admin"];
        all.extend(args);
        let answer = self.daemon.cli_json(&all);
        let holders = answer["roles"][0]["holders"].as_array().unwrap();
        holders.iter().map(|holder| holder["user_name"].as_str().unwrap().to_owned()).collect()
    }

    fn text(&self, args: &[&str]) -> String {
        let out = self.daemon.cli(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

#[test]
fn who_held_what_then_is_answered_from_the_log() {
    let mut company = Company::new("");
    let before = company.seq();
    company.scim.add_member(&company.admins.clone(), &company.noor.clone());
    let between = company.seq();
    company.scim.remove_member(&company.admins.clone(), &company.dana.clone());
    company.settle();
    let at = |seq: u64| format!("seq:{seq}");
    assert_eq!(company.holders(&["--at", &at(before)]), ["dana@example.com"]);
    assert_eq!(company.holders(&["--at", &at(between)]), ["dana@example.com", "noor@example.com"]);
    assert_eq!(company.holders(&[]), ["noor@example.com"]);

    // The moment that `history` prints means the state with that change.
    let history = company.daemon.cli_json(&["history", "--subject", "noor@example.com"]);
    let joined = history["changes"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&joined["seq"], &joined["kind"]), (&Value::from(between), &Value::from("group.updated")));
    assert_eq!(joined["members"][0]["member_name"], "noor@example.com");
    assert!(
        joined["actor"].as_str().unwrap().starts_with("token:tok_") && joined["request"].is_string(),
        "{joined}"
    );
    assert!(
        company.holders(&["--at", joined["at"].as_str().unwrap()]).contains(&"noor@example.com".to_owned())
    );
    assert_eq!(company.holders(&["--at", "0s ago"]), ["noor@example.com"]);

    let diff = company.daemon.cli_json(&["diff", "--from", &at(before), "--to", "now"]);
    let only = |list: &Value| -> Vec<(String, u64)> {
        let lines = list.as_array().unwrap().iter().filter(|line| line["entitlement"] == "role:db-admin");
        lines
            .map(|line| {
                (line["subject"].as_str().unwrap().to_owned(), line["change"]["seq"].as_u64().unwrap())
            })
            .collect()
    };
    assert_eq!(only(&diff["add"]), [("noor@example.com".to_owned(), between)]);
    assert_eq!(only(&diff["remove"]), [("dana@example.com".to_owned(), between + 1)]);

    let then = company.text(&["export", "csv", "--at", &at(before)]);
    assert!(
        then.contains("dana@example.com,role,db-admin") && !then.contains("noor@example.com,role,db-admin"),
        "{then}"
    );
    let wrong = company.daemon.cli(&["access", "--at", "tomorrow"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`tomorrow` is no time"));
}

#[test]
fn a_review_has_since_when_and_by_what_in_three_forms() {
    let mut company = Company::new("");
    company.scim.add_member(&company.admins.clone(), &company.noor.clone());
    let seq = company.seq();
    let csv = company.text(&["access", "--review", "csv"]);
    let noor = csv.lines().find(|line| line.starts_with("db-admin,noor@example.com")).unwrap();
    assert!(noor.contains(&format!(",{seq},group.updated,token:tok_")), "{noor}");
    let html = company.text(&["access", "--review", "html", "--role", "db-admin"]);
    assert!(html.starts_with("<!doctype html>") && html.contains("noor@example.com"), "{html}");
    assert!(!html.contains("<script") && !html.contains("contractor"), "{html}");
    let json: Value = serde_json::from_str(&company.text(&["access", "--review", "json"])).unwrap();
    assert_eq!(json["roles"][0]["holders"][1]["since"]["seq"], seq);
}

#[test]
fn explain_tells_the_chain_down_to_the_line_and_why_not() {
    let mut company = Company::new("");
    let explained = |company: &Company, who: &str, role: &str| -> Value {
        let out = company.daemon.cli(&["explain", who, "--role", role, "--json"]);
        let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(out.status.code() == Some(0), answer["roles"][0]["holds"] == true);
        answer["roles"][0].clone()
    };
    let role = explained(&company, "dana@example.com", "db-admin");
    assert_eq!(role["reasons"][0]["path"][0]["name"], "Admins");
    assert_eq!(role["since"]["kind"], "group.created");
    assert!(role["since"]["request"].is_string(), "{role}");
    let target = &role["targets"][0];
    assert_eq!((&target["target"], &target["carries"]), (&Value::from("file"), &Value::from(true)));
    let file = company.daemon.read("out/access.json");
    let line = usize::try_from(target["line"].as_u64().unwrap()).unwrap();
    let there = file.lines().nth(line - 1).unwrap().trim();
    assert_eq!(target["text"], there);
    assert!(there.contains("dana@example.com") || there.contains("db-admin"), "{there}");

    let role = explained(&company, "noor@example.com", "contractor");
    let why = role["why"][0].as_str().unwrap();
    assert!(why.ends_with("userType is absent"), "{why}");

    let admins = company.admins.clone();
    company.scim.remove_member(&admins, &company.dana.clone());
    company.settle();
    let role = explained(&company, "dana@example.com", "db-admin");
    assert_eq!(role["lost"]["seq"], company.seq());
    assert_eq!(role["targets"][0]["carries"], false);
    company.scim.set_active(&company.noor.clone(), false);
    let text = String::from_utf8(company.daemon.cli(&["explain", "noor@example.com"]).stdout).unwrap();
    assert!(text.contains("the user is not active") && text.contains("user.deactivated"), "{text}");
}

#[test]
fn the_log_is_pruned_by_age_and_still_verifies() {
    let mut company = Company::new("history = \"1s\"\n");
    company.daemon.stop();
    // A second start finds everything older than a second and prunes it at once.
    let stopped = std::time::Instant::now();
    wait_until("all is older than that", || stopped.elapsed() > std::time::Duration::from_millis(1_100));
    company.daemon.run();
    wait_until("the log was pruned", || {
        company.daemon.cli_json(&["verify"])["begins_after"].as_u64().unwrap_or(0) > 0
    });
    let verified = company.daemon.cli_json(&["verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let early = company.daemon.cli(&["access", "--at", "seq:1"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&early.stderr).contains("lies before what is kept"));
    // Who came in by a change that is gone is still known.
    let review = company.daemon.cli_json(&["access", "--role", "db-admin"]);
    assert!(
        review["roles"][0]["holders"][0]["since"]["actor"].as_str().unwrap().starts_with("token:tok_"),
        "{review}"
    );
}

#[test]
fn who_is_gone_can_be_forgotten_and_nobody_else() {
    let mut company = Company::new("");
    let dana = company.dana.clone();
    let refused = company.daemon.cli(&["user", "forget", "dana@example.com", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("delete the user at the identity provider first")
    );
    let before = company.seq();
    let gone = company.scim.send("DELETE", &format!("/Users/{dana}"), None);
    assert_eq!(gone.status, 204);
    company.settle();
    let history = company.text(&["history", "--subject", "dana@example.com"]);
    assert!(history.contains("user.deleted") && history.contains("dana@example.com"), "{history}");
    let done = company.daemon.cli_json(&["user", "forget", "dana@example.com", "--yes"]);
    assert_eq!(done["id"], dana.as_str());
    let history = company.text(&["history", "--subject", &dana, "--json"]);
    assert!(!history.contains("dana@example.com"), "{history}");
    let verified = company.daemon.cli_json(&["verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let then = company.holders(&["--at", &format!("seq:{before}")]);
    assert_eq!(then, [format!("forgotten-{dana}")], "in {}", company.directory);
}
