//! `rosterd directory`: the identity-provider integrations.

use std::path::Path;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin::{Admin, Need, segment};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Cell, Json, Table, clean, style};
use crate::config::parse_duration;
use crate::model::{Clock as _, DirectoryId, DirectoryKind, SystemClock};

/// Arguments of `rosterd directory`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd directory add \"Acme Okta\" --kind okta")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a directory and its first token; prints base URL and token once
    #[command(after_help = "Example:\n  rosterd directory add \"Acme Okta\" --kind okta\n\n\
        The base URL and the token go into the identity provider's provisioning settings.")]
    Add {
        /// The name people see
        #[arg(value_name = "NAME")]
        name: String,
        /// Which identity provider: okta entra google onelogin jumpcloud ping cyberark rippling keycloak authentik generic
        #[arg(long, value_parser = parse_kind)]
        kind: DirectoryKind,
        /// The id used in config and commands; made from NAME when not given
        #[arg(long, value_parser = parse_id)]
        id: Option<DirectoryId>,
        #[command(flatten)]
        output: Json,
    },
    /// All directories: what each holds, and whether its requests are answered
    #[command(after_help = "Example: which do not work as they should?\n  rosterd directory list --json | \
        jq -r '.directories[] | select(.health.state != \"ok\") | .id + \": \" + .health.what'\n\n\
        States: enabled; failing: the newest request failed and none has succeeded since; errors: some of the last hour \
        failed; silent: quiet for longer than `expect_every`; re-baseline; disabled.")]
    List {
        #[command(flatten)]
        output: Json,
    },
    /// One directory: base URL, what of its requests fails and what to do, who is not confirmed
    #[command(after_help = "Example: why does nobody arrive?\n  rosterd directory show acme-okta")]
    Show {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        #[command(flatten)]
        output: Json,
    },
    /// Change the name people see; id and tokens stay
    #[command(after_help = "Example:\n  rosterd directory rename acme-okta \"Acme Okta (EU)\"")]
    Rename {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        /// The new name
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        output: Json,
    },
    /// Refuse its requests with 503; what it granted stays
    #[command(after_help = "Example:\n  rosterd directory disable acme-okta\n\n\
        Access is frozen as it is: nobody who leaves meanwhile loses anything. `rosterd shut` takes single people out.")]
    Disable {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        #[command(flatten)]
        output: Json,
    },
    /// Take its requests again, and have everybody named anew (see `rebaseline`)
    #[command(after_help = "Example:\n  rosterd directory enable acme-okta --within 24h")]
    Enable {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        /// How long the identity provider has to name everybody again
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_duration)]
        within: Duration,
        #[command(flatten)]
        output: Json,
    },
    /// Have everybody named anew: who is not within the time is held for approval
    #[command(after_help = "Example: run a full push in the identity provider, then look at who is left\n  \
        rosterd directory rebaseline acme-okta --within 24h\n  rosterd directory show acme-okta\n\n\
        Named is who is written, read by id, or found by a look-up. Nobody loses anything before \
        `rosterd approve`.")]
    Rebaseline {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        /// How long the identity provider has to name everybody again
        #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
        within: Duration,
        #[command(flatten)]
        output: Json,
    },
    /// Forget it with its users, groups and tokens; there is no undo
    #[command(after_help = "Example:\n  rosterd directory remove acme-okta --yes")]
    Remove {
        /// The directory's id
        #[arg(value_parser = parse_id)]
        id: DirectoryId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Json,
    },
}

pub(super) fn parse_id(text: &str) -> Result<DirectoryId, String> {
    DirectoryId::parse(text).map_err(|rule| rule.to_string())
}

