//! File names made of what an identity provider calls things.

use unicode_normalization::UnicodeNormalization as _;

/// Longest slug in bytes.
const BYTES_MAX: usize = 64;

/// A file name of `text`: NFKC, lower-case, `a-z 0-9 _ -`, every other character `-`; none at the ends, at most 64
/// bytes. `None` if nothing is left.
pub fn slug(text: &str) -> Option<String> {
    let lower = text.nfkc().flat_map(char::to_lowercase);
    let safe = lower.map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' });
    let slug: String = safe.collect::<String>().trim_matches('-').chars().take(BYTES_MAX).collect();
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_file_names() {
        for (name, wanted) in [
            ("Database Admins", "database-admins"),
            ("alice@example.com", "alice-example-com"),
            ("../../etc/passwd", "etc-passwd"),
            ("Ｅngineering", "engineering"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(slug(name).as_deref(), Some(wanted), "{name}");
        }
        for name in ["", "...", "漢字", "\u{202e}"] {
            assert_eq!(slug(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_slug_is_only_ever_a_plain_name(text in "\\PC{0,200}") {
            if let Some(slug) = slug(&text) {
                prop_assert!((1..=BYTES_MAX).contains(&slug.len()));
                prop_assert!(slug.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
                prop_assert!(!slug.starts_with('-'));
            }
        }
    }
}
