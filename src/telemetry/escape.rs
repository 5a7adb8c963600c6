//! The one encoder for text from outside on its way into a log line or onto a terminal.
//!
//! INVARIANT: what comes out holds no control character, no line break and nothing that reorders or hides
//! text, so that one event stays one line and a name cannot imitate another. Applying it twice is harmless to
//! the reader, though not the identity: the backslash is escaped too, so that the text can be read back.

use std::fmt::{self, Write as _};

/// Longest piece of client text that a log line carries, in characters; what follows becomes `…`.
const SHOWN_MAX: usize = 256;

/// Shows a text with everything escaped that could break a log line or mislead its reader.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a str);

/// Wraps `text` for logging: `info!(user_name = %escape(name))`.
///
/// C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls and invisible format
/// characters come out as `\u{…}`; tab, newline and carriage return as `\t`, `\n`, `\r`; the backslash
/// doubled. At most 256 characters are shown.
pub fn escape(text: &str) -> Escaped<'_> {
    Escaped(text)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, c) in self.0.chars().enumerate() {
            if n == SHOWN_MAX {
                return f.write_char('…');
            }
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if misleads(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// True for a character that a terminal or a log viewer may act on, or show as nothing.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'   // soft hyphen, Arabic letter mark, Mongolian separator, BOM
            | '\u{200b}'..='\u{200f}'                        // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'                        // line and paragraph separator, embeddings, overrides
            | '\u{2060}'..='\u{206f}'                        // word joiner, invisible operators, isolates
            | '\u{fff9}'..='\u{fffb}'                        // interlinear annotation
            | '\u{e0000}'..='\u{e007f}'                      // tags
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_breaks_escapes_and_bidi_controls_lose_their_power() {
        assert_eq!(escape("a\nINFO forged\r\t").to_string(), "a\\nINFO forged\\r\\t");
        assert_eq!(escape("\u{1b}[31mred").to_string(), "\\u{1b}[31mred");
        assert_eq!(escape("user\u{202e}gpj.exe").to_string(), "user\\u{202e}gpj.exe");
        assert_eq!(escape("a\u{2028}b\u{85}c\u{0}").to_string(), "a\\u{2028}b\\u{85}c\\u{0}");
    }

    #[test]
    fn ordinary_names_of_any_script_stay_as_they_are() {
        for name in ["bob@example.com", "Zoë Müller", "田中 太郎", "محمد", "O'Brien \"Bo\""] {
            assert_eq!(escape(name).to_string(), name);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = escape(&"x".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN_MAX + 1);
        assert!(shown.ends_with('…'));
    }

    proptest! {
        #[test]
        fn nothing_that_misleads_survives(text in any::<String>()) {
            prop_assert!(!escape(&text).to_string().chars().any(misleads));
        }
    }
}
