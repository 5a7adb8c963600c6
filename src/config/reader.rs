//! A parsed TOML document, read key by key with its places.
//!
//! INVARIANT: the keys a section knows are exactly those its reader asks for, so that the list of known keys
//! cannot drift from the code that reads them. Hence a reader asks for *every* key before it gives up on one,
//! and nothing here stops at the first fault.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Kind, Problem, Source, nearest};
use crate::telemetry::escape;

/// Collects what is wrong while a document is read.
#[derive(Debug)]
pub(super) struct Report<'a> {
    source: &'a Source,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<&'static str>>,
    takes: RefCell<BTreeMap<String, BTreeSet<Takes>>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
            takes: RefCell::default(),
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    /// Every key that was asked for.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<&'static str> {
        self.known.borrow().clone()
    }

    /// Every place that was asked for, such as `target.wait.min`, and what its value was read as.
    #[cfg(test)]
    pub(super) fn takes(&self) -> BTreeMap<String, BTreeSet<Takes>> {
        self.takes.borrow().clone()
    }

    fn note(&self, slot: &str, takes: Option<Takes>) {
        // What an operator names himself (options, headers, quirks) is no key of ours.
        if !slot.ends_with('*') {
            self.takes.borrow_mut().entry(slot.to_owned()).or_default().extend(takes);
        }
    }

    pub(super) fn fail(&self, kind: Kind, span: &Range<usize>, key: Option<String>, text: Text) {
        self.problems.borrow_mut().push(self.problem(kind, span, key, text));
    }

    fn warn(&self, span: &Range<usize>, key: Option<String>, text: Text) {
        self.warnings.borrow_mut().push(self.problem(Kind::Invalid, span, key, text));
    }

    fn problem(&self, kind: Kind, span: &Range<usize>, key: Option<String>, text: Text) -> Problem {
        Problem {
            kind,
            file: self.source.file.clone(),
            place: Some(self.source.place(span)),
            key,
            message: text.message,
            help: text.help,
        }
    }
}

/// What a value is read as: told by the reader itself, so that the reference cannot drift from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takes {
    Text,
    Bool,
    List,
    OneOrList,
    Table,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// One of these words.
    Words(Vec<&'static str>),
    /// A text of a certain form, such as `a duration, 1s to 5m`.
    Form(String),
}

/// A message with what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// What is wrong, without advice.
pub(super) fn what(message: impl Display) -> Text {
    Text { message: message.to_string(), help: None }
}

impl Text {
    /// Adds what to do about it.
    pub(super) fn help(mut self, help: impl Display) -> Self {
        self.help = Some(help.to_string());
        self
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Table<'a> {
    path: String,
    /// The path without names and numbers, such as `target.wait`.
    slot: String,
    span: Range<usize>,
    map: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    report: &'a Report<'a>,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(map: &'a DeTable<'a>, report: &'a Report<'a>) -> Self {
        Self { path: String::new(), slot: String::new(), span: 0..0, map, asked: RefCell::default(), report }
    }

    /// The value of `key`; from here on the key is known.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.report.known.borrow_mut().insert(key);
        self.report.note(&self.slot_of(key), None);
        self.look(key)
    }

    fn look(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let (name, value) = self.map.get_key_value(key)?;
        Some(Value {
            path: self.join(key),
            slot: self.slot_of(key),
            key_span: name.span(),
            span: value.span(),
            inner: value.get_ref(),
            report: self.report,
        })
    }

    /// The section `key`, empty where it is not written.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.get(key).and_then(|value| value.table())
    }

    /// Each element of `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.inner else {
            value.fail(what(format!("`{key}` must be a list of tables")).help(format!("write `[[{key}]]`")));
            return Vec::new();
        };
        array
            .iter()
            .enumerate()
            .filter_map(|(n, element)| value.element(n, element).table())
            .map(Table::named)
            .collect()
    }

    /// The value of `key`; missing is a problem.
    pub(super) fn require(&self, key: &'static str, why: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.fail_at(Some(key), what(format!("`{}` is missing", self.join(key))).help(why));
        }
        value
    }

    /// A key that the documentation names and this version cannot obey: refused, never ignored.
    pub(super) fn planned(&self, key: &'static str, what_it_is: &str) {
        if let Some(value) = self.look(key) {
            value.fail_key(
                what(format!("`{}` is not supported by this version", value.path))
                    .help(format!("{what_it_is}; remove it")),
            );
        }
    }

    /// A problem with the section as a whole.
    pub(super) fn fail(&self, text: Text) {
        self.fail_at(None, text);
    }

    fn fail_at(&self, key: Option<&str>, text: Text) {
        let key = key.map_or_else(|| self.path.clone(), |key| self.join(key));
        self.report.fail(Kind::Invalid, &self.span, Some(key), text);
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.map {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let section = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let text = what(format!("unknown key `{}`{section}", escape(name)));
            let text = match nearest(name, asked.iter().copied()) {
                _ if asked.contains(&format!("{name}_file").as_str()) => {
                    text.help(format!("secrets are read from a file: use `{name}_file`"))
                }
                Some(near) => text.help(format!("did you mean `{near}`?")),
                None => text.help(format!("known here: {}", list(&asked))),
            };
            self.report.fail(Kind::Invalid, &key.span(), Some(self.join(name)), text);
        }
    }

    /// The same table under its own name: `target.opa` instead of `target[0]`.
    fn named(mut self) -> Self {
        let name = ["name", "id"].iter().find_map(|key| self.map.get(*key)?.get_ref().as_str());
        if let (Some(name), Some((list, _))) = (name, self.path.rsplit_once('[')) {
            self.path = format!("{list}.{}", escape(name));
        }
        self
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { escape(key).to_string() } else { format!("{}.{}", self.path, escape(key)) }
    }

    fn slot_of(&self, key: &str) -> String {
        if self.slot.is_empty() { key.to_owned() } else { format!("{}.{key}", self.slot) }
    }

    /// How the section is called in messages, such as `target.opa`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Each key with its value, for tables whose keys are the operator's own.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a, '_> {
        self.map.iter().map(|(key, value)| {
            let name: &str = key.get_ref();
            let value = Value {
                path: self.join(name),
                slot: self.slot_of("*"),
                key_span: key.span(),
                span: value.span(),
                inner: value.get_ref(),
                report: self.report,
            };
            (name, value)
        })
    }
}

