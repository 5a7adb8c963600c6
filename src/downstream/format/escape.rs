//! How a name is written so that it stays a name: one function per reader's notation, each refusing what the
//! notation cannot carry. Facts and trials behind each rule: docs/formats.md.

use std::fmt::Write as _;

use super::fit::unfit_char;

/// Why a text cannot be written in a notation.
pub(super) type Refused = &'static str;

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
