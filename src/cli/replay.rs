//! `rosterd replay`: plays a trace and says what came out otherwise.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::admin::{Admin, Need, segment};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Json, clean, style};
use crate::daemon::replay::{self, Against, Played, ReplayError, Server, StepResult};
use crate::model::{Clock as _, DirectoryKind, SystemClock};

/// How long the token lives that `--directory` makes, if the command does not end in order.
const TOKEN_LIFE: std::time::Duration = std::time::Duration::from_hours(1);

/// Arguments of `rosterd replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: does a captured conversation go as it went?\n  \
    rosterd replay trace.json\n  \
    rosterd replay trace.json --url https://scim.example.com/scim/v2 --token-file token\n\n\
    Unless told otherwise it plays against a throwaway daemon on loopback. Against a server it makes, changes and \
    deletes users and groups there: use a directory made for it. Ends with 0 if every step went as the trace says.")]
pub struct Args {
    /// The trace, as `capture` writes it, or several in one array
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Play against the SCIM server with this base URL
    #[arg(long, value_name = "URL", requires = "token_file", conflicts_with = "directory")]
    url: Option<String>,
    /// A file with the token for --url
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// Play against this directory of the running daemon, with a token made for it
    #[arg(long, value_name = "ID")]
    directory: Option<String>,
    /// Do not ask before playing against --directory
    #[arg(long, requires = "directory")]
    yes: bool,
    /// The kind of the throwaway daemon's directory, instead of the one that the trace names
    #[arg(long, value_name = "KIND", conflicts_with_all = ["url", "directory"])]
    kind: Option<DirectoryKind>,
    /// Keep the throwaway daemon's state in this new or empty folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "directory"])]
    dir: Option<PathBuf>,
    /// What ${run} stands for in the trace; random unless given
    #[arg(long, value_name = "TEXT")]
    run: Option<String>,
    /// Show the steps that went as expected, too
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let text = read(&args.file)?;
    let traces = replay::traces(&text).map_err(|error| {
        Error::new(Kind::Refused, format!("{}: {error}", args.file.display()))
            .hint("`rosterd capture` writes such a file")
    })?;
    if let Some(id) = &args.directory {
        return in_directory(args, config, id, &traces);
    }
    let against = match &args.url {
        Some(url) => {
            let file = args.token_file.as_deref().unwrap_or(Path::new(""));
            let token = read(file)?;
            Against::Server(
                Server::at(url, token.trim()).map_err(|error| Error::new(Kind::Usage, error.to_string()))?,
            )
        }
        None => Against::Throwaway { kind: args.kind, dir: args.dir.clone() },
    };
    let played = play(args, against, &traces)?;
    Ok(told(args, &played))
}

/// With a token of its own, which is revoked whatever comes of it.
fn in_directory(args: &Args, config: &Path, id: &str, traces: &[Value]) -> Result<Exit, Error> {
    let admin = Admin::open(config, Need::Daemon)?;
    let shown = admin.get(&format!("/api/v1/directories/{}", segment(id)))?;
    if !args.yes {
        output::confirm(&format!(
            "This makes, changes and deletes users and groups of `{}`. Go on?",
            clean(id)
        ))?;
    }
    let expires = SystemClock.now().plus(TOKEN_LIFE).to_string();
    let made = json!({ "directory": id, "note": "rosterd replay", "expires": expires });
    let made = admin.call("POST", "/api/v1/tokens", Some(&made))?;
    let url =
        [&made, &shown].map(|one| output::text(one, "base_url")).into_iter().find(|url| !url.is_empty());
    let server = Server::at(url.unwrap_or_default(), output::text(&made, "token"));
    let played = server
        .map_err(|error| Error::new(Kind::Refused, error.to_string()))
        .and_then(|server| play(args, Against::Server(server), traces));
    let revoked =
        admin.call("DELETE", &format!("/api/v1/tokens/{}", segment(output::text(&made, "id"))), None);
    let played = played?;
    revoked?;
    Ok(told(args, &played))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|cause| {
        let kind = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::Permission,
            _ => Kind::Missing,
        };
        Error::new(kind, format!("cannot read {}: {cause}", path.display()))
    })
}

fn play(args: &Args, against: Against, traces: &[Value]) -> Result<Vec<Played>, Error> {
    let is_loud = !args.output.json;
    let mut each = |step: &StepResult| {
        if is_loud && (args.verbose || !step.problems.is_empty()) {
            output::line(&shown(step));
        }
    };
    replay::run(against, traces, args.run.as_deref(), &mut each).map_err(|error| match error {
        ReplayError::Way(_) => Error::new(Kind::NoDaemon, error.to_string())
            .hint("is it the base URL that the identity provider is given? it ends in /scim/v2"),
        ReplayError::Daemon(_) => Error::new(Kind::Refused, error.to_string())
            .hint("rosterd replay FILE --dir NEW_FOLDER keeps its log"),
        ReplayError::Trace(_) => Error::new(Kind::Refused, error.to_string()),
    })
}

fn shown(step: &StepResult) -> String {
    let (colour, word) = if step.problems.is_empty() { (style::GREEN, "ok  ") } else { (style::RED, "FAIL") };
    let mut text = format!(
        "{colour}{word}{} #{} {}  {}{} {}{}",
        style::RESET,
        step.number,
        clean(&step.name),
        style::DIM,
        clean(&step.line),
        step.status,
        style::RESET
    );
    for problem in &step.problems {
        text.push_str("\n       ");
        text.push_str(&clean(problem));
    }
    text
}

fn told(args: &Args, played: &[Played]) -> Exit {
    let passed: usize = played.iter().map(|one| one.passed).sum();
    let failed: usize = played.iter().map(|one| one.failed.len()).sum();
    if args.output.json {
        let step = |step: &StepResult| {
            json!({
                "number": step.number, "name": step.name, "request": step.line, "status": step.status,
                "problems": step.problems,
            })
        };
        let all: Vec<Value> = played
            .iter()
            .map(|one| {
                let failed: Vec<Value> = one.failed.iter().map(step).collect();
                json!({ "name": one.name, "passed": one.passed, "failed": failed })
            })
            .collect();
        output::json(&json!({ "ok": failed == 0, "passed": passed, "failed": failed, "traces": all }));
    } else {
        output::line(&format!("{passed} passed, {failed} failed"));
    }
    if failed == 0 { Exit::Done } else { Exit::Failed }
}
