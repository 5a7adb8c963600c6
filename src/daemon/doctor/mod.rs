//! Looks an installation over: one finding per thing looked at, with a code that stays and what to do.
//!
//! INVARIANT: it only looks. It connects where `offline` does not forbid it, sends no event and writes nothing.

mod files;
mod network;
mod state;
mod unit;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::config::{self, Config, Secrets};
use crate::http::admin_api::{AdminError, Answering, Doctor};

use super::owner;

/// How good or bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and wants a look.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `D0xx`, the same for ever.
    pub code: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found, in words.
    pub what: String,
    /// What to do; empty where nothing is to be done.
    pub hint: String,
}

/// Every code and what it looks at; `docs/doctor.md` has them too.
pub const CODES: [(&str, &str); 18] = [
    ("D001", "the config can be read and is right"),
    ("D002", "the config says nothing that is probably not meant"),
    ("D003", "secret files are there, and only the daemon's user may read them"),
    ("D004", "the state directory belongs to the daemon's user and to nobody else"),
    ("D005", "the mirror can be opened by this version"),
    ("D006", "the mirror's pages are whole (`--deep`)"),
    ("D007", "the state directory's disk has room"),
    ("D008", "the mirror's write-ahead log is not too long"),
    ("D009", "the clock can be believed"),
    ("D010", "certificates of the listeners and their `client_ca` are valid for a while"),
    ("D011", "folders of file targets can be written"),
    ("D012", "the daemon answers"),
    ("D013", "targets hold what they should"),
    ("D014", "directories are heard of, and their requests answered"),
    ("D015", "tokens are in use and do not expire soon"),
    ("D016", "webhooks can be reached"),
    ("D017", "`public_url` answers"),
    ("D018", "the installed unit is the one of this version"),
];

impl Finding {
    fn new(code: &'static str, level: Level, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, level, what: what.into(), hint: hint.into() }
    }

    fn ok(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(code, Level::Ok, what, "")
    }

    fn warn(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(code, Level::Warn, what, hint)
    }

    fn fail(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(code, Level::Fail, what, hint)
    }
}

/// What may be done to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Connect nowhere.
    pub offline: bool,
    /// Read the whole mirror.
    pub deep: bool,
}

/// What the daemon said of itself, or why it did not.
#[derive(Debug, Clone)]
pub struct Said {
    /// The answer to `status`.
    pub status: Result<Value, String>,
    /// The answer to `tokens`, if it was given.
    pub tokens: Option<Value>,
}

/// Looks at everything. Becomes the owner of the state directory first where it can, so that what the daemon may not
/// do fails here too.
///
/// INVARIANT: called while the process has one thread.
pub fn examine(path: &Path, depth: Depth, said: &Said) -> Vec<Finding> {
    look(path, depth, said, &|config| {
        let error = owner::become_owner(config.state_dir()).err()?;
        let what = format!("cannot become the owner of {}: {error}", config.state_dir().display());
        Some(Finding::fail("D004", what, "run it as root or as the daemon's user"))
    })
}

/// The same from within the daemon, which is its own user already.
pub(super) fn of_daemon(path: PathBuf) -> Doctor {
    Arc::new(move |is_online, status, tokens| -> Answering<'static> {
        let path = path.clone();
        Box::pin(async move {
            let said = Said { status: Ok(status), tokens: Some(tokens) };
            let depth = Depth { offline: !is_online, deep: false };
            let found = tokio::task::spawn_blocking(move || look(&path, depth, &said, &|_| None)).await;
            found.ok().and_then(|found| serde_json::to_value(found).ok()).ok_or_else(|| {
                AdminError::new(500, "the installation could not be looked over", "the log says why")
            })
        })
    })
}

fn look(
    path: &Path,
    depth: Depth,
    said: &Said,
    become_owner: &dyn Fn(&Config) -> Option<Finding>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let loaded = match config::load(path, Secrets::Optional) {
        Ok(loaded) => loaded,
        Err(problems) => {
            found.push(Finding::fail(
                "D001",
                problems.to_string(),
                "mend it; `rosterd check` shows the same",
            ));
            found.extend(state::said(said));
            found.extend(unit::look());
            return found;
        }
    };
    found.push(Finding::ok("D001", format!("{} is valid", path.display())));
    let warnings: Vec<Finding> = loaded
        .warnings
        .iter()
        .map(|one| {
            Finding::warn("D002", one.to_string(), "say what is meant; `rosterd check` shows the place")
        })
        .collect();
    if warnings.is_empty() {
        found.push(Finding::ok("D002", "nothing in the config looks like a mistake"));
    }
    found.extend(warnings);
    let config = loaded.config;
    found.extend(files::secrets(path, &config));
    found.extend(become_owner(&config));
    found.extend(local(&config, depth));
    found.extend(state::said(said));
    found.extend(network::look(&config, depth.offline));
    found.extend(unit::look());
    found.sort_by_key(|one| one.code);
    found
}

fn local(config: &Config, depth: Depth) -> Vec<Finding> {
    let mut found = files::mirror(config, depth.deep);
    found.extend(files::clock(config));
    found.extend(files::certificates(config));
    found.extend(files::outputs(config));
    found
}
