//! `pg-ident`: lines for PostgreSQL's pg_ident.conf, `"map" "system user" "role"` for each holder of each role.
//!
//! Everything is quoted, which disarms `@`, `,` and `#`, and from PostgreSQL 16 `all` and `+group`. A `/` in front is a
//! pattern even in quotes, so such a name is written as the pattern that means just it. Database roles come from the
//! names of roles or from the option `names` alone.

use crate::access::{View, ViewRole};

use super::people::{self, Notation};
use super::{Format, LeftOut, OptionDoc, OptionKind, Options, RenderError, Rendered, account, escape, json};

pub(super) const FORMAT: Format = Format {
    name: "pg-ident",
    summary: "PostgreSQL's pg_ident.conf: who may connect as which database role",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "map",
            kind: OptionKind::Shaped("the name of a map: letters, digits, _ and -", is_map),
            default: "\"rosterd\"",
            description: "The map's name, as pg_hba.conf has it in `map=`.",
        },
        NAMES,
        people::ROLES,
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    has_local_power: true,
    ..super::PLAIN
};

/// What roles are called in the database, for every format of PostgreSQL.
pub(super) const NAMES: OptionDoc = OptionDoc {
    name: "names",
    kind: OptionKind::Map(
        "the name of a database role: letters, digits, _ - . and 63 bytes at most",
        is_database_role,
    ),
    default: "the role's own name",
    description: "What the database role of a role is called, such as `{ db-admin = \"dba\" }`.",
};

fn is_map(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// A name that no version of PostgreSQL gives a meaning, cuts or reserves.
pub(super) fn is_database_role(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(is_inner)
        && escape::sql_ident(text).is_ok()
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "all" | "postgres" | "replication" | "sameuser" | "samerole"
        )
}

/// Each role with what it is called in the database; who cannot be called anything is left out.
pub(super) fn database_roles<'a>(
    roles: Vec<&'a ViewRole>,
    options: &'a Options,
    left_out: &mut Vec<LeftOut>,
) -> Vec<(&'a ViewRole, &'a str)> {
    let names = options.map("names");
    let mut named = Vec::new();
    for role in roles {
        let name = names.get(role.name.as_str()).copied().unwrap_or(role.name.as_str());
        if is_database_role(name) {
            named.push((role, name));
        } else {
            let why =
                "its name is reserved in PostgreSQL, longer than 63 bytes, or not plain; set one in `names`";
            left_out.push(people::refused_role(&role.name, why.into()));
        }
    }
    named
}

#[expect(clippy::unnecessary_wraps, reason = "every format has this signature")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let map = Some(options.text("map", "rosterd")).filter(|text| is_map(text)).unwrap_or("rosterd");
    let mut left_out = Vec::new();
    let roles = people::roles(view, options);
    let listed = people::holders(&roles);
    let write =
        |name: &str| account::not_taken(name).and_then(|()| escape::pg_ident(name)).map_err(str::to_owned);
    let notation = Notation { write: &write };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let mut lines = Vec::new();
    for (role, database_role) in database_roles(roles, options, &mut left_out) {
        for person in role.members.iter().filter_map(|name| people.get(name.as_str())) {
            lines.push(format!("\"{map}\" {} \"{database_role}\"\n", person.written));
        }
    }
    lines.sort();
    lines.dedup();
    Ok(Rendered { bytes: lines.concat().into_bytes(), left_out })
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    for (n, line) in people::lines(bytes)? {
        let row = people::undoubled(line, '"').and_then(|(map, rest)| {
            let (user, rest) = people::undoubled(rest.strip_prefix(' ')?, '"')?;
            let (role, rest) = people::undoubled(rest.strip_prefix(' ')?, '"')?;
            rest.is_empty().then_some((map, user, role))
        });
        let Some((map, user, role)) = row else {
            return Err(format!("line {n} is not `\"map\" \"system user\" \"role\"`"));
        };
        if !is_map(&map) || !is_database_role(&role) || user.is_empty() {
            return Err(format!("line {n}: a name is empty or reserved"));
        }
        if user.starts_with('/') && !(user.starts_with("/^/") && user.ends_with('$')) {
            return Err(format!("line {n}: the system user is a pattern that may match others"));
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
    fn database_roles_come_from_the_roles_or_the_map_and_are_never_reserved() {
        let names = options(&serde_json::json!({"names": {"admin": "dba"}, "map": "scim"}));
        let (text, _) = outcome("pg-ident", &named("/b.b"), &names);
        assert_eq!(text, "\"scim\" \"/^/b\\.b$\" \"dba\"\n");
        for bad in ["+x", "/x", "all", "pg_read", "postgres", "", "é", &"x".repeat(64)] {
            assert!(!is_database_role(bad), "{bad}");
        }
        let mut view = named("bob");
        view.roles[0].name = crate::model::RoleName::parse("all").unwrap();
        let (text, left_out) = outcome("pg-ident", &view, &options(&serde_json::json!({})));
        assert_eq!((text.as_str(), left_out.len()), ("", 1));
        for bad in ["postgres", "root"] {
            assert_eq!(outcome("pg-ident", &named(bad), &names).0, "");
        }
    }

    /// PostgreSQL's `next_token`: quotes may stand anywhere, doubled ones are one; a bare comma or `#` ends it.
    fn postgres_reads(line: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut chars = line.chars().peekable();
        while chars.peek().is_some() {
            while chars.next_if(|c| matches!(c, ' ' | '\t' | ',')).is_some() {}
            let (mut token, mut in_quote, mut was_quote, mut saw) = (String::new(), false, false, false);
            while let Some(&c) = chars.peek() {
                if !in_quote && matches!(c, ' ' | '\t' | ',' | '#') {
                    break;
                }
                chars.next();
                if c != '"' || was_quote {
                    token.push(c);
                }
                if in_quote && c == '"' {
                    was_quote = !was_quote;
                } else {
                    was_quote = false;
                }
                if c == '"' {
                    in_quote = !in_quote;
                    saw = true;
                }
            }
            assert!(!in_quote && saw && !matches!(chars.peek(), Some(',' | '#')));
            tokens.push(token);
        }
        tokens
    }

    proptest! {
        #[test]
        fn whatever_the_name_postgresql_reads_back_exactly_it(name in "\\PC{1,40}|[a-z\"/@,# \\\\+.*]{1,12}") {
            let (text, left_out) = outcome("pg-ident", &named(&name), &options(&serde_json::json!({})));
            prop_assert_eq!(text.lines().count() + left_out.len(), 1);
            for line in text.lines() {
                let tokens = postgres_reads(line);
                prop_assert_eq!(tokens.len(), 3, "{:?}", tokens);
                prop_assert_eq!((tokens[0].as_str(), tokens[2].as_str()), ("rosterd", "admin"));
                if name.starts_with('/') {
                    let pattern = tokens[1].strip_prefix("/^").unwrap().strip_suffix('$').unwrap();
                    let mut literal = String::new();
                    let mut chars = pattern.chars();
                    while let Some(c) = chars.next() {
                        let is_special = "^$.|?*+()[]{}".contains(c);
                        prop_assert!(!is_special);
                        literal.push(if c == '\\' { chars.next().unwrap() } else { c });
                    }
                    prop_assert_eq!(&literal, &name);
                } else {
                    prop_assert_eq!(&tokens[1], &name);
                }
            }
        }
    }
}
