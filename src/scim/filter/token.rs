//! Cuts a filter into tokens and enforces every limit on the way, before any tree is built.

use super::{AttrPath, BYTES_MAX, CompareOp, DEPTH_MAX, Literal, PATH_BYTES_MAX, TERMS_MAX};
use crate::scim::error::Error;

/// One piece of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, keyword, operator or bare literal.
    Word(String),
    /// A JSON string, decoded.
    Text(String),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `.sub` right behind a `]`.
    Tail(String),
}

/// The tokens of `text`.
/// # Errors
/// `invalidFilter`: longer than [`BYTES_MAX`], nested deeper than [`DEPTH_MAX`], more than [`TERMS_MAX`] terms, a
/// string that does not end or is not JSON, a character no filter has.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    if text.len() > BYTES_MAX {
        return Err(Error::invalid_filter("the filter is longer than 4096 bytes"));
    }
    let mut cutter = Cutter { rest: text, depth: 0, terms: 0, out: Vec::new() };
    while cutter.step()? {}
    Ok(cutter.out)
}

struct Cutter<'a> {
    rest: &'a str,
    depth: usize,
    terms: usize,
    out: Vec<Token>,
}

impl Cutter<'_> {
    /// Takes one token; false at the end.
    fn step(&mut self) -> Result<bool, Error> {
        let behind_bracket = matches!(self.out.last(), Some(Token::CloseBracket));
        let mut chars = self.rest.chars();
        let Some(first) = chars.next() else { return Ok(false) };
        match first {
            ' ' | '\t' | '\r' | '\n' => self.rest = chars.as_str(),
            '(' | '[' => {
                self.rest = chars.as_str();
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(Error::invalid_filter("the filter is nested deeper than 32 levels"));
                }
                self.out.push(if first == '(' { Token::Open } else { Token::OpenBracket });
            }
            ')' | ']' => {
                self.rest = chars.as_str();
                let Some(depth) = self.depth.checked_sub(1) else {
                    return Err(Error::invalid_filter("the filter closes what it never opened"));
                };
                self.depth = depth;
                self.out.push(if first == ')' { Token::Close } else { Token::CloseBracket });
            }
            '"' => self.string()?,
            '.' if behind_bracket => {
                self.rest = chars.as_str();
                let name = self.word();
                if !is_name(&name) {
                    return Err(Error::invalid_filter(
                        "a sub-attribute's name must follow the dot behind a bracket",
                    ));
                }
                self.out.push(Token::Tail(name));
            }
            c if is_word_char(c) => {
                let word = self.word();
                if CompareOp::from_word(&word).is_some() || word.eq_ignore_ascii_case("pr") {
                    self.terms += 1;
                    if self.terms > TERMS_MAX {
                        return Err(Error::invalid_filter("the filter has more than 64 terms"));
                    }
                }
                self.out.push(Token::Word(word));
            }
            _ => {
                return Err(Error::invalid_filter(
                    "the filter has a character that is no part of the grammar",
                ));
            }
        }
        Ok(true)
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c| !is_word_char(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// A JSON string (RFC 7159 §7); the JSON reader decodes its escapes.
    fn string(&mut self) -> Result<(), Error> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else {
            return Err(Error::invalid_filter("a string in the filter has no closing quote"));
        };
        let (quoted, rest) = self.rest.split_at(end + 1);
        let text = serde_json::from_str(quoted)
            .map_err(|_| Error::invalid_filter("a string in the filter is not a JSON string"))?;
        self.rest = rest;
        self.out.push(Token::Text(text));
        Ok(())
    }
}

/// Characters of attribute names, URNs and bare literals.
fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '$' | '/' | '%' | '+' | '@' | '~')
}

/// An attribute's name (RFC 7643 §2.1): a letter first, or `$` as in `$ref`.
pub(super) fn is_name(text: &str) -> bool {
    let rest = text.strip_prefix('$').unwrap_or(text);
    rest.starts_with(|c: char| c.is_ascii_alphabetic())
        && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Part of a name behind a URN: looser, since a URN that itself is meant (`urn:x:1.0`) looks alike.
fn is_part(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$'))
}

impl AttrPath {
    /// Reads `[urn:]name[.sub]`, or `None` if `text` is not of that form or longer than [`PATH_BYTES_MAX`].
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > PATH_BYTES_MAX || !text.chars().all(is_word_char) {
            return None;
        }
        let (urn, name) = match text.rsplit_once(':') {
            Some((urn, name)) => (Some(urn), name),
            None => (None, text),
        };
        let (name, sub) = match name.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (name, None),
        };
        let valid = match urn {
            Some(urn) => !urn.is_empty() && is_part(name) && sub.is_none_or(is_part),
            None => is_name(name) && sub.is_none_or(is_name),
        };
        valid.then(|| Self {
            urn: urn.map(str::to_owned),
            name: name.to_owned(),
            sub: sub.map(str::to_owned),
        })
    }
}

impl Literal {
    /// A bare literal: `true`, `false`, `null` or a number, spelled as JSON spells it.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "null" => Some(Self::Null),
            "true" => Some(Self::Bool(true)),
            "false" => Some(Self::Bool(false)),
            _ => serde_json::from_str(word).ok().map(Self::Number),
        }
    }
}
