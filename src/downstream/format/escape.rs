//! How a name is written so that it stays a name: one function per reader's notation, each refusing what the
//! notation cannot carry. The rules were tried against the real readers; docs/formats.md tells each.

use std::fmt::Write as _;

use base64::Engine as _;

use super::fit::{unfit, unfit_char};

/// Why a text cannot be written in a notation.
pub(super) type Refused = &'static str;

/// Longest name that any notation takes: nginx refuses tokens over about 4090 bytes, PostgreSQL over 10 kB, and
/// HAProxy cuts lines at 16383.
const NAME_BYTES_MAX: usize = 2048;

/// What holds in every notation of names: not empty, not too long, no control characters.
fn name(text: &str) -> Result<&str, Refused> {
    if let Some(why) = unfit(text) {
        return Err(why);
    }
    if text.len() > NAME_BYTES_MAX { Err("the name is longer than 2048 bytes") } else { Ok(text) }
}

/// What holds in every notation of text: no control characters.
fn text_without_controls(text: &str) -> Result<&str, Refused> {
    text.chars().find_map(unfit_char).map_or(Ok(text), Err)
}

/// JSON already in text form, with everything that a reader may take for a line end or a control written as `\uXXXX`.
/// Such characters stand only inside strings there, where the escape means the same.
pub(super) fn json_text(json: &str) -> String {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c > '~' && (unfit_char(c).is_some() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            let _infallible = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// A string in double quotes with JSON escapes, which YAML and TOML read alike: never a plain `no`, `12:30` or `~`.
pub(super) fn quoted(text: &str) -> String {
    json_text(&serde_json::Value::from(text).to_string())
}

/// One CSV cell (RFC 4180).
pub(super) fn csv(text: &str) -> Result<String, Refused> {
    let text = text_without_controls(text)?;
    let is_plain = !text.contains([',', '"']) && text.trim() == text;
    Ok(if is_plain { text.to_owned() } else { doubled(text, '"') })
}

/// One CSV cell for people with spreadsheets, which would run a cell that starts like a formula.
pub(super) fn csv_guarded(text: &str) -> Result<String, Refused> {
    if text.starts_with(['=', '+', '-', '@']) {
        return Err("the text starts like a spreadsheet formula");
    }
    csv(text)
}

/// One argument for a POSIX shell. A leading `-` would be an option to whatever runs, quoted or not.
pub(super) fn shell(text: &str) -> Result<String, Refused> {
    let text = text_without_controls(text)?;
    if text.starts_with('-') {
        return Err("the text starts with `-` and would be taken for an option");
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The URL-safe alphabet of base64 without padding, for readers whose ids take few characters. One text, one code.
pub(super) fn base64url(text: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// One word that no line-based reader splits or gives a meaning: letters, digits, `.`, `_`, `-`, `@`, `+`, beginning
/// with a letter, a digit or `_`.
pub(super) fn word(text: &str) -> Result<String, Refused> {
    let text = name(text)?;
    if !text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+')) {
        return Err("the name has a character other than letters, digits and . _ - @ +");
    }
    if text.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        Ok(text.to_owned())
    } else {
        Err("the name does not begin with a letter, a digit or _")
    }
}

/// The key of an nginx `map` line, quoted. The backslash in front takes every special meaning away (`~`, `include`,
/// `default`, `hostnames`, `volatile`); one alone would be an escape, so the file holds two.
pub(super) fn nginx_key(text: &str) -> Result<String, Refused> {
    Ok(format!(r#""\\{}""#, name(text)?.replace('\\', r"\\").replace('"', "\\\"")))
}

/// The value of an nginx `map` line, quoted. `$` begins a variable and has no escape.
pub(super) fn nginx_value(text: &str) -> Result<String, Refused> {
    let text = text_without_controls(text)?;
    if text.contains('$') {
        return Err("the text has a `$`, which nginx reads as a variable");
    }
    if text.len() > 4000 {
        return Err("the text is longer than 4000 bytes, more than nginx takes");
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")))
}

/// The key of a HAProxy map line: no quotes and no escapes exist there.
pub(super) fn haproxy_word(text: &str) -> Result<String, Refused> {
    let text = name(text)?;
    if text.contains(char::is_whitespace) {
        return Err("the name has a blank, where HAProxy ends the key");
    }
    if text.starts_with('#') {
        Err("the name starts with `#`, a comment to HAProxy")
    } else {
        Ok(text.to_owned())
    }
}

/// A PostgreSQL identifier in double quotes. Over 63 bytes the server would cut it, and two users become one.
pub(super) fn sql_ident(text: &str) -> Result<String, Refused> {
    let text = name(text)?;
    if text.len() > 63 {
        return Err("the name is longer than 63 bytes, where PostgreSQL cuts it");
    }
    let folded = text.to_ascii_lowercase();
    if folded.starts_with("pg_") || matches!(folded.as_str(), "public" | "none") {
        return Err("the name is reserved in PostgreSQL");
    }
    Ok(doubled(text, '"'))
}

/// An SQL string. A backslash means different things to different servers.
pub(super) fn sql_string(text: &str) -> Result<String, Refused> {
    let text = text_without_controls(text)?;
    if text.contains('\\') {
        return Err("the text has a backslash, which SQL servers read differently");
    }
    Ok(doubled(text, '\''))
}

/// A user in sudoers, without quotes: the first byte and all but `[A-Za-z0-9_.-]` as `\xHH`, so that it is never an
/// alias, a group or a keyword. `#` and `+` in front keep their meaning even so.
pub(super) fn sudo_user(text: &str) -> Result<String, Refused> {
    let text = name(text)?;
    if text.starts_with(['#', '+']) {
        return Err("the name starts with `#` or `+`, a uid or a netgroup to sudo");
    }
    let mut escaped = String::with_capacity(text.len().saturating_add(8));
    for (n, byte) in text.bytes().enumerate() {
        if n > 0 && (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
            escaped.push(char::from(byte));
        } else {
            let _infallible = write!(escaped, "\\x{byte:02x}");
        }
    }
    Ok(escaped)
}

/// A field of pg_ident.conf in double quotes. A leading `/` would make it a pattern even so, and is therefore written
/// as the pattern that means just that text.
pub(super) fn pg_ident(text: &str) -> Result<String, Refused> {
    let text = name(text)?;
    if !text.starts_with('/') {
        return Ok(doubled(text, '"'));
    }
    let mut pattern = String::from("/^");
    for c in text.chars() {
        if matches!(c, '\\' | '^' | '$' | '.' | '|' | '?' | '*' | '+' | '(' | ')' | '[' | ']' | '{' | '}') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('$');
    Ok(doubled(&pattern, '"'))
}

/// In quotes, with quotes inside doubled.
fn doubled(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push(quote);
    for c in text.chars() {
        if c == quote {
            quoted.push(quote);
        }
        quoted.push(c);
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is(result: &Result<String, Refused>, expected: &str) {
        assert_eq!(result.as_deref(), Ok(expected));
    }

    #[test]
    fn nginx_keys_lose_every_special_meaning() {
        is(&nginx_key("bob@example.com"), r#""\\bob@example.com""#);
        is(&nginx_key("include"), r#""\\include""#);
        is(&nginx_key("~tilde"), r#""\\~tilde""#);
        is(&nginx_key(r#"a"b\c"#), r#""\\a\"b\\c""#);
        assert!(nginx_value("a$b").is_err());
        is(&nginx_value(r#"x"y"#), r#""x\"y""#);
    }

    #[test]
    fn sudo_users_are_bytes_and_never_keywords() {
        is(&sudo_user("bob@example.com"), r"\x62ob\x40example.com");
        is(&sudo_user("ALL"), r"\x41LL");
        is(&sudo_user("%sre"), r"\x25sre");
        is(&sudo_user("a b"), r"\x61\x20b");
        is(&sudo_user("é"), r"\xc3\xa9");
        assert!(sudo_user("#bob").is_err() && sudo_user("+bob").is_err() && sudo_user("").is_err());
    }

    #[test]
    fn pg_ident_patterns_mean_only_themselves() {
        is(&pg_ident("bob@example.com"), "\"bob@example.com\"");
        is(&pg_ident("a\"b"), "\"a\"\"b\"");
        is(&pg_ident("/bob"), "\"/^/bob$\"");
        is(&pg_ident("/b.b*"), "\"/^/b\\.b\\*$\"");
        is(&pg_ident("@x,#y"), "\"@x,#y\"");
    }

    #[test]
    fn sql_identifiers_are_refused_where_the_server_would_cut_or_reserve_them() {
        is(&sql_ident("s\"re"), "\"s\"\"re\"");
        assert!(sql_ident(&"é".repeat(32)).is_err());
        assert!(sql_ident(&"é".repeat(31)).is_ok());
        for reserved in ["pg_x", "PG_x", "public", "none", ""] {
            assert!(sql_ident(reserved).is_err(), "{reserved}");
        }
        is(&sql_string("it's"), "'it''s'");
        assert!(sql_string("a\\").is_err());
    }

    #[test]
    fn haproxy_words_and_plain_words_are_never_split() {
        is(&haproxy_word("bob@example.com"), "bob@example.com");
        for bad in ["bob smith", " bob", "#bob", "a\u{a0}b", "a\tb", ""] {
            assert!(haproxy_word(bad).is_err(), "{bad:?}");
        }
        is(&word("é.漢-x_y@z+1"), "é.漢-x_y@z+1");
        for bad in [
            "a,b", "a:b", "-a", "+a", "@a", ".a", "..", "a/b", "a b", "$x", "(a", "a\"", "#x", "*", "%a",
            "a=b", "a;b", "a'b", "a\\b",
        ] {
            assert!(word(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shell_and_csv_keep_the_text_whole() {
        is(&shell("it's $(x) `y` \"z\""), r#"'it'\''s $(x) `y` "z"'"#);
        assert!(shell("-rf").is_err());
        is(&csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        is(&csv(" lead"), "\" lead\"");
        for formula in ["=1", "+1", "-1", "@x"] {
            assert!(csv_guarded(formula).is_err(), "{formula}");
            is(&csv(formula), formula);
        }
    }

    #[test]
    fn controls_direction_marks_and_line_separators_are_refused_by_every_notation() {
        type Notation = fn(&str) -> Result<String, Refused>;
        let all: [Notation; 10] = [
            csv,
            shell,
            word,
            nginx_key,
            nginx_value,
            haproxy_word,
            sql_ident,
            sql_string,
            sudo_user,
            pg_ident,
        ];
        for bad in [
            "bob\r",
            "a\nb",
            "\0",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}",
            "a\u{202e}b",
            "\u{200f}a",
            "\u{feff}a",
        ] {
            for (n, notation) in all.iter().enumerate() {
                assert!(notation(bad).is_err(), "{n}: {bad:?}");
            }
        }
    }

    /// What nginx reads from a quoted token, as its parser does it (`\"` and `\\`, others cannot come).
    fn nginx_reads(token: &str) -> String {
        let inner = token.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        let mut text = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            assert_ne!(c, '"');
            text.push(if c == '\\' { chars.next().unwrap() } else { c });
        }
        text
    }

    fn undoubled(token: &str, quote: char) -> String {
        let inner = token.strip_prefix(quote).unwrap().strip_suffix(quote).unwrap();
        let pair: String = [quote, quote].iter().collect();
        assert!(!inner.replace(&pair, "").contains(quote));
        inner.replace(&pair, &quote.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_a_reader_gets_back_is_the_name(text in "\\PC{0,40}|[ -~]{0,40}|[a-z#%+!/\\\\\"',$ ]{0,12}") {
            if let Ok(token) = nginx_key(&text) {
                prop_assert_eq!(nginx_reads(&token), format!("\\{}", text));
            }
            if let Ok(token) = nginx_value(&text) {
                prop_assert_eq!(nginx_reads(&token), text.clone());
            }
            if let Ok(token) = sql_ident(&text) {
                prop_assert_eq!(undoubled(&token, '"'), text.clone());
            }
            if let Ok(token) = sql_string(&text) {
                prop_assert_eq!(undoubled(&token, '\''), text.clone());
            }
            if let Ok(token) = pg_ident(&text) {
                let back = undoubled(&token, '"');
                prop_assert!(back == text || back.starts_with("/^/"));
            }
            if let Ok(token) = sudo_user(&text) {
                prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'\\')));
                prop_assert!(token.starts_with("\\x"));
            }
            if let Ok(token) = csv(&text) {
                let back = if token.starts_with('"') { undoubled(&token, '"') } else { token };
                prop_assert_eq!(back, text.clone());
            }
            if let Ok(token) = shell(&text) {
                let back = token.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().replace(r"'\''", "\u{1}");
                prop_assert!(!back.contains('\''));
                prop_assert_eq!(back.replace('\u{1}', "'"), text.clone());
            }
            if let Ok(token) = word(&text) {
                prop_assert_eq!(&token, &text);
                prop_assert!(!token.contains(char::is_whitespace));
            }
        }

        #[test]
        fn quoted_text_is_the_same_in_json_and_toml(text in any::<String>()) {
            let token = quoted(&text);
            let is_bare = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!token.contains(is_bare));
            prop_assert_eq!(serde_json::from_str::<String>(&token).unwrap(), text.clone());
            let document: toml::Table = format!("x = {token}\n").parse().unwrap();
            prop_assert_eq!(document.get("x").and_then(toml::Value::as_str), Some(text.as_str()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_real_shell_reads_back_the_argument(text in "[ -~]{0,20}") {
            if let Ok(token) = shell(&text) {
                let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {token}")]).output().unwrap();
                prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
            }
        }
    }
}
