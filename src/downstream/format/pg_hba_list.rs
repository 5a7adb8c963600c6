//! `pg-hba-list`: a list of database users for `@file` in PostgreSQL's pg_hba.conf, one quoted name a line.
//!
//! An empty file would make the field vanish, and the fields behind it move up by one; so nobody is written as `""`,
//! which is no user's name. A name over 63 bytes is cut by the server and a `/` in front is a pattern from
//! PostgreSQL 16 even in quotes; both are left out.

use std::collections::BTreeSet;

use crate::access::View;

use super::people;
use super::{Format, Options, RenderError, Rendered, account, escape};

pub(super) const FORMAT: Format = Format {
    name: "pg-hba-list",
    summary: "a list of database users for `@file` in PostgreSQL's pg_hba.conf",
    content_type: "text/plain; charset=utf-8",
    options: &[people::ROLES_REQUIRED],
    render: super::Render::One(render),
    check,
    example: people::example_of_admins,
    has_local_power: true,
    ..super::PLAIN
};

/// What a list without anybody holds.
const NOBODY: &str = "\"\"";

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let (mut lines, left_out) = people::listed(view, options, FORMAT.name, user)?;
    if lines.is_empty() {
        lines.push(NOBODY.to_owned());
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn user(name: &str) -> Result<String, &'static str> {
    account::not_taken(name)?;
    if name.starts_with('/') {
        return Err("the name starts with `/`, a pattern to PostgreSQL 16");
    }
    if matches!(name.to_ascii_lowercase().as_str(), "replication" | "sameuser" | "samerole" | "samegroup") {
        return Err("the name is a keyword in pg_hba.conf");
    }
    escape::sql_ident(name)
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        let Some((name, "")) = people::undoubled(line, '"') else {
            return Err(format!("line {n} is not one name in quotes"));
        };
        if !name.is_empty() {
            user(&name).map_err(|why| format!("line {n}: {why}"))?;
        }
        names.insert(name);
    }
    match names.len() {
        0 => Err("it is empty, so the field would vanish from pg_hba.conf".into()),
        1 => Ok(()),
        _ if names.contains("") => Err("it holds an empty name beside others".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn nobody_is_a_name_that_nobody_has() {
        let admins = options(&serde_json::json!({"roles": ["admin"]}));
        for bad in ["/bob", "postgres", "pg_monitor", "all", "replication", &"é".repeat(32)] {
            let (text, left_out) = outcome("pg-hba-list", &named(bad), &admins);
            assert_eq!((text.as_str(), left_out.len()), ("\"\"\n", 1), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_list_holds_it_or_nobody(name in "\\PC{1,40}|[a-z\"/@,# \\\\+]{1,12}") {
            let admins = options(&serde_json::json!({"roles": ["admin"]}));
            let (text, left_out) = outcome("pg-hba-list", &named(&name), &admins);
            let inner = text.strip_prefix('"').unwrap().strip_suffix("\"\n").unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"') && !inner.contains('\n'));
            let read = inner.replace("\"\"", "\"");
            prop_assert_eq!(read, if left_out.is_empty() { name } else { String::new() });
        }
    }
}
