//! What a command prints: tables and sentences for people, JSON for programs.
//!
//! Colour only where a terminal reads it and `NO_COLOR` is not set (anstream decides). A reader that goes away
//! (`| head`) ends the output quietly.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use super::exit::{Error, Kind};

/// `--json`, for every command that prints data.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Json {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// The ANSI sequences that the tables use; anstream strips them where nobody can see them.
pub mod style {
    /// Back to plain.
    pub const RESET: &str = "\x1b[0m";
    /// Headings.
    pub const BOLD: &str = "\x1b[1m";
    /// What matters less.
    pub const DIM: &str = "\x1b[2m";
    /// Wrong, or taken away.
    pub const RED: &str = "\x1b[31m";
    /// Right, or added.
    pub const GREEN: &str = "\x1b[32m";
    /// Worth a look, or changed.
    pub const YELLOW: &str = "\x1b[33m";
}

/// Writes one line to standard output.
pub fn line(text: &str) {
    let mut out = anstream::stdout().lock();
    // A closed pipe is the reader's choice and no failure of the command.
    let _ = writeln!(out, "{text}");
}

/// Writes a text that is data by itself to standard output, as it is.
pub fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is the reader's choice and no failure of the command.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes one line to standard error: errors, and what is not the data itself.
pub fn note(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// Writes `value` as indented JSON and a newline.
pub fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| String::from("null"));
    line(&text);
}

/// Rows under headings, columns as wide as their widest cell, the last one open-ended. An empty table is the
/// sentence `empty`, which says what to do next.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

/// One cell: its text and how it is coloured.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    style: &'static str,
}

impl Cell {
    /// A cell in `style`.
    pub fn styled(text: impl Into<String>, style: &'static str) -> Self {
        Self { text: clean(&text.into()), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: clean(&text.into()), style: "" }
    }
}

/// `text` without anything a terminal would obey: an identity provider's display name is a stranger's text.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`clean`], but lines stay lines: for messages of our own that quote a config.
pub fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// Characters that turn the direction of what follows.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Table {
    /// An empty table; `empty` is printed instead when no row was added.
    pub fn new(headings: &[&'static str], empty: &'static str) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), empty }
    }

    /// Adds a row, one cell per heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text without the last newline.
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return self.empty.to_owned();
        }
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            let heading = self.headings.get(column).map_or(0, |heading| heading.chars().count());
            cells.max().unwrap_or(0).max(heading)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut out = String::new();
        let heading = self.headings.iter().map(|heading| Cell::styled(heading.to_uppercase(), style::BOLD));
        push_row(&mut out, &heading.collect::<Vec<_>>(), &widths);
        for row in &self.rows {
            out.push('\n');
            push_row(&mut out, row, &widths);
        }
        out
    }

    /// Prints the table.
    pub fn print(&self) {
        line(&self.render());
    }
}

fn push_row(out: &mut String, row: &[Cell], widths: &[usize]) {
    for (column, cell) in row.iter().enumerate() {
        let last = column + 1 == row.len();
        let padding = if last { 0 } else { widths.get(column).copied().unwrap_or(0) };
        let blanks = padding.saturating_sub(cell.text.chars().count());
        // The padding stands outside the colour, so that the columns agree with and without it.
        let _ = match cell.style {
            "" => write!(out, "{}", cell.text),
            style => write!(out, "{style}{}{}", cell.text, style::RESET),
        };
        if !last {
            let _ = write!(out, "{:blanks$}  ", "");
        }
    }
}

/// `count` with thousands separated, as people read it: `12,410`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How long ago the RFC 3339 moment `then` was at `now`, in one unit: `14 s ago`. Text that is no moment is
/// given back as it is.
pub fn ago(then: &str, now: crate::model::Timestamp) -> String {
    let Some(moment) = crate::model::Timestamp::parse_rfc3339(then) else { return then.to_owned() };
    let seconds = now.since(moment).as_secs();
    match seconds {
        0..=99 => format!("{seconds} s ago"),
        100..=5_999 => format!("{} min ago", seconds / 60),
        6_000..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Asks `question` on the terminal; anything but `y` or `yes` is a no.
/// # Errors
/// `Usage` where nobody can be asked, `Refused` where the answer is no.
pub fn confirm(question: &str) -> Result<(), Error> {
    if !std::io::stdin().is_terminal() {
        let message = "this needs a person's word, and standard input is no terminal";
        return Err(Error::new(Kind::Usage, message).hint("say it on the command line: --yes"));
    }
    note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    // An unreadable answer is not a yes.
    let _ = std::io::stdin().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::new(Kind::Refused, "nothing was done")),
    }
}

/// The text at `key`, or an empty one.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The number at `key`, or 0.
pub fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// The list at `key`, or an empty one.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn columns_align_by_characters_and_the_last_is_not_padded() {
        let mut table = Table::new(&["id", "name"], "none");
        table.row([Cell::from("a"), Cell::from("Zoë")]);
        table.row([Cell::from("longer"), Cell::from("x")]);
        let plain = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(plain, "ID      NAME\na       Zoë\nlonger  x");
    }

    #[test]
    fn an_empty_table_says_what_to_do() {
        assert_eq!(Table::new(&["id"], "no directory yet").render(), "no directory yet");
    }

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(clean("a\x1b[31m\u{202e}b"), "a\u{fffd}[31m\u{fffd}b");
    }

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(12_410), "12,410");
        assert_eq!(thousands(1_000_000), "1,000,000");
        let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(ago("2025-12-31T23:59:46Z", now), "14 s ago");
        assert_eq!(ago("2025-12-31T22:00:00Z", now), "2 h ago");
        assert_eq!(ago("2026-01-02T00:00:00Z", now), "0 s ago");
        assert_eq!(ago("never", now), "never");
    }
}
