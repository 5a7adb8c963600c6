//! `rosterd import`: a file of people into a directory, as one plan.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::admin::{Admin, Need, segment};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Cell, Json, Table, clean};
use super::progress::{Bar, Quiet, Spinner};
use crate::import::{self, FILE_BYTES_MAX, Format, Mapping, Reading, Record};
use crate::model::DirectoryId;

/// Bytes of a page, about.
const PAGE_BYTES: usize = 1 << 20;
/// Members of one record in one page.
const MEMBERS_AT_ONCE: usize = 5_000;
/// A record larger than this is refused.
const RECORD_BYTES_MAX: usize = 2 << 20;
/// How often it is asked how far it is.
const PROGRESS_EVERY: std::time::Duration = std::time::Duration::from_millis(250);
/// Steps that are printed one by one.
const STEPS_SHOWN: usize = 20;

/// Arguments of `rosterd import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: look first, then do it\n  \
    rosterd import people.ldif --directory acme-okta --dry-run\n  rosterd import people.ldif --directory acme-okta\n\n\
    Everything is read and checked before anything is written. It is written piece by piece, so that the identity \
    provider's requests are answered meanwhile; what these change is left and told, and a second run does the rest, as \
    it does after a crash. Who is in the directory already is found by externalId, then userName (a group: \
    displayName), and gets what the file says; what it does not say stays. docs/import.md has the default columns, a mapping, and how to export from LDAP, AD and others.")]
pub struct Args {
    /// The file; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory it goes into
    #[arg(long, value_name = "ID", value_parser = super::directory::parse_id)]
    directory: DirectoryId,
    /// What the file is written in; from its name and beginning when not given
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// What columns (CSV) or attributes (LDIF) become, as TOML
    #[arg(long, value_name = "MAP.toml")]
    map: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Whom the file does not name goes: users are deactivated, groups deleted, members leave; the guard judges it
    #[arg(long)]
    replace: bool,
    /// Leave out members that neither file nor directory knows, instead of refusing the file
    #[arg(long)]
    skip_unknown: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    output: Json,
}

fn parse_format(text: &str) -> Result<Format, String> {
    let found = Format::ALL.into_iter().find(|one| one.as_str() == text);
    found.ok_or_else(|| "one of scim, jsonl, ldif, csv".to_owned())
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    // Before a command may become the owner of the state directory, who need not be able to read them.
    let bytes = bytes(&args.file)?;
    let mapping = mapping(args.map.as_deref())?;
    let name = args.file.display().to_string();
    let format = args.format.or_else(|| Format::guess(&name, &bytes)).ok_or_else(|| {
        Error::new(Kind::Usage, format!("cannot tell what `{}` is written in", clean(&name)))
            .hint("--format scim, jsonl, ldif or csv")
    })?;
    if args.map.is_some() && !matches!(format, Format::Csv | Format::Ldif) {
        let message = format!("`--map` is for csv and ldif; {format} names its attributes itself");
        return Err(Error::new(Kind::Usage, message));
    }
    let admin = Admin::open(config, Need::MirrorOrDaemon)?;
    let reading = import::read(format, &bytes, &mapping);
    drop(bytes);
    let begun = admin.call(
        "POST",
        "/api/v1/imports",
        Some(&json!({
            "directory": args.directory, "file": name, "replace": args.replace, "skip_unknown": args.skip_unknown,
        })),
    )?;
    let id = output::text(&begun, "id").to_owned();
    let done = carry(args, &admin, &id, reading);
    if !matches!(done, Ok((_, true))) {
        // It is forgotten by itself later; that it could not be told so is no failure.
        let _ = admin.call("DELETE", &path(&id), None);
    }
    done.map(|(exit, _)| exit)
}

fn path(id: &str) -> String {
    format!("/api/v1/imports/{}", segment(id))
}

/// Sends, shows, asks, applies; also says whether it was applied.
fn carry(args: &Args, admin: &Admin, id: &str, reading: Reading) -> Result<(Exit, bool), Error> {
    send(args, admin, id, reading)?;
    let plan = {
        let _spinner = Spinner::new("Planning", args.quiet.quiet);
        admin.get(&path(id))?
    };
    let (mistakes, changes) = (output::number(&plan, "problem_count"), output::number(&plan, "changes"));
    if !args.output.json {
        told(args, &plan);
    }
    if mistakes > 0 {
        if args.output.json {
            output::json(&shown(&plan, false, &Value::Null));
        }
        let message = format!(
            "{mistakes} mistakes in {}; nothing was changed",
            clean(&args.file.display().to_string())
        );
        return Err(Error::new(Kind::Refused, message).hint("mend the file and run the import again"));
    }
    if args.dry_run || changes == 0 {
        if args.output.json {
            output::json(&shown(&plan, false, &Value::Null));
        } else {
            output::line(if args.dry_run { "Nothing was changed." } else { "Nothing to do." });
        }
        return Ok((Exit::Done, false));
    }
    if !args.yes {
        output::confirm(&format!("Import this into {}?", args.directory))?;
    }
    let answer = applied(args, admin, id, &json!({ "hash": plan.get("hash") }))?;
    if args.output.json {
        output::json(&shown(&plan, true, &answer));
    } else {
        done(args, &answer);
    }
    let conflicts = output::list(&answer, "conflicts");
    for one in conflicts {
        let (at, name) = (clean(output::text(one, "at")), clean(output::text(one, "name")));
        let place = if at.is_empty() { "not in the file".to_owned() } else { at };
        output::note(&format!("{place}, {name}: {}", clean(output::text(one, "message"))));
    }
    if answer.get("finished").and_then(Value::as_bool) == Some(false) {
        let message =
            format!("the import is not finished: {} records were left as they are", conflicts.len());
        return Err(
            Error::new(Kind::Refused, message).hint("run the import again: it shows what is left to do")
        );
    }
    Ok((Exit::Done, true))
}

