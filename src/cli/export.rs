//! `rosterd export`: access of now or of then in one of the formats that targets have, without a target.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::admin::{Admin, Need, Query};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Json, clean, style};
use super::progress::{Quiet, Spinner};
use crate::downstream::format::{FORMATS, Format, OptionDoc};

/// Arguments of `rosterd export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: what OPA would be given, with e-mail addresses along\n  \
    rosterd export opa-data --option 'attributes=[\"email\"]' --out data.json")]
pub struct Args {
    /// One of the formats that --list names
    #[arg(value_name = "FORMAT", required_unless_present = "list",
        value_parser = clap::builder::PossibleValuesParser::new(FORMATS.iter().map(|format| format.name)))]
    format: Option<String>,
    /// List every format, or only FORMAT, with options and an example
    #[arg(long, conflicts_with_all = ["out", "subject", "option"])]
    list: bool,
    /// Write to this file, readable for its owner alone, instead of to standard output
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// The attribute that names a person, as `subject` of a target
    #[arg(long, value_name = "ATTRIBUTE")]
    subject: Option<String>,
    /// An option of the format; the value is JSON, or else a text
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_option)]
    option: Vec<(String, Value)>,
    /// Access as it was: 2026-11-20T10:00:00Z, 2026-11-20, '2h ago', or seq:1204
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "list")]
    at: Option<String>,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    output: Json,
}

fn parse_option(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    if args.list {
        list(args);
        return Ok(Exit::Done);
    }
    let format = args.format.as_deref().unwrap_or_default();
    // Before a command may become the owner of the state directory, who has no business in the caller's folder.
    let out = args.out.as_deref().map(Out::open).transpose()?;
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let options: Map<String, Value> = args.option.iter().cloned().collect();
    let options = (!options.is_empty()).then(|| Value::Object(options).to_string());
    let query = Query::default()
        .with("format", Some(format))
        .with("subject", args.subject.as_deref())
        .with("options", options.as_deref())
        .with("at", args.at.as_deref());
    let answer = {
        let _spinner = Spinner::new("Exporting", args.quiet.quiet);
        admin.get(&format!("/api/v1/export{query}"))?
    };
    for why in output::list(&answer, "left_out").iter().chain(output::list(&answer, "problems")) {
        output::note(&clean(why.as_str().unwrap_or_default()));
    }
    if args.output.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let bytes = content(&answer)?;
    match out {
        Some(out) => {
            out.fill(&bytes)?;
            let path = args.out.as_deref().unwrap_or(Path::new("")).display();
            output::note(&format!("{} bytes of {format} are in {path}.", bytes.len()));
        }
        None => print(&bytes)?,
    }
    Ok(Exit::Done)
}

/// The bytes of an answer: text, or base64 where they are none.
fn content(answer: &Value) -> Result<Vec<u8>, Error> {
    if let Some(text) = answer.get("text").and_then(Value::as_str) {
        return Ok(text.as_bytes().to_vec());
    }
    base64::engine::general_purpose::STANDARD
        .decode(output::text(answer, "base64"))
        .map_err(|cause| Error::new(Kind::Bug, format!("the answer holds no bytes: {cause}")))
}

fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() && std::str::from_utf8(bytes).is_err() {
        return Err(Error::new(Kind::Usage, "the format is not text, and standard output is a terminal")
            .hint("--out PATH"));
    }
    // A closed pipe is the reader's choice and no failure of the command.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    Ok(())
}

/// The file of `--out`, opened and not yet touched.
pub(super) struct Out {
    file: File,
    path: PathBuf,
}

impl Out {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // A new file is for its owner alone; one that is there keeps its mode, and its content until the answer is in.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|cause| failed(path, &cause))?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(super) fn fill(mut self, bytes: &[u8]) -> Result<(), Error> {
        let filled = self.file.set_len(0).and_then(|()| self.file.write_all(bytes));
        filled.and_then(|()| self.file.sync_all()).map_err(|cause| failed(&self.path, &cause))
    }
}

fn failed(path: &Path, cause: &std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::NotFound => Kind::Missing,
        std::io::ErrorKind::PermissionDenied => Kind::Permission,
        _ => Kind::Refused,
    };
    Error::new(kind, format!("cannot write {}: {cause}", path.display()))
}

fn list(args: &Args) {
    let chosen = FORMATS.iter().filter(|known| args.format.as_deref().is_none_or(|name| name == known.name));
    if args.output.json {
        let all: Vec<Value> = chosen.map(described).collect();
        output::json(&json!({ "formats": all }));
        return;
    }
    let all: Vec<String> = chosen.map(shown).collect();
    output::line(&all.join("\n\n"));
}

fn described(format: &Format) -> Value {
    let option = |option: &OptionDoc| json!({ "name": option.name, "default": option.default, "description": option.description });
    json!({
        "name": format.name,
        "summary": format.summary,
        "content_type": format.content_type,
        "options": format.options.iter().map(option).collect::<Vec<_>>(),
        "example": format.example(),
    })
}

/// One format as lines: what it is, its options, an example.
fn shown(format: &Format) -> String {
    let mut lines = vec![format!("{}{}{}  {}", style::BOLD, format.name, style::RESET, format.summary)];
    for option in format.options {
        lines.push(format!("  {} = {}  {}", option.name, option.default, option.description));
    }
    let example = format.example();
    lines.extend(example.lines().map(|line| format!("    {}{line}{}", style::DIM, style::RESET)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_shown_with_its_options_and_an_example() {
        for format in FORMATS {
            let text = anstream::adapter::strip_str(&shown(format)).to_string();
            assert!(text.starts_with(&format!("{}  {}\n", format.name, format.summary)), "{text}");
            assert!(format.options.iter().all(|option| text.contains(option.description)), "{text}");
            assert!(described(format)["example"].as_str().unwrap().ends_with('\n'));
        }
    }

    #[test]
    fn an_option_is_json_or_else_a_text() {
        assert_eq!(parse_option("compact=true"), Ok(("compact".into(), json!(true))));
        assert_eq!(parse_option("root=a.b"), Ok(("root".into(), json!("a.b"))));
        assert_eq!(parse_option("attributes=[\"email\"]"), Ok(("attributes".into(), json!(["email"]))));
        assert!(parse_option("compact").is_err());
    }

    #[test]
    fn bytes_come_as_text_or_base64() {
        assert_eq!(content(&json!({"text": "a\n"})).unwrap(), b"a\n");
        assert_eq!(content(&json!({"base64": "H4s="})).unwrap(), b"\x1f\x8b");
        assert!(content(&json!({"base64": "?"})).is_err());
    }

    #[test]
    fn a_file_is_made_private_and_an_old_one_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        Out::open(&path).unwrap().fill(b"long before").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        Out::open(&path).unwrap().fill(b"now").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"now");
        let Err(error) = Out::open(&dir.path().join("no/out")) else { panic!("no folder") };
        assert_eq!(error.kind(), Kind::Missing);
    }
}
