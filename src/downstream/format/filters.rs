//! What a template can pipe a text through. A filter writes the text so that the reader gets exactly it back, or
//! refuses; what was refused is noted, so that the template is rendered once more without whoever it belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::escape::{self, Refused};

/// A notation for one text.
type Notation = fn(&str) -> Result<String, Refused>;

/// The notations by filter name, sorted.
const NOTATIONS: &[(&str, Notation)] = &[
    ("csv", escape::csv),
    ("csv_guarded", escape::csv_guarded),
    ("haproxy_word", escape::haproxy_word),
    ("nginx_key", escape::nginx_key),
    ("nginx_value", escape::nginx_value),
    ("pg_ident", escape::pg_ident),
    ("shell", escape::shell),
    ("sql_ident", escape::sql_ident),
    ("sql_string", escape::sql_string),
    ("sudo_user", escape::sudo_user),
    ("word", escape::word),
];

/// Filters of our own beside the notations, sorted.
const OTHERS: &[&str] = &["joined", "json", "tojson", "toml", "yaml"];

/// Texts that filters refused while a template was rendered, each with the first reason.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<BTreeMap<String, Refused>>>);

impl Refusals {
    fn note(&self, text: &str, why: Refused) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(text.to_owned()).or_insert(why);
    }

    /// All of them, leaving none.
    pub(super) fn take(&self) -> BTreeMap<String, Refused> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds every filter; what they refuse goes to `refusals` and stands in the output as nothing, which is thrown away.
pub(super) fn add(environment: &mut Environment<'_>, refusals: &Refusals) {
    for &(name, notation) in NOTATIONS {
        let refusals = refusals.clone();
        environment.add_filter(name, move |value: Value| one_text(name, &value, notation, &refusals));
    }
    let noted = refusals.clone();
    environment
        .add_filter("joined", move |value: Value, separator: String| joined(&value, &separator, &noted));
    for name in ["json", "tojson"] {
        environment.add_filter(name, |value: Value, options: Kwargs| {
            let indent: Option<usize> = options.get("indent")?;
            options.assert_all_used()?;
            json(&value, indent)
        });
    }
    environment.add_filter("yaml", |value: Value| json(&value, None));
    environment.add_filter("toml", |value: Value| toml(&value));
}

/// The nearest of our filters to a name that does not exist.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    NOTATIONS
        .iter()
        .map(|&(known, _)| known)
        .chain(OTHERS.iter().copied())
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn one_text(
    filter: &'static str,
    value: &Value,
    notation: Notation,
    refusals: &Refusals,
) -> Result<Value, Error> {
    let text = text_of(filter, value)?;
    Ok(match notation(&text) {
        Ok(written) => Value::from_safe_string(written),
        Err(why) => {
            refusals.note(&text, why);
            Value::from_safe_string(String::new())
        }
    })
}

fn text_of(filter: &str, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number | ValueKind::Bool => Ok(value.to_string()),
        ValueKind::None => {
            Err(invalid(format!("`{filter}` got an absent value; test for it with `is not none` first")))
        }
        ValueKind::Seq | ValueKind::Iterable => Err(invalid(format!(
            "`{filter}` takes one text, not a list; write `list | map(\"{filter}\") | join(…)`"
        ))),
        kind => Err(invalid(format!("`{filter}` takes one text, not a {kind}"))),
    }
}

/// A list as one text; an item that holds the separator would become two, so it is refused.
fn joined(value: &Value, separator: &str, refusals: &Refusals) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(invalid("`joined` needs a separator, e.g. `joined(\",\")`".into()));
    }
    let mut texts = Vec::new();
    for item in value.try_iter()? {
        let text = text_of("joined", &item)?;
        if text.contains(separator) || text.is_empty() {
            refusals.note(&text, "the text holds the separator of a list");
        } else {
            texts.push(text);
        }
    }
    Ok(Value::from(texts.join(separator)))
}

/// Any value as JSON, which is YAML as well; `indent=2` spreads it over lines.
fn json(value: &Value, indent: Option<usize>) -> Result<Value, Error> {
    let failed = |error: serde_json::Error| invalid(format!("cannot be written as JSON: {error}"));
    let text = match indent {
        None => serde_json::to_string(value).map_err(failed)?,
        Some(width) => {
            let blanks = " ".repeat(width.min(16));
            let mut bytes = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
            serde::Serialize::serialize(value, &mut serializer).map_err(failed)?;
            String::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?
        }
    };
    Ok(Value::from_safe_string(escape::json_text(&text)))
}

/// A text, number, truth value or list of these as a TOML value; TOML has no null, and tables have their own lines.
fn toml(value: &Value) -> Result<Value, Error> {
    toml_text(value).map(Value::from_safe_string)
}

fn toml_text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(escape::quoted(value.as_str().unwrap_or_default())),
        ValueKind::Bool => Ok(value.to_string()),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<String>, Error> = value.try_iter()?.map(|item| toml_text(&item)).collect();
            Ok(format!("[{}]", items?.join(", ")))
        }
        kind => Err(invalid(format!("`toml` cannot write a {kind} as one value"))),
    }
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_filters_are_sorted_and_typos_find_the_nearest() {
        assert!(NOTATIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(OTHERS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(nearest("nginxkey"), Some("nginx_key"));
        assert_eq!(nearest("sudouser"), Some("sudo_user"));
        assert_eq!(nearest("zzz"), None);
    }
}
