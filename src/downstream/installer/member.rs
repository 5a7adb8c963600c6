//! Names that root's config lets through: files of a tree, people in a file. Patterns know `*` and nothing else.

use std::collections::BTreeSet;
use std::fmt;

use crate::downstream::format;

/// A name, or a pattern in which each `*` stands for any text, the empty one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Which names may be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// One of these must fit; none at all: every name fits.
    pub allow: Vec<Pattern>,
    /// Never these, in whatever letter case.
    pub deny: BTreeSet<String>,
}

impl Pattern {
    /// The pattern, if it is none that could only be a slip.
    ///
    /// # Errors
    /// It is empty, or has control characters.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("a pattern is a name, or has `*` for any text in it");
        }
        Ok(Self(text.to_owned()))
    }

    /// True if it is the name itself, without `*`.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `name` is such a name.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Names {
    /// Whether root's config lets `name` through. A pattern with `*` never lets an account of the system through;
    /// such a name must be written out.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn permit(&self, name: &str) -> Result<(), &'static str> {
        self.judge(name, format::is_system_name(name))
    }

    /// [`Names::permit`] for a file of a tree: what stands before its dot counts as well.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn permit_file(&self, name: &str) -> Result<(), &'static str> {
        // `root.user` of a tree of records speaks of root, `alice:sudo.membership` puts alice into `sudo`.
        let stem = name.split('.').next().unwrap_or(name);
        self.judge(name, format::is_system_name(name) || stem.split(':').any(format::is_system_name))
    }

    fn judge(&self, name: &str, is_system: bool) -> Result<(), &'static str> {
        if self.deny.contains(&name.to_lowercase()) {
            return Err("it is in `deny`");
        }
        if self.allow.iter().any(|pattern| pattern.is_exact() && pattern.fits(name)) {
            return Ok(());
        }
        if is_system {
            return Err(
                "it is an account or group of the system, which no pattern covers; write it out to allow it",
            );
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.fits(name)) {
            Ok(())
        } else {
            Err("nothing in root's list covers it")
        }
    }
}

/// Whether `name` can be a file of a tree at all: one plain name of ASCII letters, digits, `_`, `-`, `.`, `:` and `@` that
/// begins with a letter, a digit or `_`, so that it is never hidden, an option, a path or a name for staging.
///
/// # Errors
/// Says what it is instead.
pub fn check_member(name: &str) -> Result<(), &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ':');
    if name.len() > 255 {
        Err("it is longer than 255 bytes")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        Err("it does not begin with a letter, a digit or `_`")
    } else if !name.chars().all(is_plain) || name.contains("..") || name.ends_with('.') {
        Err("it is not one plain file name of letters, digits, `_`, `-`, `.`, `:` and `@`")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(allow: &[&str], deny: &[&str]) -> Names {
        Names {
            allow: allow.iter().map(|text| Pattern::parse(text).unwrap()).collect(),
            deny: deny.iter().map(|&name| name.into()).collect(),
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("deploy", "deploy", true),
            ("deploy", "deploy2", false),
            ("app-*", "app-", true),
            ("app-*", "xapp-1", false),
            ("*@example.com", "alice@example.com", true),
            ("*@example.com", "alice@example.com.evil", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(name), fits, "{pattern} {name}");
        }
        assert!(Pattern::parse("").is_err() && Pattern::parse("a\nb").is_err());
    }

    #[test]
    fn accounts_of_the_system_are_let_through_only_when_written_out() {
        assert!(names(&["*"], &[]).permit("deploy").is_ok());
        for system in
            ["root", "Root", "postgres", "root.user", "_apt", "systemd-network", "alice:root.membership"]
        {
            assert!(names(&["*"], &[]).permit_file(system).is_err(), "{system}");
            assert!(names(&[], &[]).permit_file(system).is_err(), "{system}");
            assert!(names(&[system], &[]).permit_file(system).is_ok(), "{system}");
            let is_file = system.contains('.');
            assert_eq!(names(&["*"], &[]).permit(system).is_ok(), is_file, "{system}");
        }
        assert!(names(&["*"], &[]).permit("mail.smith@example.com").is_ok());
        assert!(names(&["eve", "*"], &["eve"]).permit("Eve").is_err());
        assert!(names(&["app-*"], &[]).permit("eve").is_err());
    }

    #[test]
    fn a_member_is_one_plain_name() {
        for good in ["deploy", "bob.user", "60501.user", "_x", "app@1", "bob:crew.membership"] {
            assert!(check_member(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "/etc/shadow",
            "a/b",
            "a\0b",
            "a\nb",
            ".rosterd-x",
            "-rf",
            "a..b",
            "a.",
            "a~",
            "é",
            "a b",
            "a%2fb",
            "a\\b",
            &long,
        ] {
            assert!(check_member(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_in_its_folder(name in "\\PC{0,20}|[./a~-]{0,6}") {
            if check_member(&name).is_ok() {
                let parts: Vec<_> = std::path::Path::new(&name).components().collect();
                prop_assert!(matches!(parts.as_slice(), [std::path::Component::Normal(part)] if *part == name.as_str()));
            }
        }
    }
}