/// Has the plan carried out, and shows how far it is.
fn applied(args: &Args, admin: &Admin, id: &str, body: &Value) -> Result<Value, Error> {
    let call = || admin.call("POST", &format!("{}/apply", path(id)), Some(body));
    let Some(socket) = admin.socket().map(Path::to_owned) else {
        let _spinner = Spinner::new("Importing", args.quiet.quiet);
        return call();
    };
    let (ended, end) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut bar = Bar::new("Importing", args.quiet.quiet);
            // Nobody is told that the bar cannot be kept up; the work itself has an answer of its own.
            let Ok(second) = bar.is_seen().then(|| Admin::at(socket)).transpose() else { return };
            let Some(second) = second else { return };
            while end.recv_timeout(PROGRESS_EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                if let Ok(told) = second.get(&format!("{}/progress", path(id))) {
                    bar.tell(output::number(&told, "done"), output::number(&told, "total"));
                }
            }
        });
        let answer = call();
        drop(ended);
        answer
    })
}

fn shown(plan: &Value, applied: bool, answer: &Value) -> Value {
    let mut value = plan.clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("applied".to_owned(), applied.into());
        object.insert("done".to_owned(), answer.clone());
    }
    value
}

fn bytes(file: &Path) -> Result<Vec<u8>, Error> {
    let told = |cause: &std::io::Error| {
        let kind = match cause.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::Permission,
            _ => Kind::Missing,
        };
        Error::new(kind, format!("cannot read {}: {cause}", clean(&file.display().to_string())))
    };
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX + 1;
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    let size = read.map_err(|cause| told(&cause))?;
    if size as u64 > FILE_BYTES_MAX {
        let message =
            format!("{} is larger than {} MiB", clean(&file.display().to_string()), FILE_BYTES_MAX >> 20);
        return Err(Error::new(Kind::Refused, message).hint("split it, users first"));
    }
    Ok(bytes)
}

fn mapping(file: Option<&Path>) -> Result<Mapping, Error> {
    let Some(file) = file else { return Ok(Mapping::default()) };
    let shown = clean(&file.display().to_string());
    let text = std::fs::read_to_string(file).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Permission, format!("cannot read {shown}: {cause}"))
        }
        std::io::ErrorKind::InvalidData => Error::new(Kind::Config, format!("{shown} is not UTF-8")),
        _ => Error::new(Kind::Missing, format!("cannot read {shown}: {cause}")),
    })?;
    Mapping::parse(&text).map_err(|error| {
        Error::new(Kind::Config, format!("{shown}: {}", output::clean_lines(&error.to_string())))
            .hint("docs/import.md has a mapping to start from")
    })
}

/// Sends what was read, page by page.
fn send(args: &Args, admin: &Admin, id: &str, reading: Reading) -> Result<(), Error> {
    let mut bar = Bar::new("Sending", args.quiet.quiet);
    let total = reading.records.len() as u64;
    let mut page = Outgoing::default();
    let to = format!("{}/records", path(id));
    let mut problems = reading.problems;
    for (n, mut record) in reading.records.into_iter().enumerate() {
        let mut rest = Vec::new();
        if let Some(members) = record.members.as_mut().filter(|all| all.len() > MEMBERS_AT_ONCE) {
            rest = members.split_off(MEMBERS_AT_ONCE);
        }
        let value = serde_json::to_value(&record).unwrap_or_default();
        let size = value.to_string().len();
        if size > RECORD_BYTES_MAX {
            problems.push(too_large(&record));
            continue;
        }
        if page.bytes + size > PAGE_BYTES {
            page.send(admin, &to)?;
            bar.tell(n as u64, total);
        }
        page.records.push(value);
        page.bytes += size;
        for members in rest.chunks(MEMBERS_AT_ONCE) {
            page.send(admin, &to)?;
            admin.call("POST", &to, Some(&json!({ "members": members })))?;
        }
    }
    page.send(admin, &to)?;
    for some in problems.chunks(1_000) {
        admin.call("POST", &to, Some(&json!({ "problems": some })))?;
    }
    for some in reading.notes.chunks(1_000) {
        admin.call("POST", &to, Some(&json!({ "notes": some })))?;
    }
    Ok(())
}

