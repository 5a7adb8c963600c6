//! The target of a request: path and query, for people to read and for the wire.

use percent_encoding::percent_decode_str;

use super::{ELIDED, Scrubber, Style, is_attribute, is_ours, is_protocol};

impl Scrubber {
    /// Path and query decoded, for a list that people read.
    pub fn shown(&mut self, path: &str, query: Option<&str>) -> String {
        let path = self.target_path(path, &|text| text.to_owned());
        match query {
            None => path,
            Some(query) => format!("{path}?{}", self.query(query, &|text, _| text.to_owned())),
        }
    }

    /// Path and query as they go on the wire.
    pub fn wire(&mut self, path: &str, query: Option<&str>) -> String {
        let path = self.target_path(path, &|text| encode(text, ""));
        match query {
            None => path,
            Some(query) => format!("{path}?{}", self.query(query, &encode)),
        }
    }

    fn target_path(&mut self, path: &str, write: &dyn Fn(&str) -> String) -> String {
        let all: Vec<String> = path
            .split('/')
            .map(|segment| {
                let Ok(text) = percent_decode_str(segment).decode_utf8() else { return write(ELIDED) };
                let is_version = matches!(text.strip_prefix('v'), Some(rest) if rest.len() == 1);
                let is_urn = text.starts_with("urn:ietf:params:scim:") && is_attribute(&text);
                if text.is_empty() || is_version || is_urn || is_protocol(&text) || is_ours(&text) {
                    segment.to_owned()
                } else {
                    write(&self.value("id", &text))
                }
            })
            .collect();
        all.join("/")
    }

    fn query(&mut self, query: &str, write: &dyn Fn(&str, &str) -> String) -> String {
        let pairs: Vec<String> = query.split('&').map(|pair| self.pair(pair, write)).collect();
        pairs.join("&")
    }

    fn pair(&mut self, pair: &str, write: &dyn Fn(&str, &str) -> String) -> String {
        let (raw_key, raw_value) =
            pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
        let (key, value) = (decode(raw_key), raw_value.map(decode));
        let folded = key.to_ascii_lowercase();
        // A parameter that no page of the protocol names is not shown at all: it may be anything.
        let is_known = matches!(
            folded.as_str(),
            "filter"
                | "startindex"
                | "count"
                | "sortby"
                | "sortorder"
                | "attributes"
                | "excludedattributes"
                | "cursor"
                | "aadoptscim062020"
        );
        let name = if is_known || key.is_empty() { key } else { self.free_or_elided(&key) };
        let value = value.map(|value| match folded.as_str() {
            "filter" => self.filter(&value),
            "startindex" | "count" if value.chars().all(|c| c.is_ascii_digit() || c == '-') => value,
            "sortorder" if matches!(value.as_str(), "ascending" | "descending") => value,
            "sortby" | "attributes" | "excludedattributes" => self.names(&value),
            _ => self.value(&folded, &value),
        });
        match (value, raw_value) {
            (Some(value), Some(raw)) => format!("{}={}", write(&name, raw_key), write(&value, raw)),
            _ => write(&name, raw_key),
        }
    }

    fn names(&mut self, list: &str) -> String {
        let all: Vec<String> = list
            .split(',')
            .map(|name| if is_attribute(name.trim()) { name.to_owned() } else { self.path(name) })
            .collect();
        all.join(",")
    }

    fn free_or_elided(&mut self, text: &str) -> String {
        match self.style {
            Style::Elide => ELIDED.to_owned(),
            Style::Invent(_) => self.words(text, false),
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// `text` in the encoding that `raw` uses: a plus for a blank where it has one, and bare what it has bare.
fn encode(text: &str, raw: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        let is_bare =
            raw.contains(c) && matches!(c, '@' | ':' | ',' | '(' | ')' | '[' | ']' | '\'' | '/' | '$' | '*');
        match byte {
            b' ' if raw.contains('+') => out.push('+'),
            _ if c.is_ascii_alphanumeric() || b"-._~".contains(&byte) || is_bare => out.push(c),
            _ => {
                out.push('%');
                out.extend(
                    [byte >> 4, byte & 15]
                        .iter()
                        .filter_map(|half| char::from_digit(u32::from(*half), 16))
                        .map(|c| c.to_ascii_uppercase()),
                );
            }
        }
    }
    out
}