fn parse_kind(text: &str) -> Result<DirectoryKind, String> {
    text.to_ascii_lowercase().parse().map_err(|rule: crate::model::IdError| rule.to_string())
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    match &args.verb {
        Verb::Add { name, kind, id, output } => add(&admin, name, *kind, id.as_ref(), *output),
        Verb::List { output } => list(&admin, *output),
        Verb::Show { id, output } => show(&admin, id, *output),
        Verb::Rename { id, name, output } => {
            let before = admin.get(&path(id))?;
            let answer = admin.call("PATCH", &path(id), Some(&json!({ "name": name })))?;
            let was = output::clean(output::text(&before, "name"));
            let done = format!("Renamed directory {id} to “{}”.", output::clean(name));
            Ok(told(*output, &answer, &done, Some(&format!("rosterd directory rename {id} \"{was}\""))))
        }
        Verb::Disable { id, output } => {
            let answer = admin.call("PATCH", &path(id), Some(&json!({ "enabled": false })))?;
            let done = format!(
                "Disabled directory {id}: its requests are refused with 503, and access stays as it is."
            );
            Ok(told(*output, &answer, &done, Some(&format!("rosterd directory enable {id}"))))
        }
        Verb::Rebaseline { id, within, output } => {
            let order = json!({ "directory": id, "seconds": within.as_secs() });
            let answer = admin.call("POST", "/api/v1/rebaselines", Some(&order))?;
            let ends = output::text(&answer, "ends");
            let done = format!(
                "Directory {id} has until {ends} to name everybody again; who is not named is held for approval.\n\
                 Progress: rosterd directory show {id}"
            );
            Ok(told(*output, &answer, &done, None))
        }
        Verb::Enable { id, within, output } => {
            let order = json!({ "enabled": true, "within_seconds": within.as_secs() });
            let answer = admin.call("PATCH", &path(id), Some(&order))?;
            let done = format!(
                "Enabled directory {id}: its requests are taken again. Who is not named within {} h is held for approval.",
                within.as_secs() / 3_600
            );
            Ok(told(*output, &answer, &done, Some(&format!("rosterd directory disable {id}"))))
        }
        Verb::Remove { id, yes, output } => remove(&admin, id, *yes, *output),
    }
}

fn path(id: &DirectoryId) -> String {
    format!("/api/v1/directories/{}", segment(id.as_str()))
}

/// Prints a mutation's outcome: the answer as JSON, or what was done and how to undo it.
pub(super) fn told(output: Json, answer: &Value, done: &str, undo: Option<&str>) -> Exit {
    if output.json {
        output::json(answer);
    } else {
        output::line(done);
        if let Some(undo) = undo {
            output::line(&format!("{}Undo: {undo}{}", style::DIM, style::RESET));
        }
    }
    Exit::Done
}

fn add(
    admin: &Admin,
    name: &str,
    kind: DirectoryKind,
    id: Option<&DirectoryId>,
    output: Json,
) -> Result<Exit, Error> {
    let id = match id {
        Some(id) => id.clone(),
        None => slug(name).ok_or_else(|| {
            Error::new(Kind::Usage, format!("no id can be made from the name `{}`", output::clean(name)))
                .hint("name it yourself: --id acme")
        })?,
    };
    let body = json!({ "id": id, "name": name, "kind": kind });
    let answer = admin.call("POST", "/api/v1/directories", Some(&body))?;
    if output.json {
        // Exactly the promised members, whatever else the answer carries.
        let promised: serde_json::Map<String, Value> = ["id", "name", "kind", "base_url", "token"]
            .into_iter()
            .map(|key| (key.to_owned(), answer.get(key).cloned().unwrap_or(Value::Null)))
            .collect();
        output::json(&Value::Object(promised));
        return Ok(Exit::Done);
    }
    output::line(&format!("Added directory {id} (“{}”, {kind}).", output::clean(name)));
    output::line("");
    output::line(&format!("  Base URL  {}", output::text(&answer, "base_url")));
    output::line(&format!("  Token     {}", output::text(&answer, "token")));
    output::line("");
    output::line("The token is shown this once. Both go into the identity provider's provisioning settings.");
    output::line(&format!("{}Undo: rosterd directory remove {id}{}", style::DIM, style::RESET));
    Ok(Exit::Done)
}

fn list(admin: &Admin, output: Json) -> Result<Exit, Error> {
    let answer = admin.get("/api/v1/directories")?;
    if output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    table(output::list(&answer, "directories")).print();
    Ok(Exit::Done)
}

/// The table of directories, as `directory list` and `status` show it.
pub(super) fn table(directories: &[Value]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(
        &["directory", "kind", "state", "users", "groups", "last push", "name"],
        "No directory yet. Try: rosterd directory add \"Acme Okta\" --kind okta",
    );
    for directory in directories {
        let enabled = directory.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        let is = |key: &str| directory.get(key).is_some_and(|value| value == &Value::Bool(true));
        let state = if !enabled {
            Cell::styled("disabled", style::RED)
        } else if health(directory) == "failing" {
            Cell::styled("failing", style::RED)
        } else if is("silent") {
            Cell::styled("silent", style::RED)
        } else if health(directory) == "errors" {
            Cell::styled("errors", style::YELLOW)
        } else if directory.get("rebaseline").is_some_and(Value::is_object) {
            Cell::styled("re-baseline", style::YELLOW)
        } else {
            Cell::styled("enabled", style::GREEN)
        };
        let last = match output::text(directory, "last_push") {
            "" => Cell::styled("never", style::DIM),
            moment => Cell::from(output::ago(moment, now)),
        };
        table.row([
            Cell::styled(output::text(directory, "id"), style::BOLD),
            Cell::from(output::text(directory, "kind")),
            state,
            Cell::from(output::thousands(output::number(directory, "users"))),
            Cell::from(output::thousands(output::number(directory, "groups"))),
            last,
            Cell::from(output::text(directory, "name")),
        ]);
    }
    table
}

