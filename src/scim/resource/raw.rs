//! Walks the top level of a stored document without parsing it.
//!
//! The text is our own: what serde_json printed for a [`super::Doc`]. Text that is not (it cannot happen) ends the
//! walk early, it never panics.

/// The members of the object `text` is, in order: the key as written between its quotes, and the value's text.
pub(super) fn members(text: &str) -> Members<'_> {
    Members { text, at: usize::from(text.starts_with('{')) }
}

/// What is between the braces of the object `text` is.
pub(super) fn inside(text: &str) -> &str {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default()
}

/// See [`members`].
pub(super) struct Members<'t> {
    text: &'t str,
    at: usize,
}

impl Members<'_> {
    fn skip(&mut self, separator: u8) {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            if *byte != separator && !byte.is_ascii_whitespace() {
                break;
            }
            self.at += 1;
        }
    }

    /// Past the end of the string whose opening quote `from` is at.
    fn string_end(&self, from: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = from + 1;
        loop {
            match bytes.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    /// Past the end of the value that begins at `from`.
    fn value_end(&self, from: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = from;
        let mut depth = 0_usize;
        loop {
            match bytes.get(at)? {
                b'"' => at = self.string_end(at)?,
                b'{' | b'[' => {
                    depth += 1;
                    at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => return Some(at),
                b'}' | b']' => {
                    depth -= 1;
                    at += 1;
                }
                _ => at += 1,
            }
            if depth == 0 && matches!(bytes.get(at.saturating_sub(1)), Some(b'"' | b'}' | b']')) {
                return Some(at);
            }
        }
    }
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t str, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip(b',');
        if *self.text.as_bytes().get(self.at)? != b'"' {
            return None;
        }
        let key_end = self.string_end(self.at)?;
        let key = self.text.get(self.at + 1..key_end - 1)?;
        self.at = key_end;
        self.skip(b':');
        let value_end = self.value_end(self.at)?;
        let value = self.text.get(self.at..value_end)?;
        self.at = value_end;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn quotes_braces_and_commas_inside_strings_do_not_end_a_value() {
        let text =
            json!({"a\"}": "x\\\",}", "b": [1, {"c": "]"}], "d": {}, "e": -1.5, "f": null}).to_string();
        let found: Vec<_> = members(&text).collect();
        assert_eq!(
            found,
            [
                ("a\\\"}", "\"x\\\\\\\",}\""),
                ("b", "[1,{\"c\":\"]\"}]"),
                ("d", "{}"),
                ("e", "-1.5"),
                ("f", "null")
            ]
        );
        assert_eq!(members("{}").count(), 0);
        assert_eq!(inside("{\"a\":1}"), "\"a\":1");
    }

    #[test]
    fn text_that_is_no_document_ends_the_walk() {
        for text in
            ["", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":[", "[1]", "{\"a\\", "x"]
        {
            assert!(members(text).count() <= 1, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_walk_finds_what_a_parser_finds(object in proptest::collection::btree_map(".*", "\\PC*|[{}\\[\\]\",:\\\\]*", 0..8)) {
            let object: Map<String, Value> =
                object.into_iter().map(|(key, text)| (key, json!([{ "t": text }, 1, text]))).collect();
            let text = serde_json::to_string(&object).unwrap();
            let walked: Map<String, Value> = members(&text)
                .map(|(key, value)| {
                    let key: String = serde_json::from_str(&format!("\"{key}\"")).unwrap();
                    (key, serde_json::from_str(value).unwrap())
                })
                .collect();
            prop_assert_eq!(walked, object);
        }
    }
}
