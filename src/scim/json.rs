//! The one reader of JSON that clients send.
//!
//! Stricter than serde_json alone: an object with the same key twice is refused, since two readers may take two
//! different values from it, and so is the character U+0000, which neither SQLite's text functions nor any
//! policy file carries. Depth is bounded at 128 by serde_json itself.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::Error;

/// Most characters of a client's key that an error repeats.
const KEY_CHARS_MAX: usize = 64;

/// Reads a whole body.
///
/// # Errors
/// `invalidSyntax` for what is not one JSON value in UTF-8, deeper than 128, with an unpaired surrogate, or with a
/// key given twice in one object; `invalidValue` for text with U+0000.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let problem = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = Seed { problem: &problem, key: "" }.deserialize(&mut reader);
    if let Some(error) = problem.into_inner() {
        return Err(error);
    }
    let value = parsed.map_err(|error| syntax(&error))?;
    reader.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

/// Says where the text stops being JSON; serde_json's own messages name what it met but not the text around.
fn syntax(error: &serde_json::Error) -> Error {
    use serde_json::error::Category;
    let at = format!("line {}, column {}", error.line(), error.column());
    Error::invalid_syntax(match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => "the request body is empty".to_owned(),
        Category::Eof => format!("the request body ends early, at {at}"),
        _ => format!("the request body is not valid JSON at {at}"),
    })
}

/// A key short enough to be repeated in an error.
fn short(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(KEY_CHARS_MAX).collect()
}

/// Carries the key above a value down to it, and a problem that has its own answer up.
#[derive(Clone, Copy)]
struct Seed<'a> {
    problem: &'a RefCell<Option<Error>>,
    key: &'a str,
}

impl Seed<'_> {
    fn refuse<T, E: serde::de::Error>(self, error: Error) -> Result<T, E> {
        self.problem.replace(Some(error));
        Err(E::custom("refused"))
    }

    fn text<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        if text.as_bytes().contains(&0) {
            let key = short(self.key);
            return self.refuse(Error::invalid_value(format!(
                "attribute `{key}` holds the character U+0000; remove it"
            )));
        }
        Ok(Value::String(text))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.text(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        self.text(text)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if key.as_bytes().contains(&0) {
                return self.refuse(Error::invalid_value(format!(
                    "the name of attribute `{}` holds the character U+0000; remove it",
                    short(&key)
                )));
            }
            let value = access.next_value_seed(Seed { problem: self.problem, key: &key })?;
            match object.entry(key) {
                serde_json::map::Entry::Vacant(entry) => entry.insert(value),
                serde_json::map::Entry::Occupied(entry) => {
                    let key = short(entry.key());
                    return self
                        .refuse(Error::invalid_syntax(format!("`{key}` is given twice in one JSON object")));
                }
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> (String, String) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.status, 400);
        (error.scim_type.unwrap().as_str().to_owned(), error.detail)
    }

    fn syntax_error(detail: &str) -> (String, String) {
        ("invalidSyntax".to_owned(), detail.to_owned())
    }

    #[test]
    fn what_is_json_is_read_as_serde_json_reads_it() {
        let text =
            r#"{"b":[1,-2,3.5,null,true,"\u00e9\ud83d\ude00"],"a":{"$ref":"x"},"big":18446744073709551615}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth() {
        assert_eq!(
            refused(br#"{"a":[{"active":true,"active":false}]}"#),
            syntax_error("`active` is given twice in one JSON object")
        );
        assert_eq!(refused(br#"{"a":1,"\u0061":2}"#), syntax_error("`a` is given twice in one JSON object"));
    }

    #[test]
    fn broken_json_says_where() {
        assert_eq!(refused(b""), syntax_error("the request body is empty"));
        assert_eq!(refused(br#"{"a":"#), syntax_error("the request body ends early, at line 1, column 5"));
        assert_eq!(refused(b"{} x"), syntax_error("the request body is not valid JSON at line 1, column 4"));
        assert_eq!(refused(b"\xff"), syntax_error("the request body is not valid JSON at line 1, column 1"));
    }

    #[test]
    fn unpaired_surrogates_bad_utf8_and_depth_are_syntax_errors() {
        assert_eq!(refused(br#"{"a":"\ud800"}"#).0, "invalidSyntax");
        assert_eq!(refused(b"{\"a\":\"\xc3\x28\"}").0, "invalidSyntax");
        assert_eq!(refused(br#"{"a":1e999}"#).0, "invalidSyntax");
        let deep = "[".repeat(100_000);
        assert_eq!(refused(deep.as_bytes()).0, "invalidSyntax");
        let nested = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(parse(nested.as_bytes()).is_ok());
    }

    #[test]
    fn the_null_character_is_refused_by_the_name_of_its_attribute() {
        assert_eq!(
            refused(br#"{"name":{"givenName":"a\u0000b"}}"#),
            (
                "invalidValue".to_owned(),
                "attribute `givenName` holds the character U+0000; remove it".to_owned()
            )
        );
        assert_eq!(refused(br#"{"x":["\u0000"]}"#).1, "attribute `x` holds the character U+0000; remove it");
        assert_eq!(refused(br#"{"a\u0000":1}"#).0, "invalidValue");
    }
}
