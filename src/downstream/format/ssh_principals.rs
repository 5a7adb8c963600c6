//! `ssh-principals`: one account's `AuthorizedPrincipalsFile`, one principal a line.
//!
//! sshd has no escape there: all but the last word of a line are key options, and `#` cuts the line, so that `bob#1`
//! would let `bob` in. Both are left out, as is a comma, which no certificate carries. An empty file lets nobody in.
//! The file's name is the Unix account and comes from the operator's `path` alone.

use std::collections::BTreeSet;

use crate::access::View;

use super::people;
use super::{Format, Options, RenderError, Rendered, account, fit};

pub(super) const FORMAT: Format = Format {
    name: "ssh-principals",
    summary: "OpenSSH's AuthorizedPrincipalsFile of one account: who may log in as it by certificate",
    content_type: "text/plain; charset=utf-8",
    options: &[people::ROLES_REQUIRED],
    render: super::Render::One(render),
    check,
    example: people::example_of_admins,
    has_local_power: true,
    ..super::PLAIN
};

fn render(view: &View, options: &Options) -> Result<Rendered, RenderError> {
    let (principals, left_out) = people::listed(view, options, FORMAT.name, principal)?;
    let lines: String = principals.into_iter().map(|one| one + "\n").collect();
    Ok(Rendered { bytes: lines.into_bytes(), left_out })
}

/// One principal as sshd compares it, byte by byte.
fn principal(name: &str) -> Result<String, &'static str> {
    if let Some(why) = fit::unfit(name) {
        return Err(why);
    }
    if name.contains(char::is_whitespace) {
        return Err("the name has a blank, before which sshd reads key options");
    }
    if name.contains(['#', ',']) {
        return Err("the name has a `#`, where sshd cuts the line, or a comma, which no certificate carries");
    }
    if name.len() > 1024 {
        return Err("the name is longer than 1024 bytes");
    }
    account::not_taken(name)?;
    Ok(name.to_owned())
}

fn check(bytes: &[u8], _options: &Options) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (n, line) in people::lines(bytes)? {
        principal(line).map_err(|why| format!("line {n}: {why}"))?;
        if !seen.insert(line) {
            return Err(format!("line {n} stands twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::downstream::format::find;
    use crate::downstream::format::testing::{named, options, outcome};
    use proptest::prelude::*;

    #[test]
    fn options_comments_lists_and_system_accounts_are_left_out() {
        for bad in ["no-pty root", "bob#1", "#bob", "a,b", "root", "ALL", " bob", "_apt"] {
            let (text, left_out) =
                outcome("ssh-principals", &named(bad), &options(&serde_json::json!({"roles": ["admin"]})));
            assert_eq!((text.as_str(), left_out.len()), ("", 1), "{bad}");
        }
    }

    #[test]
    fn roles_must_be_named() {
        let format = find("ssh-principals").unwrap();
        assert!(format.check_options(&serde_json::Map::new())[0].contains("needs the option `roles`"));
        assert!(format.render(&named("bob"), &options(&serde_json::json!({}))).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_name_sshd_reads_back_exactly_it(name in "\\PC{1,40}|[a-z#, =\"@*!]{1,12}") {
            let (text, left_out) =
                outcome("ssh-principals", &named(&name), &options(&serde_json::json!({"roles": ["admin"]})));
            // sshd: the line is cut at `#`, trimmed of blanks, and its last word is the principal.
            let read: Vec<&str> = text.lines().filter_map(|line| {
                let line = line.split('#').next().unwrap().trim_matches([' ', '\t', '\n', '\r']);
                line.rsplit([' ', '\t']).next().filter(|word| !word.is_empty())
            }).collect();
            prop_assert!(read.iter().all(|word| *word == name));
            prop_assert_eq!(read.len() + left_out.len(), 1);
            prop_assert_eq!(text.split([' ', '\t']).count(), 1);
        }
    }
}
