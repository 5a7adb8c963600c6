//! `nginx-map`: rows for nginx's `map`, read by `include`.
//!
//! `map $remote_user $access { default ""; include FILE; }`. A key is written `"\\NAME"`: the leading backslash takes
//! every special meaning away (`include`, `default`, `hostnames`, `volatile`, `~pattern`). nginx compares keys without
//! regard to ASCII case. A key too long for `map_hash_bucket_size` would make nginx refuse the whole file, and with it
//! every revocation, so it is left out until the operator has raised both.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::access::{Fold, View, ViewUser};

use super::people::{self, Notation, Person};
use super::{Carried, Format, LeftOut, OptionDoc, OptionKind, Options, RenderError, Rendered, escape, json};

pub(super) const FORMAT: Format = Format {
    name: "nginx-map",
    summary: "rows for nginx's `map`: user to roles, groups or `1`",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "bucket_size",
            kind: OptionKind::Choice(&["64", "128", "256", "512", "1024"]),
            default: "\"64\"",
            description: "nginx's `map_hash_bucket_size`; longer keys are left out, since nginx would refuse the file.",
        },
        people::ROLES,
        VALUE,
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    fold: |_| {
        Some(Fold { how: "without regard to ASCII case, as nginx reads them", key: str::to_ascii_lowercase })
    },
    ..super::PLAIN
};

/// What stands behind each user, in maps for nginx and HAProxy alike.
pub(super) const VALUE: OptionDoc = OptionDoc {
    name: "value",
    kind: OptionKind::Choice(&["roles", "groups", "both", "one"]),
    default: "\"roles\"",
    description: "What a user maps to: roles or groups, joined by commas; both as `role:x,group:y`; or just `1`.",
};

#[expect(clippy::unnecessary_wraps, reason = "every format has this signature")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let mut left_out = Vec::new();
    let bucket: usize = options.text("bucket_size", "64").parse().unwrap_or(64);
    let write = |name: &str| {
        let needed = bucket_size(name);
        if needed > bucket {
            return Err(format!(
                "the key needs `map_hash_bucket_size {needed}` in nginx and in `bucket_size`"
            ));
        }
        escape::nginx_key(name).map_err(str::to_owned)
    };
    let notation = Notation { write: &write };
    let rows = rows(view, options, &notation, &|group| group.contains('$'), &mut left_out);
    let mut text = String::new();
    let needed = rows.iter().map(|(person, _)| bucket_size(&person.user.name)).max().unwrap_or(0);
    if needed > 64 {
        let _infallible = writeln!(text, "# needs map_hash_bucket_size {needed};");
    }
    for (person, value) in rows {
        match escape::nginx_value(&value) {
            Ok(value) => {
                let _infallible = writeln!(text, "{} {value};", person.written);
            }
            Err(why) => left_out.push(people::refused(person.user, format!("its roles and groups: {why}"))),
        }
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

/// The bucket that nginx needs for a key of this name: two pointers and the length, rounded up to a cache line.
fn bucket_size(name: &str) -> usize {
    let element = name.len().saturating_add(2).next_multiple_of(8).saturating_add(16);
    element.next_multiple_of(64)
}

/// Each user that maps to something, with what. Groups that `refuses` or that would be two in a list are left out.
pub(super) fn rows<'a>(
    view: &'a View,
    options: &Options,
    notation: &Notation<'_>,
    refuses: &dyn Fn(&str) -> bool,
    left_out: &mut Vec<LeftOut>,
) -> Vec<(Person<'a>, String)> {
    let content = options.text("value", "roles");
    let roles = people::roles(view, options);
    let selected: BTreeSet<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    let mut groups = BTreeSet::new();
    if matches!(content, "groups" | "both") {
        for group in &view.groups {
            let name = group.name.as_str();
            if name.contains(',') || name.trim() != name || refuses(name) {
                let why =
                    "the group's name has a comma, outer blanks or a character that the map cannot carry";
                let what = Carried::Group(group.directory.clone(), group.id);
                left_out.push(LeftOut { what, text: group.name.clone(), why: why.into() });
            } else {
                groups.insert(name);
            }
        }
    }
    let value = |user: &ViewUser| value(content, user, &selected, &groups);
    people::written(view, &|user| !value(user).is_empty(), notation, left_out)
        .into_values()
        .map(|person| {
            let value = value(person.user);
            (person, value)
        })
        .collect()
}

