//! `haproxy-map`: rows for HAProxy's `map_str`, `KEY VALUE` a line.
//!
//! HAProxy knows no quotes and no escapes there: leading blanks are skipped, the key ends at the first blank, a `#` in
//! front is a comment, of two equal keys the first wins, and a line over 16383 bytes is cut and its rest read as another
//! key. Who cannot be written so is left out.

use std::collections::BTreeSet;

use crate::access::{Fold, View};

use super::nginx_map::{self, VALUE};
use super::people::{self, Notation};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, escape, json};

pub(super) const FORMAT: Format = Format {
    name: "haproxy-map",
    summary: "rows for HAProxy's `map_str`: user to roles, groups or `1`",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "lower",
            kind: OptionKind::Flag,
            default: "false",
            description: "Writes keys in ASCII lower case, for look-ups behind HAProxy's converter `lower`.",
        },
        people::ROLES,
        VALUE,
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    fold: |options| {
        let fold = Fold { how: "in lower case, as `lower` writes them", key: str::to_ascii_lowercase };
        options.flag("lower").then_some(fold)
    },
    ..super::PLAIN
};

/// Longest line that HAProxy reads whole, its newline not counted.
const LINE_BYTES_MAX: usize = 16_000;

#[expect(clippy::unnecessary_wraps, reason = "every format has this signature")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let mut left_out = Vec::new();
    let lower = options.flag("lower");
    let write = |name: &str| {
        let name = if lower { name.to_ascii_lowercase() } else { name.to_owned() };
        escape::haproxy_word(&name).map_err(str::to_owned)
    };
    let notation = Notation { write: &write };
    let mut text = String::new();
    for (person, value) in nginx_map::rows(view, options, &notation, &|_| false, &mut left_out) {
        let line = format!("{} {value}\n", person.written);
        if line.len() > LINE_BYTES_MAX {
            let why = "its roles and groups make a line that HAProxy would cut";
            left_out.push(people::refused(person.user, why.into()));
        } else {
            text.push_str(&line);
        }
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        let Some((key, value)) = line.split_once(' ') else {
            return Err(format!("line {n} has a key and no value"));
        };
        if key.is_empty() || key.starts_with('#') || value.is_empty() || line.len() >= LINE_BYTES_MAX {
            return Err(format!("line {n} is not `KEY VALUE`, or too long"));
        }
        if !keys.insert(key) {
            return Err(format!("line {n}: the key stands twice and HAProxy would take the first"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn what_haproxy_would_split_cut_or_skip_is_left_out() {
        for bad in ["bob smith", " bob", "#bob", "a\u{a0}b"] {
            let (text, left_out) = outcome("haproxy-map", &named(bad), &options(&serde_json::json!({})));
            assert_eq!((text.as_str(), left_out.len()), ("", 1), "{bad}");
        }
        let mut view = named("bob");
        view.users[1].groups = (0..2_000).map(|n| format!("group-{n:05}")).collect();
        view.groups = view.users[1]
            .groups
            .iter()
            .map(|name| {
                let mut group = view.groups[0].clone();
                group.name.clone_from(name);
                group
            })
            .collect();
        let (text, left_out) =
            outcome("haproxy-map", &view, &options(&serde_json::json!({"value": "groups"})));
        assert_eq!(text, "");
        assert!(left_out[0].why.contains("cut"), "{left_out:?}");
    }

    #[test]
    fn only_in_lower_case_do_two_become_one() {
        let lower = options(&serde_json::json!({"lower": true}));
        assert_eq!((FORMAT.fold(&lower).unwrap().key)("BOB"), "bob");
        assert!(FORMAT.fold(&options(&serde_json::json!({}))).is_none());
        let (text, left_out) = outcome("haproxy-map", &named("BOB"), &lower);
        assert_eq!((text.as_str(), left_out.len()), ("bob admin\n", 0));
    }

    proptest! {
        #[test]
        fn whatever_the_names_haproxy_reads_back_exactly_them(name in "\\PC{1,40}|[a-z#, \"]{1,12}", group in any::<String>()) {
            let mut view = named(&name);
            view.groups[1].name.clone_from(&group);
            view.users[1].groups = vec!["engineering".into(), group.clone()];
            let (text, left_out) = outcome("haproxy-map", &view, &options(&serde_json::json!({"value": "groups"})));
            // HAProxy: leading blanks off, `#` is a comment, the key up to the first blank, the rest is trimmed.
            for line in text.lines() {
                let line = line.trim_start_matches([' ', '\t']);
                prop_assert!(!line.starts_with('#'));
                let (key, value) = line.split_once([' ', '\t']).unwrap();
                prop_assert!(key == "alice@example.com" || key == name);
                let items: Vec<&str> = value.trim_matches([' ', '\t']).split(',').collect();
                prop_assert!(items.iter().all(|item| *item == "engineering" || *item == group), "{}", value);
            }
            prop_assert_eq!(text.lines().count() + left_out.iter().filter(|one| one.text == name).count(), 2);
        }
    }
}
