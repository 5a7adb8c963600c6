//! `sudoers`: a file for `sudoers.d`, one `User_Alias` and one rule per role that the operator gives a rule.
//!
//! A user is written without quotes, the first byte and all but `[A-Za-z0-9_.-]` as `\xHH`, so that it is never an
//! alias, a group, a keyword or a command; `#` (a uid) and `+` (a netgroup) in front keep their meaning even so and are
//! left out, and so are capitals, since sudo ignores case. What may be run, and as whom, comes from the option `rules` alone. A role nobody holds has no alias and no
//! rule, since an empty alias is an error to sudo.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::access::View;

use super::people::{self, Notation};
use super::{Format, OptionDoc, OptionKind, Options, RenderError, Rendered, account, escape, json};

pub(super) const FORMAT: Format = Format {
    name: "sudoers",
    summary: "a file for sudoers.d: an alias and the operator's rule for each role",
    content_type: "text/plain; charset=utf-8",
    options: &[OptionDoc {
        name: "rules",
        kind: OptionKind::Map(
            "one line of sudoers that stands behind the users, such as `ALL=(root) /bin/ls`",
            is_rule,
        ),
        default: super::REQUIRED,
        description: "What each role may run and as whom, such as `{ ops = \"ALL=(root) /usr/bin/systemctl restart app\" }`.",
    }],
    render: super::Render::One(render),
    check,
    example,
    has_local_power: true,
    ..super::PLAIN
};

fn example() -> Options {
    let rules: Map<String, Value> =
        [("admin".to_owned(), Value::from("ALL=(root) NOPASSWD: /usr/bin/systemctl restart app"))]
            .into_iter()
            .collect();
    Options {
        values: [("rules".to_owned(), rules.into())].into_iter().collect(),
        ..json::placeholder_options()
    }
}

/// A rule is one line of printable ASCII with its `=`, which no comment cuts and no backslash joins with the next.
fn is_rule(text: &str) -> bool {
    let is_printable = text.chars().all(|c| matches!(c, ' '..='~'));
    is_printable
        && text.contains('=')
        && !text.starts_with(['=', ',', ' '])
        && !text.contains('#')
        && !text.ends_with('\\')
}

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    if !options.values.contains_key("rules") {
        return Err(people::missing(FORMAT.name, "rules"));
    }
    let rules: BTreeMap<&str, &str> =
        options.map("rules").into_iter().filter(|(_, rule)| is_rule(rule)).collect();
    let aliases = aliases(rules.keys().copied());
    let mut left_out = Vec::new();
    let roles: Vec<_> = view.roles.iter().filter(|role| rules.contains_key(role.name.as_str())).collect();
    let listed = people::holders(&roles);
    let notation = Notation { write: &|name| user(name).map_err(str::to_owned) };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let mut text = String::from("# Written by rosterd; changes here are undone.\n");
    for role in roles {
        let users: Vec<&str> = role
            .members
            .iter()
            .filter_map(|name| people.get(name.as_str()))
            .map(|one| one.written.as_str())
            .collect();
        let rule = rules.get(role.name.as_str());
        if let (Some(alias), Some(rule), false) = (aliases.get(role.name.as_str()), rule, users.is_empty()) {
            let _infallible = writeln!(text, "User_Alias {alias} = {}\n{alias} {rule}", users.join(", "));
        }
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

/// A user in escapes. sudo compares users without regard to ASCII case (`case_insensitive_user` is on by default), so
/// that `SRE` would let the account `sre` in; accounts are in lower case, and a name that is not is left out.
fn user(name: &str) -> Result<String, &'static str> {
    account::not_taken(name)?;
    if name.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("the name has capitals, and sudo would take it for the account in lower case");
    }
    escape::sudo_user(name)
}

