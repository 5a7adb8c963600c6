//! Where log lines go, and which of them.
//!
//! Text on standard error by default; the journal's own protocol when standard error *is* the journal, so that
//! fields stay fields and nothing carries a second timestamp; JSON lines where asked for.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as text, reload};

/// The form of a log line. Key `[log] format`, switch `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The journal's protocol where standard error is the journal, else text. The default.
    #[default]
    Auto,
    /// One line of text per event.
    Text,
    /// One JSON object per line, with `timestamp`, `level`, `target` and the fields.
    Json,
    /// The journal's own protocol, whatever standard error is.
    Journal,
}

impl Format {
    /// Every word that config and command line accept.
    pub const WORDS: [&'static str; 4] = ["auto", "text", "json", "journal"];

    /// The word used in config and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
            Self::Journal => "journal",
        }
    }
}

impl FromStr for Format {
    type Err = LogError;

    fn from_str(word: &str) -> Result<Self, LogError> {
        [Self::Auto, Self::Text, Self::Json, Self::Journal]
            .into_iter()
            .find(|format| format.as_str() == word)
            .ok_or_else(|| LogError::Format(word.to_owned()))
    }
}

/// What `[log]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which events are written: a level (`error warn info debug trace`) or directives in the form of `RUST_LOG`,
    /// such as `info,rosterd::reconcile=debug`. Key `log.level`, default `info`. `RUST_LOG`, where set, wins.
    pub level: String,
    /// The form of a line. Key `log.format`, default `auto`.
    pub format: Format,
    /// Key `log.otlp`, default none: where traces go.
    pub otlp: Option<Otlp>,
}

/// Where traces go. Table `log.otlp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Key `endpoint`: the collector's URL, with the path `/v1/traces` where none is written.
    pub endpoint: String,
}

impl Otlp {
    /// Whether this program can send traces.
    pub const IS_BUILT_IN: bool = cfg!(feature = "otlp");
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto, otlp: None }
    }
}

impl Settings {
    /// Checks the directives without installing anything.
    ///
    /// # Errors
    /// [`LogError::Level`] with what is wrong about them.
    pub fn check(&self) -> Result<(), LogError> {
        directives(&self.level).map(drop)
    }
}

/// Why logging could not be set up as asked.
#[derive(Debug)]
pub enum LogError {
    /// The directives do not parse.
    Level {
        /// As given.
        level: String,
        /// What is wrong.
        reason: String,
    },
    /// No such format.
    Format(String),
    /// The journal's socket cannot be reached.
    Journal(std::io::Error),
    /// Traces cannot be sent there.
    Otlp(String),
    /// Something else in this process has set up logging already.
    AlreadySet,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { level, reason } => write!(
                f,
                "`{}` is not a log level: {reason}; use error, warn, info, debug or trace, or directives such as \
                 `info,rosterd::reconcile=debug`",
                super::escape(level)
            ),
            Self::Format(word) => {
                write!(
                    f,
                    "`{}` is not a log format; use one of {}",
                    super::escape(word),
                    Format::WORDS.join(", ")
                )
            }
            Self::Journal(source) => {
                write!(f, "cannot reach the journal: {source}; use `--log-format text`")
            }
            Self::Otlp(why) => write!(f, "traces cannot be sent: {why}"),
            Self::AlreadySet => f.write_str("logging is set up already in this process"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(source) => Some(source),
            _ => None,
        }
    }
}

/// Changes the level of a running process.
#[derive(Debug, Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG` was set when the process started; it then wins over config for good.
    pinned: bool,
    #[cfg(feature = "otlp")]
    traces: Option<super::otlp::Exporter>,
}

impl Handle {
    /// Sends what is left to be told elsewhere; at the end.
    pub fn close(&self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            traces.close();
        }
    }

    /// Applies `level` from a new config; with `RUST_LOG` set, does nothing.
    ///
    /// # Errors
    /// [`LogError::Level`]; the old level stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = directives(level)?;
        if self.pinned {
            return Ok(());
        }
        self.filter.reload(filter).map_err(|_| LogError::AlreadySet)
    }
}

/// Installs the process's log writer; once, early in `main`'s command.
///
/// `RUST_LOG` wins over `settings.level`. `format` is the command line's word where one was given, else
/// `settings.format`.
///
/// # Errors
/// See [`LogError`]; nothing is installed then.
pub fn init(settings: &Settings) -> Result<Handle, LogError> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let pinned = from_env.is_some();
    let filter = directives(from_env.as_deref().unwrap_or(&settings.level))?;
    let (filter, handle) = reload::Layer::new(filter);

    let writer: Box<dyn Layer<_> + Send + Sync> = match resolve(settings.format) {
        Format::Journal => {
            let journal = tracing_journald::Layer::new().map_err(LogError::Journal)?;
            // Fields keep their own names, upper-cased: DIRECTORY_ID, REQUEST_ID, RESOURCE_ID, TARGET …
            journal.with_field_prefix(None).with_syslog_identifier("rosterd".to_owned()).boxed()
        }
        Format::Json => text::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        Format::Text | Format::Auto => text::layer()
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let registry = tracing_subscriber::registry().with(writer.with_filter(filter));
    #[cfg(feature = "otlp")]
    let (registry, traces) = {
        let found = settings.otlp.as_ref().map(super::otlp::layer).transpose().map_err(LogError::Otlp)?;
        let (layer, traces) = found.unzip();
        (registry.with(layer), traces)
    };
    registry.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(Handle {
        filter: handle,
        pinned,
        #[cfg(feature = "otlp")]
        traces,
    })
}

/// What `auto` means for this process.
fn resolve(format: Format) -> Format {
    match format {
        Format::Auto if stderr_is_the_journal() => Format::Journal,
        Format::Auto => Format::Text,
        asked => asked,
    }
}

/// True where systemd connected standard error to the journal: `JOURNAL_STREAM` then names its device and inode
/// (systemd.exec(5)). A child with standard error redirected inherits the variable but not the inode.
fn stderr_is_the_journal() -> bool {
    let Some((device, inode)) = std::env::var("JOURNAL_STREAM").ok().and_then(|text| journal_stream(&text))
    else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stat.st_dev == device && stat.st_ino == inode)
}

/// `device:inode`, both decimal.
fn journal_stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn directives(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Level { level: level.to_owned(), reason };
    if level.trim().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    for directive in level.split(',').map(str::trim) {
        // A bare word that is no level would silently become a filter on a module of that name.
        let word = directive.rsplit_once('=').map_or(directive, |(_, word)| word).to_ascii_lowercase();
        let known = ["off", "error", "warn", "info", "debug", "trace"].contains(&word.as_str());
        if !known {
            return Err(wrong(format!("`{}` is no level", super::escape(directive))));
        }
    }
    EnvFilter::builder().parse(level).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_accepted_and_typos_refused() {
        for good in ["info", "WARN", "info,rosterd::reconcile=debug", "off"] {
            assert!(Settings { level: good.into(), ..Settings::default() }.check().is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,rosterd=debgu", "info,,debug"] {
            assert!(Settings { level: bad.into(), ..Settings::default() }.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn format_words_round_trip() {
        for word in Format::WORDS {
            assert_eq!(word.parse::<Format>().expect("a format").as_str(), word);
        }
        assert!("Json".parse::<Format>().is_err());
    }

    #[test]
    fn the_journal_stream_is_device_and_inode() {
        assert_eq!(journal_stream("8:1234"), Some((8, 1234)));
        assert_eq!(journal_stream("8"), None);
        assert_eq!(journal_stream("a:b"), None);
    }
}
