//! Filters and paths: attributes and operators stay, values go. Works on any text, also on one that is no filter,
//! and changes no blank and no letter of what stays.

use super::{Scrubber, is_attribute, is_secret, last_name};
use crate::scim::filter::CompareOp;

/// A piece of a filter, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Blank(&'a str),
    Quoted(&'a str),
    Word(&'a str),
    Mark(&'a str),
}

impl Scrubber {
    /// A filter.
    pub(super) fn filter(&mut self, text: &str) -> String {
        self.pieces(text, false)
    }

    /// The path of a PATCH or Bulk operation.
    pub(super) fn path(&mut self, text: &str) -> String {
        if text.starts_with('/') { self.segments(text) } else { self.pieces(text, true) }
    }

    fn pieces(&mut self, text: &str, is_path: bool) -> String {
        let pieces = cut(text);
        let solid: Vec<usize> = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| !matches!(piece, Piece::Blank(_)))
            .map(|(n, _)| n)
            .collect();
        let mut key = String::new();
        let mut out = String::with_capacity(text.len());
        for (n, piece) in pieces.iter().enumerate() {
            let place = solid.iter().position(|at| *at == n);
            let near = |step: isize| {
                place
                    .and_then(|place| place.checked_add_signed(step))
                    .and_then(|place| pieces.get(*solid.get(place)?))
            };
            match piece {
                Piece::Blank(blank) | Piece::Mark(blank) => out.push_str(blank),
                Piece::Quoted(quoted) => out.push_str(&self.quoted(&key, quoted)),
                Piece::Word(word) => {
                    let (before, after) = (near(-1), near(1));
                    let made = if is_operator(before) {
                        let is_word = ["true", "false", "null"].contains(word);
                        if is_word { (*word).to_owned() } else { self.value(&key, word) }
                    } else if is_keyword(word) {
                        (*word).to_owned()
                    } else if is_place_of_attribute(before, after, is_path && solid.len() == 1)
                        && is_name(word)
                    {
                        key = if word.starts_with('.') { key } else { last_name(word) };
                        (*word).to_owned()
                    } else {
                        self.value("", word)
                    };
                    out.push_str(&made);
                }
            }
        }
        out
    }

    fn quoted(&mut self, key: &str, quoted: &str) -> String {
        let inner = quoted.strip_prefix('"').unwrap_or(quoted);
        match serde_json::from_str::<String>(quoted) {
            Ok(text) => serde_json::Value::from(self.value(key, &text)).to_string(),
            Err(_) if is_secret(key) => "\"".to_owned(),
            // Not closed, or not escaped: it stays as broken as it was.
            Err(_) => format!("\"{}", self.free_text(inner)),
        }
    }
}

fn is_name(word: &str) -> bool {
    is_attribute(word.strip_prefix('.').unwrap_or(word))
}

fn is_operator(piece: Option<&Piece<'_>>) -> bool {
    matches!(piece, Some(Piece::Word(word)) if CompareOp::from_word(word).is_some())
}

fn is_keyword(word: &str) -> bool {
    CompareOp::from_word(word).is_some()
        || ["and", "or", "not", "pr"].iter().any(|one| one.eq_ignore_ascii_case(word))
}

fn is_place_of_attribute(before: Option<&Piece<'_>>, after: Option<&Piece<'_>>, is_alone: bool) -> bool {
    let present = matches!(after, Some(Piece::Word(word)) if word.eq_ignore_ascii_case("pr"));
    is_alone
        || present
        || is_operator(after)
        || after == Some(&Piece::Mark("["))
        || before == Some(&Piece::Mark("]"))
}

fn cut(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |in_run: fn(char) -> bool| rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        let end = match first {
            c if c.is_whitespace() => run(char::is_whitespace),
            '(' | ')' | '[' | ']' => 1,
            '"' => quote_end(rest),
            _ => run(|c| !c.is_whitespace() && !"()[]\"".contains(c)),
        };
        let (piece, tail) = rest.split_at(end);
        pieces.push(match first {
            c if c.is_whitespace() => Piece::Blank(piece),
            '(' | ')' | '[' | ']' => Piece::Mark(piece),
            '"' => Piece::Quoted(piece),
            _ => Piece::Word(piece),
        });
        rest = tail;
    }
    pieces
}

/// Where the text that `rest` begins with a quote of ends, behind its closing quote.
fn quote_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == '"' && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}