/// An alias for each role, `ROSTERD_` and its name in capitals; where two would be the same, the later has a number.
fn aliases<'a>(roles: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let mut taken = BTreeSet::new();
    let mut aliases = BTreeMap::new();
    for role in roles {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let plain = format!("ROSTERD_{}", role.chars().map(letter).collect::<String>());
        let numbered = (2u32..).map(|n| format!("{plain}_{n}"));
        let alias = std::iter::once(plain.clone()).chain(numbered).find(|alias| !taken.contains(alias));
        let alias = alias.unwrap_or(plain);
        taken.insert(alias.clone());
        aliases.insert(role, alias);
    }
    aliases
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut alias: Option<&str> = None;
    for (n, line) in people::lines(bytes)? {
        if line.starts_with('#') {
            // `#1000 ALL=(ALL) ALL` is a rule for a user by number, and `#include` reads another file.
            if !line.starts_with("# ") || line.ends_with('\\') {
                return Err(format!("line {n} is not a comment to sudo"));
            }
        } else if let Some(definition) = line.strip_prefix("User_Alias ") {
            let Some((name, users)) = definition.split_once(" = ") else {
                return Err(format!("line {n} defines nothing"));
            };
            for user in users.split(", ") {
                is_escaped(user).map_err(|why| format!("line {n}: {why}"))?;
            }
            alias = Some(name);
        } else if let (Some(name), Some((user, rule))) = (alias.take(), line.split_once(' ')) {
            if name != user || !is_rule(rule) {
                return Err(format!("line {n} is not the rule of the alias above it"));
            }
        } else {
            return Err(format!("line {n} is neither an alias nor its rule"));
        }
    }
    if alias.is_some() { Err("the last alias has no rule".into()) } else { Ok(()) }
}

/// Whether a user begins with a hexadecimal escape other than `#` and `+`, and has no bare special character.
fn is_escaped(user: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut parts = user.split("\\x");
    let starts_right = parts.next() == Some("") && !user.starts_with("\\x23") && !user.starts_with("\\x2b");
    let is_hex = |part: &str| part.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if starts_right && user.len() >= 4 && parts.all(|part| is_hex(part) && part.chars().all(is_plain)) {
        Ok(())
    } else {
        Err(format!("`{user}` is not a user in escapes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::format::find;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    fn ops() -> Options {
        options(&serde_json::json!({"rules": {"admin": "ALL=(root) /bin/ls"}}))
    }

    #[test]
    fn a_role_without_holders_has_neither_alias_nor_rule() {
        let mut view = named("bob");
        view.roles[0].members.clear();
        view.users[1].roles.clear();
        let (text, _) = outcome("sudoers", &view, &ops());
        assert_eq!(text, "# Written by rosterd; changes here are undone.\n");
    }

    #[test]
    fn uids_netgroups_and_system_accounts_are_left_out() {
        for bad in ["#0", "+net", "root", "ALL", "sudo", "SRE", "Bob"] {
            let (text, left_out) = outcome("sudoers", &named(bad), &ops());
            assert!(!text.contains("User_Alias") && left_out.len() == 1, "{bad}: {text}");
        }
    }

    #[test]
    fn roles_with_like_names_have_different_aliases_and_rules_are_one_line() {
        let aliases: Vec<String> = aliases(["a-b", "a.b", "a_b_2"].into_iter()).into_values().collect();
        assert_eq!(aliases, ["ROSTERD_A_B", "ROSTERD_A_B_2", "ROSTERD_A_B_2_2"]);
        let format = find("sudoers").unwrap();
        for bad in ["ALL", "ALL=(root) x\nbob ALL=ALL", "ALL=x\\", "", "ALL=(#0) x"] {
            let values = serde_json::json!({"rules": {"admin": bad}});
            assert_eq!(format.check_options(values.as_object().unwrap()).len(), 1, "{bad:?}");
        }
    }

    /// What sudo's scanner makes of a WORD: `\xHH` is that byte, a word without any is itself.
    fn sudo_reads(word: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = word;
        while !rest.is_empty() {
            if let Some(hex) = rest.strip_prefix("\\x") {
                bytes.push(u8::from_str_radix(hex.get(..2).unwrap(), 16).unwrap());
                rest = hex.get(2..).unwrap();
            } else {
                bytes.push(rest.as_bytes()[0]);
                assert!(rest.as_bytes()[0].is_ascii_alphanumeric() || b"_.-".contains(&rest.as_bytes()[0]));
                rest = rest.get(1..).unwrap();
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_the_name_sudo_reads_back_exactly_it(name in "\\PC{1,40}|[a-zA-Z#%+!,:= \"\\\\@()]{1,12}") {
            let (text, left_out) = outcome("sudoers", &named(&name), &ops());
            let users = text.lines().find_map(|line| line.strip_prefix("User_Alias ROSTERD_ADMIN = "));
            if let Some(users) = users {
                prop_assert_eq!(&sudo_reads(users), &name);
                prop_assert!(users.starts_with("\\x") && text.lines().count() == 3);
                prop_assert_eq!(&name, &name.to_ascii_lowercase());
            } else {
                prop_assert_eq!((left_out.len(), text.lines().count()), (1, 1));
            }
        }
    }
}
