//! docs/incident.md, carried out: each of its commands is run, what it prints is compared with the page, and the file
//! is looked at in between.

use std::collections::BTreeSet;

use serde_json::json;

use crate::company::{Company, user_name};
use crate::support::wait_until;

const PEOPLE: usize = 1_000;

/// Ten per cent of the people, and the urgent budget of one hold.
const LOST_MAX: usize = PEOPLE / 10 + 5;

impl Company {
    /// What the page says the identity provider does.
    fn act(&mut self, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        match words.as_slice() {
            [verb @ ("deactivate" | "reactivate"), count] => {
                let count: usize = count.parse().unwrap();
                for id in &self.users[..count] {
                    self.scim.set_active(id, *verb == "reactivate");
                }
            }
            ["hire", name] => {
                let id = self.scim.create_user(name);
                self.scim.add_member(&self.group.clone(), &id);
                wait_until("the new one is in", || self.holders().contains(*name));
            }
            other => panic!("docs/incident.md asks for {other:?}"),
        }
        self.settle();
    }

    /// Among the newest changes.
    fn is_in_history(&self, kind: &str) -> bool {
        let newest = self.daemon.cli_json(&["status"])["seq"].as_u64().unwrap();
        let after = newest.saturating_sub(950).to_string();
        let history = self.daemon.cli_json(&["history", "--after", &after, "--limit", "1000"]);
        history["changes"].as_array().unwrap().iter().any(|one| one["kind"] == kind)
    }

    fn plan_hash(&self) -> String {
        self.daemon.cli_json(&["plan", "opa"])["targets"][0]["hash"].as_str().unwrap().to_owned()
    }

    /// Runs one `$ rosterd …` line of the page.
    fn command(&self, line: &str) -> String {
        let line = line.replace("HASH", &self.plan_hash());
        let args: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = self.daemon.cli(&args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

/// One step of the page.
#[derive(Debug)]
enum Step {
    Act(String),
    Command { line: String, expected: Vec<String> },
    Log(String),
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut fence: Option<&str> = None;
    for line in page.lines() {
        match (fence, line) {
            (None, line) if line.starts_with("```") => fence = Some(line.trim_start_matches('`')),
            (Some(_), "```") => fence = None,
            (None, line) => {
                if let Some(words) = line.strip_prefix("<!-- idp: ") {
                    steps.push(Step::Act(words.trim_end_matches("-->").trim().to_owned()));
                }
            }
            (Some("log"), line) => steps.push(Step::Log(line.to_owned())),
            (Some("console"), line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step::Command { line: command.to_owned(), expected: Vec::new() });
                }
                (None, Some(Step::Command { expected, .. })) => expected.push(line.to_owned()),
                (None, other) => panic!("output without a command: {line}, {other:?}"),
            },
            (Some(_), _) => {}
        }
    }
    steps
}

/// `…` stands for anything within a line, a line of it alone for any lines. Runs of blanks count as one.
fn is_like(pattern: &[String], text: &[String]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first.trim() == "…" => {
            is_like(rest, text) || (!text.is_empty() && is_like(pattern, &text[1..]))
        }
        (Some((first, rest)), Some((line, lines))) => is_line(first, line) && is_like(rest, lines),
        _ => false,
    }
}

fn is_line(pattern: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeeze(pattern), squeeze(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn the_incident_page_is_true_to_the_letter() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/incident.md")).unwrap();
    let mut company = Company::new("opa", PEOPLE);
    let (mut accidents, mut commands) = (0, 0);
    for step in steps(&page) {
        match step {
            Step::Act(words) => {
                company.act(&words);
                if words.starts_with("deactivate") {
                    accidents += 1;
                    let lost = PEOPLE + 1 - company.holders().len();
                    assert!(lost <= LOST_MAX + 2, "{lost} lost access before anybody was asked");
                }
            }
            Step::Command { line, expected } => {
                commands += 1;
                let printed: Vec<String> = company.command(&line).lines().map(str::to_owned).collect();
                assert!(is_like(&expected, &printed), "`{line}` printed\n{}", printed.join("\n"));
                company.settle();
                if line.contains("shut") {
                    assert!(!company.holders().contains(&user_name(900)), "shut, and still in");
                }
                if line.contains("reject") {
                    let holders = company.holders();
                    // The urgent budget of the hold, the fired one; the hired one came.
                    assert!(holders.len() >= PEOPLE - 5, "only {} are in after the reject", holders.len());
                    assert!(
                        !holders.contains(&user_name(900)),
                        "a rejected accident must not bring back the fired"
                    );
                    assert!(company.is_in_history("guard.held") && company.is_in_history("guard.rejected"));
                }
            }
            Step::Log(pattern) => {
                let log = company.daemon.log();
                let line: Vec<&str> = log.lines().filter(|line| line.contains("are held until")).collect();
                assert_eq!(line.len(), 1, "told more than once: {line:?}");
                assert!(is_line(&format!("…{pattern}…"), line[0]), "{}", line[0]);
            }
        }
    }
    assert_eq!((accidents, commands), (2, 8), "the page lost a step");
    let approved = json!(company.daemon.cli_json(&["status"])["targets"][0]["held_removals"]);
    assert_eq!(approved, 0);
    let expected: BTreeSet<String> =
        (600..PEOPLE).filter(|n| *n != 900).map(user_name).chain(["new@example.com".to_owned()]).collect();
    assert_eq!(company.holders(), expected);
    assert!(company.is_in_history("guard.approved"));
}
