//! `rosterd events`: what webhooks and readers are told, and what they verify it with.

use std::path::Path;

use serde_json::{Value, json};

use super::admin::{Admin, Need};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Json, clean};
use crate::reconcile::event::{self, KINDS};

/// Arguments of `rosterd events`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: what a receiver of access.granted has to expect\n  \
    rosterd events schema access.granted")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the JSON Schema of every event, or of one type
    Schema(Schema),
    /// List every type of event and when it is said
    List(List),
    /// Print the public keys that receivers verify signatures with
    Keys(Keys),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd events schema > rosterd-events.schema.json\n\n\
    Receivers must accept fields that the schema does not name: fields are only added.")]
struct Schema {
    /// One type, such as user.created
    #[arg(value_name = "TYPE", value_parser = clap::builder::PossibleValuesParser::new(KINDS.iter().map(|kind| kind.as_str())))]
    kind: Option<String>,
    /// Print a made-up event of the type instead
    #[arg(long, requires = "kind")]
    example: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd events list")]
struct List {
    #[command(flatten)]
    output: Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: the key set of a receiver of SCIM event tokens\n  \
    rosterd events keys hr-feed --jwks > /srv/www/.well-known/jwks.json")]
struct Keys {
    /// One target
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// One reader that fetches signed events, instead of a target
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    reader: Option<String>,
    /// Print the one's JSON Web Key Set alone
    #[arg(long, conflicts_with = "json")]
    jwks: bool,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    match &args.action {
        Action::Schema(args) => schema(args),
        Action::List(args) => {
            list(args);
            Ok(Exit::Done)
        }
        Action::Keys(args) => keys(args, config),
    }
}

fn schema(args: &Schema) -> Result<Exit, Error> {
    let kind = args.kind.as_deref().map(str::parse::<event::Kind>).transpose();
    let kind = kind.map_err(|error| Error::new(Kind::Usage, error.to_string()))?;
    let answer = match kind {
        Some(kind) if args.example => example(kind)?,
        kind => event::schema(kind),
    };
    output::json(&answer);
    Ok(Exit::Done)
}

fn example(kind: event::Kind) -> Result<Value, Error> {
    let example = event::example(kind, false);
    let settings = event::body::BodySettings::default();
    let body = event::body::render(&example, &settings, event::EXAMPLE_ID, Some(event::EXAMPLE_PREVIOUS))
        .map_err(|error| Error::new(Kind::Bug, error.to_string()))?;
    serde_json::from_slice(&body.bytes).map_err(|error| Error::new(Kind::Bug, error.to_string()))
}

fn list(args: &List) {
    if args.output.json {
        let all: Vec<Value> =
            KINDS.iter().map(|kind| json!({"type": kind.as_str(), "when": kind.when()})).collect();
        output::json(&json!({ "events": all }));
        return;
    }
    for kind in KINDS {
        output::line(&format!("{:20} {}", kind.as_str(), kind.when()));
    }
}

fn keys(args: &Keys, config: &Path) -> Result<Exit, Error> {
    if args.jwks && args.target.is_none() && args.reader.is_none() {
        return Err(Error::new(
            Kind::Usage,
            "`--jwks` prints one key set: name a target, or a reader with `--reader`",
        ));
    }
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let answer = admin.get("/api/v1/events/keys")?;
    let named = |list: &str, name: Option<&str>, is_out: bool| -> Vec<Value> {
        let is_it = |one: &&Value| !is_out && name.is_none_or(|name| output::text(one, "name") == name);
        output::list(&answer, list).iter().filter(is_it).cloned().collect()
    };
    let targets = named("targets", args.target.as_deref(), args.reader.is_some());
    let readers = named("readers", args.reader.as_deref(), args.target.is_some());
    let found: Vec<&Value> = targets.iter().chain(&readers).collect();
    if let (true, Some(name)) = (found.is_empty(), &args.target) {
        let text = format!("no target `{name}` signs with a private key");
        return Err(Error::new(Kind::Refused, text)
            .hint("give it a `secret_file` with `whsk_…`, or `format = \"scim-events\"`"));
    }
    if let (true, Some(name)) = (found.is_empty(), &args.reader) {
        let text = format!("no reader `{name}` fetches signed events");
        return Err(Error::new(Kind::Refused, text).hint("give it `sets` with a `signing_key_file`"));
    }
    if args.jwks {
        let set = found.first().and_then(|one| one.get("jwks")).cloned().unwrap_or(Value::Null);
        output::json(&set);
    } else if args.output.json {
        output::json(&json!({ "targets": targets, "readers": readers }));
    } else {
        for one in found {
            show(one);
        }
    }
    Ok(Exit::Done)
}

fn show(one: &Value) {
    output::line(&clean(output::text(one, "name")));
    for key in output::list(one, "whpk").iter().filter_map(Value::as_str) {
        output::line(&format!("  {}", clean(key)));
    }
    for key in one.get("jwks").map(|set| output::list(set, "keys")).unwrap_or_default() {
        output::line(&format!("  {} {}", clean(output::text(key, "alg")), clean(output::text(key, "kid"))));
    }
}
