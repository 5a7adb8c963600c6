//! What is wrong with a config, all of it at once, each at its place.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::telemetry::escape;

/// What an exit code is chosen by (DESIGN §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The text of the config is wrong. Exit 78.
    Invalid,
    /// A file that the config, or the command line, names is not there. Exit 66.
    MissingFile,
    /// A named file is there and may not be read. Exit 77.
    Denied,
}

/// One thing wrong, or worth a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which sort of thing.
    pub kind: Kind,
    /// The config file, as it was named.
    pub file: String,
    /// Where in it; absent if the file could not be read at all.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The key with its section, such as `target.opa.path`; absent where no key is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong, with the value where that is harmless, lower-case and without a full stop.
    pub message: String,
    /// What to do about it, where one can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A place in the config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line itself; whatever might be a secret is left out.
    #[serde(skip)]
    text: String,
    /// How many characters are at fault.
    #[serde(skip)]
    width: usize,
}

impl fmt::Display for Problem {
    /// `rosterd.toml:12:1: unknown key …; did you mean …?`, the line, and a caret under the fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        let Some(place) = &self.place else { return Ok(()) };
        let margin = place.line.to_string().len();
        let blank: String = place.text.chars().take(place.column.saturating_sub(1)).map(keep_tab).collect();
        write!(f, "\n {} | {}", place.line, shown(&place.text))?;
        write!(f, "\n {:margin$} | {blank}{}", "", "^".repeat(place.width.max(1)))
    }
}

/// A tab stays a tab under the line it has to match; everything else becomes one blank.
fn keep_tab(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// The line, safe for a terminal and with its tabs.
fn shown(line: &str) -> String {
    line.split('\t').map(|part| escape(part).to_string()).collect::<Vec<_>>().join("\t")
}

/// Everything wrong with one config, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One problem that has no place in the file.
    pub(super) fn unplaced(kind: Kind, file: &str, message: String, help: &str) -> Self {
        let help = Some(help.to_owned());
        Self(vec![Problem { kind, file: file.to_owned(), place: None, key: None, message, help }])
    }

    /// `None` for an empty list.
    pub(super) fn new(mut problems: Vec<Problem>) -> Option<Self> {
        sort(&mut problems);
        if problems.is_empty() { None } else { Some(Self(problems)) }
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// The kind that decides the exit code: [`Kind::Invalid`] if any is, since that is to be mended first.
    pub fn kind(&self) -> Kind {
        let has = |kind| self.0.iter().any(|problem| problem.kind == kind);
        if has(Kind::Invalid) {
            Kind::Invalid
        } else if has(Kind::Denied) {
            Kind::Denied
        } else {
            Kind::MissingFile
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
}

/// A config file's name and text: turns byte ranges into places.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let end = self.text.floor_char_boundary(span.end.min(line_start + text.len()).max(start));
        let width = self.text.get(start..end).unwrap_or_default().chars().count();
        Place {
            line: before.matches('\n').count() + 1,
            column,
            width: width.max(1),
            text: without_secrets(text),
        }
    }
}

/// An operator who writes a secret where only a file's name belongs should not find it in the log as well.
fn without_secrets(line: &str) -> String {
    let Some((key, _)) = line.split_once('=') else { return line.to_owned() };
    let name = key.to_ascii_lowercase();
    let suspect = ["secret", "token", "password", "passphrase", "credential", "private"];
    if suspect.iter().any(|word| name.contains(word)) && !name.trim_end().ends_with("_file") {
        format!("{key}= …")
    } else {
        line.to_owned()
    }
}

/// The nearest of `known` to `word`, if one is near enough to be what was meant.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|key| (strsim::jaro_winkler(&word, &key.to_lowercase().replace('-', "_")), key))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, span: Range<usize>) -> Problem {
        let source = Source { file: "rosterd.toml".into(), text: text.into() };
        Problem {
            kind: Kind::Invalid,
            file: source.file.clone(),
            place: Some(source.place(&span)),
            key: None,
            message: "unknown key `lisen`".into(),
            help: Some("did you mean `listen`?".into()),
        }
    }

    #[test]
    fn a_problem_prints_file_line_column_text_and_caret() {
        let shown = problem("[server]\nlisen = [\"a\"]\n", 9..14).to_string();
        assert_eq!(
            shown,
            "rosterd.toml:2:1: unknown key `lisen`; did you mean `listen`?\n 2 | lisen = [\"a\"]\n   | ^^^^^"
        );
    }

    #[test]
    fn an_inline_secret_is_not_repeated() {
        for key in ["token", "secret", "\"client-secret\"", "password"] {
            let text = format!("{key} = \"hunter2\"");
            assert!(!problem(&text, 0..key.len()).to_string().contains("hunter2"), "{key}");
        }
        assert!(problem("token_file = \"okta\"", 0..10).to_string().contains("okta"));
    }

    #[test]
    fn places_survive_multibyte_text_tabs_and_the_end_of_the_file() {
        assert_eq!(problem("ü = 1\n\tö = 2", 8..10).place.map(|p| (p.line, p.column)), Some((2, 2)));
        let end = problem("a = ", 4..4);
        assert_eq!(end.place.map(|p| (p.line, p.column, p.width)), Some((1, 5, 1)));
        let past = problem("a", 50..60);
        assert_eq!(past.place.map(|p| p.line), Some(1));
    }

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        let known = ["listen", "public_url", "tls"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("public-url", known), Some("public_url"));
        assert_eq!(nearest("frobnicate", known), None);
    }
}
