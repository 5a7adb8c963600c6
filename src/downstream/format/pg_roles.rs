//! `pg-roles`: an SQL script for psql that makes memberships of database roles what they should be, in one transaction.
//!
//! Grants only add, so the script carries both halves: it compares what it lists with `pg_auth_members` and revokes
//! every membership of a role it owns that is not listed, then grants what is missing. It owns the roles it lists and
//! those that it marked with a comment before, so that a role dropped from the config loses its members too. Members
//! are login roles that are no superusers; a name that is a group in the database gets nothing, since all its members
//! would. Run twice it changes nothing.

use std::collections::BTreeSet;

use crate::access::View;

use super::people::{self, Notation};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, account, escape, json, pg_ident};

pub(super) const FORMAT: Format = Format {
    name: "pg-roles",
    summary: "an SQL script: GRANTs and REVOKEs that make PostgreSQL's role memberships true",
    content_type: "application/sql",
    options: &[
        OptionDoc {
            name: "create_users",
            kind: OptionKind::Flag,
            default: "false",
            description: "Creates login roles that are missing, without a password; else their grants wait for them.",
        },
        pg_ident::NAMES,
        people::ROLES,
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    has_local_power: true,
    ..super::PLAIN
};

const OPENING: &str = "\
-- Written by rosterd; changes here are undone. Apply with psql: psql -X -f THIS_FILE
\\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL search_path = pg_catalog, pg_temp;
CREATE TEMPORARY TABLE rosterd_role (name text PRIMARY KEY) ON COMMIT DROP;
CREATE TEMPORARY TABLE rosterd_grant (role text, member text, PRIMARY KEY (role, member)) ON COMMIT DROP;
";

/// What goes before the users and grants are settled: roles that are missing, the mark, and the removal half.
const REVOKING: &str = "\
DO $rosterd$
DECLARE
  one record;
  mark constant text := 'rosterd:{target}';
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('rosterd'));
  FOR one IN SELECT w.name FROM rosterd_role w
    WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.name) ORDER BY 1
  LOOP
    EXECUTE format('CREATE ROLE %I NOLOGIN', one.name);
  END LOOP;
  FOR one IN SELECT r.rolname FROM rosterd_role w JOIN pg_roles r ON r.rolname = w.name
    WHERE shobj_description(r.oid, 'pg_authid') IS NULL ORDER BY 1
  LOOP
    EXECUTE format('COMMENT ON ROLE %I IS %L', one.rolname, mark);
  END LOOP;
  FOR one IN SELECT g.rolname AS role, m.rolname AS member, b.rolname AS grantor
    FROM pg_auth_members a
    JOIN pg_roles g ON g.oid = a.roleid
    JOIN pg_roles m ON m.oid = a.member
    LEFT JOIN pg_roles b ON b.oid = a.grantor
    WHERE (g.rolname IN (SELECT name FROM rosterd_role) OR shobj_description(g.oid, 'pg_authid') = mark)
      AND m.rolname <> current_user
      AND NOT (m.rolcanlogin AND NOT m.rolsuper AND EXISTS (
        SELECT FROM rosterd_grant w WHERE w.role = g.rolname AND w.member = m.rolname))
    ORDER BY 1, 2, 3
  LOOP
    EXECUTE format('REVOKE %I FROM %I', one.role, one.member)
      || coalesce(format(' GRANTED BY %I', one.grantor), '') || ' CASCADE';
  END LOOP;
";

const CREATING: &str = "  \
  FOR one IN SELECT DISTINCT w.member FROM rosterd_grant w
    WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.member) ORDER BY 1
  LOOP
    EXECUTE format('CREATE ROLE %I LOGIN', one.member);
  END LOOP;
";

const GRANTING: &str = "  \
  FOR one IN SELECT w.role, w.member, m.rolcanlogin AND NOT m.rolsuper AS fits
    FROM rosterd_grant w
    LEFT JOIN pg_roles m ON m.rolname = w.member
    WHERE NOT EXISTS (SELECT FROM pg_auth_members a
      WHERE a.roleid = (SELECT oid FROM pg_roles WHERE rolname = w.role) AND a.member = m.oid)
    ORDER BY 1, 2
  LOOP
    IF one.fits THEN
      EXECUTE format('GRANT %I TO %I', one.role, one.member);
    ELSE
      RAISE WARNING 'rosterd: % is not granted to %: no such login role, or a superuser', one.role, one.member;
    END IF;
  END LOOP;
END
$rosterd$;
COMMIT;
";

const ROLE_ROWS: &str = "INSERT INTO rosterd_role VALUES\n";
const GRANT_ROWS: &str = "INSERT INTO rosterd_grant VALUES\n";

fn closing(options: &Options) -> String {
    let creating = if options.flag("create_users") { CREATING } else { "" };
    format!("{}{creating}{GRANTING}", REVOKING.replace("{target}", options.target.as_str()))
}

#[expect(clippy::unnecessary_wraps, reason = "every format has this signature")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let mut left_out = Vec::new();
    let selected = people::roles(view, options);
    let listed = people::holders(&selected);
    let roles = pg_ident::database_roles(selected, options, &mut left_out);
    let groups: BTreeSet<&str> = roles.iter().map(|(_, name)| *name).collect();
    let write = |name: &str| {
        if groups.contains(name) {
            return Err("the name is that of a role, whose holders would all be meant".to_owned());
        }
        member(name).map_err(str::to_owned)
    };
    let notation = Notation { write: &write };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let mut grants = BTreeSet::new();
    for (role, name) in &roles {
        for person in role.members.iter().filter_map(|member| people.get(member.as_str())) {
            grants.insert(format!("  ({}, {})", string(name), person.written));
        }
    }
    let mut text = String::from(OPENING);
    rows(&mut text, ROLE_ROWS, groups.iter().map(|name| format!("  ({})", string(name))));
    rows(&mut text, GRANT_ROWS, grants.into_iter());
    text.push_str(&closing(options));
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