fn too_large(record: &Record) -> import::Problem {
    import::Problem {
        at: record.at.clone(),
        attribute: String::new(),
        message: format!("the record is larger than {} MiB", RECORD_BYTES_MAX >> 20),
    }
}

/// A page that is being filled.
#[derive(Default)]
struct Outgoing {
    records: Vec<Value>,
    bytes: usize,
}

impl Outgoing {
    fn send(&mut self, admin: &Admin, to: &str) -> Result<(), Error> {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        if !records.is_empty() {
            admin.call("POST", to, Some(&json!({ "records": records })))?;
        }
        Ok(())
    }
}

/// Prints the plan.
fn told(args: &Args, plan: &Value) {
    let both = |key: &str| {
        let part = plan.get(key).unwrap_or(&Value::Null);
        (output::number(part, "users"), output::number(part, "groups"))
    };
    for note in output::list(plan, "notes").iter().filter_map(Value::as_str) {
        output::note(&clean(note));
    }
    for problem in output::list(plan, "problems") {
        let attribute = match output::text(problem, "attribute") {
            "" => String::new(),
            attribute => format!(", {}", clean(attribute)),
        };
        let (at, why) = (clean(output::text(problem, "at")), clean(output::text(problem, "message")));
        output::note(&format!("{}: {at}{attribute}: {why}", clean(output::text(problem, "file"))));
    }
    let (mistakes, listed) =
        (output::number(plan, "problem_count"), output::list(plan, "problems").len() as u64);
    if mistakes > listed {
        output::note(&format!("… and {} more.", output::thousands(mistakes - listed)));
    }
    if mistakes > 0 {
        return;
    }
    let count = |(users, groups): (u64, u64)| {
        format!("{} users, {} groups", output::thousands(users), output::thousands(groups))
    };
    let members = plan.get("memberships").unwrap_or(&Value::Null);
    output::line(&format!(
        "{} into directory {}\n  create      {}\n  update      {}\n  leave       {}\n  memberships {} to add, {} to remove",
        clean(output::text(plan, "file")),
        args.directory,
        count(both("create")),
        count(both("update")),
        count(both("leave")),
        output::thousands(output::number(members, "add")),
        output::thousands(output::number(members, "remove")),
    ));
    let (deactivate, delete) = (both("deactivate").0, both("delete").1);
    if args.replace {
        output::line(&format!(
            "  not named   {} users to deactivate, {} groups to delete",
            output::thousands(deactivate),
            output::thousands(delete)
        ));
    }
    steps(plan);
}

fn steps(plan: &Value) {
    let steps = output::list(plan, "steps");
    if steps.is_empty() {
        return;
    }
    let mut table = Table::new(&["where", "what", "type", "name", "attributes", "members"], "");
    // What takes something away is what a person must see.
    let takes = |step: &&Value| {
        matches!(output::text(step, "act"), "deactivate" | "delete") || output::number(step, "leave") > 0
    };
    let ordered = steps.iter().filter(takes).chain(steps.iter().filter(|step| !takes(step)));
    for step in ordered.take(STEPS_SHOWN) {
        let names: Vec<&str> = output::list(step, "attributes").iter().filter_map(Value::as_str).collect();
        let members = match (output::number(step, "join"), output::number(step, "leave")) {
            (0, 0) => String::new(),
            (join, 0) => format!("+{join}"),
            (0, leave) => format!("-{leave}"),
            (join, leave) => format!("+{join} -{leave}"),
        };
        let texts = ["at", "act", "type", "name"].map(|key| clean(output::text(step, key)));
        let cells = texts.into_iter().chain([clean(&names.join(" ")), members]);
        table.row(cells.map(Cell::from));
    }
    table.print();
    let changes = output::number(plan, "changes");
    let shown = u64::try_from(steps.len().min(STEPS_SHOWN)).unwrap_or(0);
    if changes > shown {
        output::line(&format!("… and {} more; --json has more of them.", output::thousands(changes - shown)));
    }
}

fn done(args: &Args, answer: &Value) {
    let number = |key: &str| output::thousands(output::number(answer, key));
    let (before, seq) = (output::number(answer, "before_seq"), output::number(answer, "seq"));
    output::line(&format!(
        "Imported into {}: {} created, {} updated, {} deactivated, {} deleted; changes {} to {seq}, request {}.\n\
         What targets make of it: rosterd plan. Who did what: rosterd history. To see the state before: \
         rosterd diff --from seq:{before} --to now",
        args.directory,
        number("created"),
        number("updated"),
        number("deactivated"),
        number("deleted"),
        before + 1,
        output::text(answer, "id"),
    ));
}