/// One value, with its key.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    path: String,
    slot: String,
    key_span: Range<usize>,
    span: Range<usize>,
    inner: &'a DeValue<'a>,
    report: &'a Report<'a>,
}

impl<'a> Value<'a> {
    fn element(&self, n: usize, element: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            path: format!("{}[{n}]", self.path),
            slot: self.slot.clone(),
            key_span: element.span(),
            span: element.span(),
            inner: element.get_ref(),
            report: self.report,
        }
    }

    /// Tells the reference what this is read as.
    pub(super) fn takes(&self, takes: Takes) {
        self.report.note(&self.slot, Some(takes));
    }

    /// How the key is called in messages, such as `target.opa.path`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value is wrong.
    pub(super) fn fail(&self, text: Text) {
        self.report.fail(Kind::Invalid, &self.span, Some(self.path.clone()), text);
    }

    /// The value is wrong in another way than by its text, such as a file that is not there.
    pub(super) fn fail_as(&self, kind: Kind, text: Text) {
        self.report.fail(kind, &self.span, Some(self.path.clone()), text);
    }

    /// The key should not be there.
    pub(super) fn fail_key(&self, text: Text) {
        self.report.fail(Kind::Invalid, &self.key_span, Some(self.path.clone()), text);
    }

    /// The value is allowed and probably not meant.
    pub(super) fn warn(&self, text: Text) {
        self.report.warn(&self.span, Some(self.path.clone()), text);
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.fail(what(format!("`{}` must be {wanted}, not {}", self.path, kind_of(self.inner))));
        None
    }

    /// The text, if it is one; no report if not.
    pub(super) fn peek_text(&self) -> Option<&'a str> {
        self.inner.as_str()
    }

    /// The line it stands in, from 1.
    pub(super) fn line(&self) -> usize {
        self.report.source.place(&self.key_span).line
    }

    pub(super) fn is_text(&self) -> bool {
        self.inner.is_str()
    }

    pub(super) fn is_list(&self) -> bool {
        self.inner.is_array()
    }

    pub(super) fn is_table(&self) -> bool {
        self.inner.is_table()
    }

    pub(super) fn table(&self) -> Option<Table<'a>> {
        self.takes(Takes::Table);
        let DeValue::Table(map) = self.inner else { return self.wrong_type("a table") };
        Some(Table {
            path: self.path.clone(),
            slot: self.slot.clone(),
            span: self.key_span.clone(),
            map,
            asked: RefCell::default(),
            report: self.report,
        })
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.takes(Takes::Text);
        match self.inner.as_str() {
            Some(text) => Some(text),
            None => self.wrong_type("a text in quotes"),
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        self.takes(Takes::Bool);
        match self.inner.as_bool() {
            Some(bool) => Some(bool),
            None => self.wrong_type("true or false"),
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.takes(Takes::Number(*range.start(), *range.end()));
        let Some(integer) = self.inner.as_integer() else { return self.wrong_type("a whole number") };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = range.into_inner();
                self.fail(what(format!("`{}` must be from {low} to {high}, not {integer}", self.path)));
                None
            }
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        self.inner.is_integer()
    }

    /// Each element of a list; `None` if it is none.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        self.takes(Takes::List);
        let DeValue::Array(array) = self.inner else { return self.wrong_type("a list") };
        Some(array.iter().enumerate().map(|(n, element)| self.element(n, element)).collect())
    }

    /// Each element of a list, or the value itself.
    pub(super) fn list_or_one(&self) -> Vec<Value<'a>> {
        self.takes(Takes::OneOrList);
        if self.is_list() { self.list().unwrap_or_default() } else { vec![self.clone()] }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let texts: Vec<_> = self.list()?.iter().map(Self::text).collect();
        texts.into_iter().map(|text| text.map(str::to_owned)).collect()
    }

    /// What `parse` makes of the text; its error becomes the problem, with the text.
    pub(super) fn parsed<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text()?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(what(format!("`{}` = `{}`: {error}", self.path, escape(text))));
                None
            }
        }
    }

    /// One of the words of a table.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.takes(Takes::Words(words.iter().map(|(word, _)| *word).collect()));
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let wrong = what(format!("`{}` cannot be `{}`", self.path, escape(text)));
        self.fail(match nearest(text, known.iter().copied()) {
            Some(near) => wrong.help(format!("did you mean `{near}`? (known: {})", list(&known))),
            None => wrong.help(format!("use one of {}", list(&known))),
        });
        None
    }
}

/// Each word once, in the order they were asked for.
fn list(words: &[&str]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for word in words {
        if !told.contains(word) {
            told.push(word);
        }
    }
    told.join(", ")
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
