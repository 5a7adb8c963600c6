//! Prints filters back: `parse(print(f)) == f` for every filter that [`super::parse()`] can make.

use std::fmt::{self, Display, Formatter};

use super::{AttrPath, Filter, Literal};

impl Display for AttrPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(urn) = &self.urn {
            write!(f, "{urn}:")?;
        }
        f.write_str(&self.name)?;
        match &self.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::String(value) => serde_json::Value::from(value.as_str()).fmt(f),
            Self::Instant(value) => write!(f, "\"{value}\""),
        }
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(all) => joined(f, all, " and "),
            Self::Or(all) => joined(f, all, " or "),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Compare { path, op, value } => write!(f, "{path} {} {value}", op.as_str()),
            Self::Present(path) => write!(f, "{path} pr"),
            Self::ValuePath { attr, filter, tail } => {
                write!(f, "{attr}[{filter}]")?;
                match tail {
                    Some((sub, op, value)) => write!(f, ".{sub} {} {value}", op.as_str()),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Members that are themselves joined stand in parentheses, so that the tree reads back as it was.
fn joined(f: &mut Formatter<'_>, all: &[Filter], word: &str) -> fmt::Result {
    for (n, one) in all.iter().enumerate() {
        if n > 0 {
            f.write_str(word)?;
        }
        match one {
            Filter::And(_) | Filter::Or(_) => write!(f, "({one})")?,
            _ => one.fmt(f)?,
        }
    }
    Ok(())
}
