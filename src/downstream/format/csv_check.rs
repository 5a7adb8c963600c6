//! Reads CSV as a strict reader would (RFC 4180): every row as wide as the first, quotes closed and alone.

/// What such a reader would stumble over, with its line.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut width = None;
    let mut line = 1usize;
    let mut fields = 1usize;
    let mut state = State::Start;
    for c in text.chars() {
        state = match (state, c) {
            (State::Quoted, '"') => State::QuoteInQuotes,
            (State::Start | State::QuoteInQuotes, '"') | (State::Quoted, _) => State::Quoted,
            (_, ',') => {
                fields = fields.saturating_add(1);
                State::Start
            }
            (_, '\n') => {
                if *width.get_or_insert(fields) != fields {
                    return Err(format!(
                        "line {line} has {fields} fields where the first has {}",
                        width.unwrap_or(0)
                    ));
                }
                fields = 1;
                State::Start
            }
            (State::QuoteInQuotes, _) => return Err(format!("line {line} goes on after a closing quote")),
            (State::Plain, '"') => return Err(format!("line {line} has a quote inside a plain field")),
            (State::Start | State::Plain, _) => State::Plain,
        };
        if c == '\n' {
            line = line.saturating_add(1);
        }
    }
    if matches!(state, State::Quoted) { Err("the last quote is not closed".into()) } else { Ok(()) }
}

#[derive(Clone, Copy)]
enum State {
    Start,
    Plain,
    Quoted,
    QuoteInQuotes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_be_equally_wide_and_quotes_closed() {
        for good in ["", "a,b\n1,2\n", "\"a,\"\"b\",c\n,\n", "a\n\"x\ny\"\n"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        assert_eq!(check("a,b\n1\n"), Err("line 2 has 1 fields where the first has 2".into()));
        assert_eq!(check("a\"b\n"), Err("line 1 has a quote inside a plain field".into()));
        assert_eq!(check("\"a\"b\n"), Err("line 1 goes on after a closing quote".into()));
        assert_eq!(check("a\n\"b\n"), Err("the last quote is not closed".into()));
    }
}
