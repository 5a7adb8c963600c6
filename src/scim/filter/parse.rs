//! Tokens → [`Filter`], by recursive descent along RFC 7644 figure 1. The tokenizer has bounded the depth.

use super::token::{Token, tokens};
use super::{AttrPath, CompareOp, Filter, Literal};
use crate::scim::error::Error;

/// Reads a filter: the whole grammar of RFC 7644 §3.4.2.2, keywords in any letter case, `and` before `or`, and
/// Entra's `emails[type eq "work"].value eq "x"` (which [`super::bind()`] and the dialects judge).
/// # Errors
/// `invalidFilter`, saying which rule was broken, never what was sent.
pub fn parse(text: &str) -> Result<Filter, Error> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), in_brackets: false };
    let filter = parser.alternatives()?;
    match parser.tokens.next() {
        None => Ok(filter),
        Some(_) => Err(Error::invalid_filter("the filter goes on behind its end; `and` or `or` is missing")),
    }
}

/// The three parts of a PATCH path with a value filter: `attr[filter].sub`.
pub(in crate::scim) fn parse_value_path(text: &str) -> Result<(AttrPath, Filter, Option<String>), Error> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), in_brackets: false };
    let attr = parser.path()?;
    let filter = parser.bracketed()?;
    let sub = match parser.tokens.next() {
        None => None,
        Some(Token::Tail(sub)) => Some(sub),
        Some(_) => return Err(Error::invalid_filter("only `.sub` may follow the closing bracket")),
    };
    match parser.tokens.next() {
        None => Ok((attr, filter, sub)),
        Some(_) => Err(Error::invalid_filter("nothing may follow the sub-attribute")),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    in_brackets: bool,
}

impl Parser {
    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is = |token: &Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.tokens.next_if(is).is_some()
    }

    fn alternatives(&mut self) -> Result<Filter, Error> {
        let mut all = vec![self.conjunction()?];
        while self.takes_keyword("or") {
            all.push(self.conjunction()?);
        }
        Ok(join(all, Filter::Or))
    }

    fn conjunction(&mut self) -> Result<Filter, Error> {
        let mut all = vec![self.term()?];
        while self.takes_keyword("and") {
            all.push(self.term()?);
        }
        Ok(join(all, Filter::And))
    }

    fn term(&mut self) -> Result<Filter, Error> {
        if self.tokens.next_if_eq(&Token::Open).is_some() {
            return self.grouped();
        }
        let Some(Token::Word(word)) = self.tokens.next() else {
            return Err(Error::invalid_filter("an attribute is missing where the filter compares"));
        };
        // `not` is an attribute's name unless a parenthesis follows, as in the grammar.
        if word.eq_ignore_ascii_case("not") && self.tokens.next_if_eq(&Token::Open).is_some() {
            return Ok(Filter::Not(Box::new(self.grouped()?)));
        }
        let path = AttrPath::parse(&word).ok_or_else(|| {
            Error::invalid_filter("the filter has an attribute name that is not well formed")
        })?;
        if self.tokens.peek() == Some(&Token::OpenBracket) {
            let filter = Box::new(self.bracketed()?);
            let tail = match self.tokens.next_if(|token| matches!(token, Token::Tail(_))) {
                Some(Token::Tail(sub)) => {
                    let op = self.operator()?;
                    Some((sub, op, self.literal()?))
                }
                _ => None,
            };
            return Ok(Filter::ValuePath { attr: path, filter, tail });
        }
        if self.takes_keyword("pr") {
            return Ok(Filter::Present(path));
        }
        let op = self.operator()?;
        Ok(Filter::Compare { path, op, value: self.literal()? })
    }

    /// What follows an opening parenthesis, up to and with its closing one.
    fn grouped(&mut self) -> Result<Filter, Error> {
        let filter = self.alternatives()?;
        match self.tokens.next() {
            Some(Token::Close) => Ok(filter),
            _ => Err(Error::invalid_filter("a parenthesis of the filter is not closed")),
        }
    }

    /// `[filter]`. Brackets do not nest (RFC 7644 figure 1, `valFilter`).
    fn bracketed(&mut self) -> Result<Filter, Error> {
        if self.in_brackets || self.tokens.next() != Some(Token::OpenBracket) {
            return Err(Error::invalid_filter(
                "a value filter in brackets is missing, or stands inside another",
            ));
        }
        self.in_brackets = true;
        let filter = self.alternatives()?;
        self.in_brackets = false;
        match self.tokens.next() {
            Some(Token::CloseBracket) => Ok(filter),
            _ => Err(Error::invalid_filter("a bracket of the filter is not closed")),
        }
    }

    fn path(&mut self) -> Result<AttrPath, Error> {
        match self.tokens.next() {
            Some(Token::Word(word)) => AttrPath::parse(&word),
            _ => None,
        }
        .ok_or_else(|| Error::invalid_filter("an attribute name is missing or not well formed"))
    }

    fn operator(&mut self) -> Result<CompareOp, Error> {
        match self.tokens.next() {
            Some(Token::Word(word)) => CompareOp::from_word(&word),
            _ => None,
        }
        .ok_or_else(|| Error::invalid_filter("an operator is missing; one of eq ne co sw ew gt ge lt le pr"))
    }

    fn literal(&mut self) -> Result<Literal, Error> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Some(Literal::String(text)),
            Some(Token::Word(word)) => Literal::from_word(&word),
            _ => None,
        }
        .ok_or_else(|| {
            Error::invalid_filter(
                "a value is missing; a string in double quotes, a number, true, false or null",
            )
        })
    }
}

/// One alone is itself; several are joined flat.
fn join(mut all: Vec<Filter>, joined: fn(Vec<Filter>) -> Filter) -> Filter {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            all.extend(last);
            joined(all)
        }
    }
}
