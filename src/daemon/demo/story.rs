//! What the demo shows, in order: each request, what the file said before and after, each webhook.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::console::{self, Console};
use super::diff::{self, Line};
use super::okta::{Okta, Sent};
use super::place::Place;
use super::receiver::{Arrival, Receiver};
use super::supervised::Supervised;
use super::{DemoError, Say};
use crate::daemon::client::{self, Peer};

/// Longest wait for a file or a webhook to follow a change; mostly it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the policy file is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Most lines of a difference that are shown.
const DIFF_LINES_SHOWN: usize = 14;

const DANA: &str = "dana@example.com";
const ERIN: &str = "erin@example.com";

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// What the identity provider's settings page would hold.
#[derive(Debug)]
pub(super) struct Desk {
    base_url: String,
    token: String,
}

/// The stage: what every scene needs.
struct Stage<'a> {
    place: &'a Place,
    receiver: &'a Receiver,
    say: Say<'a>,
}

/// Tells the whole story; fails at the first thing that does not arrive.
pub(super) async fn tell(
    place: &Place,
    daemon: &Supervised,
    receiver: &Receiver,
    console: &Console,
    say: Say<'_>,
) -> Result<Desk, DemoError> {
    let stage = Stage { place, receiver, say };
    stage.title("A daemon");
    say(&format!(
        "  rosterd serve --config {}   pid {}, ready in {}",
        place.config().display(),
        daemon.pid(),
        span(daemon.took())
    ));
    let desk = stage.directory().await?;
    let okta = Okta::new(&desk.base_url, &desk.token)?;

    stage.title("Okta tests the connection and assigns three people");
    stage.sent(&okta.test_connection().await?);
    let dana = stage.assign(&okta, "Dana", "Sample").await?;
    let erin = stage.assign(&okta, "Erin", "Vale").await?;
    let _frank = stage.assign(&okta, "Frank", "Moss").await?;
    let everybody = [DANA, ERIN, "frank@example.com"];
    stage.model("everybody in the policy file", |model| users(model) == everybody).await?;
    say(&format!("  {} lists all three", place.model().display()));

    stage.title("Okta pushes the group “Database Admins”; the config gives its members the role db-admin");
    let before = stage.policy();
    let group = okta.push_group("Database Admins").await?;
    stage.sent(&group);
    let group = group.id()?;
    stage.sent(&okta.add_members(&group, &[(&dana, DANA), (&erin, ERIN)]).await?);
    stage.admins(&[DANA, ERIN]).await?;
    stage.difference(&before);
    stage.webhooks("access.granted", &[(DANA, &dana), (ERIN, &erin)]).await?;

    stage.title("Erin leaves the group");
    let before = stage.policy();
    let sent = okta.remove_member(&group, &erin).await?;
    stage.sent(&sent);
    stage.admins(&[DANA]).await?;
    stage.revoked(sent.at);
    stage.difference(&before);
    stage.webhooks("access.revoked", &[(ERIN, &erin)]).await?;

    stage.title("Dana leaves the company: Okta deactivates the account");
    let before = stage.policy();
    let sent = okta.deactivate(&dana).await?;
    stage.sent(&sent);
    stage.admins(&[]).await?;
    stage.revoked(sent.at);
    stage.difference(&before);
    stage.model("the deactivation in the policy file", |model| !users(model).contains(&DANA)).await?;
    stage.webhooks("access.revoked", &[(DANA, &dana)]).await?;

    stage.title("An operator signs in to the console");
    console.look(&["Demo Okta", "haproxy", "access", "app"]).await?;
    say(&format!("  {}   the first page shows the directory and all three targets", console.url()));

    stage.verdict()?;
    Ok(desk)
}

/// Says how to look around in the daemon that goes on serving.
pub(super) fn invite(place: &Place, desk: &Desk, console: &Console, say: Say<'_>) {
    let config = place.config();
    let config = config.display();
    say(&format!("\n{BOLD}It goes on serving until Ctrl-C.{RESET} Push to it yourself:"));
    say(&format!("  base URL  {}", desk.base_url));
    say(&format!("  token     {}", desk.token));
    say(&format!("open the console:\n  {BOLD}{}{RESET}", console.url()));
    say(&format!("  name      {}", console::USER));
    say(&format!("  password  {}", console.password()));
    say("or look around:");
    say(&format!("  rosterd status --config {config}"));
    say(&format!("  rosterd explain frank@example.com --config {config}"));
    say(&format!("  rosterd history --config {config}"));
    say(&format!("  cat {}", place.policy().display()));
    let after = if place.is_temporary() { "is removed at the end" } else { "stays" };
    say(&format!("{DIM}Everything is below {}, which {after}.{RESET}", place.dir().display()));
}

