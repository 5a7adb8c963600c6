//! `rosterd capture`: what an identity provider really sends, with made-up people, as a trace that can be replayed.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::admin::{Admin, Need, Query, segment};
use super::exit::{Error, Exit, Kind};
use super::output::{self, Json, clean};
use crate::config::parse_duration;

/// How often it is looked whether enough came.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `rosterd capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: what does Okta send while you press its buttons?\n  \
    rosterd capture --directory acme-okta --for 10m --out trace.json\n  \
    rosterd replay trace.json\n\n\
    The daemon keeps bodies for that long; Ctrl-C ends it earlier. Every name, address, number and id of a person is \
    replaced by a made-up one, passwords and tokens are taken out. Read the file before you send it anywhere.")]
pub struct Args {
    /// Whose requests: a directory's id; all directories unless given
    #[arg(long, value_name = "ID")]
    directory: Option<String>,
    /// How long: 30s, 10m, at most 24h
    #[arg(long = "for", value_name = "SPAN", default_value = "10m", value_parser = parse_duration)]
    span: Duration,
    /// End as soon as so many requests came
    #[arg(long, value_name = "COUNT")]
    requests: Option<u64>,
    /// Write to this file, readable for its owner alone, instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Json,
}

pub(super) fn run(args: &Args, config: &Path) -> Result<Exit, Error> {
    let out = args.out.as_deref().map(super::export::Out::open).transpose()?;
    let stopped = stop_on_signal()?;
    let admin = Admin::open(config, Need::Daemon)?;
    let directories = directories(&admin, args.directory.as_deref())?;
    let seconds = format!("{}s", args.span.as_secs().max(1));
    for id in &directories {
        admin.call("POST", "/api/v1/activity/bodies", Some(&json!({ "directory": id, "for": seconds })))?;
    }
    output::note(&format!(
        "Keeping bodies of {} for {} s, with made-up people; Ctrl-C ends it.",
        directories.join(", "),
        args.span.as_secs()
    ));
    let waited = wait(&admin, &directories, args, &stopped);
    // Whatever ended the wait, nothing is kept longer than it has to be.
    let stop = |id: &String| admin.call("DELETE", &format!("/api/v1/activity/bodies/{}", segment(id)), None);
    let ended: Vec<_> = directories.iter().map(stop).collect();
    waited?;
    ended.into_iter().collect::<Result<Vec<_>, _>>()?;
    let traces = traces(&admin, &directories)?;
    let count: u64 = traces.iter().map(|trace| of(trace, "requests")).sum();
    let document = match traces.as_slice() {
        [one] => one.clone(),
        _ => Value::Array(traces.clone()),
    };
    for trace in &traces {
        output::note(&said(trace));
    }
    let is_written = out.is_some();
    if let Some(out) = out {
        let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        text.push(b'\n');
        out.fill(&text)?;
    }
    if args.output.json {
        let captured: Vec<&Value> = traces.iter().filter_map(|trace| trace.get("captured")).collect();
        let shown = if is_written { Value::Null } else { document };
        output::json(&json!({ "requests": count, "out": args.out, "captured": captured, "trace": shown }));
    } else if !is_written {
        output::json(&document);
    }
    if count == 0 {
        return Err(Error::new(Kind::Refused, "no request came in that time")
            .hint("press the identity provider's test button while it runs, or give it longer: --for 1h"));
    }
    Ok(Exit::Done)
}

fn directories(admin: &Admin, wanted: Option<&str>) -> Result<Vec<String>, Error> {
    if let Some(id) = wanted {
        return Ok(vec![id.to_owned()]);
    }
    let answer = admin.get("/api/v1/directories")?;
    let all: Vec<String> =
        output::list(&answer, "directories").iter().map(|one| output::text(one, "id").to_owned()).collect();
    if all.is_empty() {
        return Err(Error::new(Kind::Refused, "there is no directory that anybody could push to")
            .hint("rosterd directory add NAME --kind KIND"));
    }
    Ok(all)
}

/// Waits until the time is over, enough came, or somebody stops it.
fn wait(admin: &Admin, directories: &[String], args: &Args, stopped: &AtomicBool) -> Result<(), Error> {
    let started = Instant::now();
    let is_seen = std::io::stderr().is_terminal();
    let mut told = 0;
    while started.elapsed() < args.span && !stopped.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY.min(args.span.saturating_sub(started.elapsed())));
        let answer = admin.get("/api/v1/activity/bodies")?;
        let own: Vec<&Value> = output::list(&answer, "recordings")
            .iter()
            .filter(|one| directories.iter().any(|id| id == output::text(one, "directory")))
            .collect();
        let count: u64 = own.iter().map(|one| output::number(one, "requests")).sum();
        if is_seen && count != told {
            told = count;
            let _ = write!(std::io::stderr().lock(), "\r{count} requests ");
        }
        let is_over = own.iter().all(|one| one.get("running") != Some(&true.into()));
        if args.requests.is_some_and(|wanted| count >= wanted) || is_over {
            break;
        }
    }
    if is_seen && told > 0 {
        output::note("");
    }
    Ok(())
}

/// The trace of each directory that anything came for; that of the only one in any case.
fn traces(admin: &Admin, directories: &[String]) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    for id in directories {
        let query = Query::default().with("directory", Some(id));
        let trace = admin.get(&format!("/api/v1/activity/trace{query}"))?;
        if directories.len() == 1 || of(&trace, "requests") > 0 {
            all.push(trace);
        }
    }
    Ok(all)
}

fn of(trace: &Value, key: &str) -> u64 {
    trace.get("captured").map_or(0, |captured| output::number(captured, key))
}

/// What was replaced, as a sentence.
fn said(trace: &Value) -> String {
    let replaced = trace.pointer("/captured/replaced").and_then(Value::as_object);
    let kinds: Vec<String> = replaced
        .into_iter()
        .flatten()
        .map(|(kind, count)| format!("{} {kind}", count.as_u64().unwrap_or_default()))
        .collect();
    let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
    let left_out = match of(trace, "left_out") {
        0 => String::new(),
        count => format!(" {count} were left out for their size."),
    };
    let idp = clean(output::text(trace, "idp"));
    format!("{idp}: {} requests; made up or taken out: {kinds}.{left_out}", of(trace, "requests"))
}

/// A flag that Ctrl-C and SIGTERM set.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |cause: std::io::Error| Error::new(Kind::Bug, format!("cannot catch signals: {cause}"));
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stopped)
}
