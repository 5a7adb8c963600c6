//! What may stand in a target's `options`, and how a format asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Template;
use crate::model::{TargetName, UnixIdOwner};

/// One documented option of a format.
#[derive(Debug, Clone, Copy)]
pub struct OptionDoc {
    /// Key in the target's `options`.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: OptionKind,
    /// The default as it would be written in the config.
    pub default: &'static str,
    /// One sentence: its effect.
    pub description: &'static str,
}

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy)]
pub enum OptionKind {
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text of a shape: what it must be, in words, and the test.
    Shaped(&'static str, fn(&str) -> bool),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of texts of a shape.
    Texts(&'static str, fn(&str) -> bool),
    /// A table of texts of a shape.
    Map(&'static str, fn(&str) -> bool),
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// Two such numbers, the lowest and the highest of a range.
    Range(u64, u64),
}

/// Stands as the default of an option that every target of its format must set.
pub const REQUIRED: &str = "required";

impl OptionKind {
    /// What the value should have been, if it is not that.
    pub(super) fn complaint(self, value: &Value) -> Option<String> {
        let is_text = |value: &Value, fits: &dyn Fn(&str) -> bool| value.as_str().is_some_and(fits);
        let list = |fits: &dyn Fn(&str) -> bool| {
            value.as_array().is_some_and(|list| list.iter().all(|value| is_text(value, fits)))
        };
        let (fits, wanted) = match self {
            Self::Flag => (value.is_boolean(), "true or false".to_owned()),
            Self::Text => (value.is_string(), "a text".to_owned()),
            Self::Choice(words) => (
                value.as_str().is_some_and(|word| words.contains(&word)),
                format!("one of {}", words.join(", ")),
            ),
            Self::Shaped(shape, fits) => (value.as_str().is_some_and(fits), shape.to_owned()),
            Self::Words(words) => {
                (list(&|word| words.contains(&word)), format!("a list of {}", words.join(", ")))
            }
            Self::Texts(shape, fits) => (list(&fits), format!("a list, each {shape}")),
            Self::Map(shape, fits) => (
                value.as_object().is_some_and(|map| map.values().all(|value| is_text(value, &fits))),
                format!("a table, each value {shape}"),
            ),
            Self::Number(low, high) => (
                value.as_u64().is_some_and(|number| (low..=high).contains(&number)),
                format!("a whole number from {low} to {high}"),
            ),
            Self::Range(low, high) => {
                let ends: Vec<u64> =
                    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
                let is_right =
                    |ends: &[u64]| matches!(ends, [from, to] if low <= *from && from <= to && *to <= high);
                (
                    value.as_array().is_some_and(|list| list.len() == 2) && is_right(&ends),
                    format!(
                        "a range, such as `[{}, {}]`, within {low} and {high}",
                        low.max(60_500),
                        high.min(64_999)
                    ),
                )
            }
        };
        (!fits).then_some(wanted)
    }
}

/// What steers one rendering besides the view.
#[derive(Debug, Clone)]
pub struct Options {
    /// The target rendered for.
    pub target: TargetName,
    /// The compiled template; only the format `template` needs it.
    pub template: Option<Arc<Template>>,
    /// The target's `options` table, checked by [`super::Format::check_options`].
    pub values: Map<String, Value>,
    /// The numbers of those that [`super::Format::unix_ids`] asked for.
    pub ids: BTreeMap<UnixIdOwner, u32>,
    /// Relations that the reader may hold and should not, of the kind [`super::Format::relations`] gives.
    pub deletes: BTreeSet<String>,
}

impl Options {
    /// No template and every option at its default.
    pub fn new(target: TargetName) -> Self {
        Self { target, template: None, values: Map::new(), ids: BTreeMap::new(), deletes: BTreeSet::new() }
    }

    /// Every role that stands in an option, and one more.
    pub(super) fn roles_named(&self) -> BTreeSet<String> {
        let listed = self.values.values().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let keyed = self.values.values().filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str);
        let one = self.values.get("role").and_then(Value::as_str);
        listed.chain(keyed).chain(one).chain(["admin"]).map(str::to_owned).collect()
    }

    /// A flag, false unless set.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A text or a word.
    pub(crate) fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.get(name).and_then(Value::as_str).unwrap_or(default)
    }

    /// A list of texts; `None` unless set.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.values.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    /// A table of texts, empty unless set.
    pub(crate) fn map(&self, name: &str) -> BTreeMap<&str, &str> {
        let table = self.values.get(name).and_then(Value::as_object);
        let entries = table.into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
    }

    /// A range of whole numbers, both ends in it; `None` unless set.
    pub(crate) fn range(&self, name: &str) -> Option<RangeInclusive<u32>> {
        let [low, high] = self.values.get(name)?.as_array()?.as_slice() else { return None };
        Some(u32::try_from(low.as_u64()?).ok()?..=u32::try_from(high.as_u64()?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_takes_its_values_and_says_what_it_wanted() {
        let digits: fn(&str) -> bool = |text| text.chars().all(|c| c.is_ascii_digit());
        let cases = [
            (OptionKind::Flag, json!(true), json!(1), "true or false"),
            (OptionKind::Text, json!("x"), json!(1), "a text"),
            (OptionKind::Choice(&["a", "b"]), json!("a"), json!("c"), "one of a, b"),
            (OptionKind::Shaped("digits", digits), json!("12"), json!("x"), "digits"),
            (OptionKind::Words(&["a", "b"]), json!(["b"]), json!(["c"]), "a list of a, b"),
            (
                OptionKind::Texts("digits", digits),
                json!(["1", "2"]),
                json!(["1", "x"]),
                "a list, each digits",
            ),
            (
                OptionKind::Map("digits", digits),
                json!({"a": "1"}),
                json!({"a": 1}),
                "a table, each value digits",
            ),
            (OptionKind::Number(1, 5), json!(5), json!(6), "a whole number from 1 to 5"),
            (
                OptionKind::Range(1, 99_999),
                json!([60_500, 60_500]),
                json!([2, 1]),
                "a range, such as `[60500, 64999]`, within 1 and 99999",
            ),
        ];
        for (kind, good, bad, wanted) in cases {
            assert_eq!(kind.complaint(&good), None, "{good}");
            assert_eq!(kind.complaint(&bad).as_deref(), Some(wanted), "{bad}");
        }
    }
}