fn value(content: &str, user: &ViewUser, roles: &BTreeSet<&str>, groups: &BTreeSet<&str>) -> String {
    let mut roles = user.roles.iter().map(String::as_str).filter(|role| roles.contains(role));
    let groups = user.groups.iter().map(String::as_str).filter(|group| groups.contains(group));
    match content {
        "one" => roles.next().map_or_else(String::new, |_| "1".to_owned()),
        "groups" => groups.collect::<Vec<_>>().join(","),
        "both" => {
            let groups = groups.map(|group| format!("group:{group}"));
            groups.chain(roles.map(|role| format!("role:{role}"))).collect::<Vec<_>>().join(",")
        }
        _ => roles.collect::<Vec<_>>().join(","),
    }
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        if line.starts_with('#') {
            continue;
        }
        let row = people::backslashed(line).and_then(|(key, rest)| {
            let (value, rest) = people::backslashed(rest.strip_prefix(' ')?)?;
            (rest == ";").then_some((key, value))
        });
        let Some((key, value)) = row else { return Err(format!("line {n} is not `\"key\" \"value\";`")) };
        if !key.starts_with('\\') || key.len() < 2 {
            return Err(format!("line {n}: the key does not begin with a backslash and may be a keyword"));
        }
        if value.contains('$') {
            return Err(format!("line {n}: the value holds a variable"));
        }
        if !keys.insert(key.to_ascii_lowercase()) {
            return Err(format!("line {n}: the key stands twice to nginx, which ignores ASCII case"));
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
    fn the_needed_bucket_is_the_one_that_nginx_computes() {
        assert_eq!(bucket_size(&"a".repeat(46)), 64);
        assert_eq!(bucket_size(&"a".repeat(47)), 128);
        assert_eq!(bucket_size(&"a".repeat(200)), 256);
        assert_eq!(bucket_size(&"a".repeat(300)), 320);
    }

    #[test]
    fn a_key_too_long_for_the_bucket_is_left_out_and_says_what_it_needs() {
        let name = "b".repeat(60);
        let (text, left_out) = outcome("nginx-map", &named(&name), &options(&serde_json::json!({})));
        assert_eq!(text, "");
        assert!(left_out[0].why.contains("map_hash_bucket_size 128"), "{}", left_out[0].why);
        let (text, left_out) =
            outcome("nginx-map", &named(&name), &options(&serde_json::json!({"bucket_size": "128"})));
        assert_eq!(text, format!("# needs map_hash_bucket_size 128;\n\"\\\\{name}\" \"admin\";\n"));
        assert!(left_out.is_empty());
    }

    #[test]
    fn who_would_be_one_to_nginx_collides_before_a_line_is_written() {
        let fold = FORMAT.fold(&options(&serde_json::json!({}))).unwrap();
        assert_eq!((fold.key)("BOB"), (fold.key)("bob"));
        assert_ne!((fold.key)("É"), (fold.key)("é"), "nginx folds ASCII alone");
        let check = |text: &str| FORMAT.check(text.as_bytes(), &options(&serde_json::json!({})));
        assert!(check("\"\\\\BOB\" \"admin\";\n\"\\\\bob\" \"admin\";\n").unwrap_err().contains("twice"));
    }

    proptest! {
        #[test]
        fn whatever_the_names_nginx_reads_back_exactly_them(name in "\\PC{1,40}|[a-z~\"\\\\$;{}# ]{1,12}", group in any::<String>()) {
            let mut view = named(&name);
            view.groups[1].name.clone_from(&group);
            view.users[1].groups = vec!["engineering".into(), group.clone()];
            let (text, left_out) = outcome("nginx-map", &view, &options(&serde_json::json!({"value": "both"})));
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                // nginx: a quoted token, a blank, a quoted token, a semicolon; in both `\` escapes `\` and `"`.
                let (key, rest) = people::backslashed(line).unwrap();
                let (value, end) = people::backslashed(rest.strip_prefix(' ').unwrap()).unwrap();
                prop_assert_eq!(end, ";");
                let key = key.strip_prefix('\\').unwrap().to_owned();
                prop_assert!(key == "alice@example.com" || key == name);
                for item in value.split(',') {
                    prop_assert!(item == "role:admin" || item == "group:engineering" || item == format!("group:{group}"), "{}", value);
                }
            }
            prop_assert!(text.contains("alice@example.com") && (text.lines().count() >= 2 || !left_out.is_empty()));
        }
    }
}
