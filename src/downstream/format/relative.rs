//! The name of a file inside a tree or a set: never more than a name.

use std::fmt;

/// A relative path of safe parts: no `.` or `..`, none that begins with `.` or `-`, no control character, none longer
/// than 255 bytes, never absolute. Whatever it is joined to, it stays beneath it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativeName(String);

/// Why a text is no [`RelativeName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativeNameError(&'static str);

/// Most bytes of a whole relative name.
const BYTES_MAX: usize = 1024;

impl RelativeName {
    /// Checks `text`.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: &str) -> Result<Self, RelativeNameError> {
        if text.len() > BYTES_MAX {
            return Err(RelativeNameError("it is longer than 1024 bytes"));
        }
        text.split('/').try_for_each(part)?;
        Ok(Self(text.to_owned()))
    }

    /// The text, parts apart by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts, at least one.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

fn part(part: &str) -> Result<(), RelativeNameError> {
    let why = if part.is_empty() {
        "it is empty, absolute or has an empty part"
    } else if part.starts_with('.') {
        "a part begins with `.`"
    } else if part.starts_with('-') {
        "a part begins with `-`"
    } else if part.len() > 255 {
        "a part is longer than 255 bytes"
    } else if part.chars().any(|c| c.is_control() || super::fit::unfit(c.encode_utf8(&mut [0; 4])).is_some())
    {
        "it has a control character"
    } else if part.contains('\\') {
        "it has a backslash"
    } else {
        return Ok(());
    };
    Err(RelativeNameError(why))
}

impl fmt::Display for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RelativeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for RelativeNameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn names_that_leave_the_folder_or_hide_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a/../b",
            "a//b",
            "a/",
            ".x",
            "a/.x",
            "-rf",
            "a\nb",
            "a\0",
            "a\\b",
            "a\u{202e}b",
        ] {
            assert!(RelativeName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RelativeName::parse(&"x".repeat(256)).is_err());
        for good in ["deploy", "alice.user", "a/b.json", "60501.user", "straße", "two words"] {
            assert_eq!(RelativeName::parse(good).unwrap().as_str(), good);
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_beneath_its_folder(text in "\\PC{0,40}|[./\\-a]{0,12}") {
            if let Ok(name) = RelativeName::parse(&text) {
                let path = Path::new("/base").join(name.as_str());
                prop_assert!(path.starts_with("/base") && path != Path::new("/base"));
                prop_assert!(path.components().skip(1).all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(name.parts().count(), path.components().count() - 2);
            }
        }
    }
}