impl Stage<'_> {
    fn title(&self, text: &str) {
        (self.say)(&format!("\n{BOLD}{text}{RESET}"));
    }

    /// Makes the directory over the admin socket, as `rosterd directory add` does.
    async fn directory(&self) -> Result<Desk, DemoError> {
        let body = json!({"id": "demo-okta", "name": "Demo Okta", "kind": "okta"});
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/directories")
            .header("host", "rosterd")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|cause| DemoError::Setup(cause.to_string()))?;
        let answer = client::ask(&Peer::Unix(self.place.admin_socket()), request, PATIENCE)
            .await
            .map_err(|cause| DemoError::Setup(format!("the admin socket: {cause}")))?;
        let line = String::from("POST /api/v1/directories");
        let made: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |key: &str| made.get(key).and_then(Value::as_str).map(str::to_owned);
        match (answer.status, text("base_url"), text("token")) {
            (200..300, Some(base_url), Some(token)) => {
                (self.say)("  rosterd directory add \"Demo Okta\" --kind okta");
                (self.say)(&format!("    base URL  {base_url}"));
                (self.say)("    token     rosterd_… (shown once)");
                Ok(Desk { base_url, token })
            }
            (status, ..) => Err(DemoError::Answer { line, status }),
        }
    }

    async fn assign(&self, okta: &Okta, given: &str, family: &str) -> Result<String, DemoError> {
        let sent = okta.assign(given, family).await?;
        (self.say)(&format!("  → {}  {}@example.com   {}", sent.line, given.to_lowercase(), sent.status));
        sent.id()
    }

    fn sent(&self, sent: &Sent) {
        (self.say)(&format!("  → {}   {}", sent.line, sent.status));
    }

    /// The policy file's text; empty while there is none.
    fn policy(&self) -> String {
        std::fs::read_to_string(self.place.policy()).unwrap_or_default()
    }

    /// Waits until exactly these people are administrators in the policy file.
    async fn admins(&self, people: &[&str]) -> Result<(), DemoError> {
        let follows = || admins(&self.policy()).is_some_and(|found| found == people);
        self.wait("the change in the policy file", follows).await
    }

    /// Waits until the whole model is as it should be.
    async fn model(&self, what: &'static str, enough: impl Fn(&Value) -> bool) -> Result<(), DemoError> {
        let read = || std::fs::read_to_string(self.place.model()).unwrap_or_default();
        self.wait(what, || serde_json::from_str(&read()).is_ok_and(|model| enough(&model))).await
    }

    async fn wait(&self, what: &'static str, enough: impl Fn() -> bool) -> Result<(), DemoError> {
        let deadline = Instant::now() + PATIENCE;
        while !enough() {
            if Instant::now() > deadline {
                return Err(DemoError::Missing(what, PATIENCE));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn revoked(&self, since: Instant) {
        (self.say)(&format!("  {GREEN}revoked → file in {}{RESET}", span(since.elapsed())));
    }

    fn difference(&self, before: &str) {
        let after = self.policy();
        (self.say)(&format!("  {DIM}{}{RESET}", self.place.policy().display()));
        let lines = diff::lines(before, &after, 1);
        for line in lines.iter().take(DIFF_LINES_SHOWN) {
            (self.say)(&match line {
                Line::Gone(text) => format!("    {RED}- {text}{RESET}"),
                Line::New(text) => format!("    {GREEN}+ {text}{RESET}"),
                Line::Kept(text) => format!("    {DIM}  {text}{RESET}"),
            });
        }
        let more = lines.len().saturating_sub(DIFF_LINES_SHOWN);
        if more > 0 {
            (self.say)(&format!("    {DIM}… and {more} more lines{RESET}"));
        }
    }

    /// Waits for one verified event of `kind` about the role for each of `people` (name and id), and shows them.
    async fn webhooks(&self, kind: &'static str, people: &[(&str, &str)]) -> Result<(), DemoError> {
        let about = |arrival: &Arrival, (name, id): (&str, &str)| {
            let body = arrival.body.to_string();
            let named = body.contains(name) || body.contains(id);
            arrival.verified && arrival.kind == kind && named && body.contains("role:db-admin")
        };
        let enough =
            |all: &[Arrival]| people.iter().all(|person| all.iter().any(|arrival| about(arrival, *person)));
        if !self.receiver.wait(PATIENCE, enough).await {
            return Err(DemoError::Missing(kind, PATIENCE));
        }
        let arrived = self.receiver.arrived();
        for person in people {
            for arrival in arrived.iter().filter(|arrival| about(arrival, *person)) {
                (self.say)(&format!(
                    "  ← webhook {}  {} role:db-admin {}   {GREEN}signature verified{RESET}",
                    arrival.id, arrival.kind, person.0
                ));
            }
        }
        Ok(())
    }

    /// The last word: everything that arrived was genuine.
    fn verdict(&self) -> Result<(), DemoError> {
        let arrived = self.receiver.arrived();
        if arrived.iter().any(|arrival| !arrival.verified) {
            return Err(DemoError::Setup(String::from("a webhook's signature did not verify")));
        }
        (self.say)(&format!(
            "\n{GREEN}Everything arrived:{RESET} the file follows every change, and {} webhooks verified.",
            arrived.len()
        ));
        Ok(())
    }
}

fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// The names of the model's users, in its order.
fn users(model: &Value) -> Vec<&str> {
    let users = model.get("users").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    users.iter().filter_map(|user| user.get("name").and_then(Value::as_str)).collect()
}

/// Who is let in by the policy file, read as HAProxy reads it; `None` for a file that is not whole.
fn admins(policy: &str) -> Option<Vec<&str>> {
    let whole = policy.ends_with("# End of list\n");
    whole.then(|| policy.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_their_readers_read_them() {
        assert_eq!(users(&json!({"users": [{"name": "a"}, {"name": "b"}]})), ["a", "b"]);
        assert_eq!(admins("# Who\na@b\n# End of list\n"), Some(vec!["a@b"]));
        assert_eq!(admins("# Who\n# End of list\n"), Some(vec![]));
        assert_eq!(admins(""), None);
    }
}