/// How its requests do: `ok`, `errors`, `failing`.
fn health(directory: &Value) -> &str {
    directory.get("health").map_or("", |health| output::text(health, "state"))
}

/// What of its requests fails, and what to do; nothing if they are answered or it is disabled.
pub(super) fn trouble(directory: &Value) -> Option<(String, String)> {
    let health =
        directory.get("health").filter(|health| health.get("newest").is_some_and(Value::is_object))?;
    if directory.get("enabled") == Some(&Value::Bool(false)) {
        return None;
    }
    let now = SystemClock.now();
    let kind = output::text(health, "kind");
    let count = health.get("last_hour").map_or(0, |counts| output::number(counts, kind));
    let what = clean(output::text(health, "what"));
    let since = output::ago(output::text(health, "since"), now);
    let count = output::thousands(count);
    Some((format!("{what}; since {since}, {count} in the last hour"), clean(output::text(health, "hint"))))
}

fn show(admin: &Admin, id: &DirectoryId, output: Json) -> Result<Exit, Error> {
    let answer = admin.get(&path(id))?;
    if output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    table(std::slice::from_ref(&answer)).print();
    for (label, key) in [("Base URL", "base_url"), ("Created", "created")] {
        let value = output::text(&answer, key);
        if !value.is_empty() {
            output::line(&format!("{label}: {}", output::clean(value)));
        }
    }
    if let Some((what, hint)) = trouble(&answer) {
        output::line(&format!("Requests fail: {what}"));
        output::line(&format!("  {hint}"));
    }
    let unknown = answer.get("unknown_tokens").map_or(0, |unknown| output::number(unknown, "last_hour"));
    if unknown > 0 && answer.pointer("/seen/first_request").is_none_or(Value::is_null) {
        output::line(&format!(
            "Nothing has come with a token of it, but {} requests of the last hour with one that nobody knows: \
             copy the token again, whole",
            output::thousands(unknown)
        ));
    }
    if let Some(window) = answer.get("rebaseline").filter(|window| window.is_object()) {
        output::line(&format!(
            "Re-baseline: until {}, {} active users not named yet",
            output::text(window, "ends"),
            output::thousands(output::number(window, "waiting"))
        ));
    }
    if output::number(&answer, "unconfirmed") > 0 {
        let count = output::thousands(output::number(&answer, "unconfirmed"));
        output::line(&format!("Not named again, held until `rosterd approve`: {count}"));
        for user in output::list(&answer, "unconfirmed_users") {
            let (name, id) = (output::text(user, "user_name"), output::text(user, "subject"));
            output::line(&format!("  {}  {}", output::clean(name), output::clean(id)));
        }
    }
    Ok(Exit::Done)
}

fn remove(admin: &Admin, id: &DirectoryId, yes: bool, output: Json) -> Result<Exit, Error> {
    if !yes {
        let found = admin.get(&path(id))?;
        let question = format!(
            "Remove directory {id} with {} users, {} groups and its tokens? There is no undo.",
            output::thousands(output::number(&found, "users")),
            output::thousands(output::number(&found, "groups"))
        );
        output::confirm(&question)?;
    }
    let answer = admin.call("DELETE", &path(id), None)?;
    let done =
        format!("Removed directory {id}. What its users held goes through the guard; see: rosterd plan");
    Ok(told(output, &answer, &done, None))
}

/// The directory id that `name` suggests: `Acme Okta (EU)` gives `acme-okta-eu`. `None` where nothing is left.
pub(super) fn slug(name: &str) -> Option<DirectoryId> {
    let mut text = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            text.push(c);
        } else if !text.ends_with('-') {
            text.push('-');
        }
    }
    let short: String = text.trim_matches('-').chars().take(63).collect();
    DirectoryId::parse(short.trim_end_matches('-')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_suggests_its_id() {
        let cases = [
            ("Acme Okta", Some("acme-okta")),
            ("  Acme Okta (EU)!", Some("acme-okta-eu")),
            ("acme", Some("acme")),
            ("Ünïque 7", Some("n-que-7")),
            ("东京", None),
            ("", None),
        ];
        for (name, id) in cases {
            assert_eq!(slug(name).as_ref().map(DirectoryId::as_str), id, "{name}");
        }
        assert_eq!(slug(&"a ".repeat(80)).map(|id| id.as_str().len()), Some(63));
    }
}