fn rows(text: &mut String, head: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    if !rows.is_empty() {
        text.push_str(head);
        text.push_str(&rows.join(",\n"));
        text.push_str(";\n");
    }
}

/// A login role's name as an SQL string.
fn member(name: &str) -> Result<String, &'static str> {
    account::not_taken(name)?;
    escape::sql_ident(name)?;
    Ok(string(name))
}

/// An SQL string as PostgreSQL reads it whatever its settings: with a backslash in the notation that escapes it.
fn string(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', r"\\")) } else { format!("'{doubled}'") }
}

fn check(bytes: &[u8], options: &Options) -> Result<(), String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    let rows = text.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(&closing(options)));
    let mut rest = rows.ok_or("the statements around the rows are not as rosterd writes them")?;
    for (head, fields) in [(ROLE_ROWS, 1_usize), (GRANT_ROWS, 2)] {
        let Some(mut rows) = rest.strip_prefix(head) else { continue };
        loop {
            let (row, tail) =
                row(rows).ok_or_else(|| format!("a row behind `{}` is not one", head.trim_end()))?;
            let name =
                row.last().filter(|_| row.len() == fields).ok_or("a row has too few or too many fields")?;
            escape::sql_ident(name).map_err(|why| format!("`{name}`: {why}"))?;
            if let Some(next) = tail.strip_prefix(",\n") {
                rows = next;
            } else {
                rest = tail.strip_prefix(";\n").ok_or("rows do not end in `;`")?;
                break;
            }
        }
    }
    if rest.is_empty() { Ok(()) } else { Err("something stands between the rows and the statements".into()) }
}

/// One row of strings in parentheses, and what follows it.
fn row(text: &str) -> Option<(Vec<String>, &str)> {
    let mut rest = text.strip_prefix("  (")?;
    let mut fields = Vec::new();
    loop {
        let (is_escaped, token) = rest.strip_prefix('E').map_or((false, rest), |token| (true, token));
        let (field, tail) = people::undoubled(token, '\'')?;
        if !is_escaped && field.contains('\\') {
            return None;
        }
        fields.push(if is_escaped { field.replace(r"\\", r"\") } else { field });
        match tail.strip_prefix(", ") {
            Some(next) => rest = next,
            None => return Some((fields, tail.strip_prefix(')')?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::find;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn a_role_without_holders_is_listed_so_that_everybody_loses_it() {
        let mut view = named("bob");
        view.roles[0].members.clear();
        let (text, _) = outcome("pg-roles", &view, &options(&serde_json::json!({"names": {"admin": "dba"}})));
        assert!(text.contains("INSERT INTO rosterd_role VALUES\n  ('dba');\nDO $rosterd$"), "{text}");
        assert!(text.starts_with("-- ") && text.ends_with("COMMIT;\n") && text.contains("'rosterd:example'"));
    }

    #[test]
    fn a_user_named_like_a_role_a_system_account_or_too_long_is_left_out() {
        for bad in ["admin", "postgres", "pg_monitor", "none", &"é".repeat(32)] {
            let (text, left_out) = outcome("pg-roles", &named(bad), &options(&serde_json::json!({})));
            assert!(!text.contains(GRANT_ROWS) && left_out.len() == 1, "{bad}: {left_out:?}");
        }
    }

    #[test]
    fn statements_of_anybody_else_are_refused() {
        let format = find("pg-roles").unwrap();
        let none = options(&serde_json::json!({}));
        let (text, _) = outcome("pg-roles", &named("bob"), &none);
        for bad in [
            text.replace("COMMIT", "ROLLBACK"),
            text.replace("('admin', 'bob')", "('admin', 'bob'); DROP TABLE x; --')"),
            text.replace("'bob'", "'b\\ob'"),
            text.replace("'bob'", "current_user"),
        ] {
            assert!(format.check(bad.as_bytes(), &none).is_err(), "{bad}");
        }
    }

    /// What PostgreSQL makes of a string token: quotes doubled; a backslash escapes only behind `E`.
    fn postgres_reads(token: &str) -> String {
        let (escapes, token) = token.strip_prefix('E').map_or((false, token), |rest| (true, rest));
        let mut chars = token.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().chars();
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\'' => assert_eq!(chars.next(), Some('\'')),
                '\\' if escapes => assert_eq!(chars.next(), Some('\\')),
                _ => {}
            }
            text.push(c);
        }
        text
    }

    proptest! {
        #[test]
        fn whatever_the_name_postgresql_reads_back_exactly_it(name in "\\PC{1,40}|[a-z\"'\\\\$;:(), -]{1,12}") {
            let (text, left_out) = outcome("pg-roles", &named(&name), &options(&serde_json::json!({"create_users": true})));
            let row = text.split(GRANT_ROWS).nth(1).and_then(|rest| rest.split(";\nDO $rosterd$").next());
            if let Some(row) = row {
                let token = row.strip_prefix("  ('admin', ").unwrap().strip_suffix(')').unwrap();
                prop_assert_eq!(postgres_reads(token), name);
            } else {
                prop_assert_eq!(left_out.len(), 1);
            }
        }
    }
}
