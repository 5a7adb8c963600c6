//! `apache-groups`: Apache's `AuthGroupFile`, `group: "member" "member"` a line, for `Require group`.
//!
//! Members are quoted, with `\` and `"` escaped. A group's name ends at the first `:` and has no escape; `#` in front
//! is a comment. A group nobody is in keeps its line, which grants nobody.

use std::collections::BTreeSet;

use crate::access::View;

use super::people::{self, Notation};
use super::{Carried, Format, LeftOut, OptionDoc, OptionKind, Options, RenderError, Rendered, json};

pub(super) const FORMAT: Format = Format {
    name: "apache-groups",
    summary: "Apache's AuthGroupFile: one line per role or group with its users",
    content_type: "text/plain; charset=utf-8",
    options: &[
        OptionDoc {
            name: "list",
            kind: OptionKind::Choice(&["roles", "groups"]),
            default: "\"roles\"",
            description: "Whether lines are roles, or the directory's groups with all their nested members.",
        },
        people::ROLES,
    ],
    render: super::Render::One(render),
    check,
    example: json::placeholder_options,
    ..super::PLAIN
};

#[expect(clippy::unnecessary_wraps, reason = "every format has this signature")]
fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let mut left_out = Vec::new();
    let mut lines: Vec<(&str, &[String])> = Vec::new();
    if options.text("list", "roles") == "groups" {
        for group in &view.groups {
            match label(&group.name) {
                Ok(name) => lines.push((name, &group.all_members)),
                Err(why) => {
                    let what = Carried::Group(group.directory.clone(), group.id);
                    left_out.push(LeftOut { what, text: group.name.clone(), why: why.into() });
                }
            }
        }
    } else {
        for role in people::roles(view, options) {
            match label(role.name.as_str()) {
                Ok(name) => lines.push((name, &role.members)),
                Err(why) => left_out.push(people::refused_role(&role.name, why.into())),
            }
        }
    }
    let listed: BTreeSet<&str> =
        lines.iter().flat_map(|(_, members)| members.iter().map(String::as_str)).collect();
    let notation = Notation { write: &member };
    let people = people::written(view, &|user| listed.contains(user.name.as_str()), &notation, &mut left_out);
    let mut text = String::new();
    for (name, members) in lines {
        text.push_str(name);
        text.push(':');
        for person in members.iter().filter_map(|name| people.get(name.as_str())) {
            text.push(' ');
            text.push_str(&person.written);
        }
        text.push('\n');
    }
    Ok(Rendered { bytes: text.into_bytes(), left_out })
}

/// A group's name in front of the colon.
fn label(name: &str) -> Result<&str, &'static str> {
    if name.contains(':') {
        return Err("it has a colon, where Apache ends a group's name");
    }
    if name.starts_with('#') || name.trim() != name || name.is_empty() || name.ends_with('\\') {
        return Err("it begins with `#`, has outer blanks or ends in a backslash");
    }
    Ok(name)
}

/// One member in quotes.
fn member(name: &str) -> Result<String, String> {
    if let Some(why) = super::fit::unfit(name) {
        return Err(why.into());
    }
    if name.trim() != name {
        return Err("the name begins or ends with a blank".into());
    }
    if name.contains(':') {
        return Err("the name has a colon, which no basic authentication can carry".into());
    }
    Ok(format!("\"{}\"", name.replace('\\', r"\\").replace('"', "\\\"")))
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    for (n, line) in people::lines(bytes)? {
        let Some((name, mut rest)) = line.split_once(':') else {
            return Err(format!("line {n} has no colon, so Apache would ignore it"));
        };
        label(name).map_err(|why| format!("line {n}: {why}"))?;
        while !rest.is_empty() {
            let Some((_, tail)) = rest.strip_prefix(' ').and_then(people::backslashed) else {
                return Err(format!("line {n}: a member is not in quotes"));
            };
            rest = tail;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn a_role_or_a_group_with_a_colon_is_left_out() {
        let mut view = named("bob");
        view.groups[1].name = "a:b".into();
        let groups = options(&serde_json::json!({"list": "groups"}));
        let (text, left_out) = outcome("apache-groups", &view, &groups);
        assert_eq!(text, "engineering: \"alice@example.com\" \"bob\"\n");
        assert_eq!(left_out.len(), 1);
        view.roles[0].name = crate::model::RoleName::parse("a:b").unwrap();
        let (text, left_out) = outcome("apache-groups", &view, &options(&serde_json::json!({})));
        assert_eq!((text.as_str(), left_out.len()), ("", 1));
    }

    /// What Apache makes of a line: `ap_getword(':')`, then `ap_getword_conf` until the line is empty.
    fn apache_reads(line: &str) -> (String, Vec<String>) {
        let line = line.trim_matches([' ', '\t']);
        assert!(!line.starts_with('#') && !line.is_empty());
        let (group, rest) = line.split_once(':').unwrap();
        let mut members = Vec::new();
        let mut chars = rest.chars().peekable();
        loop {
            while chars.next_if(char::is_ascii_whitespace).is_some() {}
            let Some(first) = chars.next() else { return (group.to_owned(), members) };
            let mut word = String::new();
            if first == '"' || first == '\'' {
                while let Some(c) = chars.next_if(|&c| c != first) {
                    if c == '\\' && chars.peek().is_some_and(|&next| next == '\\' || next == first) {
                        word.push(chars.next().unwrap());
                    } else {
                        word.push(c);
                    }
                }
                chars.next();
            } else {
                word.push(first);
                while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
                    word.push(c);
                }
            }
            members.push(word);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_apache_reads_back_exactly_them(name in "\\PC{1,40}|[a-z#:' \"\\\\]{1,12}", group in "\\PC{1,20}|[a-z#: \\\\]{1,6}") {
            let mut view = named(&name);
            view.groups[1].name.clone_from(&group);
            view.users[1].groups = vec!["engineering".into(), group.clone()];
            let (text, _) = outcome("apache-groups", &view, &options(&serde_json::json!({"list": "groups"})));
            for line in text.lines() {
                let (read, members) = apache_reads(line);
                prop_assert!(read == "engineering" || read == group, "{}", line);
                prop_assert!(members.iter().all(|member| *member == name || member == "alice@example.com"), "{}", line);
            }
        }
    }
}
